"""CHIMERA: does a difficulty below what the chip reports bring more shares?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.analyses.counts import poisson_interval
from experiments.charts import ARMS, NULL, AnyChart, Ladder, Rung, arms
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
    Point,
    Row,
    Sample,
)
from experiments.power import errors_needed
from experiments.recorded_points import run_of, swept
from experiments.recorded_runs import RecordedRuns, of_cell
from experiments.subjects import Subject
from firmware_bridge.errors import UserError

SHARES = {"fast": 600, "quick": 2000, "full": 5000}
ASKED = 1.0
PUBLISHED = (0.022, 0.15)
"""Shares a second at difficulty 1."""
PUBLISHED_MODEL = "lv06"
FEWEST = 30


def sample(size: str) -> Sample:
    """Shares at each of two difficulties."""
    return Sample(1, SHARES[size], _detectable(SHARES[size], SHARES[size]))


def _detectable(*shares: int) -> str:
    return f"a rate that is higher by {_factor(*shares) - 1:.0%}"


def _factor(*shares: int) -> float:
    from math import exp

    error = sum(1 / n for n in shares) ** 0.5
    return exp(errors_needed(ALPHA / 2) * error)


def points(size: str, subject: Subject) -> Sequence[Point]:
    """Difficulty 1, and the smallest that the chip reports."""
    from firmware_bridge.emulator.model import get_model

    floor = get_model(subject.model).floor
    if not isinstance(subject, RecordedRuns):
        return ({"difficulty": ASKED}, {"difficulty": floor})
    own = subject.points()
    told = [float(point["difficulty"]) for point in own]
    if len(told) != 2 or not told[0] < floor == told[1]:
        raise UserError(
            f"share-rate holds one difficulty below the chip's own, {floor:g}, against that: these runs are of "
            f"{', '.join(f'{difficulty:g}' for difficulty in told)}"
        )
    return own


def measure(cell: Cell, subject: Subject) -> dict[str, Any]:
    """Shares and the time that they took, beside the rates that hash rate and difficulty give."""
    import numpy as np

    from firmware_bridge.emulator.model import get_model

    model = get_model(subject.model)
    asked = float(cell.point["difficulty"])
    own = of_cell(subject, cell)
    data = own.data(cell.seed, shares=SHARES[cell.size], difficulty=asked)
    intervals_ms = data.interval_ms[np.isfinite(data.interval_ms)]
    hashes_per_s = model.capacity_ths * 1e12
    return {
        "difficulty": asked,
        "model": model.name,
        "floor": model.floor,
        "shares": int(intervals_ms.size),
        "seconds": float(intervals_ms.sum() / 1e3),
        "smallest_difficulty": float(np.nanmin(data.difficulty)) if data.n else None,
        "expected_asked_per_s": hashes_per_s / (asked * 2**32),
        "expected_floor_per_s": hashes_per_s / (max(asked, model.floor) * 2**32),
        **run_of(own),
    }


def conclude(rows: Sequence[Row]) -> Finding:
    """Evidence where shares at difficulty 1 come at another rate than at the floor of the chip."""
    from math import exp

    from scipy.stats import binomtest

    low = _pooled([row.values for row in rows if row.values["difficulty"] < row.values["floor"]])
    floor = _pooled([row.values for row in rows if row.values["difficulty"] >= row.values["floor"]])
    name = "share rate at difficulty 1 over that at the chip's smallest"
    if min(low["shares"], floor["shares"]) < FEWEST:
        text = f"{low['shares']} and {floor['shares']} intervals; {FEWEST} are needed at each difficulty."
        return Finding(CANNOT_TELL, text, name, None)
    # of two Poisson processes with one rate, shares fall to each as its part of the time
    part = low["seconds"] / (low["seconds"] + floor["seconds"])
    p_value = float(binomtest(low["shares"], low["shares"] + floor["shares"], part).pvalue)
    rate = low["shares"] / low["seconds"]
    ratio = rate / (floor["shares"] / floor["seconds"])
    reach = 1.96 * (1 / low["shares"] + 1 / floor["shares"]) ** 0.5
    about = (
        f"At difficulty {low['difficulty']:g} {rate:.3g} shares a second, at {floor['difficulty']:g} "
        f"{floor['shares'] / floor['seconds']:.3g} (p = {p_value:.3g}). A chip that reported difficulty 1 would bring "
        f"{low['expected_asked_per_s']:.4g}, one that reports {low['floor']:g} at most "
        f"{low['expected_floor_per_s']:.3g}."
    )
    found = p_value <= ALPHA
    return Finding(
        EVIDENCE if found else NO_EVIDENCE,
        f"The rate goes with the difficulty that was asked for. {about}"
        if found
        else f"The chip reports nothing below its own difficulty, whatever is asked. {about}",
        name,
        ratio,
        (ratio * exp(-reach), ratio * exp(reach)),
        p_value,
        _detectable(low["shares"], floor["shares"]),
        {"C43": _rate(low, rate)} if low["model"] == PUBLISHED_MODEL else {},
    )


def _pooled(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Runs at one difficulty as one: a rate is shares over time."""
    return {**runs[0], **{name: sum(run[name] for run in runs) for name in ("shares", "seconds")}}


def _rate(low: Any, rate: float) -> Number:
    seconds = low["seconds"]
    least, most = poisson_interval(low["shares"])
    ci = least / seconds, most / seconds
    fits = ci[1] >= PUBLISHED[0] and ci[0] <= PUBLISHED[1]
    text = (
        f"Shares a second of a {low['model']} at difficulty 1; {PUBLISHED[0]:g} to {PUBLISHED[1]:g} published, where "
        f"116 were expected; its hash rate at its own smallest difficulty, {low['floor']:g}, gives "
        f"{low['expected_floor_per_s']:.3g}. Reproduced where our interval meets the published range"
    )
    return Number(rate, ci, REPRODUCED if fits else NOT_REPRODUCED, text)


def charts(rows: Sequence[Row]) -> Sequence[AnyChart]:
    """Rates at both difficulties beside those that the hash rate gives."""
    rungs = []
    for arm, own in arms(rows):
        for row in own:
            v = row.values
            if v["shares"] < FEWEST:
                continue
            rate, reach = v["shares"] / v["seconds"], 1.96 / v["shares"] ** 0.5
            name = f"difficulty {v['difficulty']:g}"
            rungs.append(
                Rung(f"{name}, {ARMS[arm]}", rate, (rate / (1 + reach), rate * (1 + reach)), role=arm)
            )
            if arm == "subject":
                if v["difficulty"] < v["floor"]:
                    rungs.append(Rung("if the chip reported 1", v["expected_asked_per_s"], role=NULL))
                    if v["model"] == PUBLISHED_MODEL:
                        rungs.append(Rung("published", PUBLISHED[0] ** 0.5 * PUBLISHED[1] ** 0.5, PUBLISHED,
                                          role="published"))  # fmt: skip
                else:
                    rungs.append(
                        Rung("its hash rate at that difficulty", v["expected_floor_per_s"], role=NULL)
                    )
    return [
        Ladder(
            "How many shares a second?",
            "On a logarithmic scale, with 95 % intervals. A chip that reports nothing below its own difficulty gives "
            "as many shares at 1 as there.",
            "shares a second", rungs, log=True,
        ),
    ]  # fmt: skip


EXPERIMENT = Experiment(
    name="share-rate",
    title="Does a difficulty below the chip's own bring more shares?",
    claims=("C43",),
    source="repository of CHIMERA, benchmark reports",
    hypothesis="At difficulty 1 the rate of shares is a property of the reservoir: 0.022 to 0.15 a second, not 116.",
    null="The chip reports nothing below its own smallest difficulty: at 1 shares come as they do there.",
    decision="Evidence where the rates at difficulty 1 and at the chip's smallest differ at 5 %, two-sided, exactly.",
    kinds=("emulator", "trace", "device"),
    models=("lv06", "s9"),
    capabilities=("difficulty",),
    together=swept(
        "difficulty", fixed=("frequency_mhz", "core_voltage_mv", "content"), needed=("difficulty",)
    ),
    sample=sample,
    points=points,
    measure=measure,
    conclude=conclude,
    effect=("below", 0.2),
    page="share-rate",
    charts=charts,
)
