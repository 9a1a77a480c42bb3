"""Figures of response bits against closed forms, by hand, and against scikit-learn."""

from __future__ import annotations

from math import log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import multivariate_normal
from sklearn.metrics import roc_curve

from tpf import puf

BITS = 64


def responses(devices: int, repeats: int, agreement: float, seed: int) -> np.ndarray:
    """Devices with independent fair bits, each repeat of which flips a bit with the probability that is left."""
    rng = np.random.default_rng(seed)
    own = rng.random((devices, 1, BITS)) < 0.5
    flips = rng.random((devices, repeats, BITS)) >= agreement
    return (own ^ flips).astype(np.uint8)


def test_values_by_hand() -> None:
    table = np.array([[0, 0, 1, 1], [0, 1, 1, 0], [1, 1, 1, 1]], np.uint8)
    assert puf.uniqueness(table) == pytest.approx((2 + 2 + 2) / 12)
    assert puf.uniformity(table[0]) == 0.5
    np.testing.assert_allclose(puf.bit_aliasing(table), [1 / 3, 2 / 3, 1.0, 2 / 3])
    assert puf.reliability(table[0], table[1:]) == pytest.approx(1 - 4 / 8)
    assert puf.steadiness(table) == pytest.approx(1 + (3 * log2(2 / 3) + 0) / 4)
    assert puf.fractional_hamming(table[0], table[1]) == 0.5


def test_one_device_has_no_figures_of_a_population() -> None:
    for figure in (puf.uniqueness, puf.bit_aliasing):
        with pytest.raises(ValueError, match="one device"):
            figure(np.ones((1, 8), np.uint8))
    with pytest.raises(ValueError, match="one device"):
        puf.population(np.ones((1, 3, 8), np.uint8), np.random.default_rng(0))
    with pytest.raises(ValueError, match="at least twice"):
        puf.population(np.ones((3, 1, 8), np.uint8), np.random.default_rng(0))


@given(arrays(np.uint8, (5, 12), elements=st.integers(0, 1)))
def test_distances_are_those_of_each_pair(table: np.ndarray) -> None:
    found = puf.distances(table)
    for i in range(5):
        for j in range(5):
            assert found[i, j] == pytest.approx(puf.fractional_hamming(table[i], table[j]))
    p = table.mean(axis=0)  # of n devices, mean pair distance is 2 n/(n-1) mean p(1-p)
    assert puf.uniqueness(table) == pytest.approx(2 * 5 / 4 * float((p * (1 - p)).mean()))


def test_coins_have_the_steadiness_that_is_said() -> None:
    rng = np.random.default_rng(1)
    for repeats in (2, 5, 9):
        drawn = (rng.random((repeats, 200_000)) < 0.5).astype(np.uint8)
        assert puf.steadiness(drawn) == pytest.approx(puf.steadiness_of_coins(repeats), abs=0.005)


@pytest.mark.parametrize("rho", [-0.9, 0.0, 0.3, 0.8, 1.0])
def test_signs_agree_as_often_as_sheppard_says(rho: float) -> None:
    if abs(rho) < 1:
        both = multivariate_normal([0, 0], [[1, rho], [rho, 1]]).cdf([0, 0])
        assert puf.agreement_of(rho) == pytest.approx(2 * both, abs=1e-6)
    assert puf.correlation_for(puf.agreement_of(rho)) == pytest.approx(rho)


@given(
    st.lists(st.integers(0, BITS), min_size=1, max_size=30),
    st.lists(st.integers(0, BITS), min_size=1, max_size=30),
)
def test_error_rates_are_those_of_a_roc_curve(genuine: list[int], impostor: list[int]) -> None:
    near, far = np.array(genuine) / BITS, np.array(impostor) / BITS
    found = puf.error_rates(puf.counts_of(near, BITS), puf.counts_of(far, BITS), BITS)
    assert np.all(np.diff(found.far) >= -1e-12)
    assert np.all(np.diff(found.frr) <= 1e-12)
    false_positive, true_positive, _ = roc_curve(
        np.r_[np.ones(near.size), np.zeros(far.size)], -np.r_[near, far], drop_intermediate=False
    )
    # the equal error rate is where the ROC curve, drawn with straight lines, meets the falling diagonal
    gap = false_positive - (1 - true_positive)
    at = int(np.argmax(gap >= 0))
    part = -gap[at - 1] / (gap[at] - gap[at - 1])
    expected = false_positive[at - 1] + part * (false_positive[at] - false_positive[at - 1])
    assert found.eer == pytest.approx(float(expected), abs=1e-9)


def test_error_rates_at_the_ends() -> None:
    assert puf.equal_error_rate([0.1, 0.2], [0.4, 0.5], 10) == 0.0
    assert puf.equal_error_rate([0.4, 0.5], [0.1, 0.2], 10) == 1.0
    assert puf.equal_error_rate([0.3], [0.3], 10) == 0.5
    rates = puf.error_rates(
        puf.counts_of(np.array([0.1, 0.3]), 10), puf.counts_of(np.array([0.2, 0.6]), 10), 10
    )
    assert puf.frr_at_far(rates, 0.0) == 0.5
    assert puf.frr_at_far(rates, 0.5) == 0.0
    with pytest.raises(ValueError, match="pairs"):
        puf.error_rates(np.zeros(11), np.ones(11), 10)


def test_a_population_of_known_agreement() -> None:
    found = puf.population(
        responses(30, 4, 0.9, 2), np.random.default_rng(0), resamples=300, permutations=199
    )
    within = 2 * 0.9 * 0.1
    assert found.uniqueness.low < 0.5 < found.uniqueness.high
    assert found.reliability.value == pytest.approx(1 - within, abs=0.02)
    assert found.genuine.mean() == pytest.approx(within, abs=0.01)
    assert found.impostor.mean() == pytest.approx(0.5, abs=0.01)
    assert found.eer.value < 0.01
    assert found.p_value == 1 / 200
    assert (found.genuine.size, found.impostor.size) == (30 * 6, 30 * 29 // 2 * 16)
    assert found.aliasing.std() == pytest.approx(0.5 / 30**0.5, abs=0.02)


def test_without_an_error_the_interval_is_that_of_so_few_devices() -> None:
    found = puf.population(responses(4, 3, 1.0, 3), np.random.default_rng(0), resamples=50, permutations=19)
    assert (found.eer.value, found.eer.low) == (0.0, 0.0)
    assert found.eer.high == pytest.approx(1 - 0.025**0.25)


def test_dealing_out_is_an_exact_test() -> None:
    p = [
        puf.population(
            responses(5, 3, 0.5, seed), np.random.default_rng(seed), resamples=20, permutations=99
        ).p_value
        for seed in range(100)
    ]
    assert sum(value <= 0.05 for value in p) <= 12  # 5 expected
    assert np.mean(p) == pytest.approx(0.5, abs=0.12)
