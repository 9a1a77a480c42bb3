"""The pool of an emulated miner that was given none: real jobs, every share verified, nothing stored."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import Any

import numpy as np

from firmware_bridge.clock import Clock
from firmware_bridge.errors import LabError
from firmware_bridge.stratum.config import BridgeConfig, Mode
from firmware_bridge.stratum.dispatch import policy_for
from firmware_bridge.stratum.jobs import JobFactory
from firmware_bridge.stratum.kernel_time import Stamp
from firmware_bridge.stratum.session import Session
from firmware_bridge.stratum.shares import Judged, Worker
from firmware_bridge.stratum.verify import PreparedJob

JOB_PERIOD_S = 30.0


class BuiltinPool:
    """A Stratum V1 pool on a loopback address.

    Args:
        rng: chance of its jobs.
        clock: for its stamps.
        difficulty: nominal share difficulty.
        mode: ``stream``, or ``swh`` for a new job at each valid share.
        job_period_s: seconds between jobs, in mode stream.

    Attributes:
        accepted: valid shares.
        rejected: reason to count.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        clock: Clock,
        difficulty: float = 256.0,
        *,
        mode: Mode = "stream",
        job_period_s: float = JOB_PERIOD_S,
    ) -> None:
        self.config = BridgeConfig(port=0, difficulty=difficulty, mode=mode, job_period_s=job_period_s)
        self.accepted = 0
        self.rejected: Counter[str] = Counter()
        self.factory = JobFactory(self.config, rng)
        self.clock = clock
        self.workers = 0
        self._server: asyncio.Server | None = None
        self._open: set[_Client] = set()
        self._serving: set[asyncio.Task[None]] = set()

    async def start(self, host: str) -> int:
        """Listen on a free port; returns it."""
        self._server = await asyncio.start_server(self._serve, host, 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Hang up on everybody."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            for client in list(self._open):
                client.abort()
            await asyncio.gather(*self._serving)
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        client = _Client(self, writer)
        self._open.add(client)
        try:
            while data := await reader.read(1 << 16):
                stamp = Stamp(None, self.clock.monotonic_ns(), self.clock.wall_ns())
                client.session.receive(data, stamp)
        except OSError:
            return  # the miner left
        finally:
            self._open.discard(client)
            client.abort()


class _Client:
    """One connection, as a session's host."""

    def __init__(self, pool: BuiltinPool, writer: asyncio.StreamWriter) -> None:
        self._pool = pool
        self._writer = writer
        self._timer: asyncio.TimerHandle | None = None
        self._jobs = 0
        self._policy = policy_for(pool.config)
        self.session = Session(pool.config, self, pool.clock, pool.factory, self._policy)

    def abort(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        with contextlib.suppress(OSError, RuntimeError):
            self._writer.close()

    # ---- Host ----

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    def store(self, judged: Judged) -> None:
        self._pool.accepted += judged.valid
        self._pool.rejected.update(row[9] for row in judged.rows if not row[8])
        self._writer.write(judged.answers)
        asyncio.get_running_loop().call_soon(self.session.intake.answered, judged.answered)

    def enroll(self, session: Session, user: str) -> Worker:
        self._pool.workers += 1
        return Worker(self._pool.workers, user)

    def mask_changed(self, mask: int) -> None:
        return

    def sent_job(self, prepared: PreparedJob) -> None:
        self._jobs += 1
        prepared.number = self._jobs
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._policy.deadline_s(), self.session.dispatch)

    def event(self, kind: str, severity: str = "info", detail: dict[str, Any] | None = None) -> None:
        return

    def drop(self, reason: str) -> None:
        self.abort()

    def fail(self, error: LabError) -> None:
        self.abort()
