"""AxeOS, the HTTP API of ESP-Miner and of its forks, both directions, as plain data (``hardware.md`` §4).

Key names changed from version to version: ``axeos_keys`` says from which version on a quantity has which name, and
serves the driver (any name is read) and the emulator (one version's names are written). A value that is missing, has
another type, or means "no sensor" is None.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from firmware_bridge.devices import fields
from firmware_bridge.devices.axeos_keys import FALLBACK_POOL_KEYS, KEYS, MOST, POOL_KEYS, Key, Version
from firmware_bridge.errors import ProtocolError, UserError

INFO = "/api/system/info"
ASIC = "/api/system/asic"
SYSTEM = "/api/system"
RESTART = "/api/system/restart"
POOLS = "/api/system/pools"

POOL_LIST_FROM: Version = (2, 15)
"""From this version on the flat stratum keys are ignored without a word: pools[] takes their place."""
LIVE_FROM: Version = (2, 2)
"""From this version on frequency and voltage are applied at once; before they need a restart."""
RESTART_ANSWERED_FROM: Version = (2, 1, 8)
"""Before this version a device that is told to restart does so without an answer: the connection just ends."""
COUNTED_RATE_FROM: Version = (2, 11)
"""From this version on the chip counts its hashes; before, the rate is estimated from a hundred shares."""
FULL_PATCH_UNTIL: Version = (2, 0, 3)
"""Versions up to this one read every key without a check: a partial PATCH crashes them."""
FULL_KEYS = (
    "stratumURL", "stratumUser", "stratumPort", "ssid", "wifiPass", "coreVoltage", "frequency", "flipscreen",
    "invertscreen", "invertfanpolarity", "autofanspeed", "fanspeed",
)  # fmt: skip

FALLBACK_MHZ, FALLBACK_MV = 50.0, 1000.0
"""Settings of a firmware that overheated; before v2.1.10 they are all that tells (990 mV there)."""

LUCKY = "lucky"
"""What ``initMiner`` says on Lucky Miner's fork of ESP-Miner v2.1, whose own versions count from 1.0."""
LUCKY_ERA: Version = (2, 1)


@dataclass(frozen=True, slots=True)
class Info:
    """What ``/api/system/info`` tells; None where it does not.

    Attributes:
        era: version of ESP-Miner whose behaviour to expect, or None where it cannot be told.
        lists_pools: whether pools are objects in a list (2.15 and later).
        asic: name of the chip, e.g. ``BM1366``.
        model: ``minerModel`` of Lucky Miner, or the device model of newer versions.
        version: as written.
        board: version of the board.
        hostname: in the network.
        mac: address.
        asic_count: chips.
        small_cores: per chip.
        power_w: board power.
        input_voltage_mv: supply.
        input_current_ma: supply.
        core_voltage_mv: as *set*.
        core_voltage_actual_mv: as *measured*.
        frequency_mhz: as *set*.
        frequency_actual_mhz: of the PLL, newest versions.
        temperature_c: chip.
        temperature2_c: second sensor.
        regulator_temperature_c: voltage regulator.
        hash_rate_ghs: as reported; before v2.11 an estimate from shares, which stands still when hashing stops.
        expected_rate_ghs: what the set frequency should give.
        fan_rpm: of the fan.
        fan2_rpm: of the second.
        fan_percent: what the fan is told.
        fan_manual_percent: what it is to be told while it is not automatic, where that is told apart.
        auto_fan: whether the firmware steers it.
        accepted: shares; v2.1 counts every positive answer of the pool, also to authorize.
        rejected: shares.
        best_difficulty: of this device ever.
        best_session_difficulty: since its last start.
        pool_difficulty: of the present job.
        response_ms: of the pool.
        uptime_s: since its last start.
        overheat: whether the firmware says that it fell back to safe settings.
        paused: whether somebody paused it.
        on_fallback: whether it mines for the fallback pool.
        pool_host: without scheme.
        pool_port: TCP.
        pool_user: worker.
        fallback_host: of the second pool, without scheme.
        fallback_port: TCP.
        fallback_user: worker.
    """

    era: Version | None = None
    lists_pools: bool = False
    asic: str | None = None
    model: str | None = None
    version: str | None = None
    board: str | None = None
    hostname: str | None = None
    mac: str | None = None
    asic_count: int | None = None
    small_cores: int | None = None
    power_w: float | None = None
    input_voltage_mv: float | None = None
    input_current_ma: float | None = None
    core_voltage_mv: float | None = None
    core_voltage_actual_mv: float | None = None
    frequency_mhz: float | None = None
    frequency_actual_mhz: float | None = None
    temperature_c: float | None = None
    temperature2_c: float | None = None
    regulator_temperature_c: float | None = None
    hash_rate_ghs: float | None = None
    expected_rate_ghs: float | None = None
    fan_rpm: float | None = None
    fan2_rpm: float | None = None
    fan_percent: float | None = None
    fan_manual_percent: float | None = None
    auto_fan: bool | None = None
    accepted: int | None = None
    rejected: int | None = None
    best_difficulty: float | None = None
    best_session_difficulty: float | None = None
    pool_difficulty: float | None = None
    response_ms: float | None = None
    uptime_s: float | None = None
    overheat: bool | None = None
    paused: bool | None = None
    on_fallback: bool | None = None
    pool_host: str | None = None
    pool_port: int | None = None
    pool_user: str | None = None
    fallback_host: str | None = None
    fallback_port: int | None = None
    fallback_user: str | None = None

    @property
    def fan_set_percent(self) -> float | None:
        """What the fan is set to while it is not automatic: a key of its own from v2.11 on."""
        return self.fan_percent if self.fan_manual_percent is None else self.fan_manual_percent

    @property
    def chips(self) -> int | None:
        """Number of chips: as told, or as the expected hash rate implies where only that is told (from v2.9 on)."""
        if self.asic_count is not None:
            return self.asic_count
        if self.expected_rate_ghs is None or self.small_cores is None or self.frequency_mhz is None:
            return None
        count = self.expected_rate_ghs * 1e3 / (self.small_cores * self.frequency_mhz)
        if not 0.5 < count < MOST or abs(count - round(count)) > 0.05:
            return None
        return round(count)

    @property
    def fell_back(self) -> bool:
        """Whether it overheated and runs at safe settings: by its flag, or by the settings where there is no flag."""
        if self.overheat is not None:
            return self.overheat
        mhz, mv = self.frequency_mhz, self.core_voltage_mv
        return mhz is not None and mv is not None and mhz <= FALLBACK_MHZ and mv <= FALLBACK_MV

    @property
    def applies_live(self) -> bool:
        """Whether frequency and voltage take effect at once; False where the version cannot be told."""
        return self.era is not None and self.era >= LIVE_FROM

    @property
    def counts_hashes(self) -> bool:
        """Whether the hash rate is counted by the chip, so that it measures the clock."""
        return self.era is not None and self.era >= COUNTED_RATE_FROM


def decode_info(body: bytes) -> Info:
    """The info page in any of its forms.

    Raises:
        ProtocolError: if it is no JSON object; the message shows its bytes, passwords replaced.
    """
    row = _object(body)
    pools = row.get("pools")
    found = _read(KEYS, row)
    if isinstance(pools, list):
        primary = _listed(row, pools, "primaryPoolIndex", 0)
        spare = _listed(row, pools, "secondaryPoolIndex", 1)
        found |= _read(POOL_KEYS, primary)
        found |= {
            key.field: key.read(spare, main.name)
            for key, main in zip(FALLBACK_POOL_KEYS, POOL_KEYS, strict=True)
        }
    else:
        found |= _read(POOL_KEYS, row) | _read(FALLBACK_POOL_KEYS, row)
    return Info(era=_era(row), lists_pools=isinstance(pools, list), **found)


def encode_info(version: Version, values: Mapping[str, Any]) -> dict[str, Any]:
    """The info page as a version writes it: the values that it has names for, under those names.

    Args:
        version: of ESP-Miner.
        values: fields of :class:`Info` to what is written; switches become 0 and 1.
    """
    row = {
        key.name: int(value) if isinstance(value := values[key.field], bool) else value
        for key in KEYS
        if key.field in values and key.in_use(version)
    }
    pool = {key.name: values[key.field] for key in POOL_KEYS if key.field in values}
    if version < POOL_LIST_FROM:
        return row | pool
    listed = {"id": 0, "stratumProtocol": "SV1", **pool, "stratumPassword": "*****", "stratumTLS": 0}
    return row | {"pools": [listed], "primaryPoolIndex": 0, "secondaryPoolIndex": 1}


def _read(keys: tuple[Key, ...], row: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key in keys:
        if found.get(key.field) is None:
            found[key.field] = key.read(row, key.name)
    return found


def _object(body: bytes) -> dict[str, Any]:
    try:
        row = json.loads(body, parse_constant=lambda name: None)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        raise ProtocolError(f"the answer is no JSON object: {redact(body)[:200]!r}")
    return row


def _listed(row: Mapping[str, Any], pools: list[Any], index: str, default: int) -> Mapping[str, Any]:
    found = fields.whole(row, index)
    wanted = default if found is None else found
    return next((p for p in pools if isinstance(p, dict) and fields.whole(p, "id") == wanted), {})


def version_of(text: str | None) -> Version | None:
    """Numbers of a version like ``v2.4.0-beta``."""
    match = re.match(r"\s*v?(\d{1,4}(?:\.\d{1,4}){1,3})", text or "")
    return tuple(int(part) for part in match[1].split(".")) if match else None


def _era(row: Mapping[str, Any]) -> Version | None:
    if fields.text(row, "initMiner") == LUCKY or (fields.text(row, "minerModel") or "").startswith("LV"):
        return LUCKY_ERA
    return version_of(fields.text(row, "version"))


# ---- what is sent ----------------------------------------------------------------------------------------------------


def needs_everything(info: Info) -> bool:
    """Whether a PATCH must hold every key, the Wi-Fi password among them, which the firmware stores as it comes."""
    return info.era is not None and info.era <= FULL_PATCH_UNTIL


def settings_patch(
    info: Info, body: bytes, changes: Mapping[str, Any], wifi_password: str | None = None
) -> dict[str, Any]:
    """Body of ``PATCH /api/system``: the changes alone, or every key for a version that a partial one would crash.

    Args:
        info: what the device is.
        body: its info page, where the other keys are taken from.
        changes: keys as AxeOS calls them; the core voltage is ``coreVoltage``, never ``volts``.
        wifi_password: of its network, which such an old version stores anew with each PATCH and never tells.

    Raises:
        UserError: if that password, or another key that such a version needs, is not known.
    """
    if not needs_everything(info):
        return dict(changes)
    row = _object(body)
    known = {name: row[name] for name in FULL_KEYS if isinstance(row.get(name), str | int | float)}
    if wifi_password is not None:
        known["wifiPass"] = wifi_password
    known |= changes
    missing = [name for name in FULL_KEYS if name not in known]
    # fan and polarity came with v2.0.2; an earlier version neither tells nor reads them
    optional = {"invertfanpolarity", "autofanspeed", "fanspeed"} if "fanspeed" not in row else set()
    if unknown := [name for name in missing if name not in optional]:
        raise UserError(
            f"firmware {info.version} restarts unless each change holds every setting, and {', '.join(unknown)} "
            "cannot be read from it; update its firmware, or set it on its own page"
        )
    return known


def pool_patch(
    info: Info, body: bytes, host: str, port: int, user: str, password: str, wifi_password: str | None = None
) -> dict[str, Any]:
    """Body of the PATCH that sets the first pool, in the form of this version; other pools stay as they are.

    Raises:
        UserError: as for :func:`settings_patch`.
    """
    flat = {"stratumURL": host, "stratumPort": port, "stratumUser": user, "stratumPassword": password}
    if not info.lists_pools:
        full = {name: value for name, value in flat.items() if name != "stratumPassword"}
        return settings_patch(info, body, full if needs_everything(info) else flat, wifi_password)
    row = _object(body)
    index = fields.whole(row, "primaryPoolIndex") or 0
    pools = [pool for pool in row["pools"] if isinstance(pool, dict)]
    present = next((pool for pool in pools if fields.whole(pool, "id") == index), {"stratumProtocol": "SV1"})
    return {"pools": [{**present, "id": index, **flat}]}


# ---- what a recorder may keep ----------------------------------------------------------------------------------------

_SECRET = re.compile(
    rb'("[^"\\]{0,40}pass(?:word)?"\s*:\s*)(?:"(?:[^"\\]|\\.)*"?|[^\s",{}\[\]]+)', re.S | re.I
)


def redact(data: bytes) -> bytes:
    """The same bytes with the passwords of pools and of the wireless network replaced, also where they are cut off."""
    return _SECRET.sub(rb'\1"***"', data)
