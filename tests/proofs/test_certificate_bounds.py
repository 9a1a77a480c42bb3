"""Tail, bound of Chernoff and rounding against scipy and against their definitions."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from tpf.certificate import Counts, best_x, bound, chernoff, rounded_up, tail

probabilities = st.fractions(min_value=Fraction(1, 50), max_value=Fraction(49, 50), max_denominator=50)


@given(probabilities, st.integers(1, 60), st.data())
def test_the_tail_is_the_binomial_one(p: Fraction, n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    assert float(tail(p, n, k)) == pytest.approx(binom.sf(k - 1, n, float(p)), rel=1e-9, abs=1e-300)


@given(probabilities, st.integers(1, 40), st.data())
def test_the_tail_obeys_the_recursion_that_lean_defines_it_by(
    p: Fraction, n: int, data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, n + 1))
    assert tail(p, n, k) == p * tail(p, n - 1, k - 1) + (1 - p) * tail(p, n - 1, k)
    assert tail(p, n, 0) == 1
    assert tail(p, 0, k) == 0


@given(probabilities, st.integers(1, 60), st.data())
def test_chernoff_is_never_below_the_tail(p: Fraction, n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    x = data.draw(st.fractions(min_value=1, max_value=20, max_denominator=30))
    assert chernoff(p, n, k, x) >= tail(p, n, k)
    assert chernoff(p, n, k, best_x(p, n, k)) >= tail(p, n, k)


def test_the_chosen_x_is_nearly_the_best() -> None:
    p, n, k = Fraction(1, 2), 10_000, 5_300
    ours = float(chernoff(p, n, k, best_x(p, n, k)))
    assert ours <= 1.001 * min(float(chernoff(p, n, k, Fraction(100 + i, 100))) for i in range(1, 40))
    assert ours < 2e-8
    with pytest.raises(ValueError, match="x >= 1"):
        chernoff(p, n, k, Fraction(1, 2))


@given(st.fractions(min_value=Fraction(1, 10**40), max_value=2))
def test_rounding_goes_up_and_not_far(value: Fraction) -> None:
    up = rounded_up(value)
    assert up >= min(value, Fraction(1))
    assert up <= value * Fraction(11, 10) or up == 1
    digits = str(up.numerator * 10**60 // up.denominator).rstrip("0")
    assert len(digits) <= 2


@pytest.mark.parametrize(
    ("counts", "method", "holds"),
    [
        (Counts(70, 100, Fraction(1, 2)), "exact", True),
        (Counts(52, 100, Fraction(1, 2)), "exact", False),
        (Counts(5300, 10_000, Fraction(1, 2), Fraction(1, 10**6)), "chernoff", True),
        (Counts(5010, 10_000, Fraction(1, 2)), "chernoff", False),
        (Counts(300, 300, Fraction(9, 10)), "chernoff", True),
        (Counts(0, 300, Fraction(9, 10)), "chernoff", False),
    ],
)
def test_a_bound_holds_when_the_count_is_improbable(counts: Counts, method: str, holds: bool) -> None:
    found = bound(counts)
    assert (found.method, found.holds) == (method, holds)
    exact = binom.sf(counts.correct - 1, counts.trials, float(counts.baseline))
    assert float(found.epsilon) >= exact * (1 - 1e-9)
    if method == "exact":
        assert float(found.epsilon) <= 1.11 * exact


@pytest.mark.parametrize(
    "wrong",
    [
        (5, 4, Fraction(1, 2), Fraction(1, 20)),
        (0, 0, Fraction(1, 2), Fraction(1, 20)),
        (1, 2, Fraction(1), Fraction(1, 20)),
        (1, 2, Fraction(1, 2), Fraction(0)),
        (-1, 2, Fraction(1, 2), Fraction(1, 20)),
    ],
)
def test_what_is_no_count_is_refused(wrong: tuple[int, int, Fraction, Fraction]) -> None:
    with pytest.raises(ValueError, match=r"not at|no count"):
        Counts(*wrong)
