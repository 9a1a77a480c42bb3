"""One run on its way to a broker: what of it was sent, and the messages that come next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from firmware_bridge.telemetry.feed import Rows, TraceFeed
from firmware_bridge.telemetry.messages import (
    TABLES,
    MessageError,
    RowMessage,
    RunMessage,
    digest,
    encode_row,
    encode_run,
)
from firmware_bridge.telemetry.sequence import Cursor
from firmware_bridge.telemetry.topics import MinerLevels, Topics
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.records import columns_after_run
from firmware_bridge.trace.schema import metadata

ROWS_AT_ONCE = 512
"""Rows of each table that one look takes."""
REFUSALS_TOLD = 1000
_MINER = {table: columns_after_run(metadata.tables[table]).index("miner") for table in TABLES}
_NAME = columns_after_run(metadata.tables["miners"]).index("name")


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message, and the row that it holds, if it holds one."""

    topic: str
    payload: bytes
    retain: bool = False
    table: str | None = None
    row_id: int = 0


@dataclass
class Look:
    """What was found in the trace.

    Attributes:
        messages: to be sent, in order.
        refused: table, row and why it cannot be sent.
        seen: highest id that was looked at, per table.
        epochs: of the cursors when it was looked.
        more: whether there may be more rows now.
    """

    messages: list[Outgoing] = field(default_factory=list)
    refused: list[tuple[str, int, str]] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)
    more: bool = False


class Publishing:
    """A run, and how far it is.

    Methods that read the trace are for a thread of their own; the others and the cursors for the event loop.

    Args:
        number: of the run in its trace.
        run_id: its id.
        acked: per table the id up to which the broker has its rows.
        topics: of the lab.
        max_payload: largest message, bytes.
        live: whether more rows come; only then are messages retained.
    """

    def __init__(
        self,
        number: int,
        run_id: str,
        acked: Mapping[str, int],
        topics: Topics,
        max_payload: int,
        *,
        live: bool,
    ) -> None:
        self.number, self.run_id = number, run_id
        self.live = self.retained = live
        self.cursors = {table: Cursor.at(acked.get(table)) for table in TABLES}
        self.levels = MinerLevels()
        self.idle = False  # the last look found nothing
        self.announce = True  # the record is to be said again
        self.stale = False  # something was committed since the record was looked at
        self.fresh = bool(acked.get("miners"))  # miners' states are to be said again
        self.done = False  # all of it was acknowledged, and its end
        self._topics = topics
        self._max_payload = max_payload
        self._met = False
        self._told: dict[int, tuple[tuple[Any, ...], bool | None]] = {}
        self._told_refusals: set[tuple[str, int]] = set()
        self._said_record = b""
        self._said_last: dict[str, int | None] = {}

    def progress(self) -> dict[str, int | None]:
        """Acknowledged id of each table."""
        return {table: cursor.acked for table, cursor in self.cursors.items()}

    def lost(self) -> None:
        """The connection broke."""
        for cursor in self.cursors.values():
            cursor.lost()
        self.idle = False
        self.announce = self.fresh = True

    def look(self, feed: TraceFeed, presence: Mapping[int, bool]) -> Look:
        """Read on, and make messages of what is new.

        Raises:
            TraceError: if the trace cannot be read.
        """
        found = Look(epochs={table: cursor.epoch for table, cursor in self.cursors.items()})
        sent = {table: cursor.sent for table, cursor in self.cursors.items()}
        if not self._met:  # those that were sent before this process began keep their levels
            self._met = True
            self._meet(feed.miners(self.number))
        rows = feed.read(self.number, {t: c.seen for t, c in self.cursors.items()}, ROWS_AT_ONCE)
        self._meet(rows.get("miners", []))
        for table, block in rows.items():
            after = sent[table]
            for row_id, values in block:
                online = presence.get(values[0]) if table == "miners" else None
                topic = self._topics.row(table, self.levels.level(values[_MINER[table]]))
                try:
                    payload = encode_row(RowMessage(self.run_id, table, row_id, after, values, online))
                    self._check_size(payload)
                except MessageError as error:
                    self._refuse(found, table, row_id, str(error))
                    continue
                retain = self.retained and table == "miners"
                found.messages.append(Outgoing(topic, payload, retain, table, row_id))
                after = row_id
                if table == "miners":
                    self._told[values[0]] = (values, online)
            found.seen[table] = block[-1][0]
            found.more = found.more or len(block) == ROWS_AT_ONCE
        return found

    def look_at_miners(self, feed: TraceFeed, presence: Mapping[int, bool], *, again: bool) -> list[Outgoing]:
        """States of the miners whose rows or presence changed since they were sent; of all of them if ``again``.

        Raises:
            TraceError: if the trace cannot be read.
        """
        found: list[Outgoing] = []
        rows = feed.miners(self.number)
        self._meet(rows)
        sent = self.cursors["miners"].sent or 0
        after: int | None = None
        for row_id, values in rows:
            before, after = after, row_id
            if row_id > sent:
                break
            now = (values, presence.get(values[0]))
            if not again and self._told.get(values[0]) == now:
                continue
            self._told[values[0]] = now
            message = RowMessage(self.run_id, "miners", row_id, before, values, now[1])
            payload = encode_row(message)
            if len(payload) <= self._max_payload:
                topic = self._topics.miner_state(self.levels.level(values[0]))
                found.append(Outgoing(topic, payload, self.retained))
        return found

    def look_at_record(self, feed: TraceFeed, reader: TraceReader, *, always: bool) -> Outgoing | None:
        """The run's record with how far its rows were sent; None where nothing of it changed, unless ``always``.

        Raises:
            TraceError: if the trace cannot be read.
        """
        record = reader.run(self.number)
        last = {table: cursor.sent for table, cursor in self.cursors.items()}
        complete = self.idle and not self.live
        miners = digest(values for _, values in feed.miners(self.number)) if complete else ""
        final = complete and record["exit_status"] is not None
        message = RunMessage(record, last, self.live, final, miners)
        payload = encode_run(message)
        if len(payload) > self._max_payload:
            short = record | {"config": {"left_out": f"{len(payload)} bytes are more than a message takes"}}
            payload = encode_run(RunMessage(short, last, self.live, final, miners))
        bare = encode_run(RunMessage(record, {}, self.live, final, miners))
        if not always and bare == self._said_record:
            return None
        self._said_record, self._said_last = bare, last
        return Outgoing(self._topics.run(), payload, self.retained)

    @property
    def moved(self) -> bool:
        """Whether rows were sent since the record was said."""
        return self._said_last != {table: cursor.sent for table, cursor in self.cursors.items()}

    def _meet(self, rows: Rows) -> None:
        for _, values in rows:
            self.levels.assign(values[0], str(values[_NAME]))

    def _check_size(self, payload: bytes) -> None:
        if len(payload) > self._max_payload:
            raise MessageError(f"{len(payload)} bytes, more than the {self._max_payload} of a message")

    def _refuse(self, found: Look, table: str, row_id: int, why: str) -> None:
        if (table, row_id) not in self._told_refusals and len(self._told_refusals) < REFUSALS_TOLD:
            self._told_refusals.add((table, row_id))
            found.refused.append((table, row_id, why))
