"""``asiclab tpf filter``: does a filter at work save energy? None, the filter and a placebo in random order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.cli import narma_live, tpf_filter_live
from experiments.cli.command import LabCommand, options_in_force
from experiments.cli.mqtt_options import Mqtt, MqttPasswordFile, SensorOption
from experiments.cli.options import DEFAULT_DB, Classifier, Config, Db, Json, PhysicsItems, Seed
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from experiments.tpf_filter.plan import FilterPlan
    from experiments.tpf_filter.result import FilterResult
    from tpf.classifier import Model
    from tpf.filter import Rule


def filter_command(
    ctx: typer.Context,
    emulate: Annotated[
        str | None,
        typer.Option("--emulate", metavar="s9|lv06", help="Miner that is emulated: s9 if nothing is said."),
    ] = None,
    time: narma_live.Time = None,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            metavar="URL",
            help="Run it on this miner: lv06://HOST, bm1366:PORT, or any that connects.",
        ),
    ] = None,
    trace: Annotated[
        str | None, typer.Option("--trace", metavar="RUN", help="Judge a stored comparison again.")
    ] = None,
    plant: Annotated[
        list[str] | None,
        typer.Option(
            "--plant",
            metavar="KIND=STRENGTH",
            help="winning_jobs=0.5: the symbol of a job tells its chance, a leak that a filter can use; delays: see "
            "asiclab effects list.",
        ),
    ] = None,
    blocks: Annotated[int, typer.Option("--blocks", help="How often each arm is run, 6 or more.")] = 16,
    block_seconds: Annotated[
        float | None, typer.Option("--block-seconds", metavar="S", help="Time of each; 60 jobs.")
    ] = None,
    job_seconds: Annotated[
        float | None,
        typer.Option("--job-seconds", metavar="S", help="Length of a whole job; 12 mean shares."),
    ] = None,
    replace_after: Annotated[
        float | None,
        typer.Option("--replace-after", metavar="S", help="When a job is given up; after a tenth of it."),
    ] = None,
    keep_rate: Annotated[
        float, typer.Option("--keep-rate", metavar="Q", help="Part of the jobs that the filter keeps.")
    ] = 0.5,
    classifier: Classifier = "logistic",
    training_jobs: Annotated[
        int, typer.Option("--training-jobs", min=50, help="Jobs without a filter to train on.")
    ] = 600,
    smallest: Annotated[
        float, typer.Option("--smallest", metavar="PART", help="Saving below which nobody cares.")
    ] = 0.05,
    model: Annotated[
        Path | None,
        typer.Option(
            "--model", metavar="FILE", help="A kept filter, with its card, in the place of training."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Keep the filter: FILE.joblib, .json, .md, .rule.json."),
    ] = None,
    physics: PhysicsItems = None,
    host: narma_live.Host = None,
    port: narma_live.Port = 0,
    difficulty: narma_live.Difficulty = 256.0,
    patience: narma_live.Patience = 300.0,
    device_period: Annotated[
        float,
        typer.Option(
            "--device-period", metavar="S", min=0.1, help="Live: read the miner's telemetry that often."
        ),
    ] = 3.0,
    watts: Annotated[
        float | None,
        typer.Option(
            "--watts", metavar="W", help="Live: power of a miner that does not tell it, as a constant."
        ),
    ] = None,
    mqtt: Mqtt = None,
    mqtt_password_file: MqttPasswordFile = None,
    sensor: SensorOption = None,
    password_file: narma_live.PasswordFile = None,
    yes: Annotated[
        bool,
        typer.Option("--yes", help="Agree that the pool of the device changes, and is set back at the end."),
    ] = False,
    seed: Seed = 0,
    db: Db = DEFAULT_DB,
    json: Json = False,
    config: Config = None,
) -> None:
    """Measure joules per verified difficulty without a filter, with one, and with as many jobs replaced by chance.

    In virtual time, or with --time wall or --device through the bridge on a miner that is there. The verdict is saves,
    no_saving or cannot_tell. With a fair hash no filter can save; a planted leak shows that one would be found.
    """
    from experiments.cli.emulate import parse_physics
    from experiments.tpf_filter.plan import FilterPlan
    from firmware_bridge.emulator.effects import parse_plants, split_luck

    if time not in (None, "virtual", "wall"):
        raise UserError(f"--time is virtual or wall, not {time!r}")
    if sum(given is not None for given in (emulate, trace, device)) > 1:
        raise UserError("--emulate, --trace and --device are three different miners: give one of them")
    if (trace is not None or device is not None) and (plant or physics or time is not None):
        raise UserError(
            "a stored run or a device is as it is: --plant, --physics and --time go with --emulate"
        )
    if trace is not None:
        _tell(tpf_filter_live.judged(db, trace), json)
        return
    luck, others = split_luck(plant or ())
    emulated = emulate or "s9"
    plan = FilterPlan(
        model=emulated if device is None else tpf_filter_live.scheme(device),
        winning_jobs=luck,
        plants=parse_plants(others),
        physics=parse_physics(physics, emulated) if physics else None,
        blocks=blocks,
        block_s=block_seconds,
        job_s=job_seconds,
        replace_s=replace_after,
        keep_rate=keep_rate,
        classifier=classifier,
        training_jobs=training_jobs,
        smallest=smallest,
        seed=seed,
    )
    if device is None and time != "wall":
        _tell(_virtual(plan, model, out, json=json), json)
        return
    options = tpf_filter_live.LiveOptions(
        device=device,
        db=db,
        host=host or "127.0.0.1",
        port=port,
        difficulty=difficulty,
        patience_s=patience,
        device_period_s=device_period,
        watts=watts,
        password_file=password_file,
        yes=yes,
        mqtt=mqtt,
        mqtt_password_file=mqtt_password_file,
        sensors=tuple(sensor or ()),
    )
    tpf_filter_live.run_live(plan, options, model, out, options_in_force(ctx), tell=_tell, json=json)


def _virtual(plan: FilterPlan, model: Path | None, out: Path | None, *, json: bool) -> FilterResult:
    from experiments.cli import output
    from experiments.tpf_filter.virtual import run, train_filter

    plan = plan.resolved()
    given = train_filter(plan) if model is None else _kept(plan, model)
    if out is not None:
        tpf_filter_live.keep(plan, *given, out)
    with output.bar("blocks", shown=not json) as on_block:
        return run(plan, given, on_block=on_block)


def _kept(plan: FilterPlan, path: Path) -> tuple[Model, Rule]:
    """A model from its file, with the rule of its keep rate on jobs of this miner."""
    from experiments.tpf_filter.virtual import training_table
    from tpf.filter import rule_of
    from tpf.kept_filter import load_filter

    model, _ = load_filter(path)
    return model, rule_of(model, training_table(plan), plan.keep_rate, fresh=True)


def _tell(result: FilterResult, json: bool) -> None:
    from experiments.cli import output

    if json:
        output.emit(result.to_json())
        return
    plan, live = result.plan, result.live
    rows = [
        (
            arm,
            f"{result.joules_per_difficulty[arm]:.4g}",
            f"{result.keep_rate[arm]:.3f}",
            f"{result.recall[arm]:.3f}",
            f"{result.accounted[arm]:.3f}",
        )
        for arm in result.joules_per_difficulty
    ]
    what = f"Emulated {plan.model}" if live is None else live.device[:1].upper() + live.device[1:]
    output.table(
        f"{what}: {result.saving.blocks} blocks of {plan.block_s:g} s, jobs of {plan.job_s:g} s, given up after "
        f"{plan.replace_s:g} s",
        ("arm", "J per difficulty", "kept", "recall", "accounted"),
        rows,
    )
    say: Any = output.console().print
    say(f"Filter against none:   {result.saving}, p = {result.saving.p:.3g}", markup=False)
    say(f"Filter against random: {result.against_random}, p = {result.against_random.p:.3g}", markup=False)
    say(f"Random against none:   {result.placebo}, p = {result.placebo.p:.3g}", markup=False)
    area = "not known" if result.card.auc is None else f"{result.card.auc:.3f}"
    text = f"AUC of the filter's model on later jobs: {area}."
    if result.planted is not None:
        text += (
            f" What the planted leak ({plan.winning_jobs:g}) allows at this keep rate: {result.planted:+.1%}."
        )
    say(text, markup=False)
    if live is not None:
        for line in tpf_filter_live.facts(live):
            say(line, markup=False)
    say(f"Verdict: {result.verdict['code']}. {result.verdict['text']} (seed {plan.seed})", markup=False)


def register(group: typer.Typer) -> None:
    """Add the command to ``asiclab tpf``."""
    group.command("filter", cls=LabCommand)(filter_command)
