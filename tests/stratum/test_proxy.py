"""Miners that share no code with the lab mine through the proxy for a pool that shares none either."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.independent_miner import Miner
from tests.stratum.bridge_kit import eventually, rows
from tests.stratum.proxy_kit import running_proxy
from tests.stratum.strict_pool import StrictPool

DIFFICULTY = 0.000005


def mine(port: int, shares: int, **options: Any) -> Miner:
    miner = Miner("127.0.0.1", port, **options)
    try:
        miner.mine(120, shares)
    finally:
        miner.close()
    return miner


@pytest.mark.parametrize("mode", ["relay", "vbm"])
@pytest.mark.parametrize("roll_versions", [False, True], ids=["5 parameters", "6 parameters"])
@pytest.mark.parametrize("size", [2, 4, 8])
async def test_no_share_of_an_independent_miner_is_refused_by_an_independent_pool(
    tmp_path: Path, mode: str, roll_versions: bool, size: int
) -> None:
    async with (
        StrictPool(DIFFICULTY, size=size, mask=0x0007E000) as pool,
        running_proxy(tmp_path, pool, mode=mode) as (proxy, port),
    ):
        miner = await asyncio.to_thread(mine, port, 8, roll_versions=roll_versions)
        await eventually(lambda: sum(pool.verdicts.values()) >= len(miner.found))
        await proxy.stop()
    assert len(miner.found) >= 8
    assert [share.error for share in miner.found if share.answer is not True] == []
    assert pool.verdicts == {"accepted": len(miner.found)}
    assert pool.faults == []
    assert {len(params) for _, params in pool.shares} == {6 if roll_versions else 5}
    assert proxy.stats.upstream_accepted == len(miner.found) == proxy.stats.forwarded
    stored = rows(tmp_path, "SELECT * FROM shares ORDER BY id")
    assert [row["valid"] for row in stored] == [1] * len(miner.found)
    kinds = rows(tmp_path, "SELECT count(*) AS n FROM events WHERE kind = 'upstream-accepted'")
    assert kinds[0]["n"] == len(miner.found)
