"""``asiclab mqtt``: send runs to a broker, record those of other hosts, and look at what passes."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.cli.command import EXIT_CHECK_FAILED, LabCommand, lab_group
from experiments.cli.mqtt_options import (
    Broker,
    LabName,
    Login,
    MqttCa,
    MqttCert,
    MqttKey,
    MqttPasswordFile,
    MqttPatience,
)
from experiments.cli.options import DEFAULT_DB, Config, Db, Json, Seconds
from experiments.cli.running import stoppable

if TYPE_CHECKING:
    import asyncio

    from experiments.cli.running import Stop
    from firmware_bridge.telemetry.mqtt import MqttSettings, Received

mqtt = lab_group("mqtt", "Send runs to an MQTT broker, record those of other hosts, look at what passes.")

WhichLab = Annotated[
    str | None, typer.Option("--lab", metavar="NAME", help="Only this lab; all of the broker's by default.")
]


@mqtt.command("publish", cls=LabCommand)
def publish(
    which: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN...]", help="Runs; by default those that were not published to their end."
        ),
    ] = None,
    broker: Broker = None,
    lab: LabName = None,
    mqtt_password_file: MqttPasswordFile = None,
    mqtt_ca: MqttCa = None,
    mqtt_cert: MqttCert = None,
    mqtt_key: MqttKey = None,
    stay: Annotated[
        bool, typer.Option("--stay", help="Go on answering recorders until --seconds or Ctrl-C.")
    ] = False,
    mqtt_patience: MqttPatience = 30.0,
    seconds: Seconds = None,
    db: Db = DEFAULT_DB,
    json: Json = False,
    config: Config = None,
) -> None:
    """Publish stored runs, from where they were left.

    `asiclab bridge --mqtt` publishes its own run by itself; this is for what it had to leave.
    """
    with stoppable() as stop:
        import asyncio

        from experiments.cli import output

        settings = Login(broker, lab, mqtt_password_file, mqtt_ca, mqtt_cert, mqtt_key).needed()
        rows, settled = asyncio.run(_publish(settings, db, which or [], stay, (mqtt_patience, seconds), stop))
        for row in rows:
            output.emit(row) if json else output.console().print(
                f"Run {row['run']}: {'published' if row['published'] else 'not yet published to its end'}",
                markup=False,
            )
        if not json and not rows:
            output.console().print("Nothing is left to be published", markup=False)
    if not settled:
        raise typer.Exit((0 if stay else stop.exit_code) or EXIT_CHECK_FAILED)


async def _publish(
    settings: MqttSettings,
    db: str,
    which: list[str],
    stay: bool,
    limits: tuple[float, float | None],
    stop: Stop,
) -> tuple[list[dict[str, Any]], bool]:
    import asyncio

    from firmware_bridge.telemetry.publisher import Publisher

    publisher = Publisher(settings, db)
    patience_s, seconds = limits
    settled = False
    work: asyncio.Task[None] | None = None
    try:
        runs = [publisher.add(name) for name in which] if which else publisher.add_unfinished()
        await publisher.start()
        work = asyncio.ensure_future(publisher.work())
        if runs or stay:
            finish = publisher.finish(patience_s)
            settled = bool(await _until(asyncio.ensure_future(finish), work, None, stop))
            if stay:
                await _until(None, work, seconds, stop)
                settled = publisher.settled
        else:
            settled = True
        rows = [{"run": run.run_id, "published": publisher.is_settled(run)} for run in runs]
    finally:
        await _ended(work)
        await publisher.stop()
    return rows, settled


@mqtt.command("record", cls=LabCommand)
def record(
    broker: Broker = None,
    lab: WhichLab = None,
    mqtt_password_file: MqttPasswordFile = None,
    mqtt_ca: MqttCa = None,
    mqtt_cert: MqttCert = None,
    mqtt_key: MqttKey = None,
    runs: Annotated[
        int | None,
        typer.Option("--runs", min=1, help="Stop after so many runs that are over and here as a whole."),
    ] = None,
    seconds: Seconds = None,
    synchronous: Annotated[
        str, typer.Option("--synchronous", metavar="off|normal|full", help="As for asiclab bridge.")
    ] = "normal",
    db: Db = DEFAULT_DB,
    json: Json = False,
    config: Config = None,
) -> None:
    """Write the runs that other hosts publish into a trace here, row for row.

    Whatever was missed is asked for again, also after a kill of this command, of the broker, or of the bridge.
    """
    with stoppable() as stop:
        import asyncio

        from experiments.cli import output

        login = Login(broker, "recorder", mqtt_password_file, mqtt_ca, mqtt_cert, mqtt_key)
        end = asyncio.run(_record(login.needed(), db, lab, synchronous, (runs, seconds), stop, json))
        if json:
            output.emit(end)
        else:
            output.console().print(
                f"{end['complete']} runs complete, {end['rows']} rows, {end['refused']} messages refused",
                markup=False,
            )
            for missing in end["lacking"]:
                text = f"Run {missing['run']} of {missing['lab']} lacks {', '.join(missing['tables'])}"
                output.console().print(f"{text}; record again while its lab publishes", markup=False)
    if runs is not None and end["complete"] < runs:
        raise typer.Exit(stop.exit_code or EXIT_CHECK_FAILED)


async def _record(
    settings: MqttSettings,
    db: str,
    lab: str | None,
    synchronous: str,
    limits: tuple[int | None, float | None],
    stop: Stop,
    json: bool,
) -> dict[str, Any]:
    import asyncio

    from experiments.cli import output
    from firmware_bridge.telemetry.remote import RemoteRecorder

    enough = asyncio.Event()
    runs, seconds = limits

    def say(kind: str, detail: dict[str, Any]) -> None:
        if json:
            output.emit({"event": kind, **detail})
        elif kind != "refused":  # the log says that
            text = ", ".join(f"{name} {value}" for name, value in detail.items())
            output.console().print(f"{kind}: {text}", markup=False)
        if kind == "complete" and runs is not None and recorder.counts.complete >= runs:
            enough.set()

    recorder = RemoteRecorder(settings, db, lab=lab, synchronous=synchronous, say=say)
    work: asyncio.Task[None] | None = None
    try:
        connected = await recorder.start()
        if json:
            output.emit({"ready": True, "broker": settings.address, "connected": connected})
        else:
            state = "listening" if connected else "no answer yet, trying again"
            output.console().print(f"{settings.address}: {state}; Ctrl-C stops", markup=False)
        work = asyncio.ensure_future(recorder.work())
        await _until(asyncio.ensure_future(enough.wait()), work, seconds, stop)
    finally:
        await _ended(work)
        await recorder.stop()
    lacking = [{"lab": lab, "run": run, "tables": tables} for lab, run, tables in recorder.lacking()]
    return {**recorder.counts.to_json(), "lacking": lacking}


@mqtt.command("watch", cls=LabCommand)
def watch(
    broker: Broker = None,
    lab: WhichLab = None,
    mqtt_password_file: MqttPasswordFile = None,
    mqtt_ca: MqttCa = None,
    mqtt_cert: MqttCert = None,
    mqtt_key: MqttKey = None,
    messages: Annotated[
        int | None, typer.Option("--messages", min=1, help="Stop after so many messages.")
    ] = None,
    seconds: Seconds = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """Print what labs say, a line for each message."""
    with stoppable() as stop:
        import asyncio

        login = Login(broker, "watcher", mqtt_password_file, mqtt_ca, mqtt_cert, mqtt_key)
        asyncio.run(_watch(login.needed(), lab, (messages, seconds), stop, json))


async def _watch(
    settings: MqttSettings,
    lab: str | None,
    limits: tuple[int | None, float | None],
    stop: Stop,
    json: bool,
) -> None:
    import asyncio

    from experiments.cli import output
    from firmware_bridge.telemetry.mqtt import MqttClient
    from firmware_bridge.telemetry.topics import LAB_LEAVES, MINER_LEAVES, lab_filters

    most, seconds = limits
    enough, seen = asyncio.Event(), 0
    console = output.console()

    def show(message: Received) -> None:
        nonlocal seen
        if enough.is_set():
            return
        seen += 1
        if json:
            output.emit(
                {"topic": message.topic, "retained": message.retain, "payload": _content(message.payload)}
            )
        else:
            console.print(f"{message.topic}  {_brief(message.payload)}", markup=False)
        if most is not None and seen >= most:
            enough.set()

    client = MqttClient(settings)
    client.subscribe(lab_filters(lab, LAB_LEAVES, MINER_LEAVES), show)
    connected = await client.start()
    if not connected and not json:
        console.print(f"{settings.address}: no answer yet, trying again", markup=False)
    try:
        await _until(asyncio.ensure_future(enough.wait()), None, seconds, stop)
    finally:
        await client.stop()


async def _ended(work: asyncio.Task[None] | None) -> None:
    """End what went on beside, and wait for it; what it may say then was said, or is of no interest."""
    import asyncio

    if work is not None:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


async def _until(
    wanted: asyncio.Future[Any] | None, work: asyncio.Task[None] | None, seconds: float | None, stop: Stop
) -> Any:
    """Wait for a result, for so long, or until somebody asks to stop; None where the result did not come.

    Raises:
        LabError: what ended the work.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    asked = asyncio.Event()

    def ask() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is over already
            loop.call_soon_threadsafe(asked.set)

    stop.call(ask)
    asking = loop.create_task(asked.wait())
    waiting = {one for one in (wanted, work, asking) if one is not None}
    try:
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if work is not None and work.done():
            work.result()
        return wanted.result() if wanted is not None and wanted.done() else None
    finally:
        for one in (wanted, asking):
            if one is not None and not one.done():
                one.cancel()


def _content(payload: bytes) -> Any:
    import json

    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        return payload[:1000].decode("utf-8", "replace")


def _brief(payload: bytes) -> str:
    """What a line of a terminal takes of a message, without what is empty."""
    content = _content(payload)
    row = content.get("row") if isinstance(content, dict) else None
    if isinstance(row, dict):
        known = {name: value for name, value in row.items() if value is not None and name != "raw"}
        content = {"id": content.get("id")} | known
    if not isinstance(content, dict):
        text = str(content)
    else:
        text = " ".join(f"{name}={value}" for name, value in content.items())
    return "".join(c if c.isprintable() else "?" for c in text[:400])


def register(app: typer.Typer) -> None:
    """Add the group to the tree."""
    app.add_typer(mqtt)
