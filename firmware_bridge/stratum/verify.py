"""The fast twin of ``headers.verify``: what does not depend on the share is worked out once per job.

A share costs one hex decode and the double hash of its header, and the coinbase and merkle root only where it brings
another extranonce2 than the share before. ``tests/stratum/test_verify.py`` holds it against ``headers.verify``.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum

from firmware_bridge import lbry
from firmware_bridge.headers import DIFFICULTY_1_TARGET, Job, difficulty_unit, swap_words, target_of_job

NTIME_AHEAD_S = 7200
"""How far a miner may roll ntime beyond its job's, the limit of Bitcoin's own rules."""

_sha256 = hashlib.sha256
_from_bytes = int.from_bytes
_fromhex = bytes.fromhex
_INFINITE = float("inf")


class Reason(StrEnum):
    """Why a share is not valid, as stored in ``shares.reason``."""

    STALE = "stale"
    UNKNOWN_JOB = "unknown-job"
    DUPLICATE = "duplicate"
    LOW_DIFFICULTY = "low-difficulty"
    UNAUTHORIZED = "unauthorized"
    MALFORMED = "malformed"
    NTIME = "ntime"
    VERSION_BITS = "version-bits"


class Rejected(Exception):  # noqa: N818 - a verdict on a share, not a fault
    """A share that cannot be hashed: why, and the text for the miner."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text


class PreparedJob:
    """A job that was sent, ready to check shares.

    Attributes:
        job: the job.
        number: its number in the run.
        sent_wall_ns: when its notify was handed to the kernel, ns since the epoch.
        sent_monotonic_ns: the same, monotonic.
        target: largest hash that its shares may have.
        seen: digests of the valid shares so far; equal digests mean equal headers.
        answered: whether a valid share came.
    """

    __slots__ = (
        "_branches",
        "_claimtrie",
        "_coinbase",
        "_extranonce2",
        "_head",
        "_prevhash",
        "_proof",
        "_root",
        "_tail",
        "_unit",
        "_version_bits",
        "answered",
        "job",
        "number",
        "seen",
        "sent_monotonic_ns",
        "sent_wall_ns",
        "target",
    )

    def __init__(self, job: Job, number: int = 0, sent_wall_ns: int = 0, sent_monotonic_ns: int = 0) -> None:
        self.job = job
        self.number = number
        self.sent_wall_ns = sent_wall_ns
        self.sent_monotonic_ns = sent_monotonic_ns
        self.target = target_of_job(job)
        self.seen: set[bytes] = set()
        self.answered = False
        self._coinbase = _sha256(_fromhex(job.coinb1 + job.extranonce1))
        self._tail = _fromhex(job.coinb2)
        self._branches = tuple(_fromhex(branch) for branch in job.merkle_branch)
        self._prevhash = swap_words(_fromhex(job.prevhash))
        self._claimtrie = b"" if job.claimtrie is None else swap_words(_fromhex(job.claimtrie))
        self._proof = None if job.claimtrie is None else lbry.proof_of_work
        self._unit = DIFFICULTY_1_TARGET * difficulty_unit(job)
        self._extranonce2: str | None = None
        self._version_bits: str | None = None
        self._root = b""
        self._head = _sha256()

    def hash(self, extranonce2: str, ntime: str, nonce: str, version_bits: str | None) -> bytes:
        """Digest of the share's header, as it leaves SHA-256d (little-endian number).

        Raises:
            Rejected: if a field is malformed or out of bounds.
        """
        if extranonce2 != self._extranonce2 or version_bits != self._version_bits:
            self._load(extranonce2, version_bits)
        try:
            tail = _fromhex(nonce + self.job.nbits + ntime)
        except ValueError:
            tail = b""
        if len(tail) != 12 or len(nonce) != 8 or len(ntime) != 8:
            raise Rejected(Reason.MALFORMED, "ntime and nonce are 8 hex digits each")
        if ntime != self.job.ntime:
            ahead = int(ntime, 16) - int(self.job.ntime, 16)
            if not 0 <= ahead <= NTIME_AHEAD_S:
                raise Rejected(
                    Reason.NTIME, f"ntime is {ahead} s from its job's; 0 to {NTIME_AHEAD_S} are allowed"
                )
        header = self._head.copy()
        header.update(tail[::-1])
        digest = _sha256(header.digest()).digest()
        return digest if self._proof is None else self._proof(digest)

    def _load(self, extranonce2: str, version_bits: str | None) -> None:
        """Make the first 68 bytes of the header, of which consecutive shares often have the same."""
        job = self.job
        self._extranonce2 = None
        version = int(job.version, 16)
        if version_bits is not None:
            bits = _hex(version_bits, 4, "version bits")
            rolled = _from_bytes(bits, "big")
            if rolled & ~job.version_mask:
                hint = "; send mining.configure before rolling versions"
                if job.claimtrie is not None:
                    hint = ": LBRY's version is not rolled"
                elif job.version_mask:
                    hint = ""
                text = f"version bits lie outside the mask {job.version_mask:08x} of this job{hint}"
                raise Rejected(Reason.VERSION_BITS, text)
            version = (version & ~job.version_mask) | rolled
        transaction = self._coinbase.copy()
        transaction.update(_hex(extranonce2, job.extranonce2_size, "extranonce2"))
        transaction.update(self._tail)
        root = _sha256(transaction.digest()).digest()
        for branch in self._branches:
            root = _sha256(_sha256(root + branch).digest()).digest()
        self._head = _sha256(version.to_bytes(4, "little") + self._prevhash + root + self._claimtrie)
        self._extranonce2, self._version_bits = extranonce2, version_bits

    def difficulty(self, value: int) -> float:
        """Nominal difficulty of a hash under this job's scale."""
        return self._unit / value / self.job.scale if value else _INFINITE


def _hex(text: str, size: int, name: str) -> bytes:
    try:
        data = _fromhex(text)
    except ValueError:
        data = b""
    if len(data) != size or len(text) != 2 * size:
        raise Rejected(Reason.MALFORMED, f"{name} is {2 * size} hex digits")
    return data
