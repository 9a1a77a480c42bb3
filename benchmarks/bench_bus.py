"""Shares per second from one trace into another over a Mosquitto, against aiomqtt alone with the same payloads.

Ours reads a trace, publishes, receives, checks and stores in a second trace; the peer only publishes and receives, with
as many messages in flight. Publisher and receiver run in one event loop on both sides. The second row asks what the
bridge pays for it: submits that it answers per second with ``--mqtt`` against without.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench_ack import PLANS, Side, bridge
from benchmarks.bench_broker import PATIENCE_S, mosquitto
from benchmarks.harness import Benchmark, Row, paired
from firmware_bridge.telemetry.messages import RowMessage, encode_row
from firmware_bridge.telemetry.mqtt import INFLIGHT, MqttSettings
from firmware_bridge.telemetry.publisher import Publisher
from firmware_bridge.telemetry.remote import RemoteRecorder
from firmware_bridge.trace.schema import MinerRow, RunRecord, ShareRow
from firmware_bridge.trace.writer import TraceWriter

SHARES = 5000


def share(number: int) -> ShareRow:
    at = 1_800_000_000_000_000_000 + 5_000_000 * number
    text = ("1a", f"{number:08x}", "69637392", f"{number * 2654435761 % 2**32:08x}", "00002000")
    return ShareRow(
        1, 1, *text, 256.0 + number / 7, True, None, at, at // 3, at + 17, 5_000_000, number, number
    )


def stored(folder: Path) -> tuple[str, str]:
    """A trace with a run of so many shares: its URL and the run's id."""
    url = f"sqlite:///{folder / 'lab.db'}"
    with TraceWriter(url) as writer:
        run = writer.begin_run(RunRecord(kind="live", source="bridge"))
        run.miner(MinerRow("s9"))
        run.shares([share(number) for number in range(SHARES)])
        run.end("success")
    return url, run.run_id


async def ours(folder: Path, port: int, url: str, run_id: str, number: int) -> float:
    """Rows per second until the last one is stored in the second trace."""
    settings = MqttSettings("127.0.0.1", port, lab=f"lab{number}")
    recorder = RemoteRecorder(settings, f"sqlite:///{folder / f'remote{number}.db'}", lab=settings.lab)
    publisher = Publisher(settings, url)
    await recorder.start()
    await publisher.start()
    publisher.add(run_id)
    begun = time.perf_counter()
    work = [asyncio.ensure_future(recorder.work()), asyncio.ensure_future(publisher.work())]
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not recorder.complete:  # noqa: ASYNC110 - counted from outside
                await asyncio.sleep(0.002)
        return SHARES / (time.perf_counter() - begun)
    finally:
        for one in work:
            one.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        await publisher.stop()
        await recorder.stop()


async def alone(port: int) -> float:
    """Messages per second there and back, QoS 1, payloads made beforehand."""
    import aiomqtt

    payloads = [
        encode_row(RowMessage("0a1b2c3d-20260101-000000", "shares", n + 1, n or None, tuple(share(n))))
        for n in range(SHARES)
    ]
    places = asyncio.Semaphore(INFLIGHT)
    async with (
        asyncio.timeout(PATIENCE_S),
        aiomqtt.Client("127.0.0.1", port, max_inflight_messages=INFLIGHT) as sender,
        aiomqtt.Client("127.0.0.1", port) as reader,
    ):
        sender.pending_calls_threshold = 2 * INFLIGHT
        await reader.subscribe("asiclab/lab/s9/share", qos=1)

        async def send(payload: bytes) -> None:
            try:
                await sender.publish("asiclab/lab/s9/share", payload, qos=1)
            finally:
                places.release()

        async def receive() -> None:
            for _ in range(SHARES):
                await anext(aiter(reader.messages))

        begun = time.perf_counter()
        receiving = asyncio.ensure_future(receive())
        tasks = []
        for payload in payloads:
            await places.acquire()
            tasks.append(asyncio.ensure_future(send(payload)))
        await asyncio.gather(*tasks, receiving)
        return SHARES / (time.perf_counter() - begun)


def run(heavy: bool) -> Iterator[Row]:
    rounds = 7 if heavy else 3
    # by itself it forgets what is beyond 1000 messages for a slow reader, and the peer would wait for them for ever
    with (
        mosquitto("max_queued_messages 0") as port,
        tempfile.TemporaryDirectory(prefix="asiclab-bench-") as name,
    ):
        folder, numbers = Path(name), itertools.count()
        url, run_id = stored(folder)
        yield paired(
            "shares from trace to trace over MQTT",
            lambda: asyncio.run(ours(folder, port, url, run_id, next(numbers))),
            lambda: asyncio.run(alone(port)),
            unit="shares/s",
            aim=0.5,
            rounds=rounds,
        )
        with_mqtt, without = folder / "with", folder / "without"
        with_mqtt.mkdir()
        without.mkdir()
        options = ("--mqtt", f"mqtt://127.0.0.1:{port}", "--lab", "bench", "--mqtt-patience", "1")
        with bridge(with_mqtt, *options) as ours_port, bridge(without) as peer_port:
            mine, peer = Side(ours_port, True), Side(peer_port, True)
            plan = PLANS[3]
            mine.rate(plan), peer.rate(plan)
            yield paired(
                "bridge ack with --mqtt, 100 clients, 1 in flight",
                lambda: mine.rate(plan),
                lambda: peer.rate(plan),
                unit="acks/s",
                aim=None,
                rounds=rounds,
            )


BENCHMARKS = [Benchmark("bus", run)]
