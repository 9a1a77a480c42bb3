"""What the proxy does when pools change their mind, vanish or refuse."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.stratum.bridge_kit import EVERY_HASH, eventually, rows
from tests.stratum.proxy_kit import MODES, Client, events, hurry, outcomes, running_proxy
from tests.stratum.strict_pool import StrictPool

pytestmark = pytest.mark.usefixtures(hurry.__name__)


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
