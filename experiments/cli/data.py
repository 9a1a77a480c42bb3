"""``asiclab import``, ``export``, ``replay`` and ``bundle``: traces in, out and once more."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from experiments.cli.command import LabCommand
from experiments.cli.options import DEFAULT_DB, Config, Db, Json, Run
from firmware_bridge.errors import UserError


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
    """Store a recording as a run, every share of it verified; a broken row is named and the rest is kept."""
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
        str, typer.Option("--format", metavar="csv|parquet", help="Format of the file.")
    ] = "csv",
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Where to write it.")] = None,
    db: Db = DEFAULT_DB,
    json: Json = False,
    config: Config = None,
) -> None:
    """Write the shares of a run to a file that can be imported again without loss."""
    raise NotImplementedError


def register(app: typer.Typer) -> None:
    """Add the commands to the tree."""
    app.command("import", cls=LabCommand)(import_file)
    app.command("export", cls=LabCommand)(export)
