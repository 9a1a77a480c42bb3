"""The gain over the input alone: how often chance raises an alarm, what is found, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.signal import lfilter
from sklearn.preprocessing import StandardScaler

from firmware_bridge.errors import UserError
from reservoir.baselines import delay_line
from reservoir.gain import against_null, gain_over_input_only, shifted
from reservoir.readouts import RidgeReadout
from reservoir.rule import Rule, Split
from reservoir.tasks import narma

SMALL = Split(washout=50, train=300, test=150)


def autoregressive(rng: np.random.Generator, steps: int, columns: int, phi: float) -> np.ndarray:
    return lfilter([1.0], [1.0, -phi], rng.standard_normal((steps + 200, columns)), axis=0)[200:]


def gain_of(states: np.ndarray, u: np.ndarray, y: np.ndarray, split: Split = SMALL, **options: Any):
    options.setdefault("rng", np.random.default_rng(0))
    return gain_over_input_only(u, y, states, split=split, **options)


@pytest.mark.parametrize("alpha", [None, 1e-6, 3.0])
def test_the_rule_is_a_scaler_and_the_ridge_readout(alpha: float | None) -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((450, 7)) * 10.0 ** rng.integers(-3, 4, 7) + rng.standard_normal(7)
    y = x[:, 0] / x[:, 0].std() + rng.standard_normal(450)
    scaler = StandardScaler().fit(x[:300])
    z = scaler.transform(x)
    theirs = RidgeReadout(alpha).fit(z[:300], y[:300])
    ours = Rule(y, SMALL, alpha).fit(x)
    assert ours.prediction == pytest.approx(theirs.predict(z[300:]), rel=1e-9, abs=1e-9)
    assert ours.alpha == pytest.approx(theirs.alpha_)
    if alpha is None:
        assert ours.validation_error == pytest.approx(theirs.validation_errors_.min(), rel=1e-9)


def test_a_column_that_does_not_vary_in_training_counts_for_nothing() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((450, 2)), rng.standard_normal(450)
    still = np.full((450, 1), 0.1)
    still[300:] += rng.standard_normal((150, 1))
    rule = Rule(y, SMALL, 1e-6)
    assert rule.fit(np.hstack([x, still])).prediction == pytest.approx(rule.fit(x).prediction, abs=1e-9)
    assert rule.fit(still).prediction == pytest.approx(np.full(150, y[:300].mean()))


@pytest.mark.costly
@pytest.mark.parametrize("phi", [0.0, 0.9])
def test_states_without_a_tie_to_the_input_raise_an_alarm_as_rarely_as_promised(phi: float) -> None:
    alarms, runs = 0, 80
    for seed in range(runs):
        rng = np.random.default_rng([seed, 11])
        task = narma(10, SMALL.steps, rng)
        states = autoregressive(rng, SMALL.steps, 2, phi)
        alarms += gain_of(states, task.u, task.y, permutations=39, rng=rng).alarm
    assert alarms / runs <= 0.09  # 2.5 % is promised


def test_delayed_inputs_in_noise_are_found() -> None:
    found = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        task = narma(10, SMALL.steps, rng)
        states = delay_line(task.u, 10)[:, 7:] + 0.1 * rng.standard_normal((SMALL.steps, 3))
        found.append(gain_of(states, task.u, task.y, permutations=99, rng=rng))
    assert sum(g.alarm for g in found) >= 9
    assert all(g.gain > 0.05 for g in found)
    assert all(g.ci[0] < g.gain < g.ci[1] and g.gain > g.detectable for g in found if g.alarm)


@pytest.mark.parametrize("kind", ["noisy copy", "square"])
def test_states_that_only_repeat_the_present_input_gain_next_to_nothing(kind: str) -> None:
    gains = []
    for seed in range(30):
        rng = np.random.default_rng([seed, 3])
        task = narma(10, SMALL.steps, rng)
        repeated = task.u + 0.05 * rng.standard_normal(SMALL.steps) if kind == "noisy copy" else task.u**2
        gains.append(gain_of(repeated[:, None], task.u, task.y, permutations=39, rng=rng))
    assert abs(np.mean([g.gain for g in gains])) < 0.01
    assert sum(g.alarm for g in gains) <= 6


def test_the_interval_is_the_null_turned_around() -> None:
    null = np.arange(1.0, 200.0) / 200.0  # 1/200 .. 199/200
    found = against_null(0.0225, null, "shift")
    assert found.gain == pytest.approx(0.5 - 0.0225)
    assert found.ci == pytest.approx((5 / 200 - 0.0225, 195 / 200 - 0.0225))
    assert found.p_value == pytest.approx((1 + 4) / 200)
    assert found.detectable == pytest.approx(0.5 - 5 / 200)
    assert found.alarm
    assert found.false_alarm == pytest.approx(0.025)
    assert not against_null(5 / 200, null, "shift").alarm
    assert against_null(0.3, null[:20], "rows").false_alarm == pytest.approx(1 / 21)


@pytest.mark.parametrize(("permutations", "level"), [(39, 1 / 40), (199, 0.025), (300, 7 / 301)])
def test_chance_puts_the_lower_end_above_0_as_often_as_is_said(permutations: int, level: float) -> None:
    """Every rank of the observed score among equals is as likely: count the ranks that raise an alarm."""
    scores = np.arange(permutations + 1.0)
    alarms = [against_null(scores[i], np.delete(scores, i), "rows").alarm for i in range(scores.size)]
    assert np.mean(alarms) == pytest.approx(level)
    assert np.mean(alarms) <= 0.025


def test_shifts_keep_away_from_0_and_none_comes_twice() -> None:
    x = np.arange(40.0)[:, None]
    moved = list(shifted(x, 21, 10, np.random.default_rng(0)))
    assert sorted(float(rows[0, 0]) for rows in moved) == [float(v) for v in range(10, 31)]
    assert all((np.diff(rows[:, 0]) % 40 == 1).all() for rows in moved)


def test_equal_generators_give_equal_results_and_scales_do_not_matter() -> None:
    rng = np.random.default_rng(5)
    task = narma(10, SMALL.steps, rng)
    states = delay_line(task.u, 5)[:, 1:] + 0.1 * rng.standard_normal((SMALL.steps, 4))
    for permute in ("shift", "rows"):
        first, again = (gain_of(states, task.u, task.y, permutations=20, permute=permute) for _ in range(2))
        assert np.array_equal(first.null, again.null)
        scaled = gain_of(
            states * [1e-3, -2.0, 1e4, 1.0] + [0.0, 7.0, -1e5, 1.0],
            3.0 * task.u - 1.0,
            task.y,
            permutations=20,
            permute=permute,
        )
        assert scaled.null == pytest.approx(first.null, rel=1e-8)
        assert scaled.ci == pytest.approx(first.ci, abs=1e-8)
    other = gain_of(states, task.u, task.y, permutations=20, rng=np.random.default_rng(1))
    assert not np.array_equal(other.null, first.null)


def test_inputs_of_several_columns_are_taken() -> None:
    rng = np.random.default_rng(6)
    u = rng.standard_normal((SMALL.steps, 2))
    x = rng.standard_normal((SMALL.steps, 1))
    found = gain_of(x, u, u[:, 0] - u[:, 1] + x[:, 0], permutations=20)
    assert found.nrmse < 1e-3
    assert found.null == pytest.approx(np.full(20, 1 / np.sqrt(3)), abs=0.1)
    assert found.to_json()["gain_ci"] == list(found.ci)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": Split(50, 300, 151)}, "500 steps.*151 take 501"),
        ({"permutations": 19}, "at least 20"),
        ({"gap": 220}, "11 shifts.*99 are wanted"),
        ({"permute": "blocks"}, "shift, rows"),
        ({"alpha": 0.0}, "above 0"),
        ({"y": np.zeros((500, 2))}, r"\(500, 2\)"),
        ({"states": np.full((500, 1), np.nan)}, "450 entries"),
        ({"states": np.zeros((500, 1, 1))}, "shape"),
        ({"y": np.ones(500)}, "does not vary"),
    ],
)
def test_mistakes_are_named(change: dict[str, Any], message: str) -> None:
    rng = np.random.default_rng(0)
    given: dict[str, Any] = {
        "u": rng.random(500),
        "y": rng.random(500),
        "states": rng.random((500, 1)),
        "permutations": 99,
    }
    with pytest.raises(UserError, match=message):
        gain_of(**{**given, **change})


def test_a_split_without_rows_is_refused() -> None:
    for parts in ((-1, 100, 100), (0, 9, 100), (0, 100, 1)):
        with pytest.raises(UserError, match="split"):
            Split(*parts)
