"""What is fuzzed: for each parser a corpus of valid inputs and what must hold for any input at all."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass

from firmware_bridge import headers
from firmware_bridge.stratum import lines, wire
from tests.fuzz.bus import BUS
from tests.fuzz.devices_axeos import AXEOS
from tests.fuzz.devices_s9 import DEVICES_S9
from tests.fuzz.files import FILES
from tests.fuzz.lbry import LBRY
from tests.fuzz.mqtt import MQTT
from tests.fuzz.recorder import RECORDER
from tests.fuzz.serial import SERIAL
from tests.fuzz.sessions import CONVERSATIONS, check_conversation
from tests.fuzz.upstream import UPSTREAM


@dataclass(frozen=True)
class Target:
    """`check` takes any bytes and raises only where the parser broke its word.

    A target that costs more per input gets fewer: `weight` times as many as the others.
    """

    name: str
    corpus: tuple[bytes, ...]
    check: Callable[[bytes], None]
    weight: float = 1.0


CLIENT_LINES = (
    b'{"id":1,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"ffffffff"}]}',
    b'{"id":2,"method":"mining.subscribe","params":["bitaxe/BM1366/v2.1.8"]}',
    b'{"id":"a","method":"mining.subscribe","params":["bmminer/2.0.0 asiclab-emulator scale=2^-20",null]}',
    b'{"id":3,"method":"mining.authorize","params":["worker.1","secret"]}',
    b'{"id":4,"method":"mining.suggest_difficulty","params":[256]}',
    b'{"id":5,"method":"mining.extranonce.subscribe","params":[]}',
    b'{"id":6,"method":"mining.submit","params":["w","19a18","20010000","69637392","8b7746ab"]}',
    b'{"id":7,"method":"mining.submit","params":["w","1","20010000","69637392","8b7746ab","00012000"]}',
    b'{"method": "mining.submit", "id": null, "params": ["w", "1", "20010000", "69637392", "8b7746ab"]}',
    b'{"id":8,"method":"mining.ping","params":[]}',
    b'{"id":9,"result":"pong","error":null}',
    b'{"id":9,"method":"pong","params":[]}',
    b'{"id":10,"result":{"version":"x"},"error":[20,"no",null]}',
)
SERVER_LINES = (
    b'{"id":1,"result":[[["mining.set_difficulty","s1"],["mining.notify","s2"]],"0000ffff",4],"error":null}',
    b'{"id":2,"result":{"version-rolling":true,"version-rolling.mask":"1fffe000"},"error":null}',
    b'{"id":null,"method":"mining.set_difficulty","params":[0.0001]}',
    b'{"id":null,"method":"mining.set_version_mask","params":["1fffe000"]}',
    b'{"id":null,"method":"mining.notify","params":["1","' + b"00" * 32 + b'","01","02",["' + b"11" * 32
    + b'"],"20000000","1d00ffff","69637392",true]}',
    b'{"id":3,"result":null,"error":[21,"stale",null]}',
    b'{"id":null,"method":"client.reconnect","params":["host",3333,1]}',
)  # fmt: skip


def check_client_line(data: bytes) -> None:
    for line in data.split(b"\n"):
        try:
            message = wire.decode_client(line)
        except wire.WireError as error:
            reply = wire.encode_error(error.id, error.code, error.text)
        else:
            reply = wire.encode_result(message.id or b"null", True)
        answer = json.loads(reply)
        assert reply.count(b"\n") == 1
        assert not isinstance(answer["id"], float | bool | list | dict)
        assert len(reply) < 1000


def check_submit_block(data: bytes) -> None:
    submits = wire.decode_submits(data)
    if submits is None:
        return
    assert isinstance(submits, list)
    for submit in submits:
        assert all(isinstance(parameter, str) for parameter in submit.params)


def check_server_line(data: bytes) -> None:
    try:
        message = wire.decode_server(data)
        if isinstance(message, wire.ServerCall):
            wire.notify_job(message.params, extranonce1="0000ffff")
    except wire.WireError:
        pass


def check_splitter(data: bytes) -> None:
    limit = 512
    splitter, out, at, step = lines.LineSplitter(limit), b"", 0, 1 + len(data) % 97
    try:
        while at < len(data):
            out += splitter.feed(data[at : at + step])
            assert splitter.pending <= limit
            at += step
    except lines.WireError:
        assert max(len(line) for line in data.split(b"\n")) >= limit
        return
    assert out + data[len(out) :] == data
    assert out.endswith(b"\n") or not out
    assert data[len(out) :].count(b"\n") == 0
    assert max(len(line) for line in data.split(b"\n")) <= limit


def check_user_agent(data: bytes) -> None:
    agent = data.decode("utf-8", "replace")
    try:
        scale = lines.scale_from_user_agent(agent)
    except lines.WireError:
        scale = None
    if scale is not None:
        assert 0 < scale < math.inf
        assert lines.scale_from_user_agent(f"x {lines.scale_token(scale)}") == scale
    kept = lines.clean_text(agent)
    assert kept.isprintable()
    assert len(kept) < 128 * 10 + 40


def check_header_fields(data: bytes) -> None:
    fields = data.decode("utf-8", "replace").split(",")
    names = ("prevhash", "coinb1", "coinb2", "version", "nbits", "ntime", "extranonce1")
    values = dict(zip(names, [*fields, *[""] * len(names)], strict=False))
    job = headers.Job("j", merkle_branch=(), version_mask=0x1FFFE000, **values)  # type: ignore[arg-type]
    rest = [*fields[7:], "", "", ""]
    try:
        verified = headers.verify(job, headers.Share("j", rest[0], values["ntime"], rest[1], rest[2] or None))
    except ValueError as error:
        if len(str(error)) > 400:
            raise AssertionError(f"an error text of {len(str(error))} characters") from error
        return
    assert len(verified.header) == 80
    assert headers.parse_header(verified.header).nonce == rest[1].lower()


TARGETS = [
    Target("client line", CLIENT_LINES, check_client_line),
    Target("submit block", (b"\n".join(CLIENT_LINES[6:9]), *CLIENT_LINES[6:9]), check_submit_block),
    Target("server line", SERVER_LINES, check_server_line),
    Target("line splitter", (b"\n".join(CLIENT_LINES) + b"\n", b"x" * 511 + b"\n", b"\n\n"), check_splitter),
    Target(
        "user agent",
        (b"bmminer/2.0.0 asiclab-emulator scale=2^-20", b"cgminer/LV06 scale=0.001", b"cpuminer/2.5.1"),
        check_user_agent,
    ),
    Target(
        "header fields",
        (
            b"00" * 32 + b",01,02,20000000,1d00ffff,69637392,0000ffff,20010000,8b7746ab,00002000",
            b"ab" * 32 + b",,,20000000,1d00ffff,69637392,,,8b7746ab,",
        ),
        check_header_fields,
    ),
    Target("conversation", CONVERSATIONS, check_conversation, weight=0.2),
    *(Target(name, corpus(), check, weight) for name, corpus, check, weight in AXEOS),
    *(Target(name, corpus(), check, weight=0.02) for name, corpus, check in FILES),
    *(Target(name, corpus, check) for name, corpus, check in SERIAL),
    *(
        Target(name, corpus, check, weight)
        for name, corpus, check, weight in (*DEVICES_S9, *LBRY, *RECORDER, *MQTT, *BUS, *UPSTREAM)
    ),
]
