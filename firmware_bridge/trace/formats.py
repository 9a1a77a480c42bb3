"""Export of a run: its shares as CSV or Parquet, a row each with the fields of its job, and the rest as JSON beside it.

The file of shares holds no time of export, no host and no run id, so that equal data give equal bytes; the companion
``FILE.run.json`` holds the run record with its provenance, miners, telemetry, settings, events, and the jobs that no
share answered. Either can be read by itself.

In CSV an empty cell is an unknown value. A backslash begins an escape: ``\\e`` is a text of no characters, ``\\n``,
``\\r`` and ``\\0`` are those control characters, and ``\\\\`` is a backslash; so a row is always one line.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from firmware_bridge.errors import UserError
from firmware_bridge.trace.reader import kind_of
from firmware_bridge.trace.records import JOB_COLUMNS
from firmware_bridge.trace.schema import SCHEMA_VERSION, ShareRow, jobs, miners, shares

if TYPE_CHECKING:
    from firmware_bridge.trace.reader import TraceReader

FORMATS = ("csv", "parquet")
COMPANION_FORMAT = "asiclab-run-1"

SHARE_COLUMNS = (
    "miner", "job_id", "extranonce2", "ntime", "nonce", "version_bits", "difficulty", "valid", "reason", "kernel_ns",
    "monotonic_ns", "wall_ns", "interval_ns", "response_ns", "since_notify_ns", "job",
)  # fmt: skip
"""Columns of a share, hex as on the wire, times in ns; ``job`` is the number of the job within the run."""

MINER_COLUMNS = {f"miner_{name}": name for name in ("name", "model", "user_agent", "scale", "floor")}
JOB_EXPORT = {
    f"job_{name}" if name != "job_id" else "job_name": name for name in JOB_COLUMNS if name != "job"
}
COLUMNS = (*SHARE_COLUMNS, *MINER_COLUMNS, *JOB_EXPORT)
KINDS = (
    {name: kind_of(shares, name) for name in SHARE_COLUMNS}
    | {name: kind_of(miners, column) for name, column in MINER_COLUMNS.items()}
    | {name: kind_of(jobs, column) for name, column in JOB_EXPORT.items()}
)
"""What each exported column holds: ``int``, ``float``, ``bool`` or ``text``."""

_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\0": "\\0"})
ROWS_PER_GROUP = 65_536


@dataclass(frozen=True)
class ExportResult:
    """What an export wrote."""

    path: Path
    companion: Path
    shares: int

    def to_json(self) -> dict[str, Any]:
        """What ``asiclab export --json`` prints."""
        return {"path": str(self.path), "companion": str(self.companion), "shares": self.shares}


def companion_of(path: Path) -> Path:
    """Where the rest of a run lies beside its shares."""
    return Path(f"{path}.run.json")


def export_run(reader: TraceReader, run: int, out: Path | str, format_: str = "csv") -> ExportResult:
    """Write the shares of a run to ``out`` and the rest of it beside it.

    Raises:
        UserError: if the format is unknown, its library is missing, or the file cannot be written.
        TraceError: if the run cannot be read.
    """
    out = Path(out)
    if format_ not in FORMATS:
        raise UserError(f"--format is one of {', '.join(FORMATS)}, not {format_!r}")
    write = _write_csv if format_ == "csv" else _write_parquet
    try:
        with _replacing(out) as file:
            count = write(file, joined_rows(reader, run))
        companion = companion_of(out)
        with _replacing(companion) as file:
            file.write(companion_text(reader, run, out).encode())
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror}") from error
    return ExportResult(out, companion, count)


def joined_rows(reader: TraceReader, run: int) -> Iterator[tuple[Any, ...]]:
    """Shares of a run in stored order, in the order of :data:`COLUMNS`."""
    job_rows = {
        row["job"]: tuple(row[column] for column in JOB_EXPORT.values()) for row in reader.dicts(run, "jobs")
    }
    miner_rows = {
        row["miner"]: tuple(row[column] for column in MINER_COLUMNS.values())
        for row in reader.dicts(run, "miners")
    }
    no_job, no_miner = (None,) * len(JOB_EXPORT), (None,) * len(MINER_COLUMNS)
    order = [ShareRow._fields.index(name) for name in SHARE_COLUMNS]
    for row in reader.share_rows(run):
        yield (
            *(row[i] for i in order),
            *miner_rows.get(row.miner, no_miner),
            *(no_job if row.job is None else job_rows.get(row.job, no_job)),
        )


def companion_text(reader: TraceReader, run: int, data: Path) -> str:
    """JSON of everything of a run that is not in its file of shares."""
    record = reader.run(run)
    answered = reader.columns(run, "shares", ["job"])
    with_share = set(answered.values["job"][~answered.null["job"]].tolist())
    content = {
        "format": COMPANION_FORMAT,
        "schema_version": SCHEMA_VERSION,
        "data": {"file": data.name, "sha256": sha256_of(data), "shares": len(answered)},
        "run": {k: v for k, v in record.items() if k not in ("run", "first_share_id", "last_share_id")},
        "miners": reader.dicts(run, "miners"),
        "jobs": [row for row in reader.dicts(run, "jobs") if row["job"] not in with_share],
        "telemetry": list(reader.rows(run, "telemetry")),
        "settings": reader.dicts(run, "settings"),
        "events": reader.dicts(run, "events"),
        "recorded_bytes": [
            row | {"data": b64encode(row["data"]).decode()} for row in reader.dicts(run, "recorded_bytes")
        ],
    }
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """Write beside ``path`` and put it in place only when complete."""
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            yield file
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _write_csv(file: IO[bytes], rows: Iterator[tuple[Any, ...]]) -> int:
    import io

    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=False)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    count = 0
    for row in rows:
        writer.writerow([_cell(value) for value in row])
        count += 1
    text.flush()
    text.detach()
    return count


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return value.translate(_ESCAPES) or "\\e"
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if value is None else repr(value)


def unescape(text: str) -> str:
    """The text that a CSV cell stands for.

    Raises:
        ValueError: at an escape that is none of ours.
    """
    if "\\" not in text:
        return text
    meaning = {"\\": "\\", "n": "\n", "r": "\r", "0": "\0", "e": ""}
    parts, rest = [], iter(text)
    for letter in rest:
        if letter == "\\":
            code = next(rest, "")
            if code not in meaning:
                raise ValueError(f"unknown escape \\{code} in {text[:80]!r}")
            letter = meaning[code]
        parts.append(letter)
    return "".join(parts)


def arrow() -> Any:
    """The pyarrow package.

    Raises:
        UserError: if it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError("Parquet needs pyarrow: pip install 'asic-reservoir-lab[columnar]'") from None
    return pyarrow


def _write_parquet(file: IO[bytes], rows: Iterator[tuple[Any, ...]]) -> int:
    from itertools import islice

    pa = arrow()
    types = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_(), "text": pa.string()}
    schema = pa.schema([(name, types[KINDS[name]]) for name in COLUMNS])
    count = 0
    with pa.parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        while block := list(islice(rows, ROWS_PER_GROUP)):
            columns = zip(*block, strict=True)
            arrays = [pa.array(c, types[KINDS[name]]) for name, c in zip(COLUMNS, columns, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            count += len(block)
    return count
