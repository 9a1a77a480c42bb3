"""The codec: every message of both directions, and what holds for any bytes at all."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.headers import Job
from firmware_bridge.stratum import wire
from firmware_bridge.stratum.lines import LineSplitter, clean_text, scale_from_user_agent, scale_token

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
METHODS = st.sampled_from(
    [
        "mining.submit",
        "mining.subscribe",
        "mining.authorize",
        "mining.configure",
        "mining.suggest_difficulty",
        "mining.extranonce.subscribe",
        "mining.ping",
        "pong",
        "x",
    ]
)
HEX8 = st.integers(0, 2**32 - 1).map("{:08x}".format)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            '{"id":1,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"ffffffff"}]}',
            wire.Configure(b"1", ["version-rolling"], {"version-rolling.mask": "ffffffff"}),
        ),
        ('{"id":1,"method":"mining.configure","params":[]}', wire.Configure(b"1", [], {})),
        (
            '{"id":2,"method":"mining.subscribe","params":["cgminer/4.9","old"]}',
            wire.Subscribe(b"2", "cgminer/4.9"),
        ),
        ('{"id":2,"method":"mining.subscribe","params":[]}', wire.Subscribe(b"2", None)),
        ('{"id":2,"method":"mining.subscribe"}', wire.Subscribe(b"2", None)),
        ('{"id":"a","method":"mining.authorize","params":["w","p"]}', wire.Authorize(b'"a"', "w", "p")),
        ('{"id":"a","method":"mining.authorize","params":["w"]}', wire.Authorize(b'"a"', "w", None)),
        ('{"id":3,"method":"mining.suggest_difficulty","params":[512]}', wire.SuggestDifficulty(b"3", 512.0)),
        ('{"method":"mining.suggest_difficulty","params":[0.5]}', wire.SuggestDifficulty(None, 0.5)),
        ('{"id":4,"method":"mining.extranonce.subscribe","params":[]}', wire.ExtranonceSubscribe(b"4")),
        (
            '{"id":5,"method":"mining.submit","params":["w","1","00","01","02","03"]}',
            wire.Submit(b"5", ["w", "1", "00", "01", "02", "03"]),
        ),
        ('{"id":6,"method":"mining.ping"}', wire.ClientPing(b"6")),
        ('{"id":6,"result":"pong","error":null}', wire.Pong(b"6")),
        ('{"id":6,"method":"pong","params":[]}', wire.Pong(b"6")),
        ('{"id":7,"result":"cgminer/4.9","error":null}', wire.Answer(b"7", "cgminer/4.9", None)),
        (
            '{"id":8,"method":"mining.get_transactions","params":["1"]}',
            wire.Unknown(b"8", "mining.get_transactions"),
        ),
    ],
)
def test_messages_of_a_client(line: str, message: wire.ClientMessage) -> None:
    assert wire.decode_client(line.encode()) == message


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "[]",
        "1",
        "null",
        '{"id":1}',
        '{"id":1,"method":5}',
        '{"id":1,"method":"mining.submit","params":{}}',
        '{"id":1,"method":"mining.submit","params":["w",1]}',
        '{"id":1,"method":"mining.subscribe","params":[5]}',
        '{"id":1,"method":"mining.authorize","params":[]}',
        '{"id":1,"method":"mining.authorize","params":["w",5]}',
        '{"id":1,"method":"mining.configure","params":["version-rolling"]}',
        '{"id":1,"method":"mining.configure","params":[["x"],[]]}',
        '{"id":1,"method":"mining.configure","params":[["x","x","x","x","x","x","x","x","x","x","x","x","x","x","x","x","x"]]}',
        '{"id":1,"method":"mining.suggest_difficulty","params":[]}',
    ],
)
def test_what_is_no_message_is_a_wire_error_with_code_20(line: str) -> None:
    with pytest.raises(wire.WireError) as caught:
        wire.decode_client(line.encode())
    assert caught.value.code == 20
    assert caught.value.id == (b"1" if '"id":1' in line else b"null")


def test_no_error_text_repeats_what_a_peer_wrote() -> None:
    for line in (
        '{"id":1,"method":"mining.authorize","params":["w",["hunter2"]]}',
        '"hunter2',
        '{"hunter2":1}',
    ):
        with pytest.raises(wire.WireError) as caught:
            wire.decode_client(line.encode())
        assert "hunter2" not in caught.value.text


def test_messages_of_the_server() -> None:
    job = Job("a1", "00" * 32, "01", "02", ("11" * 32,), "20000000", "17034219", "69637392", clean=False)
    expected = {
        wire.encode_set_difficulty(256.0): ("mining.set_difficulty", [256]),
        wire.encode_set_difficulty(0.001): ("mining.set_difficulty", [0.001]),
        wire.encode_set_version_mask(0x1FFFE000): ("mining.set_version_mask", ["1fffe000"]),
        wire.encode_set_extranonce("0000ffff", 4): ("mining.set_extranonce", ["0000ffff", 4]),
        wire.encode_notify(job): (
            "mining.notify",
            ["a1", "00" * 32, "01", "02", ["11" * 32], "20000000", "17034219", "69637392", False],
        ),
        wire.encode_show_message("hello"): ("client.show_message", ["hello"]),
        wire.encode_reconnect(): ("client.reconnect", []),
        wire.encode_reconnect("pool", 3333, 5): ("client.reconnect", ["pool", 3333, 5]),
    }
    for line, (method, params) in expected.items():
        assert line.endswith(b"}\n")
        assert line.count(b"\n") == 1
        assert json.loads(line) == {"id": None, "method": method, "params": params}
    assert json.loads(wire.encode_ping(4)) == {"id": 4, "method": "mining.ping", "params": []}
    assert json.loads(wire.encode_get_version(5)) == {"id": 5, "method": "client.get_version", "params": []}
    assert json.loads(wire.encode_error(b"9", 21, "no")) == {
        "id": 9,
        "result": None,
        "error": [21, "no", None],
    }
    assert json.loads(wire.encode_result(b'"x"', [1])) == {"id": "x", "result": [1], "error": None}
    assert b"[256]" in wire.encode_set_difficulty(256.0)
    assert wire.notify_job(json.loads(wire.encode_notify(job))["params"], extranonce1="") == job


def test_what_a_client_reads_of_a_server() -> None:
    answer = wire.decode_server(b'{"id":1,"result":null,"error":[21,"stale",null]}')
    assert answer == wire.Response(1, None, [21, "stale", None])
    call = wire.decode_server(b'{"id":null,"method":"mining.set_difficulty","params":[1]}')
    assert call == wire.ServerCall(None, "mining.set_difficulty", [1])
    for line in (b"", b"[]", b'{"id":{}}', b'{"params":1}'):
        with pytest.raises(wire.WireError):
            wire.decode_server(line)
    with pytest.raises(wire.WireError):
        wire.notify_job(["a"] * 9, extranonce1="")


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_a_wire_error(data: bytes) -> None:
    try:
        wire.decode_client(data)
    except wire.WireError as error:
        json.loads(wire.encode_error(error.id, error.code, error.text))


@given(METHODS, JSON, JSON)
def test_any_types_are_a_message_or_a_wire_error(method: str, params: object, id: object) -> None:
    line = json.dumps({"id": id, "method": method, "params": params}).encode()
    try:
        message = wire.decode_client(line)
    except wire.WireError as refused:
        echoed = refused.id
    else:
        echoed = message.id or b""
        assert json.loads(echoed) == id
    assert json.loads(echoed) in (id, None)


@given(st.integers() | st.text(max_size=15), st.text(max_size=20), HEX8, HEX8, HEX8, st.none() | HEX8)
def test_a_submit_survives_the_wire(
    id: int | str, user: str, job_id: str, ntime: str, nonce: str, bits: str | None
) -> None:
    line = wire.encode_submit(id, user, job_id, "00000001", ntime, nonce, bits)
    assert line.count(b"\n") == 1
    message = wire.decode_client(line)
    assert isinstance(message, wire.Submit)
    assert message.params == [user, job_id, "00000001", ntime, nonce, *([] if bits is None else [bits])]
    assert json.loads(message.id or b"") == id
    (fast,) = wire.decode_submits(line) or ()
    assert fast.params == message.params
    assert bytes(fast.id) == message.id  # type: ignore[arg-type]


@given(st.lists(st.binary(max_size=40).filter(lambda line: b"\n" not in line)), st.lists(st.integers(1, 30)))
def test_lines_come_out_however_the_stream_is_cut(lines: list[bytes], cuts: list[int]) -> None:
    data = b"".join(line + b"\n" for line in lines) + b"rest"
    splitter, out, at = LineSplitter(64), [], 0
    for cut in [*cuts, len(data)]:
        block = splitter.feed(data[at : at + cut])
        assert not block or block.endswith(b"\n")
        out += block.split(b"\n")[:-1]
        at += cut
    assert out == lines
    assert splitter.pending == 4


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 17))
def test_a_line_beyond_the_limit_is_refused_wherever_it_ends(before: int, extra: int, step: int) -> None:
    limit = 50
    data = b"x" * before + b"\n" + b"y" * (limit + extra) + b"\n"
    splitter = LineSplitter(limit)

    def feed_all() -> None:
        for at in range(0, len(data), step):
            splitter.feed(data[at : at + step])

    with pytest.raises(wire.WireError):
        feed_all()


@given(st.text(max_size=300))
def test_names_are_stored_printable_and_bounded(text: str) -> None:
    kept = clean_text(text, 32)
    assert kept.isprintable()
    assert len(kept) <= 32 * 10 + 30
    if len(text) <= 32 and text.isprintable():
        assert kept == text


@given(st.floats(min_value=1e-300, max_value=1e300))
def test_a_scale_survives_the_user_agent(scale: float) -> None:
    assert scale_from_user_agent(f"miner/1 {scale_token(scale)} more") == scale


def test_scale_tokens() -> None:
    assert scale_token(2.0**-20) == "scale=2^-20"
    assert scale_token(1.0) == "scale=2^0"
    assert scale_from_user_agent("bmminer/2.0.0 asiclab-emulator scale=2^-20") == 2.0**-20
    assert scale_from_user_agent("cgminer/4.9 noscale=2^-20") is None
    assert scale_from_user_agent(None) is None
    assert math.isclose(scale_from_user_agent("x scale=0.125") or 0, 0.125)
