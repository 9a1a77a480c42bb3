"""Where the writer thread puts rows: a SQLite file, a PostgreSQL server, or any other database through SQLAlchemy.

A sink belongs to the writer thread. Into SQLite rows go as multi-row ``INSERT … VALUES``, one ``sqlite3_step`` per
block: the interpreter lock is then released once per block, where one per row would queue up behind a busy event loop.
Into PostgreSQL a few rows go as ``INSERT … RETURNING id``, more by ``COPY``, which was measured to be eight times as
fast.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Any, Protocol

from sqlalchemy import Connection, Executable, Float, Table, create_engine, insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from firmware_bridge.errors import TraceError
from firmware_bridge.trace.records import columns_after_run, storable
from firmware_bridge.trace.store import Location, connect_sqlite, engine_for, unreachable

SYNCHRONOUS = ("off", "normal", "full")
BLOCK_SIZES = (128, 96, 64, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1)
"""Rows per statement, each prepared once; longer statements were measured to be slower (cache misses)."""

COPY_ROWS = 8
"""Rows from which on a COPY into PostgreSQL, with its round trips, beats an INSERT."""

Row = Sequence[Any]
Ids = tuple[int, int]


class Sink(Protocol):
    """What the writer needs of a database; every method may raise the driver's errors."""

    numbers_rows: bool  # whether insert() tells the ids of the first and the last row

    def begin(self) -> None:
        """Start a transaction."""

    def commit(self) -> None:
        """Make the transaction durable."""

    def rollback(self) -> None:
        """Forget the transaction, if one is open."""

    def insert(self, table: Table, run: int, rows: Sequence[Row]) -> Ids | None:
        """Insert rows (columns after ``run``); the ids of the first and the last one where the database tells."""

    def insert_at_once(self, table: Table, run: int, rows: Sequence[Row]) -> Ids | None:
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


def _adapt_numpy() -> None:
    """Let SQLite store NumPy scalars as numbers: it takes them for bytes, as they can be looked at as such."""
    import numpy as np

    for kind in np.sctypeDict.values():
        if issubclass(kind, np.integer):
            sqlite3.register_adapter(kind, int)
        elif issubclass(kind, np.floating):
            sqlite3.register_adapter(kind, float)
    sqlite3.register_adapter(np.bool_, bool)


class SqliteSink:
    """A SQLite file in WAL mode, through the standard library."""

    numbers_rows = True

    def __init__(
        self, where: Location, *, synchronous: str, lock_timeout_s: float, max_size_bytes: int | None
    ) -> None:
        if where.path is None:
            raise ValueError(f"{where} is not a SQLite file")
        _adapt_numpy()
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

    def insert(self, table: Table, run: int, rows: Sequence[Row]) -> Ids | None:
        """Insert rows in blocks; SQLite numbers them one after the other, the write lock being ours."""
        start, last = 0, 0
        for size in BLOCK_SIZES:
            while len(rows) - start >= size:
                last = self._insert_block(table, run, rows[start : start + size])
                start += size
        return (last - len(rows) + 1, last) if rows else None

    def insert_at_once(self, table: Table, run: int, rows: Sequence[Row]) -> Ids | None:
        """Insert and commit, as one statement where the number of rows allows it."""
        if len(rows) in BLOCK_SIZES:
            last = self._insert_block(table, run, rows)
            return last - len(rows) + 1, last
        self.begin()
        ids = self.insert(table, run, rows)
        self._connection.execute("COMMIT")
        return ids

    def _insert_block(self, table: Table, run: int, rows: Sequence[Row]) -> int:
        sql = self._sql.get((table.name, len(rows))) or self._make_sql(table, len(rows))
        try:
            cursor = self._connection.execute(sql, (run, *chain.from_iterable(rows)))
        except (UnicodeEncodeError, sqlite3.ProgrammingError):
            cursor = self._connection.execute(sql, (run, *chain.from_iterable(clean(rows))))
        return int(cursor.lastrowid or 0)

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

    def insert(self, table: Table, run: int, rows: Sequence[Row]) -> Ids | None:
        """Insert rows; SQLAlchemy makes them multi-row statements where the driver gains by it."""
        names = [column.name for column in table.columns if column.name not in ("id", "run")]
        self._connection.execute(
            insert(table),
            [{"run": run, **dict(zip(names, map(storable, row), strict=True))} for row in clean(rows)],
        )
        return None

    def insert_at_once(self, table: Table, run: int, rows: Sequence[Row]) -> Ids | None:
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


class PostgresSink(SqlAlchemySink):
    """A PostgreSQL server through psycopg; a commit is on its disk when it returns.

    Args:
        where: of the trace.
        synchronous: ``off`` leaves it to the server when a commit returns; otherwise a server that is set to return
            early is told not to.
        lock_timeout_s: how long a connection, or a lock of another program, is waited for.
    """

    numbers_rows = True

    def __init__(self, where: Location, *, synchronous: str, lock_timeout_s: float) -> None:
        super().__init__(where, lock_timeout_s=lock_timeout_s)
        self._sql: dict[tuple[str, int], tuple[str, str, tuple[int, ...]]] = {}
        try:
            driver = self._driver()
            with driver.cursor() as cursor:
                early = cursor.execute("SHOW synchronous_commit").fetchone()[0] == "off"
                if early and synchronous != "off":
                    cursor.execute("SET synchronous_commit TO on")
            self.set_timeout(lock_timeout_s)
            driver.commit()
        except Exception:
            self.close()
            raise

    def insert(self, table: Table, run: int, rows: Sequence[Row]) -> Ids | None:
        """Insert rows in their order, whoever else inserts meanwhile.

        The first rows go by INSERT, which tells an id; ids of a COPY are those that this session drew last.
        """
        if not rows:
            return None
        alone = rows if len(rows) < COPY_ROWS else rows[:1]
        single, _, reals = self._statements(table, len(alone))
        if any(row[i] != row[i] for row in rows for i in reals):
            rows = [tuple(None if x != x else x for x in row) for row in rows]  # SQLite has no NaN either
            alone = rows[: len(alone)]
        with self._driver().cursor() as cursor:
            ids = self._insert_some(cursor, single, run, alone)
            if len(rows) > len(alone):
                ids = ids[0], self._copy(cursor, table, run, rows[len(alone) :])
        return ids

    def rollback(self) -> None:
        """Roll back; a connection that the server has closed is opened again when it is needed."""
        if self._driver().closed:
            self._connection.invalidate()
        self._connection.rollback()

    def set_timeout(self, seconds: float) -> None:
        """Wait at most this long for a lock."""
        with self._driver().cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, false)", (f"{round(seconds * 1000)}ms",))

    def _driver(self) -> Any:
        """The psycopg connection, which shares the transaction of SQLAlchemy's."""
        return self._connection.connection.driver_connection

    def _insert_some(self, cursor: Any, sql: str, run: int, rows: Sequence[Row]) -> Ids:
        from psycopg import DataError

        try:  # what cannot be written as a parameter is found before anything is sent
            cursor.execute(sql, [value for row in rows for value in (run, *row)])
        except (UnicodeEncodeError, DataError):
            cursor.execute(sql, [value for row in _storable(rows) for value in (run, *row)])
        ids = cursor.fetchall()
        return int(ids[0][0]), int(ids[-1][0])

    def _copy(self, cursor: Any, table: Table, run: int, rows: Sequence[Row]) -> int:
        from psycopg import DataError

        _, sql, _ = self._statements(table, 1)

        def copy(rows: Sequence[Row]) -> None:
            with cursor.copy(sql) as stream:
                for row in rows:
                    stream.write_row((run, *row))

        cursor.execute("SAVEPOINT block")
        try:
            copy(rows)
        except (UnicodeEncodeError, DataError):
            cursor.execute("ROLLBACK TO SAVEPOINT block")
            copy(_storable(rows))
        cursor.execute("RELEASE SAVEPOINT block")
        last = cursor.execute("SELECT currval(pg_get_serial_sequence(%s, 'id'))", (table.name,)).fetchone()
        return int(last[0])

    def _statements(self, table: Table, count: int) -> tuple[str, str, tuple[int, ...]]:
        """INSERT of so many rows, COPY, and which columns after ``run`` are real numbers."""
        found = self._sql.get((table.name, count))
        if found is None:
            names = ["run", *columns_after_run(table)]
            group = f"({','.join(['%s'] * len(names))})"
            into = f"{table.name} ({','.join(names)})"
            found = (
                f"INSERT INTO {into} VALUES {','.join([group] * count)} RETURNING id",
                f"COPY {into} FROM STDIN",
                tuple(i for i, name in enumerate(names[1:]) if isinstance(table.c[name].type, Float)),
            )
            self._sql[table.name, count] = found
        return found


def _storable(rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    return [tuple(map(storable, row)) for row in clean(rows)]


def open_sink(
    where: Location, *, synchronous: str, lock_timeout_s: float, max_size_bytes: int | None
) -> Sink:
    """Open the sink that fits a location.

    Raises:
        TraceError: if the database cannot be opened for writing.
    """
    try:
        if where.is_postgres:
            return PostgresSink(where, synchronous=synchronous, lock_timeout_s=lock_timeout_s)
        if where.path is None:
            return SqlAlchemySink(where, lock_timeout_s=lock_timeout_s)
        return SqliteSink(
            where, synchronous=synchronous, lock_timeout_s=lock_timeout_s, max_size_bytes=max_size_bytes
        )
    except (sqlite3.Error, DBAPIError, OSError) as error:
        if where.is_server:
            raise unreachable(where, error) from None
        raise TraceError(
            f"{where}: cannot be opened for writing: {error}; close what holds it, or give another --db"
        ) from error
