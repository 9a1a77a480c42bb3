"""Groups of tests: one worker runs a group, and only what hangs on the machine's clock runs once more when it fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.xdist_group("grouping")
def test_groups_of_tests_are_kept_together(request: pytest.FixtureRequest) -> None:
    """Lean would need its memory twice, and timings would disturb each other."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        pytest.skip("one process runs everything: -n is not given")
    if not request.config.getvalue("loadgroup"):
        pytest.skip("--dist loadgroup is not given")
    assert request.node.nodeid.endswith("@grouping")


SUITE = """
import time
from pathlib import Path

import pytest

def attempt(name):
    with Path(name).open("a") as file:
        file.write("x")
    return Path(name).stat().st_size

@pytest.mark.xdist_group("timing")
def test_unlucky_once():
    assert attempt("unlucky") == 2

@pytest.mark.xdist_group("timing")
def test_wrong():
    assert attempt("wrong") == 0

@pytest.mark.timeout(0.5)
@pytest.mark.xdist_group("timing")
def test_hangs():
    attempt("hangs")
    time.sleep(60)

@pytest.mark.xdist_group("other")
def test_of_another_group():
    assert attempt("other") == 2

def test_of_none():
    assert attempt("none") == 2
"""


@pytest.mark.costly
@pytest.mark.parametrize(
    "processes", [("-p", "no:xdist"), ("-n", "0"), ("-n", "1", "--dist", "loadgroup")], ids=" ".join
)
def test_what_measures_time_fails_if_it_fails_twice_and_the_rest_if_it_fails_once(
    tmp_path: Path, project: Path, processes: tuple[str, ...]
) -> None:
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_collection_modifyitems\n")
    (tmp_path / "test_suite.py").write_text(SUITE)
    options = ("-c", str(project / "pyproject.toml"), "--rootdir", str(tmp_path), "-p", "no:cacheprovider")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *processes, "test_suite.py"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        | {"PYTHONPATH": str(project)},
    )  # fmt: skip
    attempts = {
        name: (tmp_path / name).stat().st_size for name in ("unlucky", "wrong", "hangs", "other", "none")
    }
    assert attempts == {"unlucky": 2, "wrong": 2, "hangs": 2, "other": 1, "none": 1}, done.stdout
    assert done.returncode == 1
    assert "4 failed, 1 passed, 3 rerun" in done.stdout
    assert (
        "RERUN test_suite.py::test_unlucky_once" in done.stdout
    )  # who was lucky is seen, and what went wrong before
    assert "assert 1 == 2" in done.stdout.split("rerun test summary info")[1]
    assert "RERUN test_suite.py::test_of_" not in done.stdout
