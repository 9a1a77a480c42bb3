"""What the proxy hands through from a miner to its pool and back, and what it keeps to itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_bridge.stratum.proxy import Upstream
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.refeed import stratum_shares
from tests.stratum.bridge_kit import EVERY_HASH, db_url, eventually, rows
from tests.stratum.proxy_kit import MODES, Client, hurry, outcomes, running_proxy, written
from tests.stratum.strict_pool import StrictPool

pytestmark = pytest.mark.usefixtures(hurry.__name__)


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
