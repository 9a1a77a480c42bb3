"""Chi-square of class against bins that were set before anybody looked at a label: equal counts of each feature."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tpf.statistics.outcome import HALF_ALPHA, POWER
from tpf.statistics.shifts import BlockShifts, BoolArray, FloatArray, IntArray

BINS = 8
CELL = 5.0
"""Smallest expected count of a cell; bins are joined until every one has it."""
STANDARD_P = 1e-5
"""What the chi-square leakage test asks for (Moradi et al. 2018)."""


@dataclass(frozen=True)
class ChiSquare:
    """Under every rotation.

    Attributes:
        statistic: chi-square of each feature, shape (permutations + 1, d).
        df: degrees of freedom of each, shape (d,); 0 where it has a single bin.
    """

    statistic: FloatArray
    df: IntArray

    def largest(self) -> FloatArray:
        """Largest over the features, each in deviations from its mean, shape (permutations + 1,)."""
        return np.asarray(self.standard().max(axis=1))

    def standard(self) -> FloatArray:
        """(chi-square - df) / sqrt(2 df), shape (permutations + 1, d)."""
        df = np.maximum(self.df, 1)
        return np.asarray(np.where(self.df > 0, (self.statistic - df) / np.sqrt(2.0 * df), -np.inf))


def bins(x: FloatArray, rare: float, most: int = BINS) -> IntArray:
    """Bin of each row, -1 where x is nan, shape (n,); so wide that each has ``CELL / rare`` rows.

    Args:
        x: shape (n,).
        rare: share of the rarer class.
        most: bins at most.
    """
    known = ~np.isnan(x)
    codes = np.full(x.size, -1, np.int64)
    room = int(known.sum() * rare / CELL)
    if room < 2:
        codes[known] = 0
        return codes
    inner = np.quantile(x[known], np.linspace(0, 1, min(most, room) + 1)[1:-1])
    codes[known] = np.searchsorted(np.unique(inner), x[known], side="right")
    count = np.bincount(codes[known])
    joined = np.zeros(count.size, np.int64)
    number, size = 0, 0
    for i, rows in enumerate(count):  # ties can leave a bin short
        joined[i] = number
        size += int(rows)
        left = int(count[i + 1 :].sum())
        if size * rare >= CELL and left * rare >= CELL:
            number, size = number + 1, 0
    codes[known] = joined[codes[known]]
    return codes


def chi_square(X: FloatArray, y: BoolArray, shifts: BlockShifts) -> ChiSquare:
    """Pearson's chi-square of each feature's bins against the class.

    Args:
        X: shape (n, d).
        y: shape (n,).
        shifts: of n rows.
    """
    rare = float(min(y.mean(), 1 - y.mean()))
    codes = np.column_stack([bins(x, rare).astype(np.int8) for x in X.T])
    count = codes.max(axis=0, initial=-1) + 1
    statistic = np.zeros((shifts.permutations + 1, X.shape[1]))
    df = np.zeros(X.shape[1], np.int64)
    if not count.any():
        return ChiSquare(statistic, df)
    of = np.repeat(np.arange(X.shape[1]), count)
    number = np.concatenate([np.arange(c) for c in count])
    ones, total = shifts.sums(lambda rows: codes[rows][:, of] == number, y)
    for j in np.unique(of):
        o1, t = ones[:, of == j], total[of == j]
        n1 = o1.sum(axis=1, keepdims=True)
        n = t.sum()
        expected1 = n1 * t / n
        expected0 = (n - n1) * t / n
        with np.errstate(divide="ignore", invalid="ignore"):
            parts = (o1 - expected1) ** 2 * (1 / expected1 + 1 / expected0)
        statistic[:, j] = np.nan_to_num(parts).sum(axis=1)
        df[j] = t.size - 1
    return ChiSquare(statistic, df)


def detectable_v(critical_z: float, df: int, n: int) -> float:
    """Cramér's V found with power 0.9 over all rows (critical value in deviations) and in both halves.

    By the non-central chi-square distribution.
    """
    from scipy.stats import chi2

    whole = _noncentrality(critical_z * np.sqrt(2.0 * df) + df, df, POWER)
    half = _noncentrality(float(chi2.isf(HALF_ALPHA, df)), df, float(np.sqrt(POWER)))
    return float(np.sqrt(max(whole / n, half / (n / 2))))


def _noncentrality(beyond: float, df: int, power: float) -> float:
    """Of the chi-square that exceeds a value with this power."""
    from scipy.optimize import brentq
    from scipy.stats import ncx2

    return float(brentq(lambda nc: float(ncx2.sf(beyond, df, nc)) - power, 1e-6, 10.0 * abs(beyond) + 100.0))
