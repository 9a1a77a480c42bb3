"""How far each run of a trace has been acknowledged by each broker, on disk beside the trace.

A small SQLite file of its own (``lab.db.mqtt``), so that the trace itself is only ever read. What it says may be old,
as it is written about once a second: rows that were sent already are then sent again, and recorders drop them.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from firmware_bridge.devices.journal import state_folder
from firmware_bridge.telemetry.mqtt_settings import MqttSettings
from firmware_bridge.trace.store import Location, connect_sqlite

log = logging.getLogger(__name__)

MOST_UNFINISHED = 64
"""Runs that are looked at again at the next start."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS positions (
  broker TEXT NOT NULL, lab TEXT NOT NULL, run_id TEXT NOT NULL, table_name TEXT NOT NULL, last_id INTEGER,
  PRIMARY KEY (broker, lab, run_id, table_name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS published (
  broker TEXT NOT NULL, lab TEXT NOT NULL, run_id TEXT NOT NULL, done INTEGER NOT NULL,
  UNIQUE (broker, lab, run_id));
"""
_PUBLISHED = "INSERT INTO published VALUES (?,?,?,?) ON CONFLICT DO UPDATE SET done=excluded.done"


def file_for(where: Location) -> Path:
    """Where the positions of a trace are: beside a SQLite file, else in the lab's state folder."""
    if where.path is not None and os.access(where.path.absolute().parent, os.W_OK):
        return Path(f"{where.path}.mqtt")
    name = where.url.render_as_string(hide_password=True)
    return state_folder() / f"mqtt-{hashlib.sha256(name.encode()).hexdigest()[:16]}.db"


class Positions:
    """The file, for one broker and one lab. Without a file that can be written it remembers nothing, and says so.

    Args:
        where: of the trace.
        settings: of the broker.
    """

    def __init__(self, where: Location, settings: MqttSettings) -> None:
        self._key = (f"{settings.host}:{settings.port}", settings.lab)
        self._path = file_for(where)
        self._db: sqlite3.Connection | None = None
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._db = connect_sqlite(self._path, timeout_s=5.0)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.executescript(_SCHEMA)
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)

    def of(self, run_id: str) -> dict[str, int]:
        """Acknowledged id of each table of a run."""
        sql = "SELECT table_name, last_id FROM positions WHERE broker=? AND lab=? AND run_id=?"
        return {str(name): int(str(last)) for name, last in self._query(sql, run_id) if last is not None}

    def unfinished(self) -> list[str]:
        """Newest runs that were begun to be published here and are not done, at most ``MOST_UNFINISHED``."""
        sql = "SELECT run_id FROM published WHERE broker=? AND lab=? AND NOT done ORDER BY rowid DESC LIMIT ?"
        return [str(row[0]) for row in self._query(sql, MOST_UNFINISHED)]

    def published(self) -> list[str]:
        """Every run that was begun to be published here, newest last."""
        sql = "SELECT run_id FROM published WHERE broker=? AND lab=? ORDER BY rowid"
        return [str(row[0]) for row in self._query(sql)]

    def store(self, run_id: str, last: Mapping[str, int | None], *, done: bool) -> None:
        """Remember how far a run is, as one transaction."""
        if self._db is None:
            return
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute(_PUBLISHED, (*self._key, run_id, done))
            self._db.executemany(
                "REPLACE INTO positions VALUES (?,?,?,?,?)",
                [(*self._key, run_id, table, last_id) for table, last_id in last.items()],
            )
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._give_up(error)

    def close(self) -> None:
        """Close the file."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def _query(self, sql: str, *more: object) -> list[tuple[object, ...]]:
        if self._db is None:
            return []
        try:
            return self._db.execute(sql, (*self._key, *more)).fetchall()
        except sqlite3.Error as error:
            self._give_up(error)
            return []

    def _give_up(self, error: Exception) -> None:
        log.warning(
            "%s: cannot be used (%s); after a restart every row is published again", self._path, error
        )
        self.close()
