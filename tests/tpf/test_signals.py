"""Signals of intervals and hashes against closed forms and independent computations."""

from __future__ import annotations

import random
import zlib
from math import exp, pi

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import lombscargle
from scipy.stats import kstest

from tpf.signals import chronos, hashes, heartbeat, short_windows
from tpf.signals.signal import Signal, against_draws


def test_coupling_of_exponential_intervals_is_the_closed_form() -> None:
    rng = np.random.default_rng(0)
    tau, f, n = 0.1, 2.4, 500
    drawn = [chronos.mean_cosine(rng.exponential(tau, n), f) for _ in range(2000)]
    mean, sd = chronos.poisson_mean_cosine(tau, f, n)
    assert np.mean(drawn) == pytest.approx(mean, abs=4 * sd / 2000**0.5)
    assert np.std(drawn) == pytest.approx(sd, rel=0.06)
    assert mean == pytest.approx(1 / (1 + (2 * pi * f * tau) ** 2))


def test_coupling_of_a_clock_is_what_its_jitter_leaves() -> None:
    rng = np.random.default_rng(1)
    f, jitter = 5.0, 0.01
    ticks = 0.2 + rng.normal(0, jitter, 100_000)
    assert chronos.mean_cosine(ticks, f) == pytest.approx(chronos.coherence_factor(jitter, f), abs=0.002)
    assert chronos.coherence_factor(jitter, f) == pytest.approx(exp(-0.5 * (2 * pi * f * jitter) ** 2))
    assert chronos.chronos_coupling(np.full(50, 0.2), f) == pytest.approx(1.0)
    assert chronos.chronos_coupling(ticks, f, jitter_s=0.0) == pytest.approx(chronos.mean_cosine(ticks, f))
    # in other units the published exponent is another number, which is why it has no value
    assert chronos.literal_exponent(1.0, 1.0) != chronos.literal_exponent(1e3, 1e-3)


def test_ten_intervals_of_a_poisson_process_raise_the_alarm_one_time_in_seven() -> None:
    rate, mean, sd = short_windows.poisson_alarm_rate(np.random.default_rng(2))
    assert rate == pytest.approx(1 / 7, abs=0.012)
    assert mean == pytest.approx(0.876, abs=0.003)
    assert sd == pytest.approx(0.223, abs=0.003)
    np.testing.assert_allclose(short_windows.window_cvs(np.array([1.0, 3.0, 2.0, 2.0, 9.0]), 2), [0.5, 0.0])
    assert np.isnan(short_windows.alarm_rate(np.ones(3)))


def test_power_of_arrivals_is_exponential_for_a_poisson_process_and_n_for_a_clock() -> None:
    rng = np.random.default_rng(3)
    powers = [heartbeat.rayleigh_power(rng.uniform(0, 100, 400), np.array([2.4]))[0] for _ in range(2000)]
    assert kstest(powers, "expon").pvalue > 0.001
    clock = np.arange(300) / 2.4
    assert heartbeat.rayleigh_power(clock, np.array([2.4]))[0] == pytest.approx(300)
    assert heartbeat.rayleigh_power(np.empty(0), np.array([1.0, 2.0])).tolist() == [0, 0]


def test_power_in_a_band_is_that_of_the_sum_and_of_lomb_and_scargle() -> None:
    rng = np.random.default_rng(4)
    times = np.sort(rng.uniform(0, 120, 900))
    grid = np.linspace(2.4 * 0.95, 2.4 * 1.05, 400)
    exact = heartbeat.rayleigh_power(times, grid).max()
    assert heartbeat.band_power(times, 2.4, 120.0) == pytest.approx(exact, rel=0.12)
    # arrivals counted in fine bins, as an evenly sampled signal: the same periodogram but for its normalisation
    step = 1 / 160
    counts = np.bincount((times / step).astype(int), minlength=int(120 / step)).astype(float)
    at = (np.arange(counts.size) + 0.5) * step
    lomb = lombscargle(at, counts - counts.mean(), 2 * pi * grid[:40]) * counts.size / times.size
    np.testing.assert_allclose(lomb, heartbeat.rayleigh_power(times, grid[:40]), rtol=0.15, atol=0.15)


def test_a_rhythm_is_found_where_it_is_and_noise_has_none() -> None:
    rng = np.random.default_rng(5)
    noise = rng.exponential(100.0, 1500)
    plain = heartbeat.heartbeat_report(noise, rng, surrogates=99)
    assert plain is not None
    assert plain.p_shuffled > 0.01
    assert plain.spectrum.shape == plain.frequency_hz.shape == plain.pointwise_95.shape
    assert plain.spectrum.mean() == pytest.approx(1.0, abs=0.1)
    candidates = np.cumsum(rng.exponential(50.0, 4000)) / 1e3  # thinned to a rate that swings at 2.4 Hz
    kept = candidates[rng.random(4000) < 0.5 * (1 + 0.5 * np.sin(2 * pi * 2.4 * candidates))]
    beats = heartbeat.heartbeat_report(np.diff(kept) * 1e3, rng, surrogates=99)
    assert beats is not None
    assert beats.p_shuffled == 1 / 100
    assert beats.p_red_noise == 1 / 100
    elsewhere = heartbeat.heartbeat_report(np.diff(kept) * 1e3, rng, named_hz=1.3, surrogates=59)
    assert elsewhere is not None
    assert elsewhere.p_shuffled > 0.01
    assert heartbeat.heartbeat_report(noise[:40], rng) is None


def test_the_named_rhythm_keeps_its_level() -> None:
    rng = np.random.default_rng(6)
    p = []
    for _ in range(60):
        x = 20.0 + rng.exponential(80.0, 100)
        found = heartbeat.heartbeat_report(x, rng, surrogates=39)
        assert found is not None
        p.append(found.p_shuffled)
    assert sum(value <= 0.05 for value in p) <= 9
    assert np.mean(p) == pytest.approx(0.5, abs=0.15)


@given(st.lists(st.integers(1, 2**256 - 1), min_size=1, max_size=20), st.integers(0, 2**31))
def test_hashes_below_a_target_are_below_it(targets: list[int], seed: int) -> None:
    found = hashes.hashes_below(targets, np.random.default_rng(seed))
    assert all(
        int.from_bytes(row.tobytes(), "little") <= target for row, target in zip(found, targets, strict=True)
    )


def test_hashes_below_a_target_are_uniform() -> None:
    target = 3 << 200
    found = hashes.hashes_below([target] * 4000, np.random.default_rng(7))
    values = [int.from_bytes(row.tobytes(), "little") / target for row in found]
    assert kstest(values, "uniform").pvalue > 0.001


@pytest.mark.parametrize("bits", [256, 216, 101])
def test_diffusion_of_unrelated_hashes_is_the_closed_form(bits: int) -> None:
    rng = np.random.default_rng(8)
    targets = [(1 << bits) - 1] * 50
    mean, sd = hashes.diffusion_null(targets)
    drawn = [hashes.hamming_diffusion(hashes.hashes_below(targets, rng)) for _ in range(400)]
    assert np.mean(drawn) == pytest.approx(mean, abs=4 * sd / 20)
    assert np.std(drawn) == pytest.approx(sd, rel=0.15)
    assert mean == bits / 512


def test_one_flipped_bit_changes_half_of_the_hash() -> None:
    rng = np.random.default_rng(9)
    headers = [rng.bytes(80) for _ in range(500)]
    assert hashes.avalanche(headers, rng) == pytest.approx(0.5, abs=4 * 0.5 / 16 / 500**0.5)


@pytest.mark.parametrize(("length", "published"), [(960, 960 / 971), (32_000, 32_000 / 32_016)])
def test_assembly_of_random_bytes_is_the_overhead_of_zlib(length: int, published: float) -> None:
    """The two published "assembly indices" (claims.md, claim 33)."""
    data = random.Random(1).randbytes(length)
    assert hashes.assembly_index(data) == pytest.approx(published, abs=1e-12)
    assert hashes.corrected_assembly(data) == 1.0


@pytest.mark.parametrize("length", [1, 100, 5000, 16_384, 70_000, 200_000])
def test_the_overhead_is_given_back_at_any_length(length: int) -> None:
    data = random.Random(5).randbytes(length)
    assert hashes.corrected_assembly(data) == pytest.approx(1.0, abs=0.5 / length if length < 1000 else 1e-12)
    assert hashes.zlib_overhead(length) == pytest.approx(6 + 5 * length / 16_384, abs=6)
    assert len(zlib.compress(data)) - length == pytest.approx(hashes.zlib_overhead(length), abs=2)


@given(st.lists(st.integers(0, 1), min_size=2, max_size=200))
def test_phrases_are_those_of_antropy(bits: list[int]) -> None:
    import antropy  # compiles for seconds when it is imported, in every worker if at the top

    assert hashes.lempel_ziv(bits) == antropy.lziv_complexity("".join(map(str, bits)), normalize=False)


def test_phrases_of_coins_are_many_and_of_a_constant_few() -> None:
    coins = np.random.default_rng(10).integers(0, 2, 4096)
    assert 0.95 < hashes.normalised_lempel_ziv(coins) < 1.15
    assert hashes.lempel_ziv(np.zeros(4096)) == 2


def test_p_values_against_draws() -> None:
    draws = np.random.default_rng(11).normal(size=999)
    inside = against_draws("n", 0.0, draws)
    assert inside.p_value > 0.9
    assert inside.low == pytest.approx(-1.96, abs=0.2)
    beyond = against_draws("n", 6.0, draws)
    assert 1e-12 < beyond.p_value < 1e-6
    assert against_draws("constant", 1.0, np.ones(99)).p_value == 1.0
    assert against_draws("constant", 2.0, np.ones(99)).p_value == 1e-12
    signal = Signal("a", 0.0, 10, None, (inside,), "")
    assert signal.detectable(0.05) == pytest.approx(3.24 * draws.std(), rel=0.01)
    assert (
        sum(against_draws("n", v, draws).p_value < 0.05 for v in np.random.default_rng(1).normal(size=400))
        < 36
    )
