"""What telemetry is not believed, how fast that is found, and that a healthy sensor is believed for days."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from firmware_bridge.devices.telemetry import Telemetry
from firmware_bridge.sentinel.watchdog import Watchdog, WatchdogFacts, longest_run

PERIOD_S = 3.0


def dog() -> Watchdog:
    return Watchdog(WatchdogFacts(PERIOD_S, jump_c=14.0))


def reading(temperature_c: float | None, **more: float | None) -> Telemetry:
    return Telemetry(0, 0, temperature_c=temperature_c, **more)  # type: ignore[arg-type]


def kinds(watchdog: Watchdog, seen: Telemetry | None, now_s: float) -> list[str]:
    return [f.kind for f in watchdog.observe(seen, now_s)]


def test_silence_is_found_after_three_periods_and_an_excused_one_is_not() -> None:
    watchdog = dog()
    assert kinds(watchdog, reading(58.0), 0.0) == []
    assert [kinds(watchdog, None, t) for t in (3.0, 6.0, 9.0)] == [[], [], ["silent"]]
    assert kinds(watchdog, reading(58.0), 12.0) == []
    assert watchdog.believed_c == 58.0
    assert all(watchdog.observe(None, 12.0 + 3.0 * n, excused=True) == [] for n in range(1, 20))


def test_a_missing_temperature_is_found_after_three_periods() -> None:
    watchdog = dog()
    kinds(watchdog, reading(58.0), 0.0)
    assert [kinds(watchdog, reading(None), t) for t in (3.0, 6.0, 9.0)] == [[], [], ["no-temperature"]]
    assert watchdog.believed_c is None


@pytest.mark.parametrize("value", [-40.0, 999.0, float("nan"), float("inf")])
def test_what_no_chip_has_is_not_believed(value: float) -> None:
    watchdog = dog()
    kinds(watchdog, reading(58.0), 0.0)
    assert kinds(watchdog, reading(value), 3.0) == []
    assert watchdog.believed_c is None
    assert kinds(watchdog, reading(value), 6.0) == []
    assert kinds(watchdog, reading(value), 9.0) == ["implausible"]


def test_a_jump_that_heat_cannot_make_is_not_believed_and_one_outlier_is_forgiven() -> None:
    watchdog = dog()
    kinds(watchdog, reading(58.0), 0.0)
    assert kinds(watchdog, reading(30.0), 3.0) == []
    assert watchdog.believed_c is None
    assert kinds(watchdog, reading(58.0), 6.0) == []
    assert watchdog.believed_c == 58.0
    assert kinds(watchdog, reading(47.0), 9.0) == []  # the die alone may do that
    assert watchdog.believed_c == 47.0


def noisy(rng: np.random.Generator, n: int, step_c: float, level_c: float = 58.0) -> np.ndarray:
    return np.round((level_c + 0.1 * rng.standard_normal(n)) / step_c) * step_c


@pytest.mark.parametrize("step_c", [0.05, 0.1, 1.0])
@pytest.mark.parametrize("level_c", [58.0, 58.47])
def test_a_healthy_sensor_is_never_called_stuck_in_three_days(step_c: float, level_c: float) -> None:
    watchdog, rng = dog(), np.random.default_rng(7)
    values = noisy(rng, 3 * 28_800, step_c, level_c)
    # a slow change of half a degree, so that a coarse sensor flickers for a while and then rests
    values = np.round((values + 0.5 * np.sin(np.arange(values.size) / 2e4)) / step_c) * step_c
    assert not any(kinds(watchdog, reading(float(v)), PERIOD_S * n) for n, v in enumerate(values))


@pytest.mark.parametrize("seed", range(5))
def test_a_fine_sensor_that_sticks_is_found_within_a_minute_and_a_half(seed: int) -> None:
    watchdog, rng = dog(), np.random.default_rng(seed)
    for n, value in enumerate(noisy(rng, 400, 0.1)):
        assert kinds(watchdog, reading(float(value)), PERIOD_S * n) == []
    found = next(n for n in range(1, 200) if kinds(watchdog, reading(float(value)), PERIOD_S * (399 + n)))
    assert PERIOD_S * found <= 90.0
    assert watchdog.believed_c is None


@pytest.mark.parametrize("drive", ["power_w", "fan_rpm", "hash_rate_ghs"])
def test_a_coarse_sensor_that_sticks_is_found_once_power_fan_or_rate_change(drive: str) -> None:
    watchdog = dog()
    for n in range(2000):
        assert kinds(watchdog, reading(78.0, **{drive: 1000.0}), PERIOD_S * n) == []
    then = [kinds(watchdog, reading(78.0, **{drive: 800.0}), PERIOD_S * (2000 + n)) for n in range(25)]
    assert then[-1] == ["stuck"]
    assert then[15] == []
    healthy = dog()
    for n in range(100):
        kinds(healthy, reading(78.0, **{drive: 1000.0}), PERIOD_S * n)
    assert not any(
        kinds(healthy, reading(78.0 - 1.0 * (n > 10), **{drive: 800.0}), PERIOD_S * (100 + n))
        for n in range(19)
    )


def test_how_long_chance_repeats_a_reading_is_that_of_a_geometric_law() -> None:
    rng = np.random.default_rng(11)
    changes = list(np.diff(noisy(rng, 400, 0.1)).round(6))
    longest = longest_run(changes, PERIOD_S)
    assert longest is not None
    # against runs drawn anew: the share of equal neighbours p gives p^(m-1) runs of at least m
    values = noisy(np.random.default_rng(12), 2_000_000, 0.1)
    equal = np.diff(values) == 0
    share = equal.mean()
    per_day = 28_800 * (1 - share) * share ** (longest - 1)
    assert per_day < 1e-3
    assert longest_run(changes[:50], PERIOD_S) is None
    assert longest_run(list(np.diff(noisy(rng, 400, 1.0, 58.47))), PERIOD_S) is None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"fan_rpm": 5200.0, "fan_percent": 70.0}, {"fan_rpm": 0.0, "fan_percent": 100.0}),
        ({"fan_rpm": 5200.0, "fan_percent": 70.0}, {"fan_rpm": 900.0, "fan_percent": 100.0}),
        ({"fan_rpm": 5760.0}, {"fan_rpm": None}),
    ],
)
def test_a_fan_that_stops_is_found_at_the_second_reading(
    before: dict[str, float | None], after: dict[str, float | None]
) -> None:
    watchdog = dog()
    for n in range(40):
        assert kinds(watchdog, reading(58.0 + 0.1 * (n % 3), **before), PERIOD_S * n) == []
    assert kinds(watchdog, reading(58.0, **after), 120.0) == []
    assert kinds(watchdog, reading(58.1, **after), 123.0) == ["fan-stopped"]


def test_one_of_two_fans_that_stops_is_found_and_a_fan_told_to_stand_is_not() -> None:
    watchdog = dog()
    both = replace(reading(78.0), fan_rpm=5760.0, fans_rpm=(5760.0, 4320.0))
    one = replace(reading(78.0), fan_rpm=5760.0, fans_rpm=(5760.0,))
    kinds(watchdog, both, 0.0)
    assert [kinds(watchdog, one, t) for t in (3.0, 6.0)] == [[], ["fan-stopped"]]
    still = dog()
    told = reading(40.0, fan_rpm=0.0, fan_percent=0.0)
    assert all(kinds(still, told, PERIOD_S * n) == [] for n in range(5))
