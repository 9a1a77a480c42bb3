"""Commands reach an emulated device within its limits, are measured, stored, and undone at the end of the run."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firmware_bridge.devices.journal import RunSettings
from firmware_bridge.devices.registry import open_device
from firmware_bridge.devices.settings import OperatingPoint, OriginalSettings
from firmware_bridge.emulator.appliance import Appliance
from firmware_bridge.stratum.config import BridgeConfig
from firmware_bridge.stratum.server import Bridge
from firmware_bridge.telemetry.command_post import CommandPost
from firmware_bridge.telemetry.commands import CommandDesk, Reason
from firmware_bridge.telemetry.poll import DevicePoller
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.writer import TraceWriter
from tests.devices.conftest import FastClock, emulated

PATIENCE_S = 60.0


@dataclass
class Lab:
    """A bridge that polls one emulated LV06, and what its post answered."""

    bridge: Bridge
    post: CommandPost
    appliance: Appliance
    poller: DevicePoller
    answers: list[dict[str, Any]] = field(default_factory=list)

    def send(self, content: Any, *, name: str = "lv06", retained: bool = False, **fields: Any) -> None:
        if isinstance(content, dict):
            content = json.dumps({"sent_ns": self.bridge.clock.wall_ns(), **content, **fields}).encode()
        self.post.take(name, content, retained=retained)

    async def answer(self, number: int) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.answers) < number:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        return self.answers[number - 1]


@contextlib.asynccontextmanager
async def lab(
    tmp_path: Path,
    *,
    model: str = "lv06",
    enabled: bool = True,
    beyond_factory: bool = False,
    pause_s: float = 0.0,
) -> AsyncIterator[Lab]:
    clock = FastClock()
    async with emulated(model, clock=clock) as (appliance, ready):
        bridge = Bridge(
            BridgeConfig(port=0),
            partial(TraceWriter, f"sqlite:///{tmp_path / 'lab.db'}"),
            np.random.default_rng(1),
        )
        await bridge.start()
        serving = asyncio.ensure_future(bridge.serve(300.0))
        try:
            device = await open_device(ready["url"], clock=clock, sleep=clock.sleep)
            poller = DevicePoller(device, period_s=0.2)
            found: list[Lab] = []
            post = CommandPost(
                CommandDesk(enabled=enabled, pause_s=pause_s),
                lambda name: poller if name == "lv06" else None,
                lambda name, payload: found[0].answers.append({"name": name, **json.loads(payload)}),
                beyond_factory=beyond_factory,
            )
            found.append(Lab(bridge, post, appliance, poller))
            await bridge.attach(post)
            await bridge.attach(poller)
            async with asyncio.timeout(PATIENCE_S):
                while poller.readings < 1:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            yield found[0]
        finally:
            bridge.request_stop("done")
            await serving


def stored(tmp_path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    reader = TraceReader(str(tmp_path / "lab.db"))
    events = [e | {"detail": json.loads(e["detail"])} for e in reader.dicts(1, "events")]
    return reader.dicts(1, "settings"), [e for e in events if e["kind"].startswith("command")]


async def test_a_command_is_measured_answered_stored_and_undone_at_the_end(tmp_path: Path) -> None:
    async with lab(tmp_path) as here:
        here.send({"id": "a", "set": {"frequency_mhz": 400}})
        answer = await here.answer(1)
        assert (answer["name"], answer["id"], answer["accepted"]) == ("lv06", "a", True)
        assert answer["applied"]["confirmed"] == {"frequency_mhz": True}
        assert answer["applied"]["in_force"] is True
        assert here.appliance.machine.in_force.frequency_mhz == 400.0
        appliance = here.appliance
    assert appliance.machine.in_force.frequency_mhz == 485.0
    settings, events = stored(tmp_path)
    assert [(s["miner"], s["setting"], s["previous"], s["requested"], s["reason"]) for s in settings] == [
        (1, "frequency_mhz", "485", "400", "mqtt command a"),
        (1, "frequency_mhz", "400", "485", "end of the run"),
    ]
    assert float(settings[0]["measured"]) == pytest.approx(400, rel=0.05)
    (event,) = events
    assert (event["kind"], event["severity"], event["miner"]) == ("command", "info", 1)
    assert event["detail"]["applied"] == answer["applied"]


async def test_a_restoration_can_be_asked_for(tmp_path: Path) -> None:
    async with lab(tmp_path, pause_s=3600.0) as here:
        here.send({"id": "a", "set": {"frequency_mhz": 400}})
        await here.answer(1)
        here.send({"id": "b", "restore": True})
        answer = await here.answer(2)
        assert (answer["id"], answer["accepted"]) == ("b", True)
        assert answer["applied"]["asked"]["frequency_mhz"] == 485.0
        assert here.appliance.machine.in_force.frequency_mhz == 485.0
        here.send({"id": "c", "restore": True})
        assert (await here.answer(3))["applied"] is None
    assert [s["reason"] for s in stored(tmp_path)[0]] == ["mqtt command a", "mqtt command b"]


async def test_nothing_beyond_the_limits_is_ever_set(tmp_path: Path) -> None:
    asked: list[dict[str, Any]] = [
        {"frequency_mhz": 5000},
        {"frequency_mhz": -1},
        {"core_voltage_mv": 2000},
        {"frequency_mhz": 400, "core_voltage_mv": 2000},
        {"power_plan": "turbo"},
        {"frequency_mhz": 401},  # within the hard limits, but not in the factory's table
    ]
    async with lab(tmp_path) as here:
        for number, point in enumerate(asked, 1):
            here.send({"id": str(number), "set": point})
            answer = await here.answer(number)
            assert (answer["accepted"], answer["reason"]) == (False, Reason.LIMIT.value)
        assert here.appliance.machine.in_force.frequency_mhz == 485.0
        assert here.appliance.machine.in_force.core_voltage_mv == 1200.0
    settings, events = stored(tmp_path)
    assert settings == []
    assert [(e["kind"], e["severity"]) for e in events] == [("command-refused", "warning")] * len(asked)
    assert {e["detail"]["reason"] for e in events} == {Reason.LIMIT.value}


async def test_values_outside_the_factorys_table_need_the_word_of_the_labs_user(tmp_path: Path) -> None:
    async with lab(tmp_path, beyond_factory=True) as here:
        here.send({"id": "a", "set": {"frequency_mhz": 410}})
        assert (await here.answer(1))["accepted"] is True
        assert here.appliance.machine.in_force.frequency_mhz == 410.0
        here.send({"id": "b", "set": {"frequency_mhz": 5000}})
        assert (await here.answer(2))["reason"] == Reason.LIMIT.value
        assert here.appliance.machine.in_force.frequency_mhz == 410.0


async def test_what_must_not_be_obeyed_is_refused_answered_and_logged(tmp_path: Path) -> None:
    change: dict[str, Any] = {"set": {"frequency_mhz": 400}}
    async with lab(tmp_path) as here:
        now_ns = here.bridge.clock.wall_ns()
        here.send({"id": "week", **change}, sent_ns=now_ns - 7 * 86_400 * 10**9)
        here.send({"id": "kept", **change}, retained=True)
        here.send({"id": "kept week", **change}, retained=True, sent_ns=now_ns - 7 * 86_400 * 10**9)
        here.send({"id": "ahead", **change}, sent_ns=now_ns + 61 * 10**9)
        here.send(change)
        here.send({"id": "more", "beyond_factory": True, **change})
        here.send(bytes(10 << 20))
        here.send(b"restart")
        here.send({"id": "who", **change}, name="other")
        await here.answer(9)
        assert here.appliance.machine.in_force.frequency_mhz == 485.0
    _, events = stored(tmp_path)
    expected = [
        ("week", Reason.TOO_OLD),
        ("kept", Reason.RETAINED),
        ("kept week", Reason.RETAINED),
        ("ahead", Reason.FROM_THE_FUTURE),
        (None, Reason.NO_ID),
        ("more", Reason.UNKNOWN_FIELD),
        (None, Reason.TOO_LARGE),
        (None, Reason.MALFORMED),
        ("who", Reason.UNKNOWN_MINER),
    ]
    assert [(e["detail"]["id"], e["detail"]["reason"]) for e in events] == [(i, r.value) for i, r in expected]
    assert [(a["id"], a["reason"]) for a in here.answers] == [(i, r.value) for i, r in expected]
    assert {e["kind"] for e in events} == {"command-refused"}


async def test_commands_are_off_unless_somebody_turned_them_on(tmp_path: Path) -> None:
    async with lab(tmp_path, enabled=False) as here:
        here.send({"id": "a", "set": {"frequency_mhz": 400}})
        answer = await here.answer(1)
        assert (answer["accepted"], answer["reason"]) == (False, Reason.DISABLED.value)
        assert here.appliance.machine.in_force.frequency_mhz == 485.0
    assert [e["detail"]["reason"] for e in stored(tmp_path)[1]] == [Reason.DISABLED.value]


@pytest.mark.costly
async def test_the_same_command_twice_is_carried_out_once(tmp_path: Path) -> None:
    async with lab(tmp_path) as here:
        command = {"id": "a", "set": {"frequency_mhz": 400}, "sent_ns": here.bridge.clock.wall_ns()}
        here.send(command)
        here.send(command)
        assert (await here.answer(1))["reason"] == Reason.DUPLICATE.value
        assert (await here.answer(2))["accepted"] is True
    assert len([s for s in stored(tmp_path)[0] if s["reason"] == "mqtt command a"]) == 1


async def test_a_second_change_waits_its_turn(tmp_path: Path) -> None:
    async with lab(tmp_path, pause_s=3600.0) as here:
        here.send({"id": "a", "set": {"frequency_mhz": 400}})
        here.send({"id": "b", "set": {"frequency_mhz": 425}})
        assert (await here.answer(1))["reason"] == Reason.BUSY.value
        await here.answer(2)
        here.send({"id": "c", "set": {"frequency_mhz": 425}})
        assert (await here.answer(3))["reason"] == Reason.TOO_SOON.value
        assert here.appliance.machine.in_force.frequency_mhz == 400.0


async def test_a_run_that_ends_within_a_change_still_brings_the_settings_back(tmp_path: Path) -> None:
    async with lab(tmp_path) as here:
        here.send({"id": "a", "set": {"frequency_mhz": 400}})
        async with asyncio.timeout(PATIENCE_S):
            while here.poller.device.originals.get(here.poller.device.address) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        appliance = here.appliance
    assert appliance.machine.in_force.frequency_mhz == 485.0
    here.send({"id": "b", "set": {"frequency_mhz": 400}})  # a post that has ended takes nothing
    assert [a["id"] for a in here.answers if a["accepted"]] in ([], ["a"])


def test_a_run_brings_back_what_it_found_and_the_journal_holds_both_until_then() -> None:
    journal, url = OriginalSettings(), "lv06://10.0.0.7"
    journal.keep(url, OperatingPoint(frequency_mhz=485.0))  # somebody set it to 400 before this run
    run = RunSettings(journal)
    assert run.get(url) is None
    run.keep(url, OperatingPoint(frequency_mhz=400.0, core_voltage_mv=1200.0))
    assert run.get(url) == OperatingPoint(frequency_mhz=400.0, core_voltage_mv=1200.0)
    assert journal.get(url) == OperatingPoint(frequency_mhz=485.0, core_voltage_mv=1200.0)
    run.forget(url)
    assert run.get(url) is None
    assert journal.get(url) == OperatingPoint(frequency_mhz=485.0)
    run.keep("s9://10.0.0.8", OperatingPoint(fan_percent=80.0))
    assert journal.get("s9://10.0.0.8") == OperatingPoint(fan_percent=80.0)
    run.forget("s9://10.0.0.8")
    assert journal.get("s9://10.0.0.8") is None


@pytest.mark.costly
@pytest.mark.parametrize(
    ("model", "asked"), [("s9", {"frequency_mhz": 600.0}), ("lb-box", {"power_plan": "low power"})]
)
async def test_other_models_are_set_while_they_are_polled(
    tmp_path: Path, model: str, asked: dict[str, Any]
) -> None:
    async with lab(tmp_path, model=model) as here:
        (setting,) = asked
        before = getattr(await here.poller.device.read_point(), setting)
        here.send({"id": "a", "set": asked})
        answer = await here.answer(1)
        assert answer["accepted"] is True, answer
        assert getattr(await here.poller.device.read_point(), setting) == asked[setting] != before
        here.send({"id": "b", "restore": True})
        assert (await here.answer(2))["accepted"] is True
        assert getattr(await here.poller.device.read_point(), setting) == before
