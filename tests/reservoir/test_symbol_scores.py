"""Symbols of a task are read right as often as can be known, from the columns that know them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from reservoir.baselines import delay_line
from reservoir.rule import Split
from reservoir.symbol_scores import symbol_scores
from reservoir.tasks import channel_equalisation, delayed, narma, parity

SPLIT = Split(washout=50, train=800, test=400)


def test_a_state_that_knows_the_answer_reads_every_symbol_and_the_input_none_of_a_parity() -> None:
    task = parity(3, 0, SPLIT.steps, np.random.default_rng(1))
    found = symbol_scores(task, task.y[:, None], SPLIT)
    assert found is not None
    assert found.accuracy == 1.0
    assert found.accuracy_ci[0] > 0.98
    assert found.better_than_input < 1e-20
    chance = pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(400))
    assert found.input_only == chance
    assert found.most_frequent == chance
    assert found.delay_line_10 == chance  # no linear readout knows a parity
    assert found.delay_line_10_quadratic == chance  # of three inputs, nor does one of pairs
    assert json.loads(json.dumps(found.to_json()))["n"] == 400


def test_products_of_pairs_read_an_xor() -> None:
    task = parity(2, 1, SPLIT.steps, np.random.default_rng(2))
    found = symbol_scores(task, np.random.default_rng(3).standard_normal((SPLIT.steps, 3)), SPLIT)
    assert found is not None
    assert found.delay_line_10_quadratic == 1.0
    assert found.accuracy == pytest.approx(0.5, abs=0.1)


def test_states_of_noise_are_no_better_than_the_input_as_often_as_their_p_value_says() -> None:
    alarms = 0
    small = Split(washout=10, train=300, test=150)
    for seed in range(24):
        rng = np.random.default_rng(seed)
        task = channel_equalisation(small.steps, rng, snr_db=10.0)
        found = symbol_scores(task, rng.standard_normal((small.steps, 2)), small)
        assert found is not None
        alarms += found.better_than_input < 0.05
    assert alarms <= 4


def test_a_channel_is_read_from_its_taps() -> None:
    task = channel_equalisation(SPLIT.steps, np.random.default_rng(4))
    found = symbol_scores(task, delay_line(task.u, 8)[:, 1:], SPLIT)
    assert found is not None
    assert found.accuracy > 0.95 > found.input_only
    assert found.accuracy_ci[0] < found.accuracy <= found.accuracy_ci[1]


def test_targets_without_symbols_have_no_such_score() -> None:
    rng = np.random.default_rng(5)
    for task in (narma(10, SPLIT.steps, rng), delayed(2, SPLIT.steps, rng)):
        assert symbol_scores(task, np.zeros((SPLIT.steps, 1)), SPLIT) is None
