"""The order of a conversation and the quirks of real firmware, without sockets or time."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.stratum.kernel_time import Stamp
from firmware_bridge.trace.schema import ShareRow
from tests.stratum.session_kit import Talk, methods

# ---- order -----------------------------------------------------------------------------------------------------------


def test_lv06_order_nothing_unasked_before_authorize() -> None:
    talk = Talk(difficulty=512)
    (subscribed,) = talk.tell("mining.subscribe", ["bitaxe/BM1366/v2.1.8"], 1)
    subscriptions, extranonce1, size = subscribed["result"]
    assert [name for name, _ in subscriptions] == ["mining.set_difficulty", "mining.notify"]
    assert len(bytes.fromhex(extranonce1)) == 4
    assert size == 4
    (configured,) = talk.tell(
        "mining.configure", [["version-rolling"], {"version-rolling.mask": "ffffffff"}], 2
    )
    assert configured["result"] == {"version-rolling": True, "version-rolling.mask": "1fffe000"}
    (suggested,) = talk.tell("mining.suggest_difficulty", [1000], 3)
    assert suggested["result"] is True
    lines = talk.tell("mining.authorize", ["w", "x"], 4)
    assert methods(lines) == [4, "mining.set_difficulty", "mining.notify"]
    assert lines[1]["id"] is None
    assert lines[1]["params"] == [512]
    assert isinstance(lines[1]["params"][0], int)
    assert len(lines[2]["params"]) == 9
    assert lines[2]["params"][5:7] == ["20000000", "17034219"]
    assert lines[2]["params"][8] is True
    assert talk.host.jobs[0].job.version_mask == 0x1FFFE000


@pytest.mark.parametrize(
    "order", ["configure first", "configure after subscribe", "configure last", "no configure"]
)
def test_configure_may_come_anywhere(order: str) -> None:
    talk = Talk()
    configure = [
        ["version-rolling"],
        {"version-rolling.mask": "00ffe000", "version-rolling.min-bit-count": 2},
    ]
    if order == "configure first":
        assert talk.tell("mining.configure", configure)[0]["result"]["version-rolling.mask"] == "00ffe000"
    talk.tell("mining.subscribe", ["x"])
    if order == "configure after subscribe":
        talk.tell("mining.configure", configure)
    talk.tell("mining.authorize", ["w", "x"])
    if order == "configure last":
        lines = talk.tell("mining.configure", configure, 9)
        assert methods(lines) == [9, "mining.notify"]
        assert talk.host.masks == [0x00FFE000]
    assert talk.host.jobs[-1].job.version_mask == (0 if order == "no configure" else 0x00FFE000)


def test_second_subscribe_gets_the_same_extranonce1() -> None:
    talk = Talk()
    first = talk.tell("mining.subscribe", ["icbtminer"])[0]["result"][1]
    talk.tell("mining.authorize", ["w", "x"])
    (again,) = talk.tell("mining.subscribe", ["icbtminer"])
    assert again["result"][1] == first


def test_authorize_before_subscribe_starts_work_with_the_subscription() -> None:
    talk = Talk()
    assert methods(talk.tell("mining.authorize", ["w", "x"], 1)) == [1]
    assert methods(talk.tell("mining.subscribe", ["x"], 2)) == [2, "mining.set_difficulty", "mining.notify"]


@pytest.mark.parametrize(
    "id_text", [b"7", b'"seven"', b"null", b"-3", b"12345678901234567890123", b'"\\u00fc"']
)
def test_ids_are_echoed_as_they_came(id_text: bytes) -> None:
    talk = Talk()
    job = talk.ready()
    line = b'{"id":%b,"method":"mining.submit","params":["w","%b","00000001","%b","00000009"]}\n'
    talk.raw(line % (id_text, job[0].encode(), job[7].encode()))
    assert talk.host.judged[0].answers == b'{"id":' + id_text + b',"result":true,"error":null}\n'
    talk.session.receive(b'{"id":' + id_text + b',"method":"mining.ping"}\n', Stamp(1, 1, 1))
    assert talk.host.out == b'{"id":' + id_text + b',"result":"pong","error":null}\n'


@pytest.mark.parametrize("id_text", [b"1.5", b"true", b"[1]", b"{}", b'"\xff"', b'"' + b"x" * 200 + b'"'])
def test_an_id_that_cannot_be_echoed_becomes_null(id_text: bytes) -> None:
    talk = Talk()
    job = talk.ready()
    line = b'{"id":%b,"method":"mining.submit","params":["w","%b","00000001","%b","00000009"]}\n'
    talk.raw(line % (id_text, job[0].encode(), job[7].encode()))
    assert json.loads(talk.host.judged[0].answers) == {"id": None, "result": True, "error": None}
    (refused,) = talk.raw(b'{"id":' + id_text + b',"method":"mining.ping"}\n')
    assert (refused["id"], refused["error"][0]) == (None, 20)


def test_a_request_without_id_gets_no_answer() -> None:
    talk = Talk()
    job = talk.ready()
    submit = {"method": "mining.submit", "params": ["w", job[0], "00000001", job[7], "00000009"]}
    assert talk.raw(json.dumps(submit).encode() + b"\n") == []
    assert talk.host.judged[0].valid == 1
    assert talk.host.judged[0].answers == b""
    assert talk.raw(b'{"method":"mining.suggest_difficulty","params":[4]}\n') == []


# ---- other requests --------------------------------------------------------------------------------------------------


def test_version_masks_are_anded() -> None:
    talk = Talk(version_mask=0x00FFE000)
    (line,) = talk.tell("mining.configure", [["version-rolling"], {"version-rolling.mask": "1fff8001"}])
    assert line["result"]["version-rolling.mask"] == "00ff8000"


def test_extensions_that_are_not_supported_are_declined() -> None:
    talk = Talk()
    options = {"minimum-difficulty.value": 4096, "info.hw-id": "x"}
    (line,) = talk.tell("mining.configure", [["minimum-difficulty", "info", "subscribe-extranonce"], options])
    assert line["result"] == {"minimum-difficulty": False, "info": False, "subscribe-extranonce": True}
    assert talk.session.extranonce_subscribed


def test_version_rolling_without_a_mask_takes_the_bridge_mask() -> None:
    (line,) = Talk().tell("mining.configure", [["version-rolling"]])
    assert line["result"] == {"version-rolling": True, "version-rolling.mask": "1fffe000"}


def test_suggested_difficulty_counts_from_the_next_notify_where_it_is_honoured() -> None:
    talk = Talk(honour_suggest=True, difficulty=256)
    talk.ready()
    assert methods(talk.tell("mining.suggest_difficulty", [1024], 8)) == [8]
    talk.session.dispatch()
    lines = talk.out()
    assert methods(lines) == ["mining.set_difficulty", "mining.notify"]
    assert lines[0]["params"] == [1024]
    assert [prepared.job.difficulty for prepared in talk.host.jobs] == [256, 1024]


def test_suggested_difficulty_is_answered_and_the_own_one_repeated_where_it_is_not_honoured() -> None:
    talk = Talk(difficulty=0.25)
    talk.ready()
    assert talk.tell("mining.suggest_difficulty", [1024])[0]["result"] is True
    talk.session.dispatch()
    lines = talk.out()
    assert methods(lines) == ["mining.set_difficulty", "mining.notify"]
    assert lines[0]["params"] == [0.25]


@pytest.mark.parametrize("value", ["64", None, True, 0, -1, [64]])
def test_a_suggestion_that_is_no_number_is_an_error(value: Any) -> None:
    (line,) = Talk().tell("mining.suggest_difficulty", [value], 3)
    assert line["id"] == 3
    assert line["error"][0] == 20


def test_difficulty_is_sent_once() -> None:
    talk = Talk()
    talk.ready()
    talk.session.dispatch()
    assert methods(talk.out()) == ["mining.notify"]


def test_pongs_and_answers_are_taken_without_a_word() -> None:
    talk = Talk()
    assert talk.raw(b'{"id":1,"result":"pong","error":null}\n') == []
    assert talk.raw(b'{"id":1,"method":"pong","params":[]}\n') == []
    assert talk.raw(b'{"id":2,"result":"cgminer/4.9","error":null}\n') == []
    assert talk.raw(b'{"id":2,"result":null,"error":[20,"no",null]}\n') == []


def test_unknown_methods_get_error_20_and_are_noted_without_their_text() -> None:
    talk = Talk()
    (line,) = talk.tell("mining.multi_version", [1], "a")
    assert (line["id"], line["result"], line["error"][0]) == ("a", None, 20)
    talk.tell("hunter2secret", ["hunter2secret"])
    assert [event[2]["method"] for event in talk.host.events] == ["mining.multi_version", "(other)"]
    assert talk.host.dropped == []


def test_keep_alive_repeats_the_difficulty() -> None:
    talk = Talk(difficulty=256)
    talk.ready()
    talk.session.keep_alive()
    assert [line["params"] for line in talk.out()] == [[256]]


# ---- back-pressure ---------------------------------------------------------------------------------------------------


def test_at_most_256_submits_are_unanswered_and_none_is_lost() -> None:
    talk = Talk()
    job = talk.ready()
    lines = [
        json.dumps(
            {"id": n, "method": "mining.submit", "params": ["w", job[0], "00000001", job[7], f"{n:08x}"]}
        )
        for n in range(1000)
    ]
    lines.insert(600, '{"id":"ping","method":"mining.ping"}')
    data = ("\n".join(lines) + "\n").encode()
    answered: list[Any] = []
    for start in range(0, len(data), 5000):
        answered += talk.raw(data[start : start + 5000])
        assert talk.session.intake.in_flight <= 256
    assert talk.session.intake.in_flight == 256
    assert talk.session.intake.blocked
    while talk.host.judged:
        answered += talk.commit()
        assert talk.session.intake.in_flight <= 256
    assert not talk.session.intake.blocked
    ids = [line["id"] for line in answered]
    assert sorted(id for id in ids if id != "ping") == list(range(1000))
    assert "ping" in ids
    assert talk.session.intake.in_flight == 0


# ---- anything at all -------------------------------------------------------------------------------------------------


_WORDS = st.sampled_from(
    [
        b'{"id":1,"method":"mining.subscribe","params":["x"]}',
        b'{"id":2,"method":"mining.authorize","params":["w","x"]}',
        b'{"id":3,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"ffffffff"}]}',
        b'{"id":4,"method":"mining.submit","params":["w","1","00000001","00000000","00000001"]}',
        b'{"id":5,"method":"mining.submit","params":["w","2","00000001","6553f100","00000001","00002000"]}',
        b'{"id":6,"method":"mining.suggest_difficulty","params":[1]}',
        b'{"method":"mining.submit","params":["w","1","","",""]}',
        b'{"id":7,"method":"mining.extranonce.subscribe","params":[]}',
        b'{"id":8,"method":"mining.submit","params":[]}',
        b"\n",
        b"[]",
    ]
)


@given(
    st.lists(st.tuples(_WORDS | st.binary(max_size=30), st.integers(0, 3)), max_size=30), st.integers(1, 4)
)
def test_whatever_comes_the_session_answers_in_whole_json_lines(
    parts: list[tuple[bytes, int]], limit: int
) -> None:
    talk = Talk(max_in_flight=limit, mode="swh")
    waiting = b""
    for word, then in parts:
        waiting += word + b"\n"
        if then:
            if not talk.session.intake.blocked:  # the transport reads no more then
                talk.raw(waiting)
                waiting = b""
            assert talk.session.intake.in_flight <= limit
            if then == 2:
                talk.commit()
    talk.commit()
    rows = [row for judged in talk.host.judged for row in judged.rows]
    assert all(len(row) == len(ShareRow._fields) for row in rows)
    assert not talk.host.failures
