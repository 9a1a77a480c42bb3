from __future__ import annotations

import numpy as np
import pytest

from firmware_bridge.timing.fits import MODELS, Fit, emg_log_density, fit_models
from firmware_bridge.timing.run_data import FloatArray, RunData

# what the tests of this file share is made by one worker
pytestmark = pytest.mark.xdist_group("fits")


def fits_of(x: FloatArray, seed: int = 0) -> dict[str, Fit]:
    return {fit.model: fit for fit in fit_models(x, np.random.default_rng(seed))}


@pytest.fixture(scope="module")
def positive() -> FloatArray:
    return np.random.default_rng(1).gamma(1.7, 60.0, 800)


def test_likelihoods_against_scipy(positive: FloatArray) -> None:
    from scipy import stats

    found = fits_of(positive)
    for name, law in (("gamma", stats.gamma), ("Weibull", stats.weibull_min), ("lognormal", stats.lognorm)):
        shape, _, scale = law.fit(positive, floc=0)
        reference = float(law.logpdf(positive, shape, 0, scale).sum())
        assert found[name].log_likelihood == pytest.approx(reference, abs=1e-3)
    reference = float(stats.expon.logpdf(positive, scale=positive.mean()).sum())
    assert found["exponential"].log_likelihood == pytest.approx(reference, rel=1e-12)
    loc, scale = stats.expon.fit(positive)
    shifted = float(stats.expon.logpdf(positive, loc, scale).sum())
    assert found["shifted exponential"].log_likelihood == pytest.approx(shifted, rel=1e-9)


def test_emg_density_against_scipy() -> None:
    from scipy import stats

    x = np.linspace(-5, 40, 50)
    reference = stats.exponnorm.logpdf(x, 6.0 / 1.5, loc=3.0, scale=1.5)
    np.testing.assert_allclose(emg_log_density(x, 3.0, 1.5, 6.0), reference, rtol=1e-9)


def test_the_law_of_a_late_miner_is_recovered() -> None:
    rng = np.random.default_rng(2)
    late = 33.0 * (rng.random(4000) < 0.2)
    x = np.maximum(rng.normal(22.0, 3.0, 4000) + late + rng.exponential(80.0, 4000), 0.0)
    found = fits_of(x)["EMG with late part"]
    assert found.delta_aic == 0.0
    assert found.parameters["start_ms"] == pytest.approx(22.0, abs=1.5)
    assert found.parameters["late_ms"] == pytest.approx(33.0, abs=4.0)
    assert found.parameters["late_share"] == pytest.approx(0.2, abs=0.05)
    assert found.parameters["tau_ms"] == pytest.approx(80.0, abs=5.0)


def test_two_rates_are_recovered() -> None:
    rng = np.random.default_rng(3)
    fast = rng.random(4000) < 0.4
    found = fits_of(np.where(fast, rng.exponential(10.0, 4000), rng.exponential(200.0, 4000)))
    best = found["hyper-exponential"]
    assert best.delta_aic == 0.0
    assert best.parameters["fast_ms"] == pytest.approx(10.0, rel=0.15)
    assert best.parameters["slow_ms"] == pytest.approx(200.0, rel=0.1)
    assert best.parameters["fast_share"] == pytest.approx(0.4, abs=0.04)


def test_chance_alone_is_not_beaten_by_much() -> None:
    found = fits_of(np.random.default_rng(4).exponential(50.0, 3000))
    assert found["exponential"].delta_aic < 4.0


def test_equal_seeds_give_equal_fits_and_the_unit_does_not_matter(positive: FloatArray) -> None:
    first, again, scaled = fits_of(positive, 5), fits_of(positive, 5), fits_of(1000.0 * positive, 5)
    assert first == again
    assert set(first) == set(MODELS)
    for name, fit in first.items():
        assert scaled[name].delta_aic == pytest.approx(fit.delta_aic, abs=0.05)


def test_zeros_and_too_few_values() -> None:
    x = np.random.default_rng(6).exponential(5.0, 200)
    x[::20] = 0.0
    assert all(np.isfinite(fit.aic) for fit in fits_of(x).values())
    assert fit_models(np.ones(10), np.random.default_rng(0)) == []
    assert fit_models(np.ones(100), np.random.default_rng(0)) == []


def test_first_shares_of_the_recording_wait_and_are_late(recording: RunData) -> None:
    """Statistics.md §1.4: a job costs about 21 ms; after a short interval the next load is about 32 ms late."""
    found = fits_of(recording.first_share().values_ms)["EMG with late part"]
    assert found.delta_aic == 0.0
    assert found.parameters["start_ms"] == pytest.approx(21.9, abs=1.0)
    assert found.parameters["late_ms"] == pytest.approx(33.0, abs=2.0)
