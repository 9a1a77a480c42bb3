"""VBM: does a block manager beside the miner bring more shares than a direct connection to a pool far away?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from experiments.charts import ARMS as WHOSE
from experiments.charts import PUBLISHED as AS_PUBLISHED
from experiments.charts import AnyChart, Chart, Ladder, Mark, Rung, Series, Span, arms, mean_interval
from experiments.experiment import (
    CANNOT_TELL,
    EVIDENCE,
    NO_EVIDENCE,
    NOT_REPRODUCED,
    REPRODUCED,
    Cell,
    Experiment,
    Finding,
    Number,
    Point,
    Row,
    Sample,
)
from experiments.power import reach_of_blocks
from experiments.share_rates import shares_per_s
from experiments.subjects import Emulated, Subject
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from experiments.attached import Attached
    from experiments.vbm_result import Arm

ARMS = ("direct", "direct again", "vbm")
WORDS = {"vbm": "managed", "direct again": "direct again", "direct": "direct"}
"""Of the arms, on a page."""
BLOCKS = {"fast": 10, "quick": 10, "full": 20}
SHARES = {"fast": 1000, "quick": 2000, "full": 5000}
"""Of each arm in each block, in virtual time."""
WALL_SHARES = {"fast": 100, "quick": 200, "full": 400}
"""Expected of a miner in wall time."""
SHARES_PER_ROUND_TRIP = 0.25
"""A share takes four round trips: at that distance a miner that waits after each would gain 25 %."""
DIFFICULTY = {"s9": 1024.0, "lv06": 256.0}
WALL_T_HASH_S, WALL_MINERS = 0.2, 16
"""Of emulated miners in wall time."""
PUBLISHED = 220 / 175 - 1


def _detectable(size: str) -> str:
    return f"a gain of {_smallest(SHARES[size], BLOCKS[size]):.1%}"


def _smallest(shares: int, blocks: int) -> float:
    """Gain that blocks of so many shares show with the usual power."""
    from math import expm1

    return expm1(reach_of_blocks(blocks, shares))


def sample(size: str) -> Sample:
    """Blocks, each with every arm."""
    return Sample(BLOCKS[size], SHARES[size], _detectable(size))


def points(size: str, subject: Subject) -> Sequence[Point]:
    """The arms; the runner measures all blocks of all arms in random order."""
    return tuple({"arm": arm} for arm in ARMS)


def share_s(subject: Subject, difficulty: float) -> float:
    """Mean time that a share takes while the miner hashes."""
    return 1.0 / shares_per_s(subject.model, difficulty, hash_rate_ths=subject.hash_rate_ths)


def measure(cell: Cell, subject: Subject) -> dict[str, Any]:
    """Rate of shares in one block of one arm."""
    arm = str(cell.point["arm"])
    if not isinstance(subject, Emulated):
        from experiments.attached import Attached

        if not isinstance(subject, Attached):
            raise UserError(
                "vbm compares two ways to a pool: run it with --emulate or --device, not on a stored run"
            )
        return {"arm": arm, "block": cell.repetition} | _in_wall_time(cell, subject)
    return {"arm": arm, "block": cell.repetition} | virtual_block(
        subject, cell.seed, shares=SHARES[cell.size], far=arm != "vbm"
    )


def virtual_block(subject: Emulated, seed: int, *, shares: int, far: bool) -> dict[str, Any]:
    """One block in virtual time: the pool a quarter of a share's time away, or a manager in its place beside the miner.

    Both give a new job at each share, as the pool and the proxy of ``asiclab vbm ab`` do.
    """
    from dataclasses import replace

    from firmware_bridge.emulator.virtual import simulate

    difficulty = DIFFICULTY[subject.model]
    t_hash_s = share_s(subject, difficulty)
    round_trip_s = SHARES_PER_ROUND_TRIP * t_hash_s
    config = subject.config(seed, shares=shares, difficulty=difficulty, scale=2.0**-36)
    physics = replace(config.resolved_physics(), round_trip_ms=1e3 * round_trip_s if far else 0.0)
    trace = simulate(replace(config, physics=physics))
    seconds = float(trace.row_ns[-1]) / 1e9
    new = int((~trace.duplicate).sum())
    return {
        "shares": new,
        "seconds": seconds,
        "rate": new / seconds,
        "miners": 1,
        "t_hash_s": t_hash_s,
        "round_trip_s": round_trip_s if far else 0.0,
        "waits": subject.plants.get("waits", 0.0),
    }


def _in_wall_time(cell: Cell, subject: Attached) -> dict[str, Any]:
    """One block against real sockets, through the real proxy where the arm has one."""
    import asyncio

    from experiments.attached_miner import pointed
    from experiments.vbm import one_block
    from experiments.vbm_result import Plan
    from firmware_bridge.clock import SystemClock

    arm = cast("Arm", cell.point["arm"])
    difficulty = DIFFICULTY[subject.model]
    t_hash_s = WALL_T_HASH_S if subject.emulated else share_s(subject, difficulty)
    miners = WALL_MINERS if subject.emulated else 1
    plan = Plan(
        block_s=WALL_SHARES[cell.size] * t_hash_s / miners,
        round_trip_s=SHARES_PER_ROUND_TRIP * t_hash_s,
        difficulty=difficulty,
        seed=cell.seed,
        host=subject.host,
    )

    async def block() -> dict[str, Any]:
        async with pointed(subject, cell.seed, t_hash_s=t_hash_s, miners=miners) as miner:
            try:
                done = await one_block(miner, plan, cell.repetition, arm, SystemClock())
            finally:
                await miner.end()
        seconds = done.seconds * (1.0 - done.side.late)
        # half a share on top, so that a block without any has a rate too
        return {
            "shares": done.tally.accepted,
            "seconds": seconds,
            "rate": (done.tally.accepted + 0.5) / seconds,
            "miners": miners,
            "t_hash_s": t_hash_s,
            "round_trip_s": done.round_trip_s,
            "waits": subject.plants.get("waits", 0.0) if subject.emulated else None,
        }

    return asyncio.run(block())


def conclude(rows: Sequence[Row]) -> Finding:
    """Evidence where the managed arm brings more, and the two equal arms do not differ."""
    import numpy as np

    from experiments.vbm_result import gain_of
    from firmware_bridge.efficiency import throughput_gain

    by_arm = {
        arm: sorted((r.values for r in rows if r.values["arm"] == arm), key=lambda v: v["block"])
        for arm in ARMS
    }
    name = "gain of shares, managed over direct"
    rates = {arm: [v["rate"] for v in mine] for arm, mine in by_arm.items()}
    gain = gain_of(rates["vbm"], rates["direct"])
    null = gain_of(rates["direct again"], rates["direct"])
    shares = sum(v["shares"] for arm in ("direct", "vbm") for v in by_arm[arm]) // 2
    detectable = f"a gain of {_smallest(max(1, shares // gain.blocks), gain.blocks):.1%}"
    told = by_arm["direct"][0]
    formula = ""
    if told["waits"] is not None:
        cycle_s = float(np.mean([v["miners"] * v["seconds"] / max(1, v["shares"]) for v in by_arm["vbm"]]))
        predicted = throughput_gain(cycle_s, told["waits"] * told["round_trip_s"])
        formula = (
            f" By the formula {predicted:+.1%}, where firmware waits after {told['waits']:.0%} of its shares."
        )
    span = f"{gain.gain:+.1%} (95 % interval {gain.low:+.1%} to {gain.high:+.1%}, {gain.blocks} blocks)"
    same = f"two equal arms differ by {null.gain:+.1%} ({null.low:+.1%} to {null.high:+.1%})"
    disturbed = null.low > 0 or null.high < 0
    if disturbed:
        code, head = (
            CANNOT_TELL,
            f"Two equal arms differ, so that no gain means anything: managed work brings {span}",
        )
    elif gain.low > 0:
        code, head = EVIDENCE, f"Managed work brings {span} shares against a direct connection"
    else:
        code, head = NO_EVIDENCE, f"No gain is shown: {span} shares against a direct connection"
    fits = gain.low > 0 and gain.low <= PUBLISHED <= gain.high
    number = Number(
        gain.gain, (gain.low, gain.high),
        None if disturbed else REPRODUCED if fits else NOT_REPRODUCED,
        f"gain of accepted shares with a share every four round trips ({PUBLISHED:+.1%} published, for a pool whose "
        "distance is not). Reproduced where our interval holds the published gain and lies above 0",
    )  # fmt: skip
    return Finding(
        code, f"{head}; {same}, p = {gain.p:.3g}.{formula}", name, gain.gain, (gain.low, gain.high), gain.p,
        detectable, {"C15": number},
    )  # fmt: skip


def charts(rows: Sequence[Row]) -> Sequence[AnyChart]:
    """Gain of the managed arm beside that of two equal arms, over all blocks and in each; and the rates themselves."""
    gains, rates, series, counts = [], [], [], []
    for arm, own in arms(rows):
        found = _rates(own)
        for name in ("vbm", "direct again"):
            ratio = _ratios(found, name)
            gains.append(
                Rung(f"{WORDS[name]}, {WHOSE[arm]}", *_gain(found, name), role=arm, second=name != "vbm")
            )
            series.append(
                Series(
                    f"{WORDS[name]}, {WHOSE[arm]}", [block + 1.0 for block in ratio],
                    [100.0 * (r - 1.0) for r in ratio.values()], role=arm, second=name != "vbm",
                )
            )  # fmt: skip
        for name, word in WORDS.items():
            mean, ci = mean_interval([3600.0 * rate for rate in found[name].values()])
            rates.append(Rung(f"{word}, {WHOSE[arm]}", mean, ci, role=arm, second=name != "vbm"))
        counts += [row.values["shares"] for row in own]
    reach = 196.0 * (2.0 / max(1.0, sum(counts) / len(counts))) ** 0.5
    nothing = Mark(0.0, "no gain")
    return [
        Ladder(
            "Does a manager beside the miner bring more shares?",
            "Gain over a direct connection, over all blocks, with Student's 95 % interval. Evidence where the managed "
            "arm of this miner lies above 0 with all of its interval. Hollow: a second direct connection, which cannot "
            "gain anything; where its interval leaves 0 out, the measurement is disturbed.",
            "gain of shares over a direct connection, %", gains,
            [nothing, Mark(100.0 * PUBLISHED, "published", AS_PUBLISHED)],
        ),
        Chart(
            "Gain in every block",
            "The same in each block, whose arms were measured in random order. Hollow: the second direct connection. "
            "Band: what chance makes of two equal arms in one block, if shares are counts of a fair hash.",
            "block", "gain of shares, %", series, [nothing], band=(-reach, reach),
        ),
        Ladder(
            "How many shares does each arm bring?",
            "Mean over the blocks with Student's 95 % interval. Blocks of all arms wander together where the hash rate "
            "does, so the decision is on quotients within blocks, not on these.",
            "accepted shares per hour", rates,
        ),
    ]  # fmt: skip


def _rates(rows: Sequence[Row]) -> dict[str, dict[int, float]]:
    """Rate of each arm by block; blocks without a share are left out."""
    found: dict[str, dict[int, float]] = {arm: {} for arm in ARMS}
    for values in sorted((row.values for row in rows), key=lambda v: int(v["block"])):
        if values["rate"] > 0:
            found[values["arm"]][values["block"]] = values["rate"]
    return found


def _ratios(rates: Mapping[str, Mapping[int, float]], arm: str) -> dict[int, float]:
    """Rate of an arm over the direct one, of the blocks that hold both: a run that goes on has others."""
    direct = rates["direct"]
    return {block: rate / direct[block] for block, rate in rates[arm].items() if block in direct}


def _gain(rates: Mapping[str, Mapping[int, float]], arm: str) -> tuple[float | None, Span | None]:
    """Gain of an arm in per cent with its interval; None where there are too few blocks."""
    from experiments.vbm_result import gain_of

    ratios = list(_ratios(rates, arm).values())
    if len(ratios) < 2:
        return None, None
    gain = gain_of(ratios, [1.0] * len(ratios))
    return 100.0 * gain.gain, (100.0 * gain.low, 100.0 * gain.high)


EXPERIMENT = Experiment(
    name="vbm",
    title="Does a block manager beside the miner bring more shares?",
    claims=("C15",),
    source="Speaking to Silicon, 15",
    hypothesis="With the next work ready beside the miner, the pool gets 25 % more: 175 to 220 GH/s.",
    null="The firmware queues work and hashes on while a share is under way: the distance of the pool costs nothing.",
    decision=(
        "Evidence where the mean over blocks of the logarithm of the managed rate over the direct one lies above 0 "
        "with its 95 % interval (Student), and that of two equal direct arms does not exclude 0."
    ),
    kinds=("emulator", "device"),
    acts="two ways to a pool take turns while they are measured",
    models=("s9", "lv06"),
    capabilities=("jobs",),
    sample=sample,
    points=points,
    measure=measure,
    conclude=conclude,
    effect=("waits", 0.3),
    page="vbm",
    charts=charts,
)
