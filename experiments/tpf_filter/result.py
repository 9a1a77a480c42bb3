"""What a comparison of filters gave: blocks, savings with their intervals, and the verdict."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from experiments.tpf_filter.plan import ARMS, FilterPlan
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from tpf.classifier import ModelCard
    from tpf.paired_blocks import PairedDifference


@dataclass(frozen=True)
class FilterBlock:
    """One arm in one block.

    Attributes:
        number: of the block.
        arm: which.
        seconds: how long.
        shares: valid ones.
        difficulty: of all of them, as their jobs asked for.
        joules: that the miner drew, by its telemetry.
        kept: jobs that were kept.
        replaced: jobs that were given up.
    """

    number: int
    arm: str
    seconds: float
    shares: int
    difficulty: float
    joules: float
    kept: int
    replaced: int

    @property
    def joules_per_difficulty(self) -> float:
        """What one unit of difficulty cost."""
        return self.joules / self.difficulty


@dataclass(frozen=True)
class Saving:
    """Of energy per difficulty, as a part of what the other arm needs; below 0 a loss.

    Attributes:
        saving: over all blocks.
        low: of the 95 % interval, by exchanging the two arms within blocks.
        high: of it.
        p: two-sided, that there is none.
        detectable: smallest saving that these blocks would show nine times out of ten.
        blocks: pairs.
    """

    saving: float
    low: float
    high: float
    p: float
    detectable: float
    blocks: int

    @classmethod
    def of(cls, log_ratio: PairedDifference) -> Saving:
        """From differences of the logarithms of joules per difficulty."""
        mean, low, high, needed = (
            -math.expm1(v) for v in (log_ratio.mean, log_ratio.high, log_ratio.low, -log_ratio.detectable)
        )
        return cls(mean, low, high, log_ratio.p, needed, log_ratio.blocks)

    def __str__(self) -> str:
        return f"{self.saving:+.1%} (95 % interval {self.low:+.1%} to {self.high:+.1%}, {self.blocks} blocks)"


@dataclass(frozen=True)
class Latency:
    """What a decision took, from the moment at which its job was due.

    Attributes:
        n: decisions.
        median_ms: of them.
        p99_ms: 99 % quantile.
    """

    n: int
    median_ms: float
    p99_ms: float

    @classmethod
    def of(cls, latency_ns: npt.ArrayLike) -> Latency:
        """Of at least one decision."""
        ms = np.asarray(latency_ns, np.float64) / 1e6
        return cls(int(ms.size), float(np.median(ms)), float(np.quantile(ms, 0.99)))


@dataclass(frozen=True)
class LiveFacts:
    """What a comparison in the bridge has besides.

    Attributes:
        run: id in the trace.
        device: the miner.
        emulated: whether it is an emulated one, whose planted leak is known.
        power: who told it: ``device``, ``sensor NAME``, or ``stated`` by the user as a constant.
        readings: of power, in the blocks.
        latency: of decisions, by arm.
        repeated: blocks that were begun anew, because the miner had been away.
        left_out: blocks that lack an arm, or a part of the power readings; none of their arms counts.
        complete: whether all blocks were run.
    """

    run: str
    device: str
    emulated: bool
    power: str
    readings: int
    latency: dict[str, Latency]
    repeated: int
    left_out: list[int]
    complete: bool


@dataclass(frozen=True)
class FilterResult:
    """What came of it.

    Attributes:
        plan: what was done.
        card: of the model that the filter used.
        blocks: each arm of each block, in the order in which they ran.
        joules_per_difficulty: by arm, all blocks together.
        keep_rate: by arm, that was met.
        recall: by arm: difficulty per job over that of a job without a filter.
        accounted: by arm: energy per share by ``tpf.energy.energy_per_share`` of that keep rate and recall.
        planted: saving by the same of the planted leak, for a filter that ranks jobs without error; None of a real
            miner.
        saving: of the filter against none.
        against_random: of the filter against the placebo.
        placebo: of the placebo against none.
        verdict: ``saves``, ``no_saving`` or ``cannot_tell``, in words.
        live: of a comparison in the bridge; None of one in virtual time.
    """

    plan: FilterPlan
    card: ModelCard
    blocks: list[FilterBlock]
    joules_per_difficulty: dict[str, float]
    keep_rate: dict[str, float]
    recall: dict[str, float]
    accounted: dict[str, float]
    planted: float | None
    saving: Saving
    against_random: Saving
    placebo: Saving
    verdict: dict[str, str]
    live: LiveFacts | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        told = {
            name: getattr(self, name)
            for name in ("joules_per_difficulty", "keep_rate", "recall", "accounted")
        }
        return {
            "verdict": self.verdict,
            "saving": asdict(self.saving),
            "against_random": asdict(self.against_random),
            "placebo": asdict(self.placebo),
            "planted_saving": self.planted,
            **told,
            "plan": self.plan.to_json(),
            "model": self.card.to_json(),
            "live": None if self.live is None else asdict(self.live),
            "blocks": [asdict(b) | {"joules_per_difficulty": b.joules_per_difficulty} for b in self.blocks],
        }


# ---- the verdict -----------------------------------------------------------------------------------------------------


def planted_saving(plan: FilterPlan, keep_rate: float) -> float:
    """Saving of a filter that ranks jobs by their planted chance without error, by the accounting of energy.

    The kept part q of uniform symbols holds ``q + a q (1 - q)`` of the shares; a job that is given up still gives those
    of its first ``replace_s``, less the time in which a new job gives none.
    """
    from firmware_bridge.emulator.geometry import S9_WORK_MS
    from tpf.energy import energy_per_share

    assert plan.job_s is not None
    assert plan.replace_s is not None
    physics = plan.config(0, 1.0).resolved_physics()
    works_ms = physics.first_works * S9_WORK_MS / plan.config(0, 1.0).pace()
    dead_s = (physics.load_ms + physics.refill_ms + works_ms) / 1e3 if physics.dead_time else 0.0
    kept = keep_rate + abs(plan.winning_jobs) * keep_rate * (1.0 - keep_rate)
    found = kept + (1.0 - kept) * max(0.0, plan.replace_s - dead_s) / (plan.job_s - dead_s)
    return 1.0 - float(energy_per_share(keep_rate, found, plan.replace_s, plan.job_s))


def placebo_rate(kept: int, jobs: int) -> float:
    """Part of the jobs that the placebo keeps, of what the filter kept in the pilot blocks."""
    return min(1.0, max(1e-3, kept / jobs))


def judge(
    plan: FilterPlan, card: ModelCard, blocks: list[FilterBlock], live: LiveFacts | None = None
) -> FilterResult:
    """What the blocks say.

    Raises:
        UserError: if a block has no share.
    """
    from tpf.energy import energy_per_share
    from tpf.paired_blocks import paired_difference

    if any(not block.shares for block in blocks):
        raise UserError("a block has no share: make blocks longer (--block-seconds)")
    by_arm = {arm: sorted((b for b in blocks if b.arm == arm), key=lambda b: b.number) for arm in ARMS}
    logs = {arm: np.log([b.joules_per_difficulty for b in mine]) for arm, mine in by_arm.items()}

    def against(one: str, other: str) -> Saving:
        return Saving.of(paired_difference(logs[one] - logs[other], plan.seed))

    jobs = {arm: sum(b.kept + b.replaced for b in mine) for arm, mine in by_arm.items()}
    difficulty = {arm: sum(b.difficulty for b in mine) for arm, mine in by_arm.items()}
    keep = {arm: sum(b.kept for b in mine) / jobs[arm] for arm, mine in by_arm.items()}
    per_job = {arm: difficulty[arm] / jobs[arm] for arm in ARMS}
    recall = {arm: min(1.0, per_job[arm] / per_job["none"]) for arm in ARMS}
    saving, beats, placebo = against("filter", "none"), against("filter", "random"), against("random", "none")
    return FilterResult(
        plan=plan,
        card=card,
        blocks=blocks,
        joules_per_difficulty={a: sum(b.joules for b in mine) / difficulty[a] for a, mine in by_arm.items()},
        keep_rate=keep,
        recall=recall,
        accounted={a: float(energy_per_share(keep[a], recall[a], plan.replace_s, plan.job_s)) for a in ARMS},
        planted=None if live is not None and not live.emulated else planted_saving(plan, keep["filter"]),
        saving=saving,
        against_random=beats,
        placebo=placebo,
        verdict=verdict_of(saving, beats, plan.smallest),
        live=live,
    )


def verdict_of(saving: Saving, beats: Saving, smallest: float) -> dict[str, str]:
    """Code and text: a filter saves only if it beats both no filter and the placebo."""
    limit = f"a saving of {saving.detectable:.1%} would have shown nine times out of ten"
    if saving.low > 0 and beats.low > 0:
        return {
            "code": "saves",
            "text": f"The filter saves {saving} of the energy per difficulty against no filter, and {beats} against "
            "replacing as many jobs by chance. With a fair hash that cannot be: look for what makes jobs differ.",
        }
    if saving.low > 0:
        return {
            "code": "cannot_tell",
            "text": f"The filter saves {saving} against no filter, but not against replacing as many jobs by chance "
            f"({beats}): replacing work saves here, and nothing shows that knowing which does.",
        }
    if saving.high < 0:
        return {
            "code": "no_saving",
            "text": f"The filter costs energy: it saves {saving} per difficulty. A filter without information "
            "earns nothing, and new work has its price.",
        }
    if saving.detectable <= smallest:
        return {"code": "no_saving", "text": f"No saving is shown: {saving}; {limit}."}
    return {
        "code": "cannot_tell",
        "text": f"No saving is shown: {saving}; but only {limit}, which is more than the {smallest:.1%} asked for. "
        "More or longer blocks.",
    }
