"""The leak audit: which features hold the label, why a perfect score is then worth nothing, and what an honest one is.

A feature is refused for where it comes from (its provenance, or a name that says as much) or for what it does (it gives
the label by an exact rule). A feature of a run that was measured without the hash may give the label: that would be a
discovery, and :mod:`tpf.report` is there to confirm it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from tpf.dataset import Dataset, Feature, FloatArray, previous_rows
from tpf.determinism import constant_in_a_class, joint, relation
from tpf.splits import expanding_splits

IntArray = npt.NDArray[np.int64]

MOST_ROWS = 1000
"""Rows that a leak lists."""
MOST_PAIRED = 24
"""Columns up to which pairs are looked at."""
PAIR_ROWS = 5000
"""Rows that a pair is looked at in, evenly spread."""
SAME_WINDOW = 0.01
"""Chance below which a feature that varies in one class only shares the window of a feature that gives the label."""
FOLDS = 5
LONGEST_ROLL = 32

FROM_HASH = re.compile(
    r"difficulty|(^|_)(diff|(block_?)?hash(?!_?rate)|digest|leading_?zeros|zero_?bits)($|_)", re.I
)
"""Column names that say that the hash went in; a hash rate does not."""
OF_WINDOW = re.compile(r"window_?shares|share_?count|shares_?(in|per)_?window|(^|_)n_?shares$", re.I)
"""Column names of a count of the shares of the row's own window, which is what the label asks about."""
OUTCOME = re.compile(r"^(label|target|success|is_?winner|winner|won|accepted|verdict)$", re.I)
"""Column names of the outcome itself."""


@dataclass(frozen=True)
class Leak:
    """One reason why a score on this table is false.

    Attributes:
        feature: name of the column, or of two.
        kind: ``determines_label``, ``nearly_determines_label``, ``pair_determines_label``, ``same_window``,
            ``computed_from_hash``, ``outcome``, ``computed_from_label``, ``from_later_rows`` or ``duplicates``.
        rows: numbers of the rows that show it, in the source's own counting; at most :data:`MOST_ROWS`.
        n_rows: how many rows show it.
        text: why, in words.
    """

    feature: str
    kind: str
    rows: tuple[int, ...] = field(repr=False)
    n_rows: int
    text: str

    def to_json(self) -> dict[str, Any]:
        """Plain dict."""
        return {
            "feature": self.feature,
            "kind": self.kind,
            "rows": list(self.rows),
            "n_rows": self.n_rows,
            "text": self.text,
        }


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        leaks: every leak.
        single_class: whether all labels are equal: refused.
        base_rate: accuracy of the best constant predictor.
        honest_score: accuracy of a logistic regression that predicts each row from earlier rows alone, leaking features
            replaced by what they were in the row before; None where nothing can be learned.
        n: rows.
        positives: rows with success.
        provenance: where each feature comes from.
        name: of the table.
        label: what is predicted.
    """

    leaks: tuple[Leak, ...]
    single_class: bool
    base_rate: float
    honest_score: float | None
    n: int
    positives: int
    provenance: tuple[Feature, ...]
    name: str
    label: str

    @property
    def passed(self) -> bool:
        """Whether a score on this table means anything."""
        return not self.leaks and not self.single_class

    @property
    def leaking(self) -> tuple[str, ...]:
        """Names of the leaking columns."""
        named = {name for leak in self.leaks for name in leak.feature.split(" & ")}
        return tuple(feature.name for feature in self.provenance if feature.name in named)

    @property
    def text(self) -> str:
        """What it comes to, in words."""
        if self.single_class:
            which = "a success" if self.positives else "no success"
            return (
                f"refused: a single class. Every one of the {self.n} rows is {which} ({self.label}); a classifier "
                "learns to say so always, and its 100 % is the base rate"
            )
        if not self.leaks:
            return f"no leak found in {len(self.provenance)} features of {self.n} rows"
        honest = "" if self.honest_score is None else f"; honest score {self.honest_score:.2%}"
        return (
            f"a score on these features is false: {len(self.leaks)} leak{'s' if len(self.leaks) > 1 else ''} "
            f"({', '.join(dict.fromkeys(leak.feature for leak in self.leaks))}){honest}, base rate {self.base_rate:.2%}"
        )

    def to_json(self) -> dict[str, Any]:
        """Every field, as plain data."""
        return {
            "leaks": [leak.to_json() for leak in self.leaks],
            "single_class": self.single_class,
            "base_rate": self.base_rate,
            "honest_score": self.honest_score,
            "n": self.n,
            "positives": self.positives,
            "label": self.label,
            "name": self.name,
            "text": self.text,
            "features": [feature.to_json() for feature in self.provenance],
        }


def audit(dataset: Dataset, *, score: bool = True) -> Audit:
    """Look for leaks.

    Args:
        dataset: any table; of single class it is refused.
        score: whether to compute the honest score as well.
    """
    leaks: list[Leak] = [*_by_origin(dataset), *_duplicates(dataset)]
    if not dataset.single_class:
        leaks += _by_rule(dataset, {leak.feature for leak in leaks})
    found = Audit(
        leaks=tuple(leaks),
        single_class=dataset.single_class,
        base_rate=dataset.base_rate,
        honest_score=None,
        n=dataset.n,
        positives=dataset.positives,
        provenance=dataset.features,
        name=dataset.name,
        label=dataset.label,
    )
    if dataset.single_class or not score:
        return found
    return replace(found, honest_score=honest_score(without_leaks(dataset, found)))


def without_leaks(dataset: Dataset, found: Audit) -> Dataset:
    """The same rows, each leaking feature replaced by its value in the row before; duplicates of earlier rows go."""
    leaking = set(found.leaking)
    X = dataset.X.copy()
    features: list[Feature] = []
    for i, feature in enumerate(dataset.features):
        if feature.name not in leaking:
            features.append(feature)
            continue
        # a feature of later rows has to go back as far as it looked ahead, and one row more
        lag = max(1, feature.last + 1)
        X[:, i] = previous_rows(dataset.X[:, i], lag)
        text = f"{feature.name} of the row {lag} before"
        features.append(Feature(f"previous_{feature.name}", "past", -lag, -lag, text))
    honest = replace(dataset, X=X, features=tuple(features))
    # how far a column of a file reaches is not known: it cannot be moved back far enough
    future = {
        f"previous_{feature.name}"
        for feature in dataset.features
        for leak in found.leaks
        if leak.feature == feature.name
        and (leak.kind == "computed_from_label" or (leak.kind == "from_later_rows" and feature.last <= 0))
    }
    if future:
        honest = honest.only([feature.name for feature in features if feature.name not in future])
    if any(leak.kind == "duplicates" for leak in found.leaks):
        honest = honest.rows(np.sort(np.unique(_identity(dataset), return_index=True)[1]))
    return honest.varying()


def honest_score(dataset: Dataset) -> float:
    """Accuracy over all rows where each is predicted from earlier rows alone, a gap kept.

    Blocks are predicted one after the other by a logistic regression of everything before; while there is too little to
    learn from, by the majority of what came before, and in doubt by "no success".
    """
    from tpf.statistics.classifiers import logistic

    said = np.zeros(dataset.n, bool)
    folds = min(FOLDS, dataset.n // (dataset.gap + 2) - 1)
    splits = list(expanding_splits(dataset.n, folds=folds, gap=dataset.gap)) if folds >= 2 else []
    first = int(splits[0].test[0]) if splits else dataset.n
    seen = np.concatenate([[0], np.cumsum(dataset.y)[:-1]])
    said[:first] = (2 * seen > np.arange(dataset.n))[:first]
    for split in splits:
        train = dataset.y[split.train]
        if dataset.X.shape[1] == 0 or min(train.sum(), (~train).sum()) < 2:
            said[split.test] = 2 * int(train.sum()) > train.size
        else:
            said[split.test] = logistic().fit(dataset.X[split.train], train).predict(dataset.X[split.test])
    return float((said == dataset.y).mean())


# ---- by origin -------------------------------------------------------------------------------------------------------


def _by_origin(dataset: Dataset) -> list[Leak]:
    leaks = []
    for i, feature in enumerate(dataset.features):
        found = _origin(feature)
        if found is not None:
            kind, why = found
            leaks.append(_leak(dataset, feature.name, kind, ~np.isnan(dataset.X[:, i]), why))
    return leaks


def _origin(feature: Feature) -> tuple[str, str] | None:
    name = feature.name
    if feature.kind == "hash":
        return "computed_from_hash", f"{name} is computed from the hash that decides the label"
    if feature.last > 0:
        return "from_later_rows", f"{name} looks {feature.last} rows ahead, which no filter can"
    if feature.kind != "column":
        return None
    if FROM_HASH.search(name):
        return (
            "computed_from_hash",
            f"by its name {name} is computed from the hash of the row, which decides the label",
        )
    if OUTCOME.match(name):
        return "outcome", f"by its name {name} is the outcome itself"
    if OF_WINDOW.search(name):
        return (
            "same_window",
            f"by its name {name} counts the shares of the window whose success the label asks about: it overlaps the "
            "label in time",
        )
    return None


# ---- by what it does -------------------------------------------------------------------------------------------------


def _by_rule(dataset: Dataset, named: set[str]) -> list[Leak]:
    """Rules that give the label, of columns of which nobody says how they were made."""
    leaks: list[Leak] = []
    columns = [i for i, feature in enumerate(dataset.features) if feature.kind == "column"]
    given: set[int] = set()
    y = dataset.y
    for i in columns:
        name = dataset.names[i]
        rule = relation(dataset.X[:, i], y)
        if rule is not None:
            given.add(i)
            near = rule.kind == "near_threshold"
            leaks.append(
                _leak(
                    dataset,
                    name,
                    "nearly_determines_label" if near else "determines_label",
                    rule.agree,
                    f"{name} {'all but ' if near else ''}gives the label: {rule.text.replace('x', name, 1)} in "
                    f"{int(rule.agree.sum())} of {dataset.n} rows. Whoever sees it sees the label: a tree of depth 1 "
                    f"scores {rule.agree.mean():.2%}, and a score near that says nothing of the past or of the device",
                )
            )
        elif (rolled := _rolled(dataset.X[:, i], y)) is not None:
            given.add(i)
            every = np.ones(dataset.n, bool)
            leaks.append(_leak(dataset, name, "computed_from_label", every, f"{name} is {rolled}"))
    leaks += _same_window(dataset, [i for i in columns if i not in given], bool(given))
    leaks += _shifted(dataset, columns)
    done = {leak.feature for leak in leaks} | named
    leaks += _pairs(dataset, [i for i in columns if dataset.names[i] not in done])
    return leaks


def _same_window(dataset: Dataset, columns: list[int], anything_given: bool) -> list[Leak]:
    """Features that never vary in one class: they are of the same window as the label."""
    leaks = []
    for i in columns:
        found = constant_in_a_class(dataset.X[:, i], dataset.y)
        limit = SAME_WINDOW if anything_given else 1e-6
        if found is None or found[2] > limit:
            continue
        label, value, chance = found
        name = dataset.names[i]
        other = dataset.X[:, i] != value
        text = (
            f"{name} is {value:g} in every row whose label is {int(label)}, and anything else only where it is "
            f"{int(not label)} ({int(other.sum())} rows, by chance {chance:.1g}): it was measured in the window whose "
            "success the label asks about, and overlaps it in time"
        )
        leaks.append(_leak(dataset, name, "same_window", other, text))
    return leaks


def _rolled(x: FloatArray, y: npt.NDArray[np.bool_]) -> str | None:
    """Whether x is a sum or mean of labels over a window that has the row's own or later ones in it."""
    if np.isnan(x).mean() > 0.2 or np.nanstd(x) == 0 or y.size < 4 * LONGEST_ROLL:
        return None
    total = np.concatenate([[0.0], np.cumsum(y.astype(np.float64))])
    n = y.size
    for width in range(2, LONGEST_ROLL + 1):
        sums = total[width:] - total[:-width]  # of rows j .. j + width - 1
        for name, start in (
            ("the rows up to this one", width - 1),
            ("rows around this one", width // 2),
            ("this row and later ones", 0),
        ):
            own = x[start : start + n - width + 1]
            known = ~np.isnan(own)
            for what, values in (("sum", sums), ("mean", sums / width)):
                if np.std(values) > 0 and np.allclose(own[known], values[known], rtol=1e-6, atol=1e-9):
                    return f"the {what} of {width} labels, {name}: the label is in it"
    return None


def _shifted(dataset: Dataset, columns: list[int]) -> list[Leak]:
    """Columns that repeat another one from later rows."""
    leaks = []
    for i in columns:
        for j in columns:
            for ahead in (1, 2, 3):
                if i == j or dataset.n < 50:
                    continue
                early, late = dataset.X[:-ahead, i], dataset.X[ahead:, j]
                known = ~np.isnan(early) & ~np.isnan(late)
                # only what is hardly ever repeated by chance can be recognised
                if known.sum() < 0.8 * dataset.n or not np.array_equal(early[known], late[known]):
                    continue
                if np.unique(early[known]).size < 0.5 * known.sum() or np.all(np.diff(early[known]) == 1):
                    continue
                rows = np.r_[known, np.zeros(ahead, bool)]
                a, b = dataset.names[i], dataset.names[j]
                text = f"{a} is what {b} will be {ahead} row{'s' if ahead > 1 else ''} later"
                leaks.append(_leak(dataset, a, "from_later_rows", rows, text))
    return leaks


def _pairs(dataset: Dataset, columns: list[int]) -> list[Leak]:
    """Two features that give the label together."""
    leaks = []
    step = max(1, dataset.n // PAIR_ROWS)
    X, y = dataset.X[::step], dataset.y[::step]
    if len(columns) > MOST_PAIRED or y.all() or not y.any():
        return []
    for i, j in combinations(columns, 2):
        rule = joint(X[:, i], X[:, j], y)
        if rule is not None:
            a, b = dataset.names[i], dataset.names[j]
            text = f"{a} and {b} together give the label: {rule.format(a=a, b=b)}"
            every = np.ones(dataset.n, bool)
            leaks.append(_leak(dataset, f"{a} & {b}", "pair_determines_label", every, text))
    return leaks


# ---- duplicates ------------------------------------------------------------------------------------------------------


def _identity(dataset: Dataset) -> IntArray:
    """A number per row, equal where two rows are the same."""
    if _telling(dataset):
        table = np.column_stack([np.where(np.isnan(dataset.X), np.inf, dataset.X) + 0.0, dataset.y])
        mixed = np.zeros(dataset.n, np.uint64)
        for column in table.T:  # 64 bits: two of a million different rows look alike once in 4e7 tables
            mixed = (mixed ^ np.ascontiguousarray(column).view(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
            mixed ^= mixed >> np.uint64(29)
        return mixed.view(np.int64)
    return dataset.key


def _telling(dataset: Dataset) -> bool:
    """Whether rows with equal numbers must be copies: some column hardly ever repeats by chance."""
    return any(
        np.unique(column[~np.isnan(column)]).size > 0.5 * dataset.n for column in dataset.X.T if column.size
    )


def _duplicates(dataset: Dataset) -> list[Leak]:
    """Rows that stand on both sides of a split in the middle."""
    identity = _identity(dataset)
    if identity.size == 0 or dataset.n < 4:
        return []
    order = np.argsort(identity, kind="stable")
    value = identity[order]
    start = np.flatnonzero(np.r_[True, value[1:] != value[:-1]])
    stop = np.r_[start[1:], dataset.n]
    middle = dataset.n // 2
    crossing = (order[start] < middle) & (order[stop - 1] >= middle)
    if not crossing.any():
        return []
    both = np.zeros(dataset.n, bool)
    both[order] = np.repeat(crossing, stop - start)
    text = f"{int(both.sum())} rows stand in the first half and again in the second: a classifier knows them by heart"
    return [_leak(dataset, "row", "duplicates", both, text)]


def _leak(
    dataset: Dataset, feature: str, kind: str, rows: npt.NDArray[np.bool_] | Sequence[bool], text: str
) -> Leak:
    numbers = dataset.row[np.asarray(rows)]
    return Leak(feature, kind, tuple(int(n) for n in numbers[:MOST_ROWS]), int(numbers.size), text)
