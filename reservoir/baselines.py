"""What a readout scores without the silicon: the features that every score is printed beside.

Row k of each feature matrix uses the inputs up to and including ``u[k]``; inputs before the first are 0.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]


def delay_line(u: F64, taps: int) -> F64:
    """Linear shift register: columns ``u[k], u[k-1], ..., u[k-taps+1]``, shape (T, taps)."""
    padded = np.concatenate([np.zeros(taps - 1), np.asarray(u, dtype=np.float64)])
    return np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(padded, taps)[:, ::-1])


def pair_products(features: F64) -> F64:
    """All products of two columns, squares included: shape (T, F (F + 1) / 2)."""
    rows, columns = np.triu_indices(features.shape[1])
    return np.asarray(features[:, rows] * features[:, columns])


def delay_line_quadratic(u: F64, taps: int) -> F64:
    """A shift register and all its pair products: shape (T, taps + taps (taps + 1) / 2)."""
    line = delay_line(u, taps)
    return np.hstack([line, pair_products(line)])


def polynomial(u: F64, degree: int) -> F64:
    """Powers 1 .. degree of the present input alone: no memory, any nonlinearity."""
    column = np.asarray(u, dtype=np.float64)[:, None]
    return np.asarray(column ** np.arange(1, degree + 1))
