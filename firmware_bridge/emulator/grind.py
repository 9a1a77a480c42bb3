"""From a position in the scan to a real share: coinbase, merkle root, midstates, and a nonce that meets the target."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from firmware_bridge.emulator.geometry import (
    LV06_CORES,
    LV06_SMALL_CORES,
    S9,
    S9_CELLS,
    advance,
    cell_version,
    cell_word,
)
from firmware_bridge.sha256d import byteswap32, compress, reset, scan_words, sha256d_words

U32 = npt.NDArray[np.uint32]
U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]

BLOCK = 64
"""Nonces handed to the hash kernel at once."""


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def merkle_root_words(
    coinbase: U8, length: int, branches: U8, n_branches: int, root: U32, block: U32, pair: U8
) -> None:
    """Merkle root of ``coinbase[:length]`` under ``branches`` (32 bytes each); ``pair`` is 64 scratch bytes."""
    sha256d_words(coinbase, length, root, block)
    for b in range(n_branches):
        for i in range(8):
            for k in range(4):
                pair[4 * i + k] = (root[i] >> np.uint32(24 - 8 * k)) & np.uint32(0xFF)
        for i in range(32):
            pair[32 + i] = branches[32 * b + i]
        sha256d_words(pair, 64, root, block)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def header_state(version: np.uint32, prevhash: U32, root: U32, midstate: U32, block: U32) -> None:
    """Midstate of the first 64 header bytes.

    Args:
        version: the number.
        prevhash: 8 numbers, each the little-endian reading of its header word (the words as Stratum writes them).
        root: merkle root, 8 big-endian words.
        midstate: receives 8 words.
        block: scratch of 16 words.
    """
    block[0] = byteswap32(version)
    for i in range(8):
        block[1 + i] = byteswap32(prevhash[i])
    for i in range(7):
        block[9 + i] = root[i]
    reset(midstate)
    compress(midstate, block, 0)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def root_of_extranonce2(
    coinbase: U8, length: int, extranonce2_at: int, extranonce2: int, root: U32, block: U32
) -> None:
    """Root of a job without branches: write extranonce2 (4 bytes, little-endian) into its coinbase and hash it."""
    for i in range(4):
        coinbase[extranonce2_at + i] = (extranonce2 >> (8 * i)) & 0xFF
    sha256d_words(coinbase, length, root, block)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def grind(
    model: int,
    at: I64,
    first_cell: int,
    coinbase: U8,
    extranonce2_at: int,
    prevhash: U32,
    version: np.uint32,
    ntime: np.uint32,
    nbits: np.uint32,
    target: U32,
    digest: U32,
    answer: I64,
) -> None:
    """Find the first share at or after a position, in scan order, starting with one of the cells there.

    All cells try the same counter at the same moment, so the order within a counter is free: it starts at
    ``first_cell`` and goes round. Without a hit the scan moves on to the next counter.

    Args:
        model: ``geometry.S9`` or ``geometry.LV06``.
        at: position (extranonce2, counter, batch, -); moved on to that of the share.
        first_cell: where to start in the round of cells.
        coinbase: whole coinbase; its extranonce2 is overwritten.
        extranonce2_at: offset of extranonce2 in it.
        prevhash: 8 words as in ``mining.notify``.
        version: the job's version.
        ntime: the job's ntime.
        nbits: the job's nBits.
        target: 8 words, most significant first.
        digest: receives the hash, 8 words as hashed.
        answer: receives nonce (number on the wire), rolled version (0..65535) and the number of hashes tried.
    """
    words = np.empty(BLOCK + 16, dtype=np.uint32)
    block = np.empty(16, dtype=np.uint32)
    root = np.empty(8, dtype=np.uint32)
    midstate = np.empty(8, dtype=np.uint32)
    tail = np.empty(3, dtype=np.uint32)
    tail[1] = byteswap32(ntime)
    tail[2] = byteswap32(nbits)
    cells = S9_CELLS if model == S9 else LV06_SMALL_CORES
    rooted = np.int64(-1)
    rolled = -1
    tried = 0
    while True:
        if at[0] != rooted:
            rooted = at[0]
            rolled = -1
            root_of_extranonce2(coinbase, coinbase.size, extranonce2_at, at[0], root, block)
            tail[0] = root[7]
        done = 0
        while done < cells:
            cell = (first_cell + done) % cells
            roll = cell_version(model, at[2], cell)
            if roll != rolled:
                rolled = roll
                header_state(np.uint32(version | np.uint32(roll << 13)), prevhash, root, midstate, block)
            size = min(BLOCK, min(cells - done, cells - cell))
            if model != S9:
                size = min(size, LV06_CORES - cell % LV06_CORES)
            for i in range(size):
                words[i] = cell_word(model, at[1], cell + i)
            hit = scan_words(midstate, tail, words, 0, size, target, digest, block)
            if hit >= 0:
                answer[0] = np.int64(byteswap32(words[hit]))
                answer[1] = roll
                answer[2] = tried + hit + 1
                return
            tried += size
            done += size
        advance(model, at)
