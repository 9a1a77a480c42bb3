"""How a failure of the store still becomes an event of the run.

Beside a SQLite trace lie, while it is being written, a small reserve file, whose release makes room for one last event
on a full disk, and, where even that fails, ``<db>.emergency.jsonl``, which the next writer folds into the events.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import sqlite3
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, select, update

from firmware_bridge.trace.schema import events, runs
from firmware_bridge.trace.sinks import Sink

log = logging.getLogger(__name__)

RESERVE_BYTES = 256 * 1024
"""Room for a last transaction: a few 4 KiB pages in the log and their share of the index of the log."""


@dataclass(frozen=True, slots=True)
class LastWord:
    """An event that has to outlive the failure of the store."""

    run_id: str
    kind: str
    severity: str
    wall_ns: int
    monotonic_ns: int
    detail: dict[str, Any]
    exit_reason: str | None = None


class Reserve:
    """A file that holds disk space until it is needed."""

    def __init__(self, database: Path) -> None:
        self._path = Path(f"{database}.reserve")

    def hold(self) -> None:
        """Take the space; without it (disk nearly full) the sidecar has to do."""
        with contextlib.suppress(OSError), self._path.open("wb") as file:
            file.write(bytes(RESERVE_BYTES))
            file.flush()
            os.fsync(file.fileno())

    def release(self) -> None:
        """Give the space back."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def classify(error: BaseException) -> tuple[str, str]:
    """Event kind of a failure, and what to do about it."""
    cause = getattr(error, "orig", None) or error
    name = getattr(cause, "sqlite_errorname", "") if isinstance(cause, sqlite3.Error) else ""
    number = cause.errno if isinstance(cause, OSError) else None
    state = getattr(cause, "sqlstate", None) or ""  # of a server
    if state in _SERVER_TROUBLE:
        return _SERVER_TROUBLE[state]
    lost = not state and type(cause).__module__.startswith("psycopg")
    if lost or state.startswith(("08", "57P")):
        return "database_lost", "see that the server runs and can be reached, then start again"
    if name == "SQLITE_FULL" or number == errno.ENOSPC:
        return "disk_full", "free space there (or raise its limit), or give another --db"
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return "database_locked", "end the program that holds the lock, or give another --db"
    if name.startswith("SQLITE_READONLY"):
        return "database_read_only", "make the file and its folder writable, or give another --db"
    if name.startswith("SQLITE_IOERR"):
        return "disk_error", "check the disk and its quota (df, dmesg, ulimit -f), or give another --db"
    if name in ("SQLITE_CORRUPT", "SQLITE_NOTADB"):
        return "database_damaged", "keep the file, recover it with `sqlite3 FILE .recover`, give another --db"
    return "trace_failure", "see the cause; the run up to here is intact"


_SERVER_TROUBLE = {
    "53100": ("disk_full", "free space on the server, or give another --db"),
    "55P03": ("database_locked", "end the program that holds the lock, or give another --db"),
    "40P01": ("database_locked", "end the program that holds the lock, or give another --db"),
    "25006": ("database_read_only", "the server is a standby, or set to read only: give the one that writes"),
    "42501": ("database_read_only", "let the user of the database write its tables, or give another --db"),
    "58030": ("disk_error", "check the disk of the server and its log, or give another --db"),
    "XX001": (
        "database_damaged",
        "keep the server's folder and its log, restore a backup, give another --db",
    ),
}
"""SQLSTATE that a PostgreSQL server gives to the kind of an event, and what to do."""


def sidecar_of(database: Path) -> Path:
    """Where last words wait that the database could not take."""
    return Path(f"{database}.emergency.jsonl")


def store(sink: Sink, words: list[LastWord]) -> None:
    """Write last words into the database, in one transaction, and end their runs as failed.

    Raises:
        Exception: whatever the sink raises; nothing is stored then.
    """
    sink.begin()
    for word in words:
        _insert(sink, word)
    sink.commit()


def write_sidecar(database: Path, words: list[LastWord]) -> None:
    """Append last words to the sidecar.

    Raises:
        OSError: if not even that can be written.
    """
    with sidecar_of(database).open("a", encoding="utf-8") as file:
        for word in words:
            file.write(json.dumps(asdict(word), sort_keys=True) + "\n")
        file.flush()
        os.fsync(file.fileno())


def leave(sink: Sink, database: Path | None, reserve: Reserve | None, words: list[LastWord]) -> None:
    """Store last words wherever that still works: in the database, else in the sidecar, else in the log."""
    if reserve is not None:
        reserve.release()
    try:
        sink.set_timeout(1.0)
        store(sink, words)
    except Exception:
        with contextlib.suppress(Exception):
            sink.rollback()
        if database is None:
            log.error("the failure itself could not be recorded")
            return
        try:
            write_sidecar(database, words)
        except OSError as error:
            log.error("%s: the failure itself could not be recorded: %s", database, error)


def fold(sink: Sink, database: Path) -> int:
    """Move the sidecar's events into the database; a crash in between doubles none.

    Returns:
        Number of events that were new.

    Raises:
        Exception: whatever the sink raises; the sidecar then stays.
    """
    path = sidecar_of(database)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return 0
    words = []
    for line in lines:
        with contextlib.suppress(ValueError, TypeError):  # the last line may have been cut short
            words.append(LastWord(**json.loads(line)))
    sink.begin()
    added = sum(_insert(sink, word) for word in words)
    sink.commit()
    path.unlink()
    return added


def _insert(sink: Sink, word: LastWord) -> bool:
    run = sink.execute(select(runs.c.run).where(runs.c.run_id == word.run_id))
    if run is None:
        return False
    detail = json.dumps(word.detail, sort_keys=True)
    same = select(func.count()).where(
        events.c.run == run,
        events.c.kind == word.kind,
        events.c.wall_ns == word.wall_ns,
        events.c.monotonic_ns == word.monotonic_ns,
        events.c.detail == detail,
    )
    if sink.execute(same):
        return False
    sink.insert(events, run, [(None, word.wall_ns, word.monotonic_ns, word.kind, word.severity, detail)])
    if word.exit_reason is not None:
        sink.execute(
            update(runs)
            .where(runs.c.run == run)
            .values(exit_status="fail", exit_reason=word.exit_reason, ended_wall_ns=word.wall_ns)
        )
    return True
