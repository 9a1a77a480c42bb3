"""The hashing thread of a miner in wall time: it works through the running pass, a little ahead of the clock."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from firmware_bridge.emulator.span import Hit

AHEAD_MS = 25.0
"""How far the thread works ahead of the clock."""

LAG_MS = 25.0
"""How far it may fall behind before the pass is moved: the emulated chip then stalls instead of answering late."""

BUDGET = 20_000
"""Hashes between two looks at the clock, about 1 ms."""


class Hashing(Protocol):
    """What works through a job; ``span.Hasher`` and ``lbry_span.LbryHasher`` are."""

    @property
    def work_ms(self) -> float:
        """Work-time up to which everything is hashed."""

    @property
    def hashes(self) -> int:
        """Hashes so far."""

    def run(self, until_ms: float, budget: int) -> list[Hit]:
        """Hash on to a work-time or for a number of hashes; the hits in the order of their time."""


@dataclass(slots=True)
class Pass:
    """One pass over a job.

    Attributes:
        job: number of the job.
        hasher: what hashes it.
        begin_ms: when its work 0 would have started; moves when this CPU falls behind.
        pause_ms: pause of the works at ``refill_ms``.
        refill_ms: work-time after the first works.
        stop_ms: when the boards stop; moves when they are told to.
        free: whether it is hashed as fast as this CPU can, and a share counts as found when this CPU found it.
    """

    job: int
    hasher: Hashing
    begin_ms: float
    pause_ms: float
    refill_ms: float
    stop_ms: float
    free: bool = False

    def at(self, work_ms: float) -> float:
        """When a work-time is reached."""
        return self.begin_ms + work_ms + (self.pause_ms if work_ms >= self.refill_ms else 0.0)

    def work_at(self, now_ms: float) -> float:
        """Work-time reached at a moment; negative before the first."""
        work = now_ms - self.begin_ms
        return max(work - self.pause_ms, min(work, self.refill_ms)) if work > self.refill_ms else work


class HashThread:
    """Hashes the pass that it is given, until it is given another.

    Args:
        name: of the thread.
        now_ms: the clock that passes are written in; called from this thread.
        on_hits: called from this thread with the pass and its hits.

    Attributes:
        hashes: double hashes computed so far.
        stalled_ms: time by which this CPU fell behind so far.
    """

    def __init__(
        self, name: str, now_ms: Callable[[], float], on_hits: Callable[[Pass, list[Hit]], None]
    ) -> None:
        self.hashes = 0
        self.stalled_ms = 0.0
        self._now_ms = now_ms
        self._on_hits = on_hits
        self._running: Pass | None = None
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def give(self, running: Pass | None) -> None:
        """Hash this from now on; None: nothing."""
        self._running = running
        self._wake.set()

    def end(self) -> None:
        """Let the thread end; returns at once."""
        self._ended.set()
        self._wake.set()

    def join(self) -> None:
        """Wait until the thread has ended."""
        self._thread.join()

    def _rest(self, seconds: float) -> None:
        self._wake.wait(seconds)
        self._wake.clear()

    def _run(self) -> None:
        while not self._ended.is_set():
            running = self._running
            if running is None:
                self._rest(0.05)
                continue
            now = self._now_ms()
            reached = running.work_at(now)
            hasher = running.hasher
            if running.free and now < running.stop_ms:
                self._hash(running, math.inf)
                continue
            if reached - hasher.work_ms > LAG_MS and now < running.stop_ms:
                running.begin_ms += reached - hasher.work_ms
                self.stalled_ms += reached - hasher.work_ms
            until = running.work_at(min(now + AHEAD_MS, running.stop_ms))
            if hasher.work_ms >= until:
                self._rest(0.002)
                continue
            self._hash(running, until)

    def _hash(self, running: Pass, until_ms: float) -> None:
        before = running.hasher.hashes
        hits = running.hasher.run(until_ms, BUDGET)
        self.hashes += running.hasher.hashes - before
        if running.free:
            work_ms = self._now_ms() - running.begin_ms
            hits = [replace(hit, work_ms=work_ms) for hit in hits]
        if hits:
            self._on_hits(running, hits)
