"""What a publisher sends is what a recorder stores, whatever happens in between."""

from __future__ import annotations

from pathlib import Path

from firmware_bridge.trace.schema import RunRecord
from firmware_bridge.trace.writer import TraceWriter
from tests.telemetry.mosquitto_kit import running
from tests.telemetry.mqtt_kit import (
    assert_equal,
    eventually,
    fill,
    publishing,
    recording,
    settings_for,
    url_of,
)

RECORD = RunRecord(
    kind="live",
    source="bridge",
    config={"bridge": {"difficulty": 1.5, "ü": [1, None, "\n"]}},
    seeds={"jobs": 2**62},
    plants={"x": 0.25},
)


async def test_every_row_of_every_table_arrives_as_it_is_stored(tmp_path: Path) -> None:
    local, remote = url_of(tmp_path / "lab.db"), url_of(tmp_path / "remote.db")
    with running(tmp_path / "m") as broker, TraceWriter(local) as writer:
        run = writer.begin_run(RECORD)
        fill(run, 300)
        run.flush()
        settings = settings_for(broker.url())
        async with (
            recording(settings, remote) as recorder,
            publishing(settings, local, run.run_id, presence=dict) as publisher,
        ):
            await eventually(lambda: recorder.counts.rows >= 300)
            fill(run, 200, first=300)
            run.update_miner(1, address="10.0.0.7:1234", model="s9")
            run.update(jitter_floor={"median_ns": 1200})
            run.end("success", "500 shares")
            assert await publisher.finish(30.0)
            await eventually(lambda: recorder.complete == [run.run_id])
            found = assert_equal(local, remote, run.run_id)
            assert len(found["shares"]) == 500
            assert found["exit_reason"] == "500 shares"
            assert recorder.counts.refused == 0
