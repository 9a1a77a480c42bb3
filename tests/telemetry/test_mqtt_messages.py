"""Every row that a trace can hold comes out of its message as it went in; nothing else comes out of anything."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import BigInteger, Boolean, Float, Integer, String

from firmware_bridge.telemetry import messages
from firmware_bridge.telemetry.messages import (
    RECORD_COLUMNS,
    TABLES,
    LabState,
    MessageError,
    Resend,
    RowMessage,
    RunMessage,
)
from firmware_bridge.trace.records import columns_after_run
from firmware_bridge.trace.schema import SCHEMA_VERSION, metadata, runs

RUN = "0a1b2c3d-20260101-000000"
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def values_of(column: Any) -> st.SearchStrategy[Any]:
    kind = column.type
    if isinstance(kind, Boolean):
        value: st.SearchStrategy[Any] = st.booleans()
    elif isinstance(kind, BigInteger):
        value = st.integers(-(2**63), 2**63 - 1)
    elif isinstance(kind, Integer):
        value = st.integers(-(2**31), 2**31 - 1)
    elif isinstance(kind, Float):
        value = st.floats(allow_nan=False)
    elif column.name == "tags":
        value = st.lists(st.text(max_size=5), max_size=3)
    elif isinstance(kind, String):
        value = st.text(max_size=min(20, kind.length or 20))
    else:
        value = st.dictionaries(st.text(max_size=5), JSON_VALUES, max_size=3)
    return value | st.none() if column.nullable else value


@st.composite
def rows(draw: st.DrawFn) -> RowMessage:
    name = draw(st.sampled_from(TABLES))
    table = metadata.tables[name]
    row = tuple(draw(values_of(table.c[column])) for column in columns_after_run(table))
    row_id = draw(st.integers(1, 2**63 - 1))
    after = draw(st.none() | st.integers(1, row_id - 1)) if row_id > 1 else None
    online = draw(st.none() | st.booleans()) if name == "miners" else None
    return RowMessage(RUN, name, row_id, after, row, online)


@given(rows())
def test_a_row_comes_back_exactly(message: RowMessage) -> None:
    payload = messages.encode_row(message)
    found = messages.decode_row(message.table, payload)
    assert found == message
    assert [type(value) for value in found.row] == [type(value) for value in message.row]
    json.loads(payload, parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))


@given(st.fixed_dictionaries({name: values_of(runs.c[name]) for name in RECORD_COLUMNS if name != "run_id"}))
def test_a_record_comes_back_exactly(record: dict[str, Any]) -> None:
    last = {table: number or None for number, table in enumerate(TABLES)}
    message = RunMessage(record | {"run_id": RUN}, last, live=True, final=False, miners="ab")
    found = messages.decode_run(messages.encode_run(message))
    assert found == message
    assert found.run == RUN


@given(
    st.builds(
        Resend, st.just("r"), st.just(RUN), st.sampled_from([*TABLES, "run"]), st.none() | st.integers(1, 9)
    )
)
def test_a_request_comes_back_exactly(message: Resend) -> None:
    assert messages.decode_resend(messages.encode_resend(message)) == message
    assert messages.decode_resend(messages.encode_resend(Resend("r"))) == Resend("r")


def test_a_state_comes_back_exactly() -> None:
    for state in (LabState(True, "p", RUN, 5), LabState(False, "p")):
        assert messages.decode_state(messages.encode_state(state)) == state


def event(**changes: Any) -> dict[str, Any]:
    row = {"miner": None, "wall_ns": 1, "monotonic_ns": 1, "kind": "k", "severity": "info", "detail": None}
    return {"run": RUN, "id": 2, "after": 1, "row": row | changes.pop("row", {})} | changes


@pytest.mark.parametrize(
    "content",
    [
        event(run="a/b"),
        event(run="x" * 41),
        event(run=""),
        event(run=None),
        event(id=0),
        event(id=True),
        event(id=2**63),
        event(id="2"),
        event(after=2),
        event(after=0),
        event(row={"kind": None}),
        event(row={"kind": "k" * 49}),
        event(row={"severity": "catastrophe"}),
        event(row={"wall_ns": 2**63}),
        event(row={"wall_ns": 1.0}),
        event(row={"miner": 2**31}),
        event(row={"miner": "1"}),
        event(row={"no such column": 1}),
        event(row={"detail": {}}),
        {"run": RUN},
        [],
        "text",
        None,
    ],
)
def test_what_is_no_event_is_refused_in_few_words(content: Any) -> None:
    payload = json.dumps(content).encode()
    with pytest.raises(MessageError) as caught:
        messages.decode_row("events", payload)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "payload", [b"", b"{", b"[" * 100_000, b"\xff", b'{"a": NaN}', b'"\\ud800"', b"1e999", b"0" * 50_000]
)
def test_what_is_no_json_is_refused_by_every_decoder(payload: bytes) -> None:
    for decode in (messages.decode_run, messages.decode_resend, messages.decode_state):
        with pytest.raises(MessageError):
            decode(payload)
    for table in TABLES:
        with pytest.raises(MessageError):
            messages.decode_row(table, payload)


def test_a_newer_lab_is_told_from_nonsense() -> None:
    record = {
        name: {}
        for name in ("config", "seeds", "plants", "physics", "versions", "git", "host", "jitter_floor")
    }
    record |= {
        "run_id": RUN,
        "kind": "live",
        "source": "bridge",
        "unverified": False,
        "tags": [],
        "notes": "",
    }  # type: ignore[dict-item]
    content = {"schema": SCHEMA_VERSION, "record": record, "last": {}, "live": True, "final": False}
    assert messages.decode_run(json.dumps(content).encode()).run == RUN
    with pytest.raises(MessageError, match="update the lab"):
        messages.decode_run(json.dumps(content | {"schema": "9999"}).encode())
    with pytest.raises(MessageError, match="config"):
        messages.decode_run(json.dumps(content | {"record": record | {"config": []}}).encode())


def test_an_older_lab_that_lacks_a_column_leaves_it_unknown() -> None:
    found = messages.decode_row(
        "telemetry", json.dumps({"run": RUN, "id": 1, "row": {"wall_ns": 7}}).encode()
    )
    assert found.row[1] == 7
    assert set(found.row) == {7, None}


def test_numbers_that_json_does_not_know_are_texts_and_only_in_columns_of_numbers() -> None:
    row = RowMessage(RUN, "telemetry", 1, None, (1, None, None, math.inf, -math.inf, *[None] * _more()))
    payload = messages.encode_row(row)
    assert b'"Infinity"' in payload
    assert b'"-Infinity"' in payload
    assert messages.decode_row("telemetry", payload) == row
    with pytest.raises(MessageError, match="miner"):
        messages.decode_row("telemetry", payload.replace(b'"miner":1', b'"miner":"Infinity"'))


def _more() -> int:
    return len(columns_after_run(metadata.tables["telemetry"])) - 5


def test_a_digest_does_not_depend_on_the_order_and_does_on_every_value() -> None:
    rows = [(1, "a", None, 1.0), (2, "b", None, 1.0)]
    assert messages.digest(rows) == messages.digest(reversed(rows))
    assert messages.digest(rows) != messages.digest([(1, "a", None, 1.0), (2, "b", None, 1.5)])
    assert messages.digest(rows) != messages.digest(rows[:1])


def test_the_messages_in_the_documentation_are_what_the_lab_takes(project: Path) -> None:
    text = (project / "docs" / "mqtt.md").read_text(encoding="utf-8")
    blocks = [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", text, flags=re.M | re.S)]
    decoded: list[str] = []
    for block in blocks:
        payload = json.dumps(block).encode()
        if "row" in block:
            fitting = [t for t in TABLES if block["row"].keys() <= set(columns_after_run(metadata.tables[t]))]
            assert len(fitting) == 1
            messages.decode_row(fitting[0], payload)
            decoded.append(fitting[0])
        elif "record" in block:
            decoded.append(messages.decode_run(payload).run)
        elif "recorder" in block:
            decoded.append(messages.decode_resend(payload).recorder)
        else:
            decoded.append(messages.decode_state(payload).publisher)
    assert decoded[:4] == ["shares", "telemetry", "events", "miners"]
    assert len(decoded) == 7
