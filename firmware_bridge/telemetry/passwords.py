"""The password file of the embedded broker: ``NAME:HASH`` lines, Argon2 hashes, as amqtt's own file has them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from pwdlib import PasswordHash

SHORTEST = 8
"""Characters that a new password has at least."""


def _hasher() -> PasswordHash:
    from pwdlib import PasswordHash
    from pwdlib.hashers.argon2 import Argon2Hasher

    return PasswordHash((Argon2Hasher(),))


class Passwords:
    """Who may log in.

    Args:
        hashes: user name to Argon2 hash.
    """

    def __init__(self, hashes: dict[str, str]) -> None:
        self._hashes = dict(hashes)
        self._hasher = _hasher()
        self._nobody = self._hasher.hash(os.urandom(16).hex())

    def __len__(self) -> int:
        return len(self._hashes)

    def verify(self, user: str, password: str) -> bool:
        """Whether the password is the user's; takes as long for a user that does not exist. Some 50 ms of a core."""
        known = self._hashes.get(user)
        right = self._hasher.verify(password, known or self._nobody)
        return right and known is not None


def load(path: Path) -> Passwords:
    """Read a password file.

    Raises:
        UserError: if it cannot be read, has no user, or a line is no ``NAME:HASH`` with an Argon2 hash; a hash is
            never part of the message.
    """
    hashes: dict[str, str] = {}
    for number, line in _lines(path):
        name, separator, hashed = line.partition(":")
        if not separator or not name or not hashed.startswith("$argon2"):
            raise UserError(
                f"{path}, line {number}: is no NAME:HASH with an Argon2 hash; "
                f"add users with: asiclab broker --password-file {path} --add-user NAME"
            )
        hashes[name] = hashed
    if not hashes:
        raise UserError(f"{path}: names no user; add one with --add-user NAME")
    return Passwords(hashes)


def add(path: Path, user: str, password: str) -> bool:
    """Add a user to a password file, or change the password; whether the user was there before.

    The file is made where it is missing, readable by its owner alone, and replaced as a whole.

    Raises:
        UserError: if the name or the password cannot be used, or the file cannot be written.
    """
    if not user or any(c in user for c in ":#\r\n\0") or user != user.strip():
        raise UserError(f"{user!r} cannot be a user name: no colon, #, or space around it, and not empty")
    if len(password) < SHORTEST:
        raise UserError(f"a password has {SHORTEST} characters or more")
    lines = _text(path).splitlines() if path.exists() else []
    kept = [line for line in lines if line.partition(":")[0] != user]
    text = "".join(f"{line}\n" for line in [*kept, f"{user}:{_hasher().hash(password)}"])
    part = path.with_name(f".{path.name}.part")
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise UserError(f"{path}: cannot be written ({error.strerror})") from error
    return len(kept) < len(lines)


def _lines(path: Path) -> list[tuple[int, str]]:
    numbered = ((number, line.strip()) for number, line in enumerate(_text(path).splitlines(), 1))
    return [(number, line) for number, line in numbered if line and not line.startswith("#")]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); "
            f"make it with: asiclab broker --password-file {path} --add-user NAME"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text ({error.reason})") from error
