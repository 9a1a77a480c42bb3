"""Does the timing tell a readout anything that the input does not? The gain over the input alone, and its null.

``gain = mean_b NRMSE([u, P_b X]) - NRMSE([u, X])``: the same columns, the same rule, the same rows, but the states are
moved against the input. What a readout wins by having more columns is so taken off.

The null moves the states by a circular shift of the training and test rows. Timing and target both remember their past;
rows that are permuted freely forget it, and such a null is too narrow. Share of 400 runs in which chance alone raised
an alarm, meant to come in 2.5 % (300 training and 150 test steps, 3 columns without any tie to the input):

=========================================  =====  ======
target and states                          shift  rows
=========================================  =====  ======
NARMA-10, independent noise                 3.3 %   3.3 %
NARMA-10, AR(1) with 0.9                    1.5 %  13.3 %
AR(1) with 0.9, AR(1) with 0.9              2.5 %  13.5 %
AR(1) with 0.99, AR(1) with 0.99            9.8 %  34.7 %
=========================================  =====  ======

The last row is a memory of 100 steps in a record of 450, which no null of that record can bear; at 2000 and 1000 steps
shifts are back at 3 %. States that only repeat the input of their step raise an alarm on NARMA-10 in 6 % (the input
itself, or with noise) and 10 % (squared): they cost the readout no new direction, whereas shifted ones do. Their gain
is 0 on average, and at 2000 and 1000 steps never above 0.006.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from firmware_bridge.errors import UserError
from reservoir.rule import Rule, Split

F64 = npt.NDArray[np.float64]

Permute = Literal["shift", "rows"]

PERMUTATIONS = 199
FEWEST_PERMUTATIONS = 20
GAP = 50
"""Shifts stay at least so many steps away from 0, so that no shifted state still knows the input of its row."""
TAIL = 0.025
"""Of the null on either side of the interval."""


@dataclass(frozen=True, eq=False)
class Gain:
    """What the states add to the input, beside what they add when they are moved against it.

    Attributes:
        nrmse: ``nrmse_std`` of ``[u, X]`` on the test block.
        null: that of ``[u, P_b X]``, in the order drawn, shape (permutations,).
        gain: mean of the null less ``nrmse``.
        ci: the same with the 2.5 % and 97.5 % quantiles of the null in place of its mean; order statistics, taken so
            that chance puts the lower end above 0 in at most ``false_alarm`` of all cases.
        p_value: ``(1 + #{null <= nrmse}) / (permutations + 1)``.
        detectable: the smallest gain that would have been flagged.
        false_alarm: how often chance flags a gain: 0.025, or ``1 / (permutations + 1)`` where there are fewer than 39.
        permute: how the states were moved.
    """

    nrmse: float
    null: F64
    gain: float
    ci: tuple[float, float]
    p_value: float
    detectable: float
    false_alarm: float
    permute: Permute

    @property
    def alarm(self) -> bool:
        """Whether a gain is found: the lower end of its interval is above 0."""
        return self.ci[0] > 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain dict."""
        return {
            "nrmse": self.nrmse,
            "gain_over_input_only": self.gain,
            "gain_ci": list(self.ci),
            "gain_p": self.p_value,
            "gain_detectable": self.detectable,
            "gain_false_alarm": self.false_alarm,
            "permutations": int(self.null.size),
            "permute": self.permute,
        }


def gain_over_input_only(
    u: npt.ArrayLike,
    y: npt.ArrayLike,
    states: npt.ArrayLike,
    *,
    split: Split,
    permutations: int = PERMUTATIONS,
    permute: Permute = "shift",
    gap: int = GAP,
    alpha: float | None = None,
    threads: int = 1,
    rng: np.random.Generator,
) -> Gain:
    """What a readout of the states wins over one of the input alone.

    Args:
        u: input, shape (T,) or (T, d).
        y: target, shape (T,).
        states: shape (T, N).
        split: washout, training and test steps; later steps are not used.
        permutations: at least 20.
        permute: ``shift`` by lags that are drawn without replacement, or ``rows`` in any order.
        gap: steps that a shift stays away from 0, on both sides.
        alpha: λ for standardised columns; None has it chosen anew for each permutation, as for the states.
        threads: of the linear algebra; more than one seldom helps.
        rng: draws the permutations.

    Raises:
        UserError: if arrays do not fit the split, or there are too few permutations or lags.
    """
    from threadpoolctl import threadpool_limits

    rule = Rule(target_of(split, y), split, alpha)
    inputs, x = split.columns("the input", u), split.columns("the state matrix", states)
    if permute not in get_args(Permute):
        raise UserError(f"permute is one of {', '.join(get_args(Permute))}, not {permute!r}")
    if permutations < FEWEST_PERMUTATIONS:
        raise UserError(f"{permutations} permutations say nothing; take at least {FEWEST_PERMUTATIONS}")
    with threadpool_limits(threads):
        observed = rule.fit(np.hstack([inputs, x])).nrmse
        moved = shifted(x, permutations, gap, rng) if permute == "shift" else reordered(x, permutations, rng)
        features = np.hstack([inputs, np.empty_like(x)])
        null = np.empty(permutations)
        for b, rows in enumerate(moved):
            features[:, inputs.shape[1] :] = rows
            null[b] = rule.fit(features).nrmse
    return against_null(observed, null, permute)


def against_null(observed: float, null: F64, permute: Permute) -> Gain:
    """The gain and its interval from the score of the states and those of the moved ones, shape (permutations,)."""
    ordered = np.sort(null)
    # P(score < k-th lowest of B) = k / (B + 1) if all B + 1 scores are exchangeable
    k = max(1, int(np.floor(TAIL * (null.size + 1) + 1e-9)))
    low, high, mean = float(ordered[k - 1]), float(ordered[-k]), float(null.mean())
    return Gain(
        nrmse=observed,
        null=null,
        gain=mean - observed,
        ci=(low - observed, high - observed),
        p_value=(1 + int((null <= observed).sum())) / (null.size + 1),
        detectable=mean - low,
        false_alarm=k / (null.size + 1),
        permute=permute,
    )


def target_of(split: Split, y: npt.ArrayLike) -> F64:
    """The target of the training and test rows, shape (train + test,).

    Raises:
        UserError: if there are several targets, or they do not fit the split.
    """
    if np.ndim(y) != 1:
        raise UserError(
            f"the target has the shape {np.shape(y)}; one target of shape (T,) is scored at a time"
        )
    return split.columns("the target", y)[:, 0]


def shifted(x: F64, count: int, gap: int, rng: np.random.Generator) -> Iterator[F64]:
    """Circular shifts of the rows of x by ``count`` lags between ``gap`` and its length less ``gap``, none twice.

    Raises:
        UserError: if there are fewer lags than that.
    """
    lags = np.arange(max(1, gap), x.shape[0] - max(1, gap) + 1)
    if lags.size < count:
        raise UserError(
            f"{x.shape[0]} steps have {lags.size} shifts that stay {gap} steps away from 0, and {count} are wanted: "
            f"take more steps or fewer permutations"
        )
    return (np.roll(x, int(lag), axis=0) for lag in rng.choice(lags, count, replace=False))


def reordered(x: F64, count: int, rng: np.random.Generator) -> Iterator[F64]:
    """The rows of x in ``count`` random orders."""
    return (x[rng.permutation(x.shape[0])] for _ in range(count))
