"""What takes part in a bridge's run besides Stratum miners: chains, polled devices, and what comes over MQTT."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from firmware_bridge.devices.telemetry import Telemetry
    from firmware_bridge.sentinel.config import SentinelConfig
    from firmware_bridge.stratum.config import BridgeConfig
    from firmware_bridge.stratum.server import Bridge
    from firmware_bridge.telemetry.inbox import InboxConfig
    from firmware_bridge.telemetry.mqtt_settings import MqttSettings
    from firmware_bridge.telemetry.poll import DevicePoller
    from firmware_bridge.trace.replay import ShareEvent

    OnTelemetry = Callable[[int | None, Telemetry], None]


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
        sentinel: what the Sentinel is to do with each device, as on the command line; None for none.
        beyond_factory: whether the user has agreed to clocks of a chain between those that a factory offers.
    """

    serial: tuple[str, ...]
    frequency_mhz: float | None
    devices: tuple[str, ...]
    period_s: float
    broker: MqttSettings | None = None
    inbox: InboxConfig | None = None
    db: str = ""
    patience_s: float = 30.0
    sentinel: str | None = None
    beyond_factory: bool = False

    def __post_init__(self) -> None:
        if self.sentinel is None:
            return
        self.guard()  # nonsense is found before anything starts
        if not self.devices:
            raise UserError("--sentinel guards attached devices; name one with --device lv06://HOST")

    def guard(self) -> SentinelConfig:
        """What the Sentinel is to do.

        Raises:
            UserError: naming the part that is not understood.
        """
        from firmware_bridge.sentinel.config import SentinelConfig

        return SentinelConfig.parse(self.sentinel or "", period_s=self.period_s)


async def attach(
    server: Bridge, attached: Attached, settings: BridgeConfig, *, on_telemetry: OnTelemetry | None = None
) -> None:
    """Open and start chains and pollers, and listen to the broker.

    Args:
        server: started.
        attached: what takes part.
        settings: of the server.
        on_telemetry: told of each reading of a device.

    Raises:
        LabError: if one cannot be opened; the bridge is to be stopped then.
    """
    pollers: list[DevicePoller] = []
    listeners: list[Callable[[ShareEvent], None]] = []
    if attached.broker is not None and attached.db:
        from firmware_bridge.telemetry.publish_live import LivePublisher

        await server.attach(LivePublisher(attached.broker, attached.db, patience_s=attached.patience_s))
    if attached.broker is not None and attached.inbox is not None:
        from firmware_bridge.telemetry.inbox import Inbox
        from firmware_bridge.telemetry.topics import MinerLevels

        inbox = Inbox(attached.broker, attached.inbox, pollers, MinerLevels())
        listeners.append(inbox.on_share)
        await server.attach(inbox)  # before the devices, so that it ends before they are restored
    if attached.sentinel is not None:
        from firmware_bridge.sentinel.companion import ShareWatch

        listeners.append(ShareWatch(server))
    if listeners:
        server.on_share = _told_to_all(listeners)
    await _attach_chains(server, attached, settings)
    await _attach_devices(server, attached, pollers, on_telemetry)


def _told_to_all(listeners: list[Callable[[ShareEvent], None]]) -> Callable[[ShareEvent], None]:
    def tell(event: ShareEvent) -> None:
        for listener in listeners:
            listener(event)

    return tell


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
            clock = OperatingPoint(frequency_mhz=attached.frequency_mhz)
            LIMITS.check("bm1366", clock, beyond_factory=attached.beyond_factory)
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


async def _attach_devices(
    server: Bridge, attached: Attached, pollers: list[DevicePoller], on_telemetry: OnTelemetry | None
) -> None:
    from firmware_bridge.devices.journal import RunSettings, SettingsJournal
    from firmware_bridge.devices.registry import open_device
    from firmware_bridge.telemetry.poll import DevicePoller

    settable = attached.sentinel is not None or (attached.inbox is not None and attached.inbox.commands)
    for url in attached.devices:
        more: dict[str, Any] = {"originals": RunSettings(SettingsJournal())} if settable else {}
        if attached.sentinel is not None:
            more["timeout_s"] = max(1.0, attached.guard().period_s)
        device = await open_device(url, taps=server.recorder, clock=server.clock, **more)
        if attached.sentinel is None:
            poller = DevicePoller(device, period_s=attached.period_s)
        else:
            from firmware_bridge.sentinel.companion import SentinelCompanion

            poller = SentinelCompanion(device, attached.guard())
        if on_telemetry is not None:
            poller.on_telemetry = on_telemetry
        pollers.append(poller)
        await server.attach(poller)
