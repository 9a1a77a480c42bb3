"""Trips on heat and on its slope, never on noise, stays tripped; and settings move at their pace."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import theilslopes

from firmware_bridge.sentinel.limits import Pace, RateLimit, TripFacts, TripGuard, robust_slope

FACTS = TripFacts(limit_c=75.0, trip_c=70.0, horizon_s=9.0, clear_c=62.0)


def test_it_trips_at_the_trip_point_once_and_latches() -> None:
    guard = TripGuard(FACTS)
    assert guard.observe(69.9, 0.0) is None
    trip = guard.observe(70.0, 3.0)
    assert trip is not None
    assert trip.kind == "temperature"
    assert guard.observe(80.0, 6.0) is None
    assert guard.hot
    assert not guard.release()
    guard.observe(61.0, 9.0)
    assert guard.release()
    assert guard.tripped is None


def test_a_steep_rise_trips_before_the_trip_point() -> None:
    guard, trips = TripGuard(FACTS), []
    for n in range(8):
        trips.append(guard.observe(57.0 + 2.4 * n, 3.0 * n))
    trip = next(t for t in trips if t is not None)
    assert trip.kind == "slope"
    assert trip.temperature_c < 70.0
    assert trip.slope_c_per_s == pytest.approx(0.8)


def test_noise_just_below_the_trip_point_never_trips() -> None:
    rng = np.random.default_rng(3)
    guard = TripGuard(FACTS)
    assert all(
        guard.observe(67.5 + 0.1 * rng.standard_normal(), 3.0 * n) is None for n in range(28_800)
    )  # a day


def test_a_cold_start_may_heat_fast() -> None:
    guard = TripGuard(FACTS)
    for n in range(40):
        assert guard.observe(58.0 - 33.0 * np.exp(-n * 3.0 / 15.0), 3.0 * n) is None


def test_one_or_two_wild_readings_do_not_make_a_slope() -> None:
    guard = TripGuard(FACTS)
    for n, reading in enumerate((60.0, 60.1, 60.0, 66.0, 60.1, 60.0, 60.2, 60.1)):
        assert guard.observe(reading, 3.0 * n) is None


@given(st.lists(st.floats(0, 100), min_size=4, max_size=5, unique=True))
def test_the_slope_is_that_of_scipy(values: list[float]) -> None:
    points = [(3.0 * n, v) for n, v in enumerate(values)]
    found = robust_slope(points)
    expected = theilslopes([v for _, v in points], [t for t, _ in points])[0]
    assert found == pytest.approx(expected, abs=1e-9)


def test_facts_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValueError, match="below"):
        TripFacts(70.0, 70.0, 9.0, 60.0)


def test_a_setting_moves_as_often_and_as_far_as_it_may() -> None:
    limit = RateLimit(Pace(every_s=600.0, deadband=0.5, most=2.0))
    assert limit.allowed(0.0, 0.4, 0.0) is None
    assert limit.allowed(0.0, 10.0, 0.0) == 2.0
    limit.moved(0.0)
    assert limit.allowed(2.0, 10.0, 599.0) is None
    assert limit.allowed(2.0, -10.0, 600.0) == 0.0
