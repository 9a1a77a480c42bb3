"""Tasks are what their equations say, and their trivial baselines score what others measured."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.errors import UserError
from reservoir.baselines import delay_line, delay_line_quadratic, pair_products, polynomial
from reservoir.metrics import accuracy, nmse, nrmse_std, rmse
from reservoir.readouts import RidgeReadout
from reservoir.tasks import NARMA, TASKS, channel_equalisation, delayed, draw, narma, narma_recursion, parity


@given(order=st.sampled_from(sorted(NARMA)), seed=st.integers(0, 2**32 - 1))
def test_narma_is_the_textbook_recursion(order: int, seed: int) -> None:
    """Written down once more, index by index as in the papers."""
    u = np.random.default_rng(seed).uniform(0.0, 0.4, 200)
    y = [0.0] * 201
    f = NARMA[order]
    for k in range(200):
        total = sum(y[k - i] for i in range(order) if k - i >= 0)
        old = u[k - order + 1] if k - order + 1 >= 0 else 0.0
        value = f.a * y[k] + f.b * y[k] * total + f.c * u[k] * old + f.d
        y[k + 1] = float(np.tanh(value)) if f.saturates else value
    assert narma_recursion(u, order) == pytest.approx(y[1:], rel=1e-12)


def test_narma_2_has_an_equation_of_its_own() -> None:
    u = np.array([0.1, 0.2, 0.3])
    first = 0.6 * 0.1**3 + 0.1
    second = 0.4 * first + 0.6 * 0.2**3 + 0.1
    third = 0.4 * second + 0.4 * second * first + 0.6 * 0.3**3 + 0.1
    assert narma_recursion(u, 2) == pytest.approx([first, second, third])


def test_the_stationary_series_has_the_mean_and_spread_that_others_found() -> None:
    task = narma(10, 20_000, np.random.default_rng(4))
    assert task.y.mean() == pytest.approx(0.3886, abs=0.01)
    assert task.y.std() == pytest.approx(0.109, abs=0.01)


def test_a_sequence_that_diverges_is_drawn_anew_and_counted_and_a_given_one_is_refused() -> None:
    counts = [narma(10, 10_000, np.random.default_rng(seed)).redraws for seed in range(60)]
    assert 0 < sum(counts) < 15  # 4.6 % each, by measurement over 20,000 runs
    assert all(np.isfinite(narma(10, 100, np.random.default_rng(seed)).y).all() for seed in range(3))
    with pytest.raises(UserError, match="diverges"):
        narma(10, 500, np.random.default_rng(1), u=np.full(500, 0.9))


@pytest.mark.parametrize(
    ("taps", "mean", "sd"),
    [(1, 0.8783, 0.0137), (2, 0.8409, 0.0161), (5, 0.8185, 0.0180), (9, 0.8108, 0.0173), (10, 0.5944, 0.0252),
     (11, 0.5025, 0.0298), (20, 0.4008, 0.0285), (50, 0.3857, 0.0248)],
)  # fmt: skip
def test_linear_taps_score_on_narma_10_what_was_measured(taps: int, mean: float, sd: float) -> None:
    scores = []
    for seed in range(10):
        task = narma(10, 3200, np.random.default_rng(1000 + seed))
        x = delay_line(task.u, taps)
        model = RidgeReadout(1e-6).fit(x[200:2200], task.y[200:2200])
        scores.append(nrmse_std(task.y[2200:], model.predict(x[2200:])))
    assert abs(np.mean(scores) - mean) < 3.0 * sd * np.sqrt(2 / 10)  # two means of ten draws each


def test_quadratic_taps_score_what_was_measured() -> None:
    scores = []
    for seed in range(10):
        task = narma(10, 3200, np.random.default_rng(1000 + seed))
        x = delay_line_quadratic(task.u, 20)
        model = RidgeReadout(1e-6).fit(x[200:2200], task.y[200:2200])
        scores.append(nrmse_std(task.y[2200:], model.predict(x[2200:])))
    assert abs(np.mean(scores) - 0.1794) < 3.0 * 0.0589 * np.sqrt(2 / 10)


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_task_is_whole_finite_varied_and_a_matter_of_its_seed(name: str) -> None:
    first, again, other = (draw(name, 300, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.u.shape == first.y.shape == (300,)
    assert np.isfinite(first.u).all()
    assert np.isfinite(first.y).all()
    assert first.y.std() > 0
    assert first.definition
    assert first.u.tolist() == again.u.tolist() != other.u.tolist()


@given(order=st.integers(1, 5), delay=st.integers(0, 4), seed=st.integers(0, 1000))
def test_parity_is_the_product_of_its_inputs(order: int, delay: int, seed: int) -> None:
    task = parity(order, delay, 40, np.random.default_rng(seed))
    for k in range(delay + order - 1, 40):
        assert task.y[k] == np.prod(task.u[k - delay - order + 1 : k - delay + 1])


def test_recall_is_the_old_input() -> None:
    task = delayed(3, 50, np.random.default_rng(1))
    assert task.y[3:].tolist() == task.u[:-3].tolist()


def test_the_channel_is_nearly_undone_by_linear_taps_and_better_with_products() -> None:
    task = channel_equalisation(6000, np.random.default_rng(3))
    scores = []
    for features in (delay_line(task.u, 12), delay_line_quadratic(task.u, 12)):
        model = RidgeReadout(1e-6).fit(features[100:4000], task.y[100:4000])
        scores.append(1.0 - accuracy(task.y[4000:], model.predict(features[4000:])))
    assert 0.0 < scores[0] < 0.05
    assert scores[1] < scores[0]


def test_unknown_tasks_are_named_with_what_there_is() -> None:
    with pytest.raises(UserError, match="narma10"):
        draw("narma11", 10, np.random.default_rng(1))
    with pytest.raises(UserError, match=r"dysts"):
        draw("dysts:NoSuchFlow", 10, np.random.default_rng(1))


def test_metrics_name_their_convention() -> None:
    y = np.array([1.0, 2.0, 3.0, 4.0])
    assert nrmse_std(y, np.full(4, y.mean())) == pytest.approx(1.0)
    assert rmse(y, y + 0.5) == pytest.approx(0.5)
    assert nmse(y, y + 0.5) == pytest.approx(0.25 / y.var())
    with pytest.raises(UserError, match="does not vary"):
        nrmse_std(np.ones(3), np.ones(3))
    with pytest.raises(UserError, match="shapes"):
        rmse(np.ones(3), np.ones(2))
    assert accuracy(np.array([-1, 1, 1]), np.array([-0.2, 0.1, -0.3])) == pytest.approx(2 / 3)


def test_features_reach_back_and_not_ahead() -> None:
    u = np.array([1.0, 2.0, 3.0])
    assert delay_line(u, 2).tolist() == [[1.0, 0.0], [2.0, 1.0], [3.0, 2.0]]
    assert pair_products(delay_line(u, 2))[1].tolist() == [4.0, 2.0, 1.0]
    assert polynomial(u, 3)[1].tolist() == [2.0, 4.0, 8.0]
