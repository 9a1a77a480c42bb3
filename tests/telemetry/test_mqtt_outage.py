"""The real bridge at 200 shares a second, and a broker that is killed in the middle: nothing is lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from firmware_bridge.errors import UserError
from firmware_bridge.stratum.server import Bridge
from firmware_bridge.telemetry.mqtt import MqttClient
from firmware_bridge.telemetry.publish_live import LivePublisher
from firmware_bridge.trace.reader import TraceReader
from tests.stratum.bridge_kit import RawMiner, db_url, running_bridge
from tests.telemetry.mosquitto_kit import Mosquitto, running
from tests.telemetry.mqtt_kit import assert_equal, eventually, recording, settings_for, url_of

RATE_PER_S = 200.0


async def mine(
    miner: RawMiner, shares: int, *, first: int = 0, enough: Callable[[], bool] = lambda: True
) -> int:
    """Send shares with nonces from ``first`` on, on a fixed beat, whatever the answers take; how many were accepted.

    So many, and on until it is enough.
    """
    loop = asyncio.get_running_loop()
    begun = loop.time()
    ids: set[int] = set()
    accepted = 0

    async def listen() -> None:
        nonlocal accepted
        while True:
            message = await miner.read()
            if message.get("id") in ids and "method" not in message:
                assert message["result"] is True, message
                accepted += 1

    listening = asyncio.ensure_future(listen())
    try:
        while not listening.done() and (len(ids) < shares or not enough()):
            await asyncio.sleep(max(0.0, begun + len(ids) / RATE_PER_S - loop.time()))
            ids.add(miner.send("mining.submit", miner.share(first + len(ids))))
        await eventually(lambda: accepted == len(ids) or listening.done())
    finally:
        listening.cancel()
        with suppress(asyncio.CancelledError):
            await listening  # what went wrong there
    return accepted


@asynccontextmanager
async def published_bridge(
    folder: Path, broker: Mosquitto, patience_s: float = 60.0
) -> AsyncIterator[tuple[Bridge, int, LivePublisher]]:
    async with running_bridge(folder) as (bridge, port):
        live = LivePublisher(settings_for(broker.url()), db_url(folder), patience_s=patience_s)
        await bridge.attach(live)
        yield bridge, port, live


async def outage(tmp_path: Path, *, before: int, outage_s: float, after: int) -> None:
    remote = url_of(tmp_path / "remote.db")
    planned = before + round(outage_s * RATE_PER_S) + after
    back = asyncio.Event()
    with running(tmp_path / "m") as broker:
        async with recording(settings_for(broker.url()), remote) as recorder:
            async with published_bridge(tmp_path, broker) as (bridge, port, live):
                miner = await (await RawMiner.connect(port)).ready()
                # over the whole outage, however late the recorder and the processes of the broker are
                mining = asyncio.ensure_future(mine(miner, planned, enough=back.is_set))
                await eventually(lambda: recorder.counts.rows >= before)
                await asyncio.to_thread(broker.kill)
                await asyncio.sleep(outage_s)
                await asyncio.to_thread(broker.start)
                back.set()
                await eventually(
                    lambda: recorder.client.connected
                )  # one who comes after the lab left hears nobody
                shares = await mining
                assert shares >= planned
                miner.close()
            run_id = bridge.run.run_id
            assert live.settled
            await eventually(lambda: recorder.complete == [run_id])
    found = assert_equal(db_url(tmp_path), remote, run_id)
    assert len(found["shares"]) == shares
    assert "mqtt-lost" in [row[3] for row in found["events"]]


@pytest.mark.costly
async def test_a_broker_killed_for_3_s_at_200_shares_a_second_costs_no_share(tmp_path: Path) -> None:
    await outage(tmp_path, before=200, outage_s=3.0, after=200)


@pytest.mark.slow
async def test_a_broker_killed_for_60_s_at_200_shares_a_second_costs_no_share(tmp_path: Path) -> None:
    await outage(tmp_path, before=1000, outage_s=60.0, after=2000)


async def test_miners_are_told_there_and_gone_and_the_lab_with_its_run(tmp_path: Path) -> None:
    newest: dict[str, Any] = {}
    with running(tmp_path / "m") as broker:
        listener = MqttClient(settings_for(broker.url()))
        listener.subscribe("asiclab/#", lambda m: newest.update({m.topic: json.loads(m.payload)}))
        await listener.start()
        async with published_bridge(tmp_path, broker) as (bridge, port, _):
            miner = await (await RawMiner.connect(port)).ready("bench.s9")
            await eventually(lambda: newest.get("asiclab/here/bench.s9/state", {}).get("online") is True)
            assert (await miner.submit(1, user="bench.s9"))["result"] is True
            await eventually(lambda: "asiclab/here/bench.s9/share" in newest)
            miner.close()
            await eventually(lambda: newest["asiclab/here/bench.s9/state"]["online"] is False)
            assert newest["asiclab/here/state"]["online"] is True
            assert newest["asiclab/here/state"]["run"] == bridge.run.run_id
        await eventually(lambda: newest["asiclab/here/state"]["online"] is False)
        await listener.stop()
    assert newest["asiclab/here/run"]["final"] is True
    assert newest["asiclab/here/run"]["record"]["exit_status"] == "success"


async def test_a_wrong_password_ends_the_start_and_one_that_becomes_wrong_is_an_event(tmp_path: Path) -> None:
    with running(tmp_path / "m", users={"lab": "right"}) as broker:
        async with running_bridge(tmp_path) as (bridge, _):
            settings = settings_for(broker.url("lab").replace("lab@", "lab:wrong@"))
            with pytest.raises(UserError, match="refused user lab"):
                await bridge.attach(LivePublisher(settings, db_url(tmp_path)))
            right = settings_for(broker.url("lab").replace("lab@", "lab:right@"))
            live = LivePublisher(right, db_url(tmp_path), patience_s=0.5)
            await bridge.attach(live)
            await asyncio.to_thread(broker.kill)
            other = Mosquitto(tmp_path / "m", users={"lab": "changed"})
            other.port = broker.port
            await asyncio.to_thread(other.start)
            try:
                assert live.publisher is not None
                client = live.publisher.client
                await eventually(lambda: client.refused)
            finally:
                other.kill()
    assert not live.settled
    events = TraceReader(db_url(tmp_path)).dicts(1, "events")
    told = [e for e in events if e["kind"] == "mqtt-lost"]
    assert any("refused user lab" in e["detail"] for e in told)
    assert "right" not in str(events)
    assert "wrong" not in str(events)


async def test_a_bridge_whose_broker_never_comes_ends_in_time_and_loses_nothing(tmp_path: Path) -> None:
    remote = url_of(tmp_path / "remote.db")
    with running(tmp_path / "m") as broker:
        broker.kill()
        async with published_bridge(tmp_path, broker, patience_s=0.2) as (bridge, port, live):
            miner = await (await RawMiner.connect(port)).ready()
            assert await mine(miner, 50) == 50
            miner.close()
        first = bridge.run.run_id
        assert not live.settled
        broker.start()
        async with recording(settings_for(broker.url()), remote) as recorder:
            async with published_bridge(tmp_path, broker) as (bridge, port, live):
                await eventually(lambda: recorder.complete == [first])
            assert live.settled
            await eventually(lambda: len(recorder.complete) == 2)
    assert_equal(db_url(tmp_path), remote, first)
    assert_equal(db_url(tmp_path), remote, bridge.run.run_id)
