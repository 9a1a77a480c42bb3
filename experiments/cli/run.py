"""``asiclab run``: experiments of the catalogue on whatever is attached."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.cli import narma_live
from experiments.cli.command import EXIT_CHECK_FAILED, LabCommand, interrupted
from experiments.cli.options import DEFAULT_DB, Config, Db, Json, PhysicsItems, Plants, Seed
from experiments.cli.run_subjects import Live, chosen_subjects, pairs
from experiments.cli.run_words import cell_count, say_plan, tell, writable
from firmware_bridge.errors import LabError, UserError

if TYPE_CHECKING:
    from experiments.experiment import Experiment
    from experiments.runner import Executor, Outcome, Progress
    from experiments.subjects import Subject


def run(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Experiments; see asiclab experiments list."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All that can be run on this subject.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="A first look in minutes.")] = False,
    size: Annotated[
        str | None,
        typer.Option("--size", metavar="fast|quick|full", help="How much is measured; full if left out."),
    ] = None,
    emulate: Annotated[
        str | None, typer.Option("--emulate", metavar="s9|lv06", help="An emulated miner; the default.")
    ] = None,
    trace: Annotated[
        list[str] | None,
        typer.Option(
            "--trace",
            metavar="RUN",
            help="A stored run: id, prefix or latest. Several: each in turn, or all together where an experiment has "
            "several points; DEVICE=RUN where devices are compared.",
        ),
    ] = None,
    plant: Plants = None,
    physics: PhysicsItems = None,
    time: narma_live.Time = None,
    device: Annotated[
        list[str] | None,
        typer.Option(
            "--device",
            metavar="URL",
            help="A miner: lv06://HOST, s9://HOST, bm1366:PORT, or any that connects. Several: each in turn, or "
            "against each other where devices are compared.",
        ),
    ] = None,
    host: Annotated[str, narma_live.HOST] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Live: port; 0 takes a free one.")
    ] = 0,
    patience: narma_live.Patience = 300.0,
    password_file: narma_live.PasswordFile = None,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes",
            help="Agree that the pool of the device, and its clock or voltage where the experiment varies them, are "
            "changed for each cell, and set back.",
        ),
    ] = False,
    settle: Annotated[
        float,
        typer.Option(
            "--settle",
            min=0.0,
            metavar="S",
            help="Live: least time from a change of clock or voltage to the first share that counts.",
        ),
    ] = 60.0,
    job_period: Annotated[
        float | None,
        typer.Option("--job-period", metavar="S", help="Live: between jobs where a clock sends the symbols."),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Only say what would be measured and how long it takes; change nothing."
        ),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the newest unfinished run of the same plan.")
    ] = False,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Processes for emulated miners.")] = 2,
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", metavar="ADDRESS", help="Dask scheduler to measure cells on.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Write table, finding and report of each run here."),
    ] = None,
    seed: Seed = 0,
    db: Db = DEFAULT_DB,
    json: Json = False,
    config: Config = None,
) -> None:
    """Run experiments: the plan is fixed first, every cell is stored as it ends, and a killed run can go on.

    The exit code is 0 whatever is found; 1 where a cell could not be measured; 130 or 143 after Ctrl-C or SIGTERM.
    """
    from experiments.catalogue import catalogue, get_experiment
    from experiments.hosting import NotLeftError
    from experiments.plan import make_plan

    if every == bool(names):
        raise UserError("name experiments, or --all; see: asiclab experiments list")
    if quick and size not in (None, "quick"):
        raise UserError(f"--quick is --size quick, not {size}")
    chosen_size = size or ("quick" if quick else "full")
    if time not in (None, "virtual", "wall"):
        raise UserError(f"--time is virtual or wall, not {time!r}")
    # who only asks what would be done has nothing to agree to
    agreed = yes or dry_run
    live = Live(
        tuple(device or ()), time == "wall", host, port, patience, password_file, agreed, settle, job_period
    )
    subjects = chosen_subjects(emulate, tuple(trace or ()), plant or [], physics or [], live, db)
    chosen = list(catalogue().values()) if every else [get_experiment(name) for name in names or []]
    matched = list(pairs(chosen, subjects, fitting=every))
    left_out = [e.name for e in chosen if all(e is not experiment for experiment, _ in matched)]
    if left_out and not json:
        typer.echo(f"Not for this subject: {', '.join(left_out)}", err=True)
    if dry_run:
        for experiment, subject in matched:
            say_plan(make_plan(experiment, subject, size=chosen_size, seed=seed), subject, json=json)
        return
    if out is not None:
        for experiment, subject in matched:
            writable(out / subjects.folder(subject) / experiment.name)  # a cell can take hours
    executor = _executor(subjects.each[0], jobs, scheduler)
    failed = []
    for experiment, subject in matched:
        try:
            outcome = _run_one(experiment, subject, chosen_size, seed, db, executor, resume=resume, json=json)
        except (UserError, NotLeftError):
            raise
        except KeyboardInterrupt as error:
            text = f"{experiment.name}: interrupted; what was measured is kept, --resume goes on"
            raise interrupted(error, text) from None
        except LabError as error:
            if not every:
                raise
            failed.append(experiment.name)
            typer.echo(f"asiclab: {experiment.name}: {error}", err=True)
            continue
        tell(experiment, outcome, None if out is None else out / subjects.folder(subject), db, json=json)
    if failed:
        typer.echo(f"asiclab: not finished: {', '.join(failed)}; --resume goes on with them", err=True)
        raise typer.Exit(EXIT_CHECK_FAILED)


def _executor(subject: Subject, jobs: int, scheduler: str | None) -> Executor:
    from experiments.runner import on_cluster, on_processes, serially

    if subject.kind == "device":
        if scheduler is not None:
            raise UserError(
                "an attached miner is measured from this machine: --scheduler goes with emulated ones"
            )
        return serially
    if scheduler is not None:
        return on_cluster(scheduler)
    return serially if jobs == 1 else on_processes(jobs)


def _run_one(
    experiment: Experiment,
    subject: Subject,
    size: str,
    seed: int,
    db: str,
    executor: Executor,
    *,
    resume: bool,
    json: bool,
) -> Outcome:
    from experiments.cli import output
    from experiments.plan import make_plan
    from experiments.results import Results
    from experiments.runner import execute
    from experiments.stopping import ended_gently, stopped_from_elsewhere

    plan = make_plan(experiment, subject, size=size, seed=seed)

    def begun(run_id: str, done: int) -> None:
        watched(run_id)
        if resume and not done:
            typer.echo(
                f"{experiment.name}: no cell of an unfinished run of this very plan is there; all are measured",
                err=True,
            )
        if not json:
            before = f", {done} of them there already" if done else ""
            typer.echo(
                f"{experiment.name}: run {run_id}, {cell_count(len(plan.cells))}{before}, plan {plan.digest[:12]}"
            )
            if plan.seconds is not None:
                say_plan(plan, subject, json=False, there=results.seconds(run_id).keys())

    # cells that are no miner's are short, and end first
    live = subject.kind == "device"
    with (
        Results(db) as results,
        output.bar(experiment.name, shown=not json) as moved,
        ended_gently(),
        stopped_from_elsewhere(results, experiment.name) if live else nullcontext(_nothing) as watched,
    ):
        terminal = output.console().is_terminal

        def cell_done(progress: Progress) -> None:
            moved(progress.done, progress.total)
            if plan.seconds is not None and not json and not terminal:
                # cells of the placebo arm are emulated in virtual time: the arithmetic does not count them
                left = f", {narma_live.duration(progress.left_s)} left" if progress.left_s >= 1.0 else ""
                typer.echo(f"cell {progress.done} of {progress.total}{left}", err=True)

        return execute(
            experiment,
            subject,
            plan,
            results,
            executor=executor,
            resume=resume,
            on_begin=begun,
            on_cell=cell_done,
        )


def _nothing(run_id: str) -> None:
    """Nobody watches."""


def register(app: typer.Typer) -> None:
    """Add the command to the tree."""
    app.command("run", cls=LabCommand)(run)
