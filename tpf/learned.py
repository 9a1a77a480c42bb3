"""Do several columns give the label together, by a rule that nobody wrote down? Learned early, tried on later rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tpf.dataset import BoolArray, FloatArray, IntArray
from tpf.determinism import NEAR, class_error, persistence_error
from tpf.splits import forward_split

MOST_ROWS = 4000
"""Rows that are looked at, from the beginning."""


@dataclass(frozen=True)
class Together:
    """Columns that are needed, and the share of later rows that they get right."""

    columns: tuple[int, ...]
    right: float


def telling_together(X: FloatArray, y: BoolArray, *, gap: int) -> Together | None:
    """The columns by which a tree ensemble or a straight line gets nearly every later row of either class right.

    Args:
        X: shape (n, d), in the order of time.
        y: shape (n,).
        gap: rows between the two halves.
    """
    X, y = X[:MOST_ROWS], y[:MOST_ROWS]
    limit = min(NEAR, persistence_error(y) / 2)
    if X.shape[1] < 2 or y.size < 8 / NEAR + gap:
        return None
    split = forward_split(y.size, gap=gap)
    if min(min(part.sum(), (~part).sum()) for part in (y[split.train], y[split.test])) < 1 / NEAR:
        return None
    X = np.where(np.isnan(X), np.nanmin(X, axis=0, initial=0.0) - 1.0, X)
    for build in (_trees, _line):
        columns = list(range(X.shape[1]))
        if _error(build(), X, y, split.train, split.test, columns) > limit:
            continue
        for at in tuple(columns):  # leave out what is not needed
            fewer = [c for c in columns if c != at]
            if fewer and _error(build(), X, y, split.train, split.test, fewer) <= limit:
                columns = fewer
        if len(columns) < 2:  # that a single column does has been asked before
            return None
        said = _said(build(), X, y, split.train, split.test, columns)
        return Together(tuple(columns), float((said == y[split.test]).mean()))
    return None


def _said(
    model: Any, X: FloatArray, y: BoolArray, train: IntArray, test: IntArray, columns: list[int]
) -> BoolArray:
    said: BoolArray = model.fit(X[train][:, columns], y[train]).predict(X[test][:, columns])
    return said


def _error(
    model: Any, X: FloatArray, y: BoolArray, train: IntArray, test: IntArray, columns: list[int]
) -> float:
    return class_error(_said(model, X, y, train, test, columns), y[test])


def _trees() -> Any:
    from sklearn.ensemble import ExtraTreesClassifier

    return ExtraTreesClassifier(n_estimators=60, max_features=None, random_state=0)


def _line() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=1e6, max_iter=1000))
