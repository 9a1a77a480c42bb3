"""What the Sentinel knows of each model: trip points, safe points, how much each knob cools, and the tuning.

Nobody has published a thermal model of these miners. The cooling of the knobs and the tuning are those of the
emulator's thermal model, whose time constants are assumed; a loop that is right there stays stable where a real device
answers half or twice as strongly (tested). Trip and safe points need no such model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from firmware_bridge.devices.device import Device
from firmware_bridge.devices.settings import OperatingPoint, Setting
from firmware_bridge.errors import UserError
from firmware_bridge.sentinel.limits import Pace, TripFacts
from firmware_bridge.sentinel.pid import Gains


@dataclass(frozen=True)
class SentinelFacts:
    """One model.

    Attributes:
        trip_c: reading at which it is brought to its safe point, below ``Limits.max_temperature_c``.
        horizon_s: how far ahead the slope is followed.
        clear_c: reading below which it counts as cool.
        jump_c: how much its die may jump when hashing starts or stops.
        safe: safe points, the best first; the first one whose settings the firmware has is taken.
        fan_cooling: fan in per cent to cooling in °C against the smallest one, ascending.
        cooling_per_mhz: by how many °C a MHz less cools.
        step_mhz: of the clock; None where only the factory's values are taken.
        plan_cooling: power plan to cooling in °C against the first one.
        volts_mv: core voltage at which the vendor's menu offers a clock, (MHz, mV), ascending; empty where unknown.
        gains: of a loop over settings that act at once, by the first one that it moves.
        pace: of each setting.
        source: where these figures come from.
    """

    trip_c: float
    horizon_s: float
    clear_c: float
    jump_c: float
    safe: tuple[OperatingPoint, ...]
    fan_cooling: tuple[tuple[float, float], ...]
    cooling_per_mhz: float
    step_mhz: float | None
    plan_cooling: Mapping[str, float]
    volts_mv: tuple[tuple[float, float], ...]
    gains: Mapping[Setting, Gains]
    pace: Mapping[Setting, Pace] = field(default_factory=dict)
    source: str = ""

    def trip(self, limit_c: float, wanted_limit_c: float | None = None) -> TripFacts:
        """Trip facts under the model's hard limit, or under a tighter one of the user's.

        Raises:
            UserError: if the user's limit is above the model's, or too low to work under.
        """
        if wanted_limit_c is None:
            return TripFacts(limit_c, self.trip_c, self.horizon_s, self.clear_c)
        if wanted_limit_c > limit_c:
            raise UserError(f"limit={wanted_limit_c:g} is above this model's hard limit of {limit_c:g} °C")
        margin, clear = limit_c - self.trip_c, self.trip_c - self.clear_c
        trip_c = wanted_limit_c - margin
        if trip_c - clear < LOWEST_CLEAR_C:
            raise UserError(
                f"limit={wanted_limit_c:g} leaves no room: this model is tripped {margin:g} °C below its limit and "
                f"counts as cool {clear:g} °C below that"
            )
        return TripFacts(wanted_limit_c, trip_c, self.horizon_s, trip_c - clear)


LOWEST_CLEAR_C = 30.0
TARGET_BELOW_TRIP_C = 3.0
"""A target nearer to the trip point would trip by its own ripple."""

SLOW_EVERY_S = 600.0
"""Between two changes of a setting that needs a restart: a restart costs a minute of hashing."""
PLAN_EVERY_S = 600.0

_FAN_GAINS = Gains(kp=1.0, ki=0.025, kd=2.0, filter_s=9.0, setpoint_weight=0.6, track_s=12.0, dead_zone=0.3)
# the die follows the clock within a second, so a high gain would chase its own steps
_CLOCK_GAINS = Gains(kp=0.5, ki=0.015, filter_s=9.0, setpoint_weight=0.6, track_s=12.0, dead_zone=0.3)
_LIVE = {
    Setting.FAN: Pace(every_s=9.0, deadband=0.5),
    Setting.FREQUENCY: Pace(every_s=30.0, deadband=0.5),
}
"""Deadbands in °C of cooling: about the noise of a reading, so that noise alone moves nothing."""

FACTS: dict[str, SentinelFacts] = {
    "s9": SentinelFacts(
        trip_c=105.0,
        horizon_s=15.0,
        clear_c=90.0,
        jump_c=25.0,
        # with dead fans 100 MHz still heat an S9 past its limit, so what stops the hashing comes first
        safe=(OperatingPoint(power_plan="sleep"), OperatingPoint(frequency_mhz=100.0)),
        fan_cooling=(),
        cooling_per_mhz=0.032,
        step_mhz=None,
        plan_cooling={},
        volts_mv=(),
        gains={},
        pace={Setting.FREQUENCY: Pace(every_s=SLOW_EVERY_S, deadband=0.35, most=1.0)},
        source="limits: hardware.md §2, §3; cooling: the emulator's thermal model",
    ),
    "lv06": SentinelFacts(
        trip_c=70.0,
        horizon_s=9.0,
        clear_c=62.0,
        jump_c=14.0,
        safe=(
            OperatingPoint(frequency_mhz=56.25, core_voltage_mv=1000.0, fan_percent=100.0),
            OperatingPoint(frequency_mhz=56.25, core_voltage_mv=1000.0),
        ),
        fan_cooling=(
            (25.0, 0.0), (30.0, 5.6), (35.0, 9.9), (40.0, 13.3), (50.0, 18.5), (60.0, 22.2), (70.0, 25.1),
            (85.0, 28.3), (100.0, 30.7),
        ),
        cooling_per_mhz=0.055,
        step_mhz=5.0,
        plan_cooling={},
        volts_mv=((400.0, 1100.0), (575.0, 1200.0)),
        gains={Setting.FAN: _FAN_GAINS, Setting.FREQUENCY: _CLOCK_GAINS},
        pace=_LIVE,
        source="limits: hardware.md §1.7, §4.2; cooling: the emulator's thermal model",
    ),
    "lb-box": SentinelFacts(
        trip_c=85.0,
        horizon_s=15.0,
        clear_c=72.0,
        jump_c=20.0,
        safe=(OperatingPoint(power_plan="sleep"), OperatingPoint(power_plan="low power")),
        fan_cooling=(),
        cooling_per_mhz=0.0,
        step_mhz=None,
        plan_cooling={"normal": 0.0, "low power": 5.0},
        volts_mv=(),
        gains={},
        pace={Setting.POWER_PLAN: Pace(every_s=PLAN_EVERY_S, deadband=0.0)},
        source="plans: hardware.md §5.1; cooling: the emulator's thermal model",
    ),
    "bm1366": SentinelFacts(
        trip_c=70.0,
        horizon_s=9.0,
        clear_c=62.0,
        jump_c=14.0,
        safe=(OperatingPoint(frequency_mhz=56.25),),
        fan_cooling=(),
        cooling_per_mhz=0.034,
        step_mhz=6.25,
        plan_cooling={},
        volts_mv=(),
        gains={Setting.FAN: _FAN_GAINS, Setting.FREQUENCY: _CLOCK_GAINS},
        pace=_LIVE,
        source="limits: hardware.md §1.7; cooling: the emulator's thermal model",
    ),
}  # fmt: skip


def facts_of(device: Device) -> SentinelFacts:
    """Facts of a device's model.

    Raises:
        UserError: if there are none: then nothing is known of what is safe for it.
    """
    facts = FACTS.get(device.name)
    if facts is None:
        known = ", ".join(sorted(FACTS))
        raise UserError(
            f"{device.address}: the Sentinel knows no limits and no safe point of a {device.name}; it knows {known}"
        )
    return facts


def table() -> list[dict[str, Any]]:
    """Every model's line, for the documentation and the report."""
    return [
        {
            "model": name,
            "trip_c": f.trip_c,
            "clear_c": f.clear_c,
            "horizon_s": f.horizon_s,
            "safe": [p.given() for p in f.safe],
            "source": f.source,
        }
        for name, f in FACTS.items()
    ]
