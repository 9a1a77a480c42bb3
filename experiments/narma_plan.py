"""What is sent to a miner, and how what comes back is scored: the plan of a driven run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from experiments.carriers import Swing
    from reservoir.encoding import Encoding, Mask
    from reservoir.tasks import Task

F64 = npt.NDArray[np.float64]

MODES = ("dialogue", "monologue", "constant")
MASKS = ("binary", "uniform", "mls", "ones")
DUTY_SLOTS = 8
"""Jobs of a step among which a duty cycle is counted, where no mask says how many."""
DUTY_FASTER = 4
"""So many times shorter are they than jobs that are a step of their own."""
TASK = "narma10"
NARMA_RANGE = (0.0, 0.5)
"""Range of the input of a NARMA task; other tasks use the range that they have."""
PERIOD_S = {"s9": 0.5, "lv06": 10.0}
"""Job period where a clock sends the symbols: a few shares each at the model's smallest difficulty."""
DIFFICULTIES = (256.0, 2048.0)
"""What the difficulty goes from and to, where it carries the symbols."""
OBSERVE = ("response", "arrival", "interval", "count", "mean_response")
"""Columns where nothing else is asked for."""
LAGS = 9
"""Steps that the readout sees besides the present one: together those that NARMA-10 depends on."""
TASK_STREAM, OTHER_STREAM, NULL_STREAM, SCORE_STREAM, MASK_STREAM = range(5)
"""Chance for one purpose each; see :meth:`Plan.rng`."""


@dataclass(frozen=True)
class Plan:
    """What to send, and how to score what comes back.

    Attributes:
        mode: ``dialogue``, ``monologue`` or ``constant``.
        encode: job field that carries the symbols; or ``frequency`` or ``voltage`` of the miner.
        task: name of the task, see :func:`reservoir.tasks.draw`.
        observe: kinds of state columns; empty for ``OBSERVE``.
        lags: steps of the past beside the present one.
        mask: ``KIND:V`` with binary, uniform or mls (maximum length): spread each input over V jobs by such weights;
            ``ones:V`` gives each the same, as a duty cycle needs.
        feedback: of the dialogue.
        train: steps.
        test: steps.
        washout: steps.
        seed: of the task, of the emulation and of the permutations, each with a stream of its own.
        permutations: of the null of the gain.
        alpha: one λ for all readouts; None has each choose its own.
        period_s: job period of the modes with a clock; None: that of the model.
        swing: what ``frequency`` or ``voltage`` is set to; None: what the factory of the model offers.
        lead: so many steps at the start have the lowest input instead of the task's, or with a minus the highest: runs
            with the same input after another start.
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
    swing: Swing | None = None
    lead: int = 0

    def __post_init__(self) -> None:
        from reservoir.encoding import ON_A_PERIOD

        if self.mode not in MODES:
            raise UserError(f"--mode is one of {', '.join(MODES)}, not {self.mode!r}")
        if self.encode in ON_A_PERIOD and self.mode == "dialogue":
            raise UserError(
                f"--encode {self.encode} holds each symbol for a period, so no share can call for the next one: add "
                "--mode monologue (or constant)"
            )
        if self.lags < 0:
            raise UserError(f"--lags is 0 or more, not {self.lags}")

    @property
    def steps(self) -> int:
        """Steps that are scored, washout included."""
        return self.washout + self.train + self.test

    def rng(self, stream: int) -> np.random.Generator:
        """Chance for one purpose."""
        return np.random.default_rng([self.seed, stream])

    def draw(self, stream: int = TASK_STREAM) -> Task:
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
        more: dict[str, Any] = {}
        if self.encode == "difficulty":
            more = {"d_low": DIFFICULTIES[0], "d_high": DIFFICULTIES[1]}
        if self.swing is not None:
            more |= self.swing.of_encoding()
        return Encoding(self.encode, self.mode, fed_back, self._mask(), low=low, high=high, **more)  # type: ignore[arg-type]

    def sent(self, task: Task) -> F64:
        """The input that goes out: that of the task behind the lead, shape (T,)."""
        encoding, u = self.encoding(task), task.u.copy()
        u[: abs(self.lead)] = encoding.low if self.lead > 0 else encoding.high
        return u

    def on(self, model: str) -> Plan:
        """The plan for a model: with the range of its clock or voltage where that carries the symbols.

        Raises:
            UserError: if the model has no such setting, or the range is beyond its hard limits.
        """
        from experiments.carriers import swing_of
        from reservoir.encoding import SETTINGS

        if self.encode not in SETTINGS:
            if self.swing is not None:
                raise UserError(f"a range goes with --encode frequency or voltage, not with {self.encode}")
            return self
        return replace(self, swing=swing_of(model, self.encode, self.swing))

    def _mask(self) -> Mask:
        from reservoir.encoding import Mask

        if self.mask is None:
            return Mask((1.0,) * DUTY_SLOTS) if self.encode == "duty" else Mask()
        kind, _, slots = self.mask.partition(":")
        if kind not in MASKS or not slots.isdecimal() or not 2 <= int(slots) <= 1000:
            raise UserError(
                f"--mask is {', '.join(f'{m}:V' for m in MASKS)} with 2 to 1000 jobs, not {self.mask!r}"
            )
        if kind == "ones":
            return Mask((1.0,) * int(slots))
        if kind == "mls":
            return Mask.maximum_length(int(slots))
        return getattr(Mask, kind)(int(slots), self.rng(MASK_STREAM))  # type: ignore[no-any-return]


@lru_cache(maxsize=8)
def _drawn(task: str, steps: int, seed: int, stream: int) -> Task:
    from reservoir.tasks import draw

    return draw(task, steps, np.random.default_rng([seed, stream]))
