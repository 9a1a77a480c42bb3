"""What a lab says over MQTT, as JSON, and how a message that came in is judged before anything is done with it.

A row message holds one row of the trace and its place among the run's rows of that table::

    {"run": "1f3a…", "id": 12, "after": 11, "row": {"miner": 1, "nonce": "1a2b3c4d", …}}

``id`` is the row's id in the trace it comes from, ``after`` the id of the run's row before it in the same table, null
for the first. Whoever has all rows up to ``after`` and takes this one has all up to ``id``; that is the whole protocol.
Floats that JSON does not know are the texts ``Infinity``, ``-Infinity`` and ``NaN``.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import msgspec
from sqlalchemy import JSON, BigInteger, Boolean, Column, Float, Integer, String, Table

from firmware_bridge.errors import ProtocolError
from firmware_bridge.trace.records import columns_after_run
from firmware_bridge.trace.schema import SCHEMA_VERSION, metadata, runs

TABLES = ("miners", "jobs", "shares", "telemetry", "settings", "events")
"""Tables whose rows are sent, what others refer to first; recorded bytes are not."""
RUN = "run"
"""In a request to send again: the run's record."""
RUN_ID = re.compile(r"[0-9A-Za-z._-]{1,40}")
RECORD_COLUMNS = tuple(
    column.name for column in runs.columns if column.name not in ("run", "first_share_id", "last_share_id")
)
_INT64 = range(-(2**63), 2**63)
_INT32 = range(-(2**31), 2**31)
_SPECIAL = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}
_encoder = msgspec.json.Encoder()


class MessageError(ProtocolError):
    """A message that is not what its topic promises."""


@dataclass(frozen=True, slots=True)
class RowMessage:
    """One row.

    Attributes:
        run: id of the run.
        table: name of the table.
        id: the row's id where it comes from.
        after: id of the run's row before it in that table, None for the first.
        row: its values, in the order of the table's columns after ``run``.
        online: of a miner: whether it is there; None where that is not known.
    """

    run: str
    table: str
    id: int
    after: int | None
    row: tuple[Any, ...]
    online: bool | None = None


@dataclass(frozen=True)
class RunMessage:
    """A run's record, and how far its rows have been sent.

    Attributes:
        record: columns of ``runs`` but the numbers that belong to one database.
        last: id of the newest row of each table that was sent; None where there is none.
        live: whether the run goes on.
        final: whether it has ended, and ``last`` is all there is.
        miners: digest of the miners' rows, which change after they were sent; empty while it says nothing.
        schema: version of the tables.
    """

    record: dict[str, Any]
    last: dict[str, int | None]
    live: bool = False
    final: bool = False
    miners: str = ""
    schema: str = SCHEMA_VERSION

    @property
    def run(self) -> str:
        """Id of the run."""
        return str(self.record["run_id"])


@dataclass(frozen=True, slots=True)
class Resend:
    """A recorder's request: send what follows ``after`` again.

    Attributes:
        recorder: who asks.
        run: of which run; None asks which runs there are.
        table: of which table, or ``run`` for the record itself.
        after: id of the last row that the recorder has; None for all.
    """

    recorder: str
    run: str | None = None
    table: str | None = None
    after: int | None = None


@dataclass(frozen=True, slots=True)
class LabState:
    """Whether a lab's publisher is there.

    Attributes:
        online: False in the will.
        publisher: chance that tells two publishers of one name apart.
        run: id of the live run.
        wall_ns: when this was said.
    """

    online: bool
    publisher: str
    run: str | None = None
    wall_ns: int | None = None


class _Row(msgspec.Struct):
    run: str
    id: int
    row: dict[str, Any]
    after: int | None = None
    online: bool | None = None


class _Run(msgspec.Struct):
    schema: str
    record: dict[str, Any]
    last: dict[str, int | None]
    live: bool
    final: bool
    miners: str = ""


class _Resend(msgspec.Struct):
    recorder: str
    run: str | None = None
    table: str | None = None
    after: int | None = None


class _State(msgspec.Struct):
    online: bool
    publisher: str
    run: str | None = None
    wall_ns: int | None = None


_rows, _runs = msgspec.json.Decoder(_Row), msgspec.json.Decoder(_Run)
_resends, _states = msgspec.json.Decoder(_Resend), msgspec.json.Decoder(_State)


# ---- out -------------------------------------------------------------------------------------------------------------


def encode_row(message: RowMessage) -> bytes:
    """The payload of a row.

    Raises:
        MessageError: if a value cannot be said in JSON.
    """
    shape = _shape(message.table)
    values = list(message.row)
    for index in shape.flags:
        values[index] = None if values[index] is None else bool(values[index])
    for index in shape.floats:
        value = values[index]
        if value is not None and value - value != 0:
            values[index] = "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    content = {
        "run": message.run,
        "id": message.id,
        "after": message.after,
        "row": dict(zip(shape.names, values, strict=True)),
    }
    if message.table == "miners":
        content["online"] = message.online
    return _encode(content)


def encode_run(message: RunMessage) -> bytes:
    """The payload of a run's record; what no text can hold becomes ``?``."""
    content = {
        "schema": message.schema,
        "live": message.live,
        "final": message.final,
        "last": message.last,
        "miners": message.miners,
        "record": _clean({name: message.record.get(name) for name in RECORD_COLUMNS}),
    }
    return _encode(content)


def encode_resend(message: Resend) -> bytes:
    """The payload of a request."""
    content = {
        "recorder": message.recorder,
        "run": message.run,
        "table": message.table,
        "after": message.after,
    }
    return _encode(content)


def encode_state(message: LabState) -> bytes:
    """The payload of a lab's state."""
    content = {"online": message.online, "publisher": message.publisher}
    return _encode(content | {"run": message.run, "wall_ns": message.wall_ns})


def digest(rows: Iterable[Sequence[Any]]) -> str:
    """What two traces agree on where these rows are equal, in any order."""
    total = hashlib.sha256()
    for line in sorted(json.dumps(list(row)) for row in rows):
        total.update(line.encode() + b"\n")
    return total.hexdigest()[:32]


def _encode(content: Any) -> bytes:
    try:
        return _encoder.encode(content)
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        raise MessageError(f"cannot be said in JSON: {error}") from error


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, Mapping):
        return {_clean(key): _clean(item) for key, item in value.items()}
    return [_clean(item) for item in value] if isinstance(value, list) else value


# ---- in --------------------------------------------------------------------------------------------------------------


def decode_row(table: str, payload: bytes) -> RowMessage:
    """Judge the payload of a row of a table.

    Raises:
        MessageError: if it is no such row; the message quotes nothing of any length.
    """
    found = _decode(_rows, payload)
    _check_run(found.run)
    if found.id not in _INT64 or found.id < 1:
        raise MessageError("id is no row id")
    if found.after is not None and not 1 <= found.after < found.id:
        raise MessageError("after does not come before id")
    shape = _shape(table)
    if unknown := found.row.keys() - shape.known:
        raise MessageError(f"unknown column {_short(min(unknown))}")
    given = found.row.get
    row = tuple(
        value if type(value := given(name)) is plain and fits(value) else _judge(column, value)
        for name, plain, fits, column in shape.judges
    )
    return RowMessage(found.run, table, found.id, found.after, row, found.online)


def decode_run(payload: bytes) -> RunMessage:
    """Judge the payload of a run's record.

    Raises:
        MessageError: if it is none, or comes from a newer version of the lab.
    """
    found = _decode(_runs, payload)
    if found.schema > SCHEMA_VERSION:
        raise MessageError(
            f"it has schema version {_short(found.schema)}, this program knows up to {SCHEMA_VERSION}; update the lab"
        )
    if unknown := found.record.keys() - set(RECORD_COLUMNS):
        raise MessageError(f"unknown column {_short(min(unknown))}")
    record = {name: _judge(runs.c[name], found.record.get(name)) for name in RECORD_COLUMNS}
    _check_run(record["run_id"])
    if found.last.keys() - set(TABLES) or any(v is not None and v not in _INT64 for v in found.last.values()):
        raise MessageError("last does not name row ids of tables")
    if len(found.miners) > 64:
        raise MessageError("miners is no digest")
    last = {table: found.last.get(table) for table in TABLES}
    return RunMessage(record, last, found.live, found.final, found.miners, found.schema)


def decode_resend(payload: bytes) -> Resend:
    """Judge the payload of a request.

    Raises:
        MessageError: if it is none.
    """
    found = _decode(_resends, payload)
    if not 0 < len(found.recorder) <= 64 or not found.recorder.isprintable():
        raise MessageError("recorder is no name of at most 64 characters")
    if found.run is None:
        return Resend(found.recorder)
    _check_run(found.run)
    if found.table != RUN and found.table not in TABLES:
        raise MessageError("table is no table that is sent")
    if found.after is not None and (found.after not in _INT64 or found.after < 1):
        raise MessageError("after is no row id")
    return Resend(found.recorder, found.run, found.table, found.after)


def decode_state(payload: bytes) -> LabState:
    """Judge the payload of a lab's state.

    Raises:
        MessageError: if it is none.
    """
    found = _decode(_states, payload)
    return LabState(found.online, found.publisher[:64], found.run, found.wall_ns)


def _decode(decoder: msgspec.json.Decoder[Any], payload: bytes) -> Any:
    try:
        return decoder.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise MessageError(f"not the JSON that belongs here: {_short(str(error))}") from None


def _check_run(run_id: Any) -> None:
    if not isinstance(run_id, str) or RUN_ID.fullmatch(run_id) is None:
        raise MessageError("run is no id of a run")


def _judge(column: Column[Any], value: Any) -> Any:
    """A value as the column takes it.

    Raises:
        MessageError: if it is of another type, or missing where it must not be.
    """
    kind = column.type
    if value is None:
        if not column.nullable:
            raise MessageError(f"{column.name} is missing")
        return None
    if isinstance(kind, Boolean):
        fine = isinstance(value, bool)
    elif isinstance(kind, Integer):
        size = _INT64 if isinstance(kind, BigInteger) else _INT32
        fine = type(value) is int and value in size
    elif isinstance(kind, Float):
        return _float(column.name, value)
    elif isinstance(kind, JSON):
        fine = isinstance(value, list if column.name == "tags" else dict) and _storable(value)
    else:
        longest = kind.length if isinstance(kind, String) else None
        fine = isinstance(value, str) and (longest is None or len(value) <= longest)
    if not fine:
        raise MessageError(f"{column.name} is not what the column holds")
    return value


def _float(name: str, value: Any) -> float:
    if isinstance(value, str) and value in _SPECIAL:
        return _SPECIAL[value]
    if type(value) is float:
        return value
    if type(value) is int and value in _INT64:
        return float(value)
    raise MessageError(f"{name} is no number")


def _storable(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError):
        return False
    return True


def _short(text: str) -> str:
    shown = text[:80]
    return shown if shown.isprintable() else repr(shown)


@dataclass(frozen=True)
class _Shape:
    """Columns of a table as messages see them."""

    columns: tuple[Column[Any], ...]
    names: tuple[str, ...] = field(init=False)
    known: frozenset[str] = field(init=False)
    flags: tuple[int, ...] = field(init=False)
    judges: tuple[tuple[str, type[Any] | None, Callable[[Any], bool], Column[Any]], ...] = field(init=False)
    floats: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        def where(kind: type[Any]) -> tuple[int, ...]:
            return tuple(i for i, column in enumerate(self.columns) if isinstance(column.type, kind))

        object.__setattr__(self, "names", tuple(column.name for column in self.columns))
        object.__setattr__(self, "known", frozenset(self.names))
        object.__setattr__(self, "flags", where(Boolean))
        object.__setattr__(self, "floats", where(Float))
        object.__setattr__(self, "judges", tuple((c.name, *_plain(c), c) for c in self.columns))


def _plain(column: Column[Any]) -> tuple[type[Any] | None, Callable[[Any], bool]]:
    """The type that most values of a column have, and whether one of that type fits, to be found out at once."""
    kind = column.type
    if isinstance(kind, Boolean):
        return bool, lambda value: True
    if isinstance(kind, Integer):
        return int, (_INT64 if isinstance(kind, BigInteger) else _INT32).__contains__
    if isinstance(kind, Float):
        return float, lambda value: True
    longest = kind.length if isinstance(kind, String) else None
    return (str, lambda value: True) if longest is None else (None, lambda value: False)


@lru_cache(maxsize=16)
def _shape(name: str) -> _Shape:
    if name not in TABLES:
        raise MessageError("no table that is sent")
    table: Table = metadata.tables[name]
    return _Shape(tuple(table.c[column] for column in columns_after_run(table)))
