"""A stored run as the stream of events that it was: in recorded time, scaled, or as fast as possible."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from firmware_bridge.clock import Clock, SystemClock
from firmware_bridge.errors import UserError
from firmware_bridge.headers import Job
from firmware_bridge.trace.records import job_from_row
from firmware_bridge.trace.schema import ShareRow

if TYPE_CHECKING:
    from firmware_bridge.trace.reader import TraceReader

YIELD_EVERY = 256
"""Shares after which a replay at full speed lets the event loop breathe."""


@dataclass(frozen=True, slots=True)
class ShareEvent:
    """One share as a consumer gets it, live or replayed.

    Attributes:
        row: the share as it is stored.
        job: the job that it answers, or None where it names none that was sent.
        miner_name: name of the miner that found it.
    """

    row: ShareRow
    job: Job | None
    miner_name: str


def events_of(reader: TraceReader, run: int) -> Iterator[ShareEvent]:
    """Every share of a run in stored order, with its job and miner.

    Raises:
        UserError: if there is no such run.
    """
    jobs = {row["job"]: job_from_row(row) for row in reader.dicts(run, "jobs")}
    names = {row["miner"]: row["name"] for row in reader.dicts(run, "miners")}
    for row in reader.share_rows(run):
        job = None if row.job is None else jobs.get(row.job)
        yield ShareEvent(row, job, names.get(row.miner, f"miner {row.miner}"))


def time_base(reader: TraceReader, run: int) -> str:
    """The best clock that stamped every share of a run: ``monotonic_ns``, ``kernel_ns`` or ``wall_ns``.

    Raises:
        UserError: if no clock stamped them all.
    """
    clocks = ("monotonic_ns", "kernel_ns", "wall_ns")
    null = reader.columns(run, "shares", clocks).null
    for name in clocks:
        if not null[name].any():
            return name
    raise UserError("no clock stamped every share of this run; replay it with --speed max")


async def replay(
    reader: TraceReader,
    run: int,
    speed: float | None = 1.0,
    *,
    clock: Clock | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncIterator[ShareEvent]:
    """Yield a run's shares when their time has come.

    Each share waits for its own time since the first one, so that delays of the consumer do not add up; what is late
    comes at once. The events and their order depend on the run alone.

    Args:
        reader: where the run is stored.
        run: its number.
        speed: 1 for recorded time, 10 for ten times as fast, None for no waiting at all.
        clock: whose monotonic time paces the replay.
        sleep: awaited with the seconds to wait.

    Raises:
        UserError: if there is no such run, the speed is not positive, or the run has no usable times.
    """
    if speed is not None and not 0 < speed < float("inf"):
        raise UserError(f"a replay's speed is a positive number or max, not {speed:g}")
    clock = clock or SystemClock()
    base = None if speed is None else time_base(reader, run)
    begin_ns = clock.monotonic_ns()
    first_ns: int | None = None
    for count, event in enumerate(events_of(reader, run)):
        if base is None or speed is None:
            if count % YIELD_EVERY == YIELD_EVERY - 1:
                await sleep(0)
        else:
            time_ns: int = getattr(event.row, base)
            first_ns = time_ns if first_ns is None else first_ns
            wait_ns = begin_ns + (time_ns - first_ns) / speed - clock.monotonic_ns()
            if wait_ns > 0:
                await sleep(wait_ns / 1e9)
        yield event
