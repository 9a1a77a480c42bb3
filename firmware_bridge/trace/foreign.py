"""Runs that another host records, kept in this trace as well.

Rows and the id that the last of them had where it comes from are stored in one transaction, in a table of our own
beside the trace's; so whoever is killed goes on exactly behind the last row that is stored. A run that this trace made
or imported itself is never touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    MetaData,
    Table,
    Text,
    and_,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.schema import CreateTable

from firmware_bridge.errors import UserError
from firmware_bridge.trace.records import storable
from firmware_bridge.trace.schema import metadata, miners, runs, shares, short_text
from firmware_bridge.trace.sinks import Sink
from firmware_bridge.trace.writer import TraceWriter

_own = MetaData()
received = Table(
    "received",
    _own,
    Column("run_id", short_text(40), primary_key=True),
    Column("table_name", short_text(16), primary_key=True),  # "runs" for the run itself
    Column("origin", Text, nullable=False),  # name of the lab that sent it
    Column("last_id", BigInteger),
)
"""Id that the newest row of each table has in the trace it comes from."""

RUN = "runs"
AT_THE_END = ("ended_wall_ns", "exit_status", "exit_reason")
OWN_WORDS = ("tags", "notes")
"""What people say of a run in each trace for themselves, once it is there."""


@dataclass
class ForeignRun:
    """A run from elsewhere.

    Attributes:
        number: in this trace.
        run_id: its id everywhere.
        origin: name of the lab that sends it.
        last: per table the id that its newest row has where it comes from.
        ended: whether its end is stored.
        resumed: whether it was here already.
    """

    number: int
    run_id: str
    origin: str
    last: dict[str, int] = field(default_factory=dict)
    ended: bool = False
    resumed: bool = False


@dataclass
class Batch:
    """What is stored of one run in one transaction.

    Attributes:
        rows: per table the rows (columns after ``run``) and the id that the last of them has at its origin.
        miners: columns of miners that changed, by number.
        record: columns of the run that changed.
        end: whether ``record`` holds the run's end.
    """

    rows: dict[str, tuple[list[Sequence[Any]], int]] = field(default_factory=dict)
    miners: dict[int, dict[str, Any]] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)
    end: bool = False


class ForeignRuns:
    """Keeps runs of other hosts in a trace.

    Args:
        writer: of the trace.

    Raises:
        TraceError: here and from every method, if the trace cannot be written.
    """

    def __init__(self, writer: TraceWriter) -> None:
        self._writer = writer
        writer.call(lambda sink: sink.execute(CreateTable(received, if_not_exists=True)))

    def begin(self, record: Mapping[str, Any], origin: str) -> ForeignRun | None:
        """Begin a run, or go on with it.

        Args:
            record: columns of ``runs`` as they are at the origin.
            origin: name of the lab that sends it.

        Returns:
            The run, or None where this trace has one of that id which did not come from there.
        """
        run_id = str(record["run_id"])
        values = {name: storable(value) for name, value in record.items() if name not in AT_THE_END}

        def operation(sink: Sink) -> ForeignRun | None:
            number = sink.execute(select(runs.c.run).where(runs.c.run_id == run_id))
            mine = received.c.run_id == run_id
            if number is None:
                sink.execute(delete(received).where(mine))  # of a run that was removed here
                sink.execute(insert(runs).values(**values))
                sink.execute(insert(received).values(run_id=run_id, table_name=RUN, origin=origin))
                number = sink.execute(select(runs.c.run).where(runs.c.run_id == run_id))
                return ForeignRun(int(number), run_id, origin)
            known = sink.execute(select(received.c.origin).where(and_(mine, received.c.table_name == RUN)))
            if known != origin:
                return None
            run = ForeignRun(int(number), run_id, origin, resumed=True)
            for table in metadata.tables:
                last = sink.execute(
                    select(received.c.last_id).where(and_(mine, received.c.table_name == table))
                )
                if last is not None:
                    run.last[table] = int(last)
            status = sink.execute(select(runs.c.exit_status).where(runs.c.run == run.number))
            run.ended = status is not None
            return run

        found: ForeignRun | None = self._writer.call(operation)
        return found

    def unfinished(self, limit: int) -> list[tuple[str, str]]:
        """Id and origin of runs from elsewhere whose end is not stored, newest first."""
        last = func.max(runs.c.run)

        def operation(sink: Sink) -> list[tuple[str, str]]:
            found: list[tuple[str, str]] = []
            below = None
            while len(found) < limit:
                wanted = and_(
                    received.c.run_id == runs.c.run_id,
                    received.c.table_name == RUN,
                    runs.c.exit_status.is_(None),
                )
                if below is not None:
                    wanted = and_(wanted, runs.c.run < below)
                below = sink.execute(select(last).where(wanted))
                if below is None:
                    break
                run_id = sink.execute(select(runs.c.run_id).where(runs.c.run == below))
                mine = and_(received.c.run_id == run_id, received.c.table_name == RUN)
                found.append((str(run_id), str(sink.execute(select(received.c.origin).where(mine)))))
            return found

        found: list[tuple[str, str]] = self._writer.call(operation)
        return found

    def store(self, parts: Sequence[tuple[ForeignRun, Batch]]) -> None:
        """Store what came of some runs, in one transaction.

        Raises:
            UserError: if somebody else stores rows of the same run in this trace.
        """

        def operation(sink: Sink) -> str | None:
            for run, batch in parts:
                for table in batch.rows:
                    place = and_(received.c.run_id == run.run_id, received.c.table_name == table)
                    if sink.execute(select(received.c.last_id).where(place)) != run.last.get(table):
                        return run.run_id
            for run, batch in parts:
                _store(sink, run, batch)
            return None

        if (taken := self._writer.call(operation)) is not None:
            raise UserError(f"another recorder stores run {taken} in this trace; let one of them do it")
        for run, batch in parts:
            run.last.update({table: last for table, (_, last) in batch.rows.items()})
            run.ended = run.ended or batch.end


def _store(sink: Sink, run: ForeignRun, batch: Batch) -> None:
    here = runs.c.run == run.number
    for name, (rows, last_id) in batch.rows.items():
        table = metadata.tables[name]
        ids = sink.insert(table, run.number, rows)
        if table is shares and ids is not None:
            first = update(runs).where(and_(here, runs.c.first_share_id.is_(None)))
            sink.execute(first.values(first_share_id=ids[0]))
            if run.ended:
                sink.execute(update(runs).where(here).values(last_share_id=ids[1]))
        place = and_(received.c.run_id == run.run_id, received.c.table_name == name)
        sink.execute(delete(received).where(place))
        sink.execute(
            insert(received).values(run_id=run.run_id, table_name=name, origin=run.origin, last_id=last_id)
        )
    for number, columns in batch.miners.items():
        one = and_(miners.c.run == run.number, miners.c.miner == number)
        sink.execute(update(miners).where(one).values({k: storable(v) for k, v in columns.items()}))
    record = {name: storable(value) for name, value in batch.record.items()}
    if batch.end:
        mine = shares.c.run == run.number
        record["first_share_id"] = sink.execute(select(func.min(shares.c.id)).where(mine))
        record["last_share_id"] = sink.execute(select(func.max(shares.c.id)).where(mine))
    if record:
        sink.execute(update(runs).where(here).values(**record))
