"""Software reservoirs against their equations and against reservoirpy on equal weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.utils.estimator_checks import check_estimator

from reservoir.metrics import nrmse_std
from reservoir.networks import DelayReservoir, EchoStateNetwork, NextGeneration, radius
from reservoir.readouts import RidgeReadout
from reservoir.tasks import narma


def drawn(nodes: int, **parameters: float) -> EchoStateNetwork:
    return EchoStateNetwork(nodes, **parameters).fit(np.zeros((1, 1)))  # type: ignore[arg-type]


@pytest.mark.parametrize("connectivity", [0.1, 1.0])
@pytest.mark.parametrize("leak", [1.0, 0.3])
@pytest.mark.parametrize("nodes", [7, 64, 101])
def test_states_follow_the_equation(nodes: int, leak: float, connectivity: float) -> None:
    net = drawn(nodes, leak=leak, connectivity=connectivity, bias_scaling=0.3)
    u = np.random.default_rng(1).uniform(-1, 1, (50, 1))
    w = net.w_.toarray() if sparse.issparse(net.w_) else net.w_
    x = np.zeros(nodes)
    for k, row in enumerate(net.transform(u)):
        x = (1 - leak) * x + leak * np.tanh(w @ x + net.w_in_ @ u[k] + net.bias_)
        assert row == pytest.approx(x, abs=1e-13)


@pytest.mark.parametrize("dense", [False, True])
def test_states_are_those_of_reservoirpy_on_equal_weights(dense: bool) -> None:
    from reservoirpy.nodes import Reservoir

    net = drawn(100, leak=0.4, bias_scaling=0.2)
    w = net.w_.toarray() if dense else sparse.csr_matrix(net.w_)
    theirs = Reservoir(W=w, Win=net.w_in_, bias=net.bias_, lr=0.4)
    u = np.random.default_rng(2).uniform(0, 0.5, (1000, 1))
    assert net.transform(u) == pytest.approx(theirs.run(u), abs=1e-10)


@pytest.mark.parametrize("connectivity", [0.1, 1.0])
@pytest.mark.parametrize(("sequences", "inputs", "leak"), [(5, 1, 1.0), (32, 2, 0.3), (70, 1, 0.5)])
def test_many_sequences_give_what_each_gives_alone(
    connectivity: float, sequences: int, inputs: int, leak: float
) -> None:
    net = EchoStateNetwork(30, connectivity=connectivity, leak=leak, bias_scaling=0.2).fit(
        np.zeros((1, inputs))
    )
    u = np.random.default_rng(3).uniform(-1, 1, (sequences, 40, inputs))
    together = net.transform_many(u)
    for sequence, states in zip(u, together, strict=True):
        assert states == pytest.approx(net.transform(sequence), abs=1e-12)


@pytest.mark.parametrize("nodes", [50, 600])
def test_the_spectral_radius_is_what_was_asked(nodes: int) -> None:
    net = drawn(nodes, spectral_radius=0.7)
    assert np.abs(np.linalg.eigvals(net.w_.toarray())).max() == pytest.approx(0.7, rel=1e-6)
    assert radius(np.diag([0.1, -3.0])) == pytest.approx(3.0)


def test_rows_of_any_length_are_taken() -> None:
    w = sparse.csr_array(np.array([[0.0, 0.5, 0.2], [0.0, 0.0, 0.0], [0.3, 0.0, 0.0]]))
    net = EchoStateNetwork().with_weights(w, np.ones((3, 1)))
    dense = EchoStateNetwork().with_weights(w.toarray(), np.ones((3, 1)))
    u = np.random.default_rng(1).uniform(-1, 1, (20, 1))
    assert net.transform(u) == pytest.approx(dense.transform(u), abs=1e-14)


@given(x=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50))
def test_its_own_tanh_is_tanh(x: list[float]) -> None:
    net = EchoStateNetwork().with_weights(np.zeros((1, 1)), np.ones((1, 1)))
    states = net.transform(np.array(x)[:, None])[:, 0]
    assert states == pytest.approx(np.tanh(x), abs=2e-15)


def test_the_same_call_gives_the_same_states() -> None:
    net, u = drawn(20), np.random.default_rng(1).uniform(-1, 1, (30, 1))
    assert net.transform(u).tolist() == net.transform(u).tolist()
    assert net.transform(u[15:], initial=net.transform(u[:15])[-1]) == pytest.approx(net.transform(u)[15:])


@pytest.mark.costly
@pytest.mark.parametrize(
    ("nodes", "mean", "sd", "parameters"),
    [(50, 0.3702, 0.0207, {}), (100, 0.2556, 0.0517, {}), (200, 0.1656, 0.0625, {})],
)
def test_a_tuned_network_scores_on_narma_10_what_others_score(
    nodes: int, mean: float, sd: float, parameters: dict[str, float]
) -> None:
    scores = []
    for seed in range(10):
        task = narma(10, 3200, np.random.default_rng(2000 + seed))
        net = EchoStateNetwork(
            nodes, spectral_radius=0.9, input_scaling=0.05, bias_scaling=0.25, seed=seed
        ).fit(task.u[:, None])
        x = net.transform(task.u[:, None])
        model = RidgeReadout(1e-10).fit(x[200:2200], task.y[200:2200])
        scores.append(nrmse_std(task.y[2200:], model.predict(x[2200:])))
    # near-tuned parameters score within a third of the tuned ones
    assert np.mean(scores) < 1.35 * mean + 2 * sd / np.sqrt(10)
    assert np.mean(scores) > 0.5 * mean


def test_the_delay_line_follows_its_equation() -> None:
    net = DelayReservoir(4, exponent=2.0).fit(np.zeros((1, 1)))
    u = np.random.default_rng(1).uniform(0, 0.5, (6, 1))
    states = net.transform(u)
    keep, last = np.exp(-0.2), 0.0
    for k in range(6):
        for j in range(4):
            s = (states[k - 1, j] if k else 0.0) + 0.1 * net.mask_[j, 0] * u[k, 0] + 0.2
            last = keep * last + (1 - keep) * 0.5 * s / (1 + abs(s) ** 2.0)
            assert states[k, j] == pytest.approx(last, abs=1e-14)


def test_next_generation_states_are_delayed_inputs_and_their_products() -> None:
    u = np.arange(1.0, 7.0)[:, None]
    states = NextGeneration(2, stride=2).fit(u).transform(u)
    assert states[4].tolist() == [5.0, 3.0, 25.0, 15.0, 9.0]
    assert NextGeneration(3, order=1).fit(u).transform(u).shape == (6, 3)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "estimator", [EchoStateNetwork(10), DelayReservoir(10), NextGeneration(2)], ids=lambda e: type(e).__name__
)
def test_they_are_transformers_of_scikit_learn(estimator: EchoStateNetwork) -> None:
    order_matters = {"check_methods_sample_order_invariance", "check_methods_subset_invariance"}
    failed = [
        r
        for r in check_estimator(estimator, on_fail=None, on_skip=None)
        if r["status"] == "failed" and r["check_name"] not in order_matters  # rows are steps of time
    ]
    assert not failed, [(r["check_name"], r["exception"]) for r in failed]
