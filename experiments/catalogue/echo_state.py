"""Do runs with the same input give the same share times again?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from experiments.analyses.driven import decide_by_mode, lasts, mean_of
from experiments.charts import AnyChart, Chart, Mark, by_word
from experiments.experiment import ALPHA, EVIDENCE, Cell, Experiment, Finding, Point, Row, Sample
from experiments.power import errors_needed
from experiments.recorded_replicas import ReplicaSet, replicas_of
from experiments.recorded_runs import RecordedRuns, of_cell
from experiments.subjects import Subject

if TYPE_CHECKING:
    from reservoir.consistency import Consistency, EchoState

STEPS = {"fast": 1500, "quick": 3000, "full": 6000}
REPETITIONS = {"fast": 1, "quick": 1, "full": 4}
REPLICAS = 3
NULL_SD = 0.48
"""Standard deviation of the mean correlation with nothing planted, times the root of the steps: measured on 24
dialogues, where it is larger than on the clock."""


def _detectable(size: str, runs: int) -> str:
    return _found(STEPS[size] * runs)


def _found(steps: float) -> str:
    z = errors_needed(ALPHA / 2)
    return f"a mean correlation of replicas of {z * NULL_SD / steps**0.5:.3f}"


def sample(size: str) -> Sample:
    """Sets of replicas of each mode."""
    what = f"{_detectable(size, REPETITIONS[size])} ({REPLICAS} replicas of {STEPS[size]} steps)"
    return Sample(REPETITIONS[size], None, what)


def points(size: str, subject: Subject) -> Sequence[Point]:
    """The two modes with an input; of stored replicas those that they were driven in."""
    if isinstance(subject, RecordedRuns):
        return subject.points()
    return ({"mode": "monologue"}, {"mode": "dialogue"})


def measure(cell: Cell, subject: Subject) -> dict[str, Any]:
    """Consistency of replicas, and whether runs that began differently meet."""
    from experiments.analyses.driven import GUARD, drive, plan_of, replicas
    from reservoir.consistency import consistency, echo_state

    own = of_cell(subject, cell)
    if isinstance(own, ReplicaSet):
        return _of_stored(own)
    plan = plan_of(cell.point, cell.seed, STEPS[cell.size])
    runs = replicas(subject, plan, REPLICAS)
    rows = min(run.states.shape[0] for run in runs)
    nodes = min(run.states.shape[1] for run in runs)
    states = [run.states[:rows, :nodes] for run in runs]
    same = consistency(states, guard=GUARD)
    # the lead ends where the washout does: the first row is the first with the common input
    low, high = (
        drive(subject, replace(plan, lead=lead), miner_seed=cell.seed + 1 + i).states
        for i, lead in enumerate((GUARD, -GUARD))
    )
    rows = min(low.shape[0], high.shape[0])
    columns = min(low.shape[1], high.shape[1])
    echo = echo_state(low[:rows, :columns], high[:rows, :columns])
    return _values(runs[0].mode, same, nodes, echo)


def _of_stored(own: ReplicaSet) -> dict[str, Any]:
    """The same of stored replicas: those without a lead show whether they agree, those with leads whether they meet."""
    from experiments.analyses.driven import GUARD
    from reservoir.consistency import consistency, echo_state

    read = own.read()
    leads = [plan.lead for plan in read.plans]
    alike = [states for states, lead in zip(read.states, leads, strict=True) if lead == 0]
    alike = alike if len(alike) > 1 else list(read.states)
    same = consistency([states[GUARD - read.lead :] for states in alike], guard=GUARD)
    echo = None
    if len(set(leads)) > 1:
        low, high = (read.states[leads.index(lead)] for lead in (max(leads), min(leads)))
        echo = echo_state(low, high)
    return {
        **_values(read.plans[0].mode, same, len(read.columns), echo),
        "replicas": len(alike),
        "steps": alike[0].shape[0] - (GUARD - read.lead),
        "runs": [run.run for run in own.runs],
    }


def _values(mode: str, same: Consistency, nodes: int, echo: EchoState | None) -> dict[str, Any]:
    from math import isfinite

    return {
        "mode": mode,
        "p_value": same.p_value,
        "correlation": same.mean,
        "null_high": same.null_high,
        "capacity": same.capacity,
        "nodes": nodes,
        "end": None if echo is None else echo.end,
        "start": None if echo is None else echo.start,
        "exponent": None if echo is None or not isfinite(echo.exponent) else echo.exponent,
        "forgets": None if echo is None else echo.forgets,
    }


def conclude(rows: Sequence[Row]) -> Finding:
    """Evidence where replicas agree more than the same runs shifted against each other."""
    told = decide_by_mode(rows)
    words = ", ".join(
        f"{mode} {mean_of(rows, mode, 'correlation'):+.4f} (p = {p:.3g})" for mode, p in told.p_values.items()
    )
    runs = [row.values for row in rows if row.values["mode"] == told.best]
    if told.code == EVIDENCE:
        forgets = [values["forgets"] for values in runs]
        text = f"Runs with the same input agree: correlation {words}. " + (
            "None of them began differently, so that forgetting another start was not looked at."
            if None in forgets
            else "Runs that began differently meet: the echo state property is seen."
            if all(forgets)
            else "How fast they forget another start is below the noise, so that no decay is seen."
        )
    else:
        text = (
            f"Runs with the same input agree no more than unrelated ones: correlation {words}. What does not depend on "
            "its input has no echo state to speak of."
        )
    return Finding(
        told.code, text, f"mean correlation of replicas, {told.best}", mean_of(rows, told.best, "correlation"),
        p_value=told.p_value, detectable=_found_in(runs) or _detectable(rows[0].cell.size, len(runs)),
    )  # fmt: skip


def _found_in(runs: Sequence[Any]) -> str:
    """What so many steps of so many replicas show; nothing where they have the number that the size says."""
    if "steps" not in runs[0]:
        return ""
    # a mean over pairs, of which three replicas have three
    pairs = [values["replicas"] * (values["replicas"] - 1) / 2 for values in runs]
    return _found(sum(values["steps"] * n / 3 for values, n in zip(runs, pairs, strict=True)))


def charts(rows: Sequence[Row]) -> Sequence[AnyChart]:
    """Agreement of replicas beside that of shifted ones, and whether runs that began differently meet."""
    same, modes = by_word(rows, "mode", "correlation", null="null_high")
    ends, _ = by_word(rows, "mode", "end", null="start")
    ends[0] = replace(ends[0], label="distance at the start")
    return [
        Chart(
            "Do runs with the same input agree?",
            "Mean correlation of replicas. A reservoir has 1, a lottery 0.",
            "", "correlation of replicas", same, [Mark(0.0, "")], modes,
        ),
        Chart(
            "Do runs that began differently meet?",
            "Distance of their states over the last steps with one input. With an echo state it falls to 0; where each "
            "state is chance it stays where it began.",
            "", "distance of the states", ends, [Mark(0.0, "")], modes,
        ),
    ]  # fmt: skip


EXPERIMENT = Experiment(
    name="echo-state",
    title="Do runs with the same input give the same share times?",
    claims=(),
    source="Toward Thermodynamic Reservoir Computing, table VII (echo state property, critical)",
    hypothesis="A reservoir answers one input in one way, wherever it began: replicas agree.",
    null="Replicas shifted against each other: what runs have in common that did not get the same input.",
    decision=(
        "Evidence where the mean correlation of replicas exceeds that of shifted ones at 5 %, shared by Bonferroni "
        "over the modes."
    ),
    kinds=("emulator", "trace", "device"),
    models=("s9", "lv06"),
    sample=sample,
    points=points,
    measure=measure,
    conclude=conclude,
    together=replicas_of,
    lasts=lasts(STEPS, REPLICAS + 2),
    effect=("thermal", 150.0),
    page="echo-state",
    charts=charts,
)
