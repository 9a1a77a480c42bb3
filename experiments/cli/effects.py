"""``asiclab effects``: the effects that an emulation can be given on purpose."""

from __future__ import annotations

import typer

from experiments.cli.command import LabCommand, LabGroup
from experiments.cli.options import Config, Json

effects = typer.Typer(
    name="effects",
    help="Effects that an emulated miner can be given on purpose.",
    cls=LabGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
)


@effects.command("list", cls=LabCommand)
def list_effects(json: Json = False, config: Config = None) -> None:
    """Print kind, unit and the strength that the verdict finds with power 0.9 at the default run length."""
    from firmware_bridge.emulator.effects import EFFECTS

    from experiments.cli import output

    if json:
        output.emit({"effects": [effect.to_json() for effect in EFFECTS.values()]})
        return
    output.table(
        "Planted effects (asiclab emulate s9 --time virtual --plant KIND=STRENGTH)",
        ("kind", "unit", "detectable (power 0.9)", "what it does"),
        [(e.kind, e.unit, e.detectable, e.description) for e in EFFECTS.values()],
    )


def register(app: typer.Typer) -> None:
    """Add the group to the tree."""
    app.add_typer(effects)
