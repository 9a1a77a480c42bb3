"""``asiclab compare``: stored runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from experiments.cli.command import LabCommand
from experiments.cli.options import DEFAULT_DB, Config, Db, Json, Seed


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN RUN...",
            help="Runs of experiments, or recordings: ids, unique prefixes, or 'latest'; the first is compared with.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the comparison as one HTML file, too.")
    ] = None,
    seed: Seed = 0,
    db: Db = DEFAULT_DB,
    json: Json = False,
    config: Config = None,
) -> None:
    """Hold stored runs against each other.

    Runs of experiments by their findings, and where both are of one experiment and size by the difference of the
    statistic. Recordings by mean interval, CV, verdict, and a test whether their intervals have one distribution.
    """
    from experiments.cli import output
    from experiments.compared_recordings import LAW_NULL, Timings
    from experiments.comparison import compare as compare_runs
    from experiments.report.comparison_page import tables_of, write_comparison

    compared = compare_runs(db, runs, seed=seed)
    if out is not None:
        write_comparison(compared, out)
    if json:
        output.emit({**compared.to_json(), **({} if out is None else {"page": out})})
        return
    for title, head, body in tables_of(compared):
        output.table(title, head, body)
    if isinstance(compared, Timings):
        output.console().print(f"Null of the test: {LAW_NULL}", markup=False)
    if out is not None:
        output.console().print(f"Wrote {out}", markup=False)


def register(app: typer.Typer) -> None:
    """Add the command to the tree."""
    app.command("compare", cls=LabCommand)(compare)
