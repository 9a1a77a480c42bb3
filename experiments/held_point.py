"""A miner held at one operating point for a cell of an experiment: set, measured in force, settled, and brought back.

Everything goes through the door of ``asiclab devices set``: hard limits, the memory of the settings from before that
outlives ``kill -9``, and the rule that a setting counts only once it was measured.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from firmware_bridge.devices.settings import OperatingPoint
from firmware_bridge.errors import DeviceError, LabError, TraceError
from firmware_bridge.telemetry.poll import DevicePoller

if TYPE_CHECKING:
    from experiments.hosting import Miner
    from firmware_bridge.devices.device import Device
    from firmware_bridge.devices.settings import Applied
    from firmware_bridge.devices.telemetry import Telemetry
    from firmware_bridge.stratum.server import Bridge

STEADY_C = 1.0
"""A temperature that moved no more than this over half the settling time is steady; sensors show whole degrees."""
LONGEST = 3.0
"""So many times the settling time is waited for that; then it goes on, and says that it was not steady."""


@dataclass(frozen=True)
class Held:
    """How a miner stood at the point of a cell.

    Attributes:
        asked: settings by name.
        measured: per setting what was measured; None where nothing measures it.
        in_force: whether every setting was measured in force; None where one could not be measured.
        settled_s: time from the change to the first share that counts.
        steady: whether the temperature stood still by then; None where none is told.
        temperature_c: at that time.
    """

    asked: dict[str, float]
    measured: dict[str, float | str | None]
    in_force: bool | None
    settled_s: float
    steady: bool | None
    temperature_c: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


class HeldPoint(DevicePoller):
    """Holds a device at a point while its telemetry goes into the run.

    Args:
        device: open; who made this closes it, after :meth:`bring_back`.
        point: what to set.
        settle_s: least time from the change to the first share that counts.
        beyond_factory: whether the user has agreed to values between those that the factory offers.
        **polling: see :class:`~firmware_bridge.telemetry.poll.DevicePoller`.
    """

    def __init__(
        self,
        device: Device,
        point: OperatingPoint,
        *,
        settle_s: float,
        beyond_factory: bool,
        **polling: Any,
    ) -> None:
        super().__init__(device, on_reading=self._note, **polling)
        self._point, self._settle_s, self._beyond_factory = point, settle_s, beyond_factory
        self._read: list[tuple[float, float | None]] = []

    async def hold(self, bridge: Bridge) -> Held:
        """Set it, and wait until it has settled.

        Raises:
            LimitError: if the point is outside the limits, or the chip too hot for it.
            UserError: if the device cannot set it.
            DeviceError: if it does not answer, or another value was measured than was asked for.
        """
        applied = await self.device.apply(self._point, beyond_factory=self._beyond_factory)
        self._refuse_another(applied)
        await bridge.attach(self)
        self.changed(applied, "operating point of the cell")
        settled_s, steady = await self._settle()
        measured = {
            str(s): None if (r := applied.measured.get(s)) is None else r.value for s in applied.confirmed
        }
        return Held(
            asked={str(s): float(v) for s, v in self._point.given().items()},
            measured=measured,
            in_force=None if None in applied.confirmed.values() else True,
            settled_s=round(settled_s, 1),
            steady=steady,
            temperature_c=self._read[-1][1] if self._read else None,
        )

    def _refuse_another(self, applied: Applied) -> None:
        asked = applied.asked.given()
        for setting, verdict in applied.confirmed.items():
            if verdict is False:
                reading = applied.measured[setting]
                raise DeviceError(
                    f"{self.name}: {setting} {asked[setting]} was asked for and {reading.value} measured "
                    f"({reading.what}): it is not in force, so this cell is not measured"
                )

    async def _settle(self) -> tuple[float, bool | None]:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        while True:
            passed_s = loop.time() - began_s
            steady = self._steady(loop.time())
            if passed_s >= self._settle_s and (steady is not False or passed_s >= LONGEST * self._settle_s):
                return passed_s, steady
            await asyncio.sleep(min(0.25, self._settle_s / 4))

    def _steady(self, now_s: float) -> bool | None:
        """Whether the temperature stood still over half the settling time; None where the device tells none."""
        known = [(at_s, c) for at_s, c in self._read if c is not None]
        if not known:
            return None
        late = [c for at_s, c in known if at_s >= now_s - self._settle_s / 2] or [known[-1][1]]
        return max(late) - min(late) <= STEADY_C

    async def _note(self, reading: Telemetry | None) -> None:
        if reading is not None:
            self._read.append((asyncio.get_running_loop().time(), reading.temperature_c))

    async def answers(self) -> bool:
        """Whether the device is there, though it may find nothing."""
        try:
            await self.device.read_telemetry()
        except DeviceError:
            return False
        return True

    async def stop(self) -> None:
        """Poll no more; the settings come back when the miner is let go, for the bridge is going."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        with contextlib.suppress(TraceError):
            self._flush(last=True)


class AtPoint:
    """A miner that joins, is held at a point, and has its settings back at the end.

    Args:
        miner: that joins.
        opened: gives its device, once it has joined.
        point: what to set.
        settle_s: see :class:`HeldPoint`.
        beyond_factory: likewise.
        restores: whether there is something to bring back; an emulated miner ends with its cell.

    Attributes:
        held: how it stands; None before.
    """

    def __init__(
        self,
        miner: Miner,
        opened: Callable[[], Awaitable[Device]],
        point: OperatingPoint,
        *,
        settle_s: float,
        beyond_factory: bool,
        restores: bool,
    ) -> None:
        self.name, self.model = miner.name, miner.model
        self.held: Held | None = None
        self._miner, self._opened, self._point = miner, opened, point
        self._settle_s, self._beyond_factory, self._restores = settle_s, beyond_factory, restores
        self._device: Device | None = None
        self._holding: HeldPoint | None = None

    async def join(self, bridge: Bridge, host: str, port: int) -> None:
        """Have it mine for the bridge, set it, and wait until it has settled."""
        await self._miner.join(bridge, host, port)
        self._device = await self._opened()
        period_s = max(0.1, min(3.0, self._settle_s / 4))
        self._holding = HeldPoint(
            self._device,
            self._point,
            settle_s=self._settle_s,
            beyond_factory=self._beyond_factory,
            period_s=period_s,
        )
        self.held = await self._holding.hold(bridge)

    async def failed(self) -> str:
        """As the miner itself."""
        return await self._miner.failed()

    async def answers(self) -> bool:
        """Whether the device is there, though it may find nothing."""
        return self._holding is not None and await self._holding.answers()

    async def end(self) -> None:
        """Its own pool, and the settings from before; not even cancellation interrupts it."""
        failures: list[LabError] = []
        try:
            await self._miner.end()
        except LabError as error:
            failures.append(error)
        finally:
            device, self._device = self._device, None
            if device is not None:
                try:
                    if self._restores:
                        await device.restore()
                except LabError as error:
                    failures.append(error)
                finally:
                    await device.aclose()
        if failures:
            raise DeviceError("; ".join(map(str, failures))) from failures[0]
