"""A running proxy in the test's own event loop."""

from __future__ import annotations

import functools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firmware_bridge.stratum.proxy import Proxy, ProxyConfig, Upstream
from firmware_bridge.trace.writer import TraceWriter
from tests.stratum.bridge_kit import PATIENCE_S, RawMiner, db_url, rows
from tests.stratum.strict_pool import StrictPool

ALL_EVENTS = "SELECT kind, detail FROM events ORDER BY id"
MODES = pytest.mark.parametrize("mode", ["relay", "vbm"])


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at deadlines and try pools again in no time, so that tests wait for nothing but what they test."""
    monkeypatch.setattr("firmware_bridge.stratum.server.SWEEP_S", 0.05)
    monkeypatch.setattr("firmware_bridge.stratum.link.FIRST_PAUSE_S", 0.05)


@asynccontextmanager
async def running_proxy(
    folder: Path, *pools: StrictPool | Upstream, **options: Any
) -> AsyncIterator[tuple[Proxy, int]]:
    """A proxy for these pools on a free port; stopped at the end unless the test did."""
    upstreams = tuple(p if isinstance(p, Upstream) else Upstream("127.0.0.1", p.port) for p in pools)
    config = ProxyConfig(upstreams, **{"port": 0, **options})
    writer = functools.partial(TraceWriter, db_url(folder))
    proxy = Proxy(config, writer, np.random.default_rng(1))
    _, port = await proxy.start()
    try:
        yield proxy, port
    finally:
        await proxy.stop()


class Client(RawMiner):
    """A raw miner that submits an extranonce2 of the size it was told."""

    size = 4

    async def answer(self, id: Any) -> dict[str, Any]:
        message = await super().answer(id)
        if isinstance(message["result"], list) and len(message["result"]) == 3:
            self.extranonce1, self.size = message["result"][1:]
        return message

    async def read(self, timeout: float = PATIENCE_S) -> dict[str, Any]:
        message = await super().read(timeout)
        if message.get("method") == "mining.set_extranonce":
            self.extranonce1, self.size = message["params"]
        return message

    def share(self, nonce: int, **options: Any) -> list[Any]:
        return super().share(nonce, **{"extranonce2": "00" * self.size, **options})

    def told(self, method: str) -> list[list[Any]]:
        """Parameters of each notification of this kind so far."""
        return [message["params"] for message in self.lines if message.get("method") == method]

    async def until(self, method: str, count: int = 1) -> None:
        """Read until there were so many of them."""
        while len(self.told(method)) < count:
            await self.read()

    async def until_jobs(self, count: int) -> None:
        while len(self.jobs) < count:
            await self.read()


def outcomes(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """Kind and detail of what became of each share, as stored."""
    told = ("upstream-accepted", "upstream-rejected", "share-not-forwarded", "upstream-unanswered")
    return [
        (row["kind"], json.loads(row["detail"])) for row in rows(folder, ALL_EVENTS) if row["kind"] in told
    ]


def written(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [json.loads(r["detail"]) for r in rows(folder, "SELECT detail FROM events WHERE kind = ?", kind)]
