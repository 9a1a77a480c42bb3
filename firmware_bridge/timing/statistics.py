"""Moments, regularity, counts, entropy and memory of an interval stream (statistics.md §2).

Every function takes plain arrays, says where its definition comes from, and returns nan where there are too few events
for it to mean anything; nothing here draws random numbers. x are intervals, t arrival times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from firmware_bridge.timing.run_data import FloatArray, IntArray

NAN = float("nan")


def coefficient_of_variation(x: FloatArray) -> float:
    """Standard deviation (ddof 0) over mean; 1 for a Poisson process (scipy.stats.variation)."""
    if x.size < 2 or (mean := float(x.mean())) == 0.0:
        return NAN
    return float(x.std()) / mean


def cv2_terms(x: FloatArray) -> FloatArray:
    """2·|x_{i+1} - x_i| / (x_{i+1} + x_i) of neighbours, shape (n - 1,); nan where both are 0.

    Their mean is CV2 (Holt, Softky, Koch & Douglas 1996, J. Neurophysiol. 75, 1806), 1 for a Poisson process. Two
    intervals of 0 are two events within one clock tick: what their ratio was is unknown, so they are left out.
    """
    left, right = x[:-1], x[1:]
    total = left + right
    terms = np.full(total.size, NAN)
    np.divide(2.0 * np.abs(right - left), total, out=terms, where=total != 0)
    return terms


def cv2(x: FloatArray) -> float:
    """CV2, the mean of :func:`cv2_terms`; needs 2 intervals."""
    return cv2_of_terms(cv2_terms(x))


def cv2_of_terms(terms: FloatArray) -> float:
    """CV2 from terms, which may come from several miners."""
    return _nanmean(terms)


def lv(x: FloatArray) -> float:
    """Local variation 3/(n-1) · sum ((x_i - x_{i+1})/(x_i + x_{i+1}))², 1 for a Poisson process.

    Shinomoto, Shima & Tanji 2003, Neural Comput. 15, 2823. Pairs of two zeros are left out, as in :func:`cv2_terms`.
    """
    return lv_of_terms(cv2_terms(x))


def lv_of_terms(terms: FloatArray) -> float:
    """LV from CV2 terms: the pair term of LV is 3/4 of the squared term of CV2."""
    return 0.75 * _nanmean(terms * terms)


def burstiness(x: FloatArray) -> float:
    """(CV - 1)/(CV + 1): -1 regular, 0 Poisson, 1 extremely bursty (Goh & Barabási 2008, EPL 81, 48002)."""
    cv = coefficient_of_variation(x)
    return (cv - 1.0) / (cv + 1.0)


def memory(x: FloatArray) -> float:
    """Pearson correlation of consecutive intervals, 0 for a Poisson process (Goh & Barabási 2008)."""
    return pearson(x[:-1], x[1:])


def pearson(a: FloatArray, b: FloatArray) -> float:
    """Pearson correlation of two arrays of equal length; nan below 2 pairs or where one does not vary."""
    if a.size < 2:
        return NAN
    da, db = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((da @ da) * (db @ db)))
    return float(da @ db) / scale if scale > 0 else NAN


def window_counts(times_ns: IntArray, window_ns: int) -> FloatArray:
    """Events in consecutive windows of ``window_ns`` from the first event, which is counted.

    The last, partial window is dropped. Shape (m,) with m = floor(span / window).
    """
    if times_ns.size == 0:
        return np.empty(0)
    since = times_ns - times_ns.min()
    m = int(since.max() // window_ns)
    index = since // window_ns
    return np.bincount(index[index < m], minlength=m)[:m].astype(np.float64)


@dataclass(frozen=True)
class Fano:
    """Fano factor with its 95 % interval under independent windows, and the number of windows."""

    value: float
    low: float
    high: float
    windows: int


def fano_factor(counts: Sequence[FloatArray], level: float = 0.95) -> Fano:
    """Variance (ddof 1) over mean of counts; 1 for a Poisson process (Fano 1947, Phys. Rev. 72, 26).

    (m - 1)·F is chi-square distributed with m - 1 degrees of freedom for Poisson counts, and (m - 1)·F / F_true nearly
    so for others, which gives the interval.

    Args:
        counts: window counts of each miner; several are pooled with their degrees of freedom.
        level: coverage of the interval.
    """
    usable = [c for c in counts if c.size >= 2 and c.mean() > 0]
    freedom = sum(c.size - 1 for c in usable)
    if freedom == 0:
        return Fano(NAN, NAN, NAN, sum(c.size for c in counts))
    value = sum((c.size - 1) * float(c.var(ddof=1)) / float(c.mean()) for c in usable) / freedom
    tail = (1.0 - level) / 2
    low = value * freedom / float(special.chdtri(freedom, tail))
    high = value * freedom / float(special.chdtri(freedom, 1.0 - tail))
    return Fano(value, low, high, sum(c.size for c in usable))


def allan_factor(counts: FloatArray) -> float:
    """Mean squared difference of neighbouring counts over twice the mean count; 1 for a Poisson process.

    Allan 1966, Proc. IEEE 54, 221, as used for point processes by Lowen & Teich. Needs 2 windows.
    """
    return pooled_allan_factor([counts])


def pooled_allan_factor(counts: Sequence[FloatArray]) -> float:
    """Allan factor of several miners: differences within one miner, both means over all."""
    usable = [c for c in counts if c.size >= 2]
    if not usable or (mean := float(np.concatenate(usable).mean())) == 0:
        return NAN
    steps = np.concatenate([np.diff(c) for c in usable])
    return float(steps @ steps) / steps.size / (2.0 * mean)


@dataclass(frozen=True)
class Entropy:
    """Miller-Madow entropy in nats, the same over ln K, and the number K of bins that hold anything."""

    nats: float
    normalised: float
    bins: int


def histogram_entropy(x: FloatArray, bin_width: float = 10.0) -> Entropy:
    """Entropy of a histogram with bins of fixed width from 0: plug-in + (K - 1)/2n (Miller 1955), nats.

    The bins do not depend on the data, because bins chosen from the range of the data make the value unstable.
    """
    if x.size == 0:
        return Entropy(NAN, NAN, 0)
    return entropy_of_counts(np.bincount(histogram_codes(x, bin_width)))


def histogram_codes(x: FloatArray, bin_width: float = 10.0) -> IntArray:
    """Number of each interval's bin, counted densely from 0 where the range of bins is far wider than n."""
    bins = np.floor(x / bin_width).astype(np.int64)
    bins -= bins.min(initial=0)
    if bins.max(initial=0) > 4 * x.size + 1000:
        bins = np.unique(bins, return_inverse=True)[1]
    return bins


def entropy_of_counts(counts: IntArray) -> Entropy:
    """Miller-Madow entropy of the counts of bins; empty bins may be among them."""
    counts = counts[counts > 0]
    n, bins = int(counts.sum()), counts.size
    if n == 0:
        return Entropy(NAN, NAN, 0)
    p = counts / n
    nats = float(-(p @ np.log(p))) + (bins - 1) / (2 * n)
    return Entropy(nats, float(nats / np.log(bins)) if bins > 1 else NAN, bins)


def allan_deviation(x: FloatArray, m: int = 16) -> float:
    """Overlapping Allan deviation of y = x/mean - 1 as frequency data, averages over m; CV/√m for a Poisson process.

    sigma² = sum_j (Y_{j+m} - Y_j)² / (2 (n - 2m + 1)), Y_j the mean of m values from j on (Riley 2008, NIST SP 1065;
    allantools.oadev with data_type="freq"). Needs 2m intervals.
    """
    if m < 1 or x.size < 2 * m or (mean := float(x.mean())) == 0.0:
        return NAN
    phase = np.concatenate(([0.0], np.cumsum(x / mean - 1.0)))
    second = phase[2 * m :] - 2.0 * phase[m:-m] + phase[: -2 * m]
    return float(np.sqrt((second @ second) / (2.0 * second.size))) / m


def autocorrelation(x: FloatArray, lags: int = 20) -> FloatArray:
    """r_1 .. r_lags with the full-sample mean and variance (Box & Jenkins; statsmodels acf, adjusted=False)."""
    if x.size < 2:
        return np.full(lags, NAN)
    d = x - x.mean()
    power = float(d @ d)
    if power == 0:
        return np.full(lags, NAN)
    return np.array([float(d[:-k] @ d[k:]) / power if k < x.size else NAN for k in range(1, lags + 1)])


@dataclass(frozen=True)
class LjungBox:
    """Statistic and chi-square p-value of the Ljung-Box test."""

    statistic: float
    p_value: float


def ljung_box(x: FloatArray, lags: int = 20) -> LjungBox:
    """Q = n (n + 2) · sum r_k² / (n - k) over the first ``lags`` lags, chi-square with that many degrees of freedom.

    Ljung & Box 1978, Biometrika 65, 297 (statsmodels acorr_ljungbox). Needs more intervals than twice the lags.
    """
    n = x.size
    if n <= 2 * lags:
        return LjungBox(NAN, NAN)
    r = autocorrelation(x, lags)
    q = float(n * (n + 2) * np.sum(r * r / (n - np.arange(1, lags + 1))))
    return LjungBox(q, float(special.chdtrc(lags, q)) if np.isfinite(q) else NAN)


def estimated_tick_ns(times_ns: IntArray) -> int | None:
    """Largest step of which all arrival times are multiples apart, in ns: the clock's tick as far as data show it."""
    if times_ns.size < 3:
        return None
    tick = int(np.gcd.reduce(np.abs(np.diff(times_ns))))
    return tick or None


def _nanmean(values: FloatArray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else NAN
