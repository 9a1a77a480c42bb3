"""Hash a stretch of an LBRY job for real, with hashlib: what the hashing thread runs for an LB-Box.

How its chips lay out their scan is not published, so there is no layout to imitate: each extranonce2 lasts
``WORK_MS``, and of the nonces of that time a fraction S is tried, evenly spaced in time.
"""

from __future__ import annotations

import hashlib
import struct

from firmware_bridge import lbry
from firmware_bridge.emulator.span import Hit, PreparedJob
from firmware_bridge.headers import (
    DIFFICULTY_1_TARGET,
    coinbase,
    merkle_root,
    swap_words,
    target_from_difficulty,
)

WORK_MS = 100.0
"""Time on one extranonce2; assumed."""


class LbryHasher:
    """Hashes a job from its start on, piece by piece: the interface of ``span.Hasher``.

    Args:
        rate_per_ms: hashes that are tried per ms of work-time: the miner's hash rate times the difficulty scale.
        prepared: the job.
        floor: smallest difficulty that is reported.
    """

    def __init__(self, rate_per_ms: float, prepared: PreparedJob, floor: float) -> None:
        job = prepared.job
        self.prepared = prepared
        self._tried = 0
        self._rate = rate_per_ms
        difficulty = max(floor, job.difficulty) * job.scale / lbry.DIFFICULTY_UNIT
        self._target = target_from_difficulty(difficulty)
        claimtrie = swap_words(bytes.fromhex(job.claimtrie or "00" * 32))
        self._before = bytes.fromhex(job.version)[::-1] + swap_words(bytes.fromhex(job.prevhash))
        self._after = claimtrie
        self._tail = bytes.fromhex(job.ntime)[::-1] + bytes.fromhex(job.nbits)[::-1]
        self._extranonce2 = -1
        self._head = hashlib.sha256()
        self._stride = max(1, int((1 << 32) / max(1.0, rate_per_ms * WORK_MS)))

    @property
    def hashes(self) -> int:
        """Hashes so far."""
        return self._tried

    @property
    def work_ms(self) -> float:
        """Work-time up to which everything is hashed."""
        return self._tried / self._rate

    def _load(self, extranonce2: int) -> None:
        job = self.prepared.job
        size = job.extranonce2_size
        text = (extranonce2 % (1 << 8 * size)).to_bytes(size, "little").hex()
        root = merkle_root(coinbase(job, text), job.merkle_branch)
        self._head = hashlib.sha256(self._before + root + self._after + self._tail)
        self._extranonce2 = extranonce2

    def run(self, until_ms: float, budget: int) -> list[Hit]:
        """Hash on to a work-time or for a number of hashes; the hits in the order of their time."""
        hits = []
        end = min(int(min(until_ms, 1e15) * self._rate) + 1, self._tried + budget)
        per_work = max(1, int(self._rate * WORK_MS))
        for number in range(self._tried, end):
            extranonce2, within = divmod(number, per_work)
            if extranonce2 != self._extranonce2:
                self._load(extranonce2)
            nonce = within * self._stride & 0xFFFFFFFF
            header = self._head.copy()
            header.update(struct.pack("<I", nonce))
            digest = lbry.proof_of_work(hashlib.sha256(header.digest()).digest())
            value = int.from_bytes(digest, "little")
            if value <= self._target:
                nominal = DIFFICULTY_1_TARGET * lbry.DIFFICULTY_UNIT / value / self.prepared.job.scale
                hits.append(Hit(number / self._rate, extranonce2, nonce, 0, within, nominal))
        self._tried = max(end, self._tried)
        return hits
