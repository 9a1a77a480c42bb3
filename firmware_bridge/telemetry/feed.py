"""Rows of a trace beyond what was read before, for whoever passes them on while the run is being written.

The trace is the log: nothing is queued for a reader that falls behind, it reads on from where it stands. One read
transaction per look, so that a row is never seen before the job or the miner that it refers to.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Engine, Select, and_, func, select
from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.exc import DBAPIError

from firmware_bridge.errors import TraceError
from firmware_bridge.telemetry.messages import TABLES
from firmware_bridge.trace.records import columns_after_run
from firmware_bridge.trace.schema import metadata, miners
from firmware_bridge.trace.store import engine_for, locate, open_read_only, stdlib_use

REFERRED_TO = ("miners", "jobs")
"""Tables whose rows others refer to: while there are more of them than one look takes, nothing else is read."""

Rows = list[tuple[int, tuple[Any, ...]]]


class TraceFeed:
    """Reads on in a trace that somebody else writes; for one thread at a time.

    Args:
        url: of the trace, which exists and has the present schema.
    """

    def __init__(self, url: str) -> None:
        self._where = locate(url)
        self._lock = threading.Lock()
        self._cleanup = contextlib.ExitStack()
        self._file: sqlite3.Connection | None = None
        self._engine: Engine | None = None
        self._version: int | None = None

    def changed(self) -> bool:
        """Whether something was committed since the last call; always true where the database does not tell."""
        with self._lock:
            try:
                file = self._open()
                if file is None:
                    return True
                version = int(file.execute("PRAGMA data_version").fetchone()[0])
            except sqlite3.Error as error:
                raise TraceError(f"{self._where}: cannot be read: {error}") from error
        before, self._version = self._version, version
        return version != before

    def read(self, run: int, after: Mapping[str, int | None], limit: int) -> dict[str, Rows]:
        """Rows of a run beyond an id in each table, at most ``limit`` of each, with their ids.

        Raises:
            TraceError: if the trace cannot be read.
        """
        found: dict[str, Rows] = {}
        with self._transaction() as fetch:
            for name in TABLES:
                if name not in after:
                    continue
                table = metadata.tables[name]
                columns = [table.c[column] for column in columns_after_run(table)]
                condition: ColumnElement[bool] = table.c.run == run
                if (last := after[name]) is not None:
                    condition = and_(table.c.id > last, condition)
                statement = select(table.c.id, *columns).where(condition).order_by(table.c.id).limit(limit)
                rows = [(int(row[0]), tuple(row[1:])) for row in fetch(statement)]
                if rows:
                    found[name] = rows
                if len(rows) == limit and name in REFERRED_TO:
                    break
        return found

    def miners(self, run: int) -> Rows:
        """All miners of a run, as they are now."""
        columns = [miners.c[column] for column in columns_after_run(miners)]
        statement = select(miners.c.id, *columns).where(miners.c.run == run).order_by(miners.c.id)
        with self._transaction() as fetch:
            return [(int(row[0]), tuple(row[1:])) for row in fetch(statement)]

    def at_most(self, run: int, table: str, row_id: int) -> int | None:
        """The newest row of a run whose id is not above one, or None."""
        source = metadata.tables[table]
        statement = select(func.max(source.c.id)).where(and_(source.c.run == run, source.c.id <= row_id))
        with self._transaction() as fetch:
            found = fetch(statement)[0][0]
        return None if found is None else int(found)

    def close(self) -> None:
        """Let go of the trace; the next read opens it again."""
        with self._lock:
            self._file = self._engine = None
            self._cleanup.close()

    @contextlib.contextmanager
    def _transaction(self) -> Any:
        with self._lock:
            try:
                file = self._open()
                if file is not None:
                    file.execute("BEGIN")
                    try:
                        yield lambda statement: file.execute(_sql(statement)).fetchall()
                    finally:
                        file.execute("ROLLBACK")
                    return
                assert self._engine is not None
                with self._engine.connect() as connection:
                    if self._engine.dialect.name == "postgresql":
                        connection = connection.execution_options(isolation_level="REPEATABLE READ")
                    yield lambda statement: connection.execute(statement).fetchall()
            except sqlite3.Error as error:
                raise TraceError(f"{self._where}: cannot be read: {error}") from error
            except DBAPIError as error:
                raise TraceError(f"{self._where}: cannot be read: {error.orig}") from error

    def _open(self) -> sqlite3.Connection | None:
        path = self._where.path
        if path is not None and self._file is None:
            self._cleanup.enter_context(stdlib_use(path))
            self._file = open_read_only(path)
            self._cleanup.callback(self._file.close)
        if path is None and self._engine is None:
            self._engine = engine_for(self._where)
            self._cleanup.callback(self._engine.dispose)
        return self._file


def _sql(statement: Select[Any]) -> str:
    return str(statement.compile(dialect=sqlite_dialect.dialect(), compile_kwargs={"literal_binds": True}))
