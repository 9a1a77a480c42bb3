"""What the tests of a verdict look at, and the fixed family that asks whether anything is left.

The family is fixed before any value is looked at: fair work, memory of the work, and for every cause that the run
carries (share quality, input symbol, temperature) its tie to the response beyond the scan and to the work.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from firmware_bridge.timing.association import (
    TestResult,
    association_test,
    exponential_test,
    memory_test,
    uniform_test,
)
from firmware_bridge.timing.exposure import (
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
from firmware_bridge.timing.run_data import BoolArray, FloatArray, IntArray, RunData
from firmware_bridge.timing.scan import ScanAlignment, layout_of

MIN_JOBS = 30
"""A cause that a whole job shares is only tested over at least so many jobs."""
LONG_JOB = 4
"""Shares of a job, in the median, from which on what all of them have in common can be taken off."""
MIN_WORK = 100
"""Fewer intervals of work than this are not looked at."""


def resolution_ms(data: RunData) -> float:
    """Finest difference in time that the run's clock tells apart, in ms."""
    return max((data.clock_tick_ns or 1) / 1e6, 1e-6)


def host_floor_ms(data: RunData) -> float:
    """Jitter of the host as calibrated at the start of the run, in ms; no verdict rests on effects below it."""
    measured = [
        float(value) / 1e3
        for key, value in data.jitter_floor.items()
        if key.endswith("_us_p99") and isinstance(value, int | float)
    ]
    return max([resolution_ms(data), *measured])


@dataclass(frozen=True)
class Sample:
    """What the tests look at: the work to a share and the residual of the response, with the rows that they are of.

    Attributes:
        work_ms: work to each share; empty where jobs are short and nobody knows when they ended.
        work_rows: rows that it leads to.
        law: what it follows under the null: ``exponential``, ``shifted`` (from a start that is fitted), or nothing that
            could be tested, because the ends of jobs cut it off.
        order: the same, or a function of it, that is independent from share to share under the null.
        place: where in its job's work a share lies, in (0, 1); None where each job ends with its share.
        residual_ms: response beyond dead time and scan.
        residual_rows: rows that it is of.
        centred: whether responses are held against the mean of their job, which has many.
    """

    work_ms: FloatArray
    work_rows: IntArray
    law: str | None
    order: FloatArray
    place: FloatArray | None
    residual_ms: FloatArray
    residual_rows: IntArray
    centred: bool


def mechanics_sample(data: RunData, alignment: ScanAlignment, noise: FloatArray) -> Sample:
    """Split a run into work and residual.

    Where shares end the jobs, work is counted to the first share of each. Where a clock does, it is counted on from
    share to share across the ends of jobs; if those are unknown, within jobs alone, and not in short ones.
    """
    layout = layout_of(data)
    first_work = layout.clean_extranonce2 if layout is not None else 0
    rows = alignment.rows
    usable = alignment.on_time & (data.extranonce2[rows] >= first_work)
    residual = alignment.residual_ms + noise
    per_job = np.unique(data.job[rows], return_counts=True)[1]
    if ended_by_shares(data):
        first = data.first_of_job[rows]
        work = _work_to_first_share(data, alignment, first)
        usable &= first
        return Sample(work, rows[first], "shifted", work, None, residual[usable], rows[usable], False)
    job, long_jobs = data.job[rows], bool(np.median(per_job) >= LONG_JOB)
    start_ms = first_work * float(alignment.coefficients[1])
    found = windows(data, alignment, start_ms)
    if found is not None:
        work, index = work_between_shares(found, job, alignment.work_ms)
        work, index = without_gaps(work, index)
        law, order = "exponential", work
    else:
        found = up_to_last_share(job, alignment.work_ms, start_ms)
        work, order, index = work_within_jobs(found, job, alignment.work_ms)
        law = None
    place = place_in_job(found, job, alignment.work_ms)
    if work.size < MIN_WORK or (law is None and not long_jobs):
        work, order, index, law = np.empty(0), np.empty(0), np.empty(0, np.int64), None
    return Sample(
        work_ms=work,
        work_rows=rows[index],
        law=law,
        order=order,
        place=place if place.size >= MIN_WORK else None,
        residual_ms=residual[usable],
        residual_rows=rows[usable],
        centred=long_jobs,
    )


def _work_to_first_share(data: RunData, alignment: ScanAlignment, first: BoolArray) -> FloatArray:
    """Work to the first share of each job, and before it on jobs that no share came for."""
    work = alignment.work_ms[first]
    if work.size == 0:
        return work
    rows, start = alignment.rows[first], float(work.min())
    if data.job_difficulty is not None:
        work = start + (work - start) * weights(data.job_difficulty[rows], data)
    return np.asarray(work + unfinished_work(data, alignment, rows, start))


def _job_means(data: RunData, rows: IntArray, values: FloatArray) -> tuple[IntArray, FloatArray]:
    """First row and mean value of each job: a cause that a whole job shares counts once per job."""
    _, index, inverse, counts = np.unique(
        data.job[rows], return_index=True, return_inverse=True, return_counts=True
    )
    means = np.bincount(inverse, values) / counts
    order = np.argsort(index)
    return rows[index][order], means[order]


def _within_job(data: RunData, rows: IntArray, values: FloatArray) -> FloatArray:
    """Values less the mean of their job: the delay of one load shifts every share of a long job alike."""
    _, inverse, counts = np.unique(data.job[rows], return_inverse=True, return_counts=True)
    centred: FloatArray = values - (np.bincount(inverse, values) / counts)[inverse]
    return centred


def _carried(data: RunData, rows: IntArray, cause: FloatArray, whole_job: bool) -> bool:
    """Whether every share knows its cause, and the cause varies often enough to be correlated with anything."""
    values = cause[rows]
    enough = not whole_job or np.unique(data.job[rows]).size >= MIN_JOBS
    return bool(enough and not np.isnan(values).any() and np.ptp(values) > 0)


def family(
    data: RunData, sample: Sample, rng: np.random.Generator, alpha: float, *, beside: int = 0
) -> list[TestResult]:
    """The fixed family of tests; those whose cause the run does not carry are left out before any is looked at.

    Args:
        data: the run.
        sample: what is looked at.
        rng: for Monte-Carlo tests.
        alpha: level of the family.
        beside: tests that share the level with these.
    """
    floor = float(np.nanmin(data.difficulty)) if not np.isnan(data.difficulty).all() else 1.0
    causes = {
        "quality": (np.log2(data.difficulty / floor), "log2 of share difficulty", False),
        "input": (data.symbol, "unit of the input symbol", True),
        "temperature": (data.temperature_c, "°C", False),
    }
    known = {
        name: cause
        for name, cause in causes.items()
        if _carried(data, sample.residual_rows, cause[0], cause[2])
    }
    tests = _fair_work(sample, rng)
    there = sample.work_ms.size > 0
    level = alpha / (beside + len(tests) + (1 + there) * len(known))
    for name, (cause, unit, whole_job) in known.items():
        rows, residual = sample.residual_rows, sample.residual_ms
        if whole_job:
            rows, residual = _job_means(data, rows, residual)
        elif sample.centred:
            residual, cause = _within_job(data, rows, residual), cause.copy()
            cause[rows] = _within_job(data, rows, cause[rows])
        question = f"Does the response depend on {name}, beyond the scan?"
        tests.append(
            association_test(
                f"{name}_response",
                question,
                cause[rows],
                residual,
                f"ms per {unit}",
                alpha=level,
                rng=rng,
                serial=name == "temperature",
            )
        )
        if not there:
            continue
        told = ~np.isnan(cause[sample.work_rows])
        tests.append(
            association_test(
                f"{name}_work",
                f"Does the work to a share depend on {name}?",
                cause[sample.work_rows][told],
                sample.work_ms[told],
                f"ms of work per {unit}",
                alpha=level,
                rng=rng,
                serial=name == "temperature",
            )
        )
    return tests


def _fair_work(sample: Sample, rng: np.random.Generator) -> list[TestResult]:
    """Whether the work is that of a fair hash, whatever may cause it not to be."""
    tests = []
    if sample.law is not None:
        question, shifted = "Is the work to a share exponential?", sample.law == "shifted"
        tests.append(exponential_test("work_poisson", question, sample.work_ms, rng, shifted=shifted))
    if sample.place is not None:
        tests.append(uniform_test("work_even", "Do shares fall evenly over the work of a job?", sample.place))
    if sample.order.size:
        question = "Does the work to a share depend on earlier ones?"
        tests.append(memory_test("work_memory", question, sample.order))
    return tests


def with_floor(tests: list[TestResult], floor_ms: float) -> list[TestResult]:
    """Mark the tests of timing whose effect the host cannot resolve."""
    marked = []
    for test in tests:
        below = test.name.endswith("_response") and test.effect_ms is not None and test.effect_ms < floor_ms
        if below:
            note = f"effect of {test.effect_ms:.3g} ms lies below the {floor_ms:.3g} ms that clock and host resolve"
            test = replace(test, counted=False, note="; ".join(filter(None, (test.note, note))))
        marked.append(test)
    return marked
