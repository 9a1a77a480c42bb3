"""Planted courses of the hash rate: a pulse in wall time, and bursts of shares without a scale."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]

PULSE_HZ = 2.4
"""That of the published heartbeat."""
STEP_MS = 20.0
"""Of the grid: twenty steps of a pulse."""
BURST_EXPONENT = 2.3
"""Of the law of sizes: below 3 they have no finite variance, so no scale of their own."""


def pulse_course(strength: float) -> F64:
    """Factor on the hash rate, ``STEP_MS`` of wall time apart, over whole pulses; empty for strength 0."""
    if strength == 0:
        return np.empty(0)
    # twelve pulses are five seconds, which are whole steps
    at_s = np.arange(round(12 / PULSE_HZ * 1e3 / STEP_MS)) * STEP_MS / 1e3
    return np.asarray(np.exp(strength * np.sin(2.0 * math.pi * PULSE_HZ * at_s)))


def burst_course(strength: float, shares: int, rng: np.random.Generator) -> F64:
    """Factor on the hash rate until each share, fast and slow in turns; empty for strength 0.

    Args:
        strength: logarithm of the factor, and of its inverse.
        shares: that are drawn; what goes on beyond begins again.
        rng: of the sizes, ``P(k) = k^-2.3 / zeta(2.3)``.
    """
    if strength == 0:
        return np.empty(0)
    course = np.empty(shares)
    at, sign = 0, strength
    while at < shares:
        size = int(rng.zipf(BURST_EXPONENT))
        course[at : at + size] = sign
        at, sign = at + size, -sign
    # the mean rate stays: half of the shares take exp(strength) times as long, the others exp(-strength) times
    return np.asarray(np.exp(course) * math.cosh(strength))
