"""Runs of experiments in processes of their own: how patient they are, and what they left in their database."""

from __future__ import annotations

import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

WAIT_S = 240.0

IMPATIENT = """
import experiments.vbm_subjects as subjects
import firmware_bridge.devices.device as device
subjects.RESTORE_TRIES, subjects.RESTORE_PAUSE_S = 1, 0.5
device.RESTORE_PATIENCE_S, device.RESTORE_PAUSE_S = 1.0, 0.5
"""
"""Who sets a device back gives up at once."""
PATIENT = """
import experiments.vbm_subjects as subjects
import firmware_bridge.devices.device as device
subjects.RESTORE_PAUSE_S = device.RESTORE_PAUSE_S = 0.5
"""


def eventually(what: Callable[[], bool], child: subprocess.Popen[str] | None = None) -> None:
    """Wait until it is so, while the process lives."""
    deadline_s = time.monotonic() + WAIT_S
    while not what():
        assert time.monotonic() < deadline_s
        assert child is None or child.poll() is None, child.communicate()
        time.sleep(0.05)


def miners_of(process: subprocess.Popen[str]) -> list[int]:
    """Emulated miners that a process has started."""
    found = subprocess.run(
        ["pgrep", "-P", str(process.pid), "-f", "emulate"], capture_output=True, text=True, check=False
    )
    return [int(word) for word in found.stdout.split()]


def cells_of(folder: Path) -> list[tuple[Any, ...]]:
    """Every column of every cell on the miner itself, as its bytes stand in the database; none before it is there."""
    try:
        connection = sqlite3.connect(f"file:{folder / 'lab.db'}?mode=ro", uri=True)
        with closing(connection):
            return connection.execute("select * from experiment_cells where arm = 'subject'").fetchall()
    except sqlite3.OperationalError:
        return []
