"""``asiclab experiments``: the catalogue, and what stored runs of it found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from experiments.cli.command import LabCommand, LabGroup
from experiments.cli.options import DEFAULT_DB, Config, Db, Json, ReportFile

experiments = typer.Typer(
    name="experiments",
    help="The catalogue: which claims can be tested, how, and what was found.",
    cls=LabGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
)


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


def register(app: typer.Typer) -> None:
    """Add the group to the tree."""
    experiments.command("list", cls=LabCommand)(list_experiments)
    experiments.command("show", cls=LabCommand)(show)
    experiments.command("runs", cls=LabCommand)(runs)
    experiments.command("report", cls=LabCommand)(report)
    app.add_typer(experiments)
