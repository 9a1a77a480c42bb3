"""What is computed of one interval stream, with how much effort, and the form in which it is handed on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from firmware_bridge.timing.surrogates import SurrogateResult

FANO_WINDOWS_S = {"0.25": 250_000_000, "1": 1_000_000_000, "5": 5_000_000_000}
ORDERS = (3, 4, 5)
SLOW_BLOCK = 20_000
"""Sample entropy, bootstrap, Monte-Carlo and surrogates look at no more than this many consecutive intervals."""
QUADRATIC_BLOCK = 5_000
"""Lyapunov exponent, mutual information and fits look at no more than this many."""
FEW_SURROGATES = 39
SAFE_N = 1000


@dataclass(frozen=True)
class Effort:
    """How much to compute.

    Attributes:
        confidence: whether to compute intervals, surrogates, Monte-Carlo p-values, fits and what is slow.
        resamples: bootstrap resamples.
        monte_carlo: draws of a Monte-Carlo p-value.
        surrogates: surrogates per statistic.
        models: whether to fit the laws an interval may follow.
    """

    confidence: bool = True
    resamples: int = 500
    monte_carlo: int = 999
    surrogates: int = 99
    models: bool = True


@dataclass
class StreamStatistics:
    """Statistics of one stream by the names of statistics.md §2; unknown is None.

    Attributes:
        name: ``intervals`` or ``first_share``.
        values: name to value.
        intervals: name to 95 % interval (low, high), where one is defined.
        surrogates: name to the comparison with shuffled surrogates, where one is defined.
        notes: what a reader has to know about these numbers.
    """

    name: str
    values: dict[str, Any] = field(default_factory=dict)
    intervals: dict[str, Any] = field(default_factory=dict)
    surrogates: dict[str, SurrogateResult] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """One flat dict: each value under its name, then ``NAME_ci`` and ``NAME_surrogate`` where defined."""
        flat: dict[str, Any] = {}
        for name, value in self.values.items():
            flat[name] = value
            if name in self.intervals:
                flat[f"{name}_ci"] = self.intervals[name]
            if name in self.surrogates:
                flat[f"{name}_surrogate"] = self.surrogates[name].to_json()
        flat["notes"] = list(self.notes)
        return flat
