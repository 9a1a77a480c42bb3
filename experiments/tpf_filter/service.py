"""A kept filter at work in a bridge: every miner gets one of its own, and every decision is an event of the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from experiments.tpf_filter.schedule import DECISION, Note, UniformSymbols, decided, known
from firmware_bridge.errors import UserError
from firmware_bridge.stratum.dispatch import DispatchContext, JobSymbol

if TYPE_CHECKING:
    from pathlib import Path

    from firmware_bridge.devices.telemetry import Telemetry
    from tpf.classifier import Model
    from tpf.filter import OnlineFilter
    from tpf.kept_filter import KeptRule


class FilterService:
    """Policy and source of a bridge in which a filter decides about every job.

    Args:
        model: of the filter.
        kept: its rule, and how long jobs last.
        rng: chance of symbols, and of scores that are equal to the threshold.
        clock_ns: monotonic time of the bridge.
        note: keeps events.
    """

    def __init__(
        self,
        model: Model,
        kept: KeptRule,
        rng: np.random.Generator,
        clock_ns: Callable[[], int],
        note: Note,
    ) -> None:
        from tpf.filter import scorer
        from tpf.job_history import FEATURES

        self._model, self._kept, self._rng = model, kept, rng
        self._clock_ns, self._note = clock_ns, note
        self._symbols = UniformSymbols(rng)
        self._score = scorer(model)
        self._score(np.full(len(FEATURES), np.nan))  # the first time takes long, and no job is to wait for it
        self._filters: dict[int, OnlineFilter[JobSymbol]] = {}
        self._last: OnlineFilter[JobSymbol]

    def next(self, context: DispatchContext) -> JobSymbol | None:
        """Decide about the job that is due; the symbol that it carries."""
        filter_ = self._last = self._of(context.miner)
        symbol = filter_.next(context)
        latency_ns = self._clock_ns() - context.monotonic_ns
        self._note(DECISION, context.miner, context.monotonic_ns, decided("filter", filter_, latency_ns))
        return symbol

    def deadline_s(self) -> float:
        """How long the job that was just sent lasts."""
        return self._last.deadline_s()

    def replace_on_share(self, *, current: bool, valid: bool) -> bool:
        """Never."""
        return False

    def hear(self, miner: int, arrived_ns: Sequence[int]) -> None:
        """Valid shares of a miner came."""
        if miner in self._filters:
            self._filters[miner].hear(miner, arrived_ns)

    def read(self, miner: int | None, reading: Telemetry) -> None:
        """Telemetry of a miner came."""
        if miner in self._filters:
            self._filters[miner].read(known(reading))

    def _of(self, miner: int) -> OnlineFilter[JobSymbol]:
        from tpf.filter import OnlineFilter

        if miner not in self._filters:
            kept = self._kept
            self._filters[miner] = OnlineFilter(
                self._model,
                kept.rule,
                self._rng,
                score=self._score,
                keep_s=kept.keep_s,
                replace_s=kept.replace_s,
                source=self._symbols,
            )
        return self._filters[miner]


def load_service(path: Path) -> tuple[Model, KeptRule]:
    """A kept filter that can work without a recording.

    Raises:
        UserError: if it is none.
    """
    from tpf.kept_filter import load_filter, rule_file

    model, kept = load_filter(path)
    if kept is None:
        raise UserError(
            f"{path}: a model without the rule of a filter ({rule_file(path).name}); asiclab tpf filter --out FILE "
            "keeps both"
        )
    return model, kept
