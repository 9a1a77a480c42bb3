"""Holding a temperature: by settings that act at once, by ones that cost a restart, and by power plans."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from statistics import fmean
from typing import Protocol

from firmware_bridge.devices.device import Capabilities, Device
from firmware_bridge.devices.settings import OperatingPoint, Setting
from firmware_bridge.errors import UserError
from firmware_bridge.sentinel.actuators import Actuator, actuator_for
from firmware_bridge.sentinel.config import SentinelConfig
from firmware_bridge.sentinel.limits import Pace, RateLimit
from firmware_bridge.sentinel.models import SLOW_EVERY_S, SentinelFacts
from firmware_bridge.sentinel.pid import Gains, Pid

AVERAGE_S = 120.0
"""A slow loop looks at the mean of so long, taken just before it moves."""
SLOW_STEP = 0.45
"""Part of the error that a slow loop takes away at each move: it looks at settled heat, so more would ring."""
PLAN_BAND_C = 0.5
"""Above the target a cooler plan comes at once; a warmer one only where it is expected to stay below."""
PLAN_LONGEST_S = 4 * 3600.0


class Hold(Protocol):
    """Keeps a temperature.

    Attributes:
        target_c: to keep.
    """

    target_c: float

    @property
    def settings(self) -> tuple[Setting, ...]:
        """That it moves."""

    def start(self, present: OperatingPoint, temperature_c: float, now_s: float) -> None:
        """Begin, or begin anew, at the settings in force."""

    def update(self, temperature_c: float, now_s: float) -> OperatingPoint | None:
        """Settings to change now, None for none."""

    def moved(self, present: OperatingPoint, now_s: float) -> None:
        """Say which settings are in force after a change, whether it succeeded or not."""

    def warmer_by(self, original: OperatingPoint) -> float:
        """By how many °C the original settings are warmer than those in force."""


class LiveHold:
    """A PID over settings that act at once.

    Args:
        actuator: what it moves.
        facts: tuning and paces of the model.
        target_c: to keep.
    """

    def __init__(self, actuator: Actuator, facts: SentinelFacts, target_c: float) -> None:
        self.target_c = target_c
        self.settings = actuator.settings
        self.pid = Pid(facts.gains[actuator.settings[0]], 0.0, actuator.width_c, direction=-1)
        self._actuator = actuator
        self._limits = {k.setting: RateLimit(facts.pace[k.setting]) for k in actuator.knobs}
        self._widest_c = max(limit.pace.deadband for limit in self._limits.values())
        self._present = OperatingPoint()
        self._here: tuple[float, ...] = ()

    def start(self, present: OperatingPoint, temperature_c: float, now_s: float) -> None:
        """Bumpless from the settings in force."""
        self._is_at(present)
        self.pid.start(self._actuator.cooling(present), temperature_c, self.target_c, now_s)

    def update(self, temperature_c: float, now_s: float) -> OperatingPoint | None:
        """Settings of the knobs that are to move now."""
        left_c = self.pid.update(temperature_c, self.target_c, now_s)
        changed, really = None, 0.0
        for knob, here in zip(self._actuator.knobs, self._here, strict=True):
            width = knob.width_c
            there = min(left_c, width)
            left_c -= there
            limit = self._limits[knob.setting]
            allowed = limit.allowed(here, there, now_s)
            if allowed is None and here != there and there in (0.0, width) and limit.ready(now_s):
                allowed = (
                    there  # the end of a knob is reached even where the last bit is smaller than the deadband
                )
            if allowed is None:
                really += here
                continue
            part = knob.point(allowed)
            if all(v == getattr(self._present, s.value) for s, v in part.given().items()):
                really += here
                continue
            really += knob.cooling(part)
            changed = part if changed is None else _merged(changed, part)
        if abs(really - self.pid.output) > 2.0 * self._widest_c:
            self.pid.track(really)  # a deadband is no lag: following it would leave an offset
        return changed

    def moved(self, present: OperatingPoint, now_s: float) -> None:
        """Note a change."""
        for setting, value in present.given().items():
            if value != getattr(self._present, setting.value) and setting in self._limits:
                self._limits[setting].moved(now_s)
        self._is_at(_merged(self._present, present))

    def _is_at(self, present: OperatingPoint) -> None:
        self._present = present
        self._here = tuple(knob.cooling(present) for knob in self._actuator.knobs)

    def warmer_by(self, original: OperatingPoint) -> float:
        """From the cooling of both."""
        return self._actuator.cooling(self._present) - self._actuator.cooling(
            _merged(self._present, original)
        )


class SlowHold:
    """An integral loop over a setting that costs a restart: it looks, moves, and waits until the heat has settled.

    Args:
        actuator: what it moves.
        facts: tuning and paces of the model.
        target_c: to keep.
        pace: how often.
    """

    def __init__(self, actuator: Actuator, facts: SentinelFacts, target_c: float, pace: Pace) -> None:
        self.target_c = target_c
        self.settings = actuator.settings
        self.pid = Pid(Gains(kp=0.0, ki=SLOW_STEP / pace.every_s), 0.0, actuator.width_c, direction=-1)
        self._actuator = actuator
        self._limit = RateLimit(pace)
        self._present = OperatingPoint()
        self._seen: deque[tuple[float, float]] = deque()

    def start(self, present: OperatingPoint, temperature_c: float, now_s: float) -> None:
        """Bumpless from the settings in force; the first look comes after a full pause."""
        self._present = present
        self._seen.clear()
        self._limit.moved(now_s)
        self.pid.start(self._actuator.cooling(present), temperature_c, self.target_c, now_s)

    def update(self, temperature_c: float, now_s: float) -> OperatingPoint | None:
        """The setting to change now."""
        self._seen.append((now_s, temperature_c))
        while now_s - self._seen[0][0] > AVERAGE_S:
            self._seen.popleft()
        if not self._limit.ready(now_s):
            return None
        here = self._actuator.cooling(self._present)
        there = self.pid.update(fmean(c for _, c in self._seen), self.target_c, now_s)
        allowed = self._limit.allowed(here, there, now_s)
        if allowed is None:
            self._limit.moved(now_s)  # looked, and found nothing worth a restart
            return None
        self.pid.track(allowed)
        point = self._actuator.point(allowed)
        same = all(value == getattr(self._present, s.value) for s, value in point.given().items())
        if same:
            self._limit.moved(now_s)
        return None if same else point

    def moved(self, present: OperatingPoint, now_s: float) -> None:
        """Note a change."""
        self._present = _merged(self._present, present)
        self._seen.clear()
        self._limit.moved(now_s)

    def warmer_by(self, original: OperatingPoint) -> float:
        """From the cooling of both."""
        return self._actuator.cooling(self._present) - self._actuator.cooling(
            _merged(self._present, original)
        )


class PlanHold:
    """Two power plans: the target is a ceiling, since a plan has no value between.

    The cooler plan comes as soon as the target is passed. The warmer one is tried again after a pause that doubles each
    time it proved too warm.

    Args:
        facts: cooling of the plans.
        target_c: ceiling.
        top: warmest plan that may be used: the one that the device had.
    """

    def __init__(self, facts: SentinelFacts, target_c: float, top: str) -> None:
        plans = list(facts.plan_cooling)
        self.target_c = target_c
        self.settings: tuple[Setting, ...] = (Setting.POWER_PLAN,)
        self._cooling = facts.plan_cooling
        self._plans = plans[plans.index(top) :] if top in plans else [top]
        self._pause_s = self._shortest_s = facts.pace[Setting.POWER_PLAN].every_s
        self._plan = self._plans[0]
        self._since_s = 0.0

    def start(self, present: OperatingPoint, temperature_c: float, now_s: float) -> None:
        """Begin at the plan in force."""
        self._plan = present.power_plan if present.power_plan in self._plans else self._plans[0]
        self._since_s = now_s

    def update(self, temperature_c: float, now_s: float) -> OperatingPoint | None:
        """The plan to change to."""
        here, on_s = self._plans.index(self._plan), now_s - self._since_s
        if temperature_c > self.target_c + PLAN_BAND_C and here + 1 < len(self._plans):
            too_soon = on_s < 2 * self._shortest_s
            self._pause_s = min(PLAN_LONGEST_S, 2 * self._pause_s) if too_soon else self._shortest_s
            return OperatingPoint(power_plan=self._plans[here + 1])
        if here > 0 and on_s >= self._pause_s:
            warmer = self._plans[here - 1]
            expected_c = temperature_c + self._cooling[self._plan] - self._cooling[warmer]
            if expected_c < self.target_c:
                return OperatingPoint(power_plan=warmer)
        return None

    def moved(self, present: OperatingPoint, now_s: float) -> None:
        """Note a change."""
        if present.power_plan in self._plans:
            self._plan = present.power_plan
        self._since_s = now_s

    def warmer_by(self, original: OperatingPoint) -> float:
        """From the cooling of both."""
        there = original.power_plan if original.power_plan in self._cooling else self._plan
        assert there is not None
        return self._cooling[self._plan] - self._cooling[there]


def make_hold(
    device: Device,
    facts: SentinelFacts,
    config: SentinelConfig,
    able: Capabilities,
    present: OperatingPoint,
) -> Hold:
    """The way to hold a temperature that suits what a device can set.

    Args:
        device: for its limits and its name in messages.
        facts: of its model.
        config: with a target.
        able: what its firmware can set.
        present: its settings now.

    Raises:
        UserError: if it can set nothing that would hold a temperature, or not what the user named.
    """
    assert config.target_c is not None
    plan = able.setting(Setting.POWER_PLAN) if facts.plan_cooling else None
    if config.knob == "plan" or (config.knob == "auto" and plan is not None):
        if plan is None or present.power_plan is None:
            raise UserError(f"{device.address}: knob=plan: it has no power plans to hold a temperature with")
        return PlanHold(facts, config.target_c, present.power_plan)
    actuator = actuator_for(
        facts,
        device.limits,
        able,
        present,
        knob=config.knob,
        ceiling_mhz=config.ceiling_mhz,
        beyond_factory=config.beyond_factory,
    )
    if not any(c is not None and c.needs_restart for c in map(able.setting, actuator.settings)):
        return LiveHold(actuator, facts, config.target_c)
    pace = facts.pace.get(actuator.settings[0])
    if pace is None or pace.every_s < SLOW_EVERY_S:
        pace = Pace(SLOW_EVERY_S, 0.5, 2.0)
    return SlowHold(actuator, facts, config.target_c, pace)


def _merged(point: OperatingPoint, over: OperatingPoint) -> OperatingPoint:
    return replace(point, **{s.value: v for s, v in over.given().items()})  # type: ignore[arg-type]
