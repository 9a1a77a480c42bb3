"""The miner's side of Stratum, line by line, without a socket."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from firmware_bridge.emulator import lv06, s9
from firmware_bridge.errors import ProtocolError
from firmware_bridge.headers import Job, Share
from firmware_bridge.stratum.client_session import (
    ClientProfile,
    ClientSession,
    ClientStats,
    ForeignPoolError,
    HandshakeRefusedError,
)

NOTIFY = ["j1", "00" * 32, "aa", "bb", ["cc" * 32], "20000000", "1d00ffff", "65000000", True]


def line(**message: Any) -> bytes:
    return json.dumps(message).encode()


class Dialogue:
    """A session and what it said."""

    def __init__(self, profile: ClientProfile, scale: float = 1.0) -> None:
        self.jobs: list[Job] = []
        self.stats = ClientStats()
        self.session = ClientSession(profile, "agent/1", "me", "secret", scale, self.stats, self.jobs.append)
        self.scale = scale
        self.said = [json.loads(self.session.start())]

    def hear(self, **message: Any) -> dict[str, Any] | None:
        answer = self.session.receive(line(**message))
        if not answer:
            return None
        said: dict[str, Any] = json.loads(answer)
        self.said.append(said)
        return said

    def handshake(self) -> Dialogue:
        """Answer until it is authorised."""
        while not self.session.authorized:
            request = self.said[-1]
            result: Any = True
            if request["method"] == "mining.subscribe":
                taken_up = [] if self.scale == 1.0 else [["asiclab.scale", "scale=2^-2"]]
                result = [[["mining.notify", "x"], *taken_up], "0000ffff", 4]
            elif request["method"] == "mining.configure":
                result = {"version-rolling": True, "version-rolling.mask": "1fffe000"}
            self.hear(id=request["id"], result=result, error=None)
        return self

    def call(self, method: str, params: list[Any], id: object = None) -> dict[str, Any] | None:
        return self.hear(id=id, method=method, params=params)


def test_each_firmware_keeps_its_order() -> None:
    said = [m["method"] for m in Dialogue(s9.MODEL.client).handshake().said]
    assert said == ["mining.subscribe", "mining.authorize"]
    dialogue = Dialogue(lv06.MODEL.client).handshake()
    assert [(m["method"], m["params"]) for m in dialogue.said] == [
        ("mining.subscribe", ["agent/1"]),
        ("mining.configure", [["version-rolling"], {"version-rolling.mask": "ffffffff"}]),
        ("mining.suggest_difficulty", [256]),
        ("mining.authorize", ["me", "secret"]),
    ]
    assert dialogue.stats.connections == 1


def test_a_job_carries_what_the_session_knows() -> None:
    dialogue = Dialogue(lv06.MODEL.client, scale=0.25).handshake()
    dialogue.call("mining.set_difficulty", [512])
    dialogue.call("mining.notify", NOTIFY)
    (job,) = dialogue.jobs
    assert job == Job(
        "j1", "00" * 32, "aa", "bb", ("cc" * 32,), "20000000", "1d00ffff", "65000000",
        "0000ffff", 4, True, 512.0, 0.25, 0x1FFFE000,
    )  # fmt: skip


def test_a_pool_that_does_not_take_up_the_scale_is_not_mined_for() -> None:
    dialogue = Dialogue(s9.MODEL.client, scale=0.25)
    with pytest.raises(ForeignPoolError, match="mine for it with --scale 1"):
        dialogue.hear(id=dialogue.said[0]["id"], result=[[["mining.notify", "x"]], "0000ffff", 4], error=None)


def test_a_difficulty_counts_from_the_next_job() -> None:
    dialogue = Dialogue(s9.MODEL.client).handshake()
    for number, difficulty in enumerate([1.5, 300]):
        dialogue.call("mining.set_difficulty", [difficulty])
        dialogue.call("mining.notify", [f"j{number}", *NOTIFY[1:]])
    assert [j.difficulty for j in dialogue.jobs] == [1.5, 300.0]
    assert dialogue.jobs[0].version_mask == 0


@pytest.mark.parametrize(("sent", "read"), [(0.5, 0.0), (300.9, 300.0), (256, 256.0)])
def test_an_lv06_reads_a_difficulty_as_an_integer(sent: float, read: float) -> None:
    dialogue = Dialogue(lv06.MODEL.client).handshake()
    dialogue.call("mining.set_difficulty", [sent])
    dialogue.call("mining.notify", NOTIFY)
    assert dialogue.jobs[0].difficulty == read


def test_five_parameters_or_six() -> None:
    share = Share("j1", "01000000", "65000000", "deadbeef", "00002000")
    for model, count in ((s9.MODEL, 5), (lv06.MODEL, 6)):
        sent = json.loads(Dialogue(model.client).handshake().session.submit(share))
        assert sent["method"] == "mining.submit"
        assert sent["params"] == ["me", "j1", "01000000", "65000000", "deadbeef", "00002000"][:count]


def test_answers_to_submits_are_counted_with_their_reasons() -> None:
    dialogue = Dialogue(s9.MODEL.client).handshake()
    ids = [json.loads(dialogue.session.submit(Share("j", "00", "00", "00")))["id"] for _ in range(4)]
    dialogue.hear(id=ids[0], result=True, error=None)
    dialogue.hear(id=ids[1], result=None, error=[22, "duplicate", None])
    dialogue.hear(id=ids[2], result=None, error=[22, "duplicate", None])
    dialogue.hear(id=ids[3], result=False, error=None)
    dialogue.hear(id=999, result=True, error=None)
    stats = dialogue.stats
    assert (stats.submitted, stats.accepted, stats.answered) == (4, 1, 4)
    assert stats.rejected == {"22 duplicate": 2, "no reason given": 1}


def test_a_refused_handshake_says_what_the_pool_said() -> None:
    dialogue = Dialogue(s9.MODEL.client)
    with pytest.raises(
        HandshakeRefusedError, match=r"refused mining.subscribe: 20 give both the same --scale"
    ):
        dialogue.hear(id=1, result=None, error=[20, "give both the same --scale", None])
    dialogue = Dialogue(s9.MODEL.client)
    dialogue.hear(id=1, result=[[], "00", 4], error=None)
    with pytest.raises(HandshakeRefusedError, match=r"refused mining\.authorize"):
        dialogue.hear(id=2, result=False, error=None)


def test_lock_step_is_strict_where_the_firmware_is() -> None:
    for message in (
        {"method": "mining.set_difficulty", "params": [1]},
        {"method": "mining.ping", "params": []},
    ):
        with pytest.raises(ProtocolError, match="lock-step"):
            Dialogue(lv06.MODEL.client).hear(id=None, **message)
        Dialogue(s9.MODEL.client).hear(id=None, **message)


def test_what_a_firmware_does_not_know_it_ignores() -> None:
    dialogue = Dialogue(lv06.MODEL.client).handshake()
    assert dialogue.call("mining.set_extranonce", ["ffff", 8]) is None
    assert dialogue.call("mining.ping", [], id=7) is None
    assert dialogue.call("client.reconnect", []) is None
    dialogue.call("mining.notify", NOTIFY)
    assert dialogue.jobs[0].extranonce1 == "0000ffff"
    assert not dialogue.session.reconnect
    assert dialogue.stats.ignored == {"mining.set_extranonce": 1, "mining.ping": 1, "client.reconnect": 1}


def test_bmminer_answers_as_cgminer_does() -> None:
    dialogue = Dialogue(s9.MODEL.client).handshake()
    assert dialogue.call("mining.ping", [], id=7) == {"id": 7, "result": "pong", "error": None}
    assert dialogue.call("client.get_version", [], id=8) == {"id": 8, "result": "agent/1", "error": None}
    assert dialogue.call("client.show_message", ["hello"]) is None
    dialogue.call("client.reconnect", [])
    assert dialogue.session.reconnect


def test_the_mask_is_that_of_both_sides() -> None:
    dialogue = Dialogue(lv06.MODEL.client)
    dialogue.hear(id=1, result=[[], "00", 4], error=None)
    dialogue.hear(id=2, result={"version-rolling": True, "version-rolling.mask": "00fff000"}, error=None)
    dialogue.handshake()
    dialogue.call("mining.notify", NOTIFY)
    dialogue.call("mining.set_version_mask", ["0000e000"])
    dialogue.call("mining.notify", NOTIFY)
    assert [j.version_mask for j in dialogue.jobs] == [0x00FFE000, 0x0000E000]


def test_a_pool_without_version_rolling_changes_nothing_for_an_old_esp_miner() -> None:
    dialogue = Dialogue(lv06.MODEL.client)
    dialogue.hear(id=1, result=[[], "00", 4], error=None)
    dialogue.hear(id=2, result=None, error=[20, "unknown method", None])
    dialogue.handshake()
    dialogue.call("mining.notify", NOTIFY)
    assert dialogue.jobs[0].version_mask == 0x1FFFE000


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (b"}{", "no Stratum message"),
        (line(id=None, method="mining.notify", params=NOTIFY[:8]), "9 parameters"),
        (line(id=None, method="mining.set_difficulty", params=["1"]), "one positive number"),
        (line(id=None, method="mining.set_difficulty", params=[]), "one positive number"),
        (line(id=None, method="mining.set_difficulty", params=[-1]), "one positive number"),
    ],
)
def test_a_pool_that_breaks_the_protocol_is_left(message: bytes, text: str) -> None:
    with pytest.raises(ProtocolError, match=text):
        Dialogue(s9.MODEL.client).handshake().session.receive(message)


def test_the_answer_to_subscribe_is_checked() -> None:
    for result in ([[], "00"], [[], 0, 4], [[], "00", 1], [[], "00", 17], "yes"):
        with pytest.raises(ProtocolError, match="extranonce1"):
            Dialogue(s9.MODEL.client).hear(id=1, result=result, error=None)
    with pytest.raises(ProtocolError, match="before it answered"):
        Dialogue(s9.MODEL.client).call("mining.notify", NOTIFY)


def test_an_lv06_reboots_on_too_many_branches() -> None:
    many = [*NOTIFY[:4], ["cc" * 32] * 33, *NOTIFY[5:]]
    with pytest.raises(ProtocolError, match="33 merkle branches: this firmware reboots beyond 32"):
        Dialogue(lv06.MODEL.client).handshake().call("mining.notify", many)
    Dialogue(replace(lv06.MODEL.client, most_branches=None)).handshake().call("mining.notify", many)
