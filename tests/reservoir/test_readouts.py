"""Readouts against closed forms and scikit-learn's own checks."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.utils.estimator_checks import check_estimator

from reservoir.moments import Moments
from reservoir.readouts import RidgeReadout, RlsReadout, logistic_readout


def problem(rows: int, features: int, outputs: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, features)) + 5.0
    y = x @ rng.standard_normal((features, outputs)) + 3.0 + 0.1 * rng.standard_normal((rows, outputs))
    return x, y


@pytest.mark.parametrize("estimator", [RidgeReadout(), RidgeReadout(alpha=None), RlsReadout()], ids=str)
@pytest.mark.filterwarnings("ignore")
def test_they_are_estimators_of_scikit_learn(estimator: RidgeReadout | RlsReadout) -> None:
    failed = [r for r in check_estimator(estimator, on_fail=None, on_skip=None) if r["status"] == "failed"]
    assert not failed, [(r["check_name"], r["exception"]) for r in failed]


@pytest.mark.parametrize("alpha", [1e-6, 1.0, 1e3])
def test_ridge_is_that_of_scikit_learn_and_of_augmented_least_squares(alpha: float) -> None:
    x, y = problem(300, 12, 2)
    ours = RidgeReadout(alpha).fit(x, y)
    theirs = Ridge(alpha, solver="cholesky").fit(x, y)
    assert ours.coef_ == pytest.approx(theirs.coef_, rel=1e-8)
    assert ours.intercept_ == pytest.approx(theirs.intercept_, rel=1e-8)
    xc, yc = x - x.mean(axis=0), y - y.mean(axis=0)
    augmented = np.vstack([xc, np.sqrt(alpha) * np.eye(12)])
    exact = np.linalg.lstsq(augmented, np.vstack([yc, np.zeros((12, 2))]), rcond=None)[0]
    assert ours.coef_ == pytest.approx(exact.T, rel=1e-8)


@given(cuts=st.lists(st.integers(1, 199), max_size=5), seed=st.integers(0, 100))
@settings(max_examples=30)
def test_rows_may_come_in_any_pieces(cuts: list[int], seed: int) -> None:
    x, y = problem(200, 5, 1, seed)
    whole = RidgeReadout(0.1).fit(x, y[:, 0])
    pieces = RidgeReadout(0.1)
    for part in np.split(np.arange(200), sorted(set(cuts))):
        pieces.partial_fit(x[part], y[part, 0])
    assert pieces.coef_ == pytest.approx(whole.coef_, rel=1e-9)
    assert pieces.intercept_ == pytest.approx(whole.intercept_, rel=1e-9)
    first, second = Moments(5, 1), Moments(5, 1)
    first.add(x[:70], y[:70])
    second.add(x[70:], y[70:])
    first.merge(second)
    assert first.gram() == pytest.approx(whole.moments_.gram(), rel=1e-9)
    assert first.yy == pytest.approx(((y - y.mean(axis=0)) ** 2).sum(axis=0))
    assert RidgeReadout(0.1).fit_moments(first).coef_ == pytest.approx(whole.coef_, rel=1e-9)


def test_a_long_record_is_fitted_in_the_memory_of_a_chunk() -> None:
    rng = np.random.default_rng(1)
    weights = rng.standard_normal(50)
    readout, memory = RidgeReadout(1e-6), []
    for _ in range(40):
        x = rng.standard_normal((5_000, 50))
        y = x @ weights + 1.0
        tracemalloc.start()
        readout.partial_fit(x, y)
        memory.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert readout.coef_ == pytest.approx(weights, abs=1e-8)
    assert max(memory) < 3 * 5_000 * 50 * 8  # a few copies of a chunk
    assert max(memory[20:]) < 1.2 * max(memory[:5])


def test_the_path_is_exact_at_every_lambda() -> None:
    x, y = problem(100, 8, 1)
    moments = RidgeReadout(1.0).fit(x, y[:, 0]).moments_
    alphas = [1e-6, 1e-2, 1.0, 100.0]
    for alpha, (weights, intercept) in zip(alphas, RidgeReadout.path(moments, alphas), strict=True):
        direct = RidgeReadout(alpha).fit(x, y[:, 0])
        assert weights[0] == pytest.approx(direct.coef_, rel=1e-8)
        assert intercept[0] == pytest.approx(direct.intercept_, rel=1e-8)


def test_a_validation_block_chooses_lambda_and_does_not_care_for_the_scale_of_the_states() -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((200, 100))
    y = x[:, 0] + 2.0 * rng.standard_normal(200)
    chosen = RidgeReadout(alpha=None).fit(x, y)
    scaled = RidgeReadout(alpha=None).fit(1e-3 * x, y)
    weak = RidgeReadout(alpha=1e-6).fit(x, y)
    test = rng.standard_normal((1000, 100))
    errors = [float(np.mean((test[:, 0] - m.predict(test)) ** 2)) for m in (chosen, weak)]
    assert errors[0] < 0.6 * errors[1]
    assert scaled.predict(1e-3 * test) == pytest.approx(chosen.predict(test), rel=1e-6, abs=1e-9)


def test_constant_and_repeated_columns_break_nothing() -> None:
    x, y = problem(50, 3, 1)
    wide = np.hstack([x, x, np.ones((50, 1))])
    plain = RidgeReadout(0.0).fit(x, y[:, 0]).predict(x)
    assert RidgeReadout(0.0).fit(wide, y[:, 0]).predict(wide) == pytest.approx(plain, abs=1e-6)


@pytest.mark.parametrize("outputs", [1, 3])
def test_rls_is_batch_ridge_at_every_step_the_intercept_included(outputs: int) -> None:
    x, y = problem(80, 6, outputs)
    online = RlsReadout(0.3)
    for rows in (1, 2, 7, 30, 80):
        online.fit(x[:rows], y[:rows])
        batch = RidgeReadout(0.3).fit(x[:rows], y[:rows])
        assert online.coef_ == pytest.approx(batch.coef_, abs=1e-10)
        assert online.intercept_ == pytest.approx(batch.intercept_, abs=1e-10)


def test_rls_predicts_before_it_learns() -> None:
    """On pure noise no prediction is better than the mean: one that has seen its row would be."""
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((3000, 50)), rng.standard_normal(3000)
    predicted = RlsReadout(1.0, forgetting=0.97).predict_then_learn(x, y)
    assert np.isnan(predicted[0])
    assert abs(np.corrcoef(predicted[500:], y[500:])[0, 1]) < 0.1
    by_hand = RlsReadout(0.5)
    expected = [float(by_hand.partial_fit(x[:k], y[:k]).predict(x[k : k + 1])[0]) for k in (1,)]
    assert RlsReadout(0.5).predict_then_learn(x[:2], y[:2])[1] == pytest.approx(expected[0])


@pytest.mark.parametrize("forgetting", [1.0, 0.99, 0.8])
@pytest.mark.parametrize("outputs", [1, 2])
def test_rows_learned_together_are_learned_as_if_one_after_the_other(forgetting: float, outputs: int) -> None:
    x, y = problem(150, 9, outputs)
    together, apart = (RlsReadout(0.3, forgetting=forgetting) for _ in range(2))
    predicted = together.predict_then_learn(x, y)
    one_by_one = np.vstack([apart.predict_then_learn(x[k : k + 1], y[k : k + 1]) for k in range(150)])
    assert predicted[1:] == pytest.approx(one_by_one.reshape(predicted.shape)[1:], abs=1e-8)
    assert together.coef_ == pytest.approx(apart.coef_, abs=1e-8)
    assert together.intercept_ == pytest.approx(apart.intercept_, abs=1e-8)
    weight = forgetting ** np.arange(149.0, -1.0, -1.0)
    theirs = Ridge(0.3 * forgetting**149, solver="cholesky").fit(x, y, sample_weight=weight)
    assert together.coef_.reshape(outputs, 9) == pytest.approx(theirs.coef_.reshape(outputs, 9), abs=1e-7)


@pytest.mark.parametrize(("alpha", "offset"), [(1e-12, 5.0), (1e-10, 1e3)])
def test_a_tiny_penalty_that_rounding_overwhelms_still_gives_the_weights(alpha: float, offset: float) -> None:
    x = np.random.default_rng(4).standard_normal((400, 20)) + offset
    readout = RlsReadout(alpha).fit(x, x @ np.arange(20.0) + 3.0)
    assert readout.coef_ == pytest.approx(np.arange(20.0), abs=1e-9)
    assert readout.intercept_ == pytest.approx(3.0, abs=1e-5)


def test_each_prediction_is_that_of_ridge_on_the_rows_before_it() -> None:
    x, y = problem(100, 5, 1)
    predicted = RlsReadout(0.3).predict_then_learn(x, y[:, 0])
    for k in (1, 2, 31, 32, 33, 64, 99):
        before = RidgeReadout(0.3).fit(x[:k], y[:k, 0])
        assert predicted[k] == pytest.approx(before.predict(x[k : k + 1])[0], abs=1e-10)


def test_rls_that_forgets_follows_what_changes() -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((2000, 4))
    y = np.concatenate([x[:1000] @ [1, 2, 3, 4], x[1000:] @ [-1, -2, -3, -4]])
    assert RlsReadout(1.0, forgetting=0.98).fit(x, y).coef_ == pytest.approx([-1, -2, -3, -4], abs=1e-6)
    assert abs(RlsReadout(1.0).fit(x, y).coef_).max() < 0.5


def test_parameters_that_make_no_sense_are_refused() -> None:
    x, y = problem(10, 2, 1)
    with pytest.raises(ValueError, match="alpha"):
        RlsReadout(0.0).fit(x, y[:, 0])
    with pytest.raises(ValueError, match="forgetting"):
        RlsReadout(1.0, forgetting=1.5).fit(x, y[:, 0])
    assert not hasattr(RidgeReadout(alpha=None), "partial_fit")


def test_symbols_are_read_by_a_logistic_readout() -> None:
    x, _ = problem(400, 3, 1)
    y = np.where(x[:, 0] > 5.0, 1, -1)
    assert logistic_readout().fit(x, y).score(x, y) > 0.97
