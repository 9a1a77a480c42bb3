"""Jobs that the proxy makes of those of a pool, and which shares of them the pool gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stratum.bridge_kit import EVERY_HASH, eventually
from tests.stratum.proxy_kit import Client, events, hurry, outcomes, running_proxy
from tests.stratum.strict_pool import StrictPool

pytestmark = pytest.mark.usefixtures(hurry.__name__)


@pytest.mark.parametrize(("size", "kept"), [(2, 0), (3, 1), (4, 1), (6, 2), (8, 4)])
async def test_vbm_has_the_next_job_at_once_and_the_same_numbers_are_no_duplicates_there(
    tmp_path: Path, size: int, kept: int
) -> None:
    async with StrictPool(EVERY_HASH, size=size) as pool, running_proxy(tmp_path, pool) as (proxy, port):
        miner = await Client.connect(port)
        subscribed = await miner.ask("mining.subscribe", ["test/1"])
        assert subscribed["result"][2] == size - kept
        miner.extranonce1 = subscribed["result"][1]
        await miner.ask("mining.authorize", ["worker", "x"])
        await miner.until_jobs(1)
        if not kept:
            assert (await miner.submit(5))["result"] is True
            await proxy.stop()
            assert len(miner.jobs) == 1
            return
        for number in range(20):  # always the same extranonce2 and nonce: each job is another header
            assert (await miner.submit(5))["result"] is True
            await miner.until_jobs(number + 2)
        await eventually(lambda: sum(pool.verdicts.values()) == 20)
        assert pool.verdicts == {"accepted": 20}
        assert len({job[0] for job in miner.jobs}) == 21
        assert {job[8] for job in miner.jobs[1:]} == {False}
        assert proxy.stats.derived_jobs == 20
        assert len(proxy.stats.work_ns) == 20


@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.parametrize("size", [2, 4])
async def test_a_job_that_a_pool_sends_again_is_not_searched_again(
    tmp_path: Path, size: int, clean: bool
) -> None:
    async with (
        StrictPool(EVERY_HASH, size=size) as pool,
        running_proxy(tmp_path, pool, work="upstream") as (_, port),
    ):
        miner = await (await Client.connect(port)).ready()
        assert (await miner.submit(5))["result"] is True
        pool.seats[0].repeat_job(clean)
        await miner.until_jobs(2)
        same_name = miner.jobs[0][0] == miner.jobs[1][0]
        assert same_name == (
            size == 2
        )  # nothing can be kept of 2 bytes, so the name tells a miner that it knows the job
        assert miner.jobs[1][8] is clean
        if not same_name:
            assert (await miner.submit(5))["result"] is True  # another header
        elif not clean:
            assert (await miner.submit(5))["error"][0] == 22
        assert (await miner.submit(6))["result"] is True
        wanted = 2 if same_name else 3
        await eventually(lambda: sum(pool.verdicts.values()) == wanted)
        assert pool.verdicts == {"accepted": wanted}


async def test_own_work_ends_with_its_numbers_and_begins_again_with_the_pools_next_job(
    tmp_path: Path,
) -> None:
    async with StrictPool(EVERY_HASH, size=4) as pool, running_proxy(tmp_path, pool) as (proxy, port):
        miner = await (await Client.connect(port)).ready()
        for number in range(300):
            assert (await miner.submit(number))["result"] is True
        assert len(miner.jobs) == 256
        pool.seats[0].new_job(False)
        await miner.until_jobs(257)
        assert (await miner.submit(1))["result"] is True
        await miner.until_jobs(258)
        await eventually(lambda: pool.verdicts["accepted"] == 301)
        await proxy.stop()
    assert pool.verdicts == {"accepted": 301}
    assert len(events(tmp_path, "work-exhausted")) == 1


async def test_a_local_difficulty_gives_more_shares_and_the_pool_only_those_it_wants(tmp_path: Path) -> None:
    pools = 2.0**-28  # every 16th hash
    async with (
        StrictPool(pools) as pool,
        running_proxy(tmp_path, pool, difficulty=EVERY_HASH, work="upstream") as (proxy, port),
    ):
        miner = await (await Client.connect(port)).ready()
        assert miner.difficulties == [EVERY_HASH]
        for nonce in range(200):
            assert (await miner.submit(nonce))["result"] is True
        await proxy.stop()
    assert set(pool.verdicts) == {"accepted"}
    assert 0 < pool.verdicts["accepted"] < 60
    assert pool.verdicts["accepted"] + proxy.stats.below_upstream == 200
    assert proxy.stats.accepted_difficulty == pytest.approx(pools * pool.verdicts["accepted"])
    assert len(outcomes(tmp_path)) == 200  # each share's way is known


async def test_who_only_connects_costs_the_pool_nothing(tmp_path: Path) -> None:
    async with StrictPool(EVERY_HASH) as pool, running_proxy(tmp_path, pool) as (proxy, port):
        scanner = await Client.connect(port)
        await scanner.ask("mining.ping", [])
        miner = await (await Client.connect(port)).ready()
        assert len(pool.seats) == 1
        scanner.close()
        miner.close()
        await eventually(lambda: not proxy._connections)
