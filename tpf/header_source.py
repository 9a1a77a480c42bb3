"""Where the headers of the digital twin come from: chance, or a job that a miner was really given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from firmware_bridge.errors import UserError
from firmware_bridge.headers import Job, Share, build_header
from tpf.sha256_rounds import HEADER_WORDS

U32 = npt.NDArray[np.uint32]

NONCE_WORD = 19


class HeaderSource(Protocol):
    """Gives headers in chunks, the same ones for the same key."""

    def words(self, key: tuple[int, ...], count: int) -> U32:
        """``count`` headers as words, shape (count, 20); equal keys give equal headers."""
        ...

    def to_json(self) -> dict[str, Any]:
        """What it is, for the record."""
        ...


@dataclass(frozen=True)
class RandomHeaders:
    """Headers in which every bit is random.

    Attributes:
        seed: of all of them.
    """

    seed: int

    def words(self, key: tuple[int, ...], count: int) -> U32:
        """As in :class:`HeaderSource`."""
        rng = np.random.default_rng([self.seed, *key])
        return rng.integers(0, 1 << 32, (count, HEADER_WORDS), dtype=np.uint32)

    def to_json(self) -> dict[str, Any]:
        """As in :class:`HeaderSource`."""
        return {"kind": "random headers", "seed": self.seed}


@dataclass(frozen=True)
class JobHeaders:
    """Headers of one Stratum job, as a miner makes them: one extranonce2 for a chunk of nonces that are counted up.

    Attributes:
        job: a Bitcoin job with all its fields.
        seed: of extranonce2 and of the first nonces.
    """

    job: Job
    seed: int

    def __post_init__(self) -> None:
        if self.job.claimtrie is not None:
            raise UserError(f"job {self.job.job_id} is one of LBRY, whose proof of work is another hash")
        try:
            self._header(bytes(self.job.extranonce2_size))
        except ValueError as error:
            raise UserError(
                f"job {self.job.job_id} makes no header ({error}); take a run that has whole jobs"
            ) from None

    def _header(self, extranonce2: bytes) -> bytes:
        return build_header(self.job, Share(self.job.job_id, extranonce2.hex(), self.job.ntime, "00000000"))

    def words(self, key: tuple[int, ...], count: int) -> U32:
        """As in :class:`HeaderSource`."""
        rng = np.random.default_rng([self.seed, *key])
        header = np.frombuffer(self._header(rng.bytes(self.job.extranonce2_size)), ">u4").astype(np.uint32)
        found: U32 = np.tile(header, (count, 1))
        first = rng.integers(0, 1 << 32, dtype=np.uint32)
        nonces = (int(first) + np.arange(count, dtype=np.uint64)).astype(np.uint32)
        found[:, NONCE_WORD] = nonces.byteswap()
        return found

    def to_json(self) -> dict[str, Any]:
        """As in :class:`HeaderSource`."""
        return {"kind": "job", "job_id": self.job.job_id, "prevhash": self.job.prevhash, "seed": self.seed}
