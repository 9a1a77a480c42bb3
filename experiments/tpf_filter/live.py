"""The comparison on a miner that is there: the bridge runs the arms in turns, and the trace keeps all of it.

The recording, the training and the blocks are one run of the bridge, so that the miner is joined once and no arm begins
with a reconnection. What is judged is that run, read back (:mod:`experiments.tpf_filter.stored`).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments import attached_miner
from experiments.hosting import Patience, as_one, attend, serve_miner
from experiments.tpf_filter.plan import PILOTS, SCALE, FilterPlan
from experiments.tpf_filter.schedule import Schedule, known
from experiments.tpf_filter.stored import MODEL, NO_POWER, power_of, recorded_jobs
from firmware_bridge.clock import SystemClock
from firmware_bridge.errors import LabError, UserError

if TYPE_CHECKING:
    from experiments.attached import Attached
    from firmware_bridge.devices.telemetry import Telemetry
    from firmware_bridge.stratum.server import Bridge
    from tpf.classifier import Model
    from tpf.filter import Rule

TELLS_NO_POWER = ("s9",)
"""Models whose firmware tells no power; that of an emulated one is taken as the constant that it is."""
POWERLESS = 3
"""Readings without power after which nobody waits for one."""

Given = tuple["Model", "Rule | None"]
"""A kept filter, with its rule where it has one for this keep rate."""


def stated_w(model: str) -> float | None:
    """What an emulated miner draws, where its model does not tell it."""
    from firmware_bridge.emulator.electrical import FACTS

    return FACTS[model].power_w if model in TELLS_NO_POWER else None


@dataclass(frozen=True)
class LiveFilter:
    """How a comparison is carried out.

    Attributes:
        attached: the miner, and the trace.
        difficulty: of the shares.
        device_period_s: between two readings of the miner's telemetry.
        watts: power of a miner that does not tell it; None where it does.
        metered: whether a sensor beside the miner tells it.
    """

    attached: Attached
    difficulty: float = 256.0
    device_period_s: float = 3.0
    watts: float | None = None
    metered: bool = False

    def __post_init__(self) -> None:
        attached = self.attached
        if not (attached.emulated or attached.in_network or self.metered) and self.watts is None:
            raise UserError(f"{attached.device}: {NO_POWER}")
        if self.watts is not None and not 0 < self.watts < math.inf:
            raise UserError(f"--watts is a power above 0, not {self.watts!r}")

    def resolved(self, plan: FilterPlan) -> FilterPlan:
        """The plan with every time said.

        Raises:
            UserError: if it makes no sense, or a time can only be guessed.
        """
        from experiments.subjects import VIRTUAL_MODELS

        known = plan.model in VIRTUAL_MODELS
        return plan.timed(plan.share_s(self.difficulty) if known else None)

    def seconds(self, plan: FilterPlan, *, recording: bool) -> float:
        """What a resolved plan takes, where the miner stays."""
        assert plan.block_s is not None
        assert plan.job_s is not None
        blocks = PILOTS + len(plan.order())
        return (plan.training_jobs * plan.job_s if recording else 0.0) + blocks * plan.block_s


@dataclass(frozen=True)
class Ended:
    """What became of a run.

    Attributes:
        run_id: in the trace.
        done: blocks that were run, each arm counted.
        total: that were wanted.
        problems: what went wrong; none where all was run, or somebody asked to stop.
    """

    run_id: str
    done: int
    total: int
    problems: tuple[str, ...]


async def compare(
    plan: FilterPlan,
    live: LiveFilter,
    given: Given | None = None,
    *,
    told: Mapping[str, Any] | None = None,
    on_ready: Callable[[str, str, int], None] = lambda run, host, port: None,
    on_block: Callable[[int, int], None] = lambda done, total: None,
    on_filter: Callable[[Model, Rule], None] = lambda model, rule: None,
    on_notice: Callable[[str], None] = lambda text: None,
    on_stoppable: Callable[[Callable[[str], None]], None] = lambda stop: None,
    attach: Callable[[Bridge], Awaitable[None]] | None = None,
) -> Ended:
    """Run a comparison and store it; the miner is left as it was found.

    Args:
        plan: resolved by :meth:`LiveFilter.resolved`.
        live: how.
        given: a kept filter; without one, or without its rule, the comparison begins with a recording.
        told: more for the configuration in the run's record.
        on_ready: called with the run's id, and the address and port that miners connect to.
        on_block: told how many blocks are over, of how many, each arm counted.
        on_filter: given the filter that is compared, once it is there.
        on_notice: told what becomes of the pool of a device.
        on_stoppable: given a function that ends the run early, from any thread; what came so far is kept.
        attach: brings more companions into the run, such as a meter.

    Raises:
        LabError: if nothing could be recorded: the bridge did not start, or it failed before the first block was over.
    """
    from firmware_bridge.stratum.config import BridgeConfig
    from firmware_bridge.stratum.server import Bridge
    from firmware_bridge.trace.schema import RunRecord
    from firmware_bridge.trace.writer import TraceWriter

    attached, loop, clock = live.attached, asyncio.get_running_loop(), SystemClock()
    server: Bridge
    training: asyncio.Future[None] | None = None
    powerless = 0

    async def read(reading: Telemetry | None) -> None:
        nonlocal powerless
        if reading is None:
            return
        schedule.read(known(reading))
        powerless = 0 if reading.power_w is not None else powerless + 1
        if powerless == POWERLESS and live.watts is None and not live.metered:
            server.fail(UserError(f"{miner.name}: {NO_POWER}"))

    def note(kind: str, number: int, at_ns: int, detail: dict[str, Any]) -> None:
        server.run.event(kind, "info", detail, miner=number, monotonic_ns=at_ns)

    def recorded() -> None:
        nonlocal training
        training = asyncio.ensure_future(_train(plan, live, server, schedule, given, on_filter))

    schedule = Schedule(
        plan,
        clock.monotonic_ns,
        note,
        on_recorded=recorded,
        on_end=lambda: server.request_stop("every block was run"),
        on_turn=lambda done: on_block(done, schedule.total),
    )
    miner = await attached_miner.miner_of(
        attached, plan.seed, scale=SCALE, period_s=live.device_period_s, on_reading=read, on_notice=on_notice
    )
    settings = BridgeConfig(
        host=attached.host,
        port=attached.port,
        difficulty=live.difficulty,
        mode="stream",
        job_period_s=plan.times()["keep_s"],
    )
    about = {
        "plan": plan.to_json(),
        "watts": live.watts,
        "device_period_s": live.device_period_s,
        "emulated": attached.emulated,
    }
    record = RunRecord(
        kind="live",
        source="bridge",
        seeds={"jobs": plan.seed, "filter": plan.seed},
        config={**(told or {}), "filter_live": about, "device": miner.name, "model": plan.model},
        plants=dict(attached.plants),
        physics=attached.own_physics(),
    )
    rng = np.random.default_rng(plan.seed)
    writer = partial(TraceWriter, attached.db)
    server = Bridge(settings, writer, rng, clock=clock, source=schedule, policy=schedule, record=record)
    host, port = await server.start()
    run_id = server.run.run_id
    if given is not None and given[1] is not None:
        _settle(server, schedule, given[0], given[1], on_filter)
    on_ready(run_id, host, port)
    on_stoppable(lambda reason: _from_any_thread(loop, server, reason))

    async def watch() -> None:
        if attach is not None:
            await attach(server)
        again = f"asiclab tpf filter --trace {run_id}"
        patience = Patience(server, miner, host, port, attached.patience_s, again)
        await attend(server, miner, host, port, lambda joined: patience.look())

    failures = await serve_miner(server, miner, watch())
    if training is not None:
        training.cancel()
        failures += [
            e for e in await asyncio.gather(training, return_exceptions=True) if isinstance(e, Exception)
        ]
    on_block(schedule.done, schedule.total)
    if failures and not (schedule.done and all(isinstance(failure, LabError) for failure in failures)):
        raise as_one(failures)
    return Ended(run_id, schedule.done, schedule.total, tuple(dict.fromkeys(map(str, failures))))


def _from_any_thread(loop: asyncio.AbstractEventLoop, server: Bridge, reason: str) -> None:
    loop.call_soon_threadsafe(server.request_stop, reason)


async def _train(
    plan: FilterPlan,
    live: LiveFilter,
    server: Bridge,
    schedule: Schedule,
    given: Given | None,
    on_filter: Callable[[Model, Rule], None],
) -> None:
    """Make the filter of what was recorded, beside the mining; a recording that is no use ends the run."""
    try:
        model, rule = await asyncio.to_thread(
            _learned, plan, live, server, None if given is None else given[0]
        )
        _settle(server, schedule, model, rule, on_filter)
    except LabError as error:
        server.fail(error)


def _learned(plan: FilterPlan, live: LiveFilter, server: Bridge, model: Model | None) -> tuple[Model, Rule]:
    """Model and rule of the recording, read from the trace.

    Raises:
        UserError: if nothing can be learned from it, or nobody tells the power.
    """
    from firmware_bridge.trace.reader import TraceReader
    from tpf.classifier import train
    from tpf.filter import rule_of, scorer
    from tpf.job_history import FEATURES, job_dataset

    server.run.flush()
    reader = TraceReader(live.attached.db)
    power_of(reader, server.run.run)  # hours of blocks would be worth nothing without it
    table = job_dataset(recorded_jobs(reader, server.run.run))
    fresh = model is not None
    if model is None:
        model = train(table, plan.classifier, seed=plan.seed)
    rule = rule_of(model, table, plan.keep_rate, fresh=fresh)
    scorer(model)(np.full(len(FEATURES), np.nan))  # the first time takes long, and no job is to wait for it
    return model, rule


def _settle(
    server: Bridge,
    schedule: Schedule,
    model: Model,
    rule: Rule,
    on_filter: Callable[[Model, Rule], None],
) -> None:
    from dataclasses import asdict

    server.run.event(MODEL, "info", {"card": model.card.to_json(), "rule": asdict(rule)})
    on_filter(model, rule)
    schedule.give(model, rule)
