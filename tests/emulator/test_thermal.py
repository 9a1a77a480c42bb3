"""The heat of emulated miners: steady at the nominal point, physical in every direction, whoever looks how often."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

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
@pytest.mark.parametrize("case", ["stopped", "overclocked", "fan failed", "undervolted"])
def test_it_follows_the_equations_of_two_nodes(model: str, case: str) -> None:
    """Against scipy's solver, with the equations written down anew."""
    facts = FACTS[model]
    chip = facts.electrical
    heat = Thermal(facts, 0, ambient_c=30.0)
    heat.fan_override_percent = 0.9 * facts.fan_percent
    frequency, voltage, speed, running = facts.frequency_mhz, facts.core_voltage_mv, 0.9, True
    match case:
        case "stopped":
            heat.running = running = False
        case "overclocked":
            heat.frequency_mhz = frequency = 1.05 * frequency
        case "fan failed":
            heat.fan_failed, speed = True, 0.0
        case "undervolted":
            heat.core_voltage_mv = voltage = 0.96 * voltage
    chip_w = facts.power_w * (1 - chip.fixed_share)
    r_die = facts.board_offset_c / chip_w
    g_nominal = facts.power_w / (facts.temperature_c - facts.board_offset_c - AMBIENT_C)
    g = g_nominal * (facts.still_air + (1 - facts.still_air) * speed**0.8)

    def slope(_: float, temperatures: list[float]) -> list[float]:
        die, sink = temperatures
        volts = voltage / facts.core_voltage_mv
        leaks = chip.leakage_share * volts * 2 ** ((die - facts.temperature_c) / chip.leakage_doubles_c)
        switches = (1 - chip.fixed_share - chip.leakage_share) * volts**2 * frequency / facts.frequency_mhz
        power = facts.power_w * (leaks + (switches if running else 0.0))
        through = (die - sink) / r_die
        return [
            (power - through) / (facts.die_tau_s / r_die),
            (through + facts.power_w * chip.fixed_share - g * (sink - 30.0)) / (facts.tau_s * g_nominal),
        ]

    start = [facts.temperature_c, facts.temperature_c - facts.board_offset_c]
    seconds = 0.7 * facts.tau_s
    exact = solve_ivp(slope, (0.0, seconds), start, method="LSODA", rtol=1e-9, atol=1e-9).y[:, -1]
    heat.advance(round(seconds * SECOND))
    moved = abs(exact[0] - start[0])
    assert moved > 0.3
    assert heat.temperature_c == pytest.approx(exact[0], abs=0.02 * moved + 0.01)
    assert heat.board_temperature_c == pytest.approx(exact[1], abs=0.02 * moved + 0.01)


@pytest.mark.parametrize("model", MODELS)
def test_without_its_fan_it_runs_away_from_what_a_chip_survives(model: str) -> None:
    heat = settled(model, fan_failed=True)
    assert heat.temperature_c > 100.0
    assert heat.fan_rpm == 0.0


def test_to_settle_is_to_wait_long() -> None:
    waited = settled("lv06", frequency_mhz=400.0)
    at_once = Thermal(FACTS["lv06"], 0)
    at_once.frequency_mhz = 400.0
    at_once.settle()
    assert at_once.temperature_c == pytest.approx(waited.temperature_c, abs=0.01)
    assert at_once.hashed_s == 0.0
    at_once.advance(SECOND)
    assert at_once.hashed_s == pytest.approx(400.0 / 485.0, rel=1e-3)


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
        assert AMBIENT_C - 0.01 <= often.temperature_c < 200.0
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
