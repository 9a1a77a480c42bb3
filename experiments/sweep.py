"""Walk a device through operating points, measure at each, and bring it back whatever happens."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from firmware_bridge.devices.device import Device
from firmware_bridge.devices.settings import Applied, OperatingPoint
from firmware_bridge.devices.telemetry import Telemetry
from firmware_bridge.errors import LimitError

POLL_S = 3.0
"""Time between two readings while a device stays at a point."""


@dataclass(frozen=True)
class Step:
    """One operating point of a sweep.

    Attributes:
        number: from 0.
        applied: what was asked, reported and measured.
        readings: telemetry taken while the device stayed there.
    """

    number: int
    applied: Applied
    readings: tuple[Telemetry, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain data; the raw payloads are left out."""
        readings = [{k: v for k, v in r.to_json().items() if k != "raw"} for r in self.readings]
        return {"step": self.number, **self.applied.to_json(), "readings": readings}


def grid(frequencies_mhz: Sequence[float], voltages_mv: Sequence[float]) -> list[OperatingPoint]:
    """Every combination, voltage by voltage; an empty list leaves that setting as it is."""
    return [
        OperatingPoint(frequency_mhz=f, core_voltage_mv=v)
        for v, f in itertools.product(voltages_mv or (None,), frequencies_mhz or (None,))
    ]


async def sweep(
    device: Device,
    points: Sequence[OperatingPoint],
    *,
    dwell_s: float,
    beyond_factory: bool = False,
    on_step: Callable[[Step], None] = lambda step: None,
) -> list[Step]:
    """Set each point in turn, stay there, read telemetry, and restore the device at the end.

    The device is restored as well after an error and after a cancellation, which is how Ctrl-C and SIGTERM arrive here.

    Args:
        device: open.
        points: checked against the hard limits, all of them, before the first is set.
        dwell_s: how long to stay at each.
        beyond_factory: whether the user has agreed to values outside the factory's table.
        on_step: called after each point.

    Raises:
        LimitError: if a point is outside the limits, or the chip gets too hot.
        DeviceError: if the device does not answer.
    """
    for point in points:
        device.limits.check(device.name, point, beyond_factory=beyond_factory)
    steps: list[Step] = []
    try:
        for number, point in enumerate(points):
            applied = await device.apply(point, beyond_factory=beyond_factory)
            readings = [await _reading(device)]
            left_s = dwell_s
            while left_s > 0:
                pause_s = min(POLL_S, left_s)
                await device.sleep(pause_s)
                left_s -= pause_s
                readings.append(await _reading(device))
            steps.append(Step(number, applied, tuple(readings)))
            on_step(steps[-1])
    finally:
        await device.restore()
    return steps


async def _reading(device: Device) -> Telemetry:
    reading = await device.read_telemetry()
    hot_c, limit_c = reading.temperature_c, device.limits.max_temperature_c
    if hot_c is not None and hot_c >= limit_c:
        raise LimitError(
            f"{device.address}: the chip reached {hot_c:g} °C, the limit of this model is {limit_c:g} °C; the sweep "
            "ends here and the settings from before are restored"
        )
    return reading
