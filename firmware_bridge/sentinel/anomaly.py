"""Detectors of what is unusual, in the manner of scikit-learn: ``fit``, ``score_samples``, ``predict``, ``get_params``.

As there, ``score_samples`` is the lower the more unusual a sample is, and ``predict`` gives -1 for unusual and 1 for
usual. Each is calibrated: its parameter is a false alarm rate or a mean run length, not a bare threshold.
"""

from __future__ import annotations

import inspect
import math
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from firmware_bridge.sentinel import run_length

F64 = npt.NDArray[np.float64]
MAD_TO_SD = 1.4826022185056018
"""Of a normal distribution."""


class Detector:
    """What the detectors share."""

    def fit(self, X: npt.ArrayLike, y: object = None) -> Self:
        """Learn what is usual.

        Args:
            X: samples, shape (n,) or (n, columns); those that are not finite are left out.
            y: ignored.
        """
        raise NotImplementedError

    def score_samples(self, X: npt.ArrayLike) -> F64:
        """How usual each sample is, shape (n,): the lower the less."""
        raise NotImplementedError

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """-1 for unusual and 1 for usual, shape (n,)."""
        return np.where(self.score_samples(X) < self.offset_, -1, 1).astype(np.int64)

    offset_: float
    """Score below which a sample is unusual."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """What it was made with."""
        names = [n for n in inspect.signature(type(self)).parameters if n != "self"]
        return {name: getattr(self, name) for name in names}

    def set_params(self, **params: Any) -> Self:
        """Change what it was made with; fit again afterwards."""
        known = self.get_params()
        for name, value in params.items():
            if name not in known:
                raise ValueError(
                    f"{type(self).__name__} has no parameter {name!r}; it has {', '.join(known)}"
                )
            setattr(self, name, value)
        return self


class RobustZ(Detector):
    """Distance from the median in robust standard deviations (1.48 MAD), the largest over the columns.

    Args:
        alarms: share of usual samples that may be called unusual, over all columns together; exact for independent
            normal columns.
        floor: smallest standard deviation believed, per column or one for all: the resolution of a sensor.
    """

    def __init__(self, alarms: float = 1e-5, floor: float = 0.0) -> None:
        self.alarms = alarms
        self.floor = floor

    median_: F64
    scale_: F64

    def fit(self, X: npt.ArrayLike, y: object = None) -> Self:
        """Median and MAD of each column.

        Raises:
            ValueError: if a column has no finite sample.
        """
        from scipy.special import ndtri

        samples = _columns(X)
        samples = np.where(np.isfinite(samples), samples, np.nan)
        if np.any(np.all(np.isnan(samples), axis=0)):
            raise ValueError("a column without a finite sample has no usual value")
        self.median_ = np.nanmedian(samples, axis=0)
        spread = MAD_TO_SD * np.nanmedian(np.abs(samples - self.median_), axis=0)
        self.scale_ = np.maximum(
            np.maximum(spread, self.floor), 1e-12 * np.maximum(1.0, np.abs(self.median_))
        )
        each = 1.0 - (1.0 - self.alarms) ** (1.0 / samples.shape[1])
        self.offset_ = float(ndtri(each / 2.0))
        return self

    def z(self, X: npt.ArrayLike) -> F64:
        """Signed distance of each value, shape (n, columns)."""
        return (_columns(X) - self.median_) / self.scale_

    def score_samples(self, X: npt.ArrayLike) -> F64:
        """Minus the largest distance; a value that is missing counts as usual."""
        distance = np.abs(self.z(X))
        furthest: F64 = np.max(np.where(np.isnan(distance), 0.0, distance), axis=1)
        return -furthest


class Cusum(Detector):
    """Two-sided CUSUM of standardised samples: small lasting shifts of the mean, which no single sample shows.

    The threshold is that of two one-sided charts whose mean run length on white normal noise is ``run_length``
    together (``1/ARL = 1/ARL_up + 1/ARL_down``). Positively correlated samples alarm more often: thin them.

    Args:
        run_length: mean number of usual samples until a false alarm.
        shift: shift to be found fastest, in standard deviations; the reference value is half of it.
        robust: standardise by median and MAD, not by mean and standard deviation.
        floor: smallest standard deviation believed.
    """

    def __init__(
        self, run_length: float = 28_800.0, shift: float = 1.0, robust: bool = True, floor: float = 0.0
    ) -> None:
        self.run_length = run_length
        self.shift = shift
        self.robust = robust
        self.floor = floor

    def fit(self, X: npt.ArrayLike, y: object = None) -> Self:
        """Centre and scale of the usual samples, and the threshold; a chart in use starts anew.

        Raises:
            ValueError: if fewer than 2 samples are finite.
        """
        samples = np.asarray(X, np.float64).ravel()
        samples = samples[np.isfinite(samples)]
        if samples.size < 2:
            raise ValueError("a CUSUM needs at least 2 samples of what is usual")
        if self.robust:
            centre = float(np.median(samples))
            scale = MAD_TO_SD * float(np.median(np.abs(samples - centre)))
        else:
            centre, scale = float(np.mean(samples)), float(np.std(samples, ddof=1))
        return self.know(centre, max(scale, self.floor, 1e-12 * max(1.0, abs(centre))))

    def know(self, centre: float, scale: float) -> Self:
        """Take centre and scale as known instead of fitting them."""
        self.centre_, self.scale_ = centre, scale
        self.threshold_ = run_length.normal_threshold(self.shift / 2.0, 2.0 * self.run_length)
        self.offset_ = -self.threshold_
        self.reset()
        return self

    def expected_delay(self, shift: float) -> float:
        """Mean number of samples until a shift of the mean is found, in standard deviations, starting from 0."""
        increment = run_length.normal_increment(self.shift / 2.0, abs(shift))
        return run_length.average_run_length(increment, self.threshold_)

    def reset(self) -> None:
        """Start the chart anew."""
        self.up_ = self.down_ = 0.0

    def update(self, sample: float) -> int:
        """Take one sample: 1 or -1 for an alarm upwards or downwards, after which the chart starts anew, else 0."""
        if not math.isfinite(sample):
            return 0
        z = (sample - self.centre_) / self.scale_
        self.up_ = max(0.0, self.up_ + z - self.shift / 2.0)
        self.down_ = max(0.0, self.down_ - z - self.shift / 2.0)
        if max(self.up_, self.down_) < self.threshold_:
            return 0
        way = 1 if self.up_ >= self.down_ else -1
        self.reset()
        return way

    def score_samples(self, X: npt.ArrayLike) -> F64:
        """Minus the chart's value after each sample, in order; the chart does not start anew at an alarm."""
        z = (np.asarray(X, np.float64).ravel() - self.centre_) / self.scale_
        up = down = 0.0
        scores = np.empty(z.size)
        for n, each in enumerate(np.where(np.isfinite(z), z, 0.0)):
            up = max(0.0, up + each - self.shift / 2.0)
            down = max(0.0, down - each - self.shift / 2.0)
            scores[n] = -max(up, down)
        return scores

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """-1 at each sample at which the chart, started anew after every alarm, alarms."""
        chart = type(self)(**self.get_params()).know(self.centre_, self.scale_)
        return np.array([-1 if chart.update(float(x)) else 1 for x in np.asarray(X).ravel()], np.int64)


class Isolation(Detector):
    """scikit-learn's ``IsolationForest``, with its threshold at a quantile of samples that it was not grown on.

    It sees columns together, so it finds what lies between two operating points, which no column shows by itself. Its
    cuts follow the axes: a mixture of one point's values with another's looks usual to it. The false alarm rate cannot
    be smaller than one over the number of samples held back.

    Args:
        alarms: share of usual samples that may be called unusual.
        trees: of the forest.
        seed: of the forest and of the split.
    """

    def __init__(self, alarms: float = 1e-3, trees: int = 100, seed: int = 0) -> None:
        self.alarms = alarms
        self.trees = trees
        self.seed = seed

    def fit(self, X: npt.ArrayLike, y: object = None) -> Self:
        """Grow the forest on one half, and set the threshold on the other.

        Raises:
            ValueError: if there are fewer than 20 complete samples.
        """
        from sklearn.ensemble import IsolationForest

        samples = _columns(X)
        samples = samples[np.all(np.isfinite(samples), axis=1)]
        if len(samples) < 20:
            raise ValueError("at least 20 complete samples are needed to know what is usual")
        order = np.random.default_rng(self.seed).permutation(len(samples))
        grown, held_back = samples[order[::2]], samples[order[1::2]]
        self.forest_ = IsolationForest(n_estimators=self.trees, random_state=self.seed).fit(grown)
        scores = self.forest_.score_samples(held_back)
        self.offset_ = float(np.quantile(scores, self.alarms, method="lower"))
        return self

    def score_samples(self, X: npt.ArrayLike) -> F64:
        """The forest's score; a sample with a missing value counts as usual."""
        samples = _columns(X)
        whole = np.all(np.isfinite(samples), axis=1)
        scores = np.zeros(len(samples))
        if whole.any():
            scores[whole] = self.forest_.score_samples(samples[whole])
        return scores


def _columns(X: npt.ArrayLike) -> F64:
    samples = np.asarray(X, np.float64)
    return samples[:, None] if samples.ndim == 1 else samples
