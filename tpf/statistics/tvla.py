"""Test vector leakage assessment: Welch's t of every feature between the classes, of first and second order.

First order compares means, second order variances (of the squares of what is centred in its class; Schneider & Moradi
2015). The criterion of the standard, |t| beyond a threshold with the same sign in two independent halves, stands beside
the p-value of the family (ISO/IEC 17825; statistics.md §5).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tpf.statistics.outcome import Z_EACH, Z_POWER, separation
from tpf.statistics.shifts import BlockShifts, BoolArray, FloatArray, critical

TVLA_ALPHA = 1e-5
"""Level that the classical threshold of 4.5 stands for."""
CLASSICAL = 4.5
Z_HALF_TWO_SIDED = 2.5758293035489004
"""Normal quantile of ``HALF_ALPHA`` for two signs."""


def sidak_threshold(features: int, alpha: float = TVLA_ALPHA) -> float:
    """|t| that L independent features exceed with probability alpha in all (Šidák): 4.42, 4.89, 5.33 for 1, 10, 100."""
    from scipy.stats import norm

    each = -np.expm1(np.log1p(-alpha) / features)
    return float(norm.isf(each / 2))


@dataclass(frozen=True)
class Welch:
    """t of each feature under every rotation, shape (permutations + 1, d); row 0 is of the labels as they are."""

    first: FloatArray
    second: FloatArray


def welch(X: FloatArray, y: BoolArray, shifts: BlockShifts) -> Welch:
    """t of first and second order; nan where a feature does not vary in a class.

    Args:
        X: shape (n, d); nan is left out.
        y: shape (n,).
        shifts: of n rows.
    """
    d = X.shape[1]
    centre, scale = np.zeros(d), np.ones(d)
    for j in range(d):
        x = X[:, j][~np.isnan(X[:, j])]
        if x.size:
            centre[j] = x.mean()
            scale[j] = x.std() or 1.0

    def columns(rows: slice) -> FloatArray:
        known = ~np.isnan(X[rows])
        z = np.where(known, (X[rows] - centre) / scale, 0.0)
        square = z * z
        return np.hstack([known, z, square, square * z, square * square])

    ones, whole = (sums.reshape(-1, 5, d) for sums in shifts.sums(columns, y))
    zeros = whole - ones
    with np.errstate(divide="ignore", invalid="ignore"):
        n1, m1, v1, w1 = _central(ones)
        n0, m0, v0, w0 = _central(zeros)
        first = (m1 - m0) / np.sqrt(v1 / (n1 - 1) + v0 / (n0 - 1))
        second = (v1 - v0) / np.sqrt(w1 / (n1 - 1) + w0 / (n0 - 1))
    return Welch(first, second)


def _central(sums: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Count, mean, variance, and variance of the squared deviation, of raw sums along axis 1."""
    n = sums[:, 0]
    m, s2, s3, s4 = (sums[:, k] / n for k in range(1, 5))
    variance = s2 - m**2
    fourth = s4 - 4 * m * s3 + 6 * m**2 * s2 - 3 * m**4
    return n, m, variance, fourth - variance**2


def largest(t: FloatArray) -> FloatArray:
    """Largest |t| over the features under every rotation, shape (permutations + 1,)."""
    return np.asarray(np.nan_to_num(np.abs(t), nan=0.0, posinf=0.0).max(axis=1))


def detectable_d(t: FloatArray, alpha: float, n1: int, n0: int) -> float:
    """Difference of means in standard deviations found with power 0.9, over all rows and in both halves."""
    whole = critical(largest(t), alpha) + Z_POWER
    both = float(np.sqrt(2.0)) * (Z_HALF_TWO_SIDED + Z_EACH)
    return max(whole, both) * separation(n1, n0)


def cohen_d(t: float, y: BoolArray) -> float:
    """A t as a difference in standard deviations."""
    return t * separation(int(y.sum()), int((~y).sum()))
