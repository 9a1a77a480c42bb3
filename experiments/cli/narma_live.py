"""The live half of ``asiclab narma``: options, progress, and what of a run that ended early is scored."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from experiments.cli.running import Stop
    from experiments.hosting import Miner
    from experiments.live import Driven, LiveConfig, Progress
    from experiments.narma_plan import Plan

TOLD_EVERY_S = 30.0
"""Between two lines on the progress, where nobody sees a bar."""

Device = Annotated[
    str | None,
    typer.Option("--device", metavar="URL", help="Drive this miner, or 'any' that connects; see the docs."),
]
Time = Annotated[
    str | None,
    typer.Option("--time", metavar="virtual|wall", help="Of an emulated miner: wall mines over a socket."),
]
HOST = typer.Option("--host", help="Live: address of this host that the miner can reach.")
Host = Annotated[str | None, HOST]
Port = Annotated[
    int, typer.Option("--port", min=0, max=65535, help="Live: TCP port of the bridge; 0 takes a free one.")
]
Difficulty = Annotated[float, typer.Option("--difficulty", metavar="D", help="Live: share difficulty.")]
Timeout = Annotated[
    float,
    typer.Option(
        "--swh-timeout", metavar="S", help="Live dialogue: a job without a share is replaced after this long."
    ),
]
Patience = Annotated[
    float, typer.Option("--patience", min=0.0, metavar="S", help="Live: how long the miner may stay away.")
]
User = Annotated[
    str | None, typer.Option("--pool-user", help="--device: worker name; by default that of its own pool.")
]
PasswordFile = Annotated[
    Path | None,
    typer.Option(
        "--password-file",
        metavar="FILE",
        help="--device: password of its worker, for its own pool too ('x').",
    ),
]
DevicePeriod = Annotated[
    float | None,
    typer.Option("--device-period", metavar="S", min=0.1, help="--device: store its telemetry that often."),
]
Yes = Annotated[
    bool,
    typer.Option(
        "--yes",
        help="Agree that the pool of the device, and its clock or voltage where --encode says so, change for the run.",
    ),
]


@dataclass(frozen=True)
class LiveOptions:
    """What the command line asks for.

    Attributes:
        emulate: model of an emulated miner in wall time, or None.
        device: URL, ``any``, or None.
        plants: ``KIND=STRENGTH`` items, of the emulated miner.
        physics: ``NAME=VALUE`` items, likewise.
        scale: of its difficulty; None takes one that this host keeps up with.
        host: address of this host, None for loopback.
        port: of the bridge.
        difficulty: of the shares.
        timeout_s: of a job of a dialogue.
        patience_s: how long a miner may stay away.
        user: worker name.
        password_file: with the password of that worker.
        device_period_s: between two readings of the device.
        yes: whether its pool may be changed.
    """

    emulate: str | None
    device: str | None
    plants: tuple[str, ...]
    physics: tuple[str, ...]
    scale: float | None
    host: str | None
    port: int
    difficulty: float
    timeout_s: float
    patience_s: float
    user: str | None
    password_file: Path | None
    device_period_s: float | None
    yes: bool

    def __post_init__(self) -> None:
        device = self.device
        if device is None:
            return
        if self.plants or self.physics or self.scale is not None:
            raise UserError("--plant, --physics and --scale are of an emulated miner; --device is as it is")
        if self.in_network and self.host is None:
            raise UserError("--device needs --host ADDRESS, where the miner reaches this host")
        if self.in_network and not self.yes:
            raise UserError(
                f"the pool of {device} would be changed for the run and set back at the end; agree with --yes"
            )

    @property
    def in_network(self) -> bool:
        """Whether it is a device whose pool is set."""
        return self.device not in (None, "any") and not str(self.device).startswith(("bm1366:", "/"))

    def config(self, plan: Plan) -> LiveConfig:
        """Settings of the run."""
        from experiments.live import LiveConfig

        return LiveConfig(
            host=self.host or "127.0.0.1",
            port=self.port,
            difficulty=self.difficulty,
            period_s=plan.period_s,
            timeout_s=self.timeout_s,
            patience_s=self.patience_s,
        )


def run_live(
    plan: Plan, options: LiveOptions, db: str, in_force: dict[str, Any], *, json: bool
) -> tuple[Driven, int]:
    """Drive a miner and store the run; Ctrl-C ends it early, and keeps what came so far.

    Returns:
        What became of it, and the exit code of the signal that ended it before its end; 0 where none did.
    """
    import asyncio

    from experiments.cli.running import stoppable

    with stoppable() as stop:
        driven = asyncio.run(_drive(plan, options, db, in_force, stop, json))
    return driven, 0 if driven.complete else stop.exit_code


async def _drive(
    plan: Plan, options: LiveOptions, db: str, in_force: dict[str, Any], stop: Stop, json: bool
) -> Driven:
    from dataclasses import asdict
    from functools import partial

    from experiments.cli import output
    from experiments.live import drive
    from firmware_bridge.emulator.effects import parse_plants
    from firmware_bridge.trace.writer import TraceWriter

    config = options.config(plan)
    physics: dict[str, Any] = {}
    if options.emulate is not None:
        from experiments.cli.emulate import parse_physics

        physics = asdict(parse_physics(options.physics, options.emulate))
    miner = await _miner(plan, options, config)

    def ready(run: str, host: str, port: int) -> None:
        if json:
            output.emit({"ready": True, "run": run, "host": host, "port": port, "steps": plan.steps})
        else:
            text = f"Run {run}: {plan.steps} steps to {miner.name}, which is to mine for {host}:{port}; Ctrl-C ends it"
            output.console().print(text, markup=False)

    with _shown(json) as show:
        return await drive(
            plan,
            config,
            miner,
            partial(TraceWriter, db),
            told={"cli": in_force},
            plants=parse_plants(options.plants),
            physics=physics,
            on_ready=ready,
            on_progress=show,
            on_stoppable=lambda end: stop.call(lambda: end(f"stopped by {stop.reason}")),
        )


async def _miner(plan: Plan, options: LiveOptions, config: LiveConfig) -> Miner:
    """What is driven."""
    from experiments import live_miners

    if options.emulate is not None:
        return _emulated(plan, options, config)
    assert options.device is not None
    if options.device == "any":
        return live_miners.AwaitedMiner()
    if not options.in_network:
        return live_miners.ChainMiner(options.device)
    from firmware_bridge.devices.registry import open_device

    password = live_miners.worker_password(options.password_file)
    return live_miners.DeviceMiner(
        await open_device(options.device),
        user=options.user,
        password=password,
        telemetry_period_s=options.device_period_s,
        on_notice=lambda text: typer.echo(text, err=True),
    )


def _emulated(plan: Plan, options: LiveOptions, config: LiveConfig) -> Miner:
    from dataclasses import replace

    from experiments.cli.emulate import parse_physics
    from experiments.live_miners import EmulatedMiner, emulated_scale
    from experiments.narma_runs import emulation
    from experiments.subjects import VIRTUAL_MODELS
    from firmware_bridge.emulator import effects
    from firmware_bridge.emulator.carrier import Carrier
    from firmware_bridge.emulator.model import get_model

    model = options.emulate
    assert model is not None
    if model not in VIRTUAL_MODELS:
        raise UserError(f"a miner that is driven is {' or '.join(VIRTUAL_MODELS)}, not {model!r}")
    physics = parse_physics(options.physics, model)
    timed = replace(plan, period_s=config.clock_s(plan, model))
    virtual = emulation(timed, model, effects.parse_plants(options.plants), physics)
    virtual.check()  # what cannot go well is refused now, not when it is scored
    constants = effects.constants_ms(virtual.plants, physics.temperature_sd_c)
    effects.longest_ms(
        virtual.plants, constants, 0.0 if plan.mode == "dialogue" else 1e3 * virtual.job_period_s
    )
    encoding = config.encoding(plan, plan.draw())
    rate_ths = physics.hash_rate_ths or get_model(model).capacity_ths
    return EmulatedMiner(
        model,
        carrier=str(Carrier(encoding.field, encoding.d_low, encoding.d_high)),
        scale=emulated_scale(rate_ths) if options.scale is None else options.scale,
        plants=options.plants,
        physics=options.physics,
        seed=plan.seed,
    )


# ---- progress --------------------------------------------------------------------------------------------------------


@contextmanager
def _shown(json: bool) -> Iterator[Callable[[Progress], None]]:
    """A bar on a terminal, now and then a line elsewhere; JSON lines for programs."""
    from experiments.cli import output

    told = time.monotonic()
    terminal = not json and output.console().is_terminal
    with output.bar("Driving the miner", shown=not json, unit="steps") as advance_to:

        def show(progress: Progress) -> None:
            nonlocal told
            if terminal:
                advance_to(progress.done, progress.steps)
            elif time.monotonic() - told >= TOLD_EVERY_S:
                told = time.monotonic()
                if json:
                    output.emit(
                        {
                            "step": progress.done,
                            "steps": progress.steps,
                            "unanswered": progress.unanswered,
                            "left_s": progress.left_s,
                        }
                    )
                else:
                    typer.echo(progress_line(progress), err=True)

        yield show


def progress_line(progress: Progress) -> str:
    """Step, silence and time left, in words."""
    left_s = progress.left_s
    text = f"step {progress.done} of {progress.steps}, {progress.unanswered} jobs without a share"
    return text if left_s is None else f"{text}, {duration(left_s)} left"


def duration(seconds: float) -> str:
    """``2 h 5 min``, ``3 min 20 s`` or ``40 s``."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


def what_to_score(plan: Plan, driven: Driven) -> Plan | None:
    """The plan as far as it was carried out, and a word on what was not; None where that is too little to score."""
    from experiments.live import shortened

    for problem in driven.problems:
        typer.echo(f"asiclab: {problem}", err=True)
    if driven.complete:
        return plan
    shorter = shortened(plan, driven.done)
    text = f"asiclab: run {driven.run_id} has {driven.done} of {driven.steps} steps, which are kept"
    if shorter is None:
        typer.echo(f"{text}; they are too few to be scored", err=True)
        return None
    again = f"--trace {driven.run_id} --train {shorter.train} --test {shorter.test} --washout {plan.washout}"
    typer.echo(f"{text} and scored; again with asiclab narma {again}", err=True)
    return shorter
