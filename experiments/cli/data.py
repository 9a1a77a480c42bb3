"""``asiclab import``, ``export``, ``replay`` and ``bundle``: traces in, out and once more."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.cli.command import LabCommand
from experiments.cli.options import DEFAULT_DB, Config, Db, Json, Run
from experiments.cli.running import stoppable
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from experiments.cli.running import Stop


def import_file(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A CSV or Parquet file, or a bundle.")],
    mapping: Annotated[
        str | None,
        typer.Option("--map", metavar="FIELD=COLUMN,...", help="Columns of any CSV with arrival times."),
    ] = None,
    db: Db = DEFAULT_DB,
    json: Json = False,
    config: Config = None,
) -> None:
    """Store a recording as a run, every share verified.

    A broken row is named with its line, and the rest is kept.
    """
    from experiments.cli import output
    from firmware_bridge.trace import importer

    result = importer.import_file(db, file, mapping=parse_mapping(mapping))
    if json:
        output.emit(result)
        return
    for rejected in result.rejected_rows:
        typer.echo(f"{file}:{rejected['line']}: {rejected['reason']}", err=True)
    output.console().print(f"Run {result.run}: {result.shares} shares, {result.valid} verify", markup=False)


def parse_mapping(text: str | None) -> dict[str, str] | None:
    """``timestamp=COLUMN,nonce=COLUMN`` as a dictionary.

    Raises:
        UserError: if a part is not of this form.
    """
    if text is None:
        return None
    mapping = {}
    for part in text.split(","):
        field, sign, column = part.partition("=")
        if not sign or not field.strip() or not column.strip():
            raise UserError(f"--map {text!r}: {part!r} is not FIELD=COLUMN")
        mapping[field.strip()] = column.strip()
    return mapping


def export(
    run: Run,
    format_: Annotated[
        str | None,
        typer.Option("--format", metavar="csv|parquet", help="By default what the file name says."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="By default shares-RUN.csv.")
    ] = None,
    db: Db = DEFAULT_DB,
    json: Json = False,
    config: Config = None,
) -> None:
    """Write the shares of a run to a file that imports without loss."""
    from experiments.cli import output
    from firmware_bridge.trace.formats import export_run
    from firmware_bridge.trace.reader import TraceReader

    reader = TraceReader(db)
    number = reader.resolve(run)
    chosen = format_ or ("parquet" if out is not None and out.suffix == ".parquet" else "csv")
    name = reader.run(number)["run_id"]
    result = export_run(reader, number, out or Path(f"shares-{name}.{chosen}"), chosen)
    if json:
        output.emit({"run": name, "format": chosen, **result.to_json()})
    else:
        text = f"{result.shares} shares in {result.path}, the rest of the run in {result.companion}"
        output.console().print(text, markup=False)


def bundle(
    run: Run,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="By default RUN.zip.")] = None,
    db: Db = DEFAULT_DB,
    json: Json = False,
    config: Config = None,
) -> None:
    """Pack a run into one archive with checksums, for sharing."""
    from experiments.cli import output
    from firmware_bridge.trace.bundle import write_bundle
    from firmware_bridge.trace.reader import TraceReader

    reader = TraceReader(db)
    number = reader.resolve(run)
    name = reader.run(number)["run_id"]
    result = write_bundle(reader, number, out or Path(f"{name}.zip"))
    if json:
        output.emit({"run": name, **output.plain(result)})
    else:
        output.console().print(f"{result.path}: {result.shares} shares", markup=False)


def replay(
    run: Run,
    speed: Annotated[
        str, typer.Option("--speed", metavar="X|max", help="1 is recorded time, max as fast as possible.")
    ] = "1",
    events: Annotated[bool, typer.Option("--events", help="Print every share as a line of JSON.")] = False,
    db: Db = DEFAULT_DB,
    json: Json = False,
    config: Config = None,
) -> None:
    """Feed a stored run through the interface of live shares.

    At the end stands a digest of all events: the same run gives the same digest at any speed.
    """
    import asyncio

    with stoppable() as stop:
        result = asyncio.run(_replay(db, run, parse_speed(speed), events, stop, json))
    if json:
        from experiments.cli import output

        output.emit(result)
    if not result["complete"]:
        raise typer.Exit(stop.exit_code)


def parse_speed(text: str) -> float | None:
    """A positive factor, or None for as fast as possible.

    Raises:
        UserError: if it is neither.
    """
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0.0 < speed < float("inf"):
        raise UserError(f"--speed is a positive number or max, not {text!r}")
    return speed


async def _replay(
    db: str, name: str, speed: float | None, events: bool, stop: Stop, json: bool
) -> dict[str, Any]:
    import hashlib
    import time

    from experiments.cli import output
    from firmware_bridge.trace.reader import TraceReader
    from firmware_bridge.trace.replay import replay as replayed

    reader = TraceReader(db)
    number = reader.resolve(name)
    run_id, total = reader.run(number)["run_id"], reader.count(number)
    digest = hashlib.sha256()
    begin = time.perf_counter()
    count = valid = 0
    stop.call(_cancel_this_task())
    with output.bar("Replaying", shown=not json and not events) as advance_to, _ended_by(stop):
        async for event in replayed(reader, number, speed):
            digest.update(repr((tuple(event.row), event.job, event.miner_name)).encode())
            count += 1
            valid += bool(event.row.valid)
            if events:
                output.emit({"miner_name": event.miner_name, **event.row._asdict()})
            if count % 64 == 0:
                advance_to(count, total)
    result: dict[str, Any] = {"run": run_id, "shares": count, "valid": valid, "complete": count == total}
    result |= {"digest": digest.hexdigest(), "seconds": round(time.perf_counter() - begin, 3)}
    if not json:
        text = f"Run {run_id}: {count} of {total} shares, digest {result['digest'][:16]}, {result['seconds']:.1f} s"
        output.console(stderr=events).print(text, markup=False)
    return result


def _cancel_this_task() -> Callable[[], None]:
    import asyncio

    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def cancel() -> None:
        loop.call_soon_threadsafe(task.cancel)

    return cancel


@contextlib.contextmanager
def _ended_by(stop: Stop) -> Iterator[None]:
    """Take a cancellation that a signal caused as an ordinary end."""
    from asyncio import CancelledError

    try:
        yield
    except CancelledError:
        if stop.reason is None:
            raise


def register(app: typer.Typer) -> None:
    """Add the commands to the tree."""
    app.command("import", cls=LabCommand)(import_file)
    app.command("export", cls=LabCommand)(export)
    app.command("replay", cls=LabCommand)(replay)
    app.command("bundle", cls=LabCommand)(bundle)
