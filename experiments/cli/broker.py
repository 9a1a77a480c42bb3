"""``asiclab broker``: an MQTT broker, where none is installed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.cli.command import LabCommand
from experiments.cli.options import Config, Json, Seconds, TcpPort
from experiments.cli.running import stoppable
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from experiments.cli.running import Stop
    from firmware_bridge.telemetry.broker import EmbeddedBroker


def broker(
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; others than loopback need a password file.")
    ] = "127.0.0.1",
    port: TcpPort = 1883,
    password_file: Annotated[
        Path | None, typer.Option("--password-file", metavar="FILE", help="Who may log in.")
    ] = None,
    add_user: Annotated[
        str | None,
        typer.Option(
            "--add-user",
            metavar="NAME",
            help="Add a user to the password file, asking for a password; then end.",
        ),
    ] = None,
    anonymous: Annotated[
        bool, typer.Option("--anonymous", help="Let clients in that give no user name, on any address.")
    ] = False,
    tls_cert: Annotated[
        Path | None, typer.Option("--tls-cert", metavar="FILE", help="Speak TLS with this certificate (PEM).")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option("--tls-key", metavar="FILE", help="Private key of the certificate (PEM).")
    ] = None,
    max_payload: Annotated[
        int,
        typer.Option("--max-payload", metavar="BYTES", help="Let go of clients that send a larger message."),
    ] = 1 << 20,
    seconds: Seconds = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """Be an MQTT 3.1.1 broker until Ctrl-C.

    Whoever is refused is named on stderr, with the reason. Needs the extra "broker".
    """
    if add_user is not None:
        _add_user(password_file, add_user, json)
        return
    with stoppable() as stop:
        import asyncio

        try:
            from firmware_bridge.telemetry.broker import BrokerSettings, EmbeddedBroker
        except ModuleNotFoundError as error:
            raise _missing(error) from error

        settings = BrokerSettings(
            host=host,
            port=port,
            password_file=password_file,
            anonymous=anonymous,
            tls_cert=tls_cert,
            tls_key=tls_key,
            max_payload=max_payload,
        )

        async def run() -> None:
            await _serve(EmbeddedBroker(settings), seconds, stop, json)

        asyncio.run(run())


def _missing(error: ModuleNotFoundError) -> UserError:
    return UserError(
        f"the embedded broker needs {error.name}: pip install 'asic-reservoir-lab[broker]'; "
        "or use any other MQTT 3.1.1 broker, such as mosquitto"
    )


def _add_user(path: Path | None, name: str, json: bool) -> None:
    """Ask for a password, twice where somebody types it, and store its hash."""
    import sys

    from experiments.cli import output
    from firmware_bridge.telemetry import passwords

    if path is None:
        raise UserError("--add-user needs --password-file FILE: where the user is kept")
    if sys.stdin.isatty():
        password = str(
            typer.prompt(f"Password of {name}", hide_input=True, confirmation_prompt=True, err=True)
        )
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    try:
        changed = passwords.add(path, name, password)
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    if json:
        output.emit({"file": str(path), "user": name, "changed": changed})
    else:
        done = "has a new password" if changed else "was added"
        output.console().print(
            f"{path}: {name} {done}; a running broker reads it at its next start", markup=False
        )


async def _serve(broker: EmbeddedBroker, seconds: float | None, stop: Stop, json: bool) -> None:
    """Run the broker until a signal or its time is over, and print its two lines."""
    import asyncio

    from experiments.cli import output

    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    stop.call(lambda: loop.call_soon_threadsafe(ended.set))
    host, port = await broker.start()
    if json:
        output.emit({"ready": True, "host": host, "port": port})
    else:
        output.console().print(f"Broker on {host}:{port}; Ctrl-C stops", markup=False)
    try:
        async with asyncio.timeout(seconds):
            await ended.wait()
    except TimeoutError:
        pass
    finally:
        await broker.stop()
    reason = f"stopped by {stop.reason}" if stop.reason else "its time was over"
    counts = broker.counts
    if json:
        output.emit({**counts.to_json(), "reason": reason})
    else:
        text = f"{counts.clients} logins, {counts.refused_logins} refused, {counts.refused_packets} clients let go"
        output.console().print(f"Broker: {text} ({reason})", markup=False)


def register(app: typer.Typer) -> None:
    """Add the command to the tree."""
    app.command("broker", cls=LabCommand)(broker)
