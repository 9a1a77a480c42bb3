"""Submits answered per second by the bridge, every share validated and committed, against a bare echo server.

Server and load generator are processes of their own; both servers run at once and are asked in turn. The peer
is `benchmarks.echo_server`: asyncio streams, one readline and one write per message, no JSON, no store.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks.harness import ASICLAB, PROJECT, Benchmark, Row, paired
from benchmarks.load import drive

EVERY_HASH = 1e-10  # below 2.33e-10 each hash is a share
ECHO = [sys.executable, "-m", "benchmarks.echo_server"]


class Plan(NamedTuple):
    """One row: `submits` are per client and round."""

    name: str
    clients: int
    in_flight: int
    submits: int
    aim: float | None


PLANS = (
    Plan("bridge ack, 1 client, 64 in flight", 1, 64, 60_000, 0.5),
    Plan("bridge ack, 100 clients, 64 in flight", 100, 64, 600, 0.5),
    Plan("bridge ack, 1 client, 1 in flight", 1, 1, 4_000, None),
    Plan("bridge ack, 100 clients, 1 in flight", 100, 1, 200, None),
)


@dataclass
class Side:
    """A server under load, and what it answered so far."""

    port: int
    is_bridge: bool
    answered: int = 0
    median_ms: float | None = None

    def rate(self, plan: Plan) -> float:
        """Submits answered per second in one round."""
        load = drive(
            self.port,
            clients=plan.clients,
            in_flight=plan.in_flight,
            submits=plan.submits,
            talk=self.is_bridge,
        )
        if load.refused:
            raise RuntimeError(f"{load.refused} of {load.answered} submits were refused")
        self.answered += load.answered
        self.median_ms = load.median_ms
        return load.per_second


@contextmanager
def bridge(folder: Path, *more: str) -> Iterator[int]:
    """Port of an `asiclab bridge` of its own process; `more` are further options."""
    command = [
        *ASICLAB,
        *(
            "bridge",
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--difficulty",
            str(EVERY_HASH),
            "--mode",
            "stream",
        ),
        *("--job-period", "600", "--db", f"sqlite:///{folder / 'bench.db'}", "--json"),
        *more,
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"asiclab bridge ended with {process.wait()} before it listened")
        yield int(json.loads(line)["port"])
    finally:
        process.terminate()
        process.communicate(timeout=60)


@contextmanager
def echo() -> Iterator[int]:
    """Port of an echo server of its own process."""
    process = subprocess.Popen(ECHO, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.communicate(timeout=60)


def committed(folder: Path) -> int:
    """Valid shares that a reader of the database sees."""
    with sqlite3.connect(f"file:{folder / 'bench.db'}?mode=ro", uri=True) as database:
        return int(database.execute("SELECT count(*) FROM shares WHERE valid").fetchone()[0])


def run(heavy: bool) -> Iterator[Row]:
    with (
        tempfile.TemporaryDirectory(prefix="asiclab-bench-") as folder,
        bridge(Path(folder)) as bridge_port,
        echo() as echo_port,
    ):
        ours, theirs = Side(bridge_port, True), Side(echo_port, False)
        for plan in PLANS:
            mine, peer = partial(ours.rate, plan), partial(theirs.rate, plan)
            mine(), peer()  # warm both up
            row = paired(plan.name, mine, peer, unit="acks/s", aim=plan.aim, rounds=21 if heavy else 11)
            stored = committed(Path(folder))
            if stored != ours.answered:
                raise RuntimeError(f"{ours.answered} shares were acknowledged, {stored} are in the database")
            row.detail["committed"] = stored
            if plan.in_flight == 1:
                row.detail.update(ours_median_ms=ours.median_ms, reference_median_ms=theirs.median_ms)
            yield row


BENCHMARKS = [Benchmark("ack", run)]
