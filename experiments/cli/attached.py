"""What takes part in a bridge's run besides Stratum miners: chains, polled devices, and what comes over MQTT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from firmware_bridge.stratum.config import BridgeConfig
    from firmware_bridge.stratum.server import Bridge
    from firmware_bridge.telemetry.inbox import InboxConfig
    from firmware_bridge.telemetry.mqtt_settings import MqttSettings
    from firmware_bridge.telemetry.poll import DevicePoller


@dataclass(frozen=True)
class Attached:
    """What the command line asks for.

    Attributes:
        serial: ports with chains.
        frequency_mhz: clock of the chains, or the one they have.
        devices: URLs of devices to poll.
        period_s: between two readings of a device.
        broker: of MQTT, where there is one.
        inbox: what may come from there.
        db: trace of the run, which is published there.
        patience_s: how long the end of the run may wait for the broker.
    """

    serial: tuple[str, ...]
    frequency_mhz: float | None
    devices: tuple[str, ...]
    period_s: float
    broker: MqttSettings | None = None
    inbox: InboxConfig | None = None
    db: str = ""
    patience_s: float = 30.0


async def attach(server: Bridge, attached: Attached, settings: BridgeConfig) -> None:
    """Open and start chains and pollers, and listen to the broker.

    Raises:
        LabError: if one cannot be opened; the bridge is to be stopped then.
    """
    pollers: list[DevicePoller] = []
    if attached.broker is not None and attached.db:
        from firmware_bridge.telemetry.publish_live import LivePublisher

        await server.attach(LivePublisher(attached.broker, attached.db, patience_s=attached.patience_s))
    if attached.broker is not None and attached.inbox is not None:
        from firmware_bridge.telemetry.inbox import Inbox
        from firmware_bridge.telemetry.topics import MinerLevels

        inbox = Inbox(attached.broker, attached.inbox, pollers, MinerLevels())
        server.on_share = inbox.on_share
        await server.attach(inbox)  # before the devices, so that it ends before they are restored
    await _attach_chains(server, attached, settings)
    await _attach_devices(server, attached, pollers)


async def _attach_chains(server: Bridge, attached: Attached, settings: BridgeConfig) -> None:
    from urllib.parse import parse_qs, urlsplit

    from experiments.cli.options import parse_scale

    for number, place in enumerate(attached.serial, 1):
        from firmware_bridge.bm13xx.miner import SerialMiner, SerialMinerConfig
        from firmware_bridge.bm13xx.port import SerialPort
        from firmware_bridge.devices.bm1366 import LIMITS
        from firmware_bridge.devices.settings import OperatingPoint

        parts = urlsplit(place if "://" in place else f"bm1366://{place}")
        named = parse_qs(parts.query).get("scale", [None])[0]
        scale = settings.scale if named is None else parse_scale(named)
        if attached.frequency_mhz is not None:
            LIMITS.check("bm1366", OperatingPoint(frequency_mhz=attached.frequency_mhz))
        if settings.difficulty < 1.0:
            raise UserError(
                f"--difficulty {settings.difficulty:g}: a BM1366 reports from 1 on; give 1 or more with --serial"
            )
        tap = server.recorder(f"serial://{parts.path}") if server.recorder else None
        name = "bm1366" if len(attached.serial) == 1 else f"bm1366.{number}"
        config = SerialMinerConfig(
            name, attached.frequency_mhz, settings.difficulty, 1.0 if scale is None else scale
        )
        await server.attach(SerialMiner(SerialPort(parts.path, tap=tap), config))


async def _attach_devices(server: Bridge, attached: Attached, pollers: list[DevicePoller]) -> None:
    from firmware_bridge.devices.journal import RunSettings, SettingsJournal
    from firmware_bridge.devices.registry import open_device
    from firmware_bridge.telemetry.poll import DevicePoller

    settable = attached.inbox is not None and attached.inbox.commands
    for url in attached.devices:
        remembered = {"originals": RunSettings(SettingsJournal())} if settable else {}
        device = await open_device(url, taps=server.recorder, clock=server.clock, **remembered)
        poller = DevicePoller(device, period_s=attached.period_s)
        pollers.append(poller)
        await server.attach(poller)
