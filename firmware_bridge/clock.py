"""Time as an argument: nothing below the command line reads a clock of its own."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where a component gets its time from; both readings are integer nanoseconds."""

    def monotonic_ns(self) -> int:
        """Nanoseconds of a clock that never steps; only differences mean anything."""

    def wall_ns(self) -> int:
        """Nanoseconds since the Unix epoch; may step."""


class SystemClock:
    """The clock of this host."""

    def monotonic_ns(self) -> int:
        """Read CLOCK_MONOTONIC in ns."""
        return time.monotonic_ns()

    def wall_ns(self) -> int:
        """Read CLOCK_REALTIME in ns."""
        return time.time_ns()


class VirtualClock:
    """A clock that only moves when told to, so that hours pass in no time and equal seeds give equal stamps."""

    def __init__(self, start_wall_ns: int = 1_700_000_000_000_000_000) -> None:
        self._start_wall_ns = start_wall_ns
        self._elapsed_ns = 0

    def monotonic_ns(self) -> int:
        """Nanoseconds since this clock was made."""
        return self._elapsed_ns

    def wall_ns(self) -> int:
        """Nanoseconds since the Unix epoch, counted from the start given."""
        return self._start_wall_ns + self._elapsed_ns

    def advance_to(self, elapsed_ns: int) -> None:
        """Move to `elapsed_ns` after the start.

        Raises:
            ValueError: if that lies in the past.
        """
        if elapsed_ns < self._elapsed_ns:
            raise ValueError(f"virtual time cannot go back from {self._elapsed_ns} ns to {elapsed_ns} ns")
        self._elapsed_ns = elapsed_ns
