"""SHA-256d of 80-byte headers as fast as one CPU core allows: midstate, 16 nonces per step, early exit on H7.

The kernels are in :mod:`sha256_kernels`; here is what is built of them: hashes of whole messages, and scans.

Words: the hash function reads the header as big-endian words, so the word of a nonce is its header bytes read
big-endian, ``byteswap32`` of the number in ``mining.submit``. On an S9 that word is chip | counter | core.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from firmware_bridge.sha256_kernels import INITIAL_STATE, LANES, compress_into, top_word_mask

U32 = npt.NDArray[np.uint32]
U8 = npt.NDArray[np.uint8]

_INITIAL = np.array(INITIAL_STATE, dtype=np.uint32)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def compress(state: U32, block: U32, offset: int) -> None:
    """One SHA-256 compression of ``block[offset:offset+16]`` into ``state``, in place; scalar."""
    compress_into(state, block, offset)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def reset(state: U32) -> None:
    """Put the initial state of SHA-256 into ``state`` (8 words)."""
    for i in range(8):
        state[i] = _INITIAL[i]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def finish_block(block: U32, used: int, length_bytes: int) -> None:
    """Pad the last block of a message, of which ``used`` whole words are there."""
    for i in range(used, 16):
        block[i] = np.uint32(0)
    block[used] = np.uint32(0x80000000)
    block[15] = np.uint32(8 * length_bytes)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def hash_digest(state: U32, block: U32) -> None:
    """Replace a digest (8 words) by its own hash: the second half of SHA-256d."""
    for i in range(8):
        block[i] = state[i]
    finish_block(block, 8, 32)
    reset(state)
    compress(state, block, 0)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def sha256d_words(message: U8, length: int, state: U32, block: U32) -> None:
    """SHA-256d of ``message[:length]`` into ``state`` (8 words); ``block`` is scratch of 16 words."""
    reset(state)
    padded = (length + 8) // 64 * 64 + 64
    for start in range(0, padded, 64):
        for i in range(16):
            word = np.uint32(0)
            for position in range(start + 4 * i, start + 4 * i + 4):
                byte = np.uint32(0)
                if position < length:
                    byte = np.uint32(message[position])
                elif position == length:
                    byte = np.uint32(0x80)
                word = np.uint32((word << np.uint32(8)) | byte)
            block[i] = word
        if start + 64 == padded:
            block[14] = np.uint32((length * 8) >> 32)
            block[15] = np.uint32(length * 8)
        compress(state, block, 0)
    hash_digest(state, block)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def hash_words(midstate: U32, tail: U32, nonce_word: np.uint32, state: U32, block: U32) -> None:
    """Full double hash of one header, from its midstate, into ``state``; ``block`` is scratch of 16 words."""
    for i in range(3):
        block[i] = tail[i]
    block[3] = nonce_word
    finish_block(block, 4, 80)
    for i in range(8):
        state[i] = midstate[i]
    compress(state, block, 0)
    hash_digest(state, block)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def byteswap32(word: np.uint32) -> np.uint32:
    """Reverse the bytes of a word."""
    w = np.uint32(word)
    return np.uint32(
        (w >> np.uint32(24))
        | ((w >> np.uint32(8)) & np.uint32(0xFF00))
        | ((w << np.uint32(8)) & np.uint32(0xFF0000))
        | (w << np.uint32(24))
    )


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def meets_target(state: U32, target: U32) -> bool:
    """Whether a digest (8 words as hashed), read as a little-endian integer, is <= target (8 words, most
    significant first)."""
    for i in range(8):
        word = byteswap32(state[7 - i])
        if word != target[i]:
            return bool(word < target[i])
    return True


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def scan_words(
    midstate: U32, tail: U32, words: U32, start: int, stop: int, target: U32, state: U32, block: U32
) -> int:
    """Index of the first nonce word in ``words[start:stop]`` whose hash meets the target, or -1.

    Args:
        midstate: 8 words after the first 64 header bytes.
        tail: header words 16, 17, 18 (end of the merkle root, ntime, nbits).
        words: nonce words; the array reaches at least ``LANES - 1`` beyond ``stop``.
        start: first index.
        stop: index after the last.
        target: 8 words, most significant first.
        state: scratch of 8 words, holds the digest of the hit.
        block: scratch of 16 words.
    """
    for i in range(start, stop, LANES):
        mask = top_word_mask(midstate, tail, words, i, target[0])
        if mask:
            for lane in range(min(LANES, stop - i)):
                if (mask >> np.uint32(lane)) & np.uint32(1):
                    hash_words(midstate, tail, words[i + lane], state, block)
                    if meets_target(state, target):
                        return i + lane
    return -1


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _scan_range(midstate: U32, tail: U32, first: int, count: int, target: U32, hits: U32) -> int:
    """Put the nonces that hit into ``hits``; returns how many there are, which may exceed its size."""
    chunk = 4096
    words = np.empty(chunk + LANES, dtype=np.uint32)
    state = np.empty(8, dtype=np.uint32)
    block = np.empty(16, dtype=np.uint32)
    found = 0
    for base in range(0, count, chunk):
        size = min(chunk, count - base)
        for i in range(size):
            words[i] = byteswap32(np.uint32(first + base + i))
        at = scan_words(midstate, tail, words, 0, size, target, state, block)
        while at >= 0:
            if found < hits.size:
                hits[found] = byteswap32(words[at])
            found += 1
            at = scan_words(midstate, tail, words, at + 1, size, target, state, block)
    return found


def target_words(target: int) -> U32:
    """A 256-bit target as 8 words, most significant first."""
    return np.array([(target >> 32 * (7 - i)) & 0xFFFFFFFF for i in range(8)], dtype=np.uint32)


def header_words(header: bytes) -> tuple[U32, U32]:
    """Midstate (8 words) of the first 64 bytes of a header and its next three words.

    Args:
        header: at least the first 76 bytes.

    Raises:
        ValueError: if it is shorter.
    """
    if len(header) < 76:
        raise ValueError(f"a scan needs the first 76 bytes of a header, not {len(header)}")
    words = np.frombuffer(header[:76], dtype=">u4").astype(np.uint32)
    state = _INITIAL.copy()
    compress(state, words[:16].copy(), 0)
    return state, words[16:19].copy()


def double_hash(header: bytes) -> bytes:
    """SHA-256d of an 80-byte header (32 bytes, as hashlib gives them)."""
    midstate, tail = header_words(header)
    state, block = np.empty(8, dtype=np.uint32), np.empty(16, dtype=np.uint32)
    hash_words(midstate, tail, np.uint32(int.from_bytes(header[76:80], "big")), state, block)
    return state.astype(">u4").tobytes()


def scan(header: bytes, first_nonce: int, count: int, target: int) -> list[int]:
    """Nonces in ``first_nonce .. first_nonce + count - 1`` (32-bit, no wrap) whose hash is <= target.

    Args:
        header: at least the first 76 bytes of the header.
        first_nonce: number as in ``mining.submit``.
        count: how many to try.
        target: largest hash that counts.

    Raises:
        ValueError: if the range leaves 32 bits or the header is too short.
    """
    if not 0 <= first_nonce <= first_nonce + count <= 1 << 32:
        raise ValueError(f"nonces {first_nonce} .. {first_nonce + count} do not fit in 32 bits")
    midstate, tail = header_words(header)
    hits = np.empty(64, dtype=np.uint32)
    found = _scan_range(midstate, tail, first_nonce, count, target_words(target), hits)
    if found > hits.size:
        hits = np.empty(found, dtype=np.uint32)
        _scan_range(midstate, tail, first_nonce, count, target_words(target), hits)
    return [int(n) for n in hits[:found]]
