"""The fast way from a SQLite file to NumPy: ADBC into Arrow, without a Python object per value.

ADBC infers a column's type from its first rows and stops at a value that does not fit, so every query starts with one
row of the right types, which is cut off again. See :mod:`firmware_bridge.trace.store` for why it is kept apart from
the standard library's SQLite.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Boolean, Float, Integer, Table

from firmware_bridge.trace.store import foreign_use, reading_mode

BATCH_ROWS = 65_536
Arrays = dict[str, np.ndarray[Any, Any]]


@lru_cache(maxsize=1)
def available() -> bool:
    """Whether the extra ``columnar`` is installed."""
    return find_spec("adbc_driver_sqlite") is not None and find_spec("pyarrow") is not None


def read(
    path: Path, table: Table, names: Sequence[str], conditions: Sequence[str]
) -> tuple[Arrays, Arrays] | None:
    """Values and null flags of columns, as :class:`~firmware_bridge.trace.reader.Columns` defines them.

    Args:
        path: the SQLite file.
        table: table to read.
        names: columns of it.
        conditions: SQL of a WHERE clause for each part of the rows, in order; parts are read side by side.

    Returns:
        The two dicts, or None where this way is not open: the file is in use by this process through the standard
        library, or a value is not of its column's type.
    """
    if not names:
        return None
    typed = ", ".join(f"{_example(table, name)} AS {name}" for name in names)
    columns = ", ".join(f"{table.name}.{name}" for name in names)
    sql = [
        f"SELECT {typed} UNION ALL SELECT * FROM "
        f"(SELECT {columns} FROM {table.name} WHERE {condition} ORDER BY {table.name}.id)"
        for condition in conditions
    ]
    with foreign_use(path) as allowed:
        arrow = _query_all(path, sql) if allowed else None
    if arrow is None:
        return None
    values: Arrays = {}
    null: Arrays = {}
    for name in names:
        column = arrow.column(name)
        values[name], null[name] = _to_numpy(column, table.c[name].type)
    return values, null


def _query_all(path: Path, sql: Sequence[str]) -> Any:
    """One table of all parts, each read by a thread of its own; None if one of them cannot be read so."""
    if len(sql) == 1:
        return _query(path, sql[0])
    import pyarrow

    with ThreadPoolExecutor(len(sql)) as pool:
        parts = list(pool.map(lambda part: _query(path, part), sql))
    return None if any(part is None for part in parts) else pyarrow.concat_tables(parts)


def _query(path: Path, sql: str) -> Any:
    import adbc_driver_manager
    import adbc_driver_sqlite.dbapi as adbc

    uri = f"{path.absolute().as_uri()}?{reading_mode(path)}"
    try:
        with adbc.connect(uri) as connection, connection.cursor() as cursor:
            cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": str(BATCH_ROWS)})
            cursor.execute(sql)
            return cursor.fetch_arrow_table().slice(1)
    except (adbc_driver_manager.Error, OSError):
        return None  # the standard library will say what is wrong, in words


def _example(table: Table, name: str) -> str:
    kind = table.c[name].type
    if isinstance(kind, Integer | Boolean):
        return "0"
    return "0.0" if isinstance(kind, Float) else "''"


def _to_numpy(column: Any, kind: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    null = column.is_null().to_numpy() if column.null_count else np.zeros(len(column), bool)
    if isinstance(kind, Boolean):
        return (column.fill_null(0) if column.null_count else column).to_numpy() != 0, null
    if isinstance(kind, Integer):
        return (column.fill_null(0) if column.null_count else column).to_numpy(), null
    if isinstance(kind, Float):
        return (column.fill_null(np.nan) if column.null_count else column).to_numpy(), null
    return column.to_numpy(), null
