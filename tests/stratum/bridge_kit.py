"""A running bridge in the test's own event loop, and a miner made of a socket and json, nothing of the lab."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np

from firmware_bridge.stratum.config import BridgeConfig
from firmware_bridge.stratum.server import Bridge
from firmware_bridge.trace.writer import TraceWriter

EVERY_HASH = 1e-10  # below 2.33e-10 each hash is a share
PATIENCE_S = 60.0
"""How long a test waits for what must come: only a bridge that is broken makes anyone wait so long."""


def db_url(folder: Path) -> str:
    return f"sqlite:///{folder / 'lab.db'}"


@asynccontextmanager
async def running_bridge(folder: Path, **options: Any) -> AsyncIterator[tuple[Bridge, int]]:
    """A bridge on a free port; stopped at the end unless the test did."""
    own = {
        name: options.pop(name)
        for name in ("source", "policy", "on_share", "watch", "record")
        if name in options
    }
    config = BridgeConfig(**{"port": 0, "difficulty": EVERY_HASH, **options})
    writer = functools.partial(TraceWriter, db_url(folder))
    bridge = Bridge(config, writer, np.random.default_rng(1), **own)
    _, port = await bridge.start()
    try:
        yield bridge, port
    finally:
        await bridge.stop()


async def eventually(condition: Callable[[], object]) -> None:
    """Let the event loop go on until something holds.

    Raises:
        TimeoutError: if it never does.
    """
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - conditions of every kind
            await asyncio.sleep(0.002)


def rows(folder: Path, query: str, *parameters: Any) -> list[sqlite3.Row]:
    """Rows of the trace as another process would read them."""
    with sqlite3.connect(f"file:{folder / 'lab.db'}?mode=ro", uri=True) as database:
        database.row_factory = sqlite3.Row
        return database.execute(query, parameters).fetchall()


class RawMiner:
    """One connection; every line the server sends is kept in order."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.lines: list[dict[str, Any]] = []
        self.jobs: list[list[Any]] = []
        self.difficulties: list[float] = []
        self.extranonce1 = ""
        self._next_id = 0

    @classmethod
    async def connect(cls, port: int) -> RawMiner:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ready(self, user: str = "worker", agent: str = "test/1", password: str = "x") -> RawMiner:
        """Go through subscribe and authorize, and wait for the first job."""
        self.extranonce1 = (await self.ask("mining.subscribe", [agent]))["result"][1]
        assert (await self.ask("mining.authorize", [user, password]))["result"] is True
        while not self.jobs:
            await self.read()
        return self

    def send_raw(self, data: bytes) -> None:
        self.writer.write(data)

    def send(self, method: str, params: list[Any], id: Any = None) -> Any:
        if id is None:
            self._next_id += 1
            id = self._next_id
        self.send_raw(json.dumps({"id": id, "method": method, "params": params}).encode() + b"\n")
        return id

    async def read(self, timeout: float = PATIENCE_S) -> dict[str, Any]:
        """The next line; EOFError when the server has hung up."""
        line = await asyncio.wait_for(self.reader.readline(), timeout)
        if not line:
            raise EOFError
        message: dict[str, Any] = json.loads(line)
        self.lines.append(message)
        if message.get("method") == "mining.notify":
            self.jobs.append(message["params"])
        elif message.get("method") == "mining.set_difficulty":
            self.difficulties.append(message["params"][0])
        return message

    async def answer(self, id: Any) -> dict[str, Any]:
        """The answer to a request, whatever comes before it."""
        while True:
            message = await self.read()
            if message.get("id") == id and "method" not in message:
                return message

    async def ask(self, method: str, params: list[Any]) -> dict[str, Any]:
        return await self.answer(self.send(method, params))

    def share(
        self, nonce: int, *, job: list[Any] | None = None, extranonce2: str = "00000001", user: str = "worker"
    ):
        """Parameters of a submit to the newest job, or the one given."""
        job = job or self.jobs[-1]
        return [user, job[0], extranonce2, job[7], f"{nonce:08x}"]

    async def submit(self, nonce: int, **options: Any) -> dict[str, Any]:
        return await self.ask("mining.submit", self.share(nonce, **options))

    async def until_closed(self, timeout: float = PATIENCE_S) -> list[dict[str, Any]]:
        """Everything the server still says until it hangs up."""
        before = len(self.lines)
        try:
            while True:
                await self.read(timeout)
        except (EOFError, ConnectionError):
            return self.lines[before:]

    def close(self) -> None:
        self.writer.close()


def difficulty_of(job: list[Any], extranonce1: str, params: list[str], version: int | None = None) -> float:
    """Difficulty of a share, from the protocol's own description with hashlib alone."""
    _, _, extranonce2, ntime, nonce, *_ = params
    _, prevhash, coinb1, coinb2, branches, job_version, nbits, *_ = job

    def double(data: bytes) -> bytes:
        return hashlib.sha256(hashlib.sha256(data).digest()).digest()

    root = double(bytes.fromhex(coinb1 + extranonce1 + extranonce2 + coinb2))
    for branch in branches:
        root = double(root + bytes.fromhex(branch))
    swapped = b"".join(bytes.fromhex(prevhash)[i : i + 4][::-1] for i in range(0, 32, 4))
    number = int(job_version, 16) if version is None else version
    header = number.to_bytes(4, "little") + swapped + root
    header += b"".join(bytes.fromhex(field)[::-1] for field in (ntime, nbits, nonce))
    return (0xFFFF << 208) / int.from_bytes(double(header), "little")
