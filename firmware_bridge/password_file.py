"""Passwords come from files, never from an option that other users of the machine can read."""

from __future__ import annotations

from pathlib import Path

from firmware_bridge.errors import UserError


def read_password(file: Path) -> str:
    """First line of a file.

    Raises:
        UserError: if it cannot be read or is empty.
    """
    try:
        with file.open(encoding="utf-8") as text:
            line = text.readline().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise UserError(f"{file}: the password cannot be read ({reason})") from None
    if not line:
        raise UserError(f"{file}: its first line is empty; put the password there")
    return line
