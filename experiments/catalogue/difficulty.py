"""S9-01b: does the difficulty change how share times are spread, or only how often they come?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.charts import LINE, NULL, PUBLISHED, AnyChart, Chart, Mark, Series, swept
from experiments.experiment import (
    ALPHA,
    CANNOT_TELL,
    EVIDENCE,
    NO_EVIDENCE,
    Cell,
    Experiment,
    Finding,
    Point,
    Row,
    Sample,
)
from experiments.power import errors_needed
from experiments.recorded_points import run_of
from experiments.recorded_points import swept as swept_in
from experiments.recorded_runs import RecordedRuns, of_cell, runs_in
from experiments.subjects import Subject

FACTORS = {"fast": (1, 16), "quick": (1, 4, 16, 64), "full": (1, 2, 4, 8, 16, 32, 64)}
"""Difficulties, over the smallest that the miner submits; the paper's run from 256 to 16384."""
PUBLISHED_CV = {1024.0: 0.58, 4096.0: 0.09, 16384.0: 0.98}
SHARES = {"fast": 1000, "quick": 2000, "full": 10_000}


def sample(size: str) -> Sample:
    """Shares at each difficulty."""
    return Sample(1, SHARES[size], _detectable(size))


def _detectable(size: str) -> str:
    return _found(len(FACTORS[size]), SHARES[size])


def _found(runs: int, shares: int) -> str:
    # the CV of exponential intervals has error 1/sqrt(n)
    z = errors_needed(ALPHA / 2 / runs)
    return f"a CV that is off by {z / shares**0.5:.3f} at one difficulty"


def points(size: str, subject: Subject) -> Sequence[Point]:
    """Difficulties."""
    from firmware_bridge.emulator.model import get_model

    if isinstance(subject, RecordedRuns):
        return subject.points()
    floor = get_model(subject.model).floor
    return tuple({"difficulty": floor * factor} for factor in FACTORS[size])


def measure(cell: Cell, subject: Subject) -> dict[str, Any]:
    """The verdict at one difficulty, with its share of the level, and the spread of the intervals."""
    import numpy as np

    from experiments.analyses.sweeps import cv_with_error
    from firmware_bridge.timing.verdict import judge

    difficulty = float(cell.point["difficulty"])
    own = of_cell(subject, cell)
    data = own.data(cell.seed, shares=SHARES[cell.size], difficulty=difficulty)
    verdict = judge(data, cell.seed, ALPHA / runs_in(subject, len(FACTORS[cell.size])))
    intervals_ms = data.interval_ms[np.isfinite(data.interval_ms)]
    cv, error = cv_with_error(intervals_ms)
    return {
        "difficulty": difficulty,
        "n": int(intervals_ms.size),
        "mean_ms": float(intervals_ms.mean()),
        "cv": cv,
        "cv_error": error,
        "verdict": verdict.code,
        "text": verdict.text,
        "p_value": verdict.p_value,
        **run_of(own),
    }


def conclude(rows: Sequence[Row]) -> Finding:
    """Evidence where the run at a difficulty deviates from a fair hash behind the miner's own mechanics."""
    from experiments.analyses.sweeps import recorded

    told = [
        row.values
        for row in rows
        if row.values["verdict"] != "cannot_tell" and row.values["p_value"] is not None
    ]
    spread = ", ".join(
        f"{r.values['difficulty']:g}: CV {r.values['cv']:.3f}, mean {r.values['mean_ms']:.0f} ms"
        for r in rows
    )
    if not told:
        return Finding(CANNOT_TELL, f"No difficulty has enough shares. {spread}.", "verdict", None)
    first = min(told, key=lambda values: values["p_value"])
    p_value = min(1.0, first["p_value"] * len(told))
    found = any(values["verdict"] == "deviates" for values in told)
    least = min(values["n"] for values in told)
    detectable = _found(len(told), least) if recorded(told) else _detectable(rows[0].cell.size)
    return Finding(
        EVIDENCE if found else NO_EVIDENCE,
        f"{first['text']} {spread}."
        if found
        else f"Only rate and dead time change with the difficulty. {spread}.",
        f"smallest p-value, at difficulty {first['difficulty']:g}",
        p_value,
        p_value=p_value,
        detectable=detectable,
    )


def charts(rows: Sequence[Row]) -> Sequence[AnyChart]:
    """Spread and pace over the difficulty, beside what was published and what a fair hash gives."""
    at = sorted({row.values["difficulty"] for row in rows})
    first = min(rows, key=lambda row: row.values["difficulty"]).values
    law = [first["mean_ms"] * d / first["difficulty"] for d in at]
    told = [d for d in PUBLISHED_CV if at[0] <= d <= at[-1]]
    published = Series("published", told, [PUBLISHED_CV[d] for d in told], role=PUBLISHED)
    return [
        Chart(
            "How widely are share times spread?",
            "CV of the intervals at each difficulty; bars: 95 %. A Poisson process has 1. The dead time of a job makes "
            "intervals more regular where they are short: that is the miner's mechanics, not a regime.",
            "difficulty", "CV", [*swept(rows, "difficulty", "cv", error="cv_error"), published],
            [Mark(1.0, "Poisson process")], log_x=True,
        ),
        Chart(
            "How often do shares come?",
            "Mean interval at each difficulty. A fair hash finds half as many shares at twice the difficulty.",
            "difficulty", "mean interval, ms",
            [Series("in proportion to the difficulty", at, law, role=NULL, form=LINE),
             *swept(rows, "difficulty", "mean_ms")],
            log_x=True, log_y=True,
        ),
    ]  # fmt: skip


EXPERIMENT = Experiment(
    name="difficulty",
    title="Does the difficulty change how share times are spread?",
    claims=(),
    source="Speaking to Silicon, experiment S9-01b; memoria, 10 (difficulty as a language)",
    hypothesis="CV 0.58 at difficulty 1024, 0.09 at 4096, 0.98 at 16384: a vocabulary of regimes.",
    null="The difficulty changes the rate; what it does to the spread, the dead time of each job explains.",
    decision="Evidence where the run at a difficulty deviates, at 5 % shared by Bonferroni over all of them.",
    kinds=("emulator", "trace", "device"),
    models=("s9", "lv06"),
    capabilities=("difficulty",),
    together=swept_in(
        "difficulty", fixed=("frequency_mhz", "core_voltage_mv"), needed=("difficulty",), fewest=100
    ),
    sample=sample,
    effect=("quality", 2.0),
    points=points,
    measure=measure,
    conclude=conclude,
    page="difficulty",
    charts=charts,
)
