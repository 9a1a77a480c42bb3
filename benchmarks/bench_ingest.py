"""Shares from parsed tuple to committed row, against raw `sqlite3.executemany` into the same table.

Both write the same rows with write-ahead log and synchronous=NORMAL; the peer commits every 1000 rows, which is
its best batch, from tuples that already carry the run number.
"""

from __future__ import annotations

import gc
import sqlite3
import tempfile
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path

from benchmarks.harness import Benchmark, Row, paired, seconds_of
from firmware_bridge.trace.schema import RunRecord, ShareRow, shares
from firmware_bridge.trace.writer import TraceWriter

ROWS = 200_000
BLOCK = 1000


def rows_of(number: int) -> list[ShareRow]:
    """Shares as a bridge stores them, every field filled but for the version bits."""
    base = 1_768_125_330_714_832_500
    return [
        ShareRow(
            miner=1 + i % 4,
            job=1 + i // 3,
            job_id=f"{i // 3:x}",
            extranonce2=f"{i:08x}",
            ntime="69637392",
            nonce=f"{i * 2654435761 & 0xFFFFFFFF:08x}",
            version_bits=None,
            difficulty=256.0 + i / 7,
            valid=True,
            reason=None,
            kernel_ns=base + i * 97_000_001,
            monotonic_ns=i * 97_000_011,
            wall_ns=base + i * 97_000_017,
            interval_ns=97_000_001,
            response_ns=None if i % 10 == 0 else 84_000_003,
            since_notify_ns=84_000_003,
        )
        for i in range(number)
    ]


def raw(folder: Path, names: Iterator[int], rows: list[tuple[object, ...]]) -> float:
    """Rows per second of sqlite3.executemany."""
    columns = [column.name for column in shares.columns if column.name != "id"]
    database = sqlite3.connect(folder / f"raw{next(names)}.db", isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=NORMAL")
    types = {c.name: c.type.compile(dialect=None) for c in shares.columns}
    body = ", ".join(f"{name} {types[name]}" for name in columns)
    database.execute(f"CREATE TABLE shares (id INTEGER PRIMARY KEY, {body})")
    insert = f"INSERT INTO shares ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"

    def write() -> None:
        for start in range(0, len(rows), BLOCK):
            database.execute("BEGIN")
            database.executemany(insert, rows[start : start + BLOCK])
            database.execute("COMMIT")

    seconds = seconds_of(write)
    stored = database.execute("SELECT count(*) FROM shares").fetchone()[0]
    database.close()
    assert stored == len(rows)
    return len(rows) / seconds


def ours(folder: Path, names: Iterator[int], rows: list[ShareRow], block: int) -> float:
    """Rows per second of the trace writer, given one at a time (`block` 1) or in blocks."""
    path = folder / f"ours{next(names)}.db"
    with TraceWriter(f"sqlite:///{path}") as writer:
        run = writer.begin_run(RunRecord(kind="live", source="bridge"))

        def write() -> None:
            if block == 1:
                for row in rows:
                    run.share(row)
            else:
                for start in range(0, len(rows), block):
                    run.shares(rows[start : start + block])
            run.flush()

        seconds = seconds_of(write)
        run.end("success")
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT count(*) FROM shares").fetchone()[0] == len(rows)
    return len(rows) / seconds


def run(heavy: bool) -> Iterator[Row]:
    rows = rows_of(ROWS * (5 if heavy else 1))
    numbered = [(1, *row) for row in rows]
    gc.freeze()  # the rows were there before: no collection is to walk over them in either side's rounds
    names = count()
    with tempfile.TemporaryDirectory(prefix="asiclab-bench-") as name:
        peer = partial(raw, Path(name), names, numbered)
        for block, title in (
            (BLOCK, f"durable ingest, blocks of {BLOCK}"),
            (1, "durable ingest, row by row"),
        ):
            mine = partial(ours, Path(name), names, rows, block)
            yield paired(title, mine, peer, unit="rows/s", aim=0.75, rounds=13)


BENCHMARKS = [Benchmark("ingest", run)]
