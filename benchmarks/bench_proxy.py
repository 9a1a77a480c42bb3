"""Added latency of the proxy per share: submit to answer, in both modes, against a plain TCP relay to the same pool.

Pool, relay and proxies are processes of their own and run all at once; one client asks them in turn, one share in
flight. The proxies verify, stamp and commit each share; the relay looks at nothing.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.harness import ASICLAB, PROJECT, SECONDS, Benchmark, Row

SIDES = ("tcp relay", "relay", "vbm")
FAR_S = 0.02
"""Delay of the pool that stands for one far away."""


class Client:
    """One connection that sends a share and waits for its answer."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.lines = self.sock.makefile("rb")
        self.numbers = itertools.count(10)
        self._send(1, "mining.subscribe", ["asiclab-bench/1"])
        self.size = int(self._answer(1)["result"][2])
        self._send(2, "mining.authorize", ["bench", "x"])
        self._answer(2)
        while True:
            message = json.loads(self.lines.readline())
            if message.get("method") == "mining.notify":
                self.job_id, self.ntime = message["params"][0], message["params"][7]
                return

    def _send(self, id: int, method: str, params: list[str]) -> None:
        self.sock.sendall(json.dumps({"id": id, "method": method, "params": params}).encode() + b"\n")

    def _answer(self, id: int) -> dict[str, list[object]]:
        while True:
            message = json.loads(self.lines.readline())
            if message.get("id") == id:
                return dict(message)

    def latency(self) -> float:
        """Seconds from a share to its answer."""
        id = next(self.numbers)
        params = ["bench", self.job_id, "00" * self.size, self.ntime, f"{id:08x}"]
        data = json.dumps({"id": id, "method": "mining.submit", "params": params}).encode() + b"\n"
        start = time.perf_counter()
        self.sock.sendall(data)
        answer = self.lines.readline()
        seconds = time.perf_counter() - start
        message = json.loads(answer)
        if message.get("id") != id or message["result"] is not True:
            raise RuntimeError(f"a share was answered with {answer!r}")
        return seconds


@contextmanager
def process(*command: str) -> Iterator[str]:
    """First line of a process that ends with this."""
    child = subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        yield child.stdout.readline()
    finally:
        child.terminate()
        child.communicate(timeout=60)


@contextmanager
def sides(folder: Path, delay_s: float) -> Iterator[dict[str, Client]]:
    """A client of each side, all of them for one pool."""
    with contextlib.ExitStack() as stack:
        module = (sys.executable, "-m")
        pool = stack.enter_context(process(*module, "benchmarks.yes_pool", str(delay_s))).strip()
        ports = {"tcp relay": int(stack.enter_context(process(*module, "benchmarks.tcp_relay", pool)))}
        for mode in SIDES[1:]:
            database = f"sqlite:///{folder / f'{mode}-{delay_s}.db'}"
            command = (
                *(*ASICLAB, "proxy", "--port", "0", "--mode", mode, "--work", "upstream", "--json"),
                *("--upstream", f"127.0.0.1:{pool}", "--db", database),
            )
            ports[mode] = int(json.loads(stack.enter_context(process(*command)))["port"])
        yield {side: Client(port) for side, port in ports.items()}


def measure(clients: dict[str, Client], rounds: int, shares: int) -> dict[str, list[float]]:
    """Latencies of each side, ranked; the sides take turns, so that a busy machine hurts all alike."""
    found: dict[str, list[float]] = {side: [] for side in clients}
    order = list(clients)
    for number in range(rounds):
        for side in order[number % len(order) :] + order[: number % len(order)]:
            found[side] += [clients[side].latency() for _ in range(shares)]
    return {side: sorted(values) for side, values in found.items()}


def quantile(ranked: list[float], part: float) -> float:
    return ranked[round(part * (len(ranked) - 1))]


def run(heavy: bool) -> Iterator[Row]:
    with tempfile.TemporaryDirectory(prefix="asiclab-bench-") as folder:
        for delay_s, rounds, shares in ((0.0, 60 if heavy else 30, 100), (FAR_S, 6 if heavy else 3, 40)):
            with sides(Path(folder), delay_s) as clients:
                measure(clients, 3, shares // 2)  # warm all up
                found = measure(clients, rounds, shares)
            where = f", pool {delay_s * 1e3:g} ms away" if delay_s else ""
            for mode in SIDES[1:]:
                for name, part in (("p50", 0.5), ("p99", 0.99)):
                    ours, peer = quantile(found[mode], part), quantile(found["tcp relay"], part)
                    detail = {"added_us": (ours - peer) * 1e6, "shares": rounds * shares}
                    yield Row(
                        f"proxy {mode} answer {name}{where}", ours, peer, SECONDS, peer / ours, None, detail
                    )


BENCHMARKS = [Benchmark("proxy", run)]
