"""Where the writer thread puts rows: a SQLite file, or any other database through SQLAlchemy.

A sink belongs to the writer thread. Rows go in as multi-row ``INSERT … VALUES``, one ``sqlite3_step`` per block: the
interpreter lock is then released once per block, where one per row would queue up behind a busy event loop.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Any, Protocol

from sqlalchemy import Connection, Executable, Table, create_engine, insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from firmware_bridge.errors import TraceError
from firmware_bridge.trace.records import storable
from firmware_bridge.trace.store import Location, connect_sqlite, engine_for

SYNCHRONOUS = ("off", "normal", "full")
BLOCK_SIZES = (128, 96, 64, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1)
"""Rows per statement, each prepared once; longer statements were measured to be slower (cache misses)."""

Row = Sequence[Any]


class Sink(Protocol):
    """What the writer needs of a database; every method may raise the driver's errors."""

    numbers_rows: bool  # whether insert() tells the id of the last row, ids being consecutive

    def begin(self) -> None:
        """Start a transaction."""

    def commit(self) -> None:
        """Make the transaction durable."""

    def rollback(self) -> None:
        """Forget the transaction, if one is open."""

    def insert(self, table: Table, run: int, rows: Sequence[Row]) -> int | None:
        """Insert rows (columns after ``run``); the id of the last one where the database numbers them in a row."""

    def insert_at_once(self, table: Table, run: int, rows: Sequence[Row]) -> int | None:
        """Insert and commit."""

    def execute(self, statement: Executable) -> Any:
        """Run a SQLAlchemy statement inside the transaction; its first value, if it returns rows."""

    def set_timeout(self, seconds: float) -> None:
        """Wait at most this long for another process's lock."""

    def close(self) -> None:
        """Let go of the database."""


def clean(rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    """Rows with what a driver refuses made storable: NumPy scalars as Python's, lone surrogates as ``?``."""

    def value(x: Any) -> Any:
        return (
            x.encode("utf-8", "replace").decode("utf-8")
            if isinstance(x, str)
            else getattr(x, "item", lambda: x)()
        )

    return [tuple(map(value, row)) for row in rows]


class SqliteSink:
    """A SQLite file in WAL mode, through the standard library."""

    numbers_rows = True

    def __init__(
        self, where: Location, *, synchronous: str, lock_timeout_s: float, max_size_bytes: int | None
    ) -> None:
        if where.path is None:
            raise ValueError(f"{where} is not a SQLite file")
        self._connection = connect_sqlite(where.path, timeout_s=lock_timeout_s)
        try:
            execute = self._connection.execute
            execute("PRAGMA journal_mode=WAL")
            execute(f"PRAGMA synchronous={synchronous}")
            execute(f"PRAGMA journal_size_limit={64 << 20}")
            if max_size_bytes is not None:
                page = execute("PRAGMA page_size").fetchone()[0]
                execute(f"PRAGMA max_page_count={max(1, max_size_bytes // page)}")
            execute(
                "BEGIN IMMEDIATE"
            )  # a file that cannot be written is found out here, not at the first share
            execute("ROLLBACK")
        except sqlite3.Error:
            self._connection.close()
            raise
        self._sql: dict[tuple[str, int], str] = {}
        self._engine = create_engine("sqlite://", creator=lambda: self._connection, poolclass=StaticPool)
        self._core = self._engine.connect()

    def begin(self) -> None:
        """Start a transaction with the write lock, so that waiting for it happens here."""
        self._connection.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Commit; with synchronous=full this returns when the log is on the disk."""
        self._core.commit()
        if self._connection.in_transaction:
            self._connection.execute("COMMIT")

    def rollback(self) -> None:
        """Roll back what is open; some errors make SQLite do it by itself."""
        self._core.rollback()
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def insert(self, table: Table, run: int, rows: Sequence[Row]) -> int | None:
        """Insert rows in blocks; SQLite numbers them one after the other, the write lock being ours."""
        start, last = 0, None
        for size in BLOCK_SIZES:
            while len(rows) - start >= size:
                last = self._insert_block(table, run, rows[start : start + size])
                start += size
        return last

    def insert_at_once(self, table: Table, run: int, rows: Sequence[Row]) -> int | None:
        """Insert and commit, as one statement where the number of rows allows it."""
        if len(rows) in BLOCK_SIZES:
            return self._insert_block(table, run, rows)
        self.begin()
        last = self.insert(table, run, rows)
        self._connection.execute("COMMIT")
        return last

    def _insert_block(self, table: Table, run: int, rows: Sequence[Row]) -> int | None:
        sql = self._sql.get((table.name, len(rows))) or self._make_sql(table, len(rows))
        try:
            return self._connection.execute(sql, (run, *chain.from_iterable(rows))).lastrowid
        except (UnicodeEncodeError, sqlite3.ProgrammingError):
            return self._connection.execute(sql, (run, *chain.from_iterable(clean(rows)))).lastrowid

    def _make_sql(self, table: Table, count: int) -> str:
        names = [column.name for column in table.columns if column.name != "id"]
        width = len(names) - 1
        groups = (
            "(?1," + ",".join(f"?{2 + row * width + i}" for i in range(width)) + ")" for row in range(count)
        )
        sql = f"INSERT INTO {table.name} ({','.join(names)}) VALUES {','.join(groups)}"
        self._sql[table.name, count] = sql
        return sql

    def execute(self, statement: Executable) -> Any:
        """Run a SQLAlchemy statement on the same connection."""
        result = self._core.execute(statement)
        return result.scalar() if result.returns_rows else None

    def set_timeout(self, seconds: float) -> None:
        """Set the busy time-out."""
        self._connection.execute(f"PRAGMA busy_timeout={round(seconds * 1000)}")

    def close(self) -> None:
        """Close the connection; the last one to close folds the log into the file."""
        self._core.close()
        self._engine.dispose()
        self._connection.close()


class SqlAlchemySink:
    """Any database that SQLAlchemy knows, through its Core."""

    numbers_rows = False

    def __init__(self, where: Location, *, lock_timeout_s: float) -> None:
        self._engine = engine_for(where, timeout_s=lock_timeout_s)
        self._connection: Connection = self._engine.connect()

    def begin(self) -> None:
        """Start a transaction."""
        self._connection.begin()

    def commit(self) -> None:
        """Commit it."""
        self._connection.commit()

    def rollback(self) -> None:
        """Roll it back."""
        self._connection.rollback()

    def insert(self, table: Table, run: int, rows: Sequence[Row]) -> int | None:
        """Insert rows; SQLAlchemy makes them multi-row statements where the driver gains by it."""
        names = [column.name for column in table.columns if column.name not in ("id", "run")]
        self._connection.execute(
            insert(table),
            [{"run": run, **dict(zip(names, map(storable, row), strict=True))} for row in clean(rows)],
        )
        return None

    def insert_at_once(self, table: Table, run: int, rows: Sequence[Row]) -> int | None:
        """Insert and commit."""
        with self._connection.begin():
            return self.insert(table, run, rows)

    def execute(self, statement: Executable) -> Any:
        """Run a statement inside the transaction."""
        result = self._connection.execute(statement)
        return result.scalar() if result.returns_rows else None

    def set_timeout(self, seconds: float) -> None:
        """Set the busy time-out where the database is SQLite; others have their own settings."""
        if self._engine.dialect.name == "sqlite":
            self._connection.connection.driver_connection.execute(  # type: ignore[union-attr]
                f"PRAGMA busy_timeout={round(seconds * 1000)}"
            )

    def close(self) -> None:
        """Close the connection and its pool."""
        self._connection.close()
        self._engine.dispose()


def open_sink(
    where: Location, *, synchronous: str, lock_timeout_s: float, max_size_bytes: int | None
) -> Sink:
    """Open the sink that fits a location.

    Raises:
        TraceError: if the database cannot be opened for writing.
    """
    try:
        if where.path is None:
            return SqlAlchemySink(where, lock_timeout_s=lock_timeout_s)
        return SqliteSink(
            where, synchronous=synchronous, lock_timeout_s=lock_timeout_s, max_size_bytes=max_size_bytes
        )
    except (sqlite3.Error, DBAPIError, OSError) as error:
        raise TraceError(
            f"{where}: cannot be opened for writing: {error}; close what holds it, or give another --db"
        ) from error
