"""Hamming diffusion ("OTOC") and compressibility ("assembly") of share hashes, and why neither says anything.

A share is a hash below a target, so its leading bits are 0 by selection: two unrelated shares differ in less than half
of their 256 bits, and any compressor shortens them. The null is therefore a hash drawn evenly from 0 to the target, not
one of 256 fair bits.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from math import log2
from random import Random

import numba
import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint8]


def hashes_below(targets: Sequence[int], rng: np.random.Generator) -> Hashes:
    """Hashes evenly distributed from 0 to a target each, as digests: shape (n, 32), the leading zeros at the end.

    Args:
        targets: largest hash of each, as a number, length n.
        rng: chance.
    """
    largest = np.frombuffer(b"".join(t.to_bytes(32, "big") for t in targets), np.uint8).reshape(-1, 32)
    bits = np.array([t.bit_length() for t in targets])
    free = np.clip(
        bits[:, None] - 8 * np.arange(31, -1, -1), 0, 8
    )  # of each byte, the most significant first
    mask = ((1 << free) - 1).astype(np.uint8)
    found = np.zeros_like(largest)
    wrong = np.arange(largest.shape[0])
    while wrong.size:
        found[wrong] = rng.integers(0, 256, (wrong.size, 32), dtype=np.uint8) & mask[wrong]
        apart = found[wrong].astype(np.int16) - largest[wrong]
        first = (apart != 0).argmax(axis=1)
        wrong = wrong[apart[np.arange(wrong.size), first] > 0]
    return found[:, ::-1].copy()


def hamming_diffusion(hashes: Hashes) -> float:
    """Mean part of 256 bits in which consecutive hashes differ: shape (n >= 2, 32). The sources call it OTOC."""
    return float(np.unpackbits(hashes[1:] ^ hashes[:-1], axis=1).mean())


def diffusion_null(targets: Sequence[int]) -> tuple[float, float]:
    """Mean and standard deviation of :func:`hamming_diffusion` of unrelated hashes below targets of 2^b - 1.

    Each bit that is free in one of a pair differs with probability one half, whatever the next pair does: mean b / 512,
    standard deviation sqrt(b / pairs) / 512, b the mean of the larger number of free bits. A target that is no power of
    two less one moves it by a small part of a bit.
    """
    bits = np.array([t.bit_length() for t in targets])
    free = float(np.maximum(bits[1:], bits[:-1]).mean())
    return free / 512.0, float(np.sqrt(free / (bits.size - 1))) / 512.0


def avalanche(headers: Sequence[bytes], rng: np.random.Generator) -> float:
    """Mean part of the bits of SHA-256d that change when one random bit of a header is flipped; of a good hash 0.5.

    This is what a one-bit "butterfly" measures: a property of SHA-256, the same on any computer.
    """
    changed = 0.0
    for header in headers:
        bit = int(rng.integers(8 * len(header)))
        other = bytearray(header)
        other[bit // 8] ^= 1 << bit % 8
        a, b = (int.from_bytes(sha256(sha256(bytes(x)).digest()).digest(), "big") for x in (header, other))
        changed += (a ^ b).bit_count() / 256.0
    return changed / len(headers)


def assembly_index(data: bytes) -> float:
    """The published "assembly index": length over length of zlib's output. Of random bytes below 1, by its overhead."""
    return len(data) / len(zlib.compress(data))


@lru_cache(maxsize=64)
def zlib_overhead(n: int) -> int:
    """Bytes that zlib adds to n incompressible ones, measured on random bytes.

    2 of header, 4 of checksum, and 5 per stored block, whose length differs from one build of zlib to the next.
    """
    return len(zlib.compress(Random(n).randbytes(n))) - n


def corrected_assembly(data: bytes) -> float:
    """Assembly index with the overhead given back: 1 for incompressible data of any length."""
    return (len(data) + zlib_overhead(len(data))) / len(zlib.compress(data))


def lempel_ziv(bits: npt.ArrayLike) -> int:
    """Number of phrases of the exhaustive parsing of Lempel & Ziv 1976 (Kaspar & Schuster 1987), shape (n,) of 0/1."""
    return int(_phrases(np.ascontiguousarray(bits, np.uint8)))


def normalised_lempel_ziv(bits: npt.ArrayLike) -> float:
    """Phrases times log2(n) / n: tends to 1 from above for fair coins, slowly."""
    sequence = np.ascontiguousarray(bits, np.uint8)
    return lempel_ziv(sequence) * log2(sequence.size) / sequence.size


@numba.njit(cache=True)
def _phrases(s):  # type: ignore[no-untyped-def]
    n = s.size
    if n < 2:
        return n
    count, start, longest = 1, 1, 1
    i, k = 0, 1
    while True:
        if s[i + k - 1] == s[start + k - 1]:
            k += 1
            if start + k > n:
                return count + 1
            continue
        longest = max(longest, k)
        i += 1
        if i < start:
            k = 1
            continue
        count += 1
        start += longest
        if start + 1 > n:
            return count
        i, k, longest = 0, 1, 1
