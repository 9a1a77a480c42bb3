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
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from firmware_bridge.clock import Clock, SystemClock
from firmware_bridge.devices.settings import OperatingPoint, OriginalSettings
from firmware_bridge.errors import UserError
from firmware_bridge.trace.provenance import is_secret_name

FILE_NAME = "device-settings.json"
POOLS_NAME = "device-pools.json"
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


class _File:
    """Entries of devices in a file that is replaced as a whole.

    Args:
        path: where it is.

    Raises:
        UserError: from every method, where the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Any]:
        """Every entry."""
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

    def write(self, entries: dict[str, Any]) -> None:
        """Replace all entries; on the disk when this returns."""
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

    def entry(self, address: str) -> dict[str, Any] | None:
        """What is kept of a device, or None."""
        found: dict[str, Any] | None = self.read().get(device_key(address))
        return found

    def put(self, address: str, entry: dict[str, Any]) -> None:
        """Keep an entry of a device instead of any before; on the disk when this returns."""
        with self.locked():
            self.write({**self.read(), device_key(address): {"url": without_secrets(address), **entry}})

    def drop(self, address: str) -> None:
        """Keep nothing of a device any more."""
        with self.locked():
            entries = self.read()
            if entries.pop(device_key(address), None) is not None:
                self.write(entries)

    def addresses(self) -> list[str]:
        """Devices that something is kept of."""
        return sorted(str(entry.get("url", key)) for key, entry in self.read().items())

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing meanwhile."""
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
        self._file = _File((folder or state_folder()) / FILE_NAME)
        self.path = self._file.path
        self._clock: Clock = clock or SystemClock()

    def get(self, address: str) -> OperatingPoint | None:
        """The original point of a device that was changed and not restored, or None."""
        entry = self._file.entry(address)
        return None if entry is None else self._point(address, entry.get("point"))

    def addresses(self) -> list[str]:
        """Devices that were changed and not restored."""
        return self._file.addresses()

    def left_behind(self, address: str) -> OperatingPoint | None:
        """What a run found that was killed before it could bring it back; None where there is none, or it goes on."""
        entry = self._file.entry(address) or {}
        found = entry.get("found")
        return None if found is None or _alive(entry.get("process")) else self._point(address, found)

    def keep(self, address: str, point: OperatingPoint, *, found: OperatingPoint | None = None) -> None:
        """Remember a point; on the disk when this returns.

        Args:
            address: of the device.
            point: what ``asiclab devices restore`` brings back.
            found: what a run found that changes the device; it brings that back, and so does who goes on with it.
        """
        entry = {"point": point.to_json(), "wall_ns": self._clock.wall_ns(), "process": os.getpid()}
        self._file.put(address, entry if found is None else {**entry, "found": found.to_json()})

    def forget(self, address: str) -> None:
        """Note that a device is back at its original point."""
        self._file.drop(address)

    def _point(self, address: str, point: Any) -> OperatingPoint:
        """What was kept; a broken value must not reach a miner."""
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


@dataclass(frozen=True)
class OwnPool:
    """The pool of a device, and the one that the lab gave it.

    Attributes:
        host: of its own pool.
        port: of it.
        user: worker name there.
        lab: URL of the lab's pool.
        wish: whether the user set that one, with ``asiclab devices set --pool``: a run takes it for the device's own.
    """

    host: str
    port: int
    user: str
    lab: str
    wish: bool = False

    @property
    def url(self) -> str:
        """Of its own pool, as miners write it."""
        return f"stratum+tcp://{self.host}:{self.port}"


class PoolJournal:
    """Pools that devices had before the lab gave them its own; passwords are not kept, and no firmware tells them.

    Args:
        folder: where the file is; ``state_folder()`` if None.

    Raises:
        UserError: from every method, where the file cannot be read or written.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._file = _File((folder or state_folder()) / POOLS_NAME)
        self.path = self._file.path

    def get(self, address: str) -> OwnPool | None:
        """The own pool of a device that was given another and not got its own again, or None."""
        entry = self._file.entry(address)
        if entry is None:
            return None
        try:
            host, user, lab = (str(entry[name]) for name in ("host", "user", "lab"))
            return OwnPool(host, int(entry["port"]), user, lab, entry.get("wish") is True)
        except (KeyError, TypeError, ValueError):
            raise UserError(
                f"{self.path}: what is kept of {address} is no pool: {str(entry)[:200]}; look into it, mend or "
                "remove it"
            ) from None

    def addresses(self) -> list[str]:
        """Devices that mine for the lab and did not get their own pool again."""
        return self._file.addresses()

    def keep(self, address: str, own: OwnPool) -> None:
        """Remember a pool; on the disk when this returns."""
        self._file.put(address, asdict(own))

    def forget(self, address: str) -> None:
        """Note that a device has its own pool again."""
        self._file.drop(address)


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

    def adopt(self, address: str) -> OperatingPoint | None:
        """Take over what a killed run had found, so that this run's end brings it back; None where there is nothing."""
        found = self._journal.left_behind(address) if isinstance(self._journal, SettingsJournal) else None
        if found is not None:
            kept = self._journal.get(address)
            self._before[address] = None if kept == found else kept
            super().keep(address, found)
        return found

    def keep(self, address: str, point: OperatingPoint) -> None:
        """Remember a point, durably: together with what the journal had of this device before the run."""
        if address not in self._before:
            self._before[address] = self._journal.get(address)
        before = self._before[address] or OperatingPoint()
        merged = {s.value: v for s, v in {**point.given(), **before.given()}.items()}
        wanted = OperatingPoint(**merged)  # type: ignore[arg-type]
        if isinstance(self._journal, SettingsJournal):
            self._journal.keep(address, wanted, found=point)
        else:
            self._journal.keep(address, wanted)
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


def _alive(process: Any) -> bool:
    """Whether a process is still there."""
    if not isinstance(process, int) or process <= 0:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # it is somebody else's
    return True


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
    )
