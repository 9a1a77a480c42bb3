"""An emulated miner that is told apart by one thing: what it does between a share and the next work.

Firmware that *waits* stops hashing when it has sent a share, until the pool has answered and, where each share uses its
job up, sent the next job. Firmware that *queues* goes on with the work it has. Hashing takes a time that is drawn, not
computed, so that a hundred of these cost no CPU; the nonce at its end is a real one, found at a difficulty scale at
which a few hashes are enough, and verifies anywhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from firmware_bridge.clock import Clock, SystemClock
from firmware_bridge.errors import UserError
from firmware_bridge.headers import Job, Share
from firmware_bridge.stratum.client import StratumClient
from firmware_bridge.stratum.client_session import ClientProfile
from firmware_bridge.stratum.verify import PreparedJob

SCALE = 2.0**-40
"""Difficulty scale at which a share of difficulty 256 takes one hash on the mean."""
PROFILE = ClientProfile(
    agent="asiclab-work-miner/1",
    handshake=("subscribe", "authorize"),
    strict_lockstep=False,
    version_bits=False,
    integer_difficulty=False,
    strictly_above=False,
    understands=frozenset({"mining.set_difficulty", "mining.notify", "mining.ping", "client.get_version"}),
)
MOST_TRIES = 4_000_000
FIRST_JOB_S = 60.0
"""How long a pool may take to its first job."""


@dataclass
class Ledger:
    """Where the time of a miner went, ns.

    Attributes:
        hashing_ns: with work.
        waiting_ns: after a share, for the pool's answer and the next job.
        loading_ns: for taking up a job.
        idle_ns: before its first job, or without a connection.
        late_ns: by which this host's timers rang late; no part of any of the others.
        waits_ns: each wait.
        hashes_ns: each stretch of hashing that ended in a share; its wait, where there is one, has the same place.
    """

    hashing_ns: int = 0
    waiting_ns: int = 0
    loading_ns: int = 0
    idle_ns: int = 0
    late_ns: int = 0
    waits_ns: list[int] = field(default_factory=list)
    hashes_ns: list[int] = field(default_factory=list)

    @property
    def eta(self) -> float | None:
        """Fraction of the time since the first job that was spent hashing; None before there was any."""
        total = self.hashing_ns + self.waiting_ns + self.loading_ns
        return self.hashing_ns / total if total else None

    @property
    def late(self) -> float:
        """Part of the time by which this host's timers rang late."""
        total = self.hashing_ns + self.waiting_ns + self.loading_ns + self.late_ns
        return self.late_ns / total if total else 0.0

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def joined(ledgers: Sequence[Ledger]) -> Ledger:
    """The books of several miners as one: times add up, stretches follow each other."""
    return Ledger(
        hashing_ns=sum(x.hashing_ns for x in ledgers),
        waiting_ns=sum(x.waiting_ns for x in ledgers),
        loading_ns=sum(x.loading_ns for x in ledgers),
        idle_ns=sum(x.idle_ns for x in ledgers),
        late_ns=sum(x.late_ns for x in ledgers),
        waits_ns=[ns for x in ledgers for ns in x.waits_ns],
        hashes_ns=[ns for x in ledgers for ns in x.hashes_ns],
    )


class WorkMiner:
    """One miner.

    Args:
        host: of the pool.
        port: of the pool.
        t_hash_s: mean time that a share takes.
        waits: the part of its shares after which it stops hashing until the answer is there: 1 (True) after each, 0
            (False) after none.
        uses_up: whether a share uses its job up, so that it also waits for the next job.
        constant: whether each share takes exactly the mean; exponential otherwise.
        load_s: what taking up a job costs.
        rng: chance.
        user: worker name.
        scale: difficulty scale.
        clock: of the ledger.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        t_hash_s: float,
        waits: float,
        rng: np.random.Generator,
        uses_up: bool = True,
        constant: bool = False,
        load_s: float = 0.0,
        user: str = "work",
        scale: float = SCALE,
        clock: Clock | None = None,
    ) -> None:
        self.ledger = Ledger()
        self.client = StratumClient(
            PROFILE,
            host,
            port,
            user=user,
            scale=scale,
            on_job=self._notified,
            on_lost=self._lost,
            on_answer=lambda: self._news.set(),
        )
        self._t_hash_s, self._waits, self._uses_up = t_hash_s, waits, uses_up
        self._constant, self._load_s, self._rng = constant, load_s, rng
        self._clock: Clock = clock or SystemClock()
        self._job: PreparedJob | None = None
        self._extranonce2 = 0
        self._news = asyncio.Event()
        self._first = asyncio.Event()
        self._connection = 0

    def _notified(self, job: Job) -> None:
        self._job = PreparedJob(job)
        self._first.set()
        self._news.set()

    def _present(self) -> PreparedJob | None:
        """The job that it works on now; another task may have taken it away."""
        return self._job

    def _lost(self) -> None:
        self._job = None
        self._connection += 1
        self._news.set()

    async def run(self, seconds: float, *, on_first_job: Callable[[], None] = lambda: None) -> Ledger:
        """Mine for a while, counted from the first job.

        Args:
            seconds: how long.
            on_first_job: called when the time begins.

        Raises:
            UserError: if the pool cannot be reached, refuses this miner, or gives it no job.
        """
        talk = asyncio.ensure_future(self.client.run())
        work = asyncio.ensure_future(self._work())
        first = asyncio.ensure_future(self._first.wait())
        try:
            done, _ = await asyncio.wait(
                {talk, first}, timeout=FIRST_JOB_S, return_when=asyncio.FIRST_COMPLETED
            )
            if talk in done:
                talk.result()
            if first not in done:
                raise UserError(f"the pool gave no job within {FIRST_JOB_S:g} s")
            on_first_job()
            done, _ = await asyncio.wait({talk, work}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (first, work, talk):
                task.cancel()
            await asyncio.gather(first, work, talk, return_exceptions=True)
        return self.ledger

    async def _work(self) -> None:
        ledger, clock = self.ledger, self._clock
        while True:
            began = clock.monotonic_ns()
            while self._present() is None:
                self._news.clear()
                await self._news.wait()
            ledger.idle_ns += clock.monotonic_ns() - began
            if self._load_s:
                ledger.loading_ns += await self._pass(self._load_s)
            mean = self._t_hash_s
            hashed = await self._pass(
                mean if self._constant else float(self._rng.exponential(mean)), hashing=True
            )
            prepared = self._present()
            if prepared is None:
                continue
            share = self._find(prepared)
            answered = self.client.stats.answered
            if share is None or not self.client.submit(share):
                continue
            ledger.hashes_ns.append(hashed)
            if self._waits >= 1 or (self._waits > 0 and self._rng.random() < self._waits):
                await self._await_answer(prepared, answered)
            elif self._waits > 0:
                ledger.waits_ns.append(0)

    async def _pass(self, seconds: float, *, hashing: bool = False) -> int:
        """Let a time pass; the ns of it, without those by which the timer rang late."""
        began, asked = self._clock.monotonic_ns(), round(seconds * 1e9)
        passed = 0
        try:
            await asyncio.sleep(seconds)
        finally:
            real = self._clock.monotonic_ns() - began
            passed = min(real, asked)
            self.ledger.late_ns += real - passed
            if hashing:  # also where it is cut short by the end of the run
                self.ledger.hashing_ns += passed
        return passed

    async def _await_answer(self, prepared: PreparedJob, answered: int) -> None:
        """Until the pool has answered and, where a share uses its job up, sent the next one; or left."""
        ledger, began, connection = self.ledger, self._clock.monotonic_ns(), self._connection
        waited = 0
        try:
            while self._connection == connection and (
                self.client.stats.answered <= answered or (self._uses_up and self._job is prepared)
            ):
                self._news.clear()
                await self._news.wait()
            waited = self._clock.monotonic_ns() - began
            ledger.waits_ns.append(waited)
        finally:
            ledger.waiting_ns += self._clock.monotonic_ns() - began

    def _find(self, prepared: PreparedJob) -> Share | None:
        """A nonce that meets the job; a few hashes at the scale of this miner."""
        job = prepared.job
        size = job.extranonce2_size
        self._extranonce2 = (self._extranonce2 + 1) % (1 << 8 * size)
        extranonce2 = self._extranonce2.to_bytes(size, "little").hex()
        first = int(self._rng.integers(1 << 32))
        for i in range(MOST_TRIES):
            nonce = f"{(first + i) & 0xFFFFFFFF:08x}"
            if (
                int.from_bytes(prepared.hash(extranonce2, job.ntime, nonce, None), "little")
                <= prepared.target
            ):
                return Share(job.job_id, extranonce2, job.ntime, nonce, None)
        return None
