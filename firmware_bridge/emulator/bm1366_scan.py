"""Which nonces a chain of BM1366 tries when, and which of them hit: numba kernel (``hardware.md`` §1.4, §1.9).

The chip spends HCN ticks of 80 ns on a batch of 8 versions. In that time each of its small cores sweeps its own
counters at one nonce per clock: the 8 small cores of a core work on the 8 versions, cores and chips on fields of the
nonce. A *unit* is a part of a batch of about a millisecond. Of the nonces of a unit a fraction S (the difficulty scale)
is tried here, evenly spaced, always the same ones: a job that comes again gives the same nonces again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from firmware_bridge.bm13xx import registers as r
from firmware_bridge.bm13xx.frames import JobFrame, NonceAnswer
from firmware_bridge.bm13xx.nonces import address_interval, header_of
from firmware_bridge.headers import MAX_TARGET, header_hash
from firmware_bridge.sha256d import header_words, scan_words, target_words

U32 = npt.NDArray[np.uint32]

UNIT_S = 1e-3
MOST_UNITS = 64
LANES = 8
"""Versions side by side: one per small core of a core."""
CHUNK = 512
MOST_HITS = 4096
CORES, SMALL_CORES = r.CORES, r.SMALL_CORES
BATCHES = r.VERSIONS_PER_JOB // LANES
SPREAD = 131
"""Step over the cells from one attempt to the next: a prime beyond 128 chips, so coprime to 112 cores of them."""
AROUND = 8
"""Clocks before and after a known place of the scan that are hashed as well."""


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def scan_unit(
    midstates: U32,
    tail: U32,
    first_counter: int,
    counters: int,
    chips: int,
    interval: int,
    before: int,
    attempts: int,
    target: U32,
    words: U32,
    hits: U32,
) -> int:
    """Try the nonces of one unit; returns how many hit.

    Args:
        midstates: shape (8, 8), one row per version of the batch.
        tail: header words 16 to 18.
        first_counter: of the unit.
        counters: that it covers.
        chips: on the chain.
        interval: between their addresses.
        before: attempts per version of the units before: the walk over the cells goes on from there.
        attempts: per version.
        target: 8 words, most significant first.
        words: scratch of at least ``CHUNK + 16``.
        hits: shape (m, 3): receives nonce word, lane, attempt.
    """
    cells = CORES * chips
    found = 0
    state = np.empty(8, dtype=np.uint32)
    block = np.empty(16, dtype=np.uint32)
    which = np.empty(CHUNK, dtype=np.int64)
    for lane in range(LANES):
        attempt = 0
        while attempt < attempts:
            size = 0
            while size < CHUNK and attempt < attempts:
                cell = ((before + attempt) * SPREAD + lane) % cells
                core, chip = cell % CORES, cell // CORES
                if core * LANES + lane < SMALL_CORES:  # two small cores do not work
                    counter = first_counter + (attempt * counters) // attempts
                    words[size] = np.uint32((core << 25) | (((chip * interval) << 17) + counter))
                    which[size] = attempt
                    size += 1
                attempt += 1
            at = scan_words(midstates[lane], tail, words, 0, size, target, state, block)
            while at >= 0:
                if found < hits.shape[0]:
                    hits[found, 0] = words[at]
                    hits[found, 1] = np.uint32(lane)
                    hits[found, 2] = np.uint32(which[at])
                    found += 1
                at = scan_words(midstates[lane], tail, words, at + 1, size, target, state, block)
    return found


@dataclass(frozen=True, slots=True)
class ScanHit:
    """A nonce that a chain reports, and when in its job it comes.

    Attributes:
        answer: as it goes over the wire.
        after_s: time since the job began.
        hash_value: of its header.
    """

    answer: NonceAnswer
    after_s: float
    hash_value: int


class JobScan:
    """The work of a chain on one job.

    Args:
        frame: the job.
        chips: on the chain.
        frequency_mhz: of the clock.
        hcn: hash counting number.
        ticket_mask: register 14.
        rolling: register A4.
        scale: difficulty scale S.
        pace: how much faster than its clock the chain goes.
    """

    def __init__(
        self,
        frame: JobFrame,
        *,
        chips: int,
        frequency_mhz: float,
        hcn: int,
        ticket_mask: int,
        rolling: int,
        scale: float,
        pace: float = 1.0,
    ) -> None:
        self.frame = frame
        self.unit = 0
        self.hashes = 0
        self._chips = chips
        self._interval = address_interval(chips)
        self._scale = scale
        self._mask = ticket_mask
        self._versions = r.rolled_mask(rolling) >> r.VERSION_SHIFT
        self.batch_s = hcn * r.HCN_TICK_NS / 1e9 / pace
        self._per_clock_s = 1e-6 / frequency_mhz / pace
        self._units = min(MOST_UNITS, max(1, int(self.batch_s / UNIT_S)))
        # within a batch a small core gets as far as its clock allows, and never into the next chip's field
        room = 1 << (25 - (r.next_power_of_two(chips).bit_length() - 1))
        self._counters = max(1, min(int(self.batch_s / self._per_clock_s), room))
        ticket = r.decode_ticket_mask(ticket_mask) or 1
        self._target = target_words(min(int((1 << 224) / ticket / scale) - 1, MAX_TARGET))
        tried = self._counters / self._units * r.CORES * chips * scale
        self._tried_per_unit = tried
        # counters that do not fill the batch leave the rest of it idle
        self._sweep_s = min(self.batch_s, self._counters * self._per_clock_s)
        self._ticket = ticket
        self._batch = -1
        self._midstates = np.empty((LANES, 8), dtype=np.uint32)
        self._tail = np.empty(3, dtype=np.uint32)
        self._words = np.empty(CHUNK + 16, dtype=np.uint32)
        self._hits = np.empty((MOST_HITS, 3), dtype=np.uint32)

    @property
    def next_s(self) -> float:
        """When the next unit begins, in seconds since the job did."""
        batch, part = divmod(self.unit, self._units)
        return batch * self.batch_s + part / self._units * self._sweep_s

    @property
    def place(self) -> tuple[int, int]:
        """Batch and counter that come next."""
        batch, part = divmod(self.unit, self._units)
        return batch, part * self._counters // self._units

    def go_on_from(self, batch: int, counter: int) -> None:
        """Start at the first unit that tries nothing from before this place: no nonce is found twice."""
        part = -(-counter * self._units // self._counters)
        self.unit = batch * self._units + min(part, self._units)

    def _version_bits(self, batch: int, lane: int) -> int:
        number = (batch % BATCHES) * LANES + lane
        if self._versions == 0xFFFF:
            return number
        spread = 0
        for bit in range(16):
            if self._versions >> bit & 1:
                spread |= (number & 1) << bit
                number >>= 1
        return spread

    def _load(self, batch: int) -> None:
        for lane in range(LANES):
            header = header_of(self.frame, NonceAnswer(0, 0, 0, self._version_bits(batch, lane)))
            self._midstates[lane], self._tail = header_words(header)
        self._batch = batch

    def run_unit(self) -> list[ScanHit]:
        """Do the next unit."""
        batch, part = divmod(self.unit, self._units)
        if batch != self._batch:
            self._load(batch)
        # fractions of an attempt add up over the units
        before = int(self.unit * self._tried_per_unit)
        attempts = int((self.unit + 1) * self._tried_per_unit) - before
        first = part * self._counters // self._units
        counters = (part + 1) * self._counters // self._units - first
        begin = self.next_s
        self.unit += 1
        if attempts <= 0:
            return []
        self.hashes += attempts * LANES * SMALL_CORES // (CORES * LANES)
        count = scan_unit(
            self._midstates, self._tail, first, counters, self._chips, self._interval, before, attempts, self._target,
            self._words, self._hits,
        )  # fmt: skip
        hits = []
        for nonce, lane, attempt in self._hits[:count].tolist():
            hit = self._hit(nonce, lane, batch, begin + attempt * counters // attempts * self._per_clock_s)
            if hit is not None:
                hits.append(hit)
        return sorted(hits, key=lambda h: h.after_s)

    def _hit(self, nonce: int, lane: int, batch: int, after_s: float) -> ScanHit | None:
        bits = self._version_bits(batch, lane)
        answer = NonceAnswer(nonce, 0, self.frame.job_id | lane, bits)
        return reported(self.frame, answer, self._mask, self._scale, after_s)


def reported(
    frame: JobFrame, answer: NonceAnswer, ticket_mask: int, scale: float, after_s: float
) -> ScanHit | None:
    """The answer that a chip gives for a nonce, None where its ticket mask does not let it through."""
    value = header_hash(header_of(frame, answer))
    scaled = int(value * scale) if scale != 1.0 else value
    if not r.passes_ticket(scaled, ticket_mask):
        return None
    ticket = r.decode_ticket_mask(ticket_mask) or 1
    excess = max(0, (224 - scaled.bit_length()) - (ticket.bit_length() - 1)) if scaled else 255
    return ScanHit(
        NonceAnswer(answer.nonce, min(excess, 255), answer.result, answer.version_bits), after_s, value
    )


def place_s(answer: NonceAnswer, *, frequency_mhz: float, hcn: int) -> float:
    """When in its job a single chip comes to a nonce: whole batches before, then its counter at one per clock."""
    batch = (answer.version_bits or 0) // LANES
    counter = answer.nonce & 0x1FFFFFF
    return batch * hcn * r.HCN_TICK_NS / 1e9 + min(counter * 1e-6 / frequency_mhz, hcn * r.HCN_TICK_NS / 1e9)


def mine_around(
    frame: JobFrame, batch: int, counter: int, *, ticket_mask: int, frequency_mhz: float, hcn: int
) -> list[ScanHit]:
    """Hash at full difficulty what all 894 small cores of a single chip try some clocks around a place of the scan."""
    counters = np.arange(max(0, counter - AROUND), min(1 << 25, counter + AROUND + 1), dtype=np.uint32)
    state, block = np.empty(8, dtype=np.uint32), np.empty(16, dtype=np.uint32)
    target = target_words((1 << 224) - 1)
    hits = []
    for lane in range(LANES):
        bits = batch * LANES + lane
        cores = np.arange((SMALL_CORES - lane + LANES - 1) // LANES, dtype=np.uint32)
        count = cores.size * counters.size
        words = np.zeros(count + 16, dtype=np.uint32)
        words[:count] = (cores[:, None] << np.uint32(25) | counters).ravel()
        midstate, tail = header_words(header_of(frame, NonceAnswer(0, 0, 0, bits)))
        at = scan_words(midstate, tail, words, 0, count, target, state, block)
        while at >= 0:
            answer = NonceAnswer(int(words[at]), 0, frame.job_id | lane, bits)
            after_s = place_s(answer, frequency_mhz=frequency_mhz, hcn=hcn)
            hit = reported(frame, answer, ticket_mask, 1.0, after_s)
            if hit is not None:
                hits.append(hit)
            at = scan_words(midstate, tail, words, at + 1, count, target, state, block)
    return hits
