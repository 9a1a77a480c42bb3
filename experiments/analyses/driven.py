"""States of a driven run for an experiment, and the null in which its input has nothing to do with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from experiments.experiment import ALPHA, EVIDENCE, NO_EVIDENCE, Point, Row
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from experiments.attached import Attached
    from experiments.narma_plan import Plan
    from experiments.subjects import Subject
    from reservoir.tasks import Task

F64 = npt.NDArray[np.float64]

CLOCKED, RECORDED = "monologue", "as recorded"
MODES = (CLOCKED, "dialogue")
GUARD = 50
"""Shifts stay so many steps away from 0: more than the longest delay that is looked at."""
REPLICA_STREAM = 41


@dataclass(frozen=True, eq=False)
class Driven:
    """A driven run behind its washout.

    Attributes:
        u: what was sent, shape (T,).
        y: target of the task, shape (T,).
        states: shape (T, N); columns that never vary are left out.
        mode: in which it was driven.
        missing: share of the steps without a share.
        period_s: mean time from one symbol to the next.
        independent: whether inputs were drawn independently of each other.
    """

    u: F64
    y: F64
    states: F64
    mode: str
    missing: float
    period_s: float
    independent: bool = False


def points_of_modes(size: str, subject: Subject) -> Sequence[Point]:
    """One per mode with an input; a stored run has the mode that it was driven in."""
    if subject.kind == "trace":
        return ({"mode": RECORDED},)
    return tuple({"mode": mode} for mode in MODES)


def plan_of(
    point: Point, seed: int, steps: int, lags: int = 0, observe: tuple[str, ...] = (), task: str = "narma10"
) -> Plan:
    """The plan of one cell: inputs drawn independently of each other, read without delay lines of the host.

    Args:
        point: conditions of the cell, with its ``mode``.
        seed: of input and miner.
        steps: behind the washout.
        lags: earlier steps that each state repeats.
        observe: kinds of state columns; empty for those of the NARMA experiment.
        task: whose input is sent.
    """
    from experiments.narma_plan import Plan

    mode = CLOCKED if point["mode"] == RECORDED else str(point["mode"])
    return Plan(
        mode=mode, seed=seed, train=steps, test=0, washout=GUARD, lags=lags, observe=observe, task=task
    )


def lasts(steps: Mapping[str, int], runs: int = 1) -> Callable[[str, Point, Attached], float]:
    """How long a cell of so many steps, by size, takes an attached miner.

    So many periods of the clock, in a dialogue so many shares, the washout among them.
    """
    return lambda size, point, subject: runs * driven_s(steps[size] + GUARD, point, subject)


def driven_s(steps: int, point: Point, subject: Attached) -> float:
    """Seconds of one drive of an attached miner."""
    from experiments.live import USUAL_PERIOD_S
    from experiments.narma_plan import PERIOD_S

    period_s = subject.period_s or PERIOD_S.get(subject.model, USUAL_PERIOD_S)
    step_s = 1.0 / subject.shares_per_s({}) if point.get("mode") == "dialogue" else period_s
    return steps * step_s + subject.between_s({})


def drive(subject: Subject, plan: Plan, *, task: Task | None = None, miner_seed: int | None = None) -> Driven:
    """Drive a miner, emulated or attached, or read a run that was driven.

    Args:
        subject: which; an attached one is driven in wall time, and its run is kept.
        plan: how.
        task: that of the plan with another target; None: with its own.
        miner_seed: chance of the miner, where several get the same input; None: the seed of the plan.

    Raises:
        UserError: if the run cannot be read so.
        LabError: if an attached miner could not be driven to the end.
    """
    from experiments.attached import Attached
    from experiments.narma_runs import driven_run, observed, read_run, steps_of_emulation
    from experiments.subjects import Emulated, Recorded

    if isinstance(subject, Emulated):
        on, sent = plan.on(subject.model), plan.draw() if task is None else task
        config = driven_run(
            on,
            sent,
            subject.model,
            dict(subject.plants),
            subject.resolved_physics(),
            plan.seed if miner_seed is None else miner_seed,
        )
        steps, u, y = steps_of_emulation(config), on.sent(sent), sent.y
        independent = sent.independent
    elif isinstance(subject, Recorded | Attached):
        from firmware_bridge.trace.reader import TraceReader

        if isinstance(subject, Recorded):
            run = subject.run
        else:
            run = subject.driven(plan, plan.seed if miner_seed is None else miner_seed)
        stored = read_run(TraceReader(subject.db), run, plan)
        plan, told, steps = stored.plan, stored.task, stored.steps
        u, y = plan.sent(told) if stored.driven else told.u, (told if task is None else task).y
        plan, independent = replace(plan, washout=GUARD), told.independent
    else:
        raise UserError(f"a {subject.kind} cannot be driven")
    seen = observed(steps, plan, indicators=False)
    rows = min(seen.states.shape[0], u.size, y.size)
    states = seen.states[GUARD:rows]
    varies = np.ptp(states, axis=0) > 0 if states.size else np.zeros(states.shape[1], bool)
    if rows < 4 * GUARD or not varies.any():
        raise UserError(
            f"{rows} steps with {int(varies.sum())} states that vary are too few: drive it for longer"
        )
    return Driven(
        u=u[GUARD:rows],
        y=y[GUARD:rows],
        states=states[:, varies],
        mode=plan.mode,
        missing=float(np.mean(seen.missing[:rows])),
        period_s=float(np.diff(steps.sent_ns[:rows, 0]).mean()) / 1e9,
        independent=independent and abs(plan.lead) <= GUARD,
    )


def replicas(subject: Subject, plan: Plan, count: int) -> list[Driven]:
    """Runs of a miner with one input, each with chance of its own."""
    seeds = plan.rng(REPLICA_STREAM).integers(2**31, size=count)
    return [drive(subject, plan, miner_seed=int(seed)) for seed in seeds]


@dataclass(frozen=True)
class AgainstNull:
    """A statistic beside its values where the input has nothing to do with the states.

    Attributes:
        value: as it is.
        null_mean: over the draws.
        null_high: their 95 % quantile.
        p_value: ``(1 + #{null >= value}) / (1 + draws)``.
    """

    value: float
    null_mean: float
    null_high: float
    p_value: float


def against_null(
    run: Driven, statistic: Callable[[F64, F64], float], draws: int, rng: np.random.Generator
) -> AgainstNull:
    """Hold a statistic of states (T, N) and input (T,) against a null in which the states keep their own memory.

    Inputs that were drawn independently are put into other orders, each of which was as likely: the level is exact.
    Other inputs stay as they are, and the states are shifted in a circle. Shifts next to each other are alike where the
    statistic looks at several delays, and those next to 0 are left out, so that a level of 2.5 % becomes up to 3 %.

    Raises:
        UserError: if there are fewer shifts than draws wanted.
    """
    from reservoir.gain import reordered, shifted

    value = statistic(run.states, run.u)
    if run.independent:
        null = [statistic(run.states, u) for u in reordered(run.u, draws, rng)]
    else:
        null = [statistic(states, run.u) for states in shifted(run.states, draws, GUARD, rng)]
    at_least = sum(one >= value for one in null)
    return AgainstNull(
        value, float(np.mean(null)), float(np.quantile(null, 0.95)), (1 + at_least) / (1 + draws)
    )


@dataclass(frozen=True)
class ByMode:
    """What the modes of an experiment come to.

    Attributes:
        code: evidence where the smallest p-value, times the number of modes, is at most 5 %.
        p_value: that.
        best: its mode.
        p_values: of each mode, its repetitions put together by Fisher's method.
    """

    code: str
    p_value: float
    best: str
    p_values: Mapping[str, float]


def decide_by_mode(rows: Sequence[Row]) -> ByMode:
    """Put the ``p_value`` of rows together: Fisher within a mode, Bonferroni over the modes."""
    from scipy.stats import combine_pvalues

    by_mode: dict[str, list[float]] = {}
    for row in rows:
        by_mode.setdefault(row.values["mode"], []).append(row.values["p_value"])
    p_values = {mode: float(combine_pvalues(p, method="fisher").pvalue) for mode, p in by_mode.items()}
    best = min(p_values, key=lambda mode: p_values[mode])
    p_value = min(1.0, p_values[best] * len(p_values))
    return ByMode(EVIDENCE if p_value <= ALPHA else NO_EVIDENCE, p_value, best, p_values)


def mean_of(rows: Sequence[Row], mode: str, name: str) -> float:
    """Mean of a value over the repetitions of a mode."""
    return float(np.mean([row.values[name] for row in rows if row.values["mode"] == mode]))
