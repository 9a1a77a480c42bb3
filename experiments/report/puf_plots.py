"""The picture of a population of devices: distances within and between devices, error rates, bit-aliasing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from experiments.report.light import DATA, DATA_SOFT, INK, MODEL, MODEL_SOFT, NULL, figure_file
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from tpf.puf import Population
    from tpf.puf_population import Evaluation

FloatArray = npt.NDArray[np.float64]
DASHED = (0, (5, 3))


def draw_population(evaluation: Evaluation, file: str | Path) -> Path:
    """Write the figure of a population.

    Args:
        evaluation: of at least two devices.
        file: ends in .png, .svg or .pdf.

    Returns:
        The file.

    Raises:
        UserError: if the file is of another kind, or there is no population to draw.
    """
    found = evaluation.population
    if found is None:
        raise UserError(f"there is no population to draw: {evaluation.verdict.text}")
    with figure_file(file, 8.2, 8.4) as drawing:
        above, middle, below = drawing.subplots(3, 1, height_ratios=[3, 3, 2])
        drawing.suptitle(
            f"{found.devices} devices, {found.repeats} responses of {found.bits} bits each: {evaluation.verdict.code}",
            fontsize=11,
        )
        _distances(above, found)
        _rates(middle, found)
        middle.sharex(above)
        _aliasing(below, found)
    return Path(file)


def _distances(axes: Axes, found: Population) -> None:
    right = max(0.62, float(found.impostor.max()) + 0.03, float(found.genuine.max()) + 0.03)
    step = max(1, round(0.016 * found.bits)) / found.bits
    edges = np.arange(-0.5 / found.bits, right + step, step)
    for values, soft, colour, label in (
        (found.genuine, DATA_SOFT, DATA, "same device"),
        (found.impostor, MODEL_SOFT, MODEL, "different devices"),
    ):
        weights = np.full(values.size, 1.0 / values.size)
        heights, _ = np.histogram(values, edges, weights=weights)
        axes.stairs(heights, edges, fill=True, color=soft, alpha=0.75)
        axes.stairs(heights, edges, color=colour, linewidth=1.3, label=f"{label} ({values.size} pairs)")
    axes.axvline(0.5, color=NULL, linewidth=1.2, linestyle=DASHED, label="coins")
    axes.set_xlim(0.0, right)
    axes.set_ylabel("part of the pairs")
    axes.set_xlabel("fractional Hamming distance of two responses")
    axes.set_title(
        f"Distances: {found.genuine.mean():.3f} within a device, {found.impostor.mean():.3f} between devices, "
        f"p = {found.p_value:.2g}"
    )
    axes.legend(loc="upper left")


def _rates(axes: Axes, found: Population) -> None:
    rates, eer = found.rates, found.eer
    axes.step(rates.threshold, rates.frr, where="post", color=DATA, linewidth=1.5, label="false rejection")
    axes.step(rates.threshold, rates.far, where="post", color=MODEL, linewidth=1.5, label="false acceptance")
    axes.axhline(0.5, color=NULL, linewidth=1.2, linestyle=DASHED, label="coins")
    axes.errorbar(
        [rates.eer_threshold], [eer.value], [[max(0.0, eer.value - eer.low)], [max(0.0, eer.high - eer.value)]],
        fmt="o", color=INK, markersize=5, linewidth=1.4, capsize=3, label="equal error rate, 95 % over devices",
    )  # fmt: skip
    axes.set_ylim(-0.03, 1.03)
    axes.set_ylabel("rate")
    axes.set_xlabel("largest distance that is accepted")
    axes.set_title(f"Equal error rate {eer.value:.3f} ({eer.low:.3f} to {eer.high:.3f})")
    axes.legend(loc="center left")


def _aliasing(axes: Axes, found: Population) -> None:
    """How many bits are 1 in so many devices, beside coins and the share of coins in each count."""
    from scipy.stats import binom

    ones = np.rint(found.aliasing * found.devices).astype(int)
    counts = np.bincount(ones, minlength=found.devices + 1)
    at = np.arange(found.devices + 1)
    axes.bar(at, counts, width=0.7, color=DATA_SOFT, edgecolor=DATA, linewidth=1.0, label="measured")
    axes.plot(
        at, found.bits * binom.pmf(at, found.devices, 0.5), "o--", color=NULL, markersize=4, linewidth=1.1,
        label="fair bits",
    )  # fmt: skip
    axes.set_xticks(at if found.devices <= 20 else at[:: -(-found.devices // 20)])
    axes.set_xlabel("devices whose first response has a 1 in a bit")
    axes.set_ylabel("bits")
    axes.set_title("Bit-aliasing: bits at either end belong to the model, not to the device")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * 1.15)
    axes.legend(loc="upper right")
