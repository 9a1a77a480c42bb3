from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.diagnostic import acorr_ljungbox

from firmware_bridge.timing.association import (
    association_test,
    detectable_slope,
    effective_size,
    exponential_distance,
    exponential_p,
    memory_test,
    rank_correlation,
)


def test_exponential_distance_is_scipys_ks_with_fitted_rate() -> None:
    values = np.random.default_rng(0).exponential(3, 500)
    expected = stats.kstest(values, "expon", args=(0, values.mean())).statistic
    assert exponential_distance(values, shifted=False) == pytest.approx(expected, abs=1e-12)


def test_exponential_p_is_that_of_scipys_goodness_of_fit() -> None:
    values = np.random.default_rng(1).gamma(1.08, 3, 800)
    expected = stats.goodness_of_fit(
        stats.expon, values, known_params={"loc": 0}, statistic="ks", n_mc_samples=2000, rng=2
    ).pvalue
    ours = exponential_p(exponential_distance(values, shifted=False), values.size)
    assert ours == pytest.approx(expected, abs=0.04)


@pytest.mark.parametrize("n", [30, 300, 3000])
def test_exponential_p_keeps_its_level_with_rate_and_start_fitted(n: int) -> None:
    rng = np.random.default_rng(n)
    p = [
        exponential_p(exponential_distance(7 + rng.exponential(2, n), shifted=True), n - 1)
        for _ in range(400)
    ]
    assert 0.02 < np.mean(np.array(p) < 0.05) < 0.09


def test_five_percent_critical_value_is_the_published_one() -> None:
    n = 5000  # statistics.md: D * sqrt(n) = 1.08 with the rate estimated, not 1.36
    assert exponential_p(1.08 / np.sqrt(n), n) == pytest.approx(0.05, abs=0.012)


def test_memory_test_is_ljung_box_on_normal_scores() -> None:
    values = np.random.default_rng(3).standard_cauchy(700)
    scores = stats.norm.ppf((stats.rankdata(values) - 0.5) / 700)
    expected = acorr_ljungbox(scores, [20])
    ours = memory_test("m", "?", values)
    assert ours.statistic == pytest.approx(float(expected.lb_stat.iloc[0]), rel=1e-9)
    assert ours.p_value == pytest.approx(float(expected.lb_pvalue.iloc[0]), rel=1e-9)


def test_rank_correlation_is_scipys_spearman_with_ties() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.integers(0, 9, 300), rng.integers(0, 9, 300)
    assert rank_correlation(x.astype(float), y.astype(float)) == pytest.approx(
        stats.spearmanr(x, y).statistic
    )
    assert rank_correlation(np.ones(5), np.arange(5.0)) == 0


def test_association_keeps_its_level_when_both_sides_drift() -> None:
    rng = np.random.default_rng(5)

    def drift(n: int) -> np.ndarray:
        return stats.zscore(np.convolve(rng.normal(size=n + 200), np.ones(200), "valid")[:n]) + rng.normal(
            size=n
        )

    p = [
        association_test("a", "?", drift(2000), drift(2000), "u", alpha=0.05, rng=rng, serial=True).p_value
        for _ in range(100)
    ]
    naive = [
        association_test("a", "?", drift(2000), drift(2000), "u", alpha=0.05, rng=rng).p_value
        for _ in range(40)
    ]
    assert np.mean(np.array(naive) < 0.05) > 0.4
    assert np.mean(np.array(p) < 0.05) < 0.15


def test_effective_size_is_n_without_autocorrelation() -> None:
    rng = np.random.default_rng(6)
    assert effective_size(rng.normal(size=3000), rng.normal(size=3000)) > 2900


def test_detectable_slope_is_found_nine_times_out_of_ten() -> None:
    rng = np.random.default_rng(7)
    cause = rng.exponential(1, 1500)
    slope = detectable_slope(cause, rng.laplace(0, 2, 1500), alpha=0.01, rng=rng)
    assert slope is not None
    found = [
        stats.spearmanr(cause, rng.laplace(0, 2, 1500) + slope * cause).pvalue < 0.01 for _ in range(200)
    ]
    assert 0.82 < np.mean(found) < 0.97


def test_no_slope_is_detectable_without_variation() -> None:
    rng = np.random.default_rng(8)
    assert detectable_slope(np.ones(100), rng.normal(size=100), alpha=0.05, rng=rng) is None
