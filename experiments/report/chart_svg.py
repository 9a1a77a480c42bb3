"""The charts of an experiment as drawings: one colour for each role, in both schemes of the page."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from experiments.charts import (
    BARS,
    LINE,
    NULL,
    POINTS,
    PUBLISHED,
    AnyChart,
    Chart,
    Ladder,
    Map,
    Panel,
    Series,
)
from experiments.experiment import PLACEBO, SUBJECT
from experiments.report import svg
from experiments.report.figures import Plot

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

COLOURS = {SUBJECT: svg.DATA, PLACEBO: svg.NULL, NULL: svg.MUTED, PUBLISHED: svg.MODEL}
MARKERS = {SUBJECT: "o", PLACEBO: "s", NULL: "_", PUBLISHED: "D"}
DASHES: dict[str, Any] = {SUBJECT: "solid", PLACEBO: "solid", NULL: (0, (5, 3)), PUBLISHED: (0, (2, 2))}
SECOND: dict[str, Any] = {SUBJECT: (0, (4, 2)), PLACEBO: (0, (4, 2)), NULL: (0, (1, 1.5))}
WIDTH = 7.4
DODGE = {SUBJECT: -0.09, PLACEBO: 0.09}
CATEGORY_LETTERS = 80
"""That fit side by side below a drawing; more of them are turned."""
FEW_DECADES = 1000.0
"""A logarithmic axis whose ends differ by less has its numbers written out."""
RUNG_LETTERS = 26
"""Longer names of rungs would leave little of a narrow page to what they name: they take two lines."""
LEGEND_LETTERS = 104
"""That fit side by side above a drawing."""


def draw(charts: Sequence[AnyChart], prefix: str) -> list[Plot]:
    """Every chart as a figure of the page.

    Args:
        charts: what to draw.
        prefix: a word that no other drawing of the page uses.
    """
    return [Plot(c.title, _drawn(c, f"{prefix}{number}"), c.caption) for number, c in enumerate(charts)]


def _drawn(chart: AnyChart, prefix: str) -> Markup:
    if isinstance(chart, Chart):
        return _chart(chart, prefix)
    return _ladder(chart, prefix) if isinstance(chart, Ladder) else _map(chart, prefix)


def _chart(chart: Chart, prefix: str) -> Markup:
    with svg.figure(WIDTH, 3.7) as drawing:
        axes = drawing.subplots()
        _scales(axes, chart)
        if chart.band is not None:
            axes.axhspan(*chart.band, color=svg.GRID, zorder=0, label="95 % by chance")
        for mark in chart.marks:
            _mark(axes, mark.at, mark.label, mark.role, vertical=mark.vertical)
        bars = [series for series in chart.series if series.form == BARS]
        for series in chart.series:
            _series(axes, series, chart, (bars.index(series), len(bars)) if series.form == BARS else (0, 1))
        if chart.categories:
            names = chart.categories
            axes.set_xticks(range(len(names)), names)
            if sum(map(len, names)) > CATEGORY_LETTERS:
                axes.tick_params(axis="x", labelrotation=30)
                for word in axes.get_xticklabels():
                    word.set(ha="right", rotation_mode="anchor")
            axes.set_xlim(-0.5, len(names) - 0.5)
        if bars and all((y or 0.0) >= 0.0 for series in bars for y in series.y):
            axes.set_ylim(bottom=0.0)
        if chart.log_y:
            _plain_log(axes.yaxis)
        axes.set_xlabel(chart.x)
        axes.set_ylabel(chart.y)
        _legend(drawing, axes)
        return svg.to_svg(drawing, chart.title, prefix)


def _plain_log(axis: Axis) -> None:
    """Numbers as people write them on a logarithmic axis of a few decades; matplotlib's crowd there."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    low, high = axis.get_view_interval()
    if 0 < low < high < FEW_DECADES * low:
        # between 0.6 and 0.9 there is no 1, 2 or 5
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)) if high > 10 * low else MaxNLocator(5))
        axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        axis.set_minor_formatter(NullFormatter())


def _scales(axes: Axes, chart: Chart) -> None:
    known = [x for series in chart.series for x in series.x]
    if chart.log_x:
        from matplotlib.ticker import FuncFormatter, NullLocator

        axes.set_xscale("log")
        few = sorted(set(known))
        if len(few) <= 10:  # the places that were measured, not powers of ten
            axes.set_xticks(few)
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    if chart.log_y:
        axes.set_yscale("log")


def _series(axes: Axes, series: Series, chart: Chart, bar: tuple[int, int]) -> None:
    heights = {i: float(y) for i, y in enumerate(series.y) if y is not None and math.isfinite(y)}
    if not heights:
        return
    shown, y = list(heights), list(heights.values())
    colour = COLOURS[series.role]
    x = [_moved(series.x[i], series, chart) for i in shown]
    spans = [
        (x[n], float(low), float(high))
        for n, i in enumerate(shown)
        for low, high in zip(series.low[i : i + 1], series.high[i : i + 1], strict=True)
        if low is not None and high is not None
    ]
    label = series.label or None
    if series.form == BARS:
        number, of = bar
        gap = min((b - a for a, b in itertools.pairwise(sorted(x)) if b > a), default=1.0)
        wide = 0.8 * gap / of
        axes.bar(
            [v + (number - (of - 1) / 2) * wide for v in x],
            y,
            wide,
            color=svg.DATA_SOFT if series.role == SUBJECT and not series.second else "none",
            edgecolor=colour,
            linewidth=1.1,
            label=label,
        )
        return
    if series.form == LINE:
        dash = SECOND.get(series.role, "solid") if series.second else DASHES[series.role]
        axes.plot(x, y, color=colour, linewidth=1.6, linestyle=dash, label=label)
        if spans:
            at, low, high = (list(ends) for ends in zip(*spans, strict=True))
            axes.fill_between(at, low, high, color=colour, alpha=0.15, linewidth=0)
        return
    for at_x, *ends in spans:
        axes.plot([at_x] * 2, ends, color=colour, linewidth=1.3, alpha=0.75)
    hollow = series.second or series.role == PUBLISHED
    axes.plot(
        x,
        y,
        MARKERS[series.role],
        color=colour,
        markersize=6.5 if series.role == PUBLISHED else 5,
        markerfacecolor="none" if hollow else colour,
        markeredgewidth=1.5,
        label=label,
    )


def _moved(x: float, series: Series, chart: Chart) -> float:
    """Arms, and series of one arm, stand beside each other where they have the same place."""
    if series.form != POINTS or series.role not in DODGE:
        return x
    move = DODGE[series.role] + (0.06 if series.second else 0.0)
    if chart.categories:
        return x + move
    places = {role: {v for s in chart.series if s.role == role for v in s.x} for role in DODGE}
    known = sorted(set.union(*places.values()))
    if not set.intersection(*places.values()) or not 2 <= len(known) <= 40:
        return x
    # on a logarithmic scale distances are ratios
    at = [math.log(v) for v in known] if chart.log_x else known
    step = move * min(min(b - a for a, b in itertools.pairwise(at)), (at[-1] - at[0]) / 6)
    return x * math.exp(step) if chart.log_x else x + step


def _mark(axes: Axes, at: float, label: str, role: str, *, vertical: bool) -> None:
    line = axes.axvline if vertical else axes.axhline
    line(at, color=COLOURS[role], linewidth=1.3, linestyle=DASHES[role], label=label or None, zorder=1)


def _legend(drawing: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(reversed(labels), reversed(handles), strict=True))
    names = [name for name in dict.fromkeys(labels) if name]
    if not names:
        return
    longest = max(map(len, names)) + 6
    columns = max(1, min(len(names), LEGEND_LETTERS // longest))
    drawing.legend([once[n] for n in names], names, loc="outside upper left", ncols=columns, fontsize=9)


def _rung_labels(names: Sequence[str]) -> list[str]:
    """Names of rungs; where one is long, what follows the last comma, mostly the arm, has a line of its own in all."""
    if max(map(len, names), default=0) <= RUNG_LETTERS:
        return list(names)
    parted = [name.rsplit(", ", 1) for name in names]
    return [
        ",\n".join(textwrap.fill(part, RUNG_LETTERS + 6, break_on_hyphens=False) for part in parts)
        for parts in parted
    ]


def _ladder(chart: Ladder, prefix: str) -> Markup:
    rungs = chart.rungs
    known = any(rung.null for rung in rungs)
    labels = _rung_labels([rung.label for rung in rungs])
    lines = 1 + max((label.count("\n") for label in labels), default=0)
    height = 1.15 + max(0.34, 0.06 + 0.17 * lines) * len(rungs) + 0.16 * (len(chart.x) // 46)
    with svg.figure(WIDTH, height) as drawing:
        axes = drawing.subplots()
        if chart.log:
            axes.set_xscale("log")
        for mark in chart.marks:
            _mark(axes, mark.at, mark.label, mark.role, vertical=True)
        for row, rung in enumerate(rungs):
            if rung.null:
                low, lower, middle, upper, high = rung.null
                for ends, thick in (((low, high), 2.0), ((lower, upper), 7.0)):
                    axes.plot(ends, [row + 0.18] * 2, color=svg.MUTED, linewidth=thick, alpha=0.4,
                              solid_capstyle="butt")  # fmt: skip
                axes.plot([middle], [row + 0.18], "|", color=svg.MUTED, markersize=9)
            colour = COLOURS[rung.role]
            if rung.ci is not None:
                axes.plot(rung.ci, [row] * 2, color=colour, linewidth=2.0, alpha=0.75, solid_capstyle="butt")
            if rung.value is not None:
                hollow = "none" if rung.second or rung.role == PUBLISHED else colour
                axes.plot([rung.value], [row], MARKERS[rung.role] if rung.role != NULL else "o", color=colour,
                          markersize=6.5, markerfacecolor=hollow, markeredgewidth=1.5)  # fmt: skip
        if known:
            axes.plot([], [], color=svg.MUTED, linewidth=6.0, alpha=0.4, label="its null: 50 % and 95 %")
        if any(rung.ci is not None for rung in rungs):
            axes.plot([], [], color=svg.MUTED, linewidth=2.0, label="95 % interval")
        axes.set_yticks(range(len(rungs)), labels)
        axes.set_ylim(len(rungs) - 0.5, -0.5)
        if chart.log:
            _plain_log(axes.xaxis)
        axes.set_xlabel(textwrap.fill(chart.x, 46))
        _legend(drawing, axes)
        return svg.to_svg(drawing, chart.title, prefix)


def _map(chart: Map, prefix: str) -> Markup:
    across = sorted({x for panel in chart.panels for x, _ in panel.cells})
    down = sorted({y for panel in chart.panels for _, y in panel.cells})
    known = [v for panel in chart.panels for v in panel.cells.values() if v is not None]
    reach = max((abs(v - chart.centre) for v in known), default=0.0) or 1.0
    lines = -(-len(chart.panels) // chart.columns)
    with svg.figure(WIDTH, 0.75 + lines * (0.55 + 0.36 * len(down))) as drawing:
        grid = drawing.subplots(lines, chart.columns, squeeze=False, sharex=True, sharey=True)
        small = 9 if chart.columns * len(across) <= 12 else 6.5
        for number, axes in enumerate(grid.flat):
            if number < len(chart.panels):
                _panel(axes, chart.panels[number], across, down, (chart.centre, reach), small)
            else:
                axes.set_visible(False)
        drawing.supxlabel(chart.x, fontsize=10)
        drawing.supylabel(chart.y, fontsize=10)
        return svg.to_svg(drawing, chart.title, prefix)


def _panel(
    axes: Axes, panel: Panel, across: list[float], down: list[float], scale: tuple[float, float], size: float
) -> None:
    from matplotlib.patches import Rectangle

    centre, reach = scale
    for (x, y), value in panel.cells.items():
        column, row = across.index(x), down.index(y)
        away = 0.0 if value is None else (value - centre) / reach
        colour = svg.MODEL if away > 0 else svg.DATA
        # see-through colour over the page's own paper serves light and dark
        axes.add_patch(
            Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=colour, alpha=0.65 * abs(away), linewidth=0)
        )
        axes.add_patch(
            Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor="none", edgecolor=svg.GRID, linewidth=0.8)
        )
        words = panel.notes.get((x, y)) or ("–" if value is None else f"{value:.3g}")
        axes.text(column, row, words, ha="center", va="center", fontsize=size, color=svg.INK)
    axes.set_title(panel.title, fontsize=9)
    axes.grid(visible=False)
    axes.set_xticks(range(len(across)), [f"{v:g}" for v in across], fontsize=8)
    axes.set_yticks(range(len(down)), [f"{v:g}" for v in down], fontsize=8)
    axes.set_xlim(-0.5, len(across) - 0.5)
    axes.set_ylim(-0.5, len(down) - 0.5)
