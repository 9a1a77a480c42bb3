"""What the tests of a verdict look at, and the fixed family that asks whether anything is left.

The family is fixed before any value is looked at: fair work, memory of the work, and for every cause that the run
carries (share quality, input symbol, temperature) its tie to the response beyond the scan and to the work.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from firmware_bridge.timing.association import (
    TestResult,
    association_test,
    exponential_test,
    memory_test,
    uniform_test,
)
from firmware_bridge.timing.run_data import FloatArray, IntArray, RunData
from firmware_bridge.timing.scan import ScanAlignment, layout_of

MIN_JOBS = 30
"""A cause that a whole job shares is only tested over at least so many jobs."""


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
    """What the tests look at: the work to a share and the residual of the response, with the rows that they are of."""

    work_ms: FloatArray
    work_rows: IntArray
    work_uniform: FloatArray | None
    residual_ms: FloatArray
    residual_rows: IntArray


def mechanics_sample(data: RunData, alignment: ScanAlignment, noise: FloatArray) -> Sample:
    """Split a run into work and residual; in a stream of long jobs work is counted from share to share of one job."""
    layout = layout_of(data)
    first_work = layout.clean_extranonce2 if layout is not None else 0
    rows = alignment.rows
    usable = alignment.on_time & (data.extranonce2[rows] >= first_work)
    residual = alignment.residual_ms + noise
    first = data.first_of_job[rows]
    per_job = np.unique(data.job[rows], return_counts=True)[1]
    if np.median(per_job) < 4:
        return Sample(
            work_ms=alignment.work_ms[first],
            work_rows=rows[first],
            work_uniform=None,
            residual_ms=residual[usable & first],
            residual_rows=rows[usable & first],
        )
    order = np.lexsort((alignment.work_ms, data.job[rows]))
    job, work = data.job[rows][order], alignment.work_ms[order]
    same = job[1:] == job[:-1]
    return Sample(
        work_ms=np.diff(work)[same],
        work_rows=rows[order][1:][same],
        work_uniform=_uniform_in_job(job, work),
        residual_ms=residual[usable],
        residual_rows=rows[usable],
    )


def _uniform_in_job(job: IntArray, work: FloatArray) -> FloatArray:
    """Inner shares of each job between its first and its last, scaled to (0, 1): uniform if hashing is fair."""
    starts = np.r_[0, np.flatnonzero(np.diff(job)) + 1, job.size]
    parts = []
    for a, b in pairwise(starts.tolist()):
        if b - a >= 3 and work[b - 1] > work[a]:
            parts.append((work[a + 1 : b - 1] - work[a]) / (work[b - 1] - work[a]))
    return np.concatenate(parts) if parts else np.empty(0)


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


def family(data: RunData, sample: Sample, rng: np.random.Generator, alpha: float) -> list[TestResult]:
    """The fixed family of tests; those whose cause the run does not carry are left out before any is looked at."""
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
    level = alpha / (2 + 2 * len(known))
    if sample.work_uniform is None:
        fair = exponential_test(
            "work_poisson", "Is the work to a share exponential?", sample.work_ms, rng, shifted=True
        )
    else:
        fair = uniform_test(
            "work_poisson", "Do shares fall evenly over the work of a job?", sample.work_uniform
        )
    tests = [
        fair,
        memory_test("work_memory", "Does the work to a share depend on earlier ones?", sample.work_ms),
    ]
    for name, (cause, unit, whole_job) in known.items():
        rows, residual = sample.residual_rows, sample.residual_ms
        if whole_job:
            rows, residual = _job_means(data, rows, residual)
        elif sample.work_uniform is not None:
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
        there = ~np.isnan(cause[sample.work_rows])
        tests.append(
            association_test(
                f"{name}_work",
                f"Does the work to a share depend on {name}?",
                cause[sample.work_rows][there],
                sample.work_ms[there],
                f"ms of work per {unit}",
                alpha=level,
                rng=rng,
                serial=name == "temperature",
            )
        )
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
