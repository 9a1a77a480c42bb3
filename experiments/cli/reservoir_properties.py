"""``asiclab reservoir properties``: memory, capacities, consistency and ranks of a miner, each beside its null."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.cli.command import options_in_force
from experiments.cli.options import DEFAULT_DB, Config, Db, Json, PhysicsItems, Plants, Seed, plot_option
from experiments.cli.reservoir_options import Emulate, JobPeriod, Miner, Mode, Observe, Range, Washout
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from experiments.narma_plan import Plan
    from experiments.properties import Found


def properties(
    ctx: typer.Context,
    trace: Annotated[
        list[str] | None,
        typer.Option(
            "--trace",
            metavar="RUN",
            help="A stored run; repeat it for replicas, runs that carried the same input.",
        ),
    ] = None,
    emulate: Emulate = None,
    replicas: Annotated[
        int, typer.Option("--replicas", min=0, help="Emulated: further runs with the same input.")
    ] = 2,
    mode: Mode = "monologue",
    encode: Annotated[
        str, typer.Option("--encode", metavar="FIELD", help="What carries the symbols; as of asiclab narma.")
    ] = "coinbase",
    swing: Range = None,
    observe: Observe = None,
    lags: Annotated[
        int, typer.Option("--lags", min=0, help="Steps of the past in each state: memory that the host adds.")
    ] = 0,
    plant: Plants = None,
    physics: PhysicsItems = None,
    period: JobPeriod = None,
    steps: Annotated[int, typer.Option("--steps", min=50, help="Steps behind the washout.")] = 3000,
    washout: Washout = 200,
    delays: Annotated[int, typer.Option("--delays", min=1, help="Longest delay that is looked for.")] = 20,
    degree: Annotated[
        int, typer.Option("--degree", min=1, max=6, help="Highest degree of the capacities.")
    ] = 3,
    miner: Miner = None,
    plot: Annotated[Path | None, plot_option("memory, capacities, consistency")] = None,
    seed: Seed = 0,
    db: Db = DEFAULT_DB,
    json: Json = False,
    config: Config = None,
) -> None:
    """Tell what kind of reservoir a miner is: memory, capacities, consistency, echo state, ranks, each with its null.

    Without --trace an emulated miner is driven in virtual time, several times with the same input and other chance; the
    runs are written into the database, and their properties are told.
    """
    from experiments.carriers import Swing
    from experiments.narma_plan import Plan
    from experiments.properties import properties_of_runs
    from experiments.report.light import checked
    from firmware_bridge.trace.reader import TraceReader

    plan = Plan(
        mode=mode,
        encode=encode,
        observe=tuple(observe or ()),
        lags=lags,
        train=steps,
        test=0,
        washout=washout,
        seed=seed,
        period_s=period,
        swing=None if swing is None else Swing.parse(swing),
    )
    if plot is not None:
        checked(plot)
    if trace and emulate is not None:
        raise UserError("--trace looks at stored runs, --emulate makes new ones: give one of them")
    if trace and (plant or physics):
        raise UserError("a stored run is as it is: --plant and --physics go with --emulate")
    if trace:
        found = properties_of_runs(TraceReader(db), trace, plan, delays=delays, degree=degree, miner=miner)
    else:
        found = _emulated(
            ctx, plan, emulate or "s9", replicas, plant or [], physics or [], delays, degree, db
        )
    if plot is not None:
        from experiments.report.properties_plot import draw

        draw(found, plot)
    from experiments.cli import output

    output.tell(found.to_json, lambda: _print(found), plot, json=json)


def _emulated(
    ctx: typer.Context,
    plan: Plan,
    model: str,
    replicas: int,
    plants: list[str],
    physics: list[str],
    delays: int,
    degree: int,
    db: str,
) -> Found:
    from experiments.cli.emulate import parse_physics
    from experiments.properties import LEAD, emulated_ranks, properties_of_runs, write_replicas
    from experiments.subjects import check_virtual
    from firmware_bridge.emulator.effects import parse_plants
    from firmware_bridge.trace.reader import TraceReader
    from firmware_bridge.trace.writer import TraceWriter

    check_virtual(model)
    if plan.washout < LEAD:
        raise UserError(
            f"--washout is at least {LEAD}: so long are the runs driven apart, to see whether they meet"
        )
    planted, timing = parse_plants(plants), parse_physics(physics, model)
    with TraceWriter(db) as writer:
        names = write_replicas(
            plan, model, writer, replicas=replicas, plants=planted, physics=timing, cli=options_in_force(ctx)
        )
    return properties_of_runs(
        TraceReader(db),
        names,
        plan,
        delays=delays,
        degree=degree,
        ranks_of=None
        if plan.mode == "constant"
        else lambda columns, scale: emulated_ranks(plan, model, columns, scale, planted, timing),
    )


def _print(found: Found) -> None:
    from experiments.cli import output

    told = found.properties
    how = "" if found.mode is None else f", {found.mode} through {found.encode}"
    output.table(
        f"Properties of {told.nodes} states over {told.rows} steps{how}",
        ("property", "value", "without the property"),
        _rows(found),
    )
    console = output.console()
    for name, why in told.missing.items():
        if found.ranks is None or not name.startswith("ranks"):
            console.print(f"Missing: {name}: {why}", markup=False)
    more = "" if len(found.runs) == 1 else f", replicas {', '.join(found.runs[1:])}"
    console.print(f"Seed {found.seed}, run {found.runs[0]}{more}", markup=False)
    console.print(f"Verdict: {found.verdict.code}. {found.verdict.text}", markup=False)


def _rows(found: Found) -> list[tuple[Any, ...]]:
    told = found.properties
    rows: list[tuple[Any, ...]] = [
        ("memory of the input itself", f"{told.input_memory:.4f}", f"below {told.input_memory_null:.4f}")
    ]
    if told.fading_memory is not None:
        m = told.fading_memory
        rows.append(("linear memory (delays from 1 on)", f"{m.total:.4f}", "0"))
        falls = str(m.falls_at or f"beyond {m.capacity.size - 1}")
        rows.append(("it falls to chance at the delay", falls, "1"))
    if told.capacity is not None:
        c = told.capacity
        rows.append(
            (
                "information processing capacity",
                f"{c.total:.4f} ± {c.standard_error:.4f}",
                f"0; one target by chance {c.null_mean:.4f}, to pass {c.threshold:.4f}",
            )
        )
        rows += [(f"  of degree {d}", f"{value:.4f}", "0") for d, value in sorted(c.by_degree.items())]
    if told.separation is not None:
        s = told.separation
        rows.append(("separation (rank correlation)", f"{s.correlation:.4f}", f"below {s.null_high:.4f}"))
    ranks = found.ranks or told.ranks
    if ranks is not None:
        rows.append(("kernel rank", f"{ranks.kernel} of {ranks.nodes}", f"{ranks.null:.1f}"))
        if ranks.generalisation is not None:
            rows.append(("generalisation rank (low is good)", ranks.generalisation, f"{ranks.null:.1f}"))
    if told.consistency is not None:
        k = told.consistency
        rows.append(("consistency (mean correlation)", f"{k.mean:.4f}", f"below {k.null_high:.4f}"))
        rows.append(("consistent dimensions", f"{k.capacity:.3f}", f"below {k.capacity_null_high:.3f}"))
    if told.echo_state is not None:
        e = told.echo_state
        exponent = f"{e.exponent:.4f} ± {e.standard_error:.4f}"
        if not math.isfinite(e.exponent):
            exponent = "-inf: met at once" if e.exponent < 0 else "hidden by the noise"
        rows.append(("conditional Lyapunov exponent per step", exponent, "0"))
        rows.append(("distance of replicas at their end", f"{e.end:.4f}", "1"))
    if told.dimension is not None:
        d = told.dimension
        rows.append(
            ("effective dimension", f"{d.participation:.3f}", f"{d.participation_null:.3f} (noise: the most)")
        )
        rows.append(("condition number", f"{d.condition:.4g}", f"{d.condition_null:.4g} (noise: the least)"))
    return rows
