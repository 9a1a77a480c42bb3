"""Mutated messages through the recorder of other hosts' runs, and through what a publisher hears."""

from __future__ import annotations

import asyncio
import atexit
import itertools
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from firmware_bridge.clock import VirtualClock
from firmware_bridge.telemetry import messages
from firmware_bridge.telemetry.messages import (
    TABLES,
    LabState,
    MessageError,
    Resend,
    RowMessage,
    RunMessage,
)
from firmware_bridge.telemetry.mqtt import MqttSettings, Received
from firmware_bridge.telemetry.remote import MOST_RUNS, RemoteRecorder
from firmware_bridge.telemetry.topics import Topics, parse
from firmware_bridge.trace.records import columns_after_run
from firmware_bridge.trace.schema import metadata

RUN = "0a1b2c3d-20260101-000000"
STORE_EVERY = 50
RENEWED_EVERY = 5000


def corpus() -> tuple[bytes, ...]:
    """A topic, a line feed, and what is said there."""
    topics = Topics("lab")
    record = {name: {} for name in ("config", "seeds", "plants", "physics", "versions", "git", "host")}
    record |= {"run_id": RUN, "kind": "live", "source": "bridge", "unverified": False}  # type: ignore[dict-item]
    record |= {"jitter_floor": {}, "tags": [], "notes": ""}  # type: ignore[dict-item]
    said: list[tuple[str, bytes]] = [
        (topics.run(), messages.encode_run(RunMessage(record, dict.fromkeys(TABLES, 3), live=True))),
        (topics.run(), messages.encode_run(RunMessage(record, {}, final=True, miners="ab"))),
        (topics.state(), messages.encode_state(LabState(True, "p", RUN, 1))),
    ]
    for table in TABLES:
        for row_id, after in ((1, None), (2, 1), (3, 2)):
            row = tuple(_value(table, name, row_id) for name in columns_after_run(metadata.tables[table]))
            payload = messages.encode_row(RowMessage(RUN, table, row_id, after, row))
            said.append((topics.row(table, "s9"), payload))
    return tuple(topic.encode() + b"\n" + payload for topic, payload in said)


def _value(table: str, name: str, number: int) -> object:
    kind = metadata.tables[table].c[name].type.python_type
    return kind(number) if kind in (int, float, bool) else "info"


class _Recorder:
    """A recorder with a trace of its own, renewed now and then; it has no connection."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="asiclab-fuzz-"))
        self._numbers = itertools.count()
        self._recorder: RemoteRecorder | None = None
        atexit.register(self.close)

    def close(self) -> None:
        if self._recorder is not None:
            self._recorder._writer.close()
            self._recorder = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def hear(self, topic: str, payload: bytes) -> None:
        number = next(self._numbers)
        if self._recorder is None or number % RENEWED_EVERY == 0:
            if self._recorder is not None:
                asyncio.run(self._recorder.stop())
            file = self._folder / f"{number}.db"
            self._recorder = RemoteRecorder(
                MqttSettings(), f"sqlite:///{file}", synchronous="off", clock=VirtualClock()
            )  # refusals are spoken of ten times a second, and no second passes
        recorder = self._recorder
        before = recorder.counts.refused
        recorder.handle(Received(topic, payload, False))
        assert recorder.counts.refused - before in (0, 1)
        assert len(recorder._runs) <= MOST_RUNS
        if number % STORE_EVERY == 0:
            asyncio.run(self._work(recorder))

    @staticmethod
    async def _work(recorder: RemoteRecorder) -> None:
        await recorder._begin()
        await recorder._store()
        await recorder._end()


@cache
def recorder() -> _Recorder:
    return _Recorder()


def check_recorder(data: bytes) -> None:
    topic, _, payload = data.partition(b"\n")
    recorder().hear(topic.decode("utf-8", "replace"), payload)


def check_request(data: bytes) -> None:
    for decode in (messages.decode_resend, messages.decode_state):
        try:
            decode(data)
        except MessageError as error:
            if len(str(error)) > 400:
                raise AssertionError(f"an error text of {len(str(error))} characters") from error


def check_topic(data: bytes) -> None:
    topic = data.decode("utf-8", "replace")
    place = parse(topic)
    if place is not None:
        assert topic == "/".join(part for part in ("asiclab", place.lab, place.miner, place.leaf) if part)
        assert not set("+#\0") & set(topic)


BUS: list[tuple[str, tuple[bytes, ...], Callable[[bytes], None], float]] = [
    ("remote recorder", corpus(), check_recorder, 0.05),
    (
        "request to a publisher",
        (
            messages.encode_resend(Resend("r", RUN, "shares", 7)),
            messages.encode_resend(Resend("r")),
            messages.encode_state(LabState(True, "p", RUN, 1)),
        ),
        check_request,
        0.2,
    ),
    ("topic", (b"asiclab/lab/s9/share", b"asiclab/lab/run", b"asiclab/lab/-/event"), check_topic, 0.2),
]
