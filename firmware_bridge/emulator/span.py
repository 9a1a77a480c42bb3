"""Hash a stretch of a job for real, in scan order: what the hashing thread of the wall-clock emulator runs (numba).

A job is cut into *units*: the works of an S9, 1/64 of a batch of 8 versions of an LV06. Of the nonces that the hardware
tries in a unit, a fraction S (the difficulty scale) is tried here, evenly spaced over its scan counters and over its
cells. An LV06's unit is done small core by small core, because each has its own version and so its own midstate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from firmware_bridge.emulator.geometry import (
    LV06_BATCH_MS,
    LV06_CORES,
    LV06_COUNTER_MAX,
    LV06_JOB_MS,
    LV06_SMALL_CORES,
    S9,
    S9_BOARDS,
    S9_CELLS,
    S9_COUNTER_MAX,
    S9_WORK_MS,
    cell_word,
    scan_time,
)
from firmware_bridge.emulator.grind import header_state, merkle_root_words
from firmware_bridge.headers import Job, target_from_difficulty
from firmware_bridge.sha256d import byteswap32, scan_words, target_words

U32 = npt.NDArray[np.uint32]
U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]

UNITS_PER_BATCH = 64
SMALL_CORES = 8
CHUNK = 512
"""Nonces handed to the hash kernel at once."""

UNIT, LANE, ATTEMPT, HASHES = 0, 1, 2, 3
"""Columns of a position in a job: unit, small core, attempt within both, and hashes tried so far in this pass."""

HIT_EXTRANONCE2, HIT_NONCE, HIT_ROLL, HIT_COUNTER = range(4)
MOST_HITS = 512


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def unit_ms(model: int, pace: float, unit: int) -> float:
    """Work-time at which a unit starts."""
    if model == S9:
        return float(unit * S9_WORK_MS / pace)
    step = LV06_BATCH_MS / UNITS_PER_BATCH / pace
    per_job = max(1, int(LV06_JOB_MS / step))
    job = unit // per_job
    return float(job * LV06_JOB_MS + (unit - job * per_job) * step)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _deposit(value: int, mask: int) -> int:
    """Spread the low bits of ``value`` over the set bits of ``mask``; what does not fit is dropped."""
    result = 0
    for bit in range(32):
        if (mask >> bit) & 1:
            result |= (value & 1) << bit
            value >>= 1
    return result


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def hash_span(
    model: int,
    pace: float,
    fraction: float,
    position: I64,
    budget: int,
    until_ms: float,
    coinbase: U8,
    extranonce2_at: int,
    extranonce2_size: int,
    branches: U8,
    prevhash: U32,
    version: np.uint32,
    version_mask: int,
    ntime: np.uint32,
    nbits: np.uint32,
    target: U32,
    hits: I64,
    hit_ms: F64,
    hit_digests: U32,
) -> int:
    """Hash on from a position until a work-time is reached or the budget of hashes is spent.

    Args:
        model: ``geometry.S9`` or ``geometry.LV06``.
        pace: hash rate over the model's own.
        fraction: of the nonces, how many are tried.
        position: see the column names; moved on.
        budget: hashes after which to return.
        until_ms: work-time; units that start later are not begun.
        coinbase: whole coinbase; extranonce2 is overwritten.
        extranonce2_at: its offset.
        extranonce2_size: its size in bytes.
        branches: merkle branches, 32 bytes each.
        prevhash: 8 words as in ``mining.notify``.
        version: of the job.
        version_mask: bits that may be rolled.
        ntime: of the job.
        nbits: of the job.
        target: 8 words, most significant first.
        hits: receives extranonce2, nonce (number on the wire), version bits, counter of each hit.
        hit_ms: receives its work-time.
        hit_digests: receives its hash, 8 words as hashed.

    Returns:
        Number of hits.
    """
    words = np.empty(CHUNK + 16, dtype=np.uint32)
    block = np.empty(16, dtype=np.uint32)
    root = np.empty(8, dtype=np.uint32)
    digest = np.empty(8, dtype=np.uint32)
    midstate = np.empty(8, dtype=np.uint32)
    pair = np.empty(64, dtype=np.uint8)
    tail = np.empty(3, dtype=np.uint32)
    at = np.zeros(4, dtype=np.int64)
    tail[1] = byteswap32(ntime)
    tail[2] = byteswap32(nbits)
    rooted = np.int64(-1)
    found = 0
    spent = 0
    if model == S9:
        lanes, counters, cells = 1, S9_COUNTER_MAX + 1, S9_CELLS
    else:
        lanes, counters = SMALL_CORES, (LV06_COUNTER_MAX + 1) // UNITS_PER_BATCH
        cells = LV06_CORES
    while spent < budget and unit_ms(model, pace, position[0]) < until_ms and found < hits.shape[0]:
        unit, lane = position[0], position[1]
        if model == S9:
            extranonce2, batch, first_counter = unit, 0, 0
        else:
            per_job = max(1, int(LV06_JOB_MS / (LV06_BATCH_MS / UNITS_PER_BATCH / pace)))
            extranonce2 = unit // per_job
            within = unit - extranonce2 * per_job
            batch = within // UNITS_PER_BATCH
            first_counter = (within - batch * UNITS_PER_BATCH) * counters
            cells = LV06_CORES if lane < 6 else LV06_SMALL_CORES // 2 - 3 * LV06_CORES
        # attempts of this unit: nonce number (i + shift) / fraction, the shift varying from unit to unit
        share = float(cells) * counters * fraction
        phase = lane / lanes
        attempts = int((unit + 1) * share + phase) - int(unit * share + phase)
        if attempts > 0 and extranonce2 != rooted:  # most units of a small fraction have none
            rooted = extranonce2
            for i in range(extranonce2_size):
                shift = 8 * i
                coinbase[extranonce2_at + i] = (extranonce2 >> shift) & 0xFF if shift < 63 else 0
            merkle_root_words(coinbase, coinbase.size, branches, branches.size // 32, root, block, pair)
            tail[0] = root[7]
        roll = 0
        if attempts > 0:
            if model != S9:
                roll = _deposit((batch * SMALL_CORES + lane) & 0xFFFF, version_mask)
            header_state(np.uint32(version | np.uint32(roll)), prevhash, root, midstate, block)
        shift_by = ((unit * lanes + lane) * 0.6180339887498949) % 1.0
        total = cells * counters
        while position[2] < attempts and spent < budget and found < hits.shape[0]:
            size = min(CHUNK, attempts - position[2])
            for i in range(size):
                number = min(int((position[2] + i + shift_by) / fraction), total - 1)
                counter = number // cells
                cell = number - counter * cells
                if model != S9:
                    cell += lane * LV06_CORES
                words[i] = cell_word(model, first_counter + counter, cell)
            start = 0
            while start < size and found < hits.shape[0]:
                hit = scan_words(midstate, tail, words, start, size, target, digest, block)
                if hit < 0:
                    start = size
                    break
                word = words[hit]
                at[0], at[2] = extranonce2, batch
                at[1] = (
                    (word >> np.uint32(7)) & np.uint32(0x7FFFF)
                    if model == S9
                    else word & np.uint32(0x1FFFFFF)
                )
                hits[found, 0] = extranonce2
                hits[found, 1] = np.int64(byteswap32(word))
                hits[found, 2] = roll
                hits[found, 3] = at[1]
                hit_ms[found] = scan_time(model, pace, at)
                for i in range(8):
                    hit_digests[found, i] = digest[i]
                found += 1
                start = hit + 1
            position[2] += start
            position[3] += start
            spent += start
        if position[2] >= attempts:
            position[2] = 0
            position[1] += 1
            if position[1] == lanes:
                position[1] = 0
                position[0] += 1
            if attempts == 0:
                spent += 1  # units without an attempt cost time as well
    return found


@dataclass(frozen=True)
class PreparedJob:
    """A job as the kernels take it."""

    job: Job
    coinbase: U8
    extranonce2_at: int
    branches: U8
    prevhash: U32
    target: U32
    pool_difficulty: float

    @classmethod
    def of(cls, job: Job, floor: float) -> PreparedJob:
        """Prepare a job for a chip that reports nothing below ``floor``.

        Raises:
            ValueError: if a field is no hex of the right length.
        """
        head = bytes.fromhex(job.coinb1 + job.extranonce1)
        whole = head + bytes(job.extranonce2_size) + bytes.fromhex(job.coinb2)
        prevhash = bytes.fromhex(job.prevhash)
        branches = bytes.fromhex("".join(job.merkle_branch))
        if len(prevhash) != 32 or len(branches) % 32:
            raise ValueError("prevhash and merkle branches have 32 bytes each")
        difficulty = max(floor, job.difficulty)
        return cls(
            job=job,
            coinbase=np.frombuffer(whole, dtype=np.uint8).copy(),
            extranonce2_at=len(head),
            branches=np.frombuffer(branches, dtype=np.uint8).copy(),
            prevhash=np.frombuffer(prevhash, dtype=">u4").astype(np.uint32),
            target=target_words(target_from_difficulty(difficulty * job.scale)),
            pool_difficulty=job.difficulty,
        )


@dataclass(frozen=True, slots=True)
class Hit:
    """A nonce that met the target: where it lies in its job, and its nominal difficulty."""

    work_ms: float
    extranonce2: int
    nonce: int
    version_bits: int
    counter: int
    difficulty: float


class Hasher:
    """Hashes a job from a work-time on, piece by piece.

    Args:
        model: number of the scan geometry.
        pace: hash rate over the model's own.
        fraction: of the nonces, how many are tried (the difficulty scale).
        prepared: the job.
        first_ms: work-time before which nothing is hashed.
    """

    def __init__(
        self, model: int, pace: float, fraction: float, prepared: PreparedJob, first_ms: float
    ) -> None:
        self.prepared = prepared
        self._model = model
        self._pace = pace
        self._fraction = fraction
        self._position = np.zeros(4, dtype=np.int64)
        if model == S9:
            self._position[UNIT] = math.ceil(first_ms * pace / S9_WORK_MS - 1e-9)
        self._hits = np.empty((MOST_HITS, 4), dtype=np.int64)
        self._hit_ms = np.empty(MOST_HITS)
        self._digests = np.empty((MOST_HITS, 8), dtype=np.uint32)

    @property
    def work_ms(self) -> float:
        """Work-time up to which everything is hashed, at least."""
        behind = (S9_BOARDS - 1) * S9_WORK_MS / self._pace if self._model == S9 else 0.0
        return max(0.0, float(unit_ms(self._model, self._pace, self._position[UNIT])) - behind)

    @property
    def hashes(self) -> int:
        """Nonces tried."""
        return int(self._position[HASHES])

    def run(self, until_ms: float, budget: int) -> list[Hit]:
        """Hash on to a work-time or for a number of hashes; the hits in the order of their time."""
        from firmware_bridge.headers import difficulty_of_hash

        job = self.prepared.job
        found = hash_span(
            self._model,
            self._pace,
            self._fraction,
            self._position,
            budget,
            until_ms,
            self.prepared.coinbase,
            self.prepared.extranonce2_at,
            job.extranonce2_size,
            self.prepared.branches,
            self.prepared.prevhash,
            np.uint32(int(job.version, 16)),
            job.version_mask,
            np.uint32(int(job.ntime, 16)),
            np.uint32(int(job.nbits, 16)),
            self.prepared.target,
            self._hits,
            self._hit_ms,
            self._digests,
        )
        hits = []
        for i in np.argsort(self._hit_ms[:found], kind="stable").tolist():
            value = int.from_bytes(self._digests[i].astype(">u4").tobytes(), "little")
            extranonce2, nonce, roll, counter = self._hits[i].tolist()
            difficulty = difficulty_of_hash(value) / job.scale
            hits.append(Hit(float(self._hit_ms[i]), extranonce2, nonce, roll, counter, difficulty))
        return hits
