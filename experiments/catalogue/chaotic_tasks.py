"""Does timing help with the tasks that reservoirs are shown with: chaotic series, a radio channel, parity?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from experiments.charts import ARMS, NULL, AnyChart, Chart, Ladder, Mark, Rung, arms, by_word
from experiments.experiment import (
    ALPHA,
    EVIDENCE,
    FAST,
    NO_EVIDENCE,
    Cell,
    Experiment,
    Finding,
    Point,
    Row,
    Sample,
)
from experiments.power import errors_needed
from experiments.recorded_points import PointRun, run_of, swept
from experiments.recorded_runs import RecordedRuns, of_cell
from experiments.recorded_symbols import task_of_run
from experiments.subjects import Recorded, Subject
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from experiments.attached import Attached
    from experiments.narma_plan import Plan
    from reservoir.tasks import Task

TASKS = ("mackey-glass", "lorenz", "laser", "channel", "xor", "parity3")
FEWER = ("mackey-glass", "lorenz", "channel")
"""Of the fast size, which is for counting alarms."""
BY_NAME = ("dysts:Rossler", "dysts:Chua", "dysts:HyperRossler")
"""Where dysts is installed, at full size."""
SHAPES = {"fast": (1000, 500), "quick": (2000, 1000), "full": (2000, 1000)}
REPETITIONS = {"fast": 1, "quick": 1, "full": 5}
PERMUTATIONS = {"fast": 199, "quick": 399, "full": 999}
"""So many that the smallest p-value, times the number of tasks, lies well below 5 %."""
LAGS = 9
GAP = 60
"""Shifts stay further away than the memory of the series' own readout."""
NULL_SD = 0.7
"""Standard deviation of the gain in units of the input's own NRMSE, times the root of the steps tested, with nothing
planted: measured on 24 runs."""


def _tasks(size: str) -> tuple[str, ...]:
    from importlib.util import find_spec

    if size == FAST:
        return FEWER
    return (*TASKS, *BY_NAME) if size == "full" and find_spec("dysts") is not None else TASKS


def _detectable(size: str, runs: int, tasks: int) -> str:
    return _found(SHAPES[size][1] * runs, tasks)


def _found(steps: int, tasks: int) -> str:
    z = errors_needed(ALPHA / tasks)
    share = z * NULL_SD / steps**0.5
    return f"a gain of {share:.1%} of the NRMSE of the input alone, in one of {tasks} tasks"


def sample(size: str) -> Sample:
    """Runs of each task."""
    train, test = SHAPES[size]
    found = _detectable(size, REPETITIONS[size], len(_tasks(size)))
    return Sample(REPETITIONS[size], None, f"{found} ({train} steps to train, {test} to test)")


def points(size: str, subject: Subject) -> Sequence[Point]:
    """One per task; of stored runs those that they were driven with."""
    if isinstance(subject, RecordedRuns):
        return subject.points()
    return tuple({"task": task} for task in _tasks(size))


def _lasts(size: str, point: Point, subject: Attached) -> float:
    from experiments.analyses.driven import GUARD, driven_s

    return driven_s(sum(SHAPES[size]) + GUARD, point, subject)


def _drawn(name: str, steps: int, rng: Any) -> Task:
    from reservoir.tasks import draw, mackey_glass

    # one step ahead like the others: 84 ahead the present value says nothing that timing could add to
    return mackey_glass(steps, rng, horizon=1) if name == "mackey-glass" else draw(name, steps, rng)


def _told(run: Recorded) -> dict[str, str]:
    """The task of a stored run."""
    from experiments.analyses.driven import GUARD

    told, fewest = task_of_run(run), 2 * (GUARD + GAP) + PERMUTATIONS[FAST]
    name = str(told["task"])
    if name not in (*TASKS, *BY_NAME):
        raise UserError(
            f"run {run.run} was driven with {name}; this is about {', '.join(TASKS)}, and asiclab narma judges others"
        )
    if told["steps"] < fewest:
        raise UserError(f"run {run.run} has {told['steps']} steps; {fewest} are needed")
    return {"task": name}


def _plan_of(run: Recorded) -> Plan:
    """The plan that a stored run was driven by."""
    from experiments.analyses.driven import GUARD, plan_of

    told = task_of_run(run)
    return plan_of({"mode": told["mode"]}, told["seed"], told["steps"] - GUARD, LAGS, task=told["task"])


def measure(cell: Cell, subject: Subject) -> dict[str, Any]:
    """NRMSE of the target with timing and without it, beside the delay lines of the host."""
    import numpy as np

    from experiments.analyses.driven import drive, plan_of
    from reservoir.baselines import delay_line, pair_products
    from reservoir.gain import gain_over_input_only
    from reservoir.rule import Rule, Split
    from reservoir.symbol_scores import symbol_scores

    train, test = SHAPES[cell.size]
    name = str(cell.point["task"])
    own = of_cell(subject, cell)
    permutations = PERMUTATIONS[cell.size]
    if isinstance(own, PointRun):
        plan = _plan_of(own.run)
        train = plan.train * train // (train + test)
    else:
        plan = plan_of({"mode": "monologue"}, cell.seed, train + test, LAGS, task=name)
    task = _drawn(name, plan.steps, plan.rng(0))
    run = drive(own.run if isinstance(own, PointRun) else own, plan, task=task)
    steps = run.u.size
    if isinstance(own, PointRun):
        permutations = min(permutations, steps - 2 * GAP + 1)
    split = Split(0, train, steps - train)
    gain = gain_over_input_only(
        run.u,
        run.y,
        run.states,
        split=split,
        permutations=permutations,
        gap=GAP,
        rng=plan.rng(3),
    )
    line = delay_line(run.u, LAGS + 1)
    rule = Rule(run.y[: split.steps], split, None)
    read = None if cell.size == FAST else symbol_scores(_cut(task, steps, run.u, run.y), run.states, split)
    return {
        "task": name,
        "p_value": gain.p_value,
        "gain": gain.gain,
        "gain_ci": list(gain.ci),
        "nrmse": gain.nrmse,
        "relative": gain.gain / (gain.nrmse + gain.gain),
        "input_only": float(rule.fit(run.u[: split.steps, None]).nrmse),
        "delay_line": float(rule.fit(line[: split.steps]).nrmse),
        "delay_line_quadratic": float(rule.fit(np.hstack([line, pair_products(line)])[: split.steps]).nrmse),
        "symbols": None if read is None else read.to_json(),
        "missing": run.missing,
        **({**run_of(own), "tested": split.test} if isinstance(own, PointRun) else {}),
    }


def _cut(task: Task, steps: int, u: Any, y: Any) -> Task:
    from dataclasses import replace

    return replace(task, u=u[:steps], y=y[:steps])


def conclude(rows: Sequence[Row]) -> Finding:
    """Evidence where timing wins on a task over the present value alone."""
    from scipy.stats import combine_pvalues

    p_values, words, relative = {}, [], {}
    for task in dict.fromkeys(row.values["task"] for row in rows):
        of_task = [row.values for row in rows if row.values["task"] == task]
        p_values[task] = float(combine_pvalues([v["p_value"] for v in of_task], method="fisher").pvalue)
        relative[task] = sum(v["relative"] for v in of_task) / len(of_task)
        mean = {
            name: sum(v[name] for v in of_task) / len(of_task)
            for name in ("nrmse", "delay_line", "delay_line_quadratic")
        }
        words.append(
            f"{task} {relative[task]:+.2%} of NRMSE {mean['nrmse']:.4f} (p = {p_values[task]:.3g}; ten past values of "
            f"the host {mean['delay_line']:.4f}, with their products {mean['delay_line_quadratic']:.4f}"
            f"{_symbols(of_task)})"
        )
    best = min(p_values, key=lambda task: p_values[task])
    p_value = min(1.0, p_values[best] * len(p_values))
    found = p_value <= ALPHA and relative[best] > 0
    runs = sum(row.values["task"] == best for row in rows)
    tested = sum(row.values.get("tested", 0) for row in rows if row.values["task"] == best)
    tasks = len(p_values)
    return Finding(
        EVIDENCE if found else NO_EVIDENCE,
        f"Timing {'tells' if found else 'tells nothing of'} the target beyond the present value, in {len(p_values)} "
        f"tasks. Gain: {', '.join(words)}.",
        f"gain over the present value alone, {best}", relative[best],
        p_value=p_value,
        detectable=_found(tested, tasks) if tested else _detectable(rows[0].cell.size, runs, tasks),
    )  # fmt: skip


def charts(rows: Sequence[Row]) -> Sequence[AnyChart]:
    """Error with timing beside that of the present value alone, and the gain."""
    rungs = [
        rung
        for arm, own in arms(rows)
        for row in own
        for rung in (
            Rung(
                f"{row.values['task']}, present value alone",
                row.values["nrmse"] + row.values["gain"],
                role=NULL,
            ),
            Rung(f"{row.values['task']}, with timing, {ARMS[arm]}", row.values["nrmse"], role=arm),
        )
    ]
    gains, tasks = by_word(rows, "task", "gain", ci="gain_ci")
    return [
        Chart(
            "What does timing add to the present value?",
            "Gain in NRMSE over the same timing moved against the series; bars: 95 % of the ways to move it. Above 0 "
            "timing tells something of the next value.",
            "", "gain in NRMSE", gains, [Mark(0.0, "nothing")], tasks,
        ),
        Ladder(
            "How well is the next value predicted?",
            "Error one step ahead on steps not learnt from, as a part of the deviation of the series; left is better.",
            "NRMSE", rungs,
        ),
    ]  # fmt: skip


def _symbols(of_task: Sequence[Any]) -> str:
    known = [values["symbols"] for values in of_task if values["symbols"] is not None]
    if not known:
        return ""
    right, alone, line = (
        sum(one[name] for one in known) / len(known)
        for name in ("accuracy", "input_only", "delay_line_10_quadratic")
    )
    return f"; symbols read right {right:.3f}, without timing {alone:.3f}, by ten past values {line:.3f}"


EXPERIMENT = Experiment(
    name="chaotic-tasks",
    title="Does timing help with chaotic series, a radio channel, or parity?",
    claims=(),
    source="Toward Thermodynamic Reservoir Computing, table VII (Mackey-Glass)",
    hypothesis="Driven with a chaotic series or a code, timing holds the past that the target needs.",
    null="The readout scores what it scores with the timing shifted against the input: as much as the present value.",
    decision=(
        "Evidence where the gain over the present value alone is significant for one of the tasks at 5 %, shared by "
        "Bonferroni over all of them."
    ),
    kinds=("emulator", "trace", "device"),
    models=("s9", "lv06"),
    sample=sample,
    points=points,
    measure=measure,
    conclude=conclude,
    together=swept(beside=("task",), told=_told, words=(*TASKS, *BY_NAME)),
    lasts=_lasts,
    effect=("thermal", 200.0),
    page="chaotic-tasks",
    charts=charts,
)
