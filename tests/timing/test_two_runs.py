"""Two runs against each other: intervals that cover, and a test that neighbours cannot fool."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import ks_2samp

from firmware_bridge.timing.statistics import coefficient_of_variation
from firmware_bridge.timing.two_runs import largest_difference, moments, same_law

FINITE = st.floats(0.0, 8.0).map(lambda x: round(x, 1))


@given(arrays(float, st.integers(1, 40), elements=FINITE), arrays(float, st.integers(1, 40), elements=FINITE))
def test_the_distance_is_that_of_scipy(a: np.ndarray, b: np.ndarray) -> None:
    with np.errstate(divide="ignore"):  # of its p-value
        known = ks_2samp(a, b, method="asymp").statistic
    assert largest_difference(a, b) == pytest.approx(known, abs=1e-12)


def drifting(n: int, rng: np.random.Generator) -> np.ndarray:
    """Exponential intervals whose mean wanders within some twenty neighbours."""
    level = np.convolve(rng.normal(0.0, 1.0, n + 19), np.ones(20) / 20**0.5, "valid")
    return np.asarray(np.exp(0.8 * level) * rng.exponential(100.0, n))


def test_neighbours_that_depend_on_each_other_raise_no_alarm() -> None:
    alarms, naive = 0, 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        a, b = drifting(1000, rng), drifting(1000, rng)
        found = same_law([a], [b], rng, permutations=79, block=100)
        assert found is not None
        alarms += found.p_value <= 0.05
        naive += ks_2samp(a, b).pvalue <= 0.05
    assert alarms <= 8  # 99 % of draws at 5 %
    assert naive >= 15


def test_another_law_is_found_and_another_mean_told_from_it() -> None:
    rng = np.random.default_rng(1)
    a, slower, regular = rng.exponential(1.0, 2000), rng.exponential(1.3, 2000), rng.gamma(2.0, 0.5, 2000)
    for other, differs in ((slower, False), (regular, True)):
        law = same_law([a], [other], rng, permutations=99)
        shape = same_law([a], [other], rng, scaled=True, permutations=99)
        assert law is not None
        assert shape is not None
        assert law.p_value == 0.01
        assert (shape.p_value <= 0.05) is differs
        assert law.distance > law.null_95
        assert law.blocks == (80, 80)


def test_short_runs_are_not_judged() -> None:
    rng = np.random.default_rng(1)
    assert same_law([np.ones(199)], [np.ones(500)], rng) is None
    assert same_law([np.ones(100), np.ones(110)], [np.ones(500)], rng, permutations=9) is not None


def test_mean_and_spread_with_intervals_that_cover() -> None:
    rng = np.random.default_rng(2)
    inside = 0
    for _ in range(60):
        found = moments([rng.exponential(50.0, 400), rng.exponential(50.0, 400)], rng)
        assert found.mean_ci is not None
        assert found.cv_ci is not None
        inside += (found.mean_ci[0] < 50.0 < found.mean_ci[1]) + (found.cv_ci[0] < 1.0 < found.cv_ci[1])
    assert inside >= 100
    x = rng.exponential(3.0, 300)
    found = moments([x], rng)
    assert found.mean_ms == pytest.approx(x.mean())
    assert found.cv == pytest.approx(coefficient_of_variation(x))
    assert moments([np.array([1.0])], rng).mean_ms is None
