from __future__ import annotations

import numpy as np
import pytest

from firmware_bridge.timing import goodness
from firmware_bridge.timing.run_data import FloatArray, RunData


def test_against_scipy_goodness_of_fit() -> None:
    from scipy import stats

    rng = np.random.default_rng(1)
    x = rng.gamma(1.15, 10.0, 150)
    ours = goodness.exponentiality(x, rng, 1999)
    for name, value, p in (("ks", ours.ks, ours.ks_p), ("ad", ours.ad, ours.ad_p)):
        reference = stats.goodness_of_fit(
            stats.expon, x, known_params={"loc": 0}, statistic=name, n_mc_samples=1999, rng=rng
        )
        assert value == pytest.approx(float(reference.statistic), rel=1e-9)
        assert p == pytest.approx(float(reference.pvalue), abs=0.04)


def test_critical_value_with_the_rate_estimated_is_1_08() -> None:
    ks, _ = goodness.simulate_exponential(400, np.random.default_rng(2), 20_000)
    assert np.quantile(ks * np.sqrt(400), 0.95) == pytest.approx(1.08, abs=0.015)


def test_sorted_samples_have_the_law_of_sorting() -> None:
    rng = np.random.default_rng(3)
    ks, ad = goodness.simulate_exponential(30, rng, 4000)
    sorted_way = [goodness.exponential_distances(rng.exponential(size=30)) for _ in range(4000)]
    for ours, other in ((ks, [f.ks for f in sorted_way]), (ad, [f.ad for f in sorted_way])):
        for q in (0.1, 0.5, 0.9):
            assert np.quantile(ours, q) == pytest.approx(np.quantile(other, q), rel=0.06)


def test_level_of_the_test() -> None:
    rng = np.random.default_rng(4)
    p = np.array([goodness.exponentiality(rng.exponential(7.0, 60), rng, 99).ks_p for _ in range(400)])
    assert 8 <= (p <= 0.05).sum() <= 34  # 99.9 % band of 20
    assert p.mean() == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("x", [np.empty(0), np.array([1.0]), np.zeros(10), np.array([-1.0, 0.5])])
def test_nothing_to_test(x: FloatArray) -> None:
    fit = goodness.exponentiality(x, np.random.default_rng(0), 9)
    assert np.isnan(fit.ks)
    assert np.isnan(fit.ks_p)


def test_pareto_of_a_fair_and_an_unfair_hash() -> None:
    rng = np.random.default_rng(5)
    fair = goodness.pareto_fit(1.0 / rng.random(20_000))
    assert fair.alpha == pytest.approx(1.0, abs=0.03)
    assert fair.ks_p > 1e-3
    unfair = goodness.pareto_fit(1.0 / rng.random(20_000) ** 0.8)
    assert unfair.alpha == pytest.approx(1.25, abs=0.04)
    assert unfair.ks_p < 1e-6


def test_pareto_against_scipy_and_its_interval() -> None:
    from scipy import stats

    rng = np.random.default_rng(6)
    x = 1.0 / rng.random(300)
    reference = stats.kstest(x, stats.pareto(b=1.0).cdf)
    ours = goodness.pareto_fit(x)
    assert ours.ks == pytest.approx(reference.statistic, rel=1e-9)
    assert ours.ks_p == pytest.approx(reference.pvalue, abs=0.01)
    covered = 0
    for _ in range(400):
        fit = goodness.pareto_fit(1.0 / rng.random(40))
        covered += fit.alpha_low <= 1.0 <= fit.alpha_high
    assert 0.92 <= covered / 400 <= 0.98
    assert np.isnan(goodness.pareto_fit(np.empty(0)).ks)


def test_recorded_difficulties_are_those_of_a_fair_hash(recording: RunData) -> None:
    unique = ~recording.duplicate
    fit = goodness.pareto_fit(recording.difficulty[unique] / 256.0)
    assert fit.n == 2546
    assert fit.alpha_low < 1.0 < fit.alpha_high
    assert fit.ks_p > 0.05
