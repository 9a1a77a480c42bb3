"""``asiclab runs``: keep a lab's runs in order."""

from __future__ import annotations

from typing import Annotated

import typer

from experiments.cli.command import LabCommand, LabGroup
from experiments.cli.options import DEFAULT_DB, Config, Db, Json, Run
from firmware_bridge.errors import UserError

runs = typer.Typer(
    name="runs",
    help="List runs; tag, annotate, remove or merge them.",
    cls=LabGroup,
    invoke_without_command=True,
    rich_markup_mode=None,
)


@runs.callback(invoke_without_command=True)
def runs_or_list(ctx: typer.Context, db: Db = DEFAULT_DB, json: Json = False, config: Config = None) -> None:
    """List the runs of a database, and tag, annotate, remove or merge them."""
    if ctx.invoked_subcommand is None:
        _list(db, json)


@runs.command("list", cls=LabCommand)
def list_runs(db: Db = DEFAULT_DB, json: Json = False, config: Config = None) -> None:
    """List the runs, oldest first."""
    _list(db, json)


@runs.command("tag", cls=LabCommand)
def tag(
    run: Run,
    tags: Annotated[list[str], typer.Argument(metavar="TAG...", help="Words to add.")],
    remove: Annotated[bool, typer.Option("--remove", help="Take these tags away instead.")] = False,
    db: Db = DEFAULT_DB,
    json: Json = False,
    config: Config = None,
) -> None:
    """Add tags to a run, or take them away."""
    from experiments.cli import output
    from firmware_bridge.trace import manage

    row = manage.tag(db, run, tags, remove=remove)
    output.emit(row) if json else output.console().print(
        f"{row['run']}: {', '.join(row['tags'])}", markup=False
    )


@runs.command("note", cls=LabCommand)
def note(
    run: Run,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="Note that replaces the one before.")],
    db: Db = DEFAULT_DB,
    json: Json = False,
    config: Config = None,
) -> None:
    """Write a note on a run."""
    from experiments.cli import output
    from firmware_bridge.trace import manage

    row = manage.note(db, run, text)
    output.emit(row) if json else output.console().print(f"{row['run']}: {row['notes']}", markup=False)


@runs.command("rm", cls=LabCommand)
def remove(
    run: Run,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    db: Db = DEFAULT_DB,
    json: Json = False,
    config: Config = None,
) -> None:
    """Remove a run and every event of it; there is no way back."""
    from experiments.cli import output
    from firmware_bridge.trace import manage
    from firmware_bridge.trace.reader import TraceReader

    reader = TraceReader(db)
    name = str(reader.run(reader.resolve(run))["run_id"])
    if not yes:
        if json:
            raise UserError(f"removing {name} asks a question first; say --yes to do it without")
        typer.confirm(f"Remove run {name} and every event of it?", abort=True, err=True)
    row = manage.remove(db, name)
    output.emit(row) if json else output.console().print(f"Removed {name}", markup=False)


@runs.command("merge", cls=LabCommand)
def merge(
    which: Annotated[list[str], typer.Argument(metavar="RUN RUN...", help="Two runs or more.")],
    db: Db = DEFAULT_DB,
    json: Json = False,
    config: Config = None,
) -> None:
    """Make one run out of several, in order of time; the parts stay as they are."""
    from experiments.cli import output
    from firmware_bridge.trace import manage

    if len(which) < 2:
        raise UserError("merging takes at least two runs")
    row = manage.merge(db, which)
    output.emit(row) if json else output.console().print(
        f"Run {row['run']}: {row['shares']} shares", markup=False
    )


def _list(db: str, json: bool) -> None:
    from experiments.cli import output
    from firmware_bridge.trace import manage
    from firmware_bridge.trace.store import locate

    rows = manage.list_runs(db)
    if json:
        output.emit({"runs": rows})
        return
    columns = ("run", "kind", "source", "mode", "started", "shares", "status", "tags", "notes")
    shown = [row | {"tags": ", ".join(row["tags"])} for row in rows]
    output.table(f"Runs in {locate(db)}", columns, [[row.get(column) for column in columns] for row in shown])
    if not rows:
        output.console().print(
            "No recording yet; runs of experiments: asiclab experiments runs", markup=False
        )


def register(app: typer.Typer) -> None:
    """Add the group to the tree."""
    app.add_typer(runs)
