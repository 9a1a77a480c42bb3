"""A pool that sends nonsense is noted or left, and harms no miner."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from firmware_bridge.stratum.proxy import Upstream
from tests.stratum.bridge_kit import EVERY_HASH, eventually, rows
from tests.stratum.proxy_kit import ALL_EVENTS, Client, hurry, running_proxy
from tests.stratum.strict_pool import StrictPool

pytestmark = pytest.mark.usefixtures(hurry.__name__)

GOOD = ["1", "00" * 32, "aa", "bb", [], "20000000", "1d00ffff", "65000000", True]


def line(method: str, params: Any) -> bytes:
    return json.dumps({"id": None, "method": method, "params": params}).encode() + b"\n"


def changed(place: int, value: Any) -> bytes:
    return line("mining.notify", [*GOOD[:place], value, *GOOD[place + 1 :]])


LIES = {
    "no JSON": b"\x00\xff garbage\n",
    "no object": b"[1,2,3]\n",
    "deep": b"[" * 5000 + b"\n",
    "difficulty NaN": b'{"id":null,"method":"mining.set_difficulty","params":[NaN]}\n',
    "difficulty infinite": b'{"id":null,"method":"mining.set_difficulty","params":[1e999]}\n',
    "difficulty 0": line("mining.set_difficulty", [0]),
    "difficulty negative": line("mining.set_difficulty", [-1]),
    "difficulty huge": line("mining.set_difficulty", [10**400]),
    "difficulty text": line("mining.set_difficulty", ["1"]),
    "difficulty missing": line("mining.set_difficulty", []),
    "too many branches": changed(4, ["00" * 32] * 33),
    "short branch": changed(4, ["00" * 31]),
    "branch no text": changed(4, [1]),
    "prevhash no hex": changed(1, "zz" * 32),
    "coinb1 odd": changed(2, "abc"),
    "coinb2 no hex": changed(3, "no hex"),
    "version": changed(5, "2000"),
    "nbits": changed(6, "1d00ffff00"),
    "ntime": changed(7, "65 00000"),
    "job id empty": changed(0, ""),
    "job id endless": changed(0, "x" * 1000),
    "eight parameters": line("mining.notify", GOOD[:8]),
    "extranonce1 no hex": line("mining.set_extranonce", ["xyz", 4]),
    "extranonce2 too large": line("mining.set_extranonce", ["00", 1000]),
    "extranonce1 too long": line("mining.set_extranonce", ["00" * 100, 4]),
    "mask": line("mining.set_version_mask", ["not a mask"]),
    "answer to nothing": b'{"id":99999,"result":true,"error":null}\n',
    "unknown method": line("mining.nonsense", [1]),
    "message nonsense": line("client.show_message", [{"a": 1}]),
}


@pytest.mark.parametrize("names", [list(LIES)[:14], list(LIES)[14:]], ids=["first half", "second half"])
async def test_a_lie_of_a_pool_is_noted_and_changes_nothing(tmp_path: Path, names: list[str]) -> None:
    async with (
        StrictPool(EVERY_HASH) as pool,
        running_proxy(tmp_path, pool, work="upstream") as (proxy, port),
    ):
        miner = await (await Client.connect(port)).ready()
        for number, name in enumerate(names, 1):
            pool.seats[0].writer.write(LIES[name])
            pool.seats[0].new_job(False)
            await miner.until_jobs(number + 1)
            assert (await miner.submit(1))["result"] is True, name
            await eventually(lambda number=number: sum(pool.verdicts.values()) == number)
            assert pool.verdicts == {"accepted": number}, name
        await proxy.stop()
    harmless = {"unknown method": "upstream-unknown-method", "message nonsense": "upstream-message"}
    kinds = [row["kind"] for row in rows(tmp_path, ALL_EVENTS)]
    noted = [kind for kind in kinds if kind in (*harmless.values(), "upstream-bad-message")]
    assert noted == [harmless.get(name, "upstream-bad-message") for name in names]
    assert "internal-error" not in kinds


@pytest.mark.parametrize("flood", [b"x" * 300_000, b"nonsense\n" * 20], ids=["endless line", "too many lies"])
async def test_a_pool_that_only_lies_is_left_and_other_miners_do_not_notice(
    tmp_path: Path, flood: bytes
) -> None:
    async with (
        StrictPool(EVERY_HASH) as bad,
        StrictPool(EVERY_HASH, tag=0xB0) as good,
        running_proxy(tmp_path, bad, good, retries=1) as (proxy, port),
    ):
        victim = await Client.connect(port)
        await victim.ask("mining.extranonce.subscribe", [])
        await victim.ready()
        bystander = await (await Client.connect(port)).ready()
        bad.seats[0].writer.write(flood)
        await victim.until_jobs(2)
        assert (await victim.submit(1))["result"] is True
        await eventually(lambda: good.verdicts["accepted"] == 1)
        assert (await bystander.submit(1))["result"] is True
        await eventually(lambda: bad.verdicts["accepted"] == 1)
        await proxy.stop()
    assert "internal-error" not in {row["kind"] for row in rows(tmp_path, "SELECT kind FROM events")}


@pytest.mark.parametrize(
    "answer",
    [None, [[], "zz", 4], {"a": 1}],
    ids=str,
)
async def test_a_pool_whose_subscription_is_nonsense_is_left(tmp_path: Path, answer: Any) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while raw := await reader.readline():
            message = json.loads(raw)
            writer.write(json.dumps({"id": message["id"], "result": answer, "error": None}).encode() + b"\n")
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    liar = Upstream("127.0.0.1", server.sockets[0].getsockname()[1])
    async with StrictPool(EVERY_HASH) as good, running_proxy(tmp_path, liar, good, retries=1) as (_, port):
        miner = await (await Client.connect(port)).ready()
        assert miner.extranonce1.startswith("a0")
    server.close()
