"""How much an observation tells of a secret, exactly: sums and maxima of fractions over a joint table.

A table ``w`` has a row per secret i and a column per observation j, ``w[i][j]`` their joint probability; all of it sums
to 1. The names are those of the theorems (``Silicon/Dist.lean``): the gain lies between 0 and the total variation leak,
and no predictor beats the best constant one by more than the gain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

Table = Sequence[Sequence[Fraction]]
"""Joint probabilities, rows secrets, columns observations."""


def checked(w: Table) -> Table:
    """The same table, if it is a joint distribution.

    Raises:
        ValueError: if it is empty, ragged, has a negative entry, or does not sum to 1.
    """
    if not w or not w[0] or len({len(row) for row in w}) != 1:
        raise ValueError("a joint table has at least one row and column, and rows of equal length")
    if any(value < 0 for row in w for value in row):
        raise ValueError("a probability is not negative")
    total = sum((value for row in w for value in row), Fraction(0))
    if total != 1:
        raise ValueError(f"the probabilities sum to {total}, not to 1; give fractions, not floats")
    return w


def table_of_counts(counts: Sequence[Sequence[int]]) -> list[list[Fraction]]:
    """Relative frequencies of counted pairs.

    Raises:
        ValueError: if nothing was counted.
    """
    total = sum(sum(row) for row in counts)
    if total <= 0:
        raise ValueError("nothing was counted")
    return [[Fraction(value, total) for value in row] for row in counts]


def secret_marginal(w: Table) -> list[Fraction]:
    """``margS``: probability of each secret."""
    return [sum(row, Fraction(0)) for row in w]


def observation_marginal(w: Table) -> list[Fraction]:
    """``margO``: probability of each observation."""
    return [sum(column, Fraction(0)) for column in zip(*w, strict=True)]


def tv_leak(w: Table) -> Fraction:
    """``tvLeak``: total variation between the table and the product of its marginals; 0 iff independent."""
    return sum((abs(value) for row in _deviation(checked(w)) for value in row), Fraction(0)) / 2


def chi_square_leak(w: Table) -> Fraction:
    """Pearson's divergence from the product of the marginals; n times it is the chi-square statistic of n pairs."""
    s, o = secret_marginal(checked(w)), observation_marginal(w)
    terms = (
        value**2 / (s[i] * o[j])
        for i, row in enumerate(_deviation(w))
        for j, value in enumerate(row)
        if value
    )
    return sum(terms, Fraction(0))


def prior_vulnerability(w: Table) -> Fraction:
    """``priorV``: chance of guessing the secret unseen; accuracy of the best constant predictor."""
    return max(secret_marginal(checked(w)))


def posterior_vulnerability(w: Table) -> Fraction:
    """``postV``: chance of guessing it after one observation; accuracy of the best predictor there is."""
    return sum((max(column) for column in zip(*checked(w), strict=True)), Fraction(0))


def vulnerability_gain(w: Table) -> Fraction:
    """``gain``: what the observation adds; never negative, never above :func:`tv_leak`."""
    return posterior_vulnerability(w) - prior_vulnerability(w)


def accuracy(w: Table, predictor: Callable[[int], int] | Sequence[int]) -> Fraction:
    """``accuracy``: chance that a predictor of the secret from the observation is right.

    Args:
        w: the table.
        predictor: secret that it says for each observation.
    """
    columns = len(checked(w)[0])
    says = [predictor(j) for j in range(columns)] if callable(predictor) else list(predictor)
    if len(says) != columns:
        raise ValueError(f"{columns} observations, {len(says)} predictions")
    return sum((w[says[j]][j] for j in range(columns)), Fraction(0))


def _deviation(w: Table) -> list[list[Fraction]]:
    s, o = secret_marginal(w), observation_marginal(w)
    return [[value - s[i] * o[j] for j, value in enumerate(row)] for i, row in enumerate(w)]
