"""One figure of an evaluation: what was predicted, the states it came from, and the score beside its null."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from experiments.report.light import DATA, DATA_SOFT, MODEL, NULL, checked, figure_file
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from reservoir.evaluate import Evaluation

FloatArray = npt.NDArray[np.float64]

STEPS = 200
"""Of the test block, what is drawn."""
MOST_COLUMNS = 24

BASELINES = {
    "mean": "mean of the target",
    "input_only": "input alone",
    "delay_line_matched": "delay line of {taps} taps",
    "delay_line_10": "delay line of 10 taps",
    "delay_line_20": "delay line of 20 taps",
    "delay_line_quadratic": "20 taps and their products",
    "phase_randomised": "states with other phases",
    "esn_100": "network of 100 nodes",
    "shuffled": "moved states (mean)",
}
"""Name to label; other states are drawn by their own name."""


def draw(
    evaluation: Evaluation,
    states: npt.ArrayLike,
    columns: Sequence[str],
    file: str | Path,
    *,
    u: npt.ArrayLike | None = None,
) -> Path:
    """Write the figure of an evaluation.

    Args:
        evaluation: its numbers and its series.
        states: the whole state matrix that was evaluated, shape (T, N).
        columns: names of the N columns; empty takes those of the evaluation.
        file: ends in .png, .svg or .pdf.
        u: input, shape (T,) or (T, d); drawn above the states if given.

    Returns:
        The file.

    Raises:
        UserError: if the file is of another kind, or the states are not those that were evaluated.
    """
    path = checked(file)
    split = evaluation.split
    names = list(columns) or list(evaluation.columns)
    block = split.columns("the state matrix", states)
    if block.shape[1] != len(evaluation.columns) or len(names) != block.shape[1]:
        raise UserError(
            f"{block.shape[1]} state columns and {len(names)} names are given; "
            f"{len(evaluation.columns)} columns were evaluated"
        )
    drive = None if u is None else split.columns("the input", u)
    shown = min(MOST_COLUMNS, block.shape[1])
    rows = shown + (0 if drive is None else drive.shape[1])
    heights = [2.0, max(1.0, 0.2 * rows), 2.1, 0.21 * len(evaluation.baselines)]
    with figure_file(path, 8.2, sum(heights) + 2.4) as drawing:
        above, middle, below, last = drawing.subplots(4, 1, height_ratios=heights)
        steps = min(STEPS, split.test)
        _prediction(above, evaluation, steps)
        _states(middle, block, names, drive, split.train, steps)
        _null(below, evaluation)
        _ladder(last, evaluation)
        middle.sharex(above)
        above.tick_params(labelbottom=False)
    return path


def _prediction(axes: Axes, evaluation: Evaluation, steps: int) -> None:
    at = np.arange(steps)
    axes.plot(at, evaluation.target[:steps], color=NULL, linewidth=1.2, label="target")
    axes.plot(at, evaluation.prediction[:steps], color=DATA, linewidth=1.3, label="input and states")
    axes.set_xlim(-0.5, steps - 0.5)
    interval = evaluation.nrmse_ci
    about = "" if interval is None else f" ({interval[0]:.3f} to {interval[1]:.3f})"
    axes.set_title(f"{evaluation.task}: NRMSE {evaluation.nrmse:.3f}{about}")
    axes.set_ylabel("target")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.12 * (high - low))  # room for the legend
    axes.legend(loc="upper right", ncols=2, borderaxespad=0.0)


def _states(
    axes: Axes, block: FloatArray, names: list[str], drive: FloatArray | None, train: int, steps: int
) -> None:
    """The states as an image, one row each, in deviations from the mean of the training rows."""
    shown = block[:, :MOST_COLUMNS]
    labels = names[:MOST_COLUMNS]
    if drive is not None:
        shown = np.hstack([drive, shown])
        labels = ["input" if drive.shape[1] == 1 else f"input {i}" for i in range(drive.shape[1])] + labels
    deviation = shown[:train].std(axis=0)
    deviation[deviation == 0.0] = 1.0
    standard = ((shown - shown[:train].mean(axis=0)) / deviation)[train : train + steps]
    image = axes.imshow(
        standard.T,
        aspect="auto",
        cmap="RdBu_r",
        vmin=-2.5,
        vmax=2.5,
        interpolation="nearest",
        extent=(-0.5, steps - 0.5, len(labels) - 0.5, -0.5),
    )
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.grid(visible=False)
    if drive is not None:
        axes.axhline(drive.shape[1] - 0.5, color="white", linewidth=3.0)
    left = block.shape[1] - MOST_COLUMNS
    axes.set_title(
        "States, in deviations from their mean" + (f" ({left} more not drawn)" if left > 0 else "")
    )
    axes.set_xlabel("step of the test block")
    bar = axes.inset_axes((1.012, 0.0, 0.014, 1.0))  # beside the axes, so that all four stay equally wide
    axes.figure.colorbar(image, cax=bar, ticks=[-2, 0, 2])


def _null(axes: Axes, evaluation: Evaluation) -> None:
    """The null as a histogram, the score of the states in it, and the baselines that lie within view."""
    gain = evaluation.gain
    ends = np.array([gain.null.min(), gain.null.max(), evaluation.nrmse])
    left, right = float(ends.min()), float(ends.max())
    room = 0.06 * (right - left) or 0.01
    counts, edges = np.histogram(gain.null, bins=min(30, max(8, gain.null.size // 8)))
    axes.stairs(counts, edges, fill=True, color=DATA_SOFT)
    axes.stairs(counts, edges, color=NULL, linewidth=0.9, label=f"with moved states, {gain.null.size} times")
    axes.axvline(evaluation.nrmse, color=DATA, linewidth=2.0, label="input and states")
    inside = [name for name, score in evaluation.baselines.items() if left - room < score < right + room]
    dashes = ["--", "-.", ":", (0, (5, 1)), (0, (1, 1)), (0, (3, 1, 1, 1, 1, 1))]
    for i, name in enumerate(sorted(inside, key=lambda name: evaluation.baselines[name])):
        axes.axvline(
            evaluation.baselines[name], color=MODEL, linewidth=1.1, linestyle=dashes[i % len(dashes)],
            label=_label(name, evaluation),
        )  # fmt: skip
    axes.set_xlim(left - room, right + room)
    axes.set_ylabel("how often")
    axes.set_title(
        f"Gain over the input alone: {gain.gain:.4f} ({gain.ci[0]:.4f} to {gain.ci[1]:.4f}), "
        f"p = {gain.p_value:.2g}: {evaluation.verdict.code}"
    )
    axes.set_xlabel("NRMSE of the input with the states moved against it")
    lines = -(-(2 + len(inside)) // 3)
    axes.set_ylim(0.0, float(counts.max()) * (1.15 + 0.17 * lines))  # room for the legend
    axes.legend(
        loc="upper center",
        ncols=3,
        fontsize=8,
        borderaxespad=0.0,
        facecolor="white",
        framealpha=0.9,
        frameon=True,
        edgecolor="none",
    )


def _ladder(axes: Axes, evaluation: Evaluation) -> None:
    """Every score, the best at the top; bars are the paired 95 % intervals against the states."""
    ordered = sorted([*evaluation.baselines.items(), ("", evaluation.nrmse)], key=lambda item: item[1])
    axes.axvline(evaluation.nrmse, color=DATA, linewidth=2.0, alpha=0.6, zorder=1)
    for row, (name, score) in enumerate(ordered):
        colour = MODEL if name else DATA
        found = evaluation.differences[name].ci if name else None
        if found is not None and name != "shuffled":
            bar = [evaluation.nrmse + found[0], evaluation.nrmse + found[1]]
            axes.plot(bar, [row, row], color=colour, linewidth=1.6, alpha=0.55, solid_capstyle="butt")
        axes.plot([score], [row], "o", color=colour, markersize=5)
        axes.annotate(
            f"{score:.3f}", (1.0, row), xycoords=("axes fraction", "data"), xytext=(6, 0),
            textcoords="offset points", va="center", fontsize=8.5, color=colour,
        )  # fmt: skip
    labels = [_label(name, evaluation) if name else "input and states" for name, _ in ordered]
    axes.set_yticks(range(len(ordered)), labels, fontsize=8.5)
    axes.set_ylim(len(ordered) - 0.4, -0.6)
    axes.set_xlim(left=0.0)
    axes.set_title("All scores by the same rule; bars: paired 95 % interval against the states")
    axes.set_xlabel("NRMSE on the test block, RMSE over the deviation of the target (left is better)")


def _label(name: str, evaluation: Evaluation) -> str:
    return BASELINES.get(name, name).format(taps=evaluation.matched_taps)
