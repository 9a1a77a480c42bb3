"""The page of a comparison of direct, relayed and managed work."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.report import svg
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from markupsafe import Markup

    from experiments.vbm import Plan, VbmResult

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
    text = render(result, plan)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{path}: the page cannot be written ({error.strerror}); give another place with --out"
        ) from error


def render(result: VbmResult, plan: Plan) -> str:
    """The page as one HTML text; the same bytes for the same result."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    folder = resources.files("experiments.report")
    template = (folder / "vbm.html.j2").read_text(encoding="utf-8")
    code = result.verdict["code"]
    return environment.from_string(template).render(
        css=Markup((folder / "report.css").read_text(encoding="utf-8")),
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
            axes.plot([low, high], [row, row], color=svg.DATA, linewidth=2.0, solid_capstyle="butt")
            axes.plot(
                [mid], [row], "o", color=svg.DATA, markersize=6, label="measured, 95 %" if not row else None
            )
            if arm.predicted is not None:
                axes.plot(
                    [100.0 * arm.predicted], [row], "D", color=svg.MODEL, markersize=6, markerfacecolor="none",
                    markeredgewidth=1.6, label="formula" if not row else None,
                )  # fmt: skip
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
            axes.plot([low, high], [row, row], color=svg.DATA, linewidth=2.0, solid_capstyle="butt")
            axes.plot(
                [mid], [row], "o", color=svg.DATA, markersize=6, label="measured, 95 %" if not row else None
            )
            if arm.eta_formula is not None:
                axes.plot(
                    [arm.eta_formula], [row], "D", color=svg.MODEL, markersize=6, markerfacecolor="none",
                    markeredgewidth=1.6, label="formula" if not row else None,
                )  # fmt: skip
        axes.set_yticks(range(len(arms)), [arm.arm for arm in arms])
        axes.set_ylim(len(arms) - 0.5, -0.5)
        axes.set_xlim(0.0, 1.02)
        axes.set_xlabel("eta: part of its time that the miner hashes")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.35), ncols=2)
        return svg.to_svg(drawing, "Time efficiency of each arm", "eta")


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
