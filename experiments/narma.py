"""NARMA-10 and its like through a miner: drive it with the input, read its timing, score it beside every baseline.

What is scored is always a stored run: an emulated one is written into the trace first, and a recording that nobody drove
has the symbols of its own jobs for an input. So the same numbers come out of ``--trace`` again, for as long as the trace
is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from firmware_bridge.emulator.physics import Physics
    from firmware_bridge.emulator.virtual import VirtualConfig
    from firmware_bridge.trace.reader import TraceReader
    from firmware_bridge.trace.writer import TraceWriter
    from reservoir.encoding import Encoding
    from reservoir.evaluate import Evaluation
    from reservoir.observation import Observation
    from reservoir.steps import Steps
    from reservoir.tasks import Task

F64 = npt.NDArray[np.float64]

MODES = ("dialogue", "monologue", "constant")
TASK = "narma10"
NARMA_RANGE = (0.0, 0.5)
"""Range of the input of a NARMA task; other tasks use the range that they have."""
PERIOD_S = {"s9": 0.5, "lv06": 10.0}
"""Job period where a clock sends the symbols: a few shares each at the model's smallest difficulty."""
LAGS = 9
"""Steps that the readout sees besides the present one: together those that NARMA-10 depends on."""
FOUND_AT = {"thermal": ("dialogue", 250.0), "queue": ("monologue", 200.0)}
"""Planted memory that this analysis finds in at least 170 of 200 runs with everything else as it is by default, and in
which mode; ``make study`` and the slow tests count."""

_TASK_STREAM, _OTHER_STREAM, _NULL_STREAM, _SCORE_STREAM = range(4)


@dataclass(frozen=True)
class Plan:
    """What to send, and how to score what comes back.

    Attributes:
        mode: ``dialogue``, ``monologue`` or ``constant``.
        encode: job field that carries the symbols.
        task: name of the task, see :func:`reservoir.tasks.draw`.
        observe: kinds of state columns; empty for the default of :func:`reservoir.observation.observe`.
        lags: steps of the past beside the present one.
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
        """Input and target."""
        from reservoir.tasks import draw

        return draw(self.task, self.steps, self.rng(stream))

    def encoding(self, task: Task) -> Encoding:
        """How its input becomes symbols.

        Raises:
            UserError: if the field is not one that jobs can carry.
        """
        from reservoir.encoding import Encoding

        narma = self.task.startswith("narma")
        low, high = NARMA_RANGE if narma else (float(task.u.min()), float(task.u.max()))
        fed_back = self.feedback if self.mode == "dialogue" else 0.0
        return Encoding(self.encode, self.mode, fed_back, low=low, high=high)  # type: ignore[arg-type]


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


# ---- driving -----------------------------------------------------------------------------------------------------------


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


def write_run(plan: Plan, config: VirtualConfig, writer: TraceWriter) -> str:
    """Emulate into a trace, with the plan in the run's record; returns the run's id."""
    from firmware_bridge.emulator.virtual import run_virtual

    run = run_virtual(config, writer)
    run.update(config={**_settings(config), "narma": _told(plan)})
    return run.run_id


def _settings(config: VirtualConfig) -> dict[str, Any]:
    from firmware_bridge.emulator.virtual import settings_of

    return settings_of(config)


def _told(plan: Plan) -> dict[str, Any]:
    return {
        "task": plan.task,
        "mode": plan.mode,
        "seed": plan.seed,
        "steps": plan.steps,
        "encoding": plan.encoding(plan.draw()).to_json(),
    }
