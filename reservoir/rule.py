"""The one rule by which every readout of an evaluation is trained, so that scores differ by their features alone.

Columns are standardised with the mean and the deviation of the training rows (one that does not vary there becomes 0).
Ridge with an intercept that is not penalised; the last fifth of the training rows chooses λ among
:data:`reservoir.readouts.LAMBDAS`, all training rows are then fitted with it. It is
``StandardScaler`` and ``RidgeReadout(alpha=None)``, worked out on moments instead of rows: a fifth of the time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from firmware_bridge.errors import UserError
from reservoir.metrics import nrmse_std
from reservoir.moments import Moments
from reservoir.readouts import LAMBDAS, RidgeReadout

F64 = npt.NDArray[np.float64]

VALIDATION = 0.2
"""Share of the training rows, at their end, that chooses λ."""
VARIES = 1e-12
"""Deviation over mean from which a column counts as one that varies: below it is rounding."""


@dataclass(frozen=True, slots=True)
class Split:
    """Which steps do what: first ``washout`` that nobody sees, then ``train``, then ``test``, in the order of time.

    Raises:
        UserError: if a part is too short to be one.
    """

    washout: int = 200
    train: int = 2000
    test: int = 1000

    def __post_init__(self) -> None:
        if self.washout < 0 or self.train < 10 or self.test < 2:
            raise UserError(
                f"a split has a washout of at least 0, 10 training and 2 test steps, "
                f"not {self.washout}, {self.train} and {self.test}"
            )

    @property
    def steps(self) -> int:
        """Steps that it takes in all."""
        return self.washout + self.train + self.test

    def columns(self, what: str, values: npt.ArrayLike) -> F64:
        """The training and test rows of an array of shape (T,) or (T, d) as (train + test, d), checked.

        Raises:
            UserError: if it has another shape, too few steps, or entries that are no finite numbers.
        """
        given = np.asarray(values, dtype=np.float64)
        if given.ndim not in (1, 2) or given.size == 0:
            raise UserError(f"{what} has the shape {given.shape}; (T,) or (T, columns) is needed")
        if given.shape[0] < self.steps:
            raise UserError(
                f"{what} has {given.shape[0]} steps; washout {self.washout}, training {self.train} and test "
                f"{self.test} take {self.steps}: record longer, or take a shorter split"
            )
        block = given[self.washout : self.steps].reshape(self.train + self.test, -1)
        unknown = int((~np.isfinite(block)).sum())
        if unknown:
            raise UserError(
                f"{what} has {unknown} entries that are not finite; fill them or leave those steps out"
            )
        return block


@dataclass(frozen=True, eq=False, slots=True)
class Fit:
    """A trained readout on the test block.

    Attributes:
        prediction: shape (test,).
        nrmse: ``nrmse_std`` on the test block.
        alpha: λ in force, for standardised columns.
        validation_error: mean squared error of that λ on the rows that chose it.
    """

    prediction: F64
    nrmse: float
    alpha: float
    validation_error: float


class Rule:
    """The rule for one target.

    Args:
        y: target of the training and test rows, shape (train + test,) or (train + test, 1).
        split: how they are parted.
        alpha: λ for standardised columns; None lets the end of the training rows choose it.

    Raises:
        UserError: if alpha is not above 0.
    """

    def __init__(self, y: F64, split: Split, alpha: float | None = None) -> None:
        if alpha is not None and not alpha > 0:
            raise UserError(f"a fixed λ is above 0, not {alpha!r}; leave it out to have it chosen")
        self.y = np.ascontiguousarray(y, dtype=np.float64).reshape(-1, 1)
        self.split = split
        self.alpha = alpha
        self.cut = split.train - max(1, round(VALIDATION * split.train))
        self.target = self.y[split.train :, 0]

    def fit(self, x: F64) -> Fit:
        """Train on the first ``train`` rows of x, shape (train + test, features), and score the others."""
        first, last = Moments(x.shape[1], 1), Moments(x.shape[1], 1)
        first.add(x[: self.cut], self.y[: self.cut])
        last.add(x[self.cut : self.split.train], self.y[self.cut : self.split.train])
        both = Moments(x.shape[1], 1)
        both.merge(first)
        both.merge(last)
        centre = both.mean_x
        deviation = np.sqrt(both.xx.diagonal() / both.n)
        scale = np.zeros_like(deviation)
        np.divide(1.0, deviation, out=scale, where=deviation > VARIES * np.abs(centre))
        first, last, both = (_standardised(part, centre, scale) for part in (first, last, both))

        unit = float(np.trace(first.xx)) / centre.size or 1.0
        candidates = [a * unit for a in LAMBDAS] if self.alpha is None else [self.alpha]
        errors = _errors(last, RidgeReadout.path(first, candidates))
        best = int(np.argmin(errors))
        relative = self.alpha is None
        readout = RidgeReadout(LAMBDAS[best] if self.alpha is None else self.alpha, relative=relative)
        readout.fit_moments(both)
        prediction = (x[self.split.train :] - centre) @ (scale * readout.coef_) + readout.intercept_
        score = nrmse_std(self.target, prediction)
        return Fit(prediction, score, readout.alpha_, float(errors[best]))


def _standardised(moments: Moments, centre: F64, scale: F64) -> Moments:
    """The moments of ``(x - centre) * scale``."""
    result = Moments(centre.size, 1)
    result.n, result.mean_y, result.yy = moments.n, moments.mean_y, moments.yy
    result.mean_x = (moments.mean_x - centre) * scale
    result.xx = np.asfortranarray(moments.xx * scale[:, None] * scale)
    result.xy = moments.xy * scale[:, None]
    return result


def _errors(moments: Moments, solutions: list[tuple[F64, F64]]) -> F64:
    """Mean squared error of each (weights, intercept) over the rows of the moments."""
    w = np.vstack([weights for weights, _ in solutions])
    b = np.array([intercept[0] for _, intercept in solutions])
    about_mean = moments.yy[0] - 2.0 * w @ moments.xy[:, 0] + np.einsum("ij,ij->i", w @ moments.gram(), w)
    offset = moments.mean_y[0] - b - w @ moments.mean_x
    return np.asarray(about_mean / moments.n + offset**2)
