"""Knobs: what cooling means for each, within the limits, and which safe point a device gets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.devices.device import Capabilities, Capability
from firmware_bridge.devices.settings import OperatingPoint, Setting
from firmware_bridge.emulator.bench import MODELS, Bench
from firmware_bridge.errors import UserError
from firmware_bridge.sentinel.actuators import actuator_for, clock_for_voltage, safe_point
from firmware_bridge.sentinel.models import FACTS

LV06 = MODELS["lv06"].limits
NOW = OperatingPoint(485.0, 1200.0, 70.0)


def able(*settings: Setting, restart: bool = False) -> Capabilities:
    return Capabilities(frozenset({"temperature_c"}), tuple(Capability(s, restart, "") for s in settings))


ALL = able(Setting.FREQUENCY, Setting.CORE_VOLTAGE, Setting.FAN)


@pytest.mark.parametrize("model", sorted(MODELS))
async def test_every_safe_point_is_within_the_limits_and_cools(model: str) -> None:
    bench = Bench(model, np.random.default_rng(1))
    present = await bench.device.read_point()
    point = safe_point(FACTS[model], await bench.device.capabilities(), present)
    bench.device.limits.check(model, point, beyond_factory=True)
    cooler = {s: v for s, v in point.given().items() if s not in bench.device.limits.heating(point, present)}
    assert cooler == point.given()
    assert FACTS[model].trip_c < bench.device.limits.max_temperature_c
    assert FACTS[model].source


def test_without_the_best_safe_point_the_next_is_taken_and_without_any_there_is_an_error() -> None:
    s9, now = FACTS["s9"], OperatingPoint(frequency_mhz=631.0, power_plan="normal")
    assert safe_point(s9, able(Setting.FREQUENCY, Setting.POWER_PLAN), now).power_plan == "sleep"
    assert safe_point(s9, able(Setting.FREQUENCY), now) == OperatingPoint(frequency_mhz=100.0)
    lv06 = FACTS["lv06"]
    assert safe_point(lv06, able(Setting.FREQUENCY), NOW) == OperatingPoint(frequency_mhz=56.25)
    with pytest.raises(UserError, match="can only be watched"):
        safe_point(lv06, able(), NOW)
    with pytest.raises(UserError, match="can only be watched"):
        safe_point(lv06, able(Setting.FREQUENCY), OperatingPoint())


@given(st.floats(-5.0, 60.0))
def test_more_cooling_never_heats_any_setting_and_all_stay_within_the_limits(cooling_c: float) -> None:
    actuator = actuator_for(FACTS["lv06"], LV06, ALL, NOW)
    point, more = actuator.point(cooling_c), actuator.point(cooling_c + 1.0)
    LV06.check("lv06", point, beyond_factory=True)
    assert not LV06.heating(more, point)
    assert 400.0 <= (point.frequency_mhz or 0) <= 485.0  # the menu's lower end, and never above what it had
    assert abs(actuator.cooling(point) - min(actuator.width_c, max(0.0, cooling_c))) < 1.2


def test_the_fan_comes_before_the_clock() -> None:
    actuator = actuator_for(FACTS["lv06"], LV06, ALL, NOW)
    assert actuator.settings == (Setting.FAN, Setting.FREQUENCY)
    assert actuator.point(20.0).frequency_mhz == 485.0
    assert actuator.point(31.0).fan_percent == 100.0
    assert (actuator.point(33.0).frequency_mhz or 0) < 485.0


def test_a_named_knob_is_the_only_one_moved_and_has_to_exist() -> None:
    assert actuator_for(FACTS["lv06"], LV06, ALL, NOW, knob="fan").settings == (Setting.FAN,)
    with pytest.raises(UserError, match="cannot move fan_percent"):
        actuator_for(FACTS["lv06"], LV06, able(Setting.FREQUENCY), NOW, knob="fan")
    with pytest.raises(UserError, match="no knob"):
        actuator_for(FACTS["lv06"], LV06, ALL, NOW, knob="hammer")


def test_the_voltage_follows_the_clock_as_the_menu_has_it() -> None:
    actuator = actuator_for(FACTS["lv06"], LV06, ALL, NOW, knob="voltage")
    assert actuator.point(0.0) == OperatingPoint(485.0, 1150.0)
    assert actuator.point(99.0) == OperatingPoint(400.0, 1100.0)
    assert clock_for_voltage("lv06", 1100.0) == 400.0
    assert clock_for_voltage("s9", 8800.0) is None


def test_what_needs_a_restart_is_left_alone_where_the_fan_will_do() -> None:
    mixed = Capabilities(
        frozenset(), (Capability(Setting.FREQUENCY, True, ""), Capability(Setting.FAN, False, ""))
    )
    assert actuator_for(FACTS["lv06"], LV06, mixed, NOW).settings == (Setting.FAN,)
    only_clock = able(Setting.FREQUENCY, restart=True)
    assert actuator_for(FACTS["lv06"], LV06, only_clock, NOW).settings == (Setting.FREQUENCY,)


def test_clocks_beyond_the_menu_need_the_users_word_and_a_ceiling_has_to_be_within_the_limits() -> None:
    deep = actuator_for(FACTS["lv06"], LV06, ALL, NOW, knob="frequency", beyond_factory=True)
    assert (deep.point(99.0).frequency_mhz or 999.0) <= 60.0
    fast = actuator_for(FACTS["lv06"], LV06, ALL, NOW, knob="frequency", ceiling_mhz=550.0)
    assert fast.point(0.0).frequency_mhz == 550.0
    with pytest.raises(UserError, match="hard limits"):
        actuator_for(FACTS["lv06"], LV06, ALL, NOW, knob="frequency", ceiling_mhz=900.0)


def test_an_s9_only_gets_clocks_of_its_pll() -> None:
    limits = MODELS["s9"].limits
    actuator = actuator_for(
        FACTS["s9"], limits, able(Setting.FREQUENCY, restart=True), OperatingPoint(frequency_mhz=631.0)
    )
    for cooling_c in np.linspace(0.0, 3.0, 50):
        assert actuator.point(float(cooling_c)).frequency_mhz in limits.bounds[Setting.FREQUENCY].factory
