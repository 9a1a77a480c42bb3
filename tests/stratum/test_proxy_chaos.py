"""A pool that changes everything all the time: still no share is refused, whatever job it is for."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.stratum.bridge_kit import EVERY_HASH, eventually
from tests.stratum.proxy_kit import Client, hurry, running_proxy
from tests.stratum.strict_pool import StrictPool

pytestmark = pytest.mark.usefixtures(hurry.__name__)
MASK = 0x1FFFE000


@pytest.mark.parametrize("mode", ["relay", "vbm"])
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_whatever_a_pool_changes_no_share_is_refused(
    tmp_path: Path, mode: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firmware_bridge.stratum.link.STABLE_S", 0.0)  # else each loss doubles the pause
    chance = random.Random(seed)
    async with (
        StrictPool(EVERY_HASH, size=6, resumes=True, tag=seed) as pool,
        running_proxy(tmp_path, pool, mode=mode) as (proxy, port),
    ):
        miner = await Client.connect(port)
        await miner.ask("mining.configure", [["version-rolling"], {"version-rolling.mask": f"{MASK:08x}"}])
        await miner.ask("mining.extranonce.subscribe", [])
        await miner.ready()
        mask, shares = MASK, 0

        def newest_job() -> int:
            """Place of the newest job that asked to drop those before it."""
            return max((place for place, job in enumerate(miner.jobs) if job[8]), default=0)

        async def settle() -> None:
            """Until what the pool sent has reached the miner, and every job made of it."""
            await eventually(lambda: proxy.stats.upstream_jobs == pool.notified)
            await miner.until_jobs(proxy.stats.jobs)

        for _ in range(120):
            seat = pool.here[-1]
            match chance.choice(
                ["share"] * 6 + ["job", "clean", "difficulty", "extranonce", "mask", "repeat", "drop"]
            ):
                case "job":
                    seat.new_job(False)
                case "clean":
                    seat.new_job(True)
                case "repeat":
                    seat.repeat_job(False)
                case "difficulty":
                    seat.set_difficulty(EVERY_HASH * chance.random())
                    seat.new_job(False)
                case "extranonce":
                    seat.set_extranonce(
                        chance.randbytes(chance.randrange(1, 9)).hex(), chance.randrange(3, 9)
                    )
                    seat.new_job(True)
                case "mask":
                    changes = len(miner.told("mining.set_version_mask"))
                    narrower = mask & ~(1 << chance.randrange(13, 29))
                    seat.set_mask(narrower)
                    if seat.mask != mask:
                        mask = seat.mask
                        await miner.until("mining.set_version_mask", changes + 1)
                case "drop":
                    known = len(pool.seats)
                    seat.writer.close()
                    await eventually(lambda known=known: len(pool.seats) > known and pool.seats[-1].users)
                    if (
                        mode == "vbm"
                    ):  # makes new jobs where the mask is wider again; those of a relay keep theirs
                        mask = MASK
                case "share":
                    job = miner.jobs[chance.randrange(newest_job(), len(miner.jobs))]
                    bits = f"{chance.getrandbits(32) & mask:08x}"
                    params = miner.share(
                        chance.getrandbits(32), job=job, extranonce2=chance.randbytes(miner.size).hex()
                    )
                    shares += 1
                    assert (await miner.ask("mining.submit", [*params, bits]))["result"] is True
                    await eventually(lambda shares=shares: sum(pool.verdicts.values()) == shares)
                    assert pool.verdicts == {"accepted": shares}
            await settle()
        await proxy.stop()
    assert shares > 20
    assert pool.faults == []
    assert proxy.stats.verdicts_differ == 0
    assert proxy.stats.upstream_accepted == shares
