"""Whether a driven system does the same again and forgets where it began: consistency, echo state, Lyapunov exponent.

The null of each is made of the replicas themselves, shifted in time against each other: what two runs have in common
that did not see the same input, their own correlation in time included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import linalg

from firmware_bridge.errors import UserError

F64 = npt.NDArray[np.float64]

SHIFTS = 199
"""Shifts of a null: with p values down to 1/200."""


@dataclass(frozen=True)
class Consistency:
    """Whether the same input gives the same states again (Uchida et al. 2004; Lymburn et al. 2019).

    Attributes:
        by_node: shape (N,), mean correlation of two replicas of each node; 0 for an undriven one.
        mean: over the nodes.
        null_mean: of ``mean``, over shifted replicas: 0 but for chance.
        null: standard deviation of ``mean`` over shifted replicas.
        null_high: its 97.5 % quantile.
        p_value: chance that shifted replicas agree as well; at least ``1/(shifts + 1)``.
        capacity: trace of the consistency spectrum: usable dimensions of the state, at most N.
        capacity_null_high: 97.5 % quantile of ``capacity`` over shifted replicas.
        replicas: how many there were.
    """

    by_node: F64
    mean: float
    null_mean: float
    null: float
    null_high: float
    p_value: float
    capacity: float
    capacity_null_high: float
    replicas: int

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {**asdict(self), "by_node": self.by_node.tolist()}


def null_shifts(rows: int, guard: int, count: int = SHIFTS) -> npt.NDArray[np.int64]:
    """Evenly spaced circular shifts of at least ``guard`` rows either way.

    Raises:
        UserError: if there are too few rows for twenty of them.
    """
    if rows - 2 * guard < 20:
        raise UserError(f"{rows} rows leave no shifts of {guard} rows and more: record more rows")
    return np.unique(np.linspace(guard, rows - guard, count).astype(np.int64))


def consistency(replicas: Sequence[F64], *, guard: int = 50) -> Consistency:
    """Of the states (T, N) of at least two runs with the same input.

    Args:
        replicas: the runs, without what came before they forgot their start.
        guard: least shift of the null; longer than the memory of the system.

    Raises:
        UserError: if there are fewer than two, their shapes differ, or they are too short for the null.
    """
    if len(replicas) < 2 or len({r.shape for r in replicas}) != 1:
        raise UserError("consistency needs two or more replicas of the same shape")
    centred = [np.asarray(r, dtype=np.float64) - np.mean(r, axis=0) for r in replicas]
    rows, nodes = centred[0].shape
    shifts = null_shifts(rows, min(guard, rows // 4))
    pairs = len(centred) * (len(centred) - 1) // 2
    units = []
    for c in centred:
        norm = np.sqrt((c**2).sum(axis=0))
        units.append(np.divide(c, norm, out=np.zeros_like(c), where=norm > 0))
    by_lag, by_node = _products_by_lag(units)
    means = by_lag / (nodes * pairs)
    within = np.mean([c.T @ c / rows for c in centred], axis=0)
    values, vectors = linalg.eigh(within)
    keep = values > 1e-10 * values[-1] if values[-1] > 0 else np.zeros(nodes, dtype=bool)
    whitening = vectors[:, keep] / np.sqrt(values[keep] * rows)
    capacities = _products_by_lag([c @ whitening for c in centred])[0] / pairs
    null = means[shifts]
    return Consistency(
        by_node=by_node / pairs,
        mean=float(means[0]),
        null_mean=float(null.mean()),
        null=float(null.std(ddof=1)),
        null_high=float(np.quantile(null, 0.975)),
        p_value=float((1 + (null >= means[0]).sum()) / (1 + null.size)),
        capacity=float(capacities[0]),
        capacity_null_high=float(np.quantile(capacities[shifts], 0.975)),
        replicas=len(centred),
    )


def _products_by_lag(series: list[F64]) -> tuple[F64, F64]:
    """Products of all pairs at every circular shift, summed over pairs and nodes, (T,); and by node without shift."""
    rows, nodes = series[0].shape
    spectra = [np.fft.rfft(s, axis=0) for s in series]
    total = np.zeros(rows // 2 + 1, dtype=np.complex128)
    by_node = np.zeros(nodes)
    for i, a in enumerate(spectra):
        for j in range(i + 1, len(spectra)):
            total += (a * spectra[j].conj()).sum(axis=1)
            by_node += np.einsum("tn,tn->n", series[i], series[j])
    return np.fft.irfft(total, rows), by_node


@dataclass(frozen=True)
class EchoState:
    """Whether a system forgets where it began.

    Attributes:
        exponent: conditional Lyapunov exponent per step: slope of the log distance of two runs that began differently;
            below 0 they meet, and 0 is what a system gives that never forgets. ``-inf`` where they meet at once, NaN
            where no decay can be seen, since they began at the floor or never came near each other.
        standard_error: of that slope.
        forgets: whether the runs end closer than shifted ones (``p_value`` below 0.025), and the exponent is below 0 by
            more than twice its error.
        steps: over which the slope was taken, before the distance came near the floor.
        start: distance at the first step, in units of ``unrelated``.
        end: mean distance over the last quarter, in those units; 1 is what a system gives that never forgets.
        floor: distance of two runs that have met, in those units: their noise.
        unrelated: distance of the same runs shifted against each other, in standard deviations of the nodes.
        p_value: chance that shifted runs are as close as these are at their end.
    """

    exponent: float
    standard_error: float
    forgets: bool
    steps: int
    start: float
    end: float
    floor: float
    unrelated: float
    p_value: float

    def to_json(self) -> dict[str, Any]:
        """As plain data; an exponent that is not finite as text."""
        plain = asdict(self)
        if not np.isfinite(self.exponent):
            plain["exponent"] = "-inf" if self.exponent < 0 else None
        return plain


ROUNDING = 1e-12
"""Distance, over that of unrelated runs, at which runs without noise count as met."""
NEAR_FLOOR = 2.0
"""Distance over the floor from which on noise bends the decay too much."""


def echo_state(first: F64, second: F64, *, alike: tuple[F64, F64] | None = None) -> EchoState:
    """From the states (T, N) of two runs with the same input, whose starts or earlier inputs differed.

    Args:
        first: of one run, from the first step of the common input on.
        second: of the other.
        alike: two further runs that began alike: their distance is the noise floor. Without them the last quarter of
            the rows gives it, so that the record has to go on well after the distance has settled.

    Raises:
        UserError: if the shapes differ or there are fewer than 40 rows.
    """
    if first.shape != second.shape or first.shape[0] < 40:
        raise UserError("an echo state needs two runs of the same shape and at least 40 rows")
    rows = first.shape[0]
    both = [np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)]
    scale = np.vstack([run[rows // 2 :] for run in both]).std(axis=0)
    used = scale > 0
    if not used.any():
        raise UserError("no node of these runs varies")
    a, b = (run[:, used] / scale[used] for run in both)
    squared = ((a - b) ** 2).sum(axis=1)
    tail = slice(rows - rows // 4, rows)
    # what shifted runs are apart, over as many rows as the end has
    length = rows // 4
    shifted = np.array(
        [
            ((a[rows - length :] - b[at : at + length]) ** 2).sum(axis=1).mean()
            for at in np.unique(np.linspace(0, rows - 2 * length, SHIFTS).astype(int))
        ]
    )
    unrelated = float(np.sqrt(shifted.mean()))
    end = float(np.sqrt(squared[tail].mean()))
    p_value = float((1 + (shifted <= end**2).sum()) / (1 + shifted.size))
    met = p_value < 0.025
    least = ROUNDING * unrelated
    if alike is not None:
        apart = [np.asarray(run, dtype=np.float64)[:, used] / scale[used] for run in alike]
        floor = max(float(np.sqrt(((apart[0] - apart[1]) ** 2).sum(axis=1).mean())), least)
    else:
        halves = [float(half.mean()) for half in np.array_split(squared[tail], 2)]
        # a tail that still falls has no floor in it
        floor = least if halves[1] < 0.5 * halves[0] else max(end, least)
    exponent, error, steps = _decay(squared, floor)
    if steps < 3:
        # met within two steps; or no decay to be seen, since the runs began at the floor
        at_once = met and squared[0] > (NEAR_FLOOR * floor) ** 2
        exponent, error = (float("-inf") if at_once else float("nan")), 0.0
    return EchoState(
        exponent=exponent,
        standard_error=error,
        forgets=bool(met and exponent < -2.0 * error),
        steps=steps,
        start=float(np.sqrt(squared[0])) / unrelated,
        end=end / unrelated,
        floor=floor / unrelated,
        unrelated=unrelated,
        p_value=p_value,
    )


def _decay(squared: F64, floor: float) -> tuple[float, float, int]:
    """Slope of the log distance where it is well above the floor, with its error and the steps used."""
    above = squared > (NEAR_FLOOR * floor) ** 2
    steps = int(above.argmin()) if not above.all() else squared.size
    if steps < 3:
        return float("nan"), 0.0, steps
    k = np.arange(steps)
    logs = 0.5 * np.log(squared[:steps] - floor**2)  # noise adds to the square of the distance
    slope, offset = np.polyfit(k, logs, 1)
    # neighbouring distances are not independent: the error is taken from blocks
    blocks = min(10, steps // 3)
    slopes = [np.polyfit(part, logs[part], 1)[0] for part in np.array_split(k, blocks) if part.size > 2]
    if len(slopes) > 1:
        return float(slope), float(np.std(slopes, ddof=1) / np.sqrt(len(slopes))), steps
    residual = logs - slope * k - offset
    spread = np.sqrt((residual**2).sum() / max(steps - 2, 1) / ((k - k.mean()) ** 2).sum())
    return float(slope), float(spread), steps


def lyapunov_of_esn(network: Any, u: F64, rng: np.random.Generator) -> float:
    """Conditional Lyapunov exponent of an echo state network from its Jacobian, per step (Benettin et al. 1980).

    Below 0 the network forgets its start; 0 is the null of a system that keeps it.

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
