"""What a test found, its interval, and the correction for the number of tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from tpf.statistics.shifts import BoolArray, IntArray

POWER = 0.9
"""Power at which an effect counts as detectable."""
Z_POWER = 1.2815515655446004
"""Its normal quantile."""
HALF_ALPHA = 0.01
"""Level of each half. Chosen where the whole shows something, a half of nothing still shows half of it: at .05 every
second false alarm of the whole would pass, at .01 every fourth does, and what is detectable grows by an eighth."""
Z_HALF = 2.3263478740408408
Z_EACH = 1.6325219210330545
"""Normal quantiles of that level, and of a power whose square is 0.9: both halves have to show it."""
GROUPS = 20
"""Blocks of time of which each interval leaves out one after the other."""
T_GROUPS = 2.093024054408263
"""Quantile .975 of Student's t with ``GROUPS - 1`` degrees of freedom."""


@dataclass(frozen=True)
class Half:
    """The same test on one half of the rows."""

    effect: float
    p_value: float


@dataclass(frozen=True)
class LeakageTest:
    """One test of the fixed list.

    Attributes:
        name: for machines.
        question: for people.
        statistic_name: what ``statistic`` is.
        statistic: its value.
        p_value: by rotation of the labels, of this test alone, its features taken together.
        effect_name: what ``effect`` is.
        effect: size, 0 where there is nothing.
        ci: 95 % interval of ``effect``, a block of time left out at a time (jackknife).
        detectable_effect: the smallest that these rows show with power 0.9 at the level of the family.
        n: rows looked at.
        lead: the feature that shows it most, or None where the test looks at all together.
        p_corrected: Holm's, over all tests of the list.
        halves: the test in either half, for the tests that the correction leaves.
        replicated: whether both halves show the same, each at ``HALF_ALPHA``.
        detail: what else there is to say: the standard's own criterion, accuracies.
        note: rows left out, or None.
    """

    name: str
    question: str
    statistic_name: str
    statistic: float
    p_value: float
    effect_name: str
    effect: float
    ci: tuple[float, float] | None
    detectable_effect: float | None
    n: int
    lead: str | None = None
    p_corrected: float = float("nan")
    halves: tuple[Half, Half] | None = None
    replicated: bool = False
    detail: Mapping[str, Any] = field(default_factory=dict)
    note: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Every field, as plain data."""
        halves = None
        if self.halves is not None:
            halves = [{"effect": half.effect, "p_value": half.p_value} for half in self.halves]
        return {
            "name": self.name,
            "question": self.question,
            "statistic_name": self.statistic_name,
            "statistic": self.statistic,
            "p_value": self.p_value,
            "p_corrected": self.p_corrected,
            "effect_name": self.effect_name,
            "effect": self.effect,
            "ci": None if self.ci is None else list(self.ci),
            "detectable_effect": self.detectable_effect,
            "n": self.n,
            "lead": self.lead,
            "halves": halves,
            "replicated": self.replicated,
            "detail": dict(self.detail),
            "note": self.note,
        }


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrected p-values (Holm 1979): no more than alpha of all families has one at or below alpha by chance."""
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
    corrected = np.empty(p.size)
    corrected[order] = np.minimum(stepped, 1.0)
    return [float(value) for value in corrected]


def jackknife(effect: Callable[[IntArray], float], n: int) -> tuple[float, float] | None:
    """95 % interval of an effect: blocks of time left out one after the other (delete-a-group jackknife).

    Args:
        effect: of the rows with these indices.
        n: rows.
    """
    if n < 2 * GROUPS:
        return None
    rows = np.arange(n)
    edges = np.linspace(0, n, GROUPS + 1).astype(np.int64)
    parts = [effect(np.delete(rows, slice(int(a), int(b)))) for a, b in pairwise(edges)]
    left = np.array([value for value in parts if np.isfinite(value)])
    whole = effect(rows)
    if left.size < GROUPS or not np.isfinite(whole):
        return None
    error = float(np.sqrt((GROUPS - 1) / GROUPS * ((left - left.mean()) ** 2).sum()))
    return whole - T_GROUPS * error, whole + T_GROUPS * error


def spread_blocks(n: int, most: int, block: int = 64) -> IntArray:
    """Indices of at most about ``most`` of n rows: whole blocks of neighbours, evenly spread, the same every time."""
    if n <= most:
        return np.arange(n)
    blocks = max(1, most // block)
    starts = np.linspace(0, n - block, blocks).astype(np.int64)
    return np.unique(starts[:, None] + np.arange(block)).astype(np.int64)


def left_out_note(rows: IntArray | BoolArray, n: int) -> str | None:
    """What to say where a test looked at some of the rows only."""
    return None if rows.size >= n else f"on {rows.size} of {n} rows, in blocks spread evenly over the time"


def separation(n1: int, n0: int) -> float:
    """Standard error of a mean difference in units of the standard deviation."""
    return float(np.sqrt(1.0 / n1 + 1.0 / n0))
