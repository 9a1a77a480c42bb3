"""What is written is read back, to the last nanosecond and with its NULLs."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge.errors import UserError
from firmware_bridge.headers import Job
from firmware_bridge.trace import fast, manage
from firmware_bridge.trace import reader as reader_module
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.records import JOB_COLUMNS, job_from_row, job_row
from firmware_bridge.trace.schema import MinerRow, RunRecord, ShareRow, TelemetryRow, metadata
from firmware_bridge.trace.writer import TraceWriter

NS = st.none() | st.integers(-(2**63), 2**63 - 1)
HEX = st.none() | st.text("0123456789abcdef", max_size=16)
TEXT = st.none() | st.text(max_size=12)
REAL = st.none() | st.floats(allow_nan=False)
SMALL = st.none() | st.integers(1, 2**31 - 1)
SHARE = st.builds(
    ShareRow, st.integers(1, 9), SMALL, TEXT, HEX, HEX, HEX, HEX, REAL,
    st.sampled_from([None, True, False]), TEXT, NS, NS, NS, NS, NS, NS,
)  # fmt: skip
NAMES = list(ShareRow._fields)


def write(url: str, rows: list[ShareRow], **record: Any) -> str:
    with TraceWriter(url) as writer:
        run = writer.begin_run(RunRecord(kind="live", source="bridge", **record))
        run.miner(MinerRow("one"))
        run.shares(rows[: len(rows) // 2])
        for row in rows[len(rows) // 2 :]:
            run.share(row)
        run.end("success")
    return run.run_id


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype == np.float64)


@settings(max_examples=30, deadline=None)
@given(rows=st.lists(SHARE, max_size=40))
def test_rows_survive_and_both_readers_agree(
    rows: list[ShareRow], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("t") / "lab.db"
    write(f"sqlite:///{path}", rows)
    reader = TraceReader(f"sqlite:///{path}")
    assert list(reader.share_rows(1, chunk=7)) == rows
    assert reader.count(1) == len(rows)
    if fast.available():
        table = metadata.tables["shares"]
        values, null = fast.read(path, table, NAMES, ["shares.run = 1"]) or pytest.fail("ADBC gave up")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fast, "available", lambda: False)
            slow = reader.columns(1, "shares", NAMES)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(reader_module, "HALVED_ROWS", 2)
            halved = reader.columns(1, "shares", NAMES)
        for name in NAMES:
            assert same(halved.values[name], slow.values[name]), name
            assert same(halved.null[name], slow.null[name]), name
            assert same(values[name], slow.values[name]), name
            assert same(null[name], slow.null[name]), name
            expected = [getattr(row, name) is None for row in rows]
            assert slow.null[name].tolist() == expected


@pytest.mark.parametrize("columnar", [True, False])
def test_stretches_lie_evenly_in_a_run_and_hold_no_more_than_asked(
    tmp_path: Path, columnar: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not columnar:
        monkeypatch.setattr(fast, "available", lambda: False)
    base = ShareRow(1, *[None] * 15)
    for _ in range(2):
        write(str(tmp_path / "lab.db"), [base._replace(wall_ns=i) for i in range(1003)])
    reader = TraceReader(str(tmp_path / "lab.db"))
    assert reader.stretches(2, 1003) is None
    for most in (1, 7, 50, 400, 999, 1002):
        found = reader.columns(2, "shares", ["wall_ns"], stretches=reader.stretches(2, most)).values[
            "wall_ns"
        ]
        assert 0 < found.size <= most
        assert (np.diff(found) > 0).all()
        if most >= 50:
            assert found.size > 0.9 * most
            assert found[-1] > 1003 * 0.89


def test_nanoseconds_above_2_to_53_stay_exact_beside_nulls(tmp_path: Path) -> None:
    base = ShareRow(1, *[None] * 15)
    stamps = [None, 1_700_000_000_123_456_789, 2**53 + 1, None, -(2**62) - 1]
    write(str(tmp_path / "lab.db"), [base._replace(kernel_ns=s) for s in stamps])
    reader = TraceReader(str(tmp_path / "lab.db"))
    read = reader.columns(1, "shares", ["kernel_ns"])
    assert read.values["kernel_ns"].tolist() == [s or 0 for s in stamps]
    assert read.null["kernel_ns"].tolist() == [s is None for s in stamps]
    frame = reader.frame(1, "shares")
    assert str(frame["kernel_ns"].dtype) == "Int64"
    assert [None if v is frame["kernel_ns"].dtype.na_value else int(v) for v in frame["kernel_ns"]] == stamps


def test_columns_that_start_with_many_nulls_keep_their_type(tmp_path: Path) -> None:
    base = ShareRow(1, *[None] * 15)
    rows = [base] * 3000 + [base._replace(difficulty=1.5, nonce="00ff", kernel_ns=7, valid=True)]
    write(str(tmp_path / "lab.db"), rows)
    read = TraceReader(str(tmp_path / "lab.db")).columns(1, "shares", NAMES)
    assert read.values["difficulty"][-1] == 1.5
    assert read.values["nonce"][-1] == "00ff"
    assert read.values["kernel_ns"].dtype == np.int64
    assert read.values["valid"].dtype == np.bool_


def test_jobs_miners_telemetry_settings_and_events_come_back(tmp_path: Path) -> None:
    job = Job(
        "7f", "ab" * 32, "01", "02", ("cd" * 32, "ef" * 32), "20000000", "1d00ffff", "69637392", "0000ffff",
        4, False, 256.0, 2**-20, 0x1FFFE000, 0.25, {"version": "20002000"},
    )  # fmt: skip
    url = str(tmp_path / "lab.db")
    with TraceWriter(url) as writer:
        run = writer.begin_run(RunRecord(kind="live", source="bridge"))
        miner = run.miner(MinerRow("?", user_agent="cgminer/4"))
        run.update_miner(miner, name="w.1")
        assert run.job(miner, job, sent_wall_ns=5, sent_monotonic_ns=6) == 1
        run.jobs([job_row(2, None, job, sent_wall_ns=None, sent_monotonic_ns=None)])
        assert run.job(miner, job, sent_wall_ns=None, sent_monotonic_ns=None) == 3
        run.telemetry(TelemetryRow(miner, 1, 2, temperature_c=60.5))
        run.setting(
            miner=miner, wall_ns=1, setting="frequency_mhz", previous="500", requested="525",
            measured="525", reason="sweep",
        )  # fmt: skip
        run.event("clock_step", "warning", {"step_ns": -5}, wall_ns=3, monotonic_ns=4)
        run.update(jitter_floor={"p50_ns": 24_000})
        run.end("abort", "Ctrl-C")
    reader = TraceReader(url)
    first, second, third = reader.dicts(1, "jobs")
    assert tuple(first) == JOB_COLUMNS
    assert job_from_row(first) == job
    assert job_from_row(first).symbol_fields == job.symbol_fields
    assert [(r["job"], r["miner"], r["sent_wall_ns"]) for r in (first, second, third)] == [
        (1, 1, 5), (2, None, None), (3, 1, None),
    ]  # fmt: skip
    assert reader.dicts(1, "miners")[0]["name"] == "w.1"
    assert reader.dicts(1, "telemetry")[0]["temperature_c"] == 60.5
    assert reader.dicts(1, "settings")[0]["requested"] == "525"
    assert reader.dicts(1, "events")[0]["detail"] == '{"step_ns": -5}'
    record = reader.run(1)
    assert (record["exit_status"], record["exit_reason"]) == ("abort", "Ctrl-C")
    assert record["jitter_floor"] == {"p50_ns": 24_000}
    assert record["versions"]["numpy"]
    assert record["host"]["cpus"]
    assert record["clock_tick_ns"] > 0


def test_two_runs_at_once_keep_their_own_shares(tmp_path: Path) -> None:
    url = str(tmp_path / "lab.db")
    base = ShareRow(1, *[None] * 15)
    with TraceWriter(url) as writer:
        runs = [writer.begin_run(RunRecord(kind="live", source="bridge")) for _ in range(3)]
        for i in range(100):
            for k, run in enumerate(runs[:2]):
                run.share(base._replace(wall_ns=1000 * k + i))
        for run in runs:
            run.end("success")
    reader = TraceReader(url)
    assert [r.wall_ns for r in reader.share_rows(1)] == list(range(100))
    assert reader.columns(2, "shares", ["wall_ns"]).values["wall_ns"].tolist() == list(range(1000, 1100))
    assert reader.runs()["shares"].tolist() == [100, 100, 0]


def test_runs_are_named_by_id_prefix_or_latest(tmp_path: Path) -> None:
    url = str(tmp_path / "lab.db")
    with TraceWriter(url) as writer:
        for run_id in ("ab12", "ab34", "cd"):
            writer.begin_run(RunRecord(kind="live", source="bridge", run_id=run_id)).end("success")
        with pytest.raises(UserError, match="ab12 already"):
            writer.begin_run(RunRecord(kind="live", source="bridge", run_id="ab12"))
    reader = TraceReader(url)
    assert [reader.resolve(n) for n in ("ab12", "ab3", "c", "latest", "-")] == [1, 2, 3, 3, 3]
    with pytest.raises(UserError, match="fits 2 runs"):
        reader.resolve("ab")
    with pytest.raises(UserError, match="no run 'x'"):
        reader.resolve("x")


def test_a_reader_works_while_a_writer_writes(tmp_path: Path) -> None:
    url = str(tmp_path / "lab.db")
    base = ShareRow(1, *[None] * 15)
    stop = threading.Event()
    seen: list[int] = []
    with TraceWriter(url) as writer:
        run = writer.begin_run(RunRecord(kind="live", source="bridge"))

        def produce() -> None:
            n = 0
            while not stop.is_set():
                for _ in range(50):
                    run.share(base._replace(wall_ns=n))
                    n += 1
                run.flush()

        thread = threading.Thread(target=produce)
        thread.start()
        try:
            reader = TraceReader(url)
            deadline = time.monotonic() + 120
            while len(seen) < 30 or seen[-1] == seen[0]:
                assert time.monotonic() < deadline, "the writer wrote nothing more"
                stamps = reader.columns(1, "shares", ["wall_ns"]).values["wall_ns"]
                assert stamps.tolist() == list(range(len(stamps)))
                seen.append(len(stamps))
        finally:
            stop.set()
            thread.join()
        run.end("success")
    assert seen == sorted(seen)
    assert seen[-1] > seen[0]


@pytest.fixture(params=["sqlite+pysqlite", pytest.param("server", marks=pytest.mark.xdist_group("postgres"))])
def other_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database that is not a file of the standard library's SQLite."""
    if request.param == "server":
        return str(request.getfixturevalue("server_url"))
    return f"sqlite+pysqlite:///{tmp_path / 'lab.db'}"


def test_any_other_sqlalchemy_url_works_too(other_url: str) -> None:
    base = ShareRow(1, *[None] * 15)
    committed: list[object] = []
    with TraceWriter(other_url, on_commit=committed.extend) as writer:
        run = writer.begin_run(RunRecord(kind="live", source="bridge", config={"password": "hunter2"}))
        miner = run.miner(MinerRow("one"))
        run.update_miner(miner, name="half \ud800 and nul \0")
        for i in range(300):
            run.share(base._replace(wall_ns=2**60 + i, valid=True, job_id="a\ud800b\0"), token=i)
        run.end("success")
    assert committed == list(range(300))
    reader = TraceReader(other_url)
    number = reader.resolve("latest")
    record = reader.run(number)
    assert record["last_share_id"] - record["first_share_id"] == 299
    assert record["config"] == {"password": "***"}
    read = reader.columns(number, "shares", ["wall_ns", "kernel_ns"])
    assert read.values["wall_ns"].tolist() == [2**60 + i for i in range(300)]
    assert read.null["kernel_ns"].all()
    assert {(row.valid, row.job_id) for row in reader.share_rows(number)} == {(True, "a?b\ufffd")}
    assert reader.dicts(number, "miners")[0]["name"] == "half ? and nul \ufffd"
    merged = manage.merge(other_url, [record["run_id"], _second_run(other_url)])
    assert merged["shares"] == 301
    assert manage.remove(other_url, merged["run"])["shares"] == 301


def _second_run(url: str) -> str:
    with TraceWriter(url) as writer:
        run = writer.begin_run(RunRecord(kind="live", source="bridge"))
        run.share(ShareRow(1, *[None] * 15))
        run.end("success")
    return run.run_id


def test_what_is_no_trace_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such trace; name one with --db"):
        TraceReader(str(tmp_path / "none.db"))
    csv = tmp_path / "shares.csv"
    csv.write_text("timestamp,nonce\n1,2\n")
    with pytest.raises(UserError, match=r"shares\.csv is not a SQLite database"):
        TraceReader(str(csv))
    with pytest.raises(UserError, match="is a folder"):
        TraceReader(str(tmp_path))
    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE t (a)")
    connection.close()
    with pytest.raises(UserError, match="holds no trace"):
        TraceReader(str(other))
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    with pytest.raises(UserError, match=r"damaged\.db is not a"):
        TraceReader(str(damaged))
    with pytest.raises(UserError, match="database URL"):
        TraceReader("://")
    with pytest.raises(UserError, match="needs a file"):
        TraceReader("sqlite://")
    with pytest.raises(UserError, match="no driver"):
        TraceReader("nosuchdb://x/y")
