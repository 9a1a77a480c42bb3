"""Do short intervals come in avalanches?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from experiments.charts import (
    ARMS,
    LINE,
    NULL,
    AnyChart,
    Chart,
    Ladder,
    Series,
    arms,
    rungs,
    spread,
    survival,
)
from experiments.experiment import (
    ALPHA,
    CANNOT_TELL,
    EVIDENCE,
    NO_EVIDENCE,
    Cell,
    Experiment,
    Finding,
    Row,
    Sample,
)
from experiments.subjects import Subject

if TYPE_CHECKING:
    from firmware_bridge.timing.run_data import RunData

SHARES = {"fast": 2000, "quick": 5000, "full": 20_000}
SHUFFLES = {"fast": 199, "quick": 499, "full": 999}
PERIOD_S = 30.0
FEWEST = 100
"""Bursts below which nothing is said."""
FEWEST_OF_JOB = 10
"""Shares of a job, on average, below which its load ties neighbours together: of 100 ordinary S9 with a new job after
every share, every second or every fifth, 0, 0 and 2 lie above 95 % of their random orders; with one for ten 10, for
twenty 6."""


def _detectable(bursts: int) -> str:
    import math

    import numpy as np
    from scipy.special import zeta
    from scipy.stats import norm

    # Vuong's ratio of a power law against the geometric law of the same mean, per burst; sizes up to 10,000
    k = np.arange(1.0, 10_001.0)
    needed = norm.isf(0.2)  # a ratio above 0 four times in five; random orders never get there
    steepest = 0.0
    for exponent in np.arange(2.1, 6.0, 0.05):
        weights = k**-exponent / zeta(exponent)
        on = 1.0 - 1.0 / float(weights @ k / weights.sum())
        each = np.log(weights) - (k - 1.0) * math.log(on) - math.log1p(-on)
        mean = float(weights @ each)
        sd = math.sqrt(float(weights @ (each - mean) ** 2))
        if mean * math.sqrt(bursts) / sd >= needed:
            steepest = float(exponent)
    return f"burst sizes that follow a power law with an exponent up to {steepest:.2f}"


def sample(size: str) -> Sample:
    """One run; a burst for every four shares."""
    return Sample(1, SHARES[size], _detectable(SHARES[size] // 4))


def measure(cell: Cell, subject: Subject) -> dict[str, Any]:
    """Both laws fitted to the bursts of a run, beside the same intervals in random orders."""
    import numpy as np

    from experiments.analyses.bursts import burst_sizes, fit_laws, shuffled_ratios

    # few new jobs: a load that comes late after a short interval ties neighbours together
    jobs = {} if subject.kind == "trace" else {"mode": "stream", "job_period_s": PERIOD_S}
    data = subject.data(cell.seed, shares=SHARES[cell.size], **jobs)
    if subject.kind == "trace" and (why := _unfit(data)):
        return {"bursts": 0, "p_value": None, "why": why}
    x = data.interval_ms[np.isfinite(data.interval_ms) & ~data.duplicate]
    laws = fit_laws(burst_sizes(x)) if x.size >= 4 else None
    if laws is None or laws.bursts < FEWEST:
        return {"bursts": 0 if laws is None else laws.bursts, "p_value": None}
    null = shuffled_ratios(x, SHUFFLES[cell.size], np.random.default_rng([cell.seed, 1]))
    return {
        "bursts": laws.bursts,
        "largest": int(burst_sizes(x).max()),
        "exponent": laws.exponent,
        "probability": laws.probability,
        "ratio": laws.ratio,
        "z": laws.z,
        "null_mean": float(null.mean()),
        "null": spread(null),
        "sizes": survival(burst_sizes(x)),
        "p_value": (1 + int((null >= laws.ratio).sum())) / (1 + null.size),
    }


def _unfit(data: RunData) -> str:
    """Why the bursts of a stored run would not be those of the chip; empty where they are."""
    if len(data.miner_numbers()) > 1:
        return "The run is of several miners, whose shares are no bursts of one."
    if not (data.job >= 0).any():
        return "The run does not say which job a share belongs to, so that loads of new jobs may make bursts."
    of_job = data.n / max(1, data.jobs_sent)
    if of_job < FEWEST_OF_JOB:
        return (
            f"A new job came for every {of_job:.2g} shares, and a load that comes late ties neighbours together: "
            f"record jobs of {FEWEST_OF_JOB} shares or more, as asiclab bridge --mode stream gives them."
        )
    return ""


def conclude(rows: Sequence[Row]) -> Finding:
    """Evidence where the power law fits better, and better than in a random order."""
    values = rows[0].values
    if values["p_value"] is None:
        return Finding(
            CANNOT_TELL,
            values.get("why") or f"{values['bursts']} bursts are too few; {FEWEST} are needed.",
            "log-likelihood ratio",
            None,
        )
    found = values["p_value"] <= ALPHA and values["ratio"] > 0
    better = "power" if values["ratio"] > 0 else "geometric"
    text = (
        f"{'Avalanches' if found else 'No avalanches'}: of {values['bursts']} bursts, the largest of "
        f"{values['largest']} intervals, the {better} law fits better (log-likelihood of the power law with exponent "
        f"{values['exponent']:.2f} less that of a coin that goes on with {values['probability']:.3f}: "
        f"{values['ratio']:+.1f}, z = {values['z']:+.1f}; in random order {values['null_mean']:+.1f}, "
        f"p = {values['p_value']:.3g})."
    )
    return Finding(
        EVIDENCE if found else NO_EVIDENCE, text, "log-likelihood ratio, power law over geometric", values["ratio"],
        p_value=values["p_value"], detectable=_detectable(values["bursts"]),
    )  # fmt: skip


def charts(rows: Sequence[Row]) -> Sequence[AnyChart]:
    """Sizes of the bursts beside both laws, and how much better one fits than in random orders."""
    import numpy as np
    from scipy.special import zeta

    known = [row for row in rows if row.values.get("sizes")]
    series = [
        Series(ARMS[arm], own[0].values["sizes"]["at"], own[0].values["sizes"]["above"], role=arm)
        for arm, own in arms(known)
    ]
    if known:
        first = known[0].values
        k = np.arange(1.0, max(first["sizes"]["at"]) + 1)
        power = zeta(first["exponent"], k + 1) / zeta(first["exponent"])
        series.append(
            Series("power law, fitted", k.tolist(), power.tolist(), role=NULL, form=LINE, second=True)
        )
        coin = first["probability"] ** k
        series.append(Series("a coin, fitted", k.tolist(), coin.tolist(), form=LINE))
    return [
        Chart(
            "How large are the bursts?",
            "Part of the bursts of short intervals that are longer than so many, on logarithmic scales. A power law is "
            "nearly straight, a coin bends down.",
            "intervals in a burst", "part of bursts that are longer", series, log_x=True, log_y=True,
        ),
        Ladder(
            "Does a power law fit better than a coin?",
            "Log-likelihood of the power law less that of the geometric law; beside it the same of random orders of "
            "the same intervals. Evidence needs a value above 0 and above its null.",
            "log-likelihood ratio", rungs(known, "ratio", null="null"),
        ),
    ]  # fmt: skip


EXPERIMENT = Experiment(
    name="avalanche",
    title="Do short intervals come in avalanches?",
    claims=(),
    source="memoria, avalanches (alpha, R2)",
    hypothesis="Bursts of short intervals have sizes without a scale, a power law, as at a critical point.",
    null="Intervals in a random order: a burst goes on with probability 1/2, so that its size is geometric.",
    decision=(
        "Evidence where the power law is more likely than the geometric law, and by more than in 95 % of random orders "
        "of the same intervals."
    ),
    kinds=("emulator", "trace", "device"),
    models=("s9", "lv06"),
    capabilities=("jobs",),
    sample=sample,
    measure=measure,
    conclude=conclude,
    effect=("bursts", 1.4),
    page="avalanche",
    charts=charts,
)
