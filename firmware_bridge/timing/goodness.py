"""Do intervals follow an exponential law, and difficulties the law of a fair hash?

Distances to an exponential law depend on x only through x / mean, so one simulation of the null serves every sample
of the same size, and the Monte-Carlo p-value is exact for any n. No table for a known rate is used: with the rate
estimated the 5 % critical value of KS is D·√n = 1.08, not 1.36.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from firmware_bridge.timing.run_data import FloatArray

NAN = float("nan")
_CHUNK = 2_000_000


@dataclass(frozen=True)
class ExponentialFit:
    """Distances of a sample to the exponential law of its own mean, with Monte-Carlo p-values (nan: not asked for)."""

    ks: float
    ad: float
    ks_p: float = NAN
    ad_p: float = NAN
    draws: int = 0


def exponential_distances(x: FloatArray) -> ExponentialFit:
    """Kolmogorov D and Anderson-Darling A² against 1 - exp(-x / mean), location 0.

    As scipy.stats.goodness_of_fit computes them. A negative interval (a clock that stepped) makes A² infinite, which is
    reported as nan.
    """
    if x.size < 2 or (mean := float(x.mean())) <= 0:
        return ExponentialFit(NAN, NAN)
    ks, ad = _distances(np.sort(x / mean)[None, :])
    return ExponentialFit(float(ks[0]), float(ad[0]) if np.isfinite(ad[0]) else NAN)


def exponentiality(x: FloatArray, rng: np.random.Generator, draws: int = 999) -> ExponentialFit:
    """Distances of :func:`exponential_distances` with p = (1 + number of null distances >= observed) / (1 + draws).

    Args:
        x: intervals, shape (n,); at least 2.
        rng: source of the null samples.
        draws: number of null samples, each of size n.
    """
    observed = exponential_distances(x)
    if np.isnan(observed.ks) or draws <= 0:
        return observed
    ks, ad = simulate_exponential(x.size, rng, draws)

    def p(value: float, null: FloatArray) -> float:
        return NAN if np.isnan(value) else (1 + int(np.sum(null >= value))) / (1 + draws)

    return ExponentialFit(observed.ks, observed.ad, p(observed.ks, ks), p(observed.ad, ad), draws)


def simulate_exponential(n: int, rng: np.random.Generator, draws: int) -> tuple[FloatArray, FloatArray]:
    """D and A² of ``draws`` samples of n exponential intervals, each against the rate fitted to it.

    Samples come sorted at once from independent spacings (Rényi 1953), which saves the sorting.
    """
    ks, ad = np.empty(draws), np.empty(draws)
    scale = 1.0 / np.arange(n, 0, -1)
    rows = max(1, _CHUNK // n)
    for start in range(0, draws, rows):
        stop = min(draws, start + rows)
        ordered = np.cumsum(rng.standard_exponential((stop - start, n)) * scale, axis=1)
        ordered /= ordered.mean(axis=1, keepdims=True)
        ks[start:stop], ad[start:stop] = _distances(ordered)
    return ks, ad


def _distances(ordered: FloatArray) -> tuple[FloatArray, FloatArray]:
    """D and A² of each row of sorted values over their mean, shape (k, n)."""
    n = ordered.shape[1]
    i = np.arange(1, n + 1)
    cdf = -np.expm1(-ordered)
    ks = np.maximum((i / n - cdf).max(axis=1), (cdf - (i - 1) / n).max(axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        log_cdf = np.log(cdf)
    # ln(1 - F) is -x exactly: no loss in the far tail
    ad = -n - ((2 * i - 1) / n * (log_cdf - ordered[:, ::-1])).sum(axis=1)
    return ks, ad


@dataclass(frozen=True)
class ParetoFit:
    """Difficulties over their floor against the law of a fair hash, F(x) = 1 - 1/x."""

    ks: float
    ks_p: float
    alpha: float
    alpha_low: float
    alpha_high: float
    n: int


def pareto_fit(x: FloatArray, level: float = 0.95) -> ParetoFit:
    """Kolmogorov distance to F(x) = 1 - 1/x and the maximum-likelihood exponent n / sum ln x with its exact interval.

    A fair hash has exponent 1. Nothing is fitted in the distance, so its p-value is Kolmogorov's own (with Stephens'
    small-sample factor, 1970). The sum of ln x is gamma distributed, which gives the interval of the exponent.

    Args:
        x: difficulty / floor of unique shares, shape (n,), each >= 1.
        level: coverage of the interval.
    """
    n = x.size
    if n == 0 or not np.all(x > 0):
        return ParetoFit(NAN, NAN, NAN, NAN, NAN, n)
    cdf = 1.0 - 1.0 / np.sort(x)
    i = np.arange(1, n + 1)
    ks = float(max((i / n - cdf).max(), (cdf - (i - 1) / n).max()))
    total = float(np.log(x).sum())
    root = np.sqrt(n)
    ks_p = float(special.kolmogorov(ks * (root + 0.12 + 0.11 / root)))
    if total <= 0:
        return ParetoFit(ks, ks_p, NAN, NAN, NAN, n)
    tail = (1.0 - level) / 2
    low = float(special.chdtri(2 * n, 1.0 - tail)) / (2 * total)
    high = float(special.chdtri(2 * n, tail)) / (2 * total)
    return ParetoFit(ks, ks_p, n / total, low, high, n)
