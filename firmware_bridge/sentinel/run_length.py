"""How long a CUSUM runs until it alarms: by a Markov chain over its value, for any distribution of the increments.

Brook & Evans 1972, *Biometrika* 59:539. The chart is ``S = max(0, S + x)`` and alarms at ``S >= h``; ``x`` has the
given distribution function.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
Cdf = Callable[[F64], F64]

STATES = 200


def average_run_length(cdf: Cdf, h: float, *, states: int = STATES) -> float:
    """Mean number of samples until the alarm, starting at 0.

    Args:
        cdf: distribution function of an increment, elementwise.
        h: threshold, above 0.
        states: of the chain; the error falls with their square.
    """
    width = 2.0 * h / (2 * states - 1)
    centres = width * np.arange(states, dtype=np.float64)
    steps = centres[None, :] - centres[:, None]
    chance = np.asarray(cdf(steps + width / 2) - cdf(steps - width / 2), np.float64)
    chance[:, 0] = cdf(width / 2 - centres)
    lengths = np.linalg.solve(np.eye(states) - chance, np.ones(states, np.float64))
    return float(lengths[0])


def threshold_for(cdf: Cdf, run_length: float, *, high: float = 4.0) -> float:
    """Threshold whose mean run length is the given one.

    Args:
        cdf: distribution function of an increment.
        run_length: wanted, in samples, above 1.
        high: first guess from above; doubled while it is too small.
    """
    from scipy.optimize import brentq

    while average_run_length(cdf, high) < run_length:
        high *= 2.0
        if high > 1e6:
            raise ValueError(f"no threshold gives a mean run length of {run_length:g}")
    low = high
    while average_run_length(cdf, low) > run_length and low > 1e-9:
        low /= 2.0
    if low <= 1e-9:
        return low
    return float(
        brentq(lambda h: np.log(average_run_length(cdf, h) / run_length), low, high, xtol=1e-4, rtol=1e-6)
    )


def normal_increment(reference: float, shift: float = 0.0) -> Cdf:
    """Increment of a one-sided CUSUM on standard normal samples: ``z + shift - reference``."""
    from scipy.special import ndtr

    return lambda x: np.asarray(ndtr(x + reference - shift), dtype=np.float64)


@lru_cache(maxsize=64)
def normal_threshold(reference: float, one_sided: float) -> float:
    """Threshold of a one-sided CUSUM on standard normal samples for its mean run length."""
    return threshold_for(normal_increment(reference), one_sided)


@lru_cache(maxsize=64)
def exponential_threshold(reference: float, sign: int, one_sided: float) -> float:
    """Threshold of a one-sided CUSUM on unit exponential samples for its mean run length."""
    return threshold_for(exponential_increment(reference, sign), one_sided)


def exponential_increment(reference: float, sign: int, mean: float = 1.0) -> Cdf:
    """Increment of a one-sided CUSUM on exponential samples: ``sign * (x - reference)``."""
    if sign > 0:
        return lambda x: -np.expm1(-np.maximum(x + reference, 0.0) / mean)
    return lambda x: np.exp(-np.maximum(reference - x, 0.0) / mean)
