"""Goldshell's HTTP API, as plain data (``hardware.md`` §5.1): login, settings with power plans, pools, devices."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from firmware_bridge.devices import fields
from firmware_bridge.devices.telemetry import BoardReading, PoolState
from firmware_bridge.errors import ProtocolError

DEFAULT_USER, DEFAULT_PASSWORD = "admin", "123456789"
LOGOUT = "/user/logout"
PAGES = {
    "status": "/mcb/status",
    "setting": "/mcb/setting",
    "pools": "/mcb/pools",
    "devs": "/mcb/cgminer?cgminercmd=devs",
}
NEW_POOL, DELETE_POOL = "/mcb/newpool", "/mcb/delpool"
TOKEN = "JWT Token"

LEVELS = {0: "normal", 1: "low power", 3: "sleep"}
"""Level of a power plan to what it means; pyasic's reading, unconfirmed for the LB-Box."""

_KEY, _IV = b"!" * 16, bytes(16)


def login_target(user: str, password: str, *, cipher: bool) -> str:
    """Path and query of a login; newer firmware wants the password enciphered."""
    sent = enciphered(password) if cipher else password
    return f"/user/login?username={quote(user)}&password={quote(sent, safe='')}&cipher={str(cipher).lower()}"


def enciphered(password: str) -> str:
    """The password as the web page sends it: AES-128-CBC under a fixed key, zero padded, in hex."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    data = password.encode()
    padded = data + bytes(-len(data) % 16)
    encryptor = Cipher(algorithms.AES(_KEY), modes.CBC(_IV)).encryptor()
    return (encryptor.update(padded) + encryptor.finalize()).hex()


def decode(body: bytes) -> Any:
    """An answer as JSON.

    Raises:
        ProtocolError: if it is none; its bytes may hold a password, so the message is silent about them.
    """
    try:
        return json.loads(body, parse_constant=lambda name: None)
    except (ValueError, RecursionError):
        raise ProtocolError("the answer is no JSON") from None


def token_of(body: bytes) -> str | None:
    """Token of a login's answer, None where it is no JSON or holds none."""
    try:
        answer = decode(body)
    except ProtocolError:
        return None
    return fields.text(answer, TOKEN) if isinstance(answer, dict) else None


def plans_of(setting: Mapping[str, Any]) -> dict[str, int]:
    """Names of the power plans to their index in the list; names that occur twice get their level."""
    plans = setting.get("powerplans")
    names: dict[str, int] = {}
    for index, plan in enumerate(plans if isinstance(plans, list) else []):
        if not isinstance(plan, dict):
            continue
        level = fields.whole(plan, "level")
        name = LEVELS.get(level, f"level {level}") if level is not None else f"plan {index}"
        names.setdefault(name, index)
    return names


def plan_in_force(setting: Mapping[str, Any]) -> str | None:
    """Name of the plan that is selected."""
    selected = fields.whole(setting, "select")
    return next((name for name, index in plans_of(setting).items() if index == selected), None)


def pools_of(pools: Any) -> tuple[PoolState, ...]:
    """The pools that the device lists."""
    rows = [pool for pool in pools if isinstance(pool, dict)] if isinstance(pools, list) else []
    return tuple(
        PoolState(
            url=fields.text(row, "url") or "",
            user=fields.text(row, "user"),
            active=row.get("active") if isinstance(row.get("active"), bool) else None,
        )
        for row in rows
    )


def infos_of(devs: Any) -> list[dict[str, Any]]:
    """Rows of ``minfos[].infos[]``."""
    rows: list[dict[str, Any]] = []
    minfos = devs.get("minfos") if isinstance(devs, dict) else None
    for minfo in minfos if isinstance(minfos, list) else []:
        infos = minfo.get("infos") if isinstance(minfo, dict) else None
        rows += [info for info in (infos if isinstance(infos, list) else []) if isinstance(info, dict)]
    return rows


def boards_of(rows: list[dict[str, Any]]) -> tuple[BoardReading, ...]:
    """Readings of boards from rows of ``devs``, over HTTP or 4028."""
    boards = []
    for number, row in enumerate(rows):
        sensors = [t for key in ("tstemp-1", "tstemp-2") if (t := fields.positive(row, key)) is not None]
        board = fields.whole(row, "ID", "PGA", "id")
        mhs = fields.number(row, "MHS 20s", "MHS av")
        boards.append(
            BoardReading(
                board=number if board is None else board,
                temperature_c=max(sensors) if sensors else None,
                board_temperature_c=min(sensors) if len(sensors) > 1 else None,
                hash_rate_ghs=None if mhs is None else mhs / 1e3,
                chips=fields.whole(row, "chips-nr"),
                hardware_errors=fields.whole(row, "Hardware Errors", "hwerrors"),
            )
        )
    return tuple(boards)


def fans_of(rows: list[dict[str, Any]]) -> tuple[float, ...]:
    """Speeds of the fans in rows of ``devs``: fan0, fan1, …"""
    fans = []
    for row in rows:
        fans += [f for n in range(8) if (f := fields.positive(row, f"fan{n}")) is not None]
    return tuple(fans)
