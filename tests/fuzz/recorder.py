"""Mutated conversations through the filters of the flight recorder, with secrets planted among them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from firmware_bridge.stratum import wire
from firmware_bridge.trace.provenance import HIDDEN, redact_text
from firmware_bridge.trace.redaction import Filter, StratumLines, filters_for, http_body, http_message
from firmware_bridge.trace.secret_json import hide_in_json, is_json

SECRET = b"Sesame-4711"
LINES = (
    b'{"id":1,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"ffffffff"}]}\n',
    b'{"id":2,"method":"mining.subscribe","params":["bitaxe/BM1366/v2.1.8"]}\n',
    b'{"id":3,"method":"mining.authorize","params":["worker.1","x"]}\r\n',
    b'{"params":["worker@home","x"],"id":1e3,"method":"mining.authorize","extra":{"token":"y","a":[1,-0.5]}}\n',
    b'{"id":6,"method":"mining.submit","params":["w@h","1","20010000","69637392","8b7746ab","00012000"]}\n',
    b'{"id":null,"method":"mining.notify","params":["1","00","01","02",[],"20000000","1d00ffff","6963",true]}\n',
    b"{'id': 3, 'method': 'mining.authorize', 'params': ['w', 'x']}\n",
)
PLANTED = (
    b'{"id":3,"method":"mining.authorize","params":["w.1","%s"]}\n',
    b'{"params": ["w.1", "%s"], "id": 3, "method": "mining.authorize"}\r\n',
    b'{"method":"mining.\\u0061uthorize",\r"params":["w",["%s"]]}\n',
    b'{"id":1,"method":"eth_submitLogin","params":["0x1","%s"]}\n',
    b'{"id":1,"method":"x","params":[],"stratum_pass":"%s"}\n',
)
MESSAGES = (
    b"GET /user/login?username=admin&password=x&cipher=false HTTP/1.1\r\nuser-agent: a\r\n\r\n",
    b"HTTP/1.1 200\r\ncontent-type: application/json\r\ncontent-length: 3\r\n\r\n"
    b'{"JWT Token":"x","hashRate":428.7,"fanSpeed":5200,"pools":[{"url":"u","user":"a@b","pass":"x"}]}',
    b"POST /c.cgi HTTP/1.1\r\ncontent-type: application/x-www-form-urlencoded\r\n\r\n_ant_pool1url=u&_ant_pool1pw=x",
    b'HTTP/1.1 200\r\n\r\n{"stratumPassword":"x","a":NaN,"wifiPass":12',
    b"HTTP/1.1 200\r\ncontent-type: text/html\r\n\r\n<html><title>Lucky miner</title></html>",
)
PLANTED_MESSAGES = (
    b"GET /user/login?username=admin&password=%s&cipher=false HTTP/1.1\r\n\r\n",
    b"GET /a HTTP/1.1\r\nAuthorization: Bearer %s\r\nx-api-key: %s\r\n\r\n",
    b'HTTP/1.1 200\r\n\r\n{"JWT Token":"%s"}',
    b'PUT /p HTTP/1.1\r\n\r\n{"url":"u","pass":"%s","deep":[{"wifi_pw":"%s"}]}',
    b'HTTP/1.1 200\r\n\r\n{"stratumPassword":"%s","x":NaN}',
)
ANSWERS = (
    b'{"STATUS":[{"STATUS":"S","When":1,"Code":11,"Msg":"Summary","Description":"c"}],"SUMMARY":[{"GHS 5s":"1"}]}\0',
    b'{"STATUS":[{"STATUS":"E","Code":45,"Msg":"Access denied to \'addpool\' command"}],"id":1}\0',
    b'{"command":"summary"}',
    b'{"command":"addpool","parameter":"u,w,x"}',
    b"addpool|u,w,x",
)
PLANTED_API = (
    b'{"command":"addpool","parameter":"u,w\\\\,v,%s"}',
    b'{"parameter": "u,w,%s", "command": "addpool"}',
    b"addpool|u,w,%s",
    b'{"STATUS":[{"STATUS":"E","Code":53,"Msg":"Invalid addpool details \'u,%s,w,x\'"}],"id":1}\0',
)


def in_pieces(data: bytes, salt: bytes) -> list[bytes]:
    """Some cut of the data that depends on nothing but the bytes given."""
    pieces, at, state = [], 0, len(salt) * 2654435761 + sum(salt)
    while at < len(data):
        state = (state * 1103515245 + 12345) % 2**31
        step = 1 + (state >> 16) % 23
        pieces.append(data[at : at + step])
        at += step
    return pieces


def through(keep: Filter, pieces: list[bytes]) -> bytes:
    """What a filter lets out."""
    return b"".join([*map(keep.feed, pieces), keep.end()])


def meaning(line: bytes) -> object:
    """What the bridge reads in a line, without passwords."""
    try:
        message = wire.decode_client(line)
    except wire.WireError as error:
        return error.code
    if isinstance(message, wire.Authorize):
        return (message.id, redact_text(message.user), message.password is None)
    return type(message), message.id


def check_stratum(data: bytes) -> None:
    kept = through(StratumLines(), [data])
    assert short(through(StratumLines(), in_pieces(data, data))) == short(kept)
    assert through(StratumLines(), [kept]) == kept or b"***" in kept
    *lines, _ = data.split(b"\n")
    *kept_lines, _ = kept.split(b"\n")
    assert len(lines) == len(kept_lines)
    for line, kept_line in zip(lines, kept_lines, strict=True):
        if is_utf8(line) and shallow(line):
            assert meaning(line) == meaning(kept_line), (line, kept_line)
    for number, template in enumerate(PLANTED):
        plain = template.replace(b"%s", SECRET)
        cut = plain[: 1 + (len(data) * 31 + number) % len(plain)]
        for stream in (data + b"\n" + plain + data, data + plain, data + b"\n" + cut):
            if SECRET not in data:
                found = through(StratumLines(), in_pieces(stream, data + template))
                assert SECRET not in found, found
                assert b"esame-471" not in found, found


def short(kept: bytes) -> bytes:
    """With one length for all lines that were too long: what had come by then is counted, a CR perhaps among it."""
    return re.sub(rb"\*{16384,}\r?", b"*", kept)


def is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def shallow(line: bytes) -> bool:
    """Whether no parser of JSON stops at its depth."""
    return line.count(b"[") + line.count(b"{") < 32


def check_http(data: bytes) -> None:
    kept = http_message(data)
    assert http_message(kept) == kept
    body = data.partition(b"\r\n\r\n")[2]
    kept_body = http_body(body)
    assert http_body(kept_body) == kept_body
    hidden = hide_in_json(body)
    if hidden is not None:
        assert is_json(hidden)
        assert hide_in_json(hidden) == hidden
    head = data.partition(b"\r\n\r\n")[0]
    for template in PLANTED_MESSAGES:
        plain = template.replace(b"%s", SECRET)
        if SECRET in data:
            continue
        assert SECRET not in http_message(plain)
        start, _, rest = plain.partition(b"\r\n")
        lines = head.replace(b"\r\n", b" ")
        assert SECRET not in http_message(start + b"\r\n" + b"x-other: " + lines + b"\r\n" + rest)
        if SECRET in rest.partition(b"\r\n\r\n")[2]:
            assert SECRET not in http_message(plain[: 1 + len(data) % len(plain)])


def check_api(data: bytes) -> None:
    for number in (0, 1):
        kept = through(filters_for("cgminer://h:4028")[number], [data])
        again = through(filters_for("cgminer://h:4028")[number], [kept])
        assert again == kept or HIDDEN.encode() in kept
    if SECRET in data:
        return
    for template in PLANTED_API:
        plain = template.replace(b"%s", SECRET)
        side = 0 if b"STATUS" in plain else 1
        found = through(filters_for("cgminer://h:4028")[side], in_pieces(plain, data))
        assert SECRET not in found, found
        if is_json(plain.rstrip(b"\0")):
            assert json.loads(found.rstrip(b"\0"))
            cut = plain[: 1 + len(data) % len(plain)]
            assert SECRET not in through(filters_for("cgminer://h:4028")[side], in_pieces(cut, data))


RECORDER: list[tuple[str, tuple[bytes, ...], Callable[[bytes], None], float]] = [
    ("recorder Stratum filter", (*LINES, b"".join(LINES)), check_stratum, 0.1),
    ("recorder HTTP filter", MESSAGES, check_http, 0.2),
    ("recorder API filter", ANSWERS, check_api, 0.2),
]
