"""Brokers for tests: the embedded one, and a real Mosquitto where it is installed; each with one user."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiomqtt

from firmware_bridge.telemetry import passwords
from firmware_bridge.telemetry.broker import BrokerSettings, EmbeddedBroker
from tests.telemetry import mosquitto_kit

USER, PASSWORD = "lab", "correct horse battery"
PATIENCE_S = 60.0
BROKERS = ("embedded", "mosquitto")


@asynccontextmanager
async def broker(kind: str, folder: Path) -> AsyncIterator[int]:
    """A broker on loopback; its port."""
    if kind == "embedded":
        path = folder / "broker-passwords"
        passwords.add(path, USER, PASSWORD)
        running = EmbeddedBroker(BrokerSettings(port=0, password_file=path))
        _, port = await running.start()
        try:
            yield port
        finally:
            await running.stop()
    else:
        real = mosquitto_kit.running(folder / "mosquitto", users={USER: PASSWORD})
        found = await asyncio.to_thread(real.__enter__)
        try:
            yield found.port
        finally:
            await asyncio.to_thread(real.__exit__, None, None, None)


def client(port: int, **options: object) -> aiomqtt.Client:
    """Somebody else at that broker."""
    login = {"username": USER, "password": PASSWORD, "timeout": PATIENCE_S, **options}
    return aiomqtt.Client("127.0.0.1", port, **login)  # type: ignore[arg-type]
