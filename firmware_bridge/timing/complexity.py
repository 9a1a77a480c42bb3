"""Ordinal patterns, sample entropy, scaling and divergence of an interval stream (statistics.md §2).

None of these means anything alone: each has a floor that depends on n and on the distribution, so the lab shows them
only beside shuffled surrogates. A positive Lyapunov exponent, for one, is what this estimator gives for independent
exponentials too.

The loops are short and ours, because the libraries that have them take seconds to import; the tests hold each against
its reference (antropy, nolds, scikit-learn).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import factorial, log

import numba
import numpy as np

from firmware_bridge.timing.run_data import FloatArray, IntArray

NAN = float("nan")


def ordinal_codes(x: FloatArray, order: int) -> IntArray:
    """Ordinal pattern of each window of ``order`` consecutive values, as a number below order^order.

    Ties rank by position (Bandt & Pompe 2002, Phys. Rev. Lett. 88, 174102). Shape (n - order + 1,).
    """
    if x.size < order:
        return np.empty(0, np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(x, order)
    codes: IntArray = windows.argsort(axis=1, kind="stable") @ (order ** np.arange(order))
    return codes


def ordinal_entropy(counts: IntArray, order: int) -> float:
    """Plug-in entropy of pattern counts over ln order!, not corrected for bias."""
    total = int(counts.sum())
    if total == 0:
        return NAN
    p = counts[counts > 0] / total
    return max(0.0, float(-(p @ np.log(p)))) / log(factorial(order))


def permutation_entropy(x: FloatArray, order: int) -> float:
    """Permutation entropy of delay 1, normalised by ln order! (antropy.perm_entropy, normalize=True)."""
    return ordinal_entropy(np.bincount(ordinal_codes(x, order)), order)


def permutation_entropy_bias(n: int, order: int) -> float:
    """What independent values lack to 1 on average for n windows: (m! - 1)/(2 n ln m!) (Miller's first-order term)."""
    return (factorial(order) - 1) / (2.0 * n * log(factorial(order))) if n else NAN


@dataclass(frozen=True)
class TemplateMatches:
    """Matches of each template, shape (n - m,), self-matches left out: of length m, and of length m + 1."""

    shorter: IntArray
    longer: IntArray

    @property
    def entropy(self) -> float:
        """-ln of the share of matches that still hold one value later; nan where there are none."""
        b, a = int(self.shorter.sum()), int(self.longer.sum())
        return -log(a / b) if a and b else NAN


def template_matches(x: FloatArray, m: int = 2, r: float | None = None) -> TemplateMatches:
    """Match templates of x within Chebyshev distance < r, by default 0.2 of the standard deviation (ddof 0).

    Templates start at 0 .. n - m - 1 for both lengths (Richman & Moorman 2000, Am. J. Physiol. 278, H2039; the
    convention of antropy.sample_entropy below 5000 values).
    """
    if x.size < m + 2:
        return TemplateMatches(np.zeros(0, np.int64), np.zeros(0, np.int64))
    x = np.ascontiguousarray(x, np.float64)
    radius = 0.2 * float(x.std()) if r is None else r
    order = np.argsort(x[: x.size - m], kind="stable")
    return TemplateMatches(*_match(x, order, m, radius))


def sample_entropy(x: FloatArray, m: int = 2) -> float:
    """Sample entropy with m = 2 and r = 0.2 standard deviations (ddof 0), Chebyshev distance."""
    return template_matches(x, m).entropy


@numba.njit(cache=True)
def _match(x, order, m, r):  # type: ignore[no-untyped-def]
    shorter = np.zeros(order.size, np.int64)
    longer = np.zeros(order.size, np.int64)
    for p in range(order.size):
        i = order[p]
        for q in range(p + 1, order.size):
            j = order[q]
            if x[j] - x[i] >= r:  # sorted by their first value: all further ones are farther
                break
            near = True
            for k in range(1, m):
                if abs(x[i + k] - x[j + k]) >= r:
                    near = False
                    break
            if near:
                shorter[i] += 1
                shorter[j] += 1
                if abs(x[i + m] - x[j + m]) < r:
                    longer[i] += 1
                    longer[j] += 1
    return shorter, longer


def dfa(x: FloatArray) -> float:
    """Exponent of detrended fluctuation analysis of order 1, which is the Hurst exponent of stationary noise.

    Windows grow by a factor 1.2 from 4 to n/10 without overlap; least squares of ln F on ln window (Peng et al. 1994,
    Phys. Rev. E 49, 1685; windows as antropy.detrended_fluctuation). 0.5 without memory. Needs 100 intervals.
    """
    n = x.size
    if n < 100:
        return NAN
    steps = int(np.floor(np.log(0.1 * n / 4.0) / np.log(1.2)))
    windows = np.unique(np.floor(4.0 * 1.2 ** np.arange(steps + 1)).astype(np.int64))
    walk = np.cumsum(x - x.mean())
    log_window, log_fluctuation = [], []
    for window in windows:
        pieces = walk[: n - n % window].reshape(-1, window)
        pieces = pieces - pieces.mean(axis=1, keepdims=True)
        t = np.arange(window) - (window - 1) / 2.0
        explained = (pieces @ t) ** 2 / (t @ t)
        squares = np.maximum((pieces * pieces).sum(axis=1) - explained, 0.0).mean() / window
        if squares > 0:
            log_window.append(np.log(float(window)))
            log_fluctuation.append(0.5 * np.log(squares))
    if len(log_window) < 2:
        return NAN
    return float(np.polyfit(log_window, log_fluctuation, 1)[0])


def lyapunov(x: FloatArray, dimension: int = 3, horizon: int = 10, separation: int = 1) -> float:
    """Largest Lyapunov exponent per interval after Rosenstein, Collins & De Luca 1993 (Physica D 65, 117).

    Delay 1; each point's nearest neighbour more than ``separation`` steps away; least squares of the mean log distance
    over the first ``horizon`` steps, as nolds.lyap_r(..., lag=1, fit="poly"). Embedded neighbours diverge for pure
    noise as well, so the value means nothing without surrogates. Needs 20 horizons.
    """
    if x.size < 20 * horizon:
        return NAN
    divergence = _divergence(np.ascontiguousarray(x, np.float64), dimension, horizon, separation)
    known = np.isfinite(divergence)
    if known.sum() < 2:
        return NAN
    return float(np.polyfit(np.arange(horizon)[known], divergence[known], 1)[0])


def _divergence(x: FloatArray, dimension: int, horizon: int, separation: int) -> FloatArray:
    """Mean log distance of nearest neighbours after 0 .. horizon-1 steps, shape (horizon,)."""
    from scipy.spatial import cKDTree

    points = np.lib.stride_tricks.sliding_window_view(x, dimension)
    usable = points[: points.shape[0] - horizon + 1]
    # itself and its neighbours in time can take 2 separation + 1 places, so one more place suffices
    found = np.asarray(cKDTree(usable).query(usable, k=2 * separation + 2)[1])
    rows = np.arange(usable.shape[0])
    apart = np.abs(found - rows[:, None]) > separation
    nearest = found[rows, apart.argmax(axis=1)]
    result = np.full(horizon, NAN)
    for step in range(horizon):
        distance = np.linalg.norm(points[rows + step] - points[nearest + step], axis=1)
        if (distance > 0).any():
            result[step] = np.log(distance[distance > 0]).mean()
    return result


@dataclass(frozen=True)
class MutualInformation:
    """Mutual information in nats, its one-sided permutation p-value, and the mean under permutation."""

    nats: float
    p_value: float
    null_mean: float
    permutations: int


def mutual_information(
    x: FloatArray, y: FloatArray, rng: np.random.Generator, *, permutations: int = 99, k: int = 3
) -> MutualInformation:
    """Mutual information of two samples by k nearest neighbours on ranks, against permutations of y.

    Kraskov, Stögbauer & Grassberger 2004 (Phys. Rev. E 69, 066138) as scikit-learn estimates it, cut off at 0; ranks
    make it invariant under any monotone change of either variable; ties are broken by chance. Needs 50 pairs.
    """
    from sklearn.feature_selection import mutual_info_regression

    n = x.size
    if n < 50:
        return MutualInformation(NAN, NAN, NAN, 0)
    rx, ry = _ranks(x, rng)[:, None], _ranks(y, rng)

    def nats(values: FloatArray) -> float:
        seed = int(rng.integers(2**31))
        return float(mutual_info_regression(rx, values, n_neighbors=k, random_state=seed)[0])

    observed = nats(ry)
    null = np.array([nats(rng.permutation(ry)) for _ in range(permutations)])
    if not permutations:
        return MutualInformation(observed, NAN, NAN, 0)
    p = (1 + int((null >= observed).sum())) / (1 + permutations)
    return MutualInformation(observed, p, float(null.mean()), permutations)


def _ranks(x: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Ranks 0 .. n-1 with ties in random order."""
    order = np.lexsort((rng.random(x.size), x))
    ranks = np.empty(x.size)
    ranks[order] = np.arange(x.size)
    return ranks
