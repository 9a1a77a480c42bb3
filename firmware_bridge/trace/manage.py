"""Keeping a lab's runs in order: list, tag, annotate, remove, merge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, and_, delete, update
from sqlalchemy.exc import DBAPIError

from firmware_bridge.errors import TraceError, UserError
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.records import JOB_COLUMNS, columns_after_run, storable
from firmware_bridge.trace.run_writer import RunWriter
from firmware_bridge.trace.schema import (
    EVENT_TABLES,
    RunRecord,
    ShareRow,
    events,
    miners,
    recorded_bytes,
    runs,
    settings,
    shares,
)
from firmware_bridge.trace.store import engine_for, locate, stdlib_use
from firmware_bridge.trace.writer import TraceWriter

BLOCK = 4096


def list_runs(url: str) -> list[dict[str, Any]]:
    """One dict per run, oldest first: ``run, kind, source, mode, started, shares, status, tags, notes`` and more.

    Raises:
        UserError: if there is no such trace.
    """
    found = []
    for record in TraceReader(url).run_records():
        started = record["started_wall_ns"]
        found.append(
            {
                "run": record["run_id"],
                "number": record["run"],
                "kind": record["kind"],
                "source": record["source"],
                "mode": record["mode"],
                "unverified": record["unverified"],
                "started": None if started is None else _utc(started),
                "shares": record["shares"],
                "status": record["exit_status"] or "running or killed",
                "tags": record["tags"],
                "notes": record["notes"],
                "plants": record["plants"],
            }
        )
    return found


def tag(url: str, run: str, tags: Sequence[str], *, remove: bool = False) -> dict[str, Any]:
    """Add tags to a run, or take them away; returns ``{"run", "tags"}``.

    Raises:
        UserError: if there is no such run.
        TraceError: if the trace cannot be written.
    """
    reader = TraceReader(url)
    number = reader.resolve(run)
    record = reader.run(number)
    have = [t for t in record["tags"] if not (remove and t in tags)]
    new = have if remove else have + [t for t in dict.fromkeys(tags) if t not in have]
    with _transaction(url) as connection:
        connection.execute(update(runs).where(runs.c.run == number).values(tags=new))
    return {"run": record["run_id"], "tags": new}


def note(url: str, run: str, text: str) -> dict[str, Any]:
    """Replace the note of a run; returns ``{"run", "notes"}``.

    Raises:
        UserError: if there is no such run.
        TraceError: if the trace cannot be written.
    """
    reader = TraceReader(url)
    number = reader.resolve(run)
    with _transaction(url) as connection:
        connection.execute(update(runs).where(runs.c.run == number).values(notes=storable(text)))
    return {"run": reader.run(number)["run_id"], "notes": text}


def remove(url: str, run: str, *, vacuum: bool = False) -> dict[str, Any]:
    """Remove a run and every row of it; returns ``{"run", "shares"}``.

    Args:
        url: the trace.
        run: id or unique prefix.
        vacuum: also give the space back: SQLite rewrites the whole file, PostgreSQL lets later rows have it.

    Raises:
        UserError: if there is no such run.
        TraceError: if the trace cannot be written.
    """
    reader = TraceReader(url)
    number = reader.resolve(run)
    record = reader.run(number)
    count = reader.count(number)
    with _transaction(url) as connection:
        for table in EVENT_TABLES:
            condition = table.c.run == number
            if table is shares and record["first_share_id"] is not None:
                condition = and_(condition, shares.c.id >= record["first_share_id"])
                if record["last_share_id"] is not None:
                    condition = and_(condition, shares.c.id <= record["last_share_id"])
            connection.execute(delete(table).where(condition))
        connection.execute(delete(runs).where(runs.c.run == number))
    if vacuum:
        _vacuum(url)
    return {"run": record["run_id"], "shares": count}


def merge(url: str, names: Sequence[str]) -> dict[str, Any]:
    """Make one run of several, in order of their start; the parts stay. Returns ``{"run", "shares", "parts"}``.

    Miners and jobs are numbered anew, so that a miner of one part is never taken for one of another and no interval
    spans two parts.

    Raises:
        UserError: if a run is missing, named twice, or fewer than two are named.
        TraceError: if the trace cannot be written.
    """
    reader = TraceReader(url)
    numbers = [reader.resolve(name) for name in names]
    if len(set(numbers)) != len(numbers) or len(numbers) < 2:
        raise UserError("merging takes two or more different runs")
    parts = sorted(
        (reader.run(number) for number in numbers), key=lambda r: (r["started_wall_ns"] or 0, r["run"])
    )
    ids = [part["run_id"] for part in parts]
    modes = {part["mode"] for part in parts}
    record = RunRecord(
        kind="merged",
        source="merge",
        mode=modes.pop() if len(modes) == 1 else None,
        unverified=any(part["unverified"] for part in parts),
        started_wall_ns=parts[0]["started_wall_ns"],
        config={"merged_from": ids, "parts": {part["run_id"]: part["config"] for part in parts}},
        seeds={part["run_id"]: part["seeds"] for part in parts},
        plants=_common(parts, "plants"),
        physics=_common(parts, "physics"),
        clock_tick_ns=max((part["clock_tick_ns"] or 0 for part in parts), default=0) or None,
        clock_source=" + ".join(dict.fromkeys(part["clock_source"] or "unknown" for part in parts)),
        jitter_floor=_common(parts, "jitter_floor"),
    )
    count = 0
    with TraceWriter(url) as writer:
        run = writer.begin_run(record)
        miner_offset = job_offset = 0
        for part in parts:
            copied = _copy(reader, part["run"], run, miner_offset, job_offset)
            miner_offset, job_offset, count = (
                miner_offset + copied[0],
                job_offset + copied[1],
                count + copied[2],
            )
        ends = [part["ended_wall_ns"] for part in parts if part["ended_wall_ns"] is not None]
        run.end("success", wall_ns=max(ends, default=None))
    return {"run": run.run_id, "shares": count, "parts": ids}


def _copy(
    reader: TraceReader, part: int, run: RunWriter, miner_offset: int, job_offset: int
) -> tuple[int, int, int]:
    """Copy a run's rows into another, its numbers shifted; how many miners, jobs and shares it had."""
    most_miners = most_jobs = count = 0

    def shift(number: int | None, offset: int) -> int | None:
        return None if number is None else number + offset

    for row in reader.rows(part, "miners"):
        most_miners = max(most_miners, row[0])
        run.rows(miners, [(row[0] + miner_offset, *row[1:])])
    position = JOB_COLUMNS.index("miner")
    for block in _blocks(reader.rows(part, "jobs")):
        most_jobs = max(most_jobs, max(row[0] for row in block))
        run.jobs(
            [
                (
                    row[0] + job_offset,
                    *row[1:position],
                    shift(row[position], miner_offset),
                    *row[position + 1 :],
                )
                for row in block
            ]
        )
    for block in _blocks(reader.share_rows(part)):
        rows = [ShareRow._make(row) for row in block]
        count += len(rows)
        most_miners = max(most_miners, max(row.miner for row in rows))
        run.shares(
            [row._replace(miner=row.miner + miner_offset, job=shift(row.job, job_offset)) for row in rows]
        )
    for block in _blocks(reader.rows(part, "telemetry")):
        run.telemetry_rows([(shift(row[0], miner_offset), *row[1:]) for row in block])
    for table in EVENT_TABLES:
        if table in (settings, events, recorded_bytes):
            index = columns_after_run(table).index("miner")
            for block in _blocks(reader.rows(part, table.name)):
                shifted = [(*r[:index], shift(r[index], miner_offset), *r[index + 1 :]) for r in block]
                run.rows(table, shifted)
    return most_miners, most_jobs, count


def _blocks(rows: Iterator[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    block: list[tuple[Any, ...]] = []
    for row in rows:
        block.append(row)
        if len(block) == BLOCK:
            yield block
            block = []
    if block:
        yield block


def _common(parts: Sequence[dict[str, Any]], name: str) -> dict[str, Any]:
    """What all parts agree on stands alone; where they differ, each part's value under its id."""
    values = [part[name] for part in parts]
    if all(value == values[0] for value in values):
        return dict(values[0])
    return {part["run_id"]: part[name] for part in parts}


def _utc(wall_ns: int) -> str:
    return datetime.fromtimestamp(wall_ns // 10**9, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")


@contextmanager
def _transaction(url: str) -> Iterator[Connection]:
    where = locate(url)
    engine = engine_for(where)
    try:
        with stdlib_use(where.path) if where.path else _nothing(), engine.begin() as connection:
            yield connection
    except DBAPIError as error:
        raise TraceError(f"{where}: cannot be changed: {error.orig}") from error
    finally:
        engine.dispose()


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _vacuum(url: str) -> None:
    where = locate(url)
    engine = engine_for(where)
    try:
        raw = engine.raw_connection()
        if where.is_postgres:
            raw.driver_connection.autocommit = True  # type: ignore[union-attr]
        raw.driver_connection.execute("VACUUM")  # type: ignore[union-attr]
        raw.close()
    except Exception as error:
        raise TraceError(f"{where}: the run is gone, but its space was not given back: {error}") from error
    finally:
        engine.dispose()
