"""What a hold wishes, and when its wish does not count: a chip that hangs, a core voltage that sags."""

from __future__ import annotations

import math
from typing import Protocol

from firmware_bridge.devices.device import Device
from firmware_bridge.devices.settings import OperatingPoint, Setting
from firmware_bridge.devices.telemetry import Telemetry
from firmware_bridge.sentinel.actuators import clock_for_voltage
from firmware_bridge.sentinel.hold import Hold
from firmware_bridge.sentinel.models import SentinelFacts

HUNG_SHARE = 0.05
"""Part of the usual hash rate below which nothing is steered: a chip that hangs is cool for the wrong reason."""
SAG_SHARE = 0.03
"""Droop of the core voltage from which the clock is held down."""


class Say(Protocol):
    """Writes an event."""

    def __call__(self, kind: str, severity: str, **detail: object) -> None:
        """Write it."""


class Steering:
    """Turns readings into changes.

    Args:
        device: for its name and limits; nothing is asked of it.
        facts: of its model.
        hold: what keeps the temperature.
        say: where events go.
    """

    def __init__(self, device: Device, facts: SentinelFacts, hold: Hold, say: Say) -> None:
        self._device, self._facts, self._hold, self._say = device, facts, hold, say
        self._started = self._hung = False
        self._usual_rate: float | None = None
        self._derated_mhz: float | None = None

    def wish(
        self, reading: Telemetry, temperature_c: float, present: OperatingPoint, now_s: float
    ) -> tuple[OperatingPoint, str] | None:
        """Settings to change now and why, None for none.

        Args:
            reading: all that the device told.
            temperature_c: of it, believed.
            present: settings in force.
            now_s: time of the reading.
        """
        hung = self._hangs(reading)
        if not self._started or (self._hung and not hung):
            self._started = True
            self._hold.start(present, temperature_c, now_s)
        self._hung = hung
        if hung:
            return None
        point = self._hold.update(temperature_c, now_s)
        reason = f"hold {self._hold.target_c:g} °C: {temperature_c:.1f} °C"
        sag = self._sag(reading, present)
        if sag is not None:
            point, reason = (
                sag,
                f"the core voltage sags to {reading.core_voltage_mv:g} mV: the clock that goes with it",
            )
        elif self._derated_mhz is not None and point is not None and point.frequency_mhz is not None:
            held = min(point.frequency_mhz, self._derated_mhz)
            point = OperatingPoint(held, point.core_voltage_mv, point.fan_percent, point.power_plan)
        if point is None or all(v == getattr(present, s.value) for s, v in point.given().items()):
            return None
        return point, reason

    def _hangs(self, reading: Telemetry) -> bool:
        """Whether nothing is hashed though it should be: then the temperature says nothing about the settings."""
        rate, clock = reading.hash_rate_ghs, reading.frequency_mhz
        if rate is None or not clock:
            return False
        per_mhz = rate / clock
        if self._usual_rate is None or per_mhz > self._usual_rate:
            self._usual_rate = per_mhz
        hangs = per_mhz < HUNG_SHARE * self._usual_rate
        if hangs and not self._hung:
            self._say(
                "sentinel-hangs", "error", text="it hashes nothing; nothing is steered until it does again"
            )
        return hangs

    def _sag(self, reading: Telemetry, present: OperatingPoint) -> OperatingPoint | None:
        """A slower clock, where the core voltage arrives lower than it is set and the clock is ours to move."""
        volts, asked, clock = reading.core_voltage_mv, present.core_voltage_mv, present.frequency_mhz
        if volts is None or asked is None or clock is None or Setting.FREQUENCY not in self._hold.settings:
            return None
        if volts >= (1.0 - SAG_SHARE) * asked:
            self._derated_mhz = None
            return None
        most = clock_for_voltage(self._device.name, volts)
        if most is None:
            return None
        bound = self._device.limits.bounds[Setting.FREQUENCY]
        step = self._facts.step_mhz or 1.0
        most = max(min(bound.factory), math.floor(most / step) * step)
        if self._derated_mhz is None or most < self._derated_mhz:
            self._derated_mhz = most
        return OperatingPoint(frequency_mhz=self._derated_mhz) if clock > self._derated_mhz else None
