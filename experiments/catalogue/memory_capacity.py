"""Do share times remember the inputs before the present one?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.analyses.driven import decide_by_mode, lasts, mean_of, points_of_modes
from experiments.charts import ARMS, LINE, NULL, AnyChart, Chart, Mark, Series, arms, by_word
from experiments.experiment import (
    ALPHA,
    EVIDENCE,
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

STEPS = {"fast": 1500, "quick": 3000, "full": 6000}
REPETITIONS = {"fast": 1, "quick": 1, "full": 4}
DELAYS = 10
DRAWS = 199
STATES = 5
"""State columns of a step, see experiments.narma_plan.OBSERVE."""
PUBLISHED_CAPACITY, PUBLISHED_NRMSE = (0.27, 0.35), (0.15, 0.22)


def _detectable(size: str, runs: int) -> str:
    # by chance each delay scores chi2(N)/T, so the sum over D delays has the standard deviation sqrt(2 N D)/T
    z = errors_needed(ALPHA / 2)
    return f"a memory capacity of {z * (2 * STATES * DELAYS / runs) ** 0.5 / STEPS[size]:.3f} in one mode"


def sample(size: str) -> Sample:
    """Runs of each mode."""
    return Sample(
        REPETITIONS[size], None, f"{_detectable(size, REPETITIONS[size])}, over {STEPS[size]} steps"
    )


def measure(cell: Cell, subject: Subject) -> dict[str, Any]:
    """Linear memory of the delays 1 to 10 beside its null, and NARMA-10 read from the timing alone."""
    import numpy as np

    from experiments.analyses.driven import GUARD, against_null, drive, plan_of
    from reservoir.capacities import memory_capacity
    from reservoir.rule import Rule, Split

    plan = plan_of(cell.point, cell.seed, STEPS[cell.size])
    run = drive(subject, plan)

    def total(states: Any, u: Any) -> float:
        return memory_capacity(states, u, DELAYS).raw

    found = against_null(run, total, DRAWS, np.random.default_rng([cell.seed, 1]))
    counted = memory_capacity(run.states, run.u, DELAYS)
    single = [memory_capacity(run.states, run.u, d, first_delay=d) for d in range(1, DELAYS + 1)]
    # what chance gives is taken off; its spread is that of the null, a capacity adds that of a squared correlation
    error = float(np.hypot(counted.standard_error, (2 * counted.rank * DELAYS) ** 0.5 / counted.rows))
    # the readout of the papers sees the last ten steps of timing
    n = run.states.shape[0]
    lagged = np.hstack([run.states[9 - lag : n - lag] for lag in range(10)])
    train = 2 * lagged.shape[0] // 3
    split = Split(0, train, lagged.shape[0] - train)
    nrmse = Rule(run.y[9:][: split.train + split.test], split, None).fit(lagged).nrmse
    return {
        "mode": run.mode,
        "p_value": found.p_value,
        "capacity": found.value - found.null_mean,
        "error": error,
        "null_high": found.null_high - found.null_mean,
        "nrmse": float(nrmse),
        "by_delay": [d.raw - d.null_mean for d in single],
        "threshold": counted.threshold - counted.null_mean,
        "missing": run.missing,
        "model": subject.model,
        "washout": GUARD,
    }


def conclude(rows: Sequence[Row]) -> Finding:
    """Evidence where a mode remembers more than the same states remember of an input that they have not seen."""
    told = decide_by_mode(rows)
    runs = [row for row in rows if row.values["mode"] == told.best]
    capacity = mean_of(rows, told.best, "capacity")
    error = float(sum(row.values["error"] ** 2 for row in runs)) ** 0.5 / len(runs)
    ci = (capacity - 1.96 * error, capacity + 1.96 * error)
    words = ", ".join(
        f"{mode} {mean_of(rows, mode, 'capacity'):+.4f} (p = {p:.3g})" for mode, p in told.p_values.items()
    )
    found = told.code == EVIDENCE
    text = (
        f"Timing {'remembers' if found else 'does not remember'} earlier inputs. Linear memory of the delays 1 to "
        f"{DELAYS}, chance taken off: {words}."
    )
    nrmse = mean_of(rows, told.best, "nrmse")
    low, high = PUBLISHED_CAPACITY
    fits = found and ci[0] <= high and ci[1] >= low and PUBLISHED_NRMSE[0] <= nrmse <= PUBLISHED_NRMSE[1]
    on_lv06 = rows[0].values["model"] == "lv06"
    number = Number(
        capacity,
        ci,
        None if not on_lv06 else REPRODUCED if fits else NOT_REPRODUCED,
        f"memory capacity of the {told.best} mode ({low:g} to {high:g} published); NARMA-10 from ten steps of timing: "
        f"NRMSE {nrmse:.3f} ({PUBLISHED_NRMSE[0]:g} to {PUBLISHED_NRMSE[1]:g} published). Reproduced where, on an "
        "LV06, memory is found, our interval meets theirs, and the NRMSE lies in theirs",
    )
    return Finding(
        told.code, text, f"memory capacity, {told.best}", capacity, ci, told.p_value,
        _detectable(rows[0].cell.size, len(runs)), {"C4": number},
    )  # fmt: skip


def charts(rows: Sequence[Row]) -> Sequence[AnyChart]:
    """Memory delay by delay, and its sum beside the null."""
    series, threshold = [], 0.0
    for arm, own in arms(rows):
        for number, mode in enumerate(dict.fromkeys(row.values["mode"] for row in own)):
            some = [row.values for row in own if row.values["mode"] == mode and row.values.get("by_delay")]
            means = [sum(v["by_delay"][d] for v in some) / len(some) for d in range(DELAYS)] if some else []
            threshold = max([threshold, *(v["threshold"] for v in some)])
            at = [float(d) for d in range(1, len(means) + 1)]
            series.append(Series(f"{ARMS[arm]}, {mode}", at, means, role=arm, form=LINE, second=number > 0))
    total, modes = by_word(rows, "mode", "capacity", error="error", null="null_high")
    return [
        Chart(
            "Which inputs does timing remember?",
            "Part of the variance of the input so many steps before that a line through the states explains, what "
            "chance gives taken off.",
            "delay, steps", "memory capacity", series,
            [Mark(0.0, ""), Mark(threshold, "one delay passes by chance in 5 % of runs", NULL)],
        ),
        Chart(
            "How much is that together?",
            f"Sum over the delays 1 to {DELAYS}; bars: 95 %. {PUBLISHED_CAPACITY[0]:g} to {PUBLISHED_CAPACITY[1]:g} "
            "was published for an LV06.",
            "", "memory capacity", total, [Mark(0.0, "")], modes,
        ),
    ]  # fmt: skip


EXPERIMENT = Experiment(
    name="memory-capacity",
    title="Do share times remember earlier inputs?",
    claims=("C4",),
    source="memoria, table 12",
    hypothesis="Share times hold a linear memory of inputs: capacity 0.27 to 0.35 on an LV06, far above 1 on an S9.",
    null=(
        "The same states and the same inputs in another order: the states' own memory stays, their tie to the input "
        "goes. Where a stored run's inputs were not drawn independently, the states are shifted in a circle instead."
    ),
    decision=(
        "Evidence where the sum of the capacities of the delays 1 to 10 exceeds that of the null at 5 %, shared "
        "by Bonferroni over the modes."
    ),
    kinds=("emulator", "trace", "device"),
    models=("s9", "lv06"),
    sample=sample,
    points=points_of_modes,
    measure=measure,
    conclude=conclude,
    lasts=lasts(STEPS),
    effect=("thermal", 100.0),
    page="memory-capacity",
    charts=charts,
)
