"""A signal beside its null: the value of the run, and the same value of noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class NullValue:
    """What noise gives for the same number of shares.

    Attributes:
        kind: what the noise is.
        mean: over draws.
        low: 2.5 % quantile.
        high: 97.5 % quantile.
        p_value: of the run's value, see :func:`against_draws`.
        draws: how many.
        sd: standard deviation of the draws; None where only a tail is known.
    """

    kind: str
    mean: float
    low: float
    high: float
    p_value: float
    draws: int
    sd: float | None = None


@dataclass(frozen=True)
class Signal:
    """One signal of a run.

    Attributes:
        name: for machines.
        value: of the run.
        n: what it was computed from.
        textbook: value that the sources or a formula give for noise, where there is one.
        nulls: the last one is the most like the run in everything but the signal, and decides.
        claim: what the sources read in it.
        note: what explains the value.
    """

    name: str
    value: float
    n: int
    textbook: float | None
    nulls: tuple[NullValue, ...]
    claim: str
    note: str = ""

    @property
    def p_value(self) -> float:
        """Of the null that decides."""
        return self.nulls[-1].p_value

    def detectable(self, level: float, power: float = 0.9) -> float | None:
        """Deviation from the deciding null that a two-sided test at ``level`` finds with ``power``; None if unknown."""
        from scipy.stats import norm

        sd = self.nulls[-1].sd
        return None if sd is None else sd * float(norm.isf(level / 2) + norm.ppf(power))

    def to_json(self) -> dict[str, Any]:
        """Plain dict."""
        return {**asdict(self), "p_value": self.p_value}


def against_draws(kind: str, value: float, draws: npt.ArrayLike) -> NullValue:
    """Hold a value against the same value of noise.

    The p-value is two-sided, 2 (1 + beyond) / (1 + draws). Where the value lies beyond all draws that is only a bound;
    it then is that of Student's t of the distance in standard deviations, if smaller: right for means of many terms.

    Args:
        kind: what the noise is.
        value: of the run.
        draws: values of noise, shape (draws,).
    """
    from scipy.stats import t

    null = np.asarray(draws, np.float64)
    beyond = min(int((null <= value + 1e-12).sum()), int((null >= value - 1e-12).sum()))
    low, high = np.percentile(null, [2.5, 97.5])
    p = min(1.0, 2.0 * (1 + beyond) / (1 + null.size))
    mean, sd = float(null.mean()), float(null.std(ddof=1))
    if beyond == 0:
        distance = abs(value - mean) / (sd * np.sqrt(1 + 1 / null.size)) if sd > 0 else np.inf
        p = min(p, max(2.0 * float(t.sf(distance, null.size - 1)), 1e-12))
    return NullValue(kind, mean, float(low), float(high), p, int(null.size), sd)


def drawn(kind: str, value: float, draw: Callable[[], float], n: int) -> NullValue:
    """As :func:`against_draws`, with ``n`` values of a function."""
    return against_draws(kind, value, [draw() for _ in range(n)])
