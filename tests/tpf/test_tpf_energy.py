"""Energy per share: what a theorem says of it holds on exact fractions, and a simulated miner spends as much."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from firmware_bridge import efficiency
from tpf import energy as e

parts = st.integers(1, 60).flatmap(lambda n: st.integers(0, n).map(lambda k: Fraction(k, n)))
positive = st.integers(1, 60).flatmap(lambda n: st.integers(1, n).map(lambda k: Fraction(k, n)))
costs = parts.map(lambda x: 2 * x)
rounds = st.integers(1, 128).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(parts, positive, rounds, parts, costs)
def test_energy_per_share_is_the_formula_and_exact(q, r, kn, s, c) -> None:  # type: ignore[no-untyped-def]
    k, n = kn
    by_hand = ((1 - s) * (q + (1 - q) * Fraction(k, n) + c) + s) / r
    found = e.energy_per_share(q, r, k, n, s, c)
    assert isinstance(found, Fraction)
    assert found == by_hand
    assert e.equivalent_hashrate(q, r, k, n, s, c) * found == 1 if found else True
    assert e.energy_per_share(float(q), float(r), k, n, float(s), float(c)) == pytest.approx(float(by_hand))


@given(positive, rounds, parts, costs)
def test_no_information_never_saves(q, kn, s, c) -> None:  # type: ignore[no-untyped-def]
    """r = q: energy per share is at least 1, and 1 only where nothing is aborted early, or nothing is saved by it."""
    k, n = kn
    found = e.energy_per_share(q, q, k, n, s, c)
    assert found >= 1
    plain = e.energy_per_share(q, q, k, n, 0, c)
    assert (plain == 1) == (c == 0 and (q == 1 or k == 0))


@given(parts, positive, rounds, parts, costs)
def test_saving_needs_a_recall_above_the_keep_rate(q, r, kn, s, c) -> None:  # type: ignore[no-untyped-def]
    k, n = kn
    if e.energy_per_share(q, r, k, n, s, c) < 1:
        assert r > q
        assert r > e.break_even_recall(q, k, n, s, c)
    # in the terms of a false abort rate, without static power
    beta = 1 - r
    assert (e.energy_per_share(q, r, k, n, 0, c) < 1) == (beta + c < (1 - q) * (1 - Fraction(k, n)))


@given(parts, rounds, parts, costs)
def test_break_even_recall_breaks_even(q, kn, s, c) -> None:  # type: ignore[no-untyped-def]
    k, n = kn
    need = e.break_even_recall(q, k, n, s, c)
    if 0 < need <= 1:
        assert e.energy_per_share(q, need, k, n, s, c) == 1
    elif need > 1:
        assert e.energy_per_share(q, 1, k, n, s, c) > 1


@given(positive, rounds, parts, costs)
def test_break_even_keep_rate_breaks_even(r, kn, s, c) -> None:  # type: ignore[no-untyped-def]
    k, n = kn
    if k == n or s == 1:
        with pytest.raises(ValueError, match="no keep rate"):
            e.break_even_keep_rate(r, k, n, s, c)
        return
    q = e.break_even_keep_rate(r, k, n, s, c)
    if 0 <= q <= 1:
        assert e.energy_per_share(q, r, k, n, s, c) == 1
    elif q < 0:
        assert e.energy_per_share(0, r, k, n, s, c) > 1


@given(parts, positive, rounds, parts, costs, parts)
def test_energy_rises_with_everything_but_recall(q, r, kn, s, c, step) -> None:  # type: ignore[no-untyped-def]
    k, n = kn
    here = e.energy_per_share(q, r, k, n, s, c)
    assert e.energy_per_share(q + (1 - q) * step, r, k, n, s, c) >= here
    assert e.energy_per_share(q, r + (1 - r) * step, k, n, s, c) <= here
    assert e.energy_per_share(q, r, k + (n - k) * step, n, s, c) >= here
    assert e.energy_per_share(q, r, k, n, s, c + step) >= here
    # static power pulls the work towards 1, from either side
    more = e.energy_per_share(q, r, k, n, s + (1 - s) * step, c)
    assert (more >= here) == (e.work(q, k, n, c) <= 1) or more == here


@given(parts, positive, rounds, costs)
def test_published_saving_is_that_of_keeping_nothing(q, r, kn, c) -> None:  # type: ignore[no-untyped-def]
    k, n = kn
    assume(k < n)
    assert e.published_saving(k, n) == 1 - Fraction(k, n)
    assert (1 - e.work(q, k, n, c) == e.published_saving(k, n)) == (q == 0 and c == 0)
    assert e.energy_per_share(q, r, k, n, 0, c) >= Fraction(k, n)  # and no filter does better than that


def test_the_published_numbers() -> None:
    assert e.published_saving() == Fraction(59, 64)
    assert 1 / (1 - e.published_saving()) == Fraction(64, 5)
    assert e.combined_saving(e.published_saving(), Fraction(1, 5)) == Fraction(15, 16)
    # the exact point of SHA-256: 3.9 % of a double hash, with a keep rate of 2^-8
    assert 1 - e.energy_per_share(Fraction(1, 256), 1, 123, 128) == Fraction(255, 256) * Fraction(5, 128)


@given(parts, parts, parts)
def test_combined_savings(a, b, c) -> None:  # type: ignore[no-untyped-def]
    both = e.combined_saving(a, b)
    assert both == a + b - a * b == e.combined_saving(b, a)
    assert max(a, b) <= both <= 1
    assert e.combined_saving(both, c) == e.combined_saving(a, e.combined_saving(b, c))


@given(parts, positive, rounds, parts, costs, positive, positive)
def test_a_block_manager_saves_static_power_alone(q, r, kn, s, c, before, after) -> None:  # type: ignore[no-untyped-def]
    k, n = kn
    after = max(before, after)

    def combined(s: Fraction, before: Fraction, after: Fraction) -> Fraction:
        found = e.combined_energy_per_share(q, r, k, n, s, c, eta_before=before, eta_after=after)
        assert isinstance(found, Fraction)
        return found

    assert combined(s, Fraction(1), Fraction(1)) == e.energy_per_share(q, r, k, n, s, c)
    assert combined(Fraction(0), before, after) == e.energy_per_share(q, r, k, n, 0, c)
    assert combined(s, before, after) <= combined(s, before, before)
    assert e.share_rate(r, before, after) == r * after / before
    # without a filter: the whole saving is that of the static power while waiting
    alone = e.combined_energy_per_share(1, 1, k, n, s, 0, eta_before=before, eta_after=after)
    assert alone == ((1 - s) + s / after) / ((1 - s) + s / before)


@given(positive, parts, parts)
def test_eta_is_exact_on_fractions(h, t, s) -> None:  # type: ignore[no-untyped-def]
    found = e.eta(h, t, s)
    assert isinstance(found, Fraction)
    assert found == h / (h + t + s)
    assert 0 < found <= 1
    assert e.eta is efficiency.eta
    assert e.eta(float(h), float(t)) == pytest.approx(float(h / (h + t)))


def test_arrays_give_what_their_elements_give() -> None:
    q, r = np.linspace(0, 1, 11)[None, :], np.linspace(0.1, 1, 10)[:, None]
    found = e.energy_per_share(q, r, 5, 64, 0.2, 0.01)
    assert found.shape == (10, 11)
    for i, j in np.ndindex(found.shape):
        assert found[i, j] == pytest.approx(
            e.energy_per_share(float(q[0, j]), float(r[i, 0]), 5, 64, 0.2, 0.01)
        )
    assert e.work(q, 5, 64).shape == (1, 11)


@pytest.mark.parametrize(
    "call",
    [
        lambda: e.work(Fraction(-1, 9), 1, 2),
        lambda: e.work(1.5, 1, 2),
        lambda: e.work(0.5, 3, 2),
        lambda: e.work(0.5, -1, 2),
        lambda: e.work(0.5, 0, 0),
        lambda: e.work(0.5, 1, 2, -0.1),
        lambda: e.work(math.nan, 1, 2),
        lambda: e.energy_per_share(0, 0, 1, 2),
        lambda: e.energy_per_share(0.5, 1.1, 1, 2),
        lambda: e.energy_per_share(0.5, 1, 1, 2, 1.1),
        lambda: e.energy_per_share(0.5, np.array([0.5, 0.0]), 1, 2),
        lambda: e.combined_saving(2, 0),
        lambda: e.share_rate(0.5, 0, 1),
        lambda: e.combined_energy_per_share(0.5, 1, 1, 2, eta_before=0, eta_after=1),
        lambda: e.divergence_bits(1.2, 0.5),
        lambda: e.information_bound(-0.1, 0.5, 0.5),
    ],
)
def test_what_cannot_be_is_refused(call) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=r"lies|rounds|cost|finite|at most"):
        call()


def test_a_simulated_miner_spends_what_the_formula_says() -> None:
    rng = np.random.default_rng(1)
    candidates, p, k, n, s, c = 2_000_000, 0.02, 20, 128, 0.15, 0.03
    wins = rng.random(candidates) < p
    kept = np.where(wins, rng.random(candidates) < 0.7, rng.random(candidates) < 0.3)
    joules = (1 - s) * (np.where(kept, 1.0, k / n) + c) + s
    per_share = joules.sum() / (wins & kept).sum() * wins.sum() / candidates
    q, r = kept.mean(), (wins & kept).sum() / wins.sum()
    assert per_share == pytest.approx(e.energy_per_share(float(q), float(r), k, n, s, c), rel=1e-9)
    assert per_share == pytest.approx(e.energy_per_share(0.02 * 0.7 + 0.98 * 0.3, 0.7, k, n, s, c), rel=0.02)


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_divergence_is_that_of_scipy(r: float, q: float) -> None:
    assert e.divergence_bits(r, q) == pytest.approx(stats.entropy([r, 1 - r], [q, 1 - q], base=2), abs=1e-12)


def test_divergence_at_the_ends() -> None:
    assert e.divergence_bits(1, 1 / 256) == pytest.approx(8)
    assert e.divergence_bits(0, 0) == e.divergence_bits(1, 1) == 0
    assert e.divergence_bits(1, 0) == e.divergence_bits(0.5, 1) == math.inf


@given(st.floats(0.001, 0.999), st.floats(0, 1), st.floats(0, 1))
def test_no_filter_does_with_less_information_than_the_bound(p: float, r: float, false_keep: float) -> None:
    joint = np.array([[p * r, p * (1 - r)], [(1 - p) * false_keep, (1 - p) * (1 - false_keep)]])
    product = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    told = float(stats.entropy(joint.ravel(), product.ravel(), base=2))
    q = float(np.clip(p * r + (1 - p) * false_keep, 0, 1))
    assert told >= e.information_bound(p, r, q) - 1e-9


def test_an_account_says_whether_it_saves() -> None:
    saves = e.account(Fraction(5, 64), Fraction(1, 2), 5, 64)
    assert saves.verdict["code"] == "saves"
    assert saves.to_json()["exact"]["energy_per_share"] == "615/2048"
    assert saves.to_json()["energy_per_share"] == pytest.approx(0.30029, abs=1e-5)
    loses = e.account(Fraction(1, 2), Fraction(1, 2), 64, 128)
    assert loses.verdict["code"] == "does_not_save"
    assert "no information" in loses.verdict["text"]
    assert loses.saving == Fraction(-1, 2)
    assert e.account(1, 1, 64, 128).verdict["code"] == "breaks_even"
    published = e.account(0, 1, 5, 64)
    assert "keeps nothing finds nothing" in published.verdict["text"]
    assert published.to_json()["bits_needed"] is None
    assert "No recall would" in e.account(0.9, 0.95, 120, 128, 0, 0.5).verdict["text"]
    assert e.account(0.25, 0.5, 5, 64).to_json()["exact"] == {}


def test_a_share_that_costs_nothing_has_no_finite_hash_rate() -> None:
    found = e.account(0, Fraction(1, 2), 0, 128)
    assert found.energy_per_share == 0
    assert found.equivalent_hashrate == float("inf")
    assert found.to_json()["equivalent_hashrate"] is None
    assert e.equivalent_hashrate(0, 0.5, 0, 128) == float("inf")


def test_a_filter_that_cannot_be_is_called_so() -> None:
    for q, r in ((0, 1), (1, Fraction(1, 2))):
        assert e.account(q, r, 5, 64).verdict["text"].startswith("There is no such filter")
    assert "no such filter" not in e.account(1, 1, 5, 64).verdict["text"]
