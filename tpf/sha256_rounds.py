"""The digital twin: SHA-256d of many headers at once, with the state after every round of each compression.

A Bitcoin hash is three compressions: the first 64 bytes of the header (the midstate, the same for every nonce), its
last 16 bytes with padding, and the 32-byte digest of the first hash. Arrays of words are what FIPS 180-4 calls words:
the header read big-endian.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from firmware_bridge.sha256_kernels import (
    INITIAL_STATE,
    LANES,
    ROW_A,
    ROW_E,
    ROW_W,
    ROWS,
    load_rounds_kernel,
    rounds_into,
)
from firmware_bridge.sha256d import finish_block

U32 = npt.NDArray[np.uint32]
U8 = npt.NDArray[np.uint8]

HEADER_WORDS = 20
ROUNDS = 64
"""Rounds of one compression."""

_INITIAL = np.array(INITIAL_STATE, dtype=np.uint32)
load_rounds_kernel()


@dataclass(frozen=True)
class Rounds:
    """Every state of n compressions of the same kind.

    Attributes:
        rows: the states as the kernel lays them out, shape (ceil(n / 16), ROWS, 16); see ``sha256_kernels.ROW_A``.
        n: how many compressions.
    """

    rows: U32
    n: int

    def _row(self, row: int) -> U32:
        return self.rows[:, row].reshape(-1)[: self.n]

    def after(self, k: int) -> U32:
        """The state (a .. h) after k = 0 .. 64 rounds, shape (8, n).

        Raises:
            ValueError: if there is no such round.
        """
        if not 0 <= k <= ROUNDS:
            raise ValueError(f"a compression has states after 0 to {ROUNDS} rounds, not after {k}")
        return np.stack([self._row(first + 3 + k - i) for first in (ROW_A, ROW_E) for i in range(4)])

    @property
    def schedule(self) -> U32:
        """The schedule words, shape (64, n)."""
        return np.stack([self._row(ROW_W + i) for i in range(ROUNDS)])

    @property
    def digest(self) -> U32:
        """The chaining value after the compression, shape (8, n)."""
        return self.after(0) + self.after(ROUNDS)


@dataclass(frozen=True)
class DoubleHash:
    """Every state of n double hashes.

    Attributes:
        first: the compression of the first 64 bytes of each header, whose digest is the midstate.
        second: that of the last 16 bytes, which hold the nonce.
        last: that of the 32-byte digest; its own digest is the hash.
    """

    first: Rounds
    second: Rounds
    last: Rounds

    @property
    def digest(self) -> U32:
        """The hashes as words, shape (8, n); word 7 with its bytes reversed is the most significant."""
        return self.last.digest


def blocks_of(n: int) -> int:
    """How many blocks of 16 lanes n messages take."""
    return -(-n // LANES)


def header_words(headers: U8 | bytes) -> U32:
    """Headers as words, shape (n, 20).

    Args:
        headers: n times 80 bytes, flat or of shape (n, 80).

    Raises:
        ValueError: if they do not divide into headers.
    """
    flat = np.frombuffer(headers, np.uint8) if isinstance(headers, bytes) else np.asarray(headers, np.uint8)
    if flat.size == 0 or flat.size % 80:
        raise ValueError(f"{flat.size} bytes are no headers of 80 bytes each")
    words: U32 = np.ascontiguousarray(flat).reshape(-1, 80).view(">u4").astype(np.uint32)
    return words


def compress_rounds(state: U32, blocks: U32) -> Rounds:
    """Compress n blocks and keep every state.

    Args:
        state: chaining values, shape (8,) for all or (n, 8).
        blocks: message words, shape (n, 16).

    Raises:
        ValueError: if the shapes do not fit.
    """
    if blocks.ndim != 2 or blocks.shape[1] != 16 or not len(blocks):
        raise ValueError(f"blocks have the shape (n, 16), not {blocks.shape}")
    n = len(blocks)
    if state.shape not in ((8,), (n, 8)):
        raise ValueError(f"states of {n} blocks have the shape (8,) or ({n}, 8), not {state.shape}")
    states = np.ascontiguousarray(np.broadcast_to(state.astype(np.uint32), (n, 8)))
    rows = np.empty((blocks_of(n), ROWS, LANES), np.uint32)
    _compress_all(states, np.ascontiguousarray(blocks, np.uint32), rows)
    return Rounds(rows, n)


def double_hash_rounds(words: U32) -> DoubleHash:
    """Hash n headers twice and keep every state of the three compressions.

    Args:
        words: headers, shape (n, 20); see :func:`header_words`.

    Raises:
        ValueError: if the shape is another.
    """
    words = checked_headers(words)
    rows = np.empty((3, blocks_of(len(words)), ROWS, LANES), np.uint32)
    hash_all(words, rows[0], rows[1], rows[2])
    return DoubleHash(*(Rounds(part, len(words)) for part in rows))


def last_rounds(words: U32, scratch: U32 | None = None) -> Rounds:
    """Hash n headers twice and keep every state of the last compression alone.

    Args:
        words: headers, shape (n, 20).
        scratch: where the states go, shape (ceil(n / 16), ROWS, 16), so that a loop need not ask for memory.

    Raises:
        ValueError: if a shape does not fit.
    """
    words = checked_headers(words)
    shape = (blocks_of(len(words)), ROWS, LANES)
    rows = np.empty(shape, np.uint32) if scratch is None else scratch
    if rows.shape != shape:
        raise ValueError(f"the scratch of {len(words)} headers has the shape {shape}, not {rows.shape}")
    spare = np.empty((1, ROWS, LANES), np.uint32)
    hash_all(words, spare, spare, rows)
    return Rounds(rows, len(words))


def checked_headers(words: U32) -> U32:
    """The same array, if it is one of headers.

    Raises:
        ValueError: if it is not.
    """
    if words.ndim != 2 or words.shape[1] != HEADER_WORDS or not len(words):
        raise ValueError(f"headers have the shape (n, {HEADER_WORDS}), not {words.shape}")
    return np.ascontiguousarray(words, np.uint32)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _compress_all(states: U32, blocks: U32, rows: U32) -> None:
    """Compress each row of ``blocks``; a last block of lanes that is not full repeats the last message."""
    state = np.empty((8, LANES), np.uint32)
    block = np.empty((16, LANES), np.uint32)
    for b in range(rows.shape[0]):
        for lane in range(LANES):
            at = min(b * LANES + lane, blocks.shape[0] - 1)
            for i in range(8):
                state[i, lane] = states[at, i]
            for i in range(16):
                block[i, lane] = blocks[at, i]
        rounds_into(state, block, rows, b * ROWS * LANES)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _chain(rows: U32, b: int, state: U32) -> None:
    """The chaining values after block b, into ``state`` (8, LANES)."""
    for half in range(2):
        first = ROW_E if half else ROW_A
        for i in range(4):
            for lane in range(LANES):
                state[4 * half + i, lane] = rows[b, first + 3 - i, lane] + rows[b, first + 67 - i, lane]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def hash_all(words: U32, first: U32, second: U32, last: U32) -> None:
    """Double hashes of n headers (n, 20), with the states of each compression.

    An array of states that has one block only is used again for every 16 headers.
    """
    count = (words.shape[0] + LANES - 1) // LANES
    initial = np.empty((8, LANES), np.uint32)
    state = np.empty((8, LANES), np.uint32)
    block = np.empty((16, LANES), np.uint32)
    padding = np.empty(16, np.uint32)
    for i in range(8):
        initial[i, :] = _INITIAL[i]
    for b in range(count):
        for lane in range(LANES):
            at = min(b * LANES + lane, words.shape[0] - 1)
            for i in range(16):
                block[i, lane] = words[at, i]
        at = min(b, first.shape[0] - 1)
        rounds_into(initial, block, first, at * ROWS * LANES)
        _chain(first, at, state)
        finish_block(padding, 4, 80)
        for i in range(4, 16):
            block[i, :] = padding[i]
        for lane in range(LANES):
            row = min(b * LANES + lane, words.shape[0] - 1)
            for i in range(4):
                block[i, lane] = words[row, 16 + i]
        at = min(b, second.shape[0] - 1)
        rounds_into(state, block, second, at * ROWS * LANES)
        _chain(second, at, state)
        finish_block(padding, 8, 32)
        for i in range(8):
            block[i, :] = state[i]
        for i in range(8, 16):
            block[i, :] = padding[i]
        rounds_into(initial, block, last, min(b, last.shape[0] - 1) * ROWS * LANES)
