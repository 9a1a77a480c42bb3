"""What a comparison of Virtual Block Managers asks for, what its blocks measured, and what they say."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from experiments.vbm_subjects import EmulatedSubject, Side, Subject
from firmware_bridge.efficiency import eta, throughput_gain
from firmware_bridge.emulator.delay import Tally
from firmware_bridge.errors import UserError

Arm = Literal["direct", "direct again", "relay", "vbm"]
ARMS: tuple[Arm, ...] = ("direct", "direct again", "relay", "vbm")
LEVEL = 0.95
PUBLISHED_GAIN = 0.25
"""*Speaking to Silicon*, §15: 175 to 220 GH/s at the pool."""


@dataclass(frozen=True)
class Block:
    """One arm in one block.

    Attributes:
        number: of the block.
        arm: which.
        seconds: how long it counted.
        tally: what the pool saw.
        side: what the miner saw.
        round_trip_s: what the way to the pool really added.
    """

    number: int
    arm: Arm
    seconds: float
    tally: Tally
    side: Side
    round_trip_s: float

    @property
    def difficulty_per_hour(self) -> float:
        """Accepted difficulty per hour, without the time by which this host was late for an emulated miner."""
        return 3600.0 * self.tally.difficulty / (self.seconds * (1.0 - self.side.late))


@dataclass(frozen=True)
class Gain:
    """How much more an arm brought than ``direct``.

    Attributes:
        gain: fraction; 0 for none.
        low: of the 95 % interval.
        high: of it.
        p: two-sided, that there is no gain.
        detectable: smallest gain that these blocks would show nine times out of ten.
        blocks: pairs.
    """

    gain: float
    low: float
    high: float
    p: float
    detectable: float
    blocks: int


def gain_of(arm: Sequence[float], direct: Sequence[float]) -> Gain:
    """Of rates that were measured in the same blocks, at least two, all above 0.

    Raises:
        UserError: if there are fewer than two blocks, or one without any accepted share.
    """
    from scipy import stats

    if len(arm) != len(direct) or len(arm) < 2:
        raise UserError("a gain needs two blocks or more; give --blocks 2 or more")
    if min(*arm, *direct) <= 0:
        raise UserError("a block has no accepted share: make blocks longer (--block-seconds)")
    logs = np.log(np.asarray(arm)) - np.log(np.asarray(direct))
    n = logs.size
    mean, error = float(logs.mean()), float(logs.std(ddof=1) / math.sqrt(n))
    reach = float(stats.t.ppf(0.5 + LEVEL / 2, n - 1)) * error
    p = float(2.0 * stats.t.sf(abs(mean) / error, n - 1)) if error > 0 else float(mean == 0.0)
    needed = (float(stats.t.ppf(0.5 + LEVEL / 2, n - 1)) + float(stats.t.ppf(0.9, n - 1))) * error
    gain, low, high = (math.expm1(v) for v in (mean, mean - reach, mean + reach))
    return Gain(gain, low, high, p, math.expm1(needed), n)


@dataclass(frozen=True)
class ArmResult:
    """An arm over all blocks.

    Attributes:
        arm: which.
        difficulty_per_hour: accepted, mean over the blocks.
        gain: against ``direct``; None for that itself.
        predicted: gain by the formula, of the ``t_hash`` that was set and the waits that the miners measured in both
            arms; None for a miner that does not tell them.
        ideal: the same if nothing were left to wait for; of ``vbm`` only.
        eta: measured by the miner over all blocks, with its 95 % interval; None for a real miner.
        eta_formula: ``t_hash / (t_hash + t_network + t_stratum)`` of the ``t_hash`` that was set and the mean wait.
        idle_ms: quantiles .5, .9 and .99 of the waits after a share.
        stale_rate: stale shares over submitted ones.
        duplicate_rate: duplicates over submitted ones.
        rejected: reason to count.
    """

    arm: Arm
    difficulty_per_hour: float
    gain: Gain | None
    predicted: float | None
    ideal: float | None
    eta: tuple[float, float, float] | None
    eta_formula: float | None
    idle_ms: tuple[float, float, float] | None
    stale_rate: float
    duplicate_rate: float
    rejected: dict[str, int]


@dataclass(frozen=True)
class VbmResult:
    """What came of an experiment.

    Attributes:
        subject: the miner.
        round_trip_s: that was set, None for a real pool.
        seed: of the order of the arms.
        blocks: each arm of each block.
        arms: each arm over all blocks.
        verdict: code and text.
    """

    subject: str
    round_trip_s: float | None
    seed: int
    blocks: list[Block]
    arms: list[ArmResult]
    verdict: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Plan:
    """What is done.

    Attributes:
        blocks: how often each arm is run.
        block_s: how long each time.
        round_trip_s: to the emulated pool; None where ``pool`` is real.
        pool: host and port of a real one.
        user: worker name there, None for the miner's own.
        difficulty: of the emulated pool.
        seed: of the order of the arms, and of the emulated pool.
        arms: which.
        host: address of this host that the miner connects to.
    """

    blocks: int = 10
    block_s: float = 10.0
    round_trip_s: float | None = 0.2
    pool: tuple[str, int] | None = None
    user: str | None = None
    difficulty: float = 256.0
    seed: int = 0
    arms: tuple[Arm, ...] = ARMS
    host: str = "127.0.0.1"

    def __post_init__(self) -> None:
        if self.blocks < 2:
            raise UserError(f"--blocks is at least 2, not {self.blocks}")
        if not 0 < self.block_s < math.inf:
            raise UserError(f"--block-seconds is above 0, not {self.block_s!r}")
        if self.round_trip_s is not None and not 0 <= self.round_trip_s < 60:
            raise UserError(f"--round-trip is 0 to 60 s, not {self.round_trip_s!r}")


def judge(subject: Subject, plan: Plan, blocks: Sequence[Block]) -> VbmResult:
    """The arms over all blocks, and what they say.

    Raises:
        UserError: if no block has an accepted share.
    """
    by_arm = {arm: [b for b in blocks if b.arm == arm] for arm in plan.arms}
    half = _half_share(blocks)
    direct = [_rate(b, half) for b in by_arm["direct"]]
    direct_waits = [w for b in by_arm["direct"] for w in b.side.waiting_s]
    results = []
    for arm, mine in by_arm.items():
        rates = [b.difficulty_per_hour for b in mine]
        tally = Tally()
        for block in mine:
            tally.submitted += block.tally.submitted
            tally.rejected += block.tally.rejected
        waits = [w for b in mine for w in b.side.waiting_s]
        formula = predicted = ideal = None
        if isinstance(subject, EmulatedSubject):
            before_s, after_s = (_mean(w) if subject.waits else 0.0 for w in (direct_waits, waits))
            formula = eta(subject.t_hash_s, after_s, subject.load_s)
            predicted = throughput_gain(subject.t_hash_s, before_s + subject.load_s, after_s + subject.load_s)
            ideal = throughput_gain(subject.t_hash_s, before_s + subject.load_s, subject.load_s)
        results.append(
            ArmResult(
                arm=arm,
                difficulty_per_hour=float(np.mean(rates)),
                gain=None if arm == "direct" else gain_of([_rate(b, half) for b in mine], direct),
                predicted=None if arm == "direct" else predicted,
                ideal=ideal if arm == "vbm" else None,
                eta=_eta_interval(mine),
                eta_formula=formula,
                idle_ms=_quantiles_ms(waits),
                stale_rate=_part(tally.rejected, "stale", tally.submitted),
                duplicate_rate=_part(tally.rejected, "duplicate", tally.submitted),
                rejected=dict(tally.rejected),
            )
        )
    verdict = _verdict(results)
    return VbmResult(subject.name, plan.round_trip_s, plan.seed, list(blocks), results, verdict)


def _half_share(blocks: Sequence[Block]) -> float:
    """Half the mean difficulty of an accepted share.

    Raises:
        UserError: if there is none in all the blocks.
    """
    accepted = sum(b.tally.accepted for b in blocks)
    if not accepted:
        raise UserError("the pool accepted no share in any block: make blocks longer (--block-seconds)")
    return 0.5 * sum(b.tally.difficulty for b in blocks) / accepted


def _rate(block: Block, half: float) -> float:
    """Accepted difficulty per hour with half a share on top, so that a block without any has a logarithm too."""
    seconds = block.seconds * (1.0 - block.side.late)
    return 3600.0 * (block.tally.difficulty + half) / seconds


def _mean(waits_s: Sequence[float]) -> float:
    return float(np.mean(waits_s)) if waits_s else 0.0


def _eta_interval(blocks: Sequence[Block]) -> tuple[float, float, float] | None:
    """eta over all blocks with Student's interval over them."""
    from scipy import stats

    values = np.array([b.side.eta for b in blocks if b.side.eta is not None])
    if values.size < 2:
        return None
    reach = float(stats.t.ppf(0.5 + LEVEL / 2, values.size - 1) * values.std(ddof=1) / math.sqrt(values.size))
    mean = float(values.mean())
    return mean, mean - reach, mean + reach


def _quantiles_ms(waits_s: Sequence[float]) -> tuple[float, float, float] | None:
    if not waits_s:
        return None
    low, middle, high = np.quantile(np.asarray(waits_s) * 1e3, [0.5, 0.9, 0.99])
    return float(low), float(middle), float(high)


def _part(rejected: Counter[str], reason: str, submitted: int) -> float:
    return rejected[reason] / submitted if submitted else 0.0


def _verdict(arms: Sequence[ArmResult]) -> dict[str, str]:
    by_arm = {a.arm: a for a in arms}
    null = by_arm.get("direct again")
    vbm = by_arm.get("vbm")
    if vbm is None or vbm.gain is None:
        return {"code": "cannot_tell", "text": "The managed arm was not run."}
    gain = vbm.gain
    if null is not None and null.gain is not None and (null.gain.low > 0 or null.gain.high < 0):
        return {
            "code": "cannot_tell",
            "text": f"Two equal arms differ by {null.gain.gain:+.1%}: this measurement is disturbed, and no gain of it "
            "means anything. More or longer blocks, on a machine that does nothing else.",
        }
    span = f"{gain.gain:+.1%} (95 % interval {gain.low:+.1%} to {gain.high:+.1%}, {gain.blocks} blocks)"
    if gain.low > 0:
        code, text = (
            "gain",
            f"Managed work brings {span} accepted difficulty per hour against a direct connection.",
        )
    elif gain.high < 0:
        code, text = "loss", f"Managed work costs: {span} against a direct connection."
    else:
        code = "no_gain"
        text = f"No gain is shown: {span}. A gain of {gain.detectable:.1%} would have shown nine times out of ten."
    if gain.low <= PUBLISHED_GAIN <= gain.high:
        text += " The published +25 % lies within the interval."
    else:
        text += " The published +25 % lies outside the interval."
    return {"code": code, "text": text}


def model_rows(
    round_trips_s: Sequence[float] = (0.01, 0.02, 0.05, 0.1, 0.2),
    t_hash_s: Sequence[float] = (0.1, 0.2, 1.0, 10.0),
) -> list[dict[str, float | None]]:
    """What taking the network out can win, for miners that wait; for those that queue it is 0 everywhere."""
    return [
        {
            "round_trip_s": rtt,
            "t_hash_s": hashing,
            "eta": eta(hashing, rtt),
            "gain": throughput_gain(hashing, rtt),
            "time_won": None if (e := eta(hashing, rtt)) is None else 1.0 - e,
        }
        for rtt in round_trips_s
        for hashing in t_hash_s
    ]
