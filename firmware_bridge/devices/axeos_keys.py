"""What AxeOS called each quantity, and in which versions (``hardware.md`` §4.2).

Versions are those of ESP-Miner whose tagged source has the name; forks keep the names of what they left.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from firmware_bridge.devices import fields

Version = tuple[int, ...]

MOST = 1_000_000
"""Chips or cores beyond this are no count."""

_SUFFIX = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}


def difficulty(value: Any) -> float | None:
    """A difficulty as a number, or as text with a suffix: ``"1.92M"``."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d{1,30}(?:\.\d{1,30})?)\s*([kKMGTPE]?)\s*", value)
        return float(match[1]) * _SUFFIX[match[2]] if match else None
    return fields.number({"value": value}, "value")


def _count(row: Mapping[str, Any], name: str) -> int | None:
    found = fields.whole(row, name)
    return found if found is not None and 0 < found <= MOST else None


def _flag(row: Mapping[str, Any], name: str) -> bool | None:
    value = row.get(name)
    if isinstance(value, bool):
        return value
    found = fields.number(row, name)
    return None if found is None else found != 0


def _difficulty(row: Mapping[str, Any], name: str) -> float | None:
    return difficulty(row.get(name))


@dataclass(frozen=True, slots=True)
class Key:
    """What a quantity is called in a range of versions.

    Attributes:
        field: of :class:`Info`.
        name: in the JSON.
        read: takes the object and the name, gives the value or None.
        since: first version with it.
        until: first version without it, or None.
    """

    field: str
    name: str
    read: Callable[[Mapping[str, Any], str], Any]
    since: Version = (0,)
    until: Version | None = None

    def in_use(self, version: Version) -> bool:
        """Whether a version writes it."""
        return version >= self.since and (self.until is None or version < self.until)


KEYS: tuple[Key, ...] = (
    Key("asic", "ASICModel", fields.text),
    Key("model", "minerModel", fields.text),
    Key("model", "deviceModel", fields.text),
    Key("version", "version", fields.text),
    Key("version", "axeOSVersion", fields.text, (2, 9)),
    Key("board", "boardVersion", fields.text),
    Key("hostname", "hostname", fields.text, (2, 1, 5)),
    Key("mac", "macAddr", fields.text, (2, 3)),
    Key("asic_count", "asicCount", _count, (2, 1, 9), (2, 9)),  # later only in /asic
    Key("small_cores", "smallCoreCount", _count, (2, 1, 9)),
    Key("power_w", "power", fields.number),
    Key("input_voltage_mv", "voltage", fields.positive),
    Key("input_current_ma", "current", fields.number),
    Key("core_voltage_mv", "coreVoltage", fields.positive),
    Key("core_voltage_actual_mv", "coreVoltageActual", fields.positive),
    Key("frequency_mhz", "frequency", fields.positive),
    Key("frequency_actual_mhz", "actualFrequency", fields.positive, (2, 14)),
    Key("temperature_c", "temp", fields.positive),
    Key("temperature2_c", "temp2", fields.positive, (2, 12)),
    Key("regulator_temperature_c", "vrTemp", fields.positive, (2, 1, 9)),
    Key("hash_rate_ghs", "hashRate", fields.number),
    Key("expected_rate_ghs", "expectedHashrate", fields.positive, (2, 8)),
    Key("fan_rpm", "fanrpm", fields.number, (2, 1, 9)),
    Key("fan_rpm", "fanSpeedRpm", fields.number, (2, 1, 4), (2, 1, 9)),
    Key("fan_rpm", "fanSpeed", fields.number, (0,), (2, 1, 4)),
    Key("fan2_rpm", "fan2rpm", fields.number, (2, 12)),
    Key("fan_percent", "fanspeed", fields.number, (2, 0, 2)),
    Key("fan_manual_percent", "manualFanSpeed", fields.number, (2, 11)),
    Key("auto_fan", "autofanspeed", _flag, (2, 0, 2)),
    Key("accepted", "sharesAccepted", fields.whole),
    Key("rejected", "sharesRejected", fields.whole),
    Key("best_difficulty", "bestDiff", _difficulty),
    Key("best_session_difficulty", "bestSessionDiff", _difficulty, (2, 1, 5)),
    Key("pool_difficulty", "poolDifficulty", fields.number, (2, 9)),
    Key("pool_difficulty", "stratumDiff", fields.number, (2, 4, 1), (2, 9)),
    Key("response_ms", "responseTime", fields.number, (2, 9)),
    Key("uptime_s", "uptimeSeconds", fields.number),
    Key("overheat", "overheat_mode", _flag, (2, 1, 10)),
    Key("paused", "miningPaused", _flag, (2, 14)),
    Key("on_fallback", "isUsingFallbackStratum", _flag, (2, 3)),
)
"""Of the info page itself, newest name first."""

POOL_KEYS: tuple[Key, ...] = (
    Key("pool_host", "stratumURL", fields.text),
    Key("pool_port", "stratumPort", fields.whole),
    Key("pool_user", "stratumUser", fields.text),
)
FALLBACK_POOL_KEYS: tuple[Key, ...] = (
    Key("fallback_host", "fallbackStratumURL", fields.text),
    Key("fallback_port", "fallbackStratumPort", fields.whole),
    Key("fallback_user", "fallbackStratumUser", fields.text),
)
