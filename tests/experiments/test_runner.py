"""Plans are fixed beforehand, cells are kept as they end, and nothing but the seed decides what they give."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments.catalogue import catalogue, get_experiment
from experiments.experiment import (
    CANNOT_TELL,
    EVIDENCE,
    NO_EVIDENCE,
    PLACEBO,
    SIZES,
    SUBJECT,
    Cell,
    Experiment,
    Finding,
    with_placebo,
)
from experiments.plan import make_plan
from experiments.results import Results, canonical
from experiments.runner import execute, on_cluster, on_processes, serially
from experiments.subjects import Emulated, Subject
from firmware_bridge.errors import UserError

POISSON = get_experiment("poisson")


def table(results: Results, run_id: str) -> str:
    rows = results.rows(run_id, "fast")
    return "".join(canonical({**row.cell.to_json(), "values": row.values}) + "\n" for row in rows)


@pytest.fixture
def db(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/lab.db"


def test_every_experiment_says_what_it_needs() -> None:
    for name, experiment in catalogue().items():
        assert name == experiment.name
        assert experiment.title.endswith("?"), name
        for text in (experiment.hypothesis, experiment.null, experiment.decision, experiment.source):
            assert len(text) > 10, name
        assert set(experiment.kinds) <= {"emulator", "trace", "device"}, name
        assert all(experiment.sample(size).detectable for size in SIZES), name
        assert json.loads(canonical(experiment.to_json()))["name"] == name


def test_every_experiment_has_its_page(project: Path) -> None:
    for experiment in catalogue().values():
        assert (project / "docs" / "experiments" / f"{experiment.page}.md").is_file(), experiment.name


def test_an_unknown_name_gets_the_nearest_ones() -> None:
    with pytest.raises(UserError, match="did you mean poisson"):
        get_experiment("poison")


def test_a_plan_is_the_same_each_time_and_another_with_every_change() -> None:
    plan = make_plan(POISSON, Emulated(), size="fast", seed=1)
    assert plan == make_plan(POISSON, Emulated(), size="fast", seed=1)
    others = [
        make_plan(POISSON, Emulated(), size="fast", seed=2),
        make_plan(POISSON, Emulated(), size="quick", seed=1),
        make_plan(POISSON, Emulated("lv06"), size="fast", seed=1),
        make_plan(POISSON, Emulated(plants={"quality": 1.0}), size="fast", seed=1),
        make_plan(
            replace(POISSON, decision="another rule than the one before"), Emulated(), size="fast", seed=1
        ),
    ]
    assert len({plan.digest, *(other.digest for other in others)}) == 6


def test_the_arms_of_a_plan_share_no_seed() -> None:
    plan = make_plan(get_experiment("narma"), Emulated(), size="full", seed=1)
    assert {cell.arm for cell in plan.cells} == {SUBJECT, PLACEBO}
    assert len({cell.seed for cell in plan.cells}) == len(plan.cells) == 30
    assert sorted(plan.order) == list(range(30)) != list(plan.order)


def test_a_subject_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match="--trace RUN"):
        make_plan(replace(POISSON, kinds=("trace",)), Emulated(), size="fast", seed=1)
    with pytest.raises(UserError, match="not lv06"):
        make_plan(replace(POISSON, models=("s9",)), Emulated("lv06"), size="fast", seed=1)


def test_evidence_that_the_placebo_shows_too_is_held_back() -> None:
    yes, no = Finding(EVIDENCE, "it is there", "x", 1.0), Finding(NO_EVIDENCE, "it is not", "x", 0.0)
    assert with_placebo(yes, yes).code == CANNOT_TELL
    assert with_placebo(yes, no) is yes
    assert with_placebo(no, yes) is no
    assert with_placebo(yes, None) is yes


def test_the_plan_is_stored_before_the_first_sample(db: str) -> None:
    plan = make_plan(POISSON, Emulated(), size="fast", seed=1)

    def nothing(name: str, subject: Subject, cells: Sequence[Cell]) -> Iterator[Any]:
        with Results(db) as others:
            (stored,) = others.runs()
        assert stored.digest == plan.digest
        assert stored.finding is None
        raise UserError("the miner is lost")
        yield

    with Results(db) as results, pytest.raises(UserError, match="lost"):
        execute(POISSON, Emulated(), plan, results, executor=nothing)


class Flaky:
    """Loses the miner after some cells."""

    def __init__(self, cells: int) -> None:
        self.cells = cells
        self.measured: list[int] = []

    def __call__(self, name: str, subject: Subject, cells: Sequence[Cell]) -> Iterator[Any]:
        for number, done in enumerate(serially(name, subject, cells)):
            if number == self.cells:
                raise UserError("the miner is lost")
            self.measured.append(done[0].number)
            yield done


@pytest.mark.costly
def test_a_lost_miner_costs_no_cell_and_none_is_measured_twice(db: str) -> None:
    experiment = get_experiment("narma")
    plan = make_plan(experiment, Emulated(), size="fast", seed=3)
    first, second = Flaky(2), Flaky(99)
    with Results(db) as results:
        with pytest.raises(UserError, match="lost"):
            execute(experiment, Emulated(), plan, results, executor=first)
        there: list[int] = []
        outcome = execute(
            experiment,
            Emulated(),
            plan,
            results,
            executor=second,
            resume=True,
            on_begin=lambda run_id, done: there.append(done),
        )
        assert there == [2]
        assert sorted(first.measured + second.measured) == list(range(6))
        again = execute(experiment, Emulated(), plan, results, executor=on_processes(2))
        assert table(results, again.run_id) == table(results, outcome.run_id)
        assert again.finding == outcome.finding
        assert results.unfinished(plan) is None


@pytest.mark.parametrize(
    "processes",
    [pytest.param(False, marks=pytest.mark.costly), pytest.param(True, marks=pytest.mark.slow)],
    ids=["threads", "processes"],
)
def test_a_cluster_of_two_workers_gives_the_same_table(db: str, processes: bool) -> None:
    distributed = pytest.importorskip("distributed")
    plan = make_plan(POISSON, Emulated(), size="fast", seed=4)
    with (
        Results(db) as results,
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=processes, dashboard_address="127.0.0.1:0"
        ) as cluster,
    ):
        there = execute(POISSON, Emulated(), plan, results, executor=on_cluster(cluster.scheduler_address))
        here = execute(POISSON, Emulated(), plan, results)
        assert table(results, there.run_id) == table(results, here.run_id)


def test_nobody_at_the_address_of_a_scheduler_is_a_user_error() -> None:
    pytest.importorskip("distributed")
    with pytest.raises(UserError, match="dask scheduler"):
        list(on_cluster("tcp://127.0.0.1:9?x")("poisson", Emulated(), ()))


def killed_run(arguments: list[str], after_s: float, project: Path) -> None:
    """Start a run and kill it, with everything that it started."""
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.cli", "run", *arguments],
        cwd=project,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline_s = time.monotonic() + after_s
    while process.poll() is None and time.monotonic() < deadline_s:
        time.sleep(0.02)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "kills", [pytest.param(1, marks=pytest.mark.costly), pytest.param(20, marks=pytest.mark.slow)]
)
def test_a_sweep_killed_at_random_moments_gives_the_same_table(
    tmp_path: Path, project: Path, kills: int
) -> None:
    rng = random.Random(kills)
    plan = make_plan(get_experiment("narma"), Emulated(), size="fast", seed=9)
    whole, pieces = (f"sqlite:///{tmp_path}/{name}.db" for name in ("whole", "pieces"))
    with Results(whole) as results:
        expected = table(results, execute(get_experiment("narma"), Emulated(), plan, results).run_id)
    common = ["narma", "--size", "fast", "--seed", "9", "--resume", "--jobs", "1", "--db", pieces]
    for _ in range(kills):
        killed_run(common, rng.uniform(1.5, 6.0), project)
    killed_run(common, 600.0, project)
    with Results(pieces) as results:
        stored = results.runs()
        assert any(run.finished for run in stored)
        assert {run.plan["digest"] for run in stored} == {plan.digest}
        for run in stored:
            if run.finished:
                assert table(results, run.run_id) == expected


def experiments_of(kind: str) -> list[Experiment]:
    return [e for e in catalogue().values() if kind in e.kinds]


def test_there_is_something_to_run_on_each_kind_of_subject() -> None:
    assert experiments_of("emulator")
    assert experiments_of("trace")


def test_no_other_sqlite_library_reads_a_file_whose_results_are_open(tmp_path: Path) -> None:
    """Its close would take the locks of this process with it: see decision 0002 and firmware_bridge.trace.store."""
    from firmware_bridge.trace.store import foreign_use

    path = tmp_path / "lab.db"
    with Results(f"sqlite:///{path}"), foreign_use(path) as allowed:
        assert not allowed
    with foreign_use(path) as allowed:
        assert allowed
