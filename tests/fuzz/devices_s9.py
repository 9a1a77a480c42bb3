"""Fuzzing of the cgminer API and of the emulated S9's two servers: whatever comes, an answer or the error agreed on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from firmware_bridge.clock import VirtualClock
from firmware_bridge.devices import cgminer_api, s9_fields
from firmware_bridge.emulator.http_server import DigestAuth, HttpAnswer, HttpRequest, HttpServer
from firmware_bridge.emulator.s9_api import S9Face
from firmware_bridge.errors import ProtocolError

_SAMPLES = json.loads((Path(__file__).parents[1] / "vectors" / "s9_api.json").read_text())
ANSWERS = (
    *(_SAMPLES[name].encode() + b"\0" for name in ("version", "summary", "pools", "stats")),
    b'{"STATUS":[{"STATUS":"E","When":1,"Code":45,"Msg":"Access denied","Description":"bmminer"}],"id":1}\0',
    b'{"summary":[{"STATUS":[{"STATUS":"S"}],"SUMMARY":[{"GHS 5s":""}]}],"id":1}\0',
    b'{"STATUS":"RESTART"}\0',
    b'{"POOLS":[,{"POOL":0,},{}{"URL":null}]}',
)
REQUESTS = (
    b'{"command":"summary"}',
    b'{"command":"summary+stats+pools","parameter":0}',
    b'{"command": "addpool", "parameter": "stratum+tcp://h:3333,us\\\\,er,pa\\\\\\\\ss"}',
    b'{"command":"switchpool","parameter":"1"}',
    b'{"command":"removepool","parameter":1}',
    b"addpool|stratum+tcp://h:3333,user,pass",
    b"disablepool|0\n",
    b"check|summary",
)
HTTP_REQUESTS = (
    b"GET /cgi-bin/get_miner_conf.cgi?x=1 HTTP/1.1\r\nHost: s9\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: s9\r\nConnection: close\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    b"POST /cgi-bin/set_miner_conf.cgi HTTP/1.1\r\nHost: s9\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    b"Content-Length: 69\r\n\r\n_ant_pool1url=stratum%2Btcp%3A%2F%2Fh%3A3333&_ant_freq=550&_ant_pool1user=u",
    b"PATCH /x HTTP/1.1\r\nHost: s9\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{} \r\n0\r\n\r\n",
    b'GET /closed HTTP/1.1\r\nHost: s9\r\nAuthorization: Digest username="root", nonce="1", uri="/closed"\r\n\r\n',
)


def check_answer(data: bytes) -> None:
    """A driver reads any answer, or says that it is none."""
    for decode in (cgminer_api.decode_answer, cgminer_api.decode_joined):
        try:
            found = decode(data)
        except ProtocolError as error:
            if len(str(error)) > 1200:
                raise AssertionError("an error text as long as what came") from error
            continue
        for answer in found.values() if isinstance(found, dict) else (found,):
            stats = s9_fields.stats_row(answer)
            assert all(board.board in range(1, 17) for board in s9_fields.boards_of(stats))
            assert len(s9_fields.pools_of(answer)) == len(answer.rows("POOLS"))
            assert all(isinstance(v, str) for v in s9_fields.settings_form(stats).values())
            assert answer.raw == data


def check_request(data: bytes) -> None:
    """A server answers any request, and a recorder keeps no more than came."""
    faces = [
        S9Face(VirtualClock(), np.random.default_rng(0), {"writable": writable}) for writable in (False, True)
    ]
    for face in faces:
        face.machine.stored.pool_host, face.machine.stored.pool_port = "127.0.0.1", 3333
        answer = face.api.answer(data)
        assert answer.endswith(b"\0")
        assert len(answer) < 40 * len(data) + 20_000
        request = cgminer_api.decode_request(data)
        if isinstance(request, cgminer_api.Request) and request.as_json:
            cgminer_api.decode_joined(answer)
    kept = cgminer_api.redact(data)
    assert cgminer_api.redact(kept) == kept


async def _handler(request: HttpRequest) -> HttpAnswer:
    if request.path == "/closed":
        refused = _DIGEST.refuse(request)
        if refused is not None:
            return refused
    request.json()
    face = S9Face(VirtualClock(), np.random.default_rng(0), {})
    return face._store(request) if request.method == "POST" else HttpAnswer.of(dict(request.query))


_DIGEST = DigestAuth("realm", "root", "root")
_LOOP = asyncio.new_event_loop()


class _Transport(asyncio.Transport):
    """Swallows what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += len(data)

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        return

    def abort(self) -> None:
        return


def check_http(data: bytes) -> None:
    """The emulated devices' web server serves, refuses or hangs up."""
    server = HttpServer(_handler)

    async def converse() -> int:
        reader = asyncio.StreamReader(loop=_LOOP)
        transport = _Transport()
        protocol = asyncio.StreamReaderProtocol(reader, loop=_LOOP)
        reader.feed_data(data)
        reader.feed_eof()
        await server._serve(reader, asyncio.StreamWriter(transport, protocol, reader, _LOOP))
        return transport.written

    assert _LOOP.run_until_complete(converse()) < 20 * len(data) + 20_000
    assert not server._open


DEVICES_S9: list[tuple[str, tuple[bytes, ...], Callable[[bytes], None], float]] = [
    ("cgminer answer", ANSWERS, check_answer, 0.3),
    ("cgminer request", REQUESTS, check_request, 0.2),
    ("device web request", HTTP_REQUESTS, check_http, 0.2),
]
"""Name, corpus, check and weight of each target."""
