"""The experiment with real sockets: miners that wait or queue, a pool far away, the proxy between them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from experiments.report.vbm_page import render, write_page
from experiments.vbm import run
from experiments.vbm_result import Block, Plan, judge
from experiments.vbm_subjects import DeviceSubject, EmulatedSubject, Side
from firmware_bridge.emulator.delay import Tally
from firmware_bridge.errors import UserError


@pytest.mark.costly
async def test_managed_work_wins_a_round_trip_for_a_miner_that_waits_and_nothing_for_one_that_queues() -> (
    None
):
    plan = Plan(blocks=2, block_s=1.5, round_trip_s=0.2, seed=1)
    waiting, queueing = await asyncio.gather(
        run(EmulatedSubject(0.1, waits=True, seed=1, miners=8), plan),
        run(EmulatedSubject(0.1, waits=False, seed=1, miners=8), plan),
    )
    arms = {arm.arm: arm for arm in waiting.arms}
    for arm in waiting.arms:
        # the formula is given the waits that were measured, so that a busy machine changes both sides
        assert arm.eta is not None
        assert arm.eta[0] == pytest.approx(arm.eta_formula, abs=0.15), arm
        if arm.gain is not None:
            assert arm.predicted is not None
            assert 1 / 1.8 < (1.0 + arm.gain.gain) / (1.0 + arm.predicted) < 1.8, arm
    assert arms["direct"].eta_formula is not None
    assert arms["direct"].eta_formula < 0.34
    assert arms["vbm"].ideal is not None
    assert arms["vbm"].ideal > 1.99
    assert arms["vbm"].gain is not None
    assert arms["vbm"].gain.gain > 0.3
    for arm in queueing.arms:
        assert arm.predicted in (None, 0.0)
        assert arm.gain is None or 1 / 1.8 < 1.0 + arm.gain.gain < 1.8
        assert arm.eta is not None
        assert arm.eta[0] > 0.99
        assert not arm.rejected, arm
    assert sum(block.tally.accepted for block in queueing.blocks) > 8 * 8 * 4
    page = render(waiting, plan)
    assert waiting.verdict["text"] in page
    assert "direct again" in page


def test_a_page_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    rates = {arm: [100.0, 101.0] for arm in ("direct", "direct again", "relay", "vbm")}
    plan = Plan(blocks=2)
    blocks = [
        Block(i, arm, 3600.0, Tally(100, 99, rate), Side(None), 0.1)  # type: ignore[arg-type]
        for arm, values in rates.items()
        for i, rate in enumerate(values)
    ]
    result = judge(EmulatedSubject(0.1, waits=True, seed=0), plan, blocks)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="--out"):
        write_page(result, plan, tmp_path / "file" / "page.html")


async def test_a_device_is_pointed_at_each_arm_and_set_back_at_the_end() -> None:
    from firmware_bridge.devices.telemetry import PoolState, Telemetry

    class Miner:
        """A device that notes what it is told; the drivers' own tests hold what set_pool does to a real one."""

        address = "lv06://test"

        def __init__(self, pools: tuple[PoolState, ...]) -> None:
            self.pools = pools
            self.told: list[str] = []

        async def read_telemetry(self) -> Telemetry:
            return Telemetry(0, 0, pools=self.pools)

        async def set_pool(self, pool: object) -> bool:
            self.told.append(f"{pool.host}:{pool.port} {pool.user}")  # type: ignore[attr-defined]
            return False

        async def sleep(self, seconds: float) -> None:
            return None

    miner = Miner((PoolState("stratum+tcp://own.pool:3333", "me.1", True),))
    subject = DeviceSubject(miner)
    starts: list[int] = []
    await subject.block("10.0.0.1", 1111, 1.0, lambda: starts.append(1))
    await subject.block("10.0.0.1", 2222, 1.0, lambda: starts.append(2))
    await subject.end()
    await subject.end()
    assert miner.told == ["10.0.0.1:1111 me.1", "10.0.0.1:2222 me.1", "own.pool:3333 me.1"]
    assert starts == [1, 2]
    dumb = DeviceSubject(Miner(()))
    with pytest.raises(UserError, match="nothing was changed"):
        await dumb.block("10.0.0.1", 1, 1.0, lambda: None)
