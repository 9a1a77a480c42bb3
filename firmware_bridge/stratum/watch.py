"""What silently spoils timing, noticed: clock steps, a suspended host, a stalled event loop.

CLOCK_REALTIME and CLOCK_MONOTONIC are slewed together on Linux, so their difference changes only when someone sets the
clock or the host sleeps; the part that CLOCK_BOOTTIME saw of the change is sleep. A slew that touches one of them alone
(other systems, up to 500 ppm) stays within the tolerance.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from firmware_bridge.clock import Clock

STEP_TOLERANCE_NS = 1_000_000
"""Change of wall minus monotonic time between two checks that counts as a step; reading both costs microseconds."""

SLEW_ALLOWANCE = 500e-6
"""The largest slew of NTP's kernel discipline, as a fraction of the time between two checks."""

STALL_NS = 250_000_000
"""Lateness of a check that is written down as a stall of the event loop."""


def boottime_ns() -> int | None:
    """CLOCK_BOOTTIME in ns, which goes on while the host sleeps; None where there is no such clock."""
    clock_id = getattr(time, "CLOCK_BOOTTIME", None)
    return None if clock_id is None else time.clock_gettime_ns(clock_id)


class Watch:
    """Compares clocks every ``period_s``; call :meth:`check` from the event loop.

    Args:
        clock: the clock that stamps the run.
        event: told of what happened: kind, severity, detail.
        period_s: intended time between checks.
        boottime: reads a clock that goes on while the host sleeps.
    """

    def __init__(
        self,
        clock: Clock,
        event: Callable[[str, str, dict[str, Any]], None],
        *,
        period_s: float = 0.25,
        boottime: Callable[[], int | None] = boottime_ns,
    ) -> None:
        self._clock, self._event, self._boottime = clock, event, boottime
        self.period_s = period_s
        self._monotonic, self._offset, self._slept = self._read()

    def _read(self) -> tuple[int, int, int | None]:
        """Monotonic time, wall minus monotonic, boottime minus monotonic; the tightest of three readings."""
        best: tuple[int, int, int, int | None] | None = None
        for _ in range(3):
            before = self._clock.monotonic_ns()
            wall, boot = self._clock.wall_ns(), self._boottime()
            width = self._clock.monotonic_ns() - before
            if best is None or width < best[0]:
                middle = before + width // 2
                best = (width, middle, wall - middle, None if boot is None else boot - middle)
        assert best is not None
        return best[1:]

    def check(self) -> str | None:
        """Look once; a text where timing can no longer be trusted and the run has to stop."""
        monotonic, offset, slept = self._read()
        elapsed = monotonic - self._monotonic
        step = offset - self._offset
        asleep = 0 if slept is None or self._slept is None else slept - self._slept
        self._monotonic, self._offset, self._slept = monotonic, offset, slept
        late = elapsed - round(self.period_s * 1e9)
        if late > STALL_NS:
            self._event("loop-stall", "warning", {"late_ns": late})
        tolerance = STEP_TOLERANCE_NS + round(SLEW_ALLOWANCE * max(elapsed, 0))
        if asleep > tolerance:
            self._event("suspend", "error", {"asleep_ns": asleep, "wall_step_ns": step})
            return f"the host was suspended for {asleep / 1e9:.3f} s: times before and after do not compare"
        if abs(step) > tolerance:
            self._event("clock-step", "error", {"step_ns": step})
            return f"the wall clock was set by {step / 1e9:+.6f} s: kernel stamps before and after do not compare"
        return None
