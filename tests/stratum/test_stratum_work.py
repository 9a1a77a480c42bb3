"""When a miner gets its next job, and how symbols come into it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from firmware_bridge.errors import UserError
from firmware_bridge.stratum.dispatch import CallbackSource, JobSymbol, SequenceSource
from tests.stratum.session_kit import Talk, methods


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
