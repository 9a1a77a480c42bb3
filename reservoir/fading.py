"""How far back states reach, and whether inputs that differ lead to states that differ: fading memory, separation."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from firmware_bridge.errors import UserError
from reservoir.baselines import delay_line, polynomial
from reservoir.capacities import FALSE_ALARM, null_threshold, raw_capacities
from reservoir.ranks import standardised

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FadingMemory:
    """Linear capacity over the delay, for d = 0 .. D.

    Attributes:
        capacity: shape (D + 1,), of ``u[k - d]``, chance's mean taken off.
        threshold: what the capacity as it comes has to pass to be more than chance, on the same scale.
        null_mean: what chance gave, and was taken off.
        input_only: shape (D + 1,), what powers of the present input alone give: near 0 for d > 0 unless the input
            itself has memory.
        falls_at: first delay from 1 on whose capacity is neither above the threshold nor above ``input_only``; None if
            there is none up to D. 1 is what a system without memory gives.
        total: sum over the delays from 1 on that are above both: linear memory. 0 for a system without memory.
        rank: of the states.
        rows: T.
    """

    capacity: F64
    threshold: float
    null_mean: float
    input_only: F64
    falls_at: int | None
    total: float
    rank: int
    rows: int

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            **asdict(self),
            "capacity": self.capacity.tolist(),
            "input_only": self.input_only.tolist(),
        }


def fading_memory(states: F64, u: F64, delays: int = 50, *, false_alarm: float = FALSE_ALARM) -> FadingMemory:
    """Linear capacity of states (T, N) for the delays 0 .. ``delays`` of an input of any distribution.

    Args:
        states: row k has seen ``u`` up to its own row.
        u: shape (T,), or longer: further inputs stand before the first row.
        delays: D.
        false_alarm: chance that any delay passes by luck.

    Raises:
        UserError: if there are too few rows or inputs.
    """
    inputs = np.asarray(u, dtype=np.float64)
    centred = {1: inputs - inputs.mean()}
    targets = [((delay, 1),) for delay in range(delays + 1)]
    raw, rank, rows = raw_capacities(states, centred, targets)
    peak = float(np.abs(centred[1]).max(initial=0.0)) or 1.0
    alone, alone_rank, _ = raw_capacities(
        polynomial(centred[1] / peak, 3)[-states.shape[0] :], centred, targets
    )
    mean, alone_mean = rank / (rows - 1), alone_rank / (rows - 1)
    capacity, input_only = (raw - mean) / (1.0 - mean), (alone - alone_mean) / (1.0 - alone_mean)
    threshold = (null_threshold(rank, rows, len(targets), false_alarm) - mean) / (1.0 - mean)
    above = (capacity > threshold) & (capacity > input_only)
    above[0] = False  # the present input takes no memory
    falls = np.flatnonzero(~above[1:])
    return FadingMemory(
        capacity=capacity,
        threshold=threshold,
        null_mean=mean,
        input_only=input_only,
        falls_at=int(falls[0]) + 1 if falls.size else None,
        total=float(capacity[above].sum()),
        rank=rank,
        rows=rows,
    )


@dataclass(frozen=True)
class Separation:
    """Whether states lie the farther apart, the more their inputs differ.

    Attributes:
        correlation: rank correlation of the distances of states and those of the last ``window`` inputs.
        null_mean: of shifted states: 0 but for chance.
        null_high: 97.5 % quantile over shifted states.
        p_value: chance that shifted states do as well; at least ``1/(shifts + 1)``.
        window: inputs that were compared.
        rows: rows whose pairs were compared.
    """

    correlation: float
    null_mean: float
    null_high: float
    p_value: float
    window: int
    rows: int

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def separation(
    states: F64,
    u: F64,
    rng: np.random.Generator,
    *,
    window: int = 5,
    rows: int = 250,
    shifts: int = 99,
    guard: int = 50,
) -> Separation:
    """Separation of states (T, N), columns brought to unit variance, driven by inputs (T,).

    Args:
        states: row k has seen ``u`` up to its own row.
        u: shape (T,).
        rng: of the rows and shifts.
        window: inputs that count, the present one included.
        rows: how many rows are drawn; all their pairs are compared.
        shifts: size of the null: the states of the rows so many steps later or earlier, which keeps their own
            correlation in time.
        guard: least shift.

    Raises:
        UserError: if there are too few rows, or the states or the input do not vary.
    """
    from scipy.spatial.distance import pdist
    from scipy.stats import rankdata

    x, total = standardised(states), states.shape[0]
    if u.shape != (total,):
        raise UserError(f"states and input have {total} and {u.shape} rows; they are to be equal")
    if total < window + 2 * guard + 20:
        raise UserError(f"{total} rows are too few for shifts of {guard} rows and more: record more rows")
    if not x.shape[1] or not np.std(u) > 0:
        raise UserError("separation needs states and an input that vary")
    line = delay_line(u, window)
    at = rng.choice(np.arange(window - 1, total), min(rows, total - window + 1), replace=False)

    def ranked(points: F64) -> F64:
        order = rankdata(pdist(points))
        order -= order.mean()
        return np.asarray(order / np.sqrt(max(float(order @ order), np.finfo(float).tiny)))

    inputs = ranked(line[at])
    lags = rng.integers(guard, total - guard + 1, shifts)
    observed = float(inputs @ ranked(x[at]))
    null = np.array([inputs @ ranked(x[(at + lag) % total]) for lag in lags])
    return Separation(
        correlation=observed,
        null_mean=float(null.mean()),
        null_high=float(np.quantile(null, 0.975)),
        p_value=float((1 + (null >= observed).sum()) / (1 + shifts)),
        window=window,
        rows=at.size,
    )
