"""The live half of ``asiclab tpf filter``: who is compared, what is kept of it, and how it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from experiments.cli.command import EXIT_CHECK_FAILED
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from experiments.cli.running import Stop
    from experiments.tpf_filter.live import Ended, Given, LiveFilter
    from experiments.tpf_filter.plan import FilterPlan
    from experiments.tpf_filter.result import FilterResult, LiveFacts
    from firmware_bridge.stratum.server import Bridge
    from tpf.classifier import Model
    from tpf.filter import Rule


@dataclass(frozen=True)
class LiveOptions:
    """What the command line asks for.

    Attributes:
        device: URL, ``any``, or None for an emulated miner.
        db: trace that the run goes into.
        host: address of this host that the miner reaches.
        port: of the bridge.
        difficulty: of the shares.
        patience_s: how long the miner may stay away.
        device_period_s: between two readings of the miner.
        watts: its power, where it does not tell.
        password_file: with the password of its worker.
        yes: whether its pool may be changed.
        mqtt: broker of a meter.
        mqtt_password_file: with the password there.
        sensors: meters, as of ``asiclab bridge --sensor``.
    """

    device: str | None
    db: str
    host: str
    port: int
    difficulty: float
    patience_s: float
    device_period_s: float
    watts: float | None
    password_file: Path | None
    yes: bool
    mqtt: str | None
    mqtt_password_file: Path | None
    sensors: tuple[str, ...]

    def live(self, plan: FilterPlan) -> LiveFilter:
        """The miner, and how it is compared.

        Raises:
            UserError: if something is missing or makes no sense.
        """
        from dataclasses import asdict

        from experiments.attached import Attached
        from experiments.subjects import VIRTUAL_MODELS
        from experiments.tpf_filter.live import LiveFilter, stated_w
        from firmware_bridge.emulator.physics import Physics

        plants, physics = dict(plan.plants), {}
        watts = self.watts
        if plan.physics is not None:
            usual = asdict(Physics.of(plan.model))
            physics = {k: v for k, v in asdict(plan.physics).items() if usual[k] != v}
        if self.device is None:
            if plan.model not in VIRTUAL_MODELS:
                raise UserError(f"a comparison emulates {' or '.join(VIRTUAL_MODELS)}, not {plan.model!r}")
            if plan.winning_jobs:
                plants["winning_jobs"] = plan.winning_jobs
            if watts is None and not self.sensors:
                watts = stated_w(plan.model)
        attached = Attached(
            self.db,
            f"emulate:{plan.model}" if self.device is None else self.device,
            model=plan.model if plan.model in VIRTUAL_MODELS else "s9",
            host=self.host,
            port=self.port,
            patience_s=self.patience_s,
            password_file=None if self.password_file is None else str(self.password_file),
            agreed=self.yes,
            plants=plants,
            physics=physics,
        )
        return LiveFilter(attached, self.difficulty, self.device_period_s, watts, bool(self.sensors))

    async def attach(self, server: Bridge) -> None:
        """Bring the meters into the run.

        Raises:
            LabError: if the broker cannot be used.
        """
        from experiments.cli import attached, mqtt_options

        login = mqtt_options.Login(self.mqtt, None, self.mqtt_password_file)
        inbox = mqtt_options.inbox_config(
            login,
            commands=False,
            beyond_factory=False,
            pause_s=10.0,
            sensors=self.sensors,
            sensor_tables=(),
            devices=(),
            home_assistant=None,
        )
        told = attached.Attached((), None, (), self.device_period_s, login.settings(), inbox)
        await attached.attach(server, told, server.config)


def scheme(device: str) -> str:
    """Name of the driver of a device, or ``any``; a path is that of a chain."""
    return "bm1366" if device.startswith("/") else device.partition(":")[0]


def judged(db: str, run: str) -> FilterResult:
    """What a stored comparison says.

    Raises:
        LabError: if there is none.
    """
    from experiments.tpf_filter.stored import judge_run
    from firmware_bridge.trace.reader import TraceReader

    return judge_run(TraceReader(db), run)


def keep(plan: FilterPlan, model: Model, rule: Rule, out: Path) -> None:
    """Keep a filter with its rule and the times of its jobs.

    Raises:
        UserError: if it cannot be written.
    """
    from tpf.kept_filter import KeptRule, save_filter

    times = plan.times()
    save_filter(model, KeptRule(rule, plan.keep_rate, times["keep_s"], times["replace_s"]), out)


def run_live(
    plan: FilterPlan,
    options: LiveOptions,
    model: Path | None,
    out: Path | None,
    in_force: dict[str, Any],
    *,
    tell: Callable[[FilterResult, bool], None],
    json: bool,
) -> None:
    """Compare on a miner that is there, store the run, and judge it; Ctrl-C ends it early and keeps what came.

    Raises:
        LabError: if nothing could be recorded.
        Exit: if something went wrong on the way, or too little is there to be judged.
    """
    import asyncio

    from experiments.cli.running import stoppable

    live = options.live(plan)
    if options.sensors and options.mqtt is None:
        raise UserError("--sensor needs a broker: give --mqtt URL, or start one with asiclab broker")
    plan = live.resolved(plan)
    given = None if model is None else _given(plan, model)
    with stoppable() as stop:
        ended = asyncio.run(_compare(plan, live, options, given, out, in_force, stop, json))
    for problem in ended.problems:
        typer.echo(f"asiclab: {problem}", err=True)
    if ended.done < ended.total:
        again = f"asiclab tpf filter --trace {ended.run_id}"
        typer.echo(
            f"asiclab: run {ended.run_id} has {ended.done} of {ended.total} blocks, which are kept; again with {again}",
            err=True,
        )
    try:
        tell(judged(options.db, ended.run_id), json)
    except UserError as error:
        typer.echo(f"asiclab: {error}", err=True)
        raise typer.Exit(_exit_code(ended, stop) or EXIT_CHECK_FAILED) from None
    if code := _exit_code(ended, stop):
        raise typer.Exit(code)


def _exit_code(ended: Ended, stop: Stop) -> int:
    """A miner that was not left as it was found comes before a signal."""
    if ended.problems:
        return EXIT_CHECK_FAILED
    return stop.exit_code if ended.done < ended.total else 0


def _given(plan: FilterPlan, path: Path) -> Given:
    """A kept filter; its rule only where that was set to the same keep rate."""
    from tpf.kept_filter import load_filter

    model, kept = load_filter(path)
    return model, kept.rule if kept is not None and kept.keep_rate == plan.keep_rate else None


async def _compare(
    plan: FilterPlan,
    live: LiveFilter,
    options: LiveOptions,
    given: Given | None,
    out: Path | None,
    in_force: dict[str, Any],
    stop: Stop,
    json: bool,
) -> Ended:
    from experiments.cli import output
    from experiments.cli.narma_live import duration
    from experiments.tpf_filter.live import compare

    recording = given is None or given[1] is None
    lasts = duration(live.seconds(plan, recording=recording))

    def ready(run: str, host: str, port: int) -> None:
        if json:
            output.emit({"ready": True, "run": run, "host": host, "port": port})
        else:
            text = (
                f"Run {run}: {live.attached.device} is to mine for {host}:{port}, for {lasts}; Ctrl-C ends it"
            )
            output.console().print(text, markup=False)

    def keep_filter(model: Model, rule: Rule) -> None:
        if out is not None:
            keep(plan, model, rule, out)

    with output.bar("blocks", shown=not json, unit="blocks") as on_block:
        return await compare(
            plan,
            live,
            given,
            told={"cli": in_force},
            on_ready=ready,
            on_block=on_block,
            on_filter=keep_filter,
            on_notice=lambda text: typer.echo(text, err=True),
            on_stoppable=lambda end: stop.call(lambda: end(f"stopped by {stop.reason}")),
            attach=options.attach if options.sensors else None,
        )


def facts(live: LiveFacts) -> Iterator[str]:
    """What is told of a comparison in the bridge, line by line."""
    by_arm = ", ".join(
        f"{arm} {t.median_ms:.3f} ms (99 %: {t.p99_ms:.3f} ms)" for arm, t in live.latency.items()
    )
    yield f"A decision took, in the middle: {by_arm}; the miner works on with the job before meanwhile."
    if live.power == "stated":
        yield (
            "Power: stated, not measured. A filter that changes what the miner draws would go unseen; what is compared "
            "is difficulty per time."
        )
    else:
        yield f"Power: {live.power}, {live.readings} readings in the blocks."
    if live.repeated:
        yield f"{live.repeated} blocks were begun anew, because the miner had been away."
    if live.left_out:
        numbers = ", ".join(str(n) for n in live.left_out)
        yield f"Left out, because an arm or a part of the power readings is missing: blocks {numbers}."
    if not live.complete:
        yield "The run was ended before all of its blocks were over."
    yield f"Run {live.run}; again with asiclab tpf filter --trace {live.run}"
