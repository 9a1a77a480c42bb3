"""``asiclab effects``: the effects that an emulation can be given on purpose."""

from __future__ import annotations

import typer

from experiments.cli.command import LabCommand, lab_group
from experiments.cli.options import Config, Json

effects = lab_group("effects", "Effects that an emulated miner can be given on purpose.")


@effects.command("list", cls=LabCommand)
def list_effects(json: Json = False, config: Config = None) -> None:
    """Print kind, unit and the strength that is found with power 0.9 at the default run length, and by what."""
    from experiments.cli import output
    from experiments.effects import listed_effects

    listed = listed_effects()
    if json:
        output.emit({"effects": listed})
        return
    output.table(
        f"Planted effects: --plant KIND=STRENGTH (detectable: power 0.9, {listed[0].shares} shares or 3200 steps)",
        ("kind", "unit", "detectable", "by", "depends on", "delays"),
        [(e.kind, e.unit, e.detectable, e.found_by, e.depends_on, e.delays) for e in listed],
    )


def register(app: typer.Typer) -> None:
    """Add the group to the tree."""
    app.add_typer(effects)
