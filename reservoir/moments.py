"""Sufficient statistics of a linear readout, gathered chunk by chunk: 1e7 steps never lie in memory together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.linalg import blas

F64 = npt.NDArray[np.float64]

CHUNK_ROWS = 10_000
BLOCK_ROWS = 500
"""Rows of a chunk that are centred at a time: few enough to stay in the cache until they are multiplied."""


class Moments:
    """Count, means and centred second moments of (x, y); merging is exact (Chan, Golub & LeVeque 1983).

    Args:
        features: columns of X.
        outputs: columns of y.

    Attributes:
        n: rows so far.
        mean_x: shape (features,).
        mean_y: shape (outputs,).
        xx: ``sum (x - mean_x)(x - mean_x)^T``, upper triangle in force, shape (features, features).
        xy: ``sum (x - mean_x)(y - mean_y)^T``, shape (features, outputs).
        yy: ``sum (y - mean_y)^2``, shape (outputs,).
    """

    def __init__(self, features: int, outputs: int) -> None:
        self.n = 0
        self.mean_x = np.zeros(features)
        self.mean_y = np.zeros(outputs)
        self.xx = np.zeros((features, features), order="F")
        self.xy = np.zeros((features, outputs))
        self.yy = np.zeros(outputs)

    def add(self, x: F64, y: F64) -> None:
        """Take in rows, ``CHUNK_ROWS`` at a time: x of shape (T, features), y of shape (T, outputs)."""
        for start in range(0, x.shape[0], CHUNK_ROWS):
            self._add(x[start : start + CHUNK_ROWS], y[start : start + CHUNK_ROWS])

    def _add(self, x: F64, y: F64) -> None:
        rows = x.shape[0]
        if not rows:
            return
        mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
        yc = y - mean_y
        centred = np.empty((min(rows, BLOCK_ROWS), x.shape[1]))
        for start in range(0, rows, BLOCK_ROWS):
            part = x[start : start + BLOCK_ROWS]
            xc = np.subtract(part, mean_x, out=centred[: part.shape[0]])
            # rows in C order are the columns of a Fortran matrix: nothing is copied
            self.xx = blas.dsyrk(1.0, xc.T, beta=1.0, c=self.xx, trans=0, overwrite_c=1)
            self.xy += xc.T @ yc[start : start + BLOCK_ROWS]
        self.yy += np.einsum("ij,ij->j", yc, yc)
        self._shift(rows, mean_x, mean_y)

    def _shift(self, rows: int, mean_x: F64, mean_y: F64) -> None:
        """Account for the distance between the means so far and those of ``rows`` more."""
        total = self.n + rows
        if self.n:
            dx, dy = mean_x - self.mean_x, mean_y - self.mean_y
            weight = self.n * rows / total
            self.xx = blas.dsyr(weight, dx, a=self.xx, overwrite_a=1)
            self.xy += weight * np.outer(dx, dy)
            self.yy += weight * dy**2
            self.mean_x = self.mean_x + dx * rows / total
            self.mean_y = self.mean_y + dy * rows / total
        else:
            self.mean_x, self.mean_y = mean_x, mean_y
        self.n = total

    def merge(self, other: Moments) -> None:
        """Take in what another has gathered."""
        if not other.n:
            return
        self.xx += other.xx
        self.xy += other.xy
        self.yy += other.yy
        self._shift(other.n, other.mean_x, other.mean_y)

    def gram(self) -> F64:
        """The whole symmetric ``xx``."""
        upper = np.triu(self.xx)
        return np.asarray(upper + np.triu(upper, 1).T)
