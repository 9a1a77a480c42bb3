"""Definitions against independent implementations, exact values, and laws they obey."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from firmware_bridge.timing import statistics as s
from firmware_bridge.timing.run_data import FloatArray, RunData

positive = arrays(np.float64, st.integers(3, 60), elements=st.floats(0.01, 1e4))


@pytest.fixture(scope="module")
def gamma() -> FloatArray:
    return np.random.default_rng(1).gamma(1.4, 70.0, 3000)


def test_published_values_of_known_processes() -> None:
    rng = np.random.default_rng(7)
    regular = rng.gamma(2.0, 1.0, 200_000)
    assert s.coefficient_of_variation(regular) == pytest.approx(0.7071, abs=0.01)
    assert s.lv(regular) == pytest.approx(0.600, abs=0.01)
    poisson = rng.exponential(1.0, 200_000)
    assert s.cv2(poisson) == pytest.approx(1.0, abs=0.01)
    assert s.lv(poisson) == pytest.approx(1.0, abs=0.01)
    assert s.burstiness(poisson) == pytest.approx(0.0, abs=0.01)
    assert s.memory(poisson) == pytest.approx(0.0, abs=0.01)
    assert s.allan_deviation(poisson, 16) == pytest.approx(1 / 4, rel=0.03)
    counts = s.window_counts(np.cumsum(poisson * 1e8).astype(np.int64), 10**9)
    assert s.fano_factor([counts]).value == pytest.approx(1.0, abs=0.05)
    assert s.allan_factor(counts) == pytest.approx(1.0, abs=0.05)


def test_a_coarse_clock_destroys_lv(recording: RunData) -> None:
    """Statistics.md §2: quantising the recording to 50 ms moves LV from 0.75 to 1.07, to 1 s to 3.0."""

    def quantised(tick_ns: int) -> float:
        return s.lv(np.diff(recording.time_ns // tick_ns).astype(float))

    assert quantised(1) == pytest.approx(0.747451, abs=1e-6)
    assert quantised(50_000_000) == pytest.approx(1.07, abs=0.005)
    assert quantised(1_000_000_000) == pytest.approx(3.0, abs=0.05)


def test_against_scipy_and_statsmodels(gamma: FloatArray) -> None:
    from scipy.stats import variation
    from statsmodels.stats.diagnostic import acorr_ljungbox
    from statsmodels.tsa.stattools import acf

    assert s.coefficient_of_variation(gamma) == pytest.approx(variation(gamma), rel=1e-12)
    np.testing.assert_allclose(s.autocorrelation(gamma, 20), acf(gamma, nlags=20, fft=False)[1:], rtol=1e-9)
    reference = acorr_ljungbox(gamma, lags=[20])
    box = s.ljung_box(gamma)
    assert box.statistic == pytest.approx(reference["lb_stat"].iloc[0], rel=1e-9)
    assert box.p_value == pytest.approx(reference["lb_pvalue"].iloc[0], rel=1e-9)
    assert s.memory(gamma) == pytest.approx(np.corrcoef(gamma[:-1], gamma[1:])[0, 1], rel=1e-9)


@pytest.mark.parametrize("m", [1, 4, 16])
def test_against_allantools(gamma: FloatArray, m: int) -> None:
    allantools = pytest.importorskip("allantools", reason="the test extra has it")
    y = gamma / gamma.mean() - 1
    reference = allantools.oadev(y, rate=1.0, data_type="freq", taus=[m])[1][0]
    assert s.allan_deviation(gamma, m) == pytest.approx(reference, rel=1e-9)


def test_against_elephant(gamma: FloatArray) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        elephant = pytest.importorskip(
            "elephant.statistics", reason="elephant is not installed: pip install elephant"
        )
        assert s.cv2(gamma) == pytest.approx(elephant.cv2(gamma), rel=1e-12)
        assert s.lv(gamma) == pytest.approx(elephant.lv(gamma), rel=1e-12)


def test_windows_start_at_the_first_event_and_drop_the_last_part() -> None:
    times = np.array([100, 105, 119, 120, 131, 147])
    assert s.window_counts(times, 20).tolist() == [3.0, 2.0]
    assert s.window_counts(times, 100).size == 0
    assert s.window_counts(np.empty(0, np.int64), 20).size == 0


def test_fano_factor_by_hand() -> None:
    assert s.fano_factor([np.array([1.0, 2.0, 3.0, 6.0])]).value == pytest.approx((14 / 3) / 3)


def test_fano_interval_covers_poisson_counts() -> None:
    rng = np.random.default_rng(5)
    found = [s.fano_factor([rng.poisson(7.0, 60).astype(float)]) for _ in range(400)]
    covered = sum(f.low <= 1.0 <= f.high for f in found)
    assert 0.92 <= covered / 400 <= 0.98


def test_miners_pool_their_windows_without_mixing_rates() -> None:
    rng = np.random.default_rng(6)
    slow, fast = (rng.poisson(rate, 4000).astype(float) for rate in (2.0, 50.0))
    assert s.fano_factor([slow, fast]).value == pytest.approx(1.0, abs=0.05)
    assert s.pooled_allan_factor([slow, fast]) == pytest.approx(1.0, abs=0.05)
    assert s.fano_factor([np.concatenate([slow, fast])]).value > 10


def test_entropy_by_hand() -> None:
    found = s.histogram_entropy(np.array([1.0, 9.99, 10.0, 25.0]))
    plug_in = -(0.5 * np.log(0.5) + 2 * 0.25 * np.log(0.25))
    assert found.bins == 3
    assert found.nats == pytest.approx(plug_in + 2 / 8)
    assert found.normalised == pytest.approx((plug_in + 2 / 8) / np.log(3))


def test_entropy_of_intervals_far_apart_needs_no_bins_between() -> None:
    wide = s.histogram_entropy(np.array([0.0, 1e12, 1e12, 5.0]))
    assert wide.bins == 2
    assert wide.nats == pytest.approx(np.log(2) + 1 / 8)


def test_clock_tick_is_the_common_step() -> None:
    assert s.estimated_tick_ns(np.array([7, 107, 407, 1007])) == 100
    assert s.estimated_tick_ns(np.array([5, 5, 5])) is None
    assert s.estimated_tick_ns(np.array([5])) is None


@given(x=positive, factor=st.floats(1e-3, 1e3))
def test_ratios_do_not_depend_on_the_unit_of_time(x: FloatArray, factor: float) -> None:
    for statistic in (s.coefficient_of_variation, s.cv2, s.lv, s.burstiness):
        assert statistic(factor * x) == pytest.approx(statistic(x), rel=1e-6, abs=1e-9)


@given(x=positive)
def test_ratios_do_not_depend_on_the_direction_of_time(x: FloatArray) -> None:
    for statistic in (s.coefficient_of_variation, s.cv2, s.lv):
        assert statistic(x[::-1]) == pytest.approx(statistic(x), rel=1e-9, abs=1e-12)


@given(x=positive)
def test_ranges(x: FloatArray) -> None:
    assert 0 <= s.cv2(x) <= 2
    assert 0 <= s.lv(x) <= 3
    assert -1 <= s.burstiness(x) < 1
    found = s.histogram_entropy(x)
    assert 0 <= found.nats <= np.log(found.bins) + (found.bins - 1) / (2 * x.size) + 1e-12


@settings(max_examples=50)
@given(
    times=st.lists(st.integers(0, 10_000), min_size=1, max_size=200).map(sorted), window=st.integers(1, 3000)
)
def test_windows_count_each_event_at_most_once(times: list[int], window: int) -> None:
    counts = s.window_counts(np.array(times), window)
    end = times[0] + window * counts.size
    assert counts.sum() == sum(t < end for t in times)
    assert counts.size == (times[-1] - times[0]) // window


@pytest.mark.parametrize("x", [np.empty(0), np.array([3.0]), np.zeros(5), np.full(100, 2.0)])
def test_too_little_to_say_is_nan_not_a_crash(x: FloatArray) -> None:
    for statistic in (s.coefficient_of_variation, s.cv2, s.lv, s.burstiness, s.memory, s.allan_deviation):
        value = statistic(x)
        assert np.isnan(value) or np.isfinite(value)
    assert np.isnan(s.ljung_box(x).p_value)
    assert np.isnan(s.memory(x))
