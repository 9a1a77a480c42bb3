"""A chain of BM1366: count and address its chips, bring up its clock, give it jobs, take nonces (hardware.md §1)."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any

from firmware_bridge.bm13xx import pll
from firmware_bridge.bm13xx import registers as r
from firmware_bridge.bm13xx.decoder import AnswerDecoder
from firmware_bridge.bm13xx.frames import (
    ChainInactive,
    Command,
    JobFrame,
    NonceAnswer,
    ReadRegister,
    RegisterAnswer,
    SetAddress,
    WriteRegister,
    encode,
)
from firmware_bridge.bm13xx.nonces import (
    JOBS_IN_FLIGHT,
    NonceOrigin,
    address_interval,
    job_frame,
    next_job_id,
    origin,
)
from firmware_bridge.bm13xx.port import Port
from firmware_bridge.errors import DeviceError
from firmware_bridge.headers import DEFAULT_VERSION_MASK, Job
from firmware_bridge.stratum.kernel_time import Stamp

ANSWER_TIMEOUT_S = 1.0
QUIET_S = 0.1
"""A broadcast read is over when nothing more came for so long."""
BAUD_PAUSE_S = 0.05
"""Between the frame that changes the chips' speed and the host's own change."""

MISC_CONTROL_ALL, MISC_CONTROL_CHIP = 0xFF0FC100, 0xF000C100
SOFT_RESET_ALL, SOFT_RESET_CHIP = 0x00070000, 0x000701F0
CLOCK_SELECT, CLOCK_DELAY, CORE_ENABLE = 0x80008540, 0x80008020, 0x800082AA
ANALOG_MUX, IO_DRIVE, UART_RELAY = 0x00000003, 0x02111111, 0x007C0003
"""Values of the initialisation, §1.5 and §1.10."""


@dataclass(frozen=True, slots=True)
class ChainJob:
    """A job as a chain was given it."""

    job_id: int
    job: Job
    extranonce2: str
    frame: JobFrame


@dataclass(frozen=True, slots=True)
class ChainNonce:
    """A nonce as it came: what it answers, where it was found, when it arrived."""

    answer: NonceAnswer
    origin: NonceOrigin
    work: ChainJob
    stamp: Stamp


@dataclass(slots=True)
class ChainCounts:
    """What a chain sent since it was opened.

    Attributes:
        nonces: intact nonce answers.
        unknown_job: of them, for a job id that is not in flight.
        registers: intact register answers.
        unasked: of them, without a question.
    """

    nonces: int = 0
    unknown_job: int = 0
    registers: int = 0
    unasked: int = 0

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


Sleep = Callable[[float], Awaitable[None]]


class Chain:
    """One chain behind one port.

    Args:
        port: open.
        on_nonce: called with each nonce of a known job.
        on_lost: called when the port went away.
        sleep: how the clock's ramp waits.
    """

    def __init__(
        self,
        port: Port,
        *,
        on_nonce: Callable[[ChainNonce], None] = lambda nonce: None,
        on_lost: Callable[[DeviceError], None] = lambda error: None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.port = port
        self.on_nonce = on_nonce
        self.counts = ChainCounts()
        self.decoder = AnswerDecoder()
        self.chips = 0
        self.lost: DeviceError | None = None
        self._on_lost = on_lost
        self._sleep = sleep
        self._jobs: OrderedDict[int, ChainJob] = OrderedDict()
        self._next_id = 0
        self._reading: tuple[int, list[RegisterAnswer], asyncio.Event] | None = None
        self._asking = asyncio.Lock()

    def start(self) -> None:
        """Listen."""
        self.port.start(self._received, self._gone)

    def close(self) -> None:
        """Let go of the port."""
        self.port.close()

    def send(self, command: Command) -> None:
        """Send a command.

        Raises:
            DeviceError: if the port is gone.
        """
        if self.lost is not None:
            raise DeviceError(str(self.lost))
        self.port.write(encode(command))

    def write(self, register: int, value: int, chip: int | None = None) -> None:
        """Write a register of one chip (by address) or of all."""
        self.send(WriteRegister(register, value, chip))

    # ---- what arrives ----

    def _received(self, data: bytes, stamp: Stamp) -> None:
        for answer in self.decoder.feed(data):
            if isinstance(answer, NonceAnswer):
                self._nonce(answer, stamp)
            elif isinstance(answer, RegisterAnswer):
                self._register(answer)

    def _nonce(self, answer: NonceAnswer, stamp: Stamp) -> None:
        self.counts.nonces += 1
        where = origin(answer, max(1, self.chips))
        work = self._jobs.get(where.job_id)
        if work is None:
            self.counts.unknown_job += 1
            return
        self.on_nonce(ChainNonce(answer, where, work, stamp))

    def _register(self, answer: RegisterAnswer) -> None:
        self.counts.registers += 1
        if self._reading is None or self._reading[0] != answer.register:
            self.counts.unasked += 1
            return
        self._reading[1].append(answer)
        self._reading[2].set()

    def _gone(self, error: DeviceError) -> None:
        self.lost = error
        if self._reading is not None:
            self._reading[2].set()
        self._on_lost(error)

    # ---- questions ----

    async def read(
        self, register: int, chip: int | None = None, *, expect: int | None = None
    ) -> list[RegisterAnswer]:
        """Read a register of one chip (by address) or of all; the answers in the order of the chain.

        Args:
            register: its number.
            chip: address, None for all.
            expect: how many answers end the waiting; by default as many as there are chips.

        Raises:
            DeviceError: if nothing answers in time, with what was sent and what came.
        """
        expect = expect if expect is not None else (1 if chip is not None else self.chips or None)
        async with self._asking:
            answers: list[RegisterAnswer] = []
            came = asyncio.Event()
            self._reading = (register, answers, came)
            command = ReadRegister(register, chip)
            try:
                self.send(command)
                patience = ANSWER_TIMEOUT_S
                while expect is None or len(answers) < expect:
                    came.clear()
                    try:
                        async with asyncio.timeout(patience):
                            await came.wait()
                    except TimeoutError:
                        break
                    if self.lost is not None:
                        raise DeviceError(str(self.lost))
                    patience = QUIET_S if expect is None else ANSWER_TIMEOUT_S
            finally:
                self._reading = None
        if not answers:
            seen = self.decoder.counts
            raise DeviceError(
                f"{self.port.path}: nothing answered to {encode(command).hex(' ')} (read {r.name_of(register)}) within "
                f"{ANSWER_TIMEOUT_S:g} s; {seen.received} bytes came so far, {seen.dropped} of them noise. "
                "Is it powered, and are RX and TX the right way round?"
            )
        return answers

    async def count(self) -> int:
        """How many BM1366 answer; sets nothing but the 11-byte form of answers.

        Raises:
            DeviceError: if none does, or another chip.
        """
        for _ in range(3):
            self.write(r.Register.VERSION_ROLLING, r.version_rolling(DEFAULT_VERSION_MASK))
        answers = await self.read(r.Register.CHIP_ID)
        others = [a for a in answers if a.value >> 16 != r.CHIP_MODEL]
        if others:
            model = others[0].value >> 16
            raise DeviceError(
                f"{self.port.path}: a chip says it is {model:04X}, not BM1366: {others[0].value:08X}"
            )
        self.chips = len(answers)
        return self.chips

    # ---- bringing it up ----

    async def initialise(
        self,
        *,
        frequency_mhz: float,
        ticket: float,
        version_mask: int = DEFAULT_VERSION_MASK,
        baud: int | None = r.WORKING_BAUD,
    ) -> int:
        """The whole sequence of §1.10 but the reset pin; returns how many chips there are.

        Raises:
            DeviceError: if no chip answers.
        """
        chips = await self.count()
        interval = address_interval(chips)
        self.write(r.Register.SOFT_RESET, SOFT_RESET_ALL)
        self.write(r.Register.MISC_CONTROL, MISC_CONTROL_ALL)
        self.send(ChainInactive())
        for number in range(chips):
            self.send(SetAddress(number * interval))
        self.write(r.Register.CORE_MAILBOX, CLOCK_SELECT)
        self.write(r.Register.CORE_MAILBOX, CLOCK_DELAY)
        self.set_ticket(ticket)
        self.write(r.Register.ANALOG_MUX, ANALOG_MUX)
        self.write(r.Register.IO_DRIVE_STRENGTH, IO_DRIVE)
        self.write(r.Register.UART_RELAY, UART_RELAY, 0)
        for number in range(chips):
            address = number * interval
            self.write(r.Register.SOFT_RESET, SOFT_RESET_CHIP, address)
            self.write(r.Register.MISC_CONTROL, MISC_CONTROL_CHIP, address)
            for value in (CLOCK_SELECT, CLOCK_DELAY, CORE_ENABLE):
                self.write(r.Register.CORE_MAILBOX, value, address)
        await self.set_frequency(frequency_mhz, from_mhz=await self.frequency())
        self.write(r.Register.VERSION_ROLLING, r.version_rolling(version_mask))
        if baud is not None:
            await self.set_baud(baud)
        return chips

    def set_ticket(self, difficulty: float) -> int:
        """Report nonces from the largest power of two that is at most this difficulty; returns that."""
        self.write(r.Register.TICKET_MASK, r.encode_ticket_mask(difficulty))
        return r.ticket_difficulty(difficulty)

    async def set_baud(self, baud: int = r.WORKING_BAUD) -> None:
        """Change the chips' speed, then the host's."""
        divider = r.WORKING_DIVIDER if baud == r.WORKING_BAUD else r.RESET_DIVIDER
        self.write(r.Register.FAST_UART, r.fast_uart(divider))
        await self._sleep(BAUD_PAUSE_S)
        self.port.set_baud(baud)
        await self._sleep(BAUD_PAUSE_S)

    async def frequency(self) -> float | None:
        """The clock as the first chip's PLL holds it; None where it makes none.

        Raises:
            DeviceError: if it does not answer.
        """
        answer = (await self.read(r.Register.PLL0, 0))[0]
        held = pll.decode(answer.value)
        return None if held is None else held.frequency_mhz

    async def set_frequency(self, frequency_mhz: float, *, from_mhz: float | None) -> float:
        """Ramp all chips to the nearest clock that their PLL makes, then fit their nonce space; returns that clock."""
        start = pll.RAMP_START_MHZ if from_mhz is None else from_mhz
        steps = ([start] if from_mhz is None else []) + pll.ramp(start, frequency_mhz)
        for step in steps:
            self.write(r.Register.PLL0, pll.choose(step).register)
            await self._sleep(pll.RAMP_PAUSE_S)
        exact = pll.choose(frequency_mhz).frequency_mhz
        self.write(r.Register.HASH_COUNTING_NUMBER, r.hash_counting_number(exact, max(1, self.chips)))
        return exact

    async def hashes(self) -> int:
        """Hashes of all chips since their reset, in units of 2^32.

        Raises:
            DeviceError: if they do not answer.
        """
        return sum(answer.value for answer in await self.read(r.Register.TOTAL_HASHES))

    async def errors(self) -> int:
        """Erroneous hashes of all chips since their reset, in units of 2^32."""
        return sum(answer.value for answer in await self.read(r.Register.ERROR_COUNTER))

    # ---- work ----

    def dispatch(self, job: Job, extranonce2: str) -> ChainJob:
        """Give the chain a job, which replaces the one it has; the last 16 stay in flight.

        Raises:
            DeviceError: if the port is gone.
            ValueError: if a field of the job is malformed.
        """
        work = ChainJob(self._next_id, job, extranonce2, job_frame(job, extranonce2, self._next_id))
        self.send(work.frame)
        self._next_id = next_job_id(self._next_id)
        self._jobs.pop(work.job_id, None)
        self._jobs[work.job_id] = work
        while len(self._jobs) > JOBS_IN_FLIGHT:
            self._jobs.popitem(last=False)
        return work
