"""Any CSV with arrival times, its columns named by the user: ``timestamp=COLUMN,difficulty=COLUMN,…``.

Nothing in such a file can be verified, and its run says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from firmware_bridge.errors import UserError
from firmware_bridge.trace import tabular
from firmware_bridge.trace.reader import kind_of
from firmware_bridge.trace.recording import BLOCK, ImportResult, Steps, file_facts, nothing_readable
from firmware_bridge.trace.records import JOB_COLUMNS
from firmware_bridge.trace.run_writer import RunWriter
from firmware_bridge.trace.schema import MinerRow, RunRecord, ShareRow, TelemetryRow, telemetry
from firmware_bridge.trace.tabular import UNITS_NS, CsvFile, RowError, TimeParser
from firmware_bridge.trace.writer import TraceWriter

TEXTS = ("miner", "job_id", "extranonce2", "ntime", "nonce", "version_bits", "reason")
TELEMETRY = tuple(name for name in TelemetryRow._fields[3:] if name not in ("raw", "source"))
COUNTS = tuple(name for name in TELEMETRY if kind_of(telemetry, name) == "int")
FIELDS = ("timestamp", *TEXTS, "difficulty", "valid", "response_ms", "since_notify_ms", "symbol", *TELEMETRY)
"""What a column can be mapped to; texts are stored as they stand."""

FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def check_mapping(table: CsvFile, mapping: Mapping[str, str]) -> None:
    """Refuse a mapping that does not fit the file.

    Raises:
        UserError: if a field is unknown, a column is missing, or no column holds the times.
    """
    unknown = [name for name in mapping if name not in FIELDS]
    if unknown:
        raise UserError(f"--map knows no field {', '.join(unknown)}; there are {', '.join(FIELDS)}")
    if "timestamp" not in mapping:
        raise UserError("--map needs timestamp=COLUMN: without arrival times there is nothing to analyse")
    for name, column in mapping.items():
        if column not in table.columns and not (name == "timestamp" and _split_unit(table, column)[1]):
            raise UserError(
                f"{table.path}, line 1: no column {column!r} for {name}; the header has {', '.join(table.columns)}"
            )


def import_mapped(table: CsvFile, writer: TraceWriter, mapping: Mapping[str, str]) -> ImportResult:
    """Store arrival times as a run marked unverified.

    ``timestamp`` may end in ``@s``, ``@ms``, ``@us`` or ``@ns``; otherwise the unit is told from the numbers. Rows
    keep the order of the file; where time goes back, the run has an event.

    Raises:
        UserError: if the mapping does not fit, or no row can be read.
        TraceError: if it cannot be stored.
    """
    check_mapping(table, mapping)
    return _MappedImport(table, writer, mapping).run()


def _split_unit(table: CsvFile, column: str) -> tuple[str, str | None]:
    name, _, unit = column.rpartition("@")
    if column not in table.columns and name in table.columns and unit in UNITS_NS:
        return name, unit
    return column, None


class _MappedImport:
    def __init__(self, table: CsvFile, writer: TraceWriter, mapping: Mapping[str, str]) -> None:
        self._table = table
        self._writer = writer
        self._columns = dict(mapping)
        self._columns["timestamp"], unit = _split_unit(table, mapping["timestamp"])
        self._times = TimeParser(unit)
        self._telemetry = [name for name in TELEMETRY if name in mapping]
        self._run: RunWriter | None = None
        self._rejected: list[dict[str, Any]] = []
        self._miners: dict[str, int] = {}
        self._previous_ns: dict[int, int] = {}
        self._jobs: dict[tuple[Any, ...], tuple[int, int | None]] = {}
        self._last_symbol: dict[int, tuple[Any, ...]] = {}
        self._rows: list[ShareRow] = []
        self._readings: list[TelemetryRow] = []
        self._steps = Steps()
        self._shares = 0

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
        self._pass_on(run)
        run.update(clock_tick_ns=self._steps.tick_ns)
        if self._times.assumed_utc:
            run.event("time_zone_assumed", detail={"zone": "UTC"}, wall_ns=self._steps.first_ns)
        for rejected in self._rejected:
            run.event("rejected_row", "warning", rejected, wall_ns=self._steps.last_ns)
        run.end("success", wall_ns=self._steps.last_ns)
        return ImportResult(run.run_id, self._shares, 0, self._rejected)

    def _take(self, line: int, row: dict[str, str]) -> None:
        values = {name: row[column].strip() for name, column in self._columns.items()}
        wall_ns = self._times.parse(values["timestamp"])
        response_ns, since_ns = (
            self._milliseconds(values, "response_ms"),
            self._milliseconds(values, "since_notify_ms"),
        )
        texts = {name: values.get(name) or None for name in TEXTS}
        difficulty, symbol = _real(values, "difficulty"), _real(values, "symbol")
        reading = {
            name: _count(values, name) if name in COUNTS else _real(values, name) for name in self._telemetry
        }
        flag = values.get("valid", "").lower()
        if flag and flag not in FLAGS:
            raise RowError(f"valid {flag!r} is neither true nor false")
        run = self._begin(wall_ns)
        miner = self._miner(run, texts["miner"] or self._table.path.stem)
        sent_ns = None
        since_sent_ns = since_ns if response_ns is None else response_ns
        if since_sent_ns is not None:
            sent_ns = wall_ns - since_sent_ns
        job, sent_ns = self._job(run, miner, texts["job_id"], symbol, sent_ns)
        if response_ns is None and sent_ns is not None:
            response_ns = wall_ns - sent_ns
        previous_ns = self._previous_ns.get(miner)
        self._previous_ns[miner] = wall_ns
        self._steps.see(wall_ns, line, run)
        self._shares += 1
        self._rows.append(
            ShareRow(
                miner=miner,
                job=job,
                job_id=texts["job_id"],
                extranonce2=texts["extranonce2"],
                ntime=texts["ntime"],
                nonce=texts["nonce"],
                version_bits=texts["version_bits"],
                difficulty=difficulty,
                valid=FLAGS[flag] if flag else None,
                reason=texts["reason"],
                kernel_ns=None,
                monotonic_ns=None,
                wall_ns=wall_ns,
                interval_ns=None if previous_ns is None else wall_ns - previous_ns,
                response_ns=response_ns,
                since_notify_ns=since_ns,
            )
        )
        if any(value is not None for value in reading.values()):
            known: dict[str, Any] = {"miner": miner, "wall_ns": wall_ns, **reading}
            self._readings.append(TelemetryRow._make(known.get(name) for name in TelemetryRow._fields))
        if len(self._rows) >= BLOCK:
            self._pass_on(run)

    def _pass_on(self, run: RunWriter) -> None:
        run.shares(self._rows)
        run.telemetry_rows(self._readings)
        self._rows, self._readings = [], []

    def _begin(self, wall_ns: int) -> RunWriter:
        if self._run is None:
            config = file_facts(self._table.path, "mapped-csv") | {"map": self._columns}
            record = RunRecord(
                kind="recorded",
                source="import",
                unverified=True,
                started_wall_ns=wall_ns,
                config=config,
                clock_source="the recording's own",
            )
            self._run = self._writer.begin_run(record)
        return self._run

    def _miner(self, run: RunWriter, name: str) -> int:
        if name not in self._miners:
            self._miners[name] = run.miner(MinerRow(name))
        return self._miners[name]

    def _job(
        self, run: RunWriter, miner: int, job_id: str | None, symbol: float | None, sent_ns: int | None
    ) -> tuple[int | None, int | None]:
        """Number and send time of the row's job: one per id and symbol, or without ids one per change of symbol."""
        if job_id is None and symbol is None:
            return None, None
        key: tuple[Any, ...] = (miner, job_id, symbol)
        if job_id is None:
            previous = self._last_symbol.get(miner)
            key = (
                previous
                if previous is not None and previous[2] == symbol
                else (miner, len(self._jobs) + 1, symbol)
            )
            self._last_symbol[miner] = key
        if key not in self._jobs:
            number = len(self._jobs) + 1
            self._jobs[key] = (number, sent_ns)
            known = {"job": number, "miner": miner, "job_id": job_id or str(number), "symbol": symbol}
            known["sent_wall_ns"] = sent_ns
            run.jobs([tuple(known.get(name) for name in JOB_COLUMNS)])
        return self._jobs[key]

    def _milliseconds(self, values: Mapping[str, str], name: str) -> int | None:
        text = values.get(name)
        return tabular.nanoseconds(tabular.decimal(text, name), 10**6, name) if text else None


def _real(values: Mapping[str, str], name: str) -> float | None:
    text = values.get(name)
    return float(tabular.decimal(text, name)) if text else None


def _count(values: Mapping[str, str], name: str) -> int | None:
    text = values.get(name)
    if not text:
        return None
    number = tabular.decimal(text, name)
    if number != int(number) or not 0 <= number < 2**63:
        raise RowError(f"{name} {text!r} is no count")
    return int(number)
