"""Stored runs that an experiment sent an input: the trace keeps the symbols, so that they are judged again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.analyses.driven import plan_of
from experiments.catalogue import chaotic_tasks, get_experiment, input_structure, thermal_ghost
from experiments.experiment import EVIDENCE, SUBJECT
from experiments.narma_plan import Plan
from experiments.narma_runs import emulation, write_run
from experiments.plan import make_plan
from experiments.recorded_runs import RecordedRuns
from experiments.recorded_symbols import so_many_are
from experiments.results import Results
from experiments.runner import Outcome, execute
from experiments.subjects import Emulated, Recorded, Subject
from firmware_bridge.emulator.drive import Drive
from firmware_bridge.emulator.virtual import VirtualConfig, run_virtual
from firmware_bridge.errors import UserError
from firmware_bridge.trace.writer import TraceWriter
from tests.cli.conftest import Lab

STORED = ("run", "tested")


@pytest.fixture
def db(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/lab.db"


def judged(db: str, name: str, subject: Subject) -> Outcome:
    experiment = get_experiment(name)
    with Results(db) as results:
        return execute(experiment, subject, make_plan(experiment, subject, size="fast", seed=3), results)


def written(db: str, config: VirtualConfig) -> str:
    with TraceWriter(db) as writer:
        return run_virtual(config, writer).run_id


def gathered(db: str, name: str, runs: list[str]) -> RecordedRuns:
    together = get_experiment(name).together
    assert together is not None
    found = together(db, runs)
    assert isinstance(found, RecordedRuns)
    return found


def said_again(again: Outcome, original: Outcome) -> bool:
    own = [
        [
            {k: v for k, v in row.values.items() if k not in STORED}
            for row in one.rows
            if row.cell.arm == SUBJECT
        ]
        for one in (again, original)
    ]
    return own[0] == own[1] and replace(again.finding, detectable="") == replace(
        original.finding, detectable=""
    )


def sent(subject: Emulated, seed: int, symbols: Any) -> VirtualConfig:
    return subject.config(seed, shares=None, drive=Drive(tuple(symbols.tolist())))


def test_what_remains_of_an_input_is_judged_again(db: str) -> None:
    subject = Emulated("s9", {"thermal": 200.0})
    original = judged(db, "thermal-ghost", subject)
    (row,) = [row for row in original.rows if row.cell.arm == SUBJECT]
    run = written(db, sent(subject, row.cell.seed, thermal_ghost._symbols(thermal_ghost.JOBS["fast"])))
    again = judged(db, "thermal-ghost", Recorded.find(db, run))
    assert said_again(again, original)
    assert again.finding.code == EVIDENCE
    free = Recorded.find(db, written(db, VirtualConfig(shares=300)))
    with pytest.raises(UserError, match=f"the jobs of run {free.run} do not carry 32 high symbols"):
        make_plan(get_experiment("thermal-ghost"), free, size="fast", seed=1)


def test_kinds_of_input_are_known_by_their_symbols(db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(input_structure.JOBS, "fast", 500)
    subject = Emulated("s9")
    original = judged(db, "input-structure", subject)
    runs = {}
    for row in original.rows:
        if row.cell.arm == SUBJECT:
            arm = str(row.cell.point["input"])
            symbols = input_structure.symbols_of(arm, 500, np.random.default_rng([row.cell.seed, 31]))
            runs[arm] = written(db, sent(subject, row.cell.seed, symbols))
    assert said_again(
        judged(db, "input-structure", gathered(db, "input-structure", [*runs.values()][::-1])), original
    )
    more = written(db, sent(subject, 77, np.full(500, 0.5)))
    pooled = judged(db, "input-structure", gathered(db, "input-structure", [*runs.values(), more]))
    assert sum(row.values["input"] == "idle" for row in pooled.rows if row.cell.arm == SUBJECT) == 2
    errors = [row.values["log_error"] for row in pooled.rows if row.values["input"] == "idle"][:2]
    idle = input_structure._pooled([row.values for row in pooled.rows if row.cell.arm == SUBJECT][:2])
    assert idle["log_error"] < min(errors)
    two = gathered(db, "input-structure", [runs["idle"], runs["structure"]])
    with pytest.raises(UserError, match="no run of these had the input chaos"):
        make_plan(get_experiment("input-structure"), two, size="fast", seed=1)
    free = written(db, VirtualConfig(shares=300))
    with pytest.raises(UserError, match=f"the jobs of run {free} carry none of the inputs"):
        gathered(db, "input-structure", [runs["idle"], free])
    slow = written(db, replace(sent(subject, 5, np.full(500, 0.5)), mode="stream", job_period_s=0.5))
    with pytest.raises(UserError, match=r"give runs of one kind of jobs$"):
        gathered(db, "input-structure", [*runs.values(), slow])


def test_tasks_are_judged_again(db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(chaotic_tasks.SHAPES, "fast", (400, 200))
    subject = Emulated("s9")
    original = judged(db, "chaotic-tasks", subject)
    runs = []
    for row in original.rows:
        if row.cell.arm == SUBJECT:
            plan = plan_of(
                {"mode": "monologue"},
                row.cell.seed,
                600,
                chaotic_tasks.LAGS,
                task=str(row.cell.point["task"]),
            )
            with TraceWriter(db) as writer:
                runs.append(write_run(plan, emulation(plan, "s9"), writer))
    again = judged(db, "chaotic-tasks", gathered(db, "chaotic-tasks", runs[::-1]))
    assert said_again(again, original)
    one = judged(db, "chaotic-tasks", gathered(db, "chaotic-tasks", runs[:1]))
    assert "in 1 tasks" in one.finding.text
    assert one.finding.detectable == chaotic_tasks._found(200, 1)


def test_runs_that_nobody_drove_with_a_task_are_refused(db: str) -> None:
    refused = {
        written(db, VirtualConfig(shares=300)): "nobody drove run",
    }
    for plan, why in (
        (Plan(train=400, test=100, washout=60, seed=1), "was driven with narma10"),
        (plan_of({"mode": "monologue"}, 1, 100, task="lorenz"), "has 150 steps; 419 are needed"),
        (
            Plan(mode="monologue", encode="duty", task="lorenz", train=400, test=100, washout=60),
            "the duty carried",
        ),
    ):
        with TraceWriter(db) as writer:
            refused[write_run(plan, emulation(plan, "s9"), writer)] = why
    for run, why in refused.items():
        with pytest.raises(UserError, match=why):
            gathered(db, "chaotic-tasks", [run])


def test_only_the_last_jobs_of_a_run_may_carry_something_else() -> None:
    wanted = np.arange(10.0)
    assert so_many_are(wanted, wanted) == 10
    assert so_many_are(np.r_[wanted[:8], np.nan, 3.0], wanted) == 8
    assert so_many_are(np.r_[wanted[:7], np.nan, wanted[8:]], wanted) == 0


def test_all_leaves_out_what_a_recording_is_not_of(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    db = f"sqlite:///{lab.folder}/lab.db"
    runs = [written(db, VirtualConfig(shares=600, difficulty=d)) for d in (256.0, 1024.0)]
    traces = [word for run in runs for word in ("--trace", run)]
    told = lab("run", "--all", "--quick", "--dry-run", "--json", *traces)
    there = {json.loads(line)["experiment"] for line in told.stdout.splitlines()}
    assert {"difficulty", "regime-map", "avalanche"} <= there
    assert not there & {
        "share-rate",
        "thermal-ghost",
        "input-structure",
        "chaotic-tasks",
        "echo-state",
        "vbm",
    }
