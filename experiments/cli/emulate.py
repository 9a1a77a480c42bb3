"""``asiclab emulate``: an emulated miner, in wall time against a pool or in virtual time into a trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.cli.command import EXIT_CHECK_FAILED, LabCommand, options_in_force
from experiments.cli.options import DEFAULT_DB, Config, Db, Json, Scale, Seconds, Seed, Shares
from experiments.cli.running import stoppable
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from experiments.cli.running import Stop

MODELS = ("s9", "lv06")
DEFAULT_SHARES = 2588
"""Length of a virtual run where neither --shares nor --seconds is given: that of the recorded S9."""


def emulate(
    ctx: typer.Context,
    model: Annotated[str, typer.Argument(metavar="s9|lv06", help="Which miner.")],
    pool: Annotated[
        str | None, typer.Option("--pool", metavar="HOST:PORT", help="Pool to mine for, in wall time.")
    ] = None,
    time: Annotated[
        str | None,
        typer.Option("--time", metavar="virtual|wall", help="wall (needs --pool) or virtual (writes a run)."),
    ] = None,
    plant: Annotated[
        list[str] | None,
        typer.Option(
            "--plant", metavar="KIND=STRENGTH", help="Planted effect, repeatable; see asiclab effects list."
        ),
    ] = None,
    physics: Annotated[
        list[str] | None,
        typer.Option(
            "--physics",
            metavar="NAME=VALUE",
            help="Change the physical model, repeatable; 'off' switches all of it off.",
        ),
    ] = None,
    difficulty: Annotated[
        float, typer.Option("--difficulty", metavar="D", help="Virtual time: share difficulty.")
    ] = 256.0,
    mode: Annotated[
        str, typer.Option("--mode", metavar="stream|swh", help="Virtual time: when the pool sends new work.")
    ] = "swh",
    job_period: Annotated[
        float,
        typer.Option("--job-period", metavar="S", help="Virtual time, stream mode: seconds between jobs."),
    ] = 30.0,
    user: Annotated[str, typer.Option("--user", help="Wall time: worker name.")] = "",
    password: Annotated[str, typer.Option("--password", help="Wall time: its password.")] = "x",
    seed: Seed = 0,
    seconds: Seconds = None,
    shares: Shares = None,
    scale: Scale = None,
    db: Db = DEFAULT_DB,
    json: Json = False,
    config: Config = None,
) -> None:
    """Emulate a miner: hash for real and return shares that verify.

    With --pool it mines in wall time over TCP. Without, it runs in virtual time, thousands of times faster, and writes
    a run into the database.
    """
    if model not in MODELS:
        raise UserError(f"there is no emulated miner {model!r}; the models are {', '.join(MODELS)}")
    base = time or ("wall" if pool else "virtual")
    if base not in ("virtual", "wall"):
        raise UserError(f"--time is virtual or wall, not {base!r}")
    if base == "wall" and not pool:
        raise UserError(
            "--time wall mines for a pool: say which with --pool HOST:PORT (asiclab bridge is one)"
        )
    if base == "virtual" and pool:
        raise UserError(
            "--time virtual needs no pool: its clock runs ahead of the real one, which a pool on a socket cannot follow. "
            "Leave --pool out to write a run, or mine in wall time with --time wall"
        )


def register(app: typer.Typer) -> None:
    """Add the command to the tree."""
    app.command("emulate", cls=LabCommand)(emulate)
