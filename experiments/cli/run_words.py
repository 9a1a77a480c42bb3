"""What ``asiclab run`` says and writes: the plan before, the finding after."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.cli import narma_live
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from experiments.experiment import Experiment
    from experiments.plan import Plan
    from experiments.runner import Outcome
    from experiments.subjects import Subject


def say_plan(plan: Plan, subject: Subject, *, json: bool, there: Set[int] = frozenset()) -> None:
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
        console.print(
            f"{plan.experiment}: {cell_count(len(plan.cells))}, plan {plan.digest[:12]}", markup=False
        )
        return
    on_it = [
        (cell, seconds)
        for cell, seconds in zip(plan.cells, plan.seconds, strict=True)
        if seconds > 0 and cell.number not in there
    ]
    where = " and ".join(str(one.to_json()["device"]) for one in attached)  # without the password of its page
    took = [seconds for _, seconds in on_it]
    text = (
        f"{plan.experiment}: {cell_count(len(on_it))} on {where}, about {narma_live.duration(sum(took))} "
        f"by the arithmetic of share rates; the longest {narma_live.duration(max(took, default=0.0))}"
    )
    changed = sorted({name for cell, _ in on_it for name in SETTINGS.values() if name in cell.point})
    if changed:
        text += f". Each cell sets {' and '.join(changed)}, waits {attached[0].settle_s:g} s at least, and sets it back"
    console.print(text, markup=False)


def cell_count(number: int) -> str:
    """With its noun."""
    return f"{number} cell" if number == 1 else f"{number} cells"


def tell(experiment: Experiment, outcome: Outcome, out: Path | None, db: str, *, json: bool) -> None:
    """The finding, its numbers, and where its files are, which are written now; ``out`` is their folder."""
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
    writable(place)
    try:
        table, finding = place / "cells.jsonl", place / "finding.json"
        lines = [canonical({**row.cell.to_json(), "values": row.values}) for row in outcome.rows]
        table.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        said = {k: v for k, v in outcome.to_json().items() if k != "run"}
        finding.write_text(json.dumps(json.loads(canonical(said)), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise _unwritable(place, error) from None
    return [table, finding]


def writable(place: Path) -> None:
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
