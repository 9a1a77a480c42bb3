"""Do groups differ? Rank and variance tests, permuted inside blocks of time, and the size of the difference.

The groups here are chips or cores, the values what the scan leaves of a response. Labels are permuted only inside
blocks of consecutive shares, so that a drift of host or temperature, which moves all values of a block alike, is no
difference between groups.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

import numpy as np

from firmware_bridge.timing.run_data import FloatArray, IntArray

BLOCK = 100
"""Consecutive shares whose labels are exchanged."""

POWER = 0.9

AGREEMENT_ALPHA = 0.05
"""Level at which the means of both halves agree, one-sided."""


@dataclass(frozen=True)
class GroupTest:
    """Whether groups differ, and by how much.

    Attributes:
        part: what the groups are.
        n: values.
        groups: groups with two values at least; values of others are left out.
        kruskal: Kruskal-Wallis H of the ranks within blocks.
        kruskal_p: share of permutations with as large an H, data counted.
        anova_f: F of one-way analysis of variance of the block-centred values.
        anova_p: likewise, of F.
        sd_ms: estimated standard deviation between groups, 0 where the estimate is negative.
        sd_ci: its 95 % interval.
        within_ms: standard deviation within groups.
        detectable_ms: standard deviation between groups that is shown with power 0.9, by F at ``alpha`` and by the
            agreement of both halves, whichever asks for more.
        alpha: level for one test.
        replication: correlation of the groups' means in the first and in the second half of the run.
        replication_p: one-sided, by permutation in the second half.
        permutations: number of them.
    """

    part: str
    n: int
    groups: int
    kruskal: float
    kruskal_p: float
    anova_f: float
    anova_p: float
    sd_ms: float
    sd_ci: tuple[float, float]
    within_ms: float
    detectable_ms: float
    alpha: float
    replication: float
    replication_p: float
    permutations: int

    def to_json(self) -> dict[str, Any]:
        """Plain dict."""
        return asdict(self)


def blocks_of(n: int, size: int = BLOCK) -> IntArray:
    """Number of the block of each of n consecutive values; a rest of less than half a size joins the last block."""
    whole = max(1, int(np.floor(n / size + 0.5)))
    return np.minimum(np.arange(n) // size, whole - 1)


def within_blocks(
    values: FloatArray, block: IntArray, change: Callable[[FloatArray], FloatArray]
) -> FloatArray:
    """Apply ``change`` to the values of each block."""
    result = np.empty(values.size)
    for number in np.unique(block):
        rows = block == number
        result[rows] = change(values[rows])
    return result


def permuted(codes: IntArray, block: IntArray, rng: np.random.Generator) -> IntArray:
    """Labels in random order within each block."""
    order = np.lexsort((rng.random(codes.size), block))
    shuffled = np.empty_like(codes)
    shuffled[np.argsort(block, kind="stable")] = codes[order]
    return shuffled


def f_statistic(values: FloatArray, codes: IntArray, groups: int) -> float:
    """F of one-way analysis of variance; codes run from 0 to groups - 1 (scipy.stats.f_oneway)."""
    counts = np.bincount(codes, minlength=groups)
    sums = np.bincount(codes, values, groups)
    centred = values - values.mean()
    total = float(centred @ centred)
    between = float((sums**2 / counts).sum() - sums.sum() ** 2 / values.size)
    inside = total - between
    freedom = values.size - groups
    return between / (groups - 1) / (inside / freedom) if inside > 0 else float("inf")


def kruskal_statistic(ranks: FloatArray, codes: IntArray, groups: int) -> float:
    """H of Kruskal & Wallis (1952) from ranks, corrected for ties by their variance (scipy.stats.kruskal)."""
    counts = np.bincount(codes, minlength=groups)
    means = np.bincount(codes, ranks, groups) / counts
    spread = float(ranks.var(ddof=1))
    return float(counts @ (means - ranks.mean()) ** 2) / spread if spread > 0 else 0.0


def between_sd(
    f: float, within_sd: float, freedom: tuple[int, int], size: float
) -> tuple[float, tuple[float, float]]:
    """Standard deviation between groups of a random-effects model, and its 95 % interval.

    F / (1 + size r) is F-distributed, r the ratio of the variances (exact for equal sizes; Searle, Casella & McCulloch
    1992, §3.5), which is solved for r at both ends.

    Args:
        f: of the analysis of variance.
        within_sd: standard deviation within groups.
        freedom: degrees of freedom of numerator and denominator.
        size: values per group, see :func:`effective_size`.
    """
    from scipy.stats import f as law

    def sd(at: float) -> float:
        return within_sd * sqrt(max(0.0, (f / at - 1.0) / size))

    return sd(1.0), (sd(float(law.isf(0.025, *freedom))), sd(float(law.ppf(0.025, *freedom))))


def detectable_sd(
    within_sd: float, freedom: tuple[int, int], size: float, alpha: float, power: float = POWER
) -> float:
    """Standard deviation between groups that F at level ``alpha`` shows with ``power``, in that of ``within_sd``."""
    from scipy.stats import f as law

    ratio = float(law.isf(alpha, *freedom) / law.isf(power, *freedom))
    return within_sd * sqrt(max(0.0, (ratio - 1.0) / size))


def replicable_sd(within_sd: float, groups: int, size: float, alpha: float, power: float = 0.95) -> float:
    """Standard deviation between groups at which the means of two halves correlate at ``alpha`` with ``power``.

    The correlation to expect is s² / (s² + noise²), noise² = within² · 2 / size · (1 + 2 / size) for halves whose sizes
    vary as chance has it; Fisher's z of k groups has the error 1 / sqrt(k - 3). More power than ``POWER``, since the
    other test must succeed as well.
    """
    from scipy.stats import norm

    if groups <= 3:
        return float("inf")
    rho = float(np.tanh((norm.isf(alpha) + norm.ppf(power)) / sqrt(groups - 3)))
    return within_sd * sqrt(2.0 / size * (1.0 + 2.0 / size) * rho / (1.0 - rho))


def effective_size(counts: IntArray) -> float:
    """The size n0 that unequal groups count as: (N - sum n²/N) / (k - 1)."""
    total = float(counts.sum())
    return float((total - float((counts.astype(np.float64) ** 2).sum()) / total) / (counts.size - 1))


def group_test(
    part: str,
    values_ms: FloatArray,
    codes: IntArray,
    rng: np.random.Generator,
    *,
    alpha: float = 0.05,
    permutations: int = 999,
    block: int = BLOCK,
) -> GroupTest | None:
    """Compare groups; None where fewer than two have two values in all and one in each half.

    Args:
        part: what the groups are.
        values_ms: in the order of time, shape (n,).
        codes: group of each value, shape (n,).
        rng: of the permutations.
        alpha: level of this one test, for the detectable effect.
        permutations: how many.
        block: values whose labels are exchanged.
    """
    from scipy.stats import rankdata

    half = codes.size // 2
    shared = np.intersect1d(codes[:half], codes[half:])
    keep = np.isin(codes, shared)
    values, names = values_ms[keep], codes[keep]
    if shared.size < 2 or values.size <= shared.size + 1 or np.ptp(values) == 0:
        return None
    index = np.searchsorted(shared, names)
    groups = int(shared.size)
    where = blocks_of(values.size, block)
    centred = within_blocks(values, where, lambda x: x - x.mean())
    ranks = within_blocks(values, where, lambda x: (rankdata(x) - 0.5) / x.size)
    f, h = f_statistic(centred, index, groups), kruskal_statistic(ranks, index, groups)
    first = np.flatnonzero(keep) < half
    rho = _agreement(centred, index, first, groups)
    beyond = np.zeros(3)
    for _ in range(permutations):
        other = permuted(index, where, rng)
        beyond[0] += kruskal_statistic(ranks, other, groups) >= h
        beyond[1] += f_statistic(centred, other, groups) >= f
        mixed = np.where(first, index, permuted(index, np.where(first, -1, where), rng))
        beyond[2] += _agreement(centred, mixed, first, groups) >= rho
    p = (1.0 + beyond) / (1.0 + permutations)
    counts = np.bincount(index, minlength=groups)
    freedom, size = (groups - 1, values.size - groups), effective_size(counts)
    sums = np.bincount(index, centred, groups)
    within = sqrt(max(0.0, float(centred @ centred - (sums**2 / counts).sum()) / freedom[1]))
    sd, ends = between_sd(f, within, freedom, size)
    shown = max(
        detectable_sd(within, freedom, size, alpha), replicable_sd(within, groups, size, AGREEMENT_ALPHA)
    )
    return GroupTest(
        part, int(values.size), groups, h, float(p[0]), f, float(p[1]), sd, ends, within, shown, alpha, rho,
        float(p[2]), permutations,
    )  # fmt: skip


def _agreement(values: FloatArray, codes: IntArray, first: Any, groups: int) -> float:
    """Correlation of the group means of both halves, weighted by n1 n2 / (n1 + n2) of each group."""
    counts = np.array([np.bincount(codes[rows], minlength=groups) for rows in (first, ~first)])
    sums = np.array([np.bincount(codes[rows], values[rows], groups) for rows in (first, ~first)])
    known = counts.min(axis=0) > 0
    if known.sum() < 2:
        return 0.0
    n = counts[:, known]
    weight = n[0] * n[1] / n.sum(axis=0)
    means = sums[:, known] / n
    a, b = (m - float(weight @ m) / float(weight.sum()) for m in means)
    norm = sqrt(float(weight @ (a * a)) * float(weight @ (b * b)))
    return float(weight @ (a * b)) / norm if norm > 0 else 0.0
