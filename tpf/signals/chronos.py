"""Chronos coupling: does the timing of shares lock to a frequency?

Published (CHIMERA paper, eq. 2): K_sync = exp(-sigma_J² f_clk / 2 pi) · sum_k cos(dphi_k). The exponent has the unit
of seconds, so the formula has no value. Stated interpretation: a Gaussian jitter of sigma_J seconds is a phase jitter
of 2 pi f sigma_J radians, and the coherence that it leaves is exp(-(2 pi f sigma_J)² / 2); the sum becomes a mean,
so that K does not grow with n; dphi_k = 2 pi f x_k is the phase that passes in interval k.

Independent exponential intervals of mean tau do not lock to anything, and still K is not 0: the mean of cos(2 pi f x)
is 1 / (1 + (2 pi f tau)²).
"""

from __future__ import annotations

from math import exp, pi, sqrt

import numpy as np

from firmware_bridge.timing.run_data import FloatArray


def literal_exponent(jitter_s: float, frequency_hz: float) -> float:
    """The published exponent -sigma_J² f / 2 pi, in seconds: shown for the record, of no use."""
    return -(jitter_s**2) * frequency_hz / (2 * pi)


def coherence_factor(jitter_s: float, frequency_hz: float) -> float:
    """What a Gaussian timing jitter leaves of a coherence of 1 at a frequency: exp(-(2 pi f sigma)² / 2)."""
    return exp(-0.5 * (2 * pi * frequency_hz * jitter_s) ** 2)


def mean_cosine(intervals_s: FloatArray, frequency_hz: float) -> float:
    """Mean of cos(2 pi f x) over intervals in seconds."""
    return float(np.cos(2 * pi * frequency_hz * intervals_s).mean())


def chronos_coupling(intervals_s: FloatArray, frequency_hz: float, jitter_s: float | None = None) -> float:
    """K_sync in its stated interpretation.

    Args:
        intervals_s: shape (n,).
        frequency_hz: of the clock that the shares are said to couple to.
        jitter_s: standard deviation of the timing; that of the intervals if left out.
    """
    jitter = float(intervals_s.std()) if jitter_s is None else jitter_s
    return coherence_factor(jitter, frequency_hz) * mean_cosine(intervals_s, frequency_hz)


def poisson_mean_cosine(mean_s: float, frequency_hz: float, n: int = 1) -> tuple[float, float]:
    """Mean of :func:`mean_cosine` for n exponential intervals, and its standard deviation; both exact."""
    wt2 = (2 * pi * frequency_hz * mean_s) ** 2
    mean = 1.0 / (1.0 + wt2)
    square = 0.5 * (1.0 + 1.0 / (1.0 + 4.0 * wt2))
    return mean, sqrt(max(0.0, square - mean**2) / n)
