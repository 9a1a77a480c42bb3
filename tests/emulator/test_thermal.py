"""The heat of emulated miners: steady at the nominal point, physical in every direction, whoever looks how often."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.emulator.thermal import AMBIENT_C, FACTS, Thermal

MODELS = sorted(FACTS)
SECOND = 1_000_000_000


def settled(model: str, **settings: float | bool) -> Thermal:
    heat = Thermal(FACTS[model], 0, ambient_c=float(settings.pop("ambient_c", AMBIENT_C)))
    for name, value in settings.items():
        setattr(heat, name, value)
    heat.advance(int(100 * heat.facts.tau_s * SECOND))
    return heat


@pytest.mark.parametrize("model", MODELS)
def test_the_nominal_point_stays_where_it_is(model: str) -> None:
    heat, facts = settled(model), FACTS[model]
    assert heat.temperature_c == pytest.approx(facts.temperature_c, abs=0.01)
    assert heat.power_w == pytest.approx(facts.power_w)
    assert heat.fan_rpm == pytest.approx(facts.fan_rpm, rel=0.001)
    assert heat.board_temperature_c == pytest.approx(facts.temperature_c - facts.board_offset_c, abs=0.01)
    assert facts.source


@pytest.mark.parametrize("model", MODELS)
def test_clock_voltage_and_room_make_it_hotter_and_its_fan_faster(model: str) -> None:
    nominal, facts = settled(model), FACTS[model]
    for warmer in (
        settled(model, frequency_mhz=facts.frequency_mhz * 1.1),
        settled(model, core_voltage_mv=facts.core_voltage_mv * 1.1),
        settled(model, ambient_c=AMBIENT_C + 5),
    ):
        assert warmer.temperature_c > nominal.temperature_c + 0.5
        assert warmer.fan_percent > nominal.fan_percent
    squared = settled(model, core_voltage_mv=facts.core_voltage_mv * 1.1)
    linear = settled(model, frequency_mhz=facts.frequency_mhz * 1.1)
    assert squared.power_w > linear.power_w > facts.power_w  # switching power goes with V² f


@pytest.mark.parametrize("model", MODELS)
def test_a_faster_fan_cools_and_a_stopped_miner_falls_towards_the_room(model: str) -> None:
    facts = FACTS[model]
    slow, fast = settled(model, fan_override_percent=30.0), settled(model, fan_override_percent=100.0)
    assert slow.temperature_c > facts.temperature_c > fast.temperature_c > AMBIENT_C
    stopped = settled(model, running=False)
    assert AMBIENT_C < stopped.temperature_c < AMBIENT_C + 0.5 * (facts.temperature_c - AMBIENT_C)
    assert stopped.board_temperature_c >= AMBIENT_C


@pytest.mark.parametrize("model", MODELS)
def test_with_its_fan_held_it_approaches_the_end_with_its_time_constant(model: str) -> None:
    facts = FACTS[model]
    heat = Thermal(facts, 0)
    heat.fan_override_percent = facts.fan_percent
    heat.running = False
    end_c = AMBIENT_C + (facts.temperature_c - AMBIENT_C) * facts.static_share
    heat.advance(int(facts.tau_s * SECOND))
    expected = end_c + (facts.temperature_c - end_c) * math.exp(-1)
    assert heat.temperature_c == pytest.approx(expected, abs=0.01)


@given(
    model=st.sampled_from(MODELS),
    steps=st.lists(st.floats(0.0, 30.0), min_size=1, max_size=30),
    factor=st.floats(0.3, 1.3),
)
def test_looking_often_changes_nothing(model: str, steps: list[float], factor: float) -> None:
    often, once = Thermal(FACTS[model], 0), Thermal(FACTS[model], 0)
    for heat in (often, once):
        heat.frequency_mhz *= factor
    now = 0
    for step in steps:
        now += int(step * SECOND)
        often.advance(now)
        assert AMBIENT_C <= often.temperature_c < 200.0
    once.advance(now)
    # the automatic fan is steered once per step, which makes a small difference
    assert often.temperature_c == pytest.approx(once.temperature_c, abs=1.0)


def test_a_clock_that_stands_still_or_goes_back_changes_nothing() -> None:
    heat = Thermal(FACTS["s9"], 10 * SECOND)
    heat.frequency_mhz = 700.0
    heat.advance(20 * SECOND)
    before = heat.temperature_c
    heat.advance(20 * SECOND)
    heat.advance(5 * SECOND)
    assert heat.temperature_c == before
