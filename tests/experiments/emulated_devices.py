"""An emulated device over its own page, in a thread of its own, so that experiments can be run on it as users do."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from random import SystemRandom
from typing import Any

from firmware_bridge.devices.settings import OperatingPoint
from firmware_bridge.emulator.appliance import Appliance, ApplianceConfig
from firmware_bridge.emulator.model import get_model
from firmware_bridge.emulator.physics import Physics
from firmware_bridge.emulator.wall_config import WallConfig
from tests.telemetry.mosquitto_kit import PORTS

FASTER = 120.0
"""TH/s: about 100 shares a second at difficulty 256, so that a cell takes seconds."""


def lasting_port() -> int:
    """A free port that nobody is given while a device is away: below those that systems hand out by themselves."""
    while True:
        port = SystemRandom().choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@dataclass
class Emulated:
    """A running emulated device.

    Attributes:
        url: to open it by.
        appliance: itself.
    """

    url: str
    appliance: Appliance

    def point(self) -> OperatingPoint:
        """What is in force now."""
        now = self.appliance.machine.in_force
        return OperatingPoint(frequency_mhz=now.frequency_mhz, core_voltage_mv=now.core_voltage_mv)

    def pool(self) -> tuple[str, int]:
        """Where it mines now."""
        now = self.appliance.machine.in_force
        return now.pool_host, now.pool_port


@contextlib.contextmanager
def device(
    model: str = "lv06",
    *,
    bind: str = "127.0.0.1",
    restart_s: float = 0.2,
    port: int = 0,
    hash_rate_ths: float | None = FASTER,
    **options: Any,
) -> Iterator[Emulated]:
    """An emulated device that mines for its built-in pool until it is pointed elsewhere.

    Args:
        model: name.
        bind: address of its servers.
        restart_s: how long it is away for a restart.
        port: of its web page; 0 takes a free one.
        hash_rate_ths: whatever its clock is; None lets the rate follow the clock, as the real one's does.
        **options: of its firmware, and faults.
    """
    from dataclasses import replace

    from experiments.live_miners import emulated_scale

    scale = emulated_scale(hash_rate_ths or get_model(model).capacity_ths)
    wall = WallConfig(
        model, "", 0, scale=scale, physics=replace(Physics.of(model), hash_rate_ths=hash_rate_ths)
    )
    config = ApplianceConfig(
        wall, bind=bind, http_port=port, api_port=0, restart_s=restart_s, options=options
    )
    ready: dict[str, Any] = {}
    there = threading.Event()

    def live() -> None:
        async def serve() -> None:
            appliance = Appliance(config)
            ready.update(await appliance.start(), appliance=appliance)
            there.set()
            await appliance.serve()

        asyncio.run(serve())

    thread = threading.Thread(target=live, daemon=True)
    thread.start()
    assert there.wait(60.0)
    appliance: Appliance = ready["appliance"]
    try:
        yield Emulated(str(ready["url"]), appliance)
    finally:
        appliance.request_stop()
        thread.join(60.0)
