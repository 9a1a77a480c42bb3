"""AxeOS, the HTTP API of ESP-Miner and of its forks, both directions, as plain data (``hardware.md`` §4).

Key names changed from version to version; :data:`KEYS` lists what each quantity was called. A value that is missing,
has another type, or means "no sensor" is None.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from firmware_bridge.devices import fields
from firmware_bridge.errors import ProtocolError

INFO = "/api/system/info"
ASIC = "/api/system/asic"
SYSTEM = "/api/system"
RESTART = "/api/system/restart"

FLAT_POOL_UNTIL = (2, 15)
"""From this version on the flat stratum keys are ignored without a word: pools[] takes their place."""
LIVE_FROM = (2, 2)
"""From this version on frequency and voltage are applied at once; before they need a restart."""
FULL_PATCH_UNTIL = (2, 0, 3)
"""Versions up to this one read every key without a check: a partial PATCH crashes them."""
FULL_KEYS = (
    "stratumURL", "stratumUser", "stratumPort", "ssid", "wifiPass", "coreVoltage", "frequency", "flipscreen",
    "invertscreen",
)  # fmt: skip

LUCKY = "lucky"
"""What ``initMiner`` says on Lucky Miner's fork of ESP-Miner v2.1, whose own versions count from 1.0."""
LUCKY_ERA = (2, 1)

_SUFFIX = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}


@dataclass(frozen=True, slots=True)
class Info:
    """What ``/api/system/info`` tells; None where it does not.

    Attributes:
        asic: name of the chip, e.g. ``BM1366``.
        model: ``minerModel`` of Lucky Miner, or the device model of newer versions.
        version: as written.
        era: version of ESP-Miner whose behaviour to expect, or None where it cannot be told.
        hostname: in the network.
        mac: address.
        asic_count: chips.
        small_cores: per chip.
        power_w: board power.
        input_voltage_mv: supply.
        core_voltage_mv: as *set*.
        core_voltage_actual_mv: as *measured*.
        frequency_mhz: as *set*.
        frequency_actual_mhz: of the PLL, newest versions.
        temperature_c: hottest chip.
        regulator_temperature_c: voltage regulator.
        hash_rate_ghs: as reported.
        fan_rpm: of the fan.
        fan_percent: what it is told.
        auto_fan: whether the firmware steers it.
        accepted: shares; old versions count every positive answer of the pool.
        rejected: shares.
        best_difficulty: of this device ever.
        uptime_s: since its last start.
        overheat: whether the firmware fell back to safe settings after overheating.
        pool_host: without scheme.
        pool_port: TCP.
        pool_user: worker.
        lists_pools: whether pools are objects in a list (2.15 and later).
    """

    asic: str | None = None
    model: str | None = None
    version: str | None = None
    era: tuple[int, ...] | None = None
    hostname: str | None = None
    mac: str | None = None
    asic_count: int | None = None
    small_cores: int | None = None
    power_w: float | None = None
    input_voltage_mv: float | None = None
    core_voltage_mv: float | None = None
    core_voltage_actual_mv: float | None = None
    frequency_mhz: float | None = None
    frequency_actual_mhz: float | None = None
    temperature_c: float | None = None
    regulator_temperature_c: float | None = None
    hash_rate_ghs: float | None = None
    fan_rpm: float | None = None
    fan_percent: float | None = None
    auto_fan: bool | None = None
    accepted: int | None = None
    rejected: int | None = None
    best_difficulty: float | None = None
    uptime_s: float | None = None
    overheat: bool | None = None
    pool_host: str | None = None
    pool_port: int | None = None
    pool_user: str | None = None
    lists_pools: bool = False


def decode_info(body: bytes) -> Info:
    """The info page in any of its forms.

    Raises:
        ProtocolError: if it is no JSON object; the message shows its bytes.
    """
    row = _object(body)
    pools = row.get("pools")
    pool = _primary(row, pools)
    temperatures = [fields.positive(row, "temp"), fields.positive(row, "temp2")]
    return Info(
        asic=fields.text(row, "ASICModel"),
        model=fields.text(row, "minerModel", "deviceModel"),
        version=fields.text(row, "version", "axeOSVersion"),
        era=_era(row),
        hostname=fields.text(row, "hostname"),
        mac=fields.text(row, "macAddr"),
        asic_count=_count(row, "asicCount"),
        small_cores=_count(row, "smallCoreCount"),
        power_w=fields.number(row, "power"),
        input_voltage_mv=fields.positive(row, "voltage"),
        core_voltage_mv=fields.positive(row, "coreVoltage"),
        core_voltage_actual_mv=fields.positive(row, "coreVoltageActual"),
        frequency_mhz=fields.positive(row, "frequency"),
        frequency_actual_mhz=fields.positive(row, "actualFrequency"),
        temperature_c=fields.largest(temperatures),
        regulator_temperature_c=fields.positive(row, "vrTemp"),
        hash_rate_ghs=fields.number(row, "hashRate"),
        fan_rpm=fields.number(row, "fanrpm", "fanSpeedRpm", "fanSpeed"),
        fan_percent=fields.number(row, "fanspeed", "manualFanSpeed"),
        auto_fan=_flag(row, "autofanspeed"),
        accepted=fields.whole(row, "sharesAccepted"),
        rejected=fields.whole(row, "sharesRejected"),
        best_difficulty=difficulty(row.get("bestDiff")),
        uptime_s=fields.number(row, "uptimeSeconds"),
        overheat=_flag(row, "overheat_mode"),
        pool_host=fields.text(pool, "stratumURL"),
        pool_port=fields.whole(pool, "stratumPort"),
        pool_user=fields.text(pool, "stratumUser"),
        lists_pools=isinstance(pools, list),
    )


def _object(body: bytes) -> dict[str, Any]:
    try:
        row = json.loads(body, parse_constant=lambda name: None)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        raise ProtocolError(f"the answer is no JSON object: {body[:200]!r}")
    return row


def _primary(row: Mapping[str, Any], pools: Any) -> Mapping[str, Any]:
    if not isinstance(pools, list):
        return row
    wanted = fields.whole(row, "primaryPoolIndex") or 0
    listed = [pool for pool in pools if isinstance(pool, dict)]
    return next((pool for pool in listed if fields.whole(pool, "id") == wanted), listed[0] if listed else row)


def _count(row: Mapping[str, Any], name: str) -> int | None:
    found = fields.whole(row, name)
    return found if found is not None and found > 0 else None


def _flag(row: Mapping[str, Any], name: str) -> bool | None:
    value = row.get(name)
    if isinstance(value, bool):
        return value
    found = fields.number(row, name)
    return None if found is None else found != 0


def difficulty(value: Any) -> float | None:
    """A difficulty as a number, or as text with a suffix: ``"1.92M"``."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d{1,30}(?:\.\d{1,30})?)\s*([kKMGTPE]?)\s*", value)
        return float(match[1]) * _SUFFIX[match[2]] if match else None
    return fields.number({"value": value}, "value")


def version_of(text: str | None) -> tuple[int, ...] | None:
    """Numbers of a version like ``v2.4.0-beta``."""
    match = re.match(r"\s*v?(\d{1,4}(?:\.\d{1,4}){1,3})", text or "")
    return tuple(int(part) for part in match[1].split(".")) if match else None


def _era(row: Mapping[str, Any]) -> tuple[int, ...] | None:
    if fields.text(row, "initMiner") == LUCKY or (fields.text(row, "minerModel") or "").startswith("LV"):
        return LUCKY_ERA
    return version_of(fields.text(row, "version"))


def applies_live(info: Info) -> bool:
    """Whether frequency and voltage take effect at once; False where the version cannot be told."""
    return info.era is not None and info.era >= LIVE_FROM


def settings_patch(info: Info, body: bytes, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Body of ``PATCH /api/system``: the changes alone, or every key for a version that a partial one would crash.

    Args:
        info: what the device is.
        body: its info page, where the other keys are taken from.
        changes: keys as AxeOS calls them; the core voltage is ``coreVoltage``, never ``volts``.
    """
    if info.era is None or info.era > FULL_PATCH_UNTIL:
        return dict(changes)
    row = _object(body)
    kept = {"ssid": row.get("ssid", ""), "wifiPass": "*****"}
    present = {name: row.get(name, kept.get(name, 0)) for name in FULL_KEYS}
    return present | dict(changes)


def pool_patch(info: Info, body: bytes, host: str, port: int, user: str, password: str) -> dict[str, Any]:
    """Body of the PATCH that sets the first pool, in the form of this version."""
    flat = {"stratumURL": host, "stratumPort": port, "stratumUser": user, "stratumPassword": password}
    if not info.lists_pools:
        return settings_patch(info, body, flat)
    row = _object(body)
    index = fields.whole(row, "primaryPoolIndex") or 0
    pools = [dict(pool) for pool in row["pools"] if isinstance(pool, dict)]
    target = next((pool for pool in pools if fields.whole(pool, "id") == index), None)
    if target is None:
        target = {"id": index, "stratumProtocol": "SV1"}
        pools.append(target)
    target.update(flat)
    return {"pools": pools}


# ---- what a recorder may keep ----------------------------------------------------------------------------------------

_SECRET = re.compile(
    rb'("(?:stratumPassword|fallbackStratumPassword|wifiPass)"\s*:\s*")((?:[^"\\]|\\.)*)(")', re.S
)


def redact(data: bytes) -> bytes:
    """The same bytes with the passwords of pools and of the wireless network replaced."""
    return _SECRET.sub(rb"\1***\3", data)
