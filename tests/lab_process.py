"""``asiclab`` as a process of its own, for what keeps running, is killed, or hears signals."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]

_BEFORE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that started the tests in the background ignores it
"""
_AFTER = """
from experiments.cli.app import main
main()
"""


def _environment(folder: Path, *, own_state: bool) -> dict[str, str]:
    more = {"ASICLAB_STATE": str(folder / "state")} if own_state else {}
    return {**os.environ, "PYTHONPATH": str(PROJECT), **more}


def started(
    folder: Path, *arguments: object, before: str = "", own_state: bool = False
) -> subprocess.Popen[str]:
    """A command with this working folder; who starts it ends it.

    Args:
        folder: where it runs.
        arguments: of the command line.
        before: Python that it runs first, such as lines that make an experiment smaller.
        own_state: whether what it remembers of devices lies in that folder.
    """
    run = ["-c", _BEFORE + before + _AFTER] if before else ["-m", "experiments.cli"]
    return subprocess.Popen(
        [sys.executable, *run, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=_environment(folder, own_state=own_state),
    )


@contextmanager
def running(folder: Path, *arguments: object, before: str = "") -> Iterator[subprocess.Popen[str]]:
    """As :func:`started`; killed if it is still there at the end."""
    child = started(folder, *arguments, before=before)
    try:
        yield child
    finally:
        if child.poll() is None:
            child.kill()
        child.communicate()


async def started_beside(folder: Path, *arguments: object) -> asyncio.subprocess.Process:
    """A command with ``--json`` beside the test's event loop; what it remembers of devices lies in its folder."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "experiments.cli", *map(str, arguments), "--json",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=folder,
        env=_environment(folder, own_state=True),
    )  # fmt: skip


def first_line(child: subprocess.Popen[str]) -> dict[str, Any]:
    """The object that it prints first."""
    assert child.stdout is not None
    line = child.stdout.readline()
    assert line, child.communicate()[1]
    value = json.loads(line)
    assert isinstance(value, dict)
    return value
