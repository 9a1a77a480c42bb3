"""Emulated devices on loopback addresses of their own, and what the drivers are tested against."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from firmware_bridge.emulator.appliance import Appliance, ApplianceConfig
from firmware_bridge.emulator.wall_config import WallConfig


@contextlib.asynccontextmanager
async def emulated(
    model: str, bind: str = "127.0.0.1", *, own_ports: bool = False, restart_s: float = 0.2, **options: Any
) -> AsyncIterator[tuple[Appliance, dict[str, Any]]]:
    """An emulated device that mines for its built-in pool; on free ports unless it is to have its model's own."""
    port = None if own_ports else 0
    config = ApplianceConfig(
        WallConfig(model, "", 0, scale=2.0**-30),
        bind=bind,
        http_port=port,
        api_port=port,
        restart_s=restart_s,
        options=options,
    )
    appliance = Appliance(config)
    ready = await appliance.start()
    serving = asyncio.ensure_future(appliance.serve())
    try:
        yield appliance, ready
    finally:
        appliance.request_stop()
        await serving


def needs_own_ports(address: str, *ports: int) -> None:
    """Skip where a model's own ports cannot be bound here."""
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                pytest.skip(f"{address}:{port} cannot be bound here: {error.strerror}")


async def quick(seconds: float) -> None:
    """A sleep for drivers that wait for emulators whose restart is short."""
    await asyncio.sleep(min(seconds, 0.05))
