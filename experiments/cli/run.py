"""``asiclab run`` and ``asiclab experiments``: the catalogue, and running it on whatever is attached."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.cli import narma_live
from experiments.cli.command import EXIT_CHECK_FAILED, LabCommand, LabGroup, interrupted
from experiments.cli.options import DEFAULT_DB, Config, Db, Json, PhysicsItems, Plants, ReportFile, Seed
from firmware_bridge.errors import LabError, UserError

if TYPE_CHECKING:
    from experiments.attached import Attached
    from experiments.experiment import Experiment
    from experiments.plan import Plan
    from experiments.runner import Executor, Outcome, Progress
    from experiments.subjects import Emulated, Subject

experiments = typer.Typer(
    name="experiments",
    help="The catalogue: which claims can be tested, how, and what was found.",
    cls=LabGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
)


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
    subjects = _subjects(emulate, tuple(trace or ()), plant or [], physics or [], live, db)
    chosen = list(catalogue().values()) if every else [get_experiment(name) for name in names or []]
    pairs = list(_pairs(chosen, subjects, fitting=every))
    left_out = [e.name for e in chosen if all(e is not experiment for experiment, _ in pairs)]
    if left_out and not json:
        typer.echo(f"Not for this subject: {', '.join(left_out)}", err=True)
    if dry_run:
        for experiment, subject in pairs:
            _say_plan(make_plan(experiment, subject, size=chosen_size, seed=seed), subject, json=json)
        return
    if out is not None:
        for experiment, subject in pairs:
            _writable(out / subjects.folder(subject) / experiment.name)  # a cell can take hours
    executor = _executor(subjects.each[0], jobs, scheduler)
    failed = []
    for experiment, subject in pairs:
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
        _tell(experiment, outcome, None if out is None else out / subjects.folder(subject), db, json=json)
    if failed:
        typer.echo(f"asiclab: not finished: {', '.join(failed)}; --resume goes on with them", err=True)
        raise typer.Exit(EXIT_CHECK_FAILED)


def list_experiments(json: Json = False, config: Config = None) -> None:
    """Every experiment: its question, what it runs on, and the claims that it tests."""
    from experiments.catalogue import catalogue
    from experiments.cli import output

    every = list(catalogue().values())
    if json:
        for experiment in every:
            output.emit(experiment)
        return
    output.table(
        "Experiments",
        ("name", "question", "runs on", "claims"),
        [(e.name, e.title, ", ".join(e.kinds), ", ".join(e.claims) or "–") for e in every],
    )


def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the experiment.")],
    json: Json = False,
    config: Config = None,
) -> None:
    """One experiment: claim, null, the rule that was fixed before the data, and what it can find."""
    from experiments.catalogue import get_experiment
    from experiments.cli import output

    experiment = get_experiment(name)
    if json:
        output.emit(experiment)
        return
    console = output.console()
    console.print(f"{experiment.name}: {experiment.title}", markup=False, style="bold")
    words = [
        ("Source", experiment.source),
        ("Hypothesis", experiment.hypothesis),
        ("Null", experiment.null),
        ("Rule", experiment.decision),
        ("Runs on", ", ".join(experiment.kinds)),
        ("Emulated", ", ".join(experiment.models)),
        ("Claims", ", ".join(experiment.claims) or "none of the numbered ones"),
    ]
    for head, text in words:
        console.print(f"{head + ':':12}{text}", markup=False)
    for size in ("quick", "full"):
        sample = experiment.sample(size)
        shares = "" if sample.shares is None else f" of {sample.shares} shares"
        console.print(
            f"{size + ':':12}{sample.repetitions} x{shares}; finds {sample.detectable}", markup=False
        )


def runs(db: Db = DEFAULT_DB, json: Json = False, config: Config = None) -> None:
    """Runs of experiments in a database, with their findings."""
    from experiments.cli import output
    from experiments.repeat import subject_words
    from experiments.results import Results

    with Results(db, create=False) as results:
        stored, place = results.runs(), results.where
    if json:
        for one in stored:
            output.emit(one)
        return
    output.table(
        f"Runs of experiments in {place}",
        ("run", "experiment", "on", "size", "seed", "cells", "finding"),
        [
            (
                r.run_id,
                r.experiment,
                subject_words(r.plan["subject"]),
                r.size,
                str(r.seed),
                f"{r.done} of {r.plan['cells']}",
                _code(r.finding),
            )
            for r in stored
        ],
    )


def report(
    name: Annotated[
        str,
        typer.Argument(metavar="RUN", help="Of an experiment: its id, a unique prefix of it, or 'latest'."),
    ] = "latest",
    out: ReportFile = None,
    db: Db = DEFAULT_DB,
    json: Json = False,
    config: Config = None,
) -> None:
    """Write the report of a stored run of an experiment: one HTML file, complete in itself."""
    from experiments.cli import output
    from experiments.report.experiment_page import write_run
    from experiments.results import Results

    with Results(db, create=False) as results:
        stored = results.find(name)
        path = out or Path(f"report-{stored.run_id}.html")
        write_run(results, stored, path)
    if json:
        output.emit({"run": stored.run_id, "experiment": stored.experiment, "report": path})
    else:
        output.console().print(f"{stored.experiment}: {_code(stored.finding)}\nReport: {path}", markup=False)


def _code(finding: Any) -> str:
    return "not finished" if finding is None else str(finding["finding"]["code"])


@dataclass(frozen=True)
class Live:
    """How a miner is reached in wall time."""

    devices: tuple[str, ...]
    wall: bool
    host: str
    port: int
    patience_s: float
    password_file: Path | None
    yes: bool
    settle_s: float
    period_s: float | None


@dataclass(frozen=True)
class Subjects:
    """What was asked for.

    Attributes:
        each: miners or stored runs.
        together: makes all of them one for an experiment that wants that; gives None for others.
    """

    each: tuple[Subject, ...]
    together: Callable[[Experiment], Subject | None] = lambda experiment: None

    def of(self, experiment: Experiment) -> tuple[Subject, ...]:
        """On what an experiment runs, one after the other.

        Raises:
            UserError: if it wants several, and these do not do.
        """
        try:
            one = self.together(experiment)
        except UserError as error:
            raise UserError(f"{experiment.name}: {error}") from None
        return self.each if one is None else (one,)

    def folder(self, subject: Subject) -> str:
        """For the files of one of several; empty where there is one."""
        if len(self.each) == 1 or subject not in self.each:
            return ""
        told = subject.to_json()
        return re.sub(r"[^A-Za-z0-9.-]+", "-", str(told.get("run") or told.get("device"))).strip("-")


def _subjects(
    emulate: str | None,
    traces: tuple[str, ...],
    plants: Sequence[str],
    physics: Sequence[str],
    live: Live,
    db: str,
) -> Subjects:
    from experiments.several import AttachedDevices
    from experiments.subjects import Recorded

    if sum([emulate is not None, bool(traces), bool(live.devices)]) > 1:
        raise UserError("--emulate, --trace and --device are three different miners: give one of them")
    if not traces and not live.devices:
        return Subjects((_emulated(emulate or "s9", plants, physics, live, db),))
    if plants or physics or live.wall:
        raise UserError(
            "a stored run or a device is as it is: --plant, --physics and --time go with --emulate"
        )
    if traces:
        # what stands before = is the device's name, for those that compare devices
        each = tuple(Recorded.find(db, name.partition("=")[2] or name) for name in traces)
        return Subjects(each, lambda e: None if e.together is None else e.together(db, traces))
    if len(set(live.devices)) < len(live.devices):
        raise UserError(f"a device is given twice: {', '.join(live.devices)}")
    attached = tuple(_attached(device, live, db, {}, {}) for device in live.devices)
    return Subjects(attached, lambda e: AttachedDevices(attached) if e.compares else None)


def _emulated(
    model: str, plants: Sequence[str], physics: Sequence[str], live: Live, db: str
) -> Emulated | Attached:
    from experiments.cli.emulate import parse_physics
    from experiments.subjects import VIRTUAL_MODELS, Emulated
    from firmware_bridge.emulator.effects import parse_plants
    from firmware_bridge.emulator.physics import Physics

    if model not in VIRTUAL_MODELS:
        raise UserError(f"an experiment emulates {' or '.join(VIRTUAL_MODELS)}, not {model!r}")
    usual, chosen = asdict(Physics.of(model)), asdict(parse_physics(physics, model))
    changed = {name: value for name, value in chosen.items() if usual[name] != value}
    if live.wall:
        return _attached(f"emulate:{model}", live, db, parse_plants(plants), changed)
    return Emulated(model, parse_plants(plants), changed)


def _pairs(
    chosen: Sequence[Experiment], subjects: Subjects, *, fitting: bool
) -> Iterator[tuple[Experiment, Subject]]:
    """Experiments, and on what each runs; with ``fitting`` without those that cannot."""
    for experiment in chosen:
        try:
            own = subjects.of(experiment)
        except UserError:
            if not fitting:
                raise
            continue
        yield from ((experiment, subject) for subject in own if not fitting or _fits(experiment, subject))


def _attached(
    device: str, live: Live, db: str, plants: Mapping[str, float], physics: Mapping[str, Any]
) -> Attached:
    from experiments.attached import Attached, model_of

    return Attached(
        db,
        device,
        model=model_of(device),
        host=live.host,
        port=live.port,
        patience_s=live.patience_s,
        password_file=None if live.password_file is None else str(live.password_file),
        agreed=live.yes,
        plants=plants,
        physics=physics,
        settle_s=live.settle_s,
        period_s=live.period_s,
    ).asked()


def _fits(experiment: Experiment, subject: Subject) -> bool:
    from experiments.attached import Attached
    from experiments.several import attached_of

    if experiment.compares and isinstance(subject, Attached):  # one alone
        return False
    if any(one.lacks(experiment.capabilities) is not None for one in attached_of(subject)):
        return False
    if subject.kind not in experiment.kinds or (
        subject.kind == "emulator" and subject.model not in experiment.models
    ):
        return False
    try:
        experiment.points("fast", subject)
    except UserError:  # these recordings are of another one
        return False
    return True


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
                f"{experiment.name}: run {run_id}, {_cells(len(plan.cells))}{before}, plan {plan.digest[:12]}"
            )
            if plan.seconds is not None:
                _say_plan(plan, subject, json=False, there=results.seconds(run_id).keys())

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


def _say_plan(plan: Plan, subject: Subject, *, json: bool, there: Set[int] = frozenset()) -> None:
    """How many cells, and how long they take an attached miner, without those that are there already."""
    from experiments.attached import SETTINGS
    from experiments.cli import output
    from experiments.several import attached_of

    if json:
        output.emit(plan)
        return
    console = output.console()
    attached = attached_of(subject)
    if not attached or plan.seconds is None:
        console.print(f"{plan.experiment}: {_cells(len(plan.cells))}, plan {plan.digest[:12]}", markup=False)
        return
    on_it = [
        (cell, seconds)
        for cell, seconds in zip(plan.cells, plan.seconds, strict=True)
        if seconds > 0 and cell.number not in there
    ]
    where = " and ".join(str(one.to_json()["device"]) for one in attached)  # without the password of its page
    took = [seconds for _, seconds in on_it]
    text = (
        f"{plan.experiment}: {_cells(len(on_it))} on {where}, about {narma_live.duration(sum(took))} "
        f"by the arithmetic of share rates; the longest {narma_live.duration(max(took, default=0.0))}"
    )
    changed = sorted({name for cell, _ in on_it for name in SETTINGS.values() if name in cell.point})
    if changed:
        text += f". Each cell sets {' and '.join(changed)}, waits {attached[0].settle_s:g} s at least, and sets it back"
    console.print(text, markup=False)


def _cells(number: int) -> str:
    return f"{number} cell" if number == 1 else f"{number} cells"


def _tell(experiment: Experiment, outcome: Outcome, out: Path | None, db: str, *, json: bool) -> None:
    from experiments.cli import output

    files = None if out is None else [*write(outcome, out), _write_page(outcome, out, db)]
    if json:
        output.emit({**outcome.to_json(), **({} if files is None else {"files": files})})
        return
    console = output.console()
    finding = outcome.finding
    console.print(f"{experiment.title} {finding.code}. {finding.text}", markup=False)
    if finding.detectable:
        console.print(f"Smallest effect that would have been found: {finding.detectable}.", markup=False)
    if outcome.placebo is not None:
        console.print(f"Placebo: {outcome.placebo.code}.", markup=False)
    for name, number in finding.numbers.items():
        interval = "" if number.ci is None else f" ({number.ci[0]:.4g} to {number.ci[1]:.4g})"
        status = "" if number.status is None else f", {number.status}"
        console.print(f"{name}: {number.value:.4g}{interval}{status}. {number.text}.", markup=False)
    if outcome.plan.subject.get("plants") and finding.numbers:
        console.print("An effect was planted: these numbers say nothing of the claims.", markup=False)
    for file in files or []:
        console.print(f"Wrote {file}", markup=False)
    if files is None:
        console.print(f"Report: asiclab experiments report {outcome.run_id}", markup=False)


def _write_page(outcome: Outcome, folder: Path, db: str) -> Path:
    from experiments.report.experiment_page import write_run
    from experiments.results import Results

    path = folder / outcome.plan.experiment / "report.html"
    with Results(db, create=False) as results:
        write_run(results, results.find(outcome.run_id), path)
    return path


def write(outcome: Outcome, folder: Path) -> list[Path]:
    """Table and finding of a run as files, without anything that differs between two runs of equal seed."""
    import json

    from experiments.results import canonical

    place = folder / outcome.plan.experiment
    _writable(place)
    try:
        table, finding = place / "cells.jsonl", place / "finding.json"
        lines = [canonical({**row.cell.to_json(), "values": row.values}) for row in outcome.rows]
        table.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        said = {k: v for k, v in outcome.to_json().items() if k != "run"}
        finding.write_text(json.dumps(json.loads(canonical(said)), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise _unwritable(place, error) from None
    return [table, finding]


def _writable(place: Path) -> None:
    """Make a folder for files, and see that something can be written there.

    Raises:
        UserError: if not.
    """
    from tempfile import TemporaryFile

    try:
        place.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise _unwritable(place, error) from None


def _unwritable(place: Path, error: OSError) -> UserError:
    return UserError(f"{place} cannot be written ({error.strerror}); give another --out")


def register(app: typer.Typer) -> None:
    """Add the commands to the tree."""
    app.command("run", cls=LabCommand)(run)
    experiments.command("list", cls=LabCommand)(list_experiments)
    experiments.command("show", cls=LabCommand)(show)
    experiments.command("runs", cls=LabCommand)(runs)
    experiments.command("report", cls=LabCommand)(report)
    app.add_typer(experiments)
