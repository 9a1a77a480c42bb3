"""Hierarchical Number System: numbers as digits, what an addition costs, and the colours that hashes were decoded to.

Two things go by the name in the sources (``claims.md`` §1). One is positional notation to a large base, said to make
the energy of an operation O(log n). The other takes a hash for a colour, in three ways that do not agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import log2, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

BASE = 1000
"""Of the published software."""


def encode(value: int, base: int = BASE) -> list[int]:
    """Digits, the least significant first; [] for 0.

    Args:
        value: 0 or more.
        base: 2 or more.

    Raises:
        ValueError: if a number is out of range.
    """
    _check_base(base)
    if value < 0:
        raise ValueError(f"a number is 0 or more, not {value}")
    digits = []
    while value:
        value, digit = divmod(value, base)
        digits.append(digit)
    return digits


def decode(digits: Sequence[int], base: int = BASE) -> int:
    """The inverse of :func:`encode`; digits of 0 at the end change nothing.

    Raises:
        ValueError: if the base is below 2 or a digit is not one of the base.
    """
    _check_base(base)
    value = 0
    for digit in reversed(digits):
        if not 0 <= digit < base:
            raise ValueError(f"{digit} is no digit of base {base}")
        value = value * base + digit
    return value


def _check_base(base: int) -> None:
    if base < 2:
        raise ValueError(f"a base is 2 or more, not {base}")


@dataclass(frozen=True)
class Sum:
    """A sum and what it cost.

    Attributes:
        digits: least significant first, without zeros at the end.
        digit_operations: digits that were added, a last carry included.
        bit_operations: full-adder steps of these on binary hardware: one per bit of a digit.
    """

    digits: list[int]
    digit_operations: int
    bit_operations: int


def add(a: Sequence[int], b: Sequence[int], base: int = BASE) -> Sum:
    """Add digit by digit with a carry, and count.

    Args:
        a: digits, least significant first.
        b: likewise.
        base: of both.

    Raises:
        ValueError: if a digit is not one of the base.
    """
    _check_base(base)
    for digit in (*a, *b):
        if not 0 <= digit < base:
            raise ValueError(f"{digit} is no digit of base {base}")
    total, carry, operations = [], 0, 0
    for i in range(max(len(a), len(b))):
        carry, digit = divmod((a[i] if i < len(a) else 0) + (b[i] if i < len(b) else 0) + carry, base)
        total.append(digit)
        operations += 1
    if carry:
        total.append(carry)
        operations += 1
    while total and total[-1] == 0:
        total.pop()
    return Sum(total, operations, operations * (base - 1).bit_length())


@dataclass(frozen=True)
class Cost:
    """Mean cost of an addition of random numbers.

    Attributes:
        bits: of each number; all start with a 1.
        digit_operations: in base ``base``.
        bit_operations: of these, counted in full adders.
        binary_operations: full adders of plain binary addition.
        claimed: what the claim predicts for digit operations, log2 of the bits, scaled to the first row.
        base: of the digits.
    """

    bits: int
    digit_operations: float
    bit_operations: float
    binary_operations: float
    claimed: float
    base: int


@dataclass(frozen=True)
class CostLaw:
    """How the cost grows with the length of the numbers.

    Attributes:
        rows: one per length.
        exponent: slope of ln(digit operations) on ln(bits): 1 is linear in the bits (so logarithmic in the *value*, as
            in any base), 0 what O(log n) in the bits would come to.
        bit_ratio: full adders over those of plain binary, at the greatest length; below 1 would be a gain.
    """

    rows: tuple[Cost, ...]
    exponent: float
    bit_ratio: float

    def to_json(self) -> dict[str, Any]:
        """Plain dict."""
        return {
            "rows": [asdict(r) for r in self.rows],
            "exponent": self.exponent,
            "bit_ratio": self.bit_ratio,
        }


def measure_cost(
    rng: np.random.Generator,
    *,
    base: int = BASE,
    bits: Sequence[int] = (16, 32, 64, 128, 256, 512, 1024, 2048),
    additions: int = 40,
) -> CostLaw:
    """Count the operations of additions of random numbers, beside plain binary.

    Args:
        rng: of the numbers.
        base: of the digits.
        bits: lengths, at least two, ascending.
        additions: of each length.
    """
    rows: list[Cost] = []
    for length in bits:
        spent = np.zeros(3)
        for _ in range(additions):
            top = 1 << (length - 1)
            x, y = (int.from_bytes(rng.bytes(length // 8 + 1), "big") & (top - 1) | top for _ in range(2))
            found = add(encode(x, base), encode(y, base), base)
            plain = add(encode(x, 2), encode(y, 2), 2)
            spent += (found.digit_operations, found.bit_operations, plain.bit_operations)
        spent /= additions
        scale = rows[0].digit_operations / log2(rows[0].bits) if rows else spent[0] / log2(length)
        rows.append(
            Cost(length, float(spent[0]), float(spent[1]), float(spent[2]), float(scale * log2(length)), base)
        )
    slope = np.polyfit(np.log([r.bits for r in rows]), np.log([r.digit_operations for r in rows]), 1)[0]
    last = rows[-1]
    return CostLaw(tuple(rows), float(slope), last.bit_operations / last.binary_operations)


def published_gain(bits: int, ratio: float = 1.0) -> float:
    """The published eta = (k / k') 2^n / log2 n (CHIMERA paper §VII): it sets the cost of n bits to 2^n, not to n."""
    if bits < 2:
        raise ValueError("the formula needs n >= 2")
    return ratio * 2.0**bits / log2(bits)


# ---- colours ---------------------------------------------------------------------------------------------------------

Rgba = npt.NDArray[np.float64]


def _words(hashes: npt.ArrayLike) -> npt.NDArray[np.uint64]:
    """Big-endian 8-byte words: shape (n, 32) of bytes to (n, 4)."""
    data = np.ascontiguousarray(hashes, np.uint8)
    if data.ndim != 2 or data.shape[1] != 32:
        raise ValueError(f"hashes have shape (n, 32), not {data.shape}")
    return data.view(">u8").astype(np.uint64)


def rgba_full_range(hashes: npt.ArrayLike) -> Rgba:
    """Variant (a): each 8-byte word over 2^64 - 1 (holographic_reservoir). Shape (n, 4), in [0, 1]."""
    return _words(hashes) / float(2**64 - 1)


def rgba_mod_million(hashes: npt.ArrayLike) -> Rgba:
    """Variant (b): each word mod 10^6, over 10^6 (chimera_nn). Shape (n, 4), in [0, 1)."""
    return (_words(hashes) % np.uint64(10**6)) / 1e6


def rgba_mod_milliard(hashes: npt.ArrayLike) -> Rgba:
    """Variant (c): each word mod 10^9, over 10^9 (the road map). Shape (n, 4), in [0, 1)."""
    return (_words(hashes) % np.uint64(10**9)) / 1e9


DECODERS = {
    "full_range": rgba_full_range,
    "mod_million": rgba_mod_million,
    "mod_milliard": rgba_mod_milliard,
}
"""All three; for the same hash they give colours that have nothing to do with each other."""

_LEVELS = {"full_range": (2**64, 2**64 - 1), "mod_million": (10**6, 10**6), "mod_milliard": (10**9, 10**9)}


@dataclass(frozen=True)
class ColourNull:
    """What a channel of uniform hashes gives: uniform on equally spaced levels.

    Attributes:
        mean: of a channel.
        sd: its standard deviation.
    """

    mean: float
    sd: float


def colour_null(decoder: str) -> ColourNull:
    """Mean (m - 1) / 2d and standard deviation sqrt((m² - 1) / 12) / d of m levels 0 .. m - 1 over d.

    2^64 is no multiple of 10^6 or 10^9: some levels are more likely than others by 10^9 / 2^64, which is nothing.

    Args:
        decoder: ``full_range``, ``mod_million`` or ``mod_milliard``.
    """
    levels, over = _LEVELS[decoder]
    return ColourNull((levels - 1) / 2 / over, sqrt((levels**2 - 1) / 12) / over)


@dataclass(frozen=True)
class LayerState:
    """What the published layer makes of the colours of some hashes.

    Attributes:
        energy: sum of R, weight 1.
        entropy: -sum p ln p with p = R / sum R, in nats.
        coherence: 1 / (1 + 10 var(A)).
    """

    energy: float
    entropy: float
    coherence: float


def layer_state(rgba: npt.ArrayLike) -> LayerState:
    """Energy, entropy and coherence of colours, as the published ChimeraLayer computes them.

    Args:
        rgba: shape (n, 4).
    """
    colours = np.asarray(rgba, np.float64)
    energy = float(colours[:, 0].sum())
    p = colours[:, 0] / energy if energy > 0 else np.zeros(colours.shape[0])
    p = p[p > 0]
    return LayerState(energy, float(-(p @ np.log(p))) + 0.0, float(1.0 / (1.0 + 10.0 * colours[:, 3].var())))
