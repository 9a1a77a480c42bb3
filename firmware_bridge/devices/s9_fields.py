"""Facts of the Antminer S9, and what its answers mean field by field (``hardware.md`` §2, §3)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from firmware_bridge.devices import fields
from firmware_bridge.devices.cgminer_api import Answer
from firmware_bridge.devices.settings import Bound, Limits, Setting
from firmware_bridge.devices.telemetry import BoardReading, PoolState
from firmware_bridge.errors import LimitError

BOARDS, CHIPS, CORES = 3, 63, 114
GHS_PER_MHZ_AND_BOARD = CHIPS * CORES / 1000.0
SLOTS = range(1, 17)
FANS = range(1, 9)

FACTORY_MHZ = tuple(
    float(f)
    for f in (550, 575, 581, 587, 593, 600, 606, 612, 618, 625, 631, 637, 643, 650, 656, 662, 668, 675)
)
LIMITS = Limits(
    bounds={
        Setting.FREQUENCY: Bound(
            100.0, 700.0, FACTORY_MHZ, "PLL table of the BM1387, hardware.md §2; top bin 675 MHz"
        )
    },
    max_temperature_c=115.0,
    plans=("normal", "sleep"),
)
"""Chips throttle at 125 °C by firmware; the lab stops earlier. ``sleep`` is a bmminer that was stopped."""

STEP_MHZ = 6.25
"""Of the PLL table; the firmware names its entries by their whole MHz: 581 is 581.25."""
MODELS = re.compile(r"\bS9[ij]?(?![\w+])(?! *(?:SE|hydro))", re.I)
"""Boards of 63 BM1387: S9, S9i, S9j (as pyasic lists them); S9k and S9 SE have other chips."""


def pll_name_mhz(frequency_mhz: float) -> float:
    """Whole MHz by which the firmware names a clock of its PLL.

    Raises:
        LimitError: if the PLL has no such clock.
    """
    below = int(frequency_mhz / STEP_MHZ)
    for clock_mhz in (below * STEP_MHZ, (below + 1) * STEP_MHZ):
        if abs(frequency_mhz - clock_mhz) < 0.01 or frequency_mhz == int(clock_mhz):
            return float(int(clock_mhz))
    raise LimitError(
        f"s9: the chip's PLL has no {frequency_mhz:g} MHz; next to it are {below * STEP_MHZ:g} and "
        f"{(below + 1) * STEP_MHZ:g}. Nothing was changed"
    )


def rate_ghs(summary: Mapping[str, Any]) -> float | None:
    """Hash rate over five seconds in GH/s; None while there is none yet, never the average in its place."""
    rate = fields.number(summary, "GHS 5s")
    if rate is None and (mhs := fields.number(summary, "MHS 5s")) is not None:
        rate = mhs / 1000.0
    return rate


def stats_row(answer: Answer) -> dict[str, Any]:
    """The rows of ``stats`` taken together: the chain data stand in the second one, on some builds in the first."""
    merged: dict[str, Any] = {}
    for row in answer.rows("STATS"):
        merged |= row
    return merged


def boards_of(stats: Mapping[str, Any]) -> tuple[BoardReading, ...]:
    """Readings of the boards that are there, whatever slots they have.

    Bitmain's driver and others disagree whether ``temp`` or ``temp2_`` is the chip; the chip is the hotter of the two.
    """
    boards = []
    for slot in SLOTS:
        chips = fields.whole(stats, f"chain_acn{slot}")
        sensors = [
            t for key in (f"temp{slot}", f"temp2_{slot}") if (t := fields.positive(stats, key)) is not None
        ]
        rate = fields.number(stats, f"chain_rate{slot}")
        # absent boards have 0 and empty texts everywhere; some builds leave chain_acn out
        if not chips and not sensors and not rate:
            continue
        boards.append(
            BoardReading(
                board=slot,
                temperature_c=max(sensors) if sensors else None,
                board_temperature_c=min(sensors) if len(sensors) > 1 else None,
                frequency_mhz=fields.positive(stats, f"freq_avg{slot}", "frequency"),
                hash_rate_ghs=rate,
                chips=chips,
                hardware_errors=fields.whole(stats, f"chain_hw{slot}"),
            )
        )
    return tuple(boards)


def pools_of(answer: Answer) -> tuple[PoolState, ...]:
    """The pools that a cgminer lists."""
    return tuple(
        PoolState(
            url=fields.text(row, "URL") or "",
            user=fields.text(row, "User"),
            active=row.get("Stratum Active") if isinstance(row.get("Stratum Active"), bool) else None,
            status=fields.text(row, "Status"),
        )
        for row in answer.rows("POOLS")
    )


def settings_form(conf: Mapping[str, Any]) -> dict[str, str]:
    """The fields of the page's settings form as they are stored: it stores all of them anew each time."""
    form: dict[str, str] = {}
    pools = conf.get("pools")
    listed = [p for p in pools if isinstance(p, dict)] if isinstance(pools, list) else []
    for number in range(1, 4):
        pool = listed[number - 1] if number <= len(listed) else {}
        form[f"_ant_pool{number}url"] = str(pool.get("url", ""))
        form[f"_ant_pool{number}user"] = str(pool.get("user", ""))
        form[f"_ant_pool{number}pw"] = str(pool.get("pass", ""))
    form["_ant_nobeeper"] = str(conf.get("bitmain-nobeeper", "false")).lower()
    form["_ant_notempoverctrl"] = str(conf.get("bitmain-notempoverctrl", "false")).lower()
    form["_ant_fan_customize_switch"] = str(conf.get("bitmain-fan-ctrl", "false")).lower()
    form["_ant_fan_customize_value"] = str(conf.get("bitmain-fan-pwm", ""))
    form["_ant_freq"] = str(conf.get("bitmain-freq", ""))
    form["_ant_voltage"] = str(conf.get("bitmain-voltage", ""))
    return form
