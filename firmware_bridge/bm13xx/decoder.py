"""Frames in a stream of bytes that may hold anything: never raises, drops one byte at a time, counts what it dropped.

The bytes fed are conserved: received = bytes of decoded frames + ``dropped`` + ``pending``. So where bytes are only
corrupted, ``dropped`` is exactly the size of the frames that were lost.
"""

from __future__ import annotations

import struct
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from firmware_bridge.bm13xx.crc import crc5, crc16, position_tables
from firmware_bridge.bm13xx.frames import (
    ANSWER_BYTES,
    ANSWER_PREAMBLE,
    COMMAND_LENGTHS,
    COMMAND_PREAMBLE,
    JOB_SIZES,
    KIND_NONCE,
    KIND_REGISTER,
    SHORT_ANSWER_BYTES,
    TYPE_JOB,
    Answer,
    Command,
    NonceAnswer,
    OtherAnswer,
    RegisterAnswer,
    answer_of,
    decode_command,
)

BLOCK_FROM = 16
"""Frames from which checking them all at once with numpy is worth its overhead."""

MOST_AT_ONCE = 4096
"""Frames checked at once: a fault makes the rest of its block be looked at again."""

SINGLES_AFTER_FAULT = 32
"""Frames looked at one by one after a fault, since faults come in company."""

_ROW = struct.Struct(">2xIBBHB")


@dataclass(slots=True)
class DecoderCounts:
    """What a decoder saw since it was made.

    Attributes:
        received: bytes fed.
        frames: intact frames.
        crc_errors: places that looked like a frame and had a wrong check sum.
        dropped: bytes that belong to no intact frame.
        resyncs: how often frames began again after bytes were dropped.
    """

    received: int = 0
    frames: int = 0
    crc_errors: int = 0
    dropped: int = 0
    resyncs: int = 0

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


class AnswerDecoder:
    """Answers of chips in a stream; at most 10 bytes wait for the rest of their frame.

    Args:
        size: bytes of an answer, 11, or 9 before version rolling is on. May be changed between two feeds.

    Attributes:
        counts: what was seen so far.
    """

    def __init__(self, size: int = ANSWER_BYTES) -> None:
        self.counts = DecoderCounts()
        self._rest = b""
        self._lost = False
        self._singles = 0  # frames to look at one by one before blocks pay again
        self._most = MOST_AT_ONCE
        self.size = size

    @property
    def size(self) -> int:
        """Bytes of an answer."""
        return self._size

    @size.setter
    def size(self, size: int) -> None:
        if size not in (ANSWER_BYTES, SHORT_ANSWER_BYTES):
            raise ValueError(f"answers have 9 or 11 bytes, not {size}")
        self._size = size

    @property
    def pending(self) -> int:
        """Bytes that wait for the rest of their frame."""
        return len(self._rest)

    def discard(self) -> None:
        """Drop what waits: the link was switched to another speed, its rest will not come."""
        self._drop(len(self._rest))
        self._rest = b""

    def feed(self, data: bytes) -> list[Answer]:
        """Take bytes as they came; the answers that they complete, in order."""
        self.counts.received += len(data)
        buffer = self._rest + data if self._rest else data
        answers: list[Answer] = []
        size, at, end = self._size, 0, len(buffer)
        while end - at >= size:
            if size == ANSWER_BYTES and not self._singles and end - at >= BLOCK_FROM * size:
                at += self._block(buffer, at, answers) * size
            elif self._single(buffer, at, answers):
                at += size
                self._singles -= self._singles > 0
            else:
                self._singles, self._most = SINGLES_AFTER_FAULT, BLOCK_FROM
                at = self._skip(buffer, at + 1, at)
        if not ANSWER_PREAMBLE.startswith(buffer[at : at + 2]):
            at = self._skip(buffer, at + 1, at)
        self._rest = bytes(buffer[at:])
        return answers

    def _skip(self, buffer: bytes, search: int, at: int) -> int:
        """Drop bytes up to the next preamble at or after ``search``; the last byte may be the first half of one."""
        found = buffer.find(ANSWER_PREAMBLE, search)
        if found < 0:
            found = len(buffer)
            if found > search and buffer.endswith(ANSWER_PREAMBLE[:1]):
                found -= 1
        self._drop(found - at)
        return found

    def _drop(self, count: int) -> None:
        if count:
            self.counts.dropped += count
            self._lost = True

    def _found(self, count: int) -> None:
        self.counts.frames += count
        if self._lost:
            self.counts.resyncs += 1
            self._lost = False

    def _single(self, buffer: bytes, at: int, answers: list[Answer]) -> bool:
        if not buffer.startswith(ANSWER_PREAMBLE, at):
            return False
        frame = buffer[at + 2 : at + self._size]
        if crc5(frame):
            self.counts.crc_errors += 1
            return False
        self._found(1)
        answers.append(answer_of(frame[:-1], frame[-1] >> 5))
        return True

    def _block(self, buffer: bytes, at: int, answers: list[Answer]) -> int:
        """Decode frames that follow one another, up to the first fault; how many they are."""
        count = min((len(buffer) - at) // ANSWER_BYTES, self._most)
        raw = np.frombuffer(buffer, np.uint8, count * ANSWER_BYTES, at).reshape(count, ANSWER_BYTES)
        table, constant = position_tables(ANSWER_BYTES - 2)
        check = np.full(count, constant, np.uint8)
        for position in range(ANSWER_BYTES - 2):
            check ^= table[position][raw[:, position + 2]]
        check |= raw[:, 0] ^ ANSWER_PREAMBLE[0]
        check |= raw[:, 1] ^ ANSWER_PREAMBLE[1]
        faults = np.flatnonzero(check)
        good = int(faults[0]) if faults.size else count
        if good < count:
            self._singles, self._most = SINGLES_AFTER_FAULT, BLOCK_FROM
        else:
            self._most = min(2 * self._most, MOST_AT_ONCE)
        if good:
            self._found(good)
            rows = memoryview(buffer)[at : at + good * ANSWER_BYTES]
            answers += [
                NonceAnswer(value, fourth, fifth, tail)
                if last >> 5 == KIND_NONCE
                else _other(value, fourth, fifth, tail, last >> 5)
                for value, fourth, fifth, tail, last in _ROW.iter_unpack(rows)
            ]
        return good


def _other(value: int, fourth: int, fifth: int, tail: int, kind: int) -> Answer:
    if kind == KIND_REGISTER:
        return RegisterAnswer(value, fourth, fifth, tail)
    return OtherAnswer(kind, struct.pack(">IBBH", value, fourth, fifth, tail))


class CommandDecoder:
    """Commands and jobs of a host in a stream; what a chip reads. At most one unfinished frame waits.

    Attributes:
        counts: what was seen so far.
    """

    def __init__(self) -> None:
        self.counts = DecoderCounts()
        self._rest = b""
        self._lost = False

    @property
    def pending(self) -> int:
        """Bytes that wait for the rest of their frame."""
        return len(self._rest)

    def feed(self, data: bytes) -> list[Command]:
        """Take bytes as they came; the commands that they complete, in order."""
        self.counts.received += len(data)
        buffer = self._rest + data
        at, end = 0, len(buffer)
        commands: list[Command] = []
        while at < end:
            if not COMMAND_PREAMBLE.startswith(buffer[at : at + 2]):
                at = self._drop_to_preamble(buffer, at)
                continue
            if end - at < 4:
                break
            size = _frame_bytes(buffer[at + 2], buffer[at + 3])
            if size is not None and end - at < size:
                break
            if size is None or not _intact(frame := buffer[at : at + size]):
                self.counts.crc_errors += size is not None
                at = self._drop_to_preamble(buffer, at)
                continue
            commands.append(decode_command(frame))
            at += size
            self.counts.frames += 1
            self.counts.resyncs += self._lost
            self._lost = False
        self._rest = buffer[at:]
        return commands

    def _drop_to_preamble(self, buffer: bytes, at: int) -> int:
        found = buffer.find(COMMAND_PREAMBLE, at + 1)
        if found < 0:
            found = len(buffer)
            if found > at + 1 and buffer.endswith(COMMAND_PREAMBLE[:1]):
                found -= 1
        self.counts.dropped += found - at
        self._lost = True
        return found


def _frame_bytes(header: int, length: int) -> int | None:
    """Size of the whole frame with this header byte and LEN, None where there is no such frame."""
    if header & 0xE0 == TYPE_JOB:
        return JOB_SIZES.get(length)
    return length + 2 if length in COMMAND_LENGTHS and not header & 0x80 else None


def _intact(frame: bytes) -> bool:
    if frame[2] & 0xE0 == TYPE_JOB:
        return crc16(frame[2:-2]) == int.from_bytes(frame[-2:], "big")
    return crc5(frame[2:-1]) == frame[-1]
