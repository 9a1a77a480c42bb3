"""Null models of share timing: what the arrival times of an ordinary miner look like.

* *Poisson in wall time*: a fair hash, nothing else.
* *Poisson in work time*: a fair hash behind the mechanics of a miner: dead time at each new job, late loads after short
  intervals, the order of the scan, reloads of an old job. :class:`MechanisticNull` takes every number from the run
  itself.
* *Delayed Poisson*: the ladder for runs whose nonces say nothing of the scan: exponential, with a dead time, with a
  dead time and Gaussian delay.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from firmware_bridge.timing.association import exponential_distance, exponential_p, random_block
from firmware_bridge.timing.run_data import FloatArray, RunData, previous_of_same_miner
from firmware_bridge.timing.scan import ScanAlignment

LATE_SEARCH_MS = (2.0, 150.0)
"""Where the change-point of late loads is looked for, in ms of the previous interval."""


@dataclass(frozen=True)
class LateLoads:
    """Late loads after short intervals, as the run shows them.

    Attributes:
        threshold_ms: previous time since notify that separates best.
        after_short: fraction of late loads at or below it.
        after_long: fraction above it.
        extra_ms: median extra delay of a late load.
        p_value: Fisher's exact test, times the number of thresholds tried.
        n: jobs looked at.
    """

    threshold_ms: float
    after_short: float
    after_long: float
    extra_ms: float
    p_value: float
    n: int


def late_loads(data: RunData, alignment: ScanAlignment) -> LateLoads | None:
    """Find the interval below which the next job loads late; None where hardly a job is late."""
    from scipy.stats import fisher_exact

    previous = previous_of_same_miner(data.miner)
    first = data.first_of_job[alignment.rows] & (previous[alignment.rows] >= 0)
    before = data.since_notify_ms[previous[alignment.rows]]
    use = first & ~np.isnan(before)
    late = (~alignment.on_time & (alignment.residual_ms > 0))[use]
    before, residual = before[use], alignment.residual_ms[use]
    if late.sum() < 10:
        return None
    candidates = np.unique(np.quantile(before, np.linspace(0.02, 0.98, 97)))
    candidates = candidates[(candidates > LATE_SEARCH_MS[0]) & (candidates < LATE_SEARCH_MS[1])]
    if candidates.size == 0:
        return None
    gaps = [abs(late[before <= c].mean() - late[before > c].mean()) for c in candidates]
    threshold = float(candidates[int(np.argmax(gaps))])
    short = before <= threshold
    table = [
        [int((late & short).sum()), int((~late & short).sum())],
        [int((late & ~short).sum()), int((~late & ~short).sum())],
    ]
    p = float(fisher_exact(np.array(table)).pvalue) * candidates.size
    return LateLoads(
        threshold,
        float(late[short].mean()),
        float(late[~short].mean()),
        float(np.median(residual[late])),
        min(p, 1.0),
        int(use.sum()),
    )


@dataclass(frozen=True)
class MechanisticNull:
    """A miner that hashes fairly in work time, with everything else taken from the run.

    Attributes:
        work_mean_ms: mean work to a share beyond ``work_start_ms``.
        work_start_ms: smallest work that a first share needs.
        delays_on_time_ms: observed delays of jobs loaded on time, shape (a,).
        delays_late_ms: observed delays of jobs loaded late, shape (b,).
        late_threshold_ms: previous interval below which late loads abound.
        late_after_short: their probability there.
        late_after_long: their probability elsewhere.
        old_after_first: how often a share of an older job, or a repeated one, follows the first share of a job.
        old_after_old: how often one follows another: a reload brings several.
        old_ms: observed times since notify of such shares, shape (c,).
    """

    work_mean_ms: float
    work_start_ms: float
    delays_on_time_ms: FloatArray
    delays_late_ms: FloatArray
    late_threshold_ms: float
    late_after_short: float
    late_after_long: float
    old_after_first: float
    old_after_old: float
    old_ms: FloatArray

    @classmethod
    def fit(cls, data: RunData, alignment: ScanAlignment, late: LateLoads | None) -> MechanisticNull:
        """Take every number from a one-miner run in which each share brings the next job."""
        first = data.first_of_job[alignment.rows]
        work = alignment.work_ms[first]
        delays = alignment.dead_ms + alignment.residual_ms
        is_late = ~alignment.on_time & (alignment.residual_ms > 0)
        older = ~data.first_of_job & ~np.isnan(data.since_notify_ms)
        start = float(work.min())
        return cls(
            work_mean_ms=float(work.mean()) - start,
            work_start_ms=start,
            delays_on_time_ms=delays[first & ~is_late],
            delays_late_ms=delays[first & is_late],
            late_threshold_ms=late.threshold_ms if late else 0.0,
            late_after_short=late.after_short if late else 0.0,
            late_after_long=late.after_long if late else float(is_late[first].mean()),
            old_after_first=float(older[1:][~older[:-1]].mean()),
            old_after_old=float(older[1:][older[:-1]].mean()) if older[:-1].any() else 0.0,
            old_ms=data.since_notify_ms[older],
        )

    def simulate(self, n: int, rng: np.random.Generator) -> FloatArray:
        """Intervals in ms between n + 1 shares of such a miner, shape (n,)."""
        work = self.work_start_ms + rng.standard_exponential(n) * self.work_mean_ms
        on_time = rng.choice(self.delays_on_time_ms, n)
        late = rng.choice(self.delays_late_ms, n) if self.delays_late_ms.size else on_time
        old_ms = rng.choice(self.old_ms, n) if self.old_ms.size else np.full(n, np.nan)
        chance, chance_old = rng.random(n), rng.random(n)
        intervals = np.empty(n)
        before, old = np.inf, False
        for i in range(n):
            old = chance_old[i] < (self.old_after_old if old else self.old_after_first)
            if old:
                before = old_ms[i]
            else:
                likely = self.late_after_short if before <= self.late_threshold_ms else self.late_after_long
                before = max(work[i] + (late[i] if chance[i] < likely else on_time[i]), 0.0)
            intervals[i] = before
        return intervals


@dataclass(frozen=True)
class DelayFit:
    """One rung of the ladder of delayed Poisson models.

    Attributes:
        model: exponential, dead time + exponential, or dead time + Gaussian delay + exponential.
        parameters_ms: its parameters.
        distance: Kolmogorov distance.
        p_value: by Monte-Carlo, with the parameters fitted anew in each draw.
        n: sample size.
    """

    model: str
    parameters_ms: dict[str, float]
    distance: float
    p_value: float
    n: int


def delay_ladder(
    intervals_ms: FloatArray, rng: np.random.Generator, *, alpha: float = 0.05, draws: int = 400
) -> list[DelayFit]:
    """Climb the ladder (exponential, with dead time, with Gaussian delay) and stop at the first rung that holds."""
    sample = random_block(intervals_ms[intervals_ms > 0], rng)
    fits: list[DelayFit] = []
    for name, shifted in (("exponential", False), ("dead time + exponential", True)):
        distance = exponential_distance(sample, shifted=shifted)
        start = float(sample.min()) if shifted else 0.0
        p = exponential_p(distance, sample.size - int(shifted))
        parameters = {"mean_ms": float(sample.mean()) - start} | ({"dead_ms": start} if shifted else {})
        fits.append(DelayFit(name, parameters, distance, p, int(sample.size)))
        if p >= alpha:
            return fits
    fits.append(_gaussian_delay(sample, rng, draws))
    return fits


def _emg_moments(values: FloatArray) -> tuple[float, float, float]:
    """Start, Gaussian width and exponential mean from mean, variance and skewness (Foley & Dorsey 1984)."""
    mean, sd = float(values.mean()), float(values.std())
    skew = float(np.mean(((values - mean) / sd) ** 3)) if sd > 0 else 0.0
    tau = sd * (np.clip(skew, 0.0, 1.999999) / 2.0) ** (1 / 3)
    return mean - tau, float(np.sqrt(max(sd**2 - tau**2, 0.0))), float(tau)


def _emg_distance(values: FloatArray, start: float, width: float, tau: float) -> float:
    from scipy.stats import exponnorm

    ordered = np.sort(values)
    n = ordered.size
    if width <= 1e-9 * max(tau, 1e-300):
        cdf = -np.expm1(-np.maximum(ordered - start, 0.0) / max(tau, 1e-300))
    else:
        cdf = exponnorm.cdf(ordered, tau / width, start, width)
    steps = np.arange(n + 1) / n
    return float(max((steps[1:] - cdf).max(), (cdf - steps[:-1]).max()))


def _gaussian_delay(sample: FloatArray, rng: np.random.Generator, draws: int) -> DelayFit:
    start, width, tau = _emg_moments(sample)
    distance = _emg_distance(sample, start, width, tau)
    # a delay wider than the work it delays is a clock with noise, not a delayed Poisson process
    beyond, tried = 0, draws if width <= tau else 0
    for _ in range(tried):
        drawn = start + rng.normal(0.0, width, sample.size) + rng.standard_exponential(sample.size) * tau
        beyond += _emg_distance(drawn, *_emg_moments(drawn)) >= distance
    parameters = {"mean_ms": tau, "dead_ms": start, "delay_sd_ms": width}
    return DelayFit(
        "dead time + Gaussian delay + exponential",
        parameters,
        distance,
        (beyond + 1) / (draws + 1),  # the smallest there is where the model was not tried
        int(sample.size),
    )
