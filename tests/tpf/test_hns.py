"""Digits go there and back, cost what is counted, and hashes have the colours that each decoder says."""

from __future__ import annotations

from hashlib import sha256
from math import log, log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tpf import hns

bases = st.integers(2, 2000)
numbers = st.integers(0, 2**300)


@given(numbers, bases)
def test_round_trip(value: int, base: int) -> None:
    digits = hns.encode(value, base)
    assert hns.decode(digits, base) == value
    assert all(0 <= d < base for d in digits)
    assert not digits or digits[-1] != 0
    assert value < base ** len(digits)
    if value:
        assert base ** (len(digits) - 1) <= value


def test_zero_has_no_digits() -> None:
    assert hns.encode(0) == []
    assert hns.decode([]) == 0
    assert hns.decode([0, 0]) == 0


@given(numbers, numbers, bases)
def test_sums_are_right_and_counted(x: int, y: int, base: int) -> None:
    a, b = hns.encode(x, base), hns.encode(y, base)
    found = hns.add(a, b, base)
    assert found.digits == hns.encode(x + y, base)
    longer = max(len(a), len(b))
    assert found.digit_operations == longer + (len(found.digits) > longer)
    assert found.bit_operations == found.digit_operations * (base - 1).bit_length()


def test_mistakes_are_named() -> None:
    for call in (lambda: hns.encode(5, 1), lambda: hns.decode([1], 0), lambda: hns.add([1], [1], 1)):
        with pytest.raises(ValueError, match="base"):
            call()
    with pytest.raises(ValueError, match="0 or more"):
        hns.encode(-1)
    for call in (lambda: hns.decode([10], 10), lambda: hns.add([10], [0], 10), lambda: hns.decode([-1], 10)):
        with pytest.raises(ValueError, match="no digit"):
            call()
    with pytest.raises(ValueError, match="n >= 2"):
        hns.published_gain(1)


def test_the_cost_is_linear_in_the_bits_and_no_less_than_that_of_binary() -> None:
    law = hns.measure_cost(np.random.default_rng(0))
    assert law.exponent == pytest.approx(1.0, abs=0.05)
    assert 1.0 <= law.bit_ratio < 1.1  # a digit of 0..999 needs 10 bits for 9.97
    last = law.rows[-1]
    assert last.binary_operations == pytest.approx(
        last.bits + 1
    )  # both numbers start with 1, so a bit is carried
    assert last.digit_operations == pytest.approx(last.bits / log2(1000), rel=0.01)
    assert last.digit_operations > 5 * last.claimed  # a logarithm of the bits it is not
    powers = hns.measure_cost(np.random.default_rng(0), base=256, bits=(64, 4096))
    assert powers.bit_ratio == pytest.approx(1.0, abs=0.003)


def test_the_published_gain_compares_with_two_to_the_n() -> None:
    for bits, published in ((10, 300), (12, 1100), (14, 4300), (16, 16000)):
        assert hns.published_gain(bits) == pytest.approx(published, rel=0.05)
    assert hns.published_gain(8, 3.0) == pytest.approx(3 * 256 / (log(8) / log(2)))


def hashes(n: int) -> np.ndarray:
    return np.frombuffer(b"".join(sha256(i.to_bytes(4, "big")).digest() for i in range(n)), np.uint8).reshape(
        -1, 32
    )


@given(st.binary(min_size=32, max_size=32))
def test_colours_by_exact_arithmetic(digest: bytes) -> None:
    words = [int.from_bytes(digest[i : i + 8], "big") for i in (0, 8, 16, 24)]
    table = np.frombuffer(digest, np.uint8)[None]
    np.testing.assert_allclose(hns.rgba_full_range(table)[0], [w / (2**64 - 1) for w in words], rtol=1e-15)
    np.testing.assert_array_equal(hns.rgba_mod_million(table)[0], [w % 10**6 / 10**6 for w in words])
    np.testing.assert_array_equal(hns.rgba_mod_milliard(table)[0], [w % 10**9 / 10**9 for w in words])


@pytest.mark.parametrize("name", hns.DECODERS)
def test_uniform_hashes_have_the_null_values(name: str) -> None:
    colours = hns.DECODERS[name](hashes(20_000))
    null = hns.colour_null(name)
    assert colours.shape == (20_000, 4)
    assert colours.mean() == pytest.approx(null.mean, abs=4 * null.sd / 80_000**0.5)
    assert colours.std() == pytest.approx(null.sd, rel=0.01)
    assert null.sd == pytest.approx(12**-0.5, abs=1e-6)


def test_the_three_decoders_do_not_agree() -> None:
    table = hashes(5000)
    colours = [decoder(table).ravel() for decoder in hns.DECODERS.values()]
    assert np.abs(np.corrcoef(colours)[np.triu_indices(3, 1)]).max() < 0.03
    with pytest.raises(ValueError, match=r"\(n, 32\)"):
        hns.rgba_full_range(np.zeros((3, 31), np.uint8))


def test_the_layer_of_five_hashes_has_the_values_that_were_called_stable() -> None:
    """Five uniform numbers: sd of the energy .645, entropy 1.43 ± .12, coherence .626 (claims.md, claim 40)."""
    colours = hns.rgba_full_range(hashes(20_000)).reshape(-1, 5, 4)
    states = [hns.layer_state(five) for five in colours]
    assert np.std([s.energy for s in states]) == pytest.approx((5 / 12) ** 0.5, rel=0.05)
    assert np.mean([s.entropy for s in states]) == pytest.approx(1.43, abs=0.01)
    assert np.std([s.entropy for s in states]) == pytest.approx(0.12, abs=0.01)
    assert np.mean([s.coherence for s in states]) == pytest.approx(0.626, abs=0.01)
    flat = hns.layer_state(np.full((4, 4), 0.5))
    assert flat.entropy == pytest.approx(log(4))
    assert flat.coherence == 1.0
    assert hns.layer_state(np.zeros((2, 4))).entropy == 0.0
