"""Recordings made elsewhere become runs: every share verified where its job is known, no row lost without a word."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from firmware_bridge.errors import UserError
from firmware_bridge.trace import tabular
from firmware_bridge.trace.bundle import import_bundle
from firmware_bridge.trace.mapped import check_mapping, import_mapped
from firmware_bridge.trace.recording import ImportResult
from firmware_bridge.trace.restore import is_export, restore
from firmware_bridge.trace.s9 import S9_COLUMNS, S9_FLOOR, import_s9
from firmware_bridge.trace.writer import TraceWriter

__all__ = ["ImportResult", "import_csv", "import_file"]


def import_file(url: str, path: Path | str, mapping: Mapping[str, str] | None = None) -> ImportResult:
    """Store a CSV or Parquet file, or a bundle, as a run of the trace at ``url``.

    Args:
        url: SQLAlchemy URL of the trace, made if missing.
        path: the file.
        mapping: for a CSV of arrival times, which column is what: ``{"timestamp": COLUMN, …}``.

    Raises:
        UserError: if the file is of no known form; nothing is stored then.
        TraceError: if the trace cannot be written.
    """
    path = Path(path)
    if path.is_dir() or not path.exists():
        raise UserError(
            f"{path}: {'a folder' if path.is_dir() else 'no such file'}; name a CSV, Parquet or bundle"
        )
    with path.open("rb") as file:
        magic = file.read(4)
    if magic in (b"PK\x03\x04", b"PAR1") and mapping:
        raise UserError(f"{path}: --map is for CSV files")
    if magic == b"PK\x03\x04":
        return import_bundle(url, path)
    if magic == b"PAR1":
        with TraceWriter(url) as writer:
            return restore(path, writer)
    check_csv(path, mapping)
    with TraceWriter(url) as writer:
        return import_csv(path, writer, mapping)


def check_csv(path: Path, mapping: Mapping[str, str] | None) -> None:
    """Find out before a database is made whether a CSV can be imported at all.

    Raises:
        UserError: if it cannot.
    """
    table = tabular.open_csv(path)
    if mapping is not None:
        check_mapping(table, mapping)
    elif not is_export(table.columns) and not set(S9_COLUMNS) <= set(table.columns):
        missing = [name for name in S9_COLUMNS if name not in table.columns]
        raise UserError(
            f"{path}, line 1: neither an S9 recording (columns missing: {', '.join(missing)}) nor one of our "
            f"exports; the header has {', '.join(table.columns)}. For arrival times say --map timestamp=COLUMN"
        )


def import_csv(
    path: Path | str,
    writer: TraceWriter,
    mapping: Mapping[str, str] | None = None,
    *,
    difficulty: float = S9_FLOOR,
) -> ImportResult:
    """Store a CSV file as a run: an S9 recording, one of our own exports, or with ``mapping`` any arrival times.

    Args:
        path: the file.
        writer: trace to write to.
        mapping: which column is what; see :mod:`firmware_bridge.trace.mapped`.
        difficulty: what a share of an S9 recording has to reach, which that format does not say.

    Raises:
        UserError: if the file is of no known form, or no row of it can be read.
        TraceError: if it cannot be stored.
    """
    path = Path(path)
    check_csv(path, mapping)
    table = tabular.open_csv(path)
    if mapping is not None:
        return import_mapped(table, writer, mapping)
    if is_export(table.columns):
        return restore(path, writer)
    return import_s9(table, writer, difficulty)
