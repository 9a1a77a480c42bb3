"""The Sentinel beside a bridge's run, on the same poll as its telemetry, and by itself; both write into the trace."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from firmware_bridge.devices.device import Device, Sleep
from firmware_bridge.devices.journal import without_secrets
from firmware_bridge.devices.telemetry import Telemetry
from firmware_bridge.errors import LabError, TraceError
from firmware_bridge.sentinel.config import Action, Happening, SentinelConfig
from firmware_bridge.sentinel.monitor import TimingMonitor
from firmware_bridge.sentinel.sentinel import Journal, Sentinel
from firmware_bridge.telemetry.poll import DevicePoller
from firmware_bridge.trace.run_writer import RunWriter

if TYPE_CHECKING:
    from firmware_bridge.stratum.server import Bridge
    from firmware_bridge.trace.replay import ShareEvent

log = logging.getLogger(__name__)


class RunJournal:
    """Writes what a Sentinel sees and does into a run: rows of ``events`` and ``settings``.

    Args:
        run: to write into.
        url: of the device, in each event.
        miner: asked for the number of the device's miner.
        also: told the same, for example to print it.
    """

    def __init__(
        self,
        run: RunWriter,
        url: str,
        miner: Callable[[], int | None] = lambda: None,
        also: Journal | None = None,
    ) -> None:
        self._run, self._miner, self._also = run, miner, also
        self._url = without_secrets(url)

    def happened(self, happening: Happening) -> None:
        """Store an event."""
        if self._also is not None:
            self._also.happened(happening)
        with contextlib.suppress(TraceError):
            self._run.event(
                happening.kind,
                happening.severity,
                {"url": self._url, **happening.detail},
                miner=self._miner(),
                wall_ns=happening.wall_ns,
                monotonic_ns=happening.monotonic_ns,
            )

    def acted(self, action: Action) -> None:
        """Store a change, one row per setting; a failed attempt is an event."""
        if self._also is not None:
            self._also.acted(action)
        applied = action.applied
        with contextlib.suppress(TraceError):
            if applied is None:
                self._run.event(
                    "sentinel-failed",
                    "warning",
                    {"url": self._url, "reason": action.reason, "error": action.error},
                    miner=self._miner(),
                    wall_ns=action.wall_ns,
                    monotonic_ns=action.monotonic_ns,
                )
                return
            reason = f"sentinel {action.mode}: {action.reason}"
            for change in applied.changes():
                self._run.setting(
                    miner=self._miner(), wall_ns=action.wall_ns, reason=reason, **change._asdict()
                )


class SentinelCompanion(DevicePoller):
    """Polls a device for the run, and guards it; give it to ``Bridge.attach``.

    Args:
        device: open; closed with the run.
        config: what is asked for.
        sleep: how to wait.
    """

    def __init__(self, device: Device, config: SentinelConfig, *, sleep: Sleep = asyncio.sleep) -> None:
        super().__init__(
            device,
            period_s=config.period_s,
            sleep=sleep,
            longest_pause_s=config.period_s,
            on_reading=self._step,
        )
        self.config = config
        self.sentinel: Sentinel | None = None

    async def start(self, bridge: Bridge) -> None:
        """Prepare, then poll.

        Raises:
            LabError: if what is asked for cannot be done on this device.
        """
        journal = RunJournal(bridge.run, self.device.address, lambda: self.miner)
        self.sentinel = Sentinel(self.device, self.config, journal)
        await self.sentinel.start()
        await super().start(bridge)

    async def _step(self, reading: Telemetry | None) -> None:
        assert self.sentinel is not None
        await guarded(self.sentinel, reading)

    async def _restore(self) -> None:
        if self.sentinel is not None:
            self.changed(await self.sentinel.close(), "end of the run")


class ShareWatch:
    """Says when the shares of a miner come at another rate or with another spread; give it to ``Bridge(on_share=...)``.

    Args:
        bridge: into whose run it writes.
    """

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._monitors: dict[int, TimingMonitor] = {}
        self._last: dict[int, tuple[int, float | None]] = {}

    def __call__(self, event: ShareEvent) -> None:
        """Take a share that was stored."""
        row = event.row
        stamp_ns = row.kernel_ns if row.kernel_ns is not None else row.monotonic_ns
        if not row.valid or stamp_ns is None:
            return
        monitor = self._monitors.setdefault(row.miner, TimingMonitor())
        before = self._last.get(row.miner)
        self._last[row.miner] = (stamp_ns, row.difficulty)
        if before is None:
            return
        then_ns, difficulty = before
        if difficulty != row.difficulty:
            monitor.moved()
            return
        for anomaly in monitor.observe(max(0, stamp_ns - then_ns) / 1e9):
            with contextlib.suppress(TraceError):  # the bridge itself stops for that
                self._bridge.run.event("sentinel-timing", "warning", anomaly.to_json(), miner=row.miner)


async def guarded(sentinel: Sentinel, reading: Telemetry | None) -> None:
    """One step; a fault in it must not end the guarding."""
    try:
        await sentinel.step(reading)
    except asyncio.CancelledError:
        raise
    except Exception:
        log.exception("%s: internal error of the Sentinel", without_secrets(sentinel.device.address))


async def guard_alone(
    sentinel: Sentinel,
    *,
    seconds: float | None = None,
    on_reading: Callable[[Telemetry], None] = lambda reading: None,
) -> None:
    """Poll and guard a device until cancelled or for some time; whatever ends it, the Sentinel is closed.

    Args:
        sentinel: not yet started.
        seconds: how long, None for ever.
        on_reading: told of each reading.

    Raises:
        LabError: if what is asked for cannot be done, or the settings could not be restored.
    """
    device, period_s = sentinel.device, sentinel.config.period_s
    await sentinel.start()
    began_ns = device.clock.monotonic_ns()
    try:
        while seconds is None or device.clock.monotonic_ns() - began_ns < seconds * 1e9:
            reading: Telemetry | None = None
            try:
                reading = await device.read_telemetry()
            except LabError as error:
                log.debug("%s", error)
            if reading is not None:
                on_reading(reading)
            await guarded(sentinel, reading)
            await device.sleep(period_s)
    finally:
        await sentinel.close()
