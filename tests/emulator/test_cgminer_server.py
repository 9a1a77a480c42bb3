"""The server of the cgminer API: codes, access control, one read per connection, and callers who mean no good."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest

from firmware_bridge.clock import VirtualClock
from firmware_bridge.devices.cgminer_api import (
    PRIVILEGED,
    Code,
    Reply,
    decode_answer,
    decode_joined,
    encode_request,
)
from firmware_bridge.devices.cgminer_port import CgminerPort
from firmware_bridge.emulator import cgminer_server, tcp_server
from firmware_bridge.emulator.cgminer_server import CgminerServer


def make(*, writable: bool = False) -> CgminerServer:
    commands = {
        "summary": lambda _: Reply("S", Code.SUMMARY, "Summary", "SUMMARY", [{"Elapsed": 7}]),
        "pools": lambda _: Reply("S", Code.POOLS, "0 Pool(s)", "POOLS", []),
        "switchpool": lambda p: Reply("S", Code.SWITCHED_POOL, f"Switching to pool {p}"),
        "devdetails": lambda _: Reply("S", Code.DEVDETAILS, "Device Details", "DEVDETAILS", []),
    }
    closed = frozenset() if writable else frozenset({"devdetails"})
    return CgminerServer(commands, "bmminer 1.0.0", VirtualClock(), writable=writable, closed_to_all=closed)


def code(server: CgminerServer, request: bytes) -> tuple[str, int | None]:
    status = decode_answer(server.answer(request)).status
    assert status is not None
    return status.letter, status.code


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (b'{"command":"summary"}', ("S", 11)),
        (b'{"command":"nonsense"}', ("E", 14)),
        (b'{"command":}', ("E", 23)),
        (b'\0{"command":}', ("E", 23)),
        (b'{"cmd":"summary"}', ("E", 24)),
        (b'{"command":"devdetails"}', ("E", 45)),
    ],
)
def test_answers_carry_the_codes_of_cgminer(request_: bytes, expected: tuple[str, int]) -> None:
    assert code(make(), request_) == expected


@pytest.mark.parametrize("command", sorted(PRIVILEGED))
def test_a_privileged_command_is_refused_whether_it_exists_or_not(command: str) -> None:
    answer = decode_answer(make().answer(encode_request(command, "0")))
    assert answer.status is not None
    assert (answer.status.letter, answer.status.code) == ("E", 45)
    assert answer.status.message == f"Access denied to '{command}' command"


def test_an_allowed_caller_may_write_and_zero_is_a_parameter() -> None:
    answer = decode_answer(make(writable=True).answer(b'{"command":"switchpool","parameter":0}'))
    assert answer.status is not None
    assert answer.status.message == "Switching to pool 0"
    assert code(make(writable=True), b'{"command":"devdetails"}') == ("S", 69)


def test_joined_commands_are_answered_side_by_side_and_write_nothing() -> None:
    answers = decode_joined(make(writable=True).answer(b'{"command":"summary+switchpool+none"}'))
    assert answers["summary"].rows("SUMMARY") == ({"Elapsed": 7},)
    codes = {name: answer.status.code for name, answer in answers.items() if answer.status}
    assert codes == {"summary": 11, "switchpool": 45, "none": 14}


def test_a_command_that_is_asked_for_many_times_is_answered_once() -> None:
    body = make().answer(b'{"command":"' + b"+".join([b"summary"] * 900) + b'"}')
    assert json.loads(body.rstrip(b"\0")).keys() == {"summary", "id"}


def test_text_is_answered_with_text() -> None:
    assert make().answer(b"summary\n") == (
        b"STATUS=S,When=1700000000,Code=11,Msg=Summary,Description=bmminer 1.0.0|SUMMARY,Elapsed=7|\0"
    )
    assert make().answer(b"switchpool|1").startswith(b"STATUS=E,When=1700000000,Code=45,")


@pytest.mark.parametrize(
    ("command", "exists", "access"),
    [("summary", "Y", "Y"), ("devdetails", "Y", "N"), ("switchpool", "Y", "N"), ("nonsense", "N", "N")],
)
def test_check_tells_what_a_caller_may_do(command: str, exists: str, access: str) -> None:
    answer = decode_answer(make().answer(encode_request("check", command)))
    assert answer.status is not None
    assert answer.status.code == 72
    assert answer.rows("CHECK") == ({"Exists": exists, "Access": access},)


async def test_a_request_in_two_segments_is_answered_after_the_first() -> None:
    server = make()
    port = await server.start("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b'{"command":')
    async with asyncio.timeout(30):
        answer = decode_answer(await reader.read())
    writer.close()
    await server.stop()
    assert answer.status is not None
    assert answer.status.code == 23


async def test_who_says_nothing_is_sent_away_and_others_are_served_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cgminer_server, "READ_TIMEOUT_S", 1.0)
    server = make()
    port = await server.start("127.0.0.1", 0)
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
    assert (await CgminerPort("127.0.0.1", port, timeout_s=30.0).ask("summary")).rows("SUMMARY")
    async with asyncio.timeout(30):
        assert [await reader.read() for reader, _ in silent] == [b""] * 5
    for _, writer in silent:
        writer.close()
    await server.stop()


async def test_beyond_its_connections_it_hangs_up_and_recovers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp_server, "CONNECTIONS", 2)
    server = make()
    port = await server.start("127.0.0.1", 0)
    waiting = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
    async with asyncio.timeout(30):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b""
        writer.close()
        for reader, writer in waiting:
            writer.write(b"summary")
            assert b"Elapsed=7" in await reader.read()
            writer.close()
        assert (await CgminerPort("127.0.0.1", port).ask("summary")).rows("SUMMARY")
    await server.stop()


async def test_a_stopped_server_lets_go_of_its_port_and_its_callers() -> None:
    server = make()
    port = await server.start("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await server.stop()
    async with asyncio.timeout(30):
        with contextlib.suppress(ConnectionError):  # hung up at once
            assert await reader.read() == b""
    writer.close()
    again = make()
    assert await again.start("127.0.0.1", port) == port
    await again.stop()
