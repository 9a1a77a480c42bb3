"""Anomalies as they happen: quantities of telemetry that physics keeps constant, and the waiting times of shares.

Raw telemetry moves whenever something is set. So ratios are watched that a setting leaves alone: hash rate per MHz,
power per ``V² f``, fan speed per per cent, die above board. What is usual is learned on the device itself, and learned
anew after an alarm and after a change that moves it. Nothing here ever acts; it says what is unusual.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from firmware_bridge.devices.settings import Setting
from firmware_bridge.devices.telemetry import Telemetry
from firmware_bridge.sentinel.anomaly import Cusum, RobustZ
from firmware_bridge.sentinel.anomaly_timing import ExponentialCusum, SpreadChange

LEARN_READINGS = 200
"""Readings of what is usual; ten minutes at the usual period."""
FALSE_ALARMS_PER_DAY = 0.1
"""Of each detector on each column of white noise, at one reading in three seconds."""
READINGS_PER_DAY = 28_800
SHIFT_SD = 2.0
"""Shift that the CUSUM is made for; smaller ones would make it mistake the error of 200 readings for one."""
OUTLIERS = 2
"""Unusual readings in a row that count: one alone may be a reading taken in the middle of a change."""
LEARN_INTERVALS = 500
INTERVAL_RUN_LENGTH = 100_000.0
BLOCK_ALARMS = 1e-4


@dataclass(frozen=True, slots=True)
class Anomaly:
    """Something unusual.

    Attributes:
        column: what is unusual.
        detector: which detector says so.
        value: the sample at the alarm.
        usual: the usual value.
        text: for people.
    """

    column: str
    detector: str
    value: float
    usual: float
    text: str

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Column:
    """A quantity that is watched.

    Attributes:
        name: of it.
        of: its value in a reading, None where that does not tell.
        floor: smallest relative standard deviation believed.
        moved_by: settings whose change moves it.
    """

    name: str
    of: Callable[[Telemetry], float | None]
    floor: float
    moved_by: frozenset[Setting]


def _ratio(over: float | None, under: float | None) -> float | None:
    return None if over is None or not under else over / under


def _power_per_switching(reading: Telemetry) -> float | None:
    volts, clock = reading.core_voltage_mv, reading.frequency_mhz
    switching = None if volts is None or clock is None else volts * volts * clock / 1e9
    return _ratio(reading.power_w, switching)


def _above_board(reading: Telemetry) -> float | None:
    chip, board = reading.temperature_c, reading.board_temperature_c
    return None if chip is None or board is None else chip - board


_CLOCK = frozenset({Setting.FREQUENCY, Setting.CORE_VOLTAGE, Setting.POWER_PLAN})
COLUMNS = (
    Column("hash rate per MHz", lambda r: _ratio(r.hash_rate_ghs, r.frequency_mhz), 0.004, _CLOCK),
    Column("power per V² f", _power_per_switching, 0.01, _CLOCK),
    Column("core voltage, mV", lambda r: r.core_voltage_mv, 0.004, _CLOCK),
    Column("fan speed per per cent", lambda r: _ratio(r.fan_rpm, r.fan_percent), 0.02, frozenset()),
    Column("die above board, °C", _above_board, 0.08, _CLOCK),
)


class _Watched:
    """One column with its detectors."""

    def __init__(self, column: Column) -> None:
        self.column = column
        self.forget()

    def forget(self) -> None:
        self._learned: list[float] = []
        self._z: RobustZ | None = None
        self._cusum: Cusum | None = None
        self._outliers = 0

    def observe(self, value: float) -> Anomaly | None:
        if self._z is None or self._cusum is None:
            self._learned.append(value)
            if len(self._learned) >= LEARN_READINGS:
                self._fit()
            return None
        usual, scale = float(self._z.median_[0]), float(self._z.scale_[0])
        distance = (value - usual) / scale
        self._outliers = self._outliers + 1 if -abs(distance) < self._z.offset_ else 0
        shifted = self._cusum.update(value)
        detector = "robust z" if self._outliers >= OUTLIERS else "CUSUM" if shifted else None
        if detector is None:
            return None
        name = self.column.name
        text = f"{name} is {value:.4g}, usually {usual:.4g} ± {scale:.2g} ({detector})"
        self.forget()
        return Anomaly(name, detector, value, usual, text)

    def _fit(self) -> None:
        median = sorted(self._learned)[len(self._learned) // 2]
        floor = self.column.floor * abs(median)
        per_reading = FALSE_ALARMS_PER_DAY / READINGS_PER_DAY
        self._z = RobustZ(alarms=math.sqrt(per_reading), floor=floor).fit(self._learned)
        self._cusum = Cusum(1.0 / per_reading, SHIFT_SD, floor=floor).fit(self._learned)
        self._learned.clear()


class TelemetryMonitor:
    """Watches the readings of one device."""

    def __init__(self) -> None:
        self._watched = [_Watched(column) for column in COLUMNS]

    def observe(self, reading: Telemetry) -> list[Anomaly]:
        """Anomalies that this reading shows."""
        found = []
        for watched in self._watched:
            value = watched.column.of(reading)
            if value is not None and math.isfinite(value):
                anomaly = watched.observe(value)
                if anomaly is not None:
                    found.append(anomaly)
        return found

    def moved(self, settings: set[Setting]) -> None:
        """Settings were changed: learn anew what they move."""
        for watched in self._watched:
            if watched.column.moved_by & settings:
                watched.forget()


class TimingMonitor:
    """Watches the waiting times of one miner's shares: their rate, and their spread.

    Args:
        learn: intervals of what is usual.
    """

    def __init__(self, learn: int = LEARN_INTERVALS) -> None:
        self._learn = learn
        self._seen: list[float] = []
        self._rate: ExponentialCusum | None = None
        self._spread: SpreadChange | None = None
        self._block: list[float] = []

    def moved(self) -> None:
        """The clock was changed: learn anew."""
        self.__init__(self._learn)  # type: ignore[misc]

    def observe(self, interval_s: float) -> list[Anomaly]:
        """Anomalies that this interval completes."""
        if self._rate is None or self._spread is None:
            self._seen.append(interval_s)
            if len(self._seen) >= self._learn:
                self._fit()
            return []
        found: list[Anomaly] = []
        way = self._rate.update(interval_s)
        if way:
            usual = self._rate.mean_
            words = "come slower" if way > 0 else "come faster"
            text = f"shares {words} than one in {usual:.3g} s (CUSUM)"
            found.append(Anomaly("interval between shares", "CUSUM", interval_s, usual, text))
        self._block.append(interval_s)
        if len(self._block) >= self._spread.block:
            usual = math.exp(self._spread.centre_)
            if self._spread.predict(self._block)[0] < 0:
                mean = sum(self._block) / len(self._block)
                spread = math.sqrt(sum((x - mean) ** 2 for x in self._block) / (len(self._block) - 1))
                cv = spread / mean if mean > 0 else 0.0
                text = f"CV of {len(self._block)} intervals is {cv:.3g}, usually {usual:.3g}"
                found.append(Anomaly("CV of intervals", "block CV", cv, usual, text))
            self._block.clear()
        if found:
            self.moved()
        return found

    def _fit(self) -> None:
        self._rate = ExponentialCusum(INTERVAL_RUN_LENGTH, assume="empirical").fit(self._seen)
        self._spread = SpreadChange(BLOCK_ALARMS, draws=50_000).fit(self._seen)
        self._seen.clear()
