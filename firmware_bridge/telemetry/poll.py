"""Ask a device for its telemetry on a period, and store it in a run beside the shares of the same miner."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from firmware_bridge.devices.device import Device, Sleep
from firmware_bridge.devices.journal import without_secrets
from firmware_bridge.devices.settings import Applied
from firmware_bridge.devices.telemetry import Identity, Telemetry
from firmware_bridge.errors import DeviceError, LabError, TraceError
from firmware_bridge.trace.schema import MinerRow

if TYPE_CHECKING:
    from firmware_bridge.stratum.server import Bridge

OnReading = Callable[[Telemetry | None], Awaitable[None]]

log = logging.getLogger(__name__)

PERIOD_S = 3.0
LONGEST_PAUSE_S = 60.0
PATIENCE_READINGS = 4
"""Readings that wait for the device to appear as a Stratum miner, before it gets a row of its own."""


class DevicePoller:
    """Polls one device; give it to ``Bridge.attach``.

    A device that does not answer is an event of the run, is asked again less and less often, and is never an error of
    the run. Its readings belong to the Stratum miner that is connected from the same address, if there is exactly one,
    otherwise to a miner of their own.

    Args:
        device: open; closed with the run.
        period_s: between two questions.
        sleep: how to wait.
        longest_pause_s: after which a silent device is asked again at the latest.
        on_reading: told of every reading, and None each time that the device did not answer.
    """

    def __init__(
        self,
        device: Device,
        *,
        period_s: float = PERIOD_S,
        sleep: Sleep = asyncio.sleep,
        longest_pause_s: float = LONGEST_PAUSE_S,
        on_reading: OnReading | None = None,
    ) -> None:
        self.device = device
        self.period_s = period_s
        self.readings = 0
        self.miner: int | None = None
        self.name = without_secrets(device.address)  # which may hold the password of its page
        self.identity: Identity | None = None
        self.columns: set[str] = set()
        """Of the telemetry that it has filled so far."""
        self.on_telemetry: Callable[[int | None, Telemetry], None] = lambda miner, reading: None
        """Told of every reading, with the number of its miner where that is known."""
        self._host = urlsplit(device.address).hostname or ""
        self._sleep = sleep
        self._longest_pause_s = longest_pause_s
        self._on_reading = on_reading
        self._waiting: list[Telemetry] = []
        self._silent_since: int | None = None
        self._bridge: Bridge | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, bridge: Bridge) -> None:
        """Ask who it is, and then on."""
        self._bridge = bridge
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Store what waits, and let go of the device; its settings, if anybody changed them here, come back."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        with contextlib.suppress(TraceError):
            self._flush(last=True)
        try:
            await self._restore()
        except LabError as error:
            self._event("not-restored", "error", {"error": str(error)})
        await self.device.aclose()

    def changed(self, applied: Applied | None, reason: str) -> None:
        """Store what became of a change of settings; None is no change."""
        if applied is None or self._bridge is None:
            return
        with contextlib.suppress(TraceError):
            for change in applied.changes():
                wall_ns = self._bridge.clock.wall_ns()
                self._bridge.run.setting(miner=self.miner, wall_ns=wall_ns, reason=reason, **change._asdict())

    async def _restore(self) -> None:
        self.changed(await self.device.restore(), "end of the run")

    async def _run(self) -> None:
        pause_s = self.period_s
        introduced = False
        while True:
            reading = None
            try:
                if not introduced:
                    self.identity = await self.device.identify()
                    self._event("device", "info", {"identity": self.identity.to_json()})
                    introduced = True
                reading = await self.device.read_telemetry()
                self._take(reading)
                pause_s = self.period_s
            except TraceError:
                return  # the bridge itself stops for that
            except LabError as error:
                self._fell_silent(error)
                pause_s = min(2.0 * pause_s, self._longest_pause_s)
            except Exception as error:  # a fault in a driver must end neither the run nor the polling
                log.exception("%s: internal error", without_secrets(self.device.address))
                self._fell_silent(DeviceError(f"internal error of its driver: {type(error).__name__}"))
                pause_s = min(2.0 * pause_s, self._longest_pause_s)
            if self._on_reading is not None:
                await self._on_reading(reading)
            await self._sleep(pause_s)

    def _take(self, reading: Telemetry) -> None:
        if self._silent_since is not None:
            silent_s = (reading.monotonic_ns - self._silent_since) / 1e9
            self._silent_since = None
            self._event("device-back", "info", {"silent_s": round(silent_s, 3)})
        self._waiting.append(reading)
        self._flush()
        self.on_telemetry(self.miner, reading)

    def _flush(self, *, last: bool = False) -> None:
        bridge = self._bridge
        if bridge is None:
            return
        found = bridge.miners_at(self._host) if self._host else []
        if len(found) == 1 and found[0] != self.miner:
            self.miner = found[0]
            bridge.run.update_miner(self.miner, model=self.device.name)
        if self.miner is None and (last or len(self._waiting) >= PATIENCE_READINGS) and self._waiting:
            row = MinerRow(self.name, None, self._host or None, self.device.name)
            self.miner = bridge.run.miner(row)
        if self.miner is None:
            return
        for reading in self._waiting:
            told = reading.to_row(self.miner)
            self.columns |= {name for name, value in told._asdict().items() if value is not None}
            bridge.run.telemetry(told)
            self.readings += 1
        self._waiting.clear()

    def _fell_silent(self, error: LabError) -> None:
        if self._silent_since is None:
            assert self._bridge is not None
            self._silent_since = self._bridge.clock.monotonic_ns()
            self._event("device-silent", "warning", {"error": str(error)})

    def _event(self, kind: str, severity: str, detail: dict[str, object]) -> None:
        if self._bridge is not None:
            with contextlib.suppress(TraceError):
                about = {"url": self.device.address, **detail}
                self._bridge.run.event(kind, severity, about, miner=self.miner)
