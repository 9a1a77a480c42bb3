"""Difficulty that an emulated miner has had accepted: shares at the difficulty that they were found at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Tally:
    """Sums since the last start of the device.

    Attributes:
        accepted: difficulty of all accepted shares.
        rejected: of all rejected ones.
        last_s: up time of the device when the last share was noticed, s.
    """

    accepted: float = 0.0
    rejected: float = 0.0
    last_s: float = 0.0
    _shares: tuple[int, int] = (0, 0)

    def seen(self, accepted: int, rejected: int, difficulty: float, uptime_s: float) -> Tally:
        """Take in the present counts of shares; what came since the last time has the present difficulty."""
        before = self._shares
        if accepted < before[0] or rejected < before[1] or uptime_s < self.last_s:  # it has restarted
            self.accepted = self.rejected = self.last_s = 0.0
            before = (0, 0)
        self.accepted += (accepted - before[0]) * difficulty
        self.rejected += (rejected - before[1]) * difficulty
        if (accepted, rejected) != before:
            self.last_s = uptime_s
        self._shares = (accepted, rejected)
        return self
