"""The null of every test: labels moved against the features within short blocks of time.

Labels of one block are rotated together, each block by an amount of its own. Neighbours so stay neighbours, and a block
stays where it is: a drift of the features and one of the labels still run side by side in the null and raise no alarm,
which free permutations would forget (features that drift) or a shift of the whole record would break (both do).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

BLOCK = 64
"""Rows of a block; shorter where there are fewer than 8 of them."""
FEWEST_BLOCKS = 8
SLAB = 64
"""Blocks whose columns are made at a time, so that no copy of all columns is needed."""

Rows = Callable[[slice], npt.NDArray[Any]]
"""Makes the columns of some rows."""


class BlockShifts:
    """Rotations of n labels within blocks; number 0 is the identity.

    Args:
        n: rows.
        permutations: random ones beside the identity.
        rng: where they come from.
        length: rows of a block.
    """

    def __init__(self, n: int, permutations: int, rng: np.random.Generator, length: int = BLOCK) -> None:
        self.n = n
        self.permutations = permutations
        blocks = max(1, n // length, min(FEWEST_BLOCKS, n // 4))
        self.edges: IntArray = np.linspace(0, n, blocks + 1).astype(np.int64)
        sizes = np.diff(self.edges)
        offsets = rng.integers(0, sizes[:, None], size=(blocks, permutations + 1))
        self._offsets = offsets.astype(np.int32)
        self._offsets[:, 0] = 0

    def moved(self, y: npt.NDArray[Any]) -> Iterator[tuple[slice, npt.NDArray[Any]]]:
        """Rows of each block and its labels under every rotation, shape (rows, permutations + 1)."""
        for number, (start, stop) in enumerate(pairwise(self.edges)):
            size = int(stop - start)
            at = np.arange(size)[:, None] + self._offsets[number]
            np.subtract(at, size, out=at, where=at >= size)
            yield slice(int(start), int(stop)), y[start:stop][at]

    def labels(self, y: BoolArray) -> npt.NDArray[np.int8]:
        """All rotations at once, shape (n, permutations + 1)."""
        return np.concatenate([block for _, block in self.moved(y.astype(np.int8))])

    def sums(self, columns: npt.NDArray[Any] | Rows, y: BoolArray) -> tuple[FloatArray, FloatArray]:
        """Sum of each column over the rows with label 1, under every rotation, and over all rows.

        Args:
            columns: numbers of any type, shape (n, m), or what makes them for some of the rows.
            y: shape (n,).

        Returns:
            Shape (permutations + 1, m), row 0 of the labels as they are; and shape (m,).
        """
        make = columns if callable(columns) else columns.__getitem__
        ones = whole = np.empty(0)
        for first in range(0, self.edges.size - 1, SLAB):
            edges = self.edges[first : first + SLAB + 1]
            rows = slice(int(edges[0]), int(edges[-1]))
            part = np.ascontiguousarray(make(rows), np.float64)
            if first == 0:
                ones, whole = np.zeros((self.permutations + 1, part.shape[1])), np.zeros(part.shape[1])
            _add_sums(part, y[rows], edges - edges[0], self._offsets[first : first + SLAB], ones)
            whole += part.sum(axis=0)
        return ones, whole


@numba.njit(cache=True, nogil=True)
def _add_sums(columns, y, edges, offsets, total):  # type: ignore[no-untyped-def]
    """Add to ``total`` the sums of some blocks; the sums of each amount of rotation are made once per block."""
    longest = np.diff(edges).max()
    rotations, m = total.shape
    made = np.empty((min(longest, rotations), m))
    place = np.empty(longest, np.int64)
    for block in range(edges.size - 1):
        start = edges[block]
        size = edges[block + 1] - start
        place[:] = -1
        count = 0
        for k in range(rotations):
            by = offsets[block, k]
            if place[by] < 0:
                place[by] = count
                own = made[count]
                own[:] = 0.0
                for i in range(size):
                    at = i + by
                    if y[start + (at if at < size else at - size)]:
                        own += columns[start + i]
                count += 1
            total[k] += made[place[by]]


def p_value(statistics: FloatArray) -> float:
    """Share of all rotations, the identity among them, with a statistic as large as that of the identity."""
    return float((statistics >= statistics[0] - 1e-12 * abs(statistics[0])).mean())


def critical(statistics: FloatArray, alpha: float) -> float:
    """Value that the null exceeds with probability alpha (the identity left out)."""
    return float(np.quantile(statistics[1:], 1.0 - alpha))
