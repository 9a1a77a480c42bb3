"""Subset sums: candidates from a stream of values against candidates by chance, as many of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

ITEMS = 15
LARGEST = 100
BITS = 8
"""Bits that a value gives: in which of 256 equally filled bins it lies."""

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Searches:
    """Best distance to the target in each trial.

    Attributes:
        evaluations: candidates that each search tried in one trial.
        own: of the stream, shape (trials,).
        chance: of searches by chance on the same trials, shape (searches, trials).
    """

    evaluations: int
    own: I64
    chance: I64


def candidates_of(values: F64) -> npt.NDArray[np.bool_]:
    """Subsets of 15 items, 15 bits one after the other: shape (n * 8 // 15, 15).

    A value gives the 8 bits of its rank, so that each bit is fair whatever the distribution of the values; what a
    candidate is then depends on their order alone.
    """
    ranks = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    bins = ranks * (1 << BITS) // max(1, values.size)
    bits = (bins[:, None] >> np.arange(BITS)) & 1
    whole = bits.size // ITEMS
    return np.asarray(bits.ravel()[: whole * ITEMS].reshape(whole, ITEMS) == 1)


def search(values: F64, rng: np.random.Generator, *, trials: int, searches: int) -> Searches | None:
    """Give each trial its part of the candidates; None where there is not one for each.

    A trial has 15 numbers of 1 to 100, and the sum of a random subset of them for a target.

    Args:
        values: the stream, shape (n,).
        rng: of the trials and of the searches by chance.
        trials: how many.
        searches: by chance, of as many evaluations.
    """
    own = candidates_of(values)
    evaluations = own.shape[0] // trials
    if evaluations == 0:
        return None
    own = own[: evaluations * trials].reshape(trials, evaluations, ITEMS)
    numbers = rng.integers(1, LARGEST + 1, (trials, ITEMS))
    targets = (numbers * rng.integers(0, 2, (trials, ITEMS))).sum(axis=1)

    def best(some: npt.NDArray[np.bool_]) -> I64:
        sums = np.einsum("tei,ti->te", some.astype(np.int64), numbers)
        return np.asarray(np.abs(sums - targets[:, None]).min(axis=1))

    shape = (trials, evaluations, ITEMS)
    chance = np.array([best(rng.integers(0, 2, shape, dtype=np.uint8) == 1) for _ in range(searches)])
    return Searches(evaluations, best(own), chance)
