"""Publishes the runs of a trace: what is written now, what was left over from before, and what recorders ask for again.

The publisher only reads. It looks for rows beyond the last one that the broker acknowledged, sends them in order, and
when the connection breaks goes back to the last acknowledged one; so an outage costs nothing but time, however long it
is. A broker that forgets what it acknowledged is found out by the recorders, who ask.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from firmware_bridge.clock import Clock, SystemClock
from firmware_bridge.errors import TraceError, UserError
from firmware_bridge.telemetry.feed import TraceFeed
from firmware_bridge.telemetry.messages import (
    RUN,
    LabState,
    MessageError,
    Resend,
    decode_resend,
    decode_state,
    encode_state,
)
from firmware_bridge.telemetry.mqtt import LostError, MqttClient, MqttSettings, Received, Will
from firmware_bridge.telemetry.positions import MOST_UNFINISHED, Positions
from firmware_bridge.telemetry.publisher_watch import BEHIND_S, Backlog, Load, RequestGate, Tell, nobody
from firmware_bridge.telemetry.publishing import Look, Outgoing, Publishing
from firmware_bridge.telemetry.topics import Topics
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.store import locate

log = logging.getLogger(__name__)
T = TypeVar("T")

LOOK_EVERY_S = 0.1
MINERS_EVERY_S = 1.0
RECORD_EVERY_S = 10.0
"""How often recorders are told what there is, while rows are being sent."""
STORE_EVERY_S = 1.0
FAILURES = 30
"""Looks at the trace that may fail one after the other, a second apart."""
ECHO_S = 5.0
"""Within this time the broker has to pass on what we say of ourselves."""
LINGER_S = 1.0
"""Quiet time after the last word of a run in which recorders may still ask."""
MOST_RUNS = 2 * MOST_UNFINISHED


class Publisher:
    """Publishes runs of one trace to one broker; everything but reading happens in one event loop.

    Args:
        settings: of the broker, and the lab's name.
        db: URL of the trace.
        tell: where events go; into the log by default.
        presence: which miners of the live run are there, by number; None where this publishes stored runs only.
        clock: of the lab's state.
        behind_s: how long rows may wait before that is an event.
    """

    def __init__(
        self,
        settings: MqttSettings,
        db: str,
        *,
        tell: Tell = nobody,
        presence: Callable[[], Mapping[int, bool]] | None = None,
        clock: Clock | None = None,
        behind_s: float = BEHIND_S,
    ) -> None:
        self.settings, self.db = settings, db
        self.topics = Topics(settings.lab)
        self.runs: dict[str, Publishing] = {}
        self.rows = 0  # acknowledged since the start, those that were sent again counted again
        self._tell, self._presence = tell, presence
        self._clock: Clock = clock or SystemClock()
        self._id = secrets.token_hex(8)
        self._positions = Positions(locate(db), settings)
        self._reader = TraceReader(db)
        self._feed = TraceFeed(db)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mqtt-feed")
        goodbye = encode_state(LabState(False, self._id))
        self.client = MqttClient(
            settings,
            will=Will(self.topics.state(), goodbye) if presence is not None else None,
            on_connected=self._connected,
            on_lost=self._lost,
        )
        self.client.subscribe(self.topics.resend(), self._asked)
        if presence is not None:
            self.client.subscribe(self.topics.state(), self._heard_state)
        self._wake = asyncio.Event()
        self._greet = False
        self._was_lost = False
        self._gate = RequestGate()
        self._others: set[str] = set()
        self._echo_until: float | None = None
        self._backlog = Backlog(behind_s)
        self._due: dict[str, float] = {}

    # ---- what is published -------------------------------------------------------------------------------------------

    def add(self, run_id: str, *, live: bool = False) -> Publishing:
        """Publish a run of the trace, from where it was left.

        Raises:
            UserError: if the trace has no such run.
        """
        known = self.runs.get(run_id)
        if known is not None:
            return known
        number = self._reader.resolve(run_id)
        run_id = str(self._reader.run(number)["run_id"])
        acked = self._positions.of(run_id)
        run = Publishing(number, run_id, acked, self.topics, self.settings.max_payload, live=live)
        while len(self.runs) >= MOST_RUNS:
            self.runs.pop(next((name for name, run in self.runs.items() if not run.live), run_id), None)
        self.runs[run_id] = run
        self._positions.store(run_id, run.progress(), done=False)
        self._wake.set()
        return run

    def add_unfinished(self) -> list[Publishing]:
        """Publish what earlier publishers of this trace, broker and lab left over."""
        found = []
        for run_id in self._positions.unfinished():
            try:
                found.append(self.add(run_id))
            except UserError:  # removed from the trace meanwhile
                self._positions.store(run_id, {}, done=True)
        return found

    async def start(self) -> bool:
        """Connect; whether that succeeded at once. It is tried again for ever if not.

        Raises:
            UserError: if the broker does not let us in.
        """
        return await self.client.start()

    async def stop(self) -> None:
        """Say goodbye, remember how far everything is, and end."""
        if self._presence is not None:
            try:
                async with asyncio.timeout(2.0):
                    await self.client.publish(self.topics.state(), self._state(False), retain=True)
            except (LostError, TimeoutError):
                pass
        await self.client.stop()
        self._store(always=True)
        self._positions.close()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._feed.close)
        self._thread.shutdown()

    # ---- the work ----------------------------------------------------------------------------------------------------

    async def work(self) -> None:
        """Publish until cancelled.

        Raises:
            TraceError: if the trace cannot be read any more.
        """
        failures = 0
        while True:
            self._watch()
            try:
                async with asyncio.timeout(1.0):
                    await self.client.wait_connected()
                load = Load()
                busy = await self._round()
                if busy and any(run.live for run in self.runs.values()):
                    await asyncio.sleep(load.pause_s())
                self._store()
                failures = 0
            except TimeoutError:
                continue
            except LostError:
                await asyncio.sleep(0.01)
                continue
            except (
                Exception
            ) as error:  # a trace that cannot be read now, or a fault here, must not end a run's publishing
                failures += 1
                if failures == 1:
                    log.warning("%s", error, exc_info=not isinstance(error, TraceError))
                if failures == FAILURES:
                    raise
                await asyncio.sleep(1.0)
                continue
            if not busy:
                try:
                    async with asyncio.timeout(LOOK_EVERY_S):
                        await self._wake.wait()
                except TimeoutError:
                    pass
                self._wake.clear()

    async def finish(self, patience_s: float, *, linger_s: float = LINGER_S) -> bool:
        """Let :meth:`work` publish what is left of runs that have ended, and answer recorders for a while.

        Returns:
            Whether everything was acknowledged.
        """
        loop = asyncio.get_running_loop()
        for run in self.runs.values():
            run.live = run.idle = False
            run.announce = run.fresh = True
        self._wake.set()
        try:
            async with asyncio.timeout(patience_s):
                quiet_since = loop.time()
                while not self.settled or loop.time() - quiet_since < linger_s:
                    await asyncio.sleep(0.02)
                    if not self.settled:
                        quiet_since = loop.time()
        except TimeoutError:
            pass
        return self.settled

    @property
    def settled(self) -> bool:
        """Whether everything that is in the trace now was acknowledged, the runs' records included."""
        return (
            self.client.connected
            and not self._greet
            and all(self.is_settled(run) for run in self.runs.values())
        )

    def is_settled(self, run: Publishing) -> bool:
        """Whether everything that is in the trace now of a run was acknowledged, its record included."""
        acked = all(cursor.acked == cursor.sent for cursor in run.cursors.values())
        return run.idle and acked and not run.announce and not run.fresh

    async def _round(self) -> bool:
        """One look at every run, live ones first; whether there may be more to do at once."""
        if self._greet:
            self._greet = False
            if self._presence is not None:
                self._echo_until = asyncio.get_running_loop().time() + ECHO_S
                await self.client.publish(self.topics.state(), self._state(True), retain=True)
        changed = await self._read(self._feed.changed)
        busy = False
        for run in sorted(self.runs.values(), key=lambda run: not run.live):
            if run.announce:  # recorders keep a run's rows from the time on that they know of it
                await self._publish_record(run, changed)
            if changed or not run.idle:
                busy = await self._publish_rows(run) or busy
            await self._publish_miners(run)
            await self._publish_record(run, changed)
        return busy

    async def _publish_rows(self, run: Publishing) -> bool:
        presence = self._present(run)
        look: Look = await self._read(partial(run.look, self._feed, presence))
        for miner, name, why in run.levels.refused:
            detail = {"name": name[:200], "reason": why, "topic": run.levels.level(miner)}
            self._event(run, "topic-refused", "warning", detail, miner)
        run.levels.refused.clear()
        for table, row_id, why in look.refused:
            self._event(run, "mqtt-row-refused", "warning", {"table": table, "id": row_id, "reason": why})
        waiting: list[tuple[Outgoing, asyncio.Future[None]]] = []
        current = {table for table, cursor in run.cursors.items() if cursor.epoch == look.epochs[table]}
        for table in current & look.seen.keys():
            run.cursors[table].look(look.seen[table])
        try:
            for message in look.messages:
                if message.table is None or message.table not in current:
                    continue
                cursor = run.cursors[message.table]
                if cursor.epoch != look.epochs[message.table]:
                    continue  # a recorder asked for earlier ones meanwhile
                acknowledged = await self.client.send(message.topic, message.payload, retain=message.retain)
                if cursor.epoch == look.epochs[message.table]:
                    cursor.send(message.row_id)
                waiting.append((message, acknowledged))
            for message, acknowledged in waiting:
                await acknowledged
                assert message.table is not None
                run.cursors[message.table].acknowledge(message.row_id, look.epochs[message.table])
                self.rows += 1
        except LostError:
            run.lost()
            raise
        unchanged = all(cursor.epoch == look.epochs[table] for table, cursor in run.cursors.items())
        was_idle, run.idle = run.idle, not look.seen and unchanged
        if run.idle and not was_idle and not run.live:
            run.announce = True
        return look.more or not unchanged

    async def _publish_miners(self, run: Publishing) -> None:
        """States that changed, or all of them after a new connection; those of stored runs only when they are sent."""
        if not run.retained:
            run.fresh = False
            return
        if not run.fresh and not self._is_due(f"miners {run.run_id}", MINERS_EVERY_S):
            return
        begun = asyncio.get_running_loop().time()
        fresh, run.fresh = run.fresh, False
        try:
            presence = self._present(run)
            states = await self._read(partial(run.look_at_miners, self._feed, presence, again=fresh))
            await self._say(states)
        except LostError:
            run.fresh = True
            raise
        spent = asyncio.get_running_loop().time() - begun
        # thousands of miners are looked at less often
        self._due[f"miners {run.run_id}"] = begun + MINERS_EVERY_S + 10.0 * spent

    async def _publish_record(self, run: Publishing, changed: bool) -> None:
        run.stale = run.stale or changed
        due = run.stale and self._is_due(f"record {run.run_id}", MINERS_EVERY_S)
        moved = run.moved and self._is_due(f"moved {run.run_id}", RECORD_EVERY_S)
        # who publishes stored runs has no retained state that would tell a newcomer of them
        again = self._presence is None and self._is_due(f"again {run.run_id}", RECORD_EVERY_S)
        if not (run.announce or due or moved or again):
            return
        always = run.announce or moved or again
        run.announce = run.stale = False
        try:
            record = await self._read(partial(run.look_at_record, self._feed, self._reader, always=always))
            if record is not None:
                await self._say([record])
        except LostError:
            run.announce = True
            raise

    async def _say(self, messages: list[Outgoing]) -> None:
        waiting = [await self.client.send(m.topic, m.payload, retain=m.retain) for m in messages]
        for acknowledged in waiting:
            await acknowledged

    async def _read(self, what: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, what)

    def _present(self, run: Publishing) -> Mapping[int, bool]:
        """Which miners are there; none of a run that is over."""
        if self._presence is None or not run.retained:
            return {}
        present = self._presence()
        return present if run.live else dict.fromkeys(present, False)

    def _is_due(self, what: str, every_s: float) -> bool:
        now = asyncio.get_running_loop().time()
        if now < self._due.get(what, 0.0):
            return False
        self._due[what] = now + every_s
        return True

    def _store(self, *, always: bool = False) -> None:
        if not always and not self._is_due("store", STORE_EVERY_S):
            return
        for run in self.runs.values():
            over = (
                self.is_settled(run)
                and not run.live
                and self._reader.run(run.number)["exit_status"] is not None
            )
            if always or not run.done:
                self._positions.store(run.run_id, run.progress(), done=over)
                run.done = over

    def _watch(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._echo_until is not None and self.client.connected and now > self._echo_until:
            self._echo_until = None
            text = "the broker takes what we publish and does not pass it on; see its access list"
            self._event(None, "mqtt-not-heard", "warning", {"topic": self.topics.state(), "text": text})
        up_to_date = self.client.connected and all(run.idle for run in self.runs.values())
        if (news := self._backlog.look(now, up_to_date)) is not None:
            kind, severity, waited_s = news
            self._event(None, kind, severity, {"seconds": round(waited_s, 1)})

    # ---- what the broker says ----------------------------------------------------------------------------------------

    async def _connected(self) -> None:
        for run in self.runs.values():
            run.lost()
        self._greet = True
        self._wake.set()
        if self._was_lost:
            self._event(None, "mqtt-back", "info", {"broker": self.settings.address})

    def _lost(self, why: str) -> None:
        self._was_lost = True
        self._event(None, "mqtt-lost", "warning", {"broker": self.settings.address, "reason": why})

    def _state(self, online: bool) -> bytes:
        live = next((run.run_id for run in self.runs.values() if run.live), None)
        return encode_state(LabState(online, self._id, live if online else None, self._clock.wall_ns()))

    async def _heard_state(self, message: Received) -> None:
        try:
            state = decode_state(message.payload)
        except MessageError as error:
            self._refuse_request(message.topic, str(error))
            return
        if state.publisher == self._id:
            self._echo_until = None
        if message.retain or state.publisher == self._id:
            return
        if state.online and state.publisher not in self._others and len(self._others) < 100:
            self._others.add(state.publisher)
            text = "another publisher uses this lab's name; give each host its own --lab"
            self._event(None, "lab-name-in-use", "warning", {"lab": self.settings.lab, "text": text})
            self._greet = True  # so that it hears of us as well
        elif not state.online and self._is_due("still here", 5.0):
            self._greet = True

    async def _asked(self, message: Received) -> None:
        """A recorder lacks rows."""
        try:
            request = decode_resend(message.payload)
        except MessageError as error:
            self._refuse_request(message.topic, str(error))
            return
        if message.retain or not self._gate.allows(request, asyncio.get_running_loop().time()):
            return
        if request.run is None:
            for run_id in self._positions.published()[-MOST_UNFINISHED:]:
                await self._known(run_id)
            for run in self.runs.values():
                run.announce = True
        elif (found := await self._known(request.run)) is not None:
            await self._send_again(found, request)
        self._wake.set()

    async def _send_again(self, run: Publishing, request: Resend) -> None:
        if request.table in (None, RUN):
            run.announce = True
            return
        table, after = str(request.table), request.after
        if after is not None:
            # a request may name an id that is none of ours: what follows it then follows our row before it
            after = await self._read(partial(self._feed.at_most, run.number, table, after))
        if run.cursors[table].rewind(after):
            run.idle = run.done = False

    async def _known(self, run_id: str) -> Publishing | None:
        """A run that is or was published here; no other run of the trace is given away."""
        if run_id not in self.runs and run_id in self._positions.published():
            try:
                self.add(run_id)
            except (UserError, TraceError):
                return None
        return self.runs.get(run_id)

    def _refuse_request(self, topic: str, why: str) -> None:
        log.warning("%s: refused: %s", topic, why)
        if self._is_due("refusals", 1.0):
            self._event(None, "mqtt-message-refused", "warning", {"topic": topic, "reason": why})

    def _event(
        self,
        run: Publishing | None,
        kind: str,
        severity: str,
        detail: dict[str, Any],
        miner: int | None = None,
    ) -> None:
        """Events belong to the live run; those of a stored run are only logged."""
        tell = self._tell if run is None or run.retained else nobody
        tell(kind, severity, detail, miner)
