"""``asiclab bridge``: the pool that miners connect to."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
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
from experiments.cli.options import DEFAULT_DB, Config, Db, Json, Scale, Seconds, Shares, TcpPort, parse_hex
from experiments.cli.running import stoppable
from experiments.cli.serving_options import DevicePeriod, Devices, Host, MaxClients, Record, Synchronous
from experiments.config import sensor_tables
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from experiments.cli.attached import Attached
    from experiments.cli.running import Stop
    from experiments.tpf_filter.service import FilterService
    from firmware_bridge.stratum.config import BridgeConfig
    from firmware_bridge.stratum.server import Bridge
    from firmware_bridge.trace.schema import RunRecord
    from tpf.classifier import Model
    from tpf.kept_filter import KeptRule


def bridge(
    ctx: typer.Context,
    host: Host = "127.0.0.1",
    port: TcpPort = 3333,
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
    synchronous: Synchronous = "normal",
    max_clients: MaxClients = 1024,
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
    device: Devices = None,
    device_period: DevicePeriod = 3.0,
    sentinel: Annotated[
        str | None,
        typer.Option(
            "--sentinel",
            metavar="WHAT",
            help="Guard each --device: watch, guard, or target=60[,knob=fan|frequency|plan][,limit=C].",
        ),
    ] = None,
    kept_filter: Annotated[
        Path | None,
        typer.Option(
            "--filter",
            metavar="FILE",
            help="Let a filter of tpf filter --out decide which jobs are finished; jobs last as long as it says.",
        ),
    ] = None,
    algorithm: Annotated[
        str,
        typer.Option(
            "--algorithm", metavar="auto|sha256d|lbry", help="auto: LBRY for miners that are known for it."
        ),
    ] = "auto",
    record: Record = False,
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

        kept = None if kept_filter is None else _kept(kept_filter, mode)
        settings = BridgeConfig(
            host=host,
            port=port,
            difficulty=difficulty,
            mode=mode,  # type: ignore[arg-type] # checked by the record itself
            job_period_s=job_period if kept is None else kept[1].keep_s,
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
        if kept is not None:
            run_config["filter"] = {"card": kept[0].card.to_json(), **asdict(kept[1])}
        run_record = RunRecord(kind="live", source="bridge", seeds={"jobs": used_seed}, config=run_config)
        status = asyncio.run(
            _serve(settings, attached, db, synchronous, run_record, (seconds, shares), stop, kept, json)
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
    kept: tuple[Model, KeptRule] | None,
    json: bool,
) -> str:
    """Make the bridge, and run it."""
    from functools import partial

    import numpy as np

    from experiments.cli.serving import Words, serve_run
    from firmware_bridge.stratum.server import Bridge
    from firmware_bridge.trace.writer import TraceWriter

    service = None if kept is None else _filtering(kept, record.seeds["jobs"], lambda: server)
    server = Bridge(
        settings,
        partial(TraceWriter, db, synchronous=synchronous),
        np.random.default_rng(record.seeds["jobs"]),
        record=record,
        source=service,
        policy=service,
    )

    def now() -> str:
        at = server.stats
        return f"{at.miners} miners, {at.jobs} jobs, {at.accepted} shares, {at.rejected} refused"

    def last(counts: dict[str, Any], seconds: float) -> str:
        shares = f"{counts['accepted']} shares of {counts['miners']} miners"
        return f"{shares}, {counts['rejected']} refused, {seconds:.0f} s"

    words = Words(
        lambda address: f"listening on {address}", {}, now, lambda seconds: asdict(server.stats), last
    )
    heard = None if service is None else service.read
    return await serve_run(server, settings, attached, db, limits, stop, words, json=json, on_telemetry=heard)


def _kept(path: Path, mode: str) -> tuple[Model, KeptRule]:
    """The filter of ``--filter``.

    Raises:
        UserError: if it cannot be used, or not in this mode.
    """
    from experiments.tpf_filter.service import load_service

    if mode != "stream":
        raise UserError(f"--filter decides how long jobs last: it goes with --mode stream, not {mode}")
    return load_service(path)


def _filtering(kept: tuple[Model, KeptRule], seed: int, server: Callable[[], Bridge]) -> FilterService:
    """A kept filter for the bridge that is about to be made."""
    import numpy as np

    from experiments.tpf_filter.service import FilterService

    def note(kind: str, miner: int, at_ns: int, detail: dict[str, Any]) -> None:
        server().run.event(kind, "info", detail, miner=miner, monotonic_ns=at_ns)

    clock_ns = lambda: server().clock.monotonic_ns()  # noqa: E731
    return FilterService(*kept, np.random.default_rng([seed, 37]), clock_ns, note)


def register(app: typer.Typer) -> None:
    """Add the command to the tree."""
    app.command("bridge", cls=LabCommand)(bridge)
