"""Emulated miners against the real bridge: adopted scale, stored shares, a disagreement that says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from firmware_bridge.emulator.physics import Physics
from firmware_bridge.emulator.wall import WallMiner
from firmware_bridge.emulator.wall_config import WallConfig
from firmware_bridge.errors import UserError
from tests.stratum.bridge_kit import rows, running_bridge

SCALE = 2.0**-26


@pytest.mark.parametrize("mode", ["swh", "stream"])
async def test_an_s9_mines_for_the_bridge(tmp_path: Path, mode: str) -> None:
    async with running_bridge(tmp_path, mode=mode, difficulty=256.0) as (_, port):
        summary = await WallMiner(
            WallConfig("s9", "127.0.0.1", port, scale=SCALE, seconds=120.0, shares=20)
        ).run()
    assert summary.accepted >= 20
    shares = rows(tmp_path, "SELECT * FROM shares")
    assert len(shares) == summary.submitted
    assert sum(s["valid"] for s in shares) == summary.accepted
    assert {s["reason"] for s in shares} <= {None, "duplicate"}
    assert min(s["difficulty"] for s in shares) >= 256
    (miner,) = rows(tmp_path, "SELECT * FROM miners")
    assert (miner["name"], miner["scale"]) == ("lab.s9", SCALE)


async def test_an_lv06_mines_for_the_bridge(tmp_path: Path) -> None:
    fast = replace(Physics.of("lv06"), hash_rate_ths=14.0)
    async with running_bridge(tmp_path, mode="stream", difficulty=300.0) as (_, port):
        summary = await WallMiner(
            WallConfig("lv06", "127.0.0.1", port, scale=SCALE, seconds=120.0, shares=15, physics=fast)
        ).run()
    assert summary.accepted >= 15
    assert summary.rejected == {}
    assert all(s["version_bits"] is not None for s in rows(tmp_path, "SELECT * FROM shares"))


async def test_scales_that_disagree_end_with_an_error_that_says_so(tmp_path: Path) -> None:
    async with running_bridge(tmp_path, scale=2.0**-10, difficulty=256.0) as (_, port):
        with pytest.raises(UserError, match=r"scale=2\^-26.*scale=2\^-10.*--scale"):
            await WallMiner(WallConfig("s9", "127.0.0.1", port, scale=SCALE, seconds=60.0)).run()
    assert rows(tmp_path, "SELECT * FROM shares") == []
