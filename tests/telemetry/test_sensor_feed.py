"""What sensors tell becomes telemetry of the run, beside that of the miner."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from firmware_bridge.stratum.config import BridgeConfig
from firmware_bridge.stratum.server import Bridge
from firmware_bridge.telemetry.sensor_feed import SensorFeed
from firmware_bridge.telemetry.sensors import Reason, SensorDesk, parse_sensor
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.writer import TraceWriter

HELLO = (
    b'{"id":1,"method":"mining.subscribe","params":["t/1"]}\n'
    b'{"id":2,"method":"mining.authorize","params":["s9-1","x"]}\n'
)


async def test_readings_of_the_room_and_of_a_miner_are_stored_with_their_source(tmp_path: Path) -> None:
    db = f"sqlite:///{tmp_path / 'lab.db'}"
    bridge = Bridge(BridgeConfig(port=0), partial(TraceWriter, db), np.random.default_rng(1))
    _, port = await bridge.start()
    serving = asyncio.ensure_future(bridge.serve(120.0))
    sensors = ("ambient_c=room/t", "power_w@s9-1=plug;name=meter", "power_w@nobody=other")
    feed = SensorFeed(SensorDesk(map(parse_sensor, sensors)), bridge.miner_named)
    feed.take("room/t", b"1", retained=False)  # not attached yet: nothing happens
    await bridge.attach(feed)
    feed.take("plug", b"1300", retained=False)  # before its miner came
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HELLO)
    async with asyncio.timeout(60):
        while b"set_difficulty" not in await reader.readline():
            pass
    before_ns = bridge.clock.wall_ns()
    feed.take("room/t", b"21.5", retained=True)
    feed.take("room/t", b"22.5", retained=False)
    await asyncio.sleep(0.15)  # the least interval between two readings of one sensor
    feed.take("plug", b"1301", retained=False)
    feed.take("other", b"5", retained=False)
    feed.take("room/t", b"NaN", retained=False)
    feed.take("room/t", b"-Infinity", retained=False)
    bridge.request_stop("done")
    await serving
    feed.take("room/t", b"23", retained=False)  # over: nothing happens
    writer.close()
    trace = TraceReader(db)
    rows = trace.dicts(1, "telemetry")
    told = [{k: v for k, v in row.items() if v is not None and not k.endswith("_ns")} for row in rows]
    assert told == [
        {"ambient_c": 22.5, "source": "room/t"},
        {"miner": 1, "power_w": 1301.0, "source": "meter"},
    ]
    assert all(before_ns <= row["wall_ns"] <= bridge.clock.wall_ns() for row in rows)
    events: list[dict[str, Any]] = trace.dicts(1, "events")
    refused = [json.loads(e["detail"]) for e in events if e["kind"] == "sensor-refused"]
    assert [(r["fills"], r["reason"]) for r in refused] == [
        ("power_w@s9-1", Reason.NO_MINER.value),
        ("ambient_c", Reason.RETAINED.value),
        ("power_w@nobody", Reason.NO_MINER.value),
        ("ambient_c", Reason.NO_JSON.value),
    ]
    (summary,) = [json.loads(e["detail"]) for e in events if e["kind"] == "sensors"]
    assert summary["readings"] == {"room/t": 1, "meter": 1, "other": 0}
    assert {(r["sensor"], r["reason"]): r["count"] for r in summary["refused"]}[
        "room/t", Reason.NO_JSON.value
    ] == 2
