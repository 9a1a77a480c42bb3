"""The comparison on an emulated miner in virtual time: hours in minutes, and the same for the same seed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.tpf_filter.plan import ARMS, PILOTS, FilterPlan
from experiments.tpf_filter.result import FilterBlock, FilterResult, judge, placebo_rate
from firmware_bridge.clock import VirtualClock
from firmware_bridge.stratum.dispatch import (
    CallbackSource,
    DispatchContext,
    JobPolicy,
    JobSymbol,
    SymbolSource,
)

if TYPE_CHECKING:
    from firmware_bridge.emulator.virtual_config import VirtualConfig
    from firmware_bridge.emulator.virtual_trace import VirtualTrace
    from tpf.classifier import Model
    from tpf.dataset import Dataset, FloatArray
    from tpf.filter import Counts, JobFilter, Rule
    from tpf.job_history import JobRun

MINER = 1
GUESSES = 3
"""Repetitions of a run in which what a filter would do after its first wrong guess counts as the next guess."""

MakeFilter = Callable[[SymbolSource], "JobFilter[JobSymbol]"]


def filtered(config: VirtualConfig, jobs: int, make: MakeFilter) -> tuple[VirtualTrace, Counts]:
    """A run in which a filter decides about every job, and what it did.

    The engine takes the lengths of all jobs beforehand. A decision depends on what came before it alone, so the run is
    repeated with the lengths that the filter chose until it chooses the same ones; each time at least one more job is
    right, and all before it stay what they were.

    Args:
        config: of the stream mode.
        jobs: more than can be sent.
        make: a filter without a past, of a source of symbols; the same one each time.
    """
    from firmware_bridge.emulator.virtual import simulate

    lengths: FloatArray = np.full(jobs, config.job_period_s)
    for turn in itertools.count():
        trace = simulate(replace(config, job_lengths_s=tuple(lengths.tolist())))
        chosen, counts = _decisions(job_run(trace), make, lengths if turn >= GUESSES else None)
        if np.array_equal(chosen, lengths[: chosen.size]):
            break
        lengths[: chosen.size] = chosen
    return trace, counts


def _decisions(run: JobRun, make: MakeFilter, assumed: FloatArray | None) -> tuple[FloatArray, Counts]:
    """Lead a filter through a run as the bridge would: the length of each job.

    With ``assumed`` lengths only as far as they are right, and one job more.
    """
    clock = VirtualClock()
    symbols = iter(run.symbol.tolist())
    filter_ = make(CallbackSource(lambda context: JobSymbol(value=next(symbols))))
    policy: JobPolicy = filter_
    source: SymbolSource = filter_
    lengths = np.empty(run.sent_ns.size)
    for job in range(run.sent_ns.size):
        shares, readings = run.before(job)
        filter_.hear(MINER, run.share_ns[shares].tolist())
        filter_.read(run.reading(readings))
        clock.advance_to(int(run.sent_ns[job]))
        source.next(_context(job, clock))
        lengths[job] = policy.deadline_s()
        if assumed is not None and lengths[job] != assumed[job]:
            return lengths[: job + 1], filter_.counts
    return lengths, filter_.counts


def _context(job: int, clock: VirtualClock) -> DispatchContext:
    return DispatchContext(
        miner=MINER,
        miner_name="virtual",
        index=job,
        wall_ns=clock.wall_ns(),
        monotonic_ns=clock.monotonic_ns(),
        answered=None,
        version_mask=0,
        extranonce_subscribed=False,
    )


def job_run(trace: VirtualTrace) -> JobRun:
    """A virtual run with a programme, as a filter sees it."""
    from tpf.job_history import JobRun

    period_ns = trace.config.resolved_physics().telemetry_period_s * 1e9
    new = ~trace.duplicate
    sensed, power = (
        np.concatenate([getattr(c, name) for c in trace.courses]) for name in ("sensed_c", "power_w")
    )
    return JobRun(
        name=f"virtual {trace.config.model}, {trace.job_sent_ns.size} jobs",
        sent_ns=trace.job_sent_ns,
        symbol=trace.symbol,
        share_ns=trace.row_ns[new],
        share_job=trace.row_job[new],
        end_ns=round(sum(c.step.seconds for c in trace.courses) * 1e9),
        reading_ns=np.rint(np.arange(sensed.size) * period_ns).astype(np.int64),
        readings={"temperature_c": sensed, "power_w": power},
    )


def training_table(plan: FilterPlan) -> Dataset:
    """Jobs of a run of its own, without a filter, of a resolved plan.

    Raises:
        UserError: if there are too few.
    """
    from firmware_bridge.emulator.virtual import simulate
    from tpf.job_history import job_dataset

    assert plan.job_s is not None
    seconds = plan.whole_s(plan.training_jobs * plan.job_s)
    return job_dataset(job_run(simulate(plan.config(plan.chance(0), seconds))))


def train_filter(plan: FilterPlan) -> tuple[Model, Rule]:
    """Model and rule of a resolved plan, from a run of its own.

    Raises:
        UserError: if nothing can be learned from it.
    """
    from tpf.classifier import train
    from tpf.filter import rule_of

    table = training_table(plan)
    model = train(table, plan.classifier, seed=plan.seed)
    return model, rule_of(model, table, plan.keep_rate)


def _maker(plan: FilterPlan, arm: str, model: Model, rule: Rule, seed: int, as_many: float) -> MakeFilter:
    from tpf.filter import JobFilter, OnlineFilter, RandomFilter, scorer

    fresh, known = scorer(model), dict[bytes, float]()

    def score(features: FloatArray) -> float:
        """The same jobs come up again each time that a run is repeated."""
        key = features.tobytes()
        if key not in known:
            known[key] = fresh(features)
        return known[key]

    def make(source: SymbolSource) -> JobFilter[JobSymbol]:
        rng = np.random.default_rng([seed, 29])
        told: dict[str, Any] = {**plan.times(), "source": source}
        if arm == "filter":
            return OnlineFilter(model, rule, rng, score=score, **told)
        return RandomFilter(as_many, rng, **told) if arm == "random" else JobFilter(**told)

    return make


def run(
    plan: FilterPlan,
    given: tuple[Model, Rule] | None = None,
    *,
    on_block: Callable[[int, int], None] = lambda done, total: None,
) -> FilterResult:
    """Run the experiment.

    Args:
        plan: what to do.
        given: a trained model and its rule; trained by the plan if None.
        on_block: told how many blocks are done, of how many.

    Raises:
        UserError: if the plan makes no sense, or a block has no share.
    """
    plan = plan.resolved()
    model, rule = given or train_filter(plan)
    pilots = [_block(plan, plan.blocks + i, "filter", model, rule, plan.keep_rate) for i in range(PILOTS)]
    as_many = placebo_rate(sum(b.kept for b in pilots), sum(b.kept + b.replaced for b in pilots))
    blocks: list[FilterBlock] = []
    order = plan.order()
    for number, arm in order:
        blocks.append(_block(plan, number, arm, model, rule, as_many))
        on_block(len(blocks), len(order))
    return judge(plan, model.card, blocks)


def _block(plan: FilterPlan, number: int, arm: str, model: Model, rule: Rule, as_many: float) -> FilterBlock:
    assert plan.block_s is not None
    assert plan.replace_s is not None
    seed = plan.chance(1 + number, ARMS.index(arm))
    jobs = math.ceil(plan.block_s / plan.replace_s) + 3
    trace, counts = filtered(
        plan.config(seed, plan.block_s), jobs, _maker(plan, arm, model, rule, seed, as_many)
    )
    new = ~trace.duplicate
    period_s = trace.config.resolved_physics().telemetry_period_s
    return FilterBlock(
        number=number,
        arm=arm,
        seconds=plan.block_s,
        shares=int(new.sum()),
        difficulty=float(trace.job_difficulty[trace.row_job[new]].sum()),
        joules=float(sum(course.power_w.sum() for course in trace.courses)) * period_s,
        kept=counts.kept,
        replaced=counts.replaced,
    )
