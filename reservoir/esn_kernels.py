"""Recurrences that numpy cannot vectorise over time (numba); one thread, since two on a busy machine are far slower.

``tanh`` is computed here as ``1 - 2 / (exp(2x) + 1)`` with an exponential of our own that the compiler can put into
vector registers: the one of the C library is called element by element. Its error is below 2e-15, and stays there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

F64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.unsignedinteger]


@intrinsic  # type: ignore[untyped-decorator]
def _as_float(typingctx: Any, bits: Any) -> Any:
    """The float64 with these bits."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def _as_bits(typingctx: Any, value: Any) -> Any:
    """The bits of a float64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.int64(types.float64), generate


_MAGIC = (
    6755399441055744.0  # 1.5 * 2^52: adding it rounds to a whole number, which then stands in the low bits
)
_LOG2_E = 1.4426950408889634
_LN2_HIGH = 0.693147180369123816490
_LN2_LOW = 1.90821492927058770002e-10


COMPILED: dict[str, Any] = {
    "cache": True,
    "nogil": True,
    "fastmath": {"contract", "reassoc"},
    "error_model": "numpy",  # a check for division by zero would keep tanh out of the vector registers
}


@njit(inline="always")  # type: ignore[untyped-decorator]
def _tanh(x: float) -> float:
    """tanh with an absolute error below 2e-15; branch-free."""
    y = min(max(2.0 * x, -44.0), 44.0)
    shifted = y * _LOG2_E + _MAGIC
    k = shifted - _MAGIC
    r = (y - k * _LN2_HIGH) - k * _LN2_LOW
    # Taylor to r^13: |r| <= 0.3466, so what is left out is below 5e-18
    p = 1.0 + r * (
        1.0
        + r * (1 / 2 + r * (1 / 6 + r * (1 / 24 + r * (1 / 120 + r * (1 / 720 + r * (1 / 5040 + r * (
            1 / 40320 + r * (1 / 362880 + r * (1 / 3628800 + r * (1 / 39916800 + r * (
                1 / 479001600 + r / 6227020800
            )))))))))))
    )  # fmt: skip
    power = _as_float((_as_bits(shifted) + 1023) << 52)
    return float(1.0 - 2.0 / (p * power + 1.0))


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def sparse_run(columns: Index, values: F64, states: F64, start: F64, leak: float) -> None:
    """Leaky recurrence with a sparse W of equally many entries per row, eight rows side by side.

    Args:
        columns: shape (blocks, m, 8): where the entries of eight rows stand; unsigned, since numba looks at the sign of
            every other index.
        values: shape (blocks, m, 8): what they are.
        states: holds the drive (T, N) and receives the states.
        start: state before the first step.
        leak: a.
    """
    steps, n = states.shape
    blocks, m, _ = columns.shape
    before = np.zeros(8 * blocks)
    before[:n] = start
    total = np.zeros(8 * blocks)
    for t in range(steps):
        row = states[t]
        for i in range(n):
            total[i] = row[i]
        for b in range(blocks):
            c, v, at = columns[b], values[b], 8 * b
            s0, s1, s2, s3 = total[at], total[at + 1], total[at + 2], total[at + 3]
            s4, s5, s6, s7 = total[at + 4], total[at + 5], total[at + 6], total[at + 7]
            for j in range(m):  # eight sums at once hide the latency of each
                s0 += v[j, 0] * before[c[j, 0]]
                s1 += v[j, 1] * before[c[j, 1]]
                s2 += v[j, 2] * before[c[j, 2]]
                s3 += v[j, 3] * before[c[j, 3]]
                s4 += v[j, 4] * before[c[j, 4]]
                s5 += v[j, 5] * before[c[j, 5]]
                s6 += v[j, 6] * before[c[j, 6]]
                s7 += v[j, 7] * before[c[j, 7]]
            total[at], total[at + 1], total[at + 2], total[at + 3] = s0, s1, s2, s3
            total[at + 4], total[at + 5], total[at + 6], total[at + 7] = s4, s5, s6, s7
        for i in range(n):
            row[i] = (1.0 - leak) * before[i] + leak * _tanh(total[i])
        for i in range(n):
            before[i] = row[i]


SIDE_BY_SIDE = 32
"""Sequences whose sums :func:`sparse_run_many` holds in registers: one row of W is read for all of them."""


@intrinsic  # type: ignore[untyped-decorator]
def _add_row(
    typingctx: Any, columns: Any, values: Any, before: Any, total: Any, row: Any, entries: Any
) -> Any:
    """``total[:] += sum_j values[j] * before[columns[j], :]`` for SIDE_BY_SIDE sequences.

    The first four are addresses, ``row`` the bytes of one row of ``before``, ``entries`` the number of j, above 0.

    A compiled loop keeps such sums in memory, which holds it up; here they are one vector.
    """
    double, number, vector = ir.DoubleType(), ir.IntType(64), ir.VectorType(ir.DoubleType(), SIDE_BY_SIDE)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        columns, values, before, total, row, entries = arguments
        place = builder.inttoptr(total, vector.as_pointer())
        first = builder.load(place, align=8)
        entry = builder.block
        loop, done = builder.append_basic_block("entries"), builder.append_basic_block("summed")
        builder.branch(loop)
        builder.position_at_end(loop)
        j, total_so_far = builder.phi(number), builder.phi(vector)
        column = builder.load(builder.gep(builder.inttoptr(columns, ir.IntType(32).as_pointer()), [j]))
        value = builder.load(builder.gep(builder.inttoptr(values, double.as_pointer()), [j]))
        offset = builder.mul(builder.zext(column, number), row)
        others = builder.load(builder.inttoptr(builder.add(before, offset), vector.as_pointer()), align=8)
        lone = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.IntType(32)(0))
        places = ir.Constant(ir.VectorType(ir.IntType(32), SIDE_BY_SIDE), None)
        weight = builder.shuffle_vector(lone, ir.Constant(vector, ir.Undefined), places)
        product = builder.fmul(weight, others, flags=("contract",))
        new = builder.fadd(total_so_far, product, flags=("contract",))
        following = builder.add(j, number(1))
        j.add_incoming(number(0), entry)
        j.add_incoming(following, loop)
        total_so_far.add_incoming(first, entry)
        total_so_far.add_incoming(new, loop)
        builder.cbranch(builder.icmp_unsigned("<", following, entries), loop, done)
        builder.position_at_end(done)
        builder.store(new, place, align=8)
        return context.get_dummy_value()

    return types.void(*[types.uintp] * 4, types.int64, types.int64), generate


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def sparse_run_many(columns: Index, values: F64, states: F64, leak: float) -> None:
    """The same for sequences that share W, each from 0; all arrays C-contiguous.

    Args:
        columns: shape (N, m), 32 bits, m > 0: where the entries of a row stand.
        values: shape (N, m): what they are.
        states: shape (T, N, B), B a multiple of SIDE_BY_SIDE: the drive, receives the states.
        leak: a.
    """
    steps, n, width = states.shape
    m = columns.shape[1]
    row = 8 * width
    before = np.zeros((n, width))
    for t in range(steps):
        now = states[t]
        total, past = now.ctypes.data, before.ctypes.data
        column, value = columns.ctypes.data, values.ctypes.data
        for _ in range(n):
            for first in range(0, row, 8 * SIDE_BY_SIDE):
                _add_row(column, value, past + first, total + first, row, m)
            column, value, total = column + 4 * m, value + 8 * m, total + row
        flat, flat_before = now.reshape(n * width), before.reshape(n * width)
        for i in range(n * width):
            flat[i] = (1.0 - leak) * flat_before[i] + leak * _tanh(flat[i])
        before = now


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def dense_run_many(w: F64, states: F64, leak: float) -> None:
    """The same with a dense W: one product of matrices per step; ``states`` is (T, N, B)."""
    steps, n, width = states.shape
    before = np.zeros((n, width))
    total = np.empty((n, width))
    for t in range(steps):
        now = states[t]
        np.dot(w, before, total)
        for i in range(n):
            for c in range(width):
                now[i, c] = (1.0 - leak) * before[i, c] + leak * _tanh(total[i, c] + now[i, c])
        before = now


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def dense_run(w: F64, states: F64, start: F64, leak: float) -> None:
    """The same with a dense W, C-contiguous."""
    steps, n = states.shape
    before = start.copy()
    total = np.empty(n)
    for t in range(steps):
        row = states[t]
        np.dot(w, before, total)
        for i in range(n):
            row[i] = (1.0 - leak) * before[i] + leak * _tanh(total[i] + row[i])
        before = row


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def delay_loop(drive: F64, eta: float, exponent: float, keep: float) -> F64:
    """States of a Mackey-Glass node with delayed feedback; see ``networks.DelayReservoir``."""
    steps, n = drive.shape
    states = np.zeros((steps, n))
    last = 0.0
    for t in range(steps):
        for j in range(n):
            fed = states[t - 1, j] if t > 0 else 0.0
            s = fed + drive[t, j]
            last = keep * last + (1.0 - keep) * eta * s / (1.0 + abs(s) ** exponent)
            states[t, j] = last
    return states


def run(w: Any, rows: tuple[Index, F64] | None, drive: F64, start: F64, leak: float) -> F64:
    """States (T, N) of the leaky recurrence for a drive (T, N) that is overwritten with them.

    Args:
        w: W, used where it is dense.
        rows: of :func:`rows_of`, used where it is sparse.
        drive: what comes to each node from outside.
        start: state before the first step.
        leak: a.
    """
    states = np.ascontiguousarray(drive, dtype=np.float64)
    if rows is not None:
        sparse_run(*rows, states, start, leak)
    else:
        dense_run(w, states, start, leak)
    return states


def run_many(w: Any, u: F64, w_in: F64, bias: F64, leak: float) -> F64:
    """States (B, T, N) of inputs (B, T, d) that share W, W_in and b, each from 0."""
    count = u.shape[0]
    if not hasattr(w, "indptr"):
        states = np.ascontiguousarray(np.moveaxis(u @ w_in.T + bias, 0, 2))
        dense_run_many(w, states, leak)
        return np.moveaxis(states, 2, 0)
    filled = np.zeros(
        (-(-count // SIDE_BY_SIDE) * SIDE_BY_SIDE, *u.shape[1:])
    )  # what is missing runs on inputs of 0
    filled[:count] = u
    states = np.ascontiguousarray(w_in @ filled.transpose(1, 2, 0))
    states += bias[:, None]
    sparse_run_many(*_rows_in_order(w), states, leak)
    return np.moveaxis(states, 2, 0)[:count]


def _rows_in_order(w: Any) -> tuple[Index, F64]:
    """Columns and values of a sparse W, filled up with zeros: shapes (N, m)."""
    n = w.shape[0]
    counts = np.diff(w.indptr)
    longest = max(1, int(counts.max(initial=0)))
    columns = np.zeros((n, longest), dtype=np.uint32)
    values = np.zeros((n, longest))
    used = np.arange(longest) < counts[:, None]
    columns[used], values[used] = w.indices, w.data
    return columns, values


def rows_of(w: Any) -> tuple[Index, F64]:
    """Columns and values of a sparse W in blocks of eight rows, filled up with zeros: shapes (blocks, m, 8)."""
    n = w.shape[0]
    counts = np.diff(w.indptr)
    longest = max(1, int(counts.max(initial=0)))
    blocks = -(-n // 8)
    columns = np.zeros((8 * blocks, longest), dtype=np.uint16 if n <= 1 << 16 else np.uint32)
    values = np.zeros((8 * blocks, longest))
    used = np.zeros((8 * blocks, longest), dtype=bool)
    used[:n] = np.arange(longest) < counts[:, None]
    columns[used], values[used] = w.indices, w.data

    def interleaved(rows: Any) -> Any:
        return np.ascontiguousarray(rows.reshape(blocks, 8, longest).transpose(0, 2, 1))

    return interleaved(columns), interleaved(values)
