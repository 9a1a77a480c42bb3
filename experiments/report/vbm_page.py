"""The page of a comparison of direct, relayed and managed work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.report import html, svg

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes

    from experiments.vbm_result import Plan, VbmResult

WORDS = {
    "gain": "A gain",
    "loss": "A loss",
    "no_gain": "No gain shown",
    "cannot_tell": "Cannot tell",
}
CLASSES = {"gain": "deviates", "loss": "deviates", "no_gain": "consistent", "cannot_tell": "cannot_tell"}


def write_page(result: VbmResult, plan: Plan, path: Path) -> None:
    """Write the page.

    Raises:
        UserError: if the file cannot be written.
    """
    html.write(render(result, plan), path, "page")


def render(result: VbmResult, plan: Plan) -> str:
    """The page as one HTML text; the same bytes for the same result."""
    code = result.verdict["code"]
    return html.fill(
        "vbm.html.j2",
        result=result,
        plan=plan,
        word=WORDS.get(code, code),
        kind=CLASSES.get(code, code),
        gains=gain_plot(result),
        etas=eta_plot(result),
        blocks=block_plot(result),
    )


def gain_plot(result: VbmResult) -> Markup:
    """Gain of each arm with its interval, against what the formula says."""
    arms = [arm for arm in result.arms if arm.gain is not None]
    with svg.figure(7.4, 0.9 + 0.55 * len(arms)) as drawing:
        axes = drawing.subplots()
        for row, arm in enumerate(arms):
            assert arm.gain is not None
            low, mid, high = (100.0 * v for v in (arm.gain.low, arm.gain.gain, arm.gain.high))
            formula = None if arm.predicted is None else 100.0 * arm.predicted
            _draw_row(axes, row, (low, mid, high), formula)
        axes.axvline(0.0, color=svg.MUTED, linewidth=1.0)
        axes.axvline(25.0, color=svg.NULL, linewidth=1.2, linestyle=(0, (5, 3)), label="published: +25 %")
        axes.set_yticks(range(len(arms)), [arm.arm for arm in arms])
        axes.set_ylim(len(arms) - 0.5, -0.5)
        axes.set_xlabel("more accepted difficulty per hour than a direct connection, per cent")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.35), ncols=3)
        return svg.to_svg(drawing, "Gain of each arm against a direct connection", "gain")


def eta_plot(result: VbmResult) -> Markup | None:
    """Measured time efficiency of each arm against the formula; None for a miner that does not tell."""
    arms = [arm for arm in result.arms if arm.eta is not None]
    if not arms:
        return None
    with svg.figure(7.4, 0.9 + 0.55 * len(arms)) as drawing:
        axes = drawing.subplots()
        for row, arm in enumerate(arms):
            assert arm.eta is not None
            mid, low, high = arm.eta
            _draw_row(axes, row, (low, mid, high), arm.eta_formula)
        axes.set_yticks(range(len(arms)), [arm.arm for arm in arms])
        axes.set_ylim(len(arms) - 0.5, -0.5)
        axes.set_xlim(0.0, 1.02)
        axes.set_xlabel("eta: part of its time that the miner hashes")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.35), ncols=2)
        return svg.to_svg(drawing, "Time efficiency of each arm", "eta")


def _draw_row(axes: Axes, row: int, interval: tuple[float, float, float], formula: float | None) -> None:
    """An interval and its middle, and what the formula says; the first row names them in the legend."""
    low, mid, high = interval
    axes.plot([low, high], [row, row], color=svg.DATA, linewidth=2.0, solid_capstyle="butt")
    axes.plot([mid], [row], "o", color=svg.DATA, markersize=6, label="measured, 95 %" if not row else None)
    if formula is not None:
        axes.plot(
            [formula], [row], "D", color=svg.MODEL, markersize=6, markerfacecolor="none",
            markeredgewidth=1.6, label="formula" if not row else None,
        )  # fmt: skip


def block_plot(result: VbmResult) -> Markup:
    """Rate of each arm in each block."""
    colours: dict[str, Any] = {
        "direct": (svg.NULL, "o"), "direct again": (svg.NULL, "x"), "relay": (svg.MODEL, "s"), "vbm": (svg.DATA, "D"),
    }  # fmt: skip
    from matplotlib.ticker import MaxNLocator

    with svg.figure(7.4, 3.0) as drawing:
        axes = drawing.subplots()
        for arm in result.arms:
            mine = [block for block in result.blocks if block.arm == arm.arm]
            colour, marker = colours[arm.arm]
            axes.plot(
                [block.number + 1 for block in mine],
                [block.difficulty_per_hour for block in mine],
                marker,
                color=colour,
                markersize=5,
                label=arm.arm,
            )
        axes.set_ylim(0.0, 1.1 * max(block.difficulty_per_hour for block in result.blocks) or 1.0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("block")
        axes.set_ylabel("accepted difficulty per hour")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=4)
        return svg.to_svg(drawing, "Accepted difficulty per hour in each block", "blocks")
