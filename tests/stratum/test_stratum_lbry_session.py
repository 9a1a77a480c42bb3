"""What a session does differently for a miner that hashes LBRY, without sockets or time."""

from __future__ import annotations

import hashlib
import struct
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.errors import UserError
from firmware_bridge.headers import Job, Share, verify
from firmware_bridge.lbry import ripemd160
from firmware_bridge.stratum.config import BridgeConfig
from firmware_bridge.stratum.jobs import JobFactory
from firmware_bridge.stratum.verify import PreparedJob, Reason, Rejected
from tests.stratum.session_kit import Talk, methods

LB1 = "icbtminer/1.0"
ROLLING: list[Any] = [["version-rolling"], {"version-rolling.mask": "ffffffff"}]
HEX8 = st.integers(0, 2**32 - 1).map("{:08x}".format)


def double(data: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def lbry_difficulty(job: list[Any], extranonce1: str, params: list[str]) -> float:
    """Difficulty of a share from the protocol's description: 10 parameters, 112 bytes, a unit 256 times easier."""
    _, _, extranonce2, ntime, nonce = params
    _, prevhash, claimtrie, coinb1, coinb2, branches, version, nbits, *_ = job
    root = double(bytes.fromhex(coinb1 + extranonce1 + extranonce2 + coinb2))
    for branch in branches:
        root = double(root + bytes.fromhex(branch))
    prev, claim = (struct.pack("<8I", *struct.unpack(">8I", bytes.fromhex(h))) for h in (prevhash, claimtrie))
    numbers = [int(text, 16) for text in (ntime, nbits, nonce)]
    header = struct.pack("<I", int(version, 16)) + prev + root + claim + struct.pack("<3I", *numbers)
    assert len(header) == 112
    wide = hashlib.sha512(double(header)).digest()
    proof = double(ripemd160(wide[:32]) + ripemd160(wide[32:]))
    return (0xFFFF << 208) * 256 / int.from_bytes(proof, "little")


# ---- who gets LBRY's jobs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "agent", "parameters"),
    [
        ("auto", LB1, 10),
        ("auto", "icbtminer asiclab-emulator scale=2^-22", 10),
        ("auto", "bmminer/2.0.0", 9),
        ("sha256d", LB1, 9),
        ("lbry", "bmminer/2.0.0", 10),
    ],
)
def test_the_configured_algorithm_or_the_agent_decide(algorithm: str, agent: str, parameters: int) -> None:
    assert len(Talk(algorithm=algorithm).ready(agent)) == parameters


def test_an_algorithm_that_nobody_knows_is_refused() -> None:
    with pytest.raises(UserError, match="auto, sha256d or lbry"):
        BridgeConfig(algorithm="scrypt")  # type: ignore[arg-type]


def test_a_second_subscribe_is_answered_alike_and_the_work_goes_on() -> None:
    talk = Talk(difficulty=2.0**-40)
    job = talk.ready(LB1)
    extranonce1 = talk.session.extranonce1
    for agent in (LB1, "something else/1"):  # the algorithm of a connection that works never changes
        (again,) = talk.tell("mining.subscribe", [agent])
        assert again["result"][1:] == [extranonce1, 4]
    assert talk.submit(ten_to_nine(job))["result"] is True
    talk.session.dispatch()
    assert [len(line["params"]) for line in talk.out() if line["method"] == "mining.notify"] == [10]


# ---- no version rolling ----------------------------------------------------------------------------------------------


def test_version_rolling_is_declined_after_the_subscription() -> None:
    talk = Talk()
    talk.tell("mining.subscribe", [LB1])
    (line,) = talk.tell("mining.configure", ROLLING)
    assert line["result"] == {"version-rolling": False}
    talk.tell("mining.authorize", ["w", "x"])
    assert talk.host.jobs[0].job.version_mask == 0
    assert talk.host.masks == []


def test_version_rolling_that_was_granted_before_the_agent_was_known_is_taken_back() -> None:
    talk = Talk()
    talk.tell("mining.configure", ROLLING)
    lines = talk.tell("mining.subscribe", [LB1], 2)
    assert methods(lines) == [2, "mining.set_version_mask"]
    assert lines[1]["params"] == ["00000000"]
    assert talk.host.masks == [0x1FFFE000, 0]  # the miner's row follows
    talk.tell("mining.authorize", ["w", "x"])
    assert talk.host.jobs[0].job.version_mask == 0


def test_version_bits_of_an_lbry_miner_are_refused() -> None:
    talk = Talk(difficulty=2.0**-40)
    job = ten_to_nine(talk.ready(LB1))
    answer = talk.submit(job, "00000001", "00002000")
    assert answer["error"][0] == 20
    assert "LBRY's version is not rolled" in answer["error"][1]
    assert talk.submit(job, "00000001", "00000000")["result"] is True  # what some send who roll nothing


def ten_to_nine(job: list[Any]) -> list[Any]:
    """The job where ``Talk.submit`` looks for ntime."""
    return [*job[:2], *job[3:]]


# ---- shares ----------------------------------------------------------------------------------------------------------


def test_shares_have_the_difficulty_that_the_protocol_gives_them() -> None:
    talk = Talk(difficulty=2.0**-40)
    job = talk.ready(LB1)
    for nonce in range(20):
        assert talk.submit(ten_to_nine(job), f"{nonce:08x}")["result"] is True
    prepared = talk.host.jobs[0]
    for nonce in range(20):
        params = ["w", job[0], "00000001", job[8], f"{nonce:08x}"]
        value = int.from_bytes(prepared.hash(*params[2:], None), "little")
        expected = lbry_difficulty(job, talk.session.extranonce1, params)
        assert prepared.difficulty(value) == pytest.approx(expected, rel=1e-12)


def test_a_share_just_at_its_difficulty_counts_and_one_just_below_it_does_not() -> None:
    talk = Talk(difficulty=2.0**-40)
    job = talk.ready(LB1)
    reached = lbry_difficulty(job, talk.session.extranonce1, ["w", job[0], "00000001", job[8], "00000001"])
    for factor, accepted in ((0.999999, True), (1.000001, False)):
        again = Talk(difficulty=reached * factor)
        answer = again.submit(ten_to_nine(again.ready(LB1)))
        assert (answer["result"] is True) is accepted  # equal seeds, equal jobs
        if not accepted:
            assert answer["error"][0] == 23
            assert answer["error"][1].startswith(f"low difficulty: {reached:.6g} of {reached * factor:.6g}")


def test_ntime_may_move_forward_and_not_back() -> None:
    talk = Talk(difficulty=2.0**-40)
    job = talk.ready(LB1)
    now = int(job[8], 16)
    for ahead, accepted in ((0, True), (1, True), (7200, True), (7201, False), (-1, False)):
        moved = [*job[:8], f"{now + ahead:08x}", job[9]]
        answer = talk.submit(ten_to_nine(moved), f"{ahead & 0xFFFF:08x}")
        assert (answer["result"] is True) is accepted, ahead


def test_a_repeated_share_and_one_of_an_unknown_job_are_refused_as_bitcoins_are() -> None:
    talk = Talk(difficulty=2.0**-40)
    job = ten_to_nine(talk.ready(LB1))
    assert talk.submit(job)["result"] is True
    assert talk.submit(job)["error"][0] == 22
    assert talk.submit(["beef", *job[1:]])["error"][0] == 21


# ---- misunderstandings -----------------------------------------------------------------------------------------------


def shares_below(talk: Talk, job: list[Any], ratio: float, count: int) -> list[str]:
    """Submit shares that reach `ratio` of the job's difficulty and not all of it; the texts of the answers."""
    asked = talk.host.jobs[0].job.difficulty
    texts: list[str] = []
    nonce = 0
    while len(texts) < count:
        params = ["w", job[0], "00000001", job[8], f"{nonce:08x}"]
        if ratio <= lbry_difficulty(job, talk.session.extranonce1, params) / asked < 1:
            texts.append(talk.submit(ten_to_nine(job), f"{nonce:08x}")["error"][1])
        nonce += 1
    return texts


def test_a_miner_at_another_scale_is_told_the_scale_that_would_explain_it() -> None:
    # a random LBRY hash reaches 2^-24, so 2^-17 is reached by one in 128: those pass for a miner at 2^-8 of 2^-9
    talk = Talk(difficulty=2.0**-9)
    texts = shares_below(talk, talk.ready(LB1), 2.0**-8, 8)
    assert texts[0].startswith("low difficulty: ")
    assert "works at another difficulty scale" in texts[-1]
    assert "start the bridge with --scale" in texts[-1]


def test_random_hashes_are_called_random_and_not_another_scale() -> None:
    """A miner that takes the job for Bitcoin's, or swaps the claim trie wrongly: its best share is any hash."""
    talk = Talk(difficulty=1.0)
    job = ten_to_nine(talk.ready(LB1))
    texts = [talk.submit(job, f"{nonce:08x}")["error"][1] for nonce in range(8)]
    assert "look random" in texts[-1]
    assert "claim trie" in texts[-1]
    assert "--scale" not in texts[-1]


def test_random_hashes_of_a_miner_that_is_not_known_to_hash_lbry_name_the_option() -> None:
    talk = Talk(difficulty=1.0)
    job = talk.ready("some-new-box/1")
    texts = [talk.submit(job, f"{nonce:08x}")["error"][1] for nonce in range(8)]
    assert "look random" in texts[-1]
    assert "--algorithm lbry" in texts[-1]


# ---- the fast verification and the plain one -------------------------------------------------------------------------


def job_of(branches: int) -> Job:
    factory = JobFactory(BridgeConfig(merkle_branches=branches), np.random.default_rng(3))
    return factory.make(
        extranonce1="0badcafe",
        difficulty=2.0**-22,
        scale=2.0**-2,
        version_mask=0,
        wall_ns=1_763_900_000_000_000_000,
        lbry=True,
    )


@given(st.integers(0, 8), st.lists(st.tuples(HEX8, HEX8, st.integers(0, 7200)), min_size=1, max_size=6))
def test_the_prepared_job_equals_the_plain_verification(
    branches: int, shares: list[tuple[str, str, int]]
) -> None:
    job = job_of(branches)
    prepared = PreparedJob(job)
    for extranonce2, nonce, ahead in [*shares, shares[0]]:
        ntime = f"{int(job.ntime, 16) + ahead:08x}"
        expected = verify(job, Share(job.job_id, extranonce2, ntime, nonce))
        value = int.from_bytes(prepared.hash(extranonce2, ntime, nonce, None), "little")
        assert value == expected.hash_value
        assert prepared.difficulty(value) == expected.difficulty
        assert (value <= prepared.target) == expected.meets_job


@pytest.mark.parametrize("difficulty", [5e-324, 2.0**-24, 1.0, 3.7, 2.0**40])
def test_the_target_is_that_of_the_difficulty_times_256_and_saturates(difficulty: float) -> None:
    job = Job(
        "1",
        "00" * 32,
        "",
        "",
        (),
        "00000001",
        "1d00ffff",
        "00000000",
        difficulty=difficulty,
        claimtrie="00" * 32,
    )
    exact = int(Fraction((0xFFFF << 208) * 256) / Fraction(difficulty))
    assert PreparedJob(job).target == min(exact, 2**256 - 1)


def test_a_malformed_share_is_named_and_leaves_nothing_behind() -> None:
    job = job_of(1)
    prepared, untouched = PreparedJob(job), PreparedJob(job)
    prepared.hash("00000001", job.ntime, "00000001", None)
    for fields, reason in (
        (("0000000x", job.ntime, "00000001", None), Reason.MALFORMED),
        (("00000002", job.ntime, "0000001", None), Reason.MALFORMED),
        (("00000002", job.ntime, "00000001", "00002000"), Reason.VERSION_BITS),
        (("00000002", "00000000", "00000001", None), Reason.NTIME),
    ):
        with pytest.raises(Rejected) as caught:
            prepared.hash(*fields)
        assert caught.value.reason == reason
    for extranonce2 in ("00000001", "00000002"):
        expected = untouched.hash(extranonce2, job.ntime, "00000001", None)
        assert prepared.hash(extranonce2, job.ntime, "00000001", None) == expected
