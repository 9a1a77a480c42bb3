"""Heat of an emulated miner: a chain of two thermal resistances and capacities, a fan, and what the chips draw.

Die and heat sink are one RC each (a Cauer ladder). Power flows from the die through ``R_die`` into the heat sink and
from there through a resistance that the fan lowers into the room. At its nominal point a miner sits at its nominal
temperatures; everything else follows from :mod:`electrical` and from a convection of ``fan speed^0.8`` (turbulent flow,
Dittus & Boelter 1930) above a still-air part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from firmware_bridge.emulator import body_kernels, electrical
from firmware_bridge.emulator.body_kernels import DIE, FIXED, HASHED_S, HUNG, SINK, WRONG_S
from firmware_bridge.emulator.electrical import ElectricalFacts

AMBIENT_C = 25.0


@dataclass(frozen=True, slots=True)
class ThermalFacts:
    """One model's figures.

    Attributes:
        temperature_c: of the hottest chip at the nominal point.
        board_offset_c: how much cooler the heat sink is, where the board's sensor sits.
        fan_percent: at the nominal point.
        fan_rpm: at that fan setting.
        tau_s: time constant of the heat sink at the nominal fan; assumed from its size.
        die_tau_s: time constant of the die against the heat sink; assumed.
        still_air: part of the nominal convection that is left without a fan; assumed.
        target_c: temperature that the automatic fan holds.
        electrical: power and logic.
        source: where the figures come from.
    """

    temperature_c: float
    board_offset_c: float
    fan_percent: float
    fan_rpm: float
    tau_s: float
    die_tau_s: float
    still_air: float
    target_c: float
    electrical: ElectricalFacts
    source: str

    @property
    def power_w(self) -> float:
        """At the nominal point."""
        return self.electrical.power_w

    @property
    def frequency_mhz(self) -> float:
        """Nominal."""
        return self.electrical.frequency_mhz

    @property
    def core_voltage_mv(self) -> float:
        """Nominal."""
        return self.electrical.core_voltage_mv


FACTS = {
    "s9": ThermalFacts(
        78.0, 15.0, 75.0, 5760.0, 90.0, 2.0, 0.1, 78.0, electrical.FACTS["s9"], "hardware.md §3.3"
    ),
    "lv06": ThermalFacts(
        58.0, 8.0, 70.0, 5200.0, 45.0, 1.0, 0.15, 58.0, electrical.FACTS["lv06"], "hardware.md §4.4"
    ),
    "lb-box": ThermalFacts(
        62.0, 12.0, 60.0, 3600.0, 60.0, 1.5, 0.12, 62.0, electrical.FACTS["lb-box"], "hardware.md §5.1"
    ),
    "bm1366": ThermalFacts(
        58.0, 8.0, 70.0, 5200.0, 45.0, 1.0, 0.15, 58.0, electrical.FACTS["bm1366"], "as the LV06's chip"
    ),
}


class Thermal:
    """State of one miner's heat, advanced by whoever asks.

    Args:
        facts: of the model.
        now_ns: monotonic time now.
        ambient_c: of the room.

    Attributes:
        frequency_mhz: in force.
        core_voltage_mv: as set.
        droop_mv: by how much less arrives at the chips.
        running: whether it is switched on.
        fan_override_percent: what the fan is told, None for the automatic.
        fan_failed: whether it stands still whatever it is told.
    """

    def __init__(self, facts: ThermalFacts, now_ns: int, ambient_c: float = AMBIENT_C) -> None:
        self.facts = facts
        self.ambient_c = ambient_c
        self.frequency_mhz = facts.frequency_mhz
        self.core_voltage_mv = facts.core_voltage_mv
        self.droop_mv = 0.0
        self.running = True
        self.fan_override_percent: float | None = None
        self.fan_failed = False
        self._then_ns = now_ns
        self._electrical = electrical.vector(facts.electrical, facts.temperature_c)
        chip_w = facts.power_w * (1.0 - facts.electrical.fixed_share)
        sink_c = facts.temperature_c - facts.board_offset_c
        nominal = facts.power_w / (sink_c - AMBIENT_C)
        r_die = facts.board_offset_c / chip_w
        self._heat = np.array(
            [
                r_die,
                facts.die_tau_s / r_die,
                facts.tau_s * nominal,
                nominal * facts.still_air,
                nominal * (1.0 - facts.still_air),
                facts.fan_percent,
                facts.target_c,
            ]
        )
        self._state = np.array([facts.temperature_c, sink_c, 0.0, 0.0, 0.0])

    # ---- what it is now ----

    @property
    def temperature_c(self) -> float:
        """Of the hottest chip."""
        return float(self._state[DIE])

    @temperature_c.setter
    def temperature_c(self, value: float) -> None:
        self._state[DIE] = value
        self._state[SINK] = max(self.ambient_c, value - self.facts.board_offset_c)  # as after a while at it

    @property
    def board_temperature_c(self) -> float:
        """Of the heat sink, where the board's own sensor sits."""
        return float(self._state[SINK])

    @property
    def voltage_mv(self) -> float:
        """What arrives at the chips."""
        return max(0.0, self.core_voltage_mv - self.droop_mv)

    @property
    def hung(self) -> bool:
        """Whether the chips have stopped answering; :meth:`restart` brings them back."""
        return bool(self._state[HUNG])

    @property
    def error_rate(self) -> float:
        """Share of the hashes that are wrong now."""
        if self.hung:
            return 1.0
        return float(
            body_kernels.error_rate(self._electrical, self.voltage_mv, self.frequency_mhz, self.temperature_c)
        )

    @property
    def hash_fraction(self) -> float:
        """Right hashes per second, over those of the clock in force; 0 where nothing hashes."""
        return 0.0 if self.hung or not self.running else 1.0 - self.error_rate

    @property
    def wrong_s(self) -> float:
        """Seconds worth of nominal hashing that came out wrong so far."""
        return float(self._state[WRONG_S])

    @property
    def hashed_s(self) -> float:
        """Seconds worth of nominal hashing that came out right so far."""
        return float(self._state[HASHED_S])

    @property
    def power_w(self) -> float:
        """Of the device, at the present point and temperature."""
        e = self._electrical
        power = e[FIXED] + body_kernels.leakage_w(e, self.voltage_mv, self.temperature_c)
        if self.running and not self.hung:
            power += body_kernels.switching_w(e, self.voltage_mv, self.frequency_mhz)
        return float(power)

    @property
    def fan_percent(self) -> float:
        """What the fan is told: the override, or the automatic's answer to the temperature."""
        override = -1.0 if self.fan_override_percent is None else self.fan_override_percent
        return float(body_kernels.fan_percent(self._heat, override, self.temperature_c))

    @property
    def fan_rpm(self) -> float:
        """How fast it turns."""
        return 0.0 if self.fan_failed else self.facts.fan_rpm * self.fan_percent / self.facts.fan_percent

    # ---- what happens to it ----

    def restart(self) -> None:
        """Chips that hung answer again; whether they go on doing so is up to the point."""
        self._state[HUNG] = 0.0

    def advance(self, now_ns: int) -> None:
        """Let the heat flow until now."""
        left_s = max(0, now_ns - self._then_ns) / 1e9
        self._then_ns = max(now_ns, self._then_ns)
        if left_s == 0.0:
            return
        self._flow(left_s)

    def settle(self) -> None:
        """Go where it ends with the settings in force, at once; no hashes are counted for it."""
        counted = self._state[[HASHED_S, WRONG_S]].copy()
        self._flow(20.0 * self.facts.tau_s / self.facts.still_air)
        self._state[[HASHED_S, WRONG_S]] = counted

    def _flow(self, seconds: float) -> None:
        body_kernels.flow(
            self._state,
            self._heat,
            self._electrical,
            seconds,
            self.frequency_mhz,
            self.voltage_mv,
            self.ambient_c,
            -1.0 if self.fan_override_percent is None else self.fan_override_percent,
            not self.fan_failed,
            self.running,
        )
