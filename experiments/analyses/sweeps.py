"""Runs at one operating point each, and what they say together: one CV or several."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from experiments.experiment import ALPHA
from experiments.share_rates import shares_per_s
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from experiments.attached import Attached
    from experiments.recorded_points import PointRun
    from experiments.subjects import Emulated, Subject
    from firmware_bridge.timing.run_data import RunData

F64 = npt.NDArray[np.float64]

FEWEST = 100
"""Intervals below which a point says nothing of a CV."""
CONTENTS = ("noise", "structure")
"""What the miner is given: a new random job after every share, or one job throughout."""


def cv_with_error(x: F64) -> tuple[float, float]:
    """Coefficient of variation of independent intervals and its standard error, by the influence function.

    Under exponential intervals the error is ``1/sqrt(n)``.
    """
    mean, sd = float(x.mean()), float(x.std())
    influence = ((x - mean) ** 2 - sd**2) / (2.0 * sd * mean) - sd * (x - mean) / mean**2
    return sd / mean, float(influence.std() / math.sqrt(x.size))


def entropy_nats(x: F64) -> float | None:
    """Differential entropy of intervals over their mean, from spacings (Vasicek 1976); 1 where they are exponential.

    None where too many are equal.
    """
    from scipy.stats import differential_entropy

    with np.errstate(divide="ignore"):
        found = float(differential_entropy(x / x.mean(), method="vasicek"))
    return found if math.isfinite(found) else None


def at_point(
    subject: Subject,
    seed: int,
    *,
    shares: int,
    frequency_mhz: float | None,
    core_voltage_mv: float | None,
    difficulty: float = 256.0,
    content: str = "noise",
    alpha: float,
) -> dict[str, Any]:
    """Measure one operating point for as long as it should give so many shares.

    Args:
        subject: an emulated miner, whose body follows the point, hangs and wrong hashes included; an attached one,
            which is set, measured, and set back; or a stored run that was there.
        seed: of the run.
        shares: expected, if no hash were wrong.
        frequency_mhz: clock; None leaves an attached miner's own, or is unknown of a stored run.
        core_voltage_mv: core voltage; None likewise.
        difficulty: of the shares; a stored run has its own.
        content: of the jobs, one of ``CONTENTS``; a stored run has its own.
        alpha: level of the verdict of this point.

    Returns:
        Plain data. A point where the chip hangs has few shares or none, and then neither CV nor verdict.

    Raises:
        UserError: if the subject is a stored run of no one point.
        LabError: if an attached miner cannot be held there.
    """
    from experiments.attached import Attached
    from experiments.recorded_points import PointRun
    from experiments.subjects import Emulated
    from firmware_bridge.timing.verdict import judge

    values: dict[str, Any] = {
        "model": subject.model,
        "frequency_mhz": frequency_mhz,
        "core_voltage_mv": core_voltage_mv,
        "difficulty": difficulty,
        "content": content,
        "expected": shares,
        "cv": None,
        "error": None,
        "entropy_nats": None,
        "p_value": None,
        "verdict": "cannot_tell",
        "text": "",
    }
    if isinstance(subject, Emulated):
        assert frequency_mhz is not None
        assert core_voltage_mv is not None
        data, about = _emulated(subject, seed, shares, frequency_mhz, core_voltage_mv, difficulty, content)
    elif isinstance(subject, Attached):
        data, about = _attached(subject, seed, shares, frequency_mhz, core_voltage_mv, difficulty, content)
    elif isinstance(subject, PointRun):
        data, about = _recorded(subject, seed)
    else:
        raise UserError(f"a {subject.kind} has no operating point")
    x = data.interval_ms[np.isfinite(data.interval_ms)]
    values |= {"n": int(x.size), **about}
    if x.size < FEWEST:
        return values
    cv, error = cv_with_error(x)
    verdict = judge(data, seed, alpha)
    told = {"p_value": verdict.p_value, "verdict": verdict.code, "text": verdict.text}
    return values | {"cv": cv, "error": error, "entropy_nats": entropy_nats(x)} | told


def _emulated(
    subject: Emulated, seed: int, shares: int, frequency_mhz: float, core_voltage_mv: float, difficulty: float,
    content: str,
) -> tuple[RunData, dict[str, Any]]:  # fmt: skip
    from firmware_bridge.emulator.program import Step
    from firmware_bridge.emulator.virtual import simulate

    period_s = subject.resolved_physics().telemetry_period_s
    rate = shares_per_s(subject.model, difficulty, frequency_mhz=frequency_mhz)
    seconds = period_s * math.ceil(shares / rate / period_s)
    config = subject.config(
        seed,
        shares=None,
        difficulty=difficulty,
        program=(Step(seconds, frequency_mhz=frequency_mhz, core_voltage_mv=core_voltage_mv),),
        **jobs_of(content, seconds),
    )
    trace = simulate(config)
    course = trace.courses[0]
    return trace.to_run_data(), {
        "seconds": seconds,
        "hung": bool(course.wrong[-1] >= 1.0),
        "critical_mv": float(course.critical_mv[-1]),
        "wrong": float(course.wrong.mean()),
    }


def _attached(
    subject: Attached, seed: int, shares: int, frequency_mhz: float | None, core_voltage_mv: float | None,
    difficulty: float, content: str,
) -> tuple[RunData, dict[str, Any]]:  # fmt: skip
    from experiments.attached import SLOWER

    wanted = {"frequency_mhz": frequency_mhz, "core_voltage_mv": core_voltage_mv, "difficulty": difficulty}
    point = {name: value for name, value in wanted.items() if value is not None}
    seconds = SLOWER * shares / subject.shares_per_s(point)
    data, held = subject.at(seed, point, shares=shares, **jobs_of(content, seconds + 10.0 * subject.settle_s))
    return data, {
        "seconds": float((data.time_ns[-1] - data.time_ns[0]) / 1e9) if data.n else 0.0,
        "hung": data.n == 0,
        "held": None if held is None else held.to_json(),
    }


def _recorded(subject: PointRun, seed: int) -> tuple[RunData, dict[str, Any]]:
    data = subject.data(seed, shares=0)
    return data, {
        "seconds": float((data.time_ns[-1] - data.time_ns[0]) / 1e9) if data.n else 0.0,
        "hung": data.n == 0,
        "held": None if subject.held is None else dict(subject.held),
        "difficulty": subject.point.get("difficulty"),
        "content": subject.point["content"],
        "expected": None,
        "run": subject.run.run,
    }


def jobs_of(content: str, seconds: float) -> dict[str, Any]:
    """Settings of a run: a new random job after every share, or one job throughout."""
    if content == "structure":
        return {"mode": "stream", "job_period_s": 2.0 * seconds}
    return {"mode": "swh"}


def within(subject: Subject, setting: str, wanted: Sequence[float]) -> tuple[float, ...]:
    """Values of a setting that a subject may be set to, in the order of ``wanted``.

    An emulated miner in virtual time takes all. Of an attached one those are left out that lie beyond its hard limits;
    where fewer than three remain, what the vendor's menu offers stands for them, and below it two points on the way
    down to the hard limit, since that is where the papers look.
    """
    from experiments.attached import Attached

    bound = subject.bound(setting) if isinstance(subject, Attached) else None
    if bound is None:
        return tuple(wanted)
    kept = tuple(value for value in wanted if bound.low <= value <= bound.high)
    if len(kept) >= min(3, len(wanted)) or not bound.factory:
        return kept
    lowest = min(bound.factory)
    return (*sorted(bound.factory, reverse=True), (lowest + bound.low) / 2, bound.low)


def unmeasured(rows: Sequence[Mapping[str, Any]]) -> str:
    """A sentence on cells whose settings nothing measured, or that were not steady; empty where there are none."""
    held = [values["held"] for values in rows if values.get("held") is not None]
    unsure = sum(one["in_force"] is not True for one in held)
    restless = sum(one["steady"] is False for one in held)
    words = [
        f"of {unsure} cells no measurement shows that the setting was in force" if unsure else "",
        f"the temperature of {restless} was not steady" if restless else "",
    ]
    text = "; ".join(filter(None, words))
    return f" {text[0].upper()}{text[1:]}." if text else ""


def recorded(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether these points are stored runs, which have as many intervals as they have."""
    return any("run" in values for values in rows)


def told(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those points that have a CV."""
    return [values for values in rows if values["cv"] is not None]


@dataclass(frozen=True)
class Homogeneity:
    """Whether several points have one CV.

    Attributes:
        q: weighted sum of squares around the CV of each group.
        p_value: chi-square with as many degrees of freedom as points, less one for each group.
        common: the CV of all, weighted by intervals.
        spread: standard deviation of a CV times the root of its intervals, of all points together.
    """

    q: float
    p_value: float
    common: float
    spread: float


def homogeneity(
    cvs: F64, errors: F64, n: npt.NDArray[np.int64], groups: Sequence[str] | None = None
) -> Homogeneity:
    """One CV at all points? Errors are pooled, because a CV that is large by chance has a large error as well.

    Args:
        cvs: of the points, shape (k,).
        errors: standard error of each.
        n: intervals of each.
        groups: of each; every group may have a CV of its own, as a new job after every share costs time.
    """
    from scipy.stats import chi2

    spread = math.sqrt(float((n * n * errors**2).sum() / n.sum()))
    q, names = 0.0, list(dict.fromkeys(groups or [""]))
    for name in names:
        of_group = np.array([group == name for group in groups]) if groups else np.ones(cvs.size, bool)
        mean = float(np.average(cvs[of_group], weights=n[of_group]))
        q += float((n[of_group] * (cvs[of_group] - mean) ** 2).sum()) / spread**2
    freedom = cvs.size - len(names)
    p_value = float(chi2.sf(q, freedom)) if freedom else 1.0
    return Homogeneity(q, p_value, float(np.average(cvs, weights=n)), spread)


def comparable(known: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Points whose CVs a fair hash makes one.

    An S9 with a new job after every share is not among them: the dead time of its jobs is a fifth of an interval, so
    that its CV follows the rate. Such runs are left to their own verdict, which knows of the dead time.
    """
    return [values for values in known if (values.get("model"), values["content"]) != ("s9", "noise")]


@dataclass(frozen=True)
class OneCv:
    """Points that a fair hash gives one CV, and whether they have one.

    Attributes:
        points: those that are comparable.
        cvs: of each.
        n: intervals of each.
        test: whether the CVs are one, with a new job after every share and with one job throughout.
    """

    points: list[Mapping[str, Any]]
    cvs: F64
    n: npt.NDArray[np.int64]
    test: Homogeneity

    @property
    def interval(self) -> tuple[float, float]:
        """95 % of the common CV."""
        half = 1.96 * self.test.spread / float(self.n.sum()) ** 0.5
        return self.test.common - half, self.test.common + half


def one_cv(known: Sequence[Mapping[str, Any]]) -> OneCv:
    """Whether the points of a sweep have one CV; of points that have a CV, at least one of them comparable."""
    alike = comparable(known)
    cvs, errors = (np.array([values[name] for values in alike]) for name in ("cv", "error"))
    n = np.array([values["n"] for values in alike])
    return OneCv(alike, cvs, n, homogeneity(cvs, errors, n, [str(values["content"]) for values in alike]))


def each_cv(known: Sequence[Mapping[str, Any]], setting: str, unit: str) -> str:
    """The CV at each value of a setting, in words; of points that have a CV."""
    return ", ".join(
        f"{values[setting]:g} {unit} {values['content']} {values['cv']:.3f} ± {values['error']:.3f}"
        for values in known
    )


def too_few(rows: Sequence[Mapping[str, Any]], setting: str, unit: str, why: str = "") -> str:
    """A sentence on values of a setting that gave too few shares for a CV; empty where there are none."""
    without = sorted({values[setting] for values in rows if values["cv"] is None})
    return f" Too few shares{why} at {', '.join(f'{at:g}' for at in without)} {unit}." if without else ""


def nearest_match(
    cvs: F64, n: npt.NDArray[np.int64], common: float, spread: float, target: float, seed: int
) -> float:
    """Chance that the best of so many CVs lies as near to a target as here, if all points have one CV.

    Args:
        cvs: of the points.
        n: intervals of each.
        common: the one CV.
        spread: see :class:`Homogeneity`.
        target: what the search looks for.
        seed: of the 9999 draws.
    """
    observed = float(np.abs(cvs - target).min())
    drawn = np.random.default_rng(seed).normal(common, spread / np.sqrt(n), (9999, cvs.size))
    return (1 + int((np.abs(drawn - target).min(axis=1) <= observed).sum())) / 10_000


def critical_point(
    known: Sequence[Mapping[str, Any]],
    setting: str,
    unit: str,
    sign: float,
    spread: float,
    differ: bool,
    seed: int,
) -> str:
    """A sentence on whether the CVs follow a critical point of a setting rather than a smooth curve.

    Args:
        known: points that have a CV.
        setting: name of what varies.
        unit: of it.
        sign: -1 where the stress grows with it, as with the clock.
        spread: see :class:`Homogeneity`.
        differ: whether the CVs are not one; where they are, no curve is claimed.
        seed: of the draws.
    """
    from experiments.analyses.transition import find_transition, in_words

    at = sign * np.array([values[setting] for values in known])
    cvs, n = (np.array([values[name] for values in known]) for name in ("cv", "n"))
    found = find_transition(
        at, cvs, spread / np.sqrt(n), [str(v["content"]) for v in known], np.random.default_rng([seed, 2])
    )
    sharp = differ and found.p_value is not None and found.p_value <= ALPHA and found.gain > 0
    head = "A critical point fits better than what is smooth" if sharp else "No critical point is seen"
    return f"{head}. {in_words(found, unit, sign)}."


def smallest_p(rows: Sequence[Mapping[str, Any]]) -> float:
    """Smallest p-value of the verdicts of single points, times their number; 1 without any."""
    known = [values["p_value"] for values in rows if values["p_value"] is not None]
    return min(1.0, min(known) * len(known)) if known else 1.0


def drop(first: Mapping[str, Any], last: Mapping[str, Any]) -> tuple[float, tuple[float, float]]:
    """How far the CV falls from one point to another, with its 95 % interval."""
    value = first["cv"] - last["cv"]
    error = math.hypot(first["error"], last["error"])
    return value, (value - 1.96 * error, value + 1.96 * error)
