"""A small pool that knows nothing of this project but the wire: it checks every share with hashlib."""

from __future__ import annotations

import asyncio
import json
import random
import time
from dataclasses import dataclass, field
from typing import Any

from header_checker import difficulty_of, job_of_notify

EXTRANONCE1 = "f000000f"


@dataclass
class PlainPool:
    """One difficulty; a new job after every accepted share and every ``period_s``."""

    difficulty: float
    scale: float
    extranonce2_size: int = 4
    branches: int = 2
    mask: str = "1fffe000"
    early: bytes = b""  # sent right after subscribe arrived, before its answer
    refuse: str | None = None
    confirms: bool = True  # take up the scale that a user agent names
    drop_after: int | None = None  # close the first connection after this many shares
    requests: list[str] = field(default_factory=list)
    agents: list[str] = field(default_factory=list)
    parameters: set[int] = field(default_factory=set)
    difficulties: list[float] = field(default_factory=list)
    answers: list[tuple[float, str, str, float]] = field(default_factory=list)
    """Of each accepted share: seconds since its job was sent, extranonce2, nonce, nominal difficulty."""
    faults: list[str] = field(default_factory=list)
    duplicates: int = 0
    connections: int = 0
    port: int = 0

    def __post_init__(self) -> None:
        self._rng = random.Random(1)
        self._jobs: dict[str, dict[str, Any]] = {}
        self._sent: dict[str, float] = {}
        self._seen: set[tuple[str, ...]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> PlainPool:
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    def _job(self) -> bytes:
        r = self._rng.randbytes
        params = [
            f"{len(self._jobs):x}", r(32).hex(), r(50).hex(), r(60).hex(),
            [r(32).hex() for _ in range(self.branches)], "20000000", "1d00ffff", "65000000", True,
        ]  # fmt: skip
        self._jobs[params[0]] = job_of_notify(params, EXTRANONCE1)  # type: ignore[index]
        self._sent[params[0]] = time.monotonic()  # type: ignore[index]
        return self._line(None, "mining.notify", params)

    @staticmethod
    def _line(number: object, method: str, params: list[Any]) -> bytes:
        return json.dumps({"id": number, "method": method, "params": params}).encode() + b"\n"

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        shares = 0

        def answer(number: object, result: object, error: object = None) -> None:
            writer.write(json.dumps({"id": number, "result": result, "error": error}).encode() + b"\n")

        while line := await reader.readline():
            message = json.loads(line)
            number, method, params = message["id"], message.get("method"), message.get("params")
            self.requests.append(str(method))
            match method:
                case "mining.subscribe":
                    self.agents.append(params[0])
                    writer.write(self.early)
                    if self.refuse:
                        answer(number, None, [20, self.refuse, None])
                        continue
                    subscriptions = [["mining.notify", "1"]]
                    if self.confirms and "scale=" in params[0]:
                        subscriptions.append(["asiclab.scale", params[0].split()[-1]])
                    answer(number, [subscriptions, EXTRANONCE1, self.extranonce2_size])
                case "mining.configure":
                    answer(number, {"version-rolling": True, "version-rolling.mask": self.mask})
                case "mining.suggest_difficulty":
                    answer(number, True)
                case "mining.authorize":
                    answer(number, True)
                    writer.write(self._line(None, "mining.set_difficulty", [self.difficulty]))
                    writer.write(self._job())
                case "mining.submit":
                    shares += 1
                    fault = self._judge(params)
                    if fault is None:
                        answer(number, True)
                        writer.write(self._job())
                    else:
                        answer(number, None, [22 if fault == "duplicate" else 23, fault, None])
                    if self.connections == 1 and shares == self.drop_after:
                        writer.close()
                        return
                case _:
                    self.faults.append(f"unexpected {line!r}")
        writer.close()

    def _judge(self, params: list[str]) -> str | None:
        self.parameters.add(len(params))
        _, job_id, extranonce2, ntime, nonce, *bits = params
        key = tuple(params[1:])
        if key in self._seen:
            self.duplicates += 1
            return "duplicate"
        self._seen.add(key)
        job = self._jobs[job_id]
        if len(extranonce2) != 2 * self.extranonce2_size or ntime != job["ntime"]:
            self.faults.append(f"malformed {params}")
            return "malformed"
        if bits and int(bits[0], 16) & ~int(self.mask, 16):
            self.faults.append(f"bits outside the mask {params}")
        value = difficulty_of(job, extranonce2, ntime, nonce, bits[0] if bits else None) / self.scale
        self.difficulties.append(value)
        if value < self.difficulty:
            self.faults.append(f"difficulty {value}")
            return "low difficulty"
        self.answers.append((time.monotonic() - self._sent[job_id], extranonce2, nonce, value))
        return None
