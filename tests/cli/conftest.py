"""How the command line is called in tests: in process, or as a process of its own where something keeps running."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from experiments.cli import app
from tests import lab_process


class Lab:
    """The command line in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runner = CliRunner()

    def __call__(self, *arguments: object, code: int = 0) -> Any:
        """Run a command, expect its exit code, and give the result."""
        before = Path.cwd()
        os.chdir(self.folder)
        try:
            result = self.runner.invoke(app, [str(argument) for argument in arguments])
        finally:
            os.chdir(before)
        assert result.exit_code == code, f"{arguments}: {result.output}\n{result.exception!r}"
        return result

    def json(self, *arguments: object, code: int = 0) -> dict[str, Any]:
        """Run a command with --json and give the one object that it prints."""
        result = self(*arguments, "--json", code=code)
        lines = result.stdout.splitlines()
        assert len(lines) == 1, lines
        value = json.loads(lines[0])
        assert isinstance(value, dict)
        return value

    @contextmanager
    def process(self, *arguments: object) -> Iterator[subprocess.Popen[str]]:
        """A command as a process of its own; killed if it is still there at the end."""
        with lab_process.running(self.folder, *arguments) as child:
            yield child


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A fresh folder."""
    return Lab(tmp_path)


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory, excerpt: Path) -> Callable[[Path], None]:
    """Copies a database with the recorded excerpt into a folder."""
    folder = tmp_path_factory.mktemp("recorded")
    Lab(folder)("import", excerpt)

    def copy(target: Path) -> None:
        (target / "lab.db").write_bytes((folder / "lab.db").read_bytes())

    return copy


@pytest.fixture
def with_excerpt(lab: Lab, recorded: Callable[[Path], None]) -> Lab:
    """A folder whose lab.db holds the recorded excerpt."""
    recorded(lab.folder)
    return lab


@pytest.fixture(scope="session")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A folder whose lab.db holds one emulated S9 run of 700 shares; tests do not change it."""
    found = Lab(tmp_path_factory.mktemp("emulated"))
    found("emulate", "s9", "--time", "virtual", "--shares", 700, "--seed", 5)
    return found
