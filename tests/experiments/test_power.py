"""The arithmetic behind every ``detectable``, held against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from experiments.power import POWER, cv_off_at_one_point, errors_needed


def test_an_effect_of_so_many_errors_is_found_that_often() -> None:
    rng = np.random.default_rng(1)
    found = rng.normal(errors_needed(0.025), 1.0, 200_000) > stats.norm.isf(0.025)
    assert found.mean() == pytest.approx(POWER, abs=0.004)
    assert errors_needed(0.025) == pytest.approx(2.8016, abs=1e-4)


def test_one_cv_of_many_that_is_off_so_far_is_found_that_often() -> None:
    points, shares, level = 8, 1000, 0.05
    off = cv_off_at_one_point(points, shares, level)
    z = np.random.default_rng(2).standard_normal((100_000, points))
    z[:, 0] += off * shares**0.5
    statistic = ((z - z.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    found = statistic > stats.chi2.isf(level, points - 1)
    assert found.mean() == pytest.approx(POWER, abs=0.005)
