"""Statements about accuracy that hold for finitely many trials, in exact fractions, as Lean checks them.

The null hypothesis is not that trials are independent: whatever happened before, the next prediction is right with
probability at most the baseline. Under it the chance of at least m right of n is at most the binomial tail
(``Silicon.reach_le_tail``), and that is at most the bound of Chernoff at any x >= 1 (``Silicon.tail_chernoff``).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

EXACT_TRIALS = 200
"""Up to here Lean's kernel computes the exact tail within seconds; above, the bound of Chernoff is checked instead."""


@dataclass(frozen=True)
class Counts:
    """What an evaluation counted.

    Attributes:
        correct: right predictions.
        trials: predictions.
        baseline: success probability that the null hypothesis allows; from the protocol, not from these trials.
        alpha: error probability to stay under.

    Raises:
        ValueError: if these are no counts.
    """

    correct: int
    trials: int
    baseline: Fraction
    alpha: Fraction = Fraction(1, 20)

    def __post_init__(self) -> None:
        if not 0 <= self.correct <= self.trials or self.trials == 0:
            raise ValueError(f"{self.correct} correct of {self.trials} trials is no count")
        if not 0 < self.baseline < 1:
            raise ValueError(f"a baseline lies between 0 and 1, not at {self.baseline}")
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha lies between 0 and 1, not at {self.alpha}")

    def to_json(self) -> dict[str, Any]:
        """Plain data; fractions as pairs of numerator and denominator."""
        return {
            "correct": self.correct,
            "trials": self.trials,
            "baseline": [self.baseline.numerator, self.baseline.denominator],
            "alpha": [self.alpha.numerator, self.alpha.denominator],
        }


@dataclass(frozen=True)
class Bound:
    """An upper bound of the probability of a count under the null hypothesis.

    Attributes:
        counts: it is about.
        method: ``exact`` (the binomial tail) or ``chernoff``.
        x: where the bound of Chernoff is taken; None for the exact tail.
        epsilon: the bound, rounded up to two digits.
    """

    counts: Counts
    method: str
    x: Fraction | None
    epsilon: Fraction

    @property
    def holds(self) -> bool:
        """Whether the count is as improbable as asked."""
        return self.epsilon <= self.counts.alpha


def tail(p: Fraction, n: int, k: int) -> Fraction:
    """Probability of at least k successes in n independent trials with success probability p; ``Silicon.tail``."""
    if k <= 0:
        return Fraction(1)
    a, b = p.numerator, p.denominator - p.numerator
    total, choose = 0, 1  # choose = n over i, walked down from i = n
    for i in range(n, k - 1, -1):
        total += choose * a**i * b ** (n - i)
        choose = choose * i // (n - i + 1)
    return Fraction(total, p.denominator**n)


def chernoff(p: Fraction, n: int, k: int, x: Fraction) -> Fraction:
    """The bound (1 - p + p x)^n / x^k of the tail, for x >= 1; ``Silicon.tail_chernoff``.

    Raises:
        ValueError: if x < 1.
    """
    if x < 1:
        raise ValueError(f"the bound of Chernoff needs x >= 1, not {x}")
    return (1 - p + p * x) ** n / x**k


def best_x(p: Fraction, n: int, k: int, max_denominator: int = 1000) -> Fraction:
    """A small fraction near the x at which the bound of Chernoff is least: k (1 - p) / ((n - k) p); at least 1.

    Where all trials succeed the bound falls without end in x, and a large x is taken.
    """
    if k >= n:
        return Fraction(1000 * n)
    return max(Fraction(1), (k * (1 - p) / ((n - k) * p)).limit_denominator(max_denominator))


def rounded_up(value: Fraction) -> Fraction:
    """The least fraction of two decimal digits and a power of ten that is not below a positive value; 1 at most."""
    if value >= 1:
        return Fraction(1)
    power = 0
    while value * 10**power < 10:
        power += max(1, _digits_before(value * 10**power))
    return min(
        Fraction(1), Fraction(-(-(value * 10**power).numerator // (value * 10**power).denominator), 10**power)
    )


def bound(counts: Counts) -> Bound:
    """The bound that Lean is to check: exact up to 200 trials, Chernoff's above."""
    p, n, k = counts.baseline, counts.trials, counts.correct
    if n <= EXACT_TRIALS:
        return Bound(counts, "exact", None, rounded_up(tail(p, n, k)))
    x = best_x(p, n, k)
    return Bound(counts, "chernoff", x, rounded_up(chernoff(p, n, k, x)))


def _digits_before(value: Fraction) -> int:
    """About how many decimal places a value lies below 10, never too many."""
    return max(0, (value.denominator.bit_length() - value.numerator.bit_length() - 1) * 3 // 10)
