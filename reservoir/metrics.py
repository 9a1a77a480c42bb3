"""How far a prediction is from its target; the convention is in the name, since it changes the number by ten times.

``nrmse_std`` is what this lab prints as NRMSE: 1 is what predicting the mean of the test block scores.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from firmware_bridge.errors import UserError

F64 = npt.NDArray[np.float64]


def rmse(target: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Root of the mean squared error; shapes (T,) or (T, d), all entries counted alike.

    Raises:
        UserError: if the shapes differ or there is nothing to compare.
    """
    y, p = np.asarray(target, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    if y.shape != p.shape or y.size == 0:
        raise UserError(
            f"target and prediction have the shapes {y.shape} and {p.shape}; they are to be equal"
        )
    return float(np.sqrt(np.mean((y - p) ** 2)))


def nrmse_std(target: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """RMSE over the standard deviation (ddof 0) of the target: ``reservoir.md`` §1.3.

    Raises:
        UserError: if the shapes differ, or the target is constant.
    """
    deviation = float(np.std(np.asarray(target, dtype=np.float64)))
    if not deviation > 0.0:
        raise UserError("the target does not vary over the test block: no NRMSE is defined")
    return rmse(target, predicted) / deviation


def nmse(target: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Mean squared error over the variance of the target: the square of :func:`nrmse_std`."""
    return nrmse_std(target, predicted) ** 2


def accuracy(target: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Share of the symbols that are right, for tasks whose target takes a few values."""
    y, p = np.asarray(target), np.asarray(predicted)
    values = np.unique(y)
    nearest = values[np.abs(p[..., None] - values).argmin(axis=-1)]
    return float(np.mean(nearest == y))
