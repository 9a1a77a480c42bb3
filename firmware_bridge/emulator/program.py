"""A programme of operating points for a virtual run: voltage sweeps, load steps, a warmer room, with known truth.

Each step holds a point for a while. The body of the miner (:mod:`thermal`) follows it; its temperature, its power and
the share of wrong hashes then make the shares of that time. So a sweep towards the critical voltage, a slow thermal
memory or a hang can be rehearsed before any hardware is risked, and what an analysis finds can be held against what is
known to be there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from firmware_bridge.emulator.electrical import critical_voltage_mv
from firmware_bridge.emulator.faults import Body
from firmware_bridge.emulator.thermal import AMBIENT_C, FACTS, Thermal
from firmware_bridge.errors import UserError

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Step:
    """A stretch of a programme; None leaves a value as it was in the step before.

    Attributes:
        seconds: how long, virtual time.
        frequency_mhz: clock.
        core_voltage_mv: core voltage.
        fan_percent: what the fan is told; the automatic fan until a step says so.
        ambient_c: of the room.
    """

    seconds: float
    frequency_mhz: float | None = None
    core_voltage_mv: float | None = None
    fan_percent: float | None = None
    ambient_c: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.seconds < math.inf:
            raise UserError(f"a step lasts more than 0 s, not {self.seconds!r}")
        bounds = {
            "frequency_mhz": (1.0, 5000.0),
            "core_voltage_mv": (1.0, 50_000.0),
            "fan_percent": (0.0, 100.0),
            "ambient_c": (-40.0, 80.0),
        }
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise UserError(f"a step's {name} lies in {low:g} .. {high:g}, not {value!r}")

    def given(self) -> dict[str, float]:
        """What the step sets."""
        return {k: v for k, v in asdict(self).items() if k != "seconds" and v is not None}


def parse_step(text: str) -> Step:
    """A step of ``SECONDS[,NAME=VALUE…]``.

    Raises:
        UserError: if it is not of this form.
    """
    first, *rest = text.split(",")
    names = [field.name for field in fields(Step) if field.name != "seconds"]
    try:
        values = {"seconds": float(first)}
        for item in rest:
            name, sign, number = item.partition("=")
            if not sign or name.strip() not in names:
                raise UserError(
                    f"--step {text!r}: {item!r} is none of {', '.join(f'{n}=VALUE' for n in names)}"
                )
            values[name.strip()] = float(number)
    except ValueError:
        raise UserError(
            f"--step {text!r}: write SECONDS,NAME=VALUE, for example 600,core_voltage_mv=1100"
        ) from None
    return Step(**values)


def resolved(model: str, steps: Iterable[Step]) -> list[Step]:
    """The steps with every value filled in, the nominal point first; the fan stays None while it is automatic."""
    facts = FACTS[model]
    before = Step(1.0, facts.frequency_mhz, facts.core_voltage_mv, None, AMBIENT_C)
    whole = []
    for step in steps:
        before = replace(before, seconds=step.seconds, **step.given())
        whole.append(before)
    return whole


@dataclass(frozen=True)
class Course:
    """What the body of a miner did in one step: one value per reading, ``period_s`` apart from the step's start.

    Attributes:
        step: with every value filled in.
        temperature_c: of the hottest chip, true.
        sensed_c: the same as its sensor tells.
        board_c: of the board, as its sensor tells.
        power_w: of the device.
        fan_rpm: of its fan.
        fan_percent: what the fan was told.
        wrong: share of the hashes that are wrong until the next reading; 1 while the chip hangs.
        critical_mv: voltage at which the chip would hang, at that reading's temperature.
    """

    step: Step
    temperature_c: F64
    sensed_c: F64
    board_c: F64
    power_w: F64
    fan_rpm: F64
    fan_percent: F64
    wrong: F64
    critical_mv: F64


def courses(
    model: str, steps: Sequence[Step], period_s: float, wander_c: F64, rng: np.random.Generator
) -> list[Course]:
    """Let a miner that has run for long at its nominal point go through a programme.

    Args:
        model: of the miner.
        steps: of the programme.
        period_s: between two readings.
        wander_c: slow change of the room's temperature, one value per reading, as many as there are at least.
        rng: noise of the sensor.

    Raises:
        UserError: if the model has no body.
    """
    if model not in FACTS:
        raise UserError(f"there is no thermal model of {model!r}; there is one of {', '.join(FACTS)}")
    heat = Thermal(FACTS[model], 0)
    body = Body(heat, rng)
    now_ns, reading, done = 0, 0, []
    for step in resolved(model, steps):
        heat.frequency_mhz = float(step.frequency_mhz or 0.0)
        heat.core_voltage_mv = float(step.core_voltage_mv or 0.0)
        heat.fan_override_percent = step.fan_percent
        heat.restart()  # a chip that hangs is started again by the change of its point
        rows = []
        left_s = step.seconds
        while left_s > 0:
            heat.ambient_c = float(step.ambient_c or 0.0) + float(wander_c[min(reading, wander_c.size - 1)])
            sensed = body.sensed() or (math.nan, math.nan)
            before = (heat.hashed_s, heat.wrong_s)
            row = [heat.temperature_c, *sensed, heat.power_w, heat.fan_rpm, heat.fan_percent]
            critical = critical_voltage_mv(
                heat.facts.electrical, heat.facts.temperature_c, heat.frequency_mhz, heat.temperature_c
            )
            passed_s = min(period_s, left_s)
            now_ns += round(passed_s * 1e9)
            heat.advance(now_ns)
            whole = passed_s * heat.frequency_mhz / heat.facts.frequency_mhz
            right = (heat.hashed_s - before[0]) / whole
            rows.append([*row, min(1.0, max(0.0, 1.0 - right)), critical])
            left_s -= passed_s
            reading += 1
        columns = np.array(rows, dtype=np.float64).T
        done.append(Course(step, *columns))
    return done


def truth(model: str, steps: Sequence[Step]) -> dict[str, Any]:
    """What a run stores of its programme and of the body that followed it."""
    facts = FACTS[model]
    heat = {k: v for k, v in asdict(facts).items() if k != "electrical"}
    return {
        "program": [asdict(step) for step in resolved(model, steps)],
        "body": heat,  # not "thermal": that is a switch of the physics, which the same record holds
        "electrical": facts.electrical.to_json(),
    }
