"""Settings from before a change, kept in a file: they survive ``kill -9`` and a power cut.

One small JSON file in ``$ASICLAB_STATE`` or ``~/.local/state/asiclab``, replaced as a whole and synced before a device
is touched; a lock file keeps several processes from losing each other's entries.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from firmware_bridge.clock import Clock, SystemClock
from firmware_bridge.devices.settings import OperatingPoint, OriginalSettings
from firmware_bridge.errors import UserError

FILE_NAME = "device-settings.json"
_NAMES = {f.name for f in fields(OperatingPoint)}


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
        entry = self._read().get(address)
        if not isinstance(entry, dict) or not isinstance(entry.get("point"), dict):
            return None
        return OperatingPoint(**{k: v for k, v in entry["point"].items() if k in _NAMES})

    def addresses(self) -> list[str]:
        """Devices that were changed and not restored."""
        return sorted(self._read())

    def keep(self, address: str, point: OperatingPoint) -> None:
        """Remember a point; on the disk when this returns."""
        entry = {"point": point.to_json(), "wall_ns": self._clock.wall_ns(), "process": os.getpid()}
        with self._locked():
            self._write({**self._read(), address: entry})

    def forget(self, address: str) -> None:
        """Note that a device is back at its original point."""
        with self._locked():
            entries = self._read()
            if entries.pop(address, None) is not None:
                self._write(entries)

    def _read(self) -> dict[str, Any]:
        try:
            entries = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise UserError(
                f"{self.path}: the settings to restore cannot be read ({error}); look into it, mend or remove it"
            ) from error
        if not isinstance(entries, dict):
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
