"""What the page says of one miner, kept up share by share: no share is held, so it costs the same after a week."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

RASTER_S = 60.0
"""Length of the raster of arrivals."""
BINS_PER_DECADE, SHORTEST_MS, LONGEST_MS = 12, 0.1, 1e7
EDGES_MS = np.geomspace(SHORTEST_MS, LONGEST_MS, BINS_PER_DECADE * 8 + 1)
"""Edges of the histogram of intervals, fixed beforehand."""
MIN_INTERVALS = 30
"""Below this a spread is not shown."""


@dataclass
class LiveMiner:
    """Counts, moments and the last minute of one miner.

    Attributes:
        number: in the run.
        name: worker name.
        model: where known.
        shares: that verify.
        refused: that do not.
        intervals: used for the moments.
        moments: sums of x, x², x³, x⁴ of the intervals in s.
        histogram: counts by EDGES_MS.
        recent_ns: arrivals of the last minute.
        telemetry: newest reading.
    """

    number: int
    name: str
    model: str | None
    shares: int = 0
    refused: int = 0
    intervals: int = 0
    moments: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(4))
    histogram: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(EDGES_MS.size - 1, np.int64))
    recent_ns: deque[int] = field(default_factory=lambda: deque(maxlen=2000))
    telemetry: dict[str, Any] = field(default_factory=dict)
    heat: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=500))

    def add(self, arrival_ns: npt.NDArray[np.int64], interval_ns: npt.NDArray[np.int64]) -> None:
        """Take up new shares: arrival stamps, and intervals since the share before (0 where unknown)."""
        self.shares += arrival_ns.size
        self.recent_ns.extend(arrival_ns[-2000:].tolist())
        x_s = interval_ns[interval_ns > 0] / 1e9
        self.intervals += x_s.size
        self.moments += np.array([(x_s**k).sum() for k in (1, 2, 3, 4)])
        self.histogram += np.histogram(x_s * 1e3, EDGES_MS)[0]

    def spread(self) -> dict[str, float | None]:
        """Mean interval in ms, CV, and its 95 % interval for independent intervals (delta method).

        The sampling variance of s/m with central moments μ2..μ4 is
        ((μ4 - μ2²)/(4 m² μ2) - μ3/m³ + μ2²/m⁴) / n.
        """
        n = self.intervals
        if n < MIN_INTERVALS:
            return {"mean_ms": None, "cv": None, "low": None, "high": None}
        m, a, b, c = (float(v) for v in self.moments / n)
        mu2 = a - m * m
        mu3 = b - 3 * m * a + 2 * m**3
        mu4 = c - 4 * m * b + 6 * m * m * a - 3 * m**4
        if mu2 <= 0:
            return {"mean_ms": m * 1e3, "cv": 0.0, "low": None, "high": None}
        variance = ((mu4 - mu2**2) / (4 * m * m * mu2) - mu3 / m**3 + mu2**2 / m**4) / n
        cv, error = math.sqrt(mu2) / m, math.sqrt(max(variance, 0.0))
        return {"mean_ms": m * 1e3, "cv": cv, "low": cv - 1.96 * error, "high": cv + 1.96 * error}

    def rate(self, now_ns: int) -> float:
        """Shares per second in the last minute of the run."""
        recent = sum(1 for t in self.recent_ns if t > now_ns - RASTER_S * 1e9)
        return recent / RASTER_S

    def to_json(self, now_ns: int) -> dict[str, Any]:
        """As the page wants it."""
        return {
            "number": self.number,
            "name": self.name,
            "model": self.model,
            "shares": self.shares,
            "refused": self.refused,
            "rate": self.rate(now_ns),
            **self.spread(),
            "telemetry": self.telemetry,
        }


def histogram(miners: list[LiveMiner]) -> dict[str, list[float]]:
    """Intervals of all miners by length, beside those of a fair hash with the same mean.

    Returns:
        Lower edges in ms, counts, and the counts that exponential intervals of each miner's mean would have.
    """
    counts = np.sum([m.histogram for m in miners], axis=0) if miners else np.zeros(EDGES_MS.size - 1)
    null = np.zeros(EDGES_MS.size - 1)
    for miner in miners:
        if miner.intervals:
            mean_ms = float(miner.moments[0]) / miner.intervals * 1e3
            null += miner.intervals * -np.diff(np.exp(-EDGES_MS / mean_ms))
    used = np.flatnonzero((counts > 0) | (null > 0.5))
    part = slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(0, 0)
    return {"ms": EDGES_MS[:-1][part].tolist(), "count": counts[part].tolist(), "null": null[part].tolist()}
