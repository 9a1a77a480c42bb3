"""The emulated LB-Box as a miner: real LBC hashes at its rate, shares that the bridge accepts."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge import lbry
from firmware_bridge.emulator.lb_box import MODEL
from firmware_bridge.emulator.lbry_span import LbryHasher
from firmware_bridge.emulator.span import Hit, PreparedJob
from firmware_bridge.emulator.wall import WallMiner
from firmware_bridge.emulator.wall_config import WallConfig
from firmware_bridge.headers import Job, Share, verify
from firmware_bridge.stratum.config import BridgeConfig
from firmware_bridge.stratum.jobs import JobFactory
from tests.stratum.bridge_kit import eventually, rows, running_bridge

SCALE = 2.0**-24
RATE = 40.0  # hashes per ms
WALL_NS = 1_763_900_000_000_000_000


def job_of(difficulty: float, scale: float = 1.0) -> Job:
    factory = JobFactory(BridgeConfig(merkle_branches=2), np.random.default_rng(11))
    return factory.make(
        extranonce1="0badcafe", difficulty=difficulty, scale=scale, version_mask=0, wall_ns=WALL_NS, lbry=True
    )


def hasher(job: Job, floor: float = 0.0, rate: float = RATE) -> LbryHasher:
    return LbryHasher(rate, PreparedJob.of(job, floor or job.difficulty), floor)


def share_of(job: Job, hit: Hit) -> Share:
    size = job.extranonce2_size
    return Share(job.job_id, hit.extranonce2.to_bytes(size, "little").hex(), job.ntime, f"{hit.nonce:08x}")


def test_every_hit_is_a_share_of_its_difficulty_and_no_header_is_tried_twice() -> None:
    scale = 2.0**-20
    job = job_of(128 * 2.0**-24 / scale, scale)  # one in 128 hashes, however small the scale
    hits = hasher(job).run(500.0, 10**6)
    assert len(hits) > 50
    for hit in hits:
        verified = verify(job, share_of(job, hit))
        assert verified.meets_job
        assert hit.difficulty == pytest.approx(verified.difficulty, rel=1e-12)
    assert len({(hit.extranonce2, hit.nonce) for hit in hits}) == len(hits)
    assert len({hit.extranonce2 for hit in hits}) == 5  # one per 100 ms
    assert [hit.work_ms for hit in hits] == sorted(hit.work_ms for hit in hits)
    assert hits[-1].work_ms <= 500.0


def test_the_floor_of_the_chips_holds_where_a_pool_asks_for_less() -> None:
    job = job_of(2.0**-30)
    hits = hasher(job, floor=2.0**-17).run(1e9, 3000)
    assert 2 <= len(hits) < 200
    assert min(hit.difficulty for hit in hits) >= 2.0**-17


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.floats(0.0, 30.0), st.integers(1, 150)), min_size=1, max_size=8))
def test_hashing_in_pieces_gives_what_hashing_at_once_gives(pieces: list[tuple[float, int]]) -> None:
    job = job_of(2.0**-20)
    in_pieces, at_once = hasher(job), hasher(job)
    hits = []
    for until_ms, budget in pieces:
        hits += in_pieces.run(until_ms, budget)
    assert hits == at_once.run(math.inf, in_pieces.hashes)
    assert at_once.hashes == in_pieces.hashes
    assert in_pieces.work_ms == in_pieces.hashes / RATE


def test_hits_come_at_the_rate_of_the_hash_rate_and_the_difficulty() -> None:
    job = job_of(64 * 2.0**-24)
    hits = hasher(job).run(math.inf, 40_000)
    expected = 40_000 / 64
    assert abs(len(hits) - expected) < 5 * math.sqrt(expected)
    assert lbry.HASHES_PER_DIFFICULTY * job.difficulty == 64


@pytest.mark.parametrize("rate", [1e-4, 0.003, 1.0])
def test_a_rate_below_one_hash_per_extranonce2_still_moves_on(rate: float) -> None:
    job = job_of(2.0**-60)
    hits = hasher(job, rate=rate).run(math.inf, 40)
    assert len({(hit.extranonce2, hit.nonce) for hit in hits}) == 40


@pytest.mark.costly
@pytest.mark.parametrize("mode", ["swh", "stream"])
async def test_a_box_mines_for_the_bridge_and_every_share_is_accepted(tmp_path: Path, mode: str) -> None:
    async with running_bridge(tmp_path, mode=mode, difficulty=512.0, job_period_s=0.5) as (_, port):
        summary = await WallMiner(
            WallConfig("lb-box", "127.0.0.1", port, scale=SCALE, seconds=120.0, shares=20)
        ).run()
    assert summary.accepted >= 20
    assert summary.rejected == {}
    shares = rows(tmp_path, "SELECT * FROM shares")
    assert all(s["valid"] for s in shares)
    assert min(s["difficulty"] for s in shares) >= 512
    assert all(s["version_bits"] is None for s in shares)
    (miner,) = rows(tmp_path, "SELECT * FROM miners")
    assert (miner["name"], miner["model"], miner["scale"]) == ("lab.lb-box", "lb-box", SCALE)
    assert all(job["claimtrie"] for job in rows(tmp_path, "SELECT claimtrie FROM jobs"))


@pytest.mark.parametrize(("model", "algorithm"), [("lb-box", "sha256d"), ("s9", "lbry")])
async def test_jobs_of_the_other_algorithm_are_left_out_and_the_user_is_told_once(
    tmp_path: Path, model: str, algorithm: str
) -> None:
    warned: list[str] = []
    async with running_bridge(tmp_path, algorithm=algorithm, difficulty=1.0, job_period_s=0.05) as (_, port):
        miner = WallMiner(WallConfig(model, "127.0.0.1", port, scale=SCALE, seconds=120.0), warned.append)
        mining = asyncio.ensure_future(miner.run())
        await eventually(lambda: miner.client.stats.jobs >= 5 or mining.done())
        miner.request_stop()
        summary = await mining
    assert summary.jobs >= 5
    assert summary.submitted == 0
    (told,) = [text for text in warned if "LBRY" in text]
    assert "--algorithm auto" in told


def test_one_core_keeps_up_at_the_default_scale() -> None:
    """What the scale asks for is bounded by what hashlib does; the check at its start warns where a CPU is slower."""
    asked = MODEL.capacity_ths * 1e12 * MODEL.default_scale
    assert 10_000 < asked < 60_000
