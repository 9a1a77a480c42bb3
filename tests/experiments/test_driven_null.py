"""The null of a driven run: how often states that have nothing to do with the input are said to hold it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import binomtest

from experiments.analyses.driven import GUARD, AgainstNull, Driven, against_null
from firmware_bridge.errors import UserError
from reservoir.tasks import delayed, draw

STEPS, DELAYS, RUNS, DRAWS = 300, 10, 1500, 39


def remembered(states: np.ndarray, u: np.ndarray) -> float:
    """Squared correlations with the inputs of ten delays: shifts next to each other share nine of them."""
    x = states[:, 0] - states.mean()
    v = u - u.mean()
    products = np.correlate(x, v[: STEPS - DELAYS], "valid")[1:]
    return float((products**2).sum())


def run_of(rng: np.random.Generator, *, tied: float = 0.0, independent: bool = True) -> Driven:
    """States that remember themselves; tied to the input by a part of it."""
    u = rng.random(STEPS)
    earlier = np.roll(u, 3) - 0.5
    states = lfilter([1.0], [1.0, -0.9], rng.standard_normal(STEPS)) + tied * earlier
    return Driven(u, u, states[:, None], "monologue", 0.0, 1.0, independent)


def alarms(make: Callable[[np.random.Generator], Driven]) -> int:
    rngs = np.random.default_rng(5).spawn(RUNS)
    return sum(against_null(make(rng), remembered, DRAWS, rng).p_value <= 1 / (DRAWS + 1) for rng in rngs)


def test_the_level_of_independent_inputs_is_exact() -> None:
    count = alarms(run_of)
    assert binomtest(count, RUNS, 1 / (DRAWS + 1)).pvalue > 0.01


def test_shifts_that_leave_out_those_next_to_0_alarm_more_often_as_their_docstring_says() -> None:
    count = alarms(lambda rng: run_of(rng, independent=False))
    assert count > 1.1 * RUNS / (DRAWS + 1)


def test_a_memory_is_found_and_stands_beside_what_chance_gives() -> None:
    rng = np.random.default_rng(1)
    found = against_null(run_of(rng, tied=8.0), remembered, DRAWS, rng)
    assert isinstance(found, AgainstNull)
    assert found.p_value == 1 / (DRAWS + 1)
    assert found.value > found.null_high > found.null_mean


def test_fewer_shifts_than_draws_are_an_error() -> None:
    rng = np.random.default_rng(1)
    with pytest.raises(UserError, match=f"stay {GUARD} steps away from 0"):
        against_null(run_of(rng, independent=False), remembered, STEPS, rng)


@pytest.mark.parametrize(
    "name", ["narma10", "narma2", "parity3", "xor", "mackey-glass", "lorenz", "laser", "channel"]
)
def test_a_task_says_whether_its_inputs_are_independent(name: str) -> None:
    task = draw(name, 40_000 if name == "channel" else 4000, np.random.default_rng(0))
    v = task.u - task.u.mean()
    most = max(abs(float(v[lag:] @ v[:-lag] / (v @ v))) for lag in range(1, 11))
    assert task.independent == (most < 5 / np.sqrt(v.size))


def test_the_recall_of_an_input_has_independent_inputs() -> None:
    assert delayed(3, 10, np.random.default_rng(0)).independent
