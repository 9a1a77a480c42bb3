"""The coefficient of variation of ten intervals, by which the published bridge called a stream "non-Poisson".

Its rule is CV > 1.1 of the last ten intervals. Ten intervals of a perfect Poisson process have a CV of 0.88 ± 0.22, and
exceed 1.1 one time in seven.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from firmware_bridge.timing.run_data import FloatArray

WINDOW = 10
LIMIT = 1.1


def window_cvs(intervals: FloatArray, window: int = WINDOW) -> FloatArray:
    """CV (ddof 0) of consecutive windows without overlap, a last partial one dropped: shape (n // window,)."""
    whole = intervals[: intervals.size - intervals.size % window].reshape(-1, window)
    means = whole.mean(axis=1)
    return np.asarray(np.divide(whole.std(axis=1), means, out=np.zeros(means.size), where=means > 0))


def alarm_rate(intervals: FloatArray, window: int = WINDOW, limit: float = LIMIT) -> float:
    """Part of the windows whose CV exceeds the limit; nan where there is no whole window."""
    cvs = window_cvs(intervals, window)
    return float((cvs > limit).mean()) if cvs.size else float("nan")


@cache
def usual_alarm_rate() -> float:
    """Alarm rate of a Poisson process with the published window and limit: 0.149."""
    return poisson_alarm_rate(np.random.default_rng(0))[0]


def poisson_alarm_rate(
    rng: np.random.Generator, window: int = WINDOW, limit: float = LIMIT, windows: int = 200_000
) -> tuple[float, float, float]:
    """Alarm rate, mean and standard deviation of the CV of windows of a Poisson process, by Monte-Carlo."""
    cvs = window_cvs(rng.standard_exponential(windows * window), window)
    return float((cvs > limit).mean()), float(cvs.mean()), float(cvs.std())
