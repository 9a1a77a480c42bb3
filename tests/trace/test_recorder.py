"""The flight recorder: nothing secret gets in, and what is in gives the same events again, bit for bit."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.bm13xx import link
from firmware_bridge.bm13xx.miner import SerialMiner, SerialMinerConfig
from firmware_bridge.bm13xx.port import SerialPort
from firmware_bridge.clock import VirtualClock
from firmware_bridge.devices.registry import open_device
from firmware_bridge.emulator.bm1366 import Bm1366, Bm1366Config
from firmware_bridge.errors import UserError
from firmware_bridge.stratum import wire
from firmware_bridge.stratum.config import BridgeConfig
from firmware_bridge.stratum.server import Bridge
from firmware_bridge.telemetry.poll import DevicePoller
from firmware_bridge.trace import refeed
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.recorder import RECEIVED, RecordedBytes, Recorder
from firmware_bridge.trace.redaction import StratumLines, http_message, stratum_line
from firmware_bridge.trace.schema import RunRecord
from firmware_bridge.trace.writer import TraceWriter
from tests.devices.conftest import emulated, quick
from tests.independent_miner import Found, Miner

SECRET = "horse-battery-4711"


def authorize(password: str) -> bytes:
    return json.dumps({"id": 3, "method": "mining.authorize", "params": ["w.1", password]}).encode() + b"\n"


# ---- redaction -------------------------------------------------------------------------------------------------------


@given(st.text(min_size=1), st.lists(st.integers(1, 40), max_size=12))
def test_a_password_never_passes_however_it_is_cut(text: str, sizes: list[int]) -> None:
    secret = "q7#" + text
    data = b'{"id":1,"method":"mining.subscribe","params":["x"]}\n' + authorize(secret) + b'{"id":9'
    lines, kept, at = StratumLines(), b"", 0
    for size in [*sizes, len(data)]:
        kept += lines.feed(data[at : at + size])
        at += size
    kept += lines.end()
    assert b"q7#" not in kept
    assert json.dumps("q7#")[1:-1].encode() not in kept
    assert kept.count(b"\n") == data.count(b"\n")
    assert wire.decode_client(kept.split(b"\n")[1]).user == "w.1"  # type: ignore[union-attr]


def test_a_broken_authorize_is_left_out_and_stays_broken() -> None:
    kept = stratum_line(b'{"id":3,"method":"mining.authorize","params":["w","' + SECRET.encode() + b'"\n')
    assert kept == b'{"id":3,"method":"mining.authorize","params":["***","***"\n'
    with pytest.raises(wire.WireError):
        wire.decode_client(kept)


@pytest.mark.parametrize(
    "message",
    [
        b"GET /user/login?username=admin&password=%s&cipher=false HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 200\r\ncontent-type: application/json\r\n\r\n" + b'{"JWT Token":"%s"}',
        b"GET /mcb/setting HTTP/1.1\r\nauthorization: Bearer %s\r\n\r\n",
        b"PUT /mcb/newpool HTTP/1.1\r\ncontent-type: application/json\r\n\r\n"
        + b'{"url":"u","user":"w","pass":"%s"}',
        b"PATCH /api/system HTTP/1.1\r\n\r\n" + b'{"stratumPassword":"%s","wifiPass":"%s","frequency":485}',
        b"POST /cgi-bin/set_miner_conf.cgi HTTP/1.1\r\ncontent-type: application/x-www-form-urlencoded\r\n\r\n"
        b"_ant_pool1url=u&_ant_pool1pw=%s&_ant_freq=550",
        b"HTTP/1.1 200\r\n\r\n" + b'{"pools":[{"url":"u","user":"w","pass":"%s"}]}',
    ],
)
def test_http_is_kept_without_passwords_tokens_and_credentials(message: bytes) -> None:
    kept = http_message(message.replace(b"%s", SECRET.encode()))
    assert SECRET.encode() not in kept
    assert b"***" in kept
    assert kept.split(b" ")[0] == message.split(b" ")[0]


def test_a_tap_stamps_pieces_and_ends_each_direction() -> None:
    clock, kept = VirtualClock(10**18), []
    tap = Recorder(kept.append, clock)("stratum://a:1")
    tap.received(authorize(SECRET)[:20], kernel_ns=5, monotonic_ns=6, wall_ns=7)
    tap.received(authorize(SECRET)[20:], kernel_ns=8, monotonic_ns=9, wall_ns=10)
    clock.advance_to(50)
    tap.sent(b"x\n")
    tap.close()
    assert kept[0][:6] == (None, "stratum://a:1", RECEIVED, 8, 9, 10)
    assert SECRET.encode() not in kept[0].data
    assert kept[1] == RecordedBytes(None, "stratum://a:1", "sent", None, 50, 10**18 + 50, b"x\n")
    assert [p.data for p in kept[2:]] == [b"", b""]


# ---- the same events again -------------------------------------------------------------------------------------------


async def recorded(tmp_path: Path, use: Any, **config: Any) -> TraceReader:
    db = f"sqlite:///{tmp_path / 'lab.db'}"
    bridge = Bridge(
        BridgeConfig(port=0, record=True, **config), partial(TraceWriter, db), np.random.default_rng(3)
    )
    await bridge.start()
    serving = asyncio.ensure_future(bridge.serve(120.0))
    try:
        await use(bridge)
    finally:
        bridge.request_stop("done")
        await serving
    return TraceReader(db)


def mine(address: tuple[str, int], name: str, roll: bool, shares: int) -> None:
    miner = Miner(*address, user=name, agent=f"{name}/1", roll_versions=roll)
    try:
        miner.mine(60.0, shares)
        first = miner.found[0].params
        wrong = (
            first,  # a duplicate
            [first[0], "ffff", *first[2:]],  # an unknown job
            [*first[:4], "00000000"],  # low difficulty
            first[:3],  # malformed
            ["nobody", *first[1:]],  # unauthorised
        )
        for params in wrong:
            miner._waiting[miner._send("mining.submit", params)] = Found(params, 0, 0.0)
        for _ in range(200):
            if not miner._waiting:
                break
            miner._listen(0.05)
    finally:
        miner.close()


async def test_stratum_bytes_give_the_same_rows_again(tmp_path: Path) -> None:
    async def use(bridge: Bridge) -> None:
        assert bridge._door is not None
        address = bridge._door._listener.getsockname()[:2]
        await asyncio.to_thread(mine, address, "first", True, 6)
        await asyncio.gather(
            asyncio.to_thread(mine, address, "first", True, 5),
            asyncio.to_thread(mine, address, "other", False, 5),
        )

    reader = await recorded(tmp_path, use, difficulty=0.00001, mode="stream", job_period_s=0.3)
    stored = sorted(reader.share_rows(1), key=lambda row: row.miner)  # stable: each miner's in its order
    assert len(stored) >= 30
    assert {row.reason for row in stored} == {
        None, "duplicate", "unknown-job", "low-difficulty", "malformed", "unauthorized",
    }  # fmt: skip
    assert sorted(refeed.stratum_shares(reader, 1), key=lambda row: row.miner) == stored


async def test_serial_bytes_give_the_same_rows_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "ANSWER_TIMEOUT_S", 10.0)  # a busy machine is slower than a chip
    emulated_chain = Bm1366(Bm1366Config(chips=2, scale=2.0**-23, pace=4.0))
    path = emulated_chain.start()

    async def use(bridge: Bridge) -> None:
        assert bridge.recorder is not None
        port = SerialPort(path, tap=bridge.recorder(f"serial://{path}"))
        await bridge.attach(SerialMiner(port, SerialMinerConfig(ticket=1.0, scale=2.0**-23), sleep=quick))
        async with asyncio.timeout(60):
            while bridge.stats.accepted < 200:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    try:
        reader = await recorded(tmp_path, use, mode="swh")
    finally:
        await asyncio.to_thread(emulated_chain.stop)
    stored = list(reader.share_rows(1))
    assert len(stored) >= 200
    again = refeed.serial_shares(reader, 1, f"serial://{path}")
    assert again[: len(stored)] == stored  # what came while the bridge stopped was not judged any more


@pytest.mark.parametrize("model", ["s9", "lv06", "lb-box"])
async def test_a_device_played_from_its_bytes_reads_the_same_telemetry(tmp_path: Path, model: str) -> None:
    async with emulated(model) as (_, ready):

        async def use(bridge: Bridge) -> None:
            device = await open_device(ready["url"], taps=bridge.recorder, clock=bridge.clock)
            poller = DevicePoller(device, period_s=0.05)
            await bridge.attach(poller)
            async with asyncio.timeout(60):
                while poller.readings < 3:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)

        reader = await recorded(tmp_path, use)
    stored = list(reader.rows(1, "telemetry"))[:3]
    device = await refeed.recorded_device(reader, 1, ready["url"])
    await device.identify()
    for row in stored:
        again = (await device.read_telemetry()).to_row(row[0])
        assert tuple(again)[3:] == tuple(row)[3:]
    await device.aclose()


def test_a_run_without_recorded_bytes_says_so(tmp_path: Path) -> None:
    with TraceWriter(str(tmp_path / "lab.db")) as writer:
        writer.begin_run(RunRecord(kind="live", source="bridge")).end("success")
    with pytest.raises(UserError, match="no recorded bytes"):
        refeed.stratum_shares(TraceReader(str(tmp_path / "lab.db")), 1)


async def test_no_password_is_in_the_database_of_a_recorded_run(tmp_path: Path) -> None:
    async def use(bridge: Bridge) -> None:
        assert bridge._door is not None
        host, port = bridge._door._listener.getsockname()[:2]
        reader, writer = await asyncio.open_connection(host, port)
        line = authorize(SECRET)
        for at in range(0, len(line), 7):
            writer.write(line[at : at + 7])
            await writer.drain()
            await asyncio.sleep(0.005)
        await reader.readline()
        writer.write(authorize(SECRET)[:-1])  # never finished
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.close()

    await recorded(tmp_path, use)
    with sqlite3.connect(tmp_path / "lab.db") as database:
        text = "\n".join(database.iterdump())
        blobs = b"".join(row[0] for row in database.execute("SELECT data FROM recorded_bytes"))
    assert "mining.authorize" in blobs.decode()
    assert SECRET not in text
    assert SECRET.encode() not in blobs
    assert SECRET[4:11].encode() not in blobs
