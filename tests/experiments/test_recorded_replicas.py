"""Stored replicas: whether runs with one input agree is judged again from their recordings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments import repeat
from experiments.analyses.driven import GUARD, REPLICA_STREAM, plan_of
from experiments.catalogue import echo_state, get_experiment
from experiments.experiment import SUBJECT
from experiments.narma_plan import Plan
from experiments.narma_runs import driven_run, write_run
from experiments.plan import make_plan
from experiments.properties import write_replicas
from experiments.recorded_replicas import replicas_of
from experiments.results import Results
from experiments.runner import Outcome, execute
from experiments.subjects import Emulated, Subject
from firmware_bridge.emulator.virtual import VirtualConfig, run_virtual
from firmware_bridge.errors import UserError
from firmware_bridge.trace.writer import TraceWriter

ECHO = get_experiment("echo-state")
STORED = ("replicas", "steps", "runs")


@pytest.fixture
def db(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/lab.db"


def judged(db: str, subject: Subject) -> Outcome:
    with Results(db) as results:
        return execute(ECHO, subject, make_plan(ECHO, subject, size="fast", seed=3), results)


def driven(db: str, plan: Plan, seed: int, model: str = "s9", **plants: float) -> str:
    with TraceWriter(db) as writer:
        return write_run(plan, driven_run(plan, plan.draw(), model, plants, None, seed), writer)


def own_values(outcome: Outcome) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in row.values.items() if name not in STORED}
        for row in outcome.rows
        if row.cell.arm == SUBJECT
    ]


def test_stored_replicas_say_what_the_replicas_themselves_said(
    db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(echo_state.STEPS, "fast", 400)
    original = judged(db, Emulated("s9", {"thermal": 150.0}))
    runs = []
    for row in original.rows:
        if row.cell.arm == SUBJECT:
            plan = plan_of(row.cell.point, row.cell.seed, 400)
            seeds = plan.rng(REPLICA_STREAM).integers(2**31, size=echo_state.REPLICAS)
            runs += [driven(db, plan, int(seed), thermal=150.0) for seed in seeds]
            runs += [
                driven(db, replace(plan, lead=lead), row.cell.seed + 1 + n, thermal=150.0)
                for n, lead in enumerate((GUARD, -GUARD))
            ]
    again = judged(db, replicas_of(db, runs[::-1]))
    for here, there in zip(own_values(again), own_values(original), strict=True):
        assert here == pytest.approx(there, rel=1e-9)
    assert replace(again.finding, detectable="", value=0.0) == replace(
        original.finding, detectable="", value=0.0
    )
    with Results(db) as results:
        stored = results.find(again.run_id)
    assert repeat.same_plan(stored, db)
    assert repeat.command(stored).count("--trace") == 10


def test_those_of_reservoir_properties_are_replicas_and_without_a_lead_nothing_is_said_of_forgetting(
    db: str,
) -> None:
    plan = Plan(mode="monologue", train=400, test=0, washout=60, seed=4, task="narma10")
    with TraceWriter(db) as writer:
        runs = write_replicas(plan, "s9", writer, replicas=2)
    outcome = judged(db, replicas_of(db, runs))
    (row,) = [row for row in outcome.rows if row.cell.arm == SUBJECT]
    assert row.values["replicas"] == 3
    assert row.values["steps"] == 410
    assert row.values["forgets"] is not None
    pairs = 3
    assert outcome.finding.detectable == echo_state._found(410 * pairs / 3)
    alike = [driven(db, plan_of({"mode": "dialogue"}, 9, 300), seed, thermal=300.0) for seed in (1, 2)]
    outcome = judged(db, replicas_of(db, [*runs, *alike]))
    assert [row.values["mode"] for row in outcome.rows if row.cell.arm == SUBJECT] == [
        "monologue",
        "dialogue",
    ]
    told = [row for row in outcome.rows if row.values["mode"] == "dialogue" and row.cell.arm == SUBJECT]
    assert told[0].values["forgets"] is None
    assert echo_state.charts(outcome.rows)
    sure = [replace(told[0], values={**told[0].values, "p_value": 0.001})]
    assert "forgetting another start was not looked at" in echo_state.conclude(sure).text


def test_runs_that_are_no_replicas_are_refused_by_name(db: str) -> None:
    plan = plan_of({"mode": "monologue"}, 9, 300)
    one, other = driven(db, plan, 1), driven(db, plan_of({"mode": "monologue"}, 10, 300), 1)
    with pytest.raises(UserError, match=f"run ({one}|{other}) is no replica of another one"):
        replicas_of(db, [one, other])
    with pytest.raises(UserError, match="named twice"):
        replicas_of(db, [one, one])
    with TraceWriter(db) as writer:
        free = run_virtual(VirtualConfig(shares=300), writer).run_id
    with pytest.raises(UserError, match=f"nobody drove run {free}"):
        replicas_of(db, [one, free])
    short = [driven(db, plan_of({"mode": "monologue"}, 9, 100), seed) for seed in (1, 2)]
    with pytest.raises(UserError, match="150 steps; 200 are needed"):
        replicas_of(db, short)
