"""CHIMERA: do shares pulse, at 2.4 Hz or at any frequency?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.charts import ARMS, LINE, NULL, PUBLISHED, AnyChart, Chart, Ladder, Mark, Rung, Series, arms
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
from experiments.subjects import Subject

SHARES = {"fast": 1500, "quick": 2588, "full": 10_000}
SURROGATES = {"fast": 199, "quick": 999, "full": 999}
TESTS = 2
"""The named frequency, and any."""
MEAN_INTERVAL_S = 0.1
"""Of an S9 at its smallest difficulty."""
FEWEST = 1000
CURVE = 400
"""Points of a spectrum that are kept."""


def sample(size: str) -> Sample:
    """Shares of the run."""
    return Sample(1, SHARES[size], _detectable(SHARES[size], SHARES[size] * MEAN_INTERVAL_S))


def _detectable(shares: int, span_s: float) -> str:
    """Smallest swing of the rate at 2.4 Hz found with power 0.8.

    The Rayleigh power of a Poisson process, twice, is chi-square with 2 degrees of freedom; a rate that swings by a
    part a gives it the noncentrality n a² / 2. The band holds about 2 * 0.05 * f * span independent frequencies.
    """
    from scipy.optimize import brentq
    from scipy.stats import chi2, ncx2

    from tpf.signals.heartbeat import BAND, CLAIMED_HZ

    frequencies = max(1.0, 2 * BAND * CLAIMED_HZ * span_s)
    threshold = chi2.isf(ALPHA / TESTS / frequencies, 2)
    noncentral = brentq(lambda nc: ncx2.sf(threshold, 2, nc) - 0.8, 1e-6, 1e3)
    swing = (2 * noncentral / shares) ** 0.5
    return f"a rate that swings by {min(1.0, swing):.0%} of itself at {CLAIMED_HZ:g} Hz"


def measure(cell: Cell, subject: Subject) -> dict[str, Any]:
    """Power at the named frequency and the strongest rhythm anywhere, each against two nulls."""
    import numpy as np

    from tpf.signals.heartbeat import heartbeat_report

    data = subject.data(cell.seed, shares=SHARES[cell.size])
    intervals_ms = data.interval_ms[np.isfinite(data.interval_ms)]
    rng = np.random.default_rng(cell.seed)
    report = heartbeat_report(intervals_ms, rng, surrogates=SURROGATES[cell.size])
    about = {"n": int(intervals_ms.size), "span_s": float(intervals_ms.sum() / 1e3)}
    if report is None or report.anywhere is None:
        return about | {"named": None}
    return about | {
        "named": report.to_json(),
        "curve": _thinned(report),
        "limit": report.anywhere_95,
        "p_named": max(report.p_shuffled, report.p_red_noise),
        "p_anywhere": max(report.anywhere.p_shuffled, report.anywhere.p_red_noise),
        "frequency_hz": report.anywhere.frequency_hz,
    }


def _thinned(report: Any) -> dict[str, list[float]]:
    """The spectrum at most 400 points long: the largest of each group of neighbours, so that no peak is lost."""
    import numpy as np

    each = -(-report.spectrum.size // CURVE)
    starts = np.arange(0, report.spectrum.size, each)
    return {
        "hz": report.frequency_hz[starts].tolist(),
        "ratio": np.maximum.reduceat(report.spectrum, starts).tolist(),
        "pointwise_95": np.maximum.reduceat(report.pointwise_95, starts).tolist(),
    }


def conclude(rows: Sequence[Row]) -> Finding:
    """Evidence where a rhythm is stronger than in shuffled intervals and in red noise alike."""
    values = rows[0].values
    if values["named"] is None:
        text = f"{values['n']} intervals have no spectrum: 64 are needed."
        return Finding(CANNOT_TELL, text, "Rayleigh power at 2.4 Hz", None)
    named = values["named"]
    detectable = _detectable(values["n"], values["span_s"])
    p_value = min(1.0, TESTS * min(values["p_named"], values["p_anywhere"]))
    about = (
        f"Power within 5 % of {named['named_hz']:g} Hz {named['band_power']:.2f}, where shuffled intervals give "
        f"{named['band_null_mean']:.2f} (95 % below {named['band_null_95']:.2f}), p = {values['p_named']:.3g}; "
        f"strongest of all at {values['frequency_hz']:.3g} Hz, p = {values['p_anywhere']:.3g}."
    )
    if p_value <= ALPHA:
        code, text = EVIDENCE, f"Shares pulse. {about}"
    elif values["n"] < FEWEST:
        code, text = CANNOT_TELL, f"{values['n']} intervals are fewer than {FEWEST}. {about}"
    else:
        code, text = NO_EVIDENCE, f"Shares have no rhythm. {about}"
    beats = values["p_named"] <= ALPHA / TESTS
    status = REPRODUCED if beats else NOT_REPRODUCED if values["n"] >= FEWEST else None
    number = Number(
        named["band_power"],
        None,
        status,
        f"Rayleigh power within 5 % of 2.4 Hz; shuffled intervals give {named['band_null_mean']:.2f}. Reproduced where "
        "it is larger than in shuffled intervals and in red noise, at 2.5 %",
    )
    return Finding(
        code,
        text,
        "Rayleigh power at 2.4 Hz",
        named["band_power"],
        None,
        p_value,
        detectable,
        {"C26": number},
    )


def charts(rows: Sequence[Row]) -> Sequence[AnyChart]:
    """Spectrum with what shuffled intervals reach, and the power at the named frequency."""
    known = [row for row in rows if row.values.get("curve")]
    series: list[Series] = []
    rungs: list[Rung] = []
    marks: list[Mark] = []
    for arm, own in arms(known):
        v = own[0].values
        series.append(Series(ARMS[arm], v["curve"]["hz"], v["curve"]["ratio"], role=arm, form=LINE))
        ci_of_null = v["named"]["band_null_95"]
        rungs.append(Rung(ARMS[arm], v["named"]["band_power"], role=arm))
        rungs.append(Rung(f"{ARMS[arm]}, 95 % of shuffled intervals", ci_of_null, role=NULL))
        if not marks:
            series.append(
                Series(
                    "95 % of shuffles, here",
                    v["curve"]["hz"],
                    v["curve"]["pointwise_95"],
                    role=NULL,
                    form=LINE,
                )
            )
            marks = [Mark(v["limit"], "95 % of shuffles, anywhere", NULL)]
            marks += [Mark(v["named"]["named_hz"], "published: 2.4 Hz", PUBLISHED, vertical=True)]
    return [
        Chart(
            "Is there a rhythm?",
            "Power of the arrivals over that of shuffled intervals. One point in twenty passes its own 95 %; a rhythm "
            "passes the line that 95 % of shuffles reach nowhere.",
            "frequency, Hz", "power, shuffled = 1", series[::-1], marks,
        ),
        Ladder(
            "How strong is it within 5 % of 2.4 Hz?",
            "Largest Rayleigh power there, and what 95 % of shuffled intervals stay below.",
            "Rayleigh power", rungs,
        ),
    ]  # fmt: skip


EXPERIMENT = Experiment(
    name="heartbeat",
    title="Do shares pulse, at 2.4 Hz or at any frequency?",
    claims=("C26",),
    source="Toward Thermodynamic Reservoir Computing, VI.B",
    hypothesis="The miner has a heartbeat: its shares pulse at 2.4 Hz.",
    null="The same intervals in another order, and red noise of their correlation, have rhythms as strong.",
    decision=(
        "Evidence where the power at the named frequency, or the strongest anywhere, exceeds both nulls at 5 %, shared "
        "by Bonferroni between the two questions."
    ),
    kinds=("emulator", "trace", "device"),
    models=("s9", "lv06"),
    sample=sample,
    measure=measure,
    conclude=conclude,
    effect=("pulse", 0.2),
    page="heartbeat",
    charts=charts,
)
