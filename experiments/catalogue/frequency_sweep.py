"""Does the spread of share times change with the clock, and is one clock a resonance?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.analyses.sweeps import CONTENTS
from experiments.charts import PUBLISHED, AnyChart, Chart, Mark, swept
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
    Point,
    Row,
    Sample,
)
from experiments.power import cv_off_at_one_point
from experiments.recorded_points import swept as swept_in
from experiments.recorded_runs import RecordedRuns, of_cell, runs_in
from experiments.subjects import Subject

FREQUENCIES_MHZ = tuple(300.0 + 20.0 * step for step in range(11))
"""Those of the resonance report, 460 MHz among them, and the two ends of the frequency report."""
CLOCKS_MHZ = {"fast": (300.0, 380.0, 460.0, 500.0), "quick": FREQUENCIES_MHZ, "full": FREQUENCIES_MHZ}
CORE_VOLTAGE_MV = {"lv06": 1200.0, "s9": 8800.0}
"""Of an emulated miner; an attached one keeps its own."""
PLL_STEP_MHZ = 25.0
"""An S9 takes every fourth of its PLL's clocks here."""
SHARES = {"fast": 1000, "quick": 1500, "full": 10_000}
RESONANCE_MHZ, TARGET_CV = 460.0, 1.15
TESTS = 3
"""Homogeneity, the verdicts of the single runs, and the resonance."""


def _detectable(size: str) -> str:
    return _found(len(CLOCKS_MHZ[size]) * len(CONTENTS), SHARES[size])


def _found(cvs: int, shares: int) -> str:
    return f"a CV that is off by {cv_off_at_one_point(cvs, shares, ALPHA / TESTS):.3f} at one clock"


def sample(size: str) -> Sample:
    """Shares at each clock."""
    return Sample(1, SHARES[size], _detectable(size))


def points(size: str, subject: Subject) -> Sequence[Point]:
    """Clocks, with a new job after every share and with one job throughout."""
    from experiments.analyses.sweeps import within

    if isinstance(subject, RecordedRuns):
        return subject.points()
    clocks = CLOCKS_MHZ[size]
    if subject.model == "s9":
        clocks = tuple(dict.fromkeys(PLL_STEP_MHZ * round(clock / PLL_STEP_MHZ) for clock in clocks))
    return tuple(
        {"frequency_mhz": clock, "content": content}
        for clock in within(subject, "frequency_mhz", clocks)
        for content in CONTENTS
    )


def measure(cell: Cell, subject: Subject) -> dict[str, Any]:
    """CV at one clock with its error, and the verdict against the miner's own mechanics."""
    from experiments.analyses.sweeps import at_point

    return at_point(
        of_cell(subject, cell),
        cell.seed,
        shares=SHARES[cell.size],
        frequency_mhz=float(cell.point["frequency_mhz"]),
        core_voltage_mv=CORE_VOLTAGE_MV[subject.model] if subject.kind == "emulator" else None,
        content=str(cell.point["content"]),
        alpha=ALPHA / TESTS / runs_in(subject, len(CLOCKS_MHZ[cell.size]) * len(CONTENTS)),
    )


def conclude(rows: Sequence[Row]) -> Finding:
    """Evidence where the CV is not one, a clock deviates from a fair hash, or one comes too near to the resonance."""
    import numpy as np

    from experiments.analyses.sweeps import (
        comparable,
        critical_point,
        each_cv,
        nearest_match,
        one_cv,
        recorded,
        smallest_p,
        told,
        too_few,
        unmeasured,
    )

    known = told([row.values for row in rows])
    without = too_few([row.values for row in rows], "frequency_mhz", "MHz")
    if len({values["frequency_mhz"] for values in comparable(known)}) < 2:
        return Finding(CANNOT_TELL, f"Fewer than two clocks gave shares.{without}", "CV", None)
    single = smallest_p(known)
    common = one_cv(known)
    alike, cvs, one = common.points, common.cvs, common.test
    match = nearest_match(cvs, common.n, one.common, one.spread, TARGET_CV, rows[0].cell.seed)
    p_value = min(1.0, TESTS * min(one.p_value, single, match))
    found = p_value <= ALPHA
    nearest = alike[int(np.abs(cvs - TARGET_CV).argmin())]
    differ = one.p_value <= ALPHA / TESTS
    critical = critical_point(alike, "frequency_mhz", "MHz", -1.0, one.spread, differ, rows[0].cell.seed)
    head = (
        "The spread of share times depends on the clock, or leaves what an ordinary miner shows"
        if found
        else "One CV fits all clocks, and none of them leaves what an ordinary miner shows"
    )
    text = (
        f"{head}: homogeneity p = {one.p_value:.3g}, smallest of the single verdicts p = {single:.3g}, best match with "
        f"CV {TARGET_CV:g} at {nearest['frequency_mhz']:g} MHz p = {match:.3g}. CV: "
        f"{each_cv(known, 'frequency_mhz', 'MHz')}. {critical}{without}{unmeasured(known)}"
    )
    error = 1.96 * nearest["error"]
    numbers = {
        "C28": Number(
            float(np.ptp(cvs)), None, REPRODUCED if one.p_value <= ALPHA / TESTS else NOT_REPRODUCED,
            f"largest less smallest CV over clocks and contents; homogeneity p = {one.p_value:.3g}. Reproduced where "
            f"it is at most {ALPHA / TESTS:.4f}",
        ),
        "C29": Number(
            nearest["cv"], (nearest["cv"] - error, nearest["cv"] + error),
            REPRODUCED if nearest["frequency_mhz"] == RESONANCE_MHZ and match <= ALPHA / TESTS else NOT_REPRODUCED,
            f"CV nearest to {TARGET_CV:g}, at {nearest['frequency_mhz']:g} MHz; some clock comes so near by chance "
            f"with p = {match:.3g}. Reproduced where it is 460 MHz and that p is at most {ALPHA / TESTS:.4f}",
        ),
    }  # fmt: skip
    detectable = (
        _found(len(common.points), int(np.median(common.n)))
        if recorded(known)
        else _detectable(rows[0].cell.size)
    )
    return Finding(
        EVIDENCE if found else NO_EVIDENCE, text, "common CV", one.common, common.interval, p_value, detectable,
        numbers,
    )  # fmt: skip


def charts(rows: Sequence[Row]) -> Sequence[AnyChart]:
    """CV over the clock, with what was called a resonance."""
    return [
        Chart(
            "How widely are share times spread at each clock?",
            "CV of the intervals; bars: 95 %. Filled: a new job after every share, hollow: one job throughout. Of so "
            "many clocks one always lies nearest to the published value.",
            "clock, MHz", "CV", swept(rows, "frequency_mhz", "cv", error="error", by="content"),
            [Mark(1.0, "Poisson process"), Mark(TARGET_CV, f"published: {TARGET_CV:g}", PUBLISHED),
             Mark(RESONANCE_MHZ, f"published: {RESONANCE_MHZ:g} MHz", PUBLISHED, vertical=True)],
        ),
    ]  # fmt: skip


EXPERIMENT = Experiment(
    name="frequency-sweep",
    title="Does the spread of share times change with the clock?",
    claims=("C28", "C29"),
    source="CHIMERA, frequency report and resonance report",
    hypothesis="The CV depends on the clock and on what is hashed; at 460 MHz it comes nearest to 1.15, a resonance.",
    null="A fair hash: the clock changes the rate, one CV holds at all clocks, and some clock is always the nearest.",
    decision=(
        "Evidence where the CVs of all clocks are not homogeneous, a single run deviates from a fair hash behind the "
        "miner's mechanics, or the best match with 1.15 is nearer than chance makes it, each at 5/3 %. A critical "
        "point is claimed only where the CVs differ and its likelihood ratio against a parabola is above chance at 5 %."
    ),
    kinds=("emulator", "trace", "device"),
    models=("lv06", "s9"),
    capabilities=("frequency",),
    together=swept_in(
        "frequency_mhz",
        beside=("content",),
        fixed=("core_voltage_mv", "difficulty"),
        needed=("frequency_mhz",),
    ),
    sample=sample,
    points=points,
    measure=measure,
    conclude=conclude,
    effect=("quality", 2.0),
    page="frequency-sweep",
    charts=charts,
)
