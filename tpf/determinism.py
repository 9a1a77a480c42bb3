"""Is a label a function of a feature? Exact relations, and how unlikely each is to come by chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tpf.dataset import BoolArray, FloatArray

IntArray = npt.NDArray[np.int64]

BY_CHANCE = 1e-9
"""A relation counts if that many random labels, or fewer, would show it."""
NEAR = 0.01
"""Share of either class that a near relation may get wrong."""


@dataclass(frozen=True)
class Relation:
    """A rule that gives the label from one number.

    Attributes:
        kind: ``threshold``, ``interval``, ``one_to_one`` (equal values, equal labels) or ``near_threshold``.
        text: the rule, ``x`` standing for the feature.
        agree: bool, shape (n,): rows that follow it.
    """

    kind: str
    text: str
    agree: BoolArray


def relation(x: FloatArray, y: BoolArray) -> Relation | None:
    """The simplest rule by which x gives y, or None.

    Args:
        x: shape (n,); nan is a value like others.
        y: shape (n,), of both classes.
    """
    codes = _codes(x)
    order = np.argsort(codes, kind="stable")
    code, label = codes[order], y[order]
    starts = np.flatnonzero(np.r_[True, code[1:] != code[:-1]])
    sizes = np.diff(np.r_[starts, code.size])
    hits = np.add.reduceat(label.astype(np.int64), starts)
    pure = bool(np.all((hits == 0) | (hits == sizes)))
    if not pure:
        return _near(x, y)
    value, says = x[order][starts], hits > 0
    changes = np.flatnonzero(says[1:] != says[:-1])
    p = float(y.mean())
    if changes.size <= 2:
        # so few changes along x: at most n^changes of all the ways to place the labels
        ways = -_log_choose(y.size, int(y.sum())) + changes.size * np.log(max(starts.size, 2))
        if ways < np.log(BY_CHANCE):
            return Relation(
                "threshold" if changes.size == 1 else "interval",
                _rule(value, says, changes),
                np.ones(y.size, bool),
            )
    repeated = sizes[sizes > 1]
    if repeated.size and float(np.log(p**repeated + (1 - p) ** repeated).sum()) < np.log(BY_CHANCE):
        return Relation("one_to_one", "equal values of x always have equal labels", np.ones(y.size, bool))
    return _near(x, y)


def joint(first: FloatArray, second: FloatArray, y: BoolArray) -> str | None:
    """A rule by which two features together give y where neither does alone, or None.

    Looks at their difference, sum, product and ratio, and at equal pairs of values.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        made = {
            "{a} - {b}": first - second,
            "{a} + {b}": first + second,
            "{a} * {b}": first * second,
            "{a} / {b}": first / second,
        }
    for name, values in made.items():
        if np.isnan(values).mean() > 0.5:
            continue
        found = relation(np.where(np.isfinite(values), values, np.nan), y)
        if found is not None and found.kind in ("threshold", "interval"):
            return found.text.replace("x", f"({name})")
    a, b = _codes(first), _codes(second)
    found = relation((a * (b.max() + 1) + b).astype(np.float64), y)
    if found is not None and found.kind == "one_to_one":
        return "equal pairs of {a} and {b} always have equal labels"
    return None


def constant_in_a_class(x: FloatArray, y: BoolArray) -> tuple[bool, float, float] | None:
    """The class in which x never varies, its value there, and the chance of that; None where x varies in both.

    Chance: that all rows with another value have the other label.
    """
    codes = _codes(x)
    for label in (False, True):
        own = codes[y == label]
        if own.size and own.min() == own.max() and np.any(codes != own[0]):
            others = int((codes != own[0]).sum())
            rate = float((y != label).mean())
            return label, float(x[y == label][0]), rate**others
    return None


def _near(x: FloatArray, y: BoolArray) -> Relation | None:
    """A threshold that errs in hardly any row of either class."""
    known = ~np.isnan(x)
    order = np.argsort(x[known], kind="stable")
    value, label = x[known][order], y[known][order]
    ends = np.flatnonzero(np.r_[value[1:] != value[:-1], False])
    n1, n0 = int(y.sum()), int((~y).sum())
    if not ends.size or min(n1, n0) < 1 / NEAR:
        return None
    ones = np.cumsum(label)[ends]
    zeros = ends + 1 - ones
    total1, total0 = int(label.sum()), int((~label).sum())
    # rows above the cut are called 1, or, the other way round, 0; what is not known is wrong
    above = np.maximum((n1 - (total1 - ones)) / n1, (n0 - zeros) / n0)
    below = np.maximum((n1 - ones) / n1, (n0 - (total0 - zeros)) / n0)
    errors = np.minimum(above, below)
    best = int(errors.argmin())
    if errors[best] > NEAR:
        return None
    cut = float(value[ends[best]] + value[ends[best] + 1]) / 2
    up = above[best] <= below[best]
    agree = ((x > cut) == up) == y
    sign = ">" if up else "<="
    return Relation("near_threshold", f"label == (x {sign} {cut:g})", np.asarray(agree & known))


def _codes(x: FloatArray) -> IntArray:
    """Equal numbers for equal values, ascending; nan is the last."""
    return np.asarray(np.unique(x, return_inverse=True)[1]).reshape(-1).astype(np.int64)


def _log_choose(n: int, k: int) -> float:
    from scipy.special import gammaln

    return float(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))


def _rule(value: FloatArray, says: BoolArray, changes: IntArray) -> str:
    cuts = []
    for at in changes:
        low, high = value[at], value[at + 1]
        if np.isnan(high):
            return f"label == (x is {'missing' if says[-1] else 'known'})"
        # a round number between the two where 0 is one
        cuts.append(float(low) if low == 0 else float(low + high) / 2)
    if len(cuts) == 1:
        return f"label == (x {'>' if says[-1] else '<='} {cuts[0]:g})"
    inside = f"{cuts[0]:g} < x <= {cuts[1]:g}"
    return f"label == ({inside})" if says[changes[0] + 1] else f"label == not ({inside})"
