"""Detectors of what is unusual in waiting times: how often something happens, and how evenly."""

from __future__ import annotations

import math
from typing import Self

import numpy as np
import numpy.typing as npt

from firmware_bridge.sentinel import run_length
from firmware_bridge.sentinel.anomaly import F64, Detector


class ExponentialCusum(Detector):
    """Two-sided CUSUM of waiting times: whether events come faster or slower than usual.

    For exponential intervals this is the likelihood-ratio chart (Lucas 1985, *Technometrics* 27:129; Gan 1994): an
    interval ``x`` in units of the usual mean counts ``x - k`` with ``k = r ln(r) / (r - 1)`` for a mean that grew by
    the factor ``r``. Intervals of another law are first mapped onto exponential ones by their own distribution.

    Args:
        run_length: mean number of usual intervals until a false alarm.
        factor: change of the rate to be found fastest, in either direction; above 1.
        assume: ``exponential``: only the mean is learned; ``empirical``: the whole distribution is, from at least
            200 intervals.
    """

    def __init__(
        self, run_length: float = 10_000.0, factor: float = 1.5, assume: str = "exponential"
    ) -> None:
        self.run_length = run_length
        self.factor = factor
        self.assume = assume

    def fit(self, X: npt.ArrayLike, y: object = None) -> Self:
        """Mean, or distribution, of the usual intervals.

        Raises:
            ValueError: if there are too few, or no positive ones.
        """
        samples = np.asarray(X, np.float64).ravel()
        samples = np.sort(samples[np.isfinite(samples) & (samples >= 0)])
        least = 200 if self.assume == "empirical" else 2
        if samples.size < least or float(np.mean(samples)) <= 0:
            raise ValueError(
                f"at least {least} intervals, not all of them 0, are needed to know what is usual"
            )
        if self.assume not in ("exponential", "empirical"):
            raise ValueError(f"assume is exponential or empirical, not {self.assume!r}")
        self.sorted_ = samples
        return self.know(float(np.mean(samples)))

    def know(self, mean: float) -> Self:
        """Take the mean as known instead of fitting it."""
        if not self.factor > 1.0:
            raise ValueError("factor is above 1")
        self.mean_ = mean
        r = self.factor
        self.slower_reference_ = r * math.log(r) / (r - 1.0)
        self.faster_reference_ = math.log(r) / (r - 1.0)
        one_sided = 2.0 * self.run_length
        self.slower_threshold_ = run_length.exponential_threshold(self.slower_reference_, 1, one_sided)
        self.faster_threshold_ = run_length.exponential_threshold(self.faster_reference_, -1, one_sided)
        self.offset_ = -1.0
        self.reset()
        return self

    def expected_delay(self, factor: float) -> float:
        """Mean number of intervals until a change of the mean interval by a factor is found, starting from 0."""
        if factor > 1:
            increment = run_length.exponential_increment(self.slower_reference_, 1, factor)
            return run_length.average_run_length(increment, self.slower_threshold_)
        increment = run_length.exponential_increment(self.faster_reference_, -1, factor)
        return run_length.average_run_length(increment, self.faster_threshold_)

    def reset(self) -> None:
        """Start the chart anew."""
        self.slower_ = self.faster_ = 0.0

    def standard(self, interval: float) -> float:
        """An interval as a unit exponential one."""
        if self.assume == "exponential":
            return interval / self.mean_
        below = float(np.searchsorted(self.sorted_, interval, "right"))
        above = float(np.searchsorted(self.sorted_, interval, "left"))
        return -math.log1p(-(0.5 * (below + above) + 0.5) / (self.sorted_.size + 1.0))

    def _step(self, interval: float) -> None:
        x = self.standard(interval)
        self.slower_ = max(0.0, self.slower_ + x - self.slower_reference_)
        self.faster_ = max(0.0, self.faster_ - x + self.faster_reference_)

    @property
    def _relative(self) -> float:
        return max(self.slower_ / self.slower_threshold_, self.faster_ / self.faster_threshold_)

    def update(self, interval: float) -> int:
        """Take one interval: 1 for slower, -1 for faster, after which the chart starts anew, else 0."""
        if not (math.isfinite(interval) and interval >= 0):
            return 0
        self._step(interval)
        if self._relative < 1.0:
            return 0
        way = 1 if self.slower_ / self.slower_threshold_ >= self.faster_ / self.faster_threshold_ else -1
        self.reset()
        return way

    def score_samples(self, X: npt.ArrayLike) -> F64:
        """Minus the chart's value over its threshold after each interval; it does not start anew at an alarm."""
        chart = self._copy()
        scores = []
        for each in np.asarray(X, np.float64).ravel():
            if math.isfinite(each) and each >= 0:
                chart._step(float(each))
            scores.append(-chart._relative)
        return np.array(scores)

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """-1 at each interval at which the chart, started anew after every alarm, alarms."""
        chart = self._copy()
        return np.array([-1 if chart.update(float(x)) else 1 for x in np.asarray(X).ravel()], np.int64)

    def _copy(self) -> ExponentialCusum:
        chart = type(self)(**self.get_params()).know(self.mean_)
        if self.assume == "empirical":
            chart.sorted_ = self.sorted_
        return chart


class SpreadChange(Detector):
    """Whether the coefficient of variation of consecutive blocks of intervals changed.

    Blocks do not overlap. The usual spread of a block's CV is learned by drawing blocks from the usual intervals, so it
    holds for any law of independent intervals.

    Args:
        alarms: share of usual blocks that may be called unusual.
        block: intervals in a block.
        draws: blocks drawn.
        seed: of the draws.
    """

    def __init__(self, alarms: float = 1e-3, block: int = 100, draws: int = 20_000, seed: int = 0) -> None:
        self.alarms = alarms
        self.block = block
        self.draws = draws
        self.seed = seed

    def fit(self, X: npt.ArrayLike, y: object = None) -> Self:
        """The usual distribution of a block's CV.

        Raises:
            ValueError: if there are fewer than two blocks of intervals.
        """
        samples = np.asarray(X, np.float64).ravel()
        samples = samples[np.isfinite(samples) & (samples >= 0)]
        if samples.size < 2 * self.block:
            raise ValueError(f"at least {2 * self.block} intervals are needed to know what is usual")
        rng = np.random.default_rng(self.seed)
        cvs = np.concatenate(
            [_cv(rng.choice(samples, (200, self.block))) for _ in range(math.ceil(self.draws / 200))]
        )
        logs = np.sort(np.log(np.maximum(cvs, 1e-9)))
        self.centre_ = float(np.median(logs))
        distance = np.sort(np.abs(logs - self.centre_))
        self.offset_ = -float(np.quantile(distance, 1.0 - self.alarms))
        return self

    def score_samples(self, X: npt.ArrayLike) -> F64:
        """Minus the distance of each block's log CV, shape (blocks,); an incomplete block at the end is left out."""
        samples = np.asarray(X, np.float64).ravel()
        blocks = samples[: samples.size // self.block * self.block].reshape(-1, self.block)
        return -np.abs(np.log(np.maximum(_cv(blocks), 1e-9)) - self.centre_)


def _cv(blocks: F64) -> F64:
    mean = blocks.mean(axis=1)
    return np.asarray(blocks.std(axis=1, ddof=1) / np.where(mean > 0, mean, np.inf))
