"""The Sentinel itself: what it does when, what it never does, and how it ends."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from experiments.rehearsal_outcome import Recorder
from firmware_bridge.devices.device import Device
from firmware_bridge.devices.settings import Applied, OperatingPoint
from firmware_bridge.emulator.bench import Bench
from firmware_bridge.errors import DeviceError, LimitError, UserError
from firmware_bridge.sentinel.config import Mode, SentinelConfig
from firmware_bridge.sentinel.sentinel import Sentinel


class Guarded:
    """A bench with its Sentinel, in virtual time."""

    def __init__(self, model: str = "lv06", seed: int = 1, **config: Any) -> None:
        self.bench = Bench(model, np.random.default_rng(seed))
        self.device: Device = self.bench.device
        self.journal = Recorder()
        self.sentinel = Sentinel(self.device, SentinelConfig(**config), self.journal, inline=True)
        self.hottest_c = -np.inf

    async def start(self) -> Guarded:
        await self.sentinel.start()
        return self

    async def run(self, seconds: float) -> None:
        end_ns = self.bench.clock.monotonic_ns() + int(seconds * 1e9)
        while self.bench.clock.monotonic_ns() < end_ns:
            try:
                reading = await self.device.read_telemetry()
            except DeviceError:
                reading = None
            await self.sentinel.step(reading)
            for _ in range(3):
                await self.bench.sleep(1.0)
                self.hottest_c = max(self.hottest_c, self.bench.thermal.temperature_c)

    @property
    def kinds(self) -> list[str]:
        return [h.kind for h in self.journal.happenings]


async def guarded(model: str = "lv06", **config: Any) -> Guarded:
    return await Guarded(model, **config).start()


async def test_it_holds_a_target_and_gives_the_settings_back_at_the_end() -> None:
    g = await guarded(target_c=55.0)
    before = await g.device.read_point()
    await g.run(1800.0)
    assert abs(g.bench.thermal.temperature_c - 55.0) < 1.0
    assert await g.device.read_point() != before
    restored = await g.sentinel.close()
    assert restored is not None
    assert await g.device.read_point() == before
    assert g.device.originals.get(g.device.address) is None


async def test_after_a_trip_it_leaves_the_safe_point_remembers_the_settings_and_says_how_to_restore() -> None:
    g = await guarded(target_c=60.0)
    await g.run(300.0)
    g.bench.faults.fan_failed = True
    await g.run(600.0)
    assert g.sentinel.mode is Mode.TRIPPED
    assert g.hottest_c < 75.0
    assert await g.sentinel.close() is None
    assert (await g.device.read_point()).frequency_mhz == 56.25
    assert g.device.originals.get(g.device.address) is not None
    left = next(h for h in g.journal.happenings if h.kind == "sentinel-left-safe")
    assert "asiclab devices restore bench://lv06" in left.detail["remedy"]
    # neither anybody's restoration nor a command may heat it through this object ...
    assert await g.device.restore() is None
    with pytest.raises(LimitError, match="made it safe"):
        await g.device.apply(OperatingPoint(frequency_mhz=485.0))
    # ... and a new one, of a person who mended the fan, brings all back
    g.bench.faults.fan_failed = False
    g.device.kept_safe = None
    await g.device.restore()
    assert (await g.device.read_point()).frequency_mhz == 485.0


async def test_it_does_not_restore_what_would_heat_past_the_trip_point() -> None:
    g = await guarded(target_c=58.0, knob="fan")
    g.bench.machine.stored.fan_percent = 30.0  # what the user had set, in a cool room
    g.bench.machine.take_up()
    g.bench.thermal.temperature_c = 58.0
    await g.sentinel.start()
    await g.run(900.0)
    g.bench.faults.ambient_step_c = 8.0
    await g.run(900.0)
    assert g.sentinel.mode is Mode.HOLD
    assert await g.sentinel.close() is None
    left = next(h for h in g.journal.happenings if h.kind == "sentinel-left-safe")
    assert "past the trip point" in left.detail["reason"]
    assert ((await g.device.read_point()).fan_percent or 0) > 50.0


async def test_doubt_about_telemetry_is_left_again_but_not_for_ever() -> None:
    g = await guarded(target_c=58.0)
    await g.run(600.0)
    for time in range(1, 5):
        g.bench.faults.sensor_lost = True
        await g.run(60.0)
        assert g.sentinel.mode in (Mode.SAFE, Mode.TRIPPED)
        assert (await g.device.read_point()).frequency_mhz == 56.25
        g.bench.faults.sensor_lost = False
        await g.run(900.0)
        assert g.sentinel.mode is (Mode.HOLD if time <= 3 else Mode.TRIPPED)
    assert g.kinds.count("sentinel-recovered") == 3
    assert g.hottest_c < 70.0


async def test_watching_sets_nothing_and_says_what_it_would_have_done() -> None:
    g = await guarded(watch_only=True)
    before = await g.device.read_point()
    g.bench.faults.fan_failed = True
    await g.run(60.0)
    assert g.sentinel.actions == 0
    assert g.journal.actions == []
    assert await g.device.read_point() == before
    assert g.kinds.count("sentinel-would-trip") >= 1
    assert "sentinel-fan-stopped" in g.kinds


async def test_guarding_without_a_target_moves_nothing_until_it_has_to() -> None:
    g = await guarded()
    await g.run(1800.0)
    assert g.journal.actions == []
    g.bench.faults.fan_failed = True
    await g.run(60.0)
    assert [a.mode for a in g.journal.actions] == [Mode.TRIPPED]


class Deaf:
    """Makes a device refuse changes for a while."""

    def __init__(self, device: Device, times: int) -> None:
        self.left, self.real, self.asked = times, device._write_point, 0
        device._write_point = self.write  # type: ignore[method-assign]

    async def write(self, point: OperatingPoint) -> bool:
        self.asked += 1
        if self.left > 0:
            self.left -= 1
            raise DeviceError("no answer")
        return await self.real(point)


async def test_a_safe_point_that_fails_is_tried_again_and_after_three_times_it_calls_for_help() -> None:
    g = await guarded()
    deaf = Deaf(g.device, 4)
    g.bench.faults.fan_failed = True
    await g.run(90.0)
    assert [a.error is None for a in g.journal.actions] == [False] * 4 + [True]
    assert g.kinds.count("sentinel-cannot-act") == 1
    assert (await g.device.read_point()).frequency_mhz == 56.25
    assert deaf.asked == 5
    assert g.hottest_c < 75.0


async def test_a_safe_point_that_was_measured_not_to_be_in_force_is_tried_again() -> None:
    g = await guarded()
    lies = 2

    async def write(point: OperatingPoint) -> bool:
        nonlocal lies
        if lies:
            lies -= 1
            return False  # taken, and not done
        return await real(point)

    real = g.device._write_point
    g.device._write_point = write  # type: ignore[method-assign]
    g.bench.faults.fan_failed = True
    await g.run(60.0)
    confirmed = [set(a.applied.confirmed.values()) for a in g.journal.actions if a.applied is not None]
    assert [False in c for c in confirmed] == [True, True, False]


async def test_changes_to_hold_a_target_that_keep_failing_end_at_the_safe_point() -> None:
    g = await guarded(target_c=54.0)
    Deaf(g.device, 3)
    await g.run(120.0)
    assert "sentinel-safe" in g.kinds
    reason = next(h for h in g.journal.happenings if h.kind == "sentinel-safe").detail["reason"]
    assert "3 changes in a row failed" in reason


async def test_heat_interrupts_a_change_that_takes_long() -> None:
    """Beside the readings: in real time, on a device whose change to hold a target never ends."""
    g = Guarded(target_c=54.0)
    g.sentinel = Sentinel(g.device, SentinelConfig(target_c=54.0, period_s=0.2), g.journal)
    await g.sentinel.start()
    began, real = asyncio.Event(), g.device._write_point

    async def write(point: OperatingPoint) -> bool:
        if not began.is_set():
            began.set()
            await asyncio.sleep(3600.0)
        return await real(point)

    g.device._write_point = write  # type: ignore[method-assign]
    async with asyncio.timeout(30):
        while not began.is_set():
            await g.sentinel.step(await g.device.read_telemetry())
            await g.bench.sleep(0.2)
        g.bench.thermal.temperature_c = 71.0
        while not any(a.mode is Mode.TRIPPED and a.applied is not None for a in g.journal.actions):
            await g.sentinel.step(await g.device.read_telemetry())
            await g.bench.sleep(0.2)
            await asyncio.sleep(0)
    first = g.journal.actions[0]
    assert first.error == "interrupted by something more urgent"
    assert (await g.device.read_point()).frequency_mhz == 56.25
    await g.sentinel.close()


async def test_a_chip_that_is_hot_at_its_safe_point_is_a_call_for_help() -> None:
    g = await guarded()
    g.bench.faults.fan_failed = True
    g.bench.faults.ambient_step_c = 60.0  # a fire next door
    await g.run(600.0)
    assert g.kinds.count("sentinel-helpless") == 1


async def test_a_hung_chip_is_said_and_not_steered() -> None:
    g = await guarded(target_c=55.0)
    await g.run(600.0)
    before = len(g.journal.actions)
    g.bench.faults.voltage_droop_mv = 450.0
    await g.run(9.0)
    g.bench.faults.voltage_droop_mv = 0.0
    assert g.bench.thermal.hung
    await g.run(300.0)
    assert g.kinds.count("sentinel-hangs") == 1
    assert len(g.journal.actions) <= before + 2


async def test_a_droop_slows_the_clock_before_it_hashes_wrong() -> None:
    g = await guarded(target_c=58.0)
    await g.run(300.0)
    g.bench.faults.voltage_droop_mv = 120.0
    await g.run(300.0)
    point = await g.device.read_point()
    assert point.frequency_mhz == 400.0
    assert g.bench.thermal.error_rate < 1e-3
    reasons = [a.reason for a in g.journal.actions]
    assert any("sags" in reason for reason in reasons)
    g.bench.faults.voltage_droop_mv = 0.0
    await g.run(1200.0)
    assert ((await g.device.read_point()).frequency_mhz or 0) > 400.0


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"target_c": 69.0}, "too near to the trip point"),
        ({"limit_c": 80.0}, "above this model's hard limit"),
        ({"limit_c": 40.0}, "leaves no room"),
        ({"target_c": 60.0, "limit_c": 65.0}, "too near"),
        ({"target_c": float("nan")}, "is a number"),
        ({"period_s": 60.0}, "0.2 to 10 s"),
        ({"target_c": 60.0, "watch_only": True}, "no target"),
        ({"target_c": 60.0, "knob": "plan"}, "no power plans"),
    ],
)
async def test_what_cannot_be_done_is_a_user_error(config: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        await guarded(**config)


async def test_a_tighter_limit_trips_earlier() -> None:
    g = await guarded(limit_c=65.0)
    assert (g.sentinel.trip.trip_c, g.sentinel.trip.clear_c) == (60.0, 52.0)
    g.bench.faults.ambient_step_c = 15.0
    await g.run(900.0)
    assert g.sentinel.mode is Mode.TRIPPED
    assert g.hottest_c < 65.0


async def test_a_device_that_tells_no_temperature_or_that_nobody_knows_is_refused() -> None:
    g = Guarded()
    g.bench.faults.sensor_lost = True
    with pytest.raises(UserError, match="tells no temperature"):
        await g.sentinel.start()
    g = Guarded()
    type(g.device).name = "toaster"
    with pytest.raises(UserError, match="knows no limits"):
        Sentinel(g.device, SentinelConfig(), g.journal)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "what to do"),
        ("target=hot", "is a number"),
        ("speed=3", "there are watch, guard"),
        ("target=60,knob=hammer", "no knob"),
    ],
)
def test_nonsense_on_the_command_line_is_named(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        SentinelConfig.parse(text)


def test_the_command_line_is_understood() -> None:
    assert SentinelConfig.parse("target=60,knob=fan,limit=72,period=2,ceiling=500,yes") == SentinelConfig(
        60.0, "fan", 72.0, 2.0, ceiling_mhz=500.0, beyond_factory=True
    )
    assert SentinelConfig.parse("watch", period_s=5.0) == SentinelConfig(watch_only=True, period_s=5.0)
    assert SentinelConfig.parse("guard limit=70").limit_c == 70.0


async def test_a_sleeping_s9_stays_asleep_in_peace() -> None:
    g = await guarded("s9", target_c=77.0)
    await g.run(300.0)
    g.bench.faults.fan_failed = True
    await g.run(7200.0)
    assert not g.bench.thermal.running
    assert g.hottest_c < 115.0
    assert g.sentinel.mode is Mode.TRIPPED
    applied = [a for a in g.journal.actions if isinstance(a.applied, Applied)]
    assert applied[-1].point == OperatingPoint(power_plan="sleep")
    assert "sentinel-silent" not in g.kinds
