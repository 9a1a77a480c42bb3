"""Stores what sensors tell as telemetry of a run."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from firmware_bridge.errors import TraceError
from firmware_bridge.telemetry.sensors import SensorDesk

if TYPE_CHECKING:
    from firmware_bridge.stratum.server import Bridge

log = logging.getLogger(__name__)


class SensorFeed:
    """Takes messages of sensors; give it to ``Bridge.attach``.

    A message that is refused is an event of the run, the first of each kind by itself, all of them as counts at the
    end.

    Args:
        desk: judges the messages.
        find: number of a miner by its name, or None while there is none.
    """

    def __init__(self, desk: SensorDesk, find: Callable[[str], int | None]) -> None:
        self.desk = desk
        self._find = find
        self._bridge: Bridge | None = None

    async def start(self, bridge: Bridge) -> None:
        """Take messages from now on."""
        self._bridge = bridge

    async def stop(self) -> None:
        """Take no more, and say what came."""
        bridge, self._bridge = self._bridge, None
        if bridge is not None:
            with contextlib.suppress(TraceError):
                bridge.run.event("sensors", "info", self.desk.summary())

    def take(self, topic: str, payload: bytes, *, retained: bool) -> None:
        """A message came."""
        bridge = self._bridge
        if bridge is None:
            return
        wall_ns, monotonic_ns = bridge.clock.wall_ns(), bridge.clock.monotonic_ns()
        readings, refusals = self.desk.take(topic, payload, retained=retained, monotonic_ns=monotonic_ns)
        with contextlib.suppress(TraceError):  # the bridge itself stops for that
            for reading in readings:
                number = None if reading.miner is None else self._find(reading.miner)
                if reading.miner is not None and number is None:
                    refusals += self.desk.without_miner(topic, reading)
                else:
                    bridge.run.telemetry(reading.to_row(number, wall_ns, monotonic_ns))
            for refused in refusals:
                if self.desk.is_first(refused):
                    log.warning(
                        "sensor %.60r: %s %.80s", refused.sensor.name, refused.reason.value, refused.seen
                    )
                    bridge.run.event("sensor-refused", "warning", refused.to_json())
