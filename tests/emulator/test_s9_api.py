"""How the emulated S9 answers: keys of hardware.md, codes of pools, what follows a restart, and its web page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from firmware_bridge.clock import VirtualClock
from firmware_bridge.devices.cgminer_api import Answer, decode_answer, encode_request
from firmware_bridge.emulator.http_server import HttpRequest
from firmware_bridge.emulator.machine import Counts
from firmware_bridge.emulator.s9_api import S9Face

SUMMARY_KEYS = {
    "Elapsed", "GHS 5s", "GHS av", "Found Blocks", "Getworks", "Accepted", "Rejected", "Hardware Errors", "Utility",
    "Discarded", "Stale", "Get Failures", "Local Work", "Inbox Failures", "Network Blocks", "Total MH", "Work Utility",
    "Difficulty Accepted", "Difficulty Rejected", "Difficulty Stale", "Best Share", "Device Hardware%",
    "Device Rejected%", "Pool Rejected%", "Pool Stale%", "Last getwork",
}  # fmt: skip
POOL_KEYS = {
    "POOL", "URL", "Status", "Priority", "Quota", "Long Poll", "Getworks", "Accepted", "Rejected", "Discarded", "Stale",
    "Get Failures", "Inbox Failures", "User", "Last Share Time", "Diff", "Diff1 Shares", "Proxy Type", "Proxy",
    "Difficulty Accepted", "Difficulty Rejected", "Difficulty Stale", "Last Share Difficulty", "Has Stratum",
    "Stratum Active", "Stratum URL", "Has GBT", "Best Share", "Pool Rejected%", "Pool Stale%",
}  # fmt: skip
STATS_KEYS = {
    "STATS", "ID", "Elapsed", "Calls", "Wait", "Max", "Min", "GHS 5s", "GHS av", "miner_count", "frequency", "fan_num",
    "temp_num", "total_rateideal", "total_freqavg", "total_acn", "total_rate", "temp_max", "Device Hardware%",
    "no_matching_work", "miner_version",
    *(f"fan{n}" for n in range(1, 9)),
    *(f"{key}{n}" for n in range(1, 17) for key in (
        "temp", "temp2_", "temp3_", "freq_avg", "chain_rateideal", "chain_acn", "chain_acs", "chain_hw", "chain_rate",
    )),
    *(f"{key}{n}" for n in (6, 7, 8) for key in ("chain_xtime", "chain_offside_", "chain_opencore_")),
}  # fmt: skip


def make(**options: Any) -> tuple[S9Face, VirtualClock]:
    clock = VirtualClock()
    face = S9Face(clock, np.random.default_rng(1), options)
    stored = face.machine.stored
    stored.pool_host, stored.pool_port, stored.pool_user = "10.0.0.2", 3333, "lab.s9"
    face.machine.take_up()
    return face, clock


def ask(face: S9Face, command: str, parameter: str | None = None) -> Answer:
    return decode_answer(face.api.answer(encode_request(command, parameter)))


def code(face: S9Face, command: str, parameter: str | None = None) -> int | None:
    status = ask(face, command, parameter).status
    assert status is not None
    return status.code


def summary(face: S9Face) -> Mapping[str, Any]:
    return ask(face, "summary").rows("SUMMARY")[0]


def test_every_key_of_the_fact_sheet_is_there() -> None:
    face, _ = make()
    assert set(summary(face)) == SUMMARY_KEYS
    assert set(ask(face, "pools").rows("POOLS")[0]) == POOL_KEYS
    head, chains = ask(face, "stats").rows("STATS")
    assert set(head) == {"BMMiner", "Miner", "CompileTime", "Type"}
    assert set(chains) == STATS_KEYS
    assert set(ask(face, "version").rows("VERSION")[0]) == {"BMMiner", "API", "Miner", "CompileTime", "Type"}


def test_it_looks_like_a_machine_that_has_been_running() -> None:
    face, _ = make()
    row = summary(face)
    assert float(row["GHS 5s"]) == pytest.approx(13595, rel=0.015)
    assert isinstance(row["GHS 5s"], str)
    assert (row["Elapsed"], row["Accepted"], row["Rejected"], row["Hardware Errors"]) == (7240, 318, 2, 37)
    chains = ask(face, "stats").rows("STATS")[1]
    assert [chains[f"chain_acs{n}"].count("o") for n in range(5, 10)] == [0, 63, 63, 63, 0]
    assert [chains[f"chain_rate{n}"] == "" for n in (5, 6, 9)] == [True, False, True]
    assert [chains[f"temp2_{n}"] - chains[f"temp{n}"] for n in (6, 7, 8)] == [15, 15, 15]
    assert sum(chains[f"fan{n}"] > 0 for n in range(1, 9)) == chains["fan_num"] == 2
    assert chains["frequency"] == "631"


def test_stats_are_no_json_as_on_the_real_device_unless_told_otherwise() -> None:
    data = make()[0].api.answer(encode_request("stats"))
    assert b"}{" in data
    with pytest.raises(ValueError, match="delimiter"):
        json.loads(data.rstrip(b"\0"))
    assert (
        json.loads(make(defects=False)[0].api.answer(encode_request("stats")).rstrip(b"\0"))["STATS"][1][
            "STATS"
        ]
        == 0
    )


def test_rates_are_empty_until_the_first_one_is_computed() -> None:
    face, clock = make()
    clock.advance_to(60_000_000_000)
    face.machine.stop()
    face.machine.start()
    clock.advance_to(64_000_000_000)
    chains = ask(face, "stats").rows("STATS")[1]
    assert (summary(face)["GHS 5s"], chains["GHS 5s"], chains["chain_rate6"]) == ("", "", "")
    clock.advance_to(66_000_000_000)
    assert float(summary(face)["GHS 5s"]) > 13_000


def test_shares_errors_and_difficulty_are_counted_and_begin_anew_after_a_restart() -> None:
    face, clock = make()
    counts = Counts()
    face.machine.counts = lambda: counts
    face.machine.pool_difficulty = lambda: 8192.0
    assert summary(face)["Difficulty Accepted"] == 318 * 8192
    counts = Counts(10, 1)
    face.machine.pool_difficulty = lambda: 16384.0
    row = summary(face)
    assert (row["Accepted"], row["Rejected"]) == (328, 3)
    assert row["Difficulty Accepted"] == 318 * 8192 + 10 * 16384
    pool = ask(face, "pools").rows("POOLS")[0]
    assert (pool["Diff"], pool["Last Share Difficulty"], pool["Last Share Time"]) == (
        "16.4K",
        16384.0,
        "0:00:00",
    )
    clock.advance_to(4_000_000_000)
    assert ask(face, "pools").rows("POOLS")[0]["Last Share Time"] == "0:00:04"
    clock.advance_to(7_240_000_000_000)
    assert summary(face)["Hardware Errors"] == 2 * 37
    face.machine.stop()
    face.machine.start()
    row = summary(face)
    assert (row["Elapsed"], row["Accepted"], row["Rejected"], row["Hardware Errors"]) == (0, 0, 0, 0)
    assert row["Difficulty Accepted"] == 0


@pytest.mark.parametrize(
    "command", ["addpool", "switchpool", "restart", "quit", "config", "poolpriority", "devdetails"]
)
def test_stock_firmware_refuses_to_write(command: str) -> None:
    face, _ = make()
    asked: list[str] = []
    face.machine.on_restart = lambda: asked.append("restart")
    face.machine.on_pool = lambda: asked.append("pool")
    assert code(face, command, "0") == 45
    assert asked == []


def test_pools_keep_their_numbers_and_change_their_priorities() -> None:
    face, _ = make(writable=True)
    changes: list[tuple[str, int]] = []
    face.machine.on_pool = lambda: changes.append(
        (face.machine.stored.pool_host, face.machine.stored.pool_port)
    )
    assert code(face, "addpool", "stratum+tcp://b:1,us\\,er,x") == 55
    assert code(face, "addpool", "stratum+tcp://c:2,u,x") == 55
    assert changes == []
    assert code(face, "switchpool", "2") == 27
    assert changes == [("c", 2)]
    rows = ask(face, "pools").rows("POOLS")
    assert [(r["POOL"], r["Priority"], r["Stratum Active"]) for r in rows] == [
        (0, 1, False),
        (1, 2, False),
        (2, 0, True),
    ]
    assert rows[1]["User"] == "us,er"
    assert code(face, "switchpool", "0") == 27  # 0 is a pool
    assert code(face, "disablepool", "0") == 48
    assert changes == [("c", 2), ("10.0.0.2", 3333), ("c", 2)]
    assert ask(face, "pools").rows("POOLS")[0]["Status"] == "Disabled"
    assert code(face, "poolpriority", "1,2") == 73
    assert changes[-1] == ("b", 1)


def test_the_numbers_close_up_when_a_pool_is_removed_and_the_priorities_stay() -> None:
    face, _ = make(writable=True)
    for host in "bcd":
        assert code(face, "addpool", f"{host}:1,u,x") == 55
    assert code(face, "poolpriority", "3,1,0,2") == 73
    assert code(face, "removepool", "1") == 68
    rows = ask(face, "pools").rows("POOLS")
    assert [(r["POOL"], r["URL"][14:], r["Priority"], r["Stratum Active"]) for r in rows] == [
        (0, "10.0.0.2:3333", 1, False),
        (1, "c:1", 2, False),
        (2, "d:1", 0, True),
    ]


def test_every_mistake_with_pools_has_its_code() -> None:
    face, _ = make(writable=True)
    assert code(face, "switchpool") == 25
    assert code(face, "switchpool", "1") == 26
    assert code(face, "switchpool", "-1") == 26
    assert code(face, "switchpool", "9" * 5000) == 26
    assert code(face, "addpool") == 52
    for bad in ("one", "a,b", "a,b,c,d", "host:0,u,p", "host:99999,u,p", "host:" + "9" * 5000 + ",u,p"):
        assert code(face, "addpool", bad) == 53
    assert code(face, "disablepool", "0") == 51
    assert code(face, "enablepool", "0") == 49
    assert code(face, "removepool", "0") == 66
    assert code(face, "addpool", "b:1,u,p") == 55
    assert code(face, "removepool", "0") == 67
    assert code(face, "disablepool", "1") == 48
    assert code(face, "disablepool", "1") == 50
    assert code(face, "enablepool", "1") == 47
    assert code(face, "removepool", "1") == 68
    assert code(face, "poolpriority", "0,7") == 26
    for _ in range(100):
        code(face, "addpool", "b:1,u,p")
    assert len(ask(face, "pools").rows("POOLS")) == 32


@pytest.mark.parametrize(("command", "word"), [("restart", "RESTART"), ("quit", "BYE")])
def test_restart_and_quit_are_answered_with_their_word(command: str, word: str) -> None:
    face, _ = make(writable=True)
    asked: list[str] = []
    face.machine.on_restart = lambda: asked.append("restart")
    assert face.api.answer(encode_request(command)) == b'{"STATUS":"%b"}\0' % word.encode()
    assert asked == ["restart"]


# ---- web -------------------------------------------------------------------------------------------------------------


def post(face: S9Face, body: str) -> None:
    target = "/cgi-bin/set_miner_conf.cgi"
    answer = face._store(HttpRequest("POST", target, {}, {}, body.encode(), target))
    assert answer.status == 200


def test_the_settings_form_stores_pools_and_clock_for_the_next_start() -> None:
    face, _ = make()
    asked: list[str] = []
    face.machine.on_restart = lambda: asked.append("restart")
    post(
        face,
        "_ant_pool1url=stratum%2Btcp%3A%2F%2F127.0.0.1%3A3333&_ant_pool1user=a&_ant_pool1pw=secret"
        "&_ant_pool2url=b%3A1&_ant_pool2user=u&_ant_pool3url=&_ant_freq=550&_ant_voltage=",
    )
    assert asked == ["restart"]
    conf = face._configuration()
    assert conf["bitmain-freq"] == "550"
    assert conf["bitmain-voltage"] == "0706"
    assert [(p["url"], p["user"]) for p in conf["pools"]] == [
        ("stratum+tcp://127.0.0.1:3333", "a"),
        ("stratum+tcp://b:1", "u"),
    ]
    assert "secret" not in json.dumps(conf)
    assert face.machine.in_force.frequency_mhz == 631.0
    face.machine.stop()
    face.machine.start()
    assert face.machine.in_force.frequency_mhz == 550.0
    assert ask(face, "stats").rows("STATS")[1]["frequency"] == "550"


@pytest.mark.parametrize("frequency", ["", "nan", "inf", "-5", "0", "99", "701", "1e9", "fast", "9" * 5000])
def test_a_clock_that_the_chip_does_not_have_is_not_stored(frequency: str) -> None:
    face, _ = make()
    post(face, f"_ant_freq={frequency}")
    assert face._configuration()["bitmain-freq"] == "631"
    assert face.machine.stored.frequency_mhz == 631.0
