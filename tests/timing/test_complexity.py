"""Our short loops against the libraries that take seconds to import."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from firmware_bridge.timing import complexity as c
from firmware_bridge.timing.run_data import FloatArray

# what the tests of this file share is made by one worker
pytestmark = pytest.mark.xdist_group("complexity")


def samples() -> list[FloatArray]:
    rng = np.random.default_rng(2)
    walk = np.cumsum(rng.standard_normal(700))
    coarse = np.floor(rng.exponential(4.0, 500))
    return [rng.exponential(100.0, 900), walk, coarse, np.sin(np.arange(600) / 7.0)]


@pytest.mark.parametrize("x", samples(), ids=["exponential", "walk", "ties", "sine"])
def test_against_antropy(x: FloatArray) -> None:
    import antropy

    for order in (3, 4, 5):
        ours = c.permutation_entropy(x, order)
        assert ours == pytest.approx(antropy.perm_entropy(x, order=order, normalize=True), abs=1e-9)
    assert c.sample_entropy(x) == pytest.approx(antropy.sample_entropy(x, order=2), rel=1e-9)
    assert c.dfa(x) == pytest.approx(antropy.detrended_fluctuation(x), rel=1e-6)


def test_sample_entropy_by_the_definition() -> None:
    x = np.random.default_rng(3).gamma(2.0, 1.0, 120)
    r, m, n = 0.2 * x.std(), 2, 120

    def pairs(length: int) -> int:
        windows = np.array([x[i : i + length] for i in range(n - m)])
        distance = np.abs(windows[:, None, :] - windows[None, :, :]).max(axis=2)
        return int((distance < r).sum() - windows.shape[0])

    matches = c.template_matches(x)
    assert matches.shorter.sum() == pairs(2)
    assert matches.longer.sum() == pairs(3)


@pytest.mark.parametrize("separation", [0, 1, 5])
def test_lyapunov_against_nolds(separation: int) -> None:
    nolds = pytest.importorskip("nolds", reason="nolds is not installed: pip install nolds==0.6.2")
    logistic = np.empty(500)
    logistic[0] = 0.3
    for i in range(1, 500):
        logistic[i] = 4.0 * logistic[i - 1] * (1.0 - logistic[i - 1])
    noise = np.random.default_rng(4).exponential(1.0, 500)
    for x in (logistic, noise):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reference = nolds.lyap_r(
                x, emb_dim=3, lag=1, min_tsep=separation, trajectory_len=10, fit="poly", tau=1
            )
        assert c.lyapunov(x, separation=separation) == pytest.approx(reference, rel=1e-6)


def test_lyapunov_of_noise_is_as_positive_as_that_of_the_recording(recording_intervals: FloatArray) -> None:
    """A positive exponent is an estimator floor, not chaos (statistics.md §2)."""
    rng = np.random.default_rng(5)
    noise = c.lyapunov(rng.exponential(1.0, recording_intervals.size))
    assert noise > 0.15
    assert c.lyapunov(recording_intervals) == pytest.approx(noise, rel=0.1)


def test_mutual_information_against_sklearn_and_theory() -> None:
    from sklearn.feature_selection import mutual_info_regression

    rng = np.random.default_rng(6)
    rho = 0.6
    a = rng.standard_normal(2000)
    b = rho * a + np.sqrt(1 - rho**2) * rng.standard_normal(2000)
    found = c.mutual_information(a, b, rng, permutations=19)
    ranks = [np.argsort(np.argsort(v)).astype(float) for v in (a, b)]
    reference = mutual_info_regression(ranks[0][:, None], ranks[1], n_neighbors=3, random_state=0)[0]
    assert found.nats == pytest.approx(reference, abs=0.01)
    assert found.nats == pytest.approx(-0.5 * np.log(1 - rho**2), abs=0.06)
    assert found.p_value == pytest.approx(1 / 20)
    assert c.mutual_information(
        np.exp(a), b**3, np.random.default_rng(0), permutations=0
    ).nats == pytest.approx(c.mutual_information(a, b, np.random.default_rng(0), permutations=0).nats)


def test_mutual_information_of_independent_samples_is_not_significant_too_often() -> None:
    rng = np.random.default_rng(7)
    p = [
        c.mutual_information(rng.exponential(size=80), rng.random(80), rng, permutations=19).p_value
        for _ in range(100)
    ]
    assert sum(value <= 0.05 for value in p) <= 14


def test_permutation_entropy_of_noise_lacks_its_bias() -> None:
    rng = np.random.default_rng(8)
    n = 500
    found = np.mean([c.permutation_entropy(rng.random(n), 5) for _ in range(100)])
    assert 1 - found == pytest.approx(c.permutation_entropy_bias(n - 4, 5), rel=0.15)


def test_dfa_of_noise_and_walk() -> None:
    rng = np.random.default_rng(9)
    noise = rng.standard_normal(8000)
    assert c.dfa(noise) == pytest.approx(0.5, abs=0.06)
    assert c.dfa(np.cumsum(noise)) == pytest.approx(1.5, abs=0.1)


@settings(max_examples=40)
@given(x=arrays(np.float64, st.integers(10, 80), elements=st.floats(0.01, 100)), factor=st.floats(0.01, 100))
def test_ordinal_patterns_see_only_order(x: FloatArray, factor: float) -> None:
    ranks = np.unique(x, return_inverse=True)[1].astype(np.float64)
    for order in (3, 4, 5):
        value = c.permutation_entropy(x, order)
        assert 0 <= value <= 1 + 1e-12
        assert c.permutation_entropy(ranks, order) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 30])
def test_short_series_do_not_crash(n: int) -> None:
    x = np.arange(n, dtype=float)
    rng = np.random.default_rng(0)
    for statistic in (c.sample_entropy, c.dfa, c.lyapunov, lambda v: c.permutation_entropy(v, 5)):
        value = statistic(x)
        assert np.isnan(value) or np.isfinite(value)
    assert np.isnan(c.mutual_information(x, x, rng).nats)
    assert np.isnan(c.sample_entropy(np.full(50, 3.0)))
