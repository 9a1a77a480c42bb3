"""Are the errors of a chip at its limit more than independent failures: do they carry the input, do they cluster?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.analyses.counts import poisson_interval
from experiments.charts import ARMS, AnyChart, Chart, Ladder, Mark, Rung, Series, arms
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
from experiments.subjects import Emulated, Recorded, Subject
from firmware_bridge.errors import UserError

NOMINAL = (8800.0, 631.0)
EDGE = ((8250.0, 631.0), (8200.0, 631.0))
"""mV and MHz at which 4 % and 17 % of an emulated S9's hashes are wrong; it hangs below 8140 mV."""
TABLE = ((7600.0, 200.0), (7600.0, 300.0), (7600.0, 325.0), (8200.0, 575.0))
"""Points of the paper's table 6, where it counts no hardware error."""
WINDOWS = {"fast": 400, "quick": 800, "full": 4000}
PERIOD_S = 3.0
"""Time between two readings, and of each job, so that a window has a symbol of its own."""
PER_WINDOW = {8250.0: 1.5, 8200.0: 6.8}
"""Errors that an emulated S9 makes in a window at the edge."""
TESTS = 2


def _detectable(errors: float) -> str:
    # errors at 1 + s (2u - 1) times their rate: s of N errors has the standard error sqrt(3 / N)
    s = errors_needed(ALPHA / TESTS / 2) * (3 / errors) ** 0.5
    return f"errors that are rarer or more frequent by {min(1.0, s):.0%} at the extremes of the input"


def sample(size: str) -> Sample:
    """Windows at each point, and the shares that a device finds in them."""
    shares = round(WINDOWS[size] * PERIOD_S * 12.5)
    return Sample(1, shares, _detectable(WINDOWS[size] * sum(PER_WINDOW.values())))


def points(size: str, subject: Subject) -> Sequence[Point]:
    """Operating points of an emulated miner; anything else is at the one that it is at."""
    if not isinstance(subject, Emulated):
        return ({"at": "as it is"},)
    grid = (NOMINAL, *EDGE) if size == "fast" else (NOMINAL, *EDGE, *TABLE)
    return tuple({"core_voltage_mv": mv, "frequency_mhz": mhz} for mv, mhz in grid)


def measure(cell: Cell, subject: Subject) -> dict[str, Any]:
    """Errors, right nonces and rejected shares at one point, and whether the errors are independent."""
    import numpy as np

    from experiments.analyses.failures import independence, over_symbols

    failures = _failures(cell, subject)
    windows = failures.windows
    tested = independence(windows, np.random.default_rng([cell.seed, 1]))
    return {
        **cell.point,
        "windows": int(windows.errors.size),
        "seconds": float(windows.seconds.sum()),
        "errors": int(windows.errors.sum()),
        "found": failures.found,
        "submitted": failures.submitted,
        "rejected": dict(failures.rejected),
        "tested": None if tested is None else tested.to_json(),
        "over_symbols": [] if tested is None else over_symbols(windows),
    }


def _failures(cell: Cell, subject: Subject) -> Any:
    from experiments.analyses.failures import of_emulation, of_run
    from firmware_bridge.emulator.model import get_model
    from firmware_bridge.trace.reader import TraceReader

    settings: dict[str, Any] = {"mode": "stream", "job_period_s": PERIOD_S}
    if isinstance(subject, Emulated):
        from firmware_bridge.emulator.program import Step
        from firmware_bridge.emulator.virtual import simulate

        point = {name: float(value) for name, value in cell.point.items()}
        step = Step(WINDOWS[cell.size] * PERIOD_S, **point)
        config = subject.config(cell.seed, shares=None, program=(step,), scale=2.0**-36, **settings)
        return of_emulation(simulate(config))
    floor = get_model(subject.model).floor
    if isinstance(subject, Recorded):
        reader = TraceReader(subject.db)
        return of_run(reader, reader.resolve(subject.run), floor)
    from experiments.analyses.symbols import random_symbols
    from experiments.attached import Attached

    if not isinstance(subject, Attached) or not subject.tells("hardware_errors"):
        raise UserError(
            "this miner does not tell how many nonces its host found wrong; an Antminer S9 over its API does, and "
            "--emulate s9 in virtual time"
        )
    data = subject.data(
        cell.seed,
        shares=sample(cell.size).shares or 0,
        source=random_symbols(cell.seed),
        telemetry_period_s=PERIOD_S,
        difficulty=floor,
        **settings,
    )
    reader = TraceReader(subject.db)
    return of_run(reader, reader.resolve(data.run_id), floor)


def conclude(rows: Sequence[Row]) -> Finding:
    """Evidence where errors go with the input or come in clusters, all points together."""
    from scipy.stats import combine_pvalues

    told = [row.values for row in rows]
    name = "correlation of the input with the errors"
    counts = "; ".join(_counts(values) for values in told)
    tested = [values["tested"] for values in told if values["tested"] is not None]
    numbers = _table(told)
    if not tested:
        counter = any(values["windows"] for values in told)
        why = (
            "too few errors to ask whether they are independent"
            if counter
            else "this device or recording does not tell how many nonces its host found wrong"
        )
        return Finding(CANNOT_TELL, f"{why[0].upper()}{why[1:]}. {counts}.", name, None, numbers=numbers)
    p_input, p_clusters = (
        float(combine_pvalues([t[which] for t in tested], method="fisher").pvalue)
        for which in ("p_input", "p_clusters")
    )
    p_value = min(1.0, TESTS * min(p_input, p_clusters))
    strongest = max(tested, key=lambda t: abs(t["correlation"]))
    dispersions = ", ".join(f"{t['dispersion']:.2f}" for t in tested)
    found = p_value <= ALPHA
    head = (
        "Errors are more than independent failures"
        if found
        else "Errors are independent failures at the rate of their operating point"
    )
    text = (
        f"{head}: with the input p = {p_input:.3g} (largest correlation {strongest['correlation']:+.3f}), in clusters "
        f"p = {p_clusters:.3g} (dispersion of neighbouring windows {dispersions}; 1 if independent). {counts}."
        f"{_one_rate(told)}"
    )
    errors = sum(values["errors"] for values in told if values["tested"] is not None)
    return Finding(
        EVIDENCE if found else NO_EVIDENCE, text, name, strongest["correlation"], None, p_value,
        _detectable(errors), numbers,
    )  # fmt: skip


def _where(values: Any) -> str:
    if "core_voltage_mv" not in values:
        return "as it is"
    return f"{values['core_voltage_mv'] / 1000:g} V, {values['frequency_mhz']:g} MHz"


def _counts(values: Any) -> str:
    """Errors and rejected shares of a point, with exact intervals."""
    from scipy.stats import binomtest

    parts = []
    if values["windows"]:
        rate, low, high = _per_hour(values)
        nonces = values["errors"] + round(values["found"])
        of = f", {values['errors'] / nonces:.2%} of the nonces" if nonces else ""
        parts.append(f"{values['errors']} errors, {rate:.3g} per hour ({low:.3g} to {high:.3g}){of}")
    submitted = values["submitted"]
    for reason, count in sorted(values["rejected"].items()):
        ci = binomtest(count, submitted).proportion_ci(method="exact")
        parts.append(f"{count} of {submitted} shares {reason} ({ci.low:.2%} to {ci.high:.2%})")
    if submitted and not values["rejected"]:
        most = float(binomtest(0, submitted).proportion_ci(method="exact").high)
        parts.append(f"none of {submitted} shares rejected (at most {most:.2%})")
    return f"{_where(values)}: {', '.join(parts) or 'no shares'}"


def _per_hour(values: Any) -> tuple[float, float, float]:
    low, high = poisson_interval(values["errors"])
    hours = values["seconds"] / 3600
    return values["errors"] / hours, low / hours, high / hours


def _one_rate(told: Sequence[Any]) -> str:
    """Whether one rate fits all operating points; no part of the decision, since slow logic is no information."""
    from scipy.stats import chi2_contingency

    known = [(v["errors"], round(v["found"])) for v in told if v["windows"] and v["found"] >= 1]
    if len(known) < 2 or not sum(errors for errors, _ in known):
        return ""
    p = float(chi2_contingency(known).pvalue)
    fits = (
        "One rate fits all points" if p > ALPHA else "The rate depends on the point, as slow logic makes it"
    )
    told_p = f"p = {p:.3g}" if p > 1e-12 else "p below 1e-12"
    return f" {fits} ({told_p})."


def _table(told: Sequence[Any]) -> dict[str, Number]:
    """Our count for the table that tells of no error; a chip that hangs gives none either, and no share."""
    at = [v for v in told if (v.get("core_voltage_mv"), v.get("frequency_mhz")) in TABLE and v["windows"]]
    if not at:
        return {}
    errors = sum(v["errors"] for v in at)
    hours = sum(v["seconds"] for v in at) / 3600
    silent = sum(v["found"] < 1 for v in at)
    text = (
        f"hardware errors in {hours:.1f} h at {len(at)} points of the table, of which {silent} gave no share (0 "
        "published). Reproduced where there are none and every point gave shares; a chip within its margin makes none"
    )
    fits = not errors and not silent
    return {
        "C5-errors": Number(errors, poisson_interval(errors), REPRODUCED if fits else NOT_REPRODUCED, text)
    }


def charts(rows: Sequence[Row]) -> Sequence[AnyChart]:
    """Both tests beside their nulls, errors over the input, and how often errors come at each operating point."""
    told = [(arm, [row.values for row in own if row.values["windows"]]) for arm, own in arms(rows)]
    tested = [(arm, values) for arm, every in told for values in every if values["tested"] is not None]
    places = list(dict.fromkeys(_where(values) for _, every in told for values in every))
    if not places:
        return []
    found: list[AnyChart] = []
    if tested:
        found += [
            Ladder(
                "Do errors go with the input?",
                "Correlation of the input symbol of a window with its errors, both less their mean over "
                "neighbouring windows; beside each the same with symbols exchanged within such a block. Errors that "
                "carry the input lie outside their null; the decision takes all points together.",
                "correlation of the input with the errors", _beside(tested, "correlation"),
            ),
            Ladder(
                "Do errors come in clusters?",
                "How much neighbouring windows differ, over what independent errors give; beside each the same with "
                "every error of a pair tossed between its two windows. Errors that come together lie to the right of "
                "their null; the decision takes all points together.",
                "dispersion of neighbouring windows", _beside(tested, "dispersion"), [Mark(1.0, "independent")],
            ),
        ]  # fmt: skip
    over = [series for arm, every in told if (series := _over_symbols(arm, every)) is not None]
    if over:
        found.append(
            Chart(
                "How many errors come with each input?",
                "Errors of all operating points over those that the rate of their block lets expect, by fifths of the "
                "input; bars: exact 95 % intervals of a Poisson count.",
                "input symbol", "errors, observed over expected", over, [Mark(1.0, "independent of the input")],
            )
        )  # fmt: skip
    rates = []
    for arm, every in told:
        spans = [_per_hour(values) for values in every]
        rates.append(
            Series(
                ARMS[arm], [float(places.index(_where(values))) for values in every],
                [rate for rate, _, _ in spans], [low for _, low, _ in spans], [high for _, _, high in spans], arm,
            )
        )  # fmt: skip
    return [
        *found,
        Chart(
            "How often do errors come at each point?",
            "With exact 95 % intervals of a Poisson count. That slow logic fails more often is no part of the "
            "decision; a chip that hangs gives neither errors nor shares.",
            "", "errors per hour", rates, categories=places,
        ),
    ]  # fmt: skip


def _beside(tested: Sequence[tuple[str, Any]], name: str) -> list[Rung]:
    """A statistic of each point beside the spread of its null, arm by arm."""
    return [
        Rung(
            f"{_where(values)}, {ARMS[arm]}",
            values["tested"][name],
            null=values["tested"].get(f"null_{name}", ()),
            role=arm,
        )
        for arm, values in tested
    ]


def _over_symbols(arm: str, every: Sequence[Any]) -> Series | None:
    """Observed over expected errors of all points of an arm; None where no point holds them."""
    kept = [values["over_symbols"] for values in every if values.get("over_symbols")]
    if not kept:
        return None
    bins = [(sum(o for o, _ in both), sum(e for _, e in both)) for both in zip(*kept, strict=True)]
    known = [((i + 0.5) / len(bins), o, e) for i, (o, e) in enumerate(bins) if e > 0]
    spans = [poisson_interval(o) for _, o, _ in known]
    return Series(
        ARMS[arm],
        [at for at, _, _ in known],
        [o / e for _, o, e in known],
        [low / e for (low, _), (_, _, e) in zip(spans, known, strict=True)],
        [high / e for (_, high), (_, _, e) in zip(spans, known, strict=True)],
        arm,
    )


EXPERIMENT = Experiment(
    name="hardware-errors",
    title="Are hardware errors more than independent failures?",
    claims=("C5-errors",),
    source="Toward Thermodynamic Reservoir Computing, table VII; Speaking to Silicon, table 6; experiment S9-02",
    hypothesis="Errors of a chip at low voltage are part of its computation: they carry the input, or come together.",
    null="Logic that is too slow fails now and then: independent errors at a rate that the operating point sets.",
    decision=(
        "Evidence where errors go with the input, or differ more between neighbouring windows than independent ones, "
        "each at 2.5 %, all operating points together by Fisher's method. That the rate depends on the point is none."
    ),
    kinds=("emulator", "trace", "device"),
    models=("s9",),
    capabilities=("jobs",),
    sample=sample,
    points=points,
    measure=measure,
    conclude=conclude,
    effect=("failing_jobs", 0.15),
    page="hardware-errors",
    charts=charts,
)
