"""Detectors: false alarm rates and delays are what they are said to be, and the interface is scikit-learn's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.base import clone

from firmware_bridge.sentinel import run_length
from firmware_bridge.sentinel.anomaly import Cusum, Detector, Isolation, RobustZ
from firmware_bridge.sentinel.anomaly_timing import ExponentialCusum, SpreadChange

ALL = [RobustZ(), Cusum(500.0), ExponentialCusum(500.0), SpreadChange(0.01, 20, 2000), Isolation(0.02, 20)]


@pytest.mark.parametrize("detector", ALL, ids=lambda d: type(d).__name__)
def test_each_has_the_interface_of_scikit_learn(detector: Detector) -> None:
    rng = np.random.default_rng(1)
    usual = rng.exponential(1.0, 1000)
    copy = clone(detector)
    assert copy is not detector
    assert copy.get_params() == detector.get_params()
    assert copy.fit(usual) is copy
    scores, verdicts = copy.score_samples(usual), copy.predict(usual)
    assert scores.shape == verdicts.shape
    assert set(np.unique(verdicts)) <= {-1, 1}
    with pytest.raises(ValueError, match="no parameter"):
        copy.set_params(colour="red")


@pytest.mark.parametrize(("h", "published"), [(4.0, 168.0), (4.77, 370.0), (5.0, 465.0)])
def test_run_lengths_of_the_normal_cusum_are_the_published_ones(h: float, published: float) -> None:
    """Two-sided chart with reference 0.5: Montgomery, *Introduction to Statistical Quality Control*, §9.1."""
    one_sided = run_length.average_run_length(run_length.normal_increment(0.5), h)
    assert one_sided / 2 == pytest.approx(published, rel=0.01)
    assert run_length.threshold_for(run_length.normal_increment(0.5), one_sided) == pytest.approx(h, abs=2e-3)


@pytest.mark.parametrize("h", [2.5, 4.0, 6.0])
@pytest.mark.parametrize("reference", [0.25, 0.5, 1.0])
def test_run_lengths_agree_with_the_approximation_of_siegmund(h: float, reference: float) -> None:
    """Siegmund 1985, *Sequential Analysis*: good to a few per cent, and independent of the chain."""
    b = h + 1.166
    expected = (math.exp(2 * reference * b) - 2 * reference * b - 1) / (2 * reference**2)
    found = run_length.average_run_length(run_length.normal_increment(reference), h)
    assert found == pytest.approx(expected, rel=0.12 if reference == 1.0 else 0.05)


@pytest.mark.parametrize(("shift", "published"), [(0.5, 26.6), (1.0, 8.38), (2.0, 3.34)])
def test_delays_of_the_normal_cusum_are_the_published_ones(shift: float, published: float) -> None:
    """Reference 0.5, h = 4, the same table."""
    found = run_length.average_run_length(run_length.normal_increment(0.5, shift), 4.0)
    assert found == pytest.approx(published, rel=0.02)


def lengths(detector: Cusum | ExponentialCusum, draw: object, repetitions: int) -> np.ndarray:
    """Run lengths until the first alarm."""
    found = []
    for _ in range(repetitions):
        detector.reset()
        n = 1
        while not detector.update(float(draw())):  # type: ignore[operator]
            n += 1
        found.append(n)
    return np.array(found)


def mean_within(found: np.ndarray, expected: float) -> bool:
    """Whether the mean of run lengths, about exponential, agrees within 4 standard errors."""
    return abs(found.mean() - expected) < 4.0 * max(found.std(), 1.0) / math.sqrt(found.size)


@pytest.mark.parametrize("shift", [1.0, 2.0])
def test_the_cusum_alarms_on_white_noise_as_rarely_and_on_a_shift_as_fast_as_it_says(shift: float) -> None:
    rng = np.random.default_rng(5)
    cusum = Cusum(run_length=300.0, shift=shift).know(10.0, 2.0)
    assert mean_within(lengths(cusum, lambda: rng.normal(10.0, 2.0), 400), 300.0)
    moved = lengths(cusum, lambda: rng.normal(10.0 + 2.0 * shift, 2.0), 400)
    assert mean_within(moved, cusum.expected_delay(shift))
    down = lengths(cusum, lambda: rng.normal(10.0 - 2.0 * shift, 2.0), 400)
    assert mean_within(down, cusum.expected_delay(-shift))


@pytest.mark.parametrize("factor", [1.5, 2.5])
def test_the_cusum_of_intervals_alarms_as_rarely_and_finds_a_change_of_rate_as_fast_as_it_says(
    factor: float,
) -> None:
    rng = np.random.default_rng(6)
    chart = ExponentialCusum(run_length=300.0, factor=factor).know(0.3)
    assert mean_within(lengths(chart, lambda: rng.exponential(0.3), 400), 300.0)
    for changed in (factor, 1 / factor):
        found = lengths(chart, lambda c=changed: rng.exponential(0.3 * c), 400)
        assert mean_within(found, chart.expected_delay(changed)), changed


def test_intervals_of_another_law_are_mapped_onto_exponential_ones() -> None:
    rng = np.random.default_rng(8)
    usual = 0.05 + rng.gamma(3.0, 0.1, 4000)  # dead time and a narrower law
    chart = ExponentialCusum(run_length=300.0, assume="empirical").fit(usual)
    found = lengths(chart, lambda: 0.05 + rng.gamma(3.0, 0.1), 300)
    assert 200.0 < found.mean() < 450.0
    plain = ExponentialCusum(run_length=300.0).fit(usual)
    seen = 0.05 + rng.gamma(3.0, 0.1, 20_000)
    assert abs(int((plain.predict(seen) < 0).sum()) - 67) > 20  # the exponential assumption would be wrong


def test_robust_z_calls_as_many_usual_samples_unusual_as_it_says_and_forgives_outliers_in_the_reference() -> (
    None
):
    rng = np.random.default_rng(9)
    usual = rng.normal(0.0, 1.0, (20_000, 3)) * [1.0, 10.0, 0.1]
    usual[:200] = 1e6  # one per cent of nonsense
    detector = RobustZ(alarms=1e-3).fit(usual)
    fresh = rng.normal(0.0, 1.0, (200_000, 3)) * [1.0, 10.0, 0.1]
    alarms = int((detector.predict(fresh) < 0).sum())
    assert 130 < alarms < 270
    assert detector.predict([[0.0, 0.0, 0.6]])[0] == -1
    assert detector.predict([[0.0, np.nan, 0.0]])[0] == 1
    with pytest.raises(ValueError, match="no usual value"):
        RobustZ().fit([[np.nan], [np.nan]])


def test_a_change_of_spread_is_found_and_none_is_not() -> None:
    rng = np.random.default_rng(10)
    detector = SpreadChange(alarms=0.01, block=100).fit(rng.exponential(0.3, 5000))
    usual = detector.predict(rng.exponential(7.0, 100 * 3000))  # another rate is no other spread
    assert 10 < int((usual < 0).sum()) < 65
    narrower = detector.predict(rng.gamma(3.0, 0.1, 100 * 200))
    assert (narrower < 0).mean() > 0.9
    with pytest.raises(ValueError, match="at least 200"):
        detector.fit(rng.exponential(1.0, 150))


def test_isolation_finds_what_lies_between_two_operating_points() -> None:
    rng = np.random.default_rng(11)

    def usual(n: int) -> np.ndarray:
        fast = rng.random(n) < 0.5  # two operating points: slow and cool, or fast and warm
        return np.column_stack([fast, fast]) * 5.0 + 0.3 * rng.standard_normal((n, 2))

    detector = Isolation(alarms=0.01).fit(usual(2000))
    assert (detector.predict(usual(4000)) < 0).mean() < 0.03
    assert detector.predict([[2.5, 2.5]])[0] == -1
    assert RobustZ(alarms=0.01).fit(usual(2000)).predict([[2.5, 2.5]])[0] == 1
    with pytest.raises(ValueError, match="at least 20"):
        detector.fit(usual(10))
