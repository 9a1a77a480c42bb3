"""The pictures of the filter: the information frontier, and the energy plane with its break-even line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from experiments.report.light import DATA, DATA_SOFT, INK, MODEL, MODEL_SOFT, NULL, figure_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from tpf.energy import EnergyAccount
    from tpf.frontier import Frontier

FloatArray = npt.NDArray[np.float64]

LEVELS = (0.25, 0.5, 0.75, 1.5, 2.0, 4.0)
"""Energies per share whose lines are drawn beside that of 1."""


def draw_frontier(found: Frontier, file: str | Path) -> Path:
    """AUC and mutual information over the rounds of the last compression.

    Args:
        found: what was measured.
        file: ends in .png, .svg or .pdf.

    Returns:
        The file.

    Raises:
        UserError: if the file is of another kind.
    """
    k = np.array([r.k for r in found.rounds])
    auc = np.array([r.auc for r in found.rounds])
    ends = np.array([r.ci for r in found.rounds]).T
    early = k < found.exact_from_round
    with figure_file(file, 8.2, 7.4) as drawing:
        above, middle, below = drawing.subplots(3, 1, sharex=True, height_ratios=[3, 3, 2])
        drawing.suptitle(
            f"Which hashes will have {found.zero_bits} leading zero bits? {found.hashes:,} hashes, "
            f"{found.successes:,} successes scored",
            fontsize=11,
        )
        above.set_title("All rounds")
        above.set_ylim(min(0.4, float(ends.min()) - 0.02), 1.06)
        middle.set_title("The same, close to chance")
        reach = 1.25 * max(float(np.abs(ends[:, early] - 0.5).max()), found.null_auc[1] - 0.5)
        middle.set_ylim(0.5 - reach, 0.5 + reach)
        for axes in (above, middle):
            axes.axhspan(
                *found.null_auc, color=DATA_SOFT, alpha=0.5, linewidth=0, label="chance, 95 % of one round"
            )
            axes.errorbar(
                k, auc, np.abs(ends - auc), fmt="o", color=DATA, markersize=3, linewidth=1.0,
                label="AUC with 95 % interval",
            )  # fmt: skip
            axes.set_ylabel("AUC, unseen hashes")
        bits = np.array([r.mi_bits for r in found.rounds])
        below.axhline(
            found.label_bits, color=NULL, linewidth=1.2, linestyle=(0, (5, 3)), label="all there is to know"
        )
        below.plot(k, bits, "o", color=DATA, markersize=3, label="told by the state, bias removed")
        below.set_title("Mutual information")
        below.set_ylabel("bits")
        below.set_ylim(-0.05 * found.label_bits, 1.25 * found.label_bits)
        below.set_xlabel("rounds of the last compression that are done")
        below.set_xlim(-1, 65)
        below.set_xticks(range(0, 65, 8))
        for axes in (above, middle, below):
            _settled(axes, found.exact_from_round)
        above.legend(loc="center left", borderaxespad=0.8)
        below.legend(loc="center left", borderaxespad=0.8)
    return Path(file)


def _settled(axes: Axes, k: int) -> None:
    axes.axvline(k - 0.5, color=MODEL, linewidth=1.2, label=f"settled from round {k} on")


def draw_energy(found: EnergyAccount, file: str | Path) -> Path:
    """The plane of keep rate and recall: where a filter like this one saves, and where it costs.

    Args:
        found: the filter; its abort round, static share and cost make the plane.
        file: ends in .png, .svg or .pdf.

    Returns:
        The file.

    Raises:
        UserError: if the file is of another kind.
    """
    from tpf.energy import break_even_recall

    k, n, s, c = (float(v) for v in (found.abort_round, found.rounds, found.static, found.cost))
    q = np.linspace(0.0, 1.0, 401)
    line = break_even_recall(q, k, n, s, c)
    with figure_file(file, 7.4, 5.6) as drawing:
        axes = drawing.subplots()
        axes.fill_between(
            q, np.minimum(line, 1.0), 1.0, color=DATA_SOFT, alpha=0.55, linewidth=0, label="saves"
        )
        axes.fill_between(
            q, 0.0, np.minimum(line, 1.0), color=MODEL_SOFT, alpha=0.55, linewidth=0, label="costs"
        )
        for level in LEVELS:
            _energy_line(axes, q, line / level, level)
        inside = line <= 1.0
        axes.plot(q[inside], line[inside], color=INK, linewidth=1.8, label="break-even: energy per share 1")
        axes.plot(
            [0, 1], [0, 1], color=NULL, linewidth=1.2, linestyle=(0, (5, 3)), label="no information: r = q"
        )
        axes.plot(
            [0], [1], "D", color=MODEL, markersize=8, clip_on=False, zorder=5,
            label="as published: all aborted, no winner lost",
        )  # fmt: skip
        axes.plot(
            [0], [0], "X", color=MODEL, markersize=9, clip_on=False, zorder=5,
            label="as run: all aborted, every winner with them",
        )  # fmt: skip
        axes.plot(
            [float(found.keep_rate)], [float(found.recall)], "o", color=DATA, markersize=9, clip_on=False, zorder=6,
            label=f"this filter: {float(found.energy_per_share):.4f}",
        )  # fmt: skip
        axes.set_xlim(0.0, 1.0)
        axes.set_ylim(0.0, 1.0)
        axes.set_xlabel("keep rate q: part of all candidates that are hashed to the end")
        axes.set_ylabel("recall r: part of the winners among them")
        extra = "".join(f", {name} {value:g}" for name, value in (("static", s), ("cost", c)) if value)
        axes.set_title(
            f"Energy per share, relative to no filter, abort after {k:g} of {n:g} rounds{extra}", pad=16
        )
        drawing.legend(loc="outside lower center", ncols=2, fontsize=8.5)
    return Path(file)


def _energy_line(axes: Axes, q: FloatArray, recall: FloatArray, level: float) -> None:
    """The filters of one energy per share, which lie on a straight line, named where it leaves the plane."""
    if recall[0] > 1.0:
        return
    axes.plot(q, recall, color=NULL, linewidth=0.7)
    right = recall[-1] <= 1.0
    axes.annotate(
        f"{level:g}",
        (1.0, float(recall[-1])) if right else (float(np.interp(1.0, recall, q)), 1.0),
        xytext=(4, 0) if right else (0, 3),
        textcoords="offset points",
        ha="left" if right else "center",
        va="center" if right else "bottom",
        fontsize=8,
        color=NULL,
    )
