"""SHA-256d of 80-byte headers as fast as one CPU core allows: midstate, 16 nonces per step, early exit on H7.

The compression is written once, as a generator of LLVM IR (:mod:`llvmlite`), in terms of operations on either
one 32-bit word or a vector of ``LANES`` of them. Whatever does not depend on the nonce stays scalar, so LLVM
hoists it out of the nonce loop: rounds 0-2 of the header's second block and the constant part of its message
schedule. A lane is given up as soon as H7, the most significant word of the hash, is known: after 60 rounds
of the last compression and the E half of the 61st (FIPS 180-4, ``statistics.md`` §4). Vectors are wider than
most CPUs' registers on purpose; LLVM splits them where needed.

Words: the hash function reads the header as big-endian words, so the word of a nonce is its header bytes read
big-endian, ``byteswap32`` of the number in ``mining.submit``. On an S9 that word is chip | counter | core.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

U32 = npt.NDArray[np.uint32]
U8 = npt.NDArray[np.uint8]

LANES = 16
"""Nonces hashed side by side."""


def _fractional_roots(count: int, root: int) -> list[int]:
    """First 32 bits of the fractional parts of the square or cube roots of the first primes (FIPS 180-4)."""
    primes: list[int] = []
    candidate = 2
    while len(primes) < count:
        if all(candidate % p for p in primes):
            primes.append(candidate)
        candidate += 1
    return [_integer_root(p << 32 * root, root) & 0xFFFFFFFF for p in primes]


def _integer_root(value: int, root: int) -> int:
    low, high = 0, 1 << (value.bit_length() // root + 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**root <= value else (low, middle - 1)
    return low


ROUND_CONSTANTS = _fractional_roots(64, 3)
INITIAL_STATE = _fractional_roots(8, 2)

_WORD = ir.IntType(32)
_VECTOR = ir.VectorType(_WORD, LANES)
_Value = Any  # an LLVM value of either type; llvmlite carries no type information


class _Words:
    """Arithmetic of SHA-256 on LLVM values, scalar as long as both operands are."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def constant(self, value: int) -> _Value:
        return ir.Constant(_WORD, value & 0xFFFFFFFF)

    def splat(self, value: _Value) -> _Value:
        if value.type == _VECTOR:
            return value
        if isinstance(value, ir.Constant):
            return ir.Constant(_VECTOR, [value.constant] * LANES)
        empty = ir.Constant(_VECTOR, ir.Undefined)
        first = self.builder.insert_element(empty, value, ir.Constant(_WORD, 0))
        zeros = ir.Constant(ir.VectorType(_WORD, LANES), [0] * LANES)
        return self.builder.shuffle_vector(first, empty, zeros)

    def _both(self, operation: Callable[[_Value, _Value], _Value], x: _Value, y: _Value) -> _Value:
        if x.type != y.type:
            x, y = self.splat(x), self.splat(y)
        return operation(x, y)

    def add(self, first: _Value, *others: _Value) -> _Value:
        """Sum, scalars first so that they stay outside the nonce loop."""
        terms = sorted((first, *others), key=lambda v: (v.type == _VECTOR, not isinstance(v, ir.Constant)))
        total = terms[0]
        for term in terms[1:]:
            total = self._both(self.builder.add, total, term)
        return total

    def xor(self, x: _Value, y: _Value) -> _Value:
        return self._both(self.builder.xor, x, y)

    def and_(self, x: _Value, y: _Value) -> _Value:
        return self._both(self.builder.and_, x, y)

    def _shifted(self, x: _Value, bits: int, left: bool) -> _Value:
        amount = ir.Constant(_WORD, bits)
        count = self.splat(amount) if x.type == _VECTOR else amount
        return self.builder.shl(x, count) if left else self.builder.lshr(x, count)

    def rotate(self, x: _Value, bits: int) -> _Value:
        return self.builder.or_(self._shifted(x, bits, False), self._shifted(x, 32 - bits, True))

    def sigma(self, x: _Value, first: int, second: int, third: int, *, shift: bool) -> _Value:
        last = self._shifted(x, third, False) if shift else self.rotate(x, third)
        return self.xor(self.xor(self.rotate(x, first), self.rotate(x, second)), last)

    def schedule(self, w: list[_Value], rounds: int) -> list[_Value]:
        """Message schedule of 16 words, extended to ``rounds`` words."""
        w = list(w)
        for i in range(16, rounds):
            s0 = self.sigma(w[i - 15], 7, 18, 3, shift=True)
            s1 = self.sigma(w[i - 2], 17, 19, 10, shift=True)
            w.append(self.add(w[i - 16], s0, w[i - 7], s1))
        return w

    def round(self, s: tuple[_Value, ...], k: int, w: _Value, *, e_half: bool = False) -> tuple[_Value, ...]:
        """One round on (a..h); with ``e_half`` only the new E is computed and A is left as it was."""
        a, b, c, d, e, f, g, h = s
        choose = self.xor(g, self.and_(e, self.xor(f, g)))
        t1 = self.add(h, self.constant(k), w, choose, self.sigma(e, 6, 11, 25, shift=False))
        if e_half:
            return a, a, b, c, self.add(d, t1), e, f, g
        majority = self.xor(self.and_(a, b), self.and_(c, self.xor(a, b)))
        return (
            self.add(t1, self.sigma(a, 2, 13, 22, shift=False), majority),
            a,
            b,
            c,
            self.add(d, t1),
            e,
            f,
            g,
        )

    def compress(self, state: list[_Value], block: list[_Value]) -> list[_Value]:
        w = self.schedule(block, 64)
        s = tuple(state)
        for i in range(64):
            s = self.round(s, ROUND_CONSTANTS[i], w[i])
        return [self.add(x, y) for x, y in zip(state, s, strict=True)]

    def last_word(self, block: list[_Value]) -> _Value:
        """H7 of a block hashed from the initial state: E of round 60 reaches H after three more rounds."""
        w = self.schedule(block, 61)
        s = tuple(self.constant(v) for v in INITIAL_STATE)
        for i in range(60):
            s = self.round(s, ROUND_CONSTANTS[i], w[i])
        e = self.round(s, ROUND_CONSTANTS[60], w[60], e_half=True)[4]
        return self.add(e, self.constant(INITIAL_STATE[7]))

    def reversed_bytes(self, x: _Value) -> _Value:
        high = self.and_(self.rotate(x, 8), self.constant(0xFF00FF00))
        low = self.and_(self.rotate(x, 24), self.constant(0x00FF00FF))
        return self.builder.or_(high, low)


def _load_word(builder: Any, data: _Value, index: int) -> _Value:
    return builder.load(builder.gep(data, [ir.Constant(ir.IntType(64), index)]), align=4)


@intrinsic  # type: ignore[untyped-decorator]
def _top_word_mask(typing: Any, midstate: Any, tail: Any, words: Any, offset: Any, limit: Any) -> Any:
    """Bit i set: lane i of ``words[offset:]`` has a hash whose most significant word is <= limit."""
    signature = types.uint32(midstate, tail, words, types.int64, types.uint32)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        arrays = [
            context.make_array(t)(context, builder, v).data
            for t, v in zip(sig.args[:3], args[:3], strict=True)
        ]
        op = _Words(builder)
        state = [_load_word(builder, arrays[0], i) for i in range(8)]
        fixed = [_load_word(builder, arrays[1], i) for i in range(3)]
        lane_pointer = builder.bitcast(builder.gep(arrays[2], [args[3]]), _VECTOR.as_pointer())
        nonces = builder.load(lane_pointer, align=4)
        padding = [op.constant(v) for v in (0x80000000, *[0] * 10, 640)]
        digest = op.compress(state, [*fixed, nonces, *padding])
        padding = [op.constant(v) for v in (0x80000000, *[0] * 6, 256)]
        top = op.reversed_bytes(op.last_word([*digest, *padding]))
        hit = builder.icmp_unsigned("<=", top, op.splat(args[4]))
        return builder.zext(builder.bitcast(hit, ir.IntType(LANES)), _WORD)

    return signature, codegen


@intrinsic  # type: ignore[untyped-decorator]
def _compress_into(typing: Any, state: Any, block: Any, offset: Any) -> Any:
    """Compress ``block[offset:offset+16]`` (words) into ``state`` (8 words), one message at a time."""
    signature = types.void(state, block, types.int64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        arrays = [
            context.make_array(t)(context, builder, v).data
            for t, v in zip(sig.args[:2], args[:2], strict=True)
        ]
        op = _Words(builder)
        before = [_load_word(builder, arrays[0], i) for i in range(8)]
        base = builder.gep(arrays[1], [args[2]])
        after = op.compress(before, [_load_word(builder, base, i) for i in range(16)])
        for i, value in enumerate(after):
            builder.store(value, builder.gep(arrays[0], [ir.Constant(ir.IntType(64), i)]), align=4)
        return context.get_dummy_value()

    return signature, codegen


_INITIAL = np.array(INITIAL_STATE, dtype=np.uint32)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def compress(state: U32, block: U32, offset: int) -> None:
    """One SHA-256 compression of ``block[offset:offset+16]`` into ``state``, in place; scalar."""
    _compress_into(state, block, offset)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def sha256_words(message: U8, length: int, state: U32, block: U32) -> None:
    """SHA-256 of ``message[:length]`` into ``state`` (8 words); ``block`` is scratch of 16 words."""
    state[:] = _INITIAL
    position = 0
    done = False
    marked = False
    while not done:
        for i in range(16):
            word = np.uint32(0)
            for _byte in range(4):
                byte = np.uint32(0)
                if position < length:
                    byte = np.uint32(message[position])
                elif not marked and position == length:
                    byte = np.uint32(0x80)
                    marked = True
                position += 1
                word = np.uint32((word << np.uint32(8)) | byte)
            block[i] = word
        if marked and position - length >= 9:
            block[14] = np.uint32((length * 8) >> 32)
            block[15] = np.uint32(length * 8)
            done = True
        compress(state, block, 0)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def sha256d_words(message: U8, length: int, state: U32, block: U32) -> None:
    """SHA-256d of ``message[:length]`` into ``state`` (8 words); ``block`` is scratch of 16 words."""
    sha256_words(message, length, state, block)
    block[:8] = state
    block[8] = np.uint32(0x80000000)
    block[9:15] = np.uint32(0)
    block[15] = np.uint32(256)
    state[:] = _INITIAL
    compress(state, block, 0)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def hash_words(midstate: U32, tail: U32, nonce_word: np.uint32, state: U32, block: U32) -> None:
    """Full double hash of one header, from its midstate, into ``state``; ``block`` is scratch of 16 words."""
    block[:3] = tail
    block[3] = nonce_word
    block[4] = np.uint32(0x80000000)
    block[5:15] = np.uint32(0)
    block[15] = np.uint32(640)
    state[:] = midstate
    compress(state, block, 0)
    block[:8] = state
    block[8] = np.uint32(0x80000000)
    block[9:15] = np.uint32(0)
    block[15] = np.uint32(256)
    state[:] = _INITIAL
    compress(state, block, 0)


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
    for i in range(start, stop, 16):
        mask = _top_word_mask(midstate, tail, words, i, target[0])
        if mask:
            for lane in range(min(16, stop - i)):
                if (mask >> np.uint32(lane)) & np.uint32(1):
                    hash_words(midstate, tail, words[i + lane], state, block)
                    if meets_target(state, target):
                        return i + lane
    return -1


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _scan_range(midstate: U32, tail: U32, first: int, count: int, target: U32, hits: U32) -> int:
    """Put the nonces that hit into ``hits``; returns how many there are, which may exceed its size."""
    chunk = 4096
    words = np.empty(chunk + 16, dtype=np.uint32)
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
