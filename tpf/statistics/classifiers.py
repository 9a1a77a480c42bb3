"""The three classifiers, and how well one that was trained on earlier rows ranks later ones."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from tpf.splits import Split
from tpf.statistics.shifts import BlockShifts, BoolArray, FloatArray

MLP_LAYERS = (16, 8, 4)
"""Hidden layers of the network of *Speaking to Silicon* (§14)."""
CLASSIFIERS = ("logistic", "gradient_boosting", "mlp_16_8_4")
BEYOND_SD = 6.0
"""Standard deviations at which inputs of the linear model and the network are cut off."""


def clipped(X: FloatArray) -> FloatArray:
    """Values within ``BEYOND_SD``; a late load of a busy host is no lever."""
    return np.asarray(np.clip(X, -BEYOND_SD, BEYOND_SD))


def _prepared(model: Any) -> Any:
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    return make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        StandardScaler(),
        FunctionTransformer(clipped),
        model,
    )


def logistic() -> Any:
    """Logistic regression of standardised features, a little penalised."""
    from sklearn.linear_model import LogisticRegression

    return _prepared(LogisticRegression(C=1.0, max_iter=500))


def build(name: str, seed: int) -> Any:
    """An untrained classifier of scikit-learn by its name.

    Raises:
        ValueError: if there is none of this name.
    """
    if name == "logistic":
        return logistic()
    if name == "gradient_boosting":
        from sklearn.ensemble import HistGradientBoostingClassifier

        return HistGradientBoostingClassifier(
            max_iter=60, max_leaf_nodes=8, min_samples_leaf=25, l2_regularization=1.0, early_stopping=False,
            random_state=seed,
        )  # fmt: skip
    if name == "mlp_16_8_4":
        from sklearn.neural_network import MLPClassifier

        network = MLPClassifier(MLP_LAYERS, max_iter=30, learning_rate_init=0.01, random_state=seed)
        return _prepared(network)
    raise ValueError(f"there is no classifier {name!r}; there are {', '.join(CLASSIFIERS)}")


def fit(model: Any, X: FloatArray, y: BoolArray) -> Any:
    """Train, without a warning where a network would go on learning.

    In one thread: tables of this size are learned in less time than several threads need to agree.
    """
    from threadpoolctl import threadpool_limits

    with warnings.catch_warnings(), threadpool_limits(limits=1):
        quiet()
        return model.fit(X, y)


def quiet() -> None:
    """Ignore, until the filters are restored, that a network would go on learning."""
    from sklearn.exceptions import ConvergenceWarning

    warnings.simplefilter("ignore", ConvergenceWarning)


def probability(model: Any, X: FloatArray) -> FloatArray:
    """Probability of success of each row, shape (n,)."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        return np.asarray(model.predict_proba(X)[:, list(model.classes_).index(True)])


@dataclass(frozen=True)
class Scored:
    """Later rows as a classifier of earlier rows sees them.

    Attributes:
        name: of the classifier.
        score: probability of success, shape (n,).
        y: what they were, shape (n,).
        validation_auc: of the last quarter of the training rows, from the others; nan where that is not known.
        trained_on: rows.
    """

    name: str
    score: FloatArray
    y: BoolArray
    validation_auc: float
    trained_on: int

    @property
    def correct(self) -> int:
        """Rows that are called right at probability one half."""
        return int(((self.score > 0.5) == self.y).sum())

    @property
    def constant_correct(self) -> int:
        """Rows that the best constant predictor of these very rows calls right."""
        return int(max(self.y.sum(), (~self.y).sum()))


def score_later(
    name: str, X: FloatArray, y: BoolArray, split: Split, seed: int, *, validate: bool = True
) -> Scored:
    """Train on the earlier rows of a split and score the later ones.

    Where the earlier rows have a single class, every later row scores alike.
    """
    train, labels = X[split.train], y[split.train]
    if min(labels.sum(), (~labels).sum()) < 2:
        flat = np.full(split.test.size, float(labels.mean()))
        return Scored(name, flat, y[split.test], float("nan"), int(split.train.size))
    validation = _validation(name, train, labels, split.gap, seed) if validate else float("nan")
    score = _trained_score(name, train, labels, X[split.test], seed)
    return Scored(name, score, y[split.test], validation, int(split.train.size))


def _validation(name: str, X: FloatArray, y: BoolArray, gap: int, seed: int) -> float:
    cut = round(0.75 * y.size)
    early, late = slice(0, max(1, cut - gap)), slice(cut, None)
    if min(y[early].sum(), (~y[early]).sum(), y[late].sum(), (~y[late]).sum()) < 2:
        return float("nan")
    return auc(_trained_score(name, X[early], y[early], X[late], seed), y[late])


def _trained_score(name: str, train: FloatArray, y: BoolArray, later: FloatArray, seed: int) -> FloatArray:
    """Probability of success of later rows; a feature that no training row knows is left out."""
    known = ~np.isnan(train).all(axis=0)
    if not known.any():
        return np.full(later.shape[0], float(y.mean()))
    return probability(fit(build(name, seed), train[:, known], y), later[:, known])


def auc(score: FloatArray, y: BoolArray) -> float:
    """Area under the ROC curve (Mann-Whitney, ties half); nan of a single class."""
    from scipy.stats import rankdata

    n1, n0 = int(y.sum()), int((~y).sum())
    if n1 == 0 or n0 == 0:
        return float("nan")
    return float((rankdata(score)[y].sum() - n1 * (n1 + 1) / 2) / (n1 * n0))


def auc_under_shifts(score: FloatArray, y: BoolArray, shifts: BlockShifts) -> FloatArray:
    """The area under every rotation of the labels, shape (permutations + 1,); the classifier is not trained anew.

    The scores were fixed by earlier rows, so that under the null the labels of these rows know nothing of them.
    """
    from scipy.stats import rankdata

    n1, n0 = int(y.sum()), int((~y).sum())
    ranks = rankdata(score) - (y.size + 1) / 2
    sums, _ = shifts.sums(ranks[:, None], y)
    return np.asarray(0.5 + sums[:, 0] / (n1 * n0))


@dataclass(frozen=True)
class RocBand:
    """An ROC curve beside what rotations of the labels give.

    Attributes:
        name: of the classifier.
        false_positive_rate: shape (points,), ascending.
        true_positive_rate: of the labels as they are.
        low: quantile .025 of the rotations.
        high: quantile .975.
        auc: of the labels as they are.
    """

    name: str
    false_positive_rate: FloatArray
    true_positive_rate: FloatArray
    low: FloatArray
    high: FloatArray
    auc: float


def roc_band(scored: Scored, shifts: BlockShifts, points: int = 101) -> RocBand:
    """The curve and the pointwise 95 % band of its null.

    Args:
        scored: later rows; of both classes.
        shifts: of as many rows.
        points: of the grid of false positive rates.
    """
    grid = np.linspace(0.0, 1.0, points)
    # the scores are the same for all rotations: sorted once, each curve is a sum
    order = np.argsort(-scored.score, kind="stable")
    labels = shifts.labels(scored.y)[order]
    score = scored.score[order]
    ends = np.flatnonzero(np.r_[score[1:] != score[:-1], True])
    n1 = int(scored.y.sum())
    curves = np.empty((labels.shape[1], points))
    for i in range(labels.shape[1]):
        true = np.cumsum(labels[:, i], dtype=np.int64)[ends]
        false = ends + 1 - true
        curves[i] = np.interp(grid, np.r_[0, false] / (score.size - n1), np.r_[0, true] / n1)
    low, high = np.quantile(curves[1:], [0.025, 0.975], axis=0)
    return RocBand(scored.name, grid, curves[0], low, high, auc(scored.score, scored.y))
