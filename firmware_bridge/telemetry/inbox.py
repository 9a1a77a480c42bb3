"""What comes into a run over MQTT, commands and sensors, and what announces its miners to Home Assistant.

One connection of its own, so that a crowd of rows on their way out holds up no command.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from firmware_bridge.telemetry import home_assistant as ha
from firmware_bridge.telemetry.command_post import CommandPost
from firmware_bridge.telemetry.commands import PAUSE_S, CommandDesk
from firmware_bridge.telemetry.mqtt import LostError, MqttClient, MqttSettings, Received, TooLargeError
from firmware_bridge.telemetry.sensor_feed import SensorFeed
from firmware_bridge.telemetry.sensors import Sensor, SensorDesk
from firmware_bridge.telemetry.topics import MinerLevels, Topics, parse

if TYPE_CHECKING:
    from firmware_bridge.stratum.server import Bridge
    from firmware_bridge.telemetry.poll import DevicePoller
    from firmware_bridge.trace.replay import ShareEvent

log = logging.getLogger(__name__)

ANNOUNCE_S = 5.0
"""Between two looks at who has to be announced, and at what the lab counted."""
ANSWERS_WAITING = 1000


@dataclass(frozen=True)
class InboxConfig:
    """What the user allowed.

    Attributes:
        commands: whether commands are carried out; otherwise they are refused and logged.
        beyond_factory: whether they may go beyond the factory's table, within the hard limits.
        pause_s: between two changes of one miner.
        sensors: whose messages are stored.
        home_assistant: prefix of announcements, or None for none.
        version: of this lab, for the announcements.
    """

    commands: bool = False
    beyond_factory: bool = False
    pause_s: float = PAUSE_S
    sensors: tuple[Sensor, ...] = ()
    home_assistant: str | None = ha.PREFIX
    version: str = "0"


@dataclass(slots=True)
class _Tally:
    accepted: int = 0
    rejected: int = 0
    last_wall_ns: int | None = None


@dataclass(slots=True)
class _Told:
    """What was published of a miner, so that only news goes out."""

    config: dict[str, Any] = field(default_factory=dict)
    tally: dict[str, Any] = field(default_factory=dict)


class Inbox:
    """Give it to ``Bridge.attach`` before the pollers, so that it takes no command while they are restored.

    Args:
        settings: the broker.
        config: what the user allowed.
        pollers: of the run; may grow later.
        levels: what miners are called in topics; given in the order of the miners' numbers, as everywhere.

    Raises:
        UserError: if two sensors contradict each other, or the prefix cannot begin a topic.
    """

    def __init__(
        self,
        settings: MqttSettings,
        config: InboxConfig,
        pollers: Sequence[DevicePoller],
        levels: MinerLevels,
    ) -> None:
        self.config = config
        self.feed = SensorFeed(SensorDesk(config.sensors), self._number)
        self.post = CommandPost(
            CommandDesk(enabled=config.commands, pause_s=config.pause_s),
            self._poller,
            self._answer,
            beyond_factory=config.beyond_factory,
        )
        self._prefix = None if config.home_assistant is None else ha.check_prefix(config.home_assistant)
        self._topics = Topics(settings.lab)
        self._pollers = pollers
        self._levels = levels
        self._bridge: Bridge | None = None
        self._told: dict[int, _Told] = {}
        self._tallies: dict[int, _Tally] = {}
        self._answers: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(ANSWERS_WAITING)
        self._tasks: list[asyncio.Task[None]] = []
        self._client = MqttClient(settings, on_connected=self._connected)
        self._client.subscribe(self._topics.command("+"), self._command)
        if config.sensors:
            self._client.subscribe(self.feed.desk.topics, self._reading)

    async def start(self, bridge: Bridge) -> None:
        """Connect, and take part from now on; a broker that cannot be reached is tried again and again.

        Raises:
            UserError: if the broker does not let us in.
        """
        self._bridge = bridge
        await self.post.start(bridge)
        await self.feed.start(bridge)
        await self._client.start()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._send_answers())]
        if self._prefix is not None:
            self._tasks.append(loop.create_task(self._announce_forever()))

    async def stop(self) -> None:
        """Take nothing more, send the answers that wait, and hang up."""
        await self.post.stop()
        await self.feed.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2.0):
                if self._client.connected:
                    await self._answers.join()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._prefix is not None:
            with contextlib.suppress(LostError, TooLargeError, TimeoutError):
                async with asyncio.timeout(2.0):
                    await self._announce()  # the last counts
        await self._client.stop()
        self._bridge = None

    def on_share(self, event: ShareEvent) -> None:
        """A share was stored; for ``Bridge(on_share=...)``."""
        found = self._tallies.setdefault(event.row.miner, _Tally())
        if event.row.valid:
            found.accepted += 1
            found.last_wall_ns = event.row.wall_ns
        else:
            found.rejected += 1

    # ---- in ----------------------------------------------------------------------------------------------------------

    def _command(self, message: Received) -> None:
        place = parse(message.topic)
        if place is not None and place.miner is not None:
            self.post.take(place.miner, message.payload, retained=message.retain)

    def _reading(self, message: Received) -> None:
        self.feed.take(message.topic, message.payload, retained=message.retain)

    def _name_levels(self) -> dict[int, str]:
        """Number and name of every miner; each has its level after this."""
        assert self._bridge is not None
        names = {p.miner: p.name for p in self._pollers if p.miner is not None} | self._bridge.miner_names()
        for number in sorted(names):
            self._levels.assign(number, names[number])
        return names

    def _poller(self, level: str) -> DevicePoller | None:
        self._name_levels()
        found = (p for p in self._pollers if p.miner is not None and self._levels.level(p.miner) == level)
        return next(found, None)

    def _number(self, name: str) -> int | None:
        """Number of a miner that a sensor belongs to: by its name, that of its device, or its level."""
        assert self._bridge is not None
        number = self._bridge.miner_named(name)
        if number is not None:
            return number
        for poller in self._pollers:
            if poller.miner is not None and name in (poller.name, self._levels.level(poller.miner)):
                return poller.miner
        return None

    # ---- out ---------------------------------------------------------------------------------------------------------

    def _answer(self, level: str, payload: bytes) -> None:
        try:
            self._answers.put_nowait((self._topics.answer(level), payload))
        except asyncio.QueueFull:
            log.warning("an answer to %.60r was dropped: too many wait", level)

    async def _send_answers(self) -> None:
        while True:
            topic, payload = await self._answers.get()
            try:
                await self._client.publish(topic, payload)
            except (LostError, TooLargeError) as error:
                log.warning("an answer on %s was not sent: %s", topic, error)
            finally:
                self._answers.task_done()

    async def _connected(self) -> None:
        self._told.clear()  # the broker may be another one, or have forgotten

    async def _announce_forever(self) -> None:
        while True:
            with contextlib.suppress(LostError, TooLargeError):
                await self._announce()
            await asyncio.sleep(ANNOUNCE_S)

    async def _announce(self) -> None:
        if self._bridge is None or self._prefix is None or not self._client.connected:
            return
        for number, who, period_s in self._miners():
            told = self._told.setdefault(number, _Told())
            config = ha.announcement(self._topics, who, period_s=period_s, version=self.config.version)
            if config != told.config:
                topic = ha.config_topic(self._prefix, self._topics.lab, who)
                await self._client.publish(topic, _json(config), retain=True)
                told.config = config
            count = self._tallies.get(number, _Tally())
            tally = ha.tally(count.accepted, count.rejected, count.last_wall_ns)
            if tally != told.tally:
                await self._client.publish(self._topics.tally(who.level), _json(tally), retain=True)
                told.tally = tally

    def _miners(self) -> list[tuple[int, ha.Announced, float]]:
        names = self._name_levels()
        devices = {p.miner: p for p in self._pollers if p.miner is not None}
        found = []
        for number, name in names.items():
            poller = devices.get(number)
            identity = None if poller is None else poller.identity
            who = ha.Announced(
                self._levels.level(number),
                name,
                model=None if identity is None else identity.model,
                make=None if identity is None else identity.make,
                firmware=None if identity is None else identity.firmware,
                reads=frozenset() if poller is None else frozenset(poller.columns),
            )
            found.append((number, who, 3.0 if poller is None else poller.period_s))
        return found


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, allow_nan=False, sort_keys=True).encode()
