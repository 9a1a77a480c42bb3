"""``asiclab claims``: every claim of the papers, its status, and our number."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from experiments.cli.command import LabCommand
from experiments.cli.options import DEFAULT_DB, Config, Db, Json
from firmware_bridge.errors import UserError


def claims(
    write: Annotated[
        Path | None,
        typer.Option(
            "--write", metavar="FILE", help="Write the ledger as a page, for example docs/claims.md."
        ),
    ] = None,
    status: Annotated[
        str | None, typer.Option("--status", metavar="TEXT", help="Only claims whose status begins so.")
    ] = None,
    db: Db = DEFAULT_DB,
    json: Json = False,
    config: Config = None,
) -> None:
    """Every quantitative claim: source, the experiment that tests it, status, and our number with its interval.

    Numbers come from the newest finished runs in the database, hardware and recordings before emulators; arithmetic is
    redone each time.
    """
    from experiments.claims import ledger, markdown
    from experiments.cli import output
    from experiments.results import stored_runs

    every = ledger(stored_runs(db))
    entries = [e for e in every if status is None or e.status.startswith(status)]
    if not entries:
        there = sorted({e.status for e in every if e.experiment is not None or e.value is not None})
        raise UserError(
            f"no claim's status begins with {status!r}; there are: {', '.join(there)}, cannot be tested without …"
        )
    if write is not None:
        try:
            write.write_text(markdown(entries), encoding="utf-8")
        except OSError as error:
            raise UserError(f"{write} cannot be written ({error.strerror}); give another --write") from None
    if json:
        for entry in entries:
            output.emit(entry)
        return
    output.table(
        "Claims",
        ("claim", "what is said", "tested by", "status", "our number"),
        [
            (
                e.id,
                e.text,
                e.experiment or ("arithmetic" if e.value is not None else "–"),
                e.status,
                ""
                if e.value is None
                else f"{e.value:.4g}" + ("" if e.ci is None else f" ({e.ci[0]:.4g} to {e.ci[1]:.4g})"),
            )
            for e in entries
        ],
    )
    if write is not None:
        output.console().print(f"Wrote {write}", markup=False)


def register(app: typer.Typer) -> None:
    """Add the command to the tree."""
    app.command("claims", cls=LabCommand)(claims)
