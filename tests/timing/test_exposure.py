"""Work across the ends of jobs, against Poisson processes that are drawn another way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scan_runs import s9_run
from scipy.stats import expon, kstest

from firmware_bridge.emulator.virtual import VirtualConfig, simulate
from firmware_bridge.timing.association import memory_test
from firmware_bridge.timing.exposure import (
    Windows,
    dead_fraction,
    ended_by_shares,
    place_in_job,
    unfinished_work,
    up_to_last_share,
    weights,
    windows,
    without_gaps,
    work_between_shares,
    work_within_jobs,
)
from firmware_bridge.timing.run_data import FloatArray, IntArray, JobTimes, RunData, build_run_data
from firmware_bridge.timing.scan import ScanAlignment, align
from firmware_bridge.timing.verdict import judge

MEAN_MS = 100.0


def cut_process(
    lengths_ms: FloatArray, seed: int, weight: FloatArray | float = 1.0
) -> tuple[IntArray, FloatArray]:
    """Job and work of each share: as many per job as Poisson's law says, anywhere in it."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(lengths_ms * weight / MEAN_MS)
    job = np.repeat(np.arange(lengths_ms.size), counts)
    return job, rng.uniform(0.0, lengths_ms[job])


def whole(lengths_ms: FloatArray, weight: FloatArray | None = None) -> Windows:
    n = lengths_ms.size
    return Windows(np.arange(n), np.zeros(n), lengths_ms, np.ones(n) if weight is None else weight)


def aligned(work_ms: FloatArray, *, dead_ms: float = 0.0) -> ScanAlignment:
    n = work_ms.size
    return ScanAlignment(
        rows=np.arange(n),
        work_ms=work_ms,
        residual_ms=np.zeros(n),
        on_time=np.ones(n, bool),
        dead_ms=dead_ms,
        spread_ms=0.0,
        coefficients=np.zeros(3),
        r2=1.0,
    )


def run_of(job: IntArray, **columns: object) -> RunData:
    return build_run_data(
        run_id="t", kind="live", time_ns=np.arange(job.size), time_source="kernel", job=job, **columns
    )  # type: ignore[arg-type]


def jobs_of(lengths_ms: FloatArray) -> JobTimes:
    sent_ns = np.r_[0.0, np.cumsum(lengths_ms)[:-1]] * 1e6
    n = np.arange(lengths_ms.size)
    return JobTimes.from_sent(n, np.ones_like(n), sent_ns, np.full(n.size, 256.0))


def stream_run(model: str, period_s: float, seed: int, shares: int = 1500) -> RunData:
    config = VirtualConfig(model=model, shares=shares, seed=seed, mode="stream", job_period_s=period_s)
    return simulate(config).to_run_data()


@pytest.mark.parametrize("ratio", [0.1, 0.3, 1.0, 3.0, 20.0])
def test_work_across_the_ends_of_jobs_is_exponential_and_places_are_even(ratio: float) -> None:
    rng = np.random.default_rng(1)
    lengths = rng.uniform(0.5, 1.5, round(3000 / ratio)) * ratio * MEAN_MS
    job, work = cut_process(lengths, 2)
    between, index = work_between_shares(whole(lengths), job, work)
    assert between.size == index.size == job.size - 1
    assert kstest(between, expon(scale=MEAN_MS).cdf).pvalue > 0.01
    assert memory_test("m", "", between).p_value > 0.01
    assert kstest(place_in_job(whole(lengths), job, work), "uniform").pvalue > 0.01
    if ratio <= 1.0:  # work to the first share of a job, which the job's end cuts off
        first = np.minimum.reduceat(work, np.flatnonzero(np.r_[True, np.diff(job) > 0]))
        assert kstest(first, expon(scale=first.mean()).cdf).pvalue < 1e-6


@given(st.data())
def test_work_between_shares_is_what_a_stop_watch_says(draw: st.DataObject) -> None:
    jobs = draw.draw(st.integers(1, 5))
    start = np.array(draw.draw(st.lists(st.integers(0, 3), min_size=jobs, max_size=jobs)), float)
    end = np.array(draw.draw(st.lists(st.integers(0, 9), min_size=jobs, max_size=jobs)), float)
    marks = draw.draw(
        st.lists(st.tuples(st.integers(0, jobs - 1), st.integers(0, 12)), unique=True, max_size=20)
    )
    watch, stops, began = 0, [], False
    expected = []
    for number in range(jobs):
        for tick in range(1, 10):
            running = start[number] < tick <= end[number]
            watch += running and began
            if running and (number, tick) in marks:
                if began:
                    expected.append(watch)
                    stops.append((number, tick))
                watch, began = 0, True
    found = Windows(np.arange(jobs), start, end, np.ones(jobs))
    job, work = np.array([m[0] for m in marks], int), np.array([m[1] for m in marks], float)
    between, index = work_between_shares(found, job, work)
    assert between.tolist() == expected
    assert [(int(job[i]), int(work[i])) for i in index] == stops


def test_jobs_of_other_difficulty_count_by_the_chance_of_a_share() -> None:
    difficulty = np.where(np.arange(6000) % 2 == 0, 256.0, 1024.0)
    lengths = np.full(6000, MEAN_MS)
    job, work = cut_process(lengths, 3, 256.0 / difficulty)
    run = run_of(job, job_difficulty=difficulty[job])
    weight = weights(difficulty, run)
    assert sorted(set(weight.tolist())) == [0.25, 1.0]
    between, _ = work_between_shares(whole(lengths, weight), job, work)
    assert kstest(between, expon(scale=MEAN_MS).cdf).pvalue > 0.01
    assert kstest(work_between_shares(whole(lengths), job, work)[0], expon(scale=MEAN_MS).cdf).pvalue < 1e-6
    assert weights(difficulty[:2], run_of(job)).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("ratio", [2.0, 6.0])
def test_within_jobs_of_unknown_end_the_order_of_shares_is_free_of_memory(ratio: float) -> None:
    lengths = np.full(round(6000 / ratio), ratio * MEAN_MS)
    job, work = cut_process(lengths, 4)
    found = up_to_last_share(job, work, 0.0)
    within, chance, index = work_within_jobs(found, job, work)
    counts = np.bincount(job)
    assert within.size == chance.size == (counts[counts > 0] - 1).sum()
    assert kstest(chance, "uniform").pvalue > 0.01
    assert memory_test("m", "", chance).p_value > 0.01
    assert kstest(place_in_job(found, job, work), "uniform").pvalue > 0.01
    order = np.lexsort((work, job))
    same = np.diff(job[order]) == 0
    np.testing.assert_allclose(
        within[np.isin(index, order[1:][same])].min(), np.diff(work[order])[same].min()
    )


def test_a_handshake_that_gives_up_carries_its_work_on() -> None:
    rng = np.random.default_rng(5)
    time_out, lengths, job, work = 1.5 * MEAN_MS, [], [], []
    for number in range(6000):
        found = float(rng.exponential(MEAN_MS))
        lengths.append(min(found, time_out))
        if found < time_out:
            job.append(number)
            work.append(found)
    jobs, share_work = np.array(job), np.array(work)
    run = run_of(jobs, mode="swh", jobs=jobs_of(np.array(lengths)))
    added = unfinished_work(run, aligned(share_work), np.arange(jobs.size), 0.0)
    assert kstest(share_work + added, expon(scale=MEAN_MS).cdf).pvalue > 0.01
    assert kstest(share_work, expon(scale=share_work.mean()).cdf).pvalue < 1e-6
    unknown = replace(run, jobs=None)
    assert not unfinished_work(unknown, aligned(share_work), np.arange(jobs.size), 0.0).any()


def test_only_work_that_was_surely_done_counts() -> None:
    run = run_of(np.array([1, 1, 3]), mode="stream", jobs=jobs_of(np.array([80.0, 200.0, 40.0, 90.0, 70.0])))
    alignment = replace(
        aligned(np.array([5.0, 60.0, 30.0]), dead_ms=20.0), residual_ms=np.array([0.5, -1, 2])
    )
    found = windows(run, alignment, 4.0)
    assert found is not None
    assert found.job.tolist() == [1, 2, 3]  # from the first job with a share to the last
    assert found.end_ms.tolist() == [178.0, 18.0, 68.0]
    late = replace(alignment, on_time=np.array([True, True, False]))
    found = windows(run, late, 4.0)
    assert found is not None
    # loads may be late: jobs after one shorter than 100 ms, and the first of all, do not count
    assert found.end_ms.tolist() == [4.0, 200.0 - 200.0 + 40.0 - 21.0, 4.0]


def test_the_last_job_of_a_run_counts_up_to_its_last_share() -> None:
    run = run_of(np.array([0, 1, 1]), mode="stream", jobs=jobs_of(np.array([80.0, 200.0])))
    found = windows(run, aligned(np.array([5.0, 60.0, 30.0])), 0.0)
    assert found is not None
    assert found.end_ms.tolist() == [80.0, 60.0]
    assert sorted(place_in_job(found, run.job, np.array([5.0, 60.0, 30.0]))) == [5 / 80, 0.5]
    assert windows(replace(run, jobs=None), aligned(np.array([5.0, 60.0, 30.0])), 0.0) is None


def test_pauses_are_no_work() -> None:
    work = np.random.default_rng(6).exponential(MEAN_MS, 2000)
    kept, index = without_gaps(np.r_[work, 1e6], np.arange(2001))
    assert kept.size == index.size == 2000
    assert without_gaps(np.empty(0), np.empty(0, int))[0].size == 0


def test_who_ends_the_jobs(recording: RunData) -> None:
    assert recording.mode is None
    assert ended_by_shares(recording)
    assert ended_by_shares(s9_run(100, 1))
    stream = stream_run("s9", 0.1, 1, 300)
    assert not ended_by_shares(stream)
    assert not ended_by_shares(replace(stream, mode=None))
    assert dead_fraction(stream) == pytest.approx(0.2, abs=0.05)
    assert dead_fraction(replace(stream, jobs=None)) == 0.0


def test_lengths_of_jobs_are_each_miners_own() -> None:
    number, miner = np.array([3, 1, 2, 4]), np.array([1, 1, 2, 2])
    times = JobTimes.from_sent(number, miner, np.array([9e6, 2e6, 4e6, np.nan]), np.arange(4.0))
    assert times.number.tolist() == [1, 2, 3, 4]
    np.testing.assert_array_equal(times.length_ms, [7.0, np.nan, np.nan, np.nan])
    assert times.of_miner(1).difficulty.tolist() == [1.0, 0.0]


@pytest.mark.parametrize(("model", "period_s"), [("lv06", 2.5), ("s9", 0.23)])
def test_ends_of_jobs_that_nobody_knows_leave_less_to_test_and_raise_no_alarm(
    model: str, period_s: float
) -> None:
    codes = []
    for seed in range(3):
        run = stream_run(model, period_s, seed)
        verdict = judge(replace(run, jobs=None))
        asked = {t.name for t in verdict.tests}
        assert "work_even" in asked
        assert {"work_poisson", "work_memory", "quality_work"} & asked == set()
        codes.append(verdict.code)
    assert {"work_poisson", "work_even", "work_memory", "quality_work"} <= {t.name for t in judge(run).tests}
    assert codes.count("consistent") >= 2  # one of three by chance: 99.3 % point of binomial(3, 0.05)


def test_a_miner_that_went_unheard_is_no_unfair_one() -> None:
    run = stream_run("lv06", 2.5, 3)
    number = run.job - run.job.min()
    heard = run.select((number < 300) | (number > 600))
    verdict = judge(heard)
    assert verdict.code == "consistent"
    assert align(heard) is not None


def test_a_share_process_with_a_rhythm_is_found_across_jobs() -> None:
    run = stream_run("lv06", 2.5, 3, 3000)
    assert judge(run).code == "consistent"
    alternate = judge(run.select(slice(0, None, 2)))  # every second share: gamma of shape 2
    assert alternate.code == "deviates"
    assert alternate.decided_by in ("work_poisson", "work_even")
