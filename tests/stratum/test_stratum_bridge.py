"""The bridge over real TCP: what is stored, when it is acknowledged, how its times hold against other clocks."""

from __future__ import annotations

import asyncio
import functools
import json
import socket
import sqlite3
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firmware_bridge.errors import TraceError, UserError
from firmware_bridge.headers import Job, Share, verify
from firmware_bridge.stratum import kernel_time
from firmware_bridge.stratum.config import BridgeConfig
from firmware_bridge.stratum.dispatch import JobSymbol, SequenceSource
from firmware_bridge.stratum.server import Bridge
from firmware_bridge.stratum.watch import Watch
from firmware_bridge.trace.replay import ShareEvent
from firmware_bridge.trace.schema import RunRecord
from firmware_bridge.trace.writer import TraceWriter
from tests.stratum.bridge_kit import (
    PATIENCE_S,
    RawMiner,
    db_url,
    difficulty_of,
    eventually,
    rows,
    running_bridge,
)


def stored_job(row: sqlite3.Row) -> Job:
    return Job(
        job_id=row["job_id"], prevhash=row["prevhash"], coinb1=row["coinb1"], coinb2=row["coinb2"],
        merkle_branch=tuple(json.loads(row["merkle_branch"])), version=row["version"], nbits=row["nbits"],
        ntime=row["ntime"], extranonce1=row["extranonce1"], extranonce2_size=row["extranonce2_size"],
        clean=bool(row["clean"]), difficulty=row["difficulty"], scale=row["scale"],
        version_mask=row["version_mask"],
    )  # fmt: skip


async def test_a_share_is_verified_stored_and_acknowledged(tmp_path: Path) -> None:
    async with running_bridge(tmp_path, merkle_branches=3) as (bridge, port):
        miner = await (await RawMiner.connect(port)).ready("farm.one", "cpuminer/2.5.1")
        assert (await miner.submit(7, user="farm.one"))["result"] is True
        # the acknowledgement says that it is durable: another process sees it at once
        (share,) = rows(tmp_path, "SELECT * FROM shares")
        params = miner.share(7, user="farm.one")
        assert [share[n] for n in ("job_id", "extranonce2", "ntime", "nonce", "version_bits")] == [
            *params[1:],
            None,
        ]
        assert share["valid"] == 1
        assert share["reason"] is None
        assert share["difficulty"] == difficulty_of(miner.jobs[-1], miner.extranonce1, params)
        assert (bridge.stats.accepted, bridge.stats.rejected, bridge.stats.jobs) == (1, 0, 1)
    (job,) = rows(tmp_path, "SELECT * FROM jobs")
    assert job["job"] == share["job"] == 1
    again = verify(stored_job(job), Share(*(share[n] for n in ("job_id", "extranonce2", "ntime", "nonce"))))
    assert again.meets_job
    assert again.difficulty == share["difficulty"]
    (row,) = rows(tmp_path, "SELECT * FROM miners")
    assert (row["name"], row["user_agent"], row["extranonce1"]) == (
        "farm.one",
        "cpuminer/2.5.1",
        miner.extranonce1,
    )
    (run,) = rows(tmp_path, "SELECT * FROM runs")
    assert (run["kind"], run["source"], run["mode"], run["exit_status"]) == (
        "live",
        "bridge",
        "stream",
        "success",
    )
    assert json.loads(run["config"])["bridge"]["merkle_branches"] == 3
    floor = json.loads(run["jitter_floor"])
    for key in (
        "ack_rtt_us_p50",
        "ack_rtt_us_p99",
        "kernel_to_user_us_p50",
        "timer_jitter_us_p50",
        "timer_jitter_us_p99",
    ):
        assert 0 < floor[key] < 1e6
    assert run["clock_source"].endswith("kernel receive stamps")


async def test_nothing_is_acknowledged_before_its_commit(tmp_path: Path) -> None:
    async with running_bridge(tmp_path) as (bridge, port):
        miner = await (await RawMiner.connect(port)).ready()
        await miner.submit(1)
        blocker = sqlite3.connect(tmp_path / "lab.db", isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        number = miner.send("mining.submit", miner.share(2))
        with pytest.raises(TimeoutError):
            await miner.read(timeout=0.3)
        assert bridge.stats.accepted == 1
        blocker.execute("ROLLBACK")
        blocker.close()
        assert (await miner.answer(number))["result"] is True


@pytest.mark.xdist_group("timing")
async def test_times_hold_against_an_independent_reading(tmp_path: Path) -> None:
    sent: list[tuple[tuple[int, int], tuple[int, int]]] = []

    def now() -> tuple[int, int]:
        return time.time_ns(), time.monotonic_ns()

    async with running_bridge(tmp_path, mode="stream", job_period_s=0.15) as (_, port):
        miner = await (await RawMiner.connect(port)).ready()
        notified = time.time_ns()
        used: set[str] = set()
        while len(sent) < 20 or len(used) < 2:
            await asyncio.sleep(0.004 * (len(sent) % 5))
            before = now()
            used.add(miner.jobs[-1][0])
            await miner.answer(miner.send("mining.submit", miner.share(len(sent))))
            sent.append((before, now()))
    shares = rows(tmp_path, "SELECT * FROM shares ORDER BY id")
    jobs = {row["job"]: row for row in rows(tmp_path, "SELECT * FROM jobs")}
    assert len(shares) == len(sent)
    assert len(jobs) >= 2
    assert jobs[1]["sent_wall_ns"] < notified
    previous = None
    for share, (before, after) in zip(shares, sent, strict=True):
        job = jobs[share["job"]]
        assert before[0] <= share["kernel_ns"] <= share["wall_ns"] <= after[0]
        assert before[1] <= share["monotonic_ns"] <= after[1]
        assert share["response_ns"] == share["kernel_ns"] - job["sent_wall_ns"]
        assert share["response_ns"] > 0
        newest = max(j["sent_wall_ns"] for j in jobs.values() if j["sent_wall_ns"] <= share["kernel_ns"])
        assert share["since_notify_ns"] == share["kernel_ns"] - newest
        if previous is None:
            assert share["interval_ns"] is None
        else:
            assert share["interval_ns"] == share["kernel_ns"] - previous["kernel_ns"]
        previous = share
    assert len({share["job"] for share in shares}) >= 2
    # a job's two send stamps are of one moment
    for job in jobs.values():
        offset = (job["sent_wall_ns"] - job["sent_monotonic_ns"]) - (
            shares[0]["wall_ns"] - shares[0]["monotonic_ns"]
        )
        assert abs(offset) < 50_000_000


async def test_a_share_of_an_older_job_is_timed_against_its_own_job(tmp_path: Path) -> None:
    async with running_bridge(tmp_path, mode="swh") as (_, port):
        miner = await (await RawMiner.connect(port)).ready()
        first = miner.jobs[0]
        await miner.submit(1)
        while len(miner.jobs) < 2:
            await miner.read()
        assert (await miner.submit(2, job=first))["result"] is True
    shares = rows(tmp_path, "SELECT * FROM shares ORDER BY id")
    jobs = rows(tmp_path, "SELECT * FROM jobs ORDER BY job")
    assert [share["job"] for share in shares] == [1, 1]
    assert len(jobs) == 2
    assert shares[1]["response_ns"] == shares[1]["kernel_ns"] - jobs[0]["sent_wall_ns"]
    assert shares[1]["since_notify_ns"] == shares[1]["kernel_ns"] - jobs[1]["sent_wall_ns"]
    assert shares[1]["since_notify_ns"] < shares[1]["response_ns"]


async def test_lines_that_arrive_together_share_their_stamp(tmp_path: Path) -> None:
    async with running_bridge(tmp_path) as (_, port):
        miner = await (await RawMiner.connect(port)).ready()
        for nonce in range(5):
            miner.send("mining.submit", miner.share(nonce), 100 + nonce)
        await miner.answer(104)
    shares = rows(tmp_path, "SELECT * FROM shares ORDER BY id")
    assert len({share["kernel_ns"] for share in shares}) == 1
    assert [share["interval_ns"] for share in shares] == [None, 0, 0, 0, 0]


async def test_refused_shares_are_stored_with_their_reason(tmp_path: Path) -> None:
    async with running_bridge(tmp_path, difficulty=1.0) as (_, port):
        miner = await (await RawMiner.connect(port)).ready()
        low = await miner.submit(1)
        unknown = await miner.ask("mining.submit", ["worker", "fffff", "00000001", "00000000", "00000001"])
        stranger = await miner.submit(2, user="stranger")
        broken = await miner.ask(
            "mining.submit", ["worker", miner.jobs[0][0], "zz", miner.jobs[0][7], "00000001"]
        )
        codes = [answer["error"][0] for answer in (low, unknown, stranger, broken)]
        assert codes == [23, 21, 24, 20]
    shares = rows(tmp_path, "SELECT * FROM shares ORDER BY id")
    assert [share["reason"] for share in shares] == [
        "low-difficulty",
        "unknown-job",
        "unauthorized",
        "malformed",
    ]
    assert [share["valid"] for share in shares] == [0, 0, 0, 0]
    assert [share["job"] for share in shares] == [1, None, None, 1]
    assert shares[0]["difficulty"] > 0
    assert shares[0]["kernel_ns"] is not None


@pytest.mark.xdist_group("timing")
async def test_stream_mode_sends_work_on_its_period(tmp_path: Path) -> None:
    async with running_bridge(tmp_path, job_period_s=0.05) as (_, port):
        miner = await (await RawMiner.connect(port)).ready()
        while len(miner.jobs) < 12:
            await miner.read()
    jobs = rows(tmp_path, "SELECT * FROM jobs ORDER BY job")
    sent_s = np.array([job["sent_monotonic_ns"] for job in jobs]) / 1e9
    # none before its time; one that is late takes nothing from the next
    assert all(sent_s - sent_s[0] > 0.05 * np.arange(len(jobs)) - 0.0015)
    assert min(np.diff(sent_s)) < 0.1  # a busy machine may be late for some, not for all
    assert len({job["prevhash"] for job in jobs}) == len(jobs)


@pytest.mark.xdist_group("timing")
async def test_handshake_mode_waits_for_a_share_or_the_time_out(tmp_path: Path) -> None:
    async with running_bridge(tmp_path, mode="swh", swh_timeout_s=1.0) as (_, port):
        miner = await (await RawMiner.connect(port)).ready()
        start = time.monotonic()
        for nonce in range(10):
            before = len(miner.jobs)
            await miner.submit(nonce)
            while len(miner.jobs) == before:
                await miner.read()
        assert time.monotonic() - start < 1.0 * 10
        answered = len(miner.jobs)
        while len(miner.jobs) == answered:
            await miner.read()
    sent_ns = [row[0] for row in rows(tmp_path, "SELECT sent_monotonic_ns FROM jobs ORDER BY job")]
    assert 0.99e9 < sent_ns[answered] - sent_ns[answered - 1] < 10e9


async def test_symbols_reach_the_miner_and_the_trace(tmp_path: Path) -> None:
    symbols = [JobSymbol(float(i), coinbase=bytes([i, 255 - i])) for i in range(5)]
    async with running_bridge(tmp_path, mode="swh", source=SequenceSource(symbols)) as (_, port):
        miner = await (await RawMiner.connect(port)).ready()
        for nonce in range(5):
            before = len(miner.jobs)
            await miner.submit(nonce)
            while len(miner.jobs) == before:
                await miner.read()
    jobs = rows(tmp_path, "SELECT * FROM jobs ORDER BY job")
    assert [job["symbol"] for job in jobs] == [0.0, 1.0, 2.0, 3.0, 4.0, None]
    for i, job in enumerate(jobs[:5]):
        assert json.loads(job["symbol_fields"]) == {"coinbase": f"{i:02x}{255 - i:02x}"}
        assert f"02{i:02x}{255 - i:02x}" in miner.jobs[i][2]


async def test_without_kernel_stamps_the_run_says_so_and_times_are_monotonic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_time.sys, "platform", "darwin")
    async with running_bridge(tmp_path) as (_, port):
        miner = await (await RawMiner.connect(port)).ready()
        for nonce in range(3):
            await miner.submit(nonce)
    (run,) = rows(tmp_path, "SELECT * FROM runs")
    assert run["clock_source"].endswith("no kernel receive stamps")
    assert rows(tmp_path, "SELECT * FROM events WHERE kind = 'no-kernel-stamps'")
    shares = rows(tmp_path, "SELECT * FROM shares ORDER BY id")
    (job,) = rows(tmp_path, "SELECT * FROM jobs")
    previous = None
    for share in shares:
        assert share["kernel_ns"] is None
        assert share["response_ns"] == share["monotonic_ns"] - job["sent_monotonic_ns"]
        assert share["interval_ns"] == (None if previous is None else share["monotonic_ns"] - previous)
        previous = share["monotonic_ns"]


async def test_a_quiet_bridge_sends_a_line_before_miners_give_up(tmp_path: Path) -> None:
    async with running_bridge(tmp_path, job_period_s=3600, difficulty=0.5) as (bridge, port):
        miner = await (await RawMiner.connect(port)).ready()
        (connection,) = bridge._connections
        connection.sweep(asyncio.get_running_loop().time() + 40)
        connection.sweep(asyncio.get_running_loop().time() + 50)
        message = await miner.read()
        assert (message["method"], message["params"]) == ("mining.set_difficulty", [0.5])
        with pytest.raises(TimeoutError):
            await miner.read(timeout=0.1)


async def test_a_miner_that_comes_back_is_the_same_miner_and_two_at_once_are_two(tmp_path: Path) -> None:
    async with running_bridge(tmp_path) as (bridge, port):
        first = await (await RawMiner.connect(port)).ready()
        await first.submit(1)
        second = await (await RawMiner.connect(port)).ready()
        await second.submit(1)
        first.close()
        await eventually(lambda: len(bridge._connections) == 1)
        back = await (await RawMiner.connect(port)).ready()
        await back.submit(1)
        assert back.extranonce1 != first.extranonce1
        shares = rows(tmp_path, "SELECT * FROM shares ORDER BY id")
        assert [share["miner"] for share in shares] == [1, 2, 1]
        assert shares[2]["interval_ns"] is None
        miners = rows(tmp_path, "SELECT * FROM miners ORDER BY miner")
        assert [row["extranonce1"] for row in miners] == [back.extranonce1, second.extranonce1]


async def test_consumers_see_stored_shares_in_order(tmp_path: Path) -> None:
    heard: list[ShareEvent] = []
    async with running_bridge(tmp_path, on_share=heard.append) as (_, port):
        miner = await (await RawMiner.connect(port)).ready()
        for nonce in (1, 2, 2, 3):
            await miner.submit(nonce)
    shares = rows(tmp_path, "SELECT * FROM shares ORDER BY id")
    assert [(e.row.nonce, e.row.valid) for e in heard] == [(s["nonce"], bool(s["valid"])) for s in shares]
    assert [event.row.kernel_ns for event in heard] == [share["kernel_ns"] for share in shares]
    assert {event.miner_name for event in heard} == {"worker"}
    assert all(event.job is not None and event.job.job_id == miner.jobs[0][0] for event in heard)


async def test_a_consumer_that_fails_stops_the_bridge_and_loses_nothing(tmp_path: Path) -> None:
    def consumer(event: ShareEvent) -> None:
        raise RuntimeError("consumer")

    async with running_bridge(tmp_path, on_share=consumer) as (bridge, port):
        miner = await (await RawMiner.connect(port)).ready()
        serving = asyncio.create_task(bridge.serve())
        assert (await miner.submit(1))["result"] is True
        with pytest.raises(UserError, match="consumer"):
            await serving
    assert rows(tmp_path, "SELECT exit_status FROM runs")[0][0] == "fail"


async def test_a_stop_stores_and_answers_what_came_before(tmp_path: Path) -> None:
    async with running_bridge(tmp_path) as (bridge, port):
        serving = asyncio.create_task(bridge.serve())
        miner = await (await RawMiner.connect(port)).ready()
        for nonce in range(200):
            miner.send("mining.submit", miner.share(nonce), 1000 + nonce)
        await asyncio.sleep(0.02)
        bridge.request_stop("asked")
        assert await serving == "asked"
        lines = await miner.until_closed()
        answered = {line["id"] for line in lines if line.get("result") is True}
    stored = {1000 + int(share["nonce"], 16) for share in rows(tmp_path, "SELECT nonce FROM shares")}
    assert answered == stored
    (run,) = rows(tmp_path, "SELECT * FROM runs")
    assert (run["exit_status"], run["exit_reason"]) == ("success", "asked")


@pytest.mark.parametrize(("limits", "reason"), [({"shares": 3}, "3 shares"), ({"seconds": 0.3}, "0.3 s")])
async def test_limits_end_a_run(tmp_path: Path, limits: dict[str, Any], reason: str) -> None:
    async with running_bridge(tmp_path) as (bridge, port):
        miner = await (await RawMiner.connect(port)).ready()
        for nonce in range(2):
            await miner.submit(nonce)
        start = time.monotonic()
        serving = asyncio.create_task(bridge.serve(**limits))
        miner.send("mining.submit", miner.share(2))
        assert await asyncio.wait_for(serving, PATIENCE_S) == reason
        assert "seconds" not in limits or time.monotonic() - start >= limits["seconds"]


async def test_a_clock_step_is_an_event_and_a_safe_stop(tmp_path: Path) -> None:
    class Stepping:
        step_ns = 0

        def monotonic_ns(self) -> int:
            return time.monotonic_ns()

        def wall_ns(self) -> int:
            return time.time_ns() + self.step_ns

    clock = Stepping()
    async with running_bridge(tmp_path) as (bridge, port):
        # the watch alone gets the stepping clock, so that the bridge's own stamps stay checkable
        bridge._watch = Watch(clock, bridge._own_event, period_s=0.02)
        bridge._tasks.append(asyncio.create_task(bridge._watch_forever(bridge._watch)))
        serving = asyncio.create_task(bridge.serve())
        miner = await (await RawMiner.connect(port)).ready()
        assert (await miner.submit(1))["result"] is True
        clock.step_ns = 5_000_000_000
        reason = await asyncio.wait_for(serving, PATIENCE_S)
        assert "clock" in reason
    (run,) = rows(tmp_path, "SELECT * FROM runs")
    assert run["exit_status"] == "abort"
    (event,) = rows(tmp_path, "SELECT * FROM events WHERE kind = 'clock-step'")
    assert abs(json.loads(event["detail"])["step_ns"] - 5e9) < 1e7
    assert rows(tmp_path, "SELECT count(*) FROM shares")[0][0] == 1


async def test_a_store_that_fails_acknowledges_nothing_more(tmp_path: Path) -> None:
    writer = functools.partial(TraceWriter, db_url(tmp_path), lock_timeout_s=0.2)
    bridge = Bridge(BridgeConfig(port=0, difficulty=1e-10), writer, np.random.default_rng(1))
    _, port = await bridge.start()
    serving = asyncio.create_task(bridge.serve())
    miner = await (await RawMiner.connect(port)).ready()
    await miner.submit(1)
    blocker = sqlite3.connect(tmp_path / "lab.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    miner.send("mining.submit", miner.share(2), 50)
    lines = await miner.until_closed()
    assert not [line for line in lines if line.get("id") == 50]
    blocker.execute("ROLLBACK")
    blocker.close()
    with pytest.raises(TraceError):
        await serving
    assert [share["nonce"] for share in rows(tmp_path, "SELECT nonce FROM shares")] == ["00000001"]


async def test_a_full_disk_acknowledges_nothing_that_is_not_stored(tmp_path: Path) -> None:
    writer = functools.partial(TraceWriter, db_url(tmp_path), max_size_bytes=1_500_000)
    bridge = Bridge(BridgeConfig(port=0, difficulty=1e-10), writer, np.random.default_rng(1))
    _, port = await bridge.start()
    serving = asyncio.create_task(bridge.serve())
    miner = await (await RawMiner.connect(port)).ready()
    acknowledged: set[int] = set()
    try:
        for nonce in range(100_000):
            miner.send("mining.submit", miner.share(nonce), nonce + 10)
            if nonce % 100 == 99:
                await miner.answer(nonce + 10)
    except (EOFError, ConnectionError):
        pass
    acknowledged = {
        line["id"] - 10 for line in miner.lines if line.get("result") is True and line["id"] >= 10
    }
    with pytest.raises(TraceError):
        await asyncio.wait_for(serving, PATIENCE_S)
    stored = {int(row["nonce"], 16) for row in rows(tmp_path, "SELECT nonce FROM shares WHERE valid")}
    assert len(acknowledged) > 1000
    assert acknowledged <= stored
    (run,) = rows(tmp_path, "SELECT * FROM runs")
    assert run["exit_status"] == "fail"
    assert rows(tmp_path, "SELECT count(*) FROM events WHERE severity = 'error'")[0][0] >= 1


async def test_a_port_in_use_is_a_user_error_with_a_remedy_and_no_run(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = BridgeConfig(port=port)
        bridge = Bridge(config, lambda **_: pytest.fail("the trace was opened"), np.random.default_rng(1))
        with pytest.raises(UserError, match="--port 0"):
            await bridge.start()
    with pytest.raises(UserError, match=r"127\.0\.0\.1"):
        await Bridge(
            BridgeConfig(host="203.0.113.7", port=0), bridge._open_writer, np.random.default_rng(1)
        ).start()


async def test_only_the_own_host_is_bound_by_default(tmp_path: Path) -> None:
    async with running_bridge(tmp_path) as (bridge, _):
        assert bridge._door is not None
        assert bridge._door._listener.getsockname()[0] == "127.0.0.1"
    assert BridgeConfig().host == "127.0.0.1"


async def test_passwords_and_tokens_are_nowhere_in_the_database(tmp_path: Path) -> None:
    secret = "hunter2correcthorse"
    async with running_bridge(
        tmp_path, record=RunRecord("live", "bridge", config={"pool_password": secret})
    ) as (_, port):
        miner = await RawMiner.connect(port)
        await miner.ask("mining.subscribe", ["agent/1", secret])
        await miner.ask("mining.authorize", ["worker", secret])
        while not miner.jobs:
            await miner.read()
        miner.send_raw(b'{"id":1,"method":"mining.authorize","params":["a",["%b"]]}\n' % secret.encode())
        miner.send_raw(b'{"id":1,"method":"%b","params":["%b"]}\n' % (secret.encode(), secret.encode()))
        miner.send_raw(b"%b\n" % secret.encode())
        job = miner.jobs[0]
        for params in (
            [secret, job[0], "00000001", job[7], "00000001"],
            ["worker", secret, "00000001", job[7], "00000001"],
            ["worker", job[0], secret, job[7], "00000001"],
            ["worker", job[0], "00000001", job[7], "00000001", secret],
            ["worker", secret],
        ):
            assert (await miner.ask("mining.submit", params))["error"]
        assert (await miner.submit(9))["result"] is True
    assert [file.name for file in tmp_path.iterdir() if secret.encode() in file.read_bytes()] == []  # noqa: ASYNC240
    assert rows(tmp_path, "SELECT count(*) FROM shares")[0][0] == 6
    (event,) = rows(tmp_path, "SELECT detail FROM events WHERE kind = 'authorized'")
    assert json.loads(event["detail"])["password"] == "***"


async def test_secrets_are_kept_where_that_is_asked_for(tmp_path: Path) -> None:
    async with running_bridge(tmp_path, keep_secrets=True) as (_, port):
        await (await RawMiner.connect(port)).ready(password="hunter2correcthorse")
    (event,) = rows(tmp_path, "SELECT detail FROM events WHERE kind = 'authorized'")
    assert "hunter2correcthorse" in event["detail"]
