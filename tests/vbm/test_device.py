"""A comparison on a device: its pool is set over its own web page for each arm, and its own one comes back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from experiments import vbm_subjects
from experiments.vbm import DeviceSubject, Plan, run
from firmware_bridge.devices.device import PoolSettings
from firmware_bridge.devices.lucky_lv06 import LuckyLv06
from firmware_bridge.devices.telemetry import PoolState, Telemetry
from firmware_bridge.emulator.appliance import Appliance, ApplianceConfig
from firmware_bridge.emulator.physics import Physics
from firmware_bridge.emulator.wall_config import WallConfig
from firmware_bridge.errors import DeviceError, UserError
from tests.devices.conftest import FastClock

CLOCK = FastClock()
PLAN = Plan(blocks=2, block_s=5.0, round_trip_s=0.05, arms=("direct", "vbm"), seed=1)


@contextlib.asynccontextmanager
async def lv06() -> AsyncIterator[tuple[Appliance, LuckyLv06]]:
    """An emulated LV06 of 20 TH/s, so that a second has shares enough, and its driver."""
    physics = replace(Physics.of("lv06"), hash_rate_ths=20.0)
    wall = WallConfig("lv06", "", 0, scale=2.0**-30, physics=physics)
    config = ApplianceConfig(wall, http_port=0, api_port=0, restart_s=0.2)
    appliance = Appliance(config, clock=CLOCK)
    port = (await appliance.start())["ports"]["http"]
    serving = asyncio.ensure_future(appliance.serve())
    try:
        async with LuckyLv06(
            f"lv06://127.0.0.1:{port}", "127.0.0.1", port, clock=CLOCK, sleep=CLOCK.sleep
        ) as device:
            yield appliance, device
    finally:
        appliance.request_stop()
        await serving


@pytest.mark.costly
async def test_an_emulated_lv06_mines_in_every_arm_and_gets_its_own_pool_back() -> None:
    notices: list[str] = []
    async with lv06() as (appliance, device):
        own = (await device.read_telemetry()).pools[0]
        result = await run(DeviceSubject(device, settle_s=3.0, on_notice=notices.append), PLAN)
        assert (await device.read_telemetry()).pools[0].url == own.url
        assert f"{appliance.machine.in_force.pool_host}:{appliance.machine.in_force.pool_port}" in own.url
    assert {arm.arm for arm in result.arms} == set(PLAN.arms)
    assert sum(block.tally.accepted for block in result.blocks) > 0
    assert all(arm.eta is None and arm.predicted is None for arm in result.arms)  # it tells neither
    assert own.url in notices[0]
    assert len(notices) == 2


@pytest.mark.costly
async def test_a_comparison_that_is_cancelled_sets_the_own_pool_of_the_device_again() -> None:
    async with lv06() as (_, device):
        own = (await device.read_telemetry()).pools[0]
        changed = asyncio.Event()

        class Watched(DeviceSubject):
            async def block(self, host: str, port: int, *rest: Any) -> Any:
                asyncio.get_running_loop().call_later(0.3, changed.set)
                return await super().block(host, port, *rest)

        work = asyncio.ensure_future(run(Watched(device, settle_s=600.0), PLAN))
        await changed.wait()  # in the middle of a restart, or just behind it
        work.cancel()
        await asyncio.sleep(0)
        work.cancel()  # an impatient user
        with pytest.raises(asyncio.CancelledError):
            await work
        assert (await device.read_telemetry()).pools[0].url == own.url


class Deaf:
    """A device that takes pools only after some attempts."""

    name = address = "lv06://test"

    def __init__(self, refusals: int, pools: int = 1) -> None:
        self.refusals = refusals
        self.pools = tuple(PoolState(f"stratum+tcp://own{i}.pool:3333", "me.1", not i) for i in range(pools))
        self.told: list[PoolSettings] = []

    async def read_telemetry(self) -> Telemetry:
        return Telemetry(0, 0, pools=self.pools)

    async def set_pool(self, pool: PoolSettings) -> bool:
        if pool.host == "own0.pool" and self.refusals:
            self.refusals -= 1
            raise DeviceError(f"{self.address} does not answer")
        self.told.append(pool)
        return False

    async def sleep(self, seconds: float) -> None:
        return None


async def test_a_device_that_is_away_is_tried_again_and_one_that_stays_away_is_named_with_its_pool() -> None:
    for refusals, restored in ((vbm_subjects.RESTORE_TRIES - 1, True), (vbm_subjects.RESTORE_TRIES, False)):
        deaf = Deaf(refusals)
        subject = DeviceSubject(deaf, user="rig.7", password="geheim")  # type: ignore[arg-type]
        await subject.block("10.0.0.1", 1111, 1.0, lambda: None)
        assert deaf.told == [PoolSettings("10.0.0.1", 1111, "rig.7", "geheim")]
        if restored:
            await subject.end()
            assert deaf.told[-1] == PoolSettings("own0.pool", 3333, "me.1", "geheim")
        else:
            with pytest.raises(
                DeviceError, match=r"NOT set again: .*own0\.pool:3333, worker me\.1"
            ) as failure:
                await subject.end()
            assert "geheim" not in str(failure.value)


async def test_backup_pools_that_setting_one_would_delete_are_left_alone() -> None:
    box = Deaf(0, pools=2)
    box.name = "lb-box"
    with pytest.raises(UserError, match="deletes the others"):
        await DeviceSubject(box).block("10.0.0.1", 1, 1.0, lambda: None)  # type: ignore[arg-type]
    assert box.told == []
