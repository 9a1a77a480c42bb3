"""Two runs held against each other: mean and spread of their intervals, and whether they have one distribution.

Intervals of a miner depend on their neighbours, so that the usual two-sample tests call two halves of one run
different. Here blocks of neighbours are dealt out to both runs instead of single intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from firmware_bridge.timing.bootstrap import BLOCK_LENGTH, Bootstrap
from firmware_bridge.timing.run_data import FloatArray

PERMUTATIONS = 999
FEWEST_BLOCKS = 8
"""Of each run; with fewer, chance alone can hardly be told."""
Interval = tuple[float, float]


@dataclass(frozen=True)
class Moments:
    """Mean and spread of the intervals of a run.

    Attributes:
        n: intervals.
        mean_ms: their mean.
        mean_ci: its 95 % interval by the circular moving-block bootstrap; None where there are too few.
        cv: standard deviation over mean.
        cv_ci: likewise.
    """

    n: int
    mean_ms: float | None
    mean_ci: Interval | None
    cv: float | None
    cv_ci: Interval | None


def moments(segments: Sequence[FloatArray], rng: np.random.Generator) -> Moments:
    """Mean and CV with their intervals.

    Args:
        segments: intervals in ms, per miner in their order.
        rng: of the bootstrap.
    """
    terms = [np.stack([x, x * x]) for x in segments]
    n = sum(x.size for x in segments)
    if n < 2:
        return Moments(n, None, None, None, None)
    mean, square = (float(value) for value in np.concatenate(terms, axis=1).mean(axis=1))
    if mean <= 0:
        return Moments(n, mean, None, None, None)
    bootstrap = Bootstrap(rng)
    drawn = bootstrap.means(terms)
    cv = np.sqrt(max(0.0, square - mean * mean)) / mean
    cvs = np.sqrt(np.maximum(0.0, drawn[:, 1] - drawn[:, 0] ** 2)) / drawn[:, 0]
    return Moments(
        n, mean, bootstrap.interval(mean, drawn[:, 0]), float(cv), bootstrap.interval(float(cv), cvs)
    )


@dataclass(frozen=True)
class SameLaw:
    """Whether two runs have one distribution of intervals.

    Attributes:
        distance: largest difference of their distribution functions (Kolmogorov-Smirnov).
        null_95: what 95 % of the ways to deal the blocks out stay below.
        p_value: share of them with as large a distance, data counted.
        blocks: of each run.
        permutations: ways that were drawn.
    """

    distance: float
    null_95: float
    p_value: float
    blocks: tuple[int, int]
    permutations: int


def same_law(
    first: Sequence[FloatArray],
    second: Sequence[FloatArray],
    rng: np.random.Generator,
    *,
    scaled: bool = False,
    permutations: int = PERMUTATIONS,
    block: int = BLOCK_LENGTH,
) -> SameLaw | None:
    """Test the null that blocks of neighbouring intervals of both runs can be exchanged.

    It holds where both runs come from one stationary process whose memory is shorter than a block.

    Args:
        first: intervals of a run, per miner in their order.
        second: of the other.
        rng: of the permutations.
        scaled: whether each run is measured in units of its own mean, so that its shape alone counts.
        permutations: ways to deal the blocks out.
        block: neighbours that stay together.

    Returns:
        None where a run has fewer than ``FEWEST_BLOCKS`` whole blocks.
    """
    own, other = _blocks(first, block), _blocks(second, block)
    if min(own.shape[0], other.shape[0]) < FEWEST_BLOCKS:
        return None
    every, k = np.concatenate([own, other]), own.shape[0]

    def distance(order: np.ndarray[tuple[int], np.dtype[np.intp]]) -> float:
        a, b = every[order[:k]].ravel(), every[order[k:]].ravel()
        return largest_difference(a / a.mean(), b / b.mean()) if scaled else largest_difference(a, b)

    value = distance(np.arange(every.shape[0]))
    null = np.array([distance(rng.permutation(every.shape[0])) for _ in range(permutations)])
    p_value = (1 + int((null >= value - 1e-12).sum())) / (1 + permutations)
    return SameLaw(value, float(np.quantile(null, 0.95)), p_value, (k, other.shape[0]), permutations)


def _blocks(segments: Sequence[FloatArray], block: int) -> FloatArray:
    """Whole blocks of neighbours, shape (blocks, block)."""
    whole = [x[: x.size - x.size % block].reshape(-1, block) for x in segments]
    return np.concatenate([np.empty((0, block)), *whole])


def largest_difference(a: FloatArray, b: FloatArray) -> float:
    """Kolmogorov-Smirnov distance of two samples, ties included."""
    pooled = np.concatenate([a, b])
    order = np.argsort(pooled, kind="stable")
    step = np.where(order < a.size, 1.0 / a.size, -1.0 / b.size)
    ordered = pooled[order]
    last = np.append(ordered[1:] != ordered[:-1], True)  # between equal values nothing is known
    return float(np.abs(np.cumsum(step)[last]).max())
