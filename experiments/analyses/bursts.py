"""Sizes of bursts of short intervals: a power law, as of avalanches, or the geometric law of a coin?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


def burst_sizes(intervals: F64) -> I64:
    """Lengths of the runs of consecutive intervals below their median, shape (m,); all at least 1."""
    below = np.concatenate([[0], (intervals < np.median(intervals)).astype(np.int64), [0]])
    edges = np.diff(below)
    return np.asarray(np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1), np.int64)


@dataclass(frozen=True)
class Laws:
    """Maximum-likelihood fits of burst sizes from 1 on.

    Attributes:
        exponent: of the power law, ``k^-exponent / zeta(exponent)``.
        probability: that a burst goes on, of the geometric law.
        ratio: log-likelihood of the power law less that of the geometric law.
        z: Vuong's (1989) standardised ratio: above 1.64 the power law fits better, below -1.64 the geometric one.
        bursts: how many.
    """

    exponent: float
    probability: float
    ratio: float
    z: float
    bursts: int


def fit_laws(sizes: I64) -> Laws:
    """Fit both laws (Clauset, Shalizi & Newman 2009, SIAM Rev. 51, 661, with a smallest size of 1)."""
    from scipy.optimize import minimize_scalar
    from scipy.special import zeta

    k = sizes.astype(np.float64)
    logs = float(np.log(k).mean())
    found = minimize_scalar(lambda a: a * logs + math.log(zeta(a)), bounds=(1.01, 20.0), method="bounded")
    exponent = float(found.x)
    on = 1.0 - 1.0 / float(k.mean())
    geometric = (k - 1.0) * math.log(on) + math.log1p(-on) if on > 0 else np.zeros(k.size)
    each = -exponent * np.log(k) - math.log(zeta(exponent)) - geometric
    ratio, sd = float(each.sum()), float(each.std())
    return Laws(exponent, on, ratio, ratio / (sd * math.sqrt(k.size)) if sd > 0 else 0.0, k.size)


def shuffled_ratios(intervals: F64, shuffles: int, rng: np.random.Generator) -> F64:
    """Ratios of the same intervals in random orders, shape (shuffles,)."""
    return np.array([fit_laws(burst_sizes(rng.permutation(intervals))).ratio for _ in range(shuffles)])
