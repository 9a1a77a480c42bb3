"""Clients that mean harm or are broken: a clear error or a disconnect, the others unaffected, memory bounded."""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import socket
import statistics
import time
from pathlib import Path

import pytest

from firmware_bridge.stratum import kernel_time, server
from tests.stratum.bridge_kit import PATIENCE_S, RawMiner, eventually, rows, running_bridge


async def served(miner: RawMiner, nonces: range) -> list[float]:
    """Submit one by one; the round trips in seconds."""
    took = []
    for nonce in nonces:
        start = time.perf_counter()
        assert (await miner.submit(nonce))["result"] is True
        took.append(time.perf_counter() - start)
    return took


async def served_promptly(miner: RawMiner) -> None:
    """Each of twenty round trips under a second, in the best of five rounds: a busy machine may stall, not always."""
    slowest = [max(await served(miner, range(first, first + 20))) for first in range(10_000, 10_100, 20)]
    assert min(slowest) < 1.0, slowest


@pytest.mark.parametrize(
    "line",
    [
        b"hello\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00\xff\xfe\n",
        b'{"id":1,"method":"mining.submit","params":[1,2,3,4,5]}\n',
        b'{"id":1,"method":"mining.submit","params":{"a":1}}\n',
        b'{"id":1,"method":["mining.submit"]}\n',
        b'{"id":1,"method":"mining.nonsense","params":[]}\n',
        b'{"id":1,"method":"mining.authorize","params":[' + b"[" * 5000 + b"]" * 5000 + b"]}\n",
    ],
)
async def test_a_broken_line_gets_an_error_and_the_connection_goes_on(tmp_path: Path, line: bytes) -> None:
    async with running_bridge(tmp_path) as (_, port):
        other = await (await RawMiner.connect(port)).ready("other")
        miner = await RawMiner.connect(port)
        miner.send_raw(line)
        assert (await miner.read())["error"][0] == 20
        await miner.ready()
        assert (await miner.submit(1))["result"] is True
        assert (await other.submit(1, user="other"))["result"] is True


async def test_a_line_of_a_megabyte_is_an_error_and_a_disconnect(tmp_path: Path) -> None:
    async with running_bridge(tmp_path) as (_, port):
        other = await (await RawMiner.connect(port)).ready("other")
        miner = await RawMiner.connect(port)
        miner.send_raw(b'{"id":1,"method":"mining.subscribe","params":["' + b"x" * 1_000_000 + b'"]}\n')
        lines = await miner.until_closed()
        assert all("longer than" in line["error"][1] for line in lines)
        assert (await other.submit(1, user="other"))["result"] is True
    reasons = [
        json.loads(row["detail"])["reason"]
        for row in rows(tmp_path, "SELECT * FROM events WHERE kind='dropped'")
    ]
    assert any("longer than" in reason for reason in reasons)


async def test_one_byte_per_second_is_cut_off(tmp_path: Path) -> None:
    async with running_bridge(tmp_path, line_timeout_s=0.4) as (_, port):
        miner = await (await RawMiner.connect(port)).ready()
        slow = await (await RawMiner.connect(port)).ready("slow")

        async def drip() -> None:
            for byte in b'{"id":9,"method":"mining.ping"' * 100:
                slow.send_raw(bytes([byte]))
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        start = time.monotonic()
        await slow.until_closed()
        assert time.monotonic() - start > 0.3
        assert not dripping.done()
        dripping.cancel()
        await served(miner, range(5))


async def test_a_connection_that_never_authorizes_is_cut_off(tmp_path: Path) -> None:
    async with running_bridge(tmp_path, handshake_timeout_s=20.0) as (bridge, port):
        miner = await (await RawMiner.connect(port)).ready()
        silent = await RawMiner.connect(port)
        half = await RawMiner.connect(port)
        await half.ask("mining.subscribe", ["x"])
        await eventually(lambda: len(bridge._connections) == 3)
        opened = [connection.opened for connection in bridge._connections]
        for connection in list(bridge._connections):
            connection.sweep(min(opened) + 19.0)
        assert len(bridge._connections) == 3
        for connection in list(bridge._connections):
            connection.sweep(max(opened) + 21.0)
        (line,) = {str(found) for found in (await silent.until_closed(), await half.until_closed())}
        assert line == "[]"
        await served(miner, range(5))
    reasons = [row["detail"] for row in rows(tmp_path, "SELECT detail FROM events WHERE kind = 'dropped'")]
    assert len(reasons) == 2
    assert all("within 20 s" in reason for reason in reasons)


async def test_deadlines_are_looked_at_without_being_asked(tmp_path: Path) -> None:
    async with running_bridge(tmp_path, handshake_timeout_s=0.3) as (_, port):
        silent = await RawMiner.connect(port)
        start = time.monotonic()
        await silent.until_closed()
        assert time.monotonic() - start > 0.2


@pytest.mark.xdist_group("timing")
@pytest.mark.parametrize("authorized", [False, True])
async def test_a_client_that_never_reads_is_dropped_with_bounded_memory(
    tmp_path: Path, authorized: bool
) -> None:
    async with running_bridge(tmp_path, write_timeout_s=0.5) as (bridge, port):
        miner = await (await RawMiner.connect(port)).ready()
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(deaf, ("127.0.0.1", port))
        line = b'{"id":"' + b"x" * 100 + b'","method":"mining.ping"}\n'
        if authorized:
            await loop.sock_sendall(deaf, b'{"id":1,"method":"mining.subscribe","params":["x"]}\n')
            await loop.sock_sendall(deaf, b'{"id":1,"method":"mining.authorize","params":["deaf","x"]}\n')
            line = (
                b'{"id":1,"method":"mining.submit","params":["deaf","0","00000001","00000000","00000001"]}\n'
            )
        sent = waiting = 0

        async def shout() -> None:
            nonlocal sent
            while True:
                await loop.sock_sendall(deaf, line * 50)
                sent += 50 * len(line)

        async def weigh() -> None:
            nonlocal waiting
            while True:
                waiting = max([waiting, *(len(c._transport._waiting) for c in bridge._connections)])
                await asyncio.sleep(0.005)

        weighing = asyncio.create_task(weigh())
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(shout(), PATIENCE_S)
        weighing.cancel()
        deaf.close()
        assert sent < 20_000_000
        assert 0 < waiting <= kernel_time.WRITE_LIMIT
        await served_promptly(miner)
        assert len(bridge._connections) == 1


async def test_more_clients_than_allowed_are_refused_with_a_reason(tmp_path: Path) -> None:
    async with running_bridge(tmp_path, max_clients=3) as (bridge, port):
        inside = [await (await RawMiner.connect(port)).ready(f"m{i}") for i in range(3)]
        late = await RawMiner.connect(port)
        (line,) = await late.until_closed()
        assert line["error"][0] == 20
        assert "--max-clients" in line["error"][1]
        assert bridge.stats.refused == 1
        inside[0].close()
        await eventually(lambda: len(bridge._connections) == 2)
        await (await RawMiner.connect(port)).ready("m0")


@pytest.mark.xdist_group("timing")
@pytest.mark.parametrize("count", [1500, 10_000])
async def test_a_crowd_at_the_door_does_not_hurt_who_is_in(
    tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "IDLE_GRACE_S", 3600.0)  # however long a slow machine needs for its crowd
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = count + 700
    if hard < needed:
        pytest.skip(f"needs {needed} file descriptors, the hard limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    async with running_bridge(tmp_path, max_clients=200) as (bridge, port):
        miner = await (await RawMiner.connect(port)).ready()
        crowd: list[socket.socket] = []

        async def storm() -> None:
            loop = asyncio.get_running_loop()
            for number in range(count):
                sock = socket.socket()
                sock.setblocking(False)
                await loop.sock_connect(sock, ("127.0.0.1", port))
                crowd.append(sock)
                if number % 50 == 0:
                    await asyncio.sleep(0)

        try:
            raging = asyncio.create_task(storm())
            took: list[float] = []
            while not raging.done():
                took += await served(miner, range(len(took), len(took) + 5))
            await raging
            await eventually(lambda: bridge.stats.refused + bridge.stats.connections == count + 1)
            assert statistics.median(took) < 0.5  # many were served while the crowd came, not one after it
            assert len(bridge._connections) == 200
            assert bridge.stats.refused > count // 2
            await served_promptly(miner)
        finally:
            for sock in crowd:
                sock.close()
    # one attack does not write one row per connection
    assert rows(tmp_path, "SELECT count(*) FROM events")[0][0] < 500


async def test_an_idle_crowd_keeps_no_miner_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "IDLE_GRACE_S", 0.2)
    async with running_bridge(tmp_path, max_clients=5) as (bridge, port):
        miner = await (await RawMiner.connect(port)).ready()
        crowd = [await RawMiner.connect(port) for _ in range(4)]
        await asyncio.sleep(0.3)
        newcomer = await (await RawMiner.connect(port)).ready("newcomer")
        assert (await newcomer.submit(1, user="newcomer"))["result"] is True
        assert (await miner.submit(1))["result"] is True
        assert await crowd[0].until_closed() == []
        assert len(bridge._connections) == 5


async def test_hostile_names_are_bounded_and_escaped(tmp_path: Path) -> None:
    async with running_bridge(tmp_path) as (_, port):
        for name in ("\x1b[2J\x00evil\r\n", "x" * 10_000, "\u202egnp.exe", "'; DROP TABLE shares; --"):
            miner = await RawMiner.connect(port)
            await miner.ready(name, agent=name)
            assert (await miner.submit(1, user=name))["result"] is True
    for row in rows(tmp_path, "SELECT name, user_agent FROM miners"):
        for text in row:
            assert text.isprintable()
            assert len(text) < 200
    assert len(rows(tmp_path, "SELECT * FROM shares WHERE valid")) == 4


async def test_resets_at_any_moment_leave_the_bridge_up(tmp_path: Path) -> None:
    linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"  # close sends a reset
    pieces = [
        b'{"id":1,"method":"mining.subscribe","params":["x"]}\n',
        b'{"id":2,"method":"mining.authorize","params":["w","x"]}\n',
        b'{"id":3,"method":"mining.submit","params":["w","1","00000001","00000000","00000001"]}\n' * 300,
    ]
    async with running_bridge(tmp_path) as (bridge, port):
        miner = await (await RawMiner.connect(port)).ready()
        for stop in range(4):
            for _ in range(5):
                sock = socket.create_connection(("127.0.0.1", port))
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                sock.sendall(b"".join(pieces[:stop]))
                await asyncio.sleep(0.002)
                sock.close()
        await served(miner, range(20))
        await eventually(lambda: len(bridge._connections) == 1)


async def test_memory_for_duplicates_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "DUPLICATES_REMEMBERED", 500)
    async with running_bridge(tmp_path) as (bridge, port):
        small = await (await RawMiner.connect(port)).ready("small")
        await small.submit(1, user="small")
        busy = await (await RawMiner.connect(port)).ready("busy")
        for nonce in range(2000):
            busy.send("mining.submit", busy.share(nonce, user="busy"), 10_000 + nonce)
            if nonce % 100 == 99:
                await busy.answer(10_000 + nonce)
                assert bridge._remembered <= 500
        assert len(busy.jobs) > 1
        # who is not busy keeps its jobs, and its duplicates are still known
        assert (await small.submit(1, user="small"))["error"][0] == 22


async def test_running_out_of_descriptors_keeps_who_is_in(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with running_bridge(tmp_path) as (bridge, port):
        miner = await (await RawMiner.connect(port)).ready()
        gc.collect()  # nothing left over gives a descriptor back while they are counted
        newcomer = socket.create_connection(("127.0.0.1", port))
        spare = [socket.socket() for _ in range(2)]
        await eventually(lambda: len(bridge._connections) == 2)
        used = max(sock.fileno() for sock in [newcomer, *spare]) + 1
        late = socket.socket()
        late.setblocking(False)
        resource.setrlimit(resource.RLIMIT_NOFILE, (used, limits[1]))
        try:
            await asyncio.get_running_loop().sock_connect(late, ("127.0.0.1", port))
            await served(miner, range(10))
            await asyncio.sleep(0.05)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for sock in [newcomer, late, *spare]:
            sock.close()
        await (await RawMiner.connect(port)).ready("afterwards")
    assert rows(tmp_path, "SELECT * FROM events WHERE kind = 'accept-failed'")
