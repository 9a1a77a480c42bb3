"""The bridge: a Stratum V1 pool that stamps, verifies and stores every share before it acknowledges it.

A share's walk: kernel stamp and bytes (``kernel_time``) -> lines (``wire``) -> verdict (``shares``) -> one block of
rows to the writer thread -> commit -> one wake-up of the event loop per commit -> the answers of each connection in
one send.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from firmware_bridge.clock import Clock, SystemClock
from firmware_bridge.errors import LabError, TraceError, UserError
from firmware_bridge.stratum.calibrate import calibrate
from firmware_bridge.stratum.companion import Companion, Follower, ShareSource
from firmware_bridge.stratum.config import BridgeConfig
from firmware_bridge.stratum.connection import Connection
from firmware_bridge.stratum.dispatch import JobPolicy, SymbolSource, policy_for
from firmware_bridge.stratum.door import Door, bind, raise_descriptor_limit
from firmware_bridge.stratum.jobs import JobFactory
from firmware_bridge.stratum.kernel_time import enable_kernel_stamps
from firmware_bridge.stratum.roster import Roster
from firmware_bridge.stratum.shares import Judged, Worker
from firmware_bridge.stratum.verify import PreparedJob
from firmware_bridge.stratum.watch import Watch
from firmware_bridge.trace import provenance
from firmware_bridge.trace.recorder import Recorder
from firmware_bridge.trace.replay import ShareEvent
from firmware_bridge.trace.schema import RunRecord, ShareRow

if TYPE_CHECKING:
    from firmware_bridge.trace.run_writer import RunWriter
    from firmware_bridge.trace.writer import TraceWriter

log = logging.getLogger(__name__)

DUPLICATES_REMEMBERED = 2_000_000
"""Digests of valid shares held over all miners (about 200 MB); beyond it the busiest miner's oldest job goes stale."""

IDLE_GRACE_S = 2.0
"""Time within which a connection that has not authorised is left alone though the bridge is full."""

ROOM_SOUGHT_EVERY_S = 0.01
"""Least time between two searches for room, so that a storm of connections costs little."""

SWEEP_S = 1.0
"""Time between two looks at the deadlines of all connections."""


class WriterFactory(Protocol):
    """Opens the trace: ``functools.partial(TraceWriter, url, synchronous=...)`` is one."""

    def __call__(
        self, *, on_commit: Callable[[list[object]], None], on_failure: Callable[[TraceError], None]
    ) -> TraceWriter:
        """Open it, with the two callbacks of the bridge."""


@dataclass(slots=True)
class BridgeStats:
    """Counts since the start; shares count once they are durable and answered."""

    connections: int = 0
    refused: int = 0
    miners: int = 0
    jobs: int = 0
    accepted: int = 0
    rejected: int = 0


class Bridge:
    """A Stratum V1 bridge and the run that it writes.

    Args:
        config: settings.
        writer: opens the trace.
        rng: chance of the synthetic jobs.
        clock: the clock of this host by default.
        source: which symbol each job carries; None for none.
        policy: when jobs are replaced; that of the configured mode if None.
        on_share: called for every stored share, valid or not, in stored order, after its commit.
        record: a run record to build on (seeds, plants, further configuration); a plain one if None.
        watch: notices clock steps; made for ``clock`` if None.
    """

    def __init__(
        self,
        config: BridgeConfig,
        writer: WriterFactory,
        rng: np.random.Generator,
        *,
        clock: Clock | None = None,
        source: SymbolSource | None = None,
        policy: JobPolicy | None = None,
        on_share: Callable[[ShareEvent], None] | None = None,
        record: RunRecord | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.config, self.source, self.on_share = config, source, on_share
        self.clock: Clock = clock or SystemClock()
        self.policy = policy or policy_for(config)
        self.factory = JobFactory(config, rng)
        self.stats = BridgeStats()
        self.stopping = False
        self.failure: LabError | None = None
        self.jitter_floor: dict[str, Any] = {}
        self.run: RunWriter
        self._open_writer = writer
        self._record = record or RunRecord(kind="live", source="bridge")
        self._writer: TraceWriter | None = None
        self._watch = watch
        self._door: Door | None = None
        self._connections: dict[Connection, None] = {}  # in order of arrival
        self._sources: list[Companion] = []
        self.recorder: Recorder | None = None
        self._roster: Roster
        self._stop_requested: asyncio.Event
        self._all_gone: asyncio.Event
        self._stop_reason = ""
        self._stop_status = "success"
        self._share_limit: int | None = None
        self._remembered = 0
        self._room_sought = 0.0
        self._tasks: list[asyncio.Task[None]] = []
        self._loop: asyncio.AbstractEventLoop

    # ---- life --------------------------------------------------------------------------------------------------------

    async def start(self) -> tuple[str, int]:
        """Bind, calibrate, begin the run, listen.

        Returns:
            Address and port that miners connect to.

        Raises:
            UserError: if the address cannot be bound.
            TraceError: if the trace cannot be opened.
        """
        self._loop = asyncio.get_running_loop()
        self._stop_requested, self._all_gone = asyncio.Event(), asyncio.Event()
        listener = bind(self.config.host, self.config.port)
        try:
            stamps = enable_kernel_stamps(listener)
            self.jitter_floor = await calibrate(self.clock)
            await asyncio.to_thread(self._begin, stamps)
        except BaseException:
            listener.close()
            raise
        self._roster = Roster(self.run, self.config.keep_secrets)
        if not stamps:
            text = "this platform has no kernel receive stamps: times are those of user space"
            self.run.event("no-kernel-stamps", "warning", {"text": text})
        if short := raise_descriptor_limit(self.config.max_clients):
            self.run.event("few-file-descriptors", "warning", short)
        self._door = Door(self._loop, listener, self.config.max_clients, self.admit, self.peer_event)
        if self._watch is None:
            self._watch = Watch(self.clock, self._own_event)
        self._tasks = [
            self._loop.create_task(self._sweep_forever()),
            self._loop.create_task(self._watch_forever(self._watch)),
        ]
        host, port = listener.getsockname()[:2]
        return str(host), int(port)

    def _begin(self, stamps: bool) -> None:
        record = self._record
        record.mode = record.mode or self.config.mode
        record.config = {"bridge": self.config.snapshot(), **record.config}
        record.jitter_floor = self.jitter_floor
        origin = provenance.clock_source() or "unknown clock"
        record.clock_source = f"{origin}, {'kernel receive stamps' if stamps else 'no kernel receive stamps'}"
        self._writer = self._open_writer(on_commit=self._committed, on_failure=self._store_failed)
        try:
            self.run = self._writer.begin_run(record)
        except BaseException:
            self._writer.close()
            raise
        if self.config.record:
            self.recorder = Recorder(self.run.recorded, self.clock, keep_secrets=self.config.keep_secrets)

    async def serve(self, seconds: float | None = None, shares: int | None = None) -> str:
        """Serve until a limit, :meth:`request_stop` or a failure; then stop.

        Args:
            seconds: how long.
            shares: how many valid shares, stored and acknowledged.

        Returns:
            Why it stopped.

        Raises:
            LabError: what made it fail: the store, or a caller's symbol source.
        """
        self._share_limit = shares
        if shares is not None and self.stats.accepted >= shares:
            self.request_stop(f"{shares} shares")
        try:
            async with asyncio.timeout(seconds):
                await self._stop_requested.wait()
        except TimeoutError:
            self.request_stop(f"{seconds:g} s")
        finally:
            await self.stop()
        if self.failure is not None:
            raise self.failure
        return self._stop_reason

    def request_stop(self, reason: str, status: str = "success") -> None:
        """Ask a serving bridge to stop; the first reason stands. Call it from the event loop's thread."""
        if not self._stop_reason:
            self._stop_reason, self._stop_status = reason, status
        self._stop_requested.set()

    def fail(self, error: LabError) -> None:
        """Stop because of a mistake that is not a miner's; after a failure of the store nothing is acknowledged."""
        if self.failure is None:
            self.failure = error
            log.error("%s", error)
        self.request_stop(str(error), "fail")
        if isinstance(error, TraceError):
            self.stopping = True
            for connection in list(self._connections):
                connection.abort("the store failed")

    async def stop(self, reason: str = "stopped") -> None:
        """Take nothing more, store and acknowledge what came, hang up, end the run. May be called again."""
        self.request_stop(reason)
        if self._door is None:
            return
        door, self._door = self._door, None
        self.stopping = True
        door.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in list(self._connections):
            connection.quiet()
        for source in self._sources:
            try:
                await source.stop()
            except LabError as error:  # the run is ended properly whatever a source says
                self.fail(error)
        try:
            await asyncio.to_thread(self._drain)
        except TraceError as error:
            self.fail(error)
        for connection in list(self._connections):
            connection.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2.0):
                if self._connections:
                    await self._all_gone.wait()
        for connection in list(self._connections):
            connection.abort("the bridge stopped")
        try:
            await asyncio.to_thread(self._end)
        except TraceError as error:
            self.fail(error)
        for source in self._sources:
            if isinstance(source, Follower):
                try:
                    await source.ended()
                except LabError as error:
                    self.fail(error)

    def _drain(self) -> None:
        """Everything durable and on its way to the event loop: the second flush returns after the first's callbacks."""
        self.run.flush()
        self.run.flush()

    def _end(self) -> None:
        assert self._writer is not None
        try:
            self.run.end(self._stop_status, self._stop_reason)
        finally:
            self._writer.close()

    # ---- connections -------------------------------------------------------------------------------------------------

    def admit(self, sock: socket.socket, address: str) -> bool:
        """Take a new connection in; False where the bridge is full."""
        if len(self._connections) >= self.config.max_clients and not self._make_room():
            self.stats.refused += 1
            return False
        self.stats.connections += 1
        connection = self._connection(sock, address)
        self._connections[connection] = None
        connection.start()
        return True

    def _connection(self, sock: socket.socket, address: str) -> Connection:
        return Connection(self, sock, address)

    def _make_room(self) -> bool:
        """Send away the longest-waiting connection that has not authorised, so that idle crowds keep no miner out."""
        now = self._loop.time()
        if now - self._room_sought < ROOM_SOUGHT_EVERY_S:
            return False
        self._room_sought = now
        waiting = (c for c in self._connections if not c.session.started and now - c.opened > IDLE_GRACE_S)
        idle = next(waiting, None)
        if idle is not None:
            idle.abort("made room for a newcomer: not authorised in time")
        return idle is not None

    def dropped(self, connection: Connection, reason: str) -> None:
        """A connection is being hung up for a reason of ours."""
        self.peer_event(
            "dropped", "warning", {"address": connection.address, "reason": reason}, connection.miner
        )

    def lost(self, connection: Connection, reason: str) -> None:
        """A connection is over."""
        self._connections.pop(connection, None)
        if self.stopping and not self._connections:
            self._all_gone.set()
        miner = connection.miner
        self._remembered -= connection.session.desk.remembered
        self._roster.leave(connection.session.desk.workers.values())
        if miner is not None and self.failure is None:
            with contextlib.suppress(TraceError):
                self.peer_event(
                    "disconnected", "info", {"address": connection.address, "reason": reason}, miner
                )

    def enroll(self, connection: Connection, user: str) -> Worker:
        """Number of a worker in the run: its old one if it comes back, else the next."""
        worker = self._roster.enroll(connection.session, connection.address, user, self.clock.wall_ns())
        self.stats.miners = len(self._roster)
        return worker

    # ---- sources that are no connection ------------------------------------------------------------------------------

    def miners_at(self, host: str) -> list[int]:
        """Numbers of the miners that are connected from an address."""
        places = ((c.miner, c.address.rpartition(":")[0].strip("[]")) for c in self._connections)
        return sorted({number for number, place in places if number is not None and place == host})

    def miner_named(self, name: str) -> int | None:
        """Number of the newest miner of that name, or None."""
        return self._roster.number(name)

    def miner_names(self) -> dict[int, str]:
        """Number and name of every miner so far that brought shares or may."""
        return self._roster.names()

    def presence(self) -> dict[int, bool]:
        """Which workers are here, by their number in the run; may be called from any thread."""
        return self._roster.presence()

    async def attach(self, source: Companion) -> None:
        """Let something take part in the run, which has started; it is stopped with the bridge.

        Raises:
            LabError: if it cannot start.
        """
        self._sources.append(source)
        await source.start(self)

    def enroll_source(self, session: Any, address: str, name: str) -> Worker:
        """Number of a source's worker in the run; ``session`` has agent, scale, extranonce1 and version mask."""
        worker = self._roster.enroll(session, address, name, self.clock.wall_ns())
        self.stats.miners = len(self._roster)
        return worker

    def sent_by_source(self, miner: int | None, prepared: PreparedJob) -> None:
        """Store a job that a source was just given."""
        self.stats.jobs += 1
        prepared.number = self.run.job(
            miner,
            prepared.job,
            sent_wall_ns=prepared.sent_wall_ns,
            sent_monotonic_ns=prepared.sent_monotonic_ns,
        )

    def store_of_source(self, source: ShareSource, judged: Judged) -> None:
        """Queue the rows of a source's shares."""
        try:
            self.run.shares(judged.rows, (source, judged))
        except TraceError as error:
            self.fail(error)

    def source_lost(self, miner: int | None, address: str, error: LabError) -> None:
        """A source ended by itself; the others go on."""
        log.error("%s", error)
        if self.failure is None:
            self.peer_event("source-lost", "error", {"address": address, "error": str(error)}, miner)

    # ---- shares ------------------------------------------------------------------------------------------------------

    def store(self, connection: Connection, judged: Judged) -> None:
        """Queue the rows of one read; their answers follow from the commit."""
        self.run.shares(judged.rows, (connection, judged))
        self._remembered += judged.valid
        if self._remembered > DUPLICATES_REMEMBERED:
            self._forget()

    def _forget(self) -> None:
        """Bound the memory of duplicates: the busiest miner's oldest job goes stale."""
        desks = {connection: connection.session.desk for connection in self._connections}
        self._remembered = sum(desk.remembered for desk in desks.values())
        while self._remembered > DUPLICATES_REMEMBERED:
            connection = max(desks, key=lambda c: desks[c].remembered)
            if len(desks[connection].jobs) == 1:
                connection.session.dispatch()
            self._remembered -= desks[connection].retire_oldest()

    def _committed(self, tokens: list[object]) -> None:
        """In the writer thread: one wake-up of the event loop per commit."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be answered
            self._loop.call_soon_threadsafe(self._acknowledge, tokens)

    def _acknowledge(self, committed: list[object]) -> None:
        tokens = cast("list[tuple[Connection | ShareSource, Judged]]", committed)
        if isinstance(self.failure, TraceError):
            return
        stats = self.stats
        answers: dict[Connection | ShareSource, tuple[list[bytes], int]] = {}
        for connection, judged in tokens:
            stats.accepted += judged.valid
            stats.rejected += len(judged.rows) - judged.valid
            waiting = answers.get(connection)
            if waiting is None:
                answers[connection] = ([judged.answers], judged.answered)
            else:
                waiting[0].append(judged.answers)
                answers[connection] = (waiting[0], waiting[1] + judged.answered)
        for connection, (parts, count) in answers.items():
            connection.acknowledge(parts[0] if len(parts) == 1 else b"".join(parts), count)
        if self.on_share is not None:
            self._tell(tokens)
        if self._share_limit is not None and stats.accepted >= self._share_limit:
            self.request_stop(f"{self._share_limit} shares")

    def _tell(self, tokens: list[tuple[Connection | ShareSource, Judged]]) -> None:
        assert self.on_share is not None
        for _, judged in tokens:
            for row, prepared in zip(judged.rows, judged.jobs, strict=True):
                job = None if prepared is None else prepared.job
                event = ShareEvent(ShareRow(*row), job, self._roster.name(row[0]))
                try:
                    self.on_share(event)
                except Exception as error:
                    failure = UserError(f"the consumer of the shares failed: {error!r}")
                    failure.__cause__ = error
                    self.fail(failure)
                    return

    def _store_failed(self, error: TraceError) -> None:
        """In the writer thread: nothing can be stored any more."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self.fail, error)

    # ---- watching ----------------------------------------------------------------------------------------------------

    def _own_event(self, kind: str, severity: str, detail: dict[str, Any]) -> None:
        self.run.event(kind, severity, detail)

    def peer_event(self, kind: str, severity: str, detail: dict[str, Any], miner: int | None = None) -> None:
        """An event that a peer caused: written unless peers cause too many of them, or nothing can be written."""
        if isinstance(self.failure, TraceError):
            return
        try:
            self._roster.event(self._loop.time(), kind, severity, detail, miner)
        except TraceError as error:
            self.fail(error)

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(
                min(SWEEP_S, self.config.line_timeout_s / 2, self.config.handshake_timeout_s / 2)
            )
            now = self._loop.time()
            try:
                for connection in list(self._connections):
                    connection.sweep(now)
                self._roster.report_suppressed()
            except TraceError as error:
                self.fail(error)
                return

    async def _watch_forever(self, watch: Watch) -> None:
        while True:
            await asyncio.sleep(watch.period_s)
            try:
                problem = watch.check()
            except TraceError as error:
                self.fail(error)
                return
            if problem is not None:
                self.request_stop(problem, "abort")
