"""A pool far away: order kept, the delay real and measured, and what passes counted."""

from __future__ import annotations

import asyncio
import json
import time

import numpy as np

from firmware_bridge.emulator.delay import DelayRelay, Reader, Tally


async def echo_server() -> tuple[asyncio.Server, int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


async def test_a_round_trip_takes_at_least_what_it_was_told_and_pieces_keep_their_order() -> None:
    server, port = await echo_server()
    relay = DelayRelay("127.0.0.1", port, round_trip_s=0.1, jitter_s=0.02, rng=np.random.default_rng(1))
    reader, writer = await asyncio.open_connection(*await relay.start())
    begin = time.monotonic()
    sent = b"".join(b"%d\n" % i for i in range(200))
    for i in range(200):
        writer.write(b"%d\n" % i)
        await asyncio.sleep(0)
    assert await reader.readexactly(len(sent)) == sent
    assert time.monotonic() - begin > 0.05
    assert relay.mean_round_trip_s > 0.06
    writer.close()
    await relay.stop()
    server.close()


async def test_the_end_of_a_side_reaches_the_other_behind_what_was_sent_before() -> None:
    server, port = await echo_server()
    relay = DelayRelay("127.0.0.1", port, round_trip_s=0.05)
    reader, writer = await asyncio.open_connection(*await relay.start())
    writer.write(b"last words")
    writer.write_eof()
    assert await reader.readexactly(10) == b"last words"
    writer.close()
    await relay.stop()
    server.close()


async def test_a_pool_that_is_not_there_hangs_up_on_the_miner() -> None:
    relay = DelayRelay("127.0.0.1", 1)
    reader, writer = await asyncio.open_connection(*await relay.start())
    async with asyncio.timeout(30):
        assert await reader.read() == b""
    writer.close()
    await relay.stop()


def line(**message: object) -> bytes:
    return json.dumps(message).encode() + b"\n"


def test_a_tally_counts_what_the_pool_says_of_shares_and_nothing_else() -> None:
    tally = Tally()
    reader = Reader(tally)
    reader.from_pool(line(id=None, method="mining.set_difficulty", params=[512]))
    reader.from_pool(line(id=None, method="mining.notify", params=[]))
    reader.from_miner(line(id=1, method="mining.subscribe", params=[]))
    reader.from_pool(line(id=1, result=True, error=None))
    before = tally.copy()
    for number in range(2, 7):
        reader.from_miner(line(id=number, method="mining.submit", params=[]))
    reader.from_pool(line(id=2, result=True, error=None)[:20])
    reader.from_pool(line(id=2, result=True, error=None)[20:])
    reader.from_pool(line(id=3, result=None, error=[21, "stale", None]))
    reader.from_pool(line(id=4, result=None, error=[22, "twice", None]))
    reader.from_pool(line(id=5, result=False, error=None) + b"no json\n" + b'{"id":{}}\n')
    reader.from_pool(line(id=2, result=True, error=None))  # a second answer to the same share
    found = tally.since(before)
    assert (found.submitted, found.accepted, found.difficulty, found.jobs) == (5, 1, 512.0, 0)
    assert found.rejected == {"stale": 1, "duplicate": 1, "None": 1}
    assert before.submitted == 0
    assert tally.jobs == 1
