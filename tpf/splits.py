"""Splits in the order of time, with a gap as long as the window: no test row shares data with a training row.

A random split of windows that overlap puts the same shares on both sides (claims.md F13); none is offered here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from firmware_bridge.errors import UserError

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Rows to learn from, and later rows to score.

    Attributes:
        train: indices, ascending, shape (n_train,).
        test: indices, ascending, every one more than ``gap`` after the last of ``train``; shape (n_test,).
        gap: rows between the two that nobody sees.
    """

    train: IntArray
    test: IntArray
    gap: int


def forward_split(n: int, *, gap: int, start: int = 0, stop: int | None = None, share: float = 0.5) -> Split:
    """The first ``share`` of the rows ``start`` .. ``stop - 1`` to train, the rest less the gap to test.

    Raises:
        UserError: if the gap leaves no row on one of the sides.
    """
    stop = n if stop is None else stop
    middle = start + round(share * (stop - start))
    if middle <= start or middle + gap >= stop:
        raise UserError(f"{stop - start} rows are too few for a split with a gap of {gap}")
    return Split(np.arange(start, middle), np.arange(middle + gap, stop), gap)


def halves(n: int, *, gap: int) -> tuple[slice, slice]:
    """Two independent halves of n rows, as much as the gap apart."""
    middle = n // 2
    return slice(0, middle - gap // 2), slice(middle + gap - gap // 2, n)


def expanding_splits(n: int, *, folds: int, gap: int) -> Iterator[Split]:
    """Train on everything up to a moment, test on the block after it, ``folds`` times with a later moment.

    Raises:
        UserError: if there are too few rows for it.
    """
    from sklearn.model_selection import TimeSeriesSplit

    if n // (folds + 1) <= gap:
        raise UserError(f"{n} rows are too few for {folds} blocks with a gap of {gap}")
    for train, test in TimeSeriesSplit(n_splits=folds, gap=gap).split(np.empty((n, 1))):
        yield Split(train, test, gap)
