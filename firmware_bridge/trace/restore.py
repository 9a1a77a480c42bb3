"""Our own exports become runs again, without loss; see :mod:`firmware_bridge.trace.formats` for their form."""

from __future__ import annotations

import json
import math
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import select

from firmware_bridge import headers
from firmware_bridge.errors import UserError
from firmware_bridge.trace import formats, tabular
from firmware_bridge.trace.companion import bring_forward, fault_of
from firmware_bridge.trace.recording import BLOCK, ImportResult, file_facts, nothing_readable
from firmware_bridge.trace.records import JOB_COLUMNS, columns_after_run, job_from_row
from firmware_bridge.trace.run_writer import RunWriter
from firmware_bridge.trace.schema import (
    MinerRow,
    RunRecord,
    ShareRow,
    events,
    miners,
    recorded_bytes,
    runs,
    settings,
)
from firmware_bridge.trace.tabular import RowError
from firmware_bridge.trace.writer import TraceWriter


def is_export(columns: Iterable[str]) -> bool:
    """Whether a header is that of our export of shares."""
    return set(formats.SHARE_COLUMNS) - {"job", "response_ns", "since_notify_ns"} <= set(columns)


def restore(path: Path, writer: TraceWriter) -> ImportResult:
    """Store an exported CSV or Parquet file, with the companion beside it if there is one, as a run.

    With its companion the run is the one that was exported, under its own id unless the trace has that already.
    Without, its shares and their jobs are restored and verified anew as a recorded run.

    Raises:
        UserError: if the file or its companion is not ours, or no row can be read.
        TraceError: if it cannot be stored.
    """
    companion = read_companion(path)
    return _Restore(path, writer, companion).run()


def read_companion(path: Path) -> dict[str, Any] | None:
    """The companion of an exported file, or None where there is none.

    Raises:
        UserError: if there is something else in its place.
    """
    beside = formats.companion_of(path)
    if not beside.exists():
        return None
    try:
        content = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{beside}: not readable as JSON ({error}); remove it to import the shares alone"
        ) from None
    if not isinstance(content, dict) or content.get("format") != formats.COMPANION_FORMAT:
        raise UserError(
            f"{beside}: not a companion of the form {formats.COMPANION_FORMAT}; "
            "update the lab, or remove it to import the shares alone"
        )
    bring_forward(content)
    if fault := fault_of(content):
        raise UserError(f"{beside}: {fault}; mend it, or remove it to import the shares alone")
    return content


class _Restore:
    def __init__(self, path: Path, writer: TraceWriter, companion: dict[str, Any] | None) -> None:
        self._path = path
        self._writer = writer
        self._companion = companion
        self._jobs: dict[int, tuple[Any, ...]] = {}
        self._known: dict[int, headers.Job] = {}
        self._miners: dict[int, dict[str, Any]] = {}
        self._rejected: list[dict[str, Any]] = []
        self._doubtful: list[int] = []
        self._first_ns: int | None = None
        self._last_ns: int | None = None

    def run(self) -> ImportResult:
        source = _parquet_rows(self._path) if _is_parquet(self._path) else _csv_rows(self._path)
        run: RunWriter | None = None
        block: list[ShareRow] = []
        shares = valid = 0
        for line, row in source:
            try:
                if isinstance(row, RowError):
                    raise row
                share = self._take(line, row)
            except RowError as error:
                self._rejected.append({"line": line, "reason": str(error)})
                continue
            run = run or self._begin()
            block.append(share)
            shares += 1
            valid += share.valid is True
            if len(block) >= BLOCK:
                run.shares(block)
                block = []
        if run is None:
            if self._companion is None or self._rejected:
                raise nothing_readable(self._path, self._rejected)
            run = self._begin()
        run.shares(block)
        self._finish(run)
        return ImportResult(run.run_id, shares, valid, self._rejected)

    def _take(self, line: int, row: dict[str, Any]) -> ShareRow:
        share = ShareRow._make(row.get(name) for name in ShareRow._fields)
        if share.miner is None:
            raise RowError("miner is empty")
        if share.job is not None and share.job not in self._jobs:
            if row.get("job_name") is None:
                raise RowError(f"job {share.job} has no job_name")
            values = {name: row.get(column) for column, name in formats.JOB_EXPORT.items()} | {
                "job": share.job
            }
            self._jobs[share.job] = tuple(values[name] for name in JOB_COLUMNS)
            if self._companion is None and values["prevhash"]:
                try:
                    self._known[share.job] = job_from_row(values)
                except ValueError as error:
                    raise RowError(f"job {share.job}: {error}") from None
        if share.miner not in self._miners:
            self._miners[share.miner] = {
                name: row.get(column) for column, name in formats.MINER_COLUMNS.items()
            }
        if self._companion is None:
            self._check(line, share)
        if share.wall_ns is not None:
            self._first_ns = share.wall_ns if self._first_ns is None else self._first_ns
            self._last_ns = share.wall_ns
        return share

    def _check(self, line: int, share: ShareRow) -> None:
        """Hash a share that is said to be valid; one that is not as it says makes the run unverified."""
        if not share.valid:
            return
        job = self._known.get(share.job or 0)
        try:
            if job is None:
                raise ValueError("its job is unknown")
            answer = headers.Share(
                share.job_id or "",
                share.extranonce2 or "",
                share.ntime or "",
                share.nonce or "",
                share.version_bits,
            )
            verified = headers.verify(job, answer)
            same = share.difficulty is None or math.isclose(
                verified.difficulty, share.difficulty, rel_tol=1e-9
            )
            if not (verified.meets_job and same):
                raise ValueError("its hash is another")
        except (ValueError, OverflowError):
            self._doubtful.append(line)

    def _begin(self) -> RunWriter:
        if self._companion is None:
            record = RunRecord(
                kind="recorded",
                source="import",
                started_wall_ns=self._first_ns,
                config=file_facts(self._path, "export"),
                clock_source="the exported run's",
            )
            return self._writer.begin_run(record)
        stored = self._companion["run"]
        run_id = stored["run_id"]
        taken = self._writer.call(
            lambda sink: sink.execute(select(runs.c.run).where(runs.c.run_id == run_id))
        )
        record = RunRecord(
            kind=stored["kind"],
            source=stored["source"],
            run_id=None if taken else run_id,
            started_wall_ns=stored["started_wall_ns"],
        )
        run = self._writer.begin_run(record)
        values = {k: v for k, v in stored.items() if k in runs.c and k not in _OWN}
        if taken:
            values["config"] = {**stored["config"], "restored_from": run_id}
        run.update(**values)
        return run

    def _finish(self, run: RunWriter) -> None:
        companion = self._companion
        if companion is None:
            for number in range(1, max(self._miners, default=0) + 1):
                known = {k: v for k, v in self._miners.get(number, {}).items() if v is not None}
                run.miner(MinerRow(**{"name": f"miner {number}", **known}))
        else:
            for table in (miners, settings, events):
                names = columns_after_run(table)
                run.rows(table, [tuple(row[name] for name in names) for row in companion[table.name]])
            run.telemetry_rows([tuple(row) for row in companion["telemetry"]])
            names = columns_after_run(recorded_bytes)
            for row in companion["recorded_bytes"]:
                run.recorded(tuple(b64decode(row[n]) if n == "data" else row[n] for n in names))
            for row in companion["jobs"]:
                self._jobs[row["job"]] = tuple(row[name] for name in JOB_COLUMNS)
            if companion["data"]["sha256"] != formats.sha256_of(self._path):
                run.event("edited_after_export", "warning", {"file": self._path.name})
        run.jobs([self._jobs[number] for number in sorted(self._jobs)])
        if self._doubtful:
            run.update(unverified=True)
            run.event(
                "unverified_shares", "warning", {"count": len(self._doubtful), "lines": self._doubtful[:20]}
            )
        for rejected in self._rejected:
            run.event("rejected_row", "warning", rejected)
        status, reason, ended_ns = "success", None, self._last_ns
        if companion is not None:
            stored = companion["run"]
            status, reason, ended_ns = stored["exit_status"], stored["exit_reason"], stored["ended_wall_ns"]
        run.end(status, reason, wall_ns=ended_ns)
        if companion is not None and ended_ns is None:
            run.update(ended_wall_ns=None)
            run.flush()


_OWN = ("run", "run_id", "exit_status", "exit_reason", "ended_wall_ns", "first_share_id", "last_share_id")


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | RowError]]:
    table = tabular.open_csv(path)
    converters = {name: _converter(name) for name in table.columns if name in formats.KINDS}
    for line, row in table.rows():
        if isinstance(row, RowError):
            yield line, row
            continue
        try:
            yield (
                line,
                {name: convert(row[name]) if row[name] else None for name, convert in converters.items()},
            )
        except ValueError as error:
            yield line, error if isinstance(error, RowError) else RowError(str(error))


def _converter(name: str) -> Callable[[str], Any]:
    kind = formats.KINDS[name]
    if kind == "int":

        def integer(text: str) -> int:
            value = int(text)
            if value not in tabular.INT64:
                raise RowError(f"{name} {text} does not fit into 64 bits")
            return value

        return integer
    if kind == "bool":

        def flag(text: str) -> bool:
            if text.lower() not in ("true", "false", "1", "0"):
                raise RowError(f"{name} {text!r} is neither true nor false")
            return text.lower() in ("true", "1")

        return flag
    return float if kind == "float" else formats.unescape


def _parquet_rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | RowError]]:
    pa = formats.arrow()
    try:
        file = pa.parquet.ParquetFile(path)
        if not is_export(file.schema_arrow.names):
            raise UserError(
                f"{path}: not one of our exports; its columns are {', '.join(file.schema_arrow.names)}"
            )
        number = 0
        for batch in file.iter_batches(columns=[n for n in file.schema_arrow.names if n in formats.KINDS]):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not readable as Parquet: {error}") from error
