"""Laws for an interval, fitted by maximum likelihood and ranked by AIC (statistics.md §2).

From chance alone (exponential) over the usual renewal laws to what a miner does: wait out a dead time with a Gaussian
spread (EMG), and be late after some intervals (EMG with a late part). AIC = 2k - 2 ln L; a difference below 2 decides
nothing. The fits rank laws against each other; none of them says that a law is right (that is what KS and AD are for).

Fits run on x / mean, from several starts drawn from a seeded generator; equal seeds give equal results.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import special

from firmware_bridge.timing.run_data import FloatArray

LogDensity = Callable[[FloatArray, FloatArray], FloatArray]


@dataclass(frozen=True)
class Fit:
    """One fitted law.

    Attributes:
        model: name of the law.
        parameters: maximum-likelihood values; names ending in ``_ms`` are in ms, the others have no unit.
        log_likelihood: of the intervals in ms.
        aic: 2 · number of parameters - 2 · log_likelihood.
        delta_aic: AIC minus that of the best law.
        n: intervals that were fitted.
    """

    model: str
    parameters: dict[str, float]
    log_likelihood: float
    aic: float
    delta_aic: float
    n: int

    def to_json(self) -> dict[str, Any]:
        """Plain dict."""
        return asdict(self)


@dataclass(frozen=True)
class _Found:
    parameters: dict[str, float]
    log_likelihood: float


def fit_models(
    x: FloatArray, rng: np.random.Generator, *, starts: int = 4, floor_ms: float = 1e-3
) -> list[Fit]:
    """Fit all laws, best first; empty below 20 intervals or where they do not vary.

    Args:
        x: intervals in ms, shape (n,).
        rng: source of the starting points.
        starts: starting points of each law that has no closed form.
        floor_ms: what intervals at or below it are raised to, for laws on x > 0 (half a clock tick is a good choice).
    """
    if x.size < 20:
        return []
    x = np.maximum(x, floor_ms)
    mean = float(x.mean())
    y = x / mean
    if float(y.std()) < 1e-9:
        return []
    rows = []
    for name, fit in MODELS.items():
        found = fit(y, rng, starts)
        parameters = {k: v * mean if k.endswith("_ms") else v for k, v in found.parameters.items()}
        log_likelihood = float(found.log_likelihood) - y.size * float(np.log(mean))
        rows.append((name, parameters, log_likelihood, float(2.0 * len(parameters) - 2.0 * log_likelihood)))
    best = min(row[3] for row in rows)
    fits = [Fit(name, p, ll, aic, aic - best, int(y.size)) for name, p, ll, aic in rows]
    return sorted(fits, key=lambda fit: fit.aic)


def _exponential(y: FloatArray, rng: np.random.Generator, starts: int) -> _Found:
    mean = float(y.mean())
    return _Found({"mean_ms": mean}, -y.size * (np.log(mean) + 1.0))


def _shifted_exponential(y: FloatArray, rng: np.random.Generator, starts: int) -> _Found:
    shift = float(y.min())
    mean = float(y.mean()) - shift
    return _Found({"shift_ms": shift, "mean_ms": mean}, -y.size * (np.log(mean) + 1.0))


def _gamma(y: FloatArray, rng: np.random.Generator, starts: int) -> _Found:
    from scipy.optimize import brentq

    gap = float(np.log(y.mean()) - np.log(y).mean())  # > 0 by Jensen
    shape = float(brentq(lambda k: np.log(k) - special.digamma(k) - gap, 1e-3, 1e9))
    scale = float(y.mean()) / shape
    log_density = (shape - 1) * np.log(y) - y / scale - shape * np.log(scale) - special.gammaln(shape)
    return _Found({"shape": shape, "scale_ms": scale}, float(log_density.sum()))


def _weibull(y: FloatArray, rng: np.random.Generator, starts: int) -> _Found:
    from scipy.optimize import brentq

    logs = np.log(y)
    top = float(logs.max())

    def slope(k: float) -> float:
        weight = np.exp(k * (logs - top))
        return float((weight @ logs) / weight.sum() - 1.0 / k - logs.mean())

    shape = float(brentq(slope, 1e-3, 1e4))
    scale = float(np.exp(top + np.log(np.exp(shape * (logs - top)).mean()) / shape))
    z = logs - np.log(scale)
    log_density = np.log(shape / scale) + (shape - 1) * z - np.exp(shape * z)
    return _Found({"shape": shape, "scale_ms": scale}, float(log_density.sum()))


def _lognormal(y: FloatArray, rng: np.random.Generator, starts: int) -> _Found:
    logs = np.log(y)
    sigma = float(logs.std())
    log_likelihood = -y.size * (np.log(sigma * np.sqrt(2 * np.pi)) + 0.5) - float(logs.sum())
    return _Found({"median_ms": float(np.exp(logs.mean())), "sigma": sigma}, log_likelihood)


def emg_log_density(y: FloatArray, start: float, width: float, tau: float) -> FloatArray:
    """Log density of a Gaussian delay (mean ``start``, sd ``width``) plus an exponential wait of mean ``tau``."""
    ratio = width / tau
    z = (y - start) / width
    density: FloatArray = 0.5 * ratio * ratio - z * ratio - np.log(tau) + special.log_ndtr(z - ratio)
    return density


def _emg(y: FloatArray, rng: np.random.Generator, starts: int) -> _Found:
    def density(p: FloatArray, y: FloatArray) -> FloatArray:
        return emg_log_density(y, float(p[0]), float(np.exp(p[1])), float(np.exp(p[2])))

    p, log_likelihood = _maximise(
        density, y, [_emg_start(y, rng) for _ in range(starts)], [(-5, 5), (-9, 3), (-7, 3)]
    )
    return _Found(
        {"start_ms": p[0], "width_ms": float(np.exp(p[1])), "tau_ms": float(np.exp(p[2]))}, log_likelihood
    )


def _emg_late(y: FloatArray, rng: np.random.Generator, starts: int) -> _Found:
    def density(p: FloatArray, y: FloatArray) -> FloatArray:
        width, tau, delay = float(np.exp(p[1])), float(np.exp(p[2])), float(np.exp(p[3]))
        on_time = emg_log_density(y, p[0], width, tau) + special.log_expit(-p[4])
        late = emg_log_density(y, p[0] + delay, width, tau) + special.log_expit(p[4])
        both: FloatArray = np.logaddexp(on_time, late)
        return both

    first = [
        np.concatenate([_emg_start(y, rng), [np.log(rng.uniform(0.05, 1.0)), rng.uniform(-3, 1)]])
        for _ in range(2 * starts)
    ]
    bounds = [(-5.0, 5.0), (-9.0, 3.0), (-7.0, 3.0), (-7.0, 3.0), (-12.0, 12.0)]
    p, log_likelihood = _maximise(density, y, first, bounds)
    return _Found(
        {
            "start_ms": p[0],
            "width_ms": float(np.exp(p[1])),
            "tau_ms": float(np.exp(p[2])),
            "late_ms": float(np.exp(p[3])),
            "late_share": float(special.expit(p[4])),
        },
        log_likelihood,
    )


def _emg_start(y: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Near the moments: sd² = width² + tau²; tau between a third and all of the sd."""
    tau = float(y.std()) * rng.uniform(0.35, 0.99)
    width = max(0.02, np.sqrt(max(float(y.var()) - tau * tau, 0.0)) * rng.uniform(0.2, 1.0))
    return np.array([float(y.mean()) - tau, np.log(width), np.log(tau)])


def _hyper_exponential(y: FloatArray, rng: np.random.Generator, starts: int) -> _Found:
    def density(p: FloatArray, y: FloatArray) -> FloatArray:
        fast, slow = np.exp(p[0]), np.exp(p[0]) + np.exp(p[1])
        slow_part = special.log_expit(-p[2]) - np.log(slow) - y / slow
        both: FloatArray = np.logaddexp(slow_part, special.log_expit(p[2]) - np.log(fast) - y / fast)
        return both

    first = [
        np.array([np.log(rng.uniform(0.05, 0.8)), np.log(rng.uniform(0.1, 2.0)), rng.uniform(-2, 2)])
        for _ in range(starts)
    ]
    p, log_likelihood = _maximise(density, y, first, [(-7, 1), (-9, 4), (-12, 12)])
    fast = float(np.exp(p[0]))
    parameters = {
        "fast_ms": fast,
        "slow_ms": fast + float(np.exp(p[1])),
        "fast_share": float(special.expit(p[2])),
    }
    return _Found(parameters, log_likelihood)


def _maximise(
    density: LogDensity, y: FloatArray, starts: Sequence[FloatArray], bounds: Sequence[tuple[float, float]]
) -> tuple[list[float], float]:
    """Best of several quasi-Newton climbs within bounds: parameters and log likelihood.

    BFGS on clipped parameters, because the bounded variant of scipy wakes all BLAS threads for vectors of five.
    """
    from scipy.optimize import minimize

    low, high = np.array(bounds).T

    def cost(p: FloatArray) -> float:
        value = -float(density(np.clip(p, low, high), y).mean())
        return value if np.isfinite(value) else 1e6

    best: Any = None
    for start in starts:
        found = minimize(
            cost, np.clip(start, low, high), method="BFGS", options={"gtol": 1e-6, "maxiter": 200}
        )
        if best is None or found.fun < best.fun:
            best = found
    return [float(v) for v in np.clip(best.x, low, high)], -float(best.fun) * y.size


MODELS: dict[str, Callable[[FloatArray, np.random.Generator, int], _Found]] = {
    "exponential": _exponential,
    "shifted exponential": _shifted_exponential,
    "gamma": _gamma,
    "Weibull": _weibull,
    "lognormal": _lognormal,
    "EMG": _emg,
    "EMG with late part": _emg_late,
    "hyper-exponential": _hyper_exponential,
}
"""Every law by its name, in the order of statistics.md §2."""
