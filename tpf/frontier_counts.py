"""What the information frontier counts while it hashes: integers that add up, so that any number of hashes fits.

Words that are looked at, one row each: ``a`` and ``e`` of every state of the last compression (the other six words are
those of 1 to 3 rounds before), and the two words that the next round would give if its schedule word were 0: all that a
look ahead can know without the rest of the message.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from firmware_bridge.sha256_kernels import LANES, ROW_E, ROWS
from tpf.sha256_rounds import ROUNDS, U32, hash_all

I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]

STATE_ROWS = 136
"""Rows of a and e; those of the two look-ahead words follow, 64 each."""
LOOK_AHEAD_A, LOOK_AHEAD_E = 136, 200
WORD_ROWS = 264
FAMILIES = 3
"""Scores that add up over bytes: log-likelihood ratios of bytes, of bits, and the number of ones."""
BINS = 512
"""Of a score; the middle of them is 0."""
CHUNK = 1 << 15
"""Headers that are drawn at once."""
_STEP = 1 << 10
"""Headers whose states are in memory at once."""

Draw = Callable[[int, int], U32]
"""Gives ``count`` headers of a chunk: (chunk, count) to words (count, 20)."""


def rows_of(k: int) -> list[int]:
    """Rows of the words that are there after k rounds: a..h, and the two look-ahead words unless k is 64."""
    state = [half + 3 + k - i for half in (0, ROW_E) for i in range(4)]
    return state + ([LOOK_AHEAD_A + k, LOOK_AHEAD_E + k] if k < ROUNDS else [])


@dataclass
class Counts:
    """What was counted in one part; index 0 of the classes is failure, 1 success.

    Attributes:
        hashes: how many.
        byte: per class, row, byte (0 the lowest) and value, shape (2, 264, 4, 256).
        word: per family, class and row, the score of the word, shape (3, 2, 264, 512).
        total: per family, class and k, the score of all words after k rounds, shape (3, 2, 65, 512).
    """

    hashes: int
    byte: I64
    word: I64
    total: I64

    @classmethod
    def empty(cls) -> Counts:
        """Nothing counted yet."""
        shapes = ((2, WORD_ROWS, 4, 256), (FAMILIES, 2, WORD_ROWS, BINS), (FAMILIES, 2, ROUNDS + 1, BINS))
        return cls(0, *(np.zeros(shape, np.int64) for shape in shapes))

    @property
    def classes(self) -> tuple[int, int]:
        """How many failures and successes."""
        failures, successes = self.byte[:, 0, 0].sum(axis=-1)
        return int(failures), int(successes)

    def add(self, other: Counts) -> None:
        """Count what another one counted as well."""
        self.hashes += other.hashes
        self.byte += other.byte
        self.word += other.word
        self.total += other.total


def count(
    draw: Draw,
    hashes: int,
    zero_bits: int,
    tables: I32 | None,
    *,
    workers: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> Counts:
    """Hash and count; the same result for any number of workers.

    Args:
        draw: gives the headers of each chunk.
        hashes: how many.
        zero_bits: leading zero bits of a success, 1 to 8.
        tables: per family, row, byte and value, what it adds to a score, shape (3, 264, 4, 256); None counts no scores.
        workers: threads.
        progress: called with the hashes of every finished chunk.
    """
    sizes = [min(CHUNK, hashes - start) for start in range(0, hashes, CHUNK)]

    def work(first: int) -> Counts:
        found = Counts.empty()
        scratch = np.empty((_STEP // LANES, ROWS, LANES), np.uint32)
        none = np.zeros((0, WORD_ROWS, 4, 256), np.int32)
        for chunk in range(first, len(sizes), workers):
            words = draw(chunk, sizes[chunk])
            _count(
                words,
                zero_bits,
                none if tables is None else tables,
                scratch,
                found.byte,
                found.word,
                found.total,
            )
            found.hashes += sizes[chunk]
            progress(sizes[chunk])
        return found

    total = Counts.empty()
    with ThreadPoolExecutor(workers) as pool:
        for part in pool.map(work, range(workers)):
            total.add(part)
    return total


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _count(words: U32, zero_bits: int, tables: I32, scratch: U32, byte: I64, word: I64, total: I64) -> None:
    spare = np.empty((1, ROWS, LANES), np.uint32)
    success = np.empty(_STEP, np.uint8)
    scores = np.zeros((tables.shape[0], WORD_ROWS, _STEP), np.int32)
    for start in range(0, words.shape[0], _STEP):
        n = min(_STEP, words.shape[0] - start)
        hash_all(words[start : start + n], spare, spare, scratch)
        for i in range(n):
            b, lane = i // LANES, i % LANES
            h7 = scratch[b, ROW_E, lane] + scratch[b, ROW_E + ROUNDS, lane]
            success[i] = ((h7 & np.uint32(0xFF)) >> np.uint32(8 - zero_bits)) == 0
        for row in range(WORD_ROWS):
            for i in range(n):
                b, lane = i // LANES, i % LANES
                if row < STATE_ROWS:
                    v = np.uint32(scratch[b, row, lane])
                elif row < LOOK_AHEAD_E:
                    v = np.uint32(scratch[b, 4 + row - LOOK_AHEAD_A, lane] - scratch[b, row, lane])
                else:
                    at = ROW_E + 4 + row - LOOK_AHEAD_E
                    v = np.uint32(scratch[b, at, lane] - scratch[b, row - ROUNDS, lane])
                v0, v1 = v & np.uint32(0xFF), (v >> np.uint32(8)) & np.uint32(0xFF)
                v2, v3 = (v >> np.uint32(16)) & np.uint32(0xFF), v >> np.uint32(24)
                s = success[i]
                byte[s, row, 0, v0] += 1
                byte[s, row, 1, v1] += 1
                byte[s, row, 2, v2] += 1
                byte[s, row, 3, v3] += 1
                for f in range(tables.shape[0]):
                    score = tables[f, row, 0, v0] + tables[f, row, 1, v1]
                    score += tables[f, row, 2, v2] + tables[f, row, 3, v3]
                    scores[f, row, i] = score
                    word[f, s, row, min(max(score + BINS // 2, 0), BINS - 1)] += 1
        for f in range(tables.shape[0]):
            for k in range(ROUNDS + 1):
                for i in range(n):
                    score = np.int32(0)
                    for j in range(4):
                        score += scores[f, k + j, i] + scores[f, ROW_E + k + j, i]
                    if k < ROUNDS:
                        score += scores[f, LOOK_AHEAD_A + k, i] + scores[f, LOOK_AHEAD_E + k, i]
                    total[f, success[i], k, min(max(score + BINS // 2, 0), BINS - 1)] += 1
