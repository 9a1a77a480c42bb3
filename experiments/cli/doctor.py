"""``asiclab doctor``: what this machine lacks for each device and mode, and how to get it."""

from __future__ import annotations

import typer

from experiments.cli.command import EXIT_CHECK_FAILED, LabCommand
from experiments.cli.options import DEFAULT_DB, Config, Db, Json


def doctor(db: Db = DEFAULT_DB, json: Json = False, config: Config = None) -> None:
    """Say what this machine lacks, and how to get it.

    Exit code 1 where something that the lab cannot work without is missing.
    """
    from experiments.cli import output
    from experiments.doctor import examine

    findings = examine(db)
    if json:
        output.emit(
            {"ok": all(f.state != "missing" for f in findings), "checks": [f.to_json() for f in findings]}
        )
    else:
        output.table(
            "This machine",
            ("", "check", "needed for", "found", "remedy"),
            [(f.mark, f.name, ", ".join(f.needed_for), f.found, f.remedy or "") for f in findings],
        )
    if any(f.state == "missing" for f in findings):
        raise typer.Exit(EXIT_CHECK_FAILED)


def register(app: typer.Typer) -> None:
    """Add the command to the tree."""
    app.command("doctor", cls=LabCommand)(doctor)
