"""A live miner whose clock or voltage carries the symbols: each job's setting is applied while that job is hashed.

Only for who asked for it: ``Device.apply`` with its hard limits, its memory of the settings from before, and its
refusal to heat a chip that is hot. At the end of the run the settings from before are back, whatever happened.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from firmware_bridge.devices.settings import OperatingPoint
from firmware_bridge.errors import DeviceError, LabError, UserError
from firmware_bridge.telemetry.poll import DevicePoller

if TYPE_CHECKING:
    from firmware_bridge.devices.device import Device
    from firmware_bridge.stratum.dispatch import DispatchContext, JobSymbol, SymbolSource
    from firmware_bridge.stratum.server import Bridge
    from reservoir.encoding import Encoding


class HeldSettings(DevicePoller):
    """Passes the symbols of a source on, and sets the device to each; give it to ``Bridge.attach`` and as its source.

    A job goes out on the bridge's clock, and the setting follows as fast as the device takes it. A device that is not
    done when the next job goes out is too slow for the period, and one that refuses carries no symbol: both end the
    run.

    Args:
        device: open, with its limits; closed and restored with the run.
        encoding: whose field is ``frequency`` or ``voltage``.
        source: of the symbols.
        beyond_factory: whether the user has agreed to values between those that the factory offers.
        **polling: see :class:`~firmware_bridge.telemetry.poll.DevicePoller`.

    Attributes:
        applied: settings that were applied so far.

    Raises:
        UserError: if the field is no setting of a miner.
        LimitError: if an end of the range is beyond the hard limits of the device, or beyond what was agreed to.
    """

    def __init__(
        self,
        device: Device,
        encoding: Encoding,
        source: SymbolSource,
        *,
        beyond_factory: bool = False,
        **polling: Any,
    ) -> None:
        super().__init__(device, **polling)
        for symbol in (0.0, 1.0 - 2.0**-53):  # what lies between lies within the hard limits as well
            point = OperatingPoint(**encoding.setting(symbol))  # type: ignore[arg-type]
            device.limits.check(device.name, point, beyond_factory=beyond_factory)
        self.applied = 0
        self._encoding, self._source, self._beyond_factory = encoding, source, beyond_factory
        self._wanted: asyncio.Queue[tuple[int, float]] = asyncio.Queue()
        self._asked = 0
        self._setting: asyncio.Task[None] | None = None

    async def start(self, bridge: Bridge) -> None:
        """Refuse a device that restarts for every change; then poll, and set what is asked for."""
        able = await self.device.capabilities()
        for setting in OperatingPoint(**self._encoding.setting(0.5)).given():  # type: ignore[arg-type]
            capability = able.setting(setting)
            if capability is None:
                raise UserError(
                    f"{self.name}: it cannot set {setting}: {able.cannot.get(setting, 'unknown')}"
                )
            if capability.needs_restart:
                raise UserError(
                    f"{self.name} restarts for each change of {setting}, which takes far longer than a step: symbols "
                    "go into a job field of it, or into the clock of a device that takes it while it hashes"
                )
        await super().start(bridge)
        self._setting = asyncio.get_running_loop().create_task(self._set(bridge))

    async def stop(self) -> None:
        """Set nothing more, and bring the settings from before back."""
        if self._setting is not None:
            self._setting.cancel()
            await asyncio.gather(self._setting, return_exceptions=True)
        await super().stop()

    def next(self, context: DispatchContext) -> JobSymbol | None:
        """The symbol of the next job, whose setting is asked for."""
        symbol = self._source.next(context)
        if symbol is not None and symbol.value is not None:
            self._asked += 1
            self._wanted.put_nowait((self._asked, symbol.value))
        return symbol

    async def _set(self, bridge: Bridge) -> None:
        while True:
            number, symbol = await self._wanted.get()
            try:
                if number < self._asked:
                    raise DeviceError(
                        f"{self.name}: job {self._asked} went out before the setting of job {number} was applied; give "
                        "the device more time with --job-period"
                    )
                point = OperatingPoint(**self._encoding.setting(symbol))  # type: ignore[arg-type]
                applied = await self.device.apply(point, beyond_factory=self._beyond_factory)
                self.changed(applied, f"symbol of job {number}")
                self.applied = number
            except LabError as error:
                with contextlib.suppress(LabError):
                    self._event("setting-failed", "error", {"job": number, "error": str(error)})
                bridge.request_stop(str(error), "fail")
                return
