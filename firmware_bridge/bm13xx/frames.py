"""Frames of the BM13xx UART protocol, both directions: bytes to records and back (``hardware.md`` §1.2, 1.4, 1.8).

Everything here takes one whole frame; :mod:`decoder` finds the frames in a stream. Multi-byte fields are big-endian
numbers in the records, whatever their order on the wire.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import msgspec

from firmware_bridge.bm13xx.crc import answer_tail, crc5, crc16
from firmware_bridge.errors import ProtocolError

COMMAND_PREAMBLE = b"\x55\xaa"
ANSWER_PREAMBLE = b"\xaa\x55"

TYPE_JOB, TYPE_COMMAND, ALL = 0x20, 0x40, 0x10
"""Bits of the header byte: what follows, and whether it is for every chip."""
JOB_HEADER = 0x21

ANSWER_BYTES = 11
SHORT_ANSWER_BYTES = 9
"""Size before version rolling is switched on (register A4, bit 31), and of the BM1397 always."""

KIND_REGISTER, KIND_NONCE = 0, 4
"""Types of answers, bits 7-5 of the last byte."""

JOB_BYTES = 88
JOB_LENGTH, JOB_LENGTH_FACTORY = 0x56, 0x36
"""LEN of the same 88-byte job as ESP-Miner and as the factory's firmware write it; chips take both."""
MIDSTATE_JOB_LENGTH, MIDSTATE_JOB_BYTES = 0x96, 152
"""The BM1397's job with four midstates."""
JOB_SIZES = {JOB_LENGTH: JOB_BYTES, JOB_LENGTH_FACTORY: JOB_BYTES, MIDSTATE_JOB_LENGTH: MIDSTATE_JOB_BYTES}
"""LEN of a job to the size of its whole frame."""

COMMAND_LENGTHS = (5, 9)
"""LEN of commands: 2 or 6 data bytes."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a generation of the family writes the same commands.

    Attributes:
        preamble: bytes in front of a frame.
        set_address: code of the command that gives a chip its address.
        write: of a register write.
        read: of a register read.
        inactive: of "chain inactive".
    """

    preamble: bytes
    set_address: int
    write: int
    read: int
    inactive: int


BM1366 = Dialect(COMMAND_PREAMBLE, set_address=0, write=1, read=2, inactive=3)
"""BM1366, and BM1362, BM1368, BM1370, BM1397 alike."""
BM1387 = Dialect(b"", set_address=1, write=8, read=4, inactive=5)
"""The Antminer S9's chip; its FPGA adds the preamble (``hardware.md`` §2)."""


# ---- commands --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SetAddress:
    """Give the first chip without an address this one."""

    address: int


@dataclass(frozen=True, slots=True)
class WriteRegister:
    """Write a 32-bit register of one chip, or of all where ``chip`` is None."""

    register: int
    value: int
    chip: int | None = None


@dataclass(frozen=True, slots=True)
class ReadRegister:
    """Ask one chip, or all where ``chip`` is None, for a register."""

    register: int
    chip: int | None = None


@dataclass(frozen=True, slots=True)
class ChainInactive:
    """Make every chip forget its address and stop relaying, so that addresses can be given out."""


@dataclass(frozen=True, slots=True)
class JobFrame:
    """Work for all chips, as the BM1366 takes it.

    Attributes:
        job_id: 0..127, the low three bits 0 on a BM1366.
        nbits: network target, the number.
        ntime: the number.
        merkle_root: 32 bytes in the chip's order (words of the header field, last one first).
        prevhash: the same of the previous block's hash.
        version: the number, rolled bits clear.
        start_nonce: first nonce.
        midstates: 1, since the chip makes them itself.
        length: LEN as written.
    """

    job_id: int
    nbits: int
    ntime: int
    merkle_root: bytes
    prevhash: bytes
    version: int
    start_nonce: int = 0
    midstates: int = 1
    length: int = JOB_LENGTH


@dataclass(frozen=True, slots=True)
class MidstateJob:
    """Work for a BM1397, with the midstates that its host made.

    Attributes:
        job_id: 0..127.
        nbits: network target, the number.
        ntime: the number.
        merkle_tail: last 4 bytes of the merkle root as sent.
        midstates: up to four of 32 bytes.
        start_nonce: first nonce.
    """

    job_id: int
    nbits: int
    ntime: int
    merkle_tail: bytes
    midstates: tuple[bytes, ...]
    start_nonce: int = 0


@dataclass(frozen=True, slots=True)
class UnknownCommand:
    """An intact frame whose header means nothing to us."""

    header: int
    data: bytes


Command = SetAddress | WriteRegister | ReadRegister | ChainInactive | JobFrame | MidstateJob | UnknownCommand

_JOB = struct.Struct("<BBIII32s32sI")
_MIDSTATE_JOB = struct.Struct("<BBIII4s")


def _checked(value: int, limit: int, what: str) -> int:
    if not 0 <= value <= limit:
        raise ValueError(f"{what} lies in 0 .. {limit}, not {value}")
    return value


def _short(code: int, everywhere: bool, data: bytes) -> bytes:
    header = TYPE_COMMAND | (ALL if everywhere else 0) | code
    return bytes((header, len(data) + 3)) + data


def encode(command: Command, dialect: Dialect = BM1366) -> bytes:
    """The whole frame of a command or job.

    Raises:
        ValueError: if a field does not fit.
    """
    match command:
        case SetAddress(address):
            body = _short(dialect.set_address, False, bytes((_checked(address, 255, "a chip address"), 0)))
        case ChainInactive():
            body = _short(dialect.inactive, True, bytes(2))
        case ReadRegister(register, chip):
            data = bytes((_checked(chip or 0, 255, "a chip address"), _checked(register, 255, "a register")))
            body = _short(dialect.read, chip is None, data)
        case WriteRegister(register, value, chip):
            data = bytes((_checked(chip or 0, 255, "a chip address"), _checked(register, 255, "a register")))
            data += _checked(value, 0xFFFFFFFF, "a register's value").to_bytes(4, "big")
            body = _short(dialect.write, chip is None, data)
        case UnknownCommand(header, data):
            body = bytes((header, len(data) + 3)) + data
        case JobFrame() | MidstateJob():
            body = _job_body(command)
            return dialect.preamble + body + crc16(body).to_bytes(2, "big")
    return dialect.preamble + body + bytes((crc5(body),))


def _job_body(job: JobFrame | MidstateJob) -> bytes:
    try:
        if isinstance(job, JobFrame):
            if len(job.merkle_root) != 32 or len(job.prevhash) != 32:
                raise ValueError("merkle root and previous hash have 32 bytes each")
            data = _JOB.pack(
                job.job_id, job.midstates, job.start_nonce, job.nbits, job.ntime, job.merkle_root, job.prevhash,
                job.version,
            )  # fmt: skip
            return bytes((JOB_HEADER, job.length)) + data
        if len(job.merkle_tail) != 4 or any(len(m) != 32 for m in job.midstates) or len(job.midstates) != 4:
            raise ValueError("a job of this kind has 4 bytes of merkle root and four midstates of 32 bytes")
        head = _MIDSTATE_JOB.pack(
            job.job_id, len(job.midstates), job.start_nonce, job.nbits, job.ntime, job.merkle_tail
        )
        return bytes((JOB_HEADER, MIDSTATE_JOB_LENGTH)) + head + b"".join(job.midstates)
    except struct.error as error:
        raise ValueError(f"a field of job {job.job_id} does not fit: {error}") from None


def decode_command(frame: bytes, dialect: Dialect = BM1366) -> Command:
    """The command or job of one whole frame.

    Raises:
        ProtocolError: if it is no intact frame; the message shows its bytes.
    """
    start = len(dialect.preamble)
    body = frame[start:]
    if not frame.startswith(dialect.preamble) or len(body) < 5:
        raise ProtocolError(f"no command frame: {frame.hex(' ')}")
    header, length = body[0], body[1]
    if header & 0xE0 == TYPE_JOB:
        if len(frame) != JOB_SIZES.get(length):
            raise ProtocolError(f"a job of LEN {length:02x} has no {len(frame)} bytes: {frame.hex(' ')}")
        if crc16(body[:-2]) != int.from_bytes(body[-2:], "big"):
            raise ProtocolError(f"CRC16 is {crc16(body[:-2]):04x}: {frame.hex(' ')}")
        return _decode_job(body[2:-2], length)
    if length != len(body):
        raise ProtocolError(f"LEN {length:02x} does not fit {len(body)} bytes: {frame.hex(' ')}")
    if crc5(body[:-1]) != body[-1]:
        raise ProtocolError(f"CRC5 is {crc5(body[:-1]):02x}: {frame.hex(' ')}")
    return _decode_short(header, body[2:-1], dialect)


def _decode_short(header: int, data: bytes, dialect: Dialect) -> Command:
    if header & 0xE0 == TYPE_COMMAND:
        code, everywhere = header & 0x0F, bool(header & ALL)
        chip = None if everywhere else data[0]
        if code == dialect.set_address and len(data) == 2 and not everywhere:
            return SetAddress(data[0])
        if code == dialect.inactive and len(data) == 2 and everywhere:
            return ChainInactive()
        if code == dialect.read and len(data) == 2:
            return ReadRegister(data[1], chip)
        if code == dialect.write and len(data) == 6:
            return WriteRegister(data[1], int.from_bytes(data[2:], "big"), chip)
    return UnknownCommand(header, data)


def _decode_job(data: bytes, length: int) -> JobFrame | MidstateJob:
    if length == MIDSTATE_JOB_LENGTH:
        job_id, _, start, nbits, ntime, tail = _MIDSTATE_JOB.unpack_from(data)
        rest = data[_MIDSTATE_JOB.size :]
        states = tuple(rest[i : i + 32] for i in range(0, len(rest), 32))
        return MidstateJob(job_id, nbits, ntime, tail, states, start)
    job_id, midstates, start, nbits, ntime, root, prevhash, version = _JOB.unpack(data)
    return JobFrame(job_id, nbits, ntime, root, prevhash, version, start, midstates, length)


# ---- answers ---------------------------------------------------------------------------------------------------------


class NonceAnswer(msgspec.Struct, frozen=True, gc=False):
    """A nonce that passed the ticket mask.

    Attributes:
        nonce: its four bytes as they go into the header, read as a big-endian number: core | chip | counter.
        excess: floor(log2(share difficulty / ticket difficulty)) on a BM1366.
        result: job id and small core, see :mod:`nonces`.
        version_bits: bits 28-13 of the version; None in the 9-byte form.
    """

    nonce: int
    excess: int
    result: int
    version_bits: int | None


class RegisterAnswer(msgspec.Struct, frozen=True, gc=False):
    """A register, asked for or not.

    Attributes:
        value: 32 bits.
        chip: address of the chip.
        register: its number.
        tail: bytes 6 and 7, 0 in every capture; None in the 9-byte form.
    """

    value: int
    chip: int
    register: int
    tail: int | None


class OtherAnswer(msgspec.Struct, frozen=True, gc=False):
    """An intact answer of a type that we do not know; ``payload`` is what stands between preamble and last byte."""

    kind: int
    payload: bytes


Answer = NonceAnswer | RegisterAnswer | OtherAnswer


def encode_answer(answer: Answer, size: int = ANSWER_BYTES) -> bytes:
    """The whole frame of an answer.

    Args:
        answer: what to send.
        size: 11, or 9 for the short form, which drops version bits and tail.

    Raises:
        ValueError: if a field does not fit.
    """
    try:
        match answer:
            case NonceAnswer(nonce, excess, result, bits):
                kind, payload = KIND_NONCE, struct.pack(">IBBH", nonce, excess, result, bits or 0)
            case RegisterAnswer(value, chip, register, tail):
                kind, payload = KIND_REGISTER, struct.pack(">IBBH", value, chip, register, tail or 0)
            case OtherAnswer(kind, payload):
                _checked(kind, 7, "the type of an answer")
                if len(payload) != size - 3:
                    raise ValueError(
                        f"{size - 3} bytes of payload make an answer of {size}, not {len(payload)}"
                    )
    except struct.error as error:
        raise ValueError(f"a field of {answer} does not fit: {error}") from None
    payload = payload[: size - 3]
    return ANSWER_PREAMBLE + payload + bytes((answer_tail(payload, kind),))


def decode_answer(frame: bytes) -> Answer:
    """The answer of one whole frame of 9 or 11 bytes.

    Raises:
        ProtocolError: if it is no intact answer; the message shows its bytes.
    """
    if len(frame) not in (ANSWER_BYTES, SHORT_ANSWER_BYTES) or not frame.startswith(ANSWER_PREAMBLE):
        raise ProtocolError(f"no answer of 9 or 11 bytes: {frame.hex(' ')}")
    if crc5(frame[2:]):
        expected = answer_tail(frame[2:-1], frame[-1] >> 5)
        raise ProtocolError(f"the last byte should be {expected:02x}: {frame.hex(' ')}")
    return answer_of(frame[2:-1], frame[-1] >> 5)


def answer_of(payload: bytes, kind: int) -> Answer:
    """The answer of a payload (6 or 8 bytes) whose check sum was found right."""
    tail = int.from_bytes(payload[6:8], "big") if len(payload) == 8 else None
    if kind == KIND_NONCE:
        return NonceAnswer(int.from_bytes(payload[:4], "big"), payload[4], payload[5], tail)
    if kind == KIND_REGISTER:
        return RegisterAnswer(int.from_bytes(payload[:4], "big"), payload[4], payload[5], tail)
    return OtherAnswer(kind, payload)
