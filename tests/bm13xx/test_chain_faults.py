"""What a chain goes through in a lab: other hosts, bad cables, changes of its clock, signals in the middle."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firmware_bridge.bm13xx import registers as r
from firmware_bridge.bm13xx.chain import Chain
from firmware_bridge.bm13xx.frames import JobFrame, NonceAnswer, encode_answer
from firmware_bridge.bm13xx.miner import SerialMiner, SerialMinerConfig
from firmware_bridge.bm13xx.nonces import origin
from firmware_bridge.bm13xx.port import OnBytes, SerialPort
from firmware_bridge.devices.bm1366 import Bm1366
from firmware_bridge.devices.settings import OperatingPoint
from firmware_bridge.emulator.bm1366 import Bm1366 as EmulatedChain
from firmware_bridge.emulator.bm1366 import Bm1366Config
from firmware_bridge.emulator.bm1366_scan import JobScan, place_s
from firmware_bridge.emulator.serial_line import SerialLine
from firmware_bridge.errors import DeviceError, UserError
from firmware_bridge.stratum.config import BridgeConfig
from firmware_bridge.stratum.dispatch import JobSymbol, SequenceSource
from firmware_bridge.stratum.kernel_time import Stamp
from firmware_bridge.stratum.server import Bridge
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.writer import TraceWriter
from tests.bm13xx.test_chain import initialised, job, opened, quick, until
from tests.lab_process import started

SCALE = 2.0**-24
FRAME = JobFrame(8, 0x1703A30C, 0x66221BDF, bytes(range(32)), bytes(range(32, 64)), 0x20000000)
ODD_400_MHZ = 0x50C00221
"""Dividers that make 400 MHz, but not those that this lab would choose."""


# ---- speed -----------------------------------------------------------------------------------------------------------


async def left_at_its_working_speed(emulated: EmulatedChain, path: str) -> None:
    """What a host that was killed leaves behind."""
    chain = Chain(SerialPort(path), sleep=quick)
    chain.start()
    await chain.initialise(frequency_mhz=485.0, ticket=256.0)
    await asyncio.to_thread(chain.close)
    await until(lambda: emulated.summary.baud > 1_000_000)


@pytest.mark.costly
async def test_chips_do_not_understand_another_speed() -> None:
    async with opened(Bm1366Config(chips=2, scale=2.0**-30)) as (emulated, chain, _):
        await chain.initialise(frequency_mhz=485.0, ticket=256.0)
        chain.port.set_baud(115_200)
        await asyncio.sleep(0.2)  # the chips notice within 2 ms, on a busy host later
        with pytest.raises(DeviceError, match="nothing answered"):
            await chain.count()
        assert emulated.summary.unheard_bytes > 0
        assert await chain.find() == 2
        assert chain.port.baud == 1_000_000


async def test_a_device_finds_chips_that_another_host_left_at_their_working_speed() -> None:
    emulated = EmulatedChain(Bm1366Config(chips=3, scale=2.0**-30))
    path = emulated.start()
    try:
        await left_at_its_working_speed(emulated, path)
        async with Bm1366(f"bm1366://{path}", path, sleep=quick) as device:
            assert (await device.identify()).chips == 3
            assert (await device.read_point()).frequency_mhz == 485.0
    finally:
        await asyncio.to_thread(emulated.stop)


def test_chips_that_are_looked_after_late_hear_what_was_sent_before_the_host_changed_its_speed() -> None:
    class Late:
        """A port whose host has written, and changed its speed, since the last look."""

        data, baud = b"", 115_200

        def read(self, timeout_s: float) -> bytes:
            return self.data

        def host_baud(self) -> int:
            return self.baud

    port = Late()
    line = SerialLine(port, np.random.default_rng(1), corrupt=0.0, lose=0.0, noise=0.0)  # type: ignore[arg-type]
    assert line.read(0.0) == b""
    port.data, port.baud = b"faster", 1_000_000
    assert line.read(0.0) == b"faster"
    assert line.read(0.0) == b""  # the chips were not told
    assert line.counts.unheard_bytes == len(b"faster")
    line.baud = 1_000_000.0
    assert line.read(0.0) == b"faster"


async def test_a_port_where_nothing_answers_keeps_its_speed() -> None:
    async with opened(Bm1366Config(scale=2.0**-30, hang_after_s=0.0)) as (_, chain, _):
        with pytest.raises(DeviceError, match="nothing answered"):
            await chain.find()
        assert chain.port.baud == 115_200


# ---- the scan --------------------------------------------------------------------------------------------------------


def scan(chips: int = 1, *, scale: float = SCALE, hcn: int | None = None, mhz: float = 485.0) -> JobScan:
    hcn = r.hash_counting_number(mhz, chips) if hcn is None else hcn
    return JobScan(
        FRAME, chips=chips, frequency_mhz=mhz, hcn=hcn, ticket_mask=0, rolling=0x9000FFFF, scale=scale
    )


@pytest.mark.parametrize("chips", [1, 12, 61, 122, 128])
def test_every_chip_and_every_core_finds_nonces(chips: int) -> None:
    work = scan(chips, scale=2.0**-20)
    seen: list[tuple[int | None, int]] = []
    while len(seen) < 40 * chips:
        seen += [(at.chip, at.core) for hit in work.run_unit() for at in (origin(hit.answer, chips),)]
    assert {chip for chip, _ in seen} == set(range(chips))
    assert len({core for _, core in seen}) > (25 if chips == 1 else 90)


def test_no_small_core_beyond_the_894_that_work_finds_anything() -> None:
    work = scan(scale=2.0**-20)
    found = [hit.answer for _ in range(6000) for hit in work.run_unit()]
    assert len(found) > 500
    assert all((a.nonce >> 25) * 8 + (a.result & 7) < 894 for a in found)


@pytest.mark.parametrize("hcn", [None, 0xFFFFF])
def test_a_nonce_comes_when_the_scan_is_at_its_place(hcn: int | None) -> None:
    work = scan(hcn=hcn, mhz=550.0)
    ticks = r.hash_counting_number(550.0) if hcn is None else hcn
    hits = [hit for _ in range(3000) for hit in work.run_unit()]
    assert len(hits) > 100
    for hit in hits:
        assert hit.after_s == pytest.approx(place_s(hit.answer, frequency_mhz=550.0, hcn=ticks), abs=1e-7)
    rate = len(hits) / work.next_s
    sweep = 1.0 if hcn is None else (1 << 25) / 550e6 / (hcn * 80e-9)
    assert rate == pytest.approx(sweep * 894 * 550e6 / 2**32, rel=5 / len(hits) ** 0.5)


async def test_a_change_of_clock_ticket_or_nonce_space_makes_no_nonce_come_twice() -> None:
    async with opened(Bm1366Config(scale=SCALE, pace=8.0)) as (_, chain, nonces):
        await chain.initialise(frequency_mhz=485.0, ticket=1.0)
        chain.dispatch(job(1, scale=SCALE), "00000001")
        for mhz in (400.0, 500.0, 450.0):
            count = len(nonces)
            await chain.set_frequency(mhz, from_mhz=await chain.frequency())
            chain.set_ticket(2.0)
            await until(lambda count=count: len(nonces) >= count + 40)  # type: ignore[misc]
            chain.set_ticket(1.0)
    found = [(n.answer.nonce, n.answer.version_bits) for n in nonces]
    assert len(found) == len(set(found)) > 100


# ---- as a miner of a run ---------------------------------------------------------------------------------------------


class Injectable(SerialPort):
    """A port into whose bytes a test can slip its own."""

    inject: OnBytes

    def start(self, on_bytes: OnBytes, on_lost: Callable[[DeviceError], None]) -> None:
        self.inject = on_bytes
        super().start(on_bytes, on_lost)


class Mining:
    """A bridge with one chain in it."""

    def __init__(
        self, folder: Path, config: Bm1366Config, *, ticket: float = 1.0, source: Any = None, **options: Any
    ) -> None:
        self.emulated = EmulatedChain(config)
        self.port = Injectable(self.emulated.start())
        self.db = f"sqlite:///{folder / 'lab.db'}"
        settings = BridgeConfig(**{"port": 0, "job_period_s": 1.0, **options})
        self.bridge = Bridge(settings, partial(TraceWriter, self.db), np.random.default_rng(1), source=source)
        self.miner = SerialMiner(self.port, SerialMinerConfig(ticket=ticket, scale=config.scale), sleep=quick)

    async def __aenter__(self) -> Mining:
        await self.bridge.start()
        try:
            await self.bridge.attach(self.miner)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.bridge.stop()
        await asyncio.to_thread(self.emulated.stop)

    def rows(self) -> list[Any]:
        return list(TraceReader(self.db).share_rows(1))


async def test_a_chain_that_another_host_left_behind_mines_again(tmp_path: Path) -> None:
    mining = Mining(tmp_path, Bm1366Config(chips=2, scale=SCALE, pace=8.0))
    path = mining.port.path
    await asyncio.to_thread(mining.port.close)
    await left_at_its_working_speed(mining.emulated, path)
    mining.port = Injectable(path)
    mining.miner = SerialMiner(mining.port, SerialMinerConfig(ticket=1.0, scale=SCALE), sleep=quick)
    async with mining:
        await until(lambda: mining.bridge.stats.accepted > 20)
    assert mining.bridge.stats.rejected == 0
    held = mining.emulated.registers[0]
    assert held[r.Register.PLL0] == 0x50C20240


async def test_a_job_whose_versions_are_used_up_comes_again_with_another_extranonce2(tmp_path: Path) -> None:
    three_bits = {"version_mask": 0x0000E000, "job_period_s": 60.0}  # one batch, then everything repeats
    async with Mining(tmp_path, Bm1366Config(scale=SCALE, pace=1.0), **three_bits) as mining:
        await until(lambda: mining.bridge.stats.accepted > 60)
    rows = mining.rows()
    assert all(row.valid for row in rows)
    assert len({row.job for row in rows}) == 1
    assert len({row.extranonce2 for row in rows}) > 10
    assert {int(row.version_bits, 16) & ~0x0000E000 for row in rows} == {0}


async def test_nonces_of_a_job_that_is_not_in_flight_are_stored_with_the_reason(tmp_path: Path) -> None:
    async with Mining(tmp_path, Bm1366Config(scale=2.0**-30)) as mining:
        stray = encode_answer(NonceAnswer(0x12345678, 0, 0xF8 | 3, 7))
        mining.port.inject(stray * 2, Stamp(None, time.monotonic_ns(), time.time_ns()))
        await until(lambda: mining.bridge.stats.rejected == 2)
    assert mining.miner.chain.counts.unknown_job == 2
    strays = [
        row for row in mining.rows() if row.nonce == "78563412"
    ]  # the chip may find some of its own meanwhile
    assert len(strays) == 2
    for row in strays:
        assert (row.valid, row.reason, row.job) == (False, "unknown-job", None)


async def test_too_few_version_bits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="roll 3 bits"):
        async with Mining(tmp_path, Bm1366Config(), version_mask=0):
            raise AssertionError("it started")
    assert TraceReader(f"sqlite:///{tmp_path / 'lab.db'}").run(1)["exit_status"] is not None


@pytest.mark.parametrize(
    ("symbol", "text"),
    [
        (JobSymbol(difficulty=0.5), "reports from difficulty 1 on"),
        (JobSymbol(version_bits=0x00004000), "the chips roll 1fffe000"),
    ],
)
async def test_a_symbol_that_chips_cannot_carry_ends_the_run_with_the_reason(
    tmp_path: Path, symbol: JobSymbol, text: str
) -> None:
    source = SequenceSource([symbol], repeat=True)
    async with Mining(tmp_path, Bm1366Config(scale=2.0**-30), source=source) as mining:
        with pytest.raises(UserError, match=text):
            await mining.bridge.serve(20.0)
    assert TraceReader(mining.db).run(1)["exit_status"] == "fail"
    assert mining.bridge.stats.jobs == 0


async def test_symbols_set_the_ticket_and_the_extranonce1_of_their_job(tmp_path: Path) -> None:
    source = SequenceSource([JobSymbol(value=1.0, difficulty=5.0, extranonce1="0a0b0c0d")], repeat=True)
    async with Mining(tmp_path, Bm1366Config(scale=SCALE, pace=8.0), source=source) as mining:
        await until(lambda: mining.bridge.stats.accepted > 20)
        assert mining.emulated.registers[0][r.Register.TICKET_MASK] == r.encode_ticket_mask(4.0)
    sent = TraceReader(mining.db).dicts(1, "jobs")[0]
    assert (sent["extranonce1"], sent["difficulty"], sent["symbol"]) == ("0a0b0c0d", r.threshold(4.0), 1.0)
    assert mining.bridge.stats.rejected == 0


async def everything_arrived(mining: Mining) -> None:
    """Take the chips' clock away and wait until the last byte of theirs has been judged and stored."""
    emulated, chain, stats = mining.emulated, mining.miner.chain, mining.bridge.stats
    chain.write(r.Register.PLL0, 0)
    await until(lambda: not any(held(emulated)))  # a busy host hears of it late
    before = -1
    while before != emulated.summary.answers:
        before = emulated.summary.answers
        await asyncio.sleep(0.5)
    await until(lambda: chain.decoder.counts.received == emulated.summary.bytes_arrived)
    await until(lambda: stats.accepted + stats.rejected == chain.counts.nonces)


RATE = [(1, 1.0, 5.0), (12, 2.0, 0.83)]
"""Chips, ticket and pace at which 500 nonces a second arrive, at a scale that one core carries."""


async def busy_line(folder: Path, wanted: int, chips: int, ticket: float, pace: float) -> None:
    """Every nonce that the chips found is a valid row: exactly."""
    config = Bm1366Config(chips=chips, scale=2.0**-22, pace=pace)
    async with Mining(folder, config, ticket=ticket, job_period_s=30.0) as mining:
        await until(lambda: mining.emulated.summary.nonces >= wanted, seconds=60.0 + wanted / 20)
        await everything_arrived(mining)
        counts, sent = mining.miner.chain.decoder.counts, mining.emulated.summary
        found = sent.nonces
        assert mining.port.baud == 1_000_000
        assert (sent.overrun_bytes, sent.damaged, sent.unheard_bytes, sent.command_faults) == (0, 0, 0, 0)
        assert (counts.dropped, counts.crc_errors, counts.frames) == (0, 0, sent.answers)
    assert mining.bridge.stats.rejected == 0
    rows = mining.rows()
    assert len(rows) == found >= wanted
    assert all(row.valid and row.response_ns > 0 and row.monotonic_ns is not None for row in rows)
    reader = TraceReader(mining.db)
    miner = reader.dicts(1, "miners")[0]
    assert (miner["model"], miner["floor"], miner["scale"]) == ("bm1366", ticket, 2.0**-22)
    assert miner["user_agent"].endswith(f"{chips} chips")
    assert reader.dicts(1, "jobs")[0]["version_mask"] == 0x1FFFE000


@pytest.mark.costly
@pytest.mark.parametrize(("chips", "ticket", "pace"), RATE)
async def test_500_nonces_a_second_all_arrive_and_are_valid(
    tmp_path: Path, chips: int, ticket: float, pace: float
) -> None:
    await busy_line(tmp_path, 1500, chips, ticket, pace)


@pytest.mark.xdist_group("both cores")
@pytest.mark.slow
@pytest.mark.parametrize(("chips", "ticket", "pace"), RATE)
async def test_500_nonces_a_second_for_minutes_all_arrive_and_are_valid(
    tmp_path: Path, chips: int, ticket: float, pace: float
) -> None:
    await busy_line(tmp_path, 45_000, chips, ticket, pace)


async def bad_cable(folder: Path, wanted: int) -> None:
    """Every frame that the chips sent is a stored row, a register, or a counted loss: exactly."""
    async with Mining(folder, Bm1366Config(scale=2.0**-26, pace=5.0, corrupt=0.01, seed=5)) as mining:
        await until(lambda: mining.emulated.summary.nonces >= wanted, seconds=60.0 + wanted / 20)
        await everything_arrived(mining)
        chain, sent = mining.miner.chain, mining.emulated.summary
        seen, stored, found, damaged = chain.decoder.counts, chain.counts.nonces, sent.nonces, sent.damaged
        lost, rest = divmod(seen.dropped + chain.decoder.pending, 11)
        assert rest == 0
        assert sent.overrun_bytes == 0
        assert sent.answers == seen.frames + lost
        assert 0 < lost <= damaged
    rows = mining.rows()
    assert len(rows) == stored
    reasons = [row.reason for row in rows if not row.valid]
    assert set(reasons) <= {"low-difficulty", "unknown-job", "duplicate", "version-bits"}
    # a damaged frame passes the 5-bit check sum one time in 32; its hash gives it away. Once in 100,000 frames noise
    # begins like one, passes too, and takes a good neighbour along
    assert len(reasons) + lost <= damaged + 5
    assert len(rows) - len(reasons) >= found - damaged - 5


@pytest.mark.costly
async def test_with_one_percent_of_the_bytes_corrupted_every_loss_is_counted(tmp_path: Path) -> None:
    await bad_cable(tmp_path, 2000)


@pytest.mark.xdist_group("both cores")
@pytest.mark.slow
async def test_with_one_percent_of_the_bytes_corrupted_for_minutes_every_loss_is_counted(
    tmp_path: Path,
) -> None:
    await bad_cable(tmp_path, 150_000)


# ---- signals in the middle of a sweep --------------------------------------------------------------------------------


async def prepared_chain(emulated: EmulatedChain, path: str) -> None:
    """A chain that runs at 400 MHz by dividers of its own."""
    chain = Chain(SerialPort(path), sleep=quick)
    chain.start()
    await initialised(chain)
    await chain.set_frequency(400.0, from_mhz=485.0, word=ODD_400_MHZ)
    await asyncio.to_thread(chain.close)
    assert held(emulated) == [ODD_400_MHZ] * 2


def held(emulated: EmulatedChain) -> list[int]:
    return [own[r.Register.PLL0] for own in emulated.registers]


@pytest.mark.costly
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_a_signal_in_the_middle_of_a_sweep_leaves_the_chain_at_its_clock(
    tmp_path: Path, sent: signal.Signals
) -> None:
    emulated = EmulatedChain(Bm1366Config(chips=2, scale=2.0**-30))
    path = emulated.start()
    url = f"bm1366://{path}"
    child = None
    try:
        await prepared_chain(emulated, path)
        child = started(
            tmp_path, "devices", "sweep", url, "--frequency", "425,400,425", "--dwell", "60", own_state=True
        )
        await until(lambda: held(emulated) != [ODD_400_MHZ] * 2 or child.poll() is not None, seconds=120.0)
        assert child.poll() is None, child.communicate()
        child.send_signal(sent)
        output = await asyncio.to_thread(child.communicate, timeout=120.0)
        if sent == signal.SIGKILL:
            assert held(emulated) != [ODD_400_MHZ] * 2
            child = started(tmp_path, "devices", "restore", url, own_state=True)
            output = await asyncio.to_thread(child.communicate, timeout=120.0)
            assert child.returncode == 0, output
            frequencies = [f for f in (await frequencies_of(path)) if f is not None]
            assert frequencies == [400.0, 400.0]  # another process knows the clock, not the dividers
        else:
            assert held(emulated) == [ODD_400_MHZ] * 2, output
    finally:
        if child is not None and child.poll() is None:
            child.kill()
        await asyncio.to_thread(emulated.stop)


async def frequencies_of(path: str) -> list[float | None]:
    async with Bm1366(f"bm1366://{path}", path, sleep=quick) as device:
        return [board.frequency_mhz for board in (await device.read_telemetry()).boards]


@pytest.mark.costly
async def test_a_restored_chain_has_the_very_dividers_that_it_had() -> None:
    emulated = EmulatedChain(Bm1366Config(chips=2, scale=2.0**-30))
    path = emulated.start()

    async def short(seconds: float) -> None:
        await asyncio.sleep(0.002 if seconds <= 0.1 else min(seconds, 0.2))

    try:
        await prepared_chain(emulated, path)
        async with Bm1366(f"bm1366://{path}", path, sleep=short) as device:
            await device.apply(OperatingPoint(frequency_mhz=425.0))
            assert held(emulated) == [0x40AA0240] * 2
        assert held(emulated) == [ODD_400_MHZ] * 2
    finally:
        await asyncio.to_thread(emulated.stop)
