"""CHIMERA, idling report: does what the jobs carry change how share times are spread?"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log
from typing import TYPE_CHECKING, Any

from experiments.charts import ARMS, AnyChart, Chart, Mark, Series, arms
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
from experiments.recorded_points import run_of, swept
from experiments.recorded_runs import RecordedRuns, of_cell
from experiments.recorded_symbols import AFTER, so_many_are, symbols_sent
from experiments.subjects import Recorded, Subject
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

INPUTS = ("idle", "chaos", "structure")
JOBS = {"fast": 1500, "quick": 2588, "full": 10_000}
PERIOD = 8
"""Jobs after which the structured symbols repeat."""
PUBLISHED = {"idle": 1.47, "chaos": 0.56, "structure": 0.74}
NONCENTRALITY = 9.63
"""Of chi-square with 2 degrees of freedom that is found with power 0.8 at 5 %."""
FEWEST = 200


def sample(size: str) -> Sample:
    """Jobs of each kind of input, one share each."""
    # ln CV of n exponential intervals has the error 1/sqrt(n); one arm off by d gives n d² 2/3
    off = (1.5 * NONCENTRALITY / JOBS[size]) ** 0.5
    return Sample(1, JOBS[size], f"a CV that is higher by {exp(off) - 1:.0%} for one kind of input")


def points(size: str, subject: Subject) -> Sequence[Point]:
    """What the jobs carry; of stored runs all of it has to be there."""
    if isinstance(subject, RecordedRuns):
        own = subject.points()
        if missing := [arm for arm in INPUTS if all(point["input"] != arm for point in own)]:
            raise UserError(
                f"no run of these had the input {' or '.join(missing)}: give the runs of all three"
            )
        return own
    return tuple({"input": arm} for arm in INPUTS)


def symbols_of(arm: str, n: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Input of n jobs, in [0, 1) with mean 1/2: always the same, the logistic map, or a ramp that repeats."""
    import numpy as np

    if arm == "idle":
        return np.full(n, 0.5)
    if arm == "structure":
        return (np.arange(n) % PERIOD + 0.5) / PERIOD
    found = np.empty(n)
    x = rng.uniform(0.1, 0.9)
    for i in range(n):
        x = 4.0 * x * (1.0 - x)
        # in floating point the map can fall onto its fixed point at 0
        x = x if 1e-9 < x < 1.0 - 1e-9 else float(rng.uniform(0.1, 0.9))
        found[i] = x
    return found


def _told(run: Recorded) -> dict[str, str]:
    """Which of the inputs the jobs of a stored run carried."""
    import numpy as np

    sent = symbols_sent(run)
    if sent.size < FEWEST:
        raise UserError(f"run {run.run} has {sent.size} jobs; {FEWEST} are needed")
    rng = np.random.default_rng(0)  # neither of these two draws anything
    for arm in ("idle", "structure"):
        if so_many_are(sent, symbols_of(arm, sent.size, rng)):
            return {"input": arm}
    x = sent[: sent.size - AFTER]
    # the map began anew where floating point led it onto its fixed point, and an error grows by 4 at most in a step
    follows = np.abs(x[1:] - 4.0 * x[:-1] * (1.0 - x[:-1])) <= 1e-8
    if follows.mean() > 0.99:
        return {"input": "chaos"}
    raise UserError(
        f"the jobs of run {run.run} carry none of the inputs {', '.join(INPUTS)}; asiclab run input-structure --device "
        "sends them"
    )


def measure(cell: Cell, subject: Subject) -> dict[str, Any]:
    """CV of the intervals under one kind of input, with the error of its logarithm."""
    import numpy as np

    from experiments.analyses.persistence import check_symbols
    from firmware_bridge.emulator.drive import Drive
    from firmware_bridge.timing.statistics import coefficient_of_variation

    arm, jobs = str(cell.point["input"]), JOBS[cell.size]
    symbols = symbols_of(arm, jobs, np.random.default_rng([cell.seed, 31]))
    own = of_cell(subject, cell)
    if own.kind == "trace":
        data = own.data(cell.seed, shares=jobs)
    else:
        data = own.data(cell.seed, shares=jobs, drive=Drive(tuple(symbols.tolist())))
        check_symbols(data, symbols)
    intervals_ms = data.interval_ms[np.isfinite(data.interval_ms)]
    if intervals_ms.size < FEWEST:
        return {"input": arm, "n": int(intervals_ms.size), **run_of(own)}
    mean, sd = intervals_ms.mean(), intervals_ms.std(ddof=1)
    # influence of one interval on ln CV (delta method)
    influence = ((intervals_ms - mean) ** 2 / sd**2 - 1) / 2 - (intervals_ms - mean) / mean
    return {
        "input": arm,
        "n": int(intervals_ms.size),
        "mean_ms": float(mean),
        "cv": coefficient_of_variation(intervals_ms),
        "log_error": float(influence.std(ddof=1) / intervals_ms.size**0.5),
        **run_of(own),
    }


def conclude(rows: Sequence[Row]) -> Finding:
    """Evidence where the CVs under the three kinds of input are not one."""
    from scipy.stats import chi2

    by_arm = {
        arm: _pooled([row.values for row in rows if row.values["input"] == arm])
        for arm in dict.fromkeys(row.values["input"] for row in rows)
    }
    name = "chi-square of the three CVs being one"
    if any(values["n"] < FEWEST for values in by_arm.values()):
        counts = ", ".join(f"{arm} {values['n']}" for arm, values in by_arm.items())
        return Finding(CANNOT_TELL, f"Intervals: {counts}; {FEWEST} are needed of each.", name, None)
    weights = {arm: values["log_error"] ** -2 for arm, values in by_arm.items()}
    logs = {arm: log(values["cv"]) for arm, values in by_arm.items()}
    centre = sum(weights[arm] * logs[arm] for arm in by_arm) / sum(weights.values())
    statistic = sum(weights[arm] * (logs[arm] - centre) ** 2 for arm in by_arm)
    p_value = float(chi2.sf(statistic, len(by_arm) - 1))
    spread = ", ".join(
        f"{arm} {values['cv']:.3f} ± {values['cv'] * values['log_error']:.3f}"
        for arm, values in by_arm.items()
    )
    found = p_value <= ALPHA
    off = (1.5 * NONCENTRALITY) ** 0.5 * max(values["log_error"] for values in by_arm.values())
    return Finding(
        EVIDENCE if found else NO_EVIDENCE,
        f"What jobs carry changes how shares are spread. CV: {spread} (p = {p_value:.3g})."
        if found
        else f"Shares are spread alike, whatever jobs carry. CV: {spread} (p = {p_value:.3g}).",
        name,
        statistic,
        None,
        p_value,
        f"a CV that is higher by {exp(off) - 1:.1%} for one kind of input",
        {"C31": _ratio(by_arm)},
    )


def _pooled(runs: Sequence[Any]) -> Any:
    """Runs under one input as one, each weighted by its error."""
    known = [values for values in runs if values["n"] >= FEWEST]
    if len(runs) == 1 or not known:
        return runs[0]
    weights = [values["log_error"] ** -2 for values in known]
    mean = sum(w * log(values["cv"]) for w, values in zip(weights, known, strict=True)) / sum(weights)
    return {"n": sum(values["n"] for values in known), "cv": exp(mean), "log_error": sum(weights) ** -0.5}


def _ratio(by_arm: Any) -> Number:
    idle, chaos = by_arm["idle"], by_arm["chaos"]
    ratio = idle["cv"] / chaos["cv"]
    reach = exp(1.96 * (idle["log_error"] ** 2 + chaos["log_error"] ** 2) ** 0.5)
    published = PUBLISHED["idle"] / PUBLISHED["chaos"]
    text = (
        f"CV with a constant input over that under chaos, {published:.2f} published. Reproduced where our interval "
        "holds that"
    )
    low, high = ratio / reach, ratio * reach
    return Number(ratio, (low, high), REPRODUCED if low <= published <= high else NOT_REPRODUCED, text)


def charts(rows: Sequence[Row]) -> Sequence[AnyChart]:
    """CV under each kind of input beside what was published."""
    series = []
    for arm, own in arms(rows):
        told = [row.values for row in own if row.values.get("cv")]
        reach = [exp(1.96 * values["log_error"]) for values in told]
        series.append(
            Series(
                ARMS[arm],
                [float(INPUTS.index(values["input"])) for values in told],
                [values["cv"] for values in told],
                [values["cv"] / r for values, r in zip(told, reach, strict=True)],
                [values["cv"] * r for values, r in zip(told, reach, strict=True)],
                arm,
            )
        )
    at = [float(i) for i in range(len(INPUTS))]
    series.append(Series("published", at, [PUBLISHED[name] for name in INPUTS], role="published"))
    return [
        Chart(
            "How widely are share times spread under each kind of input?",
            "CV of the intervals; bars: 95 %. Idle: one symbol throughout. Chaos: the logistic map. Structure: a ramp "
            "that repeats. To a hash all of them are jobs.",
            "", "CV", series, [Mark(1.0, "Poisson process")], INPUTS,
        ),
    ]  # fmt: skip


EXPERIMENT = Experiment(
    name="input-structure",
    title="Does what the jobs carry change how share times are spread?",
    claims=("C31",),
    source="repository of CHIMERA, idling report",
    hypothesis="CV 1.47 when idle, 0.56 under chaotic and 0.74 under structured input.",
    null="A hash of a chaotic job is as good a lottery as that of a constant one: one CV.",
    decision="Evidence where chi-square of the three logarithms of the CV exceeds its 95 % point.",
    kinds=("emulator", "trace", "device"),
    capabilities=("jobs",),
    together=swept(
        "input",
        fixed=("frequency_mhz", "core_voltage_mv", "difficulty", "content"),
        told=_told,
        words=INPUTS,
    ),
    models=("s9", "lv06"),
    sample=sample,
    points=points,
    measure=measure,
    conclude=conclude,
    effect=("input", 200.0),
    page="input-structure",
    charts=charts,
)
