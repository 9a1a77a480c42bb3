"""A run that listens: commands, sensors and announcements, at the embedded broker and at a real Mosquitto."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiomqtt
import numpy as np
import pytest

from firmware_bridge.devices.registry import open_device
from firmware_bridge.emulator.appliance import Appliance
from firmware_bridge.errors import UserError
from firmware_bridge.stratum.config import BridgeConfig
from firmware_bridge.stratum.server import Bridge
from firmware_bridge.telemetry import inbox as inbox_module
from firmware_bridge.telemetry import sensors as sensors_module
from firmware_bridge.telemetry.commands import Reason
from firmware_bridge.telemetry.inbox import Inbox, InboxConfig
from firmware_bridge.telemetry.mqtt import MqttSettings
from firmware_bridge.telemetry.poll import DevicePoller
from firmware_bridge.telemetry.publish_live import LivePublisher
from firmware_bridge.telemetry.sensors import parse_sensor
from firmware_bridge.telemetry.topics import MinerLevels
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.writer import TraceWriter
from tests.devices.conftest import FastClock, emulated
from tests.telemetry.broker_kit import BROKERS, PASSWORD, PATIENCE_S, USER, broker, client
from tests.telemetry.test_home_assistant import render

LEVEL = "miner-1"
"""A device without a Stratum miner has a URL for a name, which is no level of a topic."""


@dataclass
class Scene:
    """A run with one emulated LV06, and somebody at the broker who hears everything."""

    bridge: Bridge
    appliance: Appliance
    poller: DevicePoller
    inbox: Inbox
    friend: aiomqtt.Client
    heard: list[aiomqtt.Message] = field(default_factory=list)

    async def send(self, content: Any, *, level: str = LEVEL, retain: bool = False) -> None:
        if isinstance(content, dict):
            content = json.dumps({"sent_ns": self.bridge.clock.wall_ns(), **content}).encode()
        await self.friend.publish(f"asiclab/bench/{level}/command", content, qos=1, retain=retain)

    async def until(self, condition: Callable[[], Any]) -> Any:
        async with asyncio.timeout(PATIENCE_S):
            while not (found := condition()):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return found

    def on(self, topic: str) -> list[dict[str, Any]]:
        return [json.loads(m.payload) for m in self.heard if str(m.topic) == topic]

    async def answer(self, number: int, level: str = LEVEL) -> dict[str, Any]:
        topic = f"asiclab/bench/{level}/answer"
        await self.until(lambda: len(self.on(topic)) >= number)
        return self.on(topic)[number - 1]


async def listen(friend: aiomqtt.Client, heard: list[aiomqtt.Message]) -> None:
    async for message in friend.messages:
        heard.append(message)


@contextlib.asynccontextmanager
async def scene(
    tmp_path: Path, port: int, config: InboxConfig, before: Callable[[aiomqtt.Client], Any] | None = None
) -> AsyncIterator[Scene]:
    clock, db = FastClock(), f"sqlite:///{tmp_path / 'lab.db'}"
    async with client(port) as friend, emulated("lv06", clock=clock) as (appliance, ready):
        if before is not None:
            await before(friend)
        heard: list[aiomqtt.Message] = []
        await friend.subscribe("#", qos=1)
        listening = asyncio.ensure_future(listen(friend, heard))
        bridge = Bridge(BridgeConfig(port=0), partial(TraceWriter, db), np.random.default_rng(1))
        await bridge.start()
        serving = asyncio.ensure_future(bridge.serve(300.0))
        try:
            settings = MqttSettings("127.0.0.1", port, USER, PASSWORD, lab="bench")
            pollers: list[DevicePoller] = []
            inbox = Inbox(settings, config, pollers, MinerLevels())
            bridge.on_share = inbox.on_share
            await bridge.attach(LivePublisher(settings, db))
            await bridge.attach(inbox)
            device = await open_device(ready["url"], clock=clock, sleep=clock.sleep)
            pollers.append(DevicePoller(device, period_s=0.2))
            await bridge.attach(pollers[0])
            found = Scene(bridge, appliance, pollers[0], inbox, friend, heard)
            await found.until(lambda: pollers[0].readings)
            yield found
        finally:
            bridge.request_stop("done")
            await serving
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


def events(tmp_path: Path, kind: str) -> list[dict[str, Any]]:
    return [
        json.loads(e["detail"])
        for e in TraceReader(str(tmp_path / "lab.db")).dicts(1, "events")
        if e["kind"] == kind
    ]


@pytest.mark.costly
@pytest.mark.parametrize("kind", BROKERS)
async def test_commands_and_sensors_arrive_and_miners_are_announced(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_module, "ANNOUNCE_S", 0.1)
    week_ago_ns = 7 * 86_400 * 10**9
    change = {"set": {"frequency_mhz": 400}}

    async def left_behind(friend: aiomqtt.Client) -> None:
        old = json.dumps({"id": "last week", "sent_ns": time.time_ns() - week_ago_ns, **change})
        young = json.dumps({"id": "kept", "sent_ns": time.time_ns(), **change})
        await friend.publish(f"asiclab/bench/{LEVEL}/command", old, qos=1, retain=True)
        await friend.publish("asiclab/bench/other/command", young, qos=1, retain=True)
        await friend.publish("room/t", "3", qos=1, retain=True)

    sensors = tuple(map(parse_sensor, ("ambient_c=room/t", f"power_w@{LEVEL}=plug;path=apower;name=meter")))
    async with (
        broker(kind, tmp_path) as port,
        scene(tmp_path, port, InboxConfig(commands=True, pause_s=0.0, sensors=sensors), left_behind) as here,
    ):
        for id_, level in ("last week", LEVEL), ("kept", "other"):
            answer = await here.answer(1, level)
            assert (answer["id"], answer["accepted"], answer["reason"]) == (id_, False, Reason.RETAINED.value)
        await here.send({"id": "a", **change})
        answer = await here.answer(2)
        assert (answer["id"], answer["accepted"]) == ("a", True)
        assert answer["applied"]["confirmed"] == {"frequency_mhz": True}
        assert here.appliance.machine.in_force.frequency_mhz == 400.0
        await here.send({"id": "b", "set": {"frequency_mhz": 5000}})
        assert (await here.answer(3))["reason"] == Reason.LIMIT.value
        await here.friend.publish("room/t", b"21.5", qos=1)
        await here.friend.publish("plug", b'{"apower": 14.25}', qos=1)
        await here.until(lambda: here.inbox.feed.desk.taken == {"room/t": 1, "meter": 1})
        config = "homeassistant/device/"
        announced = await here.until(lambda: [m for m in here.heard if str(m.topic).startswith(config)])
        assert announced[-1].payload
        assert set(json.loads(announced[-1].payload)["components"]) >= {
            "temperature_c",
            "power_w",
            "accepted",
        }
        components = json.loads(announced[-1].payload)["components"]
        for key in (
            "temperature_c",
            "frequency_mhz",
            "accepted",
        ):  # what is announced is really said, and understood
            topic, template = components[key]["state_topic"], components[key]["value_template"]
            # a reading of a sensor shares the topic with the miner's own and leaves its values empty
            said = await here.until(
                lambda topic=topic, template=template: [
                    value
                    for m in here.heard
                    if str(m.topic) == topic and (value := render(template, m.payload))
                ]
            )
            assert float(said[-1]) >= 0.0
        for entry in json.loads(announced[-1].payload)["availability"]:
            said = await here.until(
                lambda topic=entry["topic"]: [m for m in here.heard if str(m.topic) == topic]
            )
            assert render(entry["value_template"], said[-1].payload) == "online"
    rows = [r for r in TraceReader(str(tmp_path / "lab.db")).dicts(1, "telemetry") if r["source"] is not None]
    assert [(r["miner"], r["source"], r["ambient_c"], r["power_w"]) for r in rows] == [
        (None, "room/t", 21.5, None),
        (1, "meter", None, 14.25),
    ]
    assert here.appliance.machine.in_force.frequency_mhz == 485.0
    assert [e["id"] for e in events(tmp_path, "command")] == ["a"]
    refused = {e["id"]: e["reason"] for e in events(tmp_path, "command-refused")}
    assert refused == {
        "last week": Reason.RETAINED.value,
        "kept": Reason.RETAINED.value,
        "b": Reason.LIMIT.value,
    }
    assert [e["reason"] for e in events(tmp_path, "sensor-refused")] == [sensors_module.Reason.RETAINED.value]


@pytest.mark.parametrize("kind", BROKERS)
async def test_commands_are_off_by_default_refused_and_logged(kind: str, tmp_path: Path) -> None:
    async with broker(kind, tmp_path) as port, scene(tmp_path, port, InboxConfig()) as here:
        await here.send({"id": "a", "set": {"frequency_mhz": 400}})
        answer = await here.answer(1)
        assert (answer["accepted"], answer["reason"]) == (False, Reason.DISABLED.value)
        assert here.appliance.machine.in_force.frequency_mhz == 485.0
    assert [e["reason"] for e in events(tmp_path, "command-refused")] == [Reason.DISABLED.value]


@pytest.mark.parametrize("kind", BROKERS)
async def test_a_wrong_password_is_a_mistake_that_names_the_broker_and_not_the_password(
    kind: str, tmp_path: Path
) -> None:
    async with broker(kind, tmp_path) as port:
        bridge = Bridge(
            BridgeConfig(port=0),
            partial(TraceWriter, f"sqlite:///{tmp_path / 'lab.db'}"),
            np.random.default_rng(1),
        )
        await bridge.start()
        settings = MqttSettings("127.0.0.1", port, USER, "a wrong guess", lab="bench")
        try:
            with pytest.raises(UserError, match=rf"{port}.*refused") as caught:
                await bridge.attach(Inbox(settings, InboxConfig(), [], MinerLevels()))
        finally:
            await bridge.stop()
        assert "a wrong guess" not in str(caught.value)
