"""``asiclab bridge``: the pool that miners connect to."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.cli.command import EXIT_CHECK_FAILED, LabCommand, options_in_force
from experiments.cli.mqtt_options import (
    HomeAssistant,
    HomeAssistantPrefix,
    LabName,
    Login,
    Mqtt,
    MqttBeyondFactory,
    MqttCa,
    MqttCert,
    MqttCommandPause,
    MqttCommands,
    MqttKey,
    MqttPasswordFile,
    MqttPatience,
    SensorOption,
    inbox_config,
)
from experiments.cli.options import DEFAULT_DB, Config, Db, Json, Scale, Seconds, Shares, parse_hex
from experiments.cli.running import stoppable
from experiments.config import sensor_tables
from firmware_bridge.errors import LabError

if TYPE_CHECKING:
    from experiments.cli.attached import Attached
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
    sentinel: Annotated[
        str | None,
        typer.Option(
            "--sentinel",
            metavar="WHAT",
            help="Guard each --device: watch, guard, or target=60[,knob=fan|frequency|plan][,limit=C].",
        ),
    ] = None,
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
    mqtt: Mqtt = None,
    lab: LabName = None,
    mqtt_password_file: MqttPasswordFile = None,
    mqtt_ca: MqttCa = None,
    mqtt_cert: MqttCert = None,
    mqtt_key: MqttKey = None,
    mqtt_patience: MqttPatience = 30.0,
    mqtt_commands: MqttCommands = False,
    mqtt_beyond_factory: MqttBeyondFactory = False,
    mqtt_command_pause: MqttCommandPause = 10.0,
    sensor: SensorOption = None,
    home_assistant: HomeAssistant = True,
    home_assistant_prefix: HomeAssistantPrefix = "homeassistant",
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

        from experiments.cli.attached import Attached
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
            version_mask=parse_hex(version_mask, "--version-mask"),
            max_clients=max_clients,
            keep_secrets=keep_secrets,
            algorithm=algorithm,  # type: ignore[arg-type] # checked by the record itself
            record=record,
        )
        login = Login(mqtt, lab, mqtt_password_file, mqtt_ca, mqtt_cert, mqtt_key)
        inbox = inbox_config(
            login,
            commands=mqtt_commands,
            beyond_factory=mqtt_beyond_factory,
            pause_s=mqtt_command_pause,
            sensors=sensor or (),
            sensor_tables=sensor_tables(ctx.meta.get("asiclab.config")),
            devices=device or (),
            home_assistant=home_assistant_prefix if home_assistant else None,
        )
        attached = Attached(
            tuple(serial or ()),
            frequency,
            tuple(device or ()),
            device_period,
            login.settings(),
            inbox,
            db,
            mqtt_patience,
            sentinel,
        )
        used_seed = secrets.randbits(63) if seed is None else seed
        run_config: dict[str, Any] = {"cli": options_in_force(ctx)}
        if inbox is not None and inbox.sensors:
            run_config["sensors"] = [one.to_json() for one in inbox.sensors]
        run_record = RunRecord(kind="live", source="bridge", seeds={"jobs": used_seed}, config=run_config)
        status = asyncio.run(
            _serve(settings, attached, db, synchronous, run_record, (seconds, shares), stop, json)
        )
    if status != "success":
        raise typer.Exit(EXIT_CHECK_FAILED)


async def _serve(
    settings: BridgeConfig,
    attached: Attached,
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
    from experiments.cli.attached import attach
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
        await attach(server, attached, settings)
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
