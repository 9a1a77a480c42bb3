"""A miner over its socket as the subject of an experiment: recorded, lost, resumed, and set back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from experiments.attached import Attached
from experiments.results import Results
from firmware_bridge.errors import DeviceError, UserError
from firmware_bridge.trace.reader import TraceReader
from tests.experiments.live_runs import miners_of

FAST = {"hash_rate_ths": 120.0}
"""About 90 shares a second, so that a cell takes seconds."""


def miner(tmp_path: Path, **more: Any) -> Attached:
    return Attached(f"sqlite:///{tmp_path}/lab.db", "emulate:s9", physics=FAST, **more)


@pytest.mark.costly
def test_a_cell_is_a_run_of_the_trace(tmp_path: Path) -> None:
    subject = miner(tmp_path, plants={"quality": 3.0})
    data = subject.data(5, shares=200, difficulty=256.0)
    assert data.n >= 200
    assert (data.kind, data.mode) == ("live", "swh")
    reader = TraceReader(subject.db)
    record = reader.run(1)
    assert record["exit_status"] == "success"
    assert record["plants"] == {"quality": 3.0}
    assert record["physics"]["hash_rate_ths"] == 120.0
    assert record["config"]["experiment"] is True
    other = subject.data(6, shares=50, mode="stream", job_period_s=1.0)
    assert other.mode == "stream"
    assert reader.run(2)["seeds"]["jobs"] == 6


def test_what_only_an_emulator_can_set_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="program cannot be set for a cell"):
        miner(tmp_path).data(1, shares=10, program=())
    assert not (tmp_path / "lab.db").exists()


def test_a_device_is_changed_only_where_that_was_agreed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="agree with --yes"):
        Attached("sqlite:///x.db", "lv06://10.0.0.7", host="10.0.0.1")
    with pytest.raises(UserError, match="--host ADDRESS"):
        Attached("sqlite:///x.db", "lv06://10.0.0.7", agreed=True)
    told = Attached("sqlite:///x.db", "lv06://10.0.0.7", model="lv06", host="10.0.0.1", agreed=True)
    assert told.placebo().model == "lv06"
    assert "db" not in told.to_json()


def test_nobody_who_comes_is_a_device_error_with_what_to_do(tmp_path: Path) -> None:
    waiting = Attached(f"sqlite:///{tmp_path}/lab.db", "any", patience_s=0.5)
    with pytest.raises(DeviceError, match=r"no share at 127\.0\.0\.1:\d+ for 0\.5 s"):
        waiting.data(1, shares=10)


def lab(folder: Path, *words: str, hash_rate_ths: float = 120.0) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "experiments.cli", "run", *words, "--time", "wall", "--emulate", "s9"]
    physics = [
        "--physics",
        f"hash_rate_ths={hash_rate_ths}",
        "--size",
        "fast",
        "--db",
        f"sqlite:///{folder}/lab.db",
        "--json",
    ]
    return subprocess.Popen(
        [*command, *physics],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.slow
def test_a_miner_whose_plug_is_pulled_ends_the_run_and_it_goes_on_later(tmp_path: Path) -> None:
    first = lab(tmp_path, "poisson", "--seed", "3")
    deadline_s = time.monotonic() + 120
    while not (there := miners_of(first)):
        assert time.monotonic() < deadline_s
        assert first.poll() is None, first.communicate()
        time.sleep(0.05)
    time.sleep(2.0)
    for number in there:
        os.kill(number, signal.SIGKILL)
    said = first.communicate(timeout=120)[1]
    assert first.returncode == 1, said
    assert "ended early" in said
    assert "Traceback" not in said
    second = lab(tmp_path, "poisson", "--seed", "3", "--resume")
    out, said = second.communicate(timeout=280)
    assert second.returncode == 0, said
    outcome = json.loads(out)
    assert outcome["subject"]["kind"] == "device"
    assert outcome["cells"] == 2


@pytest.mark.costly
def test_a_run_that_is_asked_to_stop_stops_in_the_middle_of_a_cell(tmp_path: Path) -> None:
    process = lab(tmp_path, "poisson", "--seed", "3", hash_rate_ths=1.0)  # a cell of an hour
    deadline_s = time.monotonic() + 200
    while not miners_of(process):
        assert time.monotonic() < deadline_s
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    with Results(f"sqlite:///{tmp_path}/lab.db", create=False) as results:
        (run,) = results.runs()
        results.ask_to_stop(run.run_id)
        said = process.communicate(timeout=200)[1]
        (run,) = results.runs()
    assert process.returncode == 1, said
    assert "in the middle of a cell" in said
    assert "Traceback" not in said
    assert not run.finished
    assert not miners_of(process)


def test_a_bridge_that_fails_is_no_finished_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the server says counts as much as what the miner does."""
    from firmware_bridge.errors import TraceError
    from firmware_bridge.stratum.server import Bridge

    served = Bridge.serve

    async def failing(self: Bridge, seconds: float | None = None, shares: int | None = None) -> str:
        await served(self, 0.3, shares)
        raise TraceError("the disk is full")

    monkeypatch.setattr(Bridge, "serve", failing)
    waiting = Attached(f"sqlite:///{tmp_path}/lab.db", "any", patience_s=60.0)
    with pytest.raises(TraceError, match="the disk is full"):
        waiting.data(1, shares=10)
