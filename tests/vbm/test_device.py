"""A comparison on a device: its pool is set over its own web page for each arm, and its own one comes back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments import vbm_subjects
from experiments.attached import Attached
from experiments.tpf_filter.live import LiveFilter, compare
from experiments.tpf_filter.plan import FilterPlan
from experiments.tpf_filter.stored import judge_run
from experiments.vbm import run
from experiments.vbm_result import Plan
from experiments.vbm_subjects import DeviceSubject
from firmware_bridge.devices.device import PoolSettings
from firmware_bridge.devices.journal import OwnPool, PoolJournal
from firmware_bridge.devices.lucky_lv06 import LuckyLv06
from firmware_bridge.devices.telemetry import PoolState, Telemetry
from firmware_bridge.emulator.appliance import Appliance, ApplianceConfig
from firmware_bridge.emulator.physics import Physics
from firmware_bridge.emulator.wall_config import WallConfig
from firmware_bridge.errors import DeviceError, UserError
from firmware_bridge.trace.reader import TraceReader
from tests.devices.conftest import FastClock

CLOCK = FastClock()
PLAN = Plan(blocks=2, block_s=5.0, round_trip_s=0.05, arms=("direct", "vbm"), seed=1)


@contextlib.asynccontextmanager
async def lv06(clock: Any = CLOCK, **options: Any) -> AsyncIterator[tuple[Appliance, LuckyLv06]]:
    """An emulated LV06 of 20 TH/s, so that a second has shares enough, and its driver; None is the real clock."""
    physics = replace(Physics.of("lv06"), hash_rate_ths=20.0)
    wall = WallConfig("lv06", "", 0, scale=2.0**-30, physics=physics)
    config = ApplianceConfig(wall, http_port=0, api_port=0, restart_s=0.2, options=options)
    appliance = Appliance(config, clock=clock)
    port = (await appliance.start())["ports"]["http"]
    serving = asyncio.ensure_future(appliance.serve())
    waiting = {} if clock is None else {"clock": clock, "sleep": clock.sleep}
    try:
        async with LuckyLv06(f"lv06://127.0.0.1:{port}", "127.0.0.1", port, **waiting) as device:
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


async def test_the_own_pool_survives_a_kill_and_what_the_user_set_since_then_counts(tmp_path: Path) -> None:
    journal = PoolJournal(tmp_path)
    deaf: Any = Deaf(0)
    killed = DeviceSubject(deaf, journal=journal)
    await killed.point("10.0.0.1", 1111)  # and nothing of it runs on
    kept = OwnPool("own0.pool", 3333, "me.1", "stratum+tcp://10.0.0.1:1111")
    assert PoolJournal(tmp_path).get(deaf.address) == kept
    assert PoolJournal(tmp_path).addresses() == [deaf.address]
    deaf.pools = (PoolState("stratum+tcp://10.0.0.1:1111", "me.1", True),)
    after = DeviceSubject(deaf, journal=PoolJournal(tmp_path))
    await after.point("10.0.0.1", 2222)
    await after.point("10.0.0.1", 2223)
    assert PoolJournal(tmp_path).get(deaf.address) == replace(kept, lab="stratum+tcp://10.0.0.1:2223")
    await after.end()
    assert deaf.told[-1].url == "stratum+tcp://own0.pool:3333"
    assert PoolJournal(tmp_path).get(deaf.address) is None
    await DeviceSubject(deaf, journal=journal).point("10.0.0.1", 3)
    deaf.pools = (PoolState("stratum+tcp://new.pool:1", "me.1", True),)
    anew = DeviceSubject(deaf, journal=journal)
    await anew.point("10.0.0.1", 4)
    await anew.end()
    assert deaf.told[-1].url == "stratum+tcp://new.pool:1"
    journal.path.write_text('{"lv06://test:80": {"host": 1}}')
    with pytest.raises(UserError, match="no pool"):
        journal.get(deaf.address)


async def test_a_run_gives_back_the_pool_that_the_user_wished_and_the_first_one_stays_remembered(
    tmp_path: Path,
) -> None:
    journal = PoolJournal(tmp_path)
    deaf: Any = Deaf(0)
    wish = OwnPool("own0.pool", 3333, "me.1", "stratum+tcp://10.0.0.1:3333", wish=True)
    journal.keep(deaf.address, wish)
    deaf.pools = (PoolState(wish.lab, "lab", True),)
    run = DeviceSubject(deaf, journal=journal)
    await run.point("10.0.0.1", 4000)
    assert journal.get(deaf.address) == OwnPool("own0.pool", 3333, "me.1", "stratum+tcp://10.0.0.1:4000")
    await run.end()
    assert deaf.told[-1].url == wish.lab
    assert journal.get(deaf.address) == wish
    deaf.pools = (PoolState("stratum+tcp://new.pool:1", "me.1", True),)  # set by hand since: no wish any more
    later = DeviceSubject(deaf, journal=journal)
    await later.point("10.0.0.1", 4001)
    await later.end()
    assert deaf.told[-1].url == "stratum+tcp://new.pool:1"
    assert journal.get(deaf.address) is None


@pytest.mark.costly
async def test_devices_restore_brings_the_own_pool_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ASICLAB_STATE", str(tmp_path))
    async with lv06(clock=None) as (appliance, device):
        machine = appliance.machine
        own = machine.in_force.pool_host, machine.in_force.pool_port
        await DeviceSubject(device).point("127.0.0.1", 1)  # killed here
        assert (machine.in_force.pool_host, machine.in_force.pool_port) != own
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "experiments.cli", "devices", "restore", "--json"), stdout=subprocess.PIPE
        )
        out, _ = await asyncio.wait_for(process.communicate(), 120)
        (told,) = json.loads(out)["devices"]
        assert told["pool"] == f"stratum+tcp://{own[0]}:{own[1]}"
        assert (machine.in_force.pool_host, machine.in_force.pool_port) == own
        assert PoolJournal().addresses() == []


@pytest.mark.costly
async def test_a_comparison_of_filters_on_a_device_reads_its_power_and_gives_its_pool_back(
    tmp_path: Path,
) -> None:
    async with lv06(clock=None) as (appliance, device):
        machine = appliance.machine
        own = machine.in_force.pool_host, machine.in_force.pool_port
        db = f"sqlite:///{tmp_path / 'lab.db'}"
        attached = Attached(db, device.address, model="lv06", agreed=True, patience_s=120.0)
        live = LiveFilter(attached, device_period_s=0.3)
        plan = FilterPlan(
            model="lv06", blocks=6, job_s=0.25, replace_s=0.05, block_s=0.8, training_jobs=50, smallest=0.9
        )
        ended = await compare(live.resolved(plan), live)
        assert ended.problems == ()
        assert (machine.in_force.pool_host, machine.in_force.pool_port) == own
    result = judge_run(TraceReader(db), ended.run_id)
    assert result.live is not None
    assert (result.live.power, result.live.emulated, result.planted) == ("device", False, None)
    assert result.verdict["code"] != "saves" or result.saving.low > 0
    assert len(result.blocks) == 18
