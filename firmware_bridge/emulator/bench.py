"""An emulated miner on a table, in virtual time: its body behind the lab's own device interface, without a network.

What steers or watches a real miner runs here unchanged, thousands of times faster, and can be told what is true: the
temperature that no sensor shows, and which fault was planted. Limits and settings are those of the model's driver.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import numpy as np

from firmware_bridge.clock import VirtualClock
from firmware_bridge.devices import antminer_s9, axeos_chips, bm1366, goldshell_lb_box, s9_fields
from firmware_bridge.devices.device import Capabilities, Capability, Device
from firmware_bridge.devices.settings import Limits, OperatingPoint, OriginalSettings, Reading, Setting
from firmware_bridge.devices.telemetry import Identity, Telemetry
from firmware_bridge.emulator.faults import Body, Faults
from firmware_bridge.emulator.lb_box_api import PLAN_MHZ
from firmware_bridge.emulator.machine import Machine
from firmware_bridge.emulator.thermal import AMBIENT_C
from firmware_bridge.errors import DeviceError, UserError


@dataclass(frozen=True, slots=True)
class BenchModel:
    """How one model is set and read.

    Attributes:
        make: who made it.
        title: its model.
        limits: hard limits, of its driver.
        sets: settings that it has.
        cannot: the others, and why.
        restart_s: how long a change takes it away, 0 where it is taken up at once.
        ghs_per_mhz: hash rate per MHz.
        resolution_c: step of its temperature reading.
        board_sensor: whether it shows a second temperature.
        shows_power: whether it tells its power.
        shows_voltage: whether it tells its core voltage as measured.
        fan_shown: whether it tells how its fan turns.
        outer_sensor: whether the temperature is that of a sensor beside it, since it tells none itself.
    """

    make: str
    title: str
    limits: Limits
    sets: tuple[Setting, ...]
    cannot: dict[Setting, str]
    restart_s: float
    ghs_per_mhz: float
    resolution_c: float
    board_sensor: bool
    shows_power: bool
    shows_voltage: bool
    fan_shown: bool
    outer_sensor: bool = False


MODELS = {
    "s9": BenchModel(
        "Bitmain", "Antminer S9", s9_fields.LIMITS, (Setting.FREQUENCY, Setting.POWER_PLAN),
        {Setting.CORE_VOLTAGE: antminer_s9.NO_VOLTAGE, Setting.FAN: antminer_s9.NO_FAN}, 45.0,
        s9_fields.GHS_PER_MHZ_AND_BOARD * s9_fields.BOARDS, 1.0, True, False, False, True,
    ),
    "lv06": BenchModel(
        "Lucky Miner", "LV06", axeos_chips.LIMITS,
        (Setting.FREQUENCY, Setting.CORE_VOLTAGE, Setting.FAN), {}, 0.0,
        axeos_chips.CHIPS["BM1366"].small_cores / 1e3, 0.1, False, True, True, True,
    ),
    "lb-box": BenchModel(
        "Goldshell", "LB-Box", goldshell_lb_box.LIMITS, (Setting.POWER_PLAN,),
        {Setting.FREQUENCY: goldshell_lb_box.FIXED, Setting.CORE_VOLTAGE: goldshell_lb_box.FIXED}, 0.0,
        175.0 / 850.0, 0.1, True, False, True, True,
    ),
    "bm1366": BenchModel(
        "Bitmain", "BM1366", bm1366.LIMITS, (Setting.FREQUENCY,),
        {Setting.CORE_VOLTAGE: bm1366.NO_VOLTAGE, Setting.FAN: bm1366.NO_FAN}, 0.0,
        axeos_chips.CHIPS["BM1366"].small_cores / 1e3, 0.1, False, False, False, False, outer_sensor=True,
    ),
}  # fmt: skip
"""The LV06 is one with a firmware that takes settings up at once and leaves its fan to the lab."""

PLANS = {"normal": 0, "low power": 1, "sleep": 2}
"""Plan to its number in ``PLAN_MHZ``; an S9 has the first and the last of them: its bmminer runs, or is stopped."""


class Bench:
    """One emulated miner with its virtual clock.

    Args:
        model: ``s9``, ``lv06``, ``lb-box`` or ``bm1366``.
        rng: noise of its sensor and of its reported rate.
        ambient_c: of the room at the start.
        originals: where its driver remembers the settings from before; plain memory by default.

    Raises:
        UserError: if there is no such model.
    """

    def __init__(
        self,
        model: str,
        rng: np.random.Generator,
        *,
        ambient_c: float = AMBIENT_C,
        originals: OriginalSettings | None = None,
    ) -> None:
        if model not in MODELS:
            raise UserError(f"there is no bench for {model!r}; there is one for {', '.join(MODELS)}")
        self.model = model
        self.facts = MODELS[model]
        self.clock = VirtualClock()
        sensor, chance = rng.spawn(2)
        self.machine = Machine(model, self.facts.ghs_per_mhz, self.clock, chance)
        self.thermal = self.machine.thermal
        self.thermal.ambient_c = ambient_c
        self.machine.body = Body(self.thermal, sensor)
        self.plan = "normal" if Setting.POWER_PLAN in self.facts.sets else None
        self.away_until_ns = 0
        driver = type("BenchDevice", (_BenchDevice,), {"name": model, "limits": self.facts.limits})
        self.device: Device = driver(self, originals)

    @property
    def faults(self) -> Faults:
        """In force; settable at any time."""
        return self.machine.faults

    @property
    def away(self) -> bool:
        """Whether it is starting again and does not answer."""
        return self.clock.monotonic_ns() < self.away_until_ns

    async def sleep(self, seconds: float) -> None:
        """Let virtual time pass."""
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Let virtual time pass."""
        goal_ns = self.clock.monotonic_ns() + max(0, round(seconds * 1e9))
        if self.clock.monotonic_ns() < self.away_until_ns <= goal_ns:
            self.clock.advance_to(self.away_until_ns)
            self.machine.advance()
            self.machine.start()
        self.clock.advance_to(goal_ns)
        self.machine.advance()

    def restart(self) -> None:
        """Start again with the stored settings: away for as long as the model is, a second at least."""
        self.machine.stop()
        self.away_until_ns = self.clock.monotonic_ns() + round(max(1.0, self.facts.restart_s) * 1e9)


class _BenchDevice(Device):
    """The driver of a bench."""

    work: ClassVar[Literal["stratum", "serial"]] = "stratum"

    def __init__(self, bench: Bench, originals: OriginalSettings | None) -> None:
        super().__init__(f"bench://{bench.model}", clock=bench.clock, sleep=bench.sleep, originals=originals)
        self._bench = bench

    def _answering(self) -> Machine:
        if self._bench.away:
            raise DeviceError(f"{self.address}: it does not answer while it starts again")
        self._bench.machine.advance()
        return self._bench.machine

    def _talking(self) -> Machine:
        """The miner's own program, which an S9 that sleeps does not run."""
        machine = self._answering()
        if self._bench.model == "s9" and self._bench.plan == "sleep":
            raise DeviceError(f"{self.address}: its miner is stopped")
        return machine

    async def identify(self) -> Identity:
        self._answering()
        facts = self._bench.facts
        return Identity(make=facts.make, model=facts.title, firmware="bench")

    async def capabilities(self) -> Capabilities:
        facts = self._bench.facts
        reads = {name for name, value in self._reading().items() if value is not None}
        restarts = facts.restart_s > 0
        return Capabilities(
            frozenset(reads),
            tuple(Capability(s, restarts, "the state of the bench") for s in facts.sets),
            MappingProxyType(
                {
                    s: facts.cannot.get(s, "this model has no such setting")
                    for s in Setting
                    if s not in facts.sets
                }
            ),
        )

    def _reading(self) -> dict[str, Any]:
        machine, facts = self._bench.machine, self._bench.facts
        heat = machine.thermal
        chip_c, board_c = machine.sensed_c()

        def rounded(value: float | None) -> float | None:
            return None if value is None else round(value / facts.resolution_c) * facts.resolution_c

        return {
            "temperature_c": rounded(chip_c),
            "board_temperature_c": rounded(board_c) if facts.board_sensor else None,
            "core_voltage_mv": round(heat.voltage_mv) if facts.shows_voltage else None,
            "frequency_mhz": heat.frequency_mhz,
            "power_w": round(heat.power_w, 2) if facts.shows_power else None,
            "fan_rpm": round(heat.fan_rpm) if facts.fan_shown else None,
            "fan_percent": heat.fan_percent if Setting.FAN in facts.sets else None,
            "hash_rate_ghs": machine.reported_rate_ghs(),
            "hardware_errors": machine.hardware_errors,
            "uptime_s": machine.uptime_s,
        }

    async def read_telemetry(self) -> Telemetry:
        self._talking()
        return Telemetry(self.clock.wall_ns(), self.clock.monotonic_ns(), **self._reading())

    async def read_point(self) -> OperatingPoint:
        machine, sets = self._answering(), self._bench.facts.sets
        stored = machine.stored
        automatic = stored.fan_percent is None
        return OperatingPoint(
            frequency_mhz=stored.frequency_mhz if Setting.FREQUENCY in sets else None,
            core_voltage_mv=stored.core_voltage_mv if Setting.CORE_VOLTAGE in sets else None,
            fan_percent=(machine.thermal.facts.fan_percent if automatic else stored.fan_percent)
            if Setting.FAN in sets
            else None,
            power_plan=self._bench.plan,
        )

    async def _write_point(self, point: OperatingPoint) -> bool:
        machine, facts = self._answering(), self._bench.facts
        stored = machine.stored
        if point.power_plan is not None and self._bench.model == "s9":
            self._bench.plan = point.power_plan
            if point.power_plan == "sleep":
                machine.stop()
                return False
        elif point.power_plan is not None:
            self._bench.plan = point.power_plan
            select = PLANS[point.power_plan]
            stored.frequency_mhz = PLAN_MHZ[select] or machine.in_force.frequency_mhz
            machine.thermal.running = PLAN_MHZ[select] > 0
        if point.frequency_mhz is not None:
            stored.frequency_mhz = point.frequency_mhz
        if point.core_voltage_mv is not None:
            stored.core_voltage_mv = point.core_voltage_mv
        if point.fan_percent is not None:
            stored.fan_percent = point.fan_percent
        if facts.restart_s > 0:
            self._bench.restart()
            await self.sleep(facts.restart_s)
            return True
        machine.take_up()
        return False

    async def _measure(self, point: OperatingPoint) -> dict[Setting, Reading]:
        machine = self._answering()
        stored = machine.in_force
        values = {
            Setting.FREQUENCY: stored.frequency_mhz,
            Setting.CORE_VOLTAGE: stored.core_voltage_mv,
            Setting.FAN: stored.fan_percent,
            Setting.POWER_PLAN: self._bench.plan,
        }
        return {s: Reading(values[s], 0.5, "the state of the bench") for s in point.given()}
