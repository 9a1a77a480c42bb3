"""Does the spread of share times change with the core voltage, and as at a phase transition?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.analyses.sweeps import CONTENTS
from experiments.charts import LINE, NULL, PUBLISHED, AnyChart, Chart, Mark, Series, arms, swept
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

VOLTAGES_MV = {
    "fast": (990.0, 950.0, 900.0, 850.0),
    "quick": (990.0, 950.0, 920.0, 900.0, 880.0, 850.0, 810.0),
    "full": (990.0, 970.0, 950.0, 935.0, 920.0, 900.0, 880.0, 865.0, 850.0, 810.0),
}
"""Those of the report, some between them, and one at which an emulated LV06 hangs at this clock."""
FREQUENCY_MHZ = 250.0
"""At the factory's clock an emulated LV06 hangs below 1040 mV; here it runs down to 823 mV."""
ATTACHED_MHZ = 400.0
"""Of an attached miner: the lowest of the vendor's menu, so that low voltages have a chance."""
SHARES = {"fast": 1000, "quick": 2000, "full": 10_000}
HIGH_MV, LOW_MV = 990.0, 850.0
PUBLISHED_CV = {"noise": (1.1245, 1.0118), "structure": (0.8421, 0.3956)}
"""At the highest and at the lowest voltage."""
FALLS = {content: high - low for content, (high, low) in PUBLISHED_CV.items()}
"""Published fall of the CV from the highest to the lowest voltage."""


def _detectable(size: str) -> str:
    return _found(len(VOLTAGES_MV[size]) * len(CONTENTS), SHARES[size])


def _found(cvs: int, shares: int) -> str:
    return f"a CV that is off by {cv_off_at_one_point(cvs, shares, ALPHA / 2):.3f} at one voltage"


def sample(size: str) -> Sample:
    """Shares at each voltage."""
    return Sample(1, SHARES[size], _detectable(size))


def points(size: str, subject: Subject) -> Sequence[Point]:
    """Voltages, with a new job after every share and with one job throughout."""
    from experiments.analyses.sweeps import within

    if isinstance(subject, RecordedRuns):
        return subject.points()
    clock = {"frequency_mhz": ATTACHED_MHZ} if subject.kind == "device" else {}
    return tuple(
        {"core_voltage_mv": voltage, **clock, "content": content}
        for voltage in within(subject, "core_voltage_mv", VOLTAGES_MV[size])
        for content in CONTENTS
    )


def measure(cell: Cell, subject: Subject) -> dict[str, Any]:
    """CV at one voltage with its error, and the verdict against the miner's own mechanics."""
    from experiments.analyses.sweeps import at_point

    clock = cell.point.get("frequency_mhz", FREQUENCY_MHZ if subject.kind == "emulator" else None)
    return at_point(
        of_cell(subject, cell),
        cell.seed,
        shares=SHARES[cell.size],
        frequency_mhz=None if clock is None else float(clock),
        core_voltage_mv=float(cell.point["core_voltage_mv"]),
        content=str(cell.point["content"]),
        alpha=ALPHA / 2 / runs_in(subject, len(VOLTAGES_MV[cell.size]) * len(CONTENTS)),
    )


def conclude(rows: Sequence[Row]) -> Finding:
    """Evidence where the CV is not one, or a voltage deviates from a fair hash behind the miner's mechanics."""
    import numpy as np

    from experiments.analyses.sweeps import (
        comparable,
        critical_point,
        drop,
        each_cv,
        one_cv,
        recorded,
        smallest_p,
        told,
        too_few,
        unmeasured,
    )

    known = told([row.values for row in rows])
    without = too_few([row.values for row in rows], "core_voltage_mv", "mV", ", as where a chip hangs,")
    if len({values["core_voltage_mv"] for values in comparable(known)}) < 2:
        return Finding(CANNOT_TELL, f"Fewer than two voltages gave shares.{without}", "CV", None)
    single = smallest_p(known)
    common = one_cv(known)
    one = common.test
    p_value = min(1.0, 2 * min(one.p_value, single))
    differ = one.p_value <= ALPHA / 2
    critical = critical_point(
        common.points, "core_voltage_mv", "mV", 1.0, one.spread, differ, rows[0].cell.seed
    )
    found = p_value <= ALPHA
    head = (
        "The spread of share times depends on the voltage, or leaves what an ordinary miner shows"
        if found
        else "One CV fits all voltages, and none of them leaves what an ordinary miner shows"
    )
    text = (
        f"{head}: homogeneity p = {one.p_value:.3g}, smallest of the single verdicts p = {single:.3g}. CV: "
        f"{each_cv(known, 'core_voltage_mv', 'mV')}. {critical}{without}{unmeasured(known)}"
    )
    deviating = sum(values["verdict"] == "deviates" for values in known)
    numbers = {
        "C24": Number(
            deviating / len(known),
            None,
            REPRODUCED if deviating else NOT_REPRODUCED,
            f"{deviating} of {len(known)} runs deviate from a fair hash behind the miner's own mechanics. Reproduced "
            "where any does, at 2.5 % shared over all of them",
        )
    }
    ends = {
        content: [
            v
            for mv in (HIGH_MV, LOW_MV)
            for v in known
            if (v["core_voltage_mv"], v["content"]) == (mv, content)
        ]
        for content in FALLS
    }
    if all(len(pair) == 2 for pair in ends.values()):
        falls = {content: drop(*pair) for content, pair in ends.items()}
        fits = all(ci[0] <= FALLS[content] <= ci[1] and ci[0] > 0 for content, (_, ci) in falls.items())
        value, ci = falls["noise"]
        other, its_ci = falls["structure"]
        numbers["C27"] = Number(
            value, ci, REPRODUCED if fits else NOT_REPRODUCED,
            f"fall of the CV from 990 to 850 mV: noise {value:+.3f} ({FALLS['noise']:.3f} published), one job "
            f"throughout {other:+.3f}, {its_ci[0]:+.3f} to {its_ci[1]:+.3f} ({FALLS['structure']:.3f} published). "
            "Reproduced where both intervals hold the published fall and lie above 0",
        )  # fmt: skip
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
    """CV over the voltage with the curves that were fitted, and what was published."""
    import numpy as np

    from experiments.analyses.sweeps import told
    from experiments.analyses.transition import fit_curves

    series = swept(rows, "core_voltage_mv", "cv", error="error", by="content")
    known = told([row.values for row in arms(rows)[0][1]])
    if len({values["core_voltage_mv"] for values in known}) > 2:
        at = np.array([v["core_voltage_mv"] for v in known])
        grid = np.linspace(at.min(), at.max(), 80)
        cvs, errors = (np.array([v[name] for v in known]) for name in ("cv", "error"))
        for curve in fit_curves(at, cvs, errors, [str(v["content"]) for v in known]):
            if curve.name == "transition":
                above, a, critical = curve.parameters
                y = above - a * np.sqrt(np.maximum(0.0, critical - grid))
                label, role, second = f"transition at {critical:.0f} mV", NULL, True
            elif curve.name == "constant":
                y, label, role, second = np.full(grid.size, curve.parameters[0]), "constant", NULL, False
            else:
                continue
            label = f"{label} (AICc {curve.aicc:.1f})"
            series.append(Series(label, grid.tolist(), y.tolist(), role=role, form=LINE, second=second))
    for number, (content, ends) in enumerate(PUBLISHED_CV.items()):
        series.append(
            Series(f"published, {content}", [HIGH_MV, LOW_MV], ends, role=PUBLISHED, second=number > 0)
        )
    return [
        Chart(
            "How widely are share times spread at each voltage?",
            "CV of the intervals; bars: 95 %. Filled: a new job after every share, hollow: one job throughout. Curves "
            "are fitted to this miner, drawn for the content named first; of two, the one with the smaller corrected "
            "criterion of Akaike (AICc) is the better.",
            "core voltage, mV", "CV", series, [Mark(1.0, "Poisson process")],
        ),
    ]  # fmt: skip


EXPERIMENT = Experiment(
    name="voltage-sweep",
    title="Does the spread of share times change with the core voltage?",
    claims=("C24", "C27"),
    source="Toward Thermodynamic Reservoir Computing, VI and eq. 3; CHIMERA, voltage report",
    hypothesis="CV leaves the Poisson law below a critical voltage, like the order parameter of a phase transition.",
    null="A fair hash: the voltage changes the rate of right hashes, not how their times are spread.",
    decision=(
        "Evidence where the CVs of all voltages are not homogeneous, or a single run deviates from a fair hash behind "
        "the miner's mechanics, each at 2.5 %, the latter shared by Bonferroni over the runs. A critical point is "
        "claimed only where the CVs differ and its likelihood ratio against a parabola is above chance at 5 %."
    ),
    kinds=("emulator", "trace", "device"),
    models=("lv06",),
    capabilities=("voltage", "frequency"),
    together=swept_in(
        "core_voltage_mv",
        beside=("frequency_mhz", "content"),
        fixed=("frequency_mhz", "difficulty"),
        needed=("core_voltage_mv",),
    ),
    sample=sample,
    points=points,
    measure=measure,
    conclude=conclude,
    effect=("quality", 2.0),
    page="voltage-sweep",
    charts=charts,
)
