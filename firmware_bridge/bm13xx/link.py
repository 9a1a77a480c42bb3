"""One link to the chips of a chain: commands out, answers in, and a question with the answers that belong to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from firmware_bridge.bm13xx import registers as r
from firmware_bridge.bm13xx.decoder import AnswerDecoder
from firmware_bridge.bm13xx.frames import (
    Command,
    NonceAnswer,
    ReadRegister,
    RegisterAnswer,
    WriteRegister,
    encode,
)
from firmware_bridge.bm13xx.port import Port
from firmware_bridge.errors import DeviceError
from firmware_bridge.stratum.kernel_time import Stamp

ANSWER_TIMEOUT_S = 1.0
QUIET_S = 0.25
"""A broadcast read is over when nothing more came for so long."""
TRIES = 4
"""How often a question is asked whose answer a bad cable may spoil."""


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


class Link:
    """The chips behind one port.

    Args:
        port: open.
        on_lost: called when the port went away.
    """

    def __init__(self, port: Port, on_lost: Callable[[DeviceError], None]) -> None:
        self.port = port
        self.counts = ChainCounts()
        self.decoder = AnswerDecoder()
        self.chips = 0
        self.lost: DeviceError | None = None
        self._on_lost = on_lost
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
        """A nonce came."""
        self.counts.nonces += 1

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
            expect: how many answers end the waiting; by default as many as there are chips, and 0 waits for quiet.

        Raises:
            DeviceError: if nothing answers in time, with what was sent and what came.
        """
        if expect is None:
            expect = 1 if chip is not None else self.chips
        async with self._asking:
            answers: list[RegisterAnswer] = []
            came = asyncio.Event()
            self._reading = (register, answers, came)
            command = ReadRegister(register, chip)
            try:
                self.send(command)
                patience = ANSWER_TIMEOUT_S
                while not expect or len(answers) < expect:
                    came.clear()
                    try:
                        async with asyncio.timeout(patience):
                            await came.wait()
                    except TimeoutError:
                        if not came.is_set():  # a busy host may notice the time before the answer
                            break
                    if self.lost is not None:
                        raise DeviceError(str(self.lost))
                    patience = ANSWER_TIMEOUT_S if expect else QUIET_S
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

    async def ask(self, register: int, chip: int | None = None) -> list[RegisterAnswer]:
        """Read a register until every chip that is asked has answered; a bad cable may spoil the first tries.

        Raises:
            DeviceError: if some do not answer.
        """
        wanted = 1 if chip is not None else max(1, self.chips)
        answers: list[RegisterAnswer] = []
        for left in reversed(range(TRIES)):
            try:
                answers = await self.read(register, chip)
            except DeviceError:
                if left == 0 or self.lost is not None:
                    raise
                continue
            if len(answers) >= wanted:
                return answers
        raise DeviceError(
            f"{self.port.path}: {len(answers)} of {wanted} chips answered when they were asked for register "
            f"{r.name_of(register)}, {TRIES} times; the last answers: {answers!r}"
        )
