"""What a run says: consistent with an ordinary miner, deviating from it, or too little to tell.

The null is not "Poisson in wall time", which every real miner breaks, but a fair hash behind the miner's own mechanics,
with every parameter fitted to the run. A fixed family of tests asks whether anything is left; their level is shared by
Bonferroni's rule, and no test counts whose effect lies below what clock and host resolve.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from firmware_bridge.timing.association import TestResult, exponential_test, memory_test
from firmware_bridge.timing.exposure import dead_fraction
from firmware_bridge.timing.family import (
    Sample,
    family,
    host_floor_ms,
    mechanics_sample,
    resolution_ms,
    with_floor,
)
from firmware_bridge.timing.nulls import LateLoads, delay_ladder, late_loads
from firmware_bridge.timing.run_data import FloatArray, RunData
from firmware_bridge.timing.scan import ScanAlignment, align

ALPHA = 0.05
MIN_SHARES = 500
"""Below this no verdict; up to SAFE_SHARES the text says that the run is short."""
SAFE_SHARES = 1000
MAX_TICK_FRACTION = 1 / 6
"""A clock tick above this fraction of the mean interval destroys the statistics (statistics.md §2)."""
DEAD_TIME_MS = 1.0
"""A dead time shorter than this is not worth naming."""
MAX_DEAD_FRACTION = 0.1
"""Jobs on a clock of which more passes before a share can come leave their mark on the intervals between shares."""

CONSISTENT, DEVIATES, CANNOT_TELL = "consistent", "deviates", "cannot_tell"

WALL_POISSON = "Poisson in wall time"
WORK_POISSON = (
    "Poisson in work time (a fair hash) behind the miner's own mechanics, every parameter fitted to this run"
)
DELAYED_POISSON = "Poisson with a dead time and Gaussian delay, fitted to this run"


@dataclass(frozen=True)
class Verdict:
    """The answer for one run.

    Attributes:
        code: ``consistent`` (nothing is left beyond ``explained_by``), ``deviates`` (something is), ``cannot_tell``.
        text: the same in plain words, with numbers.
        null: the null model that the run was held against.
        p_value: smallest p-value of the tests that count, times their number; None without tests.
        explained_by: mechanisms of the miner that show in this run.
        detectable: per test the smallest effect that this run shows with power 0.9, with its unit and n.
        n: shares looked at.
        alpha: level of the whole family.
        decided_by: name of the test with the smallest p-value.
        wall_poisson_p: p-value of exponential intervals in wall time.
        tests: every test of the family.
        miners: verdicts of the single miners where there are several.
    """

    code: str
    text: str
    null: str
    p_value: float | None
    explained_by: tuple[str, ...]
    detectable: dict[str, dict[str, Any]]
    n: int
    alpha: float = ALPHA
    decided_by: str | None = None
    wall_poisson_p: float | None = None
    tests: tuple[TestResult, ...] = ()
    miners: dict[str, Verdict] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain dict."""
        plain = asdict(self)
        plain["explained_by"] = list(self.explained_by)
        plain["tests"] = [t.to_json() for t in self.tests]
        plain["miners"] = {name: v.to_json() for name, v in self.miners.items()}
        return plain


def judge(data: RunData, seed: int = 0, alpha: float = ALPHA) -> Verdict:
    """Hold a run against its null model.

    Args:
        data: shares of one run; several miners are judged apart and share the level.
        seed: for Monte-Carlo p-values and dither.
        alpha: probability of ``deviates`` for an ordinary miner.
    """
    numbers = [int(m) for m in np.unique(data.miner)]
    if len(numbers) <= 1:
        return _judge_miner(data, np.random.default_rng(seed), alpha)
    by_size = {m: int((data.miner == m).sum()) for m in numbers}
    enough = [m for m in numbers if by_size[m] >= MIN_SHARES]
    share = alpha / max(1, len(enough))
    verdicts: dict[str, Verdict] = {}
    for m in numbers:
        name = data.miners[m].name if m in data.miners else str(m)
        name = name if name not in verdicts else f"{name} ({m})"
        rng = np.random.default_rng([seed, m])
        verdicts[name] = _judge_miner(data.select(data.miner == m), rng, share)
    return _combine(verdicts, len(enough), data.n, alpha)


def _combine(verdicts: dict[str, Verdict], enough: int, n: int, alpha: float) -> Verdict:
    codes = [v.code for v in verdicts.values()]
    code = DEVIATES if DEVIATES in codes else CONSISTENT if CONSISTENT in codes else CANNOT_TELL
    leading = min(
        (v for v in verdicts.values() if v.code == code),
        key=lambda v: 1.0 if v.p_value is None else v.p_value,
    )
    explained = tuple(dict.fromkeys(e for v in verdicts.values() for e in v.explained_by))
    text = " ".join(f"{name}: {v.text}" for name, v in verdicts.items())
    return replace(
        leading,
        text=text,
        explained_by=explained,
        n=n,
        alpha=alpha,
        p_value=None if leading.p_value is None else min(1.0, leading.p_value * max(1, enough)),
        detectable={f"{name}: {k}": d for name, v in verdicts.items() for k, d in v.detectable.items()},
        tests=tuple(replace(t, name=f"{name}: {t.name}") for name, v in verdicts.items() for t in v.tests),
        miners=verdicts,
    )


def _cannot(text: str, n: int, null: str = WALL_POISSON, **known: Any) -> Verdict:
    known = {"p_value": None, "explained_by": (), "detectable": {}} | known
    return Verdict(CANNOT_TELL, text, null, n=n, **known)


def _judge_miner(data: RunData, rng: np.random.Generator, alpha: float) -> Verdict:
    n = data.n
    if n < MIN_SHARES:
        return _cannot(
            f"Too few shares for a verdict: {n}, at least {MIN_SHARES} are needed and {SAFE_SHARES} are better. "
            "Record longer.",
            n,
        )
    intervals = data.interval_ms[~np.isnan(data.interval_ms)]
    tick = resolution_ms(data)
    if tick > MAX_TICK_FRACTION * float(intervals.mean()):
        return _cannot(
            f"The clock of this run ticks every {tick:.3g} ms, too coarse for intervals of {intervals.mean():.3g} ms "
            "on average: rounding alone would show as structure. Record with a finer clock.",
            n,
        )
    wall = exponential_test("wall_poisson", "Are the intervals exponential?", intervals, rng, shifted=False)
    alignment = align(data, resolution_ms=tick)
    if alignment is not None:
        return _against_mechanics(data, alignment, wall, rng, alpha)
    if data.unverified:
        return _arrivals_only(data, intervals, wall, rng, alpha)
    return _against_delays(data, intervals, wall, rng, alpha)


# --- miners whose nonces tell the position in the scan ---------------------------------------------------


def _against_mechanics(
    data: RunData, alignment: ScanAlignment, wall: TestResult, rng: np.random.Generator, alpha: float
) -> Verdict:
    noise = rng.normal(0.0, resolution_ms(data), alignment.rows.size)
    sample = mechanics_sample(data, alignment, noise)
    if sample.residual_ms.size < MIN_SHARES:
        return _cannot(
            f"Only {sample.residual_ms.size} of {data.n} shares can be held against the scan; at least {MIN_SHARES} "
            "are needed. Record longer.",
            data.n,
            WORK_POISSON,
        )
    late = late_loads(data, alignment)
    explained, reasons = _mechanisms(data, alignment, late)
    tests = with_floor(family(data, sample, rng, alpha), host_floor_ms(data))
    left = (
        f"What is left of the response, {alignment.spread_ms:.3g} ms (robust sd) over "
        f"{sample.residual_ms.size} shares,"
    )
    verdict = _decide(data, tests, wall, WORK_POISSON, explained, reasons, left, alpha)
    if sample.law is None and sample.place is None:
        untested = " The work itself was not tested: what the ends of the jobs leave of it is too little, or unknown."
        verdict = replace(verdict, text=verdict.text + untested)
    return verdict


def _mechanisms(
    data: RunData, alignment: ScanAlignment, late: LateLoads | None
) -> tuple[tuple[str, ...], list[str]]:
    """Mechanisms that show in this run: their names, and a clause of text each."""
    found: dict[str, str] = {}
    if alignment.dead_ms > max(DEAD_TIME_MS, 10 * resolution_ms(data)):
        found["job dead time"] = f"a dead time of {alignment.dead_ms:.3g} ms at each new job"
    if late is not None and late.p_value < 0.001 and late.after_short > late.after_long:
        found["late loads after short intervals"] = (
            f"late loads (+{late.extra_ms:.3g} ms) after intervals shorter than {late.threshold_ms:.3g} ms "
            f"({late.after_short:.0%} of them, against {late.after_long:.1%} of the others)"
        )
    off = float((~alignment.on_time).mean())
    if "late loads after short intervals" not in found and off > 0.01:
        found["delays of host or network"] = f"delays of host or network in {off:.0%} of the shares"
    found["position in the scan"] = f"the position in the scan (R² {alignment.r2:.5f})"
    duplicates = int(data.duplicate.sum())
    if duplicates:
        found["reloads of an older job"] = f"{duplicates} repeated shares from reloads of an older job"
    older = ~data.first_of_job & ~data.duplicate
    if data.mode != "stream" and older.any():
        found["shares of older jobs"] = f"{int(older.sum())} further shares of jobs already answered"
    return tuple(found), list(found.values())


# --- miners whose nonces say nothing of the scan ---------------------------------------------------------


def _against_delays(
    data: RunData, intervals: FloatArray, wall: TestResult, rng: np.random.Generator, alpha: float
) -> Verdict:
    response = data.response_ms
    first = data.first_of_job & ~np.isnan(response) & (response > 0)
    by_job = data.mode == "swh" and int(first.sum()) >= MIN_SHARES
    rows = np.flatnonzero(first) if by_job else np.flatnonzero(~np.isnan(data.interval_ms) & ~data.duplicate)
    values = response[rows] if by_job else data.interval_ms[rows]
    ladder = delay_ladder(values, rng, alpha=alpha)
    best = ladder[-1]
    fit = TestResult(
        "delayed_poisson",
        f"Do {'responses' if by_job else 'intervals'} follow {best.model}?",
        best.n,
        "KS",
        best.distance,
        best.p_value,
        note=", ".join(f"{k} {v:.4g}" for k, v in best.parameters_ms.items()),
    )
    sample = Sample(values, rows, None, values, None, values, rows, False)
    shared = family(data, sample, rng, alpha, beside=1)
    tests = [fit, *(t for t in shared if not t.name.endswith("_work"))]
    tests = [replace(t, name="memory") if t.name == "work_memory" else t for t in tests]
    explained = tuple(
        name
        for name, key in (("job dead time", "dead_ms"), ("delays", "delay_sd_ms"))
        if key in best.parameters_ms
    )
    reasons = [f"a fitted model of {best.model}"] if explained else []
    left = f"Beyond that, over {values.size} {'responses' if by_job else 'intervals'},"
    verdict = _decide(
        data, with_floor(tests, host_floor_ms(data)), wall, DELAYED_POISSON, explained, reasons, left, alpha
    )
    dead = 0.0 if by_job else dead_fraction(data)
    if verdict.code == DEVIATES and verdict.decided_by in (fit.name, "memory") and dead > MAX_DEAD_FRACTION:
        return _cannot(
            f"Not a Poisson process with a dead time (p {_equals(verdict.p_value or 0.0)}), but of each job {dead:.0%} "
            "pass before its first share can come, and where one ended the nonces do not tell: the ends of jobs alone "
            "would show as structure. Give longer jobs.",
            data.n,
            DELAYED_POISSON,
            p_value=verdict.p_value,
            detectable=verdict.detectable,
            tests=verdict.tests,
            wall_poisson_p=wall.p_value,
            alpha=alpha,
        )
    return verdict


def _arrivals_only(
    data: RunData, intervals: FloatArray, wall: TestResult, rng: np.random.Generator, alpha: float
) -> Verdict:
    """Bare arrival times: Poisson can be confirmed, but what breaks it cannot be told apart."""
    tests = [wall, memory_test("memory", "Do intervals depend on earlier ones?", intervals)]
    p = min(1.0, len(tests) * min(t.p_value for t in tests))
    detectable = _detectable(tests)
    if p >= alpha:
        text = (
            f"Consistent with a Poisson process in wall time: {data.n} arrivals, exponential intervals "
            f"(p = {wall.p_value:.2g}) without memory. The file says nothing of jobs and nonces, so nothing was "
            "verified."
        )
        return Verdict(
            CONSISTENT,
            _short_note(data) + text,
            WALL_POISSON,
            p,
            (),
            detectable,
            data.n,
            alpha,
            tests[int(np.argmin([t.p_value for t in tests]))].name,
            wall.p_value,
            tuple(tests),
        )
    ladder = delay_ladder(intervals, rng, alpha=alpha)
    text = (
        f"Not Poisson in wall time (p = {_p(p)}), but a file of bare arrival times cannot tell job dead time, late "
        "loads and scan order from anything else: every real miner breaks Poisson by these alone. "
        f"Best plain description: {ladder[-1].model} (p = {_p(ladder[-1].p_value)}). Record jobs and nonces as well."
    )
    return _cannot(
        text,
        data.n,
        p_value=p,
        detectable=detectable,
        tests=tuple(tests),
        wall_poisson_p=wall.p_value,
        alpha=alpha,
    )


# --- the decision ----------------------------------------------------------------------------------------


def _p(value: float) -> str:
    return f"{value:.2g}" if value >= 0.001 else "< 0.001"


def _short_note(data: RunData) -> str:
    return f"Short run ({data.n} shares, fewer than {SAFE_SHARES}). " if data.n < SAFE_SHARES else ""


def _detectable(tests: list[TestResult]) -> dict[str, dict[str, Any]]:
    return {
        t.name: {"effect": t.detectable, "unit": t.unit, "n": t.n} for t in tests if t.detectable is not None
    }


def _decide(
    data: RunData,
    tests: list[TestResult],
    wall: TestResult,
    null: str,
    explained: tuple[str, ...],
    reasons: list[str],
    left: str,
    alpha: float,
) -> Verdict:
    counted = [t for t in tests if t.counted]
    leading = min(counted, key=lambda t: t.p_value) if counted else None
    p = min(1.0, leading.p_value * len(tests)) if leading else None
    deviates = p is not None and p < alpha
    head = (
        f"Not Poisson in wall time (KS distance {wall.statistic:.3f} over {wall.n} intervals, "
        f"p {_equals(wall.p_value)})"
        if wall.p_value < alpha
        else f"In wall time the shares look like a Poisson process (KS p {_equals(wall.p_value)})"
    )
    account = ""
    if reasons:
        joined = reasons[0] if len(reasons) == 1 else f"{', '.join(reasons[:-1])} and {reasons[-1]}"
        account = f" The miner's own mechanics account for its timing: {joined}."
    if deviates and leading is not None:
        effect = "" if leading.effect is None else f", {leading.effect:.3g} {leading.unit}"
        result = (
            f" {left} still deviates from the null: {leading.question} Yes ({leading.statistic_name} "
            f"{leading.statistic:.3g}{effect}, p {_equals(p or 0.0)} after correction for {len(tests)} tests)."
        )
        opening = "Something is left that an ordinary miner does not show. "
    else:
        result = (
            f" {left} shows nothing that an ordinary miner does not show ({len(tests)} tests, smallest corrected "
            f"p {_equals(p if p is not None else 1.0)})."
        )
        opening = "Consistent with an ordinary miner. "
    result += _power_text(tests)
    ignored = [t for t in tests if not t.counted and t.p_value * len(tests) < alpha]
    if ignored:
        result += f" Not counted: {'; '.join(f'{t.name}: {t.note}' for t in ignored)}."
    return Verdict(
        code=DEVIATES if deviates else CONSISTENT,
        text=_short_note(data) + opening + head + "." + account + result,
        null=null,
        p_value=p,
        explained_by=explained,
        detectable=_detectable(tests),
        n=data.n,
        alpha=alpha,
        decided_by=leading.name if leading else None,
        wall_poisson_p=wall.p_value,
        tests=tuple(tests),
    )


def _equals(p: float) -> str:
    return f"= {p:.2g}" if p >= 0.001 else "< 0.001"


def _power_text(tests: list[TestResult]) -> str:
    shown = [t for t in tests if t.detectable is not None and t.name.endswith("_response")] or [
        t for t in tests if t.detectable is not None
    ]
    if not shown:
        return ""
    parts = "; ".join(f"{t.detectable:.2g} {t.unit} (n = {t.n})" for t in shown)
    return f" The smallest effects that this run would have shown nine times out of ten: {parts}."
