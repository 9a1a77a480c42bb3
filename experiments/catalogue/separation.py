"""Do inputs that differ lead to share times that differ?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.analyses.driven import decide_by_mode, lasts, mean_of, points_of_modes
from experiments.charts import AnyChart, Chart, Mark, by_word
from experiments.experiment import ALPHA, EVIDENCE, Cell, Experiment, Finding, Row, Sample
from experiments.power import errors_needed
from experiments.subjects import Subject

STEPS = {"fast": 1500, "quick": 3000, "full": 6000}
REPETITIONS = {"fast": 1, "quick": 1, "full": 4}
ROWS = {"fast": 250, "quick": 600, "full": 1000}
SHIFTS = {"fast": 99, "quick": 199, "full": 199}
WINDOW = 3
NULL_SD = 0.28
"""Standard deviation of the correlation with nothing planted, times the root of the rows: measured on 24 runs."""


def _detectable(size: str, runs: int) -> str:
    z = errors_needed(ALPHA / 2)
    return f"a correlation of distances of {z * NULL_SD / (ROWS[size] * runs) ** 0.5:.3f} in one mode"


def sample(size: str) -> Sample:
    """Runs of each mode."""
    what = f"{_detectable(size, REPETITIONS[size])} ({ROWS[size]} of {STEPS[size]} steps)"
    return Sample(REPETITIONS[size], None, what)


def measure(cell: Cell, subject: Subject) -> dict[str, Any]:
    """Rank correlation of the distances of states with those of the last three inputs, beside shifted states."""
    import numpy as np

    from experiments.analyses.driven import GUARD, drive, plan_of
    from reservoir.fading import separation

    run = drive(subject, plan_of(cell.point, cell.seed, STEPS[cell.size]))
    found = separation(
        run.states,
        run.u,
        np.random.default_rng([cell.seed, 1]),
        window=WINDOW,
        rows=ROWS[cell.size],
        shifts=SHIFTS[cell.size],
        guard=GUARD,
    )
    return {
        "mode": run.mode,
        "p_value": found.p_value,
        "correlation": found.correlation - found.null_mean,
        "null_high": found.null_high - found.null_mean,
        "rows": found.rows,
    }


def conclude(rows: Sequence[Row]) -> Finding:
    """Evidence where states lie the farther apart, the more the inputs differ."""
    told = decide_by_mode(rows)
    words = ", ".join(
        f"{mode} {mean_of(rows, mode, 'correlation'):+.4f} (p = {p:.3g})" for mode, p in told.p_values.items()
    )
    does = "lead" if told.code == EVIDENCE else "do not lead"
    runs = sum(row.values["mode"] == told.best for row in rows)
    return Finding(
        told.code,
        f"Inputs that differ {does} to timing that differs. Correlation of the distances, chance taken off: {words}.",
        f"correlation of distances, {told.best}", mean_of(rows, told.best, "correlation"),
        p_value=told.p_value, detectable=_detectable(rows[0].cell.size, runs),
    )  # fmt: skip


def charts(rows: Sequence[Row]) -> Sequence[AnyChart]:
    """Correlation of distances beside its null."""
    series, modes = by_word(rows, "mode", "correlation", null="null_high")
    return [
        Chart(
            "Do states lie the farther apart, the more the inputs differ?",
            "Rank correlation of the distances of states with those of the last three inputs, what chance gives taken "
            "off.",
            "", "correlation of distances", series, [Mark(0.0, "")], modes,
        ),
    ]  # fmt: skip


EXPERIMENT = Experiment(
    name="separation",
    title="Do inputs that differ lead to share times that differ?",
    claims=(),
    source="Toward Thermodynamic Reservoir Computing, X (separation property)",
    hypothesis="The farther apart two inputs are, the farther apart are the share times that they lead to.",
    null="The same states, shifted in a circle against the input.",
    decision=(
        "Evidence where the rank correlation of the distances of states and of the last three inputs exceeds that of "
        "shifted states at 5 %, shared by Bonferroni over the modes."
    ),
    kinds=("emulator", "trace", "device"),
    models=("s9", "lv06"),
    sample=sample,
    points=points_of_modes,
    measure=measure,
    conclude=conclude,
    lasts=lasts(STEPS),
    effect=("thermal", 400.0),
    page="separation",
    charts=charts,
)
