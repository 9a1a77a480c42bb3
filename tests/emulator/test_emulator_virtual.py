"""Virtual runs: shares verify, times follow from the scan, seeds repeat, the recording's features come back."""

from __future__ import annotations

import json
import math
import sqlite3
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from header_checker import difficulty_of, swap32
from scipy import stats as scipy_stats

from firmware_bridge import headers
from firmware_bridge.emulator.model import get_model
from firmware_bridge.emulator.physics import Physics
from firmware_bridge.emulator.virtual import VirtualConfig, run_virtual, simulate
from firmware_bridge.emulator.virtual_trace import VirtualTrace
from firmware_bridge.errors import UserError
from firmware_bridge.timing.intervals import load_run
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.records import job_from_row
from firmware_bridge.trace.writer import TraceWriter

# what the tests of this file share is made by one worker
pytestmark = pytest.mark.xdist_group("virtual")

N = 3000


@pytest.fixture(scope="module")
def s9() -> VirtualTrace:
    return simulate(VirtualConfig(shares=8 * N, seed=1))


@pytest.fixture(scope="module")
def pure() -> VirtualTrace:
    return simulate(VirtualConfig(shares=2 * N, seed=2, physics=Physics.off()))


def intervals_ms(trace: VirtualTrace) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.diff(trace.row_ns) / 1e6


def write(path: Path, config: VirtualConfig) -> sqlite3.Connection:
    with TraceWriter(f"sqlite:///{path}") as writer:
        run_virtual(config, writer)
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    return connection


# ---- every share is real ----


@pytest.mark.parametrize(
    "config",
    [
        VirtualConfig(model="s9", shares=400, seed=3),
        VirtualConfig(model="s9", shares=60, seed=3, difficulty=1000.5, scale=2.0**-28, mode="stream"),
        VirtualConfig(model="lv06", shares=400, seed=3),
        VirtualConfig(model="lv06", shares=60, seed=3, mode="stream", job_period_s=5, difficulty=512),
        VirtualConfig(model="s9", shares=200, seed=3, physics=Physics.off()),
    ],
)
def test_an_independent_checker_accepts_every_stored_share(tmp_path: Path, config: VirtualConfig) -> None:
    connection = write(tmp_path / "lab.db", config)
    jobs = {
        row["job"]: {**dict(row), "merkle_branch": json.loads(row["merkle_branch"])}
        for row in connection.execute("SELECT * FROM jobs")
    }
    rows = connection.execute("SELECT * FROM shares ORDER BY id").fetchall()
    assert len(rows) == config.shares
    seen = set()
    for row in rows:
        job = jobs[row["job"]]
        real = difficulty_of(job, row["extranonce2"], row["ntime"], row["nonce"], row["version_bits"])
        assert real >= max(config.difficulty, 256.0) * config.scale * (1 - 1e-12)
        assert row["difficulty"] == pytest.approx(real / config.scale, rel=1e-12)
        assert row["ntime"] == job["ntime"]
        assert row["job_id"] == job["job_id"]
        verified = headers.verify(
            job_from_row({**job, "merkle_branch": json.dumps(job["merkle_branch"])}),
            headers.Share(row["job_id"], row["extranonce2"], row["ntime"], row["nonce"], row["version_bits"]),
        )
        assert verified.meets_job
        repeated = verified.header in seen
        seen.add(verified.header)
        assert bool(row["valid"]) is not repeated
        assert row["reason"] == ("duplicate" if repeated else None)
    assert (rows[0]["version_bits"] is None) is (config.model == "s9")


def test_nonces_of_an_s9_lie_in_its_layout(s9: VirtualTrace) -> None:
    words = np.array([swap32(int(n)) for n in s9.nonce])
    chips, cores, counters = words >> 26, words & 127, (words >> 7) & 0x7FFFF
    assert set(chips) == set(range(63))
    assert set(cores) == {*range(57), *range(64, 121)}
    assert 0.99 * 470_453 < counters.max() <= 470_453
    assert s9.extranonce2.min() == 4
    for values, cells in ((chips, 63), (cores, 114), (counters * 50 // 470_454, 50)):
        counts = np.unique(values, return_counts=True)[1]
        assert scipy_stats.chisquare(counts).pvalue > 1e-4
        assert counts.size == cells


def test_nonces_of_an_lv06_lie_in_its_layout() -> None:
    trace = simulate(VirtualConfig(model="lv06", shares=4000, seed=5, mode="stream", job_period_s=60))
    words = np.array([swap32(int(n)) for n in trace.nonce])
    assert set(words >> 25) == set(range(112))
    version = trace.version_bits >> 13
    assert set(version & 7) == set(range(8))
    # one miner job of 2 s has room for 29 batches of 8 versions of 69.18 ms
    assert version.max() // 8 == 28
    assert trace.extranonce2.max() == 29
    assert not np.any((words >> 25 == 111) & ((version & 7) == 7))


def test_a_share_comes_from_the_place_that_its_time_says(pure: VirtualTrace) -> None:
    """With nothing between chip and pool, the time since the job is the place in the scan, to a counter step."""
    words = np.array([swap32(int(n)) for n in pure.nonce])
    counter = (words >> 7) & 0x7FFFF
    place_ms = 0.23273 * (pure.extranonce2.astype(float) + 3 * (counter + 0.5) / 470_454)
    assert np.max(np.abs(pure.response_ns / 1e6 - place_ms)) < 1e-5


def test_a_lv06_share_comes_from_the_place_that_its_time_says() -> None:
    trace = simulate(VirtualConfig(model="lv06", shares=300, seed=2, physics=Physics.off()))
    words = np.array([swap32(int(n)) for n in trace.nonce])
    batch = (trace.version_bits >> 13) // 8
    place_ms = 2000.0 * trace.extranonce2.astype(float) + 864_804 * 80e-6 * (
        batch + ((words & 0x1FFFFFF) + 0.5) / 2**25
    )
    assert np.max(np.abs(trace.response_ns / 1e6 - place_ms)) < 1e-4


# ---- equal seeds, equal bytes ----


def test_equal_seeds_give_equal_bytes(tmp_path: Path) -> None:
    config = VirtualConfig(shares=500, seed=11, plants={"quality": 0.5})
    dumps = []
    for name in ("a.db", "b.db"):
        connection = write(tmp_path / name, config)
        tables = ("miners", "jobs", "shares", "telemetry", "settings", "events")
        rows = [tuple(r) for t in tables for r in connection.execute(f"SELECT * FROM {t} ORDER BY id")]
        run = dict(connection.execute("SELECT * FROM runs").fetchone())
        kept = ("kind", "source", "mode", "config", "seeds", "plants", "physics", "clock_tick_ns")
        dumps.append((rows, [run[k] for k in kept]))
    assert dumps[0] == dumps[1]
    assert simulate(replace(config, seed=12)).nonce.tolist() != simulate(config).nonce.tolist()


def test_the_stored_run_reads_back_as_the_simulated_one(tmp_path: Path) -> None:
    config = VirtualConfig(shares=800, seed=4, plants={"input": 1.5})
    write(tmp_path / "lab.db", config)
    reader = TraceReader(f"sqlite:///{tmp_path / 'lab.db'}")
    stored = load_run(reader, reader.resolve("latest"))
    drawn = simulate(config).to_run_data()
    for f in fields(stored):
        ours, theirs = getattr(drawn, f.name), getattr(stored, f.name)
        if isinstance(theirs, np.ndarray):
            np.testing.assert_array_equal(ours, theirs, err_msg=f.name)
        elif f.name not in ("run_id", "jobs"):
            assert ours == theirs, f.name
    assert drawn.jobs is not None
    assert stored.jobs is not None
    for f in fields(stored.jobs):
        np.testing.assert_array_equal(getattr(drawn.jobs, f.name), getattr(stored.jobs, f.name), f.name)
    assert stored.plants == {"input": 1.5}


# ---- the share process ----


def test_with_the_physics_off_a_run_is_poisson_in_wall_time(pure: VirtualTrace) -> None:
    x = intervals_ms(pure)
    hashes = 2**256 / (headers.target_from_difficulty(256.0 * 2.0**-32) + 1) * 2.0**32
    mean_ms = hashes / 14.518e12 * 1e3
    assert abs(x.mean() / mean_ms - 1) < 4 / math.sqrt(x.size)
    assert scipy_stats.kstest(x / mean_ms, "expon").pvalue > 1e-3
    assert abs(x.std() / x.mean() - 1) < 4 / math.sqrt(x.size)
    assert abs(np.corrcoef(x[1:], x[:-1])[0, 1]) < 4 / math.sqrt(x.size)
    assert not pure.duplicate.any()
    assert pure.row_job.tolist() == list(range(pure.n))


def test_hashes_are_fair(s9: VirtualTrace) -> None:
    once = s9.difficulty[~s9.duplicate] / 256.0
    assert scipy_stats.kstest(1 / once, "uniform").pvalue > 1e-3


def test_the_recorded_features_come_back(s9: VirtualTrace) -> None:
    """The recording: mean 97.24 ms, CV .827, CV2 .840, LV .747; 42 duplicates and 2325 jobs in 2588 rows."""
    x = intervals_ms(s9)
    cv2 = np.mean(2 * np.abs(np.diff(x)) / (x[1:] + x[:-1]))
    lv = 3 / (x.size - 1) * np.sum((np.diff(x) / (x[1:] + x[:-1])) ** 2)
    assert x.mean() == pytest.approx(97.24, rel=0.04)
    assert x.std() / x.mean() == pytest.approx(0.827, rel=0.04)
    assert cv2 == pytest.approx(0.840, rel=0.04)
    assert lv == pytest.approx(0.747, rel=0.05)
    per_recording = 2588 / s9.n
    assert 25 < s9.duplicate.sum() * per_recording < 70
    jobs = np.unique(s9.row_job).size * per_recording
    assert jobs == pytest.approx(2325, rel=0.02)
    older = np.mean(np.diff(s9.row_job) <= 0)
    assert older == pytest.approx(0.10, abs=0.02)


def test_a_duplicate_nearly_always_stands_two_rows_later(s9: VirtualTrace) -> None:
    first: dict[int, int] = {}
    gaps = []
    for i, number in enumerate(s9.row_share.tolist()):
        if number in first:
            gaps.append(i - first[number])
        first[number] = i
    assert gaps
    assert min(gaps) == 2
    assert np.mean(np.array(gaps) == 2) > 0.85


def test_first_shares_lie_on_the_recorded_line(s9: VirtualTrace) -> None:
    """The regression of statistics.md §1.3; the recording gives 21.54 ms, 0.2327 ms, R² .9997, residual sd 1.36 ms."""
    since = s9.since_notify_ns / 1e6
    extranonce2 = s9.extranonce2.astype(float)
    counter = np.array([(swap32(int(n)) >> 7) & 0x7FFFF for n in s9.nonce])
    first = np.r_[True, np.diff(s9.row_job) != 0]
    clean = first & np.r_[False, since[:-1] > 100] & (extranonce2 >= 16)
    X = np.c_[np.ones(clean.sum()), extranonce2[clean], counter[clean] / 2**19]
    coefficients, *_ = np.linalg.lstsq(X, since[clean], rcond=None)
    residual = since[clean] - X @ coefficients
    assert 1 - residual.var() / since[clean].var() > 0.999
    assert coefficients[0] == pytest.approx(21.54, abs=0.4)
    assert coefficients[1] == pytest.approx(0.2327, rel=0.002)
    assert residual.std() == pytest.approx(1.36, abs=0.3)


def test_after_a_short_interval_the_next_load_is_late(s9: VirtualTrace) -> None:
    since = s9.since_notify_ns / 1e6
    excess = since - 0.23273 * s9.extranonce2.astype(float)
    first = np.r_[False, np.diff(s9.row_job) != 0]
    before = np.r_[0, np.diff(s9.job_sent_ns[: s9.n]) / 1e6]
    late = first & (before > 18) & (before < 33)
    normal = first & (before > 100)
    assert np.median(excess[late]) - np.median(excess[normal]) == pytest.approx(32, abs=1.5)


@pytest.mark.parametrize(
    ("change", "gone"),
    [
        ({"duplicates": False}, "duplicates"),
        ({"late_loads": False}, "late"),
        ({"delay": False}, "delay"),
        ({"dead_time": False}, "dead"),
        ({"clock_tick": False}, "tick"),
        ({"thermal": False}, "thermal"),
    ],
)
def test_each_mechanism_has_its_switch(change: dict[str, bool], gone: str) -> None:
    trace = simulate(VirtualConfig(shares=N, seed=6, physics=replace(Physics(), **change)))  # type: ignore[arg-type]
    since = trace.since_notify_ns / 1e6
    excess = since - 0.23273 * trace.extranonce2.astype(float)
    first = np.r_[False, np.diff(trace.row_job) != 0]
    switched = {
        "duplicates": not trace.duplicate.any(),
        "late": not np.any(first & (excess > 45)),
        "delay": bool(np.all(np.abs(trace.row_ns / 1e6 - trace.row_found_ms) < 1e-3)),
        "dead": float(np.min(trace.response_ns / 1e6)) < 5,
        "tick": trace.tick_ns == 1,
        "thermal": bool(np.ptp(trace.temperature_c) == 0),
    }
    default = simulate(VirtualConfig(shares=N, seed=6))
    assert switched[gone]
    assert default.duplicate.any()
    assert default.tick_ns == 238
    assert np.all(default.row_ns % 238 == 0)
    assert np.ptp(default.temperature_c) > 0


def test_without_delay_the_stamp_is_the_moment_of_the_find() -> None:
    off = simulate(VirtualConfig(shares=N, seed=6, physics=replace(Physics(), delay=False, clock_tick=False)))
    on = simulate(VirtualConfig(shares=N, seed=6, physics=replace(Physics(), clock_tick=False)))
    assert np.max(np.abs(off.row_ns / 1e6 - off.row_found_ms)) < 1e-5
    waits = on.row_ns / 1e6 - on.row_found_ms
    assert waits.min() >= 0
    assert 1.5 < waits.mean() < 2.5


def test_hash_rate_changes_the_pace_of_everything() -> None:
    slow = replace(Physics.off(), hash_rate_ths=get_model("s9").capacity_ths / 10)
    trace = simulate(VirtualConfig(shares=N, seed=7, physics=slow))
    assert intervals_ms(trace).mean() == pytest.approx(757.4, rel=0.08)
    counter = np.array([(swap32(int(n)) >> 7) & 0x7FFFF for n in trace.nonce])
    place_ms = 2.3273 * (trace.extranonce2.astype(float) + 3 * (counter + 0.5) / 470_454)
    assert np.max(np.abs(trace.response_ns / 1e6 - place_ms)) < 1e-3


def test_stream_mode_sends_a_job_per_period_and_finds_several_shares_of_each() -> None:
    trace = simulate(VirtualConfig(shares=N, seed=8, mode="stream", job_period_s=2.0))
    sent_s = trace.job_sent_ns / 1e9
    np.testing.assert_allclose(np.diff(sent_s), 2.0, atol=1e-6)
    assert np.bincount(trace.row_job).mean() > 20
    assert np.all(trace.response_ns > 0)
    assert np.mean(trace.response_ns == trace.since_notify_ns) > 0.95


def test_a_run_can_be_limited_in_time() -> None:
    trace = simulate(VirtualConfig(shares=None, seconds=100.0, seed=9))
    assert trace.row_ns[-1] <= 100e9
    assert trace.row_ns[-1] > 98e9
    short = simulate(VirtualConfig(shares=10, seconds=100.0, seed=9))
    assert short.n == 10
    np.testing.assert_array_equal(short.row_ns, trace.row_ns[:10])


def test_the_temperature_wanders_slowly_around_its_mean() -> None:
    readings = Physics().temperatures(np.random.default_rng(0), 200_000)
    assert readings.mean() == pytest.approx(75.0, abs=0.15)
    assert readings.std() == pytest.approx(1.5, rel=0.05)
    assert np.corrcoef(readings[1:], readings[:-1])[0, 1] == pytest.approx(math.exp(-3 / 60), abs=0.01)


# ---- what is refused ----


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "s19"}, "there are s9, lv06"),
        ({"mode": "burst"}, "swh or stream"),
        ({"shares": None}, "--shares N or --seconds S"),
        ({"shares": 0}, "shares is above 0"),
        ({"seconds": -1.0}, "seconds is above 0"),
        ({"mode": "stream", "job_period_s": 0.0}, "job period"),
        ({"difficulty": 0.0}, "positive number"),
        ({"scale": 2.0}, "at most 1"),
        ({"scale": 2.0**-41}, "raise the difficulty or the scale"),
        ({"plants": {"moon": 1.0}}, "input .*temperature .*quality"),
        ({"model": "lv06", "difficulty": 300.5}, "whole number"),
    ],
)
def test_nonsense_is_refused_with_a_remedy(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        simulate(replace(VirtualConfig(), **change))


@pytest.mark.parametrize(
    "change",
    [
        {"load_ms": -1.0},
        {"poll_ms": 0.0},
        {"clock_tick_ns": 0},
        {"stop_at_once": 2.0},
        {"hash_rate_ths": 0.0},
    ],
)
def test_impossible_physics_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="physics"):
        replace(Physics(), **change)


def test_a_run_too_short_for_a_share_is_an_empty_run(tmp_path: Path) -> None:
    config = VirtualConfig(shares=None, seconds=0.001, seed=1)
    connection = write(tmp_path / "lab.db", config)
    assert connection.execute("SELECT count(*) FROM shares").fetchone()[0] == 0
    assert connection.execute("SELECT exit_status FROM runs").fetchone()[0] == "success"
    assert simulate(config).to_run_data().n == 0
