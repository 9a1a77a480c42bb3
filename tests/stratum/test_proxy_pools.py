"""What the proxy hands through and what it does when pools change their mind, vanish, refuse or lie."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from firmware_bridge.stratum.proxy import Upstream
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.refeed import stratum_shares
from tests.stratum.bridge_kit import EVERY_HASH, db_url, eventually, rows
from tests.stratum.proxy_kit import Client, hurry, running_proxy
from tests.stratum.strict_pool import StrictPool

ALL_EVENTS = "SELECT kind, detail FROM events ORDER BY id"
pytestmark = pytest.mark.usefixtures(hurry.__name__)
MODES = pytest.mark.parametrize("mode", ["relay", "vbm"])


def outcomes(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """Kind and detail of what became of each share, as stored."""
    told = ("upstream-accepted", "upstream-rejected", "share-not-forwarded", "upstream-unanswered")
    return [
        (row["kind"], json.loads(row["detail"])) for row in rows(folder, ALL_EVENTS) if row["kind"] in told
    ]


def written(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [json.loads(r["detail"]) for r in rows(folder, "SELECT detail FROM events WHERE kind = ?", kind)]


# ---- handed through --------------------------------------------------------------------------------------------------


@MODES
async def test_agent_user_and_password_are_handed_through_and_the_password_is_nowhere_stored(
    tmp_path: Path, mode: str
) -> None:
    async with (
        StrictPool(EVERY_HASH) as pool,
        running_proxy(tmp_path, pool, mode=mode, record=True) as (proxy, port),
    ):
        miner = await Client.connect(port)
        await miner.ready(user="wallet.rig", agent="cgminer/4.12.1", password="hunter2hunter2")
        assert (await miner.submit(1, user="wallet.rig"))["result"] is True
        await eventually(lambda: pool.verdicts["accepted"] == 1)
        await proxy.stop()
    assert ("mining.subscribe", ["cgminer/4.12.1"]) in pool.requests
    assert ("mining.authorize", ["wallet.rig", "hunter2hunter2"]) in pool.requests
    assert pool.shares[0][1][0] == "wallet.rig"
    assert b"hunter2" not in written(tmp_path)


async def test_a_user_and_password_of_the_proxy_take_the_place_of_the_miners(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with StrictPool(EVERY_HASH, refuse="wrong password swordfish99") as pool:
        place = Upstream("127.0.0.1", pool.port, "wallet", "swordfish99")
        assert "swordfish99" not in repr(place)
        async with running_proxy(tmp_path, place) as (proxy, port):
            miner = await Client.connect(port)
            await miner.ask("mining.subscribe", ["test/1"])
            answer = await miner.ask("mining.authorize", ["me", "x"])
            assert answer["error"] == [24, "wrong password ***", None]
            pool.refuse = None
            assert (await miner.ask("mining.authorize", ["me", "x"]))["result"] is True
            await miner.until_jobs(1)
            assert (await miner.submit(7, user="me"))["result"] is True
            await eventually(lambda: pool.verdicts["accepted"] == 1)
            await proxy.stop()
    assert pool.shares[0][1][0] == "wallet"
    assert pool.seats[0].users == {"wallet": "swordfish99"}
    assert b"swordfish99" not in written(tmp_path)
    assert "swordfish99" not in caplog.text
    assert rows(tmp_path, "SELECT name FROM miners")[0]["name"] == "me"


@MODES
async def test_a_recorded_run_holds_both_links_and_judges_its_shares_again(tmp_path: Path, mode: str) -> None:
    async with (
        StrictPool(EVERY_HASH, refuse="wrong: hunter2hunter2") as pool,
        running_proxy(tmp_path, pool, mode=mode, record=True) as (proxy, port),
    ):
        miner = await Client.connect(port)
        await miner.ask("mining.subscribe", ["test/1"])
        await miner.ask("mining.authorize", ["worker", "hunter2hunter2"])
        pool.refuse = None
        await miner.ready(password="hunter2hunter2")
        for nonce in range(5):
            assert (await miner.submit(nonce))["result"] is True
        assert (await miner.submit(0, job=miner.jobs[0]))["error"][0] == 22
        pool.seats[0].new_job(True)
        await miner.until("mining.notify", len(miner.jobs) + 1)
        assert (await miner.submit(9))["result"] is True
        await proxy.stop()
    assert b"hunter2" not in written(tmp_path)
    upstream = rows(tmp_path, "SELECT * FROM recorded_bytes WHERE link LIKE 'upstream://%' ORDER BY id")
    received = b"".join(row["data"] for row in upstream if row["direction"] == "received")
    sent = b"".join(row["data"] for row in upstream if row["direction"] == "sent")
    assert received.count(b"mining.notify") >= 2
    assert sent.count(b"mining.submit") == len(pool.shares) > 0
    reader = TraceReader(db_url(tmp_path))
    assert stratum_shares(reader, 1) == list(reader.share_rows(1))


@MODES
async def test_nothing_is_sent_unasked_before_subscribe_configure_and_authorize_are_answered(
    tmp_path: Path, mode: str
) -> None:
    async with (
        StrictPool(EVERY_HASH, delay_s=0.05) as pool,
        running_proxy(tmp_path, pool, mode=mode) as (_, port),
    ):
        miner = await Client.connect(port)
        options = {"version-rolling.mask": "1fffe000"}
        miner.send("mining.subscribe", ["LV06"], id=1)
        miner.send("mining.configure", [["version-rolling"], options], id=2)
        miner.send("mining.suggest_difficulty", [1000], id=3)
        miner.send("mining.authorize", ["w", "x"], id=4)
        await miner.until_jobs(1)
        kinds = [message.get("method") or message["id"] for message in miner.lines]
        assert set(kinds[:4]) == {1, 2, 3, 4}  # 3 is answered here, and needs no pool
        assert kinds[4:] == ["mining.set_difficulty", "mining.notify"]
        assert ("mining.suggest_difficulty", [1000]) in pool.requests


@MODES
async def test_the_mask_is_what_miner_proxy_and_pool_all_allow(tmp_path: Path, mode: str) -> None:
    async with (
        StrictPool(EVERY_HASH, mask=0x00FFE000) as pool,
        running_proxy(tmp_path, pool, mode=mode, version_mask=0x0FFF0000) as (_, port),
    ):
        miner = await Client.connect(port)
        options = {"version-rolling.mask": "1fff8000"}
        granted = (await miner.ask("mining.configure", [["version-rolling", "odd"], options]))["result"]
        assert granted == {"version-rolling": True, "version-rolling.mask": "00ff0000", "odd": False}
        await miner.ready()
        inside = [*miner.share(1), "00ff0000"]
        assert (await miner.ask("mining.submit", inside))["result"] is True
        await eventually(lambda: pool.verdicts["accepted"] == 1)
        pool.seats[0].set_mask(0x000F0000)
        await miner.until("mining.set_version_mask")
        assert miner.told("mining.set_version_mask") == [["000f0000"]]


@MODES
async def test_a_pool_that_does_not_know_configure_grants_no_version_rolling(
    tmp_path: Path, mode: str
) -> None:
    async with (
        StrictPool(EVERY_HASH, knows_configure=False) as pool,
        running_proxy(tmp_path, pool, mode=mode) as (_, port),
    ):
        miner = await Client.connect(port)
        granted = (await miner.ask("mining.configure", [["version-rolling"], {}]))["result"]
        assert granted == {"version-rolling": False}
        await miner.ready()
        assert (await miner.submit(1))["result"] is True


async def test_relay_hands_the_pools_verdict_through_word_for_word(tmp_path: Path) -> None:
    async with StrictPool(EVERY_HASH) as pool, running_proxy(tmp_path, pool, mode="relay") as (proxy, port):
        miner = await (await Client.connect(port)).ready()
        first = miner.jobs[0]
        assert (await miner.submit(1))["result"] is True
        assert (await miner.submit(1))["error"] == [22, "duplicate share", None]
        pool.seats[0].set_difficulty(1e9)
        pool.seats[0].new_job(True)
        await miner.until_jobs(2)
        assert miner.difficulties[-1] == 1e9
        assert (await miner.submit(2))["error"] == [23, "low difficulty share", None]
        assert (await miner.submit(3, job=first))["error"] == [21, "job not found", None]
        nonsense = await miner.ask("mining.submit", ["worker", miner.jobs[-1][0], "zz", "", ""])
        assert nonsense["error"][0] == 20
        await proxy.stop()
    assert pool.verdicts == {
        "accepted": 1, "duplicate share": 1, "low difficulty share": 1, "job not found": 1,
    }  # fmt: skip
    stored = rows(tmp_path, "SELECT valid, reason FROM shares ORDER BY id")
    assert [row["reason"] for row in stored] == [None, "duplicate", "low-difficulty", "stale", "malformed"]
    told = [(kind, detail.get("reason")) for kind, detail in outcomes(tmp_path)]
    rejected = "upstream-rejected"
    assert told == [
        ("upstream-accepted", None), (rejected, "duplicate"), (rejected, "low-difficulty"), (rejected, "stale"),
    ]  # fmt: skip
    assert proxy.stats.upstream_rejected == {"duplicate": 1, "low-difficulty": 1, "stale": 1}
    assert proxy.stats.verdicts_differ == 0


async def test_vbm_keeps_duplicates_late_and_easy_shares_from_the_pool(tmp_path: Path) -> None:
    async with (
        StrictPool(EVERY_HASH) as pool,
        running_proxy(tmp_path, pool, mode="vbm", work="upstream") as (proxy, port),
    ):
        miner = await (await Client.connect(port)).ready()
        first = miner.jobs[0]
        assert (await miner.submit(1))["result"] is True
        assert (await miner.submit(1))["error"][0] == 22
        pool.seats[0].set_difficulty(1e9)
        pool.seats[0].new_job(True)
        await miner.until_jobs(2)
        assert (await miner.submit(2))["error"][0] == 23
        assert (await miner.submit(3, job=first))["error"][0] == 21
        await proxy.stop()
    assert pool.verdicts == {"accepted": 1}
    assert proxy.stats.stale == proxy.stats.duplicates == 1


async def test_jobs_without_the_clean_flag_leave_older_ones_valid(tmp_path: Path) -> None:
    async with StrictPool(EVERY_HASH) as pool, running_proxy(tmp_path, pool, work="upstream") as (_, port):
        miner = await (await Client.connect(port)).ready()
        first = miner.jobs[0]
        pool.seats[0].new_job(False)
        await miner.until_jobs(2)
        assert (await miner.submit(3, job=first))["result"] is True
        assert (await miner.submit(3))["result"] is True
        await eventually(lambda: pool.verdicts["accepted"] == 2)


# ---- work of our own -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "kept"), [(2, 0), (3, 1), (4, 1), (6, 2), (8, 4)])
async def test_vbm_has_the_next_job_at_once_and_the_same_numbers_are_no_duplicates_there(
    tmp_path: Path, size: int, kept: int
) -> None:
    async with StrictPool(EVERY_HASH, size=size) as pool, running_proxy(tmp_path, pool) as (proxy, port):
        miner = await Client.connect(port)
        subscribed = await miner.ask("mining.subscribe", ["test/1"])
        assert subscribed["result"][2] == size - kept
        miner.extranonce1 = subscribed["result"][1]
        await miner.ask("mining.authorize", ["worker", "x"])
        await miner.until_jobs(1)
        if not kept:
            assert (await miner.submit(5))["result"] is True
            await proxy.stop()
            assert len(miner.jobs) == 1
            return
        for number in range(20):  # always the same extranonce2 and nonce: each job is another header
            assert (await miner.submit(5))["result"] is True
            await miner.until_jobs(number + 2)
        await eventually(lambda: sum(pool.verdicts.values()) == 20)
        assert pool.verdicts == {"accepted": 20}
        assert len({job[0] for job in miner.jobs}) == 21
        assert {job[8] for job in miner.jobs[1:]} == {False}
        assert proxy.stats.derived_jobs == 20
        assert len(proxy.stats.work_ns) == 20


@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.parametrize("size", [2, 4])
async def test_a_job_that_a_pool_sends_again_is_not_searched_again(
    tmp_path: Path, size: int, clean: bool
) -> None:
    async with (
        StrictPool(EVERY_HASH, size=size) as pool,
        running_proxy(tmp_path, pool, work="upstream") as (_, port),
    ):
        miner = await (await Client.connect(port)).ready()
        assert (await miner.submit(5))["result"] is True
        pool.seats[0].repeat_job(clean)
        await miner.until_jobs(2)
        same_name = miner.jobs[0][0] == miner.jobs[1][0]
        assert same_name == (
            size == 2
        )  # nothing can be kept of 2 bytes, so the name tells a miner that it knows the job
        assert miner.jobs[1][8] is clean
        if not same_name:
            assert (await miner.submit(5))["result"] is True  # another header
        elif not clean:
            assert (await miner.submit(5))["error"][0] == 22
        assert (await miner.submit(6))["result"] is True
        wanted = 2 if same_name else 3
        await eventually(lambda: sum(pool.verdicts.values()) == wanted)
        assert pool.verdicts == {"accepted": wanted}


async def test_own_work_ends_with_its_numbers_and_begins_again_with_the_pools_next_job(
    tmp_path: Path,
) -> None:
    async with StrictPool(EVERY_HASH, size=4) as pool, running_proxy(tmp_path, pool) as (proxy, port):
        miner = await (await Client.connect(port)).ready()
        for number in range(300):
            assert (await miner.submit(number))["result"] is True
        assert len(miner.jobs) == 256
        pool.seats[0].new_job(False)
        await miner.until_jobs(257)
        assert (await miner.submit(1))["result"] is True
        await miner.until_jobs(258)
        await eventually(lambda: pool.verdicts["accepted"] == 301)
        await proxy.stop()
    assert pool.verdicts == {"accepted": 301}
    assert len(events(tmp_path, "work-exhausted")) == 1


async def test_a_local_difficulty_gives_more_shares_and_the_pool_only_those_it_wants(tmp_path: Path) -> None:
    pools = 2.0**-28  # every 16th hash
    async with (
        StrictPool(pools) as pool,
        running_proxy(tmp_path, pool, difficulty=EVERY_HASH, work="upstream") as (proxy, port),
    ):
        miner = await (await Client.connect(port)).ready()
        assert miner.difficulties == [EVERY_HASH]
        for nonce in range(200):
            assert (await miner.submit(nonce))["result"] is True
        await proxy.stop()
    assert set(pool.verdicts) == {"accepted"}
    assert 0 < pool.verdicts["accepted"] < 60
    assert pool.verdicts["accepted"] + proxy.stats.below_upstream == 200
    assert proxy.stats.accepted_difficulty == pytest.approx(pools * pool.verdicts["accepted"])
    assert len(outcomes(tmp_path)) == 200  # each share's way is known


async def test_who_only_connects_costs_the_pool_nothing(tmp_path: Path) -> None:
    async with StrictPool(EVERY_HASH) as pool, running_proxy(tmp_path, pool) as (proxy, port):
        scanner = await Client.connect(port)
        await scanner.ask("mining.ping", [])
        miner = await (await Client.connect(port)).ready()
        assert len(pool.seats) == 1
        scanner.close()
        miner.close()
        await eventually(lambda: not proxy._connections)


# ---- extranonces -----------------------------------------------------------------------------------------------------


@MODES
async def test_a_new_extranonce1_reaches_a_miner_that_subscribed_to_it(tmp_path: Path, mode: str) -> None:
    async with StrictPool(EVERY_HASH, size=4) as pool, running_proxy(tmp_path, pool, mode=mode) as (_, port):
        miner = await Client.connect(port)
        await miner.ask("mining.extranonce.subscribe", [])
        await miner.ready()
        pool.seats[0].set_extranonce("c0ffee", 5)
        pool.seats[0].new_job(True)
        await miner.until_jobs(2)
        size = 5 if mode == "relay" else 4
        assert miner.told("mining.set_extranonce") == [["c0ffee", size]]
        assert (await miner.submit(9))["result"] is True
        await eventually(lambda: pool.verdicts["accepted"] == 1)
        assert pool.verdicts == {"accepted": 1}


@MODES
async def test_a_miner_that_did_not_subscribe_to_it_is_sent_away_to_subscribe_again(
    tmp_path: Path, mode: str
) -> None:
    async with StrictPool(EVERY_HASH) as pool, running_proxy(tmp_path, pool, mode=mode) as (_, port):
        miner = await (await Client.connect(port)).ready()
        pool.seats[0].set_extranonce("c0ffee", 4)
        await miner.until_closed()
        again = await (await Client.connect(port)).ready()
        assert (await again.submit(9))["result"] is True


# ---- lost and found --------------------------------------------------------------------------------------------------


async def test_shares_found_without_a_pool_reach_it_when_the_session_goes_on(tmp_path: Path) -> None:
    async with StrictPool(EVERY_HASH, resumes=True) as pool, running_proxy(tmp_path, pool) as (proxy, port):
        miner = await (await Client.connect(port)).ready()
        assert (await miner.submit(1))["result"] is True
        await eventually(lambda: pool.verdicts["accepted"] == 1)
        await pool.close()
        await eventually(lambda: proxy._mine()[0].link.session is None)
        for nonce in range(2, 7):  # of jobs that are made without any pool
            assert (await miner.submit(nonce))["result"] is True
            await miner.until_jobs(nonce + 1)
        await pool.open()
        await eventually(lambda: sum(pool.verdicts.values()) == 6)
        assert (await miner.submit(9, job=miner.jobs[0]))["result"] is True
        await proxy.stop()
    assert pool.verdicts == {"accepted": 7}
    assert [kind for kind, _ in outcomes(tmp_path)] == ["upstream-accepted"] * 7
    assert proxy.stats.reconnects == 1
    assert miner.told("mining.set_extranonce") == []


async def test_a_pool_that_forgot_the_session_gets_no_share_of_it_and_the_trace_says_so(
    tmp_path: Path,
) -> None:
    async with (
        StrictPool(EVERY_HASH) as pool,
        running_proxy(tmp_path, pool, work="upstream") as (proxy, port),
    ):
        miner = await Client.connect(port)
        await miner.ask("mining.extranonce.subscribe", [])
        await miner.ready()
        assert (await miner.submit(1))["result"] is True
        await eventually(lambda: pool.verdicts["accepted"] == 1)
        await pool.close()
        await eventually(lambda: proxy._mine()[0].link.session is None)
        assert (await miner.submit(2))["result"] is True
        await pool.open()
        await miner.until_jobs(2)
        assert miner.told("mining.set_extranonce") == [[pool.seats[1].extranonce1, 3]]
        assert miner.jobs[1][8] is True
        assert (await miner.submit(3, job=miner.jobs[0]))["error"][0] == 21
        assert (await miner.submit(4))["result"] is True
        await eventually(lambda: pool.verdicts["accepted"] == 2)
        await proxy.stop()
    assert pool.verdicts == {"accepted": 2}
    accepted, left_out, later = outcomes(tmp_path)
    assert (accepted[0], later[0]) == ("upstream-accepted", "upstream-accepted")
    assert left_out[0] == "share-not-forwarded"
    assert left_out[1]["nonce"] == "00000002"
    assert proxy.stats.not_forwarded == {left_out[1]["why"]: 1}
    valid = rows(tmp_path, "SELECT count(*) AS n FROM shares WHERE valid")
    assert valid[0]["n"] == 3  # every acknowledged one is there


@MODES
async def test_a_pool_that_dies_with_shares_unanswered(tmp_path: Path, mode: str) -> None:
    async with (
        StrictPool(EVERY_HASH, deaf=True) as pool,
        running_proxy(tmp_path, pool, mode=mode) as (proxy, port),
    ):
        miner = await (await Client.connect(port)).ready()
        id = miner.send("mining.submit", miner.share(1))
        await eventually(lambda: len(pool.shares) == 1)
        pool.drop()
        answer = await miner.answer(id)
        assert (answer["result"] is True) == (mode == "vbm")
        assert mode == "vbm" or answer["error"][1] == "the pool was lost before it answered"
        await eventually(lambda: proxy.stats.unanswered == 1)
        await proxy.stop()
    assert [kind for kind, _ in outcomes(tmp_path)] == ["upstream-unanswered"]


@MODES
async def test_a_deaf_pool_is_given_up_after_its_time(tmp_path: Path, mode: str) -> None:
    async with (
        StrictPool(EVERY_HASH, deaf=True, fixed_extranonce1="aa") as deaf,
        StrictPool(EVERY_HASH, fixed_extranonce1="aa") as sound,
        running_proxy(tmp_path, deaf, sound, mode=mode, answer_timeout_s=0.2, retries=1) as (proxy, port),
    ):
        miner = await (await Client.connect(port)).ready()
        miner.send("mining.submit", miner.share(1))
        while len(miner.jobs) < 2 or not sound.seats:
            await miner.read()
        assert proxy.stats.unanswered == 1


@MODES
async def test_another_pool_has_its_turn_where_the_first_is_dead(tmp_path: Path, mode: str) -> None:
    async with StrictPool(EVERY_HASH) as dead, StrictPool(EVERY_HASH, tag=0xB0) as sound:
        await dead.close()
        async with running_proxy(tmp_path, dead, sound, mode=mode, retries=2) as (_, port):
            miner = await (await Client.connect(port)).ready()
            assert miner.extranonce1.startswith("b0")
            again = await (await Client.connect(port)).ready()  # newcomers start where it worked
            assert again.extranonce1.startswith("b0")
    assert len(events(tmp_path, "upstream-next")) == 1
    assert len(events(tmp_path, "upstream-lost")) == 2


async def test_a_miner_that_gives_up_early_does_not_make_the_proxy_forget_that_a_pool_is_dead(
    tmp_path: Path,
) -> None:
    async with StrictPool(EVERY_HASH) as dead, StrictPool(EVERY_HASH, tag=0xB0) as sound:
        await dead.close()
        async with running_proxy(tmp_path, dead, sound, retries=4) as (proxy, port):
            for tries in range(1, 4):
                hasty = await Client.connect(port)
                hasty.send("mining.subscribe", ["hasty"])
                await eventually(lambda tries=tries: proxy.preference.failures >= tries)
                hasty.close()
                await eventually(lambda: not proxy._connections)
            miner = await (await Client.connect(port)).ready()
            assert miner.extranonce1.startswith("b0")


async def test_a_miner_is_told_that_no_pool_took_it_in(tmp_path: Path) -> None:
    async with StrictPool(EVERY_HASH) as dead:
        await dead.close()
        async with running_proxy(tmp_path, dead, handshake_timeout_s=0.3) as (_, port):
            miner = await Client.connect(port)
            miner.send("mining.subscribe", ["test/1"])
            await miner.until_closed()
            silent = await Client.connect(port)
            await silent.until_closed()
    reasons = [event["reason"] for event in events(tmp_path, "dropped")]
    assert reasons[0].startswith("no pool took this miner in")
    assert reasons[1].startswith("no mining.subscribe")


@MODES
async def test_a_pool_that_never_answers_configure_is_gone_on_without(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firmware_bridge.stratum.proxy_handshake.CONFIGURE_PATIENCE_S", 0.1)
    async with (
        StrictPool(EVERY_HASH, silent_on=("mining.configure", "mining.suggest_difficulty")) as pool,
        running_proxy(tmp_path, pool, mode=mode, answer_timeout_s=0.3) as (_, port),
    ):
        miner = await Client.connect(port)
        granted = (await miner.ask("mining.configure", [["version-rolling"], {}]))["result"]
        assert granted == {"version-rolling": False}
        await miner.ask("mining.suggest_difficulty", [512])
        await miner.ready()
        await asyncio.sleep(0.6)  # longer than the pool may owe an answer
        assert (await miner.submit(1))["result"] is True
        assert len(pool.seats) == 1


@MODES
async def test_another_pool_has_its_turn_at_once_where_the_first_refuses_the_worker(
    tmp_path: Path, mode: str
) -> None:
    async with (
        StrictPool(EVERY_HASH, refuse="no such user") as strict,
        StrictPool(EVERY_HASH, tag=0xB0) as sound,
        running_proxy(tmp_path, strict, sound, mode=mode, retries=50) as (_, port),
    ):
        miner = await Client.connect(port)
        await miner.ask("mining.extranonce.subscribe", [])
        await miner.ready()
        assert (await miner.submit(1))["result"] is True
        await eventually(lambda: sound.verdicts["accepted"] == 1)
        assert strict.verdicts == {}


async def test_a_worker_that_every_pool_refuses_hears_why(tmp_path: Path) -> None:
    async with (
        StrictPool(EVERY_HASH, refuse="no such user") as one,
        StrictPool(EVERY_HASH, refuse="not paid", tag=0xA0) as two,
        running_proxy(tmp_path, one, two) as (_, port),
    ):
        miner = await Client.connect(port)
        await miner.ask("mining.extranonce.subscribe", [])
        await miner.ask("mining.subscribe", ["test/1"])
        assert (await miner.ask("mining.authorize", ["w", "x"]))["error"] == [24, "not paid", None]


async def test_miners_go_back_to_the_first_pool_once_it_is_well(tmp_path: Path) -> None:
    async with StrictPool(EVERY_HASH) as first, StrictPool(EVERY_HASH, tag=0xB0) as second:
        await first.close()
        options = {"retries": 1, "return_after_s": 0.2}
        async with running_proxy(tmp_path, first, second, **options) as (_, port):
            miner = await Client.connect(port)
            await miner.ask("mining.extranonce.subscribe", [])
            await miner.ready()
            assert miner.extranonce1.startswith("b0")
            await first.open()
            await miner.until("mining.set_extranonce")
            await miner.until_jobs(2)
            assert (await miner.submit(1))["result"] is True
            await eventually(lambda: first.verdicts["accepted"] == 1)


@MODES
async def test_miners_are_kept_for_a_while_without_a_pool_and_then_sent_away(
    tmp_path: Path, mode: str
) -> None:
    async with (
        StrictPool(EVERY_HASH) as pool,
        running_proxy(tmp_path, pool, mode=mode, hold_s=0.4) as (proxy, port),
    ):
        miner = await (await Client.connect(port)).ready()
        await pool.close()
        await eventually(lambda: proxy._mine()[0].link.session is None)
        answer = await miner.submit(3)
        assert (answer["result"] is True) == (mode == "vbm")
        await miner.until_closed()
        await eventually(lambda: not proxy.lingering)
        await proxy.stop()
    assert next(iter(outcomes(tmp_path)))[0] == "share-not-forwarded"
    assert rows(tmp_path, "SELECT count(*) AS n FROM shares WHERE valid")[0]["n"] == 1


@pytest.mark.parametrize("place", ["evil.example", "127.0.0.2", "localhost.evil.example"])
async def test_a_pool_cannot_send_miners_to_a_stranger(tmp_path: Path, place: str) -> None:
    async with StrictPool(EVERY_HASH) as pool, running_proxy(tmp_path, pool) as (proxy, port):
        miner = await (await Client.connect(port)).ready()
        pool.seats[0].call("client.reconnect", [place, 3333, 0])
        assert (await miner.submit(1))["result"] is True
        await eventually(lambda: pool.verdicts["accepted"] == 1)
        await proxy.stop()
    assert len(pool.seats) == 1
    assert events(tmp_path, "upstream-redirect-refused")[0]["host"] == place


async def test_a_pool_can_send_miners_to_another_port_of_its_own(tmp_path: Path) -> None:
    async with (
        StrictPool(EVERY_HASH, fixed_extranonce1="ab") as pool,
        StrictPool(EVERY_HASH, fixed_extranonce1="ab") as other,
        running_proxy(tmp_path, pool) as (_, port),
    ):
        miner = await (await Client.connect(port)).ready()
        pool.seats[0].call("client.reconnect", ["127.0.0.1", other.port, 0])
        await miner.until_jobs(2)
        assert (await miner.submit(1))["result"] is True
        await eventually(lambda: other.verdicts["accepted"] == 1)


# ---- liars -----------------------------------------------------------------------------------------------------------

GOOD = ["1", "00" * 32, "aa", "bb", [], "20000000", "1d00ffff", "65000000", True]


def line(method: str, params: Any) -> bytes:
    return json.dumps({"id": None, "method": method, "params": params}).encode() + b"\n"


def changed(place: int, value: Any) -> bytes:
    return line("mining.notify", [*GOOD[:place], value, *GOOD[place + 1 :]])


LIES = {
    "no JSON": b"\x00\xff garbage\n",
    "no object": b"[1,2,3]\n",
    "deep": b"[" * 5000 + b"\n",
    "difficulty NaN": b'{"id":null,"method":"mining.set_difficulty","params":[NaN]}\n',
    "difficulty infinite": b'{"id":null,"method":"mining.set_difficulty","params":[1e999]}\n',
    "difficulty 0": line("mining.set_difficulty", [0]),
    "difficulty negative": line("mining.set_difficulty", [-1]),
    "difficulty huge": line("mining.set_difficulty", [10**400]),
    "difficulty text": line("mining.set_difficulty", ["1"]),
    "difficulty missing": line("mining.set_difficulty", []),
    "too many branches": changed(4, ["00" * 32] * 33),
    "short branch": changed(4, ["00" * 31]),
    "branch no text": changed(4, [1]),
    "prevhash no hex": changed(1, "zz" * 32),
    "coinb1 odd": changed(2, "abc"),
    "coinb2 no hex": changed(3, "no hex"),
    "version": changed(5, "2000"),
    "nbits": changed(6, "1d00ffff00"),
    "ntime": changed(7, "65 00000"),
    "job id empty": changed(0, ""),
    "job id endless": changed(0, "x" * 1000),
    "eight parameters": line("mining.notify", GOOD[:8]),
    "extranonce1 no hex": line("mining.set_extranonce", ["xyz", 4]),
    "extranonce2 too large": line("mining.set_extranonce", ["00", 1000]),
    "extranonce1 too long": line("mining.set_extranonce", ["00" * 100, 4]),
    "mask": line("mining.set_version_mask", ["not a mask"]),
    "answer to nothing": b'{"id":99999,"result":true,"error":null}\n',
    "unknown method": line("mining.nonsense", [1]),
    "message nonsense": line("client.show_message", [{"a": 1}]),
}


@pytest.mark.parametrize("names", [list(LIES)[:14], list(LIES)[14:]], ids=["first half", "second half"])
async def test_a_lie_of_a_pool_is_noted_and_changes_nothing(tmp_path: Path, names: list[str]) -> None:
    async with (
        StrictPool(EVERY_HASH) as pool,
        running_proxy(tmp_path, pool, work="upstream") as (proxy, port),
    ):
        miner = await (await Client.connect(port)).ready()
        for number, name in enumerate(names, 1):
            pool.seats[0].writer.write(LIES[name])
            pool.seats[0].new_job(False)
            await miner.until_jobs(number + 1)
            assert (await miner.submit(1))["result"] is True, name
            await eventually(lambda number=number: sum(pool.verdicts.values()) == number)
            assert pool.verdicts == {"accepted": number}, name
        await proxy.stop()
    harmless = {"unknown method": "upstream-unknown-method", "message nonsense": "upstream-message"}
    kinds = [row["kind"] for row in rows(tmp_path, ALL_EVENTS)]
    noted = [kind for kind in kinds if kind in (*harmless.values(), "upstream-bad-message")]
    assert noted == [harmless.get(name, "upstream-bad-message") for name in names]
    assert "internal-error" not in kinds


@pytest.mark.parametrize("flood", [b"x" * 300_000, b"nonsense\n" * 20], ids=["endless line", "too many lies"])
async def test_a_pool_that_only_lies_is_left_and_other_miners_do_not_notice(
    tmp_path: Path, flood: bytes
) -> None:
    async with (
        StrictPool(EVERY_HASH) as bad,
        StrictPool(EVERY_HASH, tag=0xB0) as good,
        running_proxy(tmp_path, bad, good, retries=1) as (proxy, port),
    ):
        victim = await Client.connect(port)
        await victim.ask("mining.extranonce.subscribe", [])
        await victim.ready()
        bystander = await (await Client.connect(port)).ready()
        bad.seats[0].writer.write(flood)
        await victim.until_jobs(2)
        assert (await victim.submit(1))["result"] is True
        await eventually(lambda: good.verdicts["accepted"] == 1)
        assert (await bystander.submit(1))["result"] is True
        await eventually(lambda: bad.verdicts["accepted"] == 1)
        await proxy.stop()
    assert "internal-error" not in {row["kind"] for row in rows(tmp_path, "SELECT kind FROM events")}


@pytest.mark.parametrize(
    "answer",
    [None, [[], "zz", 4], {"a": 1}],
    ids=str,
)
async def test_a_pool_whose_subscription_is_nonsense_is_left(tmp_path: Path, answer: Any) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while raw := await reader.readline():
            message = json.loads(raw)
            writer.write(json.dumps({"id": message["id"], "result": answer, "error": None}).encode() + b"\n")
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    liar = Upstream("127.0.0.1", server.sockets[0].getsockname()[1])
    async with StrictPool(EVERY_HASH) as good, running_proxy(tmp_path, liar, good, retries=1) as (_, port):
        miner = await (await Client.connect(port)).ready()
        assert miner.extranonce1.startswith("a0")
    server.close()


@MODES
async def test_a_miner_with_one_id_for_all_its_submits_and_no_agent(tmp_path: Path, mode: str) -> None:
    """As cpuminer does: ids 1, 2 and 3 for the handshake, 4 for every share, several of them unanswered."""
    async with (
        StrictPool(EVERY_HASH, delay_s=0.002) as pool,
        running_proxy(tmp_path, pool, mode=mode) as (proxy, port),
    ):
        miner = await Client.connect(port)
        miner.send("mining.subscribe", [], id=1)
        await miner.answer(1)
        miner.send("mining.authorize", ["worker", "x"], id=2)
        miner.send("mining.extranonce.subscribe", [], id=3)
        await miner.until_jobs(1)
        job = miner.jobs[0]
        for nonce in [*range(40), 7]:
            miner.send("mining.submit", miner.share(nonce, job=job), id=4)
        answers = [await miner.answer(4) for _ in range(41)]
        await proxy.stop()
    assert [answer["result"] for answer in answers].count(True) == 40
    assert [answer["error"][0] for answer in answers if answer["error"]] == [22]
    assert pool.verdicts["accepted"] == 40
    assert pool.requests[0] == ("mining.subscribe", ["asiclab-proxy"])
