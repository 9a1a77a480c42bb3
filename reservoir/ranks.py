"""How many dimensions states have: effective dimension, condition, kernel and generalisation rank.

White noise has as many dimensions as there are nodes. So a large number is not a virtue in itself: each stands beside
what noise of the same size gives, and a rank counts only what stands above the noise that repeats show.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import linalg, stats

from firmware_bridge.errors import UserError

F64 = npt.NDArray[np.float64]


def participation_ratio(states: F64) -> float:
    """Effective dimension ``(sum λ)² / sum λ²`` of the covariance's eigenvalues, 1 to N; 0 for constant states."""
    x = np.asarray(states, dtype=np.float64)
    x = x - x.mean(axis=0)
    values = np.maximum(linalg.eigvalsh(x.T @ x / x.shape[0]), 0.0)
    return float(values.sum() ** 2 / (values**2).sum()) if values.sum() > 0 else 0.0


def condition_number(states: F64) -> float:
    """Largest over smallest singular value of the centred states; infinite where a column adds nothing."""
    singular = linalg.svdvals(np.asarray(states, dtype=np.float64) - np.mean(states, axis=0))
    return float(singular[0] / singular[-1]) if singular[-1] > 0 else float("inf")


@dataclass(frozen=True)
class Dimension:
    """Dimensions of states whose columns were brought to unit variance.

    Attributes:
        participation: participation ratio, 1 to N.
        participation_null: what independent noise of the same shape gives: the most that can be expected.
        condition: condition number.
        condition_null: what independent noise of the same shape gives: the least that can be expected.
        rank: N, columns that vary.
        rows: T.
    """

    participation: float
    participation_null: float
    condition: float
    condition_null: float
    rank: int
    rows: int

    def to_json(self) -> dict[str, Any]:
        """As plain data; an infinite condition as None."""
        plain = asdict(self)
        return {key: value if np.isfinite(value) else None for key, value in plain.items()}


def standardised(states: F64) -> F64:
    """Columns of mean 0 and variance 1; those that do not vary are left out."""
    x = np.asarray(states, dtype=np.float64)
    x = x - x.mean(axis=0)
    scale = np.sqrt((x**2).mean(axis=0))
    varies = scale > 1e-12 * max(float(scale.max(initial=0.0)), np.finfo(float).tiny)
    return np.asarray(x[:, varies] / scale[varies])


def dimension(states: F64) -> Dimension:
    """Effective dimension and condition of states (T, N), each with that of noise of the same shape.

    For the correlation matrix R of noise ``tr(R) = N``, and a squared correlation has the mean ``1/(T-1)``: so the
    participation is ``N / (1 + (N-1)/(T-1))``. The condition is that of the edges of the Marchenko-Pastur law, which
    for five nodes is a quarter too large and for many exact.
    """
    x = standardised(states)
    rows, nodes = x.shape
    if not nodes:
        return Dimension(0.0, 0.0, float("inf"), float("inf"), 0, rows)
    free = rows - 1
    ratio = np.sqrt(nodes / free)
    return Dimension(
        participation_ratio(x),
        nodes / (1.0 + (nodes - 1.0) / free),
        condition_number(x),
        float((1.0 + ratio) / (1.0 - ratio)) if ratio < 1.0 else float("inf"),
        nodes,
        rows,
    )


def effective_rank(matrix: F64) -> float:
    """``exp`` of the entropy of the normalised singular values (Roy & Vetterli 2007)."""
    singular = linalg.svdvals(matrix)
    total = singular.sum()
    if not total > 0:
        return 0.0
    p = singular[singular > 0] / total
    return float(np.exp(-(p * np.log(p)).sum()))


def numerical_rank(matrix: F64, noise: float = 0.0) -> int:
    """Singular values above ``noise`` (in units of the matrix) and above the rounding of the largest."""
    singular = linalg.svdvals(matrix)
    floor = max(noise, float(singular[0]) * max(matrix.shape) * np.finfo(float).eps) if singular.size else 0.0
    return int((singular > floor).sum())


@dataclass(frozen=True)
class Ranks:
    """Kernel and generalisation rank (Legenstein & Maass 2007; Büsing et al. 2010).

    Attributes:
        kernel: rank of the final states of m different inputs: how well they are told apart.
        generalisation: rank of those of m inputs with the same end: how well what is long past is forgotten; None where
            there was no such input.
        null: rank that pure noise of the repeats' covariance gives at the same tolerance, mean over draws. Without
            repeats nothing tells noise from states, and it is the full rank.
        streams: m.
        nodes: N, the most that either can be.
        noise: tolerance: the largest singular value that m rows of the repeats' noise have, at its upper 99 % limit.
    """

    kernel: int
    generalisation: int | None
    null: float
    streams: int
    nodes: int
    noise: float

    @property
    def quality(self) -> int | None:
        """Kernel less generalisation rank."""
        return None if self.generalisation is None else self.kernel - self.generalisation

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {**asdict(self), "quality": self.quality}


@dataclass(frozen=True)
class NoiseFloor:
    """Noise of the states, from repeats of the same input.

    Attributes:
        covariance: shape (N, N).
        freedom: independent differences that it was taken from.
    """

    covariance: F64
    freedom: int

    @classmethod
    def of(cls, repeats: F64) -> NoiseFloor:
        """From repeats (R, N) of one state, or (R, T, N) of T states."""
        r = np.asarray(repeats, dtype=np.float64)
        if r.shape[0] < 2:
            raise UserError("a noise floor needs two or more repeats of the same input")
        apart = (r - r.mean(axis=0)).reshape(-1, r.shape[-1])
        freedom = (r.shape[0] - 1) * (1 if r.ndim == 2 else r.shape[1])
        return cls(apart.T @ apart / freedom, freedom)

    def tolerance(self, rows: int) -> float:
        """Largest singular value of ``rows`` rows of the noise.

        The spectral norm of the *estimated* covariance is too large where there are few repeats, which errs on the safe
        side; for noise that all nodes share it is a chi-squared variate, whose 1 % quantile gives the upper limit.
        """
        largest = max(float(linalg.eigvalsh(self.covariance)[-1]), 0.0)
        spread = np.sqrt(largest) + np.sqrt(max(float(np.trace(self.covariance)), 0.0) / rows)
        return float(np.sqrt(rows) * spread * np.sqrt(self.freedom / stats.chi2.ppf(0.01, self.freedom)))

    def draw(self, rows: int, rng: np.random.Generator) -> F64:
        """Pure noise of this covariance, shape (rows, N)."""
        values, vectors = linalg.eigh(self.covariance)
        drawn = rng.standard_normal((rows, values.size))
        return np.asarray(drawn * np.sqrt(np.maximum(values, 0.0)) @ vectors.T)


NULL_DRAWS = 20


def ranks_of(
    different: F64,
    same: F64 | None,
    noise: NoiseFloor | None,
    rng: np.random.Generator,
    draws: int = NULL_DRAWS,
) -> Ranks:
    """Ranks of final states that are there already.

    Args:
        different: shape (m, N), of m different inputs.
        same: shape (m, N), of inputs with the same end, or None.
        noise: from repeats, or None.
        rng: of the null.
        draws: of the null.
    """
    streams, nodes = different.shape
    tolerance = noise.tolerance(streams) if noise is not None else 0.0
    null = float(min(streams - 1, nodes))
    if noise is not None:
        pure = [noise.draw(streams, rng) for _ in range(draws)]
        null = float(np.mean([numerical_rank(p - p.mean(axis=0), tolerance) for p in pure]))
    kernel = numerical_rank(different - different.mean(axis=0), tolerance)
    general = None if same is None else numerical_rank(same - same.mean(axis=0), tolerance)
    return Ranks(kernel, general, null, streams, nodes, tolerance)


System = Callable[[F64], F64]
"""Turns an input (T,) into states (T, N), each time from a start of its own."""


def ranks(
    system: System,
    rng: np.random.Generator,
    *,
    streams: int,
    length: int = 100,
    common: int = 20,
    low: float = -1.0,
    high: float = 1.0,
    repeats: int = 1,
) -> Ranks:
    """Kernel and generalisation rank of a system.

    Args:
        system: what is looked at.
        rng: of the inputs and the null.
        streams: m, at least as many as it has states.
        length: of each input.
        common: inputs at the end that are the same for the generalisation rank.
        low: of the inputs.
        high: of the inputs.
        repeats: with 2 and more the first input is given so often, and the spread of its end states is the noise; the
            more, the finer the tolerance.
    """
    inputs = rng.uniform(low, high, (streams, length))
    ends = np.array([system(u)[-1] for u in inputs])
    shared = inputs.copy()
    shared[:, length - common :] = inputs[0, length - common :]
    same = np.array([system(u)[-1] for u in shared])
    noise = None
    if repeats > 1:
        noise = NoiseFloor.of(np.array([system(inputs[0])[-1] for _ in range(repeats)]))
    return ranks_of(ends, same, noise, rng)
