"""A stored run becomes the same steps as the arrays that it was written from."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from firmware_bridge.emulator.physics import Physics
from firmware_bridge.emulator.virtual import VirtualConfig, run_virtual, simulate
from firmware_bridge.errors import UserError
from firmware_bridge.headers import Job
from firmware_bridge.timing.intervals import load_run
from firmware_bridge.trace.importer import import_file
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.schema import MinerRow, RunRecord, ShareRow, TelemetryRow
from firmware_bridge.trace.writer import TraceWriter
from reservoir.steps import Jobs, Readings, Shares, Steps, positions, read_steps, steps_of

MS = 1_000_000
START = 1_700_000_000_000_000_001  # odd and beyond 2^53: a float would lose it


def same(a: Steps, b: Steps) -> None:
    for field in fields(Steps):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if isinstance(x, np.ndarray):
            assert np.array_equal(x, y, equal_nan=x.dtype.kind == "f"), field.name
            assert x.dtype == y.dtype, field.name
        elif field.name == "left_out":
            assert x == y
    assert a.telemetry.keys() == b.telemetry.keys()
    for name, readings in a.telemetry.items():
        assert np.array_equal(readings.time_ns, b.telemetry[name].time_ns)
        assert np.array_equal(readings.value, b.telemetry[name].value)


@pytest.mark.parametrize(
    ("config", "slots"),
    [
        (VirtualConfig(shares=400, seed=4), 1),
        (VirtualConfig(shares=400, seed=5), 3),
        (VirtualConfig(shares=400, seed=6, mode="stream", job_period_s=0.15), 1),
        (VirtualConfig(model="lv06", shares=150, seed=7, mode="stream", job_period_s=2.0), 2),
        (VirtualConfig(shares=300, seed=8, physics=Physics.off()), 1),
    ],
)
def test_a_virtual_run_read_back_is_its_arrays(config: VirtualConfig, slots: int, tmp_path: Path) -> None:
    trace = simulate(config)
    url = f"sqlite:///{tmp_path / 'lab.db'}"
    with TraceWriter(url) as writer:
        number = run_virtual(config, writer).run
    chip, core = positions(trace.to_run_data()) or (None, None)
    rows = trace.telemetry_rows()
    at = np.array([row.monotonic_ns for row in rows])
    expected = steps_of(
        Jobs(trace.job_sent_ns, trace.symbol, np.full(trace.symbol.size, config.difficulty)),
        Shares(
            job=trace.row_job,
            time_ns=trace.row_ns,
            response_ns=trace.response_ns,
            since_notify_ns=trace.since_notify_ns,
            difficulty=trace.difficulty,
            duplicate=trace.duplicate,
            chip=chip,
            core=core,
        ),
        slots=slots,
        telemetry={
            "temperature_c": Readings(at, np.array([row.temperature_c for row in rows])),
            "hash_rate_ghs": Readings(at, np.array([row.hash_rate_ghs for row in rows])),
        },
        calls="every row",
    )
    read = read_steps(TraceReader(url), number, slots=slots)
    same(read, expected)
    assert read.symbol.shape == ((trace.symbol.size - 1) // slots, slots)
    own = read.sent_ns[read.step, read.slot]
    assert np.array_equal(read.time_ns - own, read.response_ns)
    if config.mode == "swh":  # every row calls for the next job, and is what that job's symbol would know of
        told = np.concatenate([[0], trace.response_ns])[: read.heard_ns.size]
        assert np.array_equal(read.heard_ns.ravel(), told)


JOBS = Jobs(np.array([0, 100, 200, 300, 400]) * MS, np.array([0.1, 0.2, 0.3, 0.4, np.nan]))
SHARES = Shares(
    job=np.array([0, 0, 1, 0, 1, -1, 3, 4]),
    time_ns=np.array([30, 40, 160, 150, 210, 220, 390, 450]) * MS,
    duplicate=np.array([0, 0, 0, 0, 1, 0, 0, 0], bool),
)


def test_a_run_by_hand() -> None:
    steps = steps_of(JOBS, SHARES)
    assert len(steps) == 4
    assert steps.end_ns.tolist() == [100 * MS, 200 * MS, 300 * MS, 400 * MS]
    assert steps.symbol[:, 0].tolist() == [0.1, 0.2, 0.3, 0.4]
    assert steps.step.tolist() == [0, 0, 0, 1, 3]
    assert (steps.time_ns / MS).tolist() == [30, 40, 150, 160, 390]
    assert (steps.response_ns / MS).tolist() == [30, 40, 150, 60, 90]
    assert (steps.since_notify_ns / MS).tolist() == [30, 40, 50, 60, 90]
    assert (steps.heard_ns[:, 0] / MS).tolist() == [0, 30, 60, 60]  # step 2 had no share: the last one stands
    assert steps.left_out == {
        "jobs behind the last step": 1,
        "no job": 1,
        "duplicate": 1,
        "job behind the last step": 1,
    }


def test_a_first_share_that_came_late_called_for_no_job() -> None:
    late = Shares(job=np.array([0, 1]), time_ns=np.array([130, 160]) * MS)
    assert (steps_of(JOBS, late).heard_ns[:, 0] / MS).tolist() == [0, 0, 60, 60]
    assert (steps_of(JOBS, late, calls="every row").heard_ns[:, 0] / MS).tolist() == [0, 0, 60, 60]
    assert steps_of(JOBS, Shares(np.array([], int), np.array([], int))).heard_ns.tolist() == [[0]] * 4


def test_slots_make_steps_and_what_fills_none_is_counted() -> None:
    steps = steps_of(JOBS, SHARES, slots=2)
    assert steps.symbol.tolist() == [[0.1, 0.2], [0.3, 0.4]]
    assert steps.step.tolist() == [0, 0, 0, 0, 1]
    assert steps.slot.tolist() == [0, 0, 0, 1, 1]
    assert steps.end_ns.tolist() == [200 * MS, 400 * MS]
    three = steps_of(JOBS, SHARES, slots=3)
    assert three.symbol.tolist() == [[0.1, 0.2, 0.3]]
    assert three.left_out["jobs behind the last step"] == 2


def test_steps_behind_the_last_symbol_are_no_steps() -> None:
    jobs = Jobs(JOBS.sent_ns, np.array([0.1, np.nan, 0.3, np.nan, np.nan]))
    steps = steps_of(jobs, SHARES)
    assert np.array_equal(steps.symbol[:, 0], [0.1, np.nan, 0.3], equal_nan=True)
    assert steps.left_out["jobs behind the last step"] == 2


def test_what_makes_no_steps_is_said() -> None:
    with pytest.raises(UserError, match="no job of this run carries a symbol"):
        steps_of(Jobs(JOBS.sent_ns, np.full(5, np.nan)), SHARES)
    with pytest.raises(UserError, match="ends with the job after it"):
        steps_of(JOBS, SHARES, slots=5)
    with pytest.raises(UserError, match="1 slot or more"):
        steps_of(JOBS, SHARES, slots=0)
    with pytest.raises(UserError, match="order"):
        steps_of(Jobs(JOBS.sent_ns[::-1], JOBS.symbol), SHARES)


def job(symbol: float | None, difficulty: float) -> Job:
    zeros = "00" * 32
    return Job(
        "a", zeros, "01", "02", (), "20000000", "1d00ffff", "60000000", difficulty=difficulty, symbol=symbol
    )


def share(miner: int, number: int | None, at_ms: int, **other: object) -> ShareRow:
    at = START + at_ms * MS
    row = ShareRow(
        miner=miner,
        job=number,
        job_id="a",
        extranonce2="20010000",
        ntime="60000000",
        nonce="8b7746ab",
        version_bits=None,
        difficulty=512.0,
        valid=True,
        reason=None,
        kernel_ns=at,
        monotonic_ns=at - START,
        wall_ns=at + 24_000,
        interval_ns=None,
        response_ns=7 * MS,
        since_notify_ns=None,
    )
    return row._replace(**other)  # type: ignore[arg-type]


def test_a_live_run_of_two_miners(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'lab.db'}"
    with TraceWriter(url) as writer:
        run = writer.begin_run(RunRecord(kind="live", source="bridge", mode="swh"))
        run.miner(MinerRow("alice", model="s9"))
        run.miner(MinerRow("bob", model="s9"))
        sent = [(1, 0, 0.25), (2, 1, 0.5), (1, 10, 0.75), (1, 20, None)]
        numbers = [
            run.job(
                m,
                job(symbol, 256.0 + at),
                sent_wall_ns=START + at * MS,
                sent_monotonic_ns=at * MS,
            )
            for m, at, symbol in sent
        ]
        run.telemetry(TelemetryRow(1, START + 2 * MS, 2 * MS, temperature_c=50.0))
        run.telemetry(TelemetryRow(2, START + 3 * MS, 3 * MS, temperature_c=60.0))
        for row in (
            share(1, numbers[0], 9),
            share(2, numbers[1], 12),
            share(1, numbers[0], 13, valid=False, reason="stale"),
            share(1, numbers[2], 14, valid=False, reason="low-difficulty"),
            share(1, numbers[2], 15, valid=False, reason="duplicate"),
            share(1, None, 16, valid=False, reason="unknown-job"),
            share(1, numbers[2], 19, response_ns=None),
        ):
            run.share(row)
        run.end("success")
    reader = TraceReader(url)
    with pytest.raises(UserError, match=r"1 \(alice\), 2 \(bob\)"):
        read_steps(reader, run.run)
    steps = read_steps(reader, run.run, miner="alice")
    assert steps.sent_ns.tolist() == [[START], [START + 10 * MS]]
    assert steps.end_ns.tolist() == [START + 10 * MS, START + 20 * MS]
    assert steps.symbol.tolist() == [[0.25], [0.75]]
    assert steps.difficulty.tolist() == [[256.0], [266.0]]
    assert steps.time_ns.tolist() == [START + 9 * MS, START + 19 * MS]
    assert (steps.response_ns / MS).tolist() == [7, 9]  # as stored, else from the stamps
    assert steps.heard_ns.tolist() == [[0], [7 * MS]]
    assert steps.telemetry["temperature_c"].value.tolist() == [50.0]
    assert steps.left_out == {
        "stale": 1,
        "low-difficulty": 1,
        "unknown-job": 1,
        "duplicate": 1,
        "jobs behind the last step": 1,
    }
    assert steps.to_json()["shares"] == 2
    with pytest.raises(UserError, match="no miner 'carol'"):
        read_steps(reader, run.run, miner="carol")


def test_a_recording_with_symbols_and_responses(tmp_path: Path) -> None:
    """Jobs of such a recording have the sent time that their first share tells."""
    path = tmp_path / "rows.csv"
    path.write_text(
        "t,u,ms\n1000.030,0.1,30\n1000.040,0.1,40\n1000.150,0.2,50\n1000.260,0.3,60\n1000.370,0.4,70\n"
    )
    url = f"sqlite:///{tmp_path / 'lab.db'}"
    import_file(url, path, {"timestamp": "t", "symbol": "u", "since_notify_ms": "ms"})
    reader = TraceReader(url)
    steps = read_steps(reader, 1)
    assert ((steps.sent_ns[:, 0] - 10**12) / MS).tolist() == [0, 100, 200]
    assert (steps.response_ns / MS).tolist() == [30, 40, 50, 60]
    assert steps.step.tolist() == [0, 0, 1, 2]
    assert not steps.verified.any()


def test_a_recording_without_any_response_has_no_steps(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("t,u\n1000.03,0.1\n1000.15,0.2\n1000.26,0.3\n")
    url = f"sqlite:///{tmp_path / 'lab.db'}"
    import_file(url, path, {"timestamp": "t", "symbol": "u"})
    with pytest.raises(UserError, match="when its jobs were sent"):
        read_steps(TraceReader(url), 1)


def recorded(path: Path, url: str) -> None:
    import_file(url, path)
    reader = TraceReader(url)
    with pytest.raises(UserError, match="no job of this run carries a symbol"):
        read_steps(reader, 1)
    steps = read_steps(reader, 1, symbols_from="prevhash")
    data = load_run(reader, 1)
    prevhash = reader.columns(1, "jobs", ("prevhash",)).values["prevhash"]
    order = np.argsort(reader.columns(1, "jobs", ("sent_wall_ns",)).values["sent_wall_ns"], kind="stable")
    expected = [int(prevhash[i][:8], 16) / 2**32 for i in order[:-1]]
    assert steps.symbol[:, 0].tolist() == expected
    assert 0 <= steps.chip.min() <= steps.chip.max() <= 62  # 63 chips
    kept = ~data.duplicate & (data.job != order[-1] + 1)
    assert steps.time_ns.tolist() == sorted(data.time_ns[kept].tolist())
    first = np.unique(steps.step, return_index=True)[1]
    assert np.median(steps.response_ns[first]) / 1e6 == pytest.approx(
        np.median(data.first_share().values_ms), rel=0.05
    )


def test_the_excerpt_of_the_recorded_s9(excerpt: Path, tmp_path: Path) -> None:
    recorded(excerpt, f"sqlite:///{tmp_path / 'lab.db'}")


def test_the_recorded_s9(traces: Path, tmp_path: Path) -> None:
    recorded(traces / "s9_stratum_shares.csv", f"sqlite:///{tmp_path / 'lab.db'}")
