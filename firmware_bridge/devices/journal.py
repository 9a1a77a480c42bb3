"""Settings from before a change, kept in a file: they survive ``kill -9`` and a power cut.

One small JSON file in ``$ASICLAB_STATE`` or ``~/.local/state/asiclab``, replaced as a whole and synced before a device
is touched; a lock file keeps several processes from losing each other's entries. A device has one entry however its
address is written, so that the second command to change it does not take the first one's settings for the original
ones. Passwords in an address are not kept.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from firmware_bridge.clock import Clock, SystemClock
from firmware_bridge.devices.settings import OperatingPoint, OriginalSettings
from firmware_bridge.errors import UserError
from firmware_bridge.trace.provenance import is_secret_name

FILE_NAME = "device-settings.json"
_NAMES = {f.name for f in fields(OperatingPoint)}
_USUAL_PORT = {"s9": 4028, "lv06": 80, "axeos": 80, "lb-box": 80}
_SAME = {"axeos": "lv06"}
"""Schemes of one driver."""


def device_key(address: str) -> str:
    """What a device is kept under: driver, host and port, or the path of a serial port."""
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        return address
    if not parts.scheme:
        return address
    scheme = _SAME.get(parts.scheme, parts.scheme)
    host = parts.hostname or ""
    port = _USUAL_PORT.get(parts.scheme) if port is None else port
    where = f"[{host}]" if ":" in host else host
    return f"{scheme}://{where}{'' if port is None else f':{port}'}{parts.path.rstrip('/')}"


def without_secrets(address: str) -> str:
    """The address without a password, as ``devices restore`` can open it again."""
    parts = urlsplit(address)
    if not parts.query and "@" not in parts.netloc:
        return address
    kept = [(n, v) for n, v in parse_qsl(parts.query, keep_blank_values=True) if not is_secret_name(n)]
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query=urlencode(kept)).geturl()


def state_folder() -> Path:
    """Where the lab keeps what has to outlive a process."""
    given = os.environ.get("ASICLAB_STATE")
    if given:
        return Path(given)
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "asiclab"


class SettingsJournal(OriginalSettings):
    """The file.

    Args:
        folder: where it is; ``state_folder()`` if None.
        clock: for the time in it.

    Raises:
        UserError: from every method, where the file cannot be read or written.
    """

    def __init__(self, folder: Path | None = None, clock: Clock | None = None) -> None:
        super().__init__()
        self.path = (folder or state_folder()) / FILE_NAME
        self._clock: Clock = clock or SystemClock()

    def get(self, address: str) -> OperatingPoint | None:
        """The original point of a device that was changed and not restored, or None."""
        entry = self._read().get(device_key(address))
        return None if entry is None else self._point(address, entry)

    def addresses(self) -> list[str]:
        """Devices that were changed and not restored."""
        return sorted(str(entry.get("url", key)) for key, entry in self._read().items())

    def keep(self, address: str, point: OperatingPoint) -> None:
        """Remember a point; on the disk when this returns."""
        entry = {
            "url": without_secrets(address),
            "point": point.to_json(),
            "wall_ns": self._clock.wall_ns(),
            "process": os.getpid(),
        }
        with self._locked():
            self._write({**self._read(), device_key(address): entry})

    def forget(self, address: str) -> None:
        """Note that a device is back at its original point."""
        with self._locked():
            entries = self._read()
            if entries.pop(device_key(address), None) is not None:
                self._write(entries)

    def _point(self, address: str, entry: dict[str, Any]) -> OperatingPoint:
        """What was kept; a broken value must not reach a miner."""
        point = entry.get("point")
        given = {k: v for k, v in point.items() if v is not None} if isinstance(point, dict) else {}
        for name, value in given.items():
            right = isinstance(value, str) if name == "power_plan" else _is_number(value)
            if name not in _NAMES or not right:
                given = {}
                break
        if not given:
            raise UserError(
                f"{self.path}: what is kept of {address} is no set of settings: {str(point)[:200]}; look into it, mend "
                "or remove it"
            )
        return OperatingPoint(**given)

    def _read(self) -> dict[str, Any]:
        try:
            entries = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(
                f"{self.path}: the settings to restore cannot be read ({error}); look into it, mend or remove it"
            ) from error
        if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
            raise UserError(f"{self.path}: this is no journal of settings; look into it, mend or remove it")
        return entries

    def _write(self, entries: dict[str, Any]) -> None:
        draft = self.path.with_suffix(f".{os.getpid()}.tmp")
        try:
            with draft.open("w", encoding="utf-8") as file:
                json.dump(entries, file, indent=1, sort_keys=True)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path)
            if sys.platform != "win32":
                folder = os.open(self.path.parent, os.O_RDONLY)
                try:
                    os.fsync(folder)  # so that the new name survives a power cut too
                finally:
                    os.close(folder)
        except OSError as error:
            raise UserError(
                f"{self.path}: the settings from before cannot be kept ({error.strerror}), so nothing is changed; "
                "give another folder in $ASICLAB_STATE"
            ) from error

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise UserError(
                f"{self.path.parent}: cannot be written ({error.strerror}), so the settings from before could not be "
                "remembered and nothing is changed; give another folder in $ASICLAB_STATE"
            ) from error
        try:
            if sys.platform != "win32":
                import fcntl

                fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


class RunSettings(OriginalSettings):
    """Remembers for one run what its devices were set to when it began, and lets the journal know until the end.

    A run brings back what it found, not what somebody remembered before it: settings that ``asiclab devices set`` made
    are the user's wish. After ``kill -9`` the journal holds both.

    Args:
        journal: what survives this process.
    """

    def __init__(self, journal: OriginalSettings) -> None:
        super().__init__()
        self._journal = journal
        self._before: dict[str, OperatingPoint | None] = {}

    def keep(self, address: str, point: OperatingPoint) -> None:
        """Remember a point, durably: together with what the journal had of this device before the run."""
        if address not in self._before:
            self._before[address] = self._journal.get(address)
        before = self._before[address] or OperatingPoint()
        merged = {s.value: v for s, v in {**point.given(), **before.given()}.items()}
        self._journal.keep(address, OperatingPoint(**merged))  # type: ignore[arg-type]
        super().keep(address, point)

    def forget(self, address: str) -> None:
        """Note that a device is as the run found it; the journal holds again what it held before."""
        super().forget(address)
        if address in self._before:
            before = self._before.pop(address)
            if before is None:
                self._journal.forget(address)
            else:
                self._journal.keep(address, before)


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
    )
