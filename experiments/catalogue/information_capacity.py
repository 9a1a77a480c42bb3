"""What does timing compute of its input: capacities of all products of past inputs up to degree 3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.analyses.driven import decide_by_mode, lasts, mean_of, points_of_modes
from experiments.charts import ARMS, BARS, AnyChart, Chart, Mark, Series, arms, by_word
from experiments.experiment import ALPHA, EVIDENCE, Cell, Experiment, Finding, Row, Sample
from experiments.power import errors_needed
from experiments.subjects import Subject

STEPS = {"fast": 1500, "quick": 3000, "full": 6000}
REPETITIONS = {"fast": 1, "quick": 1, "full": 4}
DELAYS, DEGREES = 5, (1, 2, 3)
DRAWS = {"fast": 99, "quick": 199, "full": 199}
STATES = 5


def _targets() -> list[Any]:
    from reservoir.capacities import combinations

    # the present input itself takes no computation
    return [c for degree in DEGREES for c in combinations(degree, DELAYS) if c != ((0, 1),)]


def _detectable(size: str, runs: int) -> str:
    z = errors_needed(ALPHA / 2)
    value = z * (2 * STATES * len(_targets()) / runs) ** 0.5 / STEPS[size]
    return f"a capacity of {value:.3f} in one mode, of at most {STATES}"


def sample(size: str) -> Sample:
    """Runs of each mode."""
    what = f"{_detectable(size, REPETITIONS[size])} ({STEPS[size]} steps, {len(_targets())} targets)"
    return Sample(REPETITIONS[size], None, what)


def measure(cell: Cell, subject: Subject) -> dict[str, Any]:
    """Sum of the capacities beside its null, and what passes target by target."""
    import numpy as np

    from experiments.analyses.driven import against_null, drive, plan_of
    from reservoir.capacities import information_processing_capacity

    run = drive(subject, plan_of(cell.point, cell.seed, STEPS[cell.size]))
    targets = _targets()

    def capacity(states: Any, u: Any) -> Any:
        return information_processing_capacity(states, u, targets, basis="empirical")

    found = against_null(
        run,
        lambda states, u: capacity(states, u).raw,
        DRAWS[cell.size],
        np.random.default_rng([cell.seed, 1]),
    )
    counted = capacity(run.states, run.u)
    return {
        "mode": run.mode,
        "p_value": found.p_value,
        "capacity": found.value - found.null_mean,
        "null_high": found.null_high - found.null_mean,
        "passed": counted.passed,
        "targets": counted.targets,
        "by_degree": {str(degree): value for degree, value in counted.by_degree.items()},
        "rank": counted.rank,
    }


def conclude(rows: Sequence[Row]) -> Finding:
    """Evidence where the states hold more products of inputs than of those in another order."""
    told = decide_by_mode(rows)
    runs = [row.values for row in rows if row.values["mode"] == told.best]
    words = ", ".join(
        f"{mode} {mean_of(rows, mode, 'capacity'):+.4f} (p = {p:.3g})" for mode, p in told.p_values.items()
    )
    degrees = ", ".join(
        f"degree {d}: {sum(v['by_degree'][d] for v in runs) / len(runs):.3f}"
        for d in sorted(runs[0]["by_degree"])
    )
    found = told.code == EVIDENCE
    text = (
        f"Timing {'holds' if found else 'holds no'} functions of its input beyond the present one. Capacity of at most "
        f"{runs[0]['rank']}, chance taken off: {words}. What passes by itself in the {told.best} mode: {degrees}."
    )
    return Finding(
        told.code, text, f"information processing capacity, {told.best}", mean_of(rows, told.best, "capacity"),
        p_value=told.p_value, detectable=_detectable(rows[0].cell.size, len(runs)),
    )  # fmt: skip


def charts(rows: Sequence[Row]) -> Sequence[AnyChart]:
    """Capacity beside its null, and what passes by itself, degree by degree."""
    total, modes = by_word(rows, "mode", "capacity", null="null_high")
    degrees = sorted({degree for row in rows for degree in row.values["by_degree"]})
    series = []
    for arm, own in arms(rows):
        for number, mode in enumerate(dict.fromkeys(row.values["mode"] for row in own)):
            some = [row.values["by_degree"] for row in own if row.values["mode"] == mode]
            means = [sum(v.get(d, 0.0) for v in some) / len(some) for d in degrees]
            at = [float(i) for i in range(len(degrees))]
            series.append(Series(f"{ARMS[arm]}, {mode}", at, means, role=arm, form=BARS, second=number > 0))
    return [
        Chart(
            "How much of its input does timing hold?",
            f"Sum of the capacities of {len(_targets())} products of inputs, what chance gives taken off; at most as "
            "many as there are states.",
            "", "capacity", total, [Mark(0.0, "")], modes,
        ),
        Chart(
            "Which functions pass by themselves?",
            "Capacity of the products that pass their own threshold, by degree: 1 is memory, 2 and 3 are computation.",
            "", "capacity", series, categories=[f"degree {d}" for d in degrees],
        ),
    ]  # fmt: skip


EXPERIMENT = Experiment(
    name="information-capacity",
    title="Which functions of its input does timing hold?",
    claims=(),
    source="Toward Thermodynamic Reservoir Computing, X (effective state dimension); Dambre et al. 2012",
    hypothesis="Share times compute: they hold products and powers of past inputs.",
    null=(
        "The same states and the same inputs in another order. Where a stored run's inputs were not drawn "
        "independently, the states are shifted in a circle instead."
    ),
    decision=(
        "Evidence where the sum of the capacities of all products up to degree 3 and delay 5, the present input left "
        "out, exceeds that of the null at 5 %, shared by Bonferroni over the modes."
    ),
    kinds=("emulator", "trace", "device"),
    models=("s9", "lv06"),
    sample=sample,
    points=points_of_modes,
    measure=measure,
    conclude=conclude,
    lasts=lasts(STEPS),
    effect=("thermal", 400.0),
    page="information-capacity",
    charts=charts,
)
