"""S9-01: are share times those of an ordinary miner?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.charts import ARMS, LINE, NULL, AnyChart, Chart, Series, arms, survival
from experiments.experiment import (
    ALPHA,
    CANNOT_TELL,
    EVIDENCE,
    NO_EVIDENCE,
    Cell,
    Experiment,
    Finding,
    Row,
    Sample,
)
from experiments.power import errors_needed
from experiments.subjects import Subject

REPETITIONS = {"fast": 1, "quick": 1, "full": 4}
SHARES = {"fast": 2588, "quick": 2588, "full": 10_000}


def sample(size: str) -> Sample:
    """Shares of a run, and what the spread of intervals can be told from with so many."""
    n = SHARES[size] * REPETITIONS[size]
    return Sample(REPETITIONS[size], SHARES[size], _detectable(n))


def _detectable(n: int) -> str:
    # the standard error of the CV of exponential intervals is 1/sqrt(n)
    return f"a CV that is off by {errors_needed(ALPHA / 2) / n**0.5:.3f}"


def measure(cell: Cell, subject: Subject) -> dict[str, Any]:
    """The verdict of one run, its share of the level, and the spread of its intervals."""
    from firmware_bridge.timing.statistics import coefficient_of_variation
    from firmware_bridge.timing.verdict import judge

    times = REPETITIONS[cell.size] if subject.kind == "emulator" else 1
    data = subject.data(cell.seed, shares=SHARES[cell.size])
    verdict = judge(data, cell.seed, ALPHA / times)
    intervals_ms = data.interval_ms[data.interval_ms == data.interval_ms]
    return {
        "verdict": verdict.code,
        "text": verdict.text,
        "p_value": verdict.p_value,
        "wall_poisson_p": verdict.wall_poisson_p,
        "explained_by": list(verdict.explained_by),
        "decided_by": verdict.decided_by,
        "shares": data.n,
        "cv": coefficient_of_variation(intervals_ms) if intervals_ms.size else None,
        "mean_ms": float(intervals_ms.mean()) if intervals_ms.size else None,
        "intervals": survival(intervals_ms) if intervals_ms.size else None,
    }


def conclude(rows: Sequence[Row]) -> Finding:
    """Evidence where a run deviates from a fair hash behind the miner's own mechanics."""
    told = [row.values for row in rows if row.values["verdict"] != "cannot_tell"]
    if not told:
        return Finding(CANNOT_TELL, rows[0].values["text"], "verdict", None)
    first = min(told, key=lambda values: 1.0 if values["p_value"] is None else values["p_value"])
    deviates = any(values["verdict"] == "deviates" for values in told)
    p_value = None if first["p_value"] is None else min(1.0, first["p_value"] * len(told))
    n = sum(values["shares"] for values in told)
    return Finding(
        EVIDENCE if deviates else NO_EVIDENCE,
        first["text"],
        "smallest p-value of the family of tests, times their number",
        p_value,
        p_value=p_value,
        detectable=_detectable(n),
    )


def charts(rows: Sequence[Row]) -> Sequence[AnyChart]:
    """Intervals of every run beside those of a Poisson process of the same mean."""
    from math import exp

    series = []
    for arm, own in arms(row for row in rows if row.values.get("intervals")):
        for number, row in enumerate(own):
            kept = row.values["intervals"]
            series.append(Series("" if number else ARMS[arm], kept["at"], kept["above"], role=arm, form=LINE))
    if series:
        mean = next(row.values["mean_ms"] for row in rows if row.values.get("intervals"))
        at = [x for x in series[0].x if exp(-x / mean) > 1e-4]
        series.append(Series("Poisson, same mean", at, [exp(-x / mean) for x in at], role=NULL, form=LINE))
    return [
        Chart(
            "How long between two shares?",
            "Part of the intervals that are longer than a time, on a logarithmic scale, where a Poisson process is a "
            "straight line. No real miner passes that: the verdict asks what is left once its own mechanics are taken "
            "out, and the placebo arm has the same mechanics. asiclab report shows a single run in full.",
            "interval, ms", "part of intervals that are longer", series, log_y=True,
        ),
    ]  # fmt: skip


EXPERIMENT = Experiment(
    name="poisson",
    title="Are share times those of an ordinary miner?",
    claims=(),
    source="Speaking to Silicon, experiment S9-01; Toward Thermodynamic Reservoir Computing, VI",
    hypothesis="Intervals between shares carry structure that a fair hash behind the miner's mechanics lacks.",
    null="A fair hash: Poisson in work time, seen through scan, job loading, delays and clock, all fitted to the run.",
    decision="Evidence where a fixed family of tests rejects the null at 5 %, shared over tests and runs.",
    kinds=("emulator", "trace", "device"),
    models=("s9", "lv06"),
    sample=sample,
    measure=measure,
    conclude=conclude,
    effect=("quality", 1.0),
    page="poisson",
    charts=charts,
)
