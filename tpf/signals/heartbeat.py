"""The heartbeat: is there a rhythm at a named frequency, or anywhere, that intervals in another order do not give?

The spectrum of arrivals and its surrogates are those of :mod:`firmware_bridge.timing.spectrum`. Two questions need two
tests: whether the *named* frequency stands out (one number, no look elsewhere), and whether *any* does.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from typing import Any

import numpy as np

from firmware_bridge.timing.run_data import FloatArray
from firmware_bridge.timing.spectrum import Heartbeat, heartbeat, welch
from firmware_bridge.timing.surrogates import Surrogate, red_noise, shuffle

CLAIMED_HZ = 2.4
BAND = 0.05
"""Half width of the searched band, as a part of the named frequency."""
BINS_PER_PERIOD = 16


def rayleigh_power(times_s: FloatArray, frequency_hz: FloatArray) -> FloatArray:
    """Power of arrivals at frequencies, |sum exp(2 pi i f t)|² / n: exponential with mean 1 for a Poisson process.

    Lord Rayleigh 1880; the periodogram of a point process (Bartlett 1963).

    Args:
        times_s: arrivals, shape (n,).
        frequency_hz: shape (k,).

    Returns:
        Shape (k,).
    """
    if times_s.size == 0:
        return np.zeros(np.size(frequency_hz))
    phase = 2 * pi * np.outer(frequency_hz, times_s)
    power: FloatArray = (np.cos(phase).sum(axis=1) ** 2 + np.sin(phase).sum(axis=1) ** 2) / times_s.size
    return power


def band_power(times_s: FloatArray, frequency_hz: float, span_s: float) -> float:
    """Largest :func:`rayleigh_power` within ``BAND`` of a frequency, at steps of half of 1 / span or less.

    Arrivals are counted in bins of 1/16 of a period and Fourier transformed, which costs at most 2 % of the power.

    Args:
        times_s: arrivals from 0 on, shape (n,).
        frequency_hz: the named one.
        span_s: length of the recording.
    """
    rate_hz = BINS_PER_PERIOD * frequency_hz
    length = 1 << int(2 * np.ceil(span_s * rate_hz) + 1).bit_length()  # a power of two transforms fast
    counts = np.bincount((times_s * rate_hz).astype(np.int64), minlength=length)[:length]
    power = np.abs(np.fft.rfft(counts)) ** 2 / max(1, times_s.size)
    at = np.arange(power.size) * rate_hz / length
    near = np.abs(at - frequency_hz) <= max(BAND * frequency_hz, 0.5 * rate_hz / length)
    return float(power[near].max())


@dataclass(frozen=True)
class HeartbeatReport:
    """The named frequency, and the spectrum with its null.

    Attributes:
        named_hz: the claim.
        band_power: largest Rayleigh power within 5 % of it.
        band_null_mean: mean of the same of shuffled intervals.
        band_null_95: its 95 % point.
        p_shuffled: share of shuffles with as large a power there, data counted.
        p_red_noise: likewise, of red-noise surrogates.
        anywhere: the strongest rhythm at any frequency; None below 64 intervals.
        frequency_hz: of the Welch spectrum, shape (k,).
        spectrum: relative to the mean of shuffles, shape (k,).
        pointwise_95: 95 % point of the shuffles at each frequency, likewise relative, shape (k,).
        anywhere_95: 95 % point of the largest ratio anywhere.
        surrogates: of each kind.
    """

    named_hz: float
    band_power: float
    band_null_mean: float
    band_null_95: float
    p_shuffled: float
    p_red_noise: float
    anywhere: Heartbeat | None
    frequency_hz: FloatArray
    spectrum: FloatArray
    pointwise_95: FloatArray
    anywhere_95: float
    surrogates: int

    def to_json(self) -> dict[str, Any]:
        """Numbers without the curves."""
        return {
            "named_hz": self.named_hz,
            "band_power": self.band_power,
            "band_null_mean": self.band_null_mean,
            "band_null_95": self.band_null_95,
            "p_shuffled": self.p_shuffled,
            "p_red_noise": self.p_red_noise,
            "anywhere": None if self.anywhere is None else self.anywhere.to_json(),
            "surrogates": self.surrogates,
        }


def heartbeat_report(
    intervals_ms: FloatArray,
    rng: np.random.Generator,
    *,
    named_hz: float = CLAIMED_HZ,
    surrogates: int = 999,
) -> HeartbeatReport | None:
    """Look for a rhythm; None where there are fewer than 64 intervals.

    Args:
        intervals_ms: shape (n,), none negative.
        rng: of the surrogates.
        named_hz: the claim.
        surrogates: of each kind.
    """
    anywhere = heartbeat(intervals_ms, rng, surrogates)
    if anywhere is None:
        return None
    span_s = float(intervals_ms.sum()) / 1e3

    def power(x: FloatArray) -> float:
        return band_power(np.cumsum(x) / 1e3, named_hz, span_s)

    own = power(intervals_ms)

    def null(surrogate: Surrogate) -> FloatArray:
        return np.array([power(surrogate(intervals_ms, rng)) for _ in range(surrogates)])

    shuffled, red = null(shuffle), null(red_noise)
    frequency, spectrum, pointwise, limit = _curves(intervals_ms, anywhere, rng, surrogates)
    return HeartbeatReport(
        named_hz, own, float(shuffled.mean()), float(np.percentile(shuffled, 95)), _p(shuffled, own), _p(red, own),
        anywhere, frequency, spectrum, pointwise, limit, surrogates,
    )  # fmt: skip


def _p(null: FloatArray, value: float) -> float:
    return (1.0 + float((null >= value).sum())) / (1.0 + null.size)


def _curves(
    x: FloatArray, found: Heartbeat, rng: np.random.Generator, surrogates: int
) -> tuple[FloatArray, FloatArray, FloatArray, float]:
    """Welch spectrum over the mean of shuffles, with the bins of the test."""
    segment = round(found.segment_s * 1e3 / found.bin_ms)
    bins = int(float(x.sum()) / found.bin_ms)

    def spectrum(intervals: FloatArray) -> FloatArray:
        at = (np.cumsum(intervals) / found.bin_ms).astype(np.int64)
        return welch(np.bincount(at[at < bins], minlength=bins).astype(np.float64), segment)

    null = np.array([spectrum(shuffle(x, rng)) for _ in range(surrogates)])
    mean = np.maximum(null.mean(axis=0), 1e-300)
    frequency = np.arange(1, null.shape[1] + 1) / found.segment_s
    limit = float(np.percentile((null / mean).max(axis=1), 95))
    return frequency, spectrum(x) / mean, np.percentile(null, 95, axis=0) / mean, limit
