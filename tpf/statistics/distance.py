"""Distance correlation of all features together with the class (Székely, Rizzo & Bakirov 2007)."""

from __future__ import annotations

import numpy as np

from tpf.statistics.shifts import BlockShifts, BoolArray, FloatArray, IntArray


def normal_scores(X: FloatArray) -> FloatArray:
    """Each column by its ranks on the scale of a normal variate; 0, the middle, where it is not known."""
    from scipy.stats import norm, rankdata

    scores = np.zeros(X.shape)
    for j in range(X.shape[1]):
        known = ~np.isnan(X[:, j])
        if known.sum() > 1:
            scores[known, j] = norm.ppf((rankdata(X[known, j]) - 0.5) / known.sum())
    return scores


def centred_distances(points: FloatArray) -> FloatArray:
    """Euclidean distances, rows and columns centred; shape (n, n)."""
    from scipy.spatial.distance import cdist

    distances = cdist(points, points)
    means = distances.mean(axis=0)
    return np.asarray(distances - means - means[:, None] + means.mean())


def distance_correlations(centred: FloatArray, y: BoolArray, shifts: BlockShifts) -> FloatArray:
    """Distance correlation with the class under every rotation, shape (permutations + 1,).

    For a class of two values the squared distance covariance is -2 ỹᵀ A ỹ / n², with ỹ the centred labels.

    Args:
        centred: from :func:`centred_distances`.
        y: shape (n,).
        shifts: of n rows.
    """
    n = y.size
    labels = shifts.labels(y).astype(np.float64) - float(y.mean())
    covariance = -2.0 * np.einsum("ij,ij->j", labels, centred @ labels) / n**2
    centred_y = labels[:, 0]
    variance_y = 4.0 * float(centred_y @ centred_y) ** 2 / n**2
    variance_x = float((centred**2).mean())
    scale = np.sqrt(variance_x * variance_y)
    return (
        np.asarray(np.sqrt(np.maximum(covariance, 0.0) / scale)) if scale > 0 else np.zeros(labels.shape[1])
    )


def squared_correlation(centred: FloatArray, y: BoolArray, part: IntArray) -> float:
    """Squared distance correlation of some of the rows, in units of the distances of all.

    Centred labels make it the same whether the distances are centred among all rows or among these.

    Args:
        centred: of all rows, shape (n, n).
        y: of all rows, shape (n,).
        part: indices of the rows.
    """
    labels = np.zeros(y.size)
    labels[part] = y[part] - float(y[part].mean())
    spread = 2.0 * float(labels @ labels) / part.size * float(np.sqrt((centred**2).mean()))
    return float(-2.0 * (labels @ centred @ labels)) / part.size**2 / spread if spread > 0 else 0.0
