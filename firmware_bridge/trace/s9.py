"""Recordings of an Antminer S9: a CSV row per share, with every field of its job, so that each can be verified.

A job is its full field tuple, because job ids repeat within such a recording; it was sent, as far as can be told, when
its first row says so (arrival minus ``jitter_ms``). A header seen before is marked a duplicate and kept.
"""

from __future__ import annotations

import json
import re
from typing import Any

from firmware_bridge import headers
from firmware_bridge.trace import tabular
from firmware_bridge.trace.recording import BLOCK, ImportResult, Steps, file_facts, nothing_readable
from firmware_bridge.trace.records import job_row
from firmware_bridge.trace.run_writer import RunWriter
from firmware_bridge.trace.schema import MinerRow, RunRecord, ShareRow
from firmware_bridge.trace.tabular import CsvFile, RowError
from firmware_bridge.trace.writer import TraceWriter

S9_COLUMNS = (
    "timestamp", "job_id", "jitter_ms", "version", "prevhash", "coinb1", "coinb2", "extranonce1", "extranonce2",
    "merkle_branch", "ntime", "nbits", "nonce",
)  # fmt: skip
"""Header of an S9 recording: one row per share with every field of its job."""

S9_FLOOR = 256.0
"""Smallest difficulty that an Antminer S9's chips report."""

_HEX = re.compile(r"(?:[0-9a-fA-F]{2})*")
_HEX_DIGITS = {"version": 8, "prevhash": 64, "ntime": 8, "nbits": 8, "nonce": 8}


def import_s9(table: CsvFile, writer: TraceWriter, difficulty: float = S9_FLOOR) -> ImportResult:
    """Store an S9 recording as a run, every share verified.

    Args:
        table: the file, with at least :data:`S9_COLUMNS`.
        writer: trace to write to.
        difficulty: what a share has to reach, which the format does not say.

    Raises:
        UserError: if no row can be read.
        TraceError: if it cannot be stored.
    """
    return _S9Import(table, writer, difficulty).run()


class _S9Import:
    def __init__(self, table: CsvFile, writer: TraceWriter, difficulty: float) -> None:
        self._table = table
        self._writer = writer
        self._difficulty = difficulty
        self._run: RunWriter | None = None
        self._rejected: list[dict[str, Any]] = []
        self._jobs: dict[tuple[str, ...], tuple[int, headers.Job, int]] = {}
        self._headers: set[bytes] = set()
        self._rows: list[ShareRow] = []
        self._steps = Steps()
        self._shares = self._valid = 0

    def run(self) -> ImportResult:
        for line, row in self._table.rows():
            try:
                if isinstance(row, RowError):
                    raise row
                self._take(line, row)
            except RowError as error:
                self._rejected.append({"line": line, "reason": str(error)})
        run = self._run
        if run is None:
            raise nothing_readable(self._table.path, self._rejected)
        run.shares(self._rows)
        run.update(clock_tick_ns=self._steps.tick_ns)
        for rejected in self._rejected:
            run.event("rejected_row", "warning", rejected, wall_ns=self._steps.last_ns)
        run.end("success", wall_ns=self._steps.last_ns)
        return ImportResult(run.run_id, self._shares, self._valid, self._rejected)

    def _take(self, line: int, row: dict[str, str]) -> None:
        wall_ns = tabular.nanoseconds(tabular.decimal(row["timestamp"], "timestamp"), 10**9, "timestamp")
        since_ns = tabular.nanoseconds(tabular.decimal(row["jitter_ms"], "jitter_ms"), 10**6, "jitter_ms")
        for name, digits in _HEX_DIGITS.items():
            check_hex(row[name], name, digits)
        for name in ("coinb1", "coinb2", "extranonce1", "extranonce2"):
            check_hex(row[name], name)
        branch = _branch(row["merkle_branch"])
        run = self._begin(wall_ns - since_ns)
        key = tuple(
            row[name] for name in S9_COLUMNS if name not in ("timestamp", "jitter_ms", "extranonce2", "nonce")
        )
        known = self._jobs.get(key)
        if known is None:
            job = headers.Job(
                job_id=row["job_id"],
                prevhash=row["prevhash"],
                coinb1=row["coinb1"],
                coinb2=row["coinb2"],
                merkle_branch=branch,
                version=row["version"],
                nbits=row["nbits"],
                ntime=row["ntime"],
                extranonce1=row["extranonce1"],
                extranonce2_size=len(row["extranonce2"]) // 2,
                difficulty=self._difficulty,
            )
            known = self._jobs[key] = (len(self._jobs) + 1, job, wall_ns - since_ns)
            run.jobs([job_row(known[0], 1, job, sent_wall_ns=known[2], sent_monotonic_ns=None)])
        number, job, sent_ns = known
        share = headers.Share(row["job_id"], row["extranonce2"], row["ntime"], row["nonce"])
        verified = headers.verify(job, share)
        reason = None if verified.meets_job else "low-difficulty"
        if verified.header in self._headers:
            reason = reason or "duplicate"
        self._headers.add(verified.header)
        interval_ns = wall_ns - self._steps.last_ns if self._shares else None
        self._steps.see(wall_ns, line, run)
        self._shares += 1
        self._valid += verified.meets_job
        self._rows.append(
            ShareRow(
                miner=1,
                job=number,
                job_id=row["job_id"],
                extranonce2=row["extranonce2"],
                ntime=row["ntime"],
                nonce=row["nonce"],
                version_bits=None,
                difficulty=verified.difficulty,
                valid=verified.meets_job,
                reason=reason,
                kernel_ns=None,
                monotonic_ns=None,
                wall_ns=wall_ns,
                interval_ns=interval_ns,
                response_ns=wall_ns - sent_ns,
                since_notify_ns=since_ns,
            )
        )
        if len(self._rows) >= BLOCK:
            run.shares(self._rows)
            self._rows = []

    def _begin(self, started_wall_ns: int) -> RunWriter:
        if self._run is None:
            record = RunRecord(
                kind="recorded",
                source="import",
                started_wall_ns=started_wall_ns,
                config=file_facts(self._table.path, "s9-stratum-csv"),
                clock_source="wall clock of the recording pool",
            )
            self._run = self._writer.begin_run(record)
            self._run.miner(MinerRow("s9", model="s9", floor=self._difficulty))
        return self._run


def check_hex(text: str, name: str, digits: int | None = None) -> None:
    """Refuse what is not whole bytes of hex.

    Raises:
        RowError: if it is not, or not of so many digits.
    """
    if digits is not None and len(text) != digits:
        raise RowError(f"{name} {text[:80]!r} has {len(text)} characters, not {digits} hex digits")
    if not _HEX.fullmatch(text):
        raise RowError(f"{name} {text[:80]!r} is not hex")


def _branch(text: str) -> tuple[str, ...]:
    try:
        nodes = json.loads(text.replace("'", '"'))
    except ValueError:
        nodes = None
    if not isinstance(nodes, list) or not all(isinstance(node, str) for node in nodes):
        raise RowError(f"merkle_branch {text[:80]!r} is not a list of hex")
    for node in nodes:
        check_hex(node, "merkle_branch", 64)
    return tuple(nodes)
