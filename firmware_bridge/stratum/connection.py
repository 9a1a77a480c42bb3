"""One accepted miner inside a bridge: its transport, its session, and the deadlines that keep both honest."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, Any

from firmware_bridge.errors import LabError, TraceError
from firmware_bridge.stratum.kernel_time import Stamp, StampedTransport
from firmware_bridge.stratum.session import Session
from firmware_bridge.stratum.shares import Judged, Worker
from firmware_bridge.stratum.verify import PreparedJob

if TYPE_CHECKING:
    from firmware_bridge.stratum.server import Bridge

log = logging.getLogger(__name__)

KEEP_ALIVE_S = 45.0
"""Longest silence towards a miner: cgminer gives up after 90 s, ESP-Miner after 180 s."""


class Connection:
    """Carries a :class:`Session`; satisfies its ``Host``."""

    def __init__(self, bridge: Bridge, sock: socket.socket, address: str) -> None:
        self._bridge = bridge
        self._loop = asyncio.get_running_loop()
        self.address = address
        self.session = self._make_session()
        self._transport = StampedTransport(self._loop, sock, bridge.clock, self._received, self._closed)
        self.stamps = self._transport.stamps
        self._tap = None if bridge.recorder is None else bridge.recorder(f"stratum://{address}")
        self._write = self._transport.write if self._tap is None else self._recorded
        now = self._loop.time()
        self.opened = now
        self._sent = now
        self._line_since: float | None = None
        self._job_due = 0.0
        self._was_due: float | None = None  # while a job is sent because its time has come
        self._timer: asyncio.TimerHandle | None = None
        self._dropping: str | None = None

    def _make_session(self) -> Session:
        bridge = self._bridge
        return Session(
            bridge.config,
            self,
            bridge.clock,
            bridge.factory,
            bridge.policy,
            bridge.source,
            keep_jobs=bridge.on_share is not None,
        )

    @property
    def miner(self) -> int | None:
        """Number of the first worker of this connection in the run, None before it authorised."""
        worker = next(iter(self.session.desk.workers.values()), None)
        return None if worker is None else worker.number

    def start(self) -> None:
        """Begin to read."""
        self._transport.start()

    def _recorded(self, data: bytes) -> None:
        """Send, and show it to the flight recorder."""
        if self._tap is not None and not self._transport.closed:
            self._tap.sent(data)
        self._transport.write(data)

    def _received(self, data: bytes, stamp: Stamp) -> None:
        if self._tap is not None:
            kernel_ns, monotonic_ns, wall_ns = stamp
            self._tap.received(data, kernel_ns=kernel_ns, monotonic_ns=monotonic_ns, wall_ns=wall_ns)
        session = self.session
        try:
            session.receive(data, stamp)
        except TraceError as error:
            self._bridge.fail(error)
            return
        except (
            Exception
        ):  # a fault of ours in one conversation must not leave it half alive, nor end the others
            log.exception("%s: internal error", self.address)
            self.event("internal-error", "error", {"where": "receive"})
            self.abort("internal error of the bridge")
            return
        if session.intake.blocked:
            self._transport.pause_reading()
        if not session.intake.unfinished_bytes:
            self._line_since = None
        elif self._line_since is None or b"\n" in data:
            self._line_since = self._loop.time()

    def acknowledge(self, answers: bytes, count: int) -> None:
        """Send answers whose shares are durable, and go on with what waited for them."""
        if answers:
            self._write(answers)
        intake = self.session.intake
        blocked = intake.blocked
        try:
            intake.answered(count, go_on=not self._bridge.stopping)
        except TraceError as error:
            self._bridge.fail(error)
            return
        if blocked and not intake.blocked and not self._bridge.stopping:
            self._transport.resume_reading()

    def sweep(self, now: float) -> None:
        """Hold the connection against its deadlines; called about once a second."""
        config, transport = self._bridge.config, self._transport
        stalled = transport.stalled_since_ns
        if stalled is not None and self._bridge.clock.monotonic_ns() - stalled > config.write_timeout_s * 1e9:
            transport.abort(f"the client did not read for {config.write_timeout_s:g} s")
        elif not self.session.started and now - self.opened > config.handshake_timeout_s:
            self.drop(self._late(f"within {config.handshake_timeout_s:g} s"))
        elif self._line_since is not None and now - self._line_since > config.line_timeout_s:
            self.drop(f"a line was not finished within {config.line_timeout_s:g} s")
        elif self.session.started and now - self._sent > KEEP_ALIVE_S:
            self.session.keep_alive()

    def _late(self, within: str) -> str:
        """Why a handshake was not finished in time."""
        return f"no mining.subscribe and mining.authorize {within}"

    def quiet(self) -> None:
        """Take nothing more from this miner and send it no more work."""
        self._transport.pause_reading()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """Send what waits, then hang up."""
        self.quiet()
        self._transport.close("the bridge stopped")

    def abort(self, reason: str) -> None:
        """Hang up at once."""
        self._transport.abort(reason)

    @property
    def closed(self) -> bool:
        """Whether the connection is over."""
        return self._transport.closed

    def _closed(self, reason: str) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._tap is not None:
            self._tap.close()
        self._bridge.lost(self, self._dropping or reason)

    def _job_time(self) -> None:
        self._timer = None
        if self.closed or self._bridge.stopping:
            return
        if self._loop.time() < self._job_due - 1e-3:
            self._timer = self._loop.call_at(self._job_due, self._job_time)
            return
        self._was_due = self._job_due
        try:
            self.session.dispatch()
        except TraceError as error:
            self._bridge.fail(error)
        finally:
            self._was_due = None

    # ---- Host ------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Send now."""
        self._sent = self._loop.time()
        self._write(data)

    def store(self, judged: Judged) -> None:
        """Queue rows; their answers go out once they are durable."""
        self._bridge.store(self, judged)

    def enroll(self, session: Session, user: str) -> Worker:
        """Give a worker its number in the run."""
        return self._bridge.enroll(self, user)

    def mask_changed(self, mask: int) -> None:
        """Note the version bits that the workers of this connection roll from now on."""
        for worker in self.session.desk.workers.values():
            self._bridge.run.update_miner(worker.number, version_mask=mask)

    def sent_job(self, prepared: PreparedJob) -> None:
        """Store a job that was just sent, and set the time at which it is replaced."""
        self._bridge.stats.jobs += 1
        prepared.number = self._bridge.run.job(
            self.miner,
            prepared.job,
            sent_wall_ns=prepared.sent_wall_ns,
            sent_monotonic_ns=prepared.sent_monotonic_ns,
        )
        now, period_s = self._loop.time(), self.session.policy.deadline_s()
        # a job that went out late, perhaps because shares were being judged, does not delay those after it
        begin = now if self._was_due is None else self._was_due
        self._job_due = begin + period_s if begin + period_s > now else now + period_s
        if self._timer is not None and self._job_due < self._timer.when():
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_at(self._job_due, self._job_time)

    def event(self, kind: str, severity: str = "info", detail: dict[str, Any] | None = None) -> None:
        """Write an event of this connection to the run."""
        self._bridge.peer_event(kind, severity, {"address": self.address, **(detail or {})}, miner=self.miner)

    def drop(self, reason: str) -> None:
        """Send what waits, then hang up."""
        if self._dropping is None:
            self._dropping = reason
            self._bridge.dropped(self, reason)
            self._transport.close(reason)

    def fail(self, error: LabError) -> None:
        """Stop the whole bridge."""
        self._bridge.fail(error)
