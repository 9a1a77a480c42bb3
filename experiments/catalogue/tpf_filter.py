"""TPF at work: does a filter that gives jobs up save energy per share, against none and against a placebo?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import exp
from typing import TYPE_CHECKING, Any

from experiments.charts import (
    ARMS,
    LINE,
    NULL,
    Z95,
    AnyChart,
    Chart,
    Ladder,
    Mark,
    Rung,
    Series,
    arms,
    interval,
)
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
    Values,
)
from experiments.power import reach_of_blocks
from experiments.subjects import Emulated, Recorded, Subject
from experiments.tpf_filter.plan import SHARES_PER_JOB
from firmware_bridge.errors import DeviceError

if TYPE_CHECKING:
    from experiments.attached import Attached
    from experiments.tpf_filter.live import LiveFilter
    from experiments.tpf_filter.plan import FilterPlan
    from experiments.tpf_filter.result import FilterResult

BLOCKS = {"fast": 8, "quick": 12, "full": 32}
JOBS = {"fast": 14, "quick": 60, "full": 60}
"""Whole jobs of a block."""
TRAINING_JOBS = {"fast": 150, "quick": 600, "full": 1200}
SMALLEST = {"fast": 0.3, "quick": 0.1, "full": 0.05}
"""Saving below which nobody cares; what could be overlooked decides between *no evidence* and *cannot tell*."""
PUBLISHED = 0.88
DIFFICULTY = 256.0
"""Of the shares of an attached miner."""


def _detectable(size: str) -> str:
    from math import expm1

    reach = reach_of_blocks(BLOCKS[size], JOBS[size] * SHARES_PER_JOB)
    return f"a saving of {-expm1(-reach):.1%} of the energy per difficulty"


def sample(size: str) -> Sample:
    """One comparison, of so many blocks of each arm."""
    return Sample(1, None, f"{_detectable(size)} ({BLOCKS[size]} blocks)")


def measure(cell: Cell, subject: Subject) -> dict[str, Any]:
    """No filter, the filter and a placebo in blocks of random order, with a filter trained on a run of its own.

    A stored run has to be one of such a comparison.
    """
    from experiments.attached import Attached
    from experiments.tpf_filter.virtual import run

    if isinstance(subject, Emulated):
        plan = _plan(cell.size, subject, cell.seed).resolved()
        return _values(run(_in_blocks(plan, cell.size)))
    if isinstance(subject, Attached):
        return _values(_judged(subject.db, _compared(_live(cell.size, subject, cell.seed), subject)))
    assert isinstance(subject, Recorded)
    return _values(_judged(subject.db, subject.run))


def _plan(size: str, subject: Subject, seed: int) -> FilterPlan:
    from experiments.tpf_filter.plan import FilterPlan
    from firmware_bridge.emulator.effects import WINNING_JOBS

    plants = dict(getattr(subject, "plants", {}))
    return FilterPlan(
        model=subject.model,
        winning_jobs=plants.pop(WINNING_JOBS, 0.0),
        plants=plants,
        physics=subject.resolved_physics() if isinstance(subject, Emulated) else None,
        blocks=BLOCKS[size],
        training_jobs=TRAINING_JOBS[size],
        smallest=SMALLEST[size],
        seed=seed,
    )


def _in_blocks(plan: FilterPlan, size: str) -> FilterPlan:
    return replace(plan, block_s=JOBS[size] * (plan.job_s or 1.0))


def _live(size: str, subject: Attached, seed: int) -> FilterPlan:
    """For a miner that is there: with the times that its share rate asks for."""
    share_s = 1.0 / subject.shares_per_s({"difficulty": DIFFICULTY})
    return _in_blocks(_plan(size, subject, seed).timed(share_s), size)


def _watched(subject: Attached) -> LiveFilter:
    """The miner with what tells its power; an emulated one that tells none draws what its model does."""
    from experiments.tpf_filter.live import LiveFilter, stated_w

    return LiveFilter(subject, DIFFICULTY, watts=stated_w(subject.model) if subject.emulated else None)


def _compared(plan: FilterPlan, subject: Attached) -> str:
    """Compare on a miner; id of the run.

    Raises:
        LabError: if it did not come to the end of the plan.
    """
    import asyncio

    from experiments.tpf_filter.live import compare

    ended = asyncio.run(compare(plan, _watched(subject), told={"experiment": True}))
    if ended.problems or ended.done < ended.total:
        why = "; ".join(ended.problems) or "it was stopped"
        raise DeviceError(
            f"{subject.device}: {ended.done} of {ended.total} blocks of run {ended.run_id} were compared: {why}"
        )
    return ended.run_id


def _judged(db: str, run: str) -> FilterResult:
    from experiments.tpf_filter.stored import judge_run
    from firmware_bridge.trace.reader import TraceReader

    return judge_run(TraceReader(db), run)


def _lasts(size: str, point: Point, subject: Attached) -> float:
    plan = _live(size, subject, 0)
    return _watched(subject).seconds(plan, recording=True) + subject.between_s(point)


def _values(result: FilterResult) -> dict[str, Any]:
    saving, beats, placebo = result.saving, result.against_random, result.placebo
    joules: dict[str, list[float]] = {arm: [] for arm in result.keep_rate}
    shares = dict.fromkeys(joules, 0)
    for block in sorted(result.blocks, key=lambda block: block.number):
        joules[block.arm].append(block.joules_per_difficulty)
        shares[block.arm] += block.shares
    assert result.plan.job_s is not None
    assert result.plan.replace_s is not None
    return {
        "verdict": result.verdict["code"],
        "text": result.verdict["text"],
        "saving": saving.saving,
        "ci": [saving.low, saving.high],
        "p_value": max(saving.p, beats.p),
        "detectable": saving.detectable,
        "against_random": beats.saving,
        "against_random_ci": [beats.low, beats.high],
        "random_saving": placebo.saving,
        "random_saving_ci": [placebo.low, placebo.high],
        "joules_per_difficulty": joules,
        "shares": shares,
        "keep_rate": result.keep_rate,
        "recall": result.recall,
        "replaced_after": result.plan.replace_s / result.plan.job_s,
        "accounted": 1.0 - result.accounted["filter"] / result.accounted["none"],
    }


def conclude(rows: Sequence[Row]) -> Finding:
    """The verdict of the comparison: a filter saves only if it beats both no filter and the placebo."""
    values = rows[0].values
    codes = {"saves": EVIDENCE, "no_saving": NO_EVIDENCE}
    low, high = values["ci"]
    text = (
        f"{values['text']} By the accounting of kept and lost jobs {values['accounted']:+.1%}; against the placebo "
        f"{values['against_random']:+.1%}."
    )
    fits = values["verdict"] == "saves" and high >= PUBLISHED
    number = Number(
        values["saving"], (low, high), REPRODUCED if fits else NOT_REPRODUCED,
        f"part of the energy per difficulty that a filter saves on one miner ({PUBLISHED:.0%} published for all of "
        "them). Reproduced where it beats no filter and the placebo, and our interval reaches that",
    )  # fmt: skip
    return Finding(
        codes.get(values["verdict"], CANNOT_TELL), text, "saving of energy per difficulty", values["saving"],
        (low, high), values["p_value"], f"a saving of {values['detectable']:.1%} of the energy per difficulty",
        {"C17": number},
    )  # fmt: skip


def charts(rows: Sequence[Row]) -> Sequence[AnyChart]:
    """Savings that are decided on beside that of giving jobs up by chance, in all blocks and in each; what was kept."""
    savings, series = [], []
    known = [(arm, row.values) for arm, own in arms(rows) for row in own[:1]]
    for arm, values in known:
        for word, name, ci in (
            ("filter against none", "saving", "ci"),
            ("filter against chance", "against_random", "against_random_ci"),
            ("chance against none", "random_saving", "random_saving_ci"),
        ):
            span, saving = interval(values, name, ci=ci), values.get(name)
            savings.append(
                Rung(
                    f"{word}, {ARMS[arm]}", None if saving is None else 100.0 * saving,
                    None if span is None else (100.0 * span[0], 100.0 * span[1]),
                    role=arm, second=name == "random_saving",
                )
            )  # fmt: skip
        joules = values.get("joules_per_difficulty")
        if joules:
            for other, word in (("none", "none"), ("random", "chance")):
                ratio = [100.0 * (1.0 - a / b) for a, b in zip(joules["filter"], joules[other], strict=True)]
                at = [float(block + 1) for block in range(len(ratio))]
                label = f"against {word}, {ARMS[arm]}"
                series.append(Series(label, at, ratio, role=arm, second=other == "random"))
    nothing = Mark(0.0, "no saving")
    found: list[AnyChart] = [
        Ladder(
            "Does the filter save energy?",
            "Energy per difficulty that is saved, over all blocks, with its 95 % interval by exchange within blocks. "
            "Evidence needs both filled marks of this miner above 0 with all of their intervals: against no filter, "
            "and against giving up as many jobs by chance. Hollow: what giving up by chance saves. "
            f"{PUBLISHED:.0%} were published.",
            "saving of energy per difficulty, %", savings, [nothing],
        ),
    ]  # fmt: skip
    if series:
        found.append(
            Chart(
                "Saving in every block",
                "The same in each block, whose arms ran in random order. Filled: the filter against none; hollow: "
                "against giving up by chance.",
                "block", "saving of energy per difficulty, %", series, [nothing],
            )
        )  # fmt: skip
    return [*found, *_kept(known)]


def _kept(known: Sequence[tuple[str, Values]]) -> list[AnyChart]:
    """Shares over kept jobs of the filter and of chance, beside the line on which nothing is saved."""
    series = []
    for arm, values in known:
        if not values.get("recall"):
            continue
        for which, word in (("filter", "filter"), ("random", "by chance")):
            recall, n = values["recall"][which], values["shares"]
            # counts of a fair hash: relative error of their quotient
            error = Z95 * (1.0 / max(1, n[which]) + 1.0 / max(1, n["none"])) ** 0.5
            series.append(
                Series(
                    f"{word}, {ARMS[arm]}", [values["keep_rate"][which]], [recall], [recall * exp(-error)],
                    [recall * exp(error)], arm, second=which == "random",
                )
            )  # fmt: skip
    if not series:
        return []
    after = next(values["replaced_after"] for _, values in known if values.get("recall"))
    kept = [x for one in series for x in one.x]
    ends = [max(0.0, min(kept) - 0.05), min(1.0, max(kept) + 0.05)]
    line = Series(
        "as much energy as without a filter",
        ends,
        [q + (1.0 - q) * after for q in ends],
        role=NULL,
        form=LINE,
    )
    return [
        Chart(
            "Do the kept jobs hold more shares than others?",
            "Shares per job over those of whole jobs, against the part of the jobs that is kept; bars: 95 % of counts "
            f"of a fair hash. On the line nothing is saved: a job that is given up after {after:.0%} of its time has "
            f"given {after:.0%} of its shares. Chance lies on it or a little below, since each new job costs dead "
            "time; above it a filter knows which jobs win.",
            "part of the jobs that is kept", "shares per job, over a whole one", [line, *series],
        )
    ]  # fmt: skip


EXPERIMENT = Experiment(
    name="tpf-filter",
    title="Does a filter at work save energy per share?",
    claims=("C17",),
    source="Speaking to Silicon, 12 to 14 and abstract; repository of the filter",
    hypothesis="A filter that abandons what will fail saves 88 % of the energy; all miners together 150 TWh a year.",
    null="A fair hash: whatever is known of a job says nothing of its shares, so that giving jobs up costs shares.",
    decision=(
        "Evidence where the filter needs less energy per difficulty than no filter and than a placebo that gives up as "
        "many jobs by chance, each with its 95 % interval by exchange within blocks."
    ),
    kinds=("emulator", "trace", "device"),
    models=("s9", "lv06"),
    sample=sample,
    measure=measure,
    conclude=conclude,
    lasts=_lasts,
    effect=("winning_jobs", 0.9),
    page="tpf-filter",
    charts=charts,
)
