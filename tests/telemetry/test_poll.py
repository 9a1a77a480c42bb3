"""A poller stores what a device tells, says when it falls silent, and never ends the run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from firmware_bridge.clock import SystemClock
from firmware_bridge.devices.telemetry import Identity, Telemetry
from firmware_bridge.errors import DeviceError
from firmware_bridge.stratum.config import BridgeConfig
from firmware_bridge.stratum.server import Bridge
from firmware_bridge.telemetry.poll import LONGEST_PAUSE_S, DevicePoller
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.writer import TraceWriter

SECRET = "horse-battery-4711"
HELLO = (
    b'{"id":1,"method":"mining.subscribe","params":["t/1"]}\n'
    b'{"id":2,"method":"mining.authorize","params":["%b","x"]}\n'
)


class Scripted:
    """A device that does at each reading what it is told; it stands in for a driver, whose faults are the subject."""

    name = "lv06"

    def __init__(self, readings: list[Exception | None], address: str = "lv06://127.0.0.1") -> None:
        self.address = address
        self.asked = 0
        self.closed = self.restored = False
        self._readings = readings
        self._clock = SystemClock()

    async def identify(self) -> Identity:
        return Identity("Lucky Miner", "LV06")

    async def read_telemetry(self) -> Telemetry:
        fate = self._readings[self.asked] if self.asked < len(self._readings) else None
        self.asked += 1
        if fate is not None:
            raise fate
        return Telemetry(self._clock.wall_ns(), self._clock.monotonic_ns(), temperature_c=float(self.asked))

    async def restore(self) -> None:
        self.restored = True

    async def aclose(self) -> None:
        self.closed = True


async def polled(
    tmp_path: Path, device: Scripted, until: Callable[[DevicePoller], bool], miners: tuple[bytes, ...] = ()
) -> tuple[TraceReader, list[float]]:
    """A run with this device, and the pauses that the poller made."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(0.001)

    db = f"sqlite:///{tmp_path / 'lab.db'}"
    bridge = Bridge(BridgeConfig(port=0), partial(TraceWriter, db), np.random.default_rng(1))
    await bridge.start()
    serving = asyncio.ensure_future(bridge.serve(120.0))
    assert bridge._door is not None
    port = bridge._door._listener.getsockname()[1]
    writers = []
    poller = DevicePoller(device, sleep=sleep)  # type: ignore[arg-type]
    try:
        for name in miners:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writers.append(writer)
            writer.write(HELLO.replace(b"%b", name))
            async with asyncio.timeout(60):
                while b"set_difficulty" not in await reader.readline():
                    pass
        await bridge.attach(poller)
        async with asyncio.timeout(60):
            while not until(poller):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
    finally:
        bridge.request_stop("done")
        await serving
        for writer in writers:
            writer.close()
    return TraceReader(db), pauses


def kinds(reader: TraceReader) -> list[str]:
    return [e["kind"] for e in reader.dicts(1, "events") if e["kind"].startswith("device")]


async def test_silence_is_one_event_with_longer_and_longer_pauses_until_it_answers_again(
    tmp_path: Path,
) -> None:
    device = Scripted([None, *[DeviceError("no answer")] * 7, None, None])
    reader, pauses = await polled(tmp_path, device, lambda p: p.readings >= 5)
    assert kinds(reader) == ["device", "device-silent", "device-back"]
    assert pauses[:9] == [3.0, 6.0, 12.0, 24.0, 48.0, LONGEST_PAUSE_S, LONGEST_PAUSE_S, LONGEST_PAUSE_S, 3.0]
    assert [row[3] for row in reader.rows(1, "telemetry")][:3] == [1.0, 9.0, 10.0]
    assert device.closed
    assert device.restored
    assert reader.run(1)["exit_status"] == "success"


async def test_a_fault_in_a_driver_ends_neither_the_polling_nor_the_run_and_its_words_are_not_stored(
    tmp_path: Path,
) -> None:
    device = Scripted([ValueError(SECRET), None, None, None, None])
    reader, _ = await polled(tmp_path, device, lambda p: p.readings >= 4)
    events: list[dict[str, Any]] = reader.dicts(1, "events")
    assert kinds(reader) == ["device", "device-silent", "device-back"]
    assert "ValueError" in next(e["detail"] for e in events if e["kind"] == "device-silent")
    assert SECRET not in str(events)
    assert reader.run(1)["exit_status"] == "success"


async def test_readings_belong_to_the_one_miner_at_the_same_address(tmp_path: Path) -> None:
    reader, _ = await polled(tmp_path, Scripted([]), lambda p: p.readings >= 3, (b"w",))
    assert [(m["name"], m["model"]) for m in reader.dicts(1, "miners")] == [("w", "lv06")]
    assert {row[0] for row in reader.rows(1, "telemetry")} == {1}


async def test_where_two_miners_are_at_that_address_the_device_gets_a_row_of_its_own(tmp_path: Path) -> None:
    reader, _ = await polled(tmp_path, Scripted([]), lambda p: p.readings >= 4, (b"w", b"v"))
    miners = reader.dicts(1, "miners")
    assert [m["name"] for m in miners] == ["w", "v", "lv06://127.0.0.1"]
    assert {row[0] for row in reader.rows(1, "telemetry")} == {3}


async def test_readings_from_before_the_bridge_stopped_are_stored_even_if_no_miner_came(
    tmp_path: Path,
) -> None:
    device = Scripted([], f"lv06://127.0.0.1?password={SECRET}")
    reader, _ = await polled(tmp_path, device, lambda p: device.asked >= 2)
    assert len(list(reader.rows(1, "telemetry"))) >= 1
    assert SECRET not in (tmp_path / "lab.db").read_bytes().decode("latin-1")
