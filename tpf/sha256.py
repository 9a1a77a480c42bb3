"""SHA-256 one round at a time, in the terms that a theorem about it uses (FIPS 180-4 §6.2).

Everything works on Python integers and, element by element, on numpy arrays of uint64 that hold 32-bit words. The
vectorised kernels are in :mod:`tpf.sha256_rounds`.

In the names of the proofs (``lean/``): ``round`` is injective for a given ``kw`` with ``unround`` as its inverse;
``run(kw, s, 64).h == run(kw, s, 61).e``, so the last digest word is known after 61 rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from firmware_bridge.sha256_kernels import INITIAL_STATE, ROUND_CONSTANTS

MASK = 0xFFFFFFFF

Word = Any
"""An int below 2^32, or an array of uint64 of such."""


class State(NamedTuple):
    """The eight working variables between two rounds."""

    a: Word
    b: Word
    c: Word
    d: Word
    e: Word
    f: Word
    g: Word
    h: Word


INITIAL = State(*INITIAL_STATE)
"""H(0) of FIPS 180-4 §5.3.3."""


def _rotate(x: Word, bits: int) -> Word:
    return ((x >> bits) | (x << (32 - bits))) & MASK


def _big_sigma_0(x: Word) -> Word:
    return _rotate(x, 2) ^ _rotate(x, 13) ^ _rotate(x, 22)


def _big_sigma_1(x: Word) -> Word:
    return _rotate(x, 6) ^ _rotate(x, 11) ^ _rotate(x, 25)


def _t1(s: State, kw: Word) -> Word:
    choose = s.g ^ (s.e & (s.f ^ s.g))
    return s.h + _big_sigma_1(s.e) + choose + kw


def _t2(a: Word, b: Word, c: Word) -> Word:
    return _big_sigma_0(a) + ((a & b) ^ (a & c) ^ (b & c))


def round(s: State, kw: Word) -> State:  # the name that the theorems have
    """One round; ``kw`` is the round constant plus the schedule word, mod 2^32 or not."""
    t1 = _t1(s, kw)
    return State((t1 + _t2(s.a, s.b, s.c)) & MASK, s.a, s.b, s.c, (s.d + t1) & MASK, s.e, s.f, s.g)


def e_half(s: State, kw: Word, unknown: Word = 0) -> State:
    """The half of a round that computes ``e``; the new ``a`` is not computed, and ``unknown`` stands in its place."""
    return State(unknown, s.a, s.b, s.c, (s.d + _t1(s, kw)) & MASK, s.e, s.f, s.g)


def unround(s: State, kw: Word) -> State:
    """The state before a round: the inverse of :func:`round` for the same ``kw``."""
    t1 = (s.a - _t2(s.b, s.c, s.d)) & MASK
    d = (s.e - t1) & MASK
    before = State(s.b, s.c, s.d, d, s.f, s.g, s.h, s.a * 0)
    return before._replace(h=(t1 - _t1(before, kw)) & MASK)


def schedule(block: Sequence[Word]) -> list[Word]:
    """The 64 schedule words of a block of 16 words.

    Raises:
        ValueError: if the block has another length.
    """
    if len(block) != 16:
        raise ValueError(f"a block has 16 words, not {len(block)}")
    w = list(block)
    for i in range(16, 64):
        s0 = _rotate(w[i - 15], 7) ^ _rotate(w[i - 15], 18) ^ (w[i - 15] >> 3)
        s1 = _rotate(w[i - 2], 17) ^ _rotate(w[i - 2], 19) ^ (w[i - 2] >> 10)
        w.append((w[i - 16] + s0 + w[i - 7] + s1) & MASK)
    return w


def keyed(w: Sequence[Word]) -> list[Word]:
    """Schedule words with their round constants added: the ``kw`` of each round."""
    return [(word + k) & MASK for word, k in zip(w, ROUND_CONSTANTS, strict=True)]


def run(kw: Sequence[Word], s: State, n: int) -> State:
    """The state after rounds 0 .. n-1."""
    for i in range(n):
        s = round(s, kw[i])
    return s


def compress(s: State, block: Sequence[Word]) -> State:
    """One compression: the chaining value after a block of 16 words."""
    after = run(keyed(schedule(block)), s, 64)
    return State(*((x + y) & MASK for x, y in zip(s, after, strict=True)))
