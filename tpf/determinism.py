"""Is a label a function of a feature? Exact relations, and how unlikely each is to come by chance."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tpf.dataset import BoolArray, FloatArray

IntArray = npt.NDArray[np.int64]

BY_CHANCE = 1e-6
"""A relation counts if that many random labels, or fewer, would show it."""
BY_CHANCE_OF_PAIRS = 1e-9
"""The same, of pairs, of which a table has many."""
NEAR = 0.04
"""Share of either class that a near relation may get wrong; two classes whose means are 3.5 standard deviations apart
would have it, which no timing of a fair hash comes near."""
NEIGHBOURS = 5
"""Rows on either side of a row, in the order of a feature, that tell its label where the feature does."""
MOST_STEPS = 20
"""Changes of the label along a feature up to which the feature gives it; more where the label changes often in time."""
MOST_REPEATED = 0.5
"""Share of the rows whose value stands in another row as well, from which on equal values may be a rule; of fewer, some
rows are copies."""
SHORT_RUN = 2
"""Rows of a short run along a feature. Where two classes merely overlap, three of four runs are short ..."""
SHORT_RUNS = 0.1
"""... and where the feature gives the label, hardly any."""


@dataclass(frozen=True)
class Relation:
    """A rule that gives the label from one number.

    Attributes:
        kind: ``threshold``, ``interval``, ``steps`` (more changes along the feature), ``one_to_one`` (equal
            values, equal labels), ``near_threshold``, ``near_one_to_one`` or ``near_steps``.
        text: the rule, ``x`` standing for the feature.
        agree: bool, shape (n,): rows that follow it.
    """

    kind: str
    text: str
    agree: BoolArray

    @property
    def exact(self) -> bool:
        """Whether every row follows it."""
        return not self.kind.startswith("near")

    def told(self, name: str) -> str:
        """The rule with the feature's name in it."""
        return re.sub(r"\bx\b", lambda _: name, self.text)


def relation(
    x: FloatArray, y: BoolArray, by_chance: float = BY_CHANCE, *, neighbours: bool = True
) -> Relation | None:
    """The simplest rule by which x gives y, or None.

    Args:
        x: shape (n,); nan is a value like others.
        y: shape (n,), of both classes, in the order of time.
        by_chance: share of random labels that may show an exact rule.
        neighbours: whether to look for a near rule of many steps as well.
    """
    codes = codes_of(x)
    order = np.argsort(codes, kind="stable")
    code, label = codes[order], y[order]
    starts = np.flatnonzero(np.r_[True, code[1:] != code[:-1]])
    sizes = np.diff(np.r_[starts, code.size])
    hits = np.add.reduceat(label.astype(np.int64), starts)
    pure = bool(np.all((hits == 0) | (hits == sizes)))
    if not pure:
        return _near(x, y, neighbours)
    value, says = x[order][starts], hits > 0
    changes = np.flatnonzero(says[1:] != says[:-1])
    p = float(y.mean())
    # a slow drift has few changes because time has: there, many are no rule of the feature
    if changes.size <= 2 or (
        changes.size <= max(MOST_STEPS, int(np.count_nonzero(y[1:] != y[:-1])) // 4)
        and float((np.add.reduceat(sizes, np.r_[0, changes + 1]) <= SHORT_RUN).mean()) <= SHORT_RUNS
    ):
        # so few changes along x: at most that many of all the ways to place the labels
        ways = -_log_choose(y.size, int(y.sum())) + _log_ways(starts.size, changes.size)
        if ways < np.log(by_chance):
            return Relation(
                ("threshold", "interval")[changes.size - 1] if changes.size <= 2 else "steps",
                _rule(value, says, changes)
                if changes.size <= 2
                else f"it changes {changes.size} times along x, and nowhere else",
                np.ones(y.size, bool),
            )
    repeated = sizes[sizes > 1]
    if repeated.sum() >= MOST_REPEATED * y.size and float(
        np.log(p**repeated + (1 - p) ** repeated).sum()
    ) < np.log(by_chance):
        return Relation("one_to_one", "equal values of x always have equal labels", np.ones(y.size, bool))
    return _near(x, y, neighbours)


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
        found = relation(
            np.where(np.isfinite(values), values, np.nan), y, BY_CHANCE_OF_PAIRS, neighbours=False
        )
        if found is not None and found.kind in ("threshold", "interval", "near_threshold"):
            almost = "" if found.exact else f", in {found.agree.mean():.2%} of the rows"
            return found.text.replace("x", f"({name})") + almost
    a, b = codes_of(first), codes_of(second)
    found = relation((a * (b.max() + 1) + b).astype(np.float64), y, BY_CHANCE_OF_PAIRS, neighbours=False)
    if found is not None and found.kind in ("one_to_one", "near_one_to_one"):
        return (
            f"equal pairs of {{a}} and {{b}} {'always' if found.exact else 'almost always'} have equal labels"
        )
    return None


def constant_in_a_class(x: FloatArray, y: BoolArray) -> tuple[bool, float, float] | None:
    """The class in which x never varies, its value there, and the chance of that; None where x varies in both.

    Chance: that all rows with another value have the other label.
    """
    codes = codes_of(x)
    for label in (False, True):
        own = codes[y == label]
        if own.size and own.min() == own.max() and np.any(codes != own[0]):
            others = int((codes != own[0]).sum())
            rate = float((y != label).mean())
            return label, float(x[y == label][0]), rate**others
    return None


def persistence_error(y: BoolArray) -> float:
    """Share of a class, the larger one, that the label of the row before gets wrong: little in long runs."""
    if y.size < 2:
        return 1.0
    return max(
        float((y[:-1][y[1:] == label] != label).mean()) if (y[1:] == label).any() else 1.0
        for label in (False, True)
    )


def _near(x: FloatArray, y: BoolArray, neighbours: bool) -> Relation | None:
    """A rule that errs in hardly any row of either class: far fewer than the label of the row before would."""
    limit = min(NEAR, persistence_error(y) / 2)
    if min(int(y.sum()), int((~y).sum())) < 1 / NEAR:
        return None
    found = _near_threshold(x, y, limit) or _near_one_to_one(x, y, limit)
    return found or (_near_steps(x, y, limit) if neighbours else None)


def too_few(y: BoolArray) -> bool:
    """Whether labels are so few, or so alike, that any rule could give them by chance."""
    return _log_choose(y.size, int(y.sum())) - float(np.log(2.0)) < -float(np.log(BY_CHANCE))


def class_error(said: BoolArray, y: BoolArray) -> float:
    """Share of wrong predictions in the class where it is larger."""
    return max(float((said[y == label] != label).mean()) for label in (False, True))


def _near_threshold(x: FloatArray, y: BoolArray, limit: float) -> Relation | None:
    known = ~np.isnan(x)
    order = np.argsort(x[known], kind="stable")
    value, label = x[known][order], y[known][order]
    ends = np.flatnonzero(np.r_[value[1:] != value[:-1], False])
    n1, n0 = int(y.sum()), int((~y).sum())
    if not ends.size:
        return None
    ones = np.cumsum(label)[ends]
    zeros = ends + 1 - ones
    total1, total0 = int(label.sum()), int((~label).sum())
    # rows above the cut are called 1, or, the other way round, 0; what is not known is wrong
    above = np.maximum((n1 - (total1 - ones)) / n1, (n0 - zeros) / n0)
    below = np.maximum((n1 - ones) / n1, (n0 - (total0 - zeros)) / n0)
    errors = np.minimum(above, below)
    best = int(errors.argmin())
    if errors[best] > limit:
        return None
    cut = float(value[ends[best]] + value[ends[best] + 1]) / 2
    up = above[best] <= below[best]
    agree = ((x > cut) == up) == y
    sign = ">" if up else "<="
    return Relation("near_threshold", f"label == (x {sign} {cut:g})", np.asarray(agree & known))


def _near_one_to_one(x: FloatArray, y: BoolArray, limit: float) -> Relation | None:
    """Each row's label as most of the other rows with the same value have it."""
    codes = codes_of(x)
    counts = np.bincount(codes)
    if counts.size > y.size / 4:
        return None
    others = counts[codes] - 1
    said = 2 * (np.bincount(codes, y)[codes] - y) > others
    if class_error(said & (others > 0), y) > limit:
        return None
    return Relation("near_one_to_one", "equal values of x almost always have equal labels", said == y)


def _near_steps(x: FloatArray, y: BoolArray, limit: float) -> Relation | None:
    """Each row's label as most of the rows beside it have it, in the order of x."""
    known = ~np.isnan(x)
    n = int(known.sum())
    if n < 4 * NEIGHBOURS or known.mean() < 1 - limit or np.unique(x).size < 4 * NEIGHBOURS:
        return None
    # equal values in an order that has nothing to do with time
    order = np.flatnonzero(known)[np.lexsort((np.random.default_rng(0).random(n), x[known]))]
    label = y[order].astype(np.int64)
    total = np.concatenate([[0], np.cumsum(label)])
    at = np.arange(n)
    low, high = np.maximum(at - NEIGHBOURS, 0), np.minimum(at + NEIGHBOURS + 1, n)
    said = np.zeros(y.size, bool)
    said[order] = 2 * (total[high] - total[low] - label) > high - low - 1
    if class_error(said, y) > limit or _drifts(x, order):
        return None
    return Relation(
        "near_steps",
        "rows that lie side by side along x almost always have equal labels",
        (said == y) & known,
    )


def _drifts(x: FloatArray, order: IntArray) -> bool:
    """Whether neighbours along x are neighbours in time as well: then labels that come in runs tell nothing of x."""
    return float(np.median(np.abs(np.diff(order)))) < 0.05 * x.size


def codes_of(x: FloatArray) -> IntArray:
    """Equal numbers for equal values, ascending; nan is the last."""
    return np.asarray(np.unique(x, return_inverse=True)[1]).reshape(-1).astype(np.int64)


def _log_ways(values: int, changes: int) -> float:
    """Logarithm of the ways to put so many changes between so many values, and to begin with either label."""
    return _log_choose(max(values - 1, changes), changes) + float(np.log(2.0))


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
