"""``asiclab dashboard``: a local page that shows what runs and what was found."""

from __future__ import annotations

from typing import Annotated

import typer

from experiments.cli.command import LabCommand
from experiments.cli.options import DEFAULT_DB, Config, Db, Json, Seconds
from experiments.cli.running import stoppable
from firmware_bridge.errors import UserError

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def dashboard(
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; this machine alone if left out.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")] = 8050,
    control: Annotated[
        bool, typer.Option("--control", help="Let the page ask a run of an experiment to stop.")
    ] = False,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            metavar="TEXT",
            envvar="ASICLAB_TOKEN",
            help="Needed to look; drawn where others can reach the page.",
        ),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option("--name", metavar="HOST", help="Name that others call this machine by."),
    ] = None,
    hz: Annotated[float, typer.Option("--hz", min=1.0, max=10.0, help="Looks per second.")] = 4.0,
    verdicts: Annotated[
        bool,
        typer.Option(
            "--verdicts/--no-verdicts",
            help="Judge a run as it grows, in a process that gives way to all others.",
        ),
    ] = True,
    seconds: Seconds = None,
    db: Db = DEFAULT_DB,
    json: Json = False,
    config: Config = None,
) -> None:
    """Show a page with miners, arrivals, intervals against their null, experiments under way, and what was found.

    It runs in a process of its own and only reads the database, so it cannot disturb what it shows.
    """
    with stoppable() as stop:
        import asyncio
        import secrets

        try:
            from experiments.dashboard.app import make_app, serve
        except ModuleNotFoundError as error:
            if error.name not in ("starlette", "uvicorn"):
                raise
            raise UserError(
                "the page needs its server: pip install 'asic-reservoir-lab[dashboard]'"
            ) from None
        from experiments.cli import output
        from firmware_bridge.trace.reader import TraceReader

        TraceReader(db)  # a database that is not there is said now, not on the page
        open_to_all = host not in LOOPBACK
        if open_to_all and token is None:
            token = secrets.token_urlsafe(16)
        if token is not None and len(token) < 8:
            raise UserError("--token has at least 8 characters: whoever guesses it sees the lab")
        hosts = (*LOOPBACK, "[::1]", host, *(name or ())) if not open_to_all or name else ("*",)
        app = make_app(db, token=token, control=control, hosts=hosts, hz=hz, verdicts=verdicts)

        def ready(at: int) -> None:
            everywhere = host in ("0.0.0.0", "::")
            shown = next(iter(name or ()), "127.0.0.1") if everywhere else host
            address = f"http://{f'[{shown}]' if ':' in shown else shown}:{at}/"
            full = address if token is None else f"{address}?token={token}"
            if json:
                output.emit({"url": full, "control": control})
                return
            typer.echo(f"Dashboard: {full}  (Ctrl-C ends it)")
            if everywhere and not name:
                typer.echo("From another machine: this machine's name or address in the place of 127.0.0.1")

        async def run() -> None:
            loop, ended = asyncio.get_running_loop(), asyncio.Event()
            stop.call(lambda: loop.call_soon_threadsafe(ended.set))

            async def until() -> None:
                try:
                    await asyncio.wait_for(ended.wait(), seconds)
                except TimeoutError:
                    return

            await serve(app, host, port, on_ready=ready, until=until)

        asyncio.run(run())


def register(app: typer.Typer) -> None:
    """Add the command to the tree."""
    app.command("dashboard", cls=LabCommand)(dashboard)
