"""Options that ``asiclab narma`` shares with the commands of ``asiclab reservoir``, each defined once."""

from __future__ import annotations

from typing import Annotated

import typer

Emulate = Annotated[
    str | None,
    typer.Option("--emulate", metavar="s9|lv06", help="Drive an emulated miner; s9 if nothing is named."),
]
Mode = Annotated[
    str, typer.Option("--mode", metavar="dialogue|monologue|constant", help="What a symbol depends on.")
]
Range = Annotated[
    str | None,
    typer.Option(
        "--range", metavar="LOW:HIGH", help="Encode frequency (MHz) or voltage (mV): what it moves between."
    ),
]
JobPeriod = Annotated[
    float | None,
    typer.Option("--job-period", metavar="S", help="Monologue, constant: seconds between jobs."),
]
Observe = Annotated[
    list[str] | None,
    typer.Option("--observe", metavar="KIND", help="State columns, repeatable; see docs/reservoir.md."),
]
Washout = Annotated[int, typer.Option("--washout", min=0, help="Steps at the start that nobody sees.")]
Miner = Annotated[
    str | None, typer.Option("--miner", metavar="NAME", help="Whose steps, where a run has several miners.")
]
