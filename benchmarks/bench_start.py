"""How long a user waits for `asiclab --help`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from benchmarks.harness import ASICLAB, PROJECT, SECONDS, Benchmark, Row, against_budget, seconds_of

BUDGET_S = 0.3


def run(heavy: bool) -> Iterator[Row]:
    command = [*ASICLAB, "--help"]

    def once() -> float:
        return seconds_of(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=PROJECT))

    once()  # byte-compile
    bare = sorted(
        seconds_of(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True)) for _ in range(5)
    )
    yield against_budget(
        "asiclab --help", once, BUDGET_S, unit=SECONDS, aim=1.0, rounds=11, detail={"bare_python_s": bare[2]}
    )


BENCHMARKS = [Benchmark("start", run)]
