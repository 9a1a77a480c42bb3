"""What kind of system a state matrix comes from: rank, dimension, separation, echo state, consistency.

Every number stands next to what a system without the property would give.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import linalg

from firmware_bridge.errors import UserError

F64 = npt.NDArray[np.float64]


def participation_ratio(states: F64) -> float:
    """Effective dimension ``(sum λ)² / sum λ²`` of the covariance's eigenvalues, 1 to N; 0 for constant states."""
    values = _spectrum(states)
    return float(values.sum() ** 2 / (values**2).sum()) if values.sum() > 0 else 0.0


def condition_number(states: F64) -> float:
    """Largest over smallest singular value of the centred states; infinite where a column adds nothing."""
    singular = linalg.svdvals(np.asarray(states, dtype=np.float64) - np.mean(states, axis=0))
    return float(singular[0] / singular[-1]) if singular[-1] > 0 else float("inf")


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


def _spectrum(states: F64) -> F64:
    x = np.asarray(states, dtype=np.float64)
    x = x - x.mean(axis=0)
    return np.maximum(linalg.eigvalsh(x.T @ x / x.shape[0]), 0.0)


@dataclass(frozen=True)
class Ranks:
    """Kernel and generalisation rank (Legenstein & Maass 2007; Büsing et al. 2010).

    Attributes:
        kernel: rank of the final states of m different inputs: how well they are told apart.
        generalisation: rank of those of m inputs with the same end: how well what is long past is forgotten.
        streams: m.
        nodes: N, the most that either can be.
        noise: singular value that a repeat of the same input gives: what lies below it is noise.
    """

    kernel: int
    generalisation: int
    streams: int
    nodes: int
    noise: float

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


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
        rng: of the inputs.
        streams: m, at least as many as it has states.
        length: of each input.
        common: inputs at the end that are the same for the generalisation rank.
        low: of the inputs.
        high: of the inputs.
        repeats: with 2 and more the first input is given so often, and the spread of its end states is the noise.
    """
    inputs = rng.uniform(low, high, (streams, length))
    ends = np.array([system(u)[-1] for u in inputs])
    shared = inputs.copy()
    shared[:, length - common :] = inputs[0, length - common :]
    same = np.array([system(u)[-1] for u in shared])
    noise = 0.0
    if repeats > 1:
        again = np.array([system(inputs[0])[-1] for _ in range(repeats)])
        spread = float(np.sqrt(((again - again.mean(axis=0)) ** 2).sum() / (repeats - 1) / again.shape[1]))
        noise = spread * (np.sqrt(streams) + np.sqrt(ends.shape[1]))  # norm of a matrix of such noise
    centred = [matrix - matrix.mean(axis=0) for matrix in (ends, same)]
    return Ranks(
        numerical_rank(centred[0], noise), numerical_rank(centred[1], noise), streams, ends.shape[1], noise
    )


@dataclass(frozen=True)
class Consistency:
    """Whether the same input gives the same states again (Uchida et al. 2004; Lymburn et al. 2019).

    Attributes:
        by_node: shape (N,), mean correlation of two replicas of each node; 0 for an undriven one.
        mean: over the nodes.
        capacity: trace of the consistency spectrum: usable dimensions of the state, at most N.
        null: what independent replicas of this length give for ``mean``, standard deviation.
        replicas: how many there were.
    """

    by_node: F64
    mean: float
    capacity: float
    null: float
    replicas: int

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {**asdict(self), "by_node": self.by_node.tolist()}


def consistency(replicas: list[F64]) -> Consistency:
    """Of the states (T, N) of at least two runs with the same input.

    Raises:
        UserError: if there are fewer than two, or their shapes differ.
    """
    if len(replicas) < 2 or len({r.shape for r in replicas}) != 1:
        raise UserError("consistency needs two or more replicas of the same shape")
    centred = [r - r.mean(axis=0) for r in replicas]
    rows, nodes = centred[0].shape
    pairs = [(a, b) for i, a in enumerate(centred) for b in centred[i + 1 :]]
    scale = [np.sqrt((c**2).mean(axis=0)) for c in centred]
    by_node = np.zeros(nodes)
    cross = np.zeros((nodes, nodes))
    for i, a in enumerate(centred):
        for j in range(i + 1, len(centred)):
            b = centred[j]
            norm = scale[i] * scale[j]
            by_node += np.divide((a * b).mean(axis=0), norm, out=np.zeros(nodes), where=norm > 0)
            cross += a.T @ b / rows
    by_node /= len(pairs)
    cross = 0.5 * (cross + cross.T) / len(pairs)
    within = np.mean([c.T @ c / rows for c in centred], axis=0)
    values, vectors = linalg.eigh(within)
    keep = values > 1e-10 * values[-1] if values[-1] > 0 else np.zeros(nodes, dtype=bool)
    whitening = vectors[:, keep] / np.sqrt(values[keep])
    spectrum = linalg.eigvalsh(whitening.T @ cross @ whitening) if keep.any() else np.zeros(0)
    null = 1.0 / np.sqrt(rows * nodes * len(pairs))
    return Consistency(by_node, float(by_node.mean()), float(spectrum.sum()), float(null), len(replicas))


@dataclass(frozen=True)
class EchoState:
    """Whether a system forgets where it began.

    Attributes:
        exponent: conditional Lyapunov exponent per step: slope of the log distance of two starts; below 0 they meet.
        standard_error: of that slope.
        forgets: whether the exponent is below 0 by more than twice that.
        steps: over which the slope was taken, before the distance reached the rounding.
    """

    exponent: float
    standard_error: float
    forgets: bool
    steps: int

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def echo_state(first: F64, second: F64, *, floor: float = 1e-12) -> EchoState:
    """From the states (T, N) of two runs with the same input and different starts.

    Args:
        first: of one run.
        second: of the other.
        floor: distance relative to the size of the states at which they count as met; for a measured system the
            distance of two runs that began alike.
    """
    distance = np.sqrt(((first - second) ** 2).sum(axis=1))
    size = float(np.sqrt((first**2).sum(axis=1).mean()))
    above = distance > floor * max(size, np.finfo(float).tiny)
    steps = int(above.argmin()) if not above.all() else distance.size
    if steps < 3:
        return EchoState(float("-inf"), 0.0, True, steps)
    k = np.arange(steps)
    logs = np.log(distance[:steps])
    slope, offset = np.polyfit(k, logs, 1)
    residual = logs - slope * k - offset
    # neighbouring distances are not independent: the error is taken from blocks
    blocks = min(10, steps // 3)
    slopes = [np.polyfit(part, logs[part], 1)[0] for part in np.array_split(k, blocks) if part.size > 2]
    spread = (
        float(np.std(slopes, ddof=1) / np.sqrt(len(slopes)))
        if len(slopes) > 1
        else float(np.std(residual) / max(steps, 1))
    )
    return EchoState(float(slope), spread, bool(slope < -2.0 * spread), steps)


def lyapunov_of_esn(network: Any, u: F64, rng: np.random.Generator) -> float:
    """Conditional Lyapunov exponent of an echo state network from its Jacobian, per step (Benettin et al. 1980).

    Args:
        network: fitted :class:`reservoir.networks.EchoStateNetwork`.
        u: input (T, d).
        rng: of the first perturbation.
    """
    states = network.transform(u)
    v = rng.standard_normal(network.nodes)
    v /= linalg.norm(v)
    total, before = 0.0, np.zeros(network.nodes)
    for row in states:
        # tanh' = 1 - tanh^2, and tanh is what the leaky update added
        inner = (row - (1.0 - network.leak) * before) / network.leak
        v = (1.0 - network.leak) * v + network.leak * (1.0 - inner**2) * (network.w_ @ v)
        size = linalg.norm(v)
        if size == 0.0:
            return float("-inf")
        total += np.log(size)
        v /= size
        before = row
    return float(total / states.shape[0])
