"""A Stratum V1 CPU miner that shares no code with the lab: sockets, json and hashlib, written from the protocol alone.

It behaves like a cpuminer: subscribes with its user agent, authorizes, counts extranonce2 upwards, never sets anything
else. With `roll_versions` it asks for BIP310 and sends the sixth parameter.
"""

from __future__ import annotations

import hashlib
import json
import select
import socket
import struct
import time
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

BATCH = 3000
"""Hashes between two looks at the socket."""
NONCES = 30_000
"""Nonces per extranonce2: far fewer than a share needs in the tests, so shares come from many extranonce2."""


@dataclass
class Work:
    """A job as it came, with the difficulty that was in force then."""

    params: list[Any]
    difficulty: float


@dataclass
class Found:
    """A share that was sent: its six parameters and the hash that it reached."""

    params: list[str]
    hash_value: int
    difficulty: float
    answer: Any = None
    error: Any = None
    answered: bool = False


@dataclass
class Miner:
    """One connection; `mine` blocks for as long as it is told."""

    host: str
    port: int
    user: str = "worker"
    agent: str = "cpuminer/2.5.1"
    roll_versions: bool = False
    found: list[Found] = field(default_factory=list)
    hashes: int = 0

    def __post_init__(self) -> None:
        self._socket = socket.create_connection((self.host, self.port), timeout=60)
        self._rest = b""
        self._waiting: dict[int, Found] = {}
        self._results: dict[int, Any] = {}
        self._next_id = 1
        self.difficulty = 1.0
        self.work: Work | None = None
        self.mask = 0
        self.extranonce2 = 0
        if self.roll_versions:
            options = {"version-rolling.mask": "1fffe000", "version-rolling.min-bit-count": 2}
            answer = self._ask("mining.configure", [["version-rolling"], options])
            assert answer["version-rolling"] is True
            self.mask = int(answer["version-rolling.mask"], 16)
        subscribed = self._ask("mining.subscribe", [self.agent])
        self.extranonce1, self.extranonce2_size = subscribed[1], subscribed[2]
        assert self._ask("mining.authorize", [self.user, "x"]) is True

    def close(self) -> None:
        self._socket.close()

    def _send(self, method: str, params: list[Any]) -> int:
        number, self._next_id = self._next_id, self._next_id + 1
        line = json.dumps({"id": number, "method": method, "params": params}) + "\n"
        self._socket.sendall(line.encode())
        return number

    def _ask(self, method: str, params: list[Any]) -> Any:
        number = self._send(method, params)
        deadline = time.monotonic() + 60
        while number not in self._results:
            assert time.monotonic() < deadline, f"no answer to {method}"
            self._listen(0.1)
        return self._results.pop(number)

    def _listen(self, seconds: float) -> bool:
        """Take what has arrived; whether the work changed."""
        changed = False
        while select.select([self._socket], [], [], seconds)[0]:
            seconds = 0
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionError("the pool hung up")
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                changed |= self._take(json.loads(line))
        return changed

    def _take(self, message: dict[str, Any]) -> bool:
        method = message.get("method")
        if method == "mining.set_difficulty":
            self.difficulty = message["params"][0]
        elif method == "mining.notify":
            self.work = Work(message["params"], self.difficulty)
            return True
        elif method is None and message["id"] in self._waiting:
            share = self._waiting.pop(message["id"])
            share.answer, share.error, share.answered = message["result"], message["error"], True
        elif method is None:
            assert message["error"] is None, message
            self._results[message["id"]] = message["result"]
        return False

    def mine(self, seconds: float, shares: int | None = None) -> None:
        """Hash for `seconds`, or until `shares` were found, then wait for the last answers."""
        end = time.monotonic() + seconds
        while self.work is None:
            assert time.monotonic() < end, "no job came"
            self._listen(0.1)
        while time.monotonic() < end and (shares is None or len(self.found) < shares):
            self._mine_one_extranonce2(self.work, end, shares)
        end = time.monotonic() + 60
        while self._waiting and time.monotonic() < end:
            self._listen(0.1)

    def _mine_one_extranonce2(self, work: Work, end: float, shares: int | None) -> None:
        job_id, prevhash, coinb1, coinb2, branches, version, nbits, ntime, _clean = work.params
        extranonce2 = self.extranonce2.to_bytes(self.extranonce2_size, "little").hex()
        self.extranonce2 += 1
        root = _twice(bytes.fromhex(coinb1 + self.extranonce1 + extranonce2 + coinb2))
        for branch in branches:
            root = _twice(root + bytes.fromhex(branch))
        number, bits = int(version, 16), None
        if self.mask:
            # the lowest bit of the mask and upwards, so that each extranonce2 has a version of its own
            bits = (self.extranonce2 * (self.mask & -self.mask)) & self.mask
            number = (number & ~self.mask) | bits
        header = struct.pack("<I", number)
        for at in range(0, 64, 8):
            header += struct.pack("<I", int(prevhash[at : at + 8], 16))
        header += root + struct.pack("<II", int(ntime, 16), int(nbits, 16))
        target = int(Fraction(0xFFFF << 208) / Fraction(work.difficulty))
        middle, tail = hashlib.sha256(header[:64]), header[64:]
        for nonce in range(NONCES):
            if nonce % BATCH == 0 and (
                self._listen(0)
                or time.monotonic() > end
                or (shares is not None and len(self.found) >= shares)
            ):
                return
            first = middle.copy()
            first.update(tail + struct.pack("<I", nonce))
            value = int.from_bytes(hashlib.sha256(first.digest()).digest(), "little")
            self.hashes += 1
            if value <= target:
                params = [self.user, job_id, extranonce2, ntime, f"{nonce:08x}"]
                if bits is not None:
                    params.append(f"{bits:08x}")
                share = Found(params, value, work.difficulty)
                self.found.append(share)
                self._waiting[self._send("mining.submit", params)] = share


def _twice(data: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()
