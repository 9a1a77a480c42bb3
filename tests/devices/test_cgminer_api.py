"""The codec of the cgminer API: samples that it did not make, both forms, mending, and what a recorder may keep."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.devices.cgminer_api import (
    ANSWER_LIMIT,
    Code,
    Reply,
    Request,
    decode_answer,
    decode_joined,
    decode_pool,
    decode_request,
    encode_pool,
    encode_replies,
    encode_request,
    fixed,
    redact,
    repair,
)
from firmware_bridge.devices.cgminer_port import CgminerPort
from firmware_bridge.errors import DeviceError, ProtocolError

SAMPLES = json.loads((Path(__file__).parents[1] / "vectors" / "s9_api.json").read_text())
REFUSED = (
    b'{"STATUS":[{"STATUS":"E","When":1767225606,"Code":45,"Msg":"Access denied to \'switchpool\' command",'
    b'"Description":"bmminer 1.0.0"}],"id":1}\0'
)


# ---- answers that this codec did not make ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "code", "section", "rows"),
    [
        ("version", 22, "VERSION", 1),
        ("summary", 11, "SUMMARY", 1),
        ("pools", 7, "POOLS", 1),
        ("stats", 70, "STATS", 2),
    ],
)
def test_samples_are_read_with_their_status(command: str, code: int, section: str, rows: int) -> None:
    data = SAMPLES[command].encode() + b"\0"
    answer = decode_answer(data)
    assert answer.status is not None
    assert (answer.status.letter, answer.status.code, answer.status.ok) == ("S", code, True)
    assert len(answer.rows(section)) == rows
    assert answer.raw == data
    assert answer.repaired is (command == "stats")


def test_a_refusal_is_read_as_one() -> None:
    status = decode_answer(REFUSED).status
    assert status is not None
    assert (status.letter, status.code, status.ok, status.when) == (
        "E",
        Code.ACCESS_DENIED,
        False,
        1767225606,
    )


@pytest.mark.parametrize("word", ["RESTART", "BYE"])
def test_the_last_words_of_a_miner_are_an_answer(word: str) -> None:
    data = b'{"STATUS":"%b"}\0' % word.encode()
    status = decode_answer(data).status
    assert status is not None
    assert (status.letter, status.ok) == (word, True)
    encoded = encode_replies({"x": Reply(word, 0, "")}, as_json=True, joined=False, description="d", when=1)
    assert json.loads(encoded.rstrip(b"\0")) == {"STATUS": word}


def test_joined_commands_come_apart() -> None:
    inner = {name: SAMPLES[name] for name in ("summary", "stats")}
    data = (
        "{" + ",".join(f'"{name}":[{text}]' for name, text in inner.items()) + ',"id":1}'
    ).encode() + b"\0"
    answers = decode_joined(data)
    assert set(answers) == {"summary", "stats"}
    assert answers["summary"].rows("SUMMARY")[0]["Elapsed"] == 7240
    assert answers["stats"].rows("STATS")[1]["fan3"] == 5760


@pytest.mark.parametrize(
    ("broken", "mended"),
    [
        ('{"a":[{"b":1}{"c":2}]}', {"a": [{"b": 1}, {"c": 2}]}),
        ('{"a":[{"b":1} \n {"c":2}]}', {"a": [{"b": 1}, {"c": 2}]}),
        ('{"a":[,{"b":1}]}', {"a": [{"b": 1}]}),
        ('{"a":[{"b":1,},]}', {"a": [{"b": 1}]}),
        ('{"a":"}{ [,{ ,}","b":[{}{}]}', {"a": "}{ [,{ ,}", "b": [{}, {}]}),
        ('{"a":"\\"}{","b":[{}{}]}', {"a": '"}{', "b": [{}, {}]}),
    ],
)
def test_broken_json_is_mended_outside_of_strings_only(broken: str, mended: dict[str, Any]) -> None:
    assert json.loads(repair(broken)) == mended


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda c: st.lists(c) | st.dictionaries(st.text(), c),
    )
)
def test_mending_leaves_json_as_it_is(value: Any) -> None:
    text = json.dumps({"value": value}, ensure_ascii=False)
    assert repair(text) == text


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"[]", b"null", b'"x"', b"{", b"\xff\xfe", b"<html></html>", b"[" * 100_000]
)
def test_what_is_no_json_object_is_a_protocol_error_that_shows_bytes(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="no JSON object") as caught:
        decode_answer(data)
    assert len(str(caught.value)) < 1000


@pytest.mark.xdist_group("timing")
@pytest.mark.parametrize("filler", [b'\\"', b"[,", b", ", b"}\n", b'"', b"{ "])
def test_the_time_to_read_a_hostile_answer_grows_with_its_length_only(filler: bytes) -> None:
    data = b'{"a":' + filler * ((ANSWER_LIMIT - 10) // len(filler))
    start = time.process_time()
    with pytest.raises(ProtocolError):
        decode_answer(data)
    assert time.process_time() - start < 30.0  # a quadratic reader takes hours


# ---- requests --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "request_"),
    [
        (b'{"command":"summary"}', Request(("summary",), None, True)),
        (b'{"command":"switchpool","parameter":"0"}', Request(("switchpool",), "0", True)),
        (b'{"command":"switchpool","parameter":0}', Request(("switchpool",), "0", True)),
        (b'{"command":"summary+devs","parameter":""}\0', Request(("summary", "devs"), "", True)),
        (b"summary", Request(("summary",), None, False)),
        (b"switchpool|1\n", Request(("switchpool",), "1", False)),
        (b"summary+pools\0", Request(("summary", "pools"), None, False)),
        (b'{"command":', Code.INVALID_JSON),
        (b'{"comand":"summary"}', Code.NO_COMMAND),
        (b'{"command":7}', Code.NO_COMMAND),
        (b'{"command":""}', Code.INVALID_COMMAND),
        (b"", Code.INVALID_COMMAND),
        (b"+|x", Code.INVALID_COMMAND),
    ],
)
def test_requests_are_read_in_both_forms(data: bytes, request_: Request | Code) -> None:
    assert decode_request(data) == request_


@given(st.from_regex(r"[a-z]+(\+[a-z]+)*", fullmatch=True), st.none() | st.text())
def test_a_request_comes_back_as_it_was_sent(command: str, parameter: str | None) -> None:
    assert decode_request(encode_request(command, parameter)) == Request(
        tuple(command.split("+")), parameter, True
    )


@given(st.lists(st.text(), min_size=3, max_size=3))
def test_a_pool_comes_back_whatever_its_parts_hold(parts: list[str]) -> None:
    assert decode_pool(encode_pool(*parts)) == parts


# ---- what a server says ----------------------------------------------------------------------------------------------

VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False)
)
ROWS = st.lists(st.dictionaries(st.text(min_size=1), VALUES, max_size=5), max_size=4)


@given(rows=ROWS, defects=st.booleans(), letter=st.sampled_from("SIWE"), message=st.text())
def test_a_reply_comes_back_also_with_the_missing_comma(
    rows: list[dict[str, Any]], defects: bool, letter: str, message: str
) -> None:
    reply = Reply(letter, 70, message, "STATS", rows, joined=not defects)
    data = encode_replies({"stats": reply}, as_json=True, joined=False, description="bmminer", when=5)
    assert data.endswith(b"}\0")
    answer = decode_answer(data)
    assert answer.status is not None
    assert (answer.status.letter, answer.status.message, answer.status.when) == (letter, message, 5)
    assert list(answer.rows("STATS")) == rows
    assert answer.repaired is (defects and len(rows) > 1)


def test_numbers_have_the_places_that_cgminer_gives_them() -> None:
    reply = Reply(
        "S", 11, "Summary", "SUMMARY", [{"GHS av": fixed(13588.074, 2), "Difficulty": fixed(16384, 8)}]
    )
    data = encode_replies({"summary": reply}, as_json=True, joined=False, description="d", when=1)
    assert b'"GHS av":13588.07,"Difficulty":16384.00000000' in data


def test_the_text_form_has_bars_and_commas() -> None:
    rows = [{"POOL": 0, "User": "a,b|c", "Has Stratum": True}, {"POOL": 1, "User": "", "Has Stratum": False}]
    reply = Reply("S", 7, "2 Pool(s)", "POOL", rows)
    data = encode_replies({"pools": reply}, as_json=False, joined=False, description="bmminer 1.0.0", when=9)
    assert data == (
        b"STATUS=S,When=9,Code=7,Msg=2 Pool(s),Description=bmminer 1.0.0|"
        b"POOL=0,POOL=0,User=a\\,b\\|c,Has Stratum=true|POOL=1,POOL=1,User=,Has Stratum=false|\0"
    )


# ---- what a recorder may keep ----------------------------------------------------------------------------------------

SECRET = "tops3cret"


@given(
    url=st.text(alphabet='ab,\\|"é/:', max_size=8),
    user=st.text(alphabet='ab,\\|"é\ud83d', max_size=8),
    around=st.tuples(st.text(alphabet=',\\"|\n', max_size=3), st.text(alphabet=',\\"|\n', max_size=3)),
    cut=st.integers(0, 4),
    as_json=st.booleans(),
)
def test_no_password_of_a_pool_is_kept(
    url: str, user: str, around: tuple[str, str], cut: int, as_json: bool
) -> None:
    parameter = encode_pool(url, user, around[0] + SECRET + around[1])
    text = b"addpool|" + parameter.encode("utf-8", "surrogatepass")
    data = encode_request("addpool", parameter) if as_json else text
    kept = redact(data[: len(data) - cut])
    assert SECRET.encode() not in kept
    assert b"addpool" in kept
    if not cut and as_json:
        read = decode_request(kept)
        assert isinstance(read, Request)
        assert decode_pool(read.parameter or "") == [url, user, "***"]


@pytest.mark.parametrize(
    "data",
    [b'{"command":"summary"}', REFUSED, b"\xff\0", encode_request("addpool", "only,two"), b"addpool|x"],
)
def test_bytes_without_a_password_are_kept_as_they_are(data: bytes) -> None:
    assert redact(data) == data


# ---- transport -------------------------------------------------------------------------------------------------------


class Listener:
    """A tap that keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, bytes]] = []

    def sent(self, data: bytes) -> None:
        self.heard.append(("sent", data))

    def received(self, data: bytes, **stamps: int | None) -> None:
        self.heard.append(("received", data))


async def test_a_tap_hears_request_answer_and_end() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.read(100) == b'{"command": "version"}'
        writer.write(SAMPLES["version"].encode()[:50])
        await writer.drain()
        writer.write(SAMPLES["version"].encode()[50:] + b"\0")
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    tap = Listener()
    port = CgminerPort("127.0.0.1", server.sockets[0].getsockname()[1], tap=tap)
    answer = await port.ask("version")
    server.close()
    assert answer.rows("VERSION")[0]["Type"] == "Antminer S9"
    assert tap.heard[0] == ("sent", b'{"command": "version"}')
    assert (
        b"".join(data for way, data in tap.heard if way == "received") == SAMPLES["version"].encode() + b"\0"
    )
    assert tap.heard[-1] == ("received", b"")


@pytest.mark.parametrize(
    ("piece", "hang", "words"),
    [
        (SAMPLES["version"].encode()[:60], False, "no JSON object"),
        (
            SAMPLES["version"].encode()[:60],
            True,
            r"no whole answer within 0.3 s; 60 bytes came: b'{\"STATUS\"",
        ),
        (b"", True, r"no whole answer within 0.3 s$"),
    ],
)
async def test_half_an_answer_is_an_error_that_shows_what_came(piece: bytes, hang: bool, words: str) -> None:
    over = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(piece)
        await writer.drain()
        if hang:
            await over.wait()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = CgminerPort("127.0.0.1", server.sockets[0].getsockname()[1], timeout_s=0.3 if hang else 30.0)
    with pytest.raises(DeviceError, match=words) as caught:
        await port.ask("version")
    over.set()
    server.close()
    assert f"cgminer://127.0.0.1:{port.port}: version" in str(caught.value)


async def test_nobody_there_is_an_error_that_names_the_address() -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    number = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    with pytest.raises(DeviceError, match=f"cgminer://127.0.0.1:{number}: summary: "):
        await CgminerPort("127.0.0.1", number).ask("summary")


async def test_commands_that_a_firmware_cannot_join_are_asked_one_by_one() -> None:
    asked: list[str] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        command = json.loads(await reader.read(1000))["command"]
        asked.append(command)
        writer.write(SAMPLES.get(command, REFUSED[:-1].decode()).encode() + b"\0")
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    answers = await CgminerPort("127.0.0.1", server.sockets[0].getsockname()[1]).ask_all("summary", "pools")
    server.close()
    assert asked == ["summary+pools", "summary", "pools"]
    assert answers["pools"].rows("POOLS")[0]["User"] == "lab.s9"
