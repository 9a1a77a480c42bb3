"""From a Stratum job and a share to an 80-byte header, its hash and its difficulty, and back.

Everything here is pure. Hex strings are as on the wire of Stratum V1; byte order follows the protocol: the
hex of version, ntime, nbits and nonce is the big-endian number, prevhash is stored with the bytes of each
4-byte word reversed, coinbase parts and merkle branches are raw. Checked against block 839,900, a BM1366
capture and a recorded Antminer S9 (``tests/test_headers.py``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache

from firmware_bridge import lbry

INFINITE = float("inf")
MAX_TARGET = (1 << 256) - 1
"""Where a target saturates: every hash is at or below it."""

DIFFICULTY_1_TARGET = 0xFFFF << 208
"""Target of difficulty 1 (the pool convention: 0xFFFF followed by 208 zero bits)."""

DEFAULT_BASE_VERSION = "20000000"
DEFAULT_VERSION_MASK = 0x1FFFE000
"""The 16 bits that BM1366-class chips roll (BIP310)."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a miner was asked to hash, and the input symbol that it carries.

    Attributes:
        job_id: name of the job on the wire.
        prevhash: 64 hex digits as in ``mining.notify`` (each 4-byte word of the header field reversed).
        coinb1: coinbase before extranonce1, hex.
        coinb2: coinbase after extranonce2, hex.
        merkle_branch: 32-byte hex nodes, raw, bottom up.
        version: 8 hex digits, big-endian number.
        nbits: 8 hex digits, big-endian number.
        ntime: 8 hex digits, big-endian number.
        extranonce1: hex given to this miner.
        extranonce2_size: bytes of extranonce2 that the miner chooses.
        clean: whether older jobs were to be dropped.
        difficulty: nominal share difficulty in force for this job.
        scale: verified target is that of ``difficulty * scale`` (1 for real miners).
        version_mask: bits of the version that the miner may roll; 0 means none.
        symbol: reservoir input that the job carries, or None.
        symbol_fields: which job fields carry the symbol, as sent.
        claimtrie: claim trie root of an LBRY job, 64 hex digits swapped like prevhash; None in a Bitcoin job.
    """

    job_id: str
    prevhash: str
    coinb1: str
    coinb2: str
    merkle_branch: tuple[str, ...]
    version: str
    nbits: str
    ntime: str
    extranonce1: str = ""
    extranonce2_size: int = 4
    clean: bool = True
    difficulty: float = 1.0
    scale: float = 1.0
    version_mask: int = 0
    symbol: float | None = None
    symbol_fields: dict[str, str | float] = field(default_factory=dict, hash=False, compare=False)
    claimtrie: str | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """One answer to a job, hex fields as on the wire.

    ``version_bits`` is the sixth parameter of ``mining.submit``, or None where a miner sends five.
    """

    job_id: str
    extranonce2: str
    ntime: str
    nonce: str
    version_bits: str | None = None


@dataclass(frozen=True, slots=True)
class HeaderFields:
    """The fields of a header, hex as Stratum writes them; ``merkle_root`` is the raw digest in hex.

    ``claimtrie`` is None in a Bitcoin header, which has six fields.
    """

    version: str
    prevhash: str
    merkle_root: str
    ntime: str
    nbits: str
    nonce: str
    claimtrie: str | None = None


def sha256d(data: bytes) -> bytes:
    """Double SHA-256 (hashlib)."""
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def _raw(text: str, size: int | None, name: str) -> bytes:
    """Bytes of a hex field; strict where ``bytes.fromhex`` is not (it skips white space)."""
    try:
        data = bytes.fromhex(text)
    except ValueError:
        data = b""
    if len(text) != 2 * len(data) or (size is not None and len(data) != size):
        wanted = "an even number of" if size is None else f"{2 * size}"
        raise ValueError(f"{name} is {wanted} hex digits, not {text[:80]!r} ({len(text)} characters)")
    return data


def swap_words(data: bytes) -> bytes:
    """Reverse the bytes of each 4-byte word; its own inverse.

    Raises:
        ValueError: if the length is no multiple of 4.
    """
    if len(data) % 4:
        raise ValueError(f"{len(data)} bytes do not divide into 4-byte words")
    return b"".join(data[i : i + 4][::-1] for i in range(0, len(data), 4))


def prevhash_symbol(prevhash: str) -> float:
    """The random part that every synthetic job has, as an input in [0, 1): the first 32 bits of prevhash as a fraction.

    A job that carries no symbol of anybody's is labelled with it, so that "does timing depend on what was sent?" can be
    asked of every run.
    """
    return int(prevhash[:8], 16) / 2.0**32


def coinbase(job: Job, extranonce2: str) -> bytes:
    """Coinbase transaction: coinb1 + extranonce1 + extranonce2 + coinb2.

    Raises:
        ValueError: if a part is not hex of whole bytes.
    """
    return (
        _raw(job.coinb1, None, "coinb1")
        + _raw(job.extranonce1, None, "extranonce1")
        + _raw(extranonce2, None, "extranonce2")
        + _raw(job.coinb2, None, "coinb2")
    )


def merkle_root(coinbase_tx: bytes, branches: Iterable[str]) -> bytes:
    """Merkle root (raw digest, as it stands in the header) of a coinbase under its branch.

    Raises:
        ValueError: if a branch is not 32 bytes of hex.
    """
    root = sha256d(coinbase_tx)
    for branch in branches:
        root = sha256d(root + _raw(branch, 32, "a merkle branch"))
    return root


def rolled_version(job_version: str, version_bits: str | None, mask: int) -> int:
    """Version of a share: (job & ~mask) | (bits & mask); without version bits the job's own (BIP310).

    Raises:
        ValueError: if one of them is malformed or ``version_bits`` has bits outside ``mask``.
    """
    version = int.from_bytes(_raw(job_version, 4, "version"), "big")
    if version_bits is None:
        return version
    bits = int.from_bytes(_raw(version_bits, 4, "version bits"), "big")
    if bits & ~mask:
        raise ValueError(f"version bits {version_bits} lie outside the mask {mask:08x}")
    return (version & ~mask) | (bits & mask)


def build_header(job: Job, share: Share) -> bytes:
    """Header of a share: 80 bytes, or LBRY's 112 where the job has a claim trie root.

    Raises:
        ValueError: if a hex field is malformed or version bits lie outside the job's mask.
    """
    claimtrie = b"" if job.claimtrie is None else swap_words(_raw(job.claimtrie, 32, "claimtrie"))
    version = rolled_version(job.version, share.version_bits, job.version_mask)
    return (
        version.to_bytes(4, "little")
        + swap_words(_raw(job.prevhash, 32, "prevhash"))
        + merkle_root(coinbase(job, share.extranonce2), job.merkle_branch)
        + claimtrie
        + _raw(share.ntime, 4, "ntime")[::-1]
        + _raw(job.nbits, 4, "nbits")[::-1]
        + _raw(share.nonce, 4, "nonce")[::-1]
    )


def assemble_header(fields: HeaderFields) -> bytes:
    """Header of its fields, 80 bytes or LBRY's 112: the inverse of :func:`parse_header`.

    Raises:
        ValueError: if a field is malformed.
    """
    claimtrie = b"" if fields.claimtrie is None else swap_words(_raw(fields.claimtrie, 32, "claimtrie"))
    return (
        _raw(fields.version, 4, "version")[::-1]
        + swap_words(_raw(fields.prevhash, 32, "prevhash"))
        + _raw(fields.merkle_root, 32, "merkle root")
        + claimtrie
        + _raw(fields.ntime, 4, "ntime")[::-1]
        + _raw(fields.nbits, 4, "nbits")[::-1]
        + _raw(fields.nonce, 4, "nonce")[::-1]
    )


def parse_header(header: bytes) -> HeaderFields:
    """Job fields of a header: the inverse of :func:`build_header` as far as a header carries them.

    Raises:
        ValueError: if the header is neither 80 bytes long nor, as LBRY's, 112.
    """
    if len(header) not in (80, lbry.HEADER_BYTES):
        raise ValueError(f"a header has 80 bytes, LBRY's {lbry.HEADER_BYTES}, not {len(header)}")
    claimtrie, tail = header[68:-12], header[-12:]
    return HeaderFields(
        version=header[0:4][::-1].hex(),
        prevhash=swap_words(header[4:36]).hex(),
        merkle_root=header[36:68].hex(),
        ntime=tail[0:4][::-1].hex(),
        nbits=tail[4:8][::-1].hex(),
        nonce=tail[8:12][::-1].hex(),
        claimtrie=swap_words(claimtrie).hex() if claimtrie else None,
    )


def header_hash(header: bytes) -> int:
    """Share hash: SHA-256d of the header, read as a little-endian integer."""
    return int.from_bytes(sha256d(header), "little")


def difficulty_of_hash(hash_value: int) -> float:
    """Difficulty that a hash reaches: (0xFFFF << 208) / hash; infinite for the hash 0."""
    return DIFFICULTY_1_TARGET / hash_value if hash_value else INFINITE


@lru_cache(maxsize=1024)
def target_from_difficulty(difficulty: float) -> int:
    """Largest hash that reaches ``difficulty``, exact for any positive float; saturates at 2^256 - 1.

    Raises:
        ValueError: if the difficulty is not a positive finite number.
    """
    if not 0.0 < difficulty < INFINITE:
        raise ValueError(f"a difficulty is a positive finite number, not {difficulty!r}")
    return min(int(DIFFICULTY_1_TARGET / Fraction(difficulty)), MAX_TARGET)


def difficulty_from_target(target: int) -> float:
    """Difficulty of a target.

    Raises:
        ValueError: if the target is outside 1 .. 2^256 - 1.
    """
    if not 0 < target <= MAX_TARGET:
        raise ValueError(f"a target lies in 1 .. 2^256 - 1, not {target}")
    return DIFFICULTY_1_TARGET / target


def target_from_nbits(nbits: str) -> int:
    """Target of a compact nBits value given as 8 hex digits (big-endian number).

    Raises:
        ValueError: if it is malformed, negative, zero or overflows 256 bits.
    """
    compact = int.from_bytes(_raw(nbits, 4, "nbits"), "big")
    exponent, mantissa = compact >> 24, compact & 0x007FFFFF
    if compact & 0x00800000:
        raise ValueError(f"nBits {nbits} are negative")
    target = mantissa << 8 * (exponent - 3) if exponent >= 3 else mantissa >> 8 * (3 - exponent)
    if not 0 < target <= MAX_TARGET:
        raise ValueError(f"nBits {nbits} give no target within 256 bits")
    return target


def nbits_from_target(target: int) -> str:
    """Compact form of a target (rounded down to 23 or 24 significant bits, as Bitcoin does), 8 hex digits.

    Raises:
        ValueError: if the target is outside 1 .. 2^256 - 1.
    """
    if not 0 < target <= MAX_TARGET:
        raise ValueError(f"a target lies in 1 .. 2^256 - 1, not {target}")
    size = (target.bit_length() + 7) // 8
    mantissa = target >> 8 * (size - 3) if size >= 3 else target << 8 * (3 - size)
    if mantissa & 0x00800000:
        mantissa >>= 8
        size += 1
    return f"{size << 24 | mantissa:08x}"


def difficulty_unit(job: Job) -> int:
    """How much easier a difficulty of 1 is than Bitcoin's: 1, or LBRY's 256."""
    return 1 if job.claimtrie is None else lbry.DIFFICULTY_UNIT


def target_of_job(job: Job) -> int:
    """Largest hash that a share of this job may have, its scale and its algorithm's unit taken in.

    Raises:
        ValueError: if difficulty or scale is no positive finite number.
    """
    wanted = job.difficulty * job.scale / difficulty_unit(job)
    return target_from_difficulty(wanted or 5e-324)  # a product that underflows still means "every hash"


@dataclass(frozen=True, slots=True)
class Verified:
    """What the arithmetic says of a share: header, nominal difficulty, and whether it meets its job's."""

    header: bytes
    hash_value: int
    difficulty: float
    meets_job: bool


def verify(job: Job, share: Share) -> Verified:
    """Hash a share and hold it against its job.

    The nominal difficulty is that of the hash divided by the job's scale, so that an emulated miner's shares
    read like those of the miner it stands for.

    Raises:
        ValueError: if a field is malformed, version bits lie outside the mask, or difficulty or scale of the job
            is no positive finite number.
    """
    if not (0.0 < job.difficulty < INFINITE and 0.0 < job.scale < INFINITE):
        raise ValueError(
            f"difficulty {job.difficulty!r} and scale {job.scale!r} are to be positive and finite"
        )
    header = build_header(job, share)
    value = header_hash(header) if job.claimtrie is None else lbry.proof_of_header(header)
    return Verified(
        header=header,
        hash_value=value,
        difficulty=difficulty_of_hash(value) * difficulty_unit(job) / job.scale,
        meets_job=value <= target_of_job(job),
    )
