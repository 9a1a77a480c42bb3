"""The work in which shares could be found and heard: what a job's end cuts off is taken up by the next job.

A fair hash finds shares as a Poisson process in the work done, and such a process has no memory. So the work between
two shares, counted on across the ends of jobs, is exponential (time rescaling, Brown et al. 2002), and where in its
job's work a share lies is uniform. Work from a job's start to its share is not exponential where a clock ends the jobs:
what would have taken longer is not seen. Counted is only work that was surely done, and whose shares were surely heard:
from the first clean work of a job to the moment at which the next was sent, less dead time and the latest report.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from firmware_bridge.timing.run_data import BoolArray, FloatArray, IntArray, JobTimes, RunData
from firmware_bridge.timing.scan import CLEAN_PREVIOUS_MS, ScanAlignment

ANSWER_MS = 5.0
"""A job sent so soon after a share was sent because of it (recorded pools take 1 ms)."""

FEW_LATE = 0.01
"""Where no more of the shares are late than this, jobs count as loaded on time, however short the ones before were."""

GAP_CHANCE = 1e-6
"""An interval so long that chance gives one in that part of runs is no interval: the miner stood still, or unheard."""


def ended_by_shares(data: RunData) -> bool:
    """Whether shares end the jobs (single-word handshake), not a clock; a recording tells it by its own times."""
    if data.mode is not None:
        return data.mode == "swh"
    lag = np.abs(data.interval_ms - data.since_notify_ms)  # the newest job is as old as the last share
    known = ~np.isnan(lag)
    return bool(known.any() and np.median(lag[known]) < ANSWER_MS)


def dead_fraction(data: RunData) -> float:
    """Part of a typical job of a one-miner run that passes before a share can come; 0 where that is unknown."""
    if data.jobs is None or np.isnan(data.response_ms).all():
        return 0.0
    length = data.jobs.of_miner(int(data.miner[0])).length_ms
    return float(np.nanmin(data.response_ms) / np.nanmedian(length)) if np.nansum(length) > 0 else 0.0


@dataclass(frozen=True)
class Windows:
    """Stretches of work that count, one per job, in the order in which the jobs were sent; shape (jobs,) each.

    Attributes:
        job: numbers of the jobs, ascending.
        start_ms: work of the job at which its stretch begins.
        end_ms: work at which it ends; not above the start where none of the job's work counts.
        weight: chance of a share per ms of work over that of a job of the run's usual difficulty.
    """

    job: IntArray
    start_ms: FloatArray
    end_ms: FloatArray
    weight: FloatArray


def windows(data: RunData, alignment: ScanAlignment, start_ms: float) -> Windows | None:
    """Stretches of work of a one-miner run whose jobs are ended by a clock; None where their ends are not known.

    Args:
        data: the run.
        alignment: its shares against the scan.
        start_ms: work before which a job is loaded unevenly.
    """
    times = _jobs_of_run(data, alignment)
    if times is None:
        return None
    end = times.length_ms - alignment.dead_ms - latest_ms(alignment)
    end[~loaded_on_time(times, alignment)] = start_ms
    last = np.isnan(end[-1])
    end = np.where(np.isnan(end), start_ms, end)
    if last:  # nobody knows how long the run went on: up to its last share it did
        work = alignment.work_ms[data.job[alignment.rows] == times.number[-1]]
        end[-1] = work.max(initial=start_ms)
    return Windows(times.number, np.full(end.size, start_ms), end, weights(times.difficulty, data))


def _jobs_of_run(data: RunData, alignment: ScanAlignment) -> JobTimes | None:
    """Jobs from the first to the last that has a share."""
    if data.jobs is None or alignment.rows.size == 0:
        return None
    own = data.jobs.of_miner(int(data.miner[0]))
    seen = data.job[alignment.rows]
    of_run = own.select((own.number >= seen.min()) & (own.number <= seen.max()))
    stamped = ~np.isnan(of_run.length_ms[:-1])
    return of_run if of_run.number.size and stamped.all() else None


def latest_ms(alignment: ScanAlignment) -> float:
    """By how much a job loaded on time, or the report of a share, is late at most."""
    return float(np.abs(alignment.residual_ms[alignment.on_time]).max())


def loaded_on_time(times: JobTimes, alignment: ScanAlignment) -> BoolArray:
    """Whether a job, seen by a share or not, was loaded on time: late loads follow short jobs alone."""
    late = float((~alignment.on_time & (alignment.residual_ms > 0)).mean())
    before = np.r_[np.nan, times.length_ms[:-1]]
    return np.asarray((before > CLEAN_PREVIOUS_MS) | (late <= FEW_LATE))


def weights(job_difficulty: FloatArray, data: RunData) -> FloatArray:
    """Chance of a share per hash at these difficulties, over that at the usual one of the run."""
    if data.job_difficulty is None or np.isnan(data.job_difficulty).all():
        return np.ones(job_difficulty.size)
    floor = data.miners[int(data.miner[0])].floor or 0.0
    usual = max(float(np.nanmedian(data.job_difficulty)), floor)
    asked = np.maximum(np.where(np.isnan(job_difficulty), usual, job_difficulty), floor)
    return np.asarray(usual / asked)


def work_between_shares(found: Windows, job: IntArray, work_ms: FloatArray) -> tuple[FloatArray, IntArray]:
    """Work from each share to the next across the ends of jobs, and which share ends it.

    Args:
        found: the stretches that count; shares outside of them do not.
        job: number of the job of each share, shape (n,).
        work_ms: work of its job at which each was found, shape (n,).

    Returns:
        Work in ms at the usual difficulty, shape (m,), exponential if the hash is fair, and positions in ``job`` of the
        shares that it leads to. The work before the first share is left out.
    """
    at = np.searchsorted(found.job, job)
    at = np.minimum(at, found.job.size - 1)
    counts = (found.job[at] == job) & (work_ms > found.start_ms[at]) & (work_ms <= found.end_ms[at])
    length = found.weight * np.maximum(found.end_ms - found.start_ms, 0.0)
    begun = np.r_[0.0, np.cumsum(length)[:-1]]
    clock = begun[at] + found.weight[at] * (work_ms - found.start_ms[at])
    index = np.flatnonzero(counts)
    index = index[np.argsort(clock[index], kind="stable")]
    return np.diff(clock[index]), index[1:]


def without_gaps(work_ms: FloatArray, index: IntArray) -> tuple[FloatArray, IntArray]:
    """Intervals of an exponential law, and what belongs to them, without those that no chance explains.

    A pause, or a lost connection, would else be one interval of many hours, and the mean of the law with it.
    """
    if work_ms.size == 0:
        return work_ms, index
    mean = float(np.median(work_ms)) / np.log(2.0)
    kept = work_ms <= mean * np.log(work_ms.size / GAP_CHANCE)
    return work_ms[kept], index[kept]


def up_to_last_share(job: IntArray, work_ms: FloatArray, start_ms: float) -> Windows:
    """Stretches where the ends of jobs are unknown: each job was worked on up to its last share."""
    numbers, inverse = np.unique(job, return_inverse=True)
    end = np.full(numbers.size, start_ms)
    np.maximum.at(end, inverse, work_ms)
    return Windows(numbers, np.full(numbers.size, start_ms), end, np.ones(numbers.size))


def work_within_jobs(
    found: Windows, job: IntArray, work_ms: FloatArray
) -> tuple[FloatArray, FloatArray, IntArray]:
    """Work to each share but the last of its job, from the share before it or the start of the stretch.

    Returns:
        That work, its probability in (0, 1) given the rest of the stretch and the number of shares in it, which is
        independent from share to share if the hash is fair, and positions of the shares in ``job``.
    """
    order = np.lexsort((work_ms, job))
    order = order[work_ms[order] > found.start_ms[np.searchsorted(found.job, job[order])]]
    at = np.searchsorted(found.job, job[order])
    first = np.r_[True, at[1:] != at[:-1]][: at.size]
    previous = np.where(first, found.start_ms[at], np.r_[0.0, work_ms[order][:-1]][: at.size])
    left = np.bincount(at, minlength=found.job.size)[at] - _rank(first) - 1
    work, room = work_ms[order] - previous, found.end_ms[at] - previous
    inner = left > 0
    chance = -np.expm1(left[inner] * np.log1p(-work[inner] / room[inner]))
    return work[inner], chance, order[inner]


def _rank(first: BoolArray) -> IntArray:
    """0, 1, 2... from each True on."""
    count = np.arange(first.size)
    return np.asarray(count - np.maximum.accumulate(np.where(first, count, 0)))


def place_in_job(found: Windows, job: IntArray, work_ms: FloatArray) -> FloatArray:
    """Where in its job's stretch each share lies, in (0, 1): uniform if the hash is fair.

    A share that itself ends the stretch (the last of a run) is left out.
    """
    at = np.minimum(np.searchsorted(found.job, job), found.job.size - 1)
    start, end = found.start_ms[at], found.end_ms[at]
    counts = (found.job[at] == job) & (work_ms > start) & (work_ms < end)
    return np.asarray((work_ms[counts] - start[counts]) / (end[counts] - start[counts]))


def unfinished_work(data: RunData, alignment: ScanAlignment, rows: IntArray, start_ms: float) -> FloatArray:
    """Work on jobs that no share came for before each of these first shares, in ms; shape (m,), mostly 0.

    Where shares end the jobs, some jobs end otherwise: by a time-out, or by a share of an older job.
    """
    added = np.zeros(rows.size)
    times = _jobs_of_run(data, alignment)
    if times is None or rows.size == 0:
        return added
    end = times.length_ms - alignment.dead_ms - latest_ms(alignment)
    silent = ~np.isin(times.number, data.job) & loaded_on_time(times, alignment) & (end > start_ms)
    lost = (weights(times.difficulty, data) * (end - start_ms))[silent]
    newest = np.maximum.accumulate(data.job[rows])
    following = np.searchsorted(newest, times.number[silent])
    inside = following < rows.size
    np.add.at(added, following[inside], lost[inside])
    return added
