"""What can go wrong with an emulated miner's body: its sensor, its fan, its room and its supply."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from firmware_bridge.emulator.thermal import Thermal
from firmware_bridge.errors import UserError

SENSOR_NOISE_C = 0.1
"""Standard deviation of one reading; assumed."""


@dataclass
class Faults:
    """Faults in force; each may be set and cleared at any time.

    Attributes:
        sensor_stuck: the temperature sensor repeats its last reading.
        sensor_lost: it gives none.
        fan_failed: the fan stands still whatever it is told.
        ambient_step_c: by how much warmer the room is than at the start.
        voltage_droop_mv: by how much less than set arrives at the chips.
    """

    sensor_stuck: bool = False
    sensor_lost: bool = False
    fan_failed: bool = False
    ambient_step_c: float = 0.0
    voltage_droop_mv: float = 0.0

    @classmethod
    def taken(cls, options: Mapping[str, Any]) -> tuple[Faults, dict[str, Any]]:
        """Faults named among the options of a device, and the options that are left.

        Raises:
            UserError: if a number is none.
        """
        rest = dict(options)
        given: dict[str, Any] = {}
        for field in fields(cls):
            if field.name not in rest:
                continue
            value = rest.pop(field.name)
            switch = isinstance(field.default, bool)
            if switch is not isinstance(value, bool) or not (switch or _finite(value)):
                kind = "is on or off" if switch else "is a number"
                raise UserError(f"--fault {field.name}={value}: it {kind}")
            given[field.name] = value if switch else float(value)
        return cls(**given), rest


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


class Body:
    """A miner's heat with its faults, as its own sensor sees it.

    Args:
        thermal: the heat.
        rng: noise of the sensor; None for one without.

    Attributes:
        faults: in force.
    """

    def __init__(self, thermal: Thermal, rng: np.random.Generator | None = None) -> None:
        self.thermal = thermal
        self.faults = Faults()
        self._rng = rng
        self._room_c = thermal.ambient_c
        self._stuck: tuple[float, float] | None = None

    def advance(self, now_ns: int) -> None:
        """Put the faults in force, and let the heat flow until now."""
        heat, faults = self.thermal, self.faults
        heat.fan_failed = faults.fan_failed
        heat.ambient_c = self._room_c + faults.ambient_step_c
        heat.droop_mv = faults.voltage_droop_mv
        heat.advance(now_ns)

    def sensed(self) -> tuple[float, float] | None:
        """Temperature of the hottest chip and of the board in °C, as the sensors tell; None where they are lost."""
        if self.faults.sensor_lost:
            return None
        if self.faults.sensor_stuck and self._stuck is not None:
            return self._stuck
        noise = np.zeros(2) if self._rng is None else SENSOR_NOISE_C * self._rng.standard_normal(2)
        seen = (
            float(self.thermal.temperature_c + noise[0]),
            float(self.thermal.board_temperature_c + noise[1]),
        )
        self._stuck = seen
        return seen
