"""Reading a trace into NumPy and pandas: int64 nanoseconds stay exact, also where a column has NULLs.

Connections are the reader's own, read-only, and as short as one call, so that a writer may be at work meanwhile.
SQLite files are read through ADBC where it is installed (about five times as fast as pandas.read_sql), otherwise
through the standard library with the same result.
"""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import JSON, Boolean, ColumnElement, Float, Integer, Select, Table, and_, func, select
from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.exc import DBAPIError, OperationalError

from firmware_bridge.errors import TraceError, UserError
from firmware_bridge.trace import fast
from firmware_bridge.trace.schema import SCHEMA_VERSION, ShareRow, metadata, runs, shares
from firmware_bridge.trace.store import (
    check_file,
    engine_for,
    locate,
    open_read_only,
    prepare,
    sqlite_version,
    stdlib_use,
    unreachable,
)

if TYPE_CHECKING:
    import pandas as pd

HALVED_ROWS = 200_000
"""Shares from which on a run is read in two parts at once."""

STRETCH, FEWEST_STRETCHES = 20_000, 10
"""Consecutive shares that are read of a run too long to be read whole; fewer where it would not be 10 times."""

CHUNK = 65_536
"""Rows that a read through the standard library holds as Python objects at a time."""


@dataclass
class Columns:
    """Columns of one table of a run, in stored order.

    Attributes:
        values: per name an array of shape (n,): int64 (0 where NULL), float64 (nan where NULL), bool (False where
            NULL) or object for text (None where NULL).
        null: per name a bool array of shape (n,), true where NULL.
    """

    values: dict[str, np.ndarray[Any, Any]]
    null: dict[str, np.ndarray[Any, Any]]

    def __len__(self) -> int:
        return len(next(iter(self.values.values()))) if self.values else 0


@dataclass(frozen=True)
class Stretches:
    """Part of the shares of a long run: the first ``length`` of every ``period`` ids from ``first_id`` on."""

    first_id: int
    period: int
    length: int


class TraceReader:
    """Reads the runs of one trace.

    Args:
        url: SQLAlchemy URL, or the path of a SQLite file.

    Raises:
        UserError: if there is no such trace, or the file is something else.
        TraceError: if it was written by a newer version, or cannot be read.
    """

    def __init__(self, url: str) -> None:
        self._where = locate(url)
        path = self._where.path
        if path is not None:
            check_file(path, create=False)
        if path is None or sqlite_version(path) != SCHEMA_VERSION:
            prepare(self._where, create=False)
        self._engine = engine_for(self._where) if path is None else None
        if self._engine is not None:
            weakref.finalize(self, self._engine.dispose)  # no connection stays behind

    def runs(self) -> pd.DataFrame:
        """One row per run, in the order they were begun, with the number of its ``shares``."""
        import pandas as pd

        records = self.run_records()
        columns = [column.name for column in runs.columns] + ["shares"]
        frame = pd.DataFrame(records, columns=columns)
        for column in runs.columns:
            if isinstance(column.type, Integer):
                values = [record[column.name] for record in records]
                frame[column.name] = pd.array(values, dtype="Int64")
        return frame

    def run_records(self, *, counted: bool = True) -> list[dict[str, Any]]:
        """The rows of ``runs`` in the order they were begun, each with the number of its ``shares`` if ``counted``."""
        records = self._select(select(runs).order_by(runs.c.run))
        if counted:
            for record in records:
                record["shares"] = self._count(record)
        return records

    def resolve(self, name: str) -> int:
        """Number of the run with this id, or the only one whose id starts so; ``latest`` or ``-`` is the newest.

        Raises:
            UserError: if none fits, or more than one.
        """
        known = {r["run_id"]: r["run"] for r in self._select(select(runs.c.run, runs.c.run_id))}
        if not known:
            raise UserError(
                f"{self._where} holds no recording yet; make one with asiclab emulate s9 --time virtual, or "
                "asiclab import FILE (runs of experiments: asiclab experiments runs)"
            )
        if name in ("latest", "-"):
            return int(max(known.values()))
        fitting = [run_id for run_id in known if run_id.startswith(name)] if name else []
        if name in known:
            fitting = [name]
        if not fitting:
            raise UserError(f"{self._where} has no run {name!r}; `asiclab runs` lists them")
        if len(fitting) > 1:
            some = ", ".join(sorted(fitting)[:5])
            raise UserError(f"{name!r} fits {len(fitting)} runs ({some}); give more of the id")
        return int(known[fitting[0]])

    def run(self, run: int) -> dict[str, Any]:
        """The row of ``runs``, JSON columns as Python objects.

        Raises:
            UserError: if there is no such run.
        """
        found = self._select(select(runs).where(runs.c.run == run))
        if not found:
            raise UserError(f"{self._where} has no run number {run}; `asiclab runs` lists them")
        return found[0]

    def count(self, run: int) -> int:
        """Number of shares of a run."""
        return self._count(self.run(run))

    def stretches(self, run: int, most: int) -> Stretches | None:
        """Stretches of at most ``most`` shares, evenly spread over a run; None where it has no more than these."""
        ids = self._share_ids(self.run(run))
        if ids is None or ids[1] - ids[0] < most:
            return None
        length = max(1, min(STRETCH, most // FEWEST_STRETCHES))
        return Stretches(ids[0], -(-(ids[1] - ids[0] + 1) // (most // length)), length)

    def columns(
        self, run: int, table: str, names: Sequence[str], *, stretches: Stretches | None = None
    ) -> Columns:
        """Read columns of ``miners``, ``jobs``, ``shares``, ``telemetry``, ``settings`` or ``events``.

        Args:
            run: number of the run.
            table: its name.
            names: of the columns.
            stretches: of ``shares``, read these alone.

        Raises:
            UserError: if there is no such run, table or column.
            TraceError: if the database cannot be read.
        """
        source = self._table(table)
        unknown = [name for name in names if name not in source.c]
        if unknown:
            raise UserError(f"table {table} has no column {', '.join(unknown)}")
        record = self.run(run)
        where = self._rows_of(source, record)
        if stretches is not None:
            place = (source.c.id - stretches.first_id) % stretches.period
            where = and_(where, place < stretches.length)
        if self._where.path is not None and fast.available():
            parts = [_sql(part) for part in self._halves(source, record, where)]
            found = fast.read(self._where.path, source, names, parts)
            if found is not None:
                return Columns(*found)
        return self._columns_slowly(source, names, where)

    def frame(self, run: int, table: str) -> pd.DataFrame:
        """A whole table of a run; integers are Int64 and flags boolean, so that NULL is NA and ns stay exact."""
        import pandas as pd

        source = self._table(table)
        names = [column.name for column in source.columns if column.name not in ("id", "run")]
        read = self.columns(run, table, names)
        data: dict[str, Any] = {}
        for name in names:
            kind, values = kind_of(source, name), read.values[name]
            if kind == "int":
                data[name] = pd.arrays.IntegerArray(values, read.null[name])
            elif kind == "bool":
                data[name] = pd.arrays.BooleanArray(values, read.null[name])
            else:
                data[name] = pd.Series(values, dtype=values.dtype)
        return pd.DataFrame(data, columns=names)

    def rows(self, run: int, table: str, chunk: int = CHUNK) -> Iterator[tuple[Any, ...]]:
        """Rows of a table as stored (columns after ``run``), read ``chunk`` at a time.

        No connection stays open between chunks; rows added meanwhile appear at the end.
        """
        source = self._table(table)
        names = [column for column in source.columns if column.name not in ("id", "run")]
        condition = self._rows_of(source, self.run(run))
        last = -1
        while True:
            statement = (
                select(source.c.id, *names)
                .where(and_(condition, source.c.id > last))
                .order_by(source.c.id)
                .limit(chunk)
            )
            found = self._fetch(statement)
            for row in found:
                yield row[1:]
            if len(found) < chunk:
                return
            last = found[-1][0]

    def share_rows(self, run: int, chunk: int = CHUNK) -> Iterator[ShareRow]:
        """Shares of a run in stored order, exactly as they were written."""
        valid = ShareRow._fields.index("valid")
        for row in self.rows(run, "shares", chunk):
            flag = row[valid]
            yield ShareRow._make((*row[:valid], None if flag is None else bool(flag), *row[valid + 1 :]))

    def newer(
        self, run: int, table: str, names: Sequence[str], *, after: int = 0, limit: int = CHUNK
    ) -> tuple[Columns, int]:
        """Rows of a table that were stored after row ``after``, at most ``limit`` of them, and the id of the last one.

        For whoever follows a run while it is written: each call reads only what is new.
        """
        source = self._table(table)
        columns = [source.c.id, *(source.c[name] for name in names)]
        wanted = (
            select(*columns)
            .where(source.c.run == run, source.c.id > after)
            .order_by(source.c.id)
            .limit(limit)
        )
        found = self._fetch(wanted)
        parts = list(zip(*found, strict=True)) if found else [()] * len(columns)
        arrays = {
            name: to_array(part, kind_of(source, name)) for name, part in zip(names, parts[1:], strict=True)
        }
        last = int(found[-1][0]) if found else after
        return Columns({n: a[0] for n, a in arrays.items()}, {n: a[1] for n, a in arrays.items()}), last

    def dicts(self, run: int, table: str) -> list[dict[str, Any]]:
        """A whole table of a run as dicts (columns after ``run``); for the small tables."""
        source = self._table(table)
        names = [column.name for column in source.columns if column.name not in ("id", "run")]
        flags = [i for i, name in enumerate(names) if kind_of(source, name) == "bool"]
        found = []
        for row in self.rows(run, table):
            values = list(row)
            for i in flags:
                values[i] = None if values[i] is None else bool(values[i])
            found.append(dict(zip(names, values, strict=True)))
        return found

    def _table(self, name: str) -> Table:
        table = metadata.tables.get(name)
        if table is None or name == "runs":
            raise UserError(f"a trace has no table {name!r} of rows per run")
        return table

    def _rows_of(self, table: Table, record: dict[str, Any]) -> ColumnElement[bool]:
        """Rows of a run; for shares the ids between the first and, unless the run was killed, the last."""
        condition: ColumnElement[bool] = table.c.run == record["run"]
        if table is not shares:
            return condition
        if record["first_share_id"] is not None:
            condition = and_(condition, table.c.id >= record["first_share_id"])
        if record["last_share_id"] is not None:
            condition = and_(condition, table.c.id <= record["last_share_id"])
        return condition

    def _halves(
        self, table: Table, record: dict[str, Any], where: ColumnElement[bool]
    ) -> list[ColumnElement[bool]]:
        """Conditions of the rows in two parts, where there are so many that a second core pays."""
        ids = self._share_ids(record) if table is shares else None
        if ids is None or ids[1] - ids[0] < HALVED_ROWS:
            return [where]
        middle = sum(ids) // 2
        return [and_(where, table.c.id <= middle), and_(where, table.c.id > middle)]

    def _share_ids(self, record: dict[str, Any]) -> tuple[int, int] | None:
        """Between which ids a run's shares lie; None where it has none."""
        first, last = record["first_share_id"], record["last_share_id"]
        if first is None:
            return None
        if last is None:
            last = self._fetch(select(func.max(shares.c.id)))[0][0]
        return int(first), int(last)

    def _count(self, record: dict[str, Any]) -> int:
        numbered = self._where.path is not None or self._where.is_postgres
        if numbered and record["first_share_id"] is None:
            return 0  # the first share and its id are stored in one transaction
        return int(self._fetch(select(func.count()).where(self._rows_of(shares, record)))[0][0])

    def _columns_slowly(self, table: Table, names: Sequence[str], where: ColumnElement[bool]) -> Columns:
        parts: dict[str, list[Any]] = {name: [] for name in names}
        nulls: dict[str, list[Any]] = {name: [] for name in names}
        statement = select(*(table.c[name] for name in names)).where(where).order_by(table.c.id)
        with self._cursor(statement) as cursor:
            while names and (block := cursor.fetchmany(CHUNK)):
                for name, column in zip(names, zip(*block, strict=True), strict=True):
                    values, null = to_array(column, kind_of(table, name))
                    parts[name].append(values)
                    nulls[name].append(null)
        empty = {name: to_array((), kind_of(table, name)) for name in names}
        return Columns(
            {name: np.concatenate(parts[name]) if parts[name] else empty[name][0] for name in names},
            {name: np.concatenate(nulls[name]) if nulls[name] else empty[name][1] for name in names},
        )

    def _select(self, statement: Select[Any]) -> list[dict[str, Any]]:
        import json

        found = []
        for row in self._fetch(statement):
            record = {}
            for column, value in zip(statement.selected_columns, row, strict=True):
                if isinstance(column.type, JSON) and isinstance(value, str):
                    value = json.loads(value)
                elif isinstance(column.type, Boolean) and value is not None:
                    value = bool(value)
                record[str(column.name)] = value
            found.append(record)
        return found

    def _fetch(self, statement: Select[Any]) -> list[Any]:
        with self._cursor(statement) as cursor:
            return list(cursor.fetchall())

    @contextmanager
    def _cursor(self, statement: Select[Any]) -> Iterator[Any]:
        path = self._where.path
        if self._engine is not None:
            try:
                with self._engine.connect().execution_options(stream_results=True) as connection:
                    yield connection.execute(statement)
            except DBAPIError as error:
                if self._where.is_server and isinstance(error, OperationalError):
                    raise unreachable(self._where, error) from None
                raise TraceError(f"{self._where}: cannot be read: {error.orig}") from error
            return
        assert path is not None
        with stdlib_use(path):
            try:
                file = open_read_only(path)
                try:
                    yield file.execute(_sql(statement))
                finally:
                    file.close()
            except sqlite3.Error as error:
                raise TraceError(f"{path}: cannot be read: {error}") from error


def kind_of(table: Table, name: str) -> str:
    """What a column holds: ``int``, ``float``, ``bool`` or ``text``."""
    kind = table.c[name].type
    if isinstance(kind, Boolean):
        return "bool"
    if isinstance(kind, Integer):
        return "int"
    return "float" if isinstance(kind, Float) else "text"


def to_array(column: Sequence[Any], kind: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Values and null flags of one column of Python objects; see :class:`Columns`."""
    count = len(column)
    null = np.fromiter((x is None for x in column), bool, count)
    if kind == "text":
        text = np.empty(count, object)
        text[:] = column
        return text, null
    dtype, missing = {"int": (np.int64, 0), "float": (np.float64, np.nan), "bool": (np.bool_, False)}[kind]
    filled = (missing if x is None else x for x in column) if null.any() else column
    return np.fromiter(filled, dtype, count), null


def _sql(statement: Any) -> str:
    """SQLite text of a statement whose values are all numbers."""
    compiled = statement.compile(dialect=sqlite_dialect.dialect(), compile_kwargs={"literal_binds": True})
    return str(compiled)
