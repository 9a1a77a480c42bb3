from __future__ import annotations

import numpy as np
import pytest

from firmware_bridge.timing import surrogates as g
from firmware_bridge.timing.run_data import FloatArray
from firmware_bridge.timing.spectrum import heartbeat, welch
from firmware_bridge.timing.statistics import autocorrelation, memory


@pytest.fixture(scope="module")
def persistent() -> FloatArray:
    rng = np.random.default_rng(1)
    state, path = 0.0, []
    for step in rng.standard_normal(1500):
        state = 0.7 * state + step
        path.append(state)
    return np.exp(0.5 * np.array(path))


@pytest.mark.parametrize("make", [g.shuffle, g.iaaft, g.red_noise])
def test_values_are_kept(make: g.Surrogate, persistent: FloatArray) -> None:
    other = make(persistent, np.random.default_rng(2))
    np.testing.assert_array_equal(np.sort(other), np.sort(persistent))
    assert not np.array_equal(other, persistent)


@pytest.mark.parametrize("make", [g.shuffle, g.iaaft, g.red_noise, g.phase_randomised, g.poisson_matched])
@pytest.mark.parametrize("n", [0, 1, 2, 7, 8])
def test_short_series_keep_their_length(make: g.Surrogate, n: int) -> None:
    x = np.arange(1.0, n + 1)
    assert make(x, np.random.default_rng(0)).size == n


def test_what_each_surrogate_keeps_of_the_memory(persistent: FloatArray) -> None:
    rng = np.random.default_rng(3)
    own = memory(persistent)
    assert own > 0.5
    assert abs(memory(g.shuffle(persistent, rng))) < 0.1
    assert memory(g.red_noise(persistent, rng)) == pytest.approx(own, abs=0.1)
    assert memory(g.iaaft(persistent, rng)) == pytest.approx(own, abs=0.03)
    assert memory(g.phase_randomised(persistent, rng)) == pytest.approx(own, abs=0.01)
    np.testing.assert_allclose(
        autocorrelation(g.iaaft(persistent, rng), 10), autocorrelation(persistent, 10), atol=0.06
    )


def test_phase_randomised_keeps_the_spectrum_exactly(persistent: FloatArray) -> None:
    for x in (persistent, persistent[:-1]):
        other = g.phase_randomised(x, np.random.default_rng(4))
        np.testing.assert_allclose(np.abs(np.fft.rfft(other)), np.abs(np.fft.rfft(x)), rtol=1e-8, atol=1e-8)


def test_comparison_finds_order_and_only_order(persistent: FloatArray) -> None:
    rng = np.random.default_rng(5)
    found = g.against(persistent, memory, rng, n=99)
    assert found is not None
    assert found.p_value == pytest.approx(0.02)
    assert found.low < found.mean < found.high < found.value
    p = [
        g.against(rng.exponential(size=60), memory, rng, n=39).p_value  # type: ignore[union-attr]
        for _ in range(200)
    ]
    assert sum(v <= 0.05 for v in p) <= 22
    assert g.against(np.ones(50), memory, rng) is None


def test_welch_against_scipy() -> None:
    from scipy.signal import welch as reference

    x = np.random.default_rng(6).poisson(0.3, 5000).astype(float)
    np.testing.assert_allclose(welch(x, 256), reference(x, nperseg=256)[1][1:], rtol=1e-9)


def test_a_planted_rhythm_is_found() -> None:
    rng = np.random.default_rng(7)
    candidates = np.cumsum(rng.exponential(25.0, 12_000))
    rate = 0.5 + 0.35 * np.sin(2 * np.pi * candidates / 500.0)  # 2 Hz
    kept = candidates[rng.random(candidates.size) < rate]
    beat = heartbeat(np.diff(kept), rng)
    assert beat is not None
    assert beat.frequency_hz == pytest.approx(2.0, abs=1.5 / beat.segment_s)
    assert beat.p_shuffled == pytest.approx(0.01)


def test_a_dead_time_is_no_heartbeat() -> None:
    p = []
    for seed in range(60):
        rng = np.random.default_rng([8, seed])
        beat = heartbeat(20.0 + rng.exponential(40.0, 300), rng, surrogates=19)
        assert beat is not None
        p.append(beat.p_shuffled)
    assert sum(v <= 0.05 for v in p) <= 10
    assert heartbeat(np.ones(10), np.random.default_rng(0)) is None
