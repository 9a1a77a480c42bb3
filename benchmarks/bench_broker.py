"""Messages per second from one client to another through the embedded broker, and through a Mosquitto beside it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.harness import ASICLAB, PROJECT, Benchmark, Row, SkippedError, paired

MESSAGES = 2000
INFLIGHT = 20
PAYLOAD = b"x" * 300  # about a row of the trace
PATIENCE_S = 60.0


@contextmanager
def embedded() -> Iterator[int]:
    """A broker in a process of its own; its port."""
    command = [*ASICLAB, "broker", "--port", "0", "--json"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=PROJECT)
    try:
        assert child.stdout is not None
        yield int(json.loads(child.stdout.readline())["port"])
    finally:
        child.terminate()
        child.wait()


@contextmanager
def mosquitto(*lines: str) -> Iterator[int]:
    """A Mosquitto on a free port, with further lines of its configuration; skipped where there is none."""
    program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        raise SkippedError("mosquitto is not installed; on Debian: apt-get install mosquitto")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "mosquitto.conf"
        usual = (f"listener {port} 127.0.0.1", "allow_anonymous true", "persistence false")
        config.write_text("\n".join((*usual, *lines)) + "\n")
        child = subprocess.Popen([program, "-c", str(config)], stderr=subprocess.DEVNULL)
        try:
            until = time.monotonic() + PATIENCE_S
            while time.monotonic() < until:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.02)
            yield port
        finally:
            child.terminate()
            child.wait()


async def messages_per_s(port: int, messages: int = MESSAGES) -> float:
    """QoS 1 there and back, at most ``INFLIGHT`` without an acknowledgement."""
    import aiomqtt

    places = asyncio.Semaphore(INFLIGHT)
    async with (
        asyncio.timeout(PATIENCE_S),
        aiomqtt.Client("127.0.0.1", port, max_inflight_messages=INFLIGHT) as sender,
        aiomqtt.Client("127.0.0.1", port) as reader,
    ):
        sender.pending_calls_threshold = 2 * INFLIGHT
        await reader.subscribe("lab/#", qos=1)

        async def send() -> None:
            async with places:
                await sender.publish("lab/row", PAYLOAD, qos=1)

        begin = time.perf_counter()
        sending = [asyncio.create_task(send()) for _ in range(messages)]
        for _ in range(messages):
            await anext(reader.messages)
        seconds = time.perf_counter() - begin
        await asyncio.gather(*sending)
    return messages / seconds


def run(heavy: bool) -> Iterator[Row]:
    with embedded() as ours, mosquitto() as theirs:
        yield paired(
            "embedded broker, QoS 1, 300 bytes",
            lambda: asyncio.run(messages_per_s(ours)),
            lambda: asyncio.run(messages_per_s(theirs)),
            unit="messages/s",
            aim=None,
            rounds=3,
            detail={"messages": MESSAGES, "inflight": INFLIGHT},
        )


BENCHMARKS = [Benchmark("broker", run)]
