"""CHIMERA V03: is the CV of ten intervals a sign of order?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.charts import (
    ARMS,
    LINE,
    NULL,
    AnyChart,
    Chart,
    Ladder,
    Mark,
    Rung,
    Series,
    arms,
    histogram,
    normal_spread,
    shares_of,
)
from experiments.experiment import (
    ALPHA,
    CANNOT_TELL,
    EVIDENCE,
    NO_EVIDENCE,
    NOT_REPRODUCED,
    REPRODUCED,
    Cell,
    Experiment,
    Finding,
    Number,
    Row,
    Sample,
)
from experiments.power import errors_needed
from experiments.subjects import Subject

SHARES = {"fast": 2588, "quick": 2588, "full": 10_000}
SHUFFLES = {"fast": 499, "quick": 1999, "full": 1999}
PUBLISHED = (0.4803, 1.1257)
"""Of ten intervals each, called order and chaos."""
ORDER_SD = 0.095
"""Standard deviation of the mean CV over random orders, times the root of the windows: measured on emulated S9 runs."""
FEWEST_WINDOWS = 30


def sample(size: str) -> Sample:
    """Shares of the run."""
    return Sample(1, SHARES[size], _detectable(SHARES[size] // 10))


def _detectable(windows: int) -> str:
    return (
        f"a mean CV of ten intervals that is off by {errors_needed(ALPHA / 2) * ORDER_SD / windows**0.5:.3f}"
    )


def measure(cell: Cell, subject: Subject) -> dict[str, Any]:
    """CVs of windows of ten, of the run as it is and in random orders."""
    import numpy as np

    from firmware_bridge.timing.surrogates import shuffle
    from tpf.signals.short_windows import WINDOW, alarm_rate, window_cvs

    data = subject.data(cell.seed, shares=SHARES[cell.size])
    intervals_ms = data.interval_ms[np.isfinite(data.interval_ms)]
    own = window_cvs(intervals_ms)
    if own.size < FEWEST_WINDOWS:
        return {"windows": int(own.size)}
    rng = np.random.default_rng(cell.seed)
    shuffled = np.array([window_cvs(shuffle(intervals_ms, rng)) for _ in range(SHUFFLES[cell.size])])
    means = shuffled.mean(axis=1)
    low, high = (1 + (means <= own.mean()).sum(), 1 + (means >= own.mean()).sum())
    return {
        "windows": int(own.size),
        "window": WINDOW,
        "mean_cv": float(own.mean()),
        "sd_cv": float(own.std(ddof=1)),
        "shuffled_mean_cv": float(means.mean()),
        "shuffled_sd_of_mean": float(means.std(ddof=1)),
        "p_value": min(1.0, 2.0 * float(min(low, high)) / (1 + means.size)),
        "outside": int(((own <= PUBLISHED[0]) | (own >= PUBLISHED[1])).sum()),
        "shuffled_outside": float(((shuffled <= PUBLISHED[0]) | (shuffled >= PUBLISHED[1])).mean()),
        "alarms": alarm_rate(intervals_ms),
        "cvs": histogram(own, 0.0, 2.0, 40),
        "shuffled_cvs": histogram(shuffled, 0.0, 2.0, 40),
    }


def conclude(rows: Sequence[Row]) -> Finding:
    """Evidence where the mean CV of windows is not that of the same intervals in random order."""
    values = rows[0].values
    name = "mean CV of ten intervals, less that in random order"
    if values["windows"] < FEWEST_WINDOWS:
        text = f"{values['windows']} windows of ten intervals are fewer than {FEWEST_WINDOWS}."
        return Finding(CANNOT_TELL, text, name, None)
    off, error = values["mean_cv"] - values["shuffled_mean_cv"], values["shuffled_sd_of_mean"]
    about = (
        f"{values['windows']} windows have a CV of {values['mean_cv']:.3f} ± {values['sd_cv']:.3f}, in random order "
        f"{values['shuffled_mean_cv']:.3f} on average (p = {values['p_value']:.3g}). The published alarm, a CV above "
        f"1.1, sounds in {values['alarms']:.1%} of them."
    )
    found = values["p_value"] <= ALPHA
    return Finding(
        EVIDENCE if found else NO_EVIDENCE,
        f"Neighbouring intervals belong together. {about}"
        if found
        else f"Ten intervals in a row are any ten. {about}",
        name,
        off,
        (off - 1.96 * error, off + 1.96 * error),
        values["p_value"],
        f"a mean CV that is off by {errors_needed(ALPHA / 2) * error:.3f}",
        {"C32": _outside(values)},
    )


def _outside(values: Any) -> Number:
    from scipy.stats import binomtest

    known = binomtest(values["outside"], values["windows"]).proportion_ci(method="wilson")
    text = (
        f"Part of the windows of ten intervals with a CV of {PUBLISHED[0]:.2f} or less, or {PUBLISHED[1]:.2f} or more, "
        f"as published; of the same intervals in random order {values['shuffled_outside']:.1%}. Reproduced where at "
        "most 5 % of the windows in random order are as far out, so that such a CV would mean something"
    )
    rare = values["shuffled_outside"] <= ALPHA
    return Number(
        values["outside"] / values["windows"],
        (float(known.low), float(known.high)),
        REPRODUCED if rare else NOT_REPRODUCED,
        text,
    )


def charts(rows: Sequence[Row]) -> Sequence[AnyChart]:
    """CVs of ten intervals in the order of the run and in random orders."""
    series, rungs = [], []
    for arm, own in arms(row for row in rows if row.values.get("cvs")):
        v = own[0].values
        series.append(Series(ARMS[arm], *shares_of(v["cvs"]), role=arm, form=LINE))
        null = normal_spread(v["shuffled_mean_cv"], v["shuffled_sd_of_mean"])
        rungs.append(Rung(ARMS[arm], v["mean_cv"], null=null, role=arm))
        if arm == "subject":
            series.append(Series("in random order", *shares_of(v["shuffled_cvs"]), role=NULL, form=LINE))
    return [
        Chart(
            "What does the CV of ten intervals tell?",
            "Part of the windows of ten with each CV. Ten intervals of any miner give everything from order to chaos.",
            "CV of ten intervals", "part of the windows", series,
            [Mark(cv, f"published: {cv:.2f}", "published", vertical=True) for cv in PUBLISHED],
        ),
        Ladder(
            "Is their mean that of random orders?", "Mean CV of the windows beside the same of shuffled intervals.",
            "mean CV of ten intervals", rungs,
        ),
    ]  # fmt: skip


EXPERIMENT = Experiment(
    name="short-cv",
    title="Is the CV of ten intervals a sign of order?",
    claims=("C32",),
    source="repository of CHIMERA, V03",
    hypothesis="A CV of 0.48 or 1.13 of ten intervals shows that the stream is not Poisson.",
    null="Ten neighbouring intervals vary as any ten of the same run: their order means nothing.",
    decision="Evidence where the mean CV of windows of ten differs from that in random orders at 5 %, two-sided.",
    kinds=("emulator", "trace", "device"),
    models=("s9", "lv06"),
    sample=sample,
    measure=measure,
    conclude=conclude,
    effect=("swing", 0.35),
    page="short-cv",
    charts=charts,
)
