"""The verdict: evidence where something was planted, none where nothing was, and when nobody can tell."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.tpf_leakage import (
    FOUND_AT,
    PLANTED,
    count_evidence,
    dataset_of,
    emulation,
    not_read_note,
    report_of_emulation,
    write_run,
)
from firmware_bridge.emulator.virtual import simulate
from firmware_bridge.errors import UserError
from firmware_bridge.timing.run_data import RunData
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.writer import TraceWriter
from tpf.csv_dataset import read_csv
from tpf.dataset import Dataset, Feature
from tpf.planting import with_delayed_successes
from tpf.report import LeakageReport, evaluate
from tpf.run_dataset import NOT_READ, read_dataset, run_dataset
from tpf.statistics.battery import TESTS, run_battery

SLOW_NULL = range(20_000, 20_015)
SLOW_PLANTED = range(30_000, 30_010)


@pytest.fixture(scope="module")
def quiet() -> RunData:
    return simulate(emulation("s9", {}, 1, 2588)).to_run_data()


@pytest.fixture(scope="module")
def planted() -> LeakageReport:
    return report_of_emulation(emulation("s9", {PLANTED: 40.0}, 1, 2588))


@pytest.fixture(scope="module")
def silent(quiet: RunData) -> LeakageReport:
    return evaluate(run_dataset(quiet))


# ---- the table of a run ----


def test_a_run_becomes_one_row_per_share_that_is_no_duplicate(quiet: RunData) -> None:
    table = run_dataset(quiet)
    rows = table.row - 1
    assert table.n == int((~quiet.duplicate).sum()) < quiet.n
    assert table.left_out == {"duplicate": int(quiet.duplicate.sum())}
    assert table.threshold == 1024.0
    np.testing.assert_array_equal(table.y, quiet.difficulty[rows] >= 1024)
    at = table.names.index
    np.testing.assert_array_equal(table.X[:, at("response_ms")], quiet.response_ms[rows])
    np.testing.assert_array_equal(table.X[:, at("interval_ms")], quiet.interval_ms[rows])
    past = [quiet.interval_ms[i - 10 : i].mean() for i in rows[20:40]]
    np.testing.assert_allclose(table.X[20:40, at("past_mean_interval_ms")], past)
    assert {"chip", "core", "counter", "extranonce2", "scan_residual_ms", "temperature_c"} <= set(table.names)
    assert all(feature.last <= 0 for feature in table.features)


def test_no_feature_knows_its_hash_or_later_rows(quiet: RunData) -> None:
    """Other hashes change no feature; what comes after row 1500 changes none before it."""
    table = run_dataset(quiet)
    other = replace(quiet, difficulty=np.random.default_rng(0).permutation(quiet.difficulty))
    np.testing.assert_array_equal(run_dataset(other).X, table.X)
    rng = np.random.default_rng(1)
    late = np.arange(quiet.n) >= 1500
    noise = np.where(late, rng.exponential(300.0, quiet.n), 0.0)
    later = replace(
        quiet,
        interval_ms=quiet.interval_ms + noise,
        response_ms=quiet.response_ms + noise,
        temperature_c=quiet.temperature_c + noise,
    )
    before = table.row - 1 < 1500
    np.testing.assert_array_equal(run_dataset(later).X[before], table.X[before])
    assert (run_dataset(later).X[~before] != table.X[~before]).any()


def test_the_scan_residual_is_what_the_scan_leaves(quiet: RunData) -> None:
    table = run_dataset(quiet)
    left = table.X[:, table.names.index("scan_residual_ms")]
    known = left[~np.isnan(left)]
    assert np.isnan(left[:200]).all()
    assert 1.4826 * np.median(np.abs(known - np.median(known))) < 3.0
    assert np.nanstd(table.X[:, 0]) > 50


def test_of_a_long_run_stretches_are_read_whose_rows_are_those_of_the_whole(tmp_path: Path) -> None:
    with TraceWriter(f"sqlite:///{tmp_path}/lab.db") as writer:
        write_run(emulation("s9", {}, 4, 500), writer)
        write_run(emulation("s9", {}, 1, 3000), writer)  # ids do not start at 1
    reader = TraceReader(f"sqlite:///{tmp_path}/lab.db")
    run = reader.resolve("latest")
    whole, some = read_dataset(reader, run), read_dataset(reader, run, most=1200)
    assert read_dataset(reader, run, most=3000).left_out == whole.left_out
    assert some.left_out[NOT_READ] == 1800
    assert "1800 shares of this long run were not read" in (not_read_note(some.left_out) or "")
    assert not_read_note(whole.left_out) is None
    assert some.n + sum(some.left_out.values()) == 3000
    jumps = np.flatnonzero(np.diff(some.row) > 100)
    assert jumps.size == 9  # ten stretches of 120 shares, from the beginning to the end
    assert some.row[0] == 12
    assert some.row[-1] > 2750
    at = np.searchsorted(whole.row, some.row)
    np.testing.assert_array_equal(whole.row[at], some.row)
    np.testing.assert_array_equal(whole.y[at], some.y)
    for name in some.names:
        if name != "scan_residual_ms":  # its model saw fewer rows
            mine, its = some.X[:, some.names.index(name)], whole.X[at, whole.names.index(name)]
            np.testing.assert_allclose(mine, its, err_msg=name)


def test_thresholds_and_the_emulators_truth(quiet: RunData) -> None:
    assert run_dataset(quiet, threshold=512).positives > 2 * run_dataset(quiet).positives - 50
    with pytest.raises(UserError, match="no planted effect"):
        run_dataset(quiet, truth=True)
    moved = simulate(emulation("s9", {PLANTED: 40.0}, 3, 600)).to_run_data()
    truth = run_dataset(moved, truth=True, threshold=300)
    np.testing.assert_array_equal(truth.y, moved.difficulty[truth.row - 1] > 1024)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda d: d.select(slice(0, 0)), "no share"),
        (lambda d: replace(d, unverified=True), "arrival times only"),
        (lambda d: replace(d, miner=np.arange(d.n, dtype=np.int32) % 2), "--miner"),
        (
            lambda d: replace(d, job_difficulty=None, miners={1: replace(d.miners[1], floor=None)}),
            "--threshold",
        ),
    ],
)
def test_a_run_without_a_label_is_refused_with_a_reason(quiet: RunData, change, why: str) -> None:
    with pytest.raises(UserError, match=why):
        run_dataset(change(quiet))


# ---- verdicts ----


def test_a_planted_delay_is_evidence(planted: LeakageReport) -> None:
    assert planted.verdict.code == "evidence"
    assert planted.replicated
    assert [test.name for test in planted.tests] == list(TESTS)
    first = next(test for test in planted.tests if test.name == "tvla_first_order")
    assert first.lead == "scan_residual_ms"
    assert first.effect > 5 * (first.detectable_effect or np.inf)
    assert first.detail["standard_met"]
    assert first.ci is not None
    assert first.ci[0] < first.effect < first.ci[1]
    held = planted.certificate
    assert held is not None
    assert held.trials == held.baseline[1]
    assert held.correct > held.baseline[0] + 5 * np.sqrt(held.trials)
    assert not planted.audit.leaks


def test_nothing_planted_is_no_evidence_and_says_what_would_have_been_found(silent: LeakageReport) -> None:
    assert silent.verdict.code == "no_evidence"
    assert "detectable effect = a mean delay of" in silent.verdict.text
    assert 0 < silent.detectable["delay_ms"] < 10
    for test in silent.tests:
        assert 0 < test.p_value <= test.p_corrected <= 1
        assert test.detectable_effect is not None
        assert abs(test.effect) < 2 * test.detectable_effect
        assert test.ci is not None
    held = silent.certificate
    assert held is not None
    assert held.correct <= held.baseline[0] + 3 * np.sqrt(held.trials)


def test_equal_seeds_give_equal_reports(quiet: RunData) -> None:
    table = run_dataset(quiet).rows(slice(0, 600))
    reports = [evaluate(table, seed=seed, permutations=99).to_json() for seed in (1, 1, 2)]
    assert reports[0] == reports[1] != reports[2]


def test_the_number_of_threads_changes_nothing(quiet: RunData) -> None:
    for delay in (0.0, 40.0):
        table = run_dataset(with_delayed_successes(quiet, delay, 1024.0)).rows(slice(0, 600))
        one, three = (
            run_battery(table, alpha=0.05, seed=3, permutations=199, workers=workers) for workers in (1, 3)
        )
        assert repr(one.tests) == repr(three.tests)
        assert any(test.halves is not None for test in one.tests) == (delay > 0)


def test_a_classifier_that_finds_nothing_is_no_worse_for_a_mean(silent: LeakageReport) -> None:
    areas = [test.statistic for test in silent.tests if test.name.startswith("auc_")]
    assert len(areas) == 3
    assert all(0.4 < area < 0.6 for area in areas)


@pytest.mark.costly
def test_the_recording_of_the_s9_gives_no_evidence_and_the_planted_copy_does(traces: Path) -> None:
    file = str(traces / "s9_stratum_shares.csv")
    table = dataset_of(file, "unused")
    assert (table.n, table.positives, table.threshold) == (2546, 670, 1024.0)
    report = evaluate(table)
    assert report.verdict.code == "no_evidence"
    assert report.left_out == {"duplicate": 42}
    assert evaluate(dataset_of(file, "unused", delay_ms=40.0)).verdict.code == "evidence"


def test_a_planted_copy_moves_successes_alone_and_is_in_order(quiet: RunData) -> None:
    moved = with_delayed_successes(quiet, 40.0, 1024.0)
    assert (np.diff(moved.time_ns) >= 0).all()
    back = np.lexsort((moved.difficulty, moved.nonce))
    here = np.lexsort((quiet.difficulty, quiet.nonce))
    good = quiet.difficulty[here] > 1024
    np.testing.assert_array_equal(moved.time_ns[back] - quiet.time_ns[here], np.where(good, 40_000_000, 0))
    np.testing.assert_allclose(moved.response_ms[back] - quiet.response_ms[here], np.where(good, 40.0, 0.0))
    np.testing.assert_allclose(moved.interval_ms[1:], np.diff(moved.time_ns) / 1e6)
    assert moved.plants == {PLANTED: 40.0}
    assert quiet.plants == {}


def test_tables_of_the_paper_cannot_tell(traces: Path) -> None:
    windows = evaluate(read_csv(traces / "lv06_windows.csv", "label"))
    assert windows.verdict.code == "cannot_tell"
    assert "150 rows" in windows.verdict.text
    assert {leak.feature for leak in windows.audit.leaks} == {"window_shares", "jitter_mean", "jitter_std"}
    single = evaluate(read_csv(traces / "s9_published_labels.csv", "label"))
    assert single.verdict.code == "cannot_tell"
    assert "single class" in single.verdict.text
    assert single.tests == ()


def test_a_leak_is_no_evidence() -> None:
    rng = np.random.default_rng(0)
    n = 1500
    y = rng.random(n) < 0.3
    X = np.c_[rng.standard_normal(n), np.where(y, 1.0, -1.0) * rng.random(n)]
    from tpf.dataset import Feature

    table = Dataset(
        "t",
        X,
        y,
        (Feature("own", "column"), Feature("leaky", "column")),
        "success",
        np.arange(1, n + 1),
        gap=3,
    )
    report = evaluate(table)
    assert report.verdict.code == "no_evidence"
    assert [leak.feature for leak in report.audit.leaks] == ["leaky"]
    assert "as of the row before" in report.verdict.text


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda t: t.rows(slice(0, 400)), "400 rows"),
        (lambda t: replace(t, clock_tick_ms=50.0), "ticks every 50 ms"),
        (lambda t: replace(t, y=np.arange(t.n) % 80 == 0), "of the rarer class"),
        (lambda t: t.only([]), "no feature varies"),
    ],
)
def test_silence_of_too_little_is_not_no_evidence(quiet: RunData, change, why: str) -> None:
    report = evaluate(change(run_dataset(quiet)), permutations=99)
    assert report.verdict.code == "cannot_tell"
    assert why in report.verdict.text


# ---- over many runs ----


@pytest.mark.slow
def test_false_alarms_and_power_over_many_runs() -> None:
    assert count_evidence(SLOW_NULL, {}) <= 3  # of 15; the study of 200 has none
    assert count_evidence(SLOW_PLANTED, {PLANTED: 40.0}) == len(SLOW_PLANTED)
    assert count_evidence(SLOW_PLANTED, FOUND_AT) >= 6  # of 10 at power 0.9


# ---- what looks like an effect and is none ----


def changing_difficulty(data: RunData, asked: np.ndarray) -> RunData:  # type: ignore[type-arg]
    """The same shares at a pool that asks for another difficulty now and then."""
    none = {number: replace(info, floor=None) for number, info in data.miners.items()}
    data = replace(data, job_difficulty=asked.astype(np.float64), miners=none)
    data = data.select(data.difficulty >= data.job_difficulty)
    interval_ms = np.r_[np.nan, np.diff(data.time_ns) / 1e6]
    return replace(data, interval_ms=interval_ms)


def test_a_pool_that_changes_its_difficulty_is_no_effect_of_timing() -> None:
    data = simulate(emulation("s9", {}, 2, 6000)).to_run_data()
    at = np.arange(data.n)
    uneven = changing_difficulty(data, 256 * 2 ** (at // 20 % 2))
    # at one limit for all, shares of harder jobs succeed more often, and come later
    fixed = replace(uneven, job_difficulty=np.full(uneven.n, 256.0))
    assert evaluate(run_dataset(fixed)).verdict.code == "evidence"
    table = run_dataset(uneven)
    assert table.threshold is None
    assert table.label == "verified difficulty >= 4 times what its job asked for"
    assert table.positives / table.n == pytest.approx(0.25, abs=0.03)
    assert evaluate(table).verdict.code == "no_evidence"
    table = run_dataset(uneven, threshold=2048.0)
    assert table.positives / table.n == pytest.approx(0.25, abs=0.04)
    assert table.left_out["not asked for by every job"] > 1000
    assert evaluate(table).verdict.code == "no_evidence"


@pytest.mark.parametrize("seed", [3, 5, 6])
def test_labels_that_come_in_runs_beside_a_drift_are_no_evidence(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 2000
    y = np.cumsum(rng.random(n) < 1 / 50) % 2 == 1
    X = np.c_[40 + 5 * np.arange(n) / n + 0.05 * rng.normal(size=n), rng.normal(size=n)]
    names = tuple(Feature(name, "column") for name in ("temperature", "noise"))
    report = evaluate(Dataset("table", X, y, names, "success", np.arange(n), gap=3), seed=seed)
    assert report.verdict.code == "cannot_tell"
    assert "long runs" in report.verdict.text
    assert report.left_out["labels come in runs"] > n / 2


def test_classes_that_were_recorded_apart_cannot_be_judged() -> None:
    rng = np.random.default_rng(7)
    y = np.arange(2000) >= 900
    X = (rng.normal(size=2000) + y)[:, None]
    report = evaluate(Dataset("table", X, y, (Feature("x", "column"),), "success", np.arange(2000), gap=3))
    assert report.verdict.code == "cannot_tell"
    assert "one after the other" in report.verdict.text


def test_a_limit_that_is_no_number_is_refused() -> None:
    with pytest.raises(UserError, match="finite number"):
        dataset_of("latest", "sqlite://", threshold=float("nan"))
