"""Do controllers that learn keep shares at their interval better than chance, a constant, or a pool's vardiff?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from experiments.charts import ARMS as WHOSE
from experiments.charts import (
    LINE,
    NULL,
    AnyChart,
    Chart,
    Ladder,
    Mark,
    Rung,
    Series,
    Span,
    arms,
    mean_interval,
)
from experiments.experiment import (
    ALPHA,
    CANNOT_TELL,
    EVIDENCE,
    NO_EVIDENCE,
    NOT_REPRODUCED,
    REPRODUCED,
    SUBJECT,
    Cell,
    Experiment,
    Finding,
    Number,
    Row,
    Sample,
    Values,
)
from experiments.power import errors_needed
from experiments.share_rates import shares_per_s
from experiments.subjects import Emulated, Subject
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from experiments.analyses.controllers import ControlledDifficulty, Policy
    from firmware_bridge.clock import Clock
    from firmware_bridge.stratum.dispatch import DispatchContext

TRAINING = {"fast": 300, "quick": 600, "full": 600}
"""Decisions that follow with a jitter, from which every controller learns."""
JITTER = 0.2
"""Of those, either way, as a logarithm of the difficulty."""
EPISODES = {"fast": 8, "quick": 12, "full": 12}
DECISIONS = 32
"""Of each episode."""
JOBS = 16
"""Of each decision."""
REPETITIONS = {"fast": 1, "quick": 1, "full": 4}
OVER_FLOOR = 4.0
"""The reference difficulty over the smallest; controllers go from the smallest to sixteen times that."""
SPREAD = 0.025
"""Standard deviation of the difference of costs in an episode, measured over 96 with the rate swinging by 0.4."""


def _detectable(episodes: int, spread: float = SPREAD) -> str:
    least = errors_needed(ALPHA / 6) * spread / episodes**0.5
    return f"a mean square of ln(interval / target) that is lower by {least:.3f}"


def sample(size: str) -> Sample:
    """Repetitions, each with a record to learn from and episodes of every controller."""
    return Sample(REPETITIONS[size], None, _detectable(EPISODES[size] * REPETITIONS[size]))


def measure(cell: Cell, subject: Subject) -> dict[str, Any]:
    """Cost of every controller in every episode, all after learning from one record."""
    import numpy as np

    from experiments.analyses.controllers import (
        BASELINES,
        LEARNERS,
        Constant,
        Exploring,
        Proportional,
        Random,
        best_gain,
    )

    chance = np.random.default_rng([cell.seed, 1])
    record = np.array(_run(subject, cell.seed, 0, Exploring(chance, JITTER), TRAINING[cell.size]).y)
    constant = float(record.mean())
    gain = best_gain(record, constant)
    costs: dict[str, list[float]] = {name: [] for name in (*BASELINES, *LEARNERS)}
    fresh: dict[str, Any] = {
        "random": lambda: Random(chance),
        "constant": lambda: Constant(constant),
        "proportional": lambda: Proportional(constant, gain),
    }
    for number, (name, learner) in enumerate(LEARNERS.items()):
        fresh[name] = learner.train(record, np.random.default_rng([cell.seed, 2, number]))
    example: dict[str, dict[str, list[float]]] = {}
    for episode in range(1, EPISODES[cell.size] + 1):
        for name in costs:
            done = _run(subject, cell.seed, episode, fresh[name](), DECISIONS)
            costs[name].append(float(done.costs().mean()))
            if episode == 1 and name in LEARNERS:
                example[name] = {which: [round(v, 4) for v in getattr(done, which)] for which in "xy"}
    return {
        "costs": costs,
        "gain": gain,
        "constant": constant,
        "learners": list(LEARNERS),
        "example": example,
    }


def _run(subject: Subject, seed: int, episode: int, policy: Policy, decisions: int) -> ControlledDifficulty:
    """One episode under one policy; every policy meets the same chance, and the same phase of whatever swings."""
    from experiments.analyses.controllers import ControlledDifficulty
    from firmware_bridge.emulator.model import get_model

    reference = OVER_FLOOR * get_model(subject.model).floor
    target_s = 1.0 / shares_per_s(subject.model, reference, hash_rate_ths=subject.hash_rate_ths)
    source = ControlledDifficulty(
        policy, jobs=JOBS, reference=reference, target_s=target_s, decisions=decisions
    )
    if isinstance(subject, Emulated):
        _in_virtual_time(subject, seed, episode, source, decisions)
        return source
    if subject.kind != "device":
        raise UserError("a controller has to act: run controllers with --emulate or --device")
    # shares of jobs that were replaced already call for no job: there may be more shares than jobs
    most = 4 * JOBS * decisions
    subject.data(_episode_seed(seed, episode), shares=most, source=source, difficulty=reference)
    return source


def _episode_seed(seed: int, *place: int) -> int:
    import numpy as np

    return int(np.random.SeedSequence([seed, *place]).generate_state(1)[0] >> 1)


def _in_virtual_time(
    subject: Emulated, seed: int, episode: int, source: ControlledDifficulty, decisions: int
) -> None:
    """Ask the source as the bridge would, job by job, and let the emulator mine for as long as a difficulty holds."""
    from dataclasses import replace

    from firmware_bridge.clock import VirtualClock
    from firmware_bridge.emulator.effects import SWING_PERIOD_S
    from firmware_bridge.emulator.virtual import simulate

    start_s = _episode_seed(seed, episode, 1) / 2.0**31 * SWING_PERIOD_S
    base = subject.config(0, shares=JOBS, scale=2.0**-36)
    clock = VirtualClock(base.start_wall_ns + round(start_s * 1e9))
    response_ns: int | None = None
    for decision in range(decisions):
        start_ns = clock.monotonic_ns()
        symbol = source.next(_context(decision * JOBS, clock, response_ns))
        assert symbol is not None
        assert symbol.difficulty is not None
        trace = simulate(
            replace(
                base,
                seed=_episode_seed(seed, episode, 2, decision),
                difficulty=symbol.difficulty,
                start_wall_ns=clock.wall_ns(),
            )
        )
        # the job after each share; the last one belongs to the next decision
        for job in range(1, JOBS + 1):
            response_ns = int(trace.response_ns[job - 1])
            clock.advance_to(start_ns + int(trace.job_sent_ns[job]))
            if job < JOBS:
                again = source.next(_context(decision * JOBS + job, clock, response_ns))
                assert again == symbol  # one decision holds for all of its jobs
    source.next(_context(decisions * JOBS, clock, response_ns))


def _context(index: int, clock: Clock, response_ns: int | None) -> DispatchContext:
    from firmware_bridge.stratum.dispatch import DispatchContext

    return DispatchContext(
        miner=1,
        miner_name="virtual",
        index=index,
        wall_ns=clock.wall_ns(),
        monotonic_ns=clock.monotonic_ns(),
        answered=None if response_ns is None else True,
        version_mask=0,
        extranonce_subscribed=False,
        response_ns=response_ns,
    )


def conclude(rows: Sequence[Row]) -> Finding:
    """Evidence where a controller that learns costs less than every baseline, in the same episodes."""
    import numpy as np

    from experiments.analyses.controllers import BASELINES
    from tpf.paired_blocks import FEWEST_BLOCKS, paired_difference

    learners = rows[0].values["learners"]
    costs = {
        name: np.concatenate([row.values["costs"][name] for row in rows]) for name in (*BASELINES, *learners)
    }
    episodes = costs["random"].size
    name = "cost less that of the best baseline"
    if episodes < FEWEST_BLOCKS:
        return Finding(CANNOT_TELL, f"{episodes} episodes; {FEWEST_BLOCKS} are needed.", name, None)
    against = {
        (learner, baseline): paired_difference(costs[learner] - costs[baseline], rows[0].cell.seed)
        for learner in learners
        for baseline in BASELINES
    }

    def p_of(learner: str, baselines: Sequence[str]) -> float:
        # it has to beat each, so that the weakest of these comparisons is its test
        return max(against[learner, b].p if against[learner, b].mean < 0 else 1.0 for b in baselines) * len(
            learners
        )

    p_values = {learner: min(1.0, p_of(learner, BASELINES)) for learner in learners}
    best = min(learners, key=lambda learner: (p_values[learner], costs[learner].mean()))
    strongest = min(("constant", "proportional"), key=lambda b: float(costs[b].mean()))
    beats_chance = [learner for learner in learners if p_of(learner, ("random",)) <= ALPHA]
    winners = [learner for learner in learners if p_values[learner] <= ALPHA]
    means = ", ".join(f"{which} {float(values.mean()):.3f}" for which, values in costs.items())
    difference = against[best, strongest]
    trivial = (
        f"{', '.join(beats_chance)} beat{'s' if len(beats_chance) == 1 else ''} chance, as any constant does: that "
        "alone is trivial"
        if beats_chance
        else "none of them beats even chance"
    )
    head = (
        f"{', '.join(winners)} keep{'s' if len(winners) == 1 else ''} shares at their interval better than the best "
        "constant and than proportional control: the rate has a course that timing foretells"
        if winners
        else "No controller that learns does better than the best constant difficulty and proportional control"
    )
    gains = ", ".join(f"{row.values['gain']:.2f}" for row in rows)
    text = (
        f"{head}. {best} less {strongest}: {difference.mean:+.4f} (95 % interval {difference.low:+.4f} to "
        f"{difference.high:+.4f}, {episodes} episodes); {trivial}. Mean square of ln(interval / target): {means}; gain "
        f"of the proportional control {gains}."
    )
    number = Number(
        float(len(winners)), None, REPRODUCED if len(winners) == len(learners) else NOT_REPRODUCED,
        f"controllers that learn and beat chance, the best constant and proportional control, of {len(learners)} (4 of "
        "4 published as done, against none of these, without a number; what a self-supervised one would be is not "
        "said). Reproduced where all of them do",
    )  # fmt: skip
    return Finding(
        EVIDENCE if winners else NO_EVIDENCE, text, name, difference.mean, (difference.low, difference.high),
        p_values[best], _detectable(episodes, float(np.std(costs[best] - costs[strongest], ddof=1)) or SPREAD),
        {"C21-controllers": number},
    )  # fmt: skip


def charts(rows: Sequence[Row]) -> Sequence[AnyChart]:
    """Costs of learners less those of the best baseline, all costs, and what one learner set in one episode."""
    against, costs, series = [], [], []
    known = arms(rows)
    learners = list(rows[0].values["learners"])
    for arm, own in known:
        every = _costs(own)
        best = _best_baseline(every)
        for name in learners:
            less = [a - b for a, b in zip(every[name], every[best], strict=True)]
            value, ci = _mean_difference(less, own[0].cell.seed)
            against.append(Rung(f"{name} less {best}, {WHOSE[arm]}", value, ci, role=arm))
            series.append(Series(WHOSE[arm], [float(learners.index(name))] * len(less), less, role=arm))
        for name, values in every.items():
            baseline = name not in learners
            word = f"{name} (baseline)" if baseline else name
            costs.append(Rung(f"{word}, {WHOSE[arm]}", *mean_interval(values), role=arm, second=baseline))
    nothing = Mark(0.0, "as the best baseline")
    return [
        Ladder(
            "Does a controller that learns cost less than the best baseline?",
            "A decision costs the square of ln(interval / target). Drawn is the mean cost less that of the better of "
            "constant and proportional control in the same episodes, with its 95 % interval by exchanging the two "
            "within episodes; left is better. Evidence needs p below 5 %, shared by the learners, against every "
            "baseline.",
            "difference of the cost", against, [nothing],
        ),
        Chart(
            "The same in every episode",
            "One mark for each episode, in which every controller meets the same swing of the rate; below the line the "
            "learner cost less.",
            "", "difference of the cost", series, [nothing], learners,
        ),
        Ladder(
            "What does each controller cost?",
            "Mean over the episodes with Student's 95 % interval, on a logarithmic scale; left is better. Hollow: the "
            "baselines, of which anything beats random difficulties. A part of the cost is the chance of so few "
            "shares, and nobody can steer it away.",
            "mean square of ln(interval / target)", costs, log=True,
        ),
        *(chart for arm, own in known if arm == SUBJECT for chart in _one_episode(own[0].values, learners)),
    ]  # fmt: skip


def _costs(rows: Sequence[Row]) -> dict[str, list[float]]:
    """Of every controller in every episode of all repetitions."""
    from experiments.analyses.controllers import BASELINES

    names = (*BASELINES, *rows[0].values["learners"])
    return {name: [c for row in rows for c in row.values["costs"][name]] for name in names}


def _best_baseline(costs: Mapping[str, Sequence[float]]) -> str:
    return min(("constant", "proportional"), key=lambda name: sum(costs[name]))


def _mean_difference(differences: Sequence[float], seed: int) -> tuple[float | None, Span | None]:
    """As it is decided on; without an interval where there are too few episodes."""
    from tpf.paired_blocks import FEWEST_BLOCKS, paired_difference

    if len(differences) < FEWEST_BLOCKS:
        return mean_interval(differences)[0], None
    found = paired_difference(differences, seed)
    return found.mean, (found.low, found.high)


def _one_episode(values: Values, learners: Sequence[str]) -> list[AnyChart]:
    """What the learner that cost least set, and what would have been right; nothing where a cell does not hold it."""
    if not values.get("example"):
        return []
    name = min(learners, key=lambda learner: sum(values["costs"][learner]))
    x, y = values["example"][name]["x"], values["example"][name]["y"]
    at = [float(i + 1) for i in range(len(y))]
    return [
        Chart(
            f"What did {name} set in one episode?",
            f"First episode of this miner under {name}, of the learners the one that cost least. A decision costs the "
            "square of the distance between the two. Where the rate has no course, what would have been right is "
            "chance around the constant, and nobody can follow it.",
            "decision", "ln(difficulty / reference)",
            [
                Series("what would have been right", at, y, role=NULL, form=LINE, second=True),
                Series(f"set by {name}", at, x[: len(y)], form=LINE),
            ],
            [Mark(values["constant"], "best constant")],
        )
    ]  # fmt: skip


EXPERIMENT = Experiment(
    name="controllers",
    title="Do controllers that learn beat a constant difficulty and a pool's vardiff?",
    claims=("C21-controllers",),
    source="Speaking to Silicon, table 13; memoria, 11 (neural silicon communication)",
    hypothesis="Convolutional, reinforced and evolved controllers of the difficulty learn from timing to steer it.",
    null="A fair hash has no course to foretell: the best constant difficulty is the best there is.",
    decision=(
        "Evidence where a controller that learns costs less than chance, the best constant and proportional control, "
        "each by exchanging the two within episodes, two-sided at 5 % shared by Bonferroni over the learners."
    ),
    kinds=("emulator", "device"),
    acts="a controller has to act, and what a miner would have done at another difficulty stands in no recording",
    models=("s9", "lv06"),
    capabilities=("difficulty",),
    sample=sample,
    measure=measure,
    conclude=conclude,
    effect=("swing", 0.4),
    page="controllers",
    charts=charts,
)
