"""Exact leakage of joint tables: against closed forms, scipy, and the inequalities that the theorems state."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2_contingency

from tpf.leakage import (
    accuracy,
    chi_square_leak,
    observation_marginal,
    posterior_vulnerability,
    prior_vulnerability,
    secret_marginal,
    table_of_counts,
    tv_leak,
    vulnerability_gain,
)

COPY = [[Fraction(1, 2), Fraction(0)], [Fraction(0), Fraction(1, 2)]]
INDEPENDENT = [[Fraction(1, 8), Fraction(1, 8)], [Fraction(3, 8), Fraction(3, 8)]]

tables = st.integers(1, 4).flatmap(
    lambda columns: st.lists(
        st.lists(st.integers(0, 9), min_size=columns, max_size=columns), min_size=1, max_size=4
    ).filter(lambda rows: sum(map(sum, rows)) > 0)
)


def test_a_copy_leaks_everything() -> None:
    assert tv_leak(COPY) == Fraction(1, 2)
    assert chi_square_leak(COPY) == 1
    assert (prior_vulnerability(COPY), posterior_vulnerability(COPY)) == (Fraction(1, 2), 1)
    assert vulnerability_gain(COPY) == Fraction(1, 2)


def test_independence_leaks_nothing() -> None:
    assert tv_leak(INDEPENDENT) == chi_square_leak(INDEPENDENT) == vulnerability_gain(INDEPENDENT) == 0
    assert prior_vulnerability(INDEPENDENT) == Fraction(3, 4)


@given(tables)
def test_the_theorems_hold_on_any_table(counts: list[list[int]]) -> None:
    w = table_of_counts(counts)
    gain, tv = vulnerability_gain(w), tv_leak(w)
    assert 0 <= gain <= tv
    assert (tv == 0) == (chi_square_leak(w) == 0)
    # Cauchy-Schwarz: (2 tv)^2 <= chi-square
    assert (2 * tv) ** 2 <= chi_square_leak(w)
    secrets, observations = len(w), len(w[0])
    for i in range(secrets):
        assert accuracy(w, lambda j, i=i: i) == secret_marginal(w)[i]
    best = [max(range(secrets), key=lambda i: w[i][j]) for j in range(observations)]
    assert accuracy(w, best) == posterior_vulnerability(w)
    assert accuracy(w, best) - prior_vulnerability(w) <= tv


@given(tables, st.integers(0, 3))
def test_merging_observations_never_leaks_more(counts: list[list[int]], merged: int) -> None:
    w = table_of_counts(counts)
    k = merged % len(w[0])
    coarse = [[row[0] + row[k], *[row[j] for j in range(1, len(row)) if j != k]] if k else row for row in w]
    assert tv_leak(coarse) <= tv_leak(w)
    assert vulnerability_gain(coarse) <= vulnerability_gain(w)


def test_chi_square_is_that_of_scipy() -> None:
    counts = np.random.default_rng(0).integers(1, 40, size=(3, 5))
    found = chi_square_leak(table_of_counts(counts.tolist())) * int(counts.sum())
    assert float(found) == pytest.approx(chi2_contingency(counts, correction=False).statistic)
    assert sum(observation_marginal(table_of_counts(counts.tolist()))) == 1


@pytest.mark.parametrize(
    ("w", "why"),
    [
        ([], "at least one"),
        ([[Fraction(1, 2)], [Fraction(1, 4), Fraction(1, 4)]], "equal length"),
        ([[Fraction(3, 2)], [Fraction(-1, 2)]], "not negative"),
        ([[Fraction(1, 2)]], "sum to 1/2"),
    ],
)
def test_what_is_no_distribution_is_refused(w: list[list[Fraction]], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        tv_leak(w)


def test_a_predictor_says_something_for_every_observation() -> None:
    with pytest.raises(ValueError, match="2 observations, 1 predictions"):
        accuracy(COPY, [0])
