"""Emulated devices on loopback addresses of their own, and what the drivers are tested against."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from firmware_bridge.clock import Clock, SystemClock
from firmware_bridge.emulator.appliance import Appliance, ApplianceConfig
from firmware_bridge.emulator.wall_config import WallConfig


@contextlib.asynccontextmanager
async def emulated(
    model: str,
    bind: str = "127.0.0.1",
    *,
    own_ports: bool = False,
    restart_s: float = 0.2,
    clock: Clock | None = None,
    **options: Any,
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
    appliance = Appliance(config, clock=clock)
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


class FastClock:
    """A clock and a sleep that run ten times as fast as this host's, for a driver and its emulated device together.

    Not more, so that what a device is given in seconds stays long for a busy machine.
    """

    speed = 10

    def __init__(self) -> None:
        self._real = SystemClock()
        self._start_ns = self._real.monotonic_ns()
        self._wall_ns = self._real.wall_ns()

    def monotonic_ns(self) -> int:
        return self._start_ns + (self._real.monotonic_ns() - self._start_ns) * self.speed

    def wall_ns(self) -> int:
        return self._wall_ns + self.monotonic_ns() - self._start_ns

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self.speed)


async def quick(seconds: float) -> None:
    """A sleep for drivers that wait for emulators whose restart is short."""
    await asyncio.sleep(min(seconds, 0.05))
