"""CHIMERA, thermal report: does anything of an input remain in the timing once it has ended?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from experiments.charts import ARMS, LINE, AnyChart, Chart, Ladder, Mark, Series, arms, rungs
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
from experiments.subjects import Recorded, Subject
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

JOBS = {"fast": 2048, "quick": 4096, "full": 16_384}
LENGTH = 32
"""Jobs of a half period: as many with a high symbol as with a low one."""
NEAR = 8
HIGH, LOW = 0.9, 0.1
RESPONSE_CV = 0.8
ANSWERED = 0.5
"""Spread of the responses of an S9 with a new job for each share, and part of the jobs that get one under a delay."""
FEWEST = 50


def sample(size: str) -> Sample:
    """Jobs; half of them after a switch."""
    n = JOBS[size] // (2 * LENGTH) * NEAR * ANSWERED
    found = errors_needed(ALPHA / 2) * RESPONSE_CV * (2 / n) ** 0.5
    return Sample(1, JOBS[size], f"responses that are {found:.0%} longer or shorter after the input ended")


def _symbols(jobs: int) -> npt.NDArray[np.float64]:
    import numpy as np

    return np.where(np.arange(jobs) // LENGTH % 2 == 0, HIGH, LOW)


def _jobs_of(run: Recorded) -> int:
    """Jobs of a stored run that carry the symbols of this experiment."""
    from experiments.recorded_symbols import so_many_are, symbols_sent

    sent = symbols_sent(run)
    jobs = so_many_are(sent, _symbols(sent.size))
    if jobs < 2 * LENGTH:
        raise UserError(
            f"the jobs of run {run.run} do not carry {LENGTH} high symbols and {LENGTH} low ones in turns, so that no "
            "input ends in it; asiclab run thermal-ghost --device sends them"
        )
    return jobs


def points(size: str, subject: Subject) -> Sequence[Point]:
    """One; a stored run has to have carried the input."""
    if isinstance(subject, Recorded):
        _jobs_of(subject)
    return ({},)


def measure(cell: Cell, subject: Subject) -> dict[str, Any]:
    """Responses to jobs soon after a high input ended, and long after it."""
    import numpy as np
    from scipy.stats import mannwhitneyu

    from experiments.analyses.persistence import after_switch, check_symbols, half_life
    from firmware_bridge.emulator.drive import Drive

    jobs = _jobs_of(subject) if isinstance(subject, Recorded) else JOBS[cell.size]
    symbols = _symbols(jobs)
    if isinstance(subject, Recorded):
        data = subject.data(cell.seed, shares=jobs)
        data = data.select((data.job >= 1) & (data.job <= jobs))
    else:
        data = subject.data(cell.seed, shares=jobs, drive=Drive(tuple(symbols.tolist())))
    answered, first = np.unique(data.job, return_index=True)
    check_symbols(data, symbols)
    response_ms = np.full(jobs, np.nan)
    ours = answered <= jobs  # a live run ends with one more job, which may still be answered
    response_ms[answered[ours] - 1] = data.response_ms[first[ours]]  # jobs are numbered from 1
    found = after_switch(symbols, response_ms, limit=(HIGH + LOW) / 2, length=LENGTH, near=NEAR)
    if found is None or min(found.early.size, found.late.size) < FEWEST:
        return {"n": 0 if found is None else int(found.early.size)}
    early, late = found.early, found.late
    return {
        "n": int(early.size),
        "early_ms": float(early.mean()),
        "late_ms": float(late.mean()),
        "error_ms": float(np.hypot(early.std(ddof=1) / early.size**0.5, late.std(ddof=1) / late.size**0.5)),
        "off_ms": float(early.mean() - late.mean()),
        "by_job_ms": found.by_lag.tolist(),
        "p_value": float(mannwhitneyu(early, late).pvalue),
        "half_life_s": half_life(found.by_lag, float(late.mean()))
        * float(np.nanmean(data.interval_ms))
        / 1e3,
    }


def conclude(rows: Sequence[Row]) -> Finding:
    """Evidence where responses soon after the input ended are not those long after it."""
    values = rows[0].values
    name = "response soon after the input ended less that long after it, ms"
    if values["n"] < FEWEST:
        text = f"{values['n']} responses after an input ended; {FEWEST} are needed."
        return Finding(CANNOT_TELL, text, name, None)
    off, error = values["early_ms"] - values["late_ms"], values["error_ms"]
    found = values["p_value"] <= ALPHA
    lasts_s = values["half_life_s"] if found else 0.0
    about = (
        f"Responses of {values['early_ms']:.1f} ms within {NEAR} jobs after it ended, of {values['late_ms']:.1f} ms "
        f"later (p = {values['p_value']:.3g})."
    )
    detectable = f"responses that are {errors_needed(ALPHA / 2) * error:.2g} ms longer or shorter"
    number = Number(
        lasts_s,
        None,
        NOT_REPRODUCED if found else REPRODUCED,
        "Seconds after which half of what remains is gone, 0 where nothing remains; 0 published. Reproduced where "
        f"nothing is found; {detectable} would have been",
    )
    return Finding(
        EVIDENCE if found else NO_EVIDENCE,
        f"The input is still there after it ended, half of it for {lasts_s:.2g} s. {about}"
        if found
        else f"Nothing remains of the input. {about}",
        name,
        off,
        (off - 1.96 * error, off + 1.96 * error),
        values["p_value"],
        detectable,
        {"C30": number},
    )


def charts(rows: Sequence[Row]) -> Sequence[AnyChart]:
    """Responses job by job after an input ended, and soon after less long after."""
    known = [row for row in rows if row.values.get("by_job_ms")]
    series = []
    for arm, own in arms(known):
        told = own[0].values["by_job_ms"]
        series.append(Series(ARMS[arm], [float(i) for i in range(len(told))], told, role=arm, form=LINE))
    marks = [
        Mark(NEAR + 0.5, "soon after", vertical=True),
        Mark(LENGTH - NEAR - 0.5, "long after", vertical=True),
    ]
    return [
        Chart(
            "Is a response longer soon after the input ended?",
            "Mean response to the jobs after each switch; what is soon ends, and what is long after begins, at the "
            "dashed lines. The job of the switch itself takes no part.",
            "jobs after the input ended", "mean response, ms", series, marks,
        ),
        Ladder(
            "Soon after less long after", "With its 95 % interval.", "ms",
            rungs(known, "off_ms", error="error_ms"), [Mark(0.0, "nothing remains")],
        ),
    ]  # fmt: skip


EXPERIMENT = Experiment(
    name="thermal-ghost",
    title="Does anything of an input remain in the timing once it has ended?",
    claims=("C30",),
    source="repository of CHIMERA, thermal report",
    hypothesis="A hot chip remembers: structure persists for 30 s and more after its cause; it persisted for 0 s.",
    null="Each job is a lottery of its own: jobs soon after an input ended are answered as those long after it.",
    decision="Evidence where responses soon after differ from those long after at 5 % (Mann-Whitney, two-sided).",
    kinds=("emulator", "trace", "device"),
    capabilities=("jobs",),
    models=("s9", "lv06"),
    sample=sample,
    points=points,
    measure=measure,
    conclude=conclude,
    effect=("thermal", 100.0),
    page="thermal-ghost",
    charts=charts,
)
