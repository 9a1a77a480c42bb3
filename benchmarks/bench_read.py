"""A million shares back to numpy, against `pandas.read_sql`, with every int64 and NULL as it was written.

pandas makes floats of an integer column with NULLs, which lose nanoseconds above 2^53; the row says how many.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bench_ingest import rows_of
from benchmarks.harness import SECONDS, Benchmark, Row, paired, seconds_of
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.schema import RunRecord, ShareRow
from firmware_bridge.trace.writer import TraceWriter

ROWS = 1_000_000
COLUMNS = ("miner", "kernel_ns", "monotonic_ns", "wall_ns", "response_ns")


def write(path: Path) -> list[ShareRow]:
    """A run of a million shares; every tenth has no response time, every hundredth no kernel stamp."""
    rows = [row._replace(kernel_ns=None) if i % 100 == 0 else row for i, row in enumerate(rows_of(ROWS))]
    with TraceWriter(f"sqlite:///{path}") as writer:
        run = writer.begin_run(RunRecord(kind="live", source="bridge"))
        for start in range(0, ROWS, 10_000):
            run.shares(rows[start : start + 10_000])
        run.end("success")
    return rows


def run(heavy: bool) -> Iterator[Row]:
    import pandas as pd

    got: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="asiclab-bench-") as folder:
        path = Path(folder) / "read.db"
        rows = write(path)
        reader = TraceReader(f"sqlite:///{path}")
        number = reader.resolve("latest")
        database = sqlite3.connect(path)
        query = f"SELECT {', '.join(COLUMNS)} FROM shares WHERE run = {number} ORDER BY id"

        def ours() -> float:
            return seconds_of(lambda: got.update(ours=reader.columns(number, "shares", COLUMNS)))

        def peer() -> float:
            return seconds_of(lambda: got.update(peer=pd.read_sql(query, database)))

        row = paired(
            "1e6 rows to numpy",
            ours,
            peer,
            unit=SECONDS,
            aim=3.5,
            rounds=7 if heavy else 5,
            detail={"columns": 5},
        )
        wrong_of_peer = 0
        for name in COLUMNS:
            written = [getattr(r, name) for r in rows]
            exact = np.array([value or 0 for value in written], dtype=np.int64)
            null = np.array([value is None for value in written])
            values, nulls = got["ours"].values[name], got["ours"].null[name]
            if values.dtype != np.int64 or not (values == exact).all() or not (nulls == null).all():
                raise RuntimeError(f"column {name} did not come back as it was written")
            wrong_of_peer += int((got["peer"][name].fillna(0).astype(np.int64).to_numpy() != exact).sum())
        row.detail.update(inexact_ours=0, inexact_reference=wrong_of_peer)
        database.close()
    yield row


BENCHMARKS = [Benchmark("read", run)]
