"""The Sentinel: one reading, one decision, at most one change, each with its reason.

Order of what counts: the hard limit, whether telemetry can be believed, the target. The first two know nothing of the
controller. A safe point is reached for from any state, tried again until the device took it, and left on purpose only
after doubt about telemetry, never after heat or a dead fan.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import Any, Protocol

from firmware_bridge.devices.device import Device
from firmware_bridge.devices.settings import Applied, OperatingPoint
from firmware_bridge.devices.telemetry import Telemetry
from firmware_bridge.errors import DeviceError, LabError, UserError
from firmware_bridge.sentinel.actuators import safe_point
from firmware_bridge.sentinel.config import Action, Happening, Mode, SentinelConfig
from firmware_bridge.sentinel.hold import Hold, make_hold
from firmware_bridge.sentinel.limits import TripGuard
from firmware_bridge.sentinel.models import TARGET_BELOW_TRIP_C, facts_of
from firmware_bridge.sentinel.monitor import TelemetryMonitor
from firmware_bridge.sentinel.steering import Steering
from firmware_bridge.sentinel.watchdog import HIGHEST_C, LOWEST_C, Finding, Watchdog, WatchdogFacts

LATCHING = ("fan-stopped",)
"""Findings after which a person has to look."""
RETRY_S = (3.0, 3.0, 6.0, 6.0, 12.0, 30.0)
"""Pauses between attempts at a safe point; the last one again and again."""
HELPLESS_AFTER = 3
"""Failed attempts at a safe point until it says that it cannot act."""
HOLD_FAILURES = 3
COOLING_S = 60.0
"""Time in which a safe point has to cool a hot chip."""
RESTART_EXCUSE_S = 300.0
"""Longest time that a device may be silent after a restart that was asked for."""
STRONG_C = 3.0
"""A change of the cooling by so much has to show in the temperature."""


class Journal(Protocol):
    """Where it writes what it sees and does."""

    def happened(self, happening: Happening) -> None:
        """An event."""

    def acted(self, action: Action) -> None:
        """A change of settings, or an attempt."""


class Sentinel:
    """Guards one device.

    Args:
        device: open; its clock is used.
        config: what is asked for.
        journal: told everything.
        inline: wait for each change within :meth:`step`. False lets readings go on meanwhile, so that heat interrupts a
            change that takes long.
    """

    def __init__(
        self, device: Device, config: SentinelConfig, journal: Journal, *, inline: bool = False
    ) -> None:
        self.device, self.config, self.journal = device, config, journal
        self.facts = facts_of(device)
        self.trip = self.facts.trip(device.limits.max_temperature_c, config.limit_c)
        if config.target_c is not None and config.target_c > self.trip.trip_c - TARGET_BELOW_TRIP_C:
            raise UserError(
                f"target={config.target_c:g} is too near to the trip point of {self.trip.trip_c:g} °C; the highest one "
                f"is {self.trip.trip_c - TARGET_BELOW_TRIP_C:g} °C"
            )
        self.mode = Mode.WATCH if config.watch_only else Mode.GUARD
        self.guard = TripGuard(self.trip)
        self.watchdog = Watchdog(WatchdogFacts(config.period_s, self.facts.jump_c))
        self.monitor = TelemetryMonitor()
        self.hold: Hold | None = None
        self.steering: Steering | None = None
        self.safe: OperatingPoint | None = None
        self.actions = 0
        self.why_safe: str | None = None
        self._inline = inline
        self._present = OperatingPoint()
        self._original = OperatingPoint()
        self._findings: dict[str, str] = {}
        self._excused_until_s = -math.inf
        self._asleep = False
        self._good_since_s: float | None = None
        self._recovered = 0
        self._before_safe = OperatingPoint()
        self._safe_since_s: float | None = None
        self._attempts = 0
        self._next_attempt_s = -math.inf
        self._failures = 0
        self._told_helpless = False
        self._acting: asyncio.Task[None] | None = None

    # ---- life ----

    async def start(self) -> None:
        """Ask what can be set, and prepare.

        Raises:
            UserError: if what is asked for cannot be done on this device: with the reason.
            DeviceError: if it does not answer.
        """
        able = await self.device.capabilities()
        if "temperature_c" not in able.reads:
            raise UserError(
                f"{self.device.address}: a {self.device.name} tells no temperature, so the Sentinel would be blind"
            )
        self._present = self._original = await self.device.read_point()
        if not self.config.watch_only:
            self.safe = safe_point(self.facts, able, self._present)
        if self.config.target_c is not None:
            self.hold = make_hold(self.device, self.facts, self.config, able, self._present)
            self.steering = Steering(self.device, self.facts, self.hold, self._say)
            self.mode = Mode.HOLD
        self._say(
            "sentinel-start",
            "info",
            url=self.device.address,
            mode=str(self.mode),
            limit_c=self.trip.limit_c,
            trip_c=self.trip.trip_c,
            safe_point=None if self.safe is None else self.safe.to_json(),
            moves=[] if self.hold is None else [str(s) for s in self.hold.settings],
            config=self.config.to_json(),
        )

    async def close(self) -> Applied | None:
        """Stop steering. The settings from before come back, unless that would be dangerous: then they stay remembered.

        Returns:
            What became of the restoration, None where there was none.

        Raises:
            LabError: if they were to come back and could not.
        """
        if self._acting is not None:
            self._acting.cancel()
            await asyncio.gather(self._acting, return_exceptions=True)
        why = self._danger()
        if why is None:
            return await self.device.restore()
        self.device.kept_safe = f"the Sentinel made it safe ({why})"
        if self.actions:
            self._say("sentinel-left-safe", "error", reason=why, remedy=self.remedy)
        return None

    @property
    def remedy(self) -> str:
        """What a person has to do where the settings were left as they are."""
        return f"once the cause is mended: asiclab devices restore {self.device.address}"

    def _danger(self) -> str | None:
        """Why the settings from before must not come back now."""
        if self.config.watch_only:
            return None
        if self.mode in (Mode.SAFE, Mode.TRIPPED):
            return self.why_safe or "the Sentinel brought it to its safe point"
        if self.guard.hot:
            return f"the chip is at its trip point of {self.trip.trip_c:g} °C"
        last_c = self.guard.last_c
        if self.hold is not None and last_c is not None:
            warmer_c = self.hold.warmer_by(self._original)
            if warmer_c > 0 and last_c + warmer_c >= self.trip.trip_c:
                return (
                    f"the settings from before would heat the chip from {last_c:.0f} °C by about {warmer_c:.0f} °C, "
                    f"past the trip point of {self.trip.trip_c:g} °C"
                )
        return None

    def retarget(self, target_c: float) -> None:
        """Hold another temperature from now on.

        Raises:
            UserError: if nothing is held, or it is too near to the trip point.
        """
        if self.hold is None:
            raise UserError("nothing is held here, so there is no target to change")
        if target_c > self.trip.trip_c - TARGET_BELOW_TRIP_C:
            raise UserError(f"target={target_c:g} is too near to the trip point of {self.trip.trip_c:g} °C")
        self.hold.target_c = target_c
        self._say("sentinel-target", "info", target_c=target_c)

    # ---- one reading ----

    async def step(self, reading: Telemetry | None) -> None:
        """Take a reading, None where the device did not answer; decide, and act."""
        now_s = self._now_s()
        excused = self._asleep or now_s < self._excused_until_s
        findings = self.watchdog.observe(reading, now_s, excused=excused)
        self._note(findings)
        trip = None
        raw_c = None if reading is None else reading.temperature_c
        if raw_c is not None and LOWEST_C <= raw_c <= HIGHEST_C:
            trip = self.guard.observe(raw_c, now_s)
        if reading is not None:
            if not self._busy:  # a device that is told to restart answers for a while before it goes
                self._excused_until_s = min(self._excused_until_s, now_s)
            for anomaly in self.monitor.observe(reading):
                self._say("sentinel-anomaly", "warning", **anomaly.to_json())
        if trip is not None:
            await self._fall(Mode.TRIPPED, f"{trip.kind}: {trip.text}", now_s)
        latching = [f for f in findings if f.kind in LATCHING]
        if latching:
            await self._fall(Mode.TRIPPED, f"{latching[0].kind}: {latching[0].text}", now_s)
        elif findings:
            await self._fall(Mode.SAFE, f"{findings[0].kind}: {findings[0].text}", now_s)
        if self.mode in (Mode.SAFE, Mode.TRIPPED):
            await self._stay_safe(bool(findings), now_s)
        elif self.hold is not None and self.watchdog.believed_c is not None and reading is not None:
            await self._steer(reading, self.watchdog.believed_c, now_s)

    def _note(self, findings: list[Finding]) -> None:
        """Events for findings that begin or end."""
        now = {f.kind: f.text for f in findings}
        for kind in now.keys() - self._findings.keys():
            self._say(f"sentinel-{kind}", "warning", text=now[kind])
        for kind in self._findings.keys() - now.keys():
            self._say("sentinel-believed-again", "info", finding=kind)
        self._findings = now

    # ---- safe points ----

    async def _fall(self, mode: Mode, why: str, now_s: float) -> None:
        if self.config.watch_only:
            if self.why_safe != why.partition(":")[0]:
                self.why_safe = why.partition(":")[0]
                self._say("sentinel-would-trip", "error", reason=why)
            return
        if self.mode is Mode.TRIPPED or self.mode is mode:
            return
        came_from = self.mode
        self.mode, self.why_safe = mode, why
        self.device.kept_safe = f"the Sentinel made it safe ({why})"
        self._good_since_s = None
        self._say(f"sentinel-{mode}", "error", reason=why, before=str(came_from))
        if came_from is not Mode.SAFE:
            self._before_safe = self._present
            self._attempts, self._next_attempt_s, self._safe_since_s = 0, -math.inf, None
            self._told_helpless = False

    async def _stay_safe(self, doubt: bool, now_s: float) -> None:
        if self._safe_since_s is None:
            if now_s >= self._next_attempt_s and (not self._busy or not self._attempts):
                await self._act(self._go_safe(), urgent=True)
            return
        if self.guard.hot and now_s - self._safe_since_s > COOLING_S and not self._told_helpless:
            self._told_helpless = True
            self._say(
                "sentinel-helpless",
                "error",
                text=f"{self.guard.last_c:.1f} °C at its safe point, and no cooler point is known: cut its power",
            )
        if doubt or not self.guard.cool:
            self._good_since_s = None
        elif self._good_since_s is None:
            self._good_since_s = now_s
        if self.mode is not Mode.SAFE or self._good_since_s is None or self._asleep:
            return
        if now_s - self._good_since_s < self.config.recover_s:
            return
        if self._recovered >= self.config.recoveries:
            await self._fall(Mode.TRIPPED, f"{self.why_safe}, for the {self._recovered + 1}th time", now_s)
        else:
            await self._act(self._recover(), urgent=False)

    async def _go_safe(self) -> None:
        assert self.safe is not None
        now_s = self._now_s()
        self._attempts += 1
        self._next_attempt_s = now_s + RETRY_S[min(self._attempts, len(RETRY_S)) - 1]
        applied = await self._apply(self.safe, self.why_safe or "")
        if applied is not None and False not in applied.confirmed.values():
            self._safe_since_s = self._now_s()
            self._asleep = await self._sleeps()
            return
        if self._attempts == HELPLESS_AFTER:
            self._say(
                "sentinel-cannot-act",
                "error",
                text=f"{self._attempts} attempts at the safe point failed; it goes on. Cut its power if it is hot",
            )

    async def _sleeps(self) -> bool:
        """Whether the safe point has switched off what telemetry comes from."""
        assert self.safe is not None
        if self.safe.power_plan != "sleep":
            return False
        try:
            await self.device.read_telemetry()
        except DeviceError:
            return True
        return False

    async def _recover(self) -> None:
        """Back to what was in force before the doubt."""
        self._recovered += 1
        kept, self.device.kept_safe = self.device.kept_safe, None
        back = OperatingPoint(
            **{
                s.value: v
                for s, v in self._before_safe.given().items()
                if v != getattr(self._present, s.value) and self.safe is not None and s in self.safe.given()
            }  # type: ignore[arg-type]
        )
        applied = await self._apply(back, "telemetry can be believed again") if back.given() else None
        if back.given() and applied is None:
            self.device.kept_safe = kept
            self._good_since_s = None
            return
        self.guard.release()
        self.mode = Mode.GUARD if self.hold is None else Mode.HOLD
        self.why_safe = None
        self._say("sentinel-recovered", "info", times=self._recovered)
        if self.hold is not None and self.guard.last_c is not None:
            self.hold.start(self._present, self.guard.last_c, self._now_s())

    # ---- holding ----

    async def _steer(self, reading: Telemetry, temperature_c: float, now_s: float) -> None:
        assert self.steering is not None
        if self._busy:
            return
        wish = self.steering.wish(reading, temperature_c, self._present, now_s)
        if wish is not None:
            await self._act(self._move(*wish), urgent=False)

    async def _move(self, point: OperatingPoint, reason: str) -> None:
        assert self.hold is not None
        original = self._present
        applied = await self._apply(point, reason)
        self.hold.moved(point if applied is not None else original, self._now_s())
        if applied is None:
            self._failures += 1
            if self._failures >= HOLD_FAILURES:
                await self._fall(Mode.SAFE, f"{self._failures} changes in a row failed", self._now_s())
            return
        self._failures = 0

    # ---- acting ----

    @property
    def _busy(self) -> bool:
        """Whether a change is under way beside the readings."""
        return self._acting is not None and not self._acting.done()

    async def _act(self, work: Any, *, urgent: bool) -> None:
        """Do it now, or beside the readings; what is urgent interrupts what is not."""
        if self._inline:
            await work
            return
        if self._acting is not None and not self._acting.done():
            if not urgent:
                work.close()
                return
            self._acting.cancel()
            await asyncio.gather(self._acting, return_exceptions=True)
        self._acting = asyncio.get_running_loop().create_task(work)
        # a device that takes it at once is done before the next reading, one that restarts is not waited for
        await asyncio.wait({self._acting}, timeout=min(1.0, self.config.period_s / 3))

    async def _apply(self, point: OperatingPoint, reason: str) -> Applied | None:
        able = await self._capabilities(point)
        if able:
            self._excused_until_s = self._now_s() + RESTART_EXCUSE_S
        before = self._present
        try:
            applied = await self.device.apply(point, beyond_factory=True)
        except LabError as error:
            self._excused_until_s = -math.inf
            self._log(point, reason, None, str(error))
            return None
        except asyncio.CancelledError:
            self._log(point, reason, None, "interrupted by something more urgent")
            raise
        self._excused_until_s = -math.inf
        if applied.restarted:
            self.guard.forget()
            self._excused_until_s = self._now_s() + 2 * self.config.period_s
        self._present = _over(before, point)
        self.monitor.moved(set(point.given()))
        if applied.restarted or self._strong(before):
            self.watchdog.disturbed()
        self._log(point, reason, applied, None)
        return applied

    async def _capabilities(self, point: OperatingPoint) -> bool:
        """Whether a change needs a restart; unknown counts as no."""
        with contextlib.suppress(LabError):
            able = await self.device.capabilities()
            return any(c is not None and c.needs_restart for c in map(able.setting, point.given()))
        return False

    def _strong(self, before: OperatingPoint) -> bool:
        if self.hold is None:
            return False
        there = self.hold.warmer_by(before)
        return abs(there) >= STRONG_C

    def _log(self, point: OperatingPoint, reason: str, applied: Applied | None, error: str | None) -> None:
        self.actions += applied is not None
        clock = self.device.clock
        self.journal.acted(
            Action(clock.monotonic_ns(), clock.wall_ns(), self.mode, reason, point, applied, error)
        )

    def _say(self, kind: str, severity: str, **detail: Any) -> None:
        clock = self.device.clock
        self.journal.happened(Happening(kind, severity, clock.monotonic_ns(), clock.wall_ns(), detail))

    def _now_s(self) -> float:
        return self.device.clock.monotonic_ns() / 1e9


def _over(point: OperatingPoint, over: OperatingPoint) -> OperatingPoint:
    given = {s.value: v for s, v in {**point.given(), **over.given()}.items()}
    return OperatingPoint(**given)  # type: ignore[arg-type]
