"""Mutated files through the importer and the real writer, into a database that is thrown away now and then."""

from __future__ import annotations

import atexit
import itertools
import shutil
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from firmware_bridge.errors import UserError
from firmware_bridge.trace.formats import companion_of, export_run
from firmware_bridge.trace.importer import import_csv
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.writer import TraceWriter

EXCERPT = Path(__file__).parent.parent / "vectors" / "s9_stratum_shares_300.csv"
ROWS = 6
IMPORTS_PER_DATABASE = 500
MAPPING = {
    "timestamp": "when", "miner": "who", "difficulty": "diff", "valid": "ok", "symbol": "u", "temperature_c": "temp",
    "job_id": "job", "response_ms": "late",
}  # fmt: skip
ARRIVALS = (
    b"when,who,diff,ok,u,temp,job,late\n1768125330.7148325,a,256.5,true,0.1,61.5,1f,84.4\n"
    b"1768125330.804181,b,,false,,,1f,\n1768125331.1,a,1e3,1,-1,60,20,12\n",
    b"when;who;diff;ok;u;temp;job;late\r\n2026-01-11T09:55:30.714832Z;a;1;yes;1;;1;1\r\n"
    b"2026-01-11 09:55:31,5;a;2;no;1;;1;1\r\n",
    b"\xef\xbb\xbfwhen\twho\tdiff\tok\tu\ttemp\tjob\tlate\n1768125330714\ta\t1\t1\t1\t1\t1\t1\n",
)


class Database:
    """A trace in memory-backed storage where there is some, renewed after so many imports."""

    def __init__(self) -> None:
        shared = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(prefix="asiclab-fuzz-", dir=shared if shared.is_dir() else None))
        self._writer: TraceWriter | None = None
        self._imports = itertools.count()
        atexit.register(self.close)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def writer(self) -> TraceWriter:
        number = next(self._imports)
        if self._writer is None or number % IMPORTS_PER_DATABASE == 0:
            if self._writer is not None:
                self._writer.close()
            for old in self.folder.glob("fuzz.db*"):
                old.unlink()
            self._writer = TraceWriter(f"sqlite:///{self.folder / 'fuzz.db'}", synchronous="off")
        return self._writer


@cache
def database() -> Database:
    return Database()


def excerpt() -> tuple[bytes, ...]:
    """The first rows of the recording, and the header alone."""
    lines = EXCERPT.read_bytes().splitlines(keepends=True)
    return b"".join(lines[:ROWS]), lines[0]


@cache
def exported() -> tuple[bytes, bytes]:
    """One of our own exports of those rows: the table and its companion file."""
    with tempfile.TemporaryDirectory() as name:
        source, out, url = (
            Path(name) / "rows.csv",
            Path(name) / "out.csv",
            f"sqlite:///{Path(name) / 'lab.db'}",
        )
        source.write_bytes(excerpt()[0])
        with TraceWriter(url) as writer:
            import_csv(source, writer)
        reader = TraceReader(url)
        export_run(reader, reader.resolve("latest"), out)
        return out.read_bytes(), companion_of(out).read_bytes()


def imported(data: bytes, companion: bytes | None = None, mapping: Mapping[str, str] | None = None) -> None:
    """Import must end well or in a UserError, and count what it kept and what it refused."""
    path = database().folder / "input.csv"
    path.write_bytes(data)
    if companion is not None:
        companion_of(path).write_bytes(companion)
    else:
        companion_of(path).unlink(missing_ok=True)
    try:
        result = import_csv(path, database().writer(), mapping)
    except UserError as error:
        if len(str(error)) > 20_000:
            raise AssertionError(f"an error text of {len(str(error))} characters") from error
        return
    lines = len(data.splitlines())
    assert 0 <= result.valid <= result.shares <= lines
    assert result.shares + len(result.rejected_rows) <= lines
    assert all(row["line"] > 1 for row in result.rejected_rows)


def check_recording(data: bytes) -> None:
    imported(data)


def check_arrivals(data: bytes) -> None:
    imported(data, mapping=MAPPING)


def check_export(data: bytes) -> None:
    imported(data, companion=exported()[1] if len(data) % 2 else None)


def check_companion(data: bytes) -> None:
    imported(exported()[0], companion=data)


FILES: list[tuple[str, Callable[[], tuple[bytes, ...]], Callable[[bytes], None]]] = [
    ("S9 recording", excerpt, check_recording),
    ("arrival times", lambda: ARRIVALS, check_arrivals),
    ("our export", lambda: exported()[:1], check_export),
    ("its companion", lambda: exported()[1:], check_companion),
]
