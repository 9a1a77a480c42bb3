"""What the flight recorder lets through: everything but secrets, and it parses as it did."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.devices.cgminer_api import decode_answer, encode_pool, encode_request
from firmware_bridge.errors import UserError
from firmware_bridge.stratum import lines, wire
from firmware_bridge.trace.provenance import redact_text
from firmware_bridge.trace.redaction import LINE_LIMIT, StratumLines, filters_for, http_body, http_message
from firmware_bridge.trace.secret_json import hide_in_json

SECRET = b"horse-battery-4711"


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces, at = [], 0
    for size in [*sizes, len(data)]:
        pieces.append(data[at : at + size])
        at += size
    return [piece for piece in pieces if piece]


def stratum(*pieces: bytes) -> bytes:
    keep = StratumLines()
    return b"".join([*map(keep.feed, pieces), keep.end()])


def api(direction: int, *pieces: bytes) -> bytes:
    keep = filters_for("cgminer://10.0.0.7:4028")[direction]
    return b"".join([*map(keep.feed, pieces), keep.end()])


sizes = st.lists(st.integers(1, 60), max_size=12)


# ---- Stratum ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b'{"method":"mining.authorize",\r"params":["w","%s"]}\n',
        b'{"id":1,"method":"mining.authorize","params":["w",["%s"]]}\n',
        b'{"id":1,"method":"mining.authorize","params":{"user":"w","x":"%s"}}\n',
        b'{"id":1,"method":"mining.\\u0061uthorize","params":["w","x","%s"]}\n',
        b'{"id":1,"method":"Mining.Authorize","params":["w","%s"]}\n',
        b'{"id":1,"method":"eth_submitLogin","params":["0x1","%s"]}\n',
        b'[{"id":1,"method":"mining.authorize","params":["w","%s"]}]\n',
        b'{"id":1,"method":"x","pass":"%s","pass":""}\n',
        b'{"params":["w","%s"],"method":"mining.auth',
        b'{"params":["w","%s',
        b'{\n"method": "mining.authorize",\n"params": ["w", "%s"]\n}\n',
        b"{'params': ['w', '%s'], 'method': 'mining.authorize'}\n",
        b'x"{"params":["w","%s"',
        b'{"method":"mining.authorize","params":["w","' + b"a" * LINE_LIMIT + b'%s"]}\n',
        b'{"id":1,"method":"mining.subscribe","params":["a stratum+tcp://me:%s@host"]}\n',
    ],
)
@given(sizes=sizes)
def test_no_form_of_a_login_passes_however_it_is_cut(data: bytes, sizes: list[int]) -> None:
    kept = stratum(*cut(data.replace(b"%s", SECRET), sizes))
    assert SECRET not in kept
    assert SECRET[6:13] not in kept
    assert kept.count(b"\n") == data.count(b"\n")


@pytest.mark.parametrize(
    "line",
    [
        b'{"id": 6,  "method":"mining.submit","params":["w","1","20010000","69637392","8b7746ab"]}\r\n',
        b'{"id":1e3,"method":"mining.subscribe","params":["bitaxe/BM1366/v2.1.8"]}\n',
        b'{"id":null,"method":"mining.set_difficulty","params":[0.0001]}\n',
        b'{"id":6,"method":"mining.submit","params":["w","1",20010000\n',
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\n",
        b"\r\n",
    ],
)
def test_lines_without_secrets_pass_byte_for_byte(line: bytes) -> None:
    assert stratum(line) == line
    assert stratum(line[:-1]) == line[:-1]


def test_numbers_and_ids_of_a_line_with_a_secret_stay_as_they_were_written() -> None:
    kept = stratum(
        b'{"id":1e400,"method":"mining.authorize","params":["w@h","x"],"n":[1.50,-0,{"a":"\xc3\xa9"}]}\n'
    )
    assert (
        kept
        == b'{"id":1e400,"method":"mining.authorize","params":["w@h","***"],"n":[1.50,-0,{"a":"\xc3\xa9"}]}\n'
    )


@pytest.mark.parametrize("password", ["12", "null", '"x"', '""', '["x"]', '{"a":1}', "true"])
def test_a_login_stays_right_or_wrong(password: str) -> None:
    line = f'{{"id":1,"method":"mining.authorize","params":["w",{password}]}}'.encode()
    kept = stratum(line + b"\n").rstrip(b"\n")
    try:
        before = wire.decode_client(line)
    except wire.WireError as error:
        with pytest.raises(wire.WireError, match=error.text.replace("[", r"\[")):
            wire.decode_client(kept)
    else:
        after = wire.decode_client(kept)
        assert isinstance(before, wire.Authorize)
        assert isinstance(after, wire.Authorize)
        assert (after.id, after.user) == (before.id, before.user)


@given(
    st.integers(LINE_LIMIT - 40, LINE_LIMIT + 40), st.booleans(), st.lists(st.integers(1, 9000), max_size=6)
)
def test_a_parser_stops_at_a_line_that_is_too_long_as_the_bridge_did(
    size: int, ends: bool, sizes: list[int]
) -> None:
    head = b'{"id":1,"method":"mining.subscribe","params":["'
    data = head + b"a" * (size - len(head) - 3) + b'"]}' + (b"\n" if ends else b"")

    def outcome(stream: list[bytes]) -> str:
        splitter = lines.LineSplitter()
        try:
            for piece in stream:
                splitter.feed(piece)
        except lines.WireError as error:
            return error.text
        return "went on"

    assert outcome([stratum(*cut(data, sizes))]) == outcome(cut(data, sizes))


def test_what_waits_is_bounded() -> None:
    keep = StratumLines()
    for _ in range(100):
        keep.feed(b"x" * 100_000)
        assert len(keep._held) <= LINE_LIMIT
    assert keep.feed(b'SECRET"]}\n{"id":9,"method":"mining.ping","params":[]}\n') == (
        b'\n{"id":9,"method":"mining.ping","params":[]}\n'
    )


# ---- HTTP ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        b"GET / HTTP/1.1\r\nx-auth-token: %s\r\nX-Api-Key: %s\r\n\r\n",
        b"GET / HTTP/1.1\r\nproxy-authorization: %s\r\ncookie: a=%s\r\n\r\n",
        b"HTTP/1.1 302\r\nlocation: /a?b=1&password=%s#x\r\n\r\n",
        b'HTTP/1.1 200\r\n\r\n{"wifiPW":"%s","wifi_pw":"%s"}',
        b'HTTP/1.1 200\r\n\r\n{"stratumPassword":"%s","a":NaN}',
        b'HTTP/1.1 200\r\n\r\n{"stratumPassword":"%s',
        b'HTTP/1.1 200\r\n\r\n{"\\u0070assword":"%s","x":[1,]}',
        b'HTTP/1.1 200\r\n\r\n[{"name":"password","value":"%s"}]',
        b'HTTP/1.1 200\r\n\r\n{"pass":["%s",{"a":"%s"}]}',
        b"HTTP/1.1 200\r\ncontent-type: text/html\r\n\r\n<input name=pass value=%s>",
        b"HTTP/1.1 200\r\ncontent-type: text/html\r\n\r\n<script>token='%s'</script>",
        b'{"password":"%s"}',
        b"HTTP/1.1 200\r\npassword=%s\r\n\r\n",
    ],
)
def test_no_secret_of_a_message_passes(message: bytes) -> None:
    kept = http_message(message.replace(b"%s", SECRET))
    assert SECRET not in kept
    assert b"***" in kept
    assert http_message(kept) == kept


def test_an_answer_in_utf_16_is_left_out_rather_than_misread() -> None:
    assert http_body('{"stratumPassword":"x"}'.encode("utf-16")) == b"***"


def test_all_but_the_secret_stays_as_it_stood() -> None:
    asked = b"GET /user/login?username=admin&password=a%26b&cipher=false&q=%20+ HTTP/1.1\r\na: b=c\r\n\r\n"
    assert http_message(asked) == asked.replace(b"a%26b", b"***")
    page = (
        b'{"power":13.20,"stratumPassword":"x","bestDiff":"1.92M","n":1e2,"list":[true,null],"frequency":485}'
    )
    assert http_body(page) == page.replace(b'"x"', b'"***"')
    broken = b'{"power":13.20, "stratumPassword":"x", "temp":NaN, "user":"bc1@home"'
    assert http_body(broken) == broken.replace(b'"x"', b'"***"')
    form = b"_ant_pool1url=a%3Ab&_ant_pool1user=me%40home&_ant_pool1pw=x+y&_ant_freq=550"
    assert http_body(form, "application/x-www-form-urlencoded") == form.replace(b"x+y", b"***")


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=12,
)


@given(
    json_values,
    st.sampled_from(["pass", "JWT Token", "wifiPW", "stratumPassword", "api_key"]),
    st.integers(0, 3),
)
def test_json_keeps_everything_but_the_values_of_secret_keys(value: object, key: str, depth: int) -> None:
    planted: object = {"kept": value, key: "q7#" + SECRET.decode()}
    wanted: object = {"kept": value, key: "***"}
    for _ in range(depth):
        planted, wanted = {"a": [planted]}, {"a": [wanted]}
    kept = hide_in_json(json.dumps(planted).encode())
    assert kept is not None
    if not any(
        word in json.dumps(value).lower()
        for word in ("pass", "pw", "token", "psk", "auth", "login", "://", "=")
    ):
        assert json.loads(kept) == wanted
    assert SECRET not in kept


# ---- the API of cgminer ----------------------------------------------------------------------------------------------


@given(sizes, st.text(max_size=8))
def test_the_password_of_addpool_never_passes_in_either_direction(sizes: list[int], text: str) -> None:
    pool = encode_pool("stratum+tcp://h:3333", "me,too", SECRET.decode() + text)
    kept = api(1, *cut(encode_request("addpool", pool), sizes))
    assert SECRET not in kept
    assert json.loads(kept)["parameter"] == encode_pool("stratum+tcp://h:3333", "me,too", "***")
    assert SECRET not in api(1, *cut(b"addpool|u,w," + SECRET, sizes))
    message = json.dumps(f"Invalid addpool details '{pool}'").encode()
    answer = (
        b'{"STATUS":[{"STATUS":"E","When":1,"Code":53,"Msg":' + message + b',"Description":"c"}],"id":1}\0'
    )
    kept = api(0, *cut(answer, sizes))
    assert SECRET not in kept
    status = decode_answer(kept).status
    assert status is not None
    assert (status.code, status.message) == (53, "Invalid addpool details '***'")


@given(sizes)
def test_other_requests_and_answers_pass_byte_for_byte(sizes: list[int]) -> None:
    for text in (b'{"command":"summary+pools"}', b"summary|", b'{"command": "switchpool", "parameter": "1"}'):
        assert api(1, *cut(text, sizes)) == text
    for text in (
        b'{"STATUS":[{"STATUS":"E","Code":45,"Msg":"Access denied to \'addpool\' command"}],"id":1}\0',
        b'{"STATUS":[{"STATUS":"S","Msg":"Added pool 1: \'stratum+tcp://h:1\'"}],"id":1}\0',
        b'{"SUMMARY":[{"add":"ad"}]}\0addp',
    ):
        assert api(0, *cut(text, sizes)) == text


# ---- all of them -----------------------------------------------------------------------------------------------------


def test_a_link_whose_secrets_nobody_knows_is_not_recorded() -> None:
    with pytest.raises(UserError, match="ssh://"):
        filters_for("ssh://10.0.0.7")
    keep, _ = filters_for("ssh://10.0.0.7", keep_secrets=True)
    assert keep.feed(SECRET) == SECRET


@pytest.mark.xdist_group("timing")
@pytest.mark.parametrize(
    "text",
    [
        "a",
        "a-",
        "password",
        "a://",
        "a://b:",
        "x@",
        "a@b://",
        '"',
        "'a",
        "{",
        "[",
        '{"a":',
        '"pass":',
        "pass=&",
        "\\",
    ],
)
def test_long_answers_are_gone_through_in_linear_time(text: str) -> None:
    body = (text * (300_000 // len(text))).encode() + b" pass"
    start = time.perf_counter()
    http_body(body)
    redact_text(body.decode())
    stratum(body)
    assert time.perf_counter() - start < 20.0  # one look at each pair of characters would take hours


def test_a_second_look_at_what_was_kept_finds_no_other_secret() -> None:
    body = b'\x97{"a":N\r\n{"stratuiPassworername=b\r\nd":"x","a":N\r\n{"stratumPa{sword":"x","a":NaN,"wifiPass":12'
    kept = http_message(b"HTTP/1.1 200\r\n\r\n" + body)
    assert http_message(kept) == kept
