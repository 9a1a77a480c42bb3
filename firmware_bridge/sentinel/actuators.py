"""Which knobs cool a device, in which order, and what a wish for cooling means for each of them.

The controller speaks in °C of cooling, counted from the hottest end of all knobs together: the fan first, since it
costs no hash, then the clock, then the power plan. So one loop gain serves them all (split range control).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from firmware_bridge.devices.device import Capabilities
from firmware_bridge.devices.settings import Limits, OperatingPoint, Setting
from firmware_bridge.errors import UserError
from firmware_bridge.sentinel.models import FACTS, SentinelFacts

KNOBS = ("auto", "fan", "frequency", "voltage", "plan")
"""What a user may name; ``voltage`` is the clock with the voltage that the menu goes with it."""


class Knob(Protocol):
    """One setting."""

    @property
    def setting(self) -> Setting:
        """Which setting it moves."""

    @property
    def width_c(self) -> float:
        """Cooling from its hottest to its coolest end, °C."""

    def point(self, cooling_c: float) -> OperatingPoint:
        """The settings for some cooling from 0 to ``width_c``."""

    def cooling(self, point: OperatingPoint) -> float:
        """The cooling of settings that are in force."""


@dataclass(frozen=True)
class FanKnob:
    """The fan, in whole per cent.

    Args:
        table: per cent to cooling in °C, ascending.
    """

    table: tuple[tuple[float, float], ...]
    setting: Setting = Setting.FAN

    @cached_property
    def width_c(self) -> float:
        """Cooling of the full fan."""
        return self.table[-1][1]

    def point(self, cooling_c: float) -> OperatingPoint:
        """Fan for some cooling."""
        percent, cooled = zip(*self.table, strict=True)
        return OperatingPoint(fan_percent=float(round(np.interp(cooling_c, cooled, percent))))

    def cooling(self, point: OperatingPoint) -> float:
        """Cooling of a fan."""
        percent, cooled = zip(*self.table, strict=True)
        return float(np.interp(point.fan_percent or percent[0], percent, cooled))


@dataclass(frozen=True)
class ClockKnob:
    """The clock, from a ceiling down, alone or with the voltage that goes with it.

    Args:
        clocks_mhz: that may be set, descending.
        per_mhz: cooling in °C of one MHz less.
        volts_mv: voltage at each clock, or empty to leave the voltage alone.
    """

    clocks_mhz: tuple[float, ...]
    per_mhz: float
    volts_mv: tuple[float, ...] = ()
    setting: Setting = Setting.FREQUENCY

    @cached_property
    def width_c(self) -> float:
        """Cooling of the slowest clock."""
        return (self.clocks_mhz[0] - self.clocks_mhz[-1]) * self.per_mhz

    def point(self, cooling_c: float) -> OperatingPoint:
        """Nearest clock for some cooling."""
        wanted = self.clocks_mhz[0] - cooling_c / self.per_mhz
        n = min(range(len(self.clocks_mhz)), key=lambda i: abs(self.clocks_mhz[i] - wanted))
        return OperatingPoint(
            frequency_mhz=self.clocks_mhz[n], core_voltage_mv=self.volts_mv[n] if self.volts_mv else None
        )

    def cooling(self, point: OperatingPoint) -> float:
        """Cooling of a clock."""
        clock = self.clocks_mhz[0] if point.frequency_mhz is None else point.frequency_mhz
        return min(self.width_c, max(0.0, (self.clocks_mhz[0] - clock) * self.per_mhz))


class Actuator:
    """All knobs in use, one after the other.

    Args:
        knobs: the one to use first first.
    """

    def __init__(self, knobs: Sequence[Knob]) -> None:
        self.knobs = tuple(knobs)
        self.width_c = sum(knob.width_c for knob in knobs)

    @property
    def settings(self) -> tuple[Setting, ...]:
        """Settings that it moves, by their knobs."""
        return tuple(knob.setting for knob in self.knobs)

    def point(self, cooling_c: float) -> OperatingPoint:
        """Settings of every knob for some cooling."""
        left = min(self.width_c, max(0.0, cooling_c))
        given: dict[str, Any] = {}
        for knob in self.knobs:
            part = min(left, knob.width_c)
            given |= {s.value: v for s, v in knob.point(part).given().items()}
            left -= part
        return OperatingPoint(**given)

    def cooling(self, point: OperatingPoint) -> float:
        """Cooling of settings that are in force."""
        return sum(knob.cooling(point) for knob in self.knobs)


def safe_point(facts: SentinelFacts, able: Capabilities, present: OperatingPoint) -> OperatingPoint:
    """The best safe point whose every setting this firmware has; settings that cannot be read back are left out.

    Raises:
        UserError: if nothing of any safe point can be set.
    """
    for candidate in facts.safe:
        given = candidate.given()
        if all(able.setting(s) is not None and s in present.given() for s in given):
            return candidate
    for candidate in facts.safe:
        usable = {
            s: v for s, v in candidate.given().items() if able.setting(s) is not None and s in present.given()
        }
        if usable:
            return OperatingPoint(**{s.value: v for s, v in usable.items()})  # type: ignore[arg-type]
    why = "; ".join(f"{s}: {text}" for s, text in able.cannot.items())
    raise UserError(f"nothing of a safe point can be set on this device ({why}); it can only be watched")


def settings_named(knob: str) -> tuple[Setting, ...]:
    """Settings behind a knob's name.

    Raises:
        UserError: if there is no such knob.
    """
    named = {
        "fan": (Setting.FAN,),
        "frequency": (Setting.FREQUENCY,),
        "voltage": (Setting.FREQUENCY, Setting.CORE_VOLTAGE),
        "plan": (Setting.POWER_PLAN,),
        "auto": (Setting.FAN, Setting.FREQUENCY),
    }
    if knob not in named:
        raise UserError(f"there is no knob {knob!r}; there are {', '.join(KNOBS)}")
    return named[knob]


def actuator_for(
    facts: SentinelFacts,
    limits: Limits,
    able: Capabilities,
    present: OperatingPoint,
    *,
    knob: str = "auto",
    ceiling_mhz: float | None = None,
    beyond_factory: bool = False,
) -> Actuator:
    """The knobs of a device, within its limits and never above the clock that it had.

    Args:
        facts: of the model.
        limits: of the model.
        able: what its firmware can set.
        present: its settings now.
        knob: ``auto`` or the one to use.
        ceiling_mhz: fastest clock, by default the present one.
        beyond_factory: whether clocks slower than the vendor's menu may be used to hold a temperature.

    Raises:
        UserError: if the firmware has no such setting, or nothing can be moved.
    """
    wanted = settings_named(knob)
    for setting in wanted if knob != "auto" else ():
        if able.setting(setting) is None or setting not in present.given():
            why = able.cannot.get(setting, "its present value cannot be read, so it could not be restored")
            raise UserError(f"knob={knob}: this device cannot move {setting}: {why}")
    knobs: list[Knob] = []
    usable = {s for s in wanted if able.setting(s) is not None and s in present.given()}
    live = {s for s in usable if not getattr(able.setting(s), "needs_restart", True)}
    chosen = live if knob == "auto" and live else usable
    if Setting.FAN in chosen and facts.fan_cooling:
        knobs.append(FanKnob(facts.fan_cooling))
    if Setting.FREQUENCY in chosen:
        clock = _clock_knob(facts, limits, present, knob == "voltage", ceiling_mhz, beyond_factory)
        if clock is not None:
            knobs.append(clock)
    if not knobs:
        why = "; ".join(f"{s}: {text}" for s, text in able.cannot.items())
        raise UserError(f"nothing can be moved on this device that would hold a temperature ({why})")
    return Actuator(knobs)


def _clock_knob(
    facts: SentinelFacts,
    limits: Limits,
    present: OperatingPoint,
    with_voltage: bool,
    ceiling_mhz: float | None,
    beyond_factory: bool,
) -> ClockKnob | None:
    bound = limits.bounds[Setting.FREQUENCY]
    top = present.frequency_mhz if ceiling_mhz is None else ceiling_mhz
    assert top is not None
    if not bound.low <= top <= bound.high:
        raise UserError(f"ceiling={top:g} is outside the hard limits {bound.low:g} .. {bound.high:g} MHz")
    low = bound.low if beyond_factory else min(bound.factory)
    if facts.step_mhz is None:
        clocks = [f for f in bound.factory if low <= f <= top]
    else:
        steps = np.arange(np.ceil(low / facts.step_mhz), np.floor(top / facts.step_mhz) + 1)
        clocks = [float(n) * facts.step_mhz for n in steps]
    clocks = sorted({*clocks, top}, reverse=True)
    if len(clocks) < 2:
        return None
    volts: tuple[float, ...] = ()
    if with_voltage:
        volts = _volts(facts, limits, present, clocks)
    return ClockKnob(tuple(clocks), facts.cooling_per_mhz, volts)


def _volts(
    facts: SentinelFacts, limits: Limits, present: OperatingPoint, clocks: list[float]
) -> tuple[float, ...]:
    """The smallest voltage of the menu at which the vendor offers each clock, never above the present one."""
    offered = sorted(limits.bounds[Setting.CORE_VOLTAGE].factory)
    top = present.core_voltage_mv
    assert top is not None
    if not facts.volts_mv:
        raise UserError("knob=voltage: it is not known which voltage a clock of this model needs")
    mhz, mv = zip(*facts.volts_mv, strict=True)
    needed = [float(np.interp(clock, mhz, mv)) for clock in clocks]
    return tuple(min(top, next((v for v in offered if v >= n - 0.5), top)) for n in needed)


def clock_for_voltage(model: str, voltage_mv: float) -> float | None:
    """Fastest clock that the vendor's menu goes with a voltage, None where that is not known."""
    facts = FACTS.get(model)
    if facts is None or not facts.volts_mv:
        return None
    mhz, mv = zip(*facts.volts_mv, strict=True)
    slope = (mhz[-1] - mhz[0]) / (mv[-1] - mv[0])
    return float(mhz[0] + slope * (voltage_mv - mv[0]))
