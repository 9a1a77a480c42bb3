"""Messages that make miners appear in Home Assistant by themselves; nothing here touches a network.

One retained message per miner announces the device with all its sensors ("device discovery"): ``device``, ``origin``
and ``components`` are required, and in each component ``platform``, ``unique_id`` and for a sensor ``state_topic``.
Source: home-assistant.io, MQTT integration, chapter "MQTT discovery"; core, ``components/mqtt/schemas.py``.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from firmware_bridge.errors import UserError
from firmware_bridge.telemetry.topics import Topics, level_fault

PREFIX = "homeassistant"
"""What Home Assistant listens to unless it is told otherwise."""
EXPIRE_PERIODS = 10
"""Periods of polling after which a value without a successor is no longer shown."""
LAB_STATE = "{{ 'online' if value_json.get('online') else 'offline' }}"
MINER_STATE = "{{ 'offline' if value_json.get('online') is false else 'online' }}"
"""Templates that make Home Assistant's words of the two retained states; of a miner it may not be known."""
_ID = re.compile(r"[^a-zA-Z0-9_-]")


@dataclass(frozen=True, slots=True)
class Quantity:
    """One sensor of a miner.

    Attributes:
        key: column of the telemetry, or of the share.
        name: as Home Assistant shows it, after the device's name.
        unit: as Home Assistant spells it.
        kind: its ``device_class``, where it has one.
        decimals: shown.
        total: whether it only counts up.
    """

    key: str
    name: str
    unit: str | None
    kind: str | None = None
    decimals: int = 0
    total: bool = False


TELEMETRY = (
    Quantity("temperature_c", "Chip temperature", "°C", "temperature", 1),
    Quantity("board_temperature_c", "Board temperature", "°C", "temperature", 1),
    Quantity("regulator_temperature_c", "Regulator temperature", "°C", "temperature", 1),
    Quantity("power_w", "Power", "W", "power", 1),
    Quantity("voltage_mv", "Core voltage", "mV", "voltage"),
    Quantity("input_voltage_mv", "Input voltage", "mV", "voltage"),
    Quantity("frequency_mhz", "Frequency", "MHz", "frequency"),
    Quantity("hash_rate_ghs", "Hash rate", "GH/s", None, 1),
    Quantity("fan_rpm", "Fan", "rpm"),
    Quantity("fan_percent", "Fan duty", "%"),
    Quantity("hardware_errors", "Hardware errors", None, None, 0, total=True),
)
SHARES = (
    Quantity("accepted", "Accepted shares", None, None, 0, total=True),
    Quantity("rejected", "Rejected shares", None, None, 0, total=True),
)
"""What the lab counts itself, see :func:`tally`."""
LAST_SHARE = "last_share"


@dataclass(frozen=True, slots=True)
class Announced:
    """Who is announced.

    Attributes:
        level: of the miner in the lab's topics.
        name: of the miner.
        model: where it is known.
        make: of the device, where it is known.
        firmware: of the device, where it is known.
        reads: columns of the telemetry that it can fill; None where nobody knows, which gives all of them.
    """

    level: str
    name: str
    model: str | None = None
    make: str | None = None
    firmware: str | None = None
    reads: frozenset[str] | None = None


def check_prefix(prefix: str) -> str:
    """The prefix of all announcements, as it was given.

    Raises:
        UserError: if it cannot begin a topic.
    """
    for level in prefix.split("/"):
        if fault := level_fault(level):
            raise UserError(f"--home-assistant-prefix {prefix[:80]!r} cannot begin a topic: {fault}")
    return prefix


def device_id(lab: str, name: str, level: str) -> str:
    """Id of a miner that stays the same over restarts, and differs from that of every other.

    The level comes into it only where it is not the name: a second miner of one name, or one whose name is no level.
    """
    whole = "\0".join((lab, name, level if level_fault(name) is None and level != name else ""))
    digest = hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"asiclab_{_ID.sub('_', lab)[:24]}_{_ID.sub('_', name)[:24]}_{digest}"


def config_topic(prefix: str, lab: str, who: Announced) -> str:
    """Where a miner is announced; an empty retained message there takes it back."""
    return f"{prefix}/device/{device_id(lab, who.name, who.level)}/config"


def announcement(topics: Topics, who: Announced, *, period_s: float, version: str) -> dict[str, Any]:
    """What announces a miner: JSON, to be retained.

    Args:
        topics: of the lab.
        who: the miner.
        period_s: between two readings of its telemetry.
        version: of this lab.
    """
    own = device_id(topics.lab, who.name, who.level)
    expire_s = max(60, round(EXPIRE_PERIODS * period_s))
    components: dict[str, Any] = {}
    for quantity in TELEMETRY:
        if who.reads is None or quantity.key in who.reads:
            components[quantity.key] = _sensor(
                own, quantity, topics.telemetry(who.level), _of_row(quantity.key)
            ) | {"expire_after": expire_s}
    for quantity in SHARES:
        template = f"{{{{ value_json.{quantity.key} }}}}"
        components[quantity.key] = _sensor(own, quantity, topics.tally(who.level), template)
    components[LAST_SHARE] = {
        "platform": "sensor",
        "unique_id": f"{own}_{LAST_SHARE}",
        "name": "Last share",
        "state_topic": topics.tally(who.level),
        "value_template": f"{{{{ value_json.{LAST_SHARE} or '' }}}}",
        "device_class": "timestamp",
    }
    device = {"identifiers": [own], "name": who.name[:80], "manufacturer": who.make, "model": who.model,
              "sw_version": who.firmware}  # fmt: skip
    return {
        "device": {key: value for key, value in device.items() if value is not None},
        "origin": {"name": "asic-reservoir-lab", "sw_version": version},
        "components": components,
        "availability": [
            {"topic": topics.state(), "value_template": LAB_STATE},
            {"topic": topics.miner_state(who.level), "value_template": MINER_STATE},
        ],
        "availability_mode": "all",
        "qos": 1,
    }


def tally(accepted: int, rejected: int, last_share_wall_ns: int | None) -> dict[str, Any]:
    """What the lab counted of a miner's shares in this run; the time as Home Assistant reads it."""
    last = None
    if last_share_wall_ns is not None:
        last = datetime.fromtimestamp(last_share_wall_ns // 10**9, tz=UTC).isoformat()
    return {"accepted": accepted, "rejected": rejected, LAST_SHARE: last}


def _of_row(key: str) -> str:
    """Template of a column in the message of a row, where the device itself told it; nothing changes otherwise."""
    value = f"value_json.row.get('{key}')"
    return f"{{{{ {value} if not value_json.row.get('source') and {value} is number else '' }}}}"


def _sensor(own: str, quantity: Quantity, topic: str, template: str) -> dict[str, Any]:
    made = {
        "platform": "sensor",
        "unique_id": f"{own}_{quantity.key}",
        "name": quantity.name,
        "state_topic": topic,
        "value_template": template,
        "unit_of_measurement": quantity.unit,
        "device_class": quantity.kind,
        "state_class": "total_increasing" if quantity.total else "measurement",
        "suggested_display_precision": quantity.decimals,
    }
    return {key: value for key, value in made.items() if value is not None}
