"""Hard limits that know nothing of the PID: a trip point, a look ahead, a latch; and how often a setting may move."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import Any

SLOPE_READINGS = 5
"""Readings that a slope is taken over: the fewest of which two may be wrong."""
SLOPE_MIN_READINGS = 4
SLOPE_WINDOW_S = 60.0
LOOK_AHEAD_WITHIN_C = 15.0
"""The look ahead counts from so far below the trip point on: a cold start heats fast and stops by itself."""


@dataclass(frozen=True, slots=True)
class TripFacts:
    """Where a model is tripped.

    Attributes:
        limit_c: never to be passed by the hottest chip.
        trip_c: reading at which it is brought to its safe point.
        horizon_s: how far the slope is followed towards the limit.
        clear_c: below this a device counts as cool again.
    """

    limit_c: float
    trip_c: float
    horizon_s: float
    clear_c: float

    def __post_init__(self) -> None:
        if not self.clear_c < self.trip_c < self.limit_c:
            raise ValueError("clear_c lies below trip_c, and that below limit_c")


@dataclass(frozen=True, slots=True)
class Trip:
    """Why it tripped.

    Attributes:
        kind: ``temperature`` or ``slope``.
        temperature_c: of the reading.
        slope_c_per_s: over the last readings, None where there are too few.
        text: for people.
    """

    kind: str
    temperature_c: float
    slope_c_per_s: float | None
    text: str


def robust_slope(points: list[tuple[float, float]]) -> float | None:
    """Theil-Sen slope (median of the slopes of all pairs), None for fewer than ``SLOPE_MIN_READINGS`` points."""
    if len(points) < SLOPE_MIN_READINGS:
        return None
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(points, 2) if b[0] > a[0]]
    return median(slopes) if slopes else None


class TripGuard:
    """Looks at every reading, whatever steers the device; trips once and stays so until :meth:`release`.

    Args:
        facts: of the model, or tightened by the user.
    """

    def __init__(self, facts: TripFacts) -> None:
        self.facts = facts
        self.tripped: Trip | None = None
        self.slope_c_per_s: float | None = None
        self._points: deque[tuple[float, float]] = deque(maxlen=SLOPE_READINGS)
        self.last_c: float | None = None
        """Of the last reading."""

    def observe(self, temperature_c: float, now_s: float) -> Trip | None:
        """Take a reading; the trip if it is this one that trips."""
        facts = self.facts
        self.last_c = temperature_c
        self._points.append((now_s, temperature_c))
        while now_s - self._points[0][0] > SLOPE_WINDOW_S:
            self._points.popleft()
        near = temperature_c >= facts.trip_c - LOOK_AHEAD_WITHIN_C
        self.slope_c_per_s = slope = robust_slope(list(self._points)) if near else None
        if self.tripped is not None:
            return None
        if temperature_c >= facts.trip_c:
            text = f"{temperature_c:.1f} °C is at the trip point of {facts.trip_c:g} °C"
            self.tripped = Trip("temperature", temperature_c, slope, text)
            return self.tripped
        if slope is not None and slope > 0 and temperature_c + slope * facts.horizon_s >= facts.limit_c:
            text = (
                f"{temperature_c:.1f} °C and rising by {slope:.2f} °C/s: the limit of {facts.limit_c:g} °C is less "
                f"than {facts.horizon_s:g} s away"
            )
            self.tripped = Trip("slope", temperature_c, slope, text)
            return self.tripped
        return None

    @property
    def cool(self) -> bool:
        """Whether the last reading lies below ``clear_c``."""
        return self.last_c is not None and self.last_c < self.facts.clear_c

    @property
    def hot(self) -> bool:
        """Whether the last reading still lies at the trip point or above."""
        return self.last_c is not None and self.last_c >= self.facts.trip_c

    def forget(self) -> None:
        """Drop the readings of before a gap."""
        self._points.clear()

    def release(self) -> bool:
        """Unlatch, if it is cool; whether it did."""
        if not self.cool:
            return False
        self.tripped = None
        return True


@dataclass(frozen=True, slots=True)
class Pace:
    """How often, and by how much a setting may move; cooling in an emergency is exempt.

    Attributes:
        every_s: least time between two changes.
        deadband: smaller changes are not made.
        most: largest change at once, None for any.
    """

    every_s: float
    deadband: float
    most: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"every_s": self.every_s, "deadband": self.deadband, "most": self.most}


class RateLimit:
    """Keeps a pace.

    Args:
        pace: to keep.
    """

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self._last_s: float | None = None

    def ready(self, now_s: float) -> bool:
        """Whether a change is due at all."""
        return self._last_s is None or now_s - self._last_s >= self.pace.every_s

    def allowed(self, present: float, wanted: float, now_s: float) -> float | None:
        """The value to set now, None for none."""
        if not self.ready(now_s) or abs(wanted - present) < max(self.pace.deadband, 1e-12):
            return None
        most = self.pace.most
        if most is None:
            return wanted
        return min(present + most, max(present - most, wanted))

    def moved(self, now_s: float) -> None:
        """Note a change."""
        self._last_s = now_s
