"""A miner on the bench: the lab's device interface over a body in virtual time, with faults and with the truth."""

from __future__ import annotations

import numpy as np
import pytest

from firmware_bridge.devices.settings import OperatingPoint, Setting
from firmware_bridge.emulator.bench import MODELS, Bench
from firmware_bridge.errors import DeviceError, LimitError, UserError


def bench(model: str = "lv06", seed: int = 1) -> Bench:
    return Bench(model, np.random.default_rng(seed))


@pytest.mark.parametrize("model", sorted(MODELS))
async def test_it_shows_its_truth_with_the_noise_of_a_sensor(model: str) -> None:
    table = bench(model)
    seen = []
    for _ in range(60):
        await table.sleep(3.0)
        reading = await table.device.read_telemetry()
        assert reading.temperature_c is not None
        seen.append(reading.temperature_c - table.thermal.temperature_c)
    step = MODELS[model].resolution_c
    assert abs(np.mean(seen)) < 0.1 + step / 2
    assert 0.0 < np.std(seen) < 0.2 + step / 2 or step == 1.0
    assert reading.wall_ns == table.clock.wall_ns()
    assert reading.hash_rate_ghs == pytest.approx(table.machine.hash_rate_ghs, rel=0.02)


@pytest.mark.parametrize("model", sorted(MODELS))
async def test_a_point_is_applied_within_the_limits_measured_and_restored(model: str) -> None:
    table = bench(model)
    before = await table.device.read_point()
    point = {
        "s9": OperatingPoint(frequency_mhz=550.0),
        "lv06": OperatingPoint(frequency_mhz=400.0, core_voltage_mv=1100.0, fan_percent=90.0),
        "lb-box": OperatingPoint(power_plan="low power"),
        "bm1366": OperatingPoint(frequency_mhz=400.0),
    }[model]
    power_w = table.thermal.power_w
    applied = await table.device.apply(point)
    assert applied.in_force
    assert applied.restarted == (model == "s9")
    await table.sleep(600.0)
    assert table.thermal.power_w < power_w
    await table.device.restore()
    assert await table.device.read_point() == before
    await table.sleep(600.0)
    assert table.thermal.power_w == pytest.approx(power_w, rel=0.02)


async def test_it_refuses_what_its_driver_refuses() -> None:
    table = bench("lv06")
    with pytest.raises(LimitError):
        await table.device.apply(OperatingPoint(frequency_mhz=900.0))
    with pytest.raises(LimitError, match="no limits are known"):
        await bench("s9").device.apply(OperatingPoint(fan_percent=50.0))


async def test_while_it_starts_again_it_does_not_answer() -> None:
    table = bench("s9")
    table.restart()
    with pytest.raises(DeviceError, match="starts again"):
        await table.device.read_telemetry()
    await table.sleep(46.0)
    reading = await table.device.read_telemetry()
    assert reading.uptime_s == pytest.approx(1.0, abs=0.1)


async def test_each_fault_shows_where_it_should() -> None:
    table = bench("lv06")
    table.faults.sensor_stuck = True
    first = (await table.device.read_telemetry()).temperature_c
    table.faults.fan_failed = True
    await table.sleep(60.0)
    reading = await table.device.read_telemetry()
    assert reading.temperature_c == first
    assert reading.fan_rpm == 0
    assert table.thermal.temperature_c > first + 10.0
    table.faults.sensor_stuck, table.faults.sensor_lost = False, True
    assert (await table.device.read_telemetry()).temperature_c is None

    table = bench("lv06")
    table.faults.voltage_droop_mv = 100.0
    await table.sleep(1.0)
    assert (await table.device.read_telemetry()).core_voltage_mv == 1100

    warm, cool = bench("lb-box"), bench("lb-box")
    warm.faults.ambient_step_c = 15.0
    for table in (warm, cool):
        await table.sleep(3600.0)
    assert warm.thermal.temperature_c > cool.thermal.temperature_c + 3.0


async def test_equal_seeds_give_equal_readings() -> None:
    def first(seed: int) -> Bench:
        return bench("lv06", seed)

    async def readings(table: Bench) -> list[float | None]:
        out = []
        for _ in range(5):
            await table.sleep(3.0)
            out.append((await table.device.read_telemetry()).hash_rate_ghs)
        return out

    assert await readings(first(3)) == await readings(first(3))
    assert await readings(first(3)) != await readings(first(4))


def test_an_unknown_model_is_named() -> None:
    with pytest.raises(UserError, match="lv06"):
        bench("s19")


async def test_a_plan_that_sleeps_stops_the_hashing() -> None:
    table = bench("lb-box")
    await table.device.apply(OperatingPoint(power_plan="sleep"))
    await table.sleep(1200.0)
    assert table.machine.hash_rate_ghs == 0.0
    assert table.thermal.temperature_c < 40.0
    assert Setting.POWER_PLAN in table.facts.sets
