"""Virtual time of one emulated S9 at difficulty 256, real nonces and database included, against real time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import Benchmark, Row, against_budget, seconds_of
from firmware_bridge.emulator.virtual import VirtualConfig, run_virtual
from firmware_bridge.trace.writer import TraceWriter

VIRTUAL_S = 3600.0
REAL_TIME = 1.0


def run(heavy: bool) -> Iterator[Row]:
    seconds = VIRTUAL_S * (10 if heavy else 1)
    with tempfile.TemporaryDirectory(prefix="asiclab-bench-") as folder:

        def speed(seed: int = 0, seconds: float = seconds) -> float:
            config = VirtualConfig(model="s9", shares=None, seconds=seconds, seed=seed, difficulty=256.0)

            def emulate() -> None:
                with TraceWriter(f"sqlite:///{Path(folder) / 'virtual.db'}") as writer:
                    run_virtual(config, writer)

            return seconds / seconds_of(emulate)

        speed(seed=1, seconds=10.0)  # compiles
        yield against_budget(
            "virtual time of one S9 at difficulty 256", speed, REAL_TIME, unit="s per s", aim=1000.0, rounds=5
        )


BENCHMARKS = [Benchmark("virtual", run)]
