"""The figure of a leakage report: ROC curves beside the band of their null, tests and features by effect."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from experiments.report.light import DATA, DATA_SOFT, MODEL, MUTED, NULL, checked, figure_file
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from tpf.report import LeakageReport
    from tpf.statistics.classifiers import RocBand

ROTATIONS = 199
MOST_FEATURES = 16
TITLES = {
    "logistic": "logistic regression",
    "gradient_boosting": "gradient boosting",
    "mlp_16_8_4": "network 16-8-4",
}
LABELS = {
    "mutual_information": "mutual information",
    "tvla_first_order": "TVLA, first order",
    "tvla_second_order": "TVLA, second order",
    "chi_square": "chi-square",
    "distance_correlation": "distance correlation",
    "auc_logistic": "AUC logistic",
    "auc_gradient_boosting": "AUC boosting",
    "auc_mlp_16_8_4": "AUC 16-8-4",
}


def draw(report: LeakageReport, file: str | Path) -> Path:
    """Write the figure of a report.

    Args:
        report: one that ran its tests.
        file: ends in .png, .svg or .pdf.

    Returns:
        The file.

    Raises:
        UserError: if the file is of another kind, or no test was run.
    """
    path = checked(file)
    if not report.tests:
        raise UserError(f"there is nothing to draw: {report.verdict.text}")
    bands = roc_bands(report)
    features = min(MOST_FEATURES, len(report.feature_d))
    below = max(2.4, 0.24 * features + 0.9)
    with figure_file(path, 9.6, 3.6 + below) as drawing:
        above, under = drawing.subfigures(2, 1, height_ratios=[3.6, below], squeeze=False)[:, 0]
        for i, (name, axes) in enumerate(zip(TITLES, above.subplots(1, len(TITLES)), strict=True)):
            _roc(axes, name, bands.get(name), left=i == 0)
        left, right = under.subplots(1, 2)
        _tests(left, report)
        _features(right, report)
        above.suptitle(
            f"{report.name}: {report.verdict.code.replace('_', ' ')} "
            f"({report.n} rows, {report.positives} with {report.label})",
            fontsize=11,
            x=0.01,
            ha="left",
        )
    return path


def roc_bands(report: LeakageReport) -> dict[str, RocBand]:
    """Curve and band of every classifier whose later rows have both classes."""
    from tpf.statistics.classifiers import roc_band
    from tpf.statistics.shifts import BlockShifts

    bands = {}
    for scored in report.scored:
        if scored.y.any() and not scored.y.all():
            shifts = BlockShifts(scored.y.size, ROTATIONS, np.random.default_rng([report.seed, 7]))
            bands[scored.name] = roc_band(scored, shifts)
    return bands


def _roc(axes: Axes, name: str, band: RocBand | None, *, left: bool) -> None:
    axes.plot([0, 1], [0, 1], color=NULL, linewidth=0.9, linestyle="--", label="a constant")
    title = TITLES[name]
    if band is not None:
        axes.fill_between(
            band.false_positive_rate, band.low, band.high, color=DATA_SOFT, linewidth=0,
            label="labels moved: 95 %",
        )  # fmt: skip
        axes.plot(
            band.false_positive_rate, band.true_positive_rate, color=DATA, linewidth=1.5, label="later rows"
        )
        title += f": AUC {band.auc:.3f}"
    axes.set(xlim=(0, 1), ylim=(0, 1), box_aspect=1, xlabel="false positive rate")
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.set_title(title)
    if left:
        axes.set_ylabel("true positive rate")
        axes.legend(loc="lower right", fontsize=8, borderaxespad=0.2)


def _tests(axes: Axes, report: LeakageReport) -> None:
    """Each effect over the smallest one that would have been found; beyond 1 it is past that."""
    axes.axvline(0, color=MUTED, linewidth=0.8)
    axes.axvline(1, color=MODEL, linewidth=1.2, linestyle="--")
    axes.axvline(-1, color=MODEL, linewidth=1.2, linestyle="--")
    labels = []
    for row, test in enumerate(report.tests):
        labels.append(LABELS[test.name])
        scale = test.detectable_effect
        if not scale or not np.isfinite(test.effect):
            continue
        if test.ci is not None:
            axes.plot(np.array(test.ci) / scale, [row, row], color=DATA_SOFT, linewidth=4.0)
        holds = test.p_corrected <= report.alpha
        axes.plot(
            [test.effect / scale], [row], "o", color=DATA, markersize=5.5,
            fillstyle="full" if holds and test.replicated else "none",
        )  # fmt: skip
    axes.set_yticks(range(len(labels)), labels, fontsize=8.5)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_xlabel("effect over detectable effect; full: holds")
    axes.set_title("Tests")
    _symmetric_log(axes)


def _symmetric_log(axes: Axes) -> None:
    """Linear up to 2, logarithmic beyond, where an effect is far past what was needed."""
    low, high = axes.get_xlim()
    reach = max(abs(low), abs(high), 1.3)
    if reach > 4:
        axes.set_xscale("symlog", linthresh=2, linscale=1.2)
        ticks = [-1, 0, 1, 2, *[t for t in (5, 10, 20, 50, 100) if t < 1.2 * high]]
        axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
        axes.set_xlim(min(-1.4, low), 1.15 * high)
    else:
        axes.set_xlim(min(-1.3, low), max(1.3, high))


def _features(axes: Axes, report: LeakageReport) -> None:
    ordered = sorted(report.feature_d.items(), key=lambda item: -abs(item[1]))[:MOST_FEATURES]
    limit = report.detectable.get("d")
    if limit is not None:
        axes.axvspan(-limit, limit, color=MODEL, alpha=0.09, linewidth=0)
        for end in (-limit, limit):
            axes.axvline(end, color=MODEL, linewidth=1.2, linestyle="--")
    axes.axvline(0, color=MUTED, linewidth=0.8)
    axes.barh(range(len(ordered)), [value for _, value in ordered], color=DATA, height=0.62)
    axes.set_yticks(range(len(ordered)), [name for name, _ in ordered], fontsize=8.5)
    axes.set_ylim(len(ordered) - 0.4, -0.6)
    reach = 1.15 * max([abs(value) for _, value in ordered] + [limit or 0.0, 1e-6])
    axes.set_xlim(-reach, reach)
    axes.set_xlabel("success less failure, SD (dashed: detectable)")
    left = len(report.feature_d) - len(ordered)
    axes.set_title("Features by effect" + (f" ({left} more not drawn)" if left > 0 else ""))
