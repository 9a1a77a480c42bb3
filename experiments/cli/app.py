"""The command tree of ``asiclab``."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from experiments.cli import (
    analysis,
    bridge,
    broker,
    catalogue,
    claims,
    compare,
    dashboard,
    data,
    demo,
    device_settings,
    devices,
    doctor,
    effects,
    emulate,
    mqtt,
    narma,
    proofs,
    proxy,
    puf,
    run,
    runs,
    sentinel,
    tpf,
    vbm,
)
from experiments.cli.command import EXIT_CHECK_FAILED, LabGroup, fail, interrupted
from firmware_bridge.errors import LabError

HELP = (
    "A lab that asks whether Bitcoin-mining chips compute by their timing. Start with: asiclab demo. "
    "Exit codes: 0 fine, 1 a check failed, 2 a mistake in what was asked for, 130 or 143 interrupted before the end."
)

# plain help text: the rich one costs three times the start-up
app = typer.Typer(
    name="asiclab",
    help=HELP,
    cls=LabGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for part in (
    demo,
    bridge,
    proxy,
    vbm,
    broker,
    mqtt,
    emulate,
    devices,
    device_settings,
    sentinel,
    narma,
    run,
    catalogue,
    compare,
    claims,
    dashboard,
    tpf,
    puf,
    effects,
    data,
    runs,
    analysis,
    proofs,
    doctor,
):
    part.register(app)


def _say_version(asked: bool) -> None:
    if asked:
        from experiments.report.html import version

        typer.echo(f"asiclab {version()}")
        raise typer.Exit


@app.callback()
def lab(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_say_version, is_eager=True, help="Say which version of the lab this is."
        ),
    ] = False,
) -> None:
    """What is asked of the lab before any of its commands."""


def main() -> None:
    """Run the command line; errors of the lab become one line on stderr and an exit code."""
    try:
        app(prog_name="asiclab")
    except LabError as error:
        sys.exit(fail(error).exit_code)
    except KeyboardInterrupt as error:
        sys.exit(interrupted(error).exit_code)
    except BrokenPipeError:
        # the reader of our output left (asiclab ... | head): nothing to say, and nobody to say it to
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_CHECK_FAILED)
