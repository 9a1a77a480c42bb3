"""What a companion file has to be before a row of it is stored: it may come from someone else."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

from sqlalchemy import JSON, Boolean, Column, Float, Integer, LargeBinary, Table

from firmware_bridge.trace.records import JOB_COLUMNS, columns_after_run
from firmware_bridge.trace.schema import (
    TelemetryRow,
    events,
    jobs,
    miners,
    recorded_bytes,
    runs,
    settings,
    telemetry,
)

_OF_DATABASE = ("run", "first_share_id", "last_share_id")
_LISTS = ("tags",)


ADDED_TABLES = {"0002": ("recorded_bytes",)}
ADDED_COLUMNS: dict[str, dict[str, tuple[str, ...]]] = {
    "0002": {"jobs": ("claimtrie",)},
    "0003": {"telemetry": TelemetryRow._fields[TelemetryRow._fields.index("ambient_c") :]},
}
"""What later versions of the schema have that older companions lack: an empty table, an unknown value."""


def bring_forward(content: dict[str, Any]) -> None:
    """Give a companion that an older version of the lab wrote what it could not say then, in place."""
    version = str(content.get("schema_version"))
    for added, tables in ADDED_TABLES.items():
        for table in tables if version < added else ():
            content.setdefault(table, [])
    for added, columns in ADDED_COLUMNS.items():
        for table, names in columns.items() if version < added else ():
            rows = content.get(table)
            for row in rows if isinstance(rows, list) else ():
                if isinstance(row, dict):
                    for name in names:
                        row.setdefault(name, None)
                elif isinstance(
                    row, list
                ):  # a reading stands without names: what was added stands at its end
                    row.extend([None] * len(names))


def fault_of(content: dict[str, Any]) -> str | None:
    """What keeps the content of a companion file from being stored, or None where nothing does."""
    data = content.get("data")
    if not isinstance(data, dict) or not isinstance(data.get("sha256"), str):
        return "data.sha256 is missing"
    names = tuple(column.name for column in runs.columns if column.name not in _OF_DATABASE)
    if fault := _row_fault(runs, names, content.get("run")):
        return f"run: {fault}"
    wanted = {
        miners: columns_after_run(miners),
        settings: columns_after_run(settings),
        events: columns_after_run(events),
        jobs: JOB_COLUMNS,
        recorded_bytes: columns_after_run(recorded_bytes),
    }
    for table, columns in wanted.items():
        rows = content.get(table.name)
        if not isinstance(rows, list):
            return f"{table.name} is no list"
        for number, row in enumerate(rows):
            if fault := _row_fault(table, columns, row):
                return f"{table.name}[{number}]: {fault}"
    rows = content.get("telemetry")
    if not isinstance(rows, list):
        return "telemetry is no list"
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(TelemetryRow._fields):
            return f"telemetry[{number}] is no list of {len(TelemetryRow._fields)} values"
        if fault := _row_fault(
            telemetry, TelemetryRow._fields, dict(zip(TelemetryRow._fields, row, strict=True))
        ):
            return f"telemetry[{number}]: {fault}"
    return None


def _row_fault(table: Table, names: tuple[str, ...], row: object) -> str | None:
    if not isinstance(row, dict):
        return "no object"
    for name in names:
        if name not in row:
            return f"{name} is missing"
        if not _fits(table.c[name], row[name]):
            return f"{name} is {str(row[name])[:40]!r}"
    return None


def _fits(column: Column[Any], value: object) -> bool:
    if value is None:
        return bool(column.nullable)
    kind = column.type
    if isinstance(kind, LargeBinary):
        return isinstance(value, str) and _is_base64(value)
    if isinstance(kind, JSON):
        return isinstance(value, list if column.name in _LISTS else dict)
    if isinstance(kind, Boolean):
        return isinstance(value, bool)
    if isinstance(kind, Integer):
        return _is_int64(value)
    if isinstance(kind, Float):
        return _is_int64(value) or (isinstance(value, float) and (column.nullable or value == value))
    return isinstance(value, str) and _is_utf8(value)


def _is_int64(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def _is_base64(text: str) -> bool:
    try:
        b64decode(text, validate=True)
    except ValueError:
        return False
    return True


def _is_utf8(text: str) -> bool:
    """Whether a database can hold it: JSON may carry half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
