"""From a bridge that was made to its exit status: what both of its commands do and print."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from firmware_bridge.errors import LabError

if TYPE_CHECKING:
    from experiments.cli.attached import Attached, OnTelemetry
    from experiments.cli.running import Stop
    from firmware_bridge.stratum.config import BridgeConfig
    from firmware_bridge.stratum.server import Bridge


TOLD = {
    "device-silent": "{url} does not answer, so its telemetry is missing: {error}",
    "device-back": "{url} answers again",
    "upstream-lost": "the pool is not there, it is tried again and again: {error}",
    "upstream-refused": "the pool refused: {error}",
    "upstream-next": "the next pool is tried: {next}",
}
"""Events of a run that somebody has to do something about, in words for stderr."""


class Teller:
    """Says on stderr what goes wrong while a server runs; the same only once, however often it is tried again."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}

    def __call__(self, kind: str, severity: str, detail: Mapping[str, Any]) -> None:
        """An event of the run."""
        if kind not in TOLD:
            return
        text = TOLD[kind].format_map({"url": "a device", "error": severity, "next": "", **detail})
        place = f"{kind} {detail.get('url', '')}"
        if self._said.get(place) != text or kind == "device-back":
            self._said[place] = text
            typer.echo(f"asiclab: {text}", err=True)


@dataclass(frozen=True)
class Words:
    """What a command says of its server.

    Attributes:
        ready: address in, the first line out.
        told: what ``--json`` says beside the address.
        now: counts while it runs.
        counts: seconds in, every count out, with ``accepted`` among them.
        last: counts and seconds in, the last line out.
    """

    ready: Callable[[str], str]
    told: dict[str, Any]
    now: Callable[[], str]
    counts: Callable[[float], dict[str, Any]]
    last: Callable[[dict[str, Any], float], str]


async def serve_run(
    server: Bridge,
    config: BridgeConfig,
    attached: Attached,
    db: str,
    limits: tuple[float | None, int | None],
    stop: Stop,
    words: Words,
    *,
    json: bool,
    on_telemetry: OnTelemetry | None = None,
) -> str:
    """Run a server until a limit or a signal, print its two lines, and give the run's exit status.

    Args:
        server: not started.
        config: of the bridge in it.
        attached: what takes part beside its miners.
        db: trace of the run.
        limits: seconds and shares.
        stop: whether somebody asked.
        words: what is printed.
        json: whether as JSON.
        on_telemetry: told of every reading of a device.

    Raises:
        LabError: if the run fails; its last line is printed all the same.
    """
    import asyncio

    from experiments.cli import output
    from experiments.cli.attached import attach
    from firmware_bridge.trace.reader import TraceReader

    host, port = await server.start()
    server.run.on_event = Teller()
    run = server.run.run_id
    loop = asyncio.get_running_loop()
    begin = loop.time()
    stop.call(lambda: loop.call_soon_threadsafe(server.request_stop, f"stopped by {stop.reason}"))
    try:
        await attach(server, attached, config, on_telemetry=on_telemetry)
    except BaseException as error:
        server.request_stop(str(error), "fail")
        await server.stop()
        raise
    if json:
        output.emit({"ready": True, "host": host, "port": port, "run": run, **words.told})
    else:
        line = f"Run {run}: {words.ready(f'{host}:{port}')}; Ctrl-C stops"
        output.console().print(line, markup=False)
    status = None if json else asyncio.create_task(_show(words.now))
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
        seconds = loop.time() - begin
        counts = words.counts(seconds)
        if json:
            shares = counts["accepted"]
            output.emit({**end, "shares": shares, **counts, "seconds": round(seconds, 3)})
        else:
            last = f"Run {run}: {words.last(counts, seconds)} ({end['reason']})"
            output.console().print(last, markup=False)
    return end["status"]


async def _show(now: Callable[[], str]) -> None:
    """A line that follows the counts, where somebody can see it."""
    import asyncio

    from experiments.cli import output

    console = output.console()
    if not console.is_terminal:
        return
    with console.status("") as line:
        while True:
            line.update(now())
            await asyncio.sleep(0.5)
