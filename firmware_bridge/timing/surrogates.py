"""Series that share some properties with the data and lack the one in question.

A statistic is then read against its own distribution over such series instead of against a textbook value, which for
most nonlinear statistics holds for no n that a miner gives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numba
import numpy as np

from firmware_bridge.timing.run_data import FloatArray

Surrogate = Callable[[FloatArray, np.random.Generator], FloatArray]


def shuffle(x: FloatArray, rng: np.random.Generator) -> FloatArray:
    """The same values in random order: keeps the distribution, destroys all order."""
    return rng.permutation(x)


def phase_randomised(x: FloatArray, rng: np.random.Generator) -> FloatArray:
    """The same power spectrum with random phases: keeps linear correlation, destroys the rest.

    Theiler et al. 1992, Physica D 58, 77. The values become normal and may be negative.
    """
    if x.size < 2:
        return x.copy()
    spectrum = np.fft.rfft(x)
    phases = rng.uniform(0.0, 2.0 * np.pi, spectrum.size)
    phases[0] = 0.0
    if x.size % 2 == 0:
        phases[-1] = 0.0  # the Nyquist component of a real series is real
    return np.fft.irfft(spectrum * np.exp(1j * phases), x.size)


def iaaft(x: FloatArray, rng: np.random.Generator, iterations: int = 100) -> FloatArray:
    """The same values with nearly the same power spectrum: keeps distribution and linear correlation.

    Iteratively adjusted phases, Schreiber & Schmitz 1996, Phys. Rev. Lett. 77, 635; stops when the order no longer
    changes.
    """
    if x.size < 2:
        return x.copy()
    ordered = np.sort(x)
    amplitude = np.abs(np.fft.rfft(x))
    current = rng.permutation(x)
    ranks = np.argsort(current, kind="stable")
    for _ in range(iterations):
        spectrum = np.fft.rfft(current)
        size = np.abs(spectrum)
        unit = np.divide(spectrum, size, out=np.ones_like(spectrum), where=size > 0)
        shaped = np.fft.irfft(amplitude * unit, x.size)
        new_ranks = np.argsort(shaped, kind="stable")
        current = np.empty_like(x)
        current[new_ranks] = ordered
        if np.array_equal(new_ranks, ranks):
            break
        ranks = new_ranks
    return current


def red_noise(x: FloatArray, rng: np.random.Generator) -> FloatArray:
    """The same values in the order of an AR(1) process with the lag-1 correlation of their normal scores.

    Keeps the distribution and the memory of one step, destroys everything longer or periodic (Allen & Smith 1996,
    J. Climate 9, 3373, here with the data's own distribution so that no interval is negative).
    """
    from scipy.special import ndtri

    n = x.size
    if n < 3:
        return rng.permutation(x)
    order = np.argsort(x, kind="stable")
    scores = np.empty(n)
    scores[order] = ndtri((np.arange(n) + 0.5) / n)
    phi = float(np.clip((scores[:-1] @ scores[1:]) / (scores @ scores), -0.99, 0.99))
    noise = rng.standard_normal(n)
    noise[0] /= np.sqrt(1.0 - phi * phi)  # start in the stationary distribution
    path = _autoregress(noise, phi)
    result = np.empty(n)
    result[np.argsort(path, kind="stable")] = x[order]
    return result


@numba.njit(cache=True)
def _autoregress(noise, phi):  # type: ignore[no-untyped-def]
    path = np.empty(noise.size)
    last = 0.0
    for i in range(noise.size):
        last = phi * last + noise[i]
        path[i] = last
    return path


def poisson_matched(x: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Independent exponential intervals of the same mean and number: keeps nothing but the rate."""
    return rng.exponential(float(x.mean()), x.size) if x.size else x.copy()


@dataclass(frozen=True)
class SurrogateResult:
    """A statistic beside the same statistic of surrogates.

    Attributes:
        kind: how the surrogates were made.
        n: number of surrogates.
        value: the statistic of the data that the surrogates were made of.
        mean: mean over the surrogates.
        low: 2.5 % quantile over the surrogates.
        high: 97.5 % quantile over the surrogates.
        p_value: two-sided rank p-value, at least 2 / (n + 1).
    """

    kind: str
    n: int
    value: float
    mean: float
    low: float
    high: float
    p_value: float

    def to_json(self) -> dict[str, Any]:
        """Plain dict."""
        return asdict(self)


def against(
    x: FloatArray,
    statistic: Callable[[FloatArray], float],
    rng: np.random.Generator,
    *,
    surrogate: Surrogate = shuffle,
    n: int = 99,
    value: float | None = None,
) -> SurrogateResult | None:
    """Compare a statistic with that of n surrogates; None where it is undefined.

    Args:
        x: the series.
        statistic: what to compute of it.
        rng: source of the surrogates.
        surrogate: how to make them.
        n: how many.
        value: the statistic of x where it is known already.
    """
    observed = statistic(x) if value is None else value
    if not np.isfinite(observed) or n <= 0:
        return None
    null = np.array([statistic(surrogate(x, rng)) for _ in range(n)])
    null = null[np.isfinite(null)]
    if null.size == 0:
        return None
    below, above = int((null <= observed).sum()), int((null >= observed).sum())
    p = min(1.0, 2 * (1 + min(below, above)) / (1 + null.size))
    low, high = np.percentile(null, [2.5, 97.5])
    name = getattr(surrogate, "__name__", "surrogate")
    return SurrogateResult(name, int(null.size), observed, float(null.mean()), float(low), float(high), p)
