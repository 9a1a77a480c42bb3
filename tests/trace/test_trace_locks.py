"""A reader in the writer's own process must not let other processes take the write-ahead log away."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.schema import RunRecord
from firmware_bridge.trace.writer import TraceWriter

LOOK = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); print(*c.execute(sys.argv[2]).fetchone()); c.close()"


def elsewhere(path: Path, query: str) -> str:
    """What another process reads, which closes the database after that."""
    command = [sys.executable, "-c", LOOK, str(path), query]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


def test_reading_beside_a_writer_leaves_its_log_in_place(tmp_path: Path) -> None:
    path = tmp_path / "lab.db"
    writer = TraceWriter(f"sqlite:///{path}")
    run = writer.begin_run(RunRecord(kind="live", source="bridge"))
    run.event("first")
    run.flush()
    log = (tmp_path / "lab.db-wal").stat().st_ino
    assert TraceReader(f"sqlite:///{path}").count(run.run) == 0
    assert (
        elsewhere(path, "SELECT count(*) FROM events") == "1"
    )  # and closes: the last one tidies the log away
    assert (tmp_path / "lab.db-wal").stat().st_ino == log
    run.event("second")
    run.flush()
    assert elsewhere(path, "SELECT count(*) FROM events") == "2"
    run.end("success")
    writer.close()
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT count(*) FROM events").fetchone() == (2,)
