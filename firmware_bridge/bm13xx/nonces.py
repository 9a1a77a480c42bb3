"""Where a nonce was found, and the way between the chip's job and Stratum's (``hardware.md`` §1.4, 1.8).

The chip takes merkle root and previous hash word by word, last header word first; a nonce comes as the four bytes
that stand in the header.
"""

from __future__ import annotations

from dataclasses import dataclass

from firmware_bridge.bm13xx.frames import JobFrame, NonceAnswer
from firmware_bridge.bm13xx.registers import VERSION_SHIFT
from firmware_bridge.headers import Job, Share, coinbase, merkle_root

JOB_ID_STEP = 8
JOB_IDS = 128
JOBS_IN_FLIGHT = JOB_IDS // JOB_ID_STEP
JOB_ID_MASK = 0xF8
SMALL_CORE_MASK = 0x07
COUNTER_BITS = 17
"""Bits of a nonce below the chip's field."""
CORE_SHIFT = 25


def next_job_id(job_id: int) -> int:
    """Id of the job after this one: 16 of them are in flight."""
    return (job_id + JOB_ID_STEP) % JOB_IDS


def address_interval(chips: int) -> int:
    """Step between the addresses of neighbours on a chain.

    Raises:
        ValueError: if the chain cannot be addressed.
    """
    if not 1 <= chips <= 128:
        raise ValueError(f"a chain has 1 to 128 chips, not {chips}")
    return 256 // chips


@dataclass(frozen=True, slots=True)
class NonceOrigin:
    """Where on a chain a nonce was found.

    Attributes:
        job_id: id of the job, as it was sent.
        chip_field: bits 24-17 of the nonce.
        chip: number on the chain, from 0; None where its field lies beyond the last one.
        core: 0..111 on a BM1366.
        small_core: 0..7 within the core.
        counter: the 17 bits below the chip's field.
        version_bits: the 16 rolled bits, 0 where the answer has none.
        excess: floor(log2(share difficulty / ticket difficulty)).
    """

    job_id: int
    chip_field: int
    chip: int | None
    core: int
    small_core: int
    counter: int
    version_bits: int
    excess: int


def origin(answer: NonceAnswer, chips: int = 1) -> NonceOrigin:
    """Take a nonce apart.

    Args:
        answer: as it came.
        chips: length of the chain. The chip's field holds its address only while the hash counting number keeps the
            sweep inside (§1.9).
    """
    field = answer.nonce >> COUNTER_BITS & 0xFF
    chip = field // address_interval(chips)
    return NonceOrigin(
        job_id=answer.result & JOB_ID_MASK,
        chip_field=field,
        chip=chip if chip < chips else None,
        core=answer.nonce >> CORE_SHIFT,
        small_core=answer.result & SMALL_CORE_MASK,
        counter=answer.nonce & (1 << COUNTER_BITS) - 1,
        version_bits=answer.version_bits or 0,
        excess=answer.excess,
    )


def reverse_words(field: bytes) -> bytes:
    """Reverse the order of 4-byte words, not the bytes in them; its own inverse.

    Raises:
        ValueError: if the length is no multiple of 4.
    """
    if len(field) % 4:
        raise ValueError(f"{len(field)} bytes do not divide into 4-byte words")
    return b"".join(field[i : i + 4] for i in range(len(field) - 4, -1, -4))


def prevhash_field(prevhash: str) -> bytes:
    """The chip's 32 bytes for a prevhash of ``mining.notify``: all of them reversed.

    Raises:
        ValueError: if it is no hex of 32 bytes.
    """
    data = bytes.fromhex(prevhash)
    if len(data) != 32 or len(prevhash) != 64:
        raise ValueError(f"prevhash is 64 hex digits, not {prevhash[:80]!r}")
    return data[::-1]


def stratum_prevhash(field: bytes) -> str:
    """The inverse of :func:`prevhash_field`."""
    return field[::-1].hex()


def job_frame(job: Job, extranonce2: str, job_id: int) -> JobFrame:
    """The chip's form of a Stratum job.

    Args:
        job: as for any miner; the bits that may be rolled are sent clear (§1.9).
        extranonce2: hex, chosen by the host.
        job_id: of the chip.

    Raises:
        ValueError: if a field is malformed.
    """
    root = merkle_root(coinbase(job, extranonce2), job.merkle_branch)
    return JobFrame(
        job_id=job_id,
        nbits=int(job.nbits, 16),
        ntime=int(job.ntime, 16),
        merkle_root=reverse_words(root),
        prevhash=prevhash_field(job.prevhash),
        version=int(job.version, 16) & ~job.version_mask,
    )


def rolled_version(frame: JobFrame, version_bits: int | None) -> int:
    """Version of the header that a nonce belongs to."""
    return frame.version | (version_bits or 0) << VERSION_SHIFT


def header_of(frame: JobFrame, answer: NonceAnswer) -> bytes:
    """80-byte header that a nonce completes."""
    return (
        rolled_version(frame, answer.version_bits).to_bytes(4, "little")
        + reverse_words(frame.prevhash)
        + reverse_words(frame.merkle_root)
        + frame.ntime.to_bytes(4, "little")
        + frame.nbits.to_bytes(4, "little")
        + answer.nonce.to_bytes(4, "big")
    )


def share_fields(answer: NonceAnswer) -> tuple[str, str]:
    """Nonce and version bits of an answer, in the hex of ``mining.submit``.

    The version bits are those of the header xor the job's, whose own bits there are clear.
    """
    nonce = answer.nonce.to_bytes(4, "little").hex()
    return nonce, f"{(answer.version_bits or 0) << VERSION_SHIFT:08x}"


def share_of(job: Job, extranonce2: str, answer: NonceAnswer) -> Share:
    """The share that a nonce is, for ``headers.verify``."""
    nonce, version_bits = share_fields(answer)
    return Share(job.job_id, extranonce2, job.ntime, nonce, version_bits if job.version_mask else None)
