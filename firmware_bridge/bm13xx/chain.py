"""A chain of BM1366: count and address its chips, bring up its clock, give it jobs, take nonces (hardware.md §1)."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from firmware_bridge.bm13xx import pll
from firmware_bridge.bm13xx import registers as r
from firmware_bridge.bm13xx.frames import (
    ChainInactive,
    JobFrame,
    NonceAnswer,
    RegisterAnswer,
    SetAddress,
)
from firmware_bridge.bm13xx.link import TRIES, Link
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
    work: ChainJob | None  # None where no job in flight has this id
    stamp: Stamp


Sleep = Callable[[float], Awaitable[None]]


class Chain(Link):
    """One chain behind one port.

    Args:
        port: open.
        on_nonce: called with each nonce.
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
        super().__init__(port, on_lost)
        self.on_nonce = on_nonce
        self.hash_counting_number: int | None = None  # as it was written last
        self._sleep = sleep
        self._jobs: OrderedDict[int, ChainJob] = OrderedDict()
        self._next_id = 0

    def _nonce(self, answer: NonceAnswer, stamp: Stamp) -> None:
        self.counts.nonces += 1
        where = origin(answer, max(1, self.chips))
        work = self._jobs.get(where.job_id)
        if work is None:
            self.counts.unknown_job += 1
        self.on_nonce(ChainNonce(answer, where, work, stamp))

    async def find(self) -> int:
        """Count the chips at the speed of the port, else at the other one, at which another host may have left them.

        Raises:
            DeviceError: if none answers at either speed, or another chip does; the port has its speed from before.
        """
        first: DeviceError | None = None
        before = self.port.baud
        for baud in (before, r.WORKING_BAUD if before != r.WORKING_BAUD else r.RESET_BAUD):
            if baud != self.port.baud:
                self.port.set_baud(baud)
                self.decoder.discard()
            try:
                return await self.count()
            except DeviceError as error:
                first = first or error
                if self.lost is not None:
                    raise
        self.port.set_baud(before)
        assert first is not None
        raise first

    async def count(self) -> int:
        """How many BM1366 answer; sets nothing but the 11-byte form of answers.

        On a bad cable it asks again, since nobody tells whose answer was lost.

        Raises:
            DeviceError: if none does, or another chip.
        """
        most: list[RegisterAnswer] = []
        for left in reversed(range(TRIES)):
            noise = self.decoder.counts.dropped
            for _ in range(3):
                self.write(r.Register.VERSION_ROLLING, r.version_rolling(DEFAULT_VERSION_MASK))
            try:
                answers = await self.read(r.Register.CHIP_ID, expect=0)
            except DeviceError:
                if self.decoder.counts.dropped == noise or left == 0 or self.lost is not None:
                    raise
                continue
            most = answers if len(answers) > len(most) else most
            if self.decoder.counts.dropped == noise:
                break
        others = [a for a in most if a.value >> 16 != r.CHIP_MODEL]
        if others:
            model = others[0].value >> 16
            raise DeviceError(
                f"{self.port.path}: a chip says it is {model:04X}, not BM1366: {others[0].value:08X}"
            )
        self.chips = len(most)
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
        held = pll.decode(await self.pll_word())
        return None if held is None else held.frequency_mhz

    async def pll_word(self) -> int:
        """What the first chip's PLL register holds.

        Raises:
            DeviceError: if it does not answer.
        """
        return (await self.ask(r.Register.PLL0, 0))[0].value

    async def set_frequency(
        self, frequency_mhz: float, *, from_mhz: float | None, word: int | None = None
    ) -> float:
        """Ramp all chips to the nearest clock that their PLL makes, fit their nonce space, and read the clock back.

        Args:
            frequency_mhz: where to go.
            from_mhz: where the chips are; None where they have no clock.
            word: register value to end with, where the dividers are not to be chosen here.

        Returns:
            The clock that they have now.

        Raises:
            DeviceError: if a chip does not answer, or does not hold what was written.
        """
        start = pll.RAMP_START_MHZ if from_mhz is None else from_mhz
        steps = ([start] if from_mhz is None else []) + pll.ramp(start, frequency_mhz)
        words = [pll.choose(step).register for step in steps]
        final = words[-1] = words[-1] if word is None else word
        for value in words:
            self.write(r.Register.PLL0, value)
            await self._sleep(pll.RAMP_PAUSE_S)
        held: list[int] = []
        for _ in range(TRIES):
            held = [answer.value for answer in await self.ask(r.Register.PLL0)]
            if all(value == final for value in held):
                break
            self.write(r.Register.PLL0, final)  # a frame may have been spoiled
        else:
            shown = " ".join(f"{value:08X}" for value in held)
            raise DeviceError(f"{self.port.path}: PLL {final:08X} was written, the chips hold {shown}")
        reached = pll.decode(final)
        exact = pll.choose(frequency_mhz).frequency_mhz if reached is None else reached.frequency_mhz
        self.hash_counting_number = r.hash_counting_number(exact, max(1, self.chips))
        self.write(r.Register.HASH_COUNTING_NUMBER, self.hash_counting_number)
        return exact

    async def hashes(self) -> int:
        """Hashes of all chips since their reset, in units of 2^32.

        Raises:
            DeviceError: if they do not answer.
        """
        return sum(answer.value for answer in await self.ask(r.Register.TOTAL_HASHES))

    async def errors(self) -> int:
        """Erroneous hashes of all chips since their reset, in units of 2^32."""
        return sum(answer.value for answer in await self.ask(r.Register.ERROR_COUNTER))

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
