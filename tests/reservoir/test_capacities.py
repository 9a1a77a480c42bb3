"""Capacities against theory: delay lines, linear networks, noise, memoryless nodes."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.errors import UserError
from reservoir.baselines import delay_line
from reservoir.capacities import (
    combinations,
    information_processing_capacity,
    legendre,
    memory_capacity,
    orthonormal_polynomials,
    orthonormal_states,
)


def uniform(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, n)


@pytest.mark.parametrize("taps", [1, 5, 20])
def test_a_delay_line_remembers_as_many_inputs_as_it_has_taps_and_nothing_else(taps: int) -> None:
    u = uniform(10_000)
    x = delay_line(u, taps)[100:]
    linear = memory_capacity(x, u, 50, first_delay=0)
    assert linear.total == pytest.approx(taps, abs=1e-9)
    whole = information_processing_capacity(x, u, degrees=(1, 2, 3), most_delay=8)
    assert whole.by_degree[2] == whole.by_degree[3] == 0.0
    assert whole.total == pytest.approx(min(taps, 9), abs=1e-9)


def test_the_capacities_of_a_linear_network_add_up_to_its_rank() -> None:
    rng = np.random.default_rng(1)
    q, _ = np.linalg.qr(rng.standard_normal((12, 12)))
    w, w_in, u = 0.7 * q, rng.standard_normal(12), uniform(30_000, 2)
    x = np.zeros((u.size, 12))
    for k in range(1, u.size):
        x[k] = w @ x[k - 1] + w_in * u[k]
    found = memory_capacity(x[200:], u, 80, first_delay=0)
    assert found.rank == 12
    assert abs(found.total - 12) < 3 * found.standard_error + 80 * found.null_mean


def test_products_in_the_states_count_with_their_degree() -> None:
    u = uniform(20_000)
    line = delay_line(u, 4)
    x = np.column_stack([line[:, 0], line[:, 1] * line[:, 2], legendre(line[:, 3], 3)])[100:]
    found = information_processing_capacity(x, u, degrees=(1, 2, 3), most_delay=5)
    assert found.by_degree == pytest.approx({1: 1.0, 2: 1.0, 3: 1.0}, abs=0.01)
    assert set(found.values) == {((0, 1),), ((1, 1), (2, 1)), ((3, 3),)}


def test_a_memoryless_node_has_no_memory() -> None:
    u = uniform(5_000)
    found = memory_capacity(np.tanh(2 * u)[:, None], u, 100)
    assert found.total == 0.0
    assert found.standard_error == 0.0
    present = memory_capacity(np.tanh(2 * u)[:, None], u, 100, first_delay=0)
    assert set(present.values) == {((0, 1),)}
    assert 0.9 < present.total < 1.0


def test_noise_passes_about_as_rarely_as_it_may() -> None:
    rng = np.random.default_rng(5)
    alarms = 0
    for _ in range(200):
        u, x = rng.uniform(-1, 1, 400), rng.standard_normal((400, 5))
        alarms += (
            information_processing_capacity(x, u, degrees=(1, 2), most_delay=5, false_alarm=0.1).passed > 0
        )
    assert 5 <= alarms <= 45  # 20 expected


def test_chance_gives_each_target_its_null_mean() -> None:
    rng = np.random.default_rng(6)
    u, x = rng.uniform(-1, 1, 3000), rng.standard_normal((3000, 30))
    found = memory_capacity(x, u, 99)
    assert found.raw / found.targets == pytest.approx(found.null_mean, rel=0.1)
    assert found.total == 0.0


@given(degree=st.integers(1, 4), most_delay=st.integers(0, 4))
def test_every_product_of_a_degree_is_there_once(degree: int, most_delay: int) -> None:
    found = list(combinations(degree, most_delay))
    assert len(found) == len(set(found)) == math.comb(degree + most_delay, degree)
    assert all(sum(d for _, d in c) == degree for c in found)


def test_the_polynomials_are_orthonormal() -> None:
    nodes, weights = np.polynomial.legendre.leggauss(20)
    for a, b in itertools.product(range(5), repeat=2):
        product = 0.5 * np.sum(weights * legendre(nodes, a) * legendre(nodes, b))
        assert product == pytest.approx(float(a == b), abs=1e-12)


def test_polynomials_of_the_input_itself_are_orthonormal_and_those_of_a_uniform_one_legendre() -> None:
    u = np.linspace(-1, 1, 20_001)
    for n, polynomial in enumerate(orthonormal_polynomials(u, 4)):
        assert polynomial == pytest.approx(legendre(u, n), abs=2e-3)
    skewed = np.random.default_rng(1).exponential(size=500)
    found = np.array(orthonormal_polynomials(skewed, 3))
    assert found @ found.T / 500 == pytest.approx(np.eye(4), abs=1e-10)
    assert len(orthonormal_polynomials(np.array([0.0, 1.0, 1.0, 0.0]), 3)) == 2  # powers of a bit are the bit


def test_bits_have_products_of_different_delays_and_no_powers() -> None:
    u = np.random.default_rng(2).choice([3.0, 7.0], 20_000)
    line = delay_line(u - 5.0, 3)
    x = np.column_stack([line, line[:, 0] * line[:, 1], line[:, 0] * line[:, 1] * line[:, 2]])[10:]
    found = information_processing_capacity(x, u, most_delay=4, basis="empirical")
    assert found.by_degree == pytest.approx({1: 3.0, 2: 1.0, 3: 1.0}, abs=0.01)
    assert found.targets == 5 + 10 + 10  # C(5, 1) + C(5, 2) + C(5, 3)
    assert found.by_delay[2] == pytest.approx(2.0, abs=0.01)  # the third tap, and the product of all three
    assert found.spectrum[2, 1] == pytest.approx(1.0, abs=0.01)
    assert found.to_json()["spectrum"][0].keys() == {"degree", "delay", "c"}


def test_columns_that_add_nothing_do_not_count() -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((500, 3))
    q = orthonormal_states(np.hstack([x, x[:, :1] + x[:, 1:2], np.ones((500, 1))]))
    assert q.shape == (500, 3)
    assert q.T @ q == pytest.approx(np.eye(3), abs=1e-12)
    assert orthonormal_states(np.ones((10, 2))).shape == (10, 0)


def test_columns_that_are_nearly_alike_are_told_apart_to_rounding() -> None:
    rng = np.random.default_rng(3)
    left, _ = np.linalg.qr(rng.standard_normal((2_000, 30)))
    right, _ = np.linalg.qr(rng.standard_normal((30, 30)))
    x = left @ np.diag(np.geomspace(1.0, 3e-5, 30)) @ right
    q = orthonormal_states(x)
    assert q.shape[1] == 30
    assert q.T @ q == pytest.approx(np.eye(30), abs=1e-12)
    centred = x - x.mean(axis=0)
    assert q @ (q.T @ centred) == pytest.approx(centred, abs=1e-13)


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(UserError, match="more rows than states"):
        memory_capacity(np.ones((5, 5)), np.ones(5), 2)
    with pytest.raises(UserError, match="needs its own"):
        memory_capacity(np.ones((50, 2)), np.ones(5), 2)
