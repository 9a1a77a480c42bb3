"""What every attached miner is to the lab: an identity, capabilities, telemetry, and an operating point within limits.

A model is one file beside this one: facts in tables at its top, a driver below. The driver fills in what is specific
(read, write, measure); this module keeps what must not depend on anybody's care: hard limits, the memory of the
settings that were there before, their restoration, and the rule that a setting counts only once it was *measured*.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType, TracebackType
from typing import Any, ClassVar, Literal, Self

from firmware_bridge.clock import Clock, SystemClock
from firmware_bridge.devices.settings import (
    Applied,
    Limits,
    OperatingPoint,
    OriginalSettings,
    Reading,
    Setting,
)
from firmware_bridge.devices.telemetry import Identity, Telemetry
from firmware_bridge.errors import DeviceError, LabError, LimitError, UserError

Sleep = Callable[[float], Awaitable[None]]
"""How a driver waits; ``asyncio.sleep``, or a virtual one in tests."""

RESTORE_PATIENCE_S = 180.0
"""How long a device that does not answer is asked to take its old settings back: longer than any restart."""
RESTORE_PAUSE_S = 3.0


@dataclass(frozen=True, slots=True)
class Capability:
    """A setting that the firmware has.

    Attributes:
        setting: which.
        needs_restart: whether it takes effect only after a restart, during which nothing hashes.
        measured_by: telemetry that shows whether it took effect, for people.
    """

    setting: Setting
    needs_restart: bool
    measured_by: str


@dataclass(frozen=True)
class Capabilities:
    """What a device with this firmware can do.

    Attributes:
        reads: names of the fields of :class:`Telemetry` that it fills.
        sets: settings that it has.
        cannot: settings that it does not have, and why: what the user is told.
    """

    reads: frozenset[str]
    sets: tuple[Capability, ...] = ()
    cannot: Mapping[Setting, str] = field(default_factory=lambda: MappingProxyType({}))

    def setting(self, setting: Setting) -> Capability | None:
        """The capability for a setting, or None."""
        return next((c for c in self.sets if c.setting == setting), None)

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "reads": sorted(self.reads),
            "sets": [asdict(c) for c in self.sets],
            "cannot": {str(s): why for s, why in self.cannot.items()},
        }


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """Where a device is to mine."""

    host: str
    port: int
    user: str
    password: str = field(default="x", repr=False)

    @property
    def url(self) -> str:
        """As miners write it."""
        return f"stratum+tcp://{self.host}:{self.port}"


class Restart:
    """Whether a device that was told to restart has done so, from its up time in whole seconds.

    Args:
        clock: of this host.
        before_s: its up time just before, or None where it did not say.
    """

    def __init__(self, clock: Clock, before_s: float | None) -> None:
        self._clock = clock
        self._before_s = before_s
        self._began_ns = clock.monotonic_ns()
        self._was_away = False

    def away(self) -> None:
        """It did not answer."""
        self._was_away = True

    def over(self, uptime_s: float | None) -> bool:
        """Whether an up time is that of a device that has started since."""
        elapsed_s = (self._clock.monotonic_ns() - self._began_ns) / 1e9
        if uptime_s is None or uptime_s > elapsed_s:
            return False
        # an up time is cut to whole seconds, so one that went on may show up to a second too little
        return self._was_away or self._before_s is None or uptime_s < self._before_s + elapsed_s - 1.0


class Device(ABC):
    """One attached miner.

    As an asynchronous context manager it restores its settings and closes, whatever ended the block.

    Args:
        address: URL that names it, e.g. ``lv06://10.0.0.7``.
        clock: for stamps.
        sleep: how to wait for a restart.
        originals: where the settings before the first change are remembered.

    Attributes:
        kept_safe: why nothing may be set that could heat, and :meth:`restore` leaves everything as it is, for now; None
            where that is not so. Set by who made it safe.
    """

    name: ClassVar[str]
    """Of the model, as in URLs and on the command line."""
    limits: ClassVar[Limits]
    work: ClassVar[Literal["stratum", "serial"]]
    """How it gets its work."""
    unknown_hint: ClassVar[str] = ""
    """What to say where the present settings cannot be read."""

    def __init__(
        self,
        address: str,
        *,
        clock: Clock | None = None,
        sleep: Sleep = asyncio.sleep,
        originals: OriginalSettings | None = None,
    ) -> None:
        self.address = address
        self.clock: Clock = clock or SystemClock()
        self.sleep = sleep
        self.originals = originals or OriginalSettings()
        self.kept_safe: str | None = None
        self._changing = asyncio.Lock()

    # ---- what a model fills in ---------------------------------------------------------------------------------------

    @abstractmethod
    async def identify(self) -> Identity:
        """Ask the device who it is.

        Raises:
            DeviceError: if it does not answer, or is another model.
        """

    @abstractmethod
    async def capabilities(self) -> Capabilities:
        """What this device can do with its firmware."""

    @abstractmethod
    async def read_telemetry(self) -> Telemetry:
        """Read everything that the device tells.

        Raises:
            DeviceError: if it does not answer, or answers nonsense: with the device, the command and the bytes.
        """

    @abstractmethod
    async def read_point(self) -> OperatingPoint:
        """The settings as the firmware reports them (not measured)."""

    async def set_pool(self, pool: PoolSettings) -> bool:
        """Make the device mine for a pool; whether it was restarted for it.

        Raises:
            UserError: where the firmware has no such setting: with how to set it by hand.
        """
        raise UserError(
            f"{self.address}: a {self.name} gets its work over {self.work}, it has no pool to set"
        )

    async def aclose(self) -> None:
        """Let go of the links."""
        return

    async def _write_point(self, point: OperatingPoint) -> bool:
        """Set what is given and wait until it can be measured; whether the device was restarted for it."""
        raise UserError(f"{self.address}: a {self.name} sets nothing")

    async def _measure(self, point: OperatingPoint) -> Mapping[Setting, Reading]:
        """Measure the settings that are given."""
        return {}

    # ---- what holds for all ------------------------------------------------------------------------------------------

    @classmethod
    def checked(cls, point: OperatingPoint, *, beyond_factory: bool = False) -> OperatingPoint:
        """The point as this model takes it, without asking the device anything.

        Raises:
            LimitError: if a value is outside the hard limits, beyond what was agreed to, or none that the model has.
        """
        cls.limits.check(cls.name, point, beyond_factory=beyond_factory)
        return point

    async def apply(self, point: OperatingPoint, *, beyond_factory: bool = False) -> Applied:
        """Set an operating point, and measure whether it is in force.

        Before the first change the present settings are remembered, durably; :meth:`restore` brings them back.

        Args:
            point: settings to change; None leaves one as it is.
            beyond_factory: whether the user has agreed to values outside the factory's table.

        Returns:
            What was asked, reported and measured.

        Raises:
            LimitError: if a value is outside the hard limits, or the chip is too hot for a change that could heat it.
            UserError: if the firmware has no such setting, or nothing was asked for.
            DeviceError: if the device does not answer, or its present settings cannot be read, so that they could not
                be restored.
        """
        asked = point.given()
        if not asked:
            raise UserError(f"{self.address}: no setting was given; there are {', '.join(Setting)}")
        point = self.checked(point, beyond_factory=beyond_factory)
        asked = point.given()
        able = await self.capabilities()
        for setting in asked:
            if able.setting(setting) is None:
                why = able.cannot.get(setting, "it has no such setting")
                raise UserError(f"{self.address}: this firmware cannot set {setting}: {why}")
        async with self._changing:
            present = await self.read_point()
            unknown = [s for s in asked if s not in present.given()]
            if unknown:
                raise DeviceError(
                    f"{self.address}: its present {', '.join(unknown)} cannot be read, so it could not be restored; "
                    f"nothing was changed{self.unknown_hint}"
                )
            await self._refuse_when_hot(point, present)
            before = self.originals.get(self.address) or OperatingPoint()
            merged = {s.value: v for s, v in {**present.only(asked).given(), **before.given()}.items()}
            self.originals.keep(self.address, OperatingPoint(**merged))  # type: ignore[arg-type]
            restarted = await self._write_point(point)
            reported = (await self.read_point()).only(asked)
            measured = await self._measure(point)
        return Applied(point, present.only(asked), reported, measured, restarted)

    async def _refuse_when_hot(self, point: OperatingPoint, present: OperatingPoint) -> None:
        """What cools is never refused, and does not wait for telemetry either."""
        heating = self.limits.heating(point, present)
        if heating and self.kept_safe is not None:
            raise LimitError(
                f"{self.address}: {self.kept_safe}: {', '.join(heating)} stays. Nothing was changed"
            )
        temperature_c = await self._too_hot_c() if heating else None
        if temperature_c is not None:
            raise LimitError(
                f"{self.address}: the chip has {temperature_c:g} °C and this model's limit is "
                f"{self.limits.max_temperature_c:g} °C; let it cool down before changing {', '.join(heating)}. "
                "Nothing was changed"
            )

    async def _too_hot_c(self) -> float | None:
        """Temperature of the chip where it is at the limit or above, else None."""
        temperature_c = (await self.read_telemetry()).temperature_c
        hot = temperature_c is not None and temperature_c >= self.limits.max_temperature_c
        return temperature_c if hot else None

    async def restore(self) -> Applied | None:
        """Bring back the settings from before the first change; None where nothing was changed or ``kept_safe`` is set.

        Not even cancellation interrupts it: a miner is never left between two points.

        Raises:
            DeviceError: if the device does not answer; the settings stay remembered.
            LimitError: if the chip is too hot for those of them that could heat it: the others are back, all stay
                remembered.
        """
        if self.kept_safe is not None or self.originals.get(self.address) is None:
            return None
        task = asyncio.ensure_future(self._restore())
        cancelled = False
        while not task.done():
            try:
                await asyncio.shield(task)
            except asyncio.CancelledError:
                cancelled = True
                if task.cancelled():
                    raise
        if cancelled:
            raise asyncio.CancelledError
        return task.result()

    async def _restore(self) -> Applied | None:
        """Try until it works: a change that was interrupted may have left the device in the middle of a restart."""
        began_ns, paused_s = self.clock.monotonic_ns(), 0.0
        while True:
            try:
                return await self._restore_once()
            except DeviceError as error:
                # one attempt may itself wait for a restart, so the time that passed counts, not only the pauses
                if max(paused_s, (self.clock.monotonic_ns() - began_ns) / 1e9) >= RESTORE_PATIENCE_S:
                    raise DeviceError(
                        f"{error}. Its settings from before are NOT restored; asiclab devices restore {self.address} "
                        "does it once the device answers"
                    ) from error
            await self.sleep(RESTORE_PAUSE_S)
            paused_s += RESTORE_PAUSE_S

    async def _restore_once(self) -> Applied | None:
        async with self._changing:
            original = self.originals.get(self.address)
            if original is None:
                return None
            present = await self.read_point()
            await self._restore_only_what_cools_when_hot(original, present)
            restarted = await self._write_point(original)
            reported = (await self.read_point()).only(original.given())
            measured = await self._measure(original)
            applied = Applied(original, present.only(original.given()), reported, measured, restarted)
            if reported != original:
                raise DeviceError(
                    f"{self.address}: asked to go back to {original.given()}, it now reports {reported.given()}; "
                    "set it by hand"
                )
            self.originals.forget(self.address)
            return applied

    async def _restore_only_what_cools_when_hot(
        self, original: OperatingPoint, present: OperatingPoint
    ) -> None:
        heating = self.limits.heating(original, present)
        temperature_c = None
        if heating:
            with contextlib.suppress(
                DeviceError
            ):  # a device that tells no temperature gets its settings back
                temperature_c = await self._too_hot_c()
        if temperature_c is None:
            return
        now = present.given()
        cooling = {s: v for s, v in original.given().items() if s not in heating and now.get(s) != v}
        if cooling:
            await self._write_point(original.only(cooling))
        raise LimitError(
            f"{self.address}: the chip has {temperature_c:g} °C and this model's limit is "
            f"{self.limits.max_temperature_c:g} °C, so {', '.join(heating)} is NOT back at the value from before, "
            f"which could heat it further; let it cool down, then asiclab devices restore {self.address}"
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.restore()
        except LabError as failure:
            if error is None:
                raise
            error.add_note(f"and its settings could not be restored: {failure}")
        finally:
            with contextlib.suppress(OSError):
                await self.aclose()
