"""One upstream job made into many: a part of extranonce2 that the proxy keeps for itself.

A pool checks ``coinb1 + extranonce1 + extranonce2 + coinb2`` and leaves ``extranonce2_size`` bytes to who mines. The
proxy tells its miner a smaller size and writes the last bytes itself: they go in front of coinb2, so that any firmware
takes them as part of the job, without ``mining.set_extranonce``:

    pool:   coinb1 | extranonce1 | extranonce2 (n bytes)                     | coinb2
    miner:  coinb1 | extranonce1 | extranonce2 (n - k bytes) | number (k) coinb2

Each number is another job with headers of its own, so that a miner may search each from the start and still never finds
the same share twice. ntime, version bits and nonce stay as the miner wants them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from firmware_bridge.headers import Job

SMALLEST_LEFT = 2
"""Bytes of extranonce2 that cgminer needs."""

COMFORTABLE = 4
"""Bytes that every known firmware takes; as many are left where the pool gives more."""


def own_bytes(size: int, wanted: int | None = None, smallest_left: int = SMALLEST_LEFT) -> int:
    """How many of a pool's ``size`` bytes the proxy keeps.

    Args:
        size: extranonce2_size of the pool.
        wanted: as many as this where the miner is left enough; None for what suits: all beyond 4 (at most 4), or one of
            3 or 4.
        smallest_left: bytes that the miner has to keep.
    """
    most = max(0, size - smallest_left)
    if wanted is None:
        wanted = min(4, size - COMFORTABLE) if size > COMFORTABLE else 1
    return min(wanted, most)


@dataclass(frozen=True, slots=True)
class Space:
    """What a pool gave a connection, and how it is shared with the miner.

    Attributes:
        extranonce1: hex.
        size: bytes of extranonce2 at the pool.
        own: of them, those that the proxy writes.
    """

    extranonce1: str
    size: int
    own: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.own <= self.size:
            raise ValueError(f"{self.own} of {self.size} bytes of extranonce2 cannot be kept")

    @property
    def miner_size(self) -> int:
        """Bytes of extranonce2 that the miner is told."""
        return self.size - self.own

    @property
    def jobs(self) -> int:
        """How many jobs one job of the pool makes."""
        return int(1 << 8 * self.own)

    def _suffix(self, number: int) -> str:
        return number.to_bytes(self.own, "big").hex() if self.own else ""

    def job(self, job: Job, number: int, job_id: str) -> Job:
        """The pool's job as the miner gets it.

        Raises:
            OverflowError: if there is no such number.
        """
        return replace(
            job,
            job_id=job_id,
            coinb2=self._suffix(number) + job.coinb2,
            extranonce1=self.extranonce1,
            extranonce2_size=self.miner_size,
        )

    def upstream_extranonce2(self, extranonce2: str, number: int) -> str:
        """What the pool has to be told for an extranonce2 of the miner."""
        return extranonce2 + self._suffix(number)
