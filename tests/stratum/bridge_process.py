"""A bridge in a process of its own, to be killed: ``python -m tests.stratum.bridge_process URL``; prints its port."""

from __future__ import annotations

import asyncio
import functools
import sys

import numpy as np

from firmware_bridge.stratum.config import BridgeConfig
from firmware_bridge.stratum.server import Bridge
from firmware_bridge.trace.writer import TraceWriter


async def main(url: str) -> None:
    config = BridgeConfig(port=0, difficulty=1e-9, scale=1.0)
    bridge = Bridge(config, functools.partial(TraceWriter, url), np.random.default_rng())
    _, port = await bridge.start()
    print(port, flush=True)
    await bridge.serve()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
