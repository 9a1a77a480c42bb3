"""``asiclab narma`` and ``asiclab reservoir``: what a miner's timing computes, beside what anything else does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.cli.command import LabCommand, LabGroup, options_in_force
from experiments.cli.options import DEFAULT_DB, Config, Db, Json, Run, Seed
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from experiments.narma import Plan, Result

reservoir = typer.Typer(
    name="reservoir",
    help="What kind of reservoir a stored run is.",
    cls=LabGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
)

Miner = Annotated[
    str | None, typer.Option("--miner", metavar="NAME", help="Whose steps, where a run has several miners.")
]
Task = Annotated[
    str,
    typer.Option("--task", metavar="NAME", help="narma10, mackey_glass, …; see docs/experiments/narma.md."),
]
Observe = Annotated[
    list[str] | None,
    typer.Option("--observe", metavar="KIND", help="State columns, repeatable; see docs/reservoir.md."),
]
Lags = Annotated[int, typer.Option("--lags", min=0, help="Steps of the past that the readout sees besides.")]
Train = Annotated[int, typer.Option("--train", min=10, help="Steps to train on.")]
Test = Annotated[int, typer.Option("--test", min=2, help="Steps to test on.")]
Washout = Annotated[int, typer.Option("--washout", min=0, help="Steps at the start that nobody sees.")]
Permutations = Annotated[int, typer.Option("--permutations", min=20, help="Of the null of the gain.")]
Lambda = Annotated[
    float | None,
    typer.Option(
        "--lambda", metavar="L", help="One ridge penalty for all readouts; chosen on a block if left out."
    ),
]
Other = Annotated[
    str | None, typer.Option("--other", metavar="RUN", help="A run whose timing is scored as a baseline.")
]
Plot = Annotated[
    Path | None,
    typer.Option("--plot", metavar="FILE", help="Draw prediction, states and null: .png, .svg, .pdf."),
]


def narma(
    ctx: typer.Context,
    trace: Annotated[
        str | None, typer.Option("--trace", metavar="RUN", help="Score a stored run; id, prefix or latest.")
    ] = None,
    emulate: Annotated[
        str | None,
        typer.Option("--emulate", metavar="s9|lv06", help="Drive an emulated miner; s9 if nothing is named."),
    ] = None,
    mode: Annotated[
        str, typer.Option("--mode", metavar="dialogue|monologue|constant", help="What a symbol depends on.")
    ] = "dialogue",
    encode: Annotated[
        str, typer.Option("--encode", metavar="FIELD", help="Job field that carries the symbols.")
    ] = "coinbase",
    task: Task = "narma10",
    observe: Observe = None,
    lags: Lags = 9,
    mask: Annotated[
        str | None,
        typer.Option(
            "--mask", metavar="KIND:V", help="Spread each input over V jobs: binary:V, uniform:V or mls:V."
        ),
    ] = None,
    plant: Annotated[
        list[str] | None,
        typer.Option("--plant", metavar="KIND=STRENGTH", help="Planted effect; see asiclab effects list."),
    ] = None,
    physics: Annotated[
        list[str] | None, typer.Option("--physics", metavar="NAME=VALUE", help="As of asiclab emulate.")
    ] = None,
    feedback: Annotated[
        float, typer.Option("--feedback", min=0.0, help="Dialogue: weight of the last response in a symbol.")
    ] = 0.25,
    period: Annotated[
        float | None,
        typer.Option("--job-period", metavar="S", help="Monologue, constant: seconds between jobs."),
    ] = None,
    train: Train = 2000,
    test: Test = 1000,
    washout: Washout = 200,
    permutations: Permutations = 199,
    alpha: Lambda = None,
    miner: Miner = None,
    other: Other = None,
    plot: Plot = None,
    seed: Seed = 0,
    db: Db = DEFAULT_DB,
    json: Json = False,
    config: Config = None,
) -> None:
    """Drive a miner with the input of a task and score its timing, beside every baseline.

    Without --trace an emulated miner is driven in virtual time, its run is written into the database, and that run is
    scored. NRMSE is the RMSE over the standard deviation of the target on the test block: 1 is what predicting the mean
    scores.
    """
    from experiments.narma import Plan

    plan = Plan(
        mode=mode,
        encode=encode,
        task=task,
        observe=tuple(observe or ()),
        lags=lags,
        mask=mask,
        feedback=feedback,
        train=train,
        test=test,
        washout=washout,
        seed=seed,
        permutations=permutations,
        alpha=alpha,
        period_s=period,
    )
    if trace is not None and emulate is not None:
        raise UserError("--trace scores a stored run, --emulate makes a new one: give one of them")
    if trace is not None and (plant or physics):
        raise UserError("a stored run is as it is: --plant and --physics go with --emulate")
    run = trace or _emulated(ctx, plan, emulate or "s9", plant or [], physics or [], db)
    _score(run, plan, db, miner, other, plot, json)


def evaluate(
    run: Run = "latest",
    task: Task = "narma10",
    observe: Observe = None,
    lags: Lags = 9,
    train: Train = 2000,
    test: Test = 1000,
    washout: Washout = 200,
    permutations: Permutations = 199,
    alpha: Lambda = None,
    miner: Miner = None,
    other: Other = None,
    plot: Plot = None,
    seed: Seed = 0,
    db: Db = DEFAULT_DB,
    json: Json = False,
    config: Config = None,
) -> None:
    """Score the timing of a stored run on a task, beside every baseline."""
    from experiments.narma import Plan

    plan = Plan(
        task=task,
        observe=tuple(observe or ()),
        lags=lags,
        train=train,
        test=test,
        washout=washout,
        seed=seed,
        permutations=permutations,
        alpha=alpha,
    )
    _score(run, plan, db, miner, other, plot, json)


def _emulated(
    ctx: typer.Context, plan: Plan, model: str, plants: list[str], physics: list[str], db: str
) -> str:
    """Drive an emulated miner and store the run; its id."""
    from experiments.cli.emulate import VIRTUAL_MODELS, parse_physics
    from experiments.narma import emulation, write_run
    from firmware_bridge.emulator.effects import parse_plants
    from firmware_bridge.trace.writer import TraceWriter

    if model not in VIRTUAL_MODELS:
        raise UserError(f"virtual time is there for {' and '.join(VIRTUAL_MODELS)}, not for {model!r}")
    config = emulation(plan, model, parse_plants(plants), parse_physics(physics, model))
    config.check()
    with TraceWriter(db) as writer:
        return write_run(plan, config, writer, cli=options_in_force(ctx))


def _score(
    run: str, plan: Plan, db: str, miner: str | None, other: str | None, plot: Path | None, json: bool
) -> None:
    from experiments.cli import output
    from experiments.narma import score_run
    from firmware_bridge.trace.reader import TraceReader

    result = score_run(TraceReader(db), run, plan, miner=miner, other=other)
    if plot is not None:
        from experiments.report.reservoir_plots import draw

        draw(
            result.evaluation,
            result.observation.states,
            [column.name for column in result.observation.columns],
            plot,
            u=result.input,
        )
    if json:
        output.emit({**result.to_json(), **({} if plot is None else {"plot": plot})})
        return
    _print(result)
    if plot is not None:
        output.console().print(f"Plot: {plot}", markup=False)


def _print(result: Result) -> None:
    from experiments.cli import output

    evaluation = result.evaluation
    rows: list[tuple[Any, ...]] = [
        ("input and timing states", f"{evaluation.nrmse:.4f}", _interval(evaluation.nrmse_ci), "", ""),
        ("timing states only", f"{evaluation.nrmse_states_only:.4f}", "", "", ""),
    ]
    for name, value in sorted(evaluation.baselines.items(), key=lambda item: -item[1]):
        difference = evaluation.differences[name]
        rows.append((name, f"{value:.4f}", "", f"{difference.difference:+.4f}", _interval(difference.ci)))
    how = "" if result.mode is None else f", {result.mode} through {result.encode}"
    split = evaluation.split
    output.table(
        f"{evaluation.task}{how}: NRMSE = RMSE / standard deviation of the target "
        f"({split.train} steps to train, {split.test} to test, washout {split.washout})",
        ("readout of", "NRMSE", "95 %", "worse than the states by", "95 %"),
        rows,
    )
    gain = evaluation.gain
    console = output.console()
    console.print(
        f"Gain over the input alone: {gain.gain:.4f}, {_interval(gain.ci)}, p = {gain.p_value:.3g} "
        f"({gain.null.size} permutations), seed {result.seed}, run {result.run_id}",
        markup=False,
    )
    console.print(f"Verdict: {evaluation.verdict.code}. {evaluation.verdict.text}", markup=False)


def _interval(ends: tuple[float, float] | None) -> str:
    return "–" if ends is None else f"{ends[0]:.4f} to {ends[1]:.4f}"


def register(app: typer.Typer) -> None:
    """Add the commands to the tree."""
    app.command("narma", cls=LabCommand)(narma)
    reservoir.command("evaluate", cls=LabCommand)(evaluate)
    app.add_typer(reservoir)
