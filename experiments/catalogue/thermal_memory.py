"""Does timing remember symbols that are long gone, and for how long?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.analyses.driven import lasts
from experiments.charts import ARMS, AnyChart, Chart, Mark, Series, arms
from experiments.experiment import ALPHA, EVIDENCE, NO_EVIDENCE, Cell, Experiment, Finding, Point, Row, Sample
from experiments.subjects import Subject

STEPS = {"fast": 2000, "quick": 4000, "full": 10_000}
REPETITIONS = {"fast": 1, "quick": 1, "full": 4}
LAGS = 8


def _correlation(size: str, runs: int) -> float:
    from scipy.optimize import brentq
    from scipy.stats import f, ncf

    # n R2/(1 - R2) is the noncentrality of F with the lags in the numerator
    n = STEPS[size] * runs
    freedom = n - LAGS - 2
    critical = f.isf(ALPHA, LAGS, freedom)
    needed = brentq(lambda lam: ncf.sf(critical, LAGS, freedom, lam) - 0.8, 0.1, 100.0)
    return float(needed / (n + needed))


def _detectable(size: str, runs: int) -> str:
    return f"earlier symbols that explain {_correlation(size, runs):.2%} of the variance of the response"


def sample(size: str) -> Sample:
    """Runs with independent symbols on a clock."""
    return Sample(REPETITIONS[size], None, f"{_detectable(size, REPETITIONS[size])} ({STEPS[size]} steps)")


def points(size: str, subject: Subject) -> Sequence[Point]:
    """A clock, so that no share can move a symbol; a stored run has the mode that it was driven in."""
    return ({"mode": "as recorded" if subject.kind == "trace" else "monologue"},)


def measure(cell: Cell, subject: Subject) -> dict[str, Any]:
    """The kernel of the mean response over the symbols before it, and the time in which it fades."""
    from experiments.analyses.driven import drive, plan_of
    from experiments.analyses.forgetting import fading, kernel

    plan = plan_of(cell.point, cell.seed, STEPS[cell.size], observe=("mean_response",))
    run = drive(subject, plan)
    found = kernel(run.states[:, 0], run.u, most=LAGS)
    fades = fading(found, run.period_s)
    return {
        "p_value": found.p_value,
        "f": found.f,
        "slopes": found.slopes.tolist(),
        "errors": found.errors.tolist(),
        "period_s": run.period_s,
        "tau_s": None if fades is None else fades.tau_s,
        "tau_ci_s": None if fades is None else list(fades.ci_s),
        "missing": run.missing,
    }


def conclude(rows: Sequence[Row]) -> Finding:
    """Evidence where the response follows symbols before the present one."""
    import numpy as np
    from scipy.stats import combine_pvalues

    values = [row.values for row in rows]
    p_value = float(combine_pvalues([v["p_value"] for v in values], method="fisher").pvalue)
    told = [v for v in values if v["tau_s"] is not None]
    detectable = _detectable(rows[0].cell.size, len(rows))
    if p_value > ALPHA:
        return Finding(
            NO_EVIDENCE,
            f"The response of a step does not follow the symbols of the {LAGS} steps before it (p = {p_value:.3g}).",
            "time constant in s", None, p_value=p_value, detectable=detectable,
        )  # fmt: skip
    tau, ci = None, None
    when = "how it fades cannot be told from this run"
    if told:
        # weights by the width of the logarithmic interval
        logs = np.log([v["tau_s"] for v in told])
        widths = np.array([np.log(v["tau_ci_s"][1] / v["tau_ci_s"][0]) / 3.92 for v in told])
        mean = float(np.average(logs, weights=widths**-2))
        error = float((widths**-2).sum() ** -0.5)
        tau = float(np.exp(mean))
        ci = (float(np.exp(mean - 1.96 * error)), float(np.exp(mean + 1.96 * error)))
        when = f"the memory fades with a time constant of {tau:.2f} s (95 %: {ci[0]:.2f} to {ci[1]:.2f})"
    return Finding(
        EVIDENCE,
        f"The response of a step follows the symbols of earlier ones (p = {p_value:.3g}); {when}.",
        "time constant in s", tau, ci, p_value, detectable,
    )  # fmt: skip


def charts(rows: Sequence[Row]) -> Sequence[AnyChart]:
    """How the response follows the symbols before, lag by lag."""
    series = []
    for arm, own in arms(rows):
        for number, row in enumerate(own):
            slopes, errors = row.values["slopes"][1:], row.values["errors"][1:]
            lags = [float(lag) for lag in range(1, len(slopes) + 1)]
            pairs = list(zip(slopes, errors, strict=True))
            series.append(
                Series("" if number else ARMS[arm], lags, slopes, [s - 1.96 * e for s, e in pairs],
                       [s + 1.96 * e for s, e in pairs], arm)
            )  # fmt: skip
    return [
        Chart(
            "Does the response follow symbols that are gone?",
            "Change of the mean response per unit of the symbol so many steps before; bars: 95 %. Heat that fades is "
            "a curve that falls to 0.",
            "steps before", "ms per unit of the symbol", series, [Mark(0.0, "no memory")],
        ),
    ]  # fmt: skip


EXPERIMENT = Experiment(
    name="thermal-memory",
    title="Does timing remember symbols that are gone, and for how long?",
    claims=(),
    source="memoria, thermal memory (tau, memory capacity)",
    hypothesis="Heat left by earlier work slows or speeds the chip: share times follow symbols of the past, fading.",
    null="Symbols are drawn independently: the response does not depend on those before the present one.",
    decision="Evidence where the symbols of the 8 steps before explain the mean response of a step, by F at 5 %.",
    kinds=("emulator", "trace", "device"),
    models=("s9", "lv06"),
    sample=sample,
    points=points,
    measure=measure,
    conclude=conclude,
    lasts=lasts(STEPS),
    effect=("thermal", 150.0),
    page="thermal-memory",
    charts=charts,
)
