"""The prepared job against ``headers.verify``, and the synthetic jobs against the rules of a coinbase."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.errors import UserError
from firmware_bridge.headers import Job, Share, target_from_nbits, verify
from firmware_bridge.stratum.config import BridgeConfig
from firmware_bridge.stratum.dispatch import JobSymbol
from firmware_bridge.stratum.jobs import JobFactory
from firmware_bridge.stratum.verify import PreparedJob, Rejected

HEX8 = st.integers(0, 2**32 - 1).map("{:08x}".format)
WALL_NS = 1_763_900_000_000_000_000


def job_of(branches: int = 0, mask: int = 0x1FFFE000, scale: float = 1.0, seed: int = 3) -> Job:
    config = BridgeConfig(merkle_branches=branches)
    return JobFactory(config, np.random.default_rng(seed)).make(
        extranonce1="0badcafe", difficulty=2.0**-30, scale=scale, version_mask=mask, wall_ns=WALL_NS
    )


@given(
    st.integers(0, 12),
    st.lists(
        st.tuples(HEX8, HEX8, st.integers(0, 7200), st.none() | st.integers(0, 0xFFFF)),
        min_size=1,
        max_size=6,
    ),
)
def test_equals_the_plain_verification_for_shares_in_any_order(
    branches: int, shares: list[tuple[str, str, int, int | None]]
) -> None:
    job = job_of(branches, scale=2.0**-2)
    prepared = PreparedJob(job)
    for extranonce2, nonce, ahead, rolled in [*shares, shares[0]]:
        ntime = f"{int(job.ntime, 16) + ahead:08x}"
        bits = None if rolled is None else f"{rolled << 13:08x}"
        expected = verify(job, Share(job.job_id, extranonce2, ntime, nonce, bits))
        digest = prepared.hash(extranonce2, ntime, nonce, bits)
        value = int.from_bytes(digest, "little")
        assert value == expected.hash_value
        assert prepared.difficulty(value) == expected.difficulty
        assert (value <= prepared.target) == expected.meets_job


def test_a_rejected_share_leaves_nothing_behind() -> None:
    job = job_of()
    prepared, untouched = PreparedJob(job), PreparedJob(job)
    prepared.hash("00000001", job.ntime, "00000001", None)
    for fields in (
        ("0000000x", job.ntime, "00000001", None),
        ("00000002", job.ntime, "00000001", "00000001"),
        ("00000002", job.ntime, "00000001", "xxxxxxxx"),
        ("00000002", job.ntime, "0000001", None),
    ):
        with pytest.raises(Rejected):
            prepared.hash(*fields)
    for extranonce2 in ("00000001", "00000002"):
        expected = untouched.hash(extranonce2, job.ntime, "00000001", None)
        assert prepared.hash(extranonce2, job.ntime, "00000001", None) == expected


def test_jobs_are_unique_and_well_formed() -> None:
    factory = JobFactory(BridgeConfig(merkle_branches=2), np.random.default_rng(5))
    made = [
        factory.make(
            extranonce1=factory.extranonce1(), difficulty=1.0, scale=1.0, version_mask=0, wall_ns=WALL_NS,
            symbol=JobSymbol(1.0, coinbase=bytes(range(64))) if i % 2 else None,
        )
        for i in range(200)
    ]  # fmt: skip
    for name in ("job_id", "prevhash", "coinb1", "extranonce1"):
        assert len({getattr(job, name) for job in made}) == 200
    for job in made:
        coinbase = bytes.fromhex(job.coinb1 + job.extranonce1 + "00000000" + job.coinb2)
        script_length = coinbase[41]
        assert coinbase[:41] == bytes.fromhex("0100000001" + "00" * 32 + "ffffffff")
        assert 2 <= script_length <= 100
        rest = coinbase[42 + script_length :]
        assert rest[:5] == bytes.fromhex("ffffffff01")  # sequence, one output
        assert rest[13] == len(rest) - 14 - 4  # the output's script runs up to the lock time
        assert job.ntime == f"{WALL_NS // 10**9:08x}"
        assert target_from_nbits(job.nbits) < 2**200  # far beyond any lab share
        # the script is a row of pushes, as miners that decode it expect
        at = 42
        while at < 42 + script_length:
            at += 1 + coinbase[at]
        assert at == 42 + script_length


def test_equal_seeds_make_equal_jobs() -> None:
    assert job_of(3, seed=9) == job_of(3, seed=9)
    assert job_of(3, seed=9) != job_of(3, seed=10)


@pytest.mark.parametrize(
    "change",
    [
        {"mode": "burst"},
        {"difficulty": 0.0},
        {"difficulty": float("nan")},
        {"job_period_s": -1.0},
        {"scale": 0.0},
        {"port": 70000},
        {"version_mask": 1 << 32},
        {"base_version": "2"},
        {"nbits": "zzzzzzzz"},
        {"merkle_branches": 33},
        {"max_clients": 0},
    ],
)
def test_impossible_settings_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(UserError):
        dataclasses.replace(BridgeConfig(), **change)  # type: ignore[arg-type]
