"""A Stratum pool with real semantics, written from the protocol alone: asyncio, json and hashlib, nothing of the lab.

Each connection gets an extranonce1 of its own and keeps its jobs; a share is stale, a duplicate, too easy or accepted,
and every verdict is counted with what it was about.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any


def twice(data: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def difficulty_of(
    params: list[Any], extranonce1: str, extranonce2: str, ntime: str, nonce: str, version: int
) -> float:
    """Difficulty of a share of the job with these parameters of mining.notify."""
    _, prevhash, coinb1, coinb2, branches, _, nbits, *_ = params
    root = twice(bytes.fromhex(coinb1 + extranonce1 + extranonce2 + coinb2))
    for branch in branches:
        root = twice(root + bytes.fromhex(branch))
    header = version.to_bytes(4, "little")
    header += b"".join(bytes.fromhex(prevhash)[i : i + 4][::-1] for i in range(0, 32, 4)) + root
    header += b"".join(bytes.fromhex(part)[::-1] for part in (ntime, nbits, nonce))
    assert len(header) == 80
    return (0xFFFF << 208) / (int.from_bytes(twice(header), "little") or 1)


@dataclass
class Seat:
    """One connection of a miner (or of a proxy)."""

    pool: StrictPool
    writer: asyncio.StreamWriter
    extranonce1: str
    size: int
    number: int
    agent: str | None = None
    users: dict[str, str] = field(default_factory=dict)
    mask: int = 0
    difficulty: float = 0.0
    subscribed: bool = False
    jobs: dict[str, tuple[list[Any], str, int, float]] = field(default_factory=dict)
    seen: set[tuple[str, ...]] = field(default_factory=set)
    sent: int = 0
    session: str = ""
    resumed: bool = False

    def say(self, message: dict[str, Any]) -> None:
        if not self.writer.is_closing():
            self.writer.write(json.dumps(message).encode() + b"\n")
            self.pool.notified += message.get("method") == "mining.notify"

    def call(self, method: str, params: list[Any], id: Any = None) -> None:
        self.say({"id": id, "method": method, "params": params})

    def new_job(self, clean: bool = False) -> None:
        r = self.pool.rng.randbytes
        self.sent += 1
        params = [
            f"{self.number:x}-{self.sent:x}", r(32).hex(), r(44).hex(), r(57).hex(),
            [r(32).hex() for _ in range(self.pool.branches)], self.pool.version, "1d00ffff",
            f"{0x65000000 + self.sent:08x}", clean,
        ]  # fmt: skip
        if clean:
            self.jobs.clear()
        self.jobs[params[0]] = (params, self.extranonce1, self.size, self.difficulty)  # type: ignore[index]
        self.call("mining.notify", params)

    def repeat_job(self, clean: bool = False) -> None:
        """Announce the newest job again, as it was but for the flag."""
        *_, (params, _, _, _) = self.jobs.values()
        self.call("mining.notify", [*params[:8], clean])

    def set_difficulty(self, difficulty: float) -> None:
        """Counts from the next job on."""
        self.difficulty = difficulty
        self.call("mining.set_difficulty", [difficulty])

    def set_extranonce(self, extranonce1: str, size: int) -> None:
        self.extranonce1, self.size = extranonce1, size
        self.call("mining.set_extranonce", [extranonce1, size])

    def set_mask(self, mask: int) -> None:
        self.mask &= mask
        self.call("mining.set_version_mask", [f"{self.mask:08x}"])


@dataclass
class StrictPool:
    """The pool; a context manager that listens on a free port."""

    difficulty: float = 1e-9
    size: int = 4
    branches: int = 3
    mask: int = 0x1FFFE000
    version: str = "20000000"
    scale: float = 1.0
    new_job_on_share: bool = False
    refuse: str | None = None  # users are not authorised, for this reason
    knows_configure: bool = True
    fixed_extranonce1: str | None = None
    resumes: bool = False  # a session that is named again goes on, with its jobs
    silent_on: tuple[str, ...] = ()  # methods that are never answered
    delay_s: float = 0.0  # before each answer
    deaf: bool = False  # shares are never answered
    tag: int = 0xA0
    port: int = 0

    def __post_init__(self) -> None:
        self.rng = random.Random(self.tag)
        self.seats: list[Seat] = []
        self.here: list[Seat] = []
        self.verdicts: Counter[str] = Counter()
        self.shares: list[tuple[str, list[str]]] = []  # verdict and parameters, in order
        self.requests: list[tuple[str, list[Any]]] = []
        self.faults: list[str] = []
        self.notified = 0
        self._numbers = itertools.count(1)
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> StrictPool:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", self.port, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self.drop()

    def drop(self) -> None:
        for seat in list(self.here):
            seat.writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = next(self._numbers)
        extranonce1 = self.fixed_extranonce1 or f"{self.tag:02x}{number:06x}"
        seat = Seat(self, writer, extranonce1, self.size, number, session=f"session{number}")
        self.seats.append(seat)
        self.here.append(seat)
        try:
            while line := await reader.readline():
                await self._hear(seat, json.loads(line))
        except ConnectionError:
            pass
        finally:
            self.here.remove(seat)
            writer.close()

    async def _hear(self, seat: Seat, message: dict[str, Any]) -> None:
        id, method, params = message.get("id"), message.get("method"), message.get("params", [])
        if method is None:
            return
        self.requests.append((method, params))
        answer: dict[str, Any] | None = {"id": id, "result": None, "error": [20, "unknown method", None]}

        def result(value: object) -> dict[str, Any]:
            return {"id": id, "result": value, "error": None}

        after = []
        match method:
            case "mining.subscribe":
                seat.agent, seat.subscribed = params[0] if params else None, True
                known = [s for s in self.seats if s.session in params[1:]] if self.resumes else []
                if known:
                    seat.session, seat.extranonce1, seat.size = (
                        known[0].session,
                        known[0].extranonce1,
                        known[0].size,
                    )
                    seat.jobs, seat.seen, seat.resumed = known[0].jobs, known[0].seen, True
                named = [["mining.set_difficulty", f"d{seat.number}"], ["mining.notify", seat.session]]
                if self.scale != 1.0 and "scale=" in (seat.agent or ""):
                    named.append(["asiclab.scale", str(seat.agent).split()[-1]])
                answer = result([named, seat.extranonce1, seat.size])
            case "mining.configure" if self.knows_configure:
                granted: dict[str, Any] = {}
                for extension in params[0]:
                    granted[extension] = extension == "version-rolling"
                if "version-rolling" in params[0]:
                    seat.mask = self.mask & int(params[1].get("version-rolling.mask", "ffffffff"), 16)
                    granted["version-rolling.mask"] = f"{seat.mask:08x}"
                answer = result(granted)
            case "mining.authorize":
                if self.refuse:
                    answer = {"id": id, "result": False, "error": [24, self.refuse, None]}
                else:
                    first = not seat.users
                    seat.users[params[0]] = params[1]
                    answer = result(True)
                    if first:
                        after = [
                            lambda: seat.set_difficulty(self.difficulty),
                            lambda: seat.new_job(not seat.resumed),
                        ]
            case "mining.suggest_difficulty" | "mining.extranonce.subscribe":
                answer = result(True)
            case "mining.submit":
                fault = self._judge(seat, params)
                verdict = fault[1] if fault else "accepted"
                self.verdicts[verdict] += 1
                self.shares.append((verdict, params))
                answer = {"id": id, "result": None, "error": [*fault, None]} if fault else result(True)
                if self.deaf:
                    answer = None
                if self.new_job_on_share and fault is None:
                    after = [lambda: seat.new_job(False)]
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if answer is not None and method not in self.silent_on:
            seat.say(answer)
        for action in after:
            action()

    def _judge(self, seat: Seat, params: list[str]) -> tuple[int, str] | None:
        if len(params) not in (5, 6) or not all(isinstance(p, str) for p in params):
            self.faults.append(f"malformed {params}")
            return 20, "malformed"
        user, job_id, extranonce2, ntime, nonce, *bits = params
        if user not in seat.users:
            return 24, "unauthorized worker"
        if job_id not in seat.jobs:
            return 21, "job not found"
        job, extranonce1, size, difficulty = seat.jobs[job_id]
        if len(extranonce2) != 2 * size or ntime != job[7] or len(nonce) != 8:
            self.faults.append(f"malformed {params}")
            return 20, "malformed"
        version = int(job[5], 16)
        if bits:
            rolled = int(bits[0], 16)
            if rolled & ~seat.mask:
                return 20, "version bits outside the mask"
            version = (version & ~seat.mask) | rolled
        key = (job_id, extranonce2.lower(), ntime, nonce.lower(), f"{version:08x}")
        if key in seat.seen:
            return 22, "duplicate share"
        seat.seen.add(key)
        reached = difficulty_of(job, extranonce1, extranonce2, ntime, nonce, version) / self.scale
        if reached < difficulty:
            return 23, "low difficulty share"
        return None
