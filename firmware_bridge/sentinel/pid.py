"""A discrete PID controller for irregular samples: derivative of the filtered measurement, anti-windup, bumpless start.

``u = Kp (b r - y) + I + D`` with ``dI/dt = Ki (r - y) + (v - u) / Tt``, where ``v`` is what the actuator really did
(back-calculation, Åström & Hägglund 2006, *Advanced PID Control*, §3.5), ``y`` the measurement behind a first-order
filter, and ``D`` its derivative. ``direction`` -1 is a cooler: a warmer measurement asks for more output.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Gains:
    """Tuning.

    Attributes:
        kp: output per unit of error.
        ki: output per unit of error and second.
        kd: output per unit of measurement per second.
        filter_s: time constant of the filter of the measurement, 0 for none.
        setpoint_weight: b, how much of a step of the set point goes through Kp at once.
        track_s: Tt, time constant with which the integral follows an actuator that did something else.
        dead_zone: error that the integral takes for none, so that an actuator with steps comes to rest.
    """

    kp: float
    ki: float
    kd: float = 0.0
    filter_s: float = 0.0
    setpoint_weight: float = 1.0
    track_s: float = 10.0
    dead_zone: float = 0.0

    def __post_init__(self) -> None:
        if (
            min(self.kp, self.ki, self.kd, self.filter_s, self.setpoint_weight, self.dead_zone) < 0
            or self.track_s <= 0
        ):
            raise ValueError("gains are >= 0, and track_s is above 0")

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


class Pid:
    """One loop.

    Args:
        gains: tuning.
        low: smallest output.
        high: largest output.
        slew_per_s: fastest change of the output, None for no limit.
        direction: 1 where more output raises the measurement, -1 where it lowers it.
    """

    def __init__(
        self,
        gains: Gains,
        low: float,
        high: float,
        *,
        slew_per_s: float | None = None,
        direction: Literal[1, -1] = 1,
    ) -> None:
        if not low < high:
            raise ValueError(f"the output needs a range, not {low} to {high}")
        self.gains = gains
        self.low, self.high = low, high
        self.slew_per_s = slew_per_s
        self.direction = direction
        self.output = low
        self._integral = 0.0
        self._filtered: float | None = None
        self._then_s: float | None = None
        self._wanted = low

    def start(self, output: float, measurement: float, setpoint: float, now_s: float) -> None:
        """Begin at the output in force: the first :meth:`update` changes it only by what happens from now on."""
        g, d = self.gains, self.direction
        self.output = self._wanted = min(self.high, max(self.low, output))
        self._integral = self.output - d * g.kp * (g.setpoint_weight * setpoint - measurement)
        self._filtered, self._then_s = measurement, now_s

    def track(self, output: float) -> None:
        """Say which output is really in force, where the actuator has steps or did not follow."""
        self.output = output

    def update(self, measurement: float, setpoint: float, now_s: float) -> float:
        """Next output.

        Args:
            measurement: as read, finite.
            setpoint: wanted.
            now_s: time of the reading; not before that of the last one.

        Raises:
            ValueError: if the measurement is no number, or time went back.
        """
        if not (math.isfinite(measurement) and math.isfinite(setpoint)):
            raise ValueError(f"measurement {measurement} and set point {setpoint} are numbers")
        if self._then_s is None or self._filtered is None:
            self.start(self.output, measurement, setpoint, now_s)
            return self.output
        dt = now_s - self._then_s
        if dt < 0:
            raise ValueError(f"time went back by {-dt} s")
        if dt == 0:
            return self.output
        self._then_s = now_s
        g, d = self.gains, self.direction
        keep = math.exp(-dt / g.filter_s) if g.filter_s > 0 else 0.0
        before = self._filtered
        self._filtered = measurement + (before - measurement) * keep
        # what the actuator did instead of what was wanted flows back into the integral
        self._integral += (self.output - self._wanted) * min(1.0, dt / g.track_s)
        error = setpoint - self._filtered
        error -= min(g.dead_zone, max(-g.dead_zone, error))
        self._integral += d * g.ki * error * dt
        self._wanted = (
            d * g.kp * (g.setpoint_weight * setpoint - self._filtered)
            + self._integral
            - d * g.kd * (self._filtered - before) / dt
        )
        low, high = self.low, self.high
        if self.slew_per_s is not None:
            most = self.slew_per_s * dt
            low, high = max(low, self.output - most), min(high, self.output + most)
        self.output = min(high, max(low, self._wanted))
        return self.output
