"""What emulated chips draw, how fast their logic is, and when they hash wrong or hang."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from firmware_bridge.emulator import body_kernels as kernels
from firmware_bridge.emulator.electrical import FACTS, ElectricalFacts, critical_voltage_mv, vector
from firmware_bridge.emulator.thermal import FACTS as HEAT
from firmware_bridge.emulator.thermal import Thermal
from firmware_bridge.errors import UserError

MODELS = sorted(FACTS)
SECOND = 1_000_000_000


def wrong(model: str, mv: float, mhz: float, c: float | None = None) -> float:
    nominal_c = HEAT[model].temperature_c
    return float(kernels.error_rate(vector(FACTS[model], nominal_c), mv, mhz, nominal_c if c is None else c))


@pytest.mark.parametrize("model", MODELS)
def test_at_the_nominal_point_no_hash_is_wrong_and_the_parts_add_up_to_the_published_power(
    model: str,
) -> None:
    facts = FACTS[model]
    assert wrong(model, facts.core_voltage_mv, facts.frequency_mhz) < 1e-6
    e = vector(facts, HEAT[model].temperature_c)
    parts = (
        e[kernels.FIXED]
        + kernels.leakage_w(e, facts.core_voltage_mv, HEAT[model].temperature_c)
        + kernels.switching_w(e, facts.core_voltage_mv, facts.frequency_mhz)
    )
    assert parts == pytest.approx(facts.power_w)


@pytest.mark.parametrize(
    ("model", "mv", "mhz"),
    [("lv06", 1200.0, 575.0), ("lv06", 1100.0, 485.0), ("lv06", 1100.0, 400.0), ("s9", 8800.0, 675.0)],
)
def test_what_the_menu_offers_works(model: str, mv: float, mhz: float) -> None:
    assert wrong(model, mv, mhz) < 0.002


@pytest.mark.parametrize("model", MODELS)
@given(data=st.data())
def test_less_voltage_more_clock_and_more_heat_are_never_better(model: str, data: st.DataObject) -> None:
    facts = FACTS[model]
    mv = data.draw(st.floats(0.5 * facts.core_voltage_mv, 1.3 * facts.core_voltage_mv))
    mhz = data.draw(st.floats(0.3 * facts.frequency_mhz, 1.5 * facts.frequency_mhz))
    c = data.draw(st.floats(20.0, 110.0))
    here = wrong(model, mv, mhz, c)
    assert 0.0 <= here <= 1.0
    assert wrong(model, 1.01 * mv, mhz, c) <= here
    assert wrong(model, mv, 1.01 * mhz, c) >= here
    assert wrong(model, mv, mhz, c + 1.0) >= here


def test_the_rate_of_wrong_hashes_is_the_normal_integral_of_the_margin() -> None:
    facts = FACTS["lv06"]
    for mhz in (560.0, 600.0, 620.8, 640.0):
        margin = (facts.frequency_mhz * facts.reserve / mhz - 1.0) / facts.spread
        assert wrong("lv06", facts.core_voltage_mv, mhz) == pytest.approx(norm.sf(margin), rel=1e-9)


@pytest.mark.parametrize("model", MODELS)
def test_the_critical_voltage_is_where_half_of_the_hashes_are_wrong(model: str) -> None:
    facts = FACTS[model]
    for part in (0.5, 0.8, 1.0):
        mhz = part * facts.frequency_mhz
        critical = critical_voltage_mv(facts, HEAT[model].temperature_c, mhz, 60.0)
        assert facts.threshold_mv < critical < facts.core_voltage_mv
        assert wrong(model, critical, mhz, 60.0) == pytest.approx(0.5, abs=1e-3)
    with pytest.raises(UserError, match="no voltage"):
        critical_voltage_mv(facts, HEAT[model].temperature_c, 1e6, 60.0)


@pytest.mark.parametrize("model", MODELS)
def test_leakage_doubles_as_its_figure_says(model: str) -> None:
    facts = FACTS[model]
    e = vector(facts, HEAT[model].temperature_c)
    cool, warm = (
        kernels.leakage_w(e, facts.core_voltage_mv, 60.0 + rise) for rise in (0.0, facts.leakage_doubles_c)
    )
    assert warm == pytest.approx(2 * cool)


def test_below_the_critical_voltage_it_hangs_until_it_is_restarted_at_a_better_point() -> None:
    heat = Thermal(HEAT["lv06"], 0)
    heat.fan_override_percent = 70.0
    critical = critical_voltage_mv(FACTS["lv06"], HEAT["lv06"].temperature_c, 485.0, heat.temperature_c)
    heat.core_voltage_mv = critical + 40.0
    heat.advance(SECOND)
    assert not heat.hung
    assert heat.hash_fraction > 0.9
    heat.droop_mv = 60.0
    heat.advance(2 * SECOND)
    assert heat.hung
    assert heat.hash_fraction == 0.0
    assert heat.power_w < 0.2 * HEAT["lv06"].power_w
    heat.droop_mv = 0.0
    heat.advance(3 * SECOND)
    assert heat.hung  # the supply is back, the chip is not
    heat.restart()
    heat.advance(4 * SECOND)
    assert not heat.hung
    assert heat.hash_fraction > 0.9


def test_near_its_limit_right_and_wrong_hashes_add_up_to_the_clock() -> None:
    heat = Thermal(HEAT["lv06"], 0)
    heat.frequency_mhz = 600.0
    heat.advance(10 * SECOND)
    assert heat.hashed_s + heat.wrong_s == pytest.approx(10 * 600.0 / 485.0)
    assert 0.05 < heat.wrong_s / heat.hashed_s < 0.5
    assert math.isclose(heat.hash_fraction, 1 - heat.error_rate)


def test_figures_that_make_no_chip_are_refused() -> None:
    good = FACTS["lv06"].to_json()
    with pytest.raises(UserError, match="share"):
        ElectricalFacts(**{**good, "fixed_share": 0.99})
    with pytest.raises(UserError, match="threshold"):
        ElectricalFacts(**{**good, "threshold_mv": 1300.0})
