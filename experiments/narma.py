"""NARMA-10 and its like through a miner: drive it with the input, read its timing, score it beside every baseline.

What is scored is always a stored run: an emulated one is written into the trace first, and a recording that nobody
drove has the symbols of its own jobs for an input. So ``--trace`` gives the same numbers again, as long as the trace is
there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from experiments.narma_plan import NULL_STREAM, OTHER_STREAM, SCORE_STREAM, Plan
from experiments.narma_runs import driven_run, emulation, observed, read_run, slots_of, steps_of_emulation
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from experiments.bridge_clock import BridgeClock
    from firmware_bridge.emulator.physics import Physics
    from firmware_bridge.trace.reader import TraceReader
    from reservoir.evaluate import Evaluation
    from reservoir.gain import Gain
    from reservoir.observation import Observation
    from reservoir.steps import Steps
    from reservoir.symbol_scores import SymbolScores
    from reservoir.tasks import Task

F64 = npt.NDArray[np.float64]

FOUND_AT = {"thermal": ("monologue", 120.0), "queue": ("monologue", 200.0)}
"""Planted memory that this analysis finds in at least 170 of 200 runs with everything else as it is by default, and in
which mode; ``make study`` and the slow tests count."""


@dataclass(frozen=True)
class Result:
    """A score with what it was made from.

    Attributes:
        evaluation: the score beside its baselines.
        observation: the states.
        run_id: of the run that was scored.
        mode: in which it was driven; None where nobody drove it.
        encode: field that carried the symbols; None likewise.
        seed: of the permutations, and of the task where it was driven.
        plants: effects planted in it.
        redraws: tasks drawn anew because they diverged.
        left_out: rows of the run that could not be used, by reason.
        clock: the bridge's own part in the timing; None where the run was not driven live.
        input: scored input, shape (steps,).
        symbols: where the target takes a few values, how many of them are read right; None elsewhere.
    """

    evaluation: Evaluation
    observation: Observation
    run_id: str
    mode: str | None
    encode: str | None
    seed: int
    plants: Mapping[str, float]
    redraws: int
    left_out: Mapping[str, int]
    clock: BridgeClock | None
    input: F64 = field(repr=False)
    symbols: SymbolScores | None = None

    @property
    def caution(self) -> str | None:
        """What has to be known of a carrier that prints the input into the timing; None for the others."""
        from reservoir.encoding import PRINTING

        if self.encode not in PRINTING:
            return None
        text = (
            f"The {self.encode} prints the input into the rate of shares, so a gain shows no computation: past timing "
            "is past input. What counts is how the states stand to the emulator_null, driven alike with nothing planted"
        )
        null = self.evaluation.differences.get("emulator_null")
        if null is None:
            return f"{text}; emulate the same model to have it."
        if null.ci is None:
            return f"{text}: it is worse by {null.difference:+.4f}."
        low, high = null.ci
        found = "better than" if low > 0 else "worse than" if high < 0 else "not told apart from"
        return (
            f"{text}: they are {found} it (it is worse by {null.difference:+.4f}, {low:+.4f} to {high:+.4f})."
        )

    def to_json(self) -> dict[str, Any]:
        """Every number, as plain data."""
        return {
            **self.evaluation.to_json(),
            "symbols": None if self.symbols is None else self.symbols.to_json(),
            "caution": self.caution,
            "run": self.run_id,
            "mode": self.mode,
            "encode": self.encode,
            "seed": self.seed,
            "plants": dict(self.plants),
            "redraws": self.redraws,
            "missing": float(np.mean(self.observation.missing)),
            "left_out": dict(self.left_out),
            **({} if self.clock is None else {"bridge": self.clock.to_json()}),
        }


def score(
    plan: Plan,
    task: Task,
    observation: Observation,
    *,
    others: Mapping[str, F64] | None = None,
) -> Evaluation:
    """States against their baselines."""
    from reservoir.evaluate import evaluate
    from reservoir.gain import GAP
    from reservoir.rule import Split

    n = min(task.u.size, observation.states.shape[0])
    return evaluate(
        plan.task,
        task.u[:n],
        task.y[:n],
        observation.states[:n],
        split=Split(plan.washout, plan.train, plan.test),
        columns=[column.name for column in observation.columns],
        others={name: states[:n] for name, states in (others or {}).items()},
        permutations=plan.permutations,
        gap=GAP + plan.lags,
        alpha=plan.alpha,
        rng=plan.rng(SCORE_STREAM),
    )


def score_run(
    reader: TraceReader, name: str, plan: Plan, *, miner: str | None = None, other: str | None = None
) -> Result:
    """Score a stored run.

    Args:
        reader: of the trace.
        name: id of the run, a unique prefix, or ``latest``.
        plan: how to score; a run that was driven says itself with what.
        miner: whose steps, where there are several.
        other: a run of the same trace whose timing is scored as a baseline (``other_run``).

    Raises:
        UserError: if there is no such run, it has no symbols, or is too short.
    """
    from reservoir.rule import Split
    from reservoir.steps import read_steps
    from reservoir.symbol_scores import symbol_scores

    stored = read_run(reader, name, plan, miner=miner)
    record, driven, steps, plan, task = stored.record, stored.driven, stored.steps, stored.plan, stored.task
    if plan.swing is not None:
        from experiments.carriers import check_settings

        check_settings(reader, stored.number, plan.encoding(task))
    observation = observed(steps, plan)
    others = {}
    if other is not None:
        found = read_steps(
            reader, reader.resolve(other), miner=miner, slots=steps.slots, symbols_from="prevhash"
        )
        others["other_run"] = _same_length(observed(found, plan).states, observation.states.shape[0], other)
    if driven and record["config"].get("model") is not None:
        others.update(_emulated_nulls(plan, record, task, observation.states.shape[0]))
    evaluation = score(plan, task, observation, others=others)
    return Result(
        evaluation=evaluation,
        observation=observation,
        run_id=record["run_id"],
        mode=plan.mode if driven else None,
        encode=plan.encode if driven else None,
        seed=plan.seed,
        plants=record["plants"],
        redraws=task.redraws,
        left_out=steps.left_out,
        clock=_clock(plan, record, steps, task) if driven and record["kind"] == "live" else None,
        input=task.u[: plan.steps],
        symbols=symbol_scores(task, observation.states, Split(plan.washout, plan.train, plan.test)),
    )


def _clock(plan: Plan, record: Mapping[str, Any], steps: Steps, task: Task) -> BridgeClock | None:
    from experiments.bridge_clock import bridge_clock

    base = plan.encoding(task).base(task.u)
    handshake = plan.mode == "dialogue"
    return bridge_clock(steps, base, handshake=handshake, period_s=record["config"]["job_period_s"])


def _same_length(states: F64, rows: int, name: str) -> F64:
    if states.shape[0] < rows:
        raise UserError(
            f"run {name} has {states.shape[0]} steps, {rows} are needed to stand beside the scored one"
        )
    return states[:rows]


def _emulated_nulls(plan: Plan, record: Mapping[str, Any], task: Task, rows: int) -> dict[str, F64]:
    """Timing of the same model emulated, driven alike with nothing planted, and of one driven with another input."""
    from firmware_bridge.emulator.physics import Physics
    from reservoir.encoding import Encoding

    model = record["config"]["model"]
    names = set(Physics.__dataclass_fields__)
    told = {k: v for k, v in record["physics"].items() if k in names}
    physics = Physics(**told) if told else Physics.of(model)  # of a real miner nothing is told
    difficulty = record["config"]["difficulty"]
    period_s = record["config"]["job_period_s"]
    plan = replace(plan, period_s=period_s, washout=plan.washout + max(0, task.u.size - plan.steps))
    seeds = plan.rng(NULL_STREAM).integers(2**31, size=2)
    another, plants = plan.draw(OTHER_STREAM), dict(record["plants"])
    told_encoding, its = Encoding.from_json(record["config"]["narma"]["encoding"]), plan.encoding(another)
    encodings = told_encoding, replace(told_encoding, low=its.low, high=its.high)
    null = driven_run(plan, task, model, {}, physics, int(seeds[0]), encodings[0], difficulty)
    other = driven_run(plan, another, model, plants, physics, int(seeds[1]), encodings[1], difficulty)
    return {
        name: observed(steps_of_emulation(config, slots=slots_of(record), observe=plan.observe), plan).states[
            :rows
        ]
        for name, config in (("emulator_null", null), ("other_run", other))
    }


def gain_of_emulation(
    plan: Plan, model: str, plants: Mapping[str, float] | None = None, physics: Physics | None = None
) -> Gain:
    """Gain over the input alone, of a run that is not stored: for studies of many."""
    from reservoir.gain import GAP, gain_over_input_only
    from reservoir.rule import Split

    task = plan.draw()
    slots = plan.on(model).encoding(task).slots
    steps = steps_of_emulation(emulation(plan, model, plants, physics), slots=slots, observe=plan.observe)
    states = observed(steps, plan).states
    return gain_over_input_only(
        task.u, task.y, states, split=Split(plan.washout, plan.train, plan.test), permutations=plan.permutations,
        gap=GAP + plan.lags, alpha=plan.alpha, rng=plan.rng(SCORE_STREAM),
    )  # fmt: skip
