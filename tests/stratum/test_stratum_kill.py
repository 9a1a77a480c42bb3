"""kill -9 of the bridge under load: no acknowledged share is missing, and the database opens."""

from __future__ import annotations

import json
import random
import select
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.stratum.bridge_kit import difficulty_of

RATE_PER_S = 2000
IN_FLIGHT = 256
ENOUGH = 300
DIFFICULTY = 1e-9  # about every fourth hash is a share; the client sends only those


class Loader:
    """Sends shares at a rate with a bounded number unanswered, and notes which were acknowledged."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.rest = b""
        self.acknowledged: set[int] = set()
        self.refused = 0
        self.sent = 0
        self.extranonce1 = ""
        self.job: list = []
        self.sock.sendall(b'{"id":"s","method":"mining.subscribe","params":["loader"]}\n')
        self.sock.sendall(b'{"id":"a","method":"mining.authorize","params":["w","x"]}\n')
        while not self.job:
            self.take(self.sock.recv(65536))
        self.nonces = self.good_nonces()

    def good_nonces(self):
        for nonce in range(1 << 32):
            params = ["w", self.job[0], "00000001", self.job[7], f"{nonce:08x}"]
            if difficulty_of(self.job, self.extranonce1, params) >= DIFFICULTY:
                line = {"id": nonce, "method": "mining.submit", "params": params}
                yield json.dumps(line).encode() + b"\n"

    def take(self, data: bytes) -> None:
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if message.get("method") == "mining.notify":
                self.job = message["params"]
            elif message["id"] == "s":
                self.extranonce1 = message["result"][1]
            elif isinstance(message["id"], int):
                if message["result"] is True:
                    self.acknowledged.add(message["id"])
                else:
                    self.refused += 1

    def run_until(self, process: subprocess.Popen[str], seconds: float) -> None:
        """Load the bridge, kill it after so many seconds, then read what it had still sent."""
        ready = [next(self.nonces) for _ in range(int(RATE_PER_S * seconds) + IN_FLIGHT)]
        self.sock.setblocking(False)
        start = time.perf_counter()
        # longer where the machine is too busy for the rate: a kill before enough was acknowledged shows nothing
        while (elapsed := time.perf_counter() - start) < seconds or len(self.acknowledged) <= ENOUGH:
            assert elapsed < 120, f"{len(self.acknowledged)} acknowledged, {self.refused} refused"
            unanswered = self.sent - len(self.acknowledged) - self.refused
            due = min(int(elapsed * RATE_PER_S) - self.sent, IN_FLIGHT - unanswered, len(ready) - self.sent)
            if due > 0:
                self.sock.setblocking(True)
                self.sock.sendall(b"".join(ready[self.sent : self.sent + due]))
                self.sock.setblocking(False)
                self.sent += due
            if select.select([self.sock], [], [], 0.001)[0]:
                self.take(self.sock.recv(1 << 20))
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.sock.setblocking(True)
        try:
            while data := self.sock.recv(1 << 20):
                self.take(data)
        except ConnectionError:
            pass
        self.sock.close()


@pytest.mark.parametrize("times", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_no_acknowledged_share_is_missing_after_kill_9(tmp_path: Path, project: Path, times: int) -> None:
    chance = random.Random(times)
    for run in range(1, times + 1):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.stratum.bridge_process", f"sqlite:///{tmp_path / 'lab.db'}"],
            stdout=subprocess.PIPE,
            text=True,
            cwd=project,
        )
        try:
            assert process.stdout is not None
            loader = Loader(int(process.stdout.readline()))
            loader.run_until(process, chance.uniform(0.3, 1.2))
        finally:
            process.kill()
            process.communicate()
        assert loader.refused == 0
        assert len(loader.acknowledged) > ENOUGH
        with sqlite3.connect(tmp_path / "lab.db") as database:
            assert database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
            query = "SELECT nonce FROM shares WHERE run = ? AND valid"
            stored = {int(nonce, 16) for (nonce,) in database.execute(query, (run,))}
        assert loader.acknowledged <= stored
        assert len(stored) <= loader.sent
