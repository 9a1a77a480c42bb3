"""Compact targets and difficulties against those of Bitcoin Core and exact fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge import headers

DIFF1 = 0xFFFF << 208
TOP = 2**256 - 1


# ---- compact targets ----

# Bitcoin Core, arith_uint256_tests.cpp, bignum_SetCompact (2014 and later)
CORE_COMPACT = [
    ("01123456", 0x12, "01120000"),
    ("02123456", 0x1234, "02123400"),
    ("03123456", 0x123456, "03123456"),
    ("04123456", 0x12345600, "04123456"),
    ("05009234", 0x92340000, "05009234"),
    ("20123456", 0x123456 << 232, "20123456"),
    ("02008000", 0x80, "02008000"),
    ("1d00ffff", DIFF1, "1d00ffff"),
    ("1b0404cb", 0x404CB << 192, "1b0404cb"),
    ("17034219", 0x34219 << 160, "17034219"),
    ("207fffff", 0x7FFFFF << 232, "207fffff"),
    ("2100ffff", 0xFFFF << 240, "2100ffff"),
    ("220000ff", 0xFF << 248, "2100ff00"),
]
CORE_ZERO = [
    "00000000", "00123456", "01003456", "02000056", "03000000", "04000000",
    "00923456", "01803456", "02800056", "03800000", "04800000",
]  # fmt: skip
CORE_NEGATIVE = ["01fedcba", "04923456", "1d80ffff", "20ffffff"]
CORE_OVERFLOW = ["ff123456", "21010000", "22000100", "23000001"]


@pytest.mark.parametrize(("nbits", "target", "back"), CORE_COMPACT)
def test_compact_targets_of_bitcoin_core(nbits: str, target: int, back: str) -> None:
    assert headers.target_from_nbits(nbits) == target
    assert headers.nbits_from_target(target) == back


@pytest.mark.parametrize("nbits", CORE_ZERO + CORE_NEGATIVE + CORE_OVERFLOW)
def test_compact_values_that_are_no_target(nbits: str) -> None:
    with pytest.raises(ValueError, match=nbits):
        headers.target_from_nbits(nbits)


@pytest.mark.parametrize("nbits", CORE_NEGATIVE)
def test_negative_compact_values_are_called_negative(nbits: str) -> None:
    with pytest.raises(ValueError, match="negative"):
        headers.target_from_nbits(nbits)


@pytest.mark.parametrize(
    "nbits", ["", "1d00fff", "1d00ffff0", "0x1d00ff", "1d00_fff", "-1d00fff", " 1d00ffff", "1d00fffg"]
)
def test_malformed_compact_values(nbits: str) -> None:
    with pytest.raises(ValueError, match="nbits"):
        headers.target_from_nbits(nbits)


@given(st.integers(1, TOP))
def test_compact_form_rounds_down_by_less_than_one_part_in_2_15(target: int) -> None:
    back = headers.target_from_nbits(headers.nbits_from_target(target))
    assert back <= target
    assert Fraction(target - back, target) < Fraction(1, 2**15)
    assert headers.nbits_from_target(back) == headers.nbits_from_target(target)


@pytest.mark.parametrize("target", [0, -1, TOP + 1])
def test_targets_outside_256_bits_are_refused(target: int) -> None:
    with pytest.raises(ValueError, match="2\\^256"):
        headers.nbits_from_target(target)
    with pytest.raises(ValueError, match="2\\^256"):
        headers.difficulty_from_target(target)


# ---- targets of difficulties ----

positive = st.floats(
    min_value=0, exclude_min=True, allow_infinity=False, allow_nan=False, allow_subnormal=True
)


@given(positive)
def test_target_is_exactly_the_largest_hash_that_reaches_the_difficulty(difficulty: float) -> None:
    target = headers.target_from_difficulty(difficulty)
    wanted = Fraction(difficulty)
    if target:
        assert Fraction(DIFF1, target) >= wanted
    if target < TOP:
        assert Fraction(DIFF1, target + 1) < wanted
    else:
        assert Fraction(DIFF1, TOP) >= wanted


@given(positive, positive)
def test_a_higher_difficulty_never_has_a_higher_target(a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert headers.target_from_difficulty(low) >= headers.target_from_difficulty(high)


@pytest.mark.parametrize(
    ("difficulty", "target"),
    [
        (1.0, DIFF1),
        (256.0, 0xFFFF << 200),
        (0.5, 0xFFFF << 209),
        (2.0**-32, 0xFFFF << 240),
        (2e-10, TOP),
        (5e-324, TOP),
        (1e308, 0),
        (float(DIFF1), 1),
        (math.nextafter(float(DIFF1), math.inf), 0),
    ],
)
def test_targets_by_hand(difficulty: float, target: int) -> None:
    assert headers.target_from_difficulty(difficulty) == target


def test_where_targets_saturate() -> None:
    edge = DIFF1 / TOP  # about 2.33e-10: below it every hash is a share
    assert headers.target_from_difficulty(math.nextafter(edge, 0)) == TOP
    assert headers.target_from_difficulty(math.nextafter(edge, 1)) < TOP
    assert edge == pytest.approx(2.328e-10, rel=1e-3)


@pytest.mark.parametrize("difficulty", [0.0, -0.0, -1.0, math.inf, -math.inf, math.nan])
def test_what_is_no_difficulty(difficulty: float) -> None:
    with pytest.raises(ValueError, match="positive finite"):
        headers.target_from_difficulty(difficulty)


@given(st.integers(1, TOP))
def test_difficulty_of_a_target_is_its_correctly_rounded_quotient(target: int) -> None:
    exact = Fraction(DIFF1, target)
    got = headers.difficulty_from_target(target)
    assert got == headers.difficulty_of_hash(target)
    neighbours = (math.nextafter(got, 0), math.nextafter(got, math.inf))
    assert all(abs(Fraction(got) - exact) <= abs(Fraction(n) - exact) for n in neighbours)


def test_the_hash_zero_reaches_any_difficulty() -> None:
    assert headers.difficulty_of_hash(0) == math.inf
