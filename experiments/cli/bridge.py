"""``asiclab bridge``: the pool that miners connect to."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.cli.command import EXIT_CHECK_FAILED, LabCommand, options_in_force
from experiments.cli.options import DEFAULT_DB, Config, Db, Json, Scale, Seconds, Shares
from experiments.cli.running import stoppable
from firmware_bridge.errors import LabError, UserError

if TYPE_CHECKING:
    from experiments.cli.running import Stop
    from firmware_bridge.stratum.config import BridgeConfig
    from firmware_bridge.stratum.server import Bridge
    from firmware_bridge.trace.schema import RunRecord


def bridge(
    ctx: typer.Context,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; 0.0.0.0 lets real miners in.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="TCP port; 0 takes a free one.")
    ] = 3333,
    difficulty: Annotated[
        float, typer.Option("--difficulty", metavar="D", help="Share difficulty, any positive number.")
    ] = 256.0,
    mode: Annotated[
        str,
        typer.Option(
            "--mode",
            metavar="stream|swh",
            help="stream: new work on a period. swh: one job, one share, the next job.",
        ),
    ] = "stream",
    job_period: Annotated[
        float, typer.Option("--job-period", metavar="S", help="Stream mode: seconds between jobs.")
    ] = 30.0,
    swh_timeout: Annotated[
        float,
        typer.Option(
            "--swh-timeout", metavar="S", help="Handshake mode: replace an unanswered job after this long."
        ),
    ] = 30.0,
    seconds: Seconds = None,
    shares: Shares = None,
    scale: Scale = None,
    synchronous: Annotated[
        str,
        typer.Option(
            "--synchronous",
            metavar="off|normal|full",
            help="full survives a power cut and is slower; see docs/bridge.md.",
        ),
    ] = "normal",
    max_clients: Annotated[int, typer.Option("--max-clients", min=1, help="Connections at once.")] = 1024,
    base_version: Annotated[
        str, typer.Option("--base-version", metavar="HEX", help="Version of the jobs.")
    ] = "20000000",
    version_mask: Annotated[
        str, typer.Option("--version-mask", metavar="HEX", help="Version bits that miners may roll (BIP310).")
    ] = "1fffe000",
    serial: Annotated[
        list[str] | None,
        typer.Option(
            "--serial",
            metavar="PORT",
            help="Mine with the BM1366 chain on this serial port too, repeatable; bm1366:///dev/ttyUSB0?scale=S works.",
        ),
    ] = None,
    frequency: Annotated[
        float | None,
        typer.Option(
            "--frequency", metavar="MHZ", help="Clock of the serial chains; by default the one they have."
        ),
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(
            "--device", metavar="URL", help="Store this device's telemetry too, repeatable: lv06://HOST."
        ),
    ] = None,
    device_period: Annotated[
        float, typer.Option("--device-period", metavar="S", min=0.1, help="Between two readings of a device.")
    ] = 3.0,
    algorithm: Annotated[
        str,
        typer.Option(
            "--algorithm", metavar="auto|sha256d|lbry", help="auto: LBRY for miners that are known for it."
        ),
    ] = "auto",
    record: Annotated[
        bool, typer.Option("--record", help="Keep the bytes of every link in the run, secrets replaced.")
    ] = False,
    keep_secrets: Annotated[
        bool, typer.Option("--keep-secrets", help="Store passwords as they come instead of a placeholder.")
    ] = False,
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, help="Seed of the synthetic jobs; by default from the system."),
    ] = None,
    db: Db = DEFAULT_DB,
    json: Json = False,
    config: Config = None,
) -> None:
    """Be the pool that Stratum V1 miners connect to.

    Every share is verified, stamped and stored before it is acknowledged.
    """
    with stoppable() as stop:
        import asyncio
        import secrets

        from firmware_bridge.stratum.config import BridgeConfig
        from firmware_bridge.trace.schema import RunRecord

        settings = BridgeConfig(
            host=host,
            port=port,
            difficulty=difficulty,
            mode=mode,  # type: ignore[arg-type] # checked by the record itself
            job_period_s=job_period,
            swh_timeout_s=swh_timeout,
            scale=scale,
            base_version=base_version,
            version_mask=_hex(version_mask, "--version-mask"),
            max_clients=max_clients,
            keep_secrets=keep_secrets,
            algorithm=algorithm,  # type: ignore[arg-type] # checked by the record itself
            record=record,
        )
        attached = _Attached(tuple(serial or ()), frequency, tuple(device or ()), device_period)
        used_seed = secrets.randbits(63) if seed is None else seed
        run_record = RunRecord(
            kind="live", source="bridge", seeds={"jobs": used_seed}, config={"cli": options_in_force(ctx)}
        )
        status = asyncio.run(
            _serve(settings, attached, db, synchronous, run_record, (seconds, shares), stop, json)
        )
    if status != "success":
        raise typer.Exit(EXIT_CHECK_FAILED)


def _hex(text: str, option: str) -> int:
    try:
        return int(text, 16)
    except ValueError as error:
        raise UserError(f"{option} is up to 8 hex digits, not {text!r}") from error


@dataclass(frozen=True)
class _Attached:
    """What takes part in the run besides Stratum miners."""

    serial: tuple[str, ...]
    frequency_mhz: float | None
    devices: tuple[str, ...]
    period_s: float


async def _attach(server: Bridge, attached: _Attached, settings: BridgeConfig) -> None:
    """Open and start chains and pollers.

    Raises:
        LabError: if one cannot be opened; the bridge is to be stopped then.
    """
    from urllib.parse import parse_qs, urlsplit

    from experiments.cli.options import parse_scale
    from firmware_bridge.devices.registry import open_device
    from firmware_bridge.telemetry.poll import DevicePoller

    for number, place in enumerate(attached.serial, 1):
        from firmware_bridge.bm13xx.miner import SerialMiner, SerialMinerConfig
        from firmware_bridge.bm13xx.port import SerialPort
        from firmware_bridge.devices.bm1366 import LIMITS
        from firmware_bridge.devices.settings import OperatingPoint

        parts = urlsplit(place if "://" in place else f"bm1366://{place}")
        named = parse_qs(parts.query).get("scale", [None])[0]
        scale = settings.scale if named is None else parse_scale(named)
        if attached.frequency_mhz is not None:
            LIMITS.check("bm1366", OperatingPoint(frequency_mhz=attached.frequency_mhz))
        if settings.difficulty < 1.0:
            raise UserError(
                f"--difficulty {settings.difficulty:g}: a BM1366 reports from 1 on; give 1 or more with --serial"
            )
        tap = server.recorder(f"serial://{parts.path}") if server.recorder else None
        name = "bm1366" if len(attached.serial) == 1 else f"bm1366.{number}"
        config = SerialMinerConfig(
            name, attached.frequency_mhz, settings.difficulty, 1.0 if scale is None else scale
        )
        await server.attach(SerialMiner(SerialPort(parts.path, tap=tap), config))
    for url in attached.devices:
        device = await open_device(url, taps=server.recorder, clock=server.clock)
        await server.attach(DevicePoller(device, period_s=attached.period_s))


async def _serve(
    settings: BridgeConfig,
    attached: _Attached,
    db: str,
    synchronous: str,
    record: RunRecord,
    limits: tuple[float | None, int | None],
    stop: Stop,
    json: bool,
) -> str:
    """Run the bridge until a limit or a signal, print its two lines, and give the run's exit status."""
    import asyncio
    from functools import partial

    import numpy as np

    from experiments.cli import output
    from firmware_bridge.stratum.server import Bridge
    from firmware_bridge.trace.reader import TraceReader
    from firmware_bridge.trace.writer import TraceWriter

    open_writer = partial(TraceWriter, db, synchronous=synchronous)
    server = Bridge(settings, open_writer, np.random.default_rng(record.seeds["jobs"]), record=record)
    host, port = await server.start()
    run = server.run.run_id
    loop = asyncio.get_running_loop()
    begin = loop.time()
    stop.call(lambda: loop.call_soon_threadsafe(server.request_stop, f"stopped by {stop.reason}"))
    try:
        await _attach(server, attached, settings)
    except BaseException as error:
        server.request_stop(str(error), "fail")
        await server.stop()
        raise
    if json:
        output.emit({"ready": True, "host": host, "port": port, "run": run})
    else:
        output.console().print(f"Run {run}: listening on {host}:{port}; Ctrl-C stops", markup=False)
    status = None if json else asyncio.create_task(_show(server))
    end = {"run": run, "status": "fail", "reason": ""}
    try:
        end["reason"] = await server.serve(*limits)
        end["status"] = str(TraceReader(db).run(server.run.run)["exit_status"])
    except LabError as error:
        end["reason"] = str(error)
        raise
    finally:
        if status is not None:
            status.cancel()
        counts = asdict(server.stats)
        seconds = round(loop.time() - begin, 3)
        if json:
            output.emit({**end, "shares": counts.pop("accepted"), **counts, "seconds": seconds})
        else:
            text = f"Run {run}: {counts['accepted']} shares of {counts['miners']} miners, {counts['rejected']} refused"
            output.console().print(f"{text}, {seconds:.0f} s ({end['reason']})", markup=False)
    return end["status"]


async def _show(server: Bridge) -> None:
    """A line that follows the counts, where somebody can see it."""
    import asyncio

    from experiments.cli import output

    console = output.console()
    if not console.is_terminal:
        return
    with console.status("") as line:
        while True:
            now = server.stats
            line.update(
                f"{now.miners} miners, {now.jobs} jobs, {now.accepted} shares, {now.rejected} refused"
            )
            await asyncio.sleep(0.5)


def register(app: typer.Typer) -> None:
    """Add the command to the tree."""
    app.command("bridge", cls=LabCommand)(bridge)
