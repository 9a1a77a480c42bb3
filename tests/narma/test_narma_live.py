"""A miner driven over the bridge's sockets: what it heard is what the trace says, and silence stays."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.bridge_clock import bridge_clock
from experiments.carriers import check_settings
from experiments.hosting import NotLeftError, as_one
from experiments.live import Feed, LiveConfig, Progress, drive, shortened
from experiments.live_miners import AwaitedMiner, DeviceMiner, EmulatedMiner, emulated_scale
from experiments.narma import score_run
from experiments.narma_plan import Plan
from firmware_bridge.emulator.appliance import Appliance
from firmware_bridge.emulator.carrier import FIELDS, Carrier
from firmware_bridge.errors import DeviceError, UserError
from firmware_bridge.stratum.config import BridgeConfig
from firmware_bridge.stratum.dispatch import DispatchContext, JobSymbol
from firmware_bridge.stratum.jobs import JobFactory
from firmware_bridge.stratum.server import Bridge
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.writer import TraceWriter
from reservoir.encoding import Encoding, mix
from reservoir.steps import Jobs, Shares, Steps, read_steps, steps_of
from tests.stratum.bridge_kit import EVERY_HASH, RawMiner, eventually, rows, running_bridge
from tests.vbm.test_device import lv06

WALL_NS = 1_700_000_000_000_000_000
PLAN = Plan(train=110, test=100, washout=10, permutations=20, lags=0, observe=("response",), seed=3)
QUICK = LiveConfig(difficulty=EVERY_HASH, timeout_s=1.0, patience_s=30.0)
"""A job is given up so late that a miner that only waits for its core is none that is silent."""


def context(index: int = 0, **more: Any) -> DispatchContext:
    return DispatchContext(1, "m", index, WALL_NS, 0, None, 0, more.pop("subscribed", False), **more)


class Hand:
    """A miner of a socket and json that answers every job but some, and stops when it is hung up on."""

    name, model = "hand", None

    def __init__(self, silent: tuple[int, ...] = (), pause_s: Callable[[int], float] = lambda n: 0.0) -> None:
        self.silent, self.pause_s = silent, pause_s
        self.mined: asyncio.Task[None] | None = None
        self.left = False

    async def join(self, bridge: Bridge, host: str, port: int) -> None:
        self.mined = asyncio.ensure_future(self._mine(port))

    async def _mine(self, port: int) -> None:
        miner = await (await RawMiner.connect(port)).ready()
        number = 0
        try:
            while True:
                while len(miner.jobs) <= number:
                    await miner.read()
                number = len(miner.jobs)
                if number - 1 in self.silent:
                    continue
                await asyncio.sleep(self.pause_s(number))
                await miner.submit(1)
        except (EOFError, ConnectionError):
            return
        finally:
            miner.close()

    async def failed(self) -> str:
        await asyncio.Event().wait()
        return ""

    async def end(self) -> None:
        self.left = True
        while self.mined is not None and not self.mined.done():
            self.mined.cancel()  # again: wait_for of Python 3.11 drops one that meets the end of what it waits for
            await asyncio.wait({self.mined}, timeout=0.1)


def driven(folder: Path, plan: Plan, miner: Any, config: LiveConfig = QUICK, **more: Any) -> Any:
    return drive(plan, config, miner, partial(TraceWriter, str(folder / "lab.db")), **more)


def reader(folder: Path) -> TraceReader:
    return TraceReader(str(folder / "lab.db"))


# ---- a dialogue ------------------------------------------------------------------------------------------------------


async def test_each_symbol_of_a_dialogue_took_in_the_response_that_called_for_it_and_silence_stays(
    tmp_path: Path,
) -> None:
    silent = (40, 41, 150)
    seen: list[Progress] = []
    hand = Hand(silent, pause_s=lambda number: 0.002 * (number % 3))
    result = await driven(tmp_path, PLAN, hand, on_progress=seen.append)
    assert result.complete
    assert result.problems == ()
    assert hand.left
    jobs = rows(tmp_path, "SELECT * FROM jobs ORDER BY job")
    shares = rows(tmp_path, "SELECT * FROM shares WHERE valid ORDER BY id")
    assert len(jobs) == PLAN.steps + 1  # the last one ends the last step
    assert jobs[-1]["symbol"] is None
    answered = {share["job"]: share["response_ns"] for share in shares}
    assert set(range(1, PLAN.steps + 1)) - set(answered) == {n + 1 for n in silent}
    task = PLAN.draw()
    base = PLAN.encoding(task).base(task.u).ravel()
    heard = 0
    for number, job in enumerate(jobs[:-1]):
        if number:
            heard = answered.get(number, heard)
        assert job["symbol"] == mix(float(base[number]), heard, PLAN.feedback)
        assert f'"heard_ns": {heard}' in job["symbol_fields"]
    assert seen[-1].done == seen[-1].steps == PLAN.steps
    assert seen[-1].unanswered == len(silent)

    steps = read_steps(reader(tmp_path), 1)
    assert len(steps) == PLAN.steps
    assert set(range(PLAN.steps)) - set(steps.step.tolist()) == set(silent)
    scored = score_run(reader(tmp_path), "latest", PLAN)
    assert scored.mode == "dialogue"
    assert scored.to_json()["missing"] == pytest.approx(len(silent) / PLAN.steps)
    assert score_run(reader(tmp_path), "latest", replace(PLAN, seed=9)).to_json() == scored.to_json()
    assert scored.clock is not None
    assert scored.clock.what == "turnaround"
    assert 0 < scored.clock.median_ns < 50e6


def test_what_a_job_says_it_heard_stands_above_what_the_arrivals_suggest() -> None:
    """A share that arrived just before its job timed out was read only after it: that symbol knew nothing of it."""
    sent = np.array([0, 100, 200, 300], np.int64)
    shares = Shares(job=np.array([0, 1]), time_ns=np.array([40, 190]))
    suggested = steps_of(Jobs(sent, np.full(4, 0.5)), shares).heard_ns.ravel().tolist()
    assert suggested == [0, 40, 90]
    told = Jobs(sent, np.full(4, 0.5), heard_ns=np.array([0, 40, 40, -1]))
    assert steps_of(told, shares).heard_ns.ravel().tolist() == [0, 40, 40]


async def test_a_stranger_gets_work_but_no_symbol_and_the_run_is_scored_without_it(tmp_path: Path) -> None:
    ports: list[int] = []
    hand = Hand(pause_s=lambda number: 0.003)

    async def intrude() -> None:
        await eventually(lambda: hand.mined is not None and rows(tmp_path, "SELECT * FROM jobs"))
        stranger = await (await RawMiner.connect(ports[0])).ready("stranger")
        with contextlib.suppress(EOFError, ConnectionError):
            await stranger.submit(1)
        stranger.close()

    intruding = asyncio.ensure_future(intrude())
    result = await driven(tmp_path, PLAN, hand, on_ready=lambda run, host, port: ports.append(port))
    await intruding
    assert result.complete
    strange = rows(tmp_path, "SELECT symbol FROM jobs WHERE miner = 2")
    assert strange
    assert {row["symbol"] for row in strange} == {None}
    assert score_run(reader(tmp_path), "latest", PLAN).evaluation.target.size == PLAN.test


async def test_a_run_that_is_stopped_keeps_what_came_and_is_scored_as_far_as_it_got(tmp_path: Path) -> None:
    plan = replace(PLAN, train=4000, test=2000)
    stops: list[Callable[[str], None]] = []

    def look(progress: Progress) -> None:
        if progress.done > 330:
            assert progress.left_s is not None
            stops[0]("enough")

    result = await driven(tmp_path, plan, Hand(), on_progress=look, on_stoppable=stops.append)
    assert not result.complete
    assert result.problems == ()
    record = reader(tmp_path).run(1)
    assert (record["exit_status"], record["exit_reason"]) == ("success", "enough")
    shorter = shortened(plan, result.done)
    assert shorter is not None
    assert (
        shorter.washout + shorter.train + shorter.test == result.done == len(read_steps(reader(tmp_path), 1))
    )
    assert shorter.train == pytest.approx(2 * shorter.test, abs=2)
    assert score_run(reader(tmp_path), "latest", shorter).evaluation.target.size == shorter.test
    assert shortened(plan, plan.steps) == plan
    assert shortened(plan, 200) is None


# ---- on a clock ------------------------------------------------------------------------------------------------------


@pytest.mark.xdist_group("timing")
async def test_no_share_moves_the_clock_of_a_monologue(tmp_path: Path) -> None:
    """Lateness of a job does not add up: a share that is judged just then would shift all that follows."""
    period_s, n = 0.03, 60
    for attempt in range(4):  # another process may take the core for longer than a period
        folder = tmp_path / str(attempt)
        folder.mkdir()
        async with running_bridge(folder, mode="stream", job_period_s=period_s) as (_, port):
            miner = await (await RawMiner.connect(port)).ready()
            while len(miner.jobs) < n:
                miner.send("mining.submit", miner.share(len(miner.lines)))
                await miner.read()
        sent = np.array([r["sent_monotonic_ns"] for r in rows(folder, "SELECT * FROM jobs ORDER BY job")])
        late = (sent - sent[0])[:n] / 1e9 - period_s * np.arange(n)
        if abs(late[-20:].min()) < 0.1 * period_s:  # a busy machine makes some late, and not all of them
            return
    pytest.fail(f"the clock drifted by {late[-1]} s")


def test_the_symbols_of_a_monologue_are_those_of_its_input_whatever_comes_back() -> None:
    plan = replace(PLAN, mode="monologue", mask="binary:3")
    task = plan.draw()
    feed = Feed(plan.encoding(task), task.u)
    sent = [feed.next(context(n, response_ns=n * 10**8)) for n in range(3 * plan.steps)]
    assert all(symbol is not None and symbol.heard_ns is None for symbol in sent)
    np.testing.assert_array_equal([s.value for s in sent if s], plan.encoding(task).base(task.u).ravel())
    assert feed.done == plan.steps - 1  # the last step has no end yet
    assert feed.next(context()) is None
    assert feed.done == plan.steps


# ---- the fields ------------------------------------------------------------------------------------------------------


@given(st.floats(0.0, 1.0, exclude_max=True), st.sampled_from(FIELDS))
def test_an_emulated_miner_reads_the_symbol_that_the_bridge_sent(symbol: float, field: str) -> None:
    encoding = Encoding(field, d_low=256.0, d_high=1024.0)  # type: ignore[arg-type]
    carried = JobSymbol(**encoding.encode(symbol, wall_ns=WALL_NS))
    job = JobFactory(BridgeConfig(merkle_branches=1), np.random.default_rng(1)).make(
        extranonce1=carried.extranonce1 or "01020304",
        difficulty=carried.difficulty or 256.0,
        scale=1.0,
        version_mask=0x1FFFE000,
        wall_ns=WALL_NS,
        symbol=carried,
    )
    assert Carrier(field).read(job) == pytest.approx(symbol, abs=encoding.resolution + 1e-12)
    assert Carrier.parse(str(Carrier(field))) == Carrier(field)


def test_a_job_without_a_symbol_counts_as_the_mean_and_nonsense_is_refused() -> None:
    job = JobFactory(BridgeConfig(), np.random.default_rng(1)).make(
        extranonce1="01020304", difficulty=1.0, scale=1.0, version_mask=0, wall_ns=WALL_NS
    )
    assert Carrier("coinbase").read(job) == 0.5
    for text in ("nonce", "coinbase:1:2", "difficulty:1", "difficulty:2:1", "difficulty:a:b"):
        with pytest.raises(UserError):
            Carrier.parse(text)
    with pytest.raises(UserError, match="prevhash"):
        JobSymbol(0.5, prevhash="xy")


async def test_a_field_that_the_miner_cannot_be_sent_ends_the_run_with_a_reason(tmp_path: Path) -> None:
    hand = Hand()
    with pytest.raises(UserError, match=r"extranonce\.subscribe.*--encode"):
        await driven(tmp_path, replace(PLAN, encode="extranonce1"), hand)
    assert hand.left
    assert reader(tmp_path).run(1)["exit_status"] == "fail"


@pytest.mark.parametrize("field", ["prevhash", "version_bits", "ntime", "difficulty"])
async def test_other_fields_carry_a_dialogue_too(field: str, tmp_path: Path) -> None:
    plan = replace(PLAN, encode=field, train=10, test=10, washout=0)
    hand = Hand()
    result = await driven(tmp_path, plan, hand, replace(QUICK, difficulty=EVERY_HASH / 4))
    assert result.complete
    record = reader(tmp_path).run(1)
    encoding = Encoding.from_json(record["config"]["narma"]["encoding"])
    for job in rows(tmp_path, "SELECT * FROM jobs ORDER BY job")[:-1]:
        content = job["version" if field == "version_bits" else field]
        assert encoding.decode({field: content}) == pytest.approx(
            job["symbol"], abs=encoding.resolution + 1e-9
        )


# ---- fair timing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["prevhash", "coinbase", "extranonce1", "version_bits", "ntime"])
def test_a_job_has_the_same_length_on_the_wire_whatever_its_symbol(field: str) -> None:
    from firmware_bridge.stratum.wire import encode_notify

    lengths = set()
    for symbol in (0.0, 1e-9, 0.25, 0.5, 1.0 - 2.0**-40):
        carried = JobSymbol(**Encoding(field).encode(symbol, wall_ns=WALL_NS))  # type: ignore[arg-type]
        job = JobFactory(BridgeConfig(), np.random.default_rng(1)).make(
            extranonce1=carried.extranonce1 or "01020304", difficulty=1.0, scale=1.0, version_mask=0,
            wall_ns=WALL_NS, symbol=carried,
        )  # fmt: skip
        lengths.add(len(encode_notify(job)))
    assert len(lengths) == 1


def clocked(took: np.ndarray, *, handshake: bool) -> Steps:
    """Jobs that were sent ``took`` after the share that called for them, or so late on a clock of 1 s."""
    n = took.size
    if not handshake:
        sent = np.concatenate([[0], np.cumsum(1e9 + took)]).astype(np.int64)
        return steps_of(Jobs(sent, np.full(n + 1, 0.5)), Shares(np.array([0]), np.array([5])))
    sent = np.concatenate([[0], np.cumsum(1e8 + took)]).astype(np.int64)
    return steps_of(Jobs(sent, np.full(n + 1, 0.5)), Shares(np.arange(n), sent[:-1] + 10**8))


@pytest.mark.parametrize("handshake", [True, False])
def test_a_bridge_whose_turnaround_knows_the_symbol_is_found_out_and_a_fair_one_is_not(
    handshake: bool,
) -> None:
    rng = np.random.default_rng(1)
    took, base = rng.exponential(1e5, 800), rng.random((800, 1))
    fair = bridge_clock(clocked(took, handshake=handshake), base, handshake=handshake, period_s=1.0)
    assert fair is not None
    assert fair.p > 0.01
    assert fair.median_ns == pytest.approx(np.median(took[:-1]), rel=0.01)
    leaking = took + np.concatenate([base[1:, 0], [0.0]]) * 1e5
    found = bridge_clock(clocked(leaking, handshake=handshake), base, handshake=handshake, period_s=1.0)
    assert found is not None
    assert found.p < 1e-6
    assert found.rho > 0.2
    assert (
        bridge_clock(clocked(took[:9], handshake=handshake), base, handshake=handshake, period_s=1.0) is None
    )


# ---- miners ----------------------------------------------------------------------------------------------------------


async def test_a_miner_that_stays_away_or_breaks_down_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="no miner connected"):
        await driven(tmp_path, PLAN, AwaitedMiner(), replace(QUICK, patience_s=0.3))

    class Broken(Hand):
        async def failed(self) -> str:
            return "out of smoke"

    with pytest.raises(DeviceError, match="out of smoke"):
        await driven(tmp_path, PLAN, Broken(silent=tuple(range(999))), replace(QUICK, timeout_s=30.0))
    assert [reader(tmp_path).run(n)["exit_status"] for n in (1, 2)] == ["fail", "fail"]


class Lost(Hand):
    """A miner that breaks down, and cannot be left as it was found."""

    async def failed(self) -> str:
        return "out of smoke"

    async def end(self) -> None:
        await super().end()
        raise DeviceError("its own pool is NOT set again")


async def test_all_that_went_wrong_is_said(tmp_path: Path) -> None:
    nothing_done = Lost(silent=tuple(range(999)))
    with pytest.raises(DeviceError, match=r"out of smoke.*; its own pool is NOT set again"):
        await driven(tmp_path, PLAN, nothing_done, replace(QUICK, timeout_s=30.0))


async def test_that_a_miner_could_not_be_set_back_is_said_where_the_run_is_cancelled_too(
    tmp_path: Path,
) -> None:
    class Left(Lost):
        async def failed(self) -> str:
            return await Hand.failed(self)

    hand = Left()
    work = asyncio.ensure_future(driven(tmp_path, PLAN, hand))
    await eventually(lambda: hand.mined is not None)
    work.cancel()
    with pytest.raises(NotLeftError, match="its own pool is NOT set again"):
        await work


@pytest.mark.parametrize(
    ("failures", "kind", "text"),
    [
        ([UserError("a"), DeviceError("b"), UserError("a")], UserError, "a; b"),
        ([DeviceError("b")], DeviceError, "b"),
        ([DeviceError("b"), ValueError("c")], ValueError, "c"),
    ],
)
def test_several_errors_are_one_of_the_kind_of_the_first(
    failures: list[Exception], kind: type[Exception], text: str
) -> None:
    found = as_one(failures)
    assert (type(found), str(found)) == (kind, text)
    assert getattr(found, "__notes__", []) == (["b"] if kind is ValueError else [])


async def test_a_miner_that_leaves_for_good_leaves_what_it_brought(tmp_path: Path) -> None:
    hand = Hand(pause_s=lambda number: 0.0 if number < 30 else 3600.0)

    class Leaves(Hand):
        async def join(self, bridge: Bridge, host: str, port: int) -> None:
            await hand.join(bridge, host, port)

            async def leave() -> None:
                await eventually(lambda: bridge.stats.jobs >= 30)
                await hand.end()

            self.leaving = asyncio.ensure_future(leave())

    config = replace(QUICK, patience_s=0.4)
    result = await driven(tmp_path, PLAN, Leaves(), config)
    assert result.done >= 29
    assert "came back" in result.problems[0]


def pool_of(appliance: Appliance) -> tuple[str, int]:
    return appliance.machine.in_force.pool_host, appliance.machine.in_force.pool_port


@pytest.mark.costly
async def test_a_device_is_driven_and_gets_its_own_pool_back(tmp_path: Path) -> None:
    plan = replace(PLAN, train=10, test=6, washout=0)
    notices: list[str] = []
    async with lv06() as (appliance, device):
        own = pool_of(appliance)
        config = LiveConfig(timeout_s=5.0)
        result = await driven(tmp_path, plan, DeviceMiner(device, on_notice=notices.append), config)
        assert result.complete
        assert pool_of(appliance) == own
    assert f"{own[0]}:{own[1]}" in notices[0]
    record = reader(tmp_path).run(1)
    assert (record["config"]["model"], record["config"]["narma"]["mode"]) == ("lv06", "dialogue")
    assert len(read_steps(reader(tmp_path), 1)) == plan.steps


@pytest.mark.xdist_group("timing")
@pytest.mark.costly
async def test_the_clock_of_a_device_carries_the_symbols_and_is_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASICLAB_STATE", str(tmp_path / "state"))
    plan = replace(PLAN, train=3, test=2, washout=0, mode="monologue", encode="frequency", period_s=1.5)
    async with lv06(firmware="2.15.0") as (_, device):
        before = await device.read_point()
        result = await driven(tmp_path, plan, DeviceMiner(device), LiveConfig())
        assert result.problems == ()
        assert result.complete
        again = type(device)(device.address, "127.0.0.1", int(device.address.rsplit(":", 1)[1]))
        assert await again.read_point() == before
        await again.aclose()
    store = reader(tmp_path)
    record = store.run(1)
    encoding = Encoding.from_json(record["config"]["narma"]["encoding"])
    check_settings(store, 1, encoding)
    asked = [c["requested"] for c in store.dicts(1, "settings") if c["reason"].startswith("symbol of job")]
    assert [float(text) for text in asked] == [
        encoding.setting(float(s))["frequency_mhz"] for s in encoding.base(plan.draw().u)[:, 0]
    ]


async def test_who_only_connects_takes_no_clock(tmp_path: Path) -> None:
    plan = replace(PLAN, mode="monologue", encode="frequency")
    with pytest.raises(UserError, match=r"no limits are known|takes no frequency"):
        await driven(tmp_path, plan, AwaitedMiner(), LiveConfig())


@pytest.mark.costly
async def test_a_device_gets_its_own_pool_back_where_the_run_is_cancelled_twice(tmp_path: Path) -> None:
    async with lv06() as (appliance, device):
        own = pool_of(appliance)
        work = asyncio.ensure_future(driven(tmp_path, PLAN, DeviceMiner(device), LiveConfig()))
        await eventually(lambda: pool_of(appliance) != own)
        work.cancel()
        await asyncio.sleep(0)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert pool_of(appliance) == own


async def test_what_an_emulated_miner_warns_of_reaches_whoever_drives_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    too_fast = EmulatedMiner("s9", carrier="prevhash", scale=2.0**-12)
    async with running_bridge(tmp_path) as (bridge, port):
        await too_fast.join(bridge, "127.0.0.1", port)
        await eventually(lambda: bool(bridge.miner_names()))
        await too_fast.end()
    said = [record.message for record in caplog.records if record.name == "experiments.live_miners"]
    assert any(text.startswith("emulated s9: this CPU hashes") and "it will stall" in text for text in said)


def test_an_emulated_miner_is_scaled_to_what_a_core_carries() -> None:
    for rate_ths in (0.5, 14.5, 120.0):
        assert 0.3e6 < rate_ths * 1e12 * emulated_scale(rate_ths) < 0.62e6
    assert emulated_scale(1e-12) == 1.0
