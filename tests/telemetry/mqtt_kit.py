"""A publisher and a recorder in the test's own event loop, and what makes two traces equal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from firmware_bridge.telemetry.messages import RECORD_COLUMNS, TABLES
from firmware_bridge.telemetry.mqtt import MqttSettings
from firmware_bridge.telemetry.publisher import Publisher
from firmware_bridge.telemetry.remote import RemoteRecorder
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.run_writer import RunWriter
from firmware_bridge.trace.schema import MinerRow, ShareRow, TelemetryRow
from tests.telemetry.mosquitto_kit import PATIENCE_S


def url_of(path: Path) -> str:
    return f"sqlite:///{path}"


def settings_for(url: str, lab: str = "here", **options: Any) -> MqttSettings:
    return MqttSettings.from_url(url, lab=lab, environment={}, **options)


async def eventually(condition: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
    async with asyncio.timeout(patience_s):
        while not condition():  # noqa: ASYNC110 - conditions of every kind
            await asyncio.sleep(0.01)


@asynccontextmanager
async def publishing(settings: MqttSettings, db: str, *runs: str, **options: Any) -> AsyncIterator[Publisher]:
    """A publisher of these runs; the first is live where there is a ``presence``."""
    publisher = Publisher(settings, db, **options)
    for run in runs:
        publisher.add(run, live=run == runs[0] and options.get("presence") is not None)
    work = None
    try:
        await publisher.start()
        work = asyncio.ensure_future(publisher.work())
        yield publisher
    finally:
        if work is not None:
            work.cancel()
            results = await asyncio.gather(work, return_exceptions=True)
            assert all(isinstance(r, asyncio.CancelledError) for r in results), results
        await publisher.stop()


@asynccontextmanager
async def recording(settings: MqttSettings, db: str, **options: Any) -> AsyncIterator[RemoteRecorder]:
    recorder = RemoteRecorder(settings, db, **options)
    work = None
    try:
        await recorder.start()
        work = asyncio.ensure_future(recorder.work())
        yield recorder
    finally:
        if work is not None:
            work.cancel()
            results = await asyncio.gather(work, return_exceptions=True)
            assert all(isinstance(r, asyncio.CancelledError) for r in results), results
        await recorder.stop()


def share(number: int, miner: int = 1, job: int | None = 1, **columns: Any) -> ShareRow:
    """A share like real ones, all values different."""
    at = 1_800_000_000_000_000_000 + 5_000_000 * number + number
    row = ShareRow(
        miner=miner,
        job=job,
        job_id=f"{job:x}" if job else None,
        extranonce2=f"{number:08x}",
        ntime="69637392",
        nonce=f"{number * 2654435761 % 2**32:08x}",
        version_bits=None if number % 2 else "00002000",
        difficulty=256.0 + number / 7,
        valid=[True, True, None, False][number % 4],
        reason="stale" if number % 4 == 3 else None,
        kernel_ns=at,
        monotonic_ns=at // 3,
        wall_ns=at + 17,
        interval_ns=5_000_001 if number else None,
        response_ns=number,
        since_notify_ns=None,
    )
    return row._replace(**columns)


def fill(run: RunWriter, shares: int, *, first: int = 0) -> None:
    """Rows in every table that is published."""
    if not first:
        for name in ("s9", "lv06", "s9", "wild/+#"):
            run.miner(MinerRow(name, user_agent="test/1", scale=2.0**-20, connected_wall_ns=first))
    run.rows(_table("jobs"), [_job(first // 10 + k) for k in range(1, 4)])
    run.shares([share(number, 1 + number % 4) for number in range(first, first + shares)])
    run.telemetry(TelemetryRow(2, first, first, temperature_c=61.25, power_w=float("inf"), raw='{"a": "ü"}'))
    run.telemetry(TelemetryRow(None, None, None))
    run.setting(
        miner=1,
        wall_ns=first,
        setting="frequency_mhz",
        previous="500",
        requested="525",
        measured=None,
        reason="t",
    )
    run.event("started", "info", {"first": first}, miner=4)
    run.event("general", "warning", {"text": "zero \0 and 🜛"})


def _table(name: str) -> Any:
    from firmware_bridge.trace.schema import metadata

    return metadata.tables[name]


def _job(number: int) -> tuple[Any, ...]:
    fixed = ("00" * 32, "01", "02", '["ab"]', "20000000", "1d00ffff", "69637392", "0000ffff", 4)
    return (number, 1, f"{number:x}", *fixed, number % 2 == 0, 256.0, 1.0, 0, 0.5, None, number, number, None)


def contents(db: str, run_id: str) -> dict[str, Any]:
    """A run as it is stored, without the numbers that belong to one database."""
    reader = TraceReader(db)
    number = reader.resolve(run_id)
    record = reader.run(number)
    found: dict[str, Any] = {name: record[name] for name in RECORD_COLUMNS}
    for table in TABLES:
        found[table] = list(reader.rows(number, table))
    found["counted"] = reader.count(number)
    return found


def assert_equal(local: str, remote: str, run_id: str) -> dict[str, Any]:
    """Both traces hold the same run; gives it."""
    here, there = contents(local, run_id), contents(remote, run_id)
    for name, value in here.items():
        if isinstance(value, list) and name in TABLES:
            assert len(there[name]) == len(value), name
        assert there[name] == value, name
    return here
