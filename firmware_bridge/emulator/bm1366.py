"""An emulated chain of BM1366 behind a serial port (``hardware.md`` §1).

Registers, addresses, 9- and 11-byte forms of answers, ticket mask, order and timing of the scan are those of the
chip; nonces are really mined, at a difficulty scale that a CPU can carry. At scale 1 a CPU finds nothing in a
lifetime, so there it is told where in the scan of a published job a real chip found something: it hashes what all small
cores try around those places, and answers when the scan would come to them. Any other job stays without an answer.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import resources
from typing import Any

import numpy as np

from firmware_bridge.bm13xx import pll
from firmware_bridge.bm13xx import registers as r
from firmware_bridge.bm13xx.decoder import CommandDecoder
from firmware_bridge.bm13xx.frames import (
    ANSWER_BYTES,
    SHORT_ANSWER_BYTES,
    ChainInactive,
    Command,
    JobFrame,
    NonceAnswer,
    ReadRegister,
    RegisterAnswer,
    SetAddress,
    WriteRegister,
    encode_answer,
)
from firmware_bridge.bm13xx.nonces import JOB_ID_MASK, header_of
from firmware_bridge.emulator.bm1366_scan import LANES, JobScan, ScanHit, mine_around
from firmware_bridge.emulator.pty_port import PtyPort
from firmware_bridge.emulator.serial_line import RESET_SPEED, SerialLine
from firmware_bridge.emulator.wall_config import DEFAULT_SCALE
from firmware_bridge.errors import UserError

TICK_S = 0.002
"""Time between two looks at the port and at the work that is due."""
LAG_S = 0.25
"""Work that is more than so late is skipped: the CPU cannot carry it."""


@dataclass(frozen=True)
class Bm1366Config:
    """What to emulate.

    Attributes:
        chips: 1 to 128.
        scale: difficulty scale S.
        seed: of the faults.
        pace: how much faster than its clock the chain hashes; 1 is the chip.
        corrupt: share of the sent bytes that get a wrong bit.
        lose: share of the sent bytes that never arrive.
        noise: share of the answers that have a burst of noise before them.
        hang_after_s: time after which it answers nothing any more, or None.
    """

    chips: int = 1
    scale: float = DEFAULT_SCALE
    seed: int = 0
    pace: float = 1.0
    corrupt: float = 0.0
    lose: float = 0.0
    noise: float = 0.0
    hang_after_s: float | None = None

    def check(self) -> None:
        """Refuse what cannot be emulated.

        Raises:
            UserError: naming the field and what it may be.
        """
        if not 1 <= self.chips <= 128:
            raise UserError(f"a chain has 1 to 128 chips, not {self.chips}")
        if not 0.0 < self.scale <= 1.0:
            raise UserError(f"a difficulty scale is above 0 and at most 1, not {self.scale!r}")
        for name in ("corrupt", "lose", "noise"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise UserError(f"{name} is a share from 0 to below 1, not {getattr(self, name)!r}")
        if not self.pace > 0.0:
            raise UserError(f"pace is above 0, not {self.pace!r}")


@dataclass(slots=True)
class Bm1366Summary:
    """What a chain sent and saw.

    Attributes:
        chips: on the chain.
        commands: intact frames that it read.
        command_faults: frames of the host with a wrong check sum.
        jobs: jobs that it took.
        answers: frames that it sent.
        nonces: of them, nonces.
        bytes_sent: of them, bytes that were to go out.
        bytes_arrived: of them, bytes that went out, noise included.
        damaged: frames that lost a byte, or got a wrong one.
        overrun_bytes: bytes that found no room because nobody read.
        unheard_bytes: bytes of the host at a speed that the chips did not have.
        hashes: double hashes computed.
        skipped_s: time that this CPU could not carry.
        baud: of the chips at the end.
        reason: why it ended.
    """

    chips: int
    commands: int = 0
    command_faults: int = 0
    jobs: int = 0
    answers: int = 0
    nonces: int = 0
    bytes_sent: int = 0
    bytes_arrived: int = 0
    damaged: int = 0
    overrun_bytes: int = 0
    unheard_bytes: int = 0
    hashes: int = 0
    skipped_s: float = 0.0
    baud: float = RESET_SPEED
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)


class Bm1366:
    """The chain; a thread plays it from :meth:`start` to :meth:`stop`.

    Args:
        config: what to emulate.
        monotonic: where it gets its time from, in seconds.
    """

    def __init__(self, config: Bm1366Config, monotonic: Callable[[], float] = time.monotonic) -> None:
        config.check()
        self.config = config
        self.summary = Bm1366Summary(config.chips)
        self.registers: list[dict[int, int]] = []
        self.addresses: list[int | None] = []
        self._monotonic = monotonic
        self._rng = np.random.default_rng(config.seed)
        self._decoder = CommandDecoder()
        self._port: PtyPort | None = None
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._line: SerialLine | None = None
        self._place: tuple[int, int] | None = None
        self._jobs: dict[int, JobFrame] = {}
        self._job: JobFrame | None = None
        self._scan: JobScan | None = None
        self._known: deque[ScanHit] = deque()
        self._began = 0.0
        self._hashed_since: float | None = None
        self._hashed: list[float] = []
        self._power_on = 0.0
        self.reset()

    def reset(self) -> None:
        """Power on."""
        values = {int(n): fact.power_on or 0 for n, fact in r.FACTS.items()}
        self.registers = [dict(values) for _ in range(self.config.chips)]
        self.addresses = [0] * self.config.chips
        self._hashed = [0.0] * self.config.chips

    # ---- life ----

    def start(self) -> str:
        """Begin; the path to open.

        Raises:
            UserError: where the system has no pseudo-terminals.
        """
        config, self._port = self.config, PtyPort()
        faults = {"corrupt": config.corrupt, "lose": config.lose, "noise": config.noise}
        self._line = SerialLine(self._port, self._rng, **faults)
        self._power_on = self._monotonic()
        self._thread = threading.Thread(target=self._run, name="bm1366", daemon=True)
        self._thread.start()
        return self._port.path

    def stop(self, reason: str = "asked to stop") -> Bm1366Summary:
        """End; what it did."""
        self.summary.reason = self.summary.reason or reason
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        if self._port is not None:
            self._port.close()
        return self.summary

    def _run(self) -> None:
        line = self._line
        assert line is not None
        while not self._ended.is_set():
            data = line.read(TICK_S)
            now = self._monotonic()
            hung = self.config.hang_after_s
            if hung is not None and now - self._power_on >= hung:
                continue
            if data:
                self.take(data, now)
            self.work(now)
            line.send_due(self._monotonic())
            for name, count in asdict(line.counts).items():
                setattr(self.summary, name, count)

    # ---- commands ----

    def take(self, data: bytes, now: float) -> None:
        """Act on bytes of the host."""
        for command in self._decoder.feed(data):
            self.summary.commands += 1
            self._carry_out(command, now)
        self.summary.command_faults = self._decoder.counts.crc_errors

    def _carry_out(self, command: Command, now: float) -> None:
        match command:
            case ChainInactive():
                self.addresses = [None] * self.config.chips
            case SetAddress(address):
                if None in self.addresses:
                    self.addresses[self.addresses.index(None)] = address
            case WriteRegister(register, value, chip):
                self._account(now)
                for number in self._those(chip):
                    self.registers[number][register] = value
                self._written(register, value, now)
            case ReadRegister(register, chip):
                self._account(now)
                for number in self._those(chip):
                    self._answer(self._register(number, register), now)
            case JobFrame():
                self._account(now)
                self.summary.jobs += 1
                self._jobs[command.job_id & JOB_ID_MASK] = command
                self._job = command
                self._begin(now)
            case _:
                return

    def _those(self, address: int | None) -> list[int]:
        """Chips that a command is for, in the order of the chain."""
        if address is None:
            return list(range(self.config.chips))
        return [n for n, own in enumerate(self.addresses) if own == address]

    def _written(self, register: int, value: int, now: float) -> None:
        if register == r.Register.FAST_UART:
            self.summary.baud = r.uart_baud(value)
            if self._line is not None:
                self._line.baud = self.summary.baud
        elif register == r.Register.VERSION_ROLLING:
            self._begin(now)
        elif register in (r.Register.PLL0, r.Register.HASH_COUNTING_NUMBER, r.Register.TICKET_MASK):
            self._go_on(now)

    def _register(self, number: int, register: int) -> RegisterAnswer:
        own = self.registers[number]
        address = self.addresses[number] or 0
        value = own.get(register, 0)
        if register == r.Register.CHIP_ID:
            value = value & 0xFFFFFF00 | address
        elif register == r.Register.TOTAL_HASHES:
            value = int(self._hashed[number] / r.HASHES_PER_COUNT) & 0xFFFFFFFF
        elif register in r.DOMAIN_HASHES:
            value = int(self._hashed[number] / len(r.DOMAIN_HASHES) / r.HASHES_PER_COUNT) & 0xFFFFFFFF
        return RegisterAnswer(value, address, register, 0)

    @property
    def answer_bytes(self) -> int:
        """Bytes of an answer: 9 until version rolling is on."""
        return ANSWER_BYTES if self.registers[0][r.Register.VERSION_ROLLING] >> 31 else SHORT_ANSWER_BYTES

    # ---- work ----

    @property
    def frequency_mhz(self) -> float | None:
        """The clock that its PLL makes; None where it makes none, and nothing hashes."""
        held = pll.decode(self.registers[0][r.Register.PLL0])
        return None if held is None else held.frequency_mhz

    def _account(self, now: float) -> None:
        """Bring the hash counters up to now."""
        frequency = self.frequency_mhz
        if self._hashed_since is not None and frequency is not None:
            hashes = r.SMALL_CORES * frequency * 1e6 * self.config.pace * (now - self._hashed_since)
            self._hashed = [before + hashes for before in self._hashed]
        self._hashed_since = now if self._job is not None else None

    def _begin(self, now: float) -> None:
        """Start the present job's scan."""
        self._scan, self._place, self._known = None, None, deque()
        if self._job is None:
            return
        self._began = self._hashed_since = now
        own, frequency = self.registers[0], self.frequency_mhz
        hcn = own[r.Register.HASH_COUNTING_NUMBER]
        if self.config.scale == 1.0 and frequency is not None and hcn:
            self._known = known_nonces(self._job, own[r.Register.TICKET_MASK], frequency, hcn)
        else:
            self._go_on(now)

    def _go_on(self, now: float) -> None:
        """Scan on with what the registers say now, from where the scan is: nothing is tried twice."""
        if self._job is None:
            return
        if self.config.scale == 1.0:
            self._begin(now)
            return
        own, frequency, before = self.registers[0], self.frequency_mhz, self._scan
        hcn = own[r.Register.HASH_COUNTING_NUMBER]
        if before is not None:
            self._place = before.place
        self._scan = None
        if frequency is None or hcn == 0:
            return
        self._scan = JobScan(
            self._job,
            chips=self.config.chips,
            frequency_mhz=frequency,
            hcn=hcn,
            ticket_mask=own[r.Register.TICKET_MASK],
            rolling=own[r.Register.VERSION_ROLLING],
            scale=self.config.scale,
            pace=self.config.pace,
        )
        due = now if before is None else self._began + before.next_s
        if self._place is not None:
            self._scan.go_on_from(*self._place)
        self._began = due - self._scan.next_s

    def work(self, now: float) -> None:
        """Hash what is due by now."""
        while self._known and self._began + self._known[0].after_s <= now:
            self._nonce(self._known.popleft())
        scan = self._scan
        if scan is None:
            return
        late = now - self._began - scan.next_s
        if late > LAG_S:
            self._began += late - LAG_S / 2
            self.summary.skipped_s += late - LAG_S / 2
        before = scan.hashes
        budget = self._monotonic() + LAG_S / 4
        while self._began + scan.next_s <= now and self._monotonic() < budget:
            for hit in scan.run_unit():
                self._nonce(hit)
        self.summary.hashes += scan.hashes - before

    def _nonce(self, hit: ScanHit) -> None:
        self.summary.nonces += 1
        self._answer(hit.answer, self._began + hit.after_s)

    # ---- answers ----

    def _answer(self, answer: RegisterAnswer | NonceAnswer, when: float) -> None:
        if self._line is not None:
            self._line.queue(when, encode_answer(answer, self.answer_bytes))


def known_nonces(frame: JobFrame, ticket_mask: int, frequency_mhz: float, hcn: int) -> deque[ScanHit]:
    """What hashing around the known places of a published job finds, in the order of the scan; empty for any other."""
    text = resources.files("firmware_bridge.emulator").joinpath("bm1366_captures.json").read_text()
    own = header_of(frame, NonceAnswer(0, 0, 0, 0))[4:76]
    hits: dict[NonceAnswer, ScanHit] = {}
    for capture in json.loads(text)["captures"]:
        if bytes.fromhex(capture["header_4_to_76"]) != own:
            continue
        for nonce, version_bits in capture["nonces"]:
            found = mine_around(
                frame, version_bits // LANES, int(nonce, 16) & 0x1FFFFFF,
                ticket_mask=ticket_mask, frequency_mhz=frequency_mhz, hcn=hcn,
            )  # fmt: skip
            hits.update((hit.answer, hit) for hit in found)
    return deque(sorted(hits.values(), key=lambda h: h.after_s))
