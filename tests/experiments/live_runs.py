"""Runs of experiments in processes of their own, made small, and what they left in their database."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[2]
WAIT_S = 240.0

BEFORE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that started the tests in the background ignores it
"""
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
AFTER = """
from experiments.cli.app import main
main()
"""


@contextmanager
def running(folder: Path, smaller: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    """``asiclab`` with these options after some lines that make it smaller; killed if it is still there at the end."""
    child = subprocess.Popen(
        [sys.executable, "-c", BEFORE + smaller + AFTER, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
    )
    try:
        yield child
    finally:
        if child.poll() is None:
            child.kill()
        child.communicate()


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
