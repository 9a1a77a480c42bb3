"""Drive a miner with the input of a task in wall time: the bridge sends the symbols, the trace keeps what came back.

The path of an input here is that of any other run: ``reservoir.symbol_stream`` makes the symbols, the bridge puts them
into jobs and stores those with their shares. Each job costs the same whatever its symbol is; what is shown of the
progress is done apart from the sending.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from experiments.hosting import Miner, as_one, attend, serve_miner
from experiments.narma_plan import PERIOD_S, Plan
from firmware_bridge.errors import DeviceError, LabError, UserError
from firmware_bridge.stratum.dispatch import DispatchContext, JobSymbol

if TYPE_CHECKING:
    from experiments.held_settings import HeldSettings
    from firmware_bridge.stratum.config import BridgeConfig
    from firmware_bridge.stratum.server import Bridge, WriterFactory
    from reservoir.encoding import Encoding
    from reservoir.tasks import Task

FEWEST_STEPS = 100
"""Fewer to train on or to test on are not scored."""
USUAL_PERIOD_S = 30.0


@dataclass(frozen=True)
class LiveConfig:
    """How a plan is carried out.

    Attributes:
        host: address that the bridge listens at.
        port: TCP port; 0 takes a free one.
        difficulty: of the shares; where it carries the symbols, the lowest, and the highest is four times as much.
        period_s: between jobs, of the modes with a clock; None: the plan's, or what is usual for the model.
        timeout_s: dialogue: a job without a share is replaced after this long, and its response is missing.
        patience_s: how long the miner may stay away, at the beginning or later.
    """

    host: str = "127.0.0.1"
    port: int = 0
    difficulty: float = 256.0
    period_s: float | None = None
    timeout_s: float = 30.0
    patience_s: float = 300.0

    def __post_init__(self) -> None:
        if not self.patience_s > 0:
            raise UserError(f"--patience is above 0 s, not {self.patience_s!r}")

    def encoding(self, plan: Plan, task: Task) -> Encoding:
        """How the input becomes symbols."""
        encoding = plan.encoding(task)
        if not encoding.carries_difficulty:
            return encoding
        whole = float(self.difficulty).is_integer()
        return replace(
            encoding, d_low=self.difficulty, d_high=4.0 * self.difficulty, integer_difficulty=whole
        )

    def clock_s(self, plan: Plan, model: str | None) -> float:
        """Seconds between jobs, of the modes with a clock."""
        return self.period_s or plan.period_s or PERIOD_S.get(model or "", USUAL_PERIOD_S)

    def bridge(self, plan: Plan, model: str | None) -> BridgeConfig:
        """Settings of the bridge."""
        from firmware_bridge.stratum.config import BridgeConfig

        return BridgeConfig(
            host=self.host,
            port=self.port,
            difficulty=self.difficulty,
            mode="swh" if plan.mode == "dialogue" else "stream",
            job_period_s=self.clock_s(plan, model),
            swh_timeout_s=self.timeout_s,
        )


@runtime_checkable
class TakesSettings(Protocol):
    """A miner whose clock or voltage can carry the symbols; the user has agreed to that."""

    async def holding(self, encoding: Encoding, feed: Feed) -> HeldSettings:
        """What sets it to each symbol that the feed sends, and back at the end.

        Raises:
            LabError: if it cannot be set within its hard limits.
        """


class Feed:
    """Symbols of an input for the first miner that asks; jobs of any other carry none.

    Satisfies the bridge's ``SymbolSource``. The work per job does not grow with their number.

    Args:
        encoding: of the input.
        u: input, shape (T,).
        on_end: called when the job after the last symbol is made, which ends the last step; can be set later.

    Attributes:
        miner: number of the miner that is driven.
        miner_name: its worker name.
        unanswered: jobs that were replaced before a share of theirs came.
        began_ns: monotonic time of the first job, None before.
    """

    def __init__(self, encoding: Encoding, u: Any, on_end: Callable[[], object] = lambda: None) -> None:
        from reservoir.symbol_stream import SymbolStream

        self.stream: SymbolStream[JobSymbol] = SymbolStream(encoding, u, JobSymbol)
        self.miner: int | None = None
        self.miner_name: str | None = None
        self.unanswered = 0
        self.began_ns: int | None = None
        self.ended = False
        self.slots = encoding.slots
        self.steps = int(np.size(u))
        self.on_end = on_end
        self._fed_back = encoding.mode == "dialogue"
        self._into_extranonce = encoding.field == "extranonce1"

    @property
    def done(self) -> int:
        """Steps whose end is known: another job followed them."""
        sent = len(self.stream.symbols)
        return (sent if self.ended else max(0, sent - 1)) // self.slots

    def next(self, context: DispatchContext) -> JobSymbol | None:
        """Symbol of the next job.

        Raises:
            UserError: if the miner cannot be sent symbols in this field.
        """
        if self.miner is None:
            if self._into_extranonce and not context.extranonce_subscribed:
                raise UserError(
                    f"{context.miner_name} did not send mining.extranonce.subscribe, so it would ignore a symbol in "
                    "extranonce1; take --encode coinbase, version_bits, ntime or difficulty"
                )
            self.miner, self.miner_name = context.miner, context.miner_name
            self.began_ns = context.monotonic_ns
        elif context.miner != self.miner:
            return None
        self.unanswered += context.answered is False and not self.ended
        if context.response_ns is not None:
            self.stream.responded(max(0, context.response_ns))
        symbol = self.stream.next(context)
        if symbol is None:
            self.ended = True
            self.on_end()
            return None
        return replace(symbol, heard_ns=self.stream.heard_ns[-1]) if self._fed_back else symbol


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        done: steps that ended.
        steps: in all.
        unanswered: jobs without a share in their time.
        elapsed_s: since the first job; 0 before.
    """

    done: int
    steps: int
    unanswered: int
    elapsed_s: float

    @property
    def left_s(self) -> float | None:
        """Seconds that the rest will take at this speed; None before the first step ended."""
        return None if not self.done else self.elapsed_s * (self.steps - self.done) / self.done


@dataclass(frozen=True)
class Driven:
    """What became of a run.

    Attributes:
        run_id: of the run in the trace.
        done: steps that ended.
        steps: that were asked for.
        problems: what went wrong; none where every step was sent, or somebody asked to stop.
    """

    run_id: str
    done: int
    steps: int
    problems: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether all was sent."""
        return self.done >= self.steps


async def _holding(miner: Miner, encoding: Encoding, feed: Feed) -> HeldSettings:
    if not isinstance(miner, TakesSettings):
        raise UserError(
            f"{miner.name} takes no {encoding.field} from here: name a device with --device, or emulate a miner in "
            "virtual time"
        )
    return await miner.holding(encoding, feed)


async def drive(
    plan: Plan,
    config: LiveConfig,
    miner: Miner,
    writer: WriterFactory,
    *,
    told: Mapping[str, Any] | None = None,
    plants: Mapping[str, float] | None = None,
    physics: Mapping[str, Any] | None = None,
    on_ready: Callable[[str, str, int], None] = lambda run, host, port: None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    on_stoppable: Callable[[Callable[[str], None]], None] = lambda stop: None,
) -> Driven:
    """Send the input of a plan to a miner and store what comes back; the miner is left as it was found.

    Args:
        plan: what to send.
        config: how.
        miner: to whom.
        writer: opens the trace.
        told: more for the configuration in the run's record.
        plants: effects planted in the miner, for the record.
        physics: of an emulated miner, for the record.
        on_ready: called with the run's id, and the address and port that miners connect to.
        on_progress: called some times a second.
        on_stoppable: given a function that ends the run early, from any thread; what came so far is kept.

    Raises:
        LabError: if nothing could be recorded: the bridge did not start, or it failed before the first step ended.
    """
    from firmware_bridge.stratum.server import Bridge
    from firmware_bridge.trace.schema import RunRecord

    loop = asyncio.get_running_loop()
    task = plan.draw()
    plan = plan.on(miner.model or "")
    encoding = config.encoding(plan, task)
    settings = config.bridge(plan, miner.model)
    about = {"task": plan.task, "mode": plan.mode, "seed": plan.seed, "steps": plan.steps, "mask": plan.mask}
    about["lead"] = plan.lead
    content: dict[str, Any] = {
        **(told or {}),
        "narma": {**about, "encoding": encoding.to_json()},
        "device": miner.name,
        "model": miner.model,
        "job_period_s": settings.job_period_s,
        "difficulty": config.difficulty,
    }
    record = RunRecord(
        kind="live",
        source="bridge",
        seeds={"jobs": plan.seed, "task": plan.seed},
        config=content,
        plants=dict(plants or {}),
        physics=dict(physics or {}),
    )
    feed = Feed(encoding, plan.sent(task), lambda: server.request_stop(f"{plan.steps} steps"))
    held = None if plan.swing is None else await _holding(miner, encoding, feed)
    server = Bridge(settings, writer, np.random.default_rng(plan.seed), source=held or feed, record=record)
    host, port = await server.start()
    on_ready(server.run.run_id, host, port)
    on_stoppable(lambda reason: _from_any_thread(loop, server, reason))
    guard = _Guard(config, settings, miner, feed, on_progress, held)
    failures = await serve_miner(server, miner, guard.watch(server, host, port))
    on_progress(guard.progress(server.clock.monotonic_ns()))
    if failures and not (feed.done and all(isinstance(failure, LabError) for failure in failures)):
        raise as_one(failures)
    return Driven(server.run.run_id, feed.done, feed.steps, tuple(dict.fromkeys(map(str, failures))))


def _from_any_thread(loop: asyncio.AbstractEventLoop, server: Bridge, reason: str) -> None:
    loop.call_soon_threadsafe(server.request_stop, reason)


class _Guard:
    """Brings the miner in, looks how far it is, and gives up where it stays away."""

    def __init__(
        self,
        config: LiveConfig,
        settings: BridgeConfig,
        miner: Miner,
        feed: Feed,
        on_progress: Callable[[Progress], None],
        held: HeldSettings | None,
    ) -> None:
        self._patience_s = config.patience_s
        self._held = held
        self._step_s = settings.swh_timeout_s if settings.mode == "swh" else settings.job_period_s
        self._miner, self._feed, self._on_progress = miner, feed, on_progress

    def progress(self, now_ns: int) -> Progress:
        """As it is now."""
        began_ns = self._feed.began_ns
        elapsed_s = 0.0 if began_ns is None else (now_ns - began_ns) / 1e9
        return Progress(self._feed.done, self._feed.steps, self._feed.unanswered, elapsed_s)

    async def watch(self, server: Bridge, host: str, port: int) -> None:
        """Until the end of time.

        Raises:
            LabError: if the miner cannot be brought in, breaks down, or stays away too long.
        """
        if self._held is not None:
            await server.attach(self._held)
        loop, feed = asyncio.get_running_loop(), self._feed
        sent, since, named = -1, loop.time(), False

        def look(joined: bool) -> None:
            nonlocal sent, since, named
            self._on_progress(self.progress(server.clock.monotonic_ns()))
            if feed.miner_name is not None and not named:
                named = True
                server.run.event("driven", "info", {"miner": feed.miner_name}, miner=feed.miner)
            if len(feed.stream.symbols) != sent or not joined:
                sent, since = len(feed.stream.symbols), loop.time()
            elif loop.time() - since > self._patience_s + (self._step_s if sent else 0.0):
                what = "came back" if sent else "connected"
                raise DeviceError(
                    f"{self._miner.name}: no miner {what} at {host}:{port} within {self._patience_s:g} s; can it "
                    "reach this address? Give more time with --patience"
                )

        await attend(server, self._miner, host, port, look)


def shortened(plan: Plan, done: int) -> Plan | None:
    """The plan as far as a run got: training and test steps shrink alike; None where too few are left of them."""
    if done >= plan.steps:
        return plan
    left = done - plan.washout
    train = left * plan.train // (plan.train + plan.test)
    if min(train, left - train) < FEWEST_STEPS:
        return None
    return replace(plan, train=train, test=left - train)
