"""Values of registers against the tables of known ones."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.bm13xx import pll
from firmware_bridge.bm13xx import registers as r
from firmware_bridge.bm13xx.frames import NonceAnswer
from firmware_bridge.bm13xx.nonces import (
    JOBS_IN_FLIGHT,
    address_interval,
    next_job_id,
    origin,
    prevhash_field,
    reverse_words,
)
from firmware_bridge.headers import DIFFICULTY_1_TARGET, swap_words
from tests.bm13xx.test_frames import VECTORS


@pytest.mark.parametrize(("mhz", "value"), VECTORS["pll"])
def test_dividers_are_those_that_are_known(mhz: float, value: str) -> None:
    chosen = pll.choose(mhz)
    assert f"{chosen.register:08X}" == value
    assert chosen.frequency_mhz == mhz
    assert pll.decode(int(value, 16)) == chosen


@given(st.floats(40, 800))
def test_chosen_dividers_are_valid_and_as_close_as_any(mhz: float) -> None:
    chosen = pll.choose(mhz)
    assert chosen.valid
    assert pll.decode(chosen.register) == chosen
    others = [
        25 * fb / (ref * p1 * p2)
        for fb in pll.FB_RANGE
        for ref in (1, 2)
        for p1 in range(1, 8)
        for p2 in range(1, p1)
    ]
    assert abs(chosen.frequency_mhz - mhz) <= min(abs(f - mhz) for f in others) + 1e-9


@pytest.mark.parametrize(
    "value", [0, 0x50C20240 ^ 0x10000000, 0x40000240, 0x40FF0240, 0x40A00300, 0x40A00244]
)
def test_dividers_out_of_range_make_no_clock(value: int) -> None:
    assert pll.decode(value) is None


def test_another_firmware_s_dividers_are_read_as_well() -> None:
    known = pll.decode(0x50C30241)
    assert known is not None
    assert known.frequency_mhz == 243.75


def test_the_clock_is_ramped_in_steps() -> None:
    assert pll.ramp(56.25, 75.0) == [62.5, 68.75, 75.0]
    assert pll.ramp(56.25, 70.0) == [62.5, 68.75, 70.0]
    assert pll.ramp(485.0, 470.0) == [481.25, 475.0, 470.0]
    assert pll.ramp(485.0, 485.0) == [485.0]
    assert len(pll.ramp(56.25, 485.0)) == 69


@given(st.floats(56.25, 700), st.floats(56.25, 700))
def test_a_ramp_moves_by_at_most_one_step_and_ends_where_it_should(start: float, target: float) -> None:
    whole = [start, *pll.ramp(start, target)]
    assert whole[-1] == target
    assert all(abs(b - a) <= pll.RAMP_STEP_MHZ + 1e-9 for a, b in itertools.pairwise(whole))
    assert len(whole) < 110


@pytest.mark.parametrize("mhz", [0.0, -1.0, float("nan"), float("inf")])
def test_no_clock_is_refused(mhz: float) -> None:
    with pytest.raises(ValueError, match="MHz"):
        pll.choose(mhz)
    with pytest.raises(ValueError, match="MHz"):
        pll.ramp(100.0, mhz)


@pytest.mark.parametrize(("difficulty", "value"), VECTORS["ticket_masks"])
def test_ticket_masks_are_those_that_are_known(difficulty: int, value: str) -> None:
    assert f"{r.encode_ticket_mask(difficulty):08X}" == value
    assert r.decode_ticket_mask(int(value, 16)) == r.ticket_difficulty(difficulty)


def test_a_ticket_mask_with_holes_is_no_difficulty() -> None:
    assert r.decode_ticket_mask(0x00000001) is None


@pytest.mark.parametrize("difficulty", [0.0, 0.5, float("nan"), float("inf")])
def test_difficulties_that_no_chip_can_have_are_refused(difficulty: float) -> None:
    with pytest.raises(ValueError, match="difficulty 1"):
        r.encode_ticket_mask(difficulty)


@given(st.integers(0, 20), st.integers(0, 2**256 - 1), st.integers(0, 64))
def test_the_ticket_is_a_comparison_with_a_power_of_two(exponent: int, value: int, zeros: int) -> None:
    value = value >> zeros | 1
    passes = r.passes_ticket(value, r.encode_ticket_mask(2**exponent))
    assert passes == (value < 1 << 224 - exponent)
    if passes:
        assert DIFFICULTY_1_TARGET / value >= r.threshold(2**exponent)


def test_the_ticket_tests_bits_and_does_not_compare() -> None:
    only_second_bit = 0x00000040  # of the bits after the 32 zeros the second alone
    high, low = 1 << 223, 1 << 222
    assert r.passes_ticket(high, only_second_bit)
    assert not r.passes_ticket(low, only_second_bit)


@pytest.mark.parametrize(("mhz", "chips", "value"), VECTORS["hash_counting_numbers"])
def test_hash_counting_numbers_are_those_that_are_known(mhz: float, chips: int, value: str) -> None:
    assert f"{r.hash_counting_number(mhz, chips):08X}" == value


def test_the_uart_divider_gives_the_known_rates() -> None:
    assert r.fast_uart(r.WORKING_DIVIDER) == 0x11300200
    assert r.fast_uart(r.RESET_DIVIDER) == 0x01301A00
    assert r.uart_baud(0x01301A00) == pytest.approx(115_740.7, abs=0.1)
    assert r.uart_baud(0x11300200) == pytest.approx(1_041_666.7, abs=0.1)
    assert r.uart_baud(0x11300000) == 3_125_000


def test_version_rolling_covers_the_sixteen_bits() -> None:
    assert r.version_rolling(0x1FFFE000) == 0x9000FFFF
    assert r.rolled_mask(0x9000FFFF) == 0x1FFFE000
    assert r.rolled_mask(0x0000FFFF) == 0
    with pytest.raises(ValueError, match="1fffe000"):
        r.version_rolling(0x20000000)


def test_sixteen_job_ids_go_round() -> None:
    ids = [0]
    while (following := next_job_id(ids[-1])) != 0:
        ids.append(following)
    assert len(ids) == JOBS_IN_FLIGHT == 16
    assert all(i & 7 == 0 and i < 128 for i in ids)


@pytest.mark.parametrize(("chips", "interval"), [(1, 256), (2, 128), (12, 21), (128, 2)])
def test_addresses_divide_the_space(chips: int, interval: int) -> None:
    assert address_interval(chips) == interval
    for chip in range(chips):
        answer = NonceAnswer(5 << 25 | chip * interval << 17 | 77, 0, 0x2B, 3)
        found = origin(answer, chips)
        assert (found.chip, found.core, found.counter, found.small_core) == (chip, 5, 77, 3)


def test_a_field_beyond_the_last_chip_names_no_chip() -> None:
    assert origin(NonceAnswer(255 << 17, 0, 0, 0), 12).chip is None
    with pytest.raises(ValueError, match="128"):
        address_interval(129)


@given(st.binary(min_size=32, max_size=32))
def test_the_chip_s_prevhash_is_the_reversed_string(data: bytes) -> None:
    assert prevhash_field(data.hex()) == reverse_words(swap_words(data)) == data[::-1]
