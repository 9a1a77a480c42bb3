"""Scores of the information frontier, and what histograms of them say: AUC with its interval, mutual information."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from firmware_bridge.sha256_kernels import INITIAL_STATE
from tpf.frontier_counts import BINS, FAMILIES, I32, I64, Counts, rows_of

F64 = npt.NDArray[np.float64]

WORDS = ("a", "b", "c", "d", "e", "f", "g", "h", "next a", "next e")
"""In the order of :func:`tpf.frontier_counts.rows_of`; the last two with a schedule word of 0."""
FAMILY_NAMES = ("likelihood of bytes", "likelihood of bits", "number of ones")
SHARED_SD = 64.0
"""Standard deviation that chance gives a score over all words, in bins."""
LEVEL = 0.95
PERMUTATIONS = 99
_MOST_DRAWN = 10**9
"""Beyond this numpy draws no hypergeometric numbers; the binomial ones are the same then."""


@dataclass(frozen=True)
class Scorer:
    """One of the fixed list of scorers.

    Attributes:
        name: what it looks at.
        order: value of its bins for sorting, shape (bins,).
    """

    name: str
    order: F64


@dataclass(frozen=True)
class Learned:
    """What the fit part taught.

    Attributes:
        ratio: log-likelihood ratio of each value, per row and byte, shape (264, 4, 256).
        tables: what each value adds to the scores of each family, shape (3, 264, 4, 256), in bins.
    """

    ratio: F64
    tables: I32


def learn(fit: Counts) -> Learned:
    """Log-likelihood ratios of bytes and of bits, with half a count added.

    The tables are scaled so that what chance alone makes of a score over all words fits the bins.
    """
    classes = np.array(fit.classes, np.float64)
    ratio = _log_ratio(fit.byte, classes)
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1
    ones = fit.byte @ bits  # (2, rows, 4, 8)
    each = np.log((ones[1] + 0.5) / (classes[1] - ones[1] + 0.5)) - np.log(
        (ones[0] + 0.5) / (classes[0] - ones[0] + 0.5)
    )
    each[(ones.sum(axis=0) == 0) | (ones.sum(axis=0) == classes.sum())] = 0.0  # a constant tells nothing
    bitwise = (each[..., None, :] * (bits - 0.5)).sum(axis=-1)
    variance = 4 * len(WORDS) / max(classes[1], 1.0)
    scales = (SHARED_SD / np.sqrt(256 * variance), SHARED_SD / np.sqrt(8 * variance))
    number = np.broadcast_to(bits.sum(axis=1) - 4.0, ratio.shape)
    tables = np.rint(np.stack([ratio * scales[0], bitwise * scales[1], number]))
    return Learned(ratio, np.clip(tables, -(1 << 20), 1 << 20).astype(np.int32))


def _log_ratio(byte: I64, classes: F64) -> F64:
    found: F64 = np.log((byte[1] + 0.5) / (classes[1] + 128.0)) - np.log(
        (byte[0] + 0.5) / (classes[0] + 128.0)
    )
    found[byte.sum(axis=0) == classes.sum()] = 0.0
    return found


def scorers(ratio: F64, k: int, zero_bits: int) -> list[Scorer]:
    """The list for the state after k rounds; the same for every k, but for what the fit part taught.

    Each byte by its likelihood ratio; each word as if it were the last one of the digest; the scores of
    ``FAMILY_NAMES`` over each word and over all of them.
    """
    rows = rows_of(k)
    last = (np.arange(256) + (INITIAL_STATE[7] & 0xFF)) & 0xFF
    bins = np.arange(float(BINS))
    found = [
        Scorer(f"byte {byte} of {name}", ratio[row, byte])
        for row, name in zip(rows, WORDS, strict=False)
        for byte in range(4)
    ]
    found += [
        Scorer(f"{name} as the digest", -(last >> (8 - zero_bits)).astype(np.float64))
        for _, name in zip(rows, WORDS, strict=False)
    ]
    found += [
        Scorer(f"{family} of {name}", bins)
        for family in FAMILY_NAMES
        for _, name in zip(rows, WORDS, strict=False)
    ]
    found += [Scorer(f"{family} of the state", bins) for family in FAMILY_NAMES]
    return found


def histograms(counts: Counts, k: int) -> list[I64]:
    """Bins of each of :func:`scorers` in one part, each of shape (2, bins)."""
    rows = rows_of(k)
    found = [counts.byte[:, row, byte] for row in rows for byte in range(4)]
    found += [counts.byte[:, row, 0] for row in rows]
    found += [counts.word[family, :, row] for family in range(FAMILIES) for row in rows]
    found += [counts.total[family, :, k] for family in range(FAMILIES)]
    return found


@dataclass(frozen=True)
class Area:
    """Area under a ROC curve.

    Attributes:
        auc: probability that a success scores above a failure, ties counting half.
        ci: 95 % interval.
    """

    auc: float
    ci: tuple[float, float]


def area(histogram: I64, order: F64, level: float = LEVEL) -> Area:
    """AUC of a binned score with DeLong's interval (DeLong et al. 1988); at 0 or 1 the exact one of its successes.

    Args:
        histogram: failures and successes per bin, shape (2, bins), both with at least one.
        order: value of each bin; equal values are ties.
        level: of the interval.
    """
    failures, successes = _ordered(histogram, order)
    n0, n1 = failures.sum(), successes.sum()
    below = (np.cumsum(failures) - failures / 2) / n0  # of a success in this bin: failures under it
    above = 1.0 - (np.cumsum(successes) - successes / 2) / n1  # of a failure: successes over it
    auc = float((successes * below).sum() / n1)
    if auc in (0.0, 1.0):
        room = ((1 - level) / 2) ** (1 / n1)
        return Area(auc, (float(room), 1.0) if auc else (0.0, float(1 - room)))
    spread = _variance(below, successes) / n1 + _variance(above, failures) / n0
    reach = float(ndtri(0.5 + level / 2) * np.sqrt(spread))
    return Area(auc, (max(0.0, auc - reach), min(1.0, auc + reach)))


def auc_of(histogram: I64, order: F64) -> float:
    """The AUC of :func:`area` without its interval."""
    failures, successes = _ordered(histogram, order)
    return float((successes * (np.cumsum(failures) - failures / 2)).sum() / successes.sum() / failures.sum())


def _ordered(histogram: I64, order: F64) -> F64:
    """Bins in ascending order of their value, equal values as one, shape (2, values)."""
    if (order[1:] > order[:-1]).all():
        return histogram.astype(np.float64)
    _, merged = np.unique(order, return_inverse=True)
    return np.stack([np.bincount(merged, weights=part) for part in histogram])


def _variance(values: F64, weights: F64) -> float:
    n = weights.sum()
    mean = (values * weights).sum() / n
    return float((weights * (values - mean) ** 2).sum() / max(n - 1, 1))


@dataclass(frozen=True)
class Information:
    """Mutual information between a binned score and success, in bits.

    Attributes:
        bits: the plug-in estimate less what it is on average when the successes are dealt out anew, at least 0.
        plug_in_bits: the estimate itself, which is above 0 by chance.
        null_bits: its mean over permutations.
        p_value: how often a permutation has at least as much.
    """

    bits: float
    plug_in_bits: float
    null_bits: float
    p_value: float


def information(histogram: I64, rng: np.random.Generator, permutations: int = PERMUTATIONS) -> Information:
    """Mutual information of bin and class beside its permutation null, which is drawn exactly.

    Args:
        histogram: failures and successes per bin, shape (2, bins).
        rng: deals the successes out.
        permutations: how often.
    """
    used = histogram[:, histogram.sum(axis=0) > 0]
    totals, successes = used.sum(axis=0), int(used[1].sum())
    found = float(_plug_in(used[1][None], totals)[0])
    if totals.sum() < _MOST_DRAWN:
        dealt = rng.multivariate_hypergeometric(totals, successes, size=permutations, method="marginals")
    else:
        dealt = rng.multinomial(successes, totals / totals.sum(), size=permutations)
    null = _plug_in(dealt, totals)
    mean = float(null.mean())
    if found - mean < 1e-12:
        return Information(0.0, found, mean, float((1 + (null >= found - 1e-15).sum()) / (1 + permutations)))
    return Information(found - mean, found, mean, float((1 + (null >= found).sum()) / (1 + permutations)))


def entropy_bits(p: npt.ArrayLike) -> F64:
    """Entropy of a yes with probability p, in bits."""
    p = np.asarray(p, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = -p * np.log2(p) - (1 - p) * np.log2(1 - p)
    return np.where((p <= 0) | (p >= 1), 0.0, terms)


def _plug_in(successes: I64, totals: I64) -> F64:
    """Of tables that share their totals, shape (m, bins) to (m,)."""
    n = totals.sum()
    given: F64 = (totals / n * entropy_bits(successes / totals)).sum(axis=1)
    whole: F64 = entropy_bits(successes.sum(axis=1) / n)
    return whole - given
