"""One seed, one table: serially, on processes, on a cluster; in a file and on a server; whole, and in pieces."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from experiments.catalogue import catalogue, get_experiment
from experiments.experiment import Experiment
from experiments.plan import make_plan
from experiments.results import Results, canonical
from experiments.runner import Executor, execute, measure, on_cluster, on_processes, serially
from experiments.subjects import Emulated, Recorded, Subject
from firmware_bridge.errors import UserError
from firmware_bridge.trace.importer import import_file
from tests.experiments.test_runner import killed_run, table
from tests.postgres_kit import PASSWORD

pytestmark = pytest.mark.xdist_group("postgres")

CHEAP = ("poisson", "subset-sum")


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A Dask scheduler with two workers, each a process of its own."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0"
    ) as cluster:
        yield cluster


def measured(db: str, experiment: Experiment, subject: Subject, executor: Executor) -> tuple[str, Any]:
    """Table and finding of a run at the smallest size."""
    plan = make_plan(experiment, subject, size="fast", seed=11)
    with Results(db) as results:
        outcome = execute(experiment, subject, plan, results, executor=executor)
        return table(results, outcome.run_id), outcome.finding.to_json()


@pytest.mark.costly
def test_every_way_to_run_gives_the_same_table(tmp_path: Path, server_url: str, cluster: Any) -> None:
    file = f"sqlite:///{tmp_path / 'lab.db'}"
    for name in CHEAP:
        experiment = get_experiment(name)
        subject = Emulated(experiment.models[0])
        expected = measured(file, experiment, subject, serially)
        for executor in (on_processes(2), on_cluster(cluster.scheduler_address)):
            assert measured(server_url, experiment, subject, executor) == expected, name


@pytest.mark.costly
def test_threads_of_the_linear_algebra_do_not_show() -> None:
    """Two threads add in another order than one, which is what a cluster has: this experiment shows the last digit."""
    from threadpoolctl import threadpool_limits

    experiment = get_experiment("separation")
    plan = make_plan(experiment, Emulated(), size="fast", seed=11)
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append(canonical(measure("separation", Emulated(), plan.cells[0])[1]))
    assert found[0] == found[1]


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_whole_catalogue_gives_the_same_table_on_a_cluster_and_a_server(
    tmp_path: Path, server_url: str, cluster: Any
) -> None:
    """Two ways for each, or it would take an hour: here into a file, on the workers of a cluster into the server."""
    file = f"sqlite:///{tmp_path / 'lab.db'}"
    for name, experiment in catalogue().items():
        if "emulator" in experiment.kinds:
            subject = Emulated(experiment.models[0])
            expected = measured(file, experiment, subject, serially)
            there = measured(server_url, experiment, subject, on_cluster(cluster.scheduler_address))
            assert there == expected, name


@pytest.mark.slow
def test_a_run_into_a_server_killed_at_random_moments_gives_the_same_table(
    tmp_path: Path, server_url: str, project: Path
) -> None:
    rng = random.Random(5)
    experiment = get_experiment("narma")
    plan = make_plan(experiment, Emulated(), size="fast", seed=9)
    with Results(f"sqlite:///{tmp_path / 'whole.db'}") as results:
        expected = table(results, execute(experiment, Emulated(), plan, results).run_id)
    common = ["narma", "--size", "fast", "--seed", "9", "--resume", "--jobs", "1", "--db", server_url]
    for _ in range(6):
        killed_run(common, rng.uniform(2.0, 8.0), project)
    killed_run(common, 240.0, project)
    with Results(server_url) as results:
        stored = results.runs()
        assert {run.plan["digest"] for run in stored} == {plan.digest}
        finished = [run.run_id for run in stored if run.finished]
        assert finished
        assert all(table(results, run_id) == expected for run_id in finished)


def recorded(db: str, excerpt: Path) -> Recorded:
    return Recorded.find(db, import_file(db, excerpt).run_id)


@pytest.mark.slow
def test_workers_read_a_recording_from_the_server_and_are_asked_before_whether_they_can(
    tmp_path: Path, server_url: str, excerpt: Path, cluster: Any
) -> None:
    executor = on_cluster(cluster.scheduler_address)
    experiment = get_experiment("poisson")
    subject = recorded(server_url, excerpt)
    here = measured(server_url, experiment, subject, serially)
    assert measured(server_url, experiment, subject, executor) == here
    assert PASSWORD not in repr(subject)  # workers log what they are given

    file = f"sqlite:///{tmp_path / 'lab.db'}"
    subject = recorded(file, excerpt)
    there = measured(file, experiment, subject, executor)  # workers on this machine read the file as well
    assert there == measured(file, experiment, subject, serially)
    (tmp_path / "lab.db").rename(tmp_path / "not here.db")  # as on a machine that does not have it
    with pytest.raises(
        UserError, match=r"worker at tcp://.* cannot measure on this trace: .*--db postgresql"
    ):
        list(executor("poisson", subject, make_plan(experiment, subject, size="fast", seed=1).cells))


def test_a_recording_is_named_by_its_full_path(
    tmp_path: Path, excerpt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    subject = recorded("sqlite:///lab.db", excerpt)
    monkeypatch.chdir("/")
    assert subject.problem_here() is None
    assert subject.data(1, shares=1).n == subject.shares


@pytest.mark.costly
def test_a_scheduler_without_workers_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr("experiments.runner.WORKERS_S", 0.2)
    with (
        distributed.LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        pytest.raises(UserError, match="dask worker"),
    ):
        list(on_cluster(cluster.scheduler_address)("poisson", Emulated(), ()))
