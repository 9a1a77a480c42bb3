"""The recorder of another host's runs: hears what their publishers say, asks for what it lacks, writes the same trace.

A row is taken when it follows the last one that was taken, and is stored in one transaction with its place; so the
trace is always a beginning of the origin's, whatever the broker loses or repeats and whoever is killed, and becomes
the whole of it when the run ends.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

from firmware_bridge.clock import Clock, SystemClock
from firmware_bridge.errors import UserError
from firmware_bridge.telemetry import messages
from firmware_bridge.telemetry.messages import TABLES, MessageError, Resend, RowMessage, RunMessage
from firmware_bridge.telemetry.mqtt import LostError, MqttClient, MqttSettings, Received
from firmware_bridge.telemetry.sequence import Acceptance
from firmware_bridge.telemetry.topics import ROW_LEAVES, Place, Topics, lab_filters, parse
from firmware_bridge.trace.foreign import AT_THE_END, OWN_WORDS, Batch, ForeignRun, ForeignRuns
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.records import columns_after_run
from firmware_bridge.trace.schema import metadata
from firmware_bridge.trace.writer import TraceWriter

log = logging.getLogger(__name__)
T = TypeVar("T")

TICK_S = 0.05
FIRST_ASK_S = 0.2
"""How long a gap may close by itself."""
LONGEST_ASK_S = 30.0
ASKS_AT_ONCE = 16
GREET_EVERY_S = 2.0
MOST_RUNS = 1024
MOST_EARLY = 4096
"""Rows of runs whose record has not come yet."""
MOST_PENDING = 50_000
"""Rows that wait to be stored; what comes on top is asked for again."""
REFUSALS_PER_S = 10
"""Refused messages that are spoken of."""
MINER_COLUMNS = columns_after_run(metadata.tables["miners"])


_parse = lru_cache(maxsize=1024)(parse)


@dataclass
class RecorderCounts:
    """Since the start."""

    rows: int = 0
    begun: int = 0
    complete: int = 0
    asked: int = 0
    refused: int = 0

    def to_json(self) -> dict[str, int]:
        """For ``--json``."""
        return dict(vars(self))


@dataclass
class _Ask:
    at: float
    pause_s: float = FIRST_ASK_S
    last: int | None = None


@dataclass
class _Receiving:
    """A run as far as it came."""

    run_id: str
    lab: str
    run: ForeignRun | None = None
    refused: bool = False
    message: RunMessage | None = None
    record: dict[str, Any] = field(default_factory=dict)
    accept: dict[str, Acceptance] = field(default_factory=dict)
    early: list[RowMessage] = field(default_factory=list)
    batch: Batch = field(default_factory=Batch)
    miners: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    asks: dict[str, _Ask] = field(default_factory=dict)
    in_step: RunMessage | None = None  # the last word about a run that is over, once all of it is here
    told_conflict: bool = False

    @property
    def dirty(self) -> bool:
        return bool(self.batch.rows or self.batch.miners or self.batch.record)

    @property
    def idle(self) -> bool:
        """Whether it can be forgotten: it is here, not wanted, or nothing but a name."""
        return self.in_step is not None or self.refused or (self.run is None and self.message is None)

    @property
    def lacking(self) -> list[str]:
        if self.run is None:
            return [messages.RUN]
        return [table for table, accept in self.accept.items() if accept.gap]


Say = Callable[[str, dict[str, Any]], None]


class RemoteRecorder:
    """Writes the runs of one lab, or of all labs of a broker, into a trace of its own.

    Args:
        settings: of the broker; its ``lab`` is not used.
        db: URL of the trace to write.
        lab: whose runs; of all labs where None.
        synchronous: as for :class:`~firmware_bridge.trace.writer.TraceWriter`.
        say: called with ``begun``, ``complete``, ``refused`` and what there is to say.
        clock: of what is said in a second.

    Raises:
        UserError: if the trace or the lab's name cannot be used.
        TraceError: if the trace cannot be written.
    """

    def __init__(
        self,
        settings: MqttSettings,
        db: str,
        *,
        lab: str | None = None,
        synchronous: str = "normal",
        say: Say | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._clock: Clock = clock or SystemClock()
        filters = lab_filters(lab, ("run", "state"), (*ROW_LEAVES, "state"))
        self.counts = RecorderCounts()
        self.name = f"recorder-{secrets.token_hex(4)}"
        self._lab = lab
        self._say = say or (lambda kind, detail: None)
        self.client = MqttClient(settings, on_connected=self._connected)
        self.client.subscribe(filters, self.handle)
        self._writer = TraceWriter(db, synchronous=synchronous)
        try:
            self._foreign = ForeignRuns(self._writer)
            self._reader = TraceReader(db)
        except BaseException:
            self._writer.close()
            raise
        self._runs: dict[str, _Receiving] = {}
        self._pending = self._early = 0
        self._refusals, self._refusals_since_ns = 0, self._clock.monotonic_ns()
        self._greeted: dict[str, float] = {}
        self._greet: set[str] = set()
        self._wake = asyncio.Event()
        for run_id, origin in self._foreign.unfinished(MOST_RUNS // 2):
            if lab in (None, origin):
                self._runs[run_id] = _Receiving(run_id, origin)

    async def start(self) -> bool:
        """Connect; whether that succeeded at once. It is tried again for ever if not.

        Raises:
            UserError: if the broker does not let us in.
        """
        return await self.client.start()

    async def stop(self) -> None:
        """Store what has come, and end."""
        await self.client.stop()
        try:
            if self._writer.failed is None:
                await self._store()
        finally:
            await asyncio.to_thread(self._writer.close)

    async def work(self) -> None:
        """Store what comes and ask for what does not, until cancelled.

        Raises:
            TraceError: if the trace cannot be written any more.
        """
        while True:
            try:
                async with asyncio.timeout(TICK_S):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            await self._begin()
            await self._store()
            await self._end()
            await self._ask()

    @property
    def complete(self) -> list[str]:
        """Runs that are over and here as a whole."""
        return [r.run_id for r in self._runs.values() if r.in_step is not None and r.in_step.final]

    # ---- what comes --------------------------------------------------------------------------------------------------

    def handle(self, message: Received) -> None:
        """Take a message in, or refuse it and say why; never fails."""
        place = _parse(message.topic)
        try:
            if place is None:
                raise MessageError("no topic of a lab")
            if not message.payload:
                return  # a retained message was taken away
            if place.table is not None:
                self._row(place, messages.decode_row(place.table, message.payload))
            elif place.leaf == "run":
                self._record(place, messages.decode_run(message.payload))
            elif place.leaf == "state" and messages.decode_state(message.payload).online:
                self._greet.add(place.lab)
        except MessageError as error:
            self._refuse(message.topic, str(error))

    def _row(self, place: Place, row: RowMessage) -> None:
        receiving = self._receiving(row.run, place.lab)
        if receiving is None or self._pending >= MOST_PENDING:
            return
        if receiving.run is None:
            if self._early < MOST_EARLY:
                self._early += 1
                receiving.early.append(row)
            return
        self._take(receiving, row)

    def _take(self, receiving: _Receiving, row: RowMessage) -> None:
        accept = receiving.accept[row.table]
        is_old = row.id <= (accept.last or 0)
        taken = accept.offer(row.id, row.after, row.row)
        if accept.conflict and not receiving.told_conflict:
            receiving.told_conflict = True
            self._refuse(
                row.run, f"its {row.table} do not go on from those that are stored; two runs have this id"
            )
        if taken:
            rows, _ = receiving.batch.rows.setdefault(row.table, ([], 0))
            rows.extend(taken)
            assert accept.last is not None
            receiving.batch.rows[row.table] = (rows, accept.last)
            self._pending += len(taken)
            self.counts.rows += len(taken)
            self._wake.set()
        if row.table == "miners":
            for values in taken:
                receiving.miners[values[0]] = values
            if is_old and receiving.miners.get(row.row[0]) != row.row:
                receiving.miners[row.row[0]] = row.row
                receiving.batch.miners[row.row[0]] = dict(zip(MINER_COLUMNS[1:], row.row[1:], strict=True))
                self._wake.set()

    def _record(self, place: Place, message: RunMessage) -> None:
        receiving = self._receiving(message.run, place.lab)
        if receiving is None:
            return
        receiving.message = message
        if receiving.run is not None:
            self._expect(receiving)
        self._wake.set()

    def _expect(self, receiving: _Receiving) -> None:
        """What the newest record says of the run and of how many rows it has."""
        message = receiving.message
        assert message is not None
        for table, last in message.last.items():
            receiving.accept[table].expect(last)
        for name, value in message.record.items():
            unset = object()
            if name not in (*AT_THE_END, *OWN_WORDS, "run_id") and receiving.record.get(name, unset) != value:
                receiving.batch.record[name] = value
        receiving.record = message.record

    def _receiving(self, run_id: str, lab: str) -> _Receiving | None:
        """The run that a message is of, or None where it is not taken."""
        found = self._runs.get(run_id)
        if found is None:
            if len(self._runs) >= MOST_RUNS:
                done = next(
                    (name for name, r in self._runs.items() if r.in_step is not None or r.refused), None
                )
                if done is None:
                    raise MessageError(f"more than {MOST_RUNS} runs at once")
                del self._runs[done]
            found = self._runs[run_id] = _Receiving(run_id, lab)
        if found.lab != lab:
            raise MessageError(f"run {run_id} comes from another lab")
        return None if found.refused else found

    def _refuse(self, what: str, why: str) -> None:
        self.counts.refused += 1
        now_ns = self._clock.monotonic_ns()
        if now_ns - self._refusals_since_ns > 10**9:
            self._refusals, self._refusals_since_ns = 0, now_ns
        self._refusals += 1
        if self._refusals > REFUSALS_PER_S:
            return  # counted, like all of them
        log.warning("%s: refused: %s", what, why)
        self._say("refused", {"what": what, "reason": why})

    # ---- what is done with it ----------------------------------------------------------------------------------------

    async def _begin(self) -> None:
        for receiving in list(self._runs.values()):
            message = receiving.message
            if receiving.run is not None or receiving.refused or message is None:
                continue
            run = await asyncio.to_thread(self._foreign.begin, message.record, receiving.lab)
            if run is None:
                receiving.refused = True
                self._early -= len(receiving.early)
                receiving.early.clear()
                self._refuse(
                    receiving.run_id, "this trace has a run of that id which did not come from there"
                )
                continue
            receiving.accept = {table: Acceptance(run.last.get(table)) for table in TABLES}
            receiving.run = run
            if not run.resumed:
                receiving.record = message.record
            self.counts.begun += 1
            self._say("begun", {"run": run.run_id, "lab": receiving.lab, "resumed": run.resumed})
            self._expect(receiving)
            early, receiving.early = receiving.early, []
            self._early -= len(early)
            for row in early:
                self._take(receiving, row)

    async def _store(self) -> None:
        dirty = [r for r in self._runs.values() if r.run is not None and r.dirty]
        if not dirty:
            return
        parts: list[tuple[ForeignRun, Batch]] = []
        for receiving in dirty:
            assert receiving.run is not None
            parts.append((receiving.run, receiving.batch))
            receiving.batch = Batch()
        self._pending = 0
        await asyncio.to_thread(self._foreign.store, parts)

    async def _end(self) -> None:
        """Close the runs that are over and here as a whole."""
        for receiving in list(self._runs.values()):
            run, message = receiving.run, receiving.message
            if run is None or message is None or message.live or receiving.in_step is message:
                continue
            if receiving.dirty or receiving.lacking or not message.miners:
                continue
            if await asyncio.to_thread(self._miners_of, run) != message.miners:
                ask = receiving.asks.setdefault("miners", _Ask(self._now()))
                if self._now() >= ask.at:
                    await self._request(receiving, "miners", None, ask)
                continue
            if message.final and not run.ended:
                record = {n: v for n, v in message.record.items() if n not in (*OWN_WORDS, "run_id")}
                await asyncio.to_thread(self._foreign.store, [(run, Batch(record=record, end=True))])
            before, receiving.in_step = receiving.in_step, message
            receiving.asks.clear()
            if before is None and message.final:
                self.counts.complete += 1
                self._say(
                    "complete",
                    {"run": run.run_id, "lab": receiving.lab, "shares": self._reader.count(run.number)},
                )

    def _miners_of(self, run: ForeignRun) -> str:
        return messages.digest(self._reader.rows(run.number, "miners"))

    async def _ask(self) -> None:
        """Ask for what is missing, each thing less and less often."""
        if not self.client.connected:
            return
        now, room = self._now(), ASKS_AT_ONCE
        for lab in list(self._greet):
            self._greet.discard(lab)
            if now - self._greeted.get(lab, -GREET_EVERY_S) >= GREET_EVERY_S:
                self._greeted[lab] = now
                await self._publish(lab, Resend(self.name))
        for receiving in list(self._runs.values()):
            if receiving.refused or room <= 0:
                continue
            lacking = receiving.lacking
            for table in [table for table in receiving.asks if table not in lacking and table != "miners"]:
                del receiving.asks[table]
            for table in lacking:
                last = None if table == messages.RUN else receiving.accept[table].last
                ask = receiving.asks.setdefault(table, _Ask(now + FIRST_ASK_S, last=last))
                if ask.last != last:  # it goes on
                    ask.at, ask.pause_s, ask.last = now + FIRST_ASK_S, FIRST_ASK_S, last
                elif now >= ask.at and room > 0:
                    room -= 1
                    await self._request(receiving, table, last, ask)

    async def _request(self, receiving: _Receiving, table: str, after: int | None, ask: _Ask) -> None:
        ask.pause_s = min(LONGEST_ASK_S, max(0.6, 2.0 * ask.pause_s))
        ask.at = self._now() + ask.pause_s
        await self._publish(receiving.lab, Resend(self.name, receiving.run_id, table, after))

    async def _publish(self, lab: str, request: Resend) -> None:
        self.counts.asked += 1
        try:
            async with asyncio.timeout(5.0):
                await self.client.publish(Topics(lab).resend(), messages.encode_resend(request))
        except (LostError, TimeoutError, UserError):
            pass

    async def _connected(self) -> None:
        """Whatever was said meanwhile is unknown: ask each lab which runs there are, and for the record of each run."""
        now = self._now()
        self._greeted.clear()
        if self._lab is not None:
            self._greet.add(self._lab)
        for receiving in self._runs.values():
            if receiving.run is not None and receiving.in_step is None and not receiving.refused:
                await self._publish(receiving.lab, Resend(self.name, receiving.run_id, messages.RUN))
            for ask in receiving.asks.values():
                ask.at, ask.pause_s = now, FIRST_ASK_S
        self._wake.set()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def lacking(self) -> Iterable[tuple[str, str, list[str]]]:
        """Lab, run and tables of what is known to be missing."""
        return [(r.lab, r.run_id, r.lacking) for r in self._runs.values() if r.lacking and not r.refused]
