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
from tpf.determinism import constant_in_a_class, joint, relation, too_few
from tpf.learned import telling_together
from tpf.lookahead import Ahead, encodes_labels, from_later_rows, made_of_labels, made_of_labels_of_group
from tpf.splits import expanding_splits

IntArray = npt.NDArray[np.int64]

MOST_ROWS = 10_000
"""Rows that a leak lists."""
MOST_PAIRED = 64
"""Columns up to which pairs are looked at, and what several give together."""
PAIR_ROWS = 2500
"""Rows that a pair is looked at in, evenly spread."""
SAME_WINDOW = 0.01
"""Chance below which a feature that varies in one class only shares the window of a feature that gives the label."""
SAME_BY_CHANCE = 1e-9
"""Chance below which equal rows of few different values count as copies."""
FOLDS = 5
FEWEST_RUNS = 20
"""Runs of equal labels up to which rows count as recorded class after class."""
OF_A_FILE = ("column", "category")
"""Kinds of features of which nobody says how they were made."""

FROM_HASH = re.compile(
    r"(?<!pool_)(?<!job_)(?<!network_)(?<!target_)(?<!set_)(?<!suggested_)(?<!asic_)difficulty"
    r"|(^|_)((share|hash|found|best|actual|block|nonce)_?diff|(?<!prev_)(?<!previous_)hash(?!_?rate)|block_?hash|digest|sha256d?|leading_?zeros"
    r"|zero_?bits)($|_)|^diff$"
)
"""Column names that say that the hash went in; a hash rate does not, nor does the difficulty that was asked for."""
OF_WINDOW = re.compile(r"window_?shares|share_?count|shares_?(in|per)_?window|(^|_)n_?shares$")
"""Column names of a count of the shares of the row's own window, which is what the label asks about."""
OUTCOME = re.compile(
    r"^(label|target|success|is_?winner|winner|won|accepted|verdict|outcome|result|is_?success)$"
)
"""Column names of the outcome itself."""
OF_LATER = re.compile(r"(^|_)(next|future|upcoming)_")
"""Column names that say that later rows went in."""


@dataclass(frozen=True)
class Leak:
    """One reason why a score on this table is false.

    Attributes:
        feature: name of the column, or of two.
        kind: ``determines_label``, ``nearly_determines_label``, ``pair_determines_label``,
            ``several_determine_label``, ``same_window``, ``computed_from_hash``, ``outcome``, ``computed_from_label``,
            ``from_later_rows``, ``recorded_apart`` or ``duplicates``.
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
        few: whether the labels are so few that a column could give them by chance.
        honest_base_rate: accuracy of the best constant predictor of the rows that the honest score is of: without
            copies; None as the score.
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
    few: bool = False
    honest_base_rate: float | None = None

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
            none = f"no leak found in {len(self.provenance)} features of {self.n} rows"
            if self.few:
                return f"{none}: so few labels that chance could give them, and no leak can be told"
            many = len(self.provenance) > MOST_PAIRED
            return f"{none}; of so many, pairs were not looked at" if many else none
        honest = "" if self.honest_score is None else f"; honest score {self.honest_score:.2%}"
        if self.honest_base_rate is not None and self.honest_base_rate != self.base_rate:
            honest += f" on rows whose base rate is {self.honest_base_rate:.2%}"
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
            "honest_base_rate": self.honest_base_rate,
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
    copies = _duplicates(dataset)
    leaks: list[Leak] = [*_by_origin(dataset), *copies]
    if not dataset.single_class:
        # copies of a row give each other's label by every column
        once = dataset.rows(_first_of_copies(dataset)) if copies else dataset
        leaks += _recorded_apart(once)
        if not once.single_class:
            leaks += _by_rule(once, {leak.feature for leak in leaks})
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
        few=not dataset.single_class and too_few(dataset.y),
    )
    if dataset.single_class or not score:
        return found
    honest = without_leaks(dataset, found)
    return replace(found, honest_score=honest_score(honest), honest_base_rate=honest.base_rate)


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
    if any(leak.kind == "recorded_apart" for leak in found.leaks):
        # the row before is of the same block: a column that tells the block still does
        future |= {f"previous_{name}" for name in leaking}
    if future:
        honest = honest.only([feature.name for feature in features if feature.name not in future])
    if any(leak.kind == "duplicates" for leak in found.leaks):
        honest = honest.rows(_first_of_copies(dataset))
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
    if feature.kind not in OF_A_FILE:
        return None
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    if FROM_HASH.search(words):
        return (
            "computed_from_hash",
            f"by its name {name} is computed from the hash of the row, which decides the label",
        )
    if OUTCOME.match(words):
        return "outcome", f"by its name {name} is the outcome itself"
    if OF_WINDOW.search(words):
        return (
            "same_window",
            f"by its name {name} counts the shares of the window whose success the label asks about: it overlaps the "
            "label in time",
        )
    if OF_LATER.search(words):
        return "from_later_rows", f"by its name {name} is of a later row, which no filter can know"
    return None


# ---- by what it does -------------------------------------------------------------------------------------------------


def _by_rule(dataset: Dataset, named: set[str]) -> list[Leak]:
    """Rules that give the label, of columns of which nobody says how they were made."""
    leaks: list[Leak] = []
    columns = [i for i, feature in enumerate(dataset.features) if feature.kind in OF_A_FILE]
    given: set[int] = set()
    y = dataset.y
    every = np.ones(dataset.n, bool)
    for i in columns:
        name = dataset.names[i]
        rule = relation(dataset.X[:, i], y)
        if rule is not None:
            given.add(i)
            near = "" if rule.exact else "nearly_"
            leaks.append(
                _leak(
                    dataset,
                    name,
                    f"{near}determines_label",
                    rule.agree,
                    f"{name} {'all but ' if near else ''}gives the label: "
                    f"{rule.told(name)} in {int(rule.agree.sum())} of {dataset.n} rows. "
                    f"Whoever sees it sees the label: that rule alone scores {rule.agree.mean():.2%}, and a score near "
                    "that says nothing of the past or of the device",
                )
            )
        elif (made := _made(dataset, i)) is not None:
            given.add(i)
            leaks.append(_leak(dataset, name, made.kind, every, made.text.replace("{x}", name)))
    rest = [i for i in columns if i not in given]
    leaks += _same_window(dataset, rest, bool(given))
    if len(columns) <= MOST_PAIRED:
        later = from_later_rows(dataset.X[:, columns], [dataset.names[i] for i in columns])
        leaks += [
            _leak(dataset, dataset.names[columns[at]], "from_later_rows", every, text)
            for at, text in later.items()
            if columns[at] not in given and dataset.names[columns[at]] not in named
        ]
    done = {leak.feature for leak in leaks} | named
    rest = [i for i in columns if dataset.names[i] not in done]
    pairs = _pairs(dataset, rest)
    together = {name for leak in pairs for name in leak.feature.split(" & ")}
    return leaks + pairs + _several(dataset, [i for i in rest if dataset.names[i] not in together])


def _made(dataset: Dataset, i: int) -> Ahead | None:
    """What a column was made of, if labels went in that it should not know."""
    x, y = dataset.X[:, i], dataset.y
    if (found := made_of_labels(x, y)) is not None:
        return found
    if encodes_labels(x, y):
        return Ahead(
            "computed_from_label",
            "{x} is the mean label of the rows that have the same value of it (target encoding): the label is in it",
        )
    for j, feature in enumerate(dataset.features):
        if j == i or feature.kind not in OF_A_FILE or np.isnan(dataset.X[:, j]).any():
            continue
        group = dataset.X[:, j]
        groups = np.unique(group).size
        if not 5 <= groups <= dataset.n / 2:
            continue
        if encodes_labels(x, y, group) or made_of_labels_of_group(x, y, group):
            return Ahead(
                "computed_from_label",
                f"{{x}} is made of the labels of the rows with the same {feature.name} (target encoding), the row's "
                "own among them",
            )
    return None


def _recorded_apart(dataset: Dataset) -> list[Leak]:
    """Classes that were recorded one after the other: whatever drifts tells one from the other."""
    runs = int(np.count_nonzero(dataset.y[1:] != dataset.y[:-1])) + 1
    of_a_file = any(feature.kind in OF_A_FILE for feature in dataset.features)
    rule = None
    if runs <= FEWEST_RUNS and of_a_file:  # the label of a run is its hashes, which nobody can put in order
        rule = relation(np.arange(dataset.n, dtype=np.float64), dataset.y)
    if rule is None or not rule.exact:
        return []
    text = (
        f"the label changes {runs - 1} time{'s' if runs > 2 else ''} in {dataset.n} rows: the classes were recorded "
        "one after the other, so that whatever drifts tells them apart; record them in random order"
    )
    return [_leak(dataset, "row", "recorded_apart", np.ones(dataset.n, bool), text)]


def _several(dataset: Dataset, columns: list[int]) -> list[Leak]:
    """Three features or more that give the label together."""
    if len(columns) > MOST_PAIRED:
        return []
    found = telling_together(dataset.X[:, columns], dataset.y, gap=dataset.gap)
    if found is None:
        return []
    names = [dataset.names[columns[at]] for at in found.columns]
    text = (
        f"{', '.join(names)} together all but give the label: what was learned of the earlier rows is right in "
        f"{found.right:.2%} of the later ones"
    )
    return [_leak(dataset, " & ".join(names), "several_determine_label", np.ones(dataset.n, bool), text)]


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
    """A number per row, equal where two rows are the same but for what only counts them; of no rows, if none are."""
    counts = np.array(
        [_counts_rows(x, f.kind) for x, f in zip(dataset.X.T, dataset.features, strict=True)], bool
    )
    X = dataset.X[:, ~counts]
    if X.shape[1] == 0:
        return np.empty(0, np.int64)
    table = np.column_stack([np.where(np.isnan(X), np.inf, X) + 0.0, dataset.y])
    mixed = np.zeros(dataset.n, np.uint64)
    for column in table.T:  # 64 bits: two of a million different rows look alike once in 4e7 tables
        mixed = (mixed ^ np.ascontiguousarray(column).view(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    identity = mixed.view(np.int64)
    return (
        identity
        if _more_than_chance(X, identity) or _copied(X, dataset.y, identity)
        else np.empty(0, np.int64)
    )


def _more_than_chance(X: FloatArray, identity: IntArray) -> bool:
    """Whether far more pairs of rows are alike than if each column came as it does, whatever the others do."""
    rich = [x for x in X.T if np.unique(x[~np.isnan(x)]).size > 0.5 * identity.size]
    if len(rich) < 2:
        return False
    chances = [_alike(x) for x in rich]
    pairs = identity.size * (identity.size - 1) / 2
    return _alike(identity) * pairs > 10 * float(np.prod(chances)) * pairs


def _alike(values: npt.NDArray[Any]) -> float:
    """Share of the pairs that have the same value."""
    counts = np.unique(values, return_counts=True)[1].astype(np.float64)
    n = values.size
    return float((counts * (counts - 1)).sum()) / max(n * (n - 1), 1)


def _counts_rows(x: FloatArray, kind: str) -> bool:
    """Whether a column is the number, the time or the name of a row: a copy has another."""
    if np.isnan(x).any():
        return False
    if np.all(np.diff(x) > 0):
        return True
    return (kind == "category" or bool(np.all(x == np.round(x)))) and np.unique(x).size == x.size


def _copied(X: FloatArray, y: npt.NDArray[np.bool_], identity: IntArray) -> bool:
    """Whether rows that are alike are copies: rows with the same value of the richest column then agree in all others.

    Rows of few different values are alike by chance, with other columns as they come.
    """
    richest = max(X.T, key=lambda x: np.unique(x).size)
    values, code = np.unique(richest, return_inverse=True)
    whole = np.unique(identity).size
    if values.size < 0.05 * y.size or whole > 1.05 * values.size:
        return False
    # a column that is a function of the richest one says nothing; the label is one that is none
    counts, wins = np.bincount(code), np.bincount(code, y)
    pure = (wins == 0) | (wins == counts)
    p = float(y.mean())
    # a value counts once, however often: a zero of every window in which nothing happened is no copy
    chance = int((counts > 1).sum()) * float(np.log(p**2 + (1 - p) ** 2))
    return bool(pure.mean() > 0.95 and chance < np.log(SAME_BY_CHANCE))


def _first_of_copies(dataset: Dataset) -> IntArray:
    """The rows, each only where it stands first."""
    return np.sort(np.unique(_identity(dataset), return_index=True)[1])


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
