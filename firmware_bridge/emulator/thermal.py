"""Heat of an emulated miner: one thermal resistance that the fan lowers, one time constant, one fan controller.

At its nominal point a miner sits at its nominal temperature; everything else follows from power = static part +
switching part ~ V² f, and from a resistance that falls with the square root of the fan's speed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

AMBIENT_C = 25.0


@dataclass(frozen=True, slots=True)
class ThermalFacts:
    """One model's figures.

    Attributes:
        power_w: at the nominal point.
        static_share: part of that power that does not switch; assumed.
        temperature_c: of the hottest chip at the nominal point.
        board_offset_c: how much cooler the board's sensor is.
        fan_percent: at the nominal point.
        fan_rpm: at that fan setting.
        frequency_mhz: nominal.
        core_voltage_mv: nominal.
        tau_s: time constant; assumed.
        target_c: temperature that the automatic fan holds.
        source: where the figures come from.
    """

    power_w: float
    static_share: float
    temperature_c: float
    board_offset_c: float
    fan_percent: float
    fan_rpm: float
    frequency_mhz: float
    core_voltage_mv: float
    tau_s: float
    target_c: float
    source: str


FACTS = {
    "s9": ThermalFacts(
        1350.0,
        0.1,
        78.0,
        15.0,
        75.0,
        5760.0,
        631.0,
        8800.0,
        90.0,
        78.0,
        "hardware.md §2, §3.3; 1350 W: data sheet",
    ),
    "lv06": ThermalFacts(13.2, 0.1, 58.0, 8.0, 70.0, 5200.0, 485.0, 1200.0, 45.0, 58.0, "hardware.md §4.4"),
    "lb-box": ThermalFacts(
        162.0, 0.1, 62.0, 12.0, 60.0, 3600.0, 850.0, 420.0, 60.0, 62.0, "hardware.md §5.1: 162 W"
    ),
    "bm1366": ThermalFacts(
        11.5, 0.1, 58.0, 8.0, 70.0, 5200.0, 485.0, 1200.0, 45.0, 58.0, "as the LV06's chip"
    ),
}

FAN_MIN_PERCENT = 20.0
FAN_GAIN_PERCENT_PER_C = 4.0


class Thermal:
    """State of one miner's heat, advanced by whoever asks.

    Args:
        facts: of the model.
        now_ns: monotonic time now.
        ambient_c: of the room.
    """

    def __init__(self, facts: ThermalFacts, now_ns: int, ambient_c: float = AMBIENT_C) -> None:
        self.facts = facts
        self.ambient_c = ambient_c
        self.frequency_mhz = facts.frequency_mhz
        self.core_voltage_mv = facts.core_voltage_mv
        self.running = True
        self.fan_override_percent: float | None = None
        self.temperature_c = facts.temperature_c
        self._resistance = (facts.temperature_c - AMBIENT_C) / facts.power_w
        self._then_ns = now_ns

    @property
    def power_w(self) -> float:
        """Power at the present point."""
        facts = self.facts
        if not self.running:
            return facts.power_w * facts.static_share
        switching = (
            (self.core_voltage_mv / facts.core_voltage_mv) ** 2 * self.frequency_mhz / facts.frequency_mhz
        )
        return facts.power_w * (facts.static_share + (1 - facts.static_share) * switching)

    @property
    def fan_percent(self) -> float:
        """What the fan is told: the override, or the automatic's answer to the temperature."""
        if self.fan_override_percent is not None:
            return self.fan_override_percent
        wanted = self.facts.fan_percent + FAN_GAIN_PERCENT_PER_C * (self.temperature_c - self.facts.target_c)
        return min(100.0, max(FAN_MIN_PERCENT, wanted))

    @property
    def fan_rpm(self) -> float:
        """How fast it turns."""
        return self.facts.fan_rpm * self.fan_percent / self.facts.fan_percent

    @property
    def board_temperature_c(self) -> float:
        """Of the board's own sensor."""
        return max(self.ambient_c, self.temperature_c - self.facts.board_offset_c)

    def advance(self, now_ns: int) -> None:
        """Let the heat flow until now, in steps well below the time constant."""
        left_s = max(0, now_ns - self._then_ns) / 1e9
        self._then_ns = max(now_ns, self._then_ns)
        steps = min(10_000, math.ceil(left_s / (self.facts.tau_s / 20)))
        for _ in range(steps):
            fan = max(self.fan_percent, 1.0)
            resistance = self._resistance * math.sqrt(self.facts.fan_percent / fan)
            end_c = self.ambient_c + self.power_w * resistance
            keep = math.exp(-left_s / steps / self.facts.tau_s)
            self.temperature_c = end_c + (self.temperature_c - end_c) * keep
