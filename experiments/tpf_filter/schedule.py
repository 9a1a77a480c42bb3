"""A comparison of filters as the bridge meets it: policy and source of one miner, whose arms take turns by time.

A turn begins and ends where a job goes out. So every share belongs, by its job, to one turn, however late it comes; and
between the two moments lies the time in which the miner worked on these jobs, and their energy. Before the blocks come
the *recording*, on whose jobs the filter is trained, a turn without a filter while that is done, and the *pilots*.

Nothing here knows of sockets or files: what happens is noted, and the bridge's run keeps it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.tpf_filter.plan import ARMS, PILOTS, FilterPlan
from experiments.tpf_filter.result import placebo_rate
from firmware_bridge.errors import UserError
from firmware_bridge.headers import prevhash_symbol
from firmware_bridge.stratum.dispatch import DispatchContext, JobSymbol
from tpf.job_history import READINGS, JobHistory

if TYPE_CHECKING:
    from firmware_bridge.devices.telemetry import Telemetry
    from tpf.classifier import Model
    from tpf.filter import JobFilter, Rule, Score

DECISION, TURN, AGAIN = "filter-decision", "filter-turn", "filter-again"
"""Kinds of the events: a job was decided about, a turn is over, a turn begins anew."""
MOST_AGAIN = 3
"""Turns that are begun anew, for each one that is wanted, before the miner counts as unfit for this."""

Note = Callable[[str, int, int, dict[str, Any]], None]
"""Takes kind, miner, monotonic ns and detail of an event."""


class UniformSymbols:
    """Gives every job a symbol of its own, uniform in [0, 1): the beginning of its prevhash.

    Args:
        rng: chance.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def next(self, context: DispatchContext) -> JobSymbol:
        """Symbol of the next job."""
        digits = self._rng.bytes(4).hex()
        return JobSymbol(value=prevhash_symbol(digits), prevhash=digits)


def known(reading: Telemetry) -> dict[str, float]:
    """What a filter may look at of a reading; nan where the device did not say."""
    row = reading.to_row(None)._asdict()
    return {name: math.nan if row[name] is None else float(row[name]) for name in READINGS}


def decided(arm: str, filter_: JobFilter[Any], latency_ns: int) -> dict[str, Any]:
    """Detail of the event of a decision."""
    return {"arm": arm, "kept": filter_.kept, "score": filter_.score, "latency_ns": latency_ns}


@dataclass(frozen=True)
class Turn:
    """Jobs in a row under one arm.

    Attributes:
        part: ``recording``, ``training``, ``pilot``, ``block`` or ``closing``.
        number: of the pilot or block.
        arm: which.
    """

    part: str
    number: int
    arm: str

    @property
    def timed(self) -> bool:
        """Whether its time is that of a block."""
        return self.part in ("pilot", "block")


class Schedule:
    """Leads one miner through a comparison; satisfies the bridge's policy, source and ``HearsShares``.

    Args:
        plan: resolved.
        clock_ns: monotonic time of the bridge.
        note: keeps events.
        on_recorded: called when the recording is over; :meth:`give` is due then. Not called where a filter was given.
        on_end: called when the last share of the last block has had its time.
        on_turn: called when a turn is over, with how many blocks are done.

    Attributes:
        miner: number of the miner.
        done: blocks that are over, each arm counted.
    """

    def __init__(
        self,
        plan: FilterPlan,
        clock_ns: Callable[[], int],
        note: Note,
        *,
        on_recorded: Callable[[], None],
        on_end: Callable[[], None],
        on_turn: Callable[[int], None] = lambda done: None,
    ) -> None:
        self.miner: int | None = None
        self.done = 0
        self._plan, self._clock_ns, self._note = plan, clock_ns, note
        self._on_recorded, self._on_end, self._on_turn = on_recorded, on_end, on_turn
        self._symbols = UniformSymbols(np.random.default_rng([plan.seed, 37]))
        self._history = JobHistory()
        self._given: tuple[Model, Rule, Score] | None = None
        self._piloted = [0, 0]
        self._again = 0
        self._order = plan.order()
        self._turns = self._course()
        self._turn: Turn | None = None
        self._begin_ns = self._jobs = 0
        self._filter: JobFilter[JobSymbol]
        self._name = ""
        self._foreign = False

    @property
    def total(self) -> int:
        """Blocks that are wanted, each arm counted."""
        return len(self._order)

    @property
    def part(self) -> str:
        """Part of the turn under way; empty before the first job."""
        return "" if self._turn is None else self._turn.part

    def give(self, model: Model, rule: Rule) -> None:
        """The filter from now on.

        Raises:
            UserError: if it needs what nobody knows before a job is sent.
        """
        from tpf.filter import check_features, scorer

        check_features(model)
        self._given = (model, rule, scorer(model))

    # ---- as the bridge asks ----

    def next(self, context: DispatchContext) -> JobSymbol | None:
        """Decide about the job that is due; the symbol that it carries, none for any other miner.

        Raises:
            UserError: if the miner left so often that no comparison comes of it.
        """
        now_ns = context.monotonic_ns
        back = context.index == 0 and context.miner_name == self._name
        self._foreign = self.miner is not None and context.miner != self.miner and not back
        if self._foreign:
            return None
        self.miner, self._name = context.miner, context.miner_name
        if context.index == 0 and self._turn is not None:
            self._came_back(now_ns)
        elif self._over(now_ns):
            self._change(now_ns)
        assert self._turn is not None
        symbol = self._filter.next(context)
        self._jobs += 1
        latency_ns = self._clock_ns() - now_ns
        self._note(DECISION, context.miner, now_ns, decided(self._turn.arm, self._filter, latency_ns))
        return symbol

    def deadline_s(self) -> float:
        """How long the job that was just sent lasts."""
        if self._foreign:
            return self._plan.times()["keep_s"]
        return self._filter.deadline_s()

    def replace_on_share(self, *, current: bool, valid: bool) -> bool:
        """Never."""
        return False

    def hear(self, miner: int, arrived_ns: Sequence[int]) -> None:
        """Valid shares came."""
        if miner == self.miner:
            self._filter.hear(miner, arrived_ns)

    def read(self, readings: Mapping[str, float]) -> None:
        """Telemetry of the miner came."""
        self._history.read(readings)

    # ---- turns ----

    def _course(self) -> Iterator[Turn]:
        if self._given is None:
            yield Turn("recording", 0, "none")
            self._on_recorded()
            yield Turn("training", 0, "none")
        yield from (Turn("pilot", number, "filter") for number in range(PILOTS))
        yield from (Turn("block", number, arm) for number, arm in self._order)
        yield Turn("closing", 0, "none")
        self._on_end()
        yield Turn("ended", 0, "none")

    def _over(self, now_ns: int) -> bool:
        if self._turn is None:
            return True
        if self._turn.timed:
            assert self._plan.block_s is not None
            slack_s = self._plan.times()["replace_s"] / 2  # timers ring a little early or late
            return now_ns - self._begin_ns >= 1e9 * (self._plan.block_s - slack_s)
        if self._turn.part == "recording":
            return self._jobs > self._plan.training_jobs  # the last one may be cut short and does not count
        return self._given is not None if self._turn.part == "training" else self._turn.part == "closing"

    def _change(self, now_ns: int) -> None:
        over = self._turn
        if over is not None:
            self._end_turn(over, now_ns)
        self._turn = next(self._turns)
        self._begin(self._turn, now_ns)

    def _end_turn(self, turn: Turn, now_ns: int) -> None:
        counts = self._filter.counts
        if turn.part == "pilot":
            self._piloted[0] += counts.kept
            self._piloted[1] += counts.kept + counts.replaced
        assert self.miner is not None
        times = {"begin_ns": self._begin_ns, "end_ns": now_ns}
        self._note(TURN, self.miner, now_ns, {**asdict(turn), **times, "miner": self.miner})
        self.done += turn.part == "block"
        self._on_turn(self.done)

    def _begin(self, turn: Turn, now_ns: int) -> None:
        from tpf.filter import JobFilter, OnlineFilter, RandomFilter

        self._begin_ns, self._jobs = now_ns, 0
        place = (1 + turn.number, ARMS.index(turn.arm), self._again)
        rng = np.random.default_rng([self._plan.chance(*place), 29])
        told: dict[str, Any] = {**self._plan.times(), "source": self._symbols, "history": self._history}
        if turn.arm == "filter":
            assert self._given is not None
            model, rule, score = self._given
            self._filter = OnlineFilter(model, rule, rng, score=score, **told)
        elif turn.arm == "random":
            self._filter = RandomFilter(placebo_rate(*self._piloted), rng, **told)
        else:
            self._filter = JobFilter(**told)

    def _came_back(self, now_ns: int) -> None:
        """The miner was away: a turn whose time counts begins anew."""
        assert self._turn is not None
        assert self.miner is not None
        if self._turn.timed:
            self._again += 1
            self._note(AGAIN, self.miner, now_ns, asdict(self._turn))
            if self._again > MOST_AGAIN * self.total:
                raise UserError(
                    f"{self._name} left and came back {self._again} times within blocks: a miner that does not stay "
                    "for a block cannot be compared; make blocks shorter (--block-seconds) or look after its connection"
                )
        jobs = self._jobs
        begin_ns = self._begin_ns
        self._begin(self._turn, now_ns)
        if not self._turn.timed:  # jobs of a recording stay what they were
            self._jobs, self._begin_ns = jobs, begin_ns
