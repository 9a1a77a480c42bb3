"""From a stored trace to arrays."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from firmware_bridge.errors import UserError
from firmware_bridge.headers import Job
from firmware_bridge.timing.intervals import load_run
from firmware_bridge.timing.run_data import RunData
from firmware_bridge.trace.importer import import_file
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.schema import MinerRow, RunRecord, ShareRow, TelemetryRow
from firmware_bridge.trace.writer import TraceWriter

START = 1_700_000_000_000_000_001  # odd and beyond 2^53: a float would lose it
MS = 1_000_000


def job(name: str, symbol: float | None = None) -> Job:
    zeros = "00" * 32
    return Job(
        name, zeros, "01", "02", (), "20000000", "1d00ffff", "60000000", difficulty=64.0, symbol=symbol
    )


def share(miner: int, number: int | None, at_ms: float, **other: object) -> ShareRow:
    at = START + round(at_ms * MS)
    row = ShareRow(
        miner=miner,
        job=number,
        job_id="a",
        extranonce2="20010000",
        ntime="60000000",
        nonce="8b7746ab",
        version_bits="00002000",
        difficulty=100.0,
        valid=True,
        reason=None,
        kernel_ns=at,
        monotonic_ns=at - START,
        wall_ns=at + 24_000,
        interval_ns=None,
        response_ns=5 * MS,
        since_notify_ns=None,
    )
    return row._replace(**other)  # type: ignore[arg-type]


@pytest.fixture
def stored(tmp_path: Path) -> tuple[TraceReader, int]:
    url = f"sqlite:///{tmp_path / 'lab.db'}"
    with TraceWriter(url) as writer:
        run = writer.begin_run(RunRecord(kind="live", source="bridge", mode="swh", clock_tick_ns=1))
        run.miner(MinerRow("alice", model="s9", floor=256.0))
        run.miner(MinerRow("bob", user_agent="cgminer", scale=2**-20))
        jobs = [
            run.job(m, job(f"j{k}", k / 4), sent_wall_ns=None, sent_monotonic_ns=None)
            for k, m in enumerate((1, 2, 1))
        ]
        run.telemetry(TelemetryRow(1, START + 2 * MS, None, temperature_c=50.0))
        run.telemetry(TelemetryRow(1, START + 15 * MS, None, temperature_c=60.0))
        for row in (
            share(1, jobs[0], 0),
            share(2, jobs[1], 5, difficulty=None, response_ns=None),
            share(1, jobs[0], 10, valid=False, reason="low-difficulty"),
            share(1, jobs[0], 12, valid=False, reason="duplicate"),
            share(1, jobs[2], 20),
            share(1, None, 30),
        ):
            run.share(row)
        run.end("success")
        number = run.run
    return TraceReader(url), number


def test_an_imported_recording_reads_like_its_file(traces: Path, tmp_path: Path, recording: RunData) -> None:
    url = f"sqlite:///{tmp_path / 'lab.db'}"
    result = import_file(url, traces / "s9_stratum_shares.csv")
    reader = TraceReader(url)
    loaded = load_run(reader, reader.resolve(result.run))
    unlike = {"run_id", "response_ms", "clock_tick_ns", "job_difficulty"}  # the file says nothing of these
    for field in fields(RunData):
        if field.name not in unlike:
            np.testing.assert_array_equal(
                getattr(loaded, field.name), getattr(recording, field.name), field.name
            )


def test_shares_that_verify_and_repetitions_of_them(stored: tuple[TraceReader, int]) -> None:
    data = load_run(*stored)
    assert (data.kind, data.mode, data.time_source, data.clock_tick_ns) == ("live", "swh", "kernel", 1)
    assert data.n == 5
    assert data.miner.tolist() == [1, 2, 1, 1, 1]
    assert data.duplicate.tolist() == [False, False, True, False, False]
    assert data.time_ns.tolist() == [START + ms * MS for ms in (0, 5, 12, 20, 30)]
    np.testing.assert_array_equal(data.interval_ms, [np.nan, np.nan, 12, 8, 10])
    np.testing.assert_array_equal(data.response_ms, [5, np.nan, 5, 5, 5])
    assert data.first_of_job.tolist() == [True, True, False, True, False]
    assert np.isnan(data.difficulty[1])


def test_fields_of_job_share_and_telemetry(stored: tuple[TraceReader, int]) -> None:
    data = load_run(*stored)
    assert data.extranonce2_known
    assert set(data.extranonce2.tolist()) == {0x120}
    assert set(data.nonce.tolist()) == {0x8B7746AB}
    assert set(data.version_bits.tolist()) == {0x2000}
    np.testing.assert_array_equal(data.symbol, [0.0, 0.25, 0.0, 0.5, np.nan])
    assert data.job_difficulty is not None
    np.testing.assert_array_equal(data.job_difficulty, [64, 64, 64, 64, np.nan])
    np.testing.assert_array_equal(data.temperature_c, [np.nan, np.nan, 50, 60, 60])
    assert data.jobs_sent == 3
    assert data.miners[1].floor == 256.0
    assert data.miners[2].floor is None
    assert data.miners[2].scale == 2**-20


def test_a_sensor_beside_a_miner_counts_only_where_the_miner_itself_tells_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'lab.db'}"
    with TraceWriter(url) as writer:
        run = writer.begin_run(RunRecord(kind="live", source="bridge", mode="swh", clock_tick_ns=1))
        for name in ("tells", "silent", "far"):
            run.miner(MinerRow(name))
        jobs = [run.job(m, job(f"j{m}"), sent_wall_ns=None, sent_monotonic_ns=None) for m in (1, 2, 3)]
        run.telemetry(TelemetryRow(1, START, None, temperature_c=50.0))
        for miner, celsius in (1, 30.0), (2, 40.0), (None, 20.0):
            run.telemetry(TelemetryRow(miner, START + MS, None, temperature_c=celsius, source="probe"))
        for miner in (1, 2, 3):
            run.share(share(miner, jobs[miner - 1], 2 * miner))
        run.end("success")
        number = run.run
    data = load_run(TraceReader(url), number)
    np.testing.assert_array_equal(data.temperature_c, [50.0, 40.0, np.nan])


@pytest.mark.parametrize("name", [2, "2", "bob"])
def test_one_miner(stored: tuple[TraceReader, int], name: int | str) -> None:
    data = load_run(*stored, name)
    assert data.n == 1
    assert list(data.miners) == [2]
    assert data.jobs_sent == 1


def test_an_unknown_miner_is_named_with_those_there_are(stored: tuple[TraceReader, int]) -> None:
    with pytest.raises(UserError, match=r"no miner 'carol'.*1 \(alice\), 2 \(bob\)"):
        load_run(*stored, "carol")


def test_timing_only_has_the_same_times(stored: tuple[TraceReader, int]) -> None:
    full, fast = load_run(*stored), load_run(*stored, timing_only=True)
    np.testing.assert_array_equal(full.time_ns, fast.time_ns)
    np.testing.assert_array_equal(full.interval_ms, fast.interval_ms)
    assert not fast.extranonce2_known


def test_the_best_stamp_that_all_shares_have(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'lab.db'}"

    def load(*rows: ShareRow) -> RunData:
        with TraceWriter(url) as writer:
            run = writer.begin_run(RunRecord(kind="live", source="bridge"))
            run.miner(MinerRow("alice"))
            for row in rows:
                run.share(row)
            run.end("success")
            number = run.run
        return load_run(TraceReader(url), number)

    data = load(share(1, None, 0), share(1, None, 10, kernel_ns=None))
    assert data.time_source == "monotonic"
    assert data.rows_left_out == 0
    data = load(share(1, None, 0, kernel_ns=None, monotonic_ns=None), share(1, None, 10, kernel_ns=None))
    assert data.time_source == "wall"
    broken = {"kernel_ns": None, "monotonic_ns": None, "wall_ns": None}
    data = load(share(1, None, 0), share(1, None, 5, **broken), share(1, None, 9))
    assert (data.time_source, data.n, data.rows_left_out) == ("kernel", 2, 1)


def test_an_extranonce2_too_long_for_a_number_keeps_the_timing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'lab.db'}"
    with TraceWriter(url) as writer:
        run = writer.begin_run(RunRecord(kind="live", source="bridge"))
        run.miner(MinerRow("alice"))
        run.share(share(1, None, 0, extranonce2="00" * 12))
        run.end("success")
        number = run.run
    data = load_run(TraceReader(url), number)
    assert data.n == 1
    assert not data.extranonce2_known


def test_shares_of_jobs_that_are_not_stored_are_read_without_a_symbol(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'lab.db'}"
    with TraceWriter(url) as writer:
        run = writer.begin_run(RunRecord(kind="live", source="bridge", mode="swh", clock_tick_ns=1))
        run.miner(MinerRow("alice", model="s9", floor=256.0))
        run.shares([share(1, 7, 10.0 * n) for n in range(1, 5)])
        run.end("success")
    data = load_run(TraceReader(url), 1)
    assert data.n == 4
    assert np.isnan(data.symbol).all()
