"""Verdicts on the page: few looks, never a wait, and none where none can be told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from experiments.catalogue import get_experiment
from experiments.dashboard.judge import (
    FIRST_SHARES,
    MOST_SHARES,
    PAUSE_S,
    Judge,
    finding_so_far,
    timing_verdict,
)
from experiments.experiment import Row
from experiments.plan import make_plan
from experiments.results import Results
from experiments.runner import measure
from experiments.subjects import Emulated
from firmware_bridge.emulator.virtual import VirtualConfig, run_virtual
from firmware_bridge.timing.intervals import load_run
from firmware_bridge.timing.verdict import judge
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.writer import TraceWriter


def named(db: str, run_id: str) -> dict[str, Any]:
    """Stands for what is worked out: it can be sent to another process."""
    return {"code": "consistent", "text": run_id}


def failing(db: str, run_id: str) -> dict[str, Any]:
    raise ZeroDivisionError


@pytest.fixture
def judged() -> Iterator[Judge]:
    judge = Judge("sqlite://", {"run": named, "experiment": failing}, clock_s=lambda: now_s[0])
    yield judge
    judge.close()


now_s = [0.0]


def until(ask: Any) -> Any:
    deadline_s = time.monotonic() + 200.0  # it gives way to whatever else runs
    while (found := ask()) is None:
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    return found


def test_a_run_is_looked_at_again_only_when_it_has_grown(judged: Judge) -> None:
    assert judged.of_run("a", FIRST_SHARES - 1, ended=False) is None
    first = until(lambda: judged.of_run("a", 600, ended=False))
    assert (first["text"], first["looks"]) == ("a", 1)
    assert judged._under_way is None
    judged.of_run("a", 899, ended=False)
    assert judged._under_way is None
    judged.of_run("a", 900, ended=False)
    assert judged._under_way is not None


def test_the_end_of_a_run_is_looked_at_once_more(judged: Judge) -> None:
    until(lambda: judged.of_run("a", 600, ended=False))
    judged.of_run("a", 601, ended=True)
    assert judged._under_way is not None
    judged.of_run("b", 700, ended=True)  # one at a time: this one has to wait
    until(lambda: judged._under_way is None or judged._look("run", "a").looks == 2 or None)
    judged.of_run("a", 601, ended=True)
    assert judged._under_way is None
    assert judged.of_run("long", MOST_SHARES + 1, ended=True) is None
    assert judged._under_way is None


def test_what_cannot_be_concluded_yet_says_nothing_and_is_asked_again_later(judged: Judge) -> None:
    assert judged.of_experiment("e", 1) is None
    until(lambda: judged._under_way is None or judged._look("experiment", "e").looks or None)
    assert judged.of_experiment("e", 2) is None
    assert judged._under_way is None  # too soon
    now_s[0] += PAUSE_S + 1
    judged.of_experiment("e", 2)
    assert judged._under_way is not None


def test_the_verdict_is_that_of_the_command_line(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/lab.db"
    with TraceWriter(url) as writer:
        run_virtual(VirtualConfig(shares=600, seed=1), writer)
    reader = TraceReader(url)
    run_id = reader.run(1)["run_id"]
    said = timing_verdict(url, run_id)
    expected = judge(load_run(reader, 1))
    assert (said["code"], said["text"]) == (expected.code, expected.text)


def rows_of(url: str, run_id: str) -> list[Row]:
    with Results(url, create=False) as results:
        return results.rows(run_id, "fast")


def test_the_finding_so_far_is_that_of_the_cells_so_far(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/lab.db"
    poisson = get_experiment("poisson")
    plan = make_plan(poisson, Emulated(), size="fast", seed=5)
    with Results(url) as results:
        run_id = results.begin(plan)
        cell, values, seconds = measure("poisson", Emulated(), plan.cells[0])
        results.add(run_id, cell, values, seconds)
    said = finding_so_far(url, run_id)
    assert said["cells"] == 1
    assert said["code"] == poisson.conclude(rows_of(url, run_id)).code
