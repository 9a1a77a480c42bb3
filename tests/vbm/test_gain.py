"""The statistics of an A/B comparison: coverage, false alarms, and what its verdict says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.vbm import order_of
from experiments.vbm_result import ARMS, Block, Plan, gain_of, judge, model_rows
from experiments.vbm_subjects import EmulatedSubject, Side
from firmware_bridge.efficiency import eta, throughput_gain
from firmware_bridge.emulator.delay import Tally
from firmware_bridge.errors import UserError


def test_intervals_cover_the_truth_as_often_as_they_say_and_equal_arms_rarely_differ() -> None:
    rng = np.random.default_rng(1)
    covered = alarms = 0
    for _ in range(1000):
        direct, arm = rng.poisson(60, 8) + 1.0, rng.poisson(90, 8) + 1.0
        found = gain_of(arm.tolist(), direct.tolist())
        covered += found.low <= 91 / 61 - 1 <= found.high
        null = gain_of((rng.poisson(60, 8) + 1.0).tolist(), direct.tolist())
        alarms += null.low > 0 or null.high < 0
    assert 925 <= covered <= 975
    assert 25 <= alarms <= 75


def test_a_gain_of_the_detectable_size_is_found_about_nine_times_out_of_ten() -> None:
    rng = np.random.default_rng(2)
    spread, blocks = 0.1, 10
    sizes = [
        gain_of(
            np.exp(rng.normal(0, spread, blocks)).tolist(), np.exp(rng.normal(0, spread, blocks)).tolist()
        ).detectable
        for _ in range(400)
    ]
    shift = math.log1p(float(np.mean(sizes)))
    hits = 0
    for _ in range(400):
        arm = np.exp(rng.normal(shift, spread, blocks))
        hits += gain_of(arm.tolist(), np.exp(rng.normal(0, spread, blocks)).tolist()).low > 0
    assert 0.85 < hits / 400 < 0.98


@given(
    t_hash=st.floats(1e-3, 1e3), network=st.floats(0, 10), stratum=st.floats(0, 1), more=st.floats(1e-3, 10)
)
def test_eta_lies_between_0_and_1_and_falls_with_every_wait(
    t_hash: float, network: float, stratum: float, more: float
) -> None:
    now, later = eta(t_hash, network, stratum), eta(t_hash, network + more, stratum)
    assert now is not None
    assert later is not None
    assert 0 < later < now <= 1
    gain = throughput_gain(t_hash, network)
    assert gain == pytest.approx(network / t_hash)


def test_the_model_says_where_25_per_cent_come_from() -> None:
    row = next(r for r in model_rows() if r["round_trip_s"] == 0.05 and r["t_hash_s"] == 0.2)
    assert row["gain"] == pytest.approx(0.25)
    assert row["time_won"] == pytest.approx(0.2)


def test_every_block_has_every_arm_once_and_the_order_is_that_of_the_seed() -> None:
    order = order_of(Plan(blocks=6, seed=3))
    for block in range(6):
        assert sorted(arm for number, arm in order if number == block) == sorted(ARMS)
    assert order == order_of(Plan(blocks=6, seed=3)) != order_of(Plan(blocks=6, seed=4))


def blocks_of(rates: dict[str, list[float]]) -> list[Block]:
    return [
        Block(i, arm, 3600.0, Tally(100, 99, rate, jobs=1), Side(0.5, [], [0.1]), 0.1)  # type: ignore[arg-type]
        for arm, values in rates.items()
        for i, rate in enumerate(values)
    ]


@pytest.mark.parametrize(
    ("again", "vbm", "code", "words"),
    [
        ([100, 101, 99], [125, 124, 126], "gain", "within the interval"),
        ([100, 101, 99], [150, 151, 149], "gain", "outside the interval"),
        ([100, 101, 99], [80, 81, 79], "loss", "costs"),
        ([100, 101, 99], [100, 99, 101], "no_gain", "would have shown"),
        ([130, 131, 129], [125, 124, 126], "cannot_tell", "disturbed"),
    ],
)
def test_the_verdict_says_what_the_arms_say(
    again: list[float], vbm: list[float], code: str, words: str
) -> None:
    rates = {"direct": [100.0, 100.5, 99.5], "direct again": again, "relay": [100, 100, 100], "vbm": vbm}
    subject = EmulatedSubject(0.1, waits=True, seed=0)
    result = judge(subject, Plan(blocks=3), blocks_of(rates))  # type: ignore[arg-type]
    assert result.verdict["code"] == code
    assert words in result.verdict["text"]
    assert result.to_json()["arms"][0]["gain"] is None


def test_too_little_is_refused_with_what_to_do() -> None:
    with pytest.raises(UserError, match="blocks"):
        Plan(blocks=1)
    with pytest.raises(UserError, match="longer"):
        gain_of([0.0, 1.0], [1.0, 1.0])
    with pytest.raises(UserError, match="two blocks"):
        gain_of([1.0], [1.0])
    with pytest.raises(UserError, match="above 0"):
        EmulatedSubject(0.0, waits=True, seed=0)
