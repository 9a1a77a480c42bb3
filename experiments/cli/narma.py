"""``asiclab narma`` and ``asiclab reservoir``: what a miner's timing computes, beside what anything else does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.cli import narma_live
from experiments.cli.command import EXIT_CHECK_FAILED, LabCommand, lab_group, options_in_force
from experiments.cli.options import (
    DEFAULT_DB,
    Config,
    Db,
    Json,
    PhysicsItems,
    Plants,
    Run,
    Scale,
    Seed,
    plot_option,
)
from experiments.cli.reservoir_options import Emulate, JobPeriod, Miner, Mode, Observe, Range, Washout
from experiments.cli.reservoir_properties import properties
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from experiments.narma import Result
    from experiments.narma_plan import Plan

reservoir = lab_group("reservoir", "What kind of reservoir a stored run is.")

Task = Annotated[
    str,
    typer.Option("--task", metavar="NAME", help="narma10, mackey-glass, xor, …; see docs/reservoir.md."),
]
Lags = Annotated[int, typer.Option("--lags", min=0, help="Steps of the past that the readout sees besides.")]
Train = Annotated[int, typer.Option("--train", min=10, help="Steps to train on.")]
Test = Annotated[int, typer.Option("--test", min=2, help="Steps to test on.")]
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
Plot = Annotated[Path | None, plot_option("prediction, states and null")]


def narma(
    ctx: typer.Context,
    trace: Annotated[
        str | None, typer.Option("--trace", metavar="RUN", help="Score a stored run; id, prefix or latest.")
    ] = None,
    emulate: Emulate = None,
    mode: Mode = "dialogue",
    encode: Annotated[
        str,
        typer.Option(
            "--encode",
            metavar="FIELD",
            help="What carries the symbols: a job field, frequency, voltage or duty.",
        ),
    ] = "coinbase",
    task: Task = "narma10",
    observe: Observe = None,
    lags: Lags = 9,
    mask: Annotated[
        str | None,
        typer.Option(
            "--mask",
            metavar="KIND:V",
            help="Spread each input over V jobs: binary:V, uniform:V, mls:V, ones:V.",
        ),
    ] = None,
    plant: Plants = None,
    physics: PhysicsItems = None,
    device: narma_live.Device = None,
    time: narma_live.Time = None,
    scale: Scale = None,
    host: narma_live.Host = None,
    port: narma_live.Port = 0,
    difficulty: narma_live.Difficulty = 256.0,
    swh_timeout: narma_live.Timeout = 30.0,
    patience: narma_live.Patience = 300.0,
    pool_user: narma_live.User = None,
    password_file: narma_live.PasswordFile = None,
    device_period: narma_live.DevicePeriod = None,
    yes: narma_live.Yes = False,
    feedback: Annotated[
        float, typer.Option("--feedback", min=0.0, help="Dialogue: weight of the last response in a symbol.")
    ] = 0.25,
    swing: Range = None,
    period: JobPeriod = None,
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
    scored. With --device URL, or --emulate and --time wall, a miner is driven over its socket in wall time; what came
    until Ctrl-C is kept, and scored if it is enough. NRMSE is the RMSE over the standard deviation of the target on the
    test block: 1 is what predicting the mean scores.
    """
    from experiments.carriers import Swing
    from experiments.narma_plan import Plan

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
        swing=None if swing is None else Swing.parse(swing),
    )
    if time not in (None, "virtual", "wall"):
        raise UserError(f"--time is virtual or wall, not {time!r}")
    if device is not None and (trace is not None or emulate is not None):
        raise UserError("--device drives a miner: leave --trace and --emulate out")
    if device is not None and time == "virtual":
        raise UserError("a miner that is there lives in wall time: leave --time out with --device")
    if trace is not None and time is not None:
        raise UserError("a stored run is as it is: --time goes with --emulate")
    if trace is not None and emulate is not None:
        raise UserError("--trace scores a stored run, --emulate makes a new one: give one of them")
    if trace is not None and (plant or physics):
        raise UserError("a stored run is as it is: --plant and --physics go with --emulate")
    if device is None and time != "wall":
        run = trace or _emulated(ctx, plan, emulate or "s9", plant or [], physics or [], db)
        _score(run, plan, db, miner, other, plot, json)
        return
    options = narma_live.LiveOptions(
        emulate=None if device is not None else emulate or "s9",
        device=device,
        plants=tuple(plant or ()),
        physics=tuple(physics or ()),
        scale=scale,
        host=host,
        port=port,
        difficulty=difficulty,
        timeout_s=swh_timeout,
        patience_s=patience,
        user=pool_user,
        password_file=password_file,
        device_period_s=device_period,
        yes=yes,
    )
    driven, signalled = narma_live.run_live(plan, options, db, options_in_force(ctx), json=json)
    scored = narma_live.what_to_score(plan, driven)
    if scored is not None:
        _score(driven.run_id, scored, db, miner, other, plot, json)
    if driven.problems:
        raise typer.Exit(EXIT_CHECK_FAILED)
    if signalled or scored is None:
        raise typer.Exit(signalled or EXIT_CHECK_FAILED)


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
    from experiments.narma_plan import Plan

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
    from experiments.cli.emulate import parse_physics
    from experiments.narma_runs import emulation, write_run
    from experiments.subjects import check_virtual
    from firmware_bridge.emulator.effects import parse_plants
    from firmware_bridge.trace.writer import TraceWriter

    check_virtual(model)
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
    output.tell(result.to_json, lambda: _print(result), plot, json=json)


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
    if result.symbols is not None:
        read = result.symbols
        console.print(
            f"Symbols read right by a logistic readout: {read.accuracy:.3f} ({_interval(read.accuracy_ci)}) of "
            f"{read.n}; the most frequent one {read.most_frequent:.3f}, the input alone {read.input_only:.3f} (p = "
            f"{read.better_than_input:.3g}), ten taps {read.delay_line_10:.3f}, with products "
            f"{read.delay_line_10_quadratic:.3f}",
            markup=False,
        )
    if result.clock is not None:
        clock = result.clock
        console.print(
            f"The bridge itself: {clock.what} {clock.median_ns / 1e6:.3f} ms (99 %: {clock.p99_ns / 1e6:.3f} ms); its "
            f"rank correlation with the input is {clock.rho:+.3f} (p = {clock.p:.3g})",
            markup=False,
        )
    console.print(f"Verdict: {evaluation.verdict.code}. {evaluation.verdict.text}", markup=False)
    if result.caution is not None:
        console.print(f"Caution: {result.caution}", markup=False)


def _interval(ends: tuple[float, float] | None) -> str:
    return "–" if ends is None else f"{ends[0]:.4f} to {ends[1]:.4f}"


def register(app: typer.Typer) -> None:
    """Add the commands to the tree."""
    app.command("narma", cls=LabCommand)(narma)
    reservoir.command("evaluate", cls=LabCommand)(evaluate)
    reservoir.command("properties", cls=LabCommand)(properties)
    app.add_typer(reservoir)
