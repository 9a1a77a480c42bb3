"""The picture of a run's signals: its spectrum against shuffles, and each signal in units of its noise."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from experiments.report.light import DATA, DATA_SOFT, MODEL, NULL, figure_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from tpf.signals.heartbeat import HeartbeatReport
    from tpf.signals.report import SignalReport

REACH = 6.0
"""Signals farther from noise than this many standard deviations are drawn at the edge, with their number."""


def draw_signals(report: SignalReport, file: str | Path) -> Path:
    """Write the figure of a run's signals.

    Args:
        report: what was computed.
        file: ends in .png, .svg or .pdf.

    Returns:
        The file.

    Raises:
        UserError: if the file is of another kind.
    """
    rows = sum(signal.nulls[-1].sd is not None for signal in report.signals)
    with figure_file(file, 8.2, 4.9 + 0.36 * rows) as drawing:
        above, below = drawing.subplots(2, 1, height_ratios=[3.4, 0.9 + 0.36 * rows])
        drawing.suptitle(
            f"Run {report.run}: {report.intervals} intervals, {report.hashes} hashes: {report.verdict.code}",
            fontsize=11,
        )
        _spectrum(above, report.heartbeat)
        _signals(below, report)
    return Path(file)


def _spectrum(axes: Axes, beat: HeartbeatReport) -> None:
    axes.fill_between(
        beat.frequency_hz, 0.0, beat.pointwise_95, color=DATA_SOFT, alpha=0.6, linewidth=0,
        label="95 % of shuffles, at one frequency",
    )  # fmt: skip
    axes.axhline(
        beat.anywhere_95,
        color=NULL,
        linewidth=1.2,
        linestyle=(0, (5, 3)),
        label="95 % of shuffles, at any frequency",
    )
    axes.plot(beat.frequency_hz, beat.spectrum, color=DATA, linewidth=1.1, label="this run")
    last = float(beat.frequency_hz[-1])
    if beat.named_hz <= last:
        axes.axvline(beat.named_hz, color=MODEL, linewidth=1.4, label=f"claimed: {beat.named_hz:g} Hz")
    axes.set_xlim(0.0, last)
    top = max(float(beat.spectrum.max()), beat.anywhere_95)
    axes.set_ylim(0.0, 1.45 * top)
    axes.set_xlabel("frequency, Hz")
    axes.set_ylabel("power over mean of shuffles")
    found = beat.anywhere
    strongest = (
        ""
        if found is None
        else f"; strongest anywhere: {found.frequency_hz:.3g} Hz, p = {found.p_shuffled:.2g}"
    )
    out = "" if beat.named_hz <= last else f" (beyond this spectrum's {last:.2g} Hz)"
    axes.set_title(f"Heartbeat: at {beat.named_hz:g} Hz{out} p = {beat.p_shuffled:.2g}{strongest}")
    axes.legend(loc="upper center", ncols=2, fontsize=8.5)


def _signals(axes: Axes, report: SignalReport) -> None:
    """Value and plain textbook null of each signal, in standard deviations of the null that decides."""
    shown = [(s, s.nulls[-1], s.nulls[-1].sd) for s in report.signals if s.nulls[-1].sd is not None]
    axes.axvspan(-1.96, 1.96, color=DATA_SOFT, alpha=0.6, linewidth=0, label="95 % of this miner's noise")
    for row, (signal, null, sd) in enumerate(shown):
        unit = sd or 1.0
        at = (signal.value - null.mean) / unit
        axes.plot([np.clip(at, -REACH, REACH)], [row], "o", color=DATA, markersize=6)
        if len(signal.nulls) > 1:
            plain = (signal.nulls[0].mean - null.mean) / unit
            beyond = abs(plain) > REACH
            place = float(np.clip(plain, -REACH, REACH))
            mark = "D" if not beyond else "<" if plain < 0 else ">"
            axes.plot([place], [row], mark, color=MODEL, markersize=5)
            if beyond:
                axes.annotate(
                    f"{plain:+.0f}", (place, row), xytext=(8 if plain < 0 else -8, 0), textcoords="offset points",
                    va="center", ha="left" if plain < 0 else "right", fontsize=8, color=MODEL,
                )  # fmt: skip
        axes.annotate(
            f"{signal.value:.4g}, p = {signal.p_value:.2g}", (1.0, row), xycoords=("axes fraction", "data"),
            xytext=(6, 0), textcoords="offset points", va="center", fontsize=8.5,
        )  # fmt: skip
    axes.set_yticks(range(len(shown)), [s.name for s, _, _ in shown], fontsize=8.5)
    axes.set_ylim(len(shown) - 0.4, -1.3)
    axes.set_xlim(-REACH - 0.4, REACH + 0.4)
    axes.set_title("Signals against their noise")
    axes.set_xlabel("standard deviations from what this miner's noise gives")
    axes.plot([], [], "o", color=DATA, label="this run")
    axes.plot([], [], "D", color=MODEL, markersize=5, label="plain noise (Poisson, fair bits)")
    axes.legend(
        loc="upper center", ncols=3, fontsize=8.5, borderaxespad=0.3, frameon=True, facecolor="white", framealpha=1.0,
        edgecolor="none",
    )  # fmt: skip
