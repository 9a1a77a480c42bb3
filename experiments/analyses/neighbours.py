"""Do parts of the silicon that lie side by side find shares together?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]


def window_counts_by_place(
    place: npt.NDArray[np.int64], time_ns: npt.NDArray[np.int64], windows: int
) -> npt.NDArray[np.float64]:
    """Shares of each place in equal windows of the run: shape (places, windows), places ascending."""
    names, index = np.unique(place, return_inverse=True)
    start, end = int(time_ns.min()), int(time_ns.max()) + 1
    window = (time_ns - start) * windows // (end - start)
    counts = np.zeros((names.size, windows))
    np.add.at(counts, (index, window), 1.0)
    return counts


@dataclass(frozen=True)
class Neighbours:
    """Correlation of the counts of neighbours beside that of all pairs.

    Attributes:
        excess: mean correlation of neighbouring places less that of all pairs.
        error: standard deviation of it over random orders of the places.
        p_value: two-sided, over random orders.
        all_pairs: mean correlation of all pairs; above 0 where the whole miner speeds up and slows down.
        places: that vary.
    """

    excess: float
    error: float
    p_value: float
    all_pairs: float
    places: int


def neighbours(counts: F64, permutations: int, rng: np.random.Generator) -> Neighbours:
    """Hold neighbours against the same places in a random order, whatever all of them have in common.

    Args:
        counts: shape (places, windows).
        permutations: of the places.
        rng: draws them.
    """
    used = counts[counts.std(axis=1) > 0]
    if used.shape[0] < 4:
        raise ValueError("neighbours need four places that vary")
    r = np.corrcoef(used)
    places = r.shape[0]
    every = float((r.sum() - places) / (places * (places - 1)))

    def side_by_side(order: npt.NDArray[np.intp]) -> float:
        return float(r[order[:-1], order[1:]].mean())

    value = side_by_side(np.arange(places)) - every
    null = np.array([side_by_side(rng.permutation(places)) for _ in range(permutations)]) - every
    p_value = (1 + int((np.abs(null) >= abs(value)).sum())) / (1 + permutations)
    return Neighbours(value, float(null.std()), p_value, every, places)


def by_distance(counts: F64, most: int) -> list[float]:
    """Mean correlation of the counts of two places 1 .. ``most`` apart, of places that vary."""
    r = np.corrcoef(counts[counts.std(axis=1) > 0])
    return [float(np.diagonal(r, apart).mean()) for apart in range(1, min(most, r.shape[0] - 1) + 1)]
