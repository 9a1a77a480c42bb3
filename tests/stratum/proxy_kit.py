"""A running proxy in the test's own event loop."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np

from firmware_bridge.stratum.proxy import Proxy, ProxyConfig, Upstream
from firmware_bridge.trace.writer import TraceWriter
from tests.stratum.bridge_kit import db_url
from tests.stratum.strict_pool import StrictPool


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
