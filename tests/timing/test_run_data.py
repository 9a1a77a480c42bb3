from __future__ import annotations

import numpy as np
import pytest

from firmware_bridge.timing.intervals import hex_numbers
from firmware_bridge.timing.run_data import RunData, build_run_data

MS = 1_000_000


def two_miners() -> RunData:
    return build_run_data(
        run_id="r",
        kind="live",
        time_ns=np.array([0, 5, 10, 35, 30, 60]) * MS,
        time_source="kernel",
        miner=np.array([1, 2, 1, 2, 1, 1]),
        job=np.array([1, 2, 1, 2, 3, -1]),
        response_ns=np.array([1.0, 2.0, 3.0, np.nan, 4.0, np.nan]) * MS,
        since_notify_ns=np.arange(6) * MS,
    )


def test_intervals_never_reach_from_one_miner_to_another() -> None:
    data = two_miners()
    np.testing.assert_array_equal(data.interval_ms, [np.nan, np.nan, 10, 30, 20, 30])
    stream = data.intervals()
    assert stream.miners == (1, 2)
    np.testing.assert_array_equal(stream.segments[0], [10, 20, 30])
    np.testing.assert_array_equal(stream.segments[1], [30])
    np.testing.assert_array_equal(stream.times_ns[1], np.array([5, 35]) * MS)


def test_first_share_is_where_the_job_differs_from_the_same_miners_previous_row() -> None:
    data = two_miners()
    assert data.first_of_job.tolist() == [True, True, False, False, True, False]  # an unknown job is no first
    np.testing.assert_array_equal(data.first_share().values_ms, [1, 4, 2])


def test_a_recording_counts_from_the_newest_job() -> None:
    data = build_run_data(
        run_id="r",
        kind="recorded",
        time_ns=np.arange(3) * MS,
        time_source="wall",
        job=np.array([1, 2, 1]),
        response_ns=np.full(3, 99 * MS),
        since_notify_ns=np.array([1, 2, 3]) * MS,
    )
    np.testing.assert_array_equal(data.first_share().values_ms, [1, 2, 3])


def test_nanoseconds_stay_exact_beyond_the_53_bits_of_a_float() -> None:
    start = 1_700_000_000_123_456_789
    data = build_run_data(
        run_id="r", kind="live", time_ns=np.array([start, start + 1, start + 3]), time_source="kernel"
    )
    np.testing.assert_allclose(data.interval_ms[1:] * MS, [1, 2], rtol=1e-12)


def test_select_keeps_rows_as_they_are() -> None:
    data = two_miners()
    part = data.select(data.miner == 2)
    assert part.n == 2
    np.testing.assert_array_equal(part.interval_ms, [np.nan, 30])
    assert data.select(slice(0, 0)).intervals().values_ms.size == 0


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="job has shape"):
        build_run_data(run_id="r", kind="live", time_ns=np.arange(3), time_source="wall", job=np.arange(2))
    with pytest.raises(ValueError, match="time source"):
        build_run_data(run_id="r", kind="live", time_ns=np.arange(3), time_source="sundial")


@pytest.mark.parametrize(
    ("column", "little_endian", "numbers"),
    [
        (["20010000", "00000001"], True, [0x120, 0x01000000]),
        (["8b7746ab", "00000001"], False, [0x8B7746AB, 1]),
        (["0001", "01020304"], True, [0x0100, 0x04030201]),
        (["1", None], False, [1, 0]),
        ([], False, []),
        (["ffffffffffffffff"], True, [2**64 - 1]),
    ],
)
def test_hex_fields_become_numbers(column: list[str | None], little_endian: bool, numbers: list[int]) -> None:
    assert hex_numbers(column, little_endian=little_endian).tolist() == numbers


@pytest.mark.parametrize("column", [["0" * 18], ["xy345678"]])
def test_hex_fields_that_do_not_fit_are_refused(column: list[str]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        hex_numbers(column)
