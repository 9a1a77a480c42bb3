"""Emulated miners over real TCP, mining real nonces for a pool that checks them with hashlib alone."""

from __future__ import annotations

import asyncio
import math
import socket
from dataclasses import replace
from typing import Any

import pytest
from header_checker import swap32
from plain_pool import PlainPool
from scipy import stats as scipy_stats

from firmware_bridge.emulator import mine as mining
from firmware_bridge.emulator.physics import Physics
from firmware_bridge.emulator.span import PreparedJob
from firmware_bridge.emulator.wall import WallMiner
from firmware_bridge.emulator.wall_config import WallConfig, WallSummary
from firmware_bridge.errors import UserError
from firmware_bridge.headers import Job

SCALE = 2.0**-26
"""Little enough work that a busy test machine keeps up."""


async def mine(pool: PlainPool, model: str, **settings: Any) -> tuple[WallMiner, WallSummary]:
    settings = {"scale": pool.scale, "seconds": 120.0, **settings}
    miner = WallMiner(WallConfig(model, "127.0.0.1", pool.port, **settings))
    summary = await miner.run()
    assert pool.faults == []
    assert summary.submitted == summary.accepted + sum(summary.rejected.values())
    assert sum(summary.rejected.values()) == pool.duplicates
    return miner, summary


async def test_every_share_of_an_emulated_s9_is_accepted() -> None:
    async with PlainPool(256, SCALE) as pool:
        _, summary = await mine(pool, "s9", shares=40)
    assert summary.accepted >= 40
    assert pool.requests[:2] == ["mining.subscribe", "mining.authorize"]
    assert pool.agents == ["bmminer/2.0.0 asiclab-emulator scale=2^-26"]
    assert pool.parameters == {5}
    assert min(pool.difficulties) >= 256
    # a new job after every share: no faster than hashing and dead time allow
    assert summary.seconds / summary.accepted > 0.05
    assert summary.hashes > 0.3 * 40 * 2**32 * 256 * SCALE


async def test_every_share_of_an_emulated_lv06_is_accepted() -> None:
    fast = replace(Physics.of("lv06"), hash_rate_ths=14.0)
    async with PlainPool(512, SCALE) as pool:
        _, summary = await mine(pool, "lv06", shares=25, physics=fast)
    assert summary.accepted >= 25
    assert pool.requests[:4] == [
        "mining.subscribe",
        "mining.configure",
        "mining.suggest_difficulty",
        "mining.authorize",
    ]
    assert pool.agents == ["cgminer/LV06 asiclab-emulator scale=2^-26"]
    assert pool.parameters == {6}
    assert min(pool.difficulties) > 512


async def test_chips_report_nothing_below_their_floor() -> None:
    async with PlainPool(0.5, SCALE) as pool:
        await mine(pool, "s9", shares=15)
    assert min(pool.difficulties) >= 256


async def test_other_sizes_of_extranonce2_and_a_narrow_mask_are_honoured() -> None:
    fast = replace(Physics.of("lv06"), hash_rate_ths=14.0)
    async with PlainPool(256, SCALE, extranonce2_size=7, branches=0, mask="0007e000") as pool:
        await mine(pool, "lv06", shares=10, physics=fast)
    async with PlainPool(256, SCALE, extranonce2_size=8, branches=12) as pool:
        await mine(pool, "s9", shares=10)


async def test_unscaled_it_names_no_scale_and_mines_at_the_rate_of_this_cpu() -> None:
    async with PlainPool(1e-6, 1.0) as pool:
        miner, summary = await mine(pool, "s9", seconds=1.5)
    assert pool.agents == ["bmminer/2.0.0 asiclab-emulator"]
    assert summary.hash_rate > 1e5
    assert summary.wanted_hash_rate < 1e9
    assert any("expect a share of difficulty 256 every" in w for w in miner.warnings)


async def test_a_scale_that_this_cpu_cannot_follow_is_warned_about() -> None:
    async with PlainPool(256, 2.0**-12) as pool:
        miner, summary = await mine(pool, "s9", seconds=1.5)
    assert any("it will stall; give a smaller difficulty scale" in w for w in miner.warnings)
    assert any("fell behind" in w for w in summary.warnings)
    assert summary.stalled_s > 0.5
    assert summary.hash_rate < summary.wanted_hash_rate


async def test_it_connects_again_and_mines_on() -> None:
    async with PlainPool(256, SCALE, drop_after=5) as pool:
        _, summary = await mine_through_a_loss(pool)
    assert pool.connections == 2
    assert summary.connections == 2
    assert summary.accepted >= 12
    assert summary.last_error == "the pool closed the connection"
    assert pool.faults == []


async def mine_through_a_loss(pool: PlainPool) -> tuple[WallMiner, WallSummary]:
    config = WallConfig("s9", "127.0.0.1", pool.port, scale=SCALE, seconds=120.0, shares=12)
    miner = WallMiner(config)
    return miner, await miner.run()


async def test_a_refused_scale_ends_with_what_the_pool_said() -> None:
    text = "this miner works at scale=2^-26, the bridge at scale=2^-20: give both the same --scale"
    async with PlainPool(256, SCALE, refuse=text) as pool:
        with pytest.raises(UserError, match=r"refused mining.subscribe: 20 this miner works at scale=2\^-26"):
            await mine(pool, "s9")


async def test_a_foreign_pool_is_mined_for_as_any_miner_does() -> None:
    warnings: list[str] = []
    async with PlainPool(256, 1.0, confirms=False) as pool:
        config = WallConfig("s9", "127.0.0.1", pool.port, seconds=3.0)
        summary = await mining.mine(config, on_warning=warnings.append)
    assert pool.agents == ["bmminer/2.0.0 asiclab-emulator scale=2^-20", "bmminer/2.0.0 asiclab-emulator"]
    assert summary.agent == "bmminer/2.0.0 asiclab-emulator"
    assert summary.connections == 1
    assert summary.rejected == {}
    assert any("scale 1" in text for text in warnings)


async def test_a_scale_asked_for_is_not_dropped_for_a_foreign_pool() -> None:
    async with PlainPool(256, 1.0, confirms=False) as pool:
        config = WallConfig("s9", "127.0.0.1", pool.port, scale=SCALE, seconds=60.0)
        with pytest.raises(UserError, match="mine for it with --scale 1"):
            await mining.mine(config)
    assert len(pool.agents) == 1


async def test_an_lv06_cannot_take_work_before_its_handshake_is_answered() -> None:
    early = b'{"id":null,"method":"mining.set_difficulty","params":[256]}\n'
    async with PlainPool(256, SCALE, early=early) as pool:
        miner = WallMiner(WallConfig("lv06", "127.0.0.1", pool.port, scale=SCALE, seconds=2.0))
        summary = await miner.run()
    assert summary.connections == 0
    assert "lock-step" in str(summary.last_error)
    async with PlainPool(256, SCALE, early=early) as pool:
        _, summary = await mine(pool, "s9", shares=2)
    assert summary.accepted >= 2


def test_a_pool_that_is_not_there_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("firmware_bridge.stratum.client.LONGEST_PAUSE_S", 0.01)
    with socket.socket() as mute:  # bound, so that nobody else takes the port, and never listening
        mute.bind(("127.0.0.1", 0))
        port = mute.getsockname()[1]
        with pytest.raises(UserError, match=f"127.0.0.1:{port} in 4 attempts.*asiclab bridge --port {port}"):
            asyncio.run(mining.mine(WallConfig("s9", "127.0.0.1", port, scale=SCALE)))


async def test_it_stops_when_asked() -> None:
    async with PlainPool(256, SCALE) as pool:
        miner = WallMiner(WallConfig("s9", "127.0.0.1", pool.port, scale=SCALE))
        running = asyncio.create_task(miner.run())
        async with asyncio.timeout(120):
            while not pool.difficulties and not running.done():  # noqa: ASYNC110 - until a share came
                await asyncio.sleep(0.01)
        miner.request_stop("stopped by SIGTERM")
        summary = await running
    assert summary.reason == "stopped by SIGTERM"
    assert summary.to_json()["accepted"] == summary.accepted > 0


@pytest.mark.xdist_group("timing")
@pytest.mark.parametrize("strength", [0.0, 30.0])
async def test_a_plant_delays_shares_in_wall_time_too(strength: float) -> None:
    """What the place in the scan does not explain of a response is the plant: 30 ms per factor of 2.

    A machine that others keep busy is late by tens of ms now and then: the best of four runs counts.
    """
    slopes = []
    while not slopes or (abs(slopes[-1] - strength) > 5 and len(slopes) < 4):
        slopes.append(await slope_of_quality(strength))
    assert slopes[-1] == pytest.approx(strength, abs=5), slopes


async def slope_of_quality(strength: float) -> float:
    """Delay in ms per factor of 2 of share difficulty."""
    async with PlainPool(256, SCALE) as pool:
        await mine(pool, "s9", shares=60, physics=Physics.off(), plants={"quality": strength})
    octaves, delays_ms = [], []
    for seconds, extranonce2, nonce, difficulty in pool.answers:
        counter = swap32(int(nonce, 16)) >> 7 & 0x7FFFF
        works = int.from_bytes(bytes.fromhex(extranonce2), "little") + 3 * counter / 470_454
        delays_ms.append(seconds * 1e3 - works * 0.23273)
        octaves.append(math.log2(difficulty / 256))
    assert min(delays_ms) > -0.5
    return float(scipy_stats.theilslopes(delays_ms, octaves).slope)


@pytest.mark.parametrize(
    "change", [{"model": "s19"}, {"scale": 0.0}, {"scale": 1.5}, {"seconds": 0.0}, {"plants": {"moon": 1.0}}]
)
def test_nonsense_is_refused(change: dict[str, Any]) -> None:
    settings: dict[str, Any] = {"model": "s9", "host": "127.0.0.1", "port": 1, **change}
    with pytest.raises(UserError):
        WallMiner(WallConfig(**settings))


@pytest.mark.parametrize("model", ["s9", "lv06", "lb-box"])
def test_a_lucky_job_gives_more_real_shares_in_the_same_time(model: str) -> None:
    """``winning_jobs`` in wall time: as many as its symbol says, each a hash that verifies."""
    lbry = model == "lb-box"
    miner = WallMiner(WallConfig(model, "127.0.0.1", 1, scale=2.0**-36, winning_jobs=0.8))
    found = {}
    for digits in ("00000000", "80000000", "ffffffff"):
        claimtrie = "11" * 32 if lbry else None
        job = Job(
            "1", digits + "07" * 28, "00" * 60, "00" * 60, (), "20000000", "1d00ffff", "00000000", "00000000",
            difficulty=256.0, scale=2.0**-36, version_mask=0x1FFFE000, claimtrie=claimtrie,
        )  # fmt: skip
        hasher = miner._hasher(PreparedJob.of(job, miner.model.floor), 0.0, miner._luck(job))
        hits = 0
        while hasher.hashes < 4000.0 * miner._luck(job):
            hits += len(hasher.run(1e9, 2000))
        found[digits] = hits / hasher.hashes, miner._luck(job)
    assert [luck for _, luck in found.values()] == pytest.approx([0.2, 1.0, 1.8], abs=1e-6)
    assert all(
        0.5 < rate / found["80000000"][0] < 2.0 for rate, _ in found.values()
    )  # each hash is as fair as before


def test_a_leak_needs_nonces_that_are_left() -> None:
    with pytest.raises(UserError, match="take a smaller one"):
        WallMiner(WallConfig("s9", "127.0.0.1", 1, scale=1.0, winning_jobs=0.5))
    with pytest.raises(UserError, match="winning_jobs"):
        WallMiner(WallConfig("s9", "127.0.0.1", 1, winning_jobs=1.5))
