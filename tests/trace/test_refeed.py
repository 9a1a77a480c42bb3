"""What went wrong in a recorded run goes wrong again when its bytes are fed again, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from firmware_bridge.devices.registry import open_device
from firmware_bridge.errors import UserError
from firmware_bridge.stratum.server import Bridge
from firmware_bridge.telemetry.poll import DevicePoller
from firmware_bridge.trace import refeed
from firmware_bridge.trace.player import exchanges_of
from firmware_bridge.trace.recorder import RECEIVED, SENT, RecordedBytes
from tests.devices.conftest import emulated
from tests.trace.test_recorder import recorded


def piece(direction: str, data: bytes, at: int = 0) -> RecordedBytes:
    return RecordedBytes(None, "cgminer://h:4028", direction, None, at, at, data)


# ---- Stratum ---------------------------------------------------------------------------------------------------------


def message(id: int, method: str, *params: Any) -> bytes:
    return json.dumps({"id": id, "method": method, "params": params}).encode() + b"\n"


HELLO = message(1, "mining.subscribe", "tester/1") + message(2, "mining.authorize", "w", "x")


def submit(id: int, job: str) -> bytes:
    return message(id, "mining.submit", "w", job, f"{id:08x}", "69637392", f"{id:08x}")


@pytest.mark.parametrize(
    ("build", "rows"),
    [
        pytest.param(
            lambda job: submit(7, job) + b"no message\n" * 16 + submit(8, job), 1, id="broken lines"
        ),
        pytest.param(
            lambda job: b"".join(message(9, f"mining.x{n}") for n in range(20)) + submit(8, job),
            1,
            id="unknown",
        ),
        pytest.param(
            lambda job: submit(7, job) + b"x" * 20_000 + b"\n" + submit(8, job), None, id="line too long"
        ),
        pytest.param(
            lambda job: (
                b"".join(message(n, "mining.authorize", f"w{n}", "x") for n in range(20, 45)) + submit(8, job)
            ),
            1,
            id="too many workers",
        ),
        pytest.param(
            lambda job: submit(7, job) + message(3, "mining.subscribe", "scale=2^-3") + submit(8, job),
            1,
            id="scale",
        ),
    ],
)
async def test_the_bridge_hangs_up_at_the_same_place(
    tmp_path: Path, build: Callable[[str], bytes], rows: int | None
) -> None:
    async def use(bridge: Bridge) -> None:
        assert bridge._door is not None
        host, port = bridge._door._listener.getsockname()[:2]
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(submit(5, "early") + HELLO)
        async with asyncio.timeout(60):
            while b"mining.notify" not in (line := await reader.readline()) or b'"params"' not in line:
                assert line
            writer.write(build(json.loads(line)["params"][0]))
            writer.write_eof()
            while await reader.readline():
                pass
        writer.close()

    reader = await recorded(tmp_path, use)
    stored = list(reader.share_rows(1))
    assert len(stored) == rows or (rows is None and len(stored) < 2)  # as the system cut what was sent
    assert refeed.stratum_shares(reader, 1) == stored


# ---- devices ---------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def trouble(port: int, what: Callable[[int], str]) -> AsyncIterator[int]:
    """A way to a device's API that does to each connection, by its number, what it is told; yields its port."""
    count = 0
    held: list[asyncio.StreamWriter] = []

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        fate = what(count)
        request = await reader.read(8192)
        if fate == "hang":
            held.append(writer)
            return
        if fate != "close":
            behind, ahead = await asyncio.open_connection("127.0.0.1", port)
            ahead.write(request)
            answer = await behind.read(-1)
            ahead.close()
            writer.write(answer if fate == "pass" else answer[:60])
            if fate == "stall":
                await writer.drain()
                held.append(writer)
                return
        with contextlib.suppress(OSError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(carry, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in held:
            writer.close()


FATES = {3: "close", 5: "hang", 9: "cut", 12: "stall", 16: "close", 17: "hang"}
"""What happens to which connection; numbers that fall on the first, second and later questions of a reading."""


@pytest.mark.costly
@pytest.mark.parametrize("model", ["s9", "lb-box"])
async def test_a_device_that_was_silent_in_between_reads_the_same_telemetry(
    tmp_path: Path, model: str
) -> None:
    async with emulated(model) as (_, ready):
        address, _, query = ready["url"].partition("?")
        ports = {"s9": address.rpartition(":")[2], "lb-box": query.rpartition("api=")[2].partition("&")[0]}
        async with trouble(int(ports[model]), lambda n: FATES.get(n, "pass")) as port:
            there = address.rpartition(":")[0]
            url = f"{there}:{port}?{query}" if model == "s9" else f"{address}?api={port}"

            async def use(bridge: Bridge) -> None:
                device = await open_device(url, taps=bridge.recorder, clock=bridge.clock, timeout_s=2.0)
                poller = DevicePoller(device, period_s=0.01)
                await bridge.attach(poller)
                async with asyncio.timeout(120):
                    while poller.readings < 9:  # noqa: ASYNC110
                        await asyncio.sleep(0.02)

            reader = await recorded(tmp_path, use)
    stored = list(reader.rows(1, "telemetry"))
    again = [reading.to_row(stored[0][0]) for reading in await refeed.telemetry(reader, 1, url)]
    assert len(stored) >= 9
    assert sum(event["kind"] == "device-silent" for event in reader.dicts(1, "events")) >= 3
    assert [tuple(row)[3:] for row in again[: len(stored)]] == [tuple(row)[3:] for row in stored]
    assert len(again) - len(stored) in (0, 1)  # the last one may have come while the bridge stopped
    for row, then in zip(again, stored, strict=False):
        assert row.wall_ns is not None
        assert row.wall_ns <= then[1]


def test_an_answer_that_did_not_end_is_none() -> None:
    pieces = [
        piece(SENT, b"one"), piece(RECEIVED, b"a"), piece(RECEIVED, b"b", 7), piece(RECEIVED, b"", 8),
        piece(SENT, b"two"),
        piece(SENT, b"three"), piece(RECEIVED, b"half"),
        piece(SENT, b"four"), piece(RECEIVED, b"d"), piece(RECEIVED, b"", 9),
    ]  # fmt: skip
    found = [(e.asked, e.answer, e.monotonic_ns) for e in exchanges_of(pieces, whole=False)]
    assert found == [(b"one", b"ab", 8), (b"two", None, 0), (b"three", None, 0), (b"four", b"d", 9)]


@pytest.mark.parametrize("address", ["bm1366:///dev/ttyUSB0", "http://10.0.0.7", "pyasic://10.0.0.7"])
async def test_what_cannot_be_played_is_said_and_nothing_is_opened(tmp_path: Path, address: str) -> None:
    async def use(bridge: Bridge) -> None:
        pass

    reader = await recorded(tmp_path, use)
    with pytest.raises(UserError, match="what is played is"):
        await refeed.recorded_device(reader, 1, address)
