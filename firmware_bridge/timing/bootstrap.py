"""Confidence intervals for statistics of dependent intervals: the circular moving-block bootstrap.

Politis & Romano 1992; blocks of L = 25 consecutive values, which wrap around at the end, are drawn with replacement
until they fill the length of the series. A statistic that is a function of means of terms (of x, of pairs, of
templates) is resampled in blocks of its *terms* (Künsch 1989), so that no term spans a joint between two blocks. The
interval is the percentile interval, shifted by the bias that the bootstrap shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from firmware_bridge.timing.run_data import FloatArray, IntArray

BLOCK_LENGTH = 25
RESAMPLES = 500


@dataclass(frozen=True)
class Bootstrap:
    """How to resample.

    Attributes:
        rng: source of the block starts.
        resamples: number of resampled series.
        block: length of a block.
        level: coverage of the intervals.
        shrink: factor on the spread, sqrt(n resampled / n) where only a part of a long series is resampled.
    """

    rng: np.random.Generator
    resamples: int = RESAMPLES
    block: int = BLOCK_LENGTH
    level: float = 0.95
    shrink: float = 1.0

    def interval(self, estimate: float, replicates: FloatArray) -> tuple[float, float] | None:
        """Percentile interval of replicates, shifted so that their mean lies on the estimate; None if undefined."""
        known = replicates[np.isfinite(replicates)]
        if not np.isfinite(estimate) or known.size < max(20, self.resamples // 2):
            return None
        tail = 100.0 * (1.0 - self.level) / 2
        low, high = np.percentile(known - known.mean(), [tail, 100.0 - tail])
        return float(estimate + self.shrink * low), float(estimate + self.shrink * high)

    def _starts(self, n: int) -> tuple[IntArray, int, int]:
        block = min(self.block, n)
        blocks = -(-n // block)
        return self.rng.integers(0, n, (self.resamples, blocks)), block, n - (blocks - 1) * block

    def means(self, segments: Sequence[FloatArray]) -> FloatArray:
        """Means of terms in resampled series, shape (resamples, k).

        Args:
            segments: per miner an array of terms, shape (k, n_miner); a miner's blocks come from its own terms.
        """
        total = sum(s.shape[1] for s in segments)
        sums = np.zeros((self.resamples, segments[0].shape[0]))
        for terms in segments:
            n = terms.shape[1]
            if n == 0:
                continue
            starts, block, last = self._starts(n)
            wrapped = np.concatenate([np.zeros((terms.shape[0], 1)), terms, terms[:, :block]], axis=1)
            running = np.cumsum(wrapped, axis=1)
            for k in range(terms.shape[0]):
                full = running[k, starts[:, :-1] + block] - running[k, starts[:, :-1]]
                rest = running[k, starts[:, -1] + last] - running[k, starts[:, -1]]
                sums[:, k] += full.sum(axis=1) + rest
        means: FloatArray = sums / max(total, 1)
        return means

    def indices(self, lengths: Sequence[int]) -> Iterator[IntArray]:
        """Index arrays into the concatenation of the miners' series, one per resample, each miner resampled apart."""
        parts: list[tuple[int, int, IntArray, IntArray]] = []
        offset = 0
        for n in lengths:
            if n:
                starts, block, _ = self._starts(n)
                parts.append((offset, n, starts, np.arange(block)))
            offset += n
        for row in range(self.resamples):
            yield np.concatenate(
                [at + (((s[row][:, None] + step) % n).ravel()[:n]) for at, n, s, step in parts]
            )

    def replicate(self, x: FloatArray, statistic: Callable[[FloatArray], float]) -> FloatArray:
        """Values of a statistic on resampled series of x; shape (resamples,)."""
        return np.array([statistic(x[index]) for index in self.indices([x.size])])

    def replicate_counts(
        self, codes: Sequence[IntArray], size: int, statistic: Callable[[IntArray], float]
    ) -> FloatArray:
        """Values of a statistic of the counts of codes 0 .. size-1, each miner's codes resampled apart."""
        joined = np.concatenate(codes)
        lengths = [c.size for c in codes]
        return np.array(
            [statistic(np.bincount(joined[index], minlength=size)) for index in self.indices(lengths)]
        )
