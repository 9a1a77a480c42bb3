"""The order of a conversation and the quirks of real firmware, without sockets or time."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.clock import VirtualClock
from firmware_bridge.errors import LabError, UserError
from firmware_bridge.stratum.config import BridgeConfig
from firmware_bridge.stratum.dispatch import CallbackSource, JobSymbol, SequenceSource, policy_for
from firmware_bridge.stratum.jobs import JobFactory
from firmware_bridge.stratum.kernel_time import Stamp
from firmware_bridge.stratum.session import Session
from firmware_bridge.stratum.shares import Judged, Worker
from firmware_bridge.stratum.verify import PreparedJob
from firmware_bridge.trace.schema import ShareRow
from tests.stratum.bridge_kit import difficulty_of

EVERY_HASH = 1e-10


class FakeHost:
    """Notes what a session asks for; commits only when told to."""

    def __init__(self) -> None:
        self.out = b""
        self.judged: list[Judged] = []
        self.events: list[tuple[str, str, dict[str, Any]]] = []
        self.jobs: list[PreparedJob] = []
        self.dropped: list[str] = []
        self.failures: list[LabError] = []
        self.workers = 0
        self.masks: list[int] = []

    def send(self, data: bytes) -> None:
        self.out += data

    def store(self, judged: Judged) -> None:
        self.judged.append(judged)

    def enroll(self, session: Session, user: str) -> Worker:
        self.workers += 1
        return Worker(self.workers, user)

    def mask_changed(self, mask: int) -> None:
        self.masks.append(mask)

    def sent_job(self, prepared: PreparedJob) -> None:
        self.jobs.append(prepared)
        prepared.number = len(self.jobs)

    def event(self, kind: str, severity: str = "info", detail: dict[str, Any] | None = None) -> None:
        self.events.append((kind, severity, detail or {}))

    def drop(self, reason: str) -> None:
        self.dropped.append(reason)

    def fail(self, error: LabError) -> None:
        self.failures.append(error)


class Talk:
    """A session with its fake host; `tell` returns the lines that went out because of it."""

    def __init__(self, source: Any = None, **options: Any) -> None:
        self.clock = VirtualClock()
        self.host = FakeHost()
        config = BridgeConfig(**{"difficulty": EVERY_HASH, **options})
        factory = JobFactory(config, np.random.default_rng(7))
        self.session = Session(config, self.host, self.clock, factory, policy_for(config), source)

    def out(self) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.host.out.splitlines()]
        self.host.out = b""
        return lines

    def raw(self, data: bytes) -> list[dict[str, Any]]:
        wall, monotonic = self.clock.wall_ns(), self.clock.monotonic_ns()
        self.session.receive(data, Stamp(wall, monotonic, wall))
        return self.out()

    def tell(self, method: str, params: list[Any], id: Any = 1) -> list[dict[str, Any]]:
        return self.raw(json.dumps({"id": id, "method": method, "params": params}).encode() + b"\n")

    def commit(self) -> list[dict[str, Any]]:
        """Acknowledge everything judged so far."""
        judged, self.host.judged = self.host.judged, []
        for one in judged:
            self.host.out += one.answers
            self.session.intake.answered(one.answered)
        return self.out()

    def ready(self, agent: str = "test/1", user: str = "w") -> list[Any]:
        self.tell("mining.subscribe", [agent])
        lines = self.tell("mining.authorize", [user, "x"])
        return next(line["params"] for line in lines if line.get("method") == "mining.notify")

    def submit(
        self, job: list[Any], nonce: str = "00000001", *rest: str, user: str = "w", id: Any = 5
    ) -> dict[str, Any]:
        self.tell("mining.submit", [user, job[0], "00000001", job[7], nonce, *rest], id)
        answers = [line for line in self.commit() if line.get("id") == id and "method" not in line]
        assert len(answers) == 1
        return answers[0]


def methods(lines: list[dict[str, Any]]) -> list[Any]:
    return [line.get("method", line["id"]) for line in lines]


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


# ---- errors ----------------------------------------------------------------------------------------------------------


def test_submit_before_subscribe_and_before_authorize() -> None:
    talk = Talk()
    submit = ["w", "1", "00000001", "00000001", "00000001"]
    assert talk.tell("mining.submit", submit, 4)[0]["error"][0] == 25
    talk.tell("mining.subscribe", ["x"])
    assert talk.tell("mining.submit", submit, 5)[0]["error"][0] == 24
    assert talk.host.judged == []
    assert [event[0] for event in talk.host.events] == ["early-submit", "early-submit"]


def test_codes_of_refused_shares() -> None:
    talk = Talk()
    job = talk.ready()
    assert talk.submit(job)["result"] is True
    assert talk.submit(job)["error"][0] == 22
    assert talk.submit(job, "00000002", user="stranger")["error"][0] == 24
    assert talk.submit(["ffff", *job[1:]], "00000003")["error"][0] == 21


@pytest.mark.parametrize(
    "change",
    [
        {2: "0001"},
        {2: "0000000g"},
        {2: "00 00 01"},
        {3: "6963739"},
        {3: "zzzzzzzz"},
        {4: "8b7746"},
        {4: "8b7746abcd"},
        {4: "8b 77 46"},
        {4: "8b7746a\u0661"},
        {4: ""},
    ],
)
def test_malformed_hex_is_error_20_and_keeps_no_field_of_it(change: dict[int, str]) -> None:
    talk = Talk()
    job = talk.ready()
    params = ["w", job[0], "00000001", job[7], "00000001"]
    for position, value in change.items():
        params[position] = value
    talk.tell("mining.submit", params)
    (judged,) = talk.host.judged
    assert json.loads(judged.answers)["error"][0] == 20
    assert judged.rows[0][8:10] == (False, "malformed")
    (value,) = change.values()
    stored = judged.rows[0][3:7]
    assert value not in stored or value.isalnum()


@pytest.mark.parametrize("count", [0, 1, 4, 7])
def test_a_submit_with_another_number_of_parameters_is_error_20(count: int) -> None:
    talk = Talk()
    job = talk.ready()
    talk.tell("mining.submit", ["w", job[0], "00000001", job[7], "00000001", "00000000", "0"][:count])
    (line,) = talk.commit()
    assert line["error"][0] == (20 if count else 24)


def test_a_submit_with_numbers_is_error_20_under_its_own_id() -> None:
    talk = Talk()
    job = talk.ready()
    (line,) = talk.tell("mining.submit", ["w", job[0], 1, job[7], 1], 77)
    assert (line["id"], line["error"][0]) == (77, 20)


def test_ntime_may_run_ahead_and_not_back() -> None:
    talk = Talk()
    job = talk.ready()
    start = int(job[7], 16)
    for ahead, reason in ((0, None), (1, None), (7200, None), (7201, "ntime"), (-1, "ntime")):
        talk.tell("mining.submit", ["w", job[0], "00000001", f"{start + ahead:08x}", "00000001"])
        assert talk.host.judged[-1].rows[0][9] == reason


def test_version_bits_five_and_six_parameters() -> None:
    talk = Talk()
    talk.tell("mining.configure", [["version-rolling"], {"version-rolling.mask": "1fffe000"}])
    job = talk.ready()
    assert talk.submit(job, "00000001")["result"] is True
    assert talk.submit(job, "00000001", "00002000")["result"] is True
    # the same header as the five-parameter share: no bits rolled
    assert talk.submit(job, "00000001", "00000000")["error"][0] == 22
    outside = talk.submit(job, "00000002", "00000001")
    assert outside["error"][0] == 20
    assert "mask" in outside["error"][1]


def test_without_configure_a_sixth_parameter_of_zero_is_accepted() -> None:
    talk = Talk()
    job = talk.ready()
    assert talk.submit(job, "00000001", "00000000")["result"] is True
    refused = talk.submit(job, "00000002", "00002000")
    assert refused["error"][0] == 20
    assert "mining.configure" in refused["error"][1]


def test_sixteen_jobs_back_count_and_older_ones_are_stale() -> None:
    talk = Talk()
    first = talk.ready()
    for _ in range(15):
        talk.session.dispatch()
    assert talk.submit(first)["result"] is True
    talk.session.dispatch()
    late = talk.submit(first, "00000002")
    assert late["error"][0] == 21
    assert "stale" in late["error"][1]
    talk.tell("mining.submit", ["w", first[0], "00000001", first[7], "00000003"])
    row = talk.host.judged[0].rows[0]
    assert (row[1], row[2], row[9]) == (1, first[0], "stale")
    assert row[14] == 0  # response is still that to its own job


def test_a_clean_job_makes_older_ones_stale_only_where_asked() -> None:
    for strict, outcome in ((False, None), (True, 21)):
        talk = Talk(stale_after_clean=strict)
        first = talk.ready()
        talk.session.dispatch()
        error = talk.submit(first)["error"]
        assert (error and error[0]) == outcome


def test_duplicates_are_told_by_header_not_by_spelling() -> None:
    talk = Talk()
    job = talk.ready()
    assert talk.submit(job, "0000abcd")["result"] is True
    assert talk.submit(job, "0000ABCD")["error"][0] == 22
    talk.session.dispatch()
    assert talk.submit(job, "0000abcd")["error"][0] == 22


def test_a_second_worker_on_one_connection_is_a_miner_of_its_own() -> None:
    talk = Talk()
    job = talk.ready(user="a")
    assert methods(talk.tell("mining.authorize", ["b", "x"], 9)) == [9]
    assert talk.submit(job, "00000001", user="a")["result"] is True
    talk.tell("mining.submit", ["b", job[0], "00000001", job[7], "00000002"])
    assert talk.host.judged[0].rows[0][0] == 2
    for number in range(14):
        assert talk.tell("mining.authorize", [f"more{number}", "x"])[0]["result"] is True
    assert talk.tell("mining.authorize", ["one too many", "x"])[0]["error"][0] == 24
    assert talk.tell("mining.authorize", ["", "x"])[0]["error"][0] == 24


def test_sixteen_broken_lines_end_a_connection() -> None:
    talk = Talk()
    for number in range(16):
        assert talk.host.dropped == []
        assert talk.raw(b"no json %d\n" % number)[0]["error"][0] == 20
    assert len(talk.host.dropped) == 1
    assert talk.raw(b'{"id":1,"method":"mining.ping"}\n') == []


def test_a_long_line_ends_a_connection() -> None:
    talk = Talk()
    (line,) = talk.raw(b"x" * 20_000)
    assert "longer than" in line["error"][1]
    assert talk.host.dropped


def test_deeply_nested_json_is_a_broken_line() -> None:
    (line,) = Talk().raw(b'{"id":1,"method":"mining.ping","params":' + b"[" * 8000 + b"]" * 8000 + b"}\n")
    assert line["error"][0] == 20


# ---- scale -----------------------------------------------------------------------------------------------------------


def test_the_scale_of_the_agent_is_taken_up() -> None:
    talk = Talk(difficulty=256)
    talk.ready("bmminer/2.0.0 asiclab-emulator scale=2^-20")
    job = talk.host.jobs[0].job
    assert (job.difficulty, job.scale) == (256, 2.0**-20)


def test_only_a_miner_that_names_a_scale_is_told_that_it_was_taken_up() -> None:
    (emulated,) = Talk().tell("mining.subscribe", ["x scale=2^-20"])
    assert ["asiclab.scale", "scale=2^-20"] in emulated["result"][0]
    (real,) = Talk().tell("mining.subscribe", ["cgminer/4.11.1"])
    assert {name for name, _ in real["result"][0]} == {"mining.set_difficulty", "mining.notify"}


def test_a_scale_that_differs_from_the_bridge_is_one_error_that_says_so() -> None:
    talk = Talk(scale=2.0**-10)
    (line,) = talk.tell("mining.subscribe", ["x scale=2^-20"])
    assert "scale=2^-20" in line["error"][1]
    assert "scale=2^-10" in line["error"][1]
    assert talk.host.dropped
    agreeing = Talk(scale=2.0**-20)
    agreeing.ready("x scale=2^-20")
    assert agreeing.host.jobs[0].job.scale == 2.0**-20


def test_the_scale_of_the_bridge_holds_for_a_miner_that_names_none() -> None:
    talk = Talk(scale=2.0**-8, difficulty=1)
    talk.ready()
    assert talk.host.jobs[0].job.scale == 2.0**-8


@pytest.mark.parametrize(
    "token", ["scale=0", "scale=-1", "scale=nan", "scale=inf", "scale=2^9999", "scale=two"]
)
def test_a_scale_that_is_no_number_is_an_error(token: str) -> None:
    talk = Talk()
    assert talk.tell("mining.subscribe", [f"x {token}"])[0]["error"][0] == 20
    assert talk.host.dropped


def test_shares_below_by_a_power_of_two_end_with_the_reason() -> None:
    talk = Talk(difficulty=16)
    job = talk.ready()
    for nonce in range(10_000):
        params = ["w", job[0], "00000001", job[7], f"{nonce:08x}"]
        if difficulty_of(job, talk.session.extranonce1, params) >= 16 * 2.0**-28:
            talk.tell("mining.submit", params, nonce + 10)
        if talk.host.dropped:
            break
    answers = [line for line in talk.commit() if line.get("error")]
    assert len(answers) == 8
    assert all(line["error"][0] == 23 for line in answers)
    assert "scale" in answers[0]["error"][1]
    assert "--scale" in talk.host.dropped[0]
    assert talk.host.events[-1][0] == "scale-mismatch"


def test_random_hashes_are_called_a_wrong_header() -> None:
    talk = Talk(difficulty=256)
    job = talk.ready()
    for nonce in range(8):
        talk.tell("mining.submit", ["w", job[0], "00000001", job[7], f"{nonce:08x}"])
    assert "random" in talk.host.dropped[0]


def test_a_miner_with_accepted_shares_is_never_called_mismatched() -> None:
    talk = Talk(difficulty=2.0**-30)
    job = talk.ready()
    refused = 0
    for nonce in range(200):
        talk.tell("mining.submit", ["w", job[0], "00000001", job[7], f"{nonce:08x}"])
        refused += talk.host.judged[-1].rows[0][9] == "low-difficulty"
        if nonce > 40:
            assert talk.host.judged[-1].rows
    assert 20 < refused < 200
    assert talk.host.dropped == []


# ---- work ------------------------------------------------------------------------------------------------------------


def test_handshake_mode_replaces_a_job_at_its_first_valid_share_only() -> None:
    talk = Talk(mode="swh")
    job = talk.ready()
    assert talk.submit(job, "zzzzzzzz")["error"][0] == 20
    assert len(talk.host.jobs) == 1
    lines = talk.tell("mining.submit", ["w", job[0], "00000001", job[7], "00000002"])
    assert methods(lines) == ["mining.notify"]
    assert len(talk.host.jobs) == 2
    # a late share of the job before counts, and calls for nothing
    assert talk.tell("mining.submit", ["w", job[0], "00000001", job[7], "00000003"]) == []
    assert talk.host.judged[-1].valid == 1
    # several shares of the current job in one read call for one job
    current = lines[0]["params"]
    block = b"".join(
        json.dumps(
            {
                "id": n,
                "method": "mining.submit",
                "params": ["w", current[0], "00000001", current[7], f"{n:08x}"],
            }
        ).encode()
        + b"\n"
        for n in range(5)
    )
    assert methods(talk.raw(block)) == ["mining.notify"]


def test_stream_mode_keeps_a_job_whatever_comes() -> None:
    talk = Talk(mode="stream")
    job = talk.ready()
    assert talk.submit(job)["result"] is True
    assert len(talk.host.jobs) == 1
    assert talk.session.policy.deadline_s() == 30.0


def test_symbols_go_into_the_fields_that_they_name() -> None:
    symbols = [
        JobSymbol(0.5, coinbase=b"\x01\x02\xff"),
        JobSymbol(1.5, version_bits=0x00000003),
        JobSymbol(2.5, ntime=0x60000000),
        JobSymbol(3.5, difficulty=64.0),
        JobSymbol(4.5, extranonce1="a1b2c3d4e5f6"),
        JobSymbol(5.5),
    ]
    source = SequenceSource(symbols)
    talk = Talk(source, difficulty=256)
    talk.tell("mining.extranonce.subscribe", [])
    talk.ready()
    sent = []
    for _ in range(6):
        talk.session.dispatch()
        sent.append(talk.out())
    jobs = [prepared.job for prepared in talk.host.jobs]
    assert [job.symbol for job in jobs] == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5, None]
    assert source.exhausted
    assert "030102ff" in jobs[0].coinb1
    assert jobs[0].symbol_fields == {"coinbase": "0102ff"}
    assert jobs[1].version == "20000003"
    assert jobs[2].ntime == "60000000"
    assert [job.difficulty for job in jobs] == [256, 256, 256, 64, 256, 256, 256]
    assert methods(sent[2]) == ["mining.set_difficulty", "mining.notify"]
    assert methods(sent[3]) == ["mining.set_extranonce", "mining.set_difficulty", "mining.notify"]
    assert sent[3][0]["params"] == ["a1b2c3d4e5f6", 4]
    assert sent[3][2]["params"][8] is True
    assert jobs[4].extranonce1 == jobs[5].extranonce1 == "a1b2c3d4e5f6"
    for job in jobs:
        script_length = int(job.coinb1[82:84], 16)
        assert script_length <= 100


def test_a_symbol_in_extranonce1_needs_a_client_that_takes_it() -> None:
    talk = Talk(SequenceSource([JobSymbol(1.0, extranonce1="01020304")]))
    talk.tell("mining.subscribe", ["x"])
    lines = talk.tell("mining.authorize", ["w", "x"])
    assert methods(lines) == [1, "client.show_message"]
    assert "mining.extranonce.subscribe" in talk.host.dropped[0]
    assert talk.host.events[-1][:2] == ("symbol-refused", "error")


def test_a_symbol_in_bits_that_the_miner_rolls_is_refused() -> None:
    talk = Talk(SequenceSource([JobSymbol(1.0, version_bits=0x2000)]))
    talk.tell("mining.configure", [["version-rolling"], {"version-rolling.mask": "ffffffff"}])
    talk.tell("mining.subscribe", ["x"])
    talk.tell("mining.authorize", ["w", "x"])
    assert "mask" in talk.host.dropped[0]
    free = Talk(SequenceSource([JobSymbol(1.0, version_bits=0x2000)]))
    free.ready()
    assert free.host.jobs[0].job.version == "20002000"


def test_a_callback_sees_what_it_needs_and_its_mistake_stops_the_bridge() -> None:
    seen = []

    def symbol(context: Any) -> JobSymbol | None:
        seen.append(context)
        if context.index == 2:
            raise ZeroDivisionError("mine")
        return JobSymbol(float(context.index))

    talk = Talk(CallbackSource(symbol), mode="swh")
    job = talk.ready()
    talk.submit(job)
    talk.session.dispatch()
    assert [(c.index, c.answered, c.miner_name) for c in seen] == [
        (0, None, "w"),
        (1, True, "w"),
        (2, False, "w"),
    ]
    assert len(talk.host.jobs) == 2
    (failure,) = talk.host.failures
    assert isinstance(failure, UserError)
    assert isinstance(failure.__cause__, ZeroDivisionError)


@pytest.mark.parametrize(
    "fields",
    [
        {"extranonce1": "xyz"},
        {"extranonce1": "0" * 34},
        {"extranonce1": ""},
        {"coinbase": b""},
        {"coinbase": b"x" * 65},
        {"version_bits": 1 << 32},
        {"ntime": -1},
        {"difficulty": 0.0},
        {"difficulty": float("inf")},
    ],
)
def test_impossible_symbols_are_refused_when_they_are_made(fields: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        JobSymbol(1.0, **fields)


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
