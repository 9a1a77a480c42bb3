"""The traces of a rehearsal, each from an outcome to one SVG element."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from experiments.report import svg

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes

    from experiments.rehearsal_outcome import Outcome

FloatArray = NDArray[np.float64]

BEFORE_S, AFTER_S = 600.0, 5400.0
"""Of the fault, what is drawn large."""
MAX_POINTS = 450
BINS = 200
"""Of the whole run, each drawn from its lowest to its highest value."""
SHOWN_ABOVE_C = 12.0
"""A run without Sentinel is drawn up to so far above the limit; from there on it goes off the paper."""


def traces(outcome: Outcome, prefix: str) -> Markup:
    """What the chip did around the fault and in the whole run, what drove it, and when the Sentinel acted.

    Args:
        outcome: with its traces.
        prefix: see :func:`experiments.report.svg.to_svg`.
    """
    trace, fault_s = outcome.trace, _zero_s(outcome)
    time_s = trace.column("time_s")
    first, last = max(0.0, fault_s - BEFORE_S), min(float(time_s[-1]), fault_s + AFTER_S)
    if outcome.scenario == "cold-start":
        first, last = 0.0, min(float(time_s[-1]), BEFORE_S + 1200.0)
    rows = _thin(np.flatnonzero((time_s >= first) & (time_s <= last)))
    minutes = (time_s[rows] - fault_s) / 60.0
    with svg.figure(7.4, 6.6) as drawing:
        heat, power, knobs, whole = drawing.subplots(4, 1, height_ratios=[3.2, 1.0, 1.2, 1.2])
        _temperature(heat, outcome, minutes, rows)
        power.plot(minutes, trace.column("power_w")[rows], color=svg.DATA, linewidth=1.1)
        power.set_ylabel("power, W")
        power.set_ylim(bottom=0.0)
        _knobs(knobs, outcome, minutes, rows)
        for axes in (heat, power, knobs):
            axes.set_xlim(float(minutes[0]), float(minutes[-1]))
            if outcome.scenario not in ("calm", "cold-start"):
                axes.axvline(0.0, color=svg.MUTED, linewidth=0.9, linestyle=(0, (1, 2)))
        for axes in (heat, power):
            axes.tick_params(labelbottom=False)
        since = {
            "cold-start": "it was switched on",
            "step": "the first step",
            "calm": "the time at which others have a fault",
        }.get(outcome.scenario, "the fault")
        knobs.set_xlabel(f"minutes since {since}")
        _whole(whole, outcome, time_s)
        return svg.to_svg(
            drawing, f"Temperature, power and settings of {outcome.model}: {outcome.scenario}", prefix
        )


def _zero_s(outcome: Outcome) -> float:
    """Time of the run that is drawn as 0."""
    return 0.0 if outcome.scenario == "cold-start" else outcome.fault_s


def _temperature(axes: Axes, outcome: Outcome, minutes: FloatArray, rows: NDArray[np.int64]) -> None:
    trace = outcome.trace
    if outcome.alone.rows:
        alone_s = outcome.alone.column("time_s")
        shown = _thin(
            np.flatnonzero(
                (alone_s >= minutes[0] * 60 + _zero_s(outcome))
                & (alone_s <= minutes[-1] * 60 + _zero_s(outcome))
            )
        )
        axes.plot(
            (alone_s[shown] - _zero_s(outcome)) / 60.0,
            outcome.alone.column("true_c")[shown],
            color=svg.NULL,
            linewidth=1.1,
            linestyle=(0, (4, 2)),
            label="chip, left alone",
        )
    axes.plot(minutes, trace.column("sensed_c")[rows], color=svg.MODEL, linewidth=0.9, label="sensor")
    axes.plot(minutes, trace.column("true_c")[rows], color=svg.DATA, linewidth=1.5, label="chip, guarded")
    axes.plot(
        minutes,
        trace.column("target_c")[rows],
        color=svg.MUTED,
        linewidth=0.9,
        linestyle=(0, (6, 2)),
        label="target",
    )
    axes.axhline(outcome.limit_c, color=svg.WARN, linewidth=1.4)
    axes.axhline(outcome.trip_c, color=svg.WARN, linewidth=0.9, linestyle=(0, (4, 2)))
    right = float(minutes[-1])
    axes.text(right, outcome.limit_c, "hard limit ", color=svg.WARN, ha="right", va="bottom", fontsize=9)
    axes.text(right, outcome.trip_c, "trip point ", color=svg.WARN, ha="right", va="bottom", fontsize=9)
    low = float(np.nanmin(trace.column("true_c")[rows]))
    axes.set_ylim(low - 3.0, outcome.limit_c + SHOWN_ABOVE_C)
    _marks(axes, outcome, minutes, low - 2.0)
    axes.set_ylabel("°C")
    axes.legend(loc="upper left", ncols=4, fontsize=8, borderaxespad=0.1, columnspacing=1.2)


def _marks(axes: Axes, outcome: Outcome, minutes: FloatArray, level: float) -> None:
    """A tick per change to hold the target, a triangle per change for safety."""
    held: list[float] = []
    safe: list[float] = []
    for action in outcome.journal.actions:
        at = (action.monotonic_ns / 1e9 - _zero_s(outcome)) / 60.0
        if minutes[0] <= at <= minutes[-1] and action.applied is not None:
            (held if action.mode == "hold" else safe).append(at)
    axes.plot(held, np.full(len(held), level), "|", color=svg.MUTED, markersize=6, label="_held")
    axes.plot(safe, np.full(len(safe), level), "^", color=svg.WARN, markersize=7, label="_safe")


def _knobs(axes: Axes, outcome: Outcome, minutes: FloatArray, rows: NDArray[np.int64]) -> None:
    axes.plot(minutes, outcome.trace.column("frequency_mhz")[rows], color=svg.DATA, linewidth=1.2)
    axes.set_ylabel("MHz", color=svg.DATA)
    axes.set_ylim(bottom=0.0)
    fan: Any = axes.twinx()
    fan.plot(minutes, outcome.trace.column("fan_percent")[rows], color=svg.MODEL, linewidth=1.0)
    fan.set_ylim(0.0, 105.0)
    fan.set_ylabel("fan, %", color=svg.MODEL)
    fan.grid(False)


def _whole(axes: Axes, outcome: Outcome, time_s: FloatArray) -> None:
    true_c = outcome.trace.column("true_c")
    edges = np.linspace(0, time_s.size, min(BINS, time_s.size) + 1).astype(int)
    starts = edges[:-1]
    low, high = np.minimum.reduceat(true_c, starts), np.maximum.reduceat(true_c, starts)
    hours = time_s[starts] / 3600.0
    axes.fill_between(hours, low, np.maximum(high, low + 0.3), color=svg.DATA, linewidth=0.0, step="post")
    axes.axhline(outcome.limit_c, color=svg.WARN, linewidth=1.2)
    axes.axhline(outcome.trip_c, color=svg.WARN, linewidth=0.8, linestyle=(0, (4, 2)))
    axes.set_xlim(0.0, float(time_s[-1]) / 3600.0)
    axes.set_ylim(float(low.min()) - 3.0, outcome.limit_c + 4.0)
    axes.set_xlabel("hours: the whole run, lowest to highest")
    axes.set_ylabel("chip, °C")


def _thin(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    if rows.size <= MAX_POINTS:
        return rows
    return rows[np.unique(np.linspace(0, rows.size - 1, MAX_POINTS).astype(np.int64))]
