"""All that one recording tells of a driven system, each number beside what a system without the property gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from scipy import stats

from firmware_bridge.errors import UserError
from reservoir.capacities import Capacity, combinations, information_processing_capacity
from reservoir.consistency import Consistency, EchoState, consistency, echo_state
from reservoir.fading import FadingMemory, Separation, fading_memory, separation
from reservoir.ranks import Dimension, NoiseFloor, Ranks, dimension, ranks_of

F64 = npt.NDArray[np.float64]
Result = TypeVar("Result")

MOST_TARGETS = 5_000
"""Products that a capacity spectrum looks at; the delays of the higher degrees are cut so that there are no more."""
NEEDS_REPLICAS = "needs replicas: record the same input again"


@dataclass(frozen=True)
class Properties:
    """What one recording tells; each part holds its own null value.

    Attributes:
        rows: T after the washout.
        nodes: N.
        washout: rows left out at the start.
        input_memory: largest absolute autocorrelation of the input over the delays. The theory of the capacities takes
            an input without memory.
        input_memory_null: what an input without memory stays below with 95 %.
        fading_memory: linear capacity over the delay.
        capacity: information processing capacity, by degree and delay.
        separation: of the states for different inputs.
        dimension: effective dimension and condition.
        consistency: agreement of replicas.
        echo_state: decay of the distance of two replicas from their first row on.
        ranks: kernel rank of all rows above the noise of the replicas.
        missing: part to the reason why it is None, or is not whole.
    """

    rows: int
    nodes: int
    washout: int
    input_memory: float
    input_memory_null: float
    fading_memory: FadingMemory | None
    capacity: Capacity | None
    separation: Separation | None
    dimension: Dimension | None
    consistency: Consistency | None
    echo_state: EchoState | None
    ranks: Ranks | None
    missing: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        plain: dict[str, Any] = {}
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            plain[name] = value.to_json() if hasattr(value, "to_json") else value
        return plain


def properties(
    states: F64,
    u: F64,
    *,
    replicas: Sequence[F64] | None = None,
    washout: int = 100,
    delays: int = 20,
    degree: int = 3,
    rng: np.random.Generator,
) -> Properties:
    """Compute all that can be computed, and say of the rest why not.

    Args:
        states: shape (T, N); row k has seen ``u`` up to its own row.
        u: shape (T,), of any distribution, independent from step to step.
        replicas: states (T, N) of further runs with the same input, from another start or after other inputs.
        washout: rows left out at the start; the echo state is looked for from the first row on.
        delays: longest delay.
        degree: highest degree of the capacities.
        rng: of the null values.

    Raises:
        UserError: if shapes do not fit, numbers are not finite, or the washout leaves nothing.
    """
    x, inputs = np.asarray(states, dtype=np.float64), np.asarray(u, dtype=np.float64)
    again = [np.asarray(r, dtype=np.float64) for r in replicas or ()]
    _check(x, inputs, again, washout, delays, degree)
    settled = x[washout:]
    runs = [r[washout:] for r in (x, *again)]
    missing: dict[str, str] = {}

    def attempt(name: str, compute: Callable[[], Result]) -> Result | None:
        try:
            return compute()
        except UserError as error:
            missing[name] = str(error)
            return None

    rank: Ranks | None = None
    if again:
        noise = NoiseFloor.of(np.stack(runs))
        rank = attempt("ranks", lambda: ranks_of(settled, None, noise, rng))
        missing.setdefault(
            "ranks.generalisation", "needs inputs that differ and end alike: use reservoir.ranks.ranks"
        )
    else:
        missing.update({"ranks": NEEDS_REPLICAS, "consistency": NEEDS_REPLICAS, "echo_state": NEEDS_REPLICAS})
    targets = _targets(delays, degree)
    found, null = _input_memory(inputs[washout:], delays)
    return Properties(
        rows=settled.shape[0],
        nodes=x.shape[1],
        washout=washout,
        input_memory=found,
        input_memory_null=null,
        fading_memory=attempt("fading_memory", lambda: fading_memory(settled, inputs, delays)),
        capacity=attempt(
            "capacity", lambda: information_processing_capacity(settled, inputs, targets, basis="empirical")
        ),
        separation=attempt(
            "separation", lambda: separation(settled, inputs[washout:], rng, guard=max(delays, 20))
        ),
        dimension=attempt("dimension", lambda: dimension(settled)),
        consistency=attempt("consistency", lambda: consistency(runs)) if again else None,
        echo_state=attempt("echo_state", lambda: echo_state(x, again[0])) if again else None,
        ranks=rank,
        missing=missing,
    )


def _check(x: F64, u: F64, again: list[F64], washout: int, delays: int, degree: int) -> None:
    if x.ndim != 2 or u.shape != x.shape[:1] or any(r.shape != x.shape for r in again):
        shapes = ", ".join(str(a.shape) for a in (x, u, *again))
        raise UserError(f"states and replicas have the shape (T, N) and the input (T,), not {shapes}")
    if not all(np.isfinite(a).all() for a in (x, u, *again)):
        raise UserError("states and input are to be finite: leave out the rows that are not")
    if not 0 <= washout < x.shape[0] or delays < 1 or degree < 1:
        raise UserError(
            f"washout is at least 0 and below the {x.shape[0]} rows, delays and degree are at least 1, not "
            f"{washout}, {delays} and {degree}"
        )


def _targets(delays: int, degree: int) -> list[tuple[tuple[int, int], ...]]:
    """All products of degree 1, and of the higher degrees as long delays as ``MOST_TARGETS`` allows."""
    from math import comb

    chosen = list(combinations(1, delays))
    share = max(1, (MOST_TARGETS - len(chosen)) // max(1, degree - 1))
    for d in range(2, degree + 1):
        reach = next((r for r in range(delays, 0, -1) if comb(d + r, d) <= share), 0)
        chosen += combinations(d, reach)
    return chosen


def _input_memory(u: F64, delays: int) -> tuple[float, float]:
    """Largest absolute autocorrelation for the delays 1 .. ``delays``, and its 95 % limit without memory."""
    centred = u - u.mean()
    power = float(centred @ centred)
    lags = range(1, min(delays, u.size - 1) + 1)
    if not power > 0 or not lags:
        return 0.0, 0.0
    found = max(abs(float(centred[:-lag] @ centred[lag:])) / power for lag in lags)
    return found, float(stats.norm.isf(0.025 / len(lags)) / np.sqrt(u.size))
