"""Emulated S9 and LV06 mine through the proxy, for a foreign pool and for the bridge."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from firmware_bridge.emulator.physics import Physics
from firmware_bridge.emulator.wall import WallMiner
from firmware_bridge.emulator.wall_config import WallConfig
from firmware_bridge.stratum.proxy import Upstream
from tests.stratum.bridge_kit import eventually, rows, running_bridge
from tests.stratum.proxy_kit import running_proxy
from tests.stratum.strict_pool import StrictPool

SCALE = 2.0**-26


@pytest.mark.parametrize("mode", ["relay", "vbm"])
@pytest.mark.parametrize("model", ["s9", "lv06"])
async def test_an_emulated_miner_mines_through_the_proxy_for_a_foreign_pool(
    tmp_path: Path, mode: str, model: str
) -> None:
    fast = replace(Physics.of(model), hash_rate_ths=14.0)
    async with (
        StrictPool(300.0, scale=SCALE, new_job_on_share=True) as pool,
        running_proxy(tmp_path, pool, mode=mode) as (proxy, port),
    ):
        config = WallConfig(model, "127.0.0.1", port, scale=SCALE, seconds=120.0, shares=15, physics=fast)
        summary = await WallMiner(config).run()
        await eventually(lambda: sum(pool.verdicts.values()) >= summary.accepted)
        await proxy.stop()
    assert summary.accepted >= 15
    # an S9 hands in some results twice; nothing else may be refused, and mode vbm keeps those to itself
    assert set(pool.verdicts) <= ({"accepted"} if mode == "vbm" else {"accepted", "duplicate share"})
    assert pool.faults == []
    assert {len(params) for _, params in pool.shares} == {5 if model == "s9" else 6}
    (miner,) = rows(tmp_path, "SELECT * FROM miners")
    assert (miner["model"], miner["scale"]) == (model, SCALE)
    assert proxy.stats.verdicts_differ == 0


async def test_the_bridge_can_be_the_pool(tmp_path: Path) -> None:
    for folder in ("pool", "proxy"):
        (tmp_path / folder).mkdir()
    async with (
        running_bridge(tmp_path / "pool", difficulty=256.0, mode="swh") as (bridge, pool_port),
        running_proxy(tmp_path / "proxy", Upstream("127.0.0.1", pool_port)) as (proxy, port),
    ):
        config = WallConfig("s9", "127.0.0.1", port, scale=SCALE, seconds=120.0, shares=10)
        summary = await WallMiner(config).run()
        await proxy.stop()
        await bridge.stop()
    assert summary.accepted >= 10
    assert proxy.stats.upstream_rejected.keys() <= {"duplicate"}
    ours = rows(tmp_path / "proxy", "SELECT nonce, difficulty FROM shares WHERE valid")
    theirs = {row["nonce"]: row["difficulty"] for row in rows(tmp_path / "pool", "SELECT * FROM shares")}
    assert {row["nonce"]: row["difficulty"] for row in ours}.items() <= theirs.items()
