"""Options that several commands take, each defined once."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import typer

from firmware_bridge.errors import UserError

DEFAULT_DB = "sqlite:///lab.db"


def parse_scale(value: Any) -> float:
    """A positive number written as ``2^-20``, ``1/1024``, ``9.5e-7`` or a plain number.

    Raises:
        typer.BadParameter: if it is none of these, or not in (0, 1].
    """
    text = str(value).strip().replace("**", "^")
    try:
        if "^" in text:
            base, exponent = text.split("^")
            scale = math.pow(float(base), float(exponent))
        else:
            scale = float(Fraction(text)) if "/" in text else float(text)
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        raise typer.BadParameter(f"{value!r} is no scale; write it as 2^-20, 1/1024 or 9.5e-7") from error
    if not 0.0 < scale <= 1.0:
        raise typer.BadParameter(f"a scale lies above 0 and at most at 1, not {value!r}")
    return scale


def parse_hex(text: str, option: str) -> int:
    """The number that an option writes in hex.

    Raises:
        UserError: if it is none.
    """
    try:
        return int(text, 16)
    except ValueError as error:
        raise UserError(f"{option} is up to 8 hex digits, not {text!r}") from error


Db = Annotated[str, typer.Option("--db", metavar="URL", help="Database of the trace, any SQLAlchemy URL.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line, and nothing else.")]
Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Options file; by default lab.toml beside the database."),
]
Run = Annotated[str, typer.Argument(metavar="RUN", help="Id of a run, a unique prefix of it, or 'latest'.")]
Miner = Annotated[
    str | None, typer.Option("--miner", metavar="NAME", help="Which miner, where a run has several.")
]
MAX_SEED = 2**63 - 1
"""What a database can store as a number."""
Seed = Annotated[
    int, typer.Option("--seed", min=0, max=MAX_SEED, help="Seed of everything that chance decides.")
]
Seconds = Annotated[float | None, typer.Option("--seconds", min=0.0, help="Stop after this many seconds.")]
Shares = Annotated[int | None, typer.Option("--shares", min=1, help="Stop after this many shares.")]
Scale = Annotated[
    float | None,
    typer.Option(
        "--scale",
        parser=parse_scale,
        metavar="S",
        help="Difficulties stay nominal on the wire; work is found and verified against difficulty x S (2^-20).",
    ),
]
Plants = Annotated[
    list[str] | None,
    typer.Option("--plant", metavar="KIND=STRENGTH", help="Planted effect; see asiclab effects list."),
]
PhysicsItems = Annotated[
    list[str] | None, typer.Option("--physics", metavar="NAME=VALUE", help="As of asiclab emulate.")
]
Classifier = Annotated[
    str, typer.Option("--classifier", metavar="NAME", help="logistic, gradient_boosting or mlp_16_8_4.")
]
TcpPort = Annotated[int, typer.Option("--port", min=0, max=65535, help="TCP port; 0 takes a free one.")]
ReportFile = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Where to write it; report-RUN.html by default.")
]


def plot_option(what: str) -> Any:
    """``--plot FILE`` of a command that can draw ``what``."""
    return typer.Option("--plot", metavar="FILE", help=f"Draw {what}: .png, .svg, .pdf.")
