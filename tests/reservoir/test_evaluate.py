"""A score beside its baselines: the table of known values, intervals that cover, verdicts, and mistakes."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np
import pytest
from scipy.signal import lfilter

from firmware_bridge.errors import UserError
from reservoir.baselines import delay_line
from reservoir.evaluate import Evaluation, evaluate, paired_intervals
from reservoir.rule import Fit, Split
from reservoir.tasks import narma

SMALL = Split(washout=50, train=300, test=150)


def scored(
    states: Any, split: Split = SMALL, seed: int = 0, permutations: int = 20, **options: Any
) -> Evaluation:
    task = narma(10, split.steps, np.random.default_rng(seed))
    given = states(task.u, np.random.default_rng(seed + 1000)) if callable(states) else states
    options.setdefault("rng", np.random.default_rng(seed))
    return evaluate("narma10", task.u, task.y, given, split=split, permutations=permutations, **options)


def noise(u: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((u.size, 3))


def memory(u: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return delay_line(u, 12)[:, 8:] + 0.03 * rng.standard_normal((u.size, 4))


@pytest.mark.costly
def test_the_baselines_score_what_is_known_of_them() -> None:
    """Of ``reservoir.md`` §1.4 and §1.5: mean and deviation over 10 sequences of 2000 and 1000 steps."""
    known = {
        "mean": (1.0056, 0.0057),
        "input_only": (0.8783, 0.0137),
        "delay_line_10": (0.5944, 0.0252),
        "delay_line_20": (0.4008, 0.0285),
        "delay_line_matched": (0.8185, 0.0180),  # 5 taps beside 4 states
        "delay_line_quadratic": (0.1794, 0.0589),
        "esn_100": (0.2556, 0.0517),
    }
    fixed, chosen = (
        [scored(noise4, Split(), seed, alpha=alpha).baselines for seed in range(10)] for alpha in (1e-6, None)
    )
    for name, (mean, deviation) in known.items():
        error = deviation * np.sqrt(2.0 / 10.0)  # of the difference of two means over 10
        for found in (fixed, chosen):
            assert np.mean([b[name] for b in found]) == pytest.approx(mean, abs=2.0 * error), name


@pytest.mark.slow
def test_sequences_that_were_never_looked_at_score_the_same_within_two_standard_errors() -> None:
    """The table of ``reservoir.md`` §1.4 and §1.5 again, on 40 sequences of other seeds."""
    known = {
        "mean": (1.0056, 0.0057),
        "input_only": (0.8783, 0.0137),
        "delay_line_10": (0.5944, 0.0252),
        "delay_line_20": (0.4008, 0.0285),
        "delay_line_quadratic": (0.1794, 0.0589),
        "esn_100": (0.2556, 0.0517),
    }
    found = [scored(noise4, Split(), 7000 + seed).baselines for seed in range(40)]
    for name, (mean, deviation) in known.items():
        scores = np.array([baselines[name] for baselines in found])
        error = np.sqrt(deviation**2 / 10 + scores.var(ddof=1) / scores.size)
        assert scores.mean() == pytest.approx(mean, abs=2.0 * error), name


def noise4(u: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((u.size, 4))


def test_intervals_cover_the_true_difference() -> None:
    """Two readouts with errors of known spread that remember their past, partly the same errors."""
    covered = {"other": 0, "own": 0}
    runs, steps = 300, 600
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        y, common, e1, e2 = lfilter([1.0], [1.0, -0.5], rng.standard_normal((4, steps + 50)))[:, 50:]
        fits = [Fit(y + p, _nrmse(y, y + p), 1.0, 0.0) for p in (0.4 * (common + e1), 0.5 * (common + e2))]
        own, differences = paired_intervals(y, fits[0], {"other": [fits[1]]}, rng)
        truth, other = 0.4 * np.sqrt(2.0), 0.5 * np.sqrt(2.0)
        ci = differences["other"].ci
        assert own is not None
        assert ci is not None
        covered["own"] += own[0] <= truth <= own[1]
        covered["other"] += ci[0] <= other - truth <= ci[1]
        assert ci[0] < differences["other"].difference < ci[1]
    assert 0.90 <= covered["own"] / runs <= 0.98
    assert 0.90 <= covered["other"] / runs <= 0.98


def _nrmse(y: np.ndarray, predicted: np.ndarray) -> float:
    return float(np.sqrt(np.mean((y - predicted) ** 2)) / y.std())


def test_states_that_remember_gain_and_what_says_so_names_the_delay_line() -> None:
    found = scored(memory)
    assert found.verdict.code == "gain"
    assert found.gain.ci[0] > 0.1
    assert "delay line of 5 taps" in found.verdict.text
    assert "beat" in found.verdict.text  # they reach back 8 to 11 steps, the line only 4
    assert found.differences["delay_line_matched"].ci[0] > 0
    assert found.differences["input_only"].difference == found.baselines["input_only"] - found.nrmse
    assert found.differences["shuffled"].ci == found.gain.ci
    assert found.baselines["phase_randomised"] == pytest.approx(found.baselines["shuffled"], abs=0.03)


def test_a_short_memory_gains_and_is_still_of_no_use() -> None:
    def noisy(u: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return delay_line(u, 11)[:, 8:] + 0.1 * rng.standard_normal((u.size, 3))

    def wide(u: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return np.hstack([noisy(u, rng), rng.standard_normal((u.size, 8))])

    found = scored(wide)
    assert found.verdict.code == "gain"
    assert "lose to a delay line of 12 taps" in found.verdict.text


def test_noise_gains_nothing_and_what_would_have_been_found_is_said() -> None:
    found = scored(noise, seed=1)
    assert found.verdict.code == "no_gain"
    assert f"a gain of {found.gain.detectable:.4f} would have been found" in found.verdict.text
    assert found.nrmse_states_only == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    ("states", "split", "message"),
    [
        (np.ones((1000, 3)), SMALL, "do not vary"),
        (noise, Split(50, 300, 99), "99 test them"),
        (lambda u, rng: rng.random((u.size, 30)), SMALL, "31 weights"),
    ],
)
def test_too_little_gives_no_verdict(states: Any, split: Split, message: str) -> None:
    given = states if callable(states) else states[: split.steps]
    found = scored(given, split)
    assert found.verdict.code == "cannot_tell"
    assert message in found.verdict.text


def test_other_states_are_scored_beside() -> None:
    task = narma(10, SMALL.steps, np.random.default_rng(0))
    states = memory(task.u, np.random.default_rng(1))
    found = scored(states, others={"same": states, "noise": noise(task.u, np.random.default_rng(2))})
    assert found.baselines["same"] == found.nrmse
    assert found.differences["same"].difference == 0.0
    assert found.differences["same"].ci == (0.0, 0.0)
    assert found.differences["noise"].ci[0] > 0
    plain = scored(states)
    assert plain.gain.ci == found.gain.ci  # what else is scored does not move the null


def test_the_result_is_plain_json() -> None:
    found = scored(memory, columns=("a", "b", "c", "d"))
    plain = found.to_json()
    assert json.loads(msgspec.json.encode(plain)) == plain
    assert {"task", "metric", "nrmse", "nrmse_ci", "nrmse_states_only", "baselines", "differences"} <= set(
        plain
    )
    assert {"gain_over_input_only", "gain_ci", "gain_p", "gain_detectable", "permutations"} <= set(plain)
    assert {"permute", "verdict", "n_train", "n_test", "washout", "lambda", "columns"} <= set(plain)
    assert (plain["metric"], plain["permutations"], plain["permute"]) == ("nrmse_std", 20, "shift")
    assert (plain["washout"], plain["n_train"], plain["n_test"]) == (50, 300, 150)
    assert plain["columns"] == ["a", "b", "c", "d"]
    assert plain["lambda_rule"] == "validation"
    assert set(plain["baselines"]) == set(plain["differences"])
    assert plain["nrmse_ci"][0] < plain["nrmse"] < plain["nrmse_ci"][1]
    assert scored(memory, alpha=1e-6).to_json()["lambda"] == 1e-6


def test_equal_generators_give_equal_results_and_scales_do_not_matter() -> None:
    task = narma(10, SMALL.steps, np.random.default_rng(0))
    states = memory(task.u, np.random.default_rng(1))
    first, again = scored(states).to_json(), scored(states).to_json()
    assert first == again
    scaled = scored(states * [1e-3, -2.0, 1e4, 1.0] + [0.0, 7.0, -1e5, 1.0]).to_json()
    for key in ("nrmse", "nrmse_ci", "nrmse_states_only", "gain_ci", "gain_p", "lambda", "baselines"):
        assert scaled[key] == pytest.approx(first[key], rel=1e-7), key


def test_an_input_of_two_columns_is_taken() -> None:
    rng = np.random.default_rng(3)
    u = rng.standard_normal((SMALL.steps, 2))
    y = u[:, 0] + np.concatenate([[0.0], u[:-1, 1]])
    found = evaluate("two", u, y, rng.random((500, 3)), split=SMALL, permutations=20, rng=rng)
    assert found.matched_taps == 3  # of each column: as many weights at least
    assert found.baselines["delay_line_10"] < 1e-3
    assert found.baselines["input_only"] == pytest.approx(np.sqrt(0.5), abs=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"u": np.zeros(499)}, "500.*take|take 500"),
        ({"u": np.random.default_rng(0).random(501)}, "same steps"),
        ({"columns": ("a", "b")}, "2 names.*3 state columns"),
        ({"others": {"esn_100": np.zeros((500, 1))}}, "baseline already"),
        ({"others": {"shuffled": np.zeros((500, 1))}}, "baseline already"),
        ({"others": {"run": np.zeros((501, 1))}}, "'run'.*501"),
        ({"others": {"run": np.full((500, 1), np.inf)}}, "'run' has 450"),
    ],
)
def test_mistakes_are_named(change: dict[str, Any], message: str) -> None:
    rng = np.random.default_rng(0)
    given: dict[str, Any] = {
        "u": rng.random(500),
        "y": rng.random(500),
        "states": rng.random((500, 3)),
        "split": SMALL,
        "permutations": 20,
        "rng": rng,
    }
    with pytest.raises(UserError, match=message):
        evaluate("x", **{**given, **change})
