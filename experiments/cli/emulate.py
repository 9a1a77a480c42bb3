"""``asiclab emulate``: an emulated miner, in wall time against a pool or in virtual time into a trace."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.cli.command import LabCommand, options_in_force
from experiments.cli.emulate_device import mine_in_network, neighbours, parse_faults, serve_chain
from experiments.cli.options import DEFAULT_DB, Config, Db, Json, Scale, Seconds, Seed, Shares
from experiments.cli.running import stoppable
from experiments.subjects import VIRTUAL_MODELS
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from firmware_bridge.emulator.physics import Physics
    from firmware_bridge.emulator.virtual_config import VirtualConfig

MODELS = ("s9", "lv06", "lb-box", "bm1366")
VIRTUAL_ONLY = ("difficulty", "mode", "job_period", "db", "shares", "step", "variation", "device")
"""Options that make sense in virtual time where no pool is named."""
DEFAULT_SHARES = 2588
"""Length of a virtual run where neither --shares nor --seconds is given: that of the recorded S9."""


def emulate(
    ctx: typer.Context,
    model: Annotated[str, typer.Argument(metavar="s9|lv06|lb-box|bm1366", help="Which miner.")],
    pool: Annotated[
        str | None,
        typer.Option(
            "--pool", metavar="HOST:PORT", help="Pool to mine for, in wall time; a built-in one if none."
        ),
    ] = None,
    bind: Annotated[
        str | None,
        typer.Option("--bind", metavar="ADDRESS", help="Address of its own servers, for example 127.0.0.2."),
    ] = None,
    http_port: Annotated[
        int | None,
        typer.Option(
            "--http-port", min=0, max=65535, help="Its web page there, not on 80; 0 takes a free port."
        ),
    ] = None,
    api_port: Annotated[
        int | None,
        typer.Option("--api-port", min=0, max=65535, help="Its API there, not on 4028; 0 takes a free port."),
    ] = None,
    count: Annotated[
        int,
        typer.Option(
            "--count", min=1, max=128, metavar="N", help="bm1366: chips. Others: miners, one per address."
        ),
    ] = 1,
    firmware: Annotated[
        str | None,
        typer.Option("--firmware", metavar="VERSION", help="lv06: era of its firmware, e.g. 2.15.0."),
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            "--fault", metavar="NAME[=VALUE]", help="A fault of the device, repeatable; see docs/emulator.md."
        ),
    ] = None,
    time: Annotated[
        str | None,
        typer.Option("--time", metavar="virtual|wall", help="wall (needs --pool) or virtual (writes a run)."),
    ] = None,
    plant: Annotated[
        list[str] | None,
        typer.Option(
            "--plant", metavar="KIND=STRENGTH", help="Planted effect, repeatable; see asiclab effects list."
        ),
    ] = None,
    symbols_in: Annotated[
        str,
        typer.Option(
            "--symbols-in", metavar="FIELD", help="Wall time: job field whose symbol planted effects follow."
        ),
    ] = "prevhash",
    physics: Annotated[
        list[str] | None,
        typer.Option(
            "--physics",
            metavar="NAME=VALUE",
            help="Change the physical model, repeatable; 'off' switches all of it off.",
        ),
    ] = None,
    step: Annotated[
        list[str] | None,
        typer.Option(
            "--step",
            metavar="SECONDS,NAME=VALUE",
            help="Virtual time: hold an operating point for so long, repeatable; see docs/emulator.md.",
        ),
    ] = None,
    difficulty: Annotated[
        float, typer.Option("--difficulty", metavar="D", help="Virtual time: share difficulty.")
    ] = 256.0,
    mode: Annotated[
        str, typer.Option("--mode", metavar="stream|swh", help="Virtual time: when the pool sends new work.")
    ] = "swh",
    job_period: Annotated[
        float,
        typer.Option("--job-period", metavar="S", help="Virtual time, stream mode: seconds between jobs."),
    ] = 30.0,
    variation: Annotated[
        float,
        typer.Option(
            "--variation",
            metavar="MS",
            help="Virtual time: planted difference between devices, as standard deviation of their chips' delays.",
        ),
    ] = 0.0,
    device: Annotated[
        int,
        typer.Option(
            "--device", min=0, metavar="N", help="Virtual time: which device it is, see --variation."
        ),
    ] = 0,
    user: Annotated[str, typer.Option("--user", help="Wall time: worker name.")] = "",
    password: Annotated[str, typer.Option("--password", help="Wall time: its password.")] = "x",
    seed: Seed = 0,
    seconds: Seconds = None,
    shares: Shares = None,
    scale: Scale = None,
    db: Db = DEFAULT_DB,
    json: Json = False,
    config: Config = None,
) -> None:
    """Emulate a miner: hash for real and return shares that verify.

    In wall time it is a device in the network: it opens its model's own ports and mines over TCP for a pool, or a
    built-in one; a bm1366 opens a pseudo-terminal. In virtual time (--time virtual) it runs thousands of times faster
    and writes a run into the database.
    """
    if model not in MODELS:
        raise UserError(f"there is no emulated miner {model!r}; the models are {', '.join(MODELS)}")
    base = time or _base(ctx, model, pool, (bind, http_port, api_port))
    if base not in ("virtual", "wall"):
        raise UserError(f"--time is virtual or wall, not {base!r}")
    if base == "virtual" and pool:
        raise UserError(
            "--time virtual needs no pool: its clock runs ahead of the real one, which a pool on a socket cannot "
            "follow. Leave --pool out to write a run, or mine in wall time with --time wall"
        )
    if base == "virtual" and model not in VIRTUAL_MODELS:
        raise UserError(
            f"virtual time is there for {' and '.join(VIRTUAL_MODELS)}; emulate {model} with --time wall"
        )

    from firmware_bridge.emulator.effects import parse_plants, split_luck

    luck, delays = split_luck(plant or ())
    if base == "virtual":
        from firmware_bridge.emulator.program import parse_step
        from firmware_bridge.emulator.virtual_config import VirtualConfig

        virtual = VirtualConfig(
            model=model,
            program=tuple(map(parse_step, step or ())),
            shares=shares if shares is not None or seconds is not None or step else DEFAULT_SHARES,
            seconds=seconds,
            seed=seed,
            difficulty=difficulty,
            mode=mode,
            job_period_s=job_period,
            plants=parse_plants(delays),
            winning_jobs=luck,
            physics=parse_physics(physics or (), model),
            scale=VirtualConfig.scale if scale is None else scale,
            variation_ms=variation,
            device=device,
        )
        _virtual(virtual, db, options_in_force(ctx), json)
        return
    if variation:
        raise UserError("--variation is there in virtual time alone: leave --pool out, or --variation")
    if firmware and model != "lv06":
        raise UserError(f"--firmware is the era of an lv06's; leave it out for {model}")
    with stoppable() as stop:
        if model == "bm1366":
            serve_chain(count, scale, seed, fault or (), seconds, stop, json)
            return
        from firmware_bridge.emulator.appliance import ApplianceConfig
        from firmware_bridge.emulator.carrier import Carrier
        from firmware_bridge.emulator.wall_config import WallConfig

        wall = WallConfig(
            model=model,
            host="",
            port=0,
            scale=scale,
            seconds=seconds,
            shares=shares,
            seed=seed,
            plants=parse_plants(delays),
            winning_jobs=luck,
            physics=parse_physics(physics, model) if physics else None,
            user=user or None,
            password=password,
            carrier=Carrier.parse(symbols_in),
        )
        settings = ApplianceConfig(
            wall,
            pool=parse_pool(pool) if pool else None,
            bind=bind or "127.0.0.1",
            http_port=http_port,
            api_port=api_port,
            lenient=pool is not None and bind is None and http_port is None and api_port is None,
            options=parse_faults(fault or ()) | ({"firmware": firmware} if firmware else {}),
        )
        mine_in_network(neighbours(settings, count), stop, json)


def _base(ctx: typer.Context, model: str, pool: str | None, network: tuple[Any, ...]) -> str:
    """Time base where none is named: virtual where only that could be meant."""
    if pool or model not in VIRTUAL_MODELS or any(option is not None for option in network):
        return "wall"
    given = [n for n in VIRTUAL_ONLY if not str(ctx.get_parameter_source(n)).endswith((".DEFAULT", "None"))]
    return "virtual" if given else "wall"


def parse_pool(text: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT``, with or without ``stratum+tcp://``.

    Raises:
        UserError: if it is not of this form.
    """
    host, _, port = text.removeprefix("stratum+tcp://").rstrip("/").rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise UserError(f"--pool is HOST:PORT, for example 127.0.0.1:3333, not {text!r}")
    return host, int(port)


def _virtual(settings: VirtualConfig, db: str, in_force: dict[str, Any], json: bool) -> None:
    """Write a run in virtual time."""
    import time as clock

    from experiments.cli import output
    from firmware_bridge.emulator.virtual import run_virtual
    from firmware_bridge.trace.reader import TraceReader
    from firmware_bridge.trace.writer import TraceWriter

    begin = clock.perf_counter()
    with TraceWriter(db) as writer, output.bar("Writing shares", shown=not json) as advance_to:
        run = run_virtual(settings, writer, progress=advance_to)
        stored = TraceReader(db)
        run.update(config={**stored.run(run.run)["config"], "cli": in_force})
    took = clock.perf_counter() - begin
    shares = stored.columns(run.run, "shares", ["wall_ns"]).values["wall_ns"]
    virtual_s = float(shares[-1] - settings.start_wall_ns) / 1e9 if shares.size else 0.0
    if json:
        result = {"run": run.run_id, "shares": int(shares.size), "virtual_s": virtual_s, "seconds": took}
        output.emit({**result, "plants": settings.planted(), "seed": settings.seed})
    else:
        text = f"Run {run.run_id}: {shares.size} shares in {virtual_s:.1f} s of virtual time, {took:.1f} s of ours"
        output.console().print(text, markup=False)


def parse_physics(items: Iterable[str], model: str) -> Physics:
    """The default physics of a model with ``NAME=VALUE`` changes, or ``off``.

    Raises:
        UserError: if a name is unknown or a value does not fit.
    """
    from dataclasses import asdict, replace

    from firmware_bridge.emulator.physics import Physics

    physics = Physics.of(model)
    for item in items:
        name, sign, text = item.partition("=")
        if item == "off":
            physics = Physics.off()
            continue
        known = asdict(physics)
        if not sign or name not in known:
            raise UserError(f"--physics {item!r}: write off or NAME=VALUE; names are {', '.join(known)}")
        physics = replace(physics, **{name: _physical(item, text, known[name])})
    return physics


def _physical(item: str, text: str, before: Any) -> Any:
    if isinstance(before, bool):
        words = {"on": True, "true": True, "1": True, "off": False, "false": False, "0": False}
        if text.lower() not in words:
            raise UserError(f"--physics {item!r}: a switch is on or off")
        return words[text.lower()]
    try:
        return int(text) if isinstance(before, int) else float(text)
    except ValueError:
        raise UserError(f"--physics {item!r}: {text!r} is no number") from None


def register(app: typer.Typer) -> None:
    """Add the command to the tree."""
    app.command("emulate", cls=LabCommand)(emulate)
