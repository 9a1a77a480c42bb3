"""Run a plan cell by cell, here, on several processes or on a cluster, and go on where it was interrupted.

A cell's values depend on its seed and on nothing else, so order, number of workers and interruptions cannot show.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from experiments.catalogue import get_experiment
from experiments.experiment import PLACEBO, SUBJECT, Cell, Experiment, Finding, Row, with_placebo
from experiments.plan import Plan, left_s
from firmware_bridge.errors import LabError, UserError

if TYPE_CHECKING:
    from experiments.results import Results
    from experiments.subjects import Subject

WORKERS_S = 30.0
"""How long a cluster may take until its first worker is there."""

Done = tuple[Cell, Mapping[str, Any], float]
"""A cell, what it gave, and the seconds that it took."""


class StoppedError(LabError):
    """Somebody asked a run to stop; what it measured is kept."""


class Executor(Protocol):
    """Measures cells somewhere, and gives each back as it ends."""

    def __call__(self, name: str, subject: Subject, cells: Sequence[Cell]) -> Iterator[Done]:
        """Measure; ``subject`` is the one of the subject arm."""


@dataclass(frozen=True)
class Outcome:
    """A finished run of an experiment.

    Attributes:
        run_id: of the run.
        plan: what was done.
        finding: of the subject, held back where the placebo arm shows the same.
        placebo: of the placebo arm; None where there is none.
        rows: every cell, in the order of the table.
    """

    run_id: str
    plan: Plan
    finding: Finding
    placebo: Finding | None
    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data, without the rows."""
        placebo = None if self.placebo is None else self.placebo.to_json()
        return {
            "run": self.run_id,
            **self.plan.to_json(),
            "finding": self.finding.to_json(),
            "placebo": placebo,
        }


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        done: cells.
        total: cells.
        left_s: seconds that the rest will take, if it goes on like this.
        cell: that just ended.
        values: what it gave.
    """

    done: int
    total: int
    left_s: float
    cell: Cell
    values: Mapping[str, Any]


class _OneThread:
    """How many threads of this process want the limit, and the limit while any does."""

    lock = threading.Lock()
    inside = 0
    limit: Any = None


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep linear algebra to one thread: several add in another order, which shows in the last digit of a result.

    The limit is of the process: the first thread in here sets it, the last one out lifts it.
    """
    # what is loaded later would not know of the limit
    import scipy.linalg  # noqa: F401
    import sklearn.utils.extmath  # noqa: F401
    from threadpoolctl import threadpool_limits

    with _OneThread.lock:
        _OneThread.inside += 1
        if _OneThread.inside == 1:
            _OneThread.limit = threadpool_limits(1)
    try:
        yield
    finally:
        with _OneThread.lock:
            _OneThread.inside -= 1
            if not _OneThread.inside:
                _OneThread.limit.restore_original_limits()


def measure(name: str, subject: Subject, cell: Cell) -> Done:
    """Measure one cell, on whatever machine this is called."""
    experiment = get_experiment(name)
    began_s = time.perf_counter()
    with one_thread():
        values = experiment.measure(cell, subject if cell.arm == SUBJECT else subject.placebo())
    return cell, values, time.perf_counter() - began_s


def serially(name: str, subject: Subject, cells: Sequence[Cell]) -> Iterator[Done]:
    """One after the other in this process: the only way on hardware."""
    for cell in cells:
        yield measure(name, subject, cell)


def on_processes(workers: int) -> Executor:
    """On several processes of this machine, each with one thread for linear algebra."""

    def run(name: str, subject: Subject, cells: Sequence[Cell]) -> Iterator[Done]:
        from joblib import Parallel, delayed, parallel_config

        with parallel_config("loky", inner_max_num_threads=1):
            tasks = (delayed(measure)(name, subject, cell) for cell in cells)
            yield from Parallel(n_jobs=workers, return_as="generator_unordered", batch_size=1)(tasks)

    return run


def on_cluster(address: str) -> Executor:
    """On the workers of a Dask cluster, whose machines have the lab installed.

    Raises:
        UserError: if Dask is not installed, nobody answers, or there is no worker that can reach the subject.
    """
    try:
        from distributed import Client, as_completed
    except ModuleNotFoundError:
        raise UserError("a cluster needs Dask: pip install 'asic-reservoir-lab[cluster]'") from None

    def run(name: str, subject: Subject, cells: Sequence[Cell]) -> Iterator[Done]:
        try:
            client = Client(address, timeout=10)
        except (OSError, TimeoutError, ValueError) as error:
            raise UserError(
                f"no Dask scheduler answers at {address} ({error}); start one with: dask scheduler"
            ) from None
        with client:
            check_workers(client, subject)
            # a cell is pure, but a result that the cluster remembers from another version of the lab is not
            futures = [client.submit(measure, name, subject, cell, pure=False) for cell in cells]
            for future in as_completed(futures):
                yield future.result()

    return run


def check_workers(client: Any, subject: Subject) -> None:
    """See, before anything is measured, that each worker of a cluster can measure on a subject.

    Raises:
        UserError: if there is none, or one of them cannot.
    """
    try:
        client.wait_for_workers(1, timeout=WORKERS_S)
    except TimeoutError:
        raise UserError(
            f"the scheduler at {client.scheduler.address} has no worker; start some with: "
            f"dask worker {client.scheduler.address}"
        ) from None
    problems = client.run(problem_of, subject, on_error="return")
    for worker, problem in problems.items():
        if problem is not None:
            raise UserError(
                f"the worker at {worker} cannot measure on this {subject.kind}: {problem}. Workers on other machines "
                "need the same version of the lab, and a trace in PostgreSQL (--db postgresql://...) or in a folder "
                "that all of them share"
            )


def problem_of(subject: Subject) -> str | None:
    """Why the worker that calls this cannot measure on a subject."""
    from experiments.subjects import Stored

    return subject.problem_here() if isinstance(subject, Stored) else None


def conclude(experiment: Experiment, rows: Iterable[Row]) -> tuple[Finding, Finding | None]:
    """What the rows of a run say: the finding, and that of the placebo arm."""
    arms: dict[str, list[Row]] = {SUBJECT: [], PLACEBO: []}
    for row in rows:
        arms[row.cell.arm].append(row)
    found = experiment.conclude(arms[SUBJECT])
    placebo = experiment.conclude(arms[PLACEBO]) if arms[PLACEBO] else None
    return with_placebo(found, placebo), placebo


class _Pace:
    """What is left to do, in seconds: by the plan's own arithmetic where there is one, as fast as it went so far."""

    def __init__(self, plan: Plan) -> None:
        self._seconds = plan.seconds
        self._took: dict[int, float] = {}

    def left_s(self, cell: Cell, seconds: float, elapsed_s: float, done: int, left: Sequence[Cell]) -> float:
        """After a cell that took so long; ``left`` are those that are still to be measured."""
        if self._seconds is None:
            return elapsed_s / done * len(left)
        self._took[cell.number] = seconds
        return left_s(self._seconds, self._took, [other.number for other in left])


def execute(
    experiment: Experiment,
    subject: Subject,
    plan: Plan,
    results: Results,
    *,
    executor: Executor = serially,
    resume: bool = False,
    on_begin: Callable[[str, int], None] = lambda run_id, done: None,
    on_cell: Callable[[Progress], None] = lambda progress: None,
) -> Outcome:
    """Measure what is missing of a plan, store each cell as it ends, and conclude.

    Args:
        experiment: what is run.
        subject: on what.
        plan: of this experiment on this subject.
        results: where cells are stored.
        executor: where they are measured.
        resume: go on with the newest unfinished run of this very plan, if there is one.
        on_begin: told the id of the run and how many of its cells are there already.
        on_cell: told after each cell.

    Raises:
        LabError: if a cell cannot be measured; those before it are kept.
    """
    run_id = (results.unfinished(plan) if resume else None) or results.begin(plan)
    results.go_on(run_id)
    there = {row.cell.number for row in results.rows(run_id, plan.size)}
    on_begin(run_id, len(there))
    left = [plan.cells[number] for number in plan.order if number not in there]
    waiting = {cell.number: cell for cell in left}
    began_s, pace = time.perf_counter(), _Pace(plan)
    for done, (cell, values, seconds) in enumerate(executor(plan.experiment, subject, left), 1):
        results.add(run_id, cell, values, seconds)
        if results.asked_to_stop(run_id) and len(there) + done < len(plan.cells):
            raise StoppedError(
                f"{experiment.name}: stopped after {len(there) + done} of {len(plan.cells)} cells; go on with --resume"
            )
        del waiting[cell.number]
        elapsed_s = time.perf_counter() - began_s
        rest_s = pace.left_s(cell, seconds, elapsed_s, done, list(waiting.values()))
        on_cell(Progress(len(there) + done, len(plan.cells), rest_s, cell, values))
    rows = results.rows(run_id, plan.size)
    with one_thread():
        found, placebo = conclude(experiment, rows)
    outcome = Outcome(run_id, plan, found, placebo, tuple(rows))
    results.end(
        run_id, {"finding": found.to_json(), "placebo": None if placebo is None else placebo.to_json()}
    )
    return outcome
