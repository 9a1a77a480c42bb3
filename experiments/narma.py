"""NARMA-10 and its like through a miner: drive it with the input, read its timing, score it beside every baseline.

What is scored is always a stored run: an emulated one is written into the trace first, and a recording that nobody
drove has the symbols of its own jobs for an input. So ``--trace`` gives the same numbers again, as long as the trace is
there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from firmware_bridge.emulator.physics import Physics
    from firmware_bridge.emulator.virtual import VirtualConfig
    from firmware_bridge.trace.reader import TraceReader
    from firmware_bridge.trace.writer import TraceWriter
    from reservoir.encoding import Encoding, Mask
    from reservoir.evaluate import Evaluation
    from reservoir.observation import Observation
    from reservoir.steps import Steps
    from reservoir.tasks import Task

F64 = npt.NDArray[np.float64]

MODES = ("dialogue", "monologue", "constant")
MASKS = ("binary", "uniform", "mls")
TASK = "narma10"
NARMA_RANGE = (0.0, 0.5)
"""Range of the input of a NARMA task; other tasks use the range that they have."""
PERIOD_S = {"s9": 0.5, "lv06": 10.0}
"""Job period where a clock sends the symbols: a few shares each at the model's smallest difficulty."""
OBSERVE = ("response", "arrival", "interval", "count", "mean_response")
"""Columns where nothing else is asked for."""
LAGS = 9
"""Steps that the readout sees besides the present one: together those that NARMA-10 depends on."""
FOUND_AT = {"thermal": ("monologue", 120.0), "queue": ("monologue", 200.0)}
"""Planted memory that this analysis finds in at least 170 of 200 runs with everything else as it is by default, and in
which mode; ``make study`` and the slow tests count."""

_TASK_STREAM, _OTHER_STREAM, _NULL_STREAM, _SCORE_STREAM, _MASK_STREAM = range(5)


@dataclass(frozen=True)
class Plan:
    """What to send, and how to score what comes back.

    Attributes:
        mode: ``dialogue``, ``monologue`` or ``constant``.
        encode: job field that carries the symbols.
        task: name of the task, see :func:`reservoir.tasks.draw`.
        observe: kinds of state columns; empty for ``OBSERVE``.
        lags: steps of the past beside the present one.
        mask: ``KIND:V`` with binary, uniform or mls (maximum length): spread each input over V jobs by such weights.
        feedback: of the dialogue.
        train: steps.
        test: steps.
        washout: steps.
        seed: of the task, of the emulation and of the permutations, each with a stream of its own.
        permutations: of the null of the gain.
        alpha: one λ for all readouts; None has each choose its own.
        period_s: job period of the modes with a clock; None: that of the model.
    """

    mode: str = "dialogue"
    encode: str = "coinbase"
    task: str = TASK
    observe: tuple[str, ...] = ()
    lags: int = LAGS
    mask: str | None = None
    feedback: float = 0.25
    train: int = 2000
    test: int = 1000
    washout: int = 200
    seed: int = 0
    permutations: int = 199
    alpha: float | None = None
    period_s: float | None = None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UserError(f"--mode is one of {', '.join(MODES)}, not {self.mode!r}")
        if self.lags < 0:
            raise UserError(f"--lags is 0 or more, not {self.lags}")

    @property
    def steps(self) -> int:
        """Steps that are scored, washout included."""
        return self.washout + self.train + self.test

    def rng(self, stream: int) -> np.random.Generator:
        """Chance for one purpose."""
        return np.random.default_rng([self.seed, stream])

    def draw(self, stream: int = _TASK_STREAM) -> Task:
        """Input and target; the same arrays each time."""
        return _drawn(self.task, self.steps, self.seed, stream)

    def encoding(self, task: Task) -> Encoding:
        """How its input becomes symbols.

        Raises:
            UserError: if the field is not one that jobs can carry.
        """
        from reservoir.encoding import Encoding

        narma = self.task.startswith("narma")
        low, high = NARMA_RANGE if narma else (float(task.u.min()), float(task.u.max()))
        fed_back = self.feedback if self.mode == "dialogue" else 0.0
        return Encoding(self.encode, self.mode, fed_back, self._mask(), low=low, high=high)  # type: ignore[arg-type]

    def _mask(self) -> Mask:
        from reservoir.encoding import Mask

        if self.mask is None:
            return Mask()
        kind, _, slots = self.mask.partition(":")
        if kind not in MASKS or not slots.isdecimal() or not 2 <= int(slots) <= 1000:
            raise UserError(
                f"--mask is {', '.join(f'{m}:V' for m in MASKS)} with 2 to 1000 jobs, not {self.mask!r}"
            )
        if kind == "mls":
            return Mask.maximum_length(int(slots))
        return getattr(Mask, kind)(int(slots), self.rng(_MASK_STREAM))  # type: ignore[no-any-return]


@lru_cache(maxsize=8)
def _drawn(task: str, steps: int, seed: int, stream: int) -> Task:
    from reservoir.tasks import draw

    return draw(task, steps, np.random.default_rng([seed, stream]))


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
        input: scored input, shape (steps,).
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
    input: F64 = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """Every number, as plain data."""
        return {
            **self.evaluation.to_json(),
            "run": self.run_id,
            "mode": self.mode,
            "encode": self.encode,
            "seed": self.seed,
            "plants": dict(self.plants),
            "redraws": self.redraws,
            "missing": float(np.mean(self.observation.missing)),
            "left_out": dict(self.left_out),
        }


# ---- driving ---------------------------------------------------------------------------------------------------------


def emulation(
    plan: Plan, model: str, plants: Mapping[str, float] | None = None, physics: Physics | None = None
) -> VirtualConfig:
    """The virtual run that sends a plan's input to an emulated miner."""
    return _driven(plan, plan.draw(), model, dict(plants or {}), physics, plan.seed)


def _driven(
    plan: Plan, task: Task, model: str, plants: dict[str, float], physics: Physics | None, seed: int
) -> VirtualConfig:
    from firmware_bridge.emulator.drive import Drive
    from firmware_bridge.emulator.virtual import VirtualConfig

    encoding = plan.encoding(task)
    base = encoding.base(task.u).ravel()
    # the last step ends when one more job is sent
    drive = Drive((*base.tolist(), 0.5), field=plan.encode, feedback=encoding.feedback)
    handshake = plan.mode == "dialogue"
    return VirtualConfig(
        model=model,
        shares=None,
        seed=seed,
        mode="swh" if handshake else "stream",
        job_period_s=plan.period_s or PERIOD_S.get(model, VirtualConfig.job_period_s),
        plants=plants,
        physics=physics,
        drive=drive,
    )


def write_run(
    plan: Plan, config: VirtualConfig, writer: TraceWriter, *, cli: Mapping[str, Any] | None = None
) -> str:
    """Emulate into a trace, with the plan and the command line in the run's record; returns the run's id."""
    from firmware_bridge.emulator.virtual import run_virtual, settings_of

    run = run_virtual(config, writer)
    told = {"task": plan.task, "mode": plan.mode, "seed": plan.seed, "steps": plan.steps, "mask": plan.mask}
    encoding = plan.encoding(plan.draw()).to_json()
    said = {} if cli is None else {"cli": dict(cli)}
    run.update(config={**settings_of(config), **said, "narma": {**told, "encoding": encoding}})
    return run.run_id


# ---- reading back ----------------------------------------------------------------------------------------------------


def steps_of_emulation(config: VirtualConfig, *, slots: int = 1) -> Steps:
    """Steps of a virtual run that no trace needs to keep, ``slots`` jobs each."""
    from firmware_bridge.emulator.virtual import simulate
    from reservoir.steps import Jobs, Shares, steps_of

    trace = simulate(config)
    return steps_of(
        Jobs(trace.job_sent_ns, trace.symbol, trace.job_difficulty),
        Shares(
            trace.row_job,
            trace.row_ns,
            response_ns=trace.response_ns,
            since_notify_ns=trace.since_notify_ns,
            difficulty=trace.difficulty,
            duplicate=trace.duplicate,
        ),
        slots=slots,
        calls="every row",
    )


def observed(steps: Steps, plan: Plan, *, indicators: bool | None = None) -> Observation:
    """States of a run for a plan, without columns that carry the input by themselves."""
    from reservoir.observation import observe, without_input

    train = slice(plan.washout, plan.washout + plan.train)
    kinds = plan.observe or (OBSERVE if steps.slots == 1 else (f"nodes:{steps.slots}", *OBSERVE[1:]))
    return without_input(observe(steps, kinds, lags=plan.lags, train=train, indicators=indicators))


def task_of(steps: Steps, record: Mapping[str, Any], plan: Plan) -> tuple[Plan, Task]:
    """The task that a run was driven with, or one made of the symbols of its own jobs; the plan then says so.

    Raises:
        UserError: if the run was driven with something else than its record says.
    """
    told = record["config"].get("narma")
    if told is None:
        return plan, _task_of_symbols(steps, plan)
    from reservoir.encoding import Encoding, unmix

    encoding = Encoding.from_json(told["encoding"])
    plan = replace(
        plan,
        mask=told.get("mask"),
        task=told["task"],
        mode=told["mode"],
        encode=encoding.field,
        feedback=encoding.feedback,
        seed=told["seed"],
    )
    drawn = replace(plan, washout=told["steps"] - plan.train - plan.test).draw()
    sent, due = steps.symbol, encoding.base(drawn.u)[: len(steps)]
    if encoding.mode == "dialogue":
        sent = unmix(sent, steps.heard_ns, encoding.feedback)
    if sent.shape != due.shape or not np.allclose(sent, due, rtol=0.0, atol=1e-9):
        raise UserError(
            f"run {record['run_id']} did not carry the input that its record names ({plan.task}, seed {plan.seed}); "
            "whoever drove it changed the symbols on the way"
        )
    return plan, drawn


def _task_of_symbols(steps: Steps, plan: Plan) -> Task:
    """A task whose input is what the jobs carried by chance: no run has to be driven to be scored."""
    from reservoir.tasks import narma

    order = plan.task.removeprefix("narma")
    if not order.isdecimal():
        raise UserError(
            f"nobody drove this run: its jobs' symbols can be the input of narmaN, not of {plan.task!r}"
        )
    symbols = steps.symbol[:, 0]
    if not np.isfinite(symbols[: plan.steps]).all():
        raise UserError("some jobs of this run carry no symbol: there is no input at those steps")
    return narma(int(order), len(steps), plan.rng(_TASK_STREAM), u=NARMA_RANGE[1] * symbols)


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
        rng=plan.rng(_SCORE_STREAM),
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
    from reservoir.steps import read_steps

    number = reader.resolve(name)
    record = reader.run(number)
    steps = read_steps(reader, number, miner=miner, slots=_slots(record), symbols_from="prevhash")
    plan, task = task_of(steps, record, plan)
    driven = record["config"].get("narma") is not None
    observation = observed(steps, plan)
    others = {}
    if other is not None:
        found = read_steps(
            reader, reader.resolve(other), miner=miner, slots=steps.slots, symbols_from="prevhash"
        )
        others["other_run"] = _same_length(observed(found, plan).states, observation.states.shape[0], other)
    if driven and record["kind"] == "virtual":
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
        input=task.u[: plan.steps],
    )


def _slots(record: Mapping[str, Any]) -> int:
    """Jobs per step of a run."""
    told = record["config"].get("narma")
    return 1 if told is None else len(told["encoding"]["mask"]["weights"])


def _same_length(states: F64, rows: int, name: str) -> F64:
    if states.shape[0] < rows:
        raise UserError(
            f"run {name} has {states.shape[0]} steps, {rows} are needed to stand beside the scored one"
        )
    return states[:rows]


def _emulated_nulls(plan: Plan, record: Mapping[str, Any], task: Task, rows: int) -> dict[str, F64]:
    """Timing of the same miner driven alike with nothing planted, and of one driven with another input."""
    from firmware_bridge.emulator.physics import Physics

    model = record["config"]["model"]
    names = set(Physics.__dataclass_fields__)
    physics = Physics(**{k: v for k, v in record["physics"].items() if k in names})
    period_s = record["config"]["job_period_s"]
    plan = replace(plan, period_s=period_s, washout=plan.washout + max(0, task.u.size - plan.steps))
    seeds = plan.rng(_NULL_STREAM).integers(2**31, size=2)
    null = _driven(plan, task, model, {}, physics, int(seeds[0]))
    other = _driven(plan, plan.draw(_OTHER_STREAM), model, dict(record["plants"]), physics, int(seeds[1]))
    return {
        name: observed(steps_of_emulation(config, slots=_slots(record)), plan).states[:rows]
        for name, config in (("emulator_null", null), ("other_run", other))
    }


def gain_of_emulation(
    plan: Plan, model: str, plants: Mapping[str, float] | None = None, physics: Physics | None = None
) -> tuple[float, float]:
    """Gain over the input alone and the lower end of its interval, of a run that is not stored: for studies of many."""
    from reservoir.gain import GAP, gain_over_input_only
    from reservoir.rule import Split

    task = plan.draw()
    slots = plan.encoding(task).slots
    states = observed(steps_of_emulation(emulation(plan, model, plants, physics), slots=slots), plan).states
    gain = gain_over_input_only(
        task.u, task.y, states, split=Split(plan.washout, plan.train, plan.test), permutations=plan.permutations,
        gap=GAP + plan.lags, alpha=plan.alpha, rng=plan.rng(_SCORE_STREAM),
    )  # fmt: skip
    return gain.gain, gain.ci[0]
