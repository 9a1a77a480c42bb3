"""Mutual information of a feature and a class by nearest neighbours (Ross 2014), on ranks, for many label vectors.

The estimator is scikit-learn's ``mutual_info_classif``; on ranks the counting of neighbours is a subtraction, which
makes a null of hundreds of rotations as cheap as one call. Ranks lie evenly, so that the k-th neighbour often has a
twin as far away on the other side: one of the other class counts half, as scikit-learn's noise has it on average.
"""

from __future__ import annotations

import math

import numba
import numpy as np
import numpy.typing as npt

from tpf.statistics.shifts import FloatArray, IntArray

NEIGHBOURS = 3


def mutual_information_bits(
    X: FloatArray, labels: npt.NDArray[np.int8], rng: np.random.Generator, k: int = NEIGHBOURS
) -> FloatArray:
    """Mutual information in bits of each feature with each label vector; it can come out below 0.

    Args:
        X: shape (n, d); rows where a feature is nan are left out for it.
        labels: 0 and 1, shape (n, m).
        rng: breaks ties.
        k: neighbours.

    Returns:
        Shape (m, d).
    """
    turned = np.ascontiguousarray(labels.T)
    digamma = _digamma(X.shape[0] + 2)
    found = np.empty((labels.shape[1], X.shape[1]))
    for j in range(X.shape[1]):
        found[:, j] = _ksg(turned, order_of(X[:, j], rng), k, digamma) / math.log(2)
    return found


def order_of(x: FloatArray, rng: np.random.Generator) -> IntArray:
    """Known rows in ascending order, ties in random order."""
    known = np.flatnonzero(~np.isnan(x))
    return np.asarray(known[np.lexsort((rng.random(known.size), x[known]))], np.int64)


def _digamma(n: int) -> FloatArray:
    from scipy.special import digamma

    return np.asarray(np.r_[0.0, digamma(np.arange(1, n + 1))])


@numba.njit(cache=True, nogil=True)
def _ksg(labels, order, k, digamma):  # type: ignore[no-untyped-def]
    """Nats of each label vector, shape (m,); ``labels`` is (m, n), ``order`` the rows by rank."""
    n = order.size
    found = np.empty(labels.shape[0])
    places = np.empty((2, n), np.int64)
    count = np.empty(2, np.int64)
    for b in range(labels.shape[0]):
        count[0] = 0
        count[1] = 0
        for rank in range(n):
            c = labels[b, order[rank]]
            places[c, count[c]] = rank
            count[c] += 1
        of_k = 0.0
        of_class = 0.0
        of_all = 0.0
        used = 0
        for c in range(2):
            size = count[c]
            near = min(k, size - 1)
            if near < 1:
                continue
            used += size
            of_k += size * digamma[near]
            of_class += size * digamma[size]
            place = places[c]
            for i in range(size):
                here = place[i]
                least = n
                for below in range(near + 1):
                    left = i - below
                    right = left + near
                    if left < 0 or right >= size:
                        continue
                    least = min(least, max(here - place[left], place[right] - here))
                low = max(0, here - least + 1)
                high = min(n - 1, here + least - 1)
                inside = high - low + 1
                if here - least < 0 or here + least >= n:
                    of_all += digamma[inside]
                    continue
                own_left = labels[b, order[here - least]] == c
                own_right = labels[b, order[here + least]] == c
                if own_left and own_right:
                    closer = 0
                    for step in range(1, near + 1):
                        closer += i - step >= 0 and here - place[i - step] < least
                        closer += i + step < size and place[i + step] - here < least
                    # the twin is the neighbour after the k-th, or the one before it
                    of_all += digamma[inside + (1 if closer < near - 1 else 0)]
                else:
                    of_all += 0.5 * (digamma[inside] + digamma[inside + 1])
        found[b] = digamma[used] + (of_k - of_class - of_all) / used if used > 0 else 0.0
    return found
