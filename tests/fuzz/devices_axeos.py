"""Mutated info pages through the codec of AxeOS, and mutated answers through the HTTP reader of the flight recorder."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from firmware_bridge.devices import axeos, http
from firmware_bridge.errors import LabError, ProtocolError, UserError

PAGES = Path(__file__).parent.parent / "vectors" / "axeos_info.json"
LONGEST_ERROR = 2000


def pages() -> tuple[bytes, ...]:
    """Every page that was written by hand."""
    listed: dict[str, Any] = json.loads(PAGES.read_text(encoding="utf-8"))
    return tuple(json.dumps(page).encode() for page in listed.values() if isinstance(page, dict))


REPLIES = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
    b"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\nX: \r\n\r\nbody\r\n\r\nwith breaks",
    b"HTTP/1.0 404 Not Found\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nlocation: /\r\n\r\nRedirect",
)


def is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


def check_info(data: bytes) -> None:
    kept = axeos.redact(data)
    assert axeos.redact(kept) == kept
    if is_json(data):
        assert is_json(kept)
    try:
        info = axeos.decode_info(data)
    except ProtocolError as error:
        check_text(error)
        return
    for field in fields(info):
        value = getattr(info, field.name)
        assert value is None or isinstance(value, str | int | float | tuple)
        assert not isinstance(value, float) or math.isfinite(value)
    assert info.chips is None or info.chips > 0
    assert info.fell_back in (True, False)
    for build in (
        lambda: axeos.settings_patch(info, data, {"coreVoltage": 1200}, "w"),
        lambda: axeos.pool_patch(info, data, "h", 3333, "u", "p", "w"),
    ):
        try:
            assert json.dumps(build())
        except UserError as error:
            check_text(error)


def check_text(error: LabError) -> None:
    if len(str(error)) > LONGEST_ERROR:
        raise AssertionError(f"an error text of {len(str(error))} characters") from error


def check_reply(data: bytes) -> None:
    try:
        reply = http.decode_reply(data)
    except ValueError:
        return
    again = http.decode_reply(http.encode_reply(reply))
    assert (again.status, again.body) == (reply.status, reply.body)


AXEOS: list[tuple[str, Callable[[], tuple[bytes, ...]], Callable[[bytes], None], float]] = [
    ("AxeOS info page", pages, check_info, 0.5),
    ("HTTP reply", lambda: REPLIES, check_reply, 1.0),
]
