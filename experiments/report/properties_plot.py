"""One figure of the properties of a reservoir: memory over the delay, capacities by degree, agreement of replicas."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from experiments.report.light import DATA, DATA_SOFT, INK, MODEL, NULL, checked, figure_file
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from experiments.properties import Found

DEGREE_COLOURS = (DATA, MODEL, "#7c3aed", "#0f766e", "#a16207")
"""Degree 1, 2, 3, …: the last one stands for all beyond."""
MOST_COLUMNS = 40


def draw(found: Found, file: str | Path) -> Path:
    """Write the figure of properties.

    Args:
        found: the properties.
        file: ends in .png, .svg or .pdf.

    Returns:
        The file.

    Raises:
        UserError: if the file is of another kind, or there is no capacity to draw.
    """
    told = found.properties
    if told.fading_memory is None or told.capacity is None:
        raise UserError(f"there is nothing to draw: {found.verdict.text}")
    nodes = min(MOST_COLUMNS, len(found.columns))
    heights = [2.0, 2.0, max(1.0, 0.22 * nodes)] if told.consistency is not None else [2.0, 2.0]
    with figure_file(file, 8.2, sum(heights) + 1.1 * len(heights)) as drawing:
        axes = drawing.subplots(len(heights), 1, height_ratios=heights)
        _memory(axes[0], found)
        _spectrum(axes[1], found)
        if told.consistency is not None:
            _consistency(axes[2], found, nodes)
    return checked(file)


def _memory(axes: Axes, found: Found) -> None:
    memory = found.properties.fading_memory
    assert memory is not None
    delays = np.arange(memory.capacity.size)
    axes.axhspan(-1.0, memory.threshold, color=DATA_SOFT, alpha=0.45, linewidth=0)
    axes.axhline(
        memory.threshold, color=NULL, linewidth=1.0, linestyle="--", label="chance passes once in 10,000"
    )
    axes.plot(delays, memory.input_only, color=MODEL, linewidth=1.1, label="powers of the present input")
    axes.plot(delays, memory.capacity, "o-", color=DATA, linewidth=1.4, markersize=4, label="states")
    highest = float(max(memory.capacity.max(), memory.input_only.max(), 3.0 * memory.threshold))
    axes.set_ylim(min(0.0, float(memory.capacity.min())) - 0.02 * highest, 1.3 * highest)
    axes.set_xlim(-0.5, delays[-1] + 0.5)
    axes.set_ylabel("capacity")
    axes.set_xlabel("delay in steps")
    axes.locator_params(axis="x", integer=True)
    axes.set_title(f"Fading memory: {memory.total:.3f} of at most {memory.rank}, without the present input")
    axes.legend(loc="upper right", ncols=3, fontsize=8, borderaxespad=0.0)


def _spectrum(axes: Axes, found: Found) -> None:
    capacity = found.properties.capacity
    assert capacity is not None
    last = max([delay for (_, delay), c in capacity.spectrum.items() if c > 0.0] + [5])
    delays = np.arange(last + 1)
    below = np.zeros(last + 1)
    for degree in sorted(capacity.by_degree):
        heights = np.array([capacity.spectrum.get((degree, int(delay)), 0.0) for delay in delays])
        colour = DEGREE_COLOURS[min(degree, len(DEGREE_COLOURS)) - 1]
        label = f"degree {degree}: {capacity.by_degree[degree]:.3f}"
        axes.bar(delays, heights, 0.75, bottom=below, color=colour, label=label)
        below += heights
    axes.axhline(
        capacity.threshold, color=NULL, linewidth=1.0, linestyle="--", label="what one target has to pass"
    )
    highest = max(float(below.max()), 3.0 * capacity.threshold)
    axes.set_ylim(0.0, 1.35 * highest)
    axes.set_xlim(-0.5, last + 0.5)
    axes.set_ylabel("capacity")
    axes.set_xlabel("longest delay of a target, in steps")
    axes.locator_params(axis="x", integer=True)
    axes.set_title(
        f"Information processing capacity: {capacity.total:.3f} of at most {capacity.rank}; "
        f"{capacity.passed} of {capacity.targets} targets pass"
    )
    axes.legend(loc="upper right", ncols=2, fontsize=8, borderaxespad=0.0)


def _consistency(axes: Axes, found: Found, nodes: int) -> None:
    agreement = found.properties.consistency
    assert agreement is not None
    at = np.arange(nodes)
    axes.barh(at, agreement.by_node[:nodes], 0.7, color=DATA)
    axes.axvline(
        agreement.null_high, color=NULL, linewidth=1.0, linestyle="--",
        label="97.5 % of the means over shifted replicas",
    )  # fmt: skip
    axes.axvline(0.0, color=INK, linewidth=0.8)
    axes.set_yticks(at, list(found.columns[:nodes]), fontsize=8)
    axes.set_ylim(nodes - 0.4, -0.6)
    axes.set_xlim(min(-0.05, float(agreement.by_node.min()) - 0.02), 1.0)
    more = len(found.columns) - nodes
    axes.set_title(
        f"Consistency of {agreement.replicas} replicas: {agreement.mean:.3f}, in {agreement.capacity:.2f} dimensions"
        + (f" ({more} more columns not drawn)" if more else "")
    )
    axes.set_xlabel("correlation of two replicas")
    axes.legend(loc="lower right", fontsize=8, borderaxespad=0.3)
