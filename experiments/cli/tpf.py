"""``asiclab tpf``: the Thermodynamic Probability Filter, from its claim to an answer."""

from __future__ import annotations

import typer

from experiments.cli import tpf_filter, tpf_leakage, tpf_nonce, tpf_signals, tpf_twin
from experiments.cli.command import lab_group

tpf = lab_group("tpf", "Does anything predict which work succeeds, and what would that save?")
for part in (tpf_leakage, tpf_twin, tpf_filter, tpf_nonce, tpf_signals):
    part.register(tpf)


def register(app: typer.Typer) -> None:
    """Add the group to the tree."""
    app.add_typer(tpf)
