"""Chips of the devices that run AxeOS, what its menu offers for each, and the hard limits of the one that is set here.

Small cores, defaults and menus: the table of devices in ESP-Miner v2.15.0.
"""

from __future__ import annotations

from dataclasses import dataclass

from firmware_bridge.devices.settings import Bound, Limits, Setting


@dataclass(frozen=True, slots=True)
class Chip:
    """Facts of a chip of this family, from the firmware's table of devices.

    Attributes:
        small_cores: that hash.
        cores: groups of them.
        frequency_mhz: default.
        core_voltage_mv: default.
        frequencies_mhz: that the menu offers.
        voltages_mv: that the menu offers.
    """

    small_cores: int
    cores: int
    frequency_mhz: float
    core_voltage_mv: float
    frequencies_mhz: tuple[float, ...]
    voltages_mv: tuple[float, ...]


CHIPS = {
    "BM1366": Chip(
        894, 112, 485.0, 1200.0,
        (400.0, 425.0, 450.0, 475.0, 485.0, 500.0, 525.0, 550.0, 575.0),
        (1100.0, 1150.0, 1200.0, 1250.0, 1300.0),
    ),
    "BM1368": Chip(
        1276, 80, 490.0, 1166.0,
        (400.0, 425.0, 450.0, 475.0, 485.0, 490.0, 500.0, 525.0, 550.0, 575.0),
        (1100.0, 1150.0, 1166.0, 1200.0, 1250.0, 1300.0),
    ),
    "BM1370": Chip(
        2040, 128, 525.0, 1150.0,
        (400.0, 490.0, 525.0, 550.0, 600.0, 625.0),
        (1000.0, 1060.0, 1100.0, 1150.0, 1200.0, 1250.0),
    ),
    "BM1397": Chip(
        672, 168, 425.0, 1400.0,
        (400.0, 425.0, 450.0, 475.0, 485.0, 500.0, 525.0, 550.0, 575.0, 600.0),
        (1100.0, 1150.0, 1200.0, 1250.0, 1300.0, 1350.0, 1400.0, 1450.0, 1500.0),
    ),
}  # fmt: skip
SETTABLE = "BM1366"
"""The chip of the LV06, and the one whose hard limits are known here; the others are read only."""

LIMITS = Limits(
    bounds={
        Setting.FREQUENCY: Bound(
            56.25, 650.0, CHIPS[SETTABLE].frequencies_mhz, "PLL of the BM1366 (hardware.md §1.7); menu §4.2"
        ),
        Setting.CORE_VOLTAGE: Bound(
            1000.0, 1300.0, CHIPS[SETTABLE].voltages_mv, "menu of AxeOS for the BM1366, hardware.md §4.2"
        ),
        Setting.FAN: Bound(
            0.0, 100.0, tuple(float(p) for p in range(25, 101)), "per cent; AxeOS itself never goes below 25"
        ),
    },
    max_temperature_c=75.0,
)
"""AxeOS falls back to safe settings at 75 °C."""
