"""Which submits count, which are refused and with what code, and what ends a connection."""

from __future__ import annotations

import json

import pytest

from tests.stratum.session_kit import Talk, methods


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
