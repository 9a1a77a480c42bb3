"""Was a column made with labels that it should not know, or with later rows? Exact relations in the order of time.

A trailing mean that has the row's own label in it, a cumulative count, a centred window, a value of the next row, the
mean label of a group (target encoding): each is a recipe, and a recipe leaves relations that hold in every row.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tpf.dataset import BoolArray, FloatArray, IntArray
from tpf.determinism import BY_CHANCE, codes_of, persistence_error, relation

FURTHEST_COPY = 10
"""Rows ahead up to which a copy of the label is looked for."""
FURTHEST_WINDOW = 200
"""Rows ahead up to which the end of a window of labels is looked for."""
MOST_CHANGES = 20_000
"""Rows that such a search looks at, from the beginning."""
FEWEST_CHANGES = 60
"""Changes of a column that have to agree with the labels."""
MAY_DISAGREE = 0.01
LAGS, LEADS, OWN_LAGS = 10, 10, 3
FEW_ROWS = 120
FIT_ROWS = 1500
"""Rows that one column is computed from another one in."""
EXACT, INEXACT = 2e-3, 2e-2
"""Largest error, over the deviation of a column, of a recipe that gives it; least error of one that does not."""

SAYS_LATER = re.compile(r"(^|_)(next|future|ahead|upcoming|until)(?=_|\d|$)", re.I)
SAYS_EARLIER = re.compile(r"(^|_)(prev|previous|past|last|lag|lagged|before|earlier)(?=_|\d|$)", re.I)


@dataclass(frozen=True)
class Ahead:
    """What a column was made of: ``kind`` as of a leak, and ``text`` with ``{x}`` for the column."""

    kind: str
    text: str


# ---- labels ----------------------------------------------------------------------------------------------------------


def made_of_labels(x: FloatArray, y: BoolArray) -> Ahead | None:
    """How a column was made of the row's own label, of those beside it or of later ones; None where it was not.

    Args:
        x: shape (n,), in the order of time; it does not give the label of its own row by itself.
        y: shape (n,), of both classes.
    """
    x, y = x[:MOST_CHANGES], y[:MOST_CHANGES]
    if y.size < 2 * FURTHEST_COPY or np.unique(x[~np.isnan(x)]).size < 2:
        return None
    for ahead in range(1, FURTHEST_COPY + 1):
        later = y[ahead:]
        if (
            later.any()
            and not later.all()
            and (rule := relation(x[:-ahead], later)) is not None
            and rule.exact
        ):
            return Ahead(
                "from_later_rows", f"{{x}} gives the label of {ahead} row{'s' if ahead > 1 else ''} later"
            )
    return _window_of_labels(x, y)


def made_of_labels_of_group(x: FloatArray, y: BoolArray, group: FloatArray) -> bool:
    """Whether x counts the labels of the rows with the same group so far, the row's own among them."""
    order = np.argsort(group[:MOST_CHANGES], kind="stable")
    inside = np.r_[False, group[order][1:] == group[order][:-1]]
    return _window_of_labels(x[order], y[order], inside, furthest=0) is not None


def _window_of_labels(
    x: FloatArray, y: BoolArray, inside: BoolArray | None = None, furthest: int = FURTHEST_WINDOW
) -> Ahead | None:
    """A count or mean of labels over a window, however long: the label that enters it is the sign of its change.

    Args:
        x: shape (n,).
        y: shape (n,).
        inside: whether the row before is of the same series; None: always.
        furthest: rows ahead up to which the end of the window is looked for.
    """
    change = np.diff(x, prepend=np.nan)
    if inside is not None:
        change[~inside] = np.nan
    n = y.size
    spread = float(np.nanstd(x))
    if not spread > 0:
        return None
    allowed = min(MAY_DISAGREE, persistence_error(y) / 4)
    for ahead in range(min(furthest, n // 4) + 1):
        own, label = change[: n - ahead], y[ahead:]
        known = ~np.isnan(own)
        up, down = known & (own > 1e-9 * spread), known & (own < -1e-9 * spread)
        for one, other, first in ((up, down, 1), (down, up, 0)):
            if one.sum() + other.sum() < max(FEWEST_CHANGES, 0.02 * n):
                continue
            # at a change upwards a success has come in, at one downwards a failure (or the other way round)
            right = label[one] == bool(first), label[other] != bool(first)
            flipped = first == 0
            agrees = _agrees(right, label, allowed)
            still = known & ~up & ~down
            counts = not other.any() and still.any() and float(label[still].mean()) <= allowed
            if agrees and (min(one.sum(), other.sum()) >= 20 or counts):
                return _window_text(ahead, flipped)
    return None


def _agrees(right: tuple[BoolArray, BoolArray], label: BoolArray, allowed: float) -> bool:
    wrong = sum(int((~part).sum()) for part in right)
    total = sum(part.size for part in right)
    if total == 0 or wrong > allowed * total:
        return False
    p = float(label.mean())
    # that so many labels agree by chance
    return (total - wrong) * float(np.log(max(p, 1 - p))) < np.log(BY_CHANCE) or wrong == 0


def _window_text(ahead: int, flipped: bool) -> Ahead:
    what = "failures" if flipped else "successes"
    if ahead == 0:
        return Ahead(
            "computed_from_label",
            f"{{x}} counts {what} over a window that ends with the row itself: its change from the row before tells "
            "the label",
        )
    return Ahead(
        "computed_from_label",
        f"{{x}} counts {what} over a window that ends {ahead} row{'s' if ahead > 1 else ''} later, with the row's own "
        "and later labels in it",
    )


# ---- means of groups -------------------------------------------------------------------------------------------------


def encodes_labels(x: FloatArray, y: BoolArray, group: FloatArray | None = None) -> bool:
    """Whether x is the mean label of a group of rows, plain or smoothed towards the whole (target encoding).

    Args:
        x: shape (n,).
        y: shape (n,).
        group: code of the group of each row, in which x has to be constant; None: equal values of x are a group.
    """
    known = ~np.isnan(x)
    codes = codes_of(x[known]) if group is None else codes_of(group[known])
    counts = np.bincount(codes).astype(np.float64)
    value = np.bincount(codes, x[known]) / counts
    groups = counts.size
    if groups < 5 or known.mean() < 0.9 or groups > 0.5 * codes.size:
        return False
    if group is not None and np.abs(x[known] - value[codes]).max() > 1e-9 * max(float(np.ptp(value)), 1e-300):
        return False
    if np.ptp(value) == 0:
        return False
    wins: FloatArray = np.bincount(codes, y[known].astype(np.float64)).astype(np.float64)
    unit = _rounding(value)
    if _means(value, wins, counts, unit):
        return True
    # count, mean or smoothed mean, in whatever unit: a straight line through more groups than chance could put there
    for target, design in (
        (value, np.column_stack([np.ones(groups), wins / counts])),
        (value, np.column_stack([np.ones(groups), wins])),
        (value * counts - wins, np.column_stack([np.ones(groups), value])),
    ):
        if np.unique(wins / counts).size < 4 or (group is None and np.unique(design[:, 1]).size < 4):
            continue
        slope = np.linalg.lstsq(design, target, rcond=None)[0]
        scale = float(np.std(target))
        if scale > 0 and np.abs(target - design @ slope).max() < 1e-6 * scale and slope[1] != 0:
            return True
    return group is None and _shrunken(value, wins, counts, float(y[known].mean()))


def _shrunken(value: FloatArray, wins: FloatArray, counts: FloatArray, rate: float) -> bool:
    """Whether the values are means of groups pulled towards the whole, groups with equal means having fallen together.

    (wins + a rate) / (rows + a) of a group: rows (value - mean) / (rate - value) is the weight a, times the number of
    groups that share the value.
    """
    told = np.abs(rate - value) > 1e-6
    weight = counts[told] * (value[told] - wins[told] / counts[told]) / (rate - value[told])
    if weight.size < 8 or weight.min() < 0.1:
        return False
    times = weight / weight.min()
    return bool((np.abs(times - np.round(times)) < 1e-4).mean() > 0.95 and np.unique(wins / counts).size >= 8)


def _means(value: FloatArray, wins: FloatArray, counts: FloatArray, unit: float) -> bool:
    """Each value is the share of successes of its rows, as far as it was rounded, and chance would not have it so."""
    rate = wins / counts
    if np.abs(value - rate).max() > 0.5 * unit + 1e-9:
        return False
    p = float(wins.sum() / counts.sum())
    # chance that a rate comes to lie within the rounding of a number near it: one of the values that it can take
    spread = np.sqrt(p * (1 - p) / counts) * np.sqrt(2 * np.pi)
    chance = np.minimum(1.0, (unit + 1 / counts) / np.maximum(spread, 1e-300))
    return bool(np.log(chance).sum() < np.log(BY_CHANCE))


def _rounding(values: FloatArray) -> float:
    """Unit of the last digit, where all values are written with few digits; 0 where they are not."""
    for digits in range(1, 7):
        if np.allclose(values, np.round(values, digits), rtol=0, atol=1e-12):
            return float(10.0**-digits)
    return 0.0


# ---- other columns ---------------------------------------------------------------------------------------------------


def from_later_rows(X: FloatArray, names: Sequence[str]) -> dict[int, str]:
    """Columns that another one's later rows give exactly and no column's earlier ones do: column to the words.

    A column that is another one, moved, might be either of two: the later one of an old, or the earlier one of a new.
    Names decide, then which of them has no value at its end, then the order of the columns: what was made stands behind
    what it was made of.
    """
    pairs = ((i, j) for i in range(X.shape[1]) for j in range(X.shape[1]) if i != j)
    found = {(i, j): text for i, j in pairs if (text := _later(X, i, j, names)) is not None}
    ahead = {i for i, _ in found}
    return {
        i: text
        for (i, j), text in reversed(found.items())
        if not any(_explained(X, i, j, k) for k in range(X.shape[1]) if k not in ahead and k != j)
    }


def _past(x: FloatArray, z: FloatArray, rows: IntArray) -> list[FloatArray]:
    """What x was in the rows before, and z in these and its own."""
    return [*(x[rows - lag] for lag in range(1, OWN_LAGS + 1)), *(z[rows - lag] for lag in range(LAGS + 1))]


def _rows_of(n: int) -> IntArray:
    return np.arange(LAGS, min(n, FIT_ROWS + LAGS + LEADS) - LEADS)


def _later(X: FloatArray, i: int, j: int, names: Sequence[str]) -> str | None:
    x, z = _from_zero(X[:, i]), _from_zero(X[:, j])
    rows = _rows_of(x.size)
    if rows.size < 100:
        return None
    past = np.column_stack([np.ones(rows.size), *_past(x, z, rows)])
    future = np.column_stack([z[rows + lead] for lead in range(1, LEADS + 1)])
    known = ~np.isnan(np.column_stack([x[rows], past, future])).any(axis=1)
    if known.sum() < max(100, 0.5 * rows.size):
        return None
    target, past, future = x[rows][known], past[known], future[known]
    scale = float(target.std())
    if scale == 0:
        return None
    # what holds in every row holds in a few, and most pairs go no further
    for part in (slice(None, None, max(1, target.size // FEW_ROWS)), slice(None)):
        if _misses(np.column_stack([past, future])[part], target[part]) > EXACT * scale:
            return None
    if _misses(past, target) < INEXACT * scale:
        return None
    own, other = names[i], names[j]
    for lead in range(1, LEADS + 1):
        line = np.column_stack([np.ones(target.size), future[:, lead - 1]])
        if _misses(line, target) <= EXACT * scale:
            if not _is_lead(X[:, i], X[:, j], lead, own, other, after=i > j):
                return None
            return f"{own} is what {other} will be {lead} row{'s' if lead > 1 else ''} later"
    return f"{own} is computed from {other} of later rows: {LEADS} of them give it, the earlier ones do not"


def _explained(X: FloatArray, i: int, j: int, k: int) -> bool:
    """Whether the past of columns j and k gives column i, so that nothing of later rows went in."""
    rows = _rows_of(X.shape[0])
    x = X[:, i]
    past = np.column_stack(
        [np.ones(rows.size), *_past(x, X[:, j], rows), *_past(x, X[:, k], rows)[OWN_LAGS:]]
    )
    known = ~np.isnan(np.column_stack([x[rows], past])).any(axis=1)
    if known.sum() < 100:
        return False
    return _misses(past[known], x[rows][known]) < INEXACT * float(x[rows][known].std())


def _from_zero(x: FloatArray) -> FloatArray:
    """Less the first known value: times since 1970 are too large for differences."""
    known = x[~np.isnan(x)]
    return x - known[0] if known.size else x


def _misses(design: FloatArray, target: FloatArray) -> float:
    """Largest error of the straight line through all."""
    size = np.abs(design).max(axis=0)
    scaled = design / np.where(size > 0, size, 1.0)
    fitted = scaled @ np.linalg.lstsq(scaled, target, rcond=None)[0]
    return float(np.abs(target - fitted).max())


def _is_lead(x: FloatArray, z: FloatArray, lead: int, own: str, other: str, *, after: bool) -> bool:
    """Whether x was made of later rows of z, and not z of earlier rows of x."""
    if SAYS_LATER.search(own) or SAYS_EARLIER.search(other):
        return not SAYS_EARLIER.search(other)
    if SAYS_EARLIER.search(own):
        return False
    ends, begins = _filled(x[-lead:], x[-lead - 1]), _filled(z[:lead], z[lead])
    return ends if ends != begins else after


def _filled(edge: FloatArray, beside: float) -> bool:
    """Whether values at an end were put there for want of others: missing, zero, or the value beside them."""
    return bool(np.isnan(edge).all() or (edge == 0).all() or (edge == beside).all())
