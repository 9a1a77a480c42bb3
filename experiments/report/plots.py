"""The plots of a report, each from arrays to one SVG element."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from experiments.report import svg

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes

FloatArray = NDArray[np.float64]

MAX_POINTS = 3000
"""More points than this are thinned evenly; the caption says so."""
BIN_MS = 10.0


@dataclass(frozen=True)
class NullCurve:
    """A null model to draw beside the data.

    Attributes:
        label: as in the legend.
        grid_ms: ascending, shape (k,).
        cdf: probability that an interval is at most so long, shape (k,).
        mechanistic: whether it is the model with the known mechanisms (else the plain Poisson one).
    """

    label: str
    grid_ms: FloatArray
    cdf: FloatArray
    mechanistic: bool

    @property
    def colour(self) -> str:
        """Line colour."""
        return svg.MODEL if self.mechanistic else svg.NULL


def exponential_curve(values_ms: FloatArray) -> NullCurve:
    """The obvious null: exponential intervals with the mean of the data."""
    grid = np.linspace(0.0, float(np.max(values_ms)), 400)
    return NullCurve(
        "Poisson process with the same mean", grid, 1.0 - np.exp(-grid / float(np.mean(values_ms))), False
    )


def sample_curve(label: str, samples_ms: FloatArray) -> NullCurve:
    """A null known by a sample drawn from it."""
    ordered = np.sort(samples_ms)
    cdf = np.arange(1, ordered.size + 1) / (ordered.size + 1)
    # evenly for the histogram, and once more densely where the survival function ends
    keep = np.union1d(_tail(ordered.size), np.flatnonzero(_thin(ordered.size, 800)))
    return NullCurve(label, ordered[keep], cdf[keep], True)


def bin_width_ms(values_ms: FloatArray) -> float:
    """10 ms, or the next multiple of it by a power of two that gives at most 60 bins up to the 99th percentile."""
    width = BIN_MS
    while float(np.quantile(values_ms, 0.99)) / width > 60:
        width *= 2.0
    return width


def interval_distribution(values_ms: FloatArray, nulls: Sequence[NullCurve], prefix: str) -> Markup:
    """Histogram of intervals and their survival function, each against the nulls.

    Args:
        values_ms: intervals, shape (n,).
        nulls: models to draw.
        prefix: see :func:`experiments.report.svg.to_svg`.
    """
    width = bin_width_ms(values_ms)
    right = float(np.quantile(values_ms, 0.995))
    edges = np.arange(0.0, right + width, width)
    with svg.figure(7.4, 5.6) as drawing:
        upper, lower = drawing.subplots(2, 1)
        counts, _ = np.histogram(values_ms, edges)
        upper.stairs(counts, edges, fill=True, color=svg.DATA_SOFT)
        upper.stairs(
            counts, edges, color=svg.DATA, linewidth=1.1, label=f"measured ({values_ms.size} intervals)"
        )
        for null in nulls:
            expected = values_ms.size * np.diff(np.interp(edges, null.grid_ms, null.cdf, left=0.0, right=1.0))
            upper.plot(
                edges[:-1] + width / 2,
                expected,
                color=null.colour,
                linewidth=1.6,
                label=null.label,
                linestyle=_dash(null),
            )
        upper.set_ylabel(f"shares per {width:g} ms")
        upper.set_xlim(0.0, edges[-1])
        upper.legend(loc="upper right")
        _survival(lower, values_ms, nulls)
        return svg.to_svg(drawing, "Distribution of intervals between shares against the null models", prefix)


def _survival(axes: Axes, values_ms: FloatArray, nulls: Sequence[NullCurve]) -> None:
    ordered = np.sort(values_ms)
    survival = 1.0 - np.arange(1, ordered.size + 1) / (ordered.size + 1)
    keep = _tail(ordered.size)
    axes.plot(ordered[keep], survival[keep], color=svg.DATA, linewidth=1.6)
    for null in nulls:
        left = 1.0 - null.cdf
        shown = (left > survival[-1] / 2) & (null.grid_ms <= ordered[-1])
        axes.plot(null.grid_ms[shown], left[shown], color=null.colour, linewidth=1.4, linestyle=_dash(null))
    axes.set_yscale("log")
    axes.set_xlim(0.0, float(ordered[-1]))
    axes.set_xlabel("interval between two shares, ms")
    axes.set_ylabel("part of intervals longer than this")


def arrival_raster(times_s: FloatArray, prefix: str, rows: int = 26) -> Markup:
    """One tick per share, time running in lines like a text.

    Args:
        times_s: arrivals in s since the first, shape (n,).
        prefix: see :func:`experiments.report.svg.to_svg`.
        rows: lines at most.
    """
    span = float(times_s[-1] - times_s[0]) if times_s.size else 1.0
    step = nice_step(span / rows)
    line = np.floor((times_s - times_s[0]) / step)
    offset = (times_s - times_s[0]) - line * step
    lines = int(line[-1]) + 1 if line.size else 1
    keep = _thin(times_s.size, 6000)
    with svg.figure(7.4, max(1.6, 0.14 * lines + 0.9)) as drawing:
        axes = drawing.subplots()
        axes.add_patch(_ticks(offset[keep], line[keep] - 0.36, line[keep] + 0.36, svg.DATA))
        axes.set_xlim(0.0, step)
        axes.set_ylim(lines - 0.4, -0.6)
        axes.set_xlabel(f"time within the line, s (each line is {step:g} s)")
        axes.set_ylabel("start of the line, s")
        every = max(1, lines // 8)
        axes.set_yticks(range(0, lines, every), [f"{number * step:g}" for number in range(0, lines, every)])
        axes.grid(visible=False)
        return svg.to_svg(drawing, "Arrival raster: one tick per share", prefix)


def scan_order(
    work_ms: FloatArray,
    response_ms: FloatArray,
    on_time: NDArray[np.bool_],
    dead_ms: float,
    prefix: str,
) -> Markup:
    """Where in the scan a share was found against how long after its job it came.

    Args:
        work_ms: work done on the job when the share was found, in ms, shape (m,).
        response_ms: time since the job was sent, shape (m,).
        on_time: whether the job was loaded on time, shape (m,).
        dead_ms: time that a job costs before its work starts.
        prefix: see :func:`experiments.report.svg.to_svg`.
    """
    keep = _thin(work_ms.size)
    shown_on, shown_late = keep & on_time, keep & ~on_time
    right = float(np.quantile(work_ms, 0.995)) * 1.02
    top = float(np.quantile(response_ms, 0.995)) * 1.05
    with svg.figure(7.4, 4.0) as drawing:
        axes = drawing.subplots()
        for mask, colour, label in (
            (shown_on, svg.DATA, f"job loaded on time ({int(on_time.sum())})"),
            (shown_late, svg.WARN, f"job loaded late ({int((~on_time).sum())})"),
        ):
            if mask.any():
                axes.add_patch(_squares(work_ms[mask], response_ms[mask], right / 260, top / 150, colour))
                axes.plot([], [], "s", color=colour, markersize=4, label=label)
        axes.plot(
            [0.0, right],
            [dead_ms, right + dead_ms],
            color=svg.MODEL,
            linewidth=1.2,
            label=f"scan position + {dead_ms:.1f} ms dead time",
        )
        axes.set_xlim(0.0, right)
        axes.set_ylim(0.0, top)
        axes.set_xlabel("position in the scan, as ms of work on the job")
        axes.set_ylabel("time since the job was sent, ms")
        axes.legend(loc="upper left")
        return svg.to_svg(drawing, "Position in the scan against time since the job", prefix)


def scan_counter(position: FloatArray, response_ms: FloatArray, label: str, prefix: str) -> Markup:
    """The scan-order plot of a run whose scan cannot be fitted: the raw counter against the response.

    Args:
        position: raw position in the scan, shape (m,).
        response_ms: time since the job was sent, shape (m,).
        label: what the position is.
        prefix: see :func:`experiments.report.svg.to_svg`.
    """
    keep = _thin(position.size)
    right, top = float(position.max()) or 1.0, float(np.quantile(response_ms, 0.995)) * 1.05 or 1.0
    with svg.figure(7.4, 3.6) as drawing:
        axes = drawing.subplots()
        axes.add_patch(_squares(position[keep], response_ms[keep], right / 260, top / 140, svg.DATA))
        axes.set_xlim(0.0, right * 1.02)
        axes.set_ylim(0.0, top)
        axes.set_xlabel(label)
        axes.set_ylabel("time since the job was sent, ms")
        return svg.to_svg(drawing, "Position in the scan against time since the job", prefix)


def difficulties(ratio: FloatArray, prefix: str) -> Markup:
    """How often a share is better than the floor by a factor, against the law of a fair hash.

    Args:
        ratio: difficulty over the floor, all >= 1, shape (n,).
        prefix: see :func:`experiments.report.svg.to_svg`.
    """
    ordered = np.sort(ratio)
    survival = 1.0 - np.arange(ordered.size) / ordered.size
    keep = _tail(ordered.size)
    grid = np.array([1.0, float(ordered[-1])])
    with svg.figure(7.4, 3.0) as drawing:
        axes = drawing.subplots()
        axes.plot(ordered[keep], survival[keep], color=svg.DATA, linewidth=1.6, label="measured")
        axes.plot(
            grid,
            1.0 / grid,
            color=svg.NULL,
            linewidth=1.3,
            linestyle=(0, (5, 3)),
            label="a fair hash: 1 / factor",
        )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("difficulty of the share / smallest difficulty of the miner")
        axes.set_ylabel("part of shares at least so good")
        axes.legend(loc="upper right")
        return svg.to_svg(drawing, "Difficulties of the shares against a fair hash", prefix)


def nice_step(raw: float) -> float:
    """The next number of the form 1, 2 or 5 times a power of ten."""
    if raw <= 0.0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(raw))
    return float(next(f * power for f in (1.0, 2.0, 5.0, 10.0) if f * power >= raw * (1 - 1e-9)))


def _thin(n: int, limit: int = MAX_POINTS) -> NDArray[np.bool_]:
    """Mask of at most ``limit`` of n points, evenly spread, the last one kept."""
    mask = np.zeros(n, bool)
    if n:
        mask[np.unique(np.linspace(0, n - 1, min(n, limit)).astype(int))] = True
    return mask


def _tail(n: int, limit: int = 1200) -> NDArray[np.int64]:
    """Ascending ranks of at most ``limit`` of n ordered points, the denser the nearer to the largest."""
    from_the_top = np.unique(np.geomspace(1, n, min(n, limit)).astype(np.int64))
    return n - from_the_top[::-1]


def _dash(null: NullCurve) -> Any:
    return "solid" if null.mechanistic else (0, (5, 3))


def _ticks(x: FloatArray, low: FloatArray, high: FloatArray, colour: str) -> Any:
    """All ticks as one path: a file a tenth of the size of one element each."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    vertices = np.column_stack([np.repeat(x, 2), np.column_stack([low, high]).ravel()])
    codes = np.tile(np.array([Path.MOVETO, Path.LINETO], np.uint8), x.size)
    return PathPatch(Path(vertices, codes), edgecolor=colour, facecolor="none", linewidth=0.8)


def _squares(x: FloatArray, y: FloatArray, width: float, height: float, colour: str) -> Any:
    """All marks as one filled path."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5], [-0.5, -0.5]]) * [width, height]
    vertices = (np.column_stack([x, y])[:, None, :] + corners).reshape(-1, 2)
    codes = np.tile(
        np.array([Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY], np.uint8), x.size
    )
    return PathPatch(Path(vertices, codes), facecolor=colour, edgecolor="none", alpha=0.75)
