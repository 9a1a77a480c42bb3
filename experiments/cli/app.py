"""The command tree of ``asiclab``."""

from __future__ import annotations

import os
import sys

import typer

from experiments.cli import (
    analysis,
    bridge,
    broker,
    data,
    demo,
    devices,
    doctor,
    effects,
    emulate,
    mqtt,
    narma,
    proxy,
    runs,
    sentinel,
    vbm,
)
from experiments.cli.command import EXIT_CHECK_FAILED, LabGroup, fail
from firmware_bridge.errors import LabError

HELP = (
    "A lab that asks whether Bitcoin-mining chips compute by their timing. Start with: asiclab demo. "
    "Exit codes: 0 fine, 1 a check failed, 2 a mistake in what was asked for."
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
    sentinel,
    narma,
    effects,
    data,
    runs,
    analysis,
    doctor,
):
    part.register(app)


def main() -> None:
    """Run the command line; errors of the lab become one line on stderr and an exit code."""
    try:
        app(prog_name="asiclab")
    except LabError as error:
        sys.exit(fail(error).exit_code)
    except KeyboardInterrupt:
        typer.echo("asiclab: interrupted", err=True)
        sys.exit(EXIT_CHECK_FAILED)
    except BrokenPipeError:
        # the reader of our output left (asiclab ... | head): nothing to say, and nobody to say it to
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_CHECK_FAILED)
