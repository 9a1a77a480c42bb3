"""Anomalies as they happen: rarely without one, soon with one, and learned anew after a change."""

from __future__ import annotations

import numpy as np
import pytest

from firmware_bridge.devices.settings import Setting
from firmware_bridge.devices.telemetry import Telemetry
from firmware_bridge.sentinel.monitor import LEARN_READINGS, TelemetryMonitor, TimingMonitor

DAY = 28_800


def readings(rng: np.random.Generator, n: int, **factor: float) -> list[Telemetry]:
    """Readings of a steady LV06 with white noise; each quantity may be off by a factor."""
    f = {"rate": 1.0, "power": 1.0, "voltage": 1.0, "fan": 1.0, **factor}
    noise = rng.standard_normal((n, 5))
    return [
        Telemetry(
            0,
            0,
            temperature_c=58.0 + 0.1 * row[0],
            board_temperature_c=50.0 + 0.1 * row[1],
            core_voltage_mv=1200.0 * f["voltage"] + 3.0 * row[2],
            frequency_mhz=485.0,
            power_w=13.2 * f["power"] * (1.0 + 0.01 * row[3]),
            fan_rpm=5200.0 * f["fan"],
            fan_percent=70.0,
            hash_rate_ghs=433.0 * f["rate"] * (1.0 + 0.004 * row[4]),
        )
        for row in noise
    ]


def test_a_week_of_white_noise_gives_as_few_alarms_as_it_says() -> None:
    rng, monitor, alarms = np.random.default_rng(3), TelemetryMonitor(), 0
    for _ in range(2):
        alarms += sum(len(monitor.observe(r)) for r in readings(rng, DAY))
    # 5 columns x 2 detectors x 0.1 a day x 2 days; the 200 readings that were learned from make it somewhat more
    assert alarms <= 8


@pytest.mark.parametrize(
    ("factor", "column"),
    [
        ({"rate": 0.95}, "hash rate per MHz"),
        ({"power": 1.15}, "power per V² f"),
        ({"voltage": 0.97}, "core voltage, mV"),
        ({"fan": 0.8}, "fan speed per per cent"),
    ],
)
def test_a_lasting_change_is_found_within_a_minute(factor: dict[str, float], column: str) -> None:
    rng, monitor = np.random.default_rng(4), TelemetryMonitor()
    for reading in readings(rng, 600):
        assert monitor.observe(reading) == []
    found = [a for r in readings(rng, 20, **factor) for a in monitor.observe(r) if a.column == column]
    assert found, column
    assert found[0].text
    assert found[0].usual != found[0].value


def test_a_slow_drift_too_small_for_one_reading_is_found_by_the_cusum() -> None:
    rng, monitor = np.random.default_rng(5), TelemetryMonitor()
    for reading in readings(rng, 600):
        monitor.observe(reading)
    found = [a for reading in readings(rng, 300, rate=0.99) for a in monitor.observe(reading)]
    assert [a.detector for a in found] == ["CUSUM"]


def test_a_change_of_settings_is_no_anomaly() -> None:
    rng, monitor = np.random.default_rng(6), TelemetryMonitor()
    for reading in readings(rng, 600):
        monitor.observe(reading)
    monitor.moved({Setting.FREQUENCY})
    assert not [
        a for r in readings(rng, LEARN_READINGS + 100, rate=0.9, power=0.8) for a in monitor.observe(r)
    ]


@pytest.mark.parametrize("law", ["exponential", "with dead time"])
def test_shares_that_come_as_usual_give_no_alarm(law: str) -> None:
    rng, monitor = np.random.default_rng(7), TimingMonitor()
    intervals = rng.exponential(0.3, 15_000) + (0.05 if law == "with dead time" else 0.0)
    assert sum(len(monitor.observe(float(x))) for x in intervals) <= 1


@pytest.mark.parametrize(("factor", "words"), [(1.6, "slower"), (0.6, "faster")])
def test_a_change_of_the_rate_is_found_within_a_hundred_shares(factor: float, words: str) -> None:
    rng, monitor = np.random.default_rng(8), TimingMonitor()
    for x in rng.exponential(0.3, 1500):
        assert monitor.observe(float(x)) == []
    found = [a for x in rng.exponential(0.3 * factor, 100) for a in monitor.observe(float(x))]
    assert words in found[0].text


def test_a_change_of_the_spread_alone_is_found() -> None:
    rng, monitor = np.random.default_rng(9), TimingMonitor()
    for x in rng.exponential(0.3, 1500):
        monitor.observe(float(x))
    found = [a for x in rng.gamma(4.0, 0.075, 400) for a in monitor.observe(float(x))]
    assert "CV of intervals" in {a.column for a in found}
