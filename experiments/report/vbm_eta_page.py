"""The page of measured time efficiency against its formula."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from experiments.report import html, svg
from firmware_bridge.efficiency import eta

if TYPE_CHECKING:
    from markupsafe import Markup

    from experiments.vbm_eta import EtaResult


def write_page(result: EtaResult, path: Path) -> None:
    """Write the page.

    Raises:
        UserError: if the file cannot be written.
    """
    html.write(render(result), path, "page")


def render(result: EtaResult) -> str:
    """The page as one HTML text; the same bytes for the same result."""
    agreed = [cell.agrees for cell in result.cells]
    kind = "cannot_tell" if None in agreed else "consistent" if all(agreed) else "deviates"
    words = {
        "cannot_tell": "Cannot tell",
        "consistent": "As the formula says",
        "deviates": "Not as the formula says",
    }
    return html.fill(
        "vbm_eta.html.j2",
        result=result,
        plan=result.plan,
        kind=kind,
        word=words[kind],
        plot=eta_plot(result),
    )


def eta_plot(result: EtaResult) -> Markup:
    """eta over the round trip: measured by ledger and by shares, and the formula's curve for each firmware."""
    plan = result.plan
    longest_ms = 1e3 * max(*plan.round_trips_s, 0.02)
    step_ms = 0.012 * longest_ms
    grid_ms = np.linspace(0.0, 1.05 * longest_ms, 200)
    colours = {"waits": svg.DATA, "queues": svg.MODEL}
    with svg.figure(7.4, 4.0) as drawing:
        axes = drawing.subplots()
        for number, (firmware, colour) in enumerate(colours.items()):
            curve = [eta(plan.t_hash_s, ms / 1e3 if firmware == "waits" else 0.0) or 0.0 for ms in grid_ms]
            axes.plot(
                grid_ms,
                curve,
                color=colour,
                linewidth=1.2,
                linestyle=(0, (5, 3)),
                label=f"{firmware}: formula",
            )
            for place, (source, marker) in enumerate((("ledger", "o"), ("shares", "s"))):
                label = (
                    f"{firmware}: by its {source}" if source == "ledger" else f"{firmware}: by the {source}"
                )
                for cell in result.cells:
                    found = getattr(cell, source)
                    if cell.firmware != firmware or found is None:
                        continue
                    at = 1e3 * cell.round_trip_s + (2 * number + place - 1.5) * step_ms
                    axes.plot([at, at], found[1:], color=colour, linewidth=1.8, solid_capstyle="butt")
                    axes.plot([at], found[:1], marker, color=colour, markersize=5, label=label)
                    label = ""
        axes.set_ylim(0.0, 1.2)
        axes.set_xlabel("round trip to the pool, ms")
        axes.set_ylabel("eta: part of the time spent hashing")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
        return svg.to_svg(drawing, "Time efficiency over the round trip, measured and by the formula", "eta")
