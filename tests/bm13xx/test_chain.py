"""Driver and emulated chain over a real pseudo-terminal, which pyserial opens like any port."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from firmware_bridge.bm13xx import link, pll
from firmware_bridge.bm13xx import registers as r
from firmware_bridge.bm13xx.chain import Chain, ChainNonce
from firmware_bridge.bm13xx.miner import SerialMiner, SerialMinerConfig
from firmware_bridge.bm13xx.nonces import share_of
from firmware_bridge.bm13xx.port import SerialPort
from firmware_bridge.devices.bm1366 import Bm1366
from firmware_bridge.devices.settings import OperatingPoint, OriginalSettings, Setting
from firmware_bridge.emulator.bm1366 import Bm1366 as EmulatedChain
from firmware_bridge.emulator.bm1366 import Bm1366Config, known_nonces
from firmware_bridge.errors import DeviceError, UserError
from firmware_bridge.headers import Job, difficulty_of_hash, verify
from firmware_bridge.stratum.config import BridgeConfig
from firmware_bridge.stratum.server import Bridge
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.writer import TraceWriter

SCALE = 2.0**-22


async def quick(seconds: float) -> None:
    await asyncio.sleep(min(seconds, 0.005))


def job(n: int, scale: float = SCALE, difficulty: float = 1.0) -> Job:
    return Job(
        f"{n:x}", f"{n:064x}", "01" * 40, "02" * 40, (), "20000000", "1703a30c", "66221bdf", "0000ffff",
        difficulty=difficulty, scale=scale, version_mask=0x1FFFE000,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may keep an answer for longer than a real chip does."""
    monkeypatch.setattr(link, "ANSWER_TIMEOUT_S", 10.0)


@contextlib.asynccontextmanager
async def opened(config: Bm1366Config) -> AsyncIterator[tuple[EmulatedChain, Chain, list[ChainNonce]]]:
    emulated = EmulatedChain(config)
    port = SerialPort(emulated.start())
    nonces: list[ChainNonce] = []
    chain = Chain(port, on_nonce=nonces.append, sleep=quick)
    chain.start()
    try:
        yield emulated, chain, nonces
    finally:
        await asyncio.to_thread(chain.close)
        await asyncio.to_thread(emulated.stop)


async def until(condition, seconds: float = 120.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("chips", [1, 2, 12, 77, 128])
async def test_a_chain_is_counted_addressed_and_brought_up(chips: int) -> None:
    async with opened(Bm1366Config(chips=chips, scale=2.0**-30)) as (emulated, chain, _):
        assert await chain.initialise(frequency_mhz=485.0, ticket=256.0) == chips
        assert await chain.frequency() == 485.0  # its answer says that all before it has been heard
        assert emulated.addresses == [n * (256 // chips) for n in range(chips)]
        assert all(own[r.Register.TICKET_MASK] == 0x000000FF for own in emulated.registers)
        assert all(own[r.Register.PLL0] == 0x50C20240 for own in emulated.registers)
        assert emulated.registers[0][r.Register.HASH_COUNTING_NUMBER] == r.hash_counting_number(485.0, chips)
        assert emulated.summary.baud == pytest.approx(1_041_666.7, abs=0.1)
        assert chain.port.baud == 1_000_000  # type: ignore[attr-defined]
        addresses = [a.chip for a in await chain.read(r.Register.CHIP_ID)]
        assert addresses == [n * (256 // chips) for n in range(chips)]
    assert chain.decoder.counts.dropped == 0
    assert emulated.summary.command_faults == 0


async def test_before_version_rolling_answers_have_nine_bytes() -> None:
    emulated = EmulatedChain(Bm1366Config())
    assert emulated.answer_bytes == 9
    emulated.registers[0][r.Register.VERSION_ROLLING] = 0x9000FFFF
    assert emulated.answer_bytes == 11


@pytest.mark.parametrize("chips", [1, 5])
async def test_nonces_are_mined_verify_and_say_where_they_come_from(chips: int) -> None:
    async with opened(Bm1366Config(chips=chips, scale=SCALE)) as (emulated, chain, nonces):
        await chain.initialise(frequency_mhz=485.0, ticket=1.0)
        works = []
        for n in range(20):  # four more than are in flight
            works.append(chain.dispatch(job(n), f"{n:08x}"))
            await asyncio.sleep(0.06)
        await until(lambda: len(nonces) >= 60)
    assert [w.job_id for w in works[:17]] == [*range(0, 128, 8), 0]
    assert {n.origin.chip for n in nonces} == set(range(chips))
    assert len({n.origin.core for n in nonces}) > 20
    for nonce in nonces:
        verified = verify(nonce.work.job, share_of(nonce.work.job, nonce.work.extranonce2, nonce.answer))
        assert verified.difficulty >= r.threshold(1.0)
        assert (
            2**nonce.origin.excess <= verified.difficulty * (65536 / 65535) < 2 ** (nonce.origin.excess + 1)
        )
        assert nonce.origin.small_core == nonce.origin.version_bits % 8
    assert emulated.summary.nonces >= len(nonces)


async def test_the_same_job_gives_the_same_nonces_again() -> None:
    async with opened(Bm1366Config(scale=SCALE)) as (_, chain, nonces):
        await chain.initialise(frequency_mhz=485.0, ticket=1.0)
        chain.dispatch(job(1), "00000001")
        await until(lambda: len(nonces) >= 8)
        first = [(n.answer.nonce, n.answer.version_bits) for n in nonces[:8]]
        nonces.clear()
        chain.dispatch(job(1), "00000001")
        await until(lambda: len([n for n in nonces if n.work.job_id == 8]) >= 8)
    again = [(n.answer.nonce, n.answer.version_bits) for n in nonces if n.work.job_id == 8]
    assert again[:8] == first


async def test_the_ticket_mask_is_honoured() -> None:
    async with opened(Bm1366Config(scale=2.0**-26, pace=8.0)) as (_, chain, nonces):
        await chain.initialise(frequency_mhz=485.0, ticket=16.0)
        chain.dispatch(job(1, scale=2.0**-26), "00000001")
        await until(lambda: len(nonces) >= 40)
    found = [
        verify(n.work.job, share_of(n.work.job, n.work.extranonce2, n.answer)).difficulty for n in nonces
    ]
    assert min(found) >= 16 * 0xFFFF / 0x10000


@pytest.mark.xdist_group("timing")
async def test_hash_counters_advance_with_the_clock_and_stop_with_a_broken_pll() -> None:
    async with opened(Bm1366Config(chips=3, scale=2.0**-30)) as (_, chain, _):
        await chain.initialise(frequency_mhz=485.0, ticket=256.0)
        assert await chain.hashes() == 0
        chain.dispatch(job(1), "00000000")
        asked, answered, hashes = [], [], []
        for _ in range(2):
            await asyncio.sleep(0.3)
            asked.append(time.monotonic())
            hashes.append(await chain.hashes())
            answered.append(time.monotonic())
        per_second = 3 * 894 * 485e6 / 2**32  # counters are read at some time between question and answer
        counted = hashes[1] - hashes[0]
        assert (
            per_second * (asked[1] - answered[0]) - 3 <= counted <= per_second * (answered[1] - asked[0]) + 3
        )
        chain.write(r.Register.PLL0, 0x40010101)
        stopped = await chain.hashes()
        await asyncio.sleep(0.1)
        assert await chain.hashes() == stopped
        assert await chain.frequency() is None


async def test_every_byte_of_a_bad_cable_is_accounted_for() -> None:
    config = Bm1366Config(scale=2.0**-26, pace=8.0, corrupt=0.01, seed=3)
    async with opened(config) as (emulated, chain, nonces):
        await initialised(chain)
        chain.dispatch(job(1, scale=2.0**-26), "00000001")
        await until(lambda: emulated.summary.nonces >= 800)
        chain.write(r.Register.PLL0, 0)  # no clock, no more nonces
        await until(lambda: chain.decoder.counts.received == emulated.summary.bytes_arrived)
        await asyncio.sleep(0.2)
        sent, seen = emulated.summary, chain.decoder.counts
        assert seen.received == sent.bytes_arrived == sent.bytes_sent
        lost, rest = divmod(seen.dropped + chain.decoder.pending, 11)
        assert rest == 0
        assert sent.answers == seen.frames + lost
        wrong = [n for n in nonces if not good(n, 2.0**-26)]
        # a damaged frame passes CRC5 one time in 32; its hash gives it away
        assert 0 < lost <= sent.damaged
        assert len(wrong) + lost + chain.counts.unknown_job <= sent.damaged + chain.counts.unknown_job
        assert len(nonces) - len(wrong) >= sent.nonces - sent.damaged


def good(nonce: ChainNonce, scale: float) -> bool:
    return (
        verify(nonce.work.job, share_of(nonce.work.job, nonce.work.extranonce2, nonce.answer)).difficulty
        >= 0.99
    )


async def initialised(chain: Chain) -> None:
    """Bring a chain up over a bad cable: some answers have to be asked for again."""
    for _ in range(20):
        with contextlib.suppress(DeviceError):
            await chain.initialise(frequency_mhz=485.0, ticket=1.0)
            return
    raise AssertionError("the chain never came up")


async def test_noise_lost_bytes_and_a_hung_chip_crash_nothing() -> None:
    config = Bm1366Config(scale=2.0**-26, pace=8.0, lose=0.01, noise=0.2, seed=4)
    async with opened(config) as (emulated, chain, nonces):
        await initialised(chain)
        chain.dispatch(job(1, scale=2.0**-26), "00000001")
        await until(lambda: len(nonces) > 200)
        assert chain.decoder.counts.dropped > 0
        assert chain.decoder.counts.resyncs > 0
        assert emulated.summary.damaged > 0
    async with opened(Bm1366Config(scale=2.0**-30, hang_after_s=0.0)) as (_, chain, _):
        with pytest.raises(DeviceError, match=r"nothing answered to 55 aa 52 05 00 00 0a"):
            await chain.count()


def test_captured_jobs_are_answered_with_the_nonces_of_a_real_chip() -> None:
    text = (Path(__file__).parents[2] / "firmware_bridge" / "emulator" / "bm1366_captures.json").read_text()
    captures = json.loads(text)["captures"]
    from firmware_bridge.bm13xx.frames import JobFrame
    from firmware_bridge.bm13xx.nonces import reverse_words

    expected = [[1.072, 1.168, 3.627, 9.279, 15.730, 27.003], [125538251293054]]
    for capture, difficulties in zip(captures, expected, strict=True):
        raw = bytes.fromhex(capture["header_4_to_76"])
        frame = JobFrame(
            8, int.from_bytes(raw[68:72], "little"), int.from_bytes(raw[64:68], "little"),
            reverse_words(raw[32:64]), reverse_words(raw[:32]), 0x20000000,
        )  # fmt: skip
        hits = known_nonces(frame, 0, 485.0, 0xD3224)
        assert sorted(difficulty_of_hash(h.hash_value) for h in hits) == pytest.approx(difficulties, rel=1e-3)
        assert [h.after_s for h in hits] == sorted(h.after_s for h in hits)
        assert all(h.answer.result & 0xF8 == 8 for h in hits)
        other = JobFrame(8, 0, 0, bytes(32), bytes(32), 0x20000000)
        assert not known_nonces(other, 0, 485.0, 0xD3224)


async def test_the_captured_job_is_answered_over_the_wire_at_scale_1() -> None:
    text = (Path(__file__).parents[2] / "firmware_bridge" / "emulator" / "bm1366_captures.json").read_text()
    raw = bytes.fromhex(json.loads(text)["captures"][0]["header_4_to_76"])
    from firmware_bridge.bm13xx.frames import JobFrame
    from firmware_bridge.bm13xx.nonces import reverse_words

    async with opened(Bm1366Config(scale=1.0)) as (_, chain, _):
        await chain.initialise(frequency_mhz=485.0, ticket=1.0)
        frame = JobFrame(
            0x28, int.from_bytes(raw[68:72], "little"), int.from_bytes(raw[64:68], "little"),
            reverse_words(raw[32:64]), reverse_words(raw[:32]), 0x20000000,
        )  # fmt: skip
        chain.send(frame)
        await until(lambda: chain.counts.unknown_job >= 6)
        await asyncio.sleep(0.2)
        # the chain object did not send it, so it knows no such id; a real chip gave six
        assert chain.counts.unknown_job == chain.counts.nonces == 6


# ---- as a device -----------------------------------------------------------------------------------------------------


@pytest.mark.xdist_group("timing")
@pytest.mark.costly
async def test_the_clock_is_set_measured_by_the_hash_counter_and_restored() -> None:
    emulated = EmulatedChain(Bm1366Config(chips=4, scale=2.0**-30))
    path = emulated.start()
    try:
        async with Bm1366(f"bm1366://{path}", path, sleep=partial(measured_sleep, 1.5)) as device:
            with pytest.raises(DeviceError, match="never set since it was powered"):
                await device.apply(OperatingPoint(frequency_mhz=400.0))
            chain = await device.chain()
            await chain.initialise(frequency_mhz=485.0, ticket=256.0, baud=None)
            assert (await device.identify()).chips == 4
            applied = await device.apply(OperatingPoint(frequency_mhz=400.0))
            assert applied.confirmed == {Setting.FREQUENCY: True}
            # counted over 1.5 s of a clock that a busy host reads some 10 ms late
            assert applied.measured[Setting.FREQUENCY].value == pytest.approx(400, rel=0.05)
            assert (await device.read_telemetry()).frequency_mhz == 400.0
        assert pll.decode(emulated.registers[3][r.Register.PLL0]).frequency_mhz == 485.0  # type: ignore[union-attr]
    finally:
        emulated.stop()


async def measured_sleep(longest: float, seconds: float) -> None:
    """Pauses of the ramp are cut short, measurements take a moment."""
    await asyncio.sleep(0.002 if seconds <= 0.1 else min(seconds, longest))


async def test_an_exception_in_a_sweep_leaves_the_chain_at_its_clock() -> None:
    emulated = EmulatedChain(Bm1366Config(scale=2.0**-30))
    path = emulated.start()
    originals = OriginalSettings()
    try:
        device = Bm1366(f"bm1366://{path}", path, sleep=partial(measured_sleep, 0.05), originals=originals)
        with pytest.raises(RuntimeError):
            await broken_sweep(device)
        assert pll.decode(emulated.registers[0][r.Register.PLL0]).frequency_mhz == 500.0  # type: ignore[union-attr]
        assert originals.get(f"bm1366://{path}") is None
    finally:
        emulated.stop()


async def broken_sweep(device: Bm1366) -> None:
    async with device:
        await (await device.chain()).initialise(frequency_mhz=500.0, ticket=256.0)
        await device.apply(OperatingPoint(frequency_mhz=400.0))
        raise RuntimeError("in the middle")


def test_ports_that_cannot_be_opened_say_why(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such serial port"):
        SerialPort(str(tmp_path / "ttyNone"))
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot be opened as a serial port"):
        SerialPort(str(tmp_path / "file"))
    emulated = EmulatedChain(Bm1366Config())
    path = emulated.start()
    first = SerialPort(path)
    try:
        with pytest.raises(UserError, match="another program has it open"):
            SerialPort(path)
    finally:
        first.close()
        emulated.stop()


# ---- as a miner of a run ---------------------------------------------------------------------------------------------


async def mined(
    tmp_path: Path,
    chips: int,
    seconds: float,
    *,
    ticket: float,
    pace: float,
    scale: float,
    mode: str = "stream",
    **faults: float,
) -> tuple[TraceReader, EmulatedChain, SerialMiner]:
    emulated = EmulatedChain(Bm1366Config(chips=chips, scale=scale, pace=pace, **faults))  # type: ignore[arg-type]
    port = SerialPort(emulated.start())
    db = f"sqlite:///{tmp_path / 'lab.db'}"
    config = BridgeConfig(port=0, mode=mode, job_period_s=1.0)  # type: ignore[arg-type]
    bridge = Bridge(config, partial(TraceWriter, db), np.random.default_rng(1))
    miner = SerialMiner(port, SerialMinerConfig(ticket=ticket, scale=scale), sleep=quick)
    try:
        await bridge.start()
        await bridge.attach(miner)
        await bridge.serve(seconds)
    finally:
        await asyncio.to_thread(emulated.stop)
    return TraceReader(db), emulated, miner


@pytest.mark.costly
async def test_handshake_mode_gives_one_job_per_share(tmp_path: Path) -> None:
    reader, _, miner = await mined(tmp_path, 1, 3.0, ticket=1.0, pace=5.0, scale=2.0**-22, mode="swh")
    rows = reader.columns(1, "shares", ["valid", "job"])
    assert rows.values["valid"].size > 20
    jobs = len(reader.dicts(1, "jobs"))
    assert jobs >= np.unique(rows.values["job"]).size
    assert jobs > 20
    assert miner.chain.counts.nonces >= rows.values["valid"].size


async def test_a_port_that_goes_away_is_an_event_and_the_run_goes_on(tmp_path: Path) -> None:
    emulated = EmulatedChain(Bm1366Config(scale=2.0**-24))
    port = SerialPort(emulated.start())
    db = f"sqlite:///{tmp_path / 'lab.db'}"
    bridge = Bridge(BridgeConfig(port=0), partial(TraceWriter, db), np.random.default_rng(1))
    await bridge.start()
    await bridge.attach(SerialMiner(port, SerialMinerConfig(scale=2.0**-24), sleep=quick))
    serving = asyncio.ensure_future(bridge.serve(20.0))
    await asyncio.to_thread(emulated.stop)
    reader = TraceReader(db)
    await until(lambda: any(e["kind"] == "source-lost" for e in reader.dicts(1, "events")))
    assert not serving.done()
    bridge.request_stop("enough")
    assert await serving == "enough"
    assert reader.run(1)["exit_status"] == "success"
