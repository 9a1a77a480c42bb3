"""CHIMERA, experiment 1: does timing solve subset sums better than chance?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.charts import AnyChart, Ladder, rungs, spread
from experiments.experiment import (
    ALPHA,
    CANNOT_TELL,
    EVIDENCE,
    NO_EVIDENCE,
    NOT_REPRODUCED,
    REPRODUCED,
    Cell,
    Experiment,
    Finding,
    Number,
    Row,
    Sample,
)
from experiments.power import errors_needed
from experiments.subjects import Subject

SHARES = {"fast": 2588, "quick": 20_000, "full": 40_000}
SEARCHES = {"fast": 199, "quick": 999, "full": 999}
TRIALS = 10
CHANCE_SD = 0.72
"""Standard deviation of ln(1 + best distance) of one trial's search by chance: simulated at 69 candidates."""
FEWEST_EVALUATIONS = 10
PUBLISHED_EPOCHS = {"C38": 1000, "C39": 2000}
ALL = 0.95
"""Part of the trials that chance has to solve to count as all."""


def sample(size: str) -> Sample:
    """Shares of the run; each gives 8 bits."""
    from math import exp

    factor = exp(errors_needed(ALPHA) * CHANCE_SD / TRIALS**0.5)
    return Sample(1, SHARES[size], f"a distance to the target that is {factor:.1f} times smaller")


def measure(cell: Cell, subject: Subject) -> dict[str, Any]:
    """Best distances of the search by timing and of searches by chance on the same trials."""
    import numpy as np

    from experiments.analyses.subset_sum import search

    data = subject.data(cell.seed, shares=SHARES[cell.size])
    intervals_ms = data.interval_ms[np.isfinite(data.interval_ms)]
    rng = np.random.default_rng(cell.seed)
    found = search(intervals_ms, rng, trials=TRIALS, searches=SEARCHES[cell.size])
    if found is None:
        return {"evaluations": 0}
    own = float(np.log1p(found.own).mean())
    chance = np.log1p(found.chance).mean(axis=1)
    return {
        "evaluations": found.evaluations,
        "trials": TRIALS,
        "own": own,
        "chance": float(chance.mean()),
        "chance_sd": float(chance.std(ddof=1)),
        "chance_spread": spread(chance),
        "p_value": float(1 + (chance <= own).sum()) / (1 + chance.size),
        "own_median": float(np.median(found.own)),
        "chance_median": float(np.median(found.chance)),
        "own_solved": int((found.own == 0).sum()),
        "chance_solved": float((found.chance == 0).mean()),
    }


def conclude(rows: Sequence[Row]) -> Finding:
    """Evidence where timing comes nearer to the targets than all but 5 % of the searches by chance."""
    from math import exp

    values = rows[0].values
    name = "distance left by timing over that left by chance"
    if values["evaluations"] < FEWEST_EVALUATIONS:
        text = f"{values['evaluations']} candidates for each trial; {FEWEST_EVALUATIONS} are needed."
        return Finding(CANNOT_TELL, text, name, None)
    off, error = values["own"] - values["chance"], values["chance_sd"]
    about = (
        f"{values['evaluations']} candidates in each of {values['trials']} trials leave a distance of "
        f"{values['own_median']:g} (median) from timing and {values['chance_median']:g} from chance; solved are "
        f"{values['own_solved'] / values['trials']:.0%} and {values['chance_solved']:.0%} "
        f"(p = {values['p_value']:.3g})."
    )
    found = values["p_value"] <= ALPHA
    return Finding(
        EVIDENCE if found else NO_EVIDENCE,
        f"Timing finds subset sums better than chance. {about}"
        if found
        else f"Timing is a coin here. {about}",
        name,
        exp(off),
        (exp(off - 1.96 * error), exp(off + 1.96 * error)),
        values["p_value"],
        f"a distance that is {exp(2.5 * error):.2g} times smaller",
        {"C38": _within_one(values), "C39": _solved(values)},
    )


def _within_one(values: Any) -> Number:
    text = (
        f"Median distance that {values['evaluations']} candidates from timing leave; chance leaves "
        f"{values['chance_median']:g}, 1 was published. Reproduced where it is 1 or less, of 1000 candidates or more"
    )
    return Number(values["own_median"], None, _status("C38", values, values["own_median"] <= 1), text)


def _status(claim: str, values: Any, fits: bool) -> str | None:
    # fewer candidates than were published would fail without any fault of the claim
    if values["evaluations"] < PUBLISHED_EPOCHS[claim]:
        return None
    return REPRODUCED if fits else NOT_REPRODUCED


def _solved(values: Any) -> Number:
    from scipy.stats import binomtest

    solved, trials = values["own_solved"], values["trials"]
    known = binomtest(solved, trials).proportion_ci(method="wilson")
    text = (
        f"Part of the trials that timing solves with {values['evaluations']} candidates; chance solves "
        f"{values['chance_solved']:.0%} with as many. Published: none of 10, and all. Reproduced where timing solves "
        "none and chance 95 % or more, of 2000 candidates or more"
    )
    fits = solved == 0 and values["chance_solved"] >= ALL
    return Number(solved / trials, (float(known.low), float(known.high)), _status("C39", values, fits), text)


def charts(rows: Sequence[Row]) -> Sequence[AnyChart]:
    """Distance left by timing beside that left by searches by chance."""
    known = [row for row in rows if row.values["evaluations"]]
    return [
        Ladder(
            "How near does timing come to the targets?",
            "Mean over the trials of ln(1 + distance) that the best candidate leaves, beside searches by chance on the "
            "same trials with as many candidates; left is better, 0 is solved.",
            "mean of ln(1 + distance)", rungs(known, "own", null="chance_spread"),
        ),
    ]  # fmt: skip


EXPERIMENT = Experiment(
    name="subset-sum",
    title="Does timing solve subset sums better than chance?",
    claims=("C38", "C39"),
    source="repository of CHIMERA, experiment 1 and its audit",
    hypothesis="Bits of the reservoir find subsets of 15 numbers whose sum is within 1 of a target.",
    null="Searches by chance on the same trials, with as many candidates, come as near.",
    decision="Evidence where timing leaves a smaller distance than all but 5 % of the searches by chance.",
    kinds=("emulator", "trace", "device"),
    models=("s9", "lv06"),
    sample=sample,
    measure=measure,
    conclude=conclude,
    page="subset-sum",
    charts=charts,
)
