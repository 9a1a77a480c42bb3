"""A run as plain arrays, and the two interval streams that come out of it (statistics.md §2).

* ``intervals``: time since the same miner's previous share, in file order;
* ``first_share``: time from a job to its first share, where *first* means that the job differs from that of
  the same miner's previous share (the first row counts).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

NS_PER_MS = 1e6

TIME_SOURCES = ("kernel", "monotonic", "wall")
"""Stamps of an arrival, best first; a run uses the first one that every one of its shares has."""


@dataclass(frozen=True)
class MinerInfo:
    """What is known of a miner.

    Attributes:
        name: worker name on the wire.
        model: ``s9``, ``lv06``, ... or None where unknown.
        user_agent: as subscribed, or None.
        scale: verified difficulty is nominal difficulty times this (1 for a real miner).
        floor: smallest difficulty that the miner ever submits, or None where unknown.
    """

    name: str
    model: str | None
    user_agent: str | None
    scale: float
    floor: float | None


@dataclass(frozen=True)
class JobTimes:
    """The jobs of a run, answered or not, in the order in which they were sent; arrays of shape (jobs,).

    Attributes:
        number: number of the job in the run, ascending.
        miner: number of the miner that it was sent to.
        length_ms: until the same miner was sent its next job; nan where unknown.
        difficulty: nominal difficulty asked for; nan where unknown.
    """

    number: IntArray
    miner: IntArray
    length_ms: FloatArray
    difficulty: FloatArray

    @classmethod
    def from_sent(
        cls, number: IntArray, miner: IntArray, sent_ns: FloatArray, difficulty: FloatArray
    ) -> JobTimes:
        """From the moments at which they were sent, nan where unknown."""
        length_ms = np.full(number.size, np.nan)
        order = np.argsort(number, kind="stable")
        for one in np.unique(miner):
            own = order[miner[order] == one]
            length_ms[own[:-1]] = np.diff(sent_ns[own]) / NS_PER_MS
        return cls(number[order], miner[order], length_ms[order], difficulty[order])

    def select(self, mask: BoolArray) -> JobTimes:
        """The jobs under a mask."""
        return JobTimes(*(getattr(self, f.name)[mask] for f in fields(self)))

    def of_miner(self, miner: int) -> JobTimes:
        """The jobs that one miner was sent."""
        return self.select(self.miner == miner)


@dataclass(frozen=True)
class Stream:
    """One interval stream, each miner's apart, because no interval reaches from one miner to another.

    Attributes:
        name: ``intervals`` or ``first_share``.
        segments: per miner its intervals in ms, in file order.
        times_ns: per miner the arrival times of the events that the stream counts, in ns, in file order.
        miners: per segment the miner's number.
    """

    name: str
    segments: tuple[FloatArray, ...]
    times_ns: tuple[IntArray, ...]
    miners: tuple[int, ...]

    @property
    def values_ms(self) -> FloatArray:
        """All intervals, shape (n,), miner after miner."""
        return np.concatenate(self.segments) if self.segments else np.empty(0)


@dataclass(frozen=True)
class RunData:
    """A run as arrays of length n, one element per share that verifies, in stored order.

    A share that verifies is one that was valid, or a repetition of one (``duplicate``); in a run marked
    ``unverified`` every row counts.

    Attributes:
        run_id: id of the run.
        kind: live, virtual, recorded or merged.
        mode: stream or swh, or None where unknown.
        unverified: True where only arrival times are known.
        miner: number of the miner in the run.
        job: number of the job in the run; -1 unknown.
        time_ns: arrival.
        time_source: which stamp that is: kernel, monotonic or wall.
        interval_ms: since the same miner's previous row here; nan at its first.
        response_ms: since its own job was sent; nan where unknown.
        since_notify_ms: since the newest job was sent to that miner; nan where unknown.
        difficulty: nominal difficulty of the share's own hash; nan where unknown.
        duplicate: whether an earlier row has the same header.
        first_of_job: whether the job differs from that of the same miner's previous row (the first counts).
        extranonce2: the miner's counter, little-endian integer.
        extranonce2_known: whether the three arrays of submitted fields were read.
        nonce: the number on the wire.
        version_bits: the number on the wire, 0 where a miner sends none.
        symbol: input symbol of the share's own job; nan where it carried none.
        temperature_c: the miner's last reading at or before the share; nan where there is none.
        miners: what is known of each miner.
        clock_tick_ns: resolution of the clock, or None where unknown.
        jitter_floor: what the calibration at the start of the run measured.
        plants: planted effects of an emulated run, kind to strength.
        physics: physical model of an emulated run.
        jobs_sent: jobs of the run, answered or not.
        rows_left_out: rows that verify but lack the stamp of ``time_source``.
        job_difficulty: nominal difficulty asked for by the share's own job, nan where unknown; None: not read.
        lbry: whether the share's own job is one of LBRY; None: no job is.
        jobs: all jobs of the run, whatever shares are selected; None where not all are known.
        place: number of each row among the run's stored shares, from 0, where only stretches of them were read; None:
            all were. What a stretch's first row says of its predecessor is unknown.
        stretch: number of the stretch of each row, likewise.
        not_read: shares of the run that were not read.
    """

    run_id: str
    kind: str
    mode: str | None
    unverified: bool
    miner: NDArray[np.int32]
    job: IntArray
    time_ns: IntArray
    time_source: str
    interval_ms: FloatArray
    response_ms: FloatArray
    since_notify_ms: FloatArray
    difficulty: FloatArray
    duplicate: BoolArray
    first_of_job: BoolArray
    extranonce2: NDArray[np.uint64]
    extranonce2_known: bool
    nonce: NDArray[np.uint32]
    version_bits: NDArray[np.uint32]
    symbol: FloatArray
    temperature_c: FloatArray
    miners: Mapping[int, MinerInfo]
    clock_tick_ns: int | None
    jitter_floor: Mapping[str, Any]
    plants: Mapping[str, float]
    physics: Mapping[str, Any]
    jobs_sent: int
    rows_left_out: int = 0
    job_difficulty: FloatArray | None = None
    lbry: BoolArray | None = None
    jobs: JobTimes | None = None
    place: IntArray | None = None
    stretch: IntArray | None = None
    not_read: int = 0

    @property
    def n(self) -> int:
        """Number of shares."""
        return int(self.time_ns.size)

    @property
    def emulated(self) -> bool:
        """Whether emulated miners made it: a virtual run, one with physics, or a miner of scaled work."""
        scaled = any(info.scale < 1.0 for info in self.miners.values())
        return self.kind == "virtual" or bool(self.physics) or scaled

    def miner_numbers(self) -> list[int]:
        """Numbers of the miners that have shares here, ascending."""
        if self.n and self.miner.min() == self.miner.max():
            return [int(self.miner[0])]
        return [int(m) for m in np.unique(self.miner)]

    def select(self, mask: BoolArray | slice | NDArray[np.integer[Any]]) -> RunData:
        """The rows under a mask, slice or index array; what a row says of its predecessor stays as it was."""
        arrays = {
            f.name: getattr(self, f.name)[mask]
            for f in fields(self)
            if isinstance(getattr(self, f.name), np.ndarray)
        }
        return replace(self, **arrays)

    def intervals(self) -> Stream:
        """Time between consecutive shares of the same miner."""
        return self._stream("intervals", self.interval_ms, np.ones(self.n, bool))

    def first_share(self) -> Stream:
        """Time from a job to its first share.

        In a recording that is the time since the newest job as it was recorded, because the recording tells
        nothing else; in our own runs it is arrival minus send time of the share's own job.
        """
        source = self.since_notify_ms if self.kind == "recorded" else self.response_ms
        return self._stream("first_share", source, self.first_of_job)

    def _stream(self, name: str, source: FloatArray, events: BoolArray) -> Stream:
        numbers = self.miner_numbers()
        segments, times = [], []
        for number in numbers:
            rows = events if len(numbers) == 1 else events & (self.miner == number)
            values = source[rows]
            segments.append(values[~np.isnan(values)])
            times.append(self.time_ns[rows])
        return Stream(name, tuple(segments), tuple(times), tuple(numbers))


def build_run_data(
    *,
    run_id: str,
    kind: str,
    time_ns: IntArray,
    time_source: str,
    mode: str | None = None,
    unverified: bool = False,
    miner: NDArray[Any] | None = None,
    job: NDArray[Any] | None = None,
    response_ns: NDArray[Any] | None = None,
    since_notify_ns: NDArray[Any] | None = None,
    difficulty: FloatArray | None = None,
    duplicate: BoolArray | None = None,
    extranonce2: NDArray[Any] | None = None,
    nonce: NDArray[Any] | None = None,
    version_bits: NDArray[Any] | None = None,
    symbol: FloatArray | None = None,
    temperature_c: FloatArray | None = None,
    miners: Mapping[int, MinerInfo] | None = None,
    clock_tick_ns: int | None = None,
    jitter_floor: Mapping[str, Any] | None = None,
    plants: Mapping[str, float] | None = None,
    physics: Mapping[str, Any] | None = None,
    jobs_sent: int | None = None,
    rows_left_out: int = 0,
    job_difficulty: FloatArray | None = None,
    lbry: BoolArray | None = None,
    jobs: JobTimes | None = None,
    place: IntArray | None = None,
    stretch: IntArray | None = None,
    not_read: int = 0,
) -> RunData:
    """Make a RunData from columns of length n in stored order; what is not given is unknown.

    Args:
        run_id: see :class:`RunData`, as for all arguments not named here.
        kind: see :class:`RunData`.
        time_ns: int64 arrival times.
        time_source: kernel, monotonic or wall.
        mode: see :class:`RunData`.
        unverified: see :class:`RunData`.
        miner: numbers of the miners; all 1 where not given.
        job: numbers of the jobs, -1 unknown.
        response_ns: arrival minus send time of the own job; integers (all known) or floats with nan.
        since_notify_ns: likewise, of the newest job.
        difficulty: see :class:`RunData`.
        duplicate: see :class:`RunData`.
        extranonce2: little-endian integers; together with ``nonce`` and ``version_bits``.
        nonce: numbers on the wire.
        version_bits: numbers on the wire.
        symbol: see :class:`RunData`.
        temperature_c: see :class:`RunData`.
        miners: see :class:`RunData`; a nameless miner of unknown model where not given.
        clock_tick_ns: see :class:`RunData`.
        jitter_floor: see :class:`RunData`.
        plants: see :class:`RunData`.
        physics: see :class:`RunData`.
        jobs_sent: where not given, the number of distinct jobs that the shares name.
        rows_left_out: see :class:`RunData`.
        job_difficulty: see :class:`RunData`.
        lbry: see :class:`RunData`.
        jobs: see :class:`RunData`.
        place: see :class:`RunData`.
        stretch: see :class:`RunData`.
        not_read: see :class:`RunData`.

    Raises:
        ValueError: if two columns differ in length or the time source is unknown.
    """
    if time_source not in TIME_SOURCES:
        raise ValueError(f"time source is one of {', '.join(TIME_SOURCES)}, not {time_source!r}")
    time_ns = np.asarray(time_ns, np.int64)
    n = time_ns.size

    def column(name: str, values: NDArray[Any] | None, dtype: Any, default: Any) -> NDArray[Any]:
        if values is None:
            return np.full(n, default, dtype)
        array = np.asarray(values).astype(dtype, copy=False)
        if array.shape != (n,):
            raise ValueError(f"{name} has shape {array.shape}, the arrival times ({n},)")
        return array

    miner_column = column("miner", miner, np.int32, 1)
    job_column = column("job", job, np.int64, -1)
    previous = previous_of_same_miner(miner_column)
    has_previous = previous >= 0
    if stretch is not None:
        has_previous &= stretch == stretch[previous]
    interval_ms = np.full(n, np.nan)
    interval_ms[has_previous] = (time_ns[has_previous] - time_ns[previous[has_previous]]) / NS_PER_MS
    first_of_job = job_column >= 0
    first_of_job[has_previous] &= job_column[has_previous] != job_column[previous[has_previous]]
    if stretch is not None:
        first_of_job &= has_previous | (previous < 0)
    return RunData(
        run_id=run_id,
        kind=kind,
        mode=mode,
        unverified=unverified,
        miner=miner_column,
        job=job_column,
        time_ns=time_ns,
        time_source=time_source,
        interval_ms=interval_ms,
        response_ms=column("response_ns", response_ns, np.float64, np.nan) / NS_PER_MS,
        since_notify_ms=column("since_notify_ns", since_notify_ns, np.float64, np.nan) / NS_PER_MS,
        difficulty=column("difficulty", difficulty, np.float64, np.nan),
        duplicate=column("duplicate", duplicate, np.bool_, False),
        first_of_job=first_of_job,
        extranonce2=column("extranonce2", extranonce2, np.uint64, 0),
        extranonce2_known=extranonce2 is not None,
        nonce=column("nonce", nonce, np.uint32, 0),
        version_bits=column("version_bits", version_bits, np.uint32, 0),
        symbol=column("symbol", symbol, np.float64, np.nan),
        temperature_c=column("temperature_c", temperature_c, np.float64, np.nan),
        miners=dict(miners)
        if miners is not None
        else {int(m): MinerInfo("", None, None, 1.0, None) for m in np.unique(miner_column)},
        clock_tick_ns=clock_tick_ns,
        jitter_floor=dict(jitter_floor or {}),
        plants=dict(plants or {}),
        physics=dict(physics or {}),
        jobs_sent=int(np.unique(job_column[job_column >= 0]).size) if jobs_sent is None else jobs_sent,
        rows_left_out=rows_left_out,
        job_difficulty=None
        if job_difficulty is None
        else column("job_difficulty", job_difficulty, np.float64, np.nan),
        lbry=None if lbry is None else column("lbry", lbry, np.bool_, False),
        jobs=jobs,
        place=None if place is None else column("place", place, np.int64, -1),
        stretch=None if stretch is None else column("stretch", stretch, np.int64, 0),
        not_read=not_read,
    )


def previous_of_same_miner(miner: NDArray[np.int32]) -> IntArray:
    """Index of the same miner's previous row for each row, -1 at its first; shape (n,)."""
    n = miner.size
    if n == 0 or miner.min() == miner.max():
        return np.arange(-1, n - 1, dtype=np.int64)
    order = np.argsort(miner, kind="stable")
    same = miner[order[1:]] == miner[order[:-1]]
    previous = np.full(n, -1, np.int64)
    previous[order[1:][same]] = order[:-1][same]
    return previous
