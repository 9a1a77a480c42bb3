"""``asiclab tpf audit``, ``train`` and ``evaluate``: does anything known of a share tell what its hash will be?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.cli.command import EXIT_CHECK_FAILED, LabCommand, options_in_force
from experiments.cli.options import DEFAULT_DB, Classifier, Config, Db, Json, Seed, plot_option
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from tpf.audit import Audit
    from tpf.report import LeakageReport

DEFAULT_SHARES = 2588
"""Length of an emulated run: that of the recorded S9."""

SOURCE = typer.Argument(metavar="RUN|FILE.csv", help="A stored run (id, prefix, latest), or a file.")
Source = Annotated[str, SOURCE]
Label = Annotated[
    str | None,
    typer.Option(
        "--label", metavar="COLUMN", help="Column of a table that is to be predicted; 'label' if it has one."
    ),
]
Threshold = Annotated[
    float | None,
    typer.Option(
        "--threshold",
        metavar="D",
        help="What counts as a success; for a run by default 4 times its smallest difficulty.",
    ),
]
Truth = Annotated[
    bool, typer.Option("--truth", help="Label of an emulated run: what its planted effect acted on.")
]
Miner = Annotated[
    str | None, typer.Option("--miner", metavar="NAME", help="Whose shares, where a run has several miners.")
]

MostShares = Annotated[
    int | None,
    typer.Option(
        "--most-shares",
        min=100_000,
        metavar="N",
        help="Of a longer run, read stretches of this many shares in all, spread evenly; 2,000,000 by default.",
    ),
]


def audit(
    source: Source = "latest",
    label: Label = None,
    threshold: Threshold = None,
    truth: Truth = False,
    miner: Miner = None,
    most_shares: MostShares = None,
    db: Db = DEFAULT_DB,
    json: Json = False,
    config: Config = None,
) -> None:
    """Look for features that hold the label; exit code 1 if there is one, or only one class.

    Beside the leaks stands the honest score: each row predicted from earlier rows alone, leaking features as they were
    one row before.
    """
    from experiments.cli import output
    from experiments.tpf_leakage import dataset_of
    from tpf.audit import audit as audit_of

    table = dataset_of(
        source, db, label=label, threshold=threshold, miner=miner, truth=truth, most_shares=most_shares
    )
    found = audit_of(table)
    if json:
        output.emit({**found.to_json(), "left_out": table.left_out})
    else:
        _print_audit(found)
        _print_not_read(table.left_out)
        _print_left_out(table.left_out)
    if not found.passed:
        raise typer.Exit(EXIT_CHECK_FAILED)


def train(
    source: Source = "latest",
    label: Label = None,
    threshold: Threshold = None,
    truth: Truth = False,
    miner: Miner = None,
    most_shares: MostShares = None,
    classifier: Classifier = "gradient_boosting",
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Where to: FILE.joblib, and its card .json and .md.")
    ] = Path("tpf-model"),
    seed: Seed = 0,
    db: Db = DEFAULT_DB,
    json: Json = False,
    config: Config = None,
) -> None:
    """Train a classifier on the earlier rows and keep it with a card that says what it is worth on later ones.

    A table that leaks, or has a single class, is refused.
    """
    from experiments.cli import output
    from experiments.tpf_leakage import dataset_of
    from tpf.classifier import save_model
    from tpf.classifier import train as train_on

    table = dataset_of(
        source, db, label=label, threshold=threshold, miner=miner, truth=truth, most_shares=most_shares
    )
    card = save_model(train_on(table, classifier, seed=seed), out)
    if json:
        output.emit({"model": f"{out}.joblib" if out.suffix != ".joblib" else out, **card.to_json()})
        return
    area = "" if card.auc is None else f"AUC {card.auc:.4f}, "
    output.console().print(
        f"{card.classifier} of {card.data}: {area}accuracy {card.accuracy:.2%} on later rows, where the best "
        f"constant predictor has {card.constant_accuracy:.2%}.\nModel and card: {out}.joblib, .json, .md",
        markup=False,
    )
    _print_not_read(table.left_out)


def evaluate(
    ctx: typer.Context,
    source: Annotated[str | None, SOURCE] = None,
    label: Label = None,
    threshold: Threshold = None,
    truth: Truth = False,
    miner: Miner = None,
    most_shares: MostShares = None,
    emulate: Annotated[
        str | None, typer.Option("--emulate", metavar="s9|lv06", help="Emulate a run, store it, evaluate it.")
    ] = None,
    plant: Annotated[
        list[str] | None,
        typer.Option(
            "--plant",
            metavar="KIND=STRENGTH",
            help="With --emulate, see asiclab effects list; into a copy of a recording: quality_delay_ms.",
        ),
    ] = None,
    shares: Annotated[
        int, typer.Option("--shares", min=1, help="With --emulate: how many.")
    ] = DEFAULT_SHARES,
    plot: Annotated[Path | None, plot_option("ROC curves and features")] = None,
    seed: Seed = 0,
    db: Db = DEFAULT_DB,
    json: Json = False,
    config: Config = None,
) -> None:
    """Test whether anything that is known of a share tells what its hash will be.

    A fixed list of tests, corrected for their number, repeated in two halves, each with the smallest effect that it
    could have found. The verdict is evidence, no_evidence or cannot_tell.
    """
    from experiments.cli import output
    from experiments.tpf_leakage import dataset_of, planted_delay_ms
    from firmware_bridge.emulator.effects import parse_plants
    from tpf.report import evaluate as evaluate_table

    plants = parse_plants(plant or ())
    if emulate is not None:
        if source is not None:
            raise UserError("--emulate makes a new run; leave the name of a run or file out")
        source, delay_ms = _emulated(ctx, emulate, plants, seed, shares, db), 0.0
    else:
        delay_ms = planted_delay_ms(plants)
    table = dataset_of(
        source or "latest",
        db,
        label=label,
        threshold=threshold,
        miner=miner,
        truth=truth,
        delay_ms=delay_ms,
        most_shares=most_shares,
    )
    report = evaluate_table(table, seed=seed)
    if plot is not None:
        from experiments.report.tpf_leakage_plots import draw

        draw(report, plot)
    output.tell(report.to_json, lambda: _print_report(report), plot, json=json)


def _emulated(
    ctx: typer.Context, model: str, plants: dict[str, float], seed: int, shares: int, db: str
) -> str:
    """Emulate a miner and store the run; its id."""
    from experiments.subjects import check_virtual
    from experiments.tpf_leakage import emulation, write_run
    from firmware_bridge.trace.writer import TraceWriter

    check_virtual(model)
    settings = emulation(model, plants, seed, shares)
    settings.check()
    with TraceWriter(db) as writer:
        return write_run(settings, writer, cli=options_in_force(ctx))


def _print_audit(found: Audit) -> None:
    from experiments.cli import output

    console = output.console()
    console.print(f"{found.name}: {found.text}", markup=False)
    for leak in found.leaks:
        few = ", ".join(str(row) for row in leak.rows[:5])
        more = f", … ({leak.n_rows} in all)" if leak.n_rows > 5 else ""
        console.print(f"\n{leak.kind}: {leak.text}.\n  Rows {few}{more}.", markup=False)
    honest = "–" if found.honest_score is None else f"{found.honest_score:.4f}"
    console.print(
        f"\n{found.n} rows, {found.positives} of them with {found.label}. Honest score {honest}, base rate "
        f"{found.base_rate:.4f} (accuracy of the best constant predictor).",
        markup=False,
    )


def _print_report(report: LeakageReport) -> None:
    from experiments.cli import output

    rows: list[tuple[Any, ...]] = [
        (
            test.name,
            test.lead or "all features",
            f"{test.p_value:.3g}",
            f"{test.p_corrected:.3g}",
            f"{test.effect:+.3g}",
            "–" if test.ci is None else f"{test.ci[0]:.2g} to {test.ci[1]:.2g}",
            "–" if test.detectable_effect is None else f"{test.detectable_effect:.3g}",
            "–" if test.halves is None else "yes" if test.replicated else "no",
        )
        for test in report.tests
    ]
    console = output.console()
    if rows:
        output.table(
            f"{report.name}: {report.n} rows, {report.positives} with {report.label}, base rate {report.base_rate:.4f}",
            ("test", "most in", "p", "corrected", "effect", "95 %", "detectable", "halves"),
            rows,
        )
    for note in dict.fromkeys(test.note for test in report.tests if test.note):
        console.print(f"Note: {note}.", markup=False)
    _print_not_read(report.left_out)
    _print_left_out(report.left_out)
    for leak in report.audit.leaks:
        console.print(f"Leak ({leak.kind}): {leak.text}.", markup=False)
    if report.certificate is not None:
        held = report.certificate
        console.print(
            f"Held-out predictions of {held.classifier}: {held.correct} of {held.trials} right; the best constant "
            f"predictor: {held.baseline[0]} of {held.baseline[1]}.",
            markup=False,
        )
    console.print(f"Verdict: {report.verdict.code}. {report.verdict.text} (seed {report.seed})", markup=False)


def _print_not_read(left_out: Mapping[str, int]) -> None:
    from experiments.cli import output
    from experiments.tpf_leakage import not_read_note

    note = not_read_note(left_out)
    if note is not None:
        output.console().print(f"Note: {note}.", markup=False)


def _print_left_out(left_out: Mapping[str, int]) -> None:
    from experiments.cli import output
    from tpf.run_dataset import NOT_READ

    told = ", ".join(f"{count} ({reason})" for reason, count in left_out.items() if reason != NOT_READ)
    if told:
        output.console().print(f"Rows left out: {told}.", markup=False)


def register(group: typer.Typer) -> None:
    """Add the commands to ``asiclab tpf``."""
    for name, command in (("audit", audit), ("train", train), ("evaluate", evaluate)):
        group.command(name, cls=LabCommand)(command)
