"""Whose scale of difficulty holds, and how a miner of another one is told."""

from __future__ import annotations

import pytest

from tests.stratum.bridge_kit import difficulty_of
from tests.stratum.session_kit import Talk


def test_the_scale_of_the_agent_is_taken_up() -> None:
    talk = Talk(difficulty=256)
    talk.ready("bmminer/2.0.0 asiclab-emulator scale=2^-20")
    job = talk.host.jobs[0].job
    assert (job.difficulty, job.scale) == (256, 2.0**-20)


def test_only_a_miner_that_names_a_scale_is_told_that_it_was_taken_up() -> None:
    (emulated,) = Talk().tell("mining.subscribe", ["x scale=2^-20"])
    assert ["asiclab.scale", "scale=2^-20"] in emulated["result"][0]
    (real,) = Talk().tell("mining.subscribe", ["cgminer/4.11.1"])
    assert {name for name, _ in real["result"][0]} == {"mining.set_difficulty", "mining.notify"}


def test_a_scale_that_differs_from_the_bridge_is_one_error_that_says_so() -> None:
    talk = Talk(scale=2.0**-10)
    (line,) = talk.tell("mining.subscribe", ["x scale=2^-20"])
    assert "scale=2^-20" in line["error"][1]
    assert "scale=2^-10" in line["error"][1]
    assert talk.host.dropped
    agreeing = Talk(scale=2.0**-20)
    agreeing.ready("x scale=2^-20")
    assert agreeing.host.jobs[0].job.scale == 2.0**-20


def test_the_scale_of_the_bridge_holds_for_a_miner_that_names_none() -> None:
    talk = Talk(scale=2.0**-8, difficulty=1)
    talk.ready()
    assert talk.host.jobs[0].job.scale == 2.0**-8


@pytest.mark.parametrize(
    "token", ["scale=0", "scale=-1", "scale=nan", "scale=inf", "scale=2^9999", "scale=two"]
)
def test_a_scale_that_is_no_number_is_an_error(token: str) -> None:
    talk = Talk()
    assert talk.tell("mining.subscribe", [f"x {token}"])[0]["error"][0] == 20
    assert talk.host.dropped


def test_shares_below_by_a_power_of_two_end_with_the_reason() -> None:
    talk = Talk(difficulty=16)
    job = talk.ready()
    for nonce in range(10_000):
        params = ["w", job[0], "00000001", job[7], f"{nonce:08x}"]
        if difficulty_of(job, talk.session.extranonce1, params) >= 16 * 2.0**-28:
            talk.tell("mining.submit", params, nonce + 10)
        if talk.host.dropped:
            break
    answers = [line for line in talk.commit() if line.get("error")]
    assert len(answers) == 8
    assert all(line["error"][0] == 23 for line in answers)
    assert "scale" in answers[0]["error"][1]
    assert "--scale" in talk.host.dropped[0]
    assert talk.host.events[-1][0] == "scale-mismatch"


def test_random_hashes_are_called_a_wrong_header() -> None:
    talk = Talk(difficulty=256)
    job = talk.ready()
    for nonce in range(8):
        talk.tell("mining.submit", ["w", job[0], "00000001", job[7], f"{nonce:08x}"])
    assert "random" in talk.host.dropped[0]


def test_a_miner_with_accepted_shares_is_never_called_mismatched() -> None:
    talk = Talk(difficulty=2.0**-30)
    job = talk.ready()
    refused = 0
    for nonce in range(200):
        talk.tell("mining.submit", ["w", job[0], "00000001", job[7], f"{nonce:08x}"])
        refused += talk.host.judged[-1].rows[0][9] == "low-difficulty"
        if nonce > 40:
            assert talk.host.judged[-1].rows
    assert 20 < refused < 200
    assert talk.host.dropped == []
