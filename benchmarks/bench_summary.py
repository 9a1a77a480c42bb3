"""A run of a million shares, read from the database and summarised, against a budget of 5 s."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.harness import SECONDS, Benchmark, Row, against_budget, seconds_of
from firmware_bridge.timing import goodness, statistics
from firmware_bridge.timing.intervals import load_run
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.schema import MinerRow, RunRecord, ShareRow
from firmware_bridge.trace.writer import TraceWriter

SHARES = 1_000_000
MEAN_MS = 97.0
BUDGET_S = 5.0
FANO_WINDOW_NS = 1_000_000_000


def write(url: str) -> None:
    """A Poisson stream of one miner."""
    gaps = np.random.default_rng(1).exponential(MEAN_MS * 1e6, SHARES).astype(np.int64)
    start = 1_768_125_330_714_832_500
    since = np.cumsum(gaps)
    with TraceWriter(url) as writer:
        run = writer.begin_run(RunRecord(kind="virtual", source="emulator"))
        run.miner(MinerRow("s9", model="s9", floor=256.0))
        block: list[ShareRow] = []
        for i, (at, gap) in enumerate(zip(since.tolist(), gaps.tolist(), strict=True)):
            late = None if i == 0 else gap
            block.append(
                ShareRow(
                    *(1, i, f"{i:x}", f"{i:08x}", "69637392", f"{i:08x}", None, 256.0 + i % 1000, True, None),
                    *(start + at, at, start + at, late, gap, gap),
                )
            )
            if len(block) == 10_000:
                run.shares(block)
                block = []
        run.end("success")


def summarise(url: str) -> dict[str, float]:
    """Read the run anew and compute n, mean, CV, CV2, LV, Fano factor and Kolmogorov distance, no intervals."""
    reader = TraceReader(url)
    data = load_run(reader, reader.resolve("latest"), timing_only=True)
    stream = data.intervals()
    x = stream.values_ms
    counts = [statistics.window_counts(times, FANO_WINDOW_NS) for times in stream.times_ns]
    return {
        "n": x.size,
        "mean_ms": float(x.mean()),
        "cv": statistics.coefficient_of_variation(x),
        "cv2": statistics.cv2(x),
        "lv": statistics.lv(x),
        "fano_1s": statistics.fano_factor(counts).value,
        "ks_exp": goodness.exponential_distances(x).ks,
    }


def check(found: dict[str, float]) -> None:
    """The stream is Poisson by construction: wrong numbers would make the time worthless."""
    assert found["n"] == SHARES - 1
    assert abs(found["mean_ms"] / MEAN_MS - 1) < 0.01
    assert all(abs(found[name] - 1) < 0.02 for name in ("cv", "cv2", "lv", "fano_1s"))
    assert found["ks_exp"] < 0.002


def run(heavy: bool) -> Iterator[Row]:
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="asiclab-bench-") as folder:
        url = f"sqlite:///{Path(folder) / 'summary.db'}"
        write(url)
        yield against_budget(
            "1e6 shares read and summarised",
            lambda: seconds_of(lambda: found.update(summarise(url))),
            BUDGET_S,
            unit=SECONDS,
            aim=1.0,
            rounds=7 if heavy else 3,
        )
    check(found)


BENCHMARKS = [Benchmark("summary", run)]
