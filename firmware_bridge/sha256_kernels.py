"""The SHA-256 kernels that everything else is made of: one compression, H7 of 16 double hashes at once, and the states
after every round of 16 compressions at once.

The compression is written once, as a generator of LLVM IR (:mod:`llvmlite`), in terms of operations on either one
32-bit word or a vector of ``LANES`` of them. What does not depend on the nonce stays scalar: rounds 0-2 of the
header's second block and the constant part of its message schedule. A lane is given up as soon as H7, the most
significant word of the hash, is known: after 60 rounds of the last compression and the E half of the 61st (FIPS 180-4,
``statistics.md`` §4). Vectors are wider than most CPUs' registers on purpose; LLVM splits them where needed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from llvmlite import binding as llvm
from llvmlite import ir
from numba import cfunc, types
from numba.extending import intrinsic

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


_POINTER = types.CPointer(types.uint32)
_WORDS_POINTER = _WORD.as_pointer()


@intrinsic  # type: ignore[untyped-decorator]
def _mask_body(typing: Any, midstate: Any, tail: Any, nonce_words: Any, limit: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        op = _Words(builder)
        state = [_load_word(builder, args[0], i) for i in range(8)]
        fixed = [_load_word(builder, args[1], i) for i in range(3)]
        nonces = builder.load(builder.bitcast(args[2], _VECTOR.as_pointer()), align=4)
        padding = [op.constant(v) for v in (0x80000000, *[0] * 10, 640)]
        digest = op.compress(state, [*fixed, nonces, *padding])
        padding = [op.constant(v) for v in (0x80000000, *[0] * 6, 256)]
        top = op.reversed_bytes(op.last_word([*digest, *padding]))
        hit = builder.icmp_unsigned("<=", top, op.splat(args[3]))
        return builder.zext(builder.bitcast(hit, ir.IntType(LANES)), _WORD)

    return types.uint32(_POINTER, _POINTER, _POINTER, types.uint32), codegen


@intrinsic  # type: ignore[untyped-decorator]
def _compress_body(typing: Any, state: Any, block: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        op = _Words(builder)
        before = [_load_word(builder, args[0], i) for i in range(8)]
        after = op.compress(before, [_load_word(builder, args[1], i) for i in range(16)])
        for i, value in enumerate(after):
            builder.store(value, builder.gep(args[0], [ir.Constant(ir.IntType(64), i)]), align=4)
        return context.get_dummy_value()

    return types.void(_POINTER, _POINTER), codegen


ROW_A, ROW_E, ROW_W, ROWS = 0, 68, 136, 200
"""Rows of one block of round states: a and e of the state after k rounds are rows ``ROW_A + 3 + k`` and
``ROW_E + 3 + k`` (b, c, d are a of 1, 2, 3 rounds before, f, g, h likewise e), word i of the schedule is
``ROW_W + i``."""


@intrinsic  # type: ignore[untyped-decorator]
def _rounds_body(typing: Any, state: Any, block: Any, rows: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        op = _Words(builder)
        state, block, rows = (builder.bitcast(arg, _VECTOR.as_pointer()) for arg in args)

        def store(value: _Value, row: int) -> None:
            at = builder.gep(rows, [ir.Constant(ir.IntType(64), row)])
            builder.store(op.splat(value), at, align=4)

        s = tuple(_load_word(builder, state, i) for i in range(8))
        for half, first in ((s[:4], ROW_A), (s[4:], ROW_E)):
            for i, value in enumerate(reversed(half)):
                store(value, first + i)
        w = op.schedule([_load_word(builder, block, i) for i in range(16)], 64)
        for i in range(64):
            s = op.round(s, ROUND_CONSTANTS[i], w[i])
            store(s[0], ROW_A + 4 + i)
            store(s[4], ROW_E + 4 + i)
            store(w[i], ROW_W + i)
        return context.get_dummy_value()

    return types.void(_POINTER, _POINTER, _POINTER), codegen


@cfunc(types.uint32(_POINTER, _POINTER, _POINTER, types.uint32), cache=True)  # type: ignore[untyped-decorator]
def _mask_kernel(midstate: Any, tail: Any, nonce_words: Any, limit: Any) -> Any:
    return _mask_body(midstate, tail, nonce_words, limit)


@cfunc(types.void(_POINTER, _POINTER), cache=True)  # type: ignore[untyped-decorator]
def _compress_kernel(state: Any, block: Any) -> None:
    _compress_body(state, block)


# Callers reach the kernels by symbol: linked in, LLVM would optimise a copy of them for every caller.
_MASK_SYMBOL, _COMPRESS_SYMBOL = "asiclab_sha256d_top_word_mask", "asiclab_sha256_compress"
_ROUNDS_SYMBOL = "asiclab_sha256_rounds"
llvm.add_symbol(_MASK_SYMBOL, _mask_kernel.address)
llvm.add_symbol(_COMPRESS_SYMBOL, _compress_kernel.address)


@lru_cache(maxsize=1)
def load_rounds_kernel() -> None:
    """Compile the kernel behind :func:`rounds_into`, which few programs need, or take it from the cache on disk."""

    @cfunc(types.void(_POINTER, _POINTER, _POINTER), cache=True)  # type: ignore[untyped-decorator]
    def kernel(state: Any, block: Any, rows: Any) -> None:
        _rounds_body(state, block, rows)

    _KEPT.append(kernel)
    llvm.add_symbol(_ROUNDS_SYMBOL, kernel.address)


_KEPT: list[Any] = []
"""Kernels that were compiled late; their code lives as long as they do."""


def _external(module: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    return module.globals.get(name) or ir.Function(module, ir.FunctionType(result, arguments), name)


def _data_pointers(context: Any, builder: Any, sig: Any, args: Any, count: int) -> list[_Value]:
    pairs = zip(sig.args[:count], args[:count], strict=True)
    return [context.make_array(t)(context, builder, v).data for t, v in pairs]


@intrinsic  # type: ignore[untyped-decorator]
def top_word_mask(typing: Any, midstate: Any, tail: Any, words: Any, offset: Any, limit: Any) -> Any:
    """Bit i set: lane i of ``words[offset:]`` has a hash whose most significant word is <= limit."""
    signature = types.uint32(midstate, tail, words, types.int64, types.uint32)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kernel = _external(builder.module, _MASK_SYMBOL, _WORD, [_WORDS_POINTER] * 3 + [_WORD])
        state, fixed, nonces = _data_pointers(context, builder, sig, args, 3)
        return builder.call(kernel, [state, fixed, builder.gep(nonces, [args[3]]), args[4]])

    return signature, codegen


@intrinsic  # type: ignore[untyped-decorator]
def compress_into(typing: Any, state: Any, block: Any, offset: Any) -> Any:
    """Compress ``block[offset:offset+16]`` (words) into ``state`` (8 words), one message at a time."""
    signature = types.void(state, block, types.int64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kernel = _external(builder.module, _COMPRESS_SYMBOL, ir.VoidType(), [_WORDS_POINTER] * 2)
        words, message = _data_pointers(context, builder, sig, args, 2)
        builder.call(kernel, [words, builder.gep(message, [args[2]])])
        return context.get_dummy_value()

    return signature, codegen


@intrinsic  # type: ignore[untyped-decorator]
def rounds_into(typing: Any, state: Any, block: Any, rows: Any, offset: Any) -> Any:
    """States after every round of ``LANES`` compressions side by side; :func:`load_rounds_kernel` comes first.

    ``state`` is (8, LANES) words, ``block`` (16, LANES); ``ROWS`` rows of LANES words go to ``rows`` from word
    ``offset`` on, laid out as at ``ROW_A``.
    """
    signature = types.void(state, block, rows, types.int64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kernel = _external(builder.module, _ROUNDS_SYMBOL, ir.VoidType(), [_WORDS_POINTER] * 3)
        words, message, out = _data_pointers(context, builder, sig, args, 3)
        builder.call(kernel, [words, message, builder.gep(out, [args[3]])])
        return context.get_dummy_value()

    return signature, codegen
