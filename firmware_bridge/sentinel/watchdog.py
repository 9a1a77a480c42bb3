"""Whether telemetry can be believed: silent, without a temperature, impossible, stuck; and whether the fan turns.

A sensor that is stuck repeats itself. How often a healthy one does is learned from itself, where its steps are finer
than its noise. One of whole degrees may rightly say the same for hours; that it is stuck shows only once power, fan or
hash rate change and it does not.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from firmware_bridge.devices.telemetry import Telemetry

SILENT_PERIODS = 3
"""Readings in a row that may fail."""
LOWEST_C, HIGHEST_C = -20.0, 150.0
"""A chip outside of this is no chip, but a broken reading."""
WRONG_READINGS = 3
"""Impossible readings in a row until they are acted upon."""
HEAT_C_PER_S = 1.0
"""Fastest lasting change of the heat sinks known here; on top of it the die may jump, see ``WatchdogFacts.jump_c``."""
STUCK_PER_DAY = 1e-3
HABIT_READINGS, HABIT_LEAST = 400, 100
"""Last readings that a sensor's habit is learned from, and the fewest."""
HABIT_REVERSALS, HABIT_WIDE = 30, 0.2
"""Changes of direction among them, and the share of these that are wider than one step of the sensor."""
STUCK_SHORTEST = 8
RESPONSE_S = 60.0
"""Time after which a change of power or fan has to show in the temperature."""
RESPONSE_SHARE = 0.15
"""Relative change of power, fan or hash rate that has to show."""
FAN_READINGS = 2
FAN_SHARE = 0.2
"""A fan that turns with less than this share of its usual speed per per cent has failed."""
FAN_HABIT = 30


@dataclass(frozen=True, slots=True)
class WatchdogFacts:
    """What is normal for a model.

    Attributes:
        period_s: between two readings.
        jump_c: how much the die alone may jump from one reading to the next, when hashing starts or stops.
    """

    period_s: float
    jump_c: float


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that cannot be believed, or has failed.

    Attributes:
        kind: ``silent``, ``no-temperature``, ``implausible``, ``stuck`` or ``fan-stopped``.
        text: for people.
    """

    kind: str
    text: str


class Watchdog:
    """Judges each reading, or its absence.

    Args:
        facts: of the model.
    """

    def __init__(self, facts: WatchdogFacts) -> None:
        self.facts = facts
        self.believed_c: float | None = None
        """Temperature of the last reading if it can be used, else None."""
        self._last_good_s: float | None = None
        self._last: tuple[float, float] | None = None
        self._wrong = 0
        self._run = _Run()
        self._fan = _Fan()

    def observe(self, reading: Telemetry | None, now_s: float, *, excused: bool = False) -> list[Finding]:
        """Judge a reading; None where the device did not answer.

        Args:
            reading: what it told.
            now_s: when.
            excused: whether the device is away for a reason that is known, such as a restart.
        """
        self.believed_c = None
        if self._last_good_s is None:
            self._last_good_s = now_s
        late = now_s - self._last_good_s >= SILENT_PERIODS * self.facts.period_s - 0.01
        if excused:
            self._last_good_s = now_s
            self._run.forget()
            self._last = None
            late = False
        if reading is None:
            since = now_s - self._last_good_s
            return [Finding("silent", f"no answer for {since:.0f} s")] if late else []
        found = self._fan.observe(reading, excused=excused)
        temperature_c = reading.temperature_c
        if temperature_c is None:
            text = f"no temperature for {now_s - self._last_good_s:.0f} s"
            return [*found, *([Finding("no-temperature", text)] if late else [])]
        impossible = self._impossible(temperature_c, now_s)
        if impossible is not None:
            self._wrong += 1
            if self._wrong >= WRONG_READINGS:
                self._last = (now_s, temperature_c)  # what stays is the new level, once it was acted upon
                found.append(Finding("implausible", impossible))
            return found
        self._wrong = 0
        self._last = (now_s, temperature_c)
        self._last_good_s = now_s
        stuck = self._run.observe(reading, temperature_c, now_s, self.facts.period_s)
        if stuck is not None:
            return [*found, Finding("stuck", stuck)]
        self.believed_c = temperature_c
        return found

    def disturbed(self) -> None:
        """A change was made that has to show in the temperature."""
        self._run.disturbed()

    def _impossible(self, temperature_c: float, now_s: float) -> str | None:
        if not (math.isfinite(temperature_c) and LOWEST_C <= temperature_c <= HIGHEST_C):
            return f"{temperature_c:g} °C is no temperature of a chip"
        if self._last is None:
            return None
        then_s, before_c = self._last
        most_c = self.facts.jump_c + HEAT_C_PER_S * (now_s - then_s)
        if abs(temperature_c - before_c) > most_c:
            passed_s = now_s - then_s
            return f"from {before_c:.1f} to {temperature_c:.1f} °C in {passed_s:.0f} s: heat does not flow that fast"
        return None


class _Run:
    """The present run of equal temperatures, and how the readings before it changed from one to the next."""

    def __init__(self) -> None:
        self._value: float | None = None
        self._length = 0
        self._since_s = 0.0
        self._drives: tuple[float | None, ...] = ()
        self._disturbed_s: float | None = None
        self._moved = False
        self._changes: deque[float] = deque(maxlen=HABIT_READINGS)

    def forget(self) -> None:
        self._value = None
        self._length = 0

    def disturbed(self) -> None:
        self._moved = True

    def observe(self, reading: Telemetry, value: float, now_s: float, period_s: float) -> str | None:
        """Why the sensor counts as stuck, or None."""
        drives = (reading.power_w, reading.fan_rpm, reading.hash_rate_ghs)
        if value != self._value:
            if self._value is not None:
                self._changes.extend([0.0] * (self._length - 1))
                self._changes.append(value - self._value)
            self._value, self._length, self._since_s, self._drives = value, 1, now_s, drives
            self._disturbed_s, self._moved = None, False
            return None
        self._length += 1
        if self._disturbed_s is None and (self._moved or _changed(self._drives, drives)):
            self._disturbed_s = now_s
        if self._disturbed_s is not None and now_s - self._disturbed_s >= RESPONSE_S:
            return f"{value:g} °C for {now_s - self._since_s:.0f} s although power, fan or hash rate changed"
        if self._length < STUCK_SHORTEST:
            return None
        longest = longest_run(list(self._changes), period_s)
        if longest is not None and self._length >= longest:
            return f"{value:g} °C {self._length} times in a row; by its own noise this sensor repeats itself less"
        return None


def longest_run(changes: list[float], period_s: float) -> int | None:
    """Length of a run of equal readings that chance gives ``STUCK_PER_DAY`` times in 24 h.

    None where the readings do not tell: fewer than ``HABIT_LEAST``, or a sensor coarser than its noise. That shows in
    reversals over more than one step: a coarse one flickers between two neighbours, and only at their border.

    Args:
        changes: from each reading to the next, of a sensor that works.
        period_s: between two readings.
    """
    moves = [c for c in changes if c != 0.0]
    if len(changes) < HABIT_LEAST or not moves:
        return None
    step = min(map(abs, moves))
    back = [(a, b) for a, b in pairwise(moves) if a * b < 0]
    wide = sum(1 for a, b in back if max(abs(a), abs(b)) > 1.5 * step)
    if len(back) < HABIT_REVERSALS or wide < HABIT_WIDE * len(back):
        return None
    n = len(changes)
    share = 1.0 - len(moves) / n
    # upper end of the share, so that few readings do not make the rule too sharp
    share = min(0.999, share + 2.0 * math.sqrt(max(share * (1.0 - share), 1.0 / n) / n))
    runs_per_day = 86_400.0 / period_s * (1.0 - share)
    return max(STUCK_SHORTEST, 1 + math.ceil(math.log(STUCK_PER_DAY / runs_per_day) / math.log(share)))


def _changed(before: tuple[float | None, ...], now: tuple[float | None, ...]) -> bool:
    return any(
        a is not None and b is not None and abs(b - a) > RESPONSE_SHARE * max(abs(a), abs(b))
        for a, b in zip(before, now, strict=True)
    )


class _Fan:
    """Whether the fans turn as they are told, or as they used to; a driver may leave out one that stands still."""

    def __init__(self) -> None:
        self._usual: deque[float] = deque(maxlen=FAN_HABIT)
        self._median: float | None = None
        self._most = 0
        self._slow = 0

    def observe(self, reading: Telemetry, *, excused: bool) -> list[Finding]:
        wrong = None if excused or reading.fan_percent == 0 else self._wrong(reading)
        self._slow = 0 if wrong is None else self._slow + 1
        return [Finding("fan-stopped", wrong)] if wrong is not None and self._slow >= FAN_READINGS else []

    def _wrong(self, reading: Telemetry) -> str | None:
        rpm, percent = reading.fan_rpm, reading.fan_percent
        turning = sum(1 for each in reading.fans_rpm if each > 0)
        if turning < self._most:
            return f"{turning} of {self._most} fans turn"
        self._most = max(self._most, turning)
        if rpm is None:
            return "its fan no longer tells a speed" if self._usual else None
        speed = rpm if percent is None else rpm / percent
        if rpm <= 0 or (self._median is not None and speed < FAN_SHARE * self._median):
            return f"its fan turns at {rpm:g} rpm"
        if self._median is None or speed != self._median:
            self._usual.append(speed)
            self._median = median(self._usual)
        return None
