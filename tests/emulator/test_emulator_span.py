"""The hashing thread's kernel: all of the nonces it should try, once each, in scan order."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest
from header_checker import swap32

from firmware_bridge import headers
from firmware_bridge.emulator import geometry
from firmware_bridge.emulator.span import Hasher, Hit, PreparedJob, unit_ms
from firmware_bridge.headers import Job, Share

CODES = {"s9": geometry.S9, "lv06": geometry.LV06}


def random_job(seed: int, scale: float, difficulty: float = 256.0) -> Job:
    r = random.Random(seed).randbytes
    return Job(
        "1", r(32).hex(), r(41).hex(), r(87).hex(), (r(32).hex(), r(32).hex(), r(32).hex()), "20000000",
        "1d00ffff", "66000001", r(4).hex(), 4, True, difficulty, scale, 0x1FFFE000,
    )  # fmt: skip


def hash_until(hasher: Hasher, work_ms: float, budget: int = 5000) -> list[Hit]:
    hits: list[Hit] = []
    while hasher.work_ms < work_ms:
        hits += hasher.run(math.inf, budget)
    return hits


@pytest.mark.parametrize("model", CODES)
def test_hits_verify_and_come_at_the_rate_of_a_fair_hash(model: str) -> None:
    scale = 2.0**-24
    job = random_job(1, scale, 16.0)
    hasher = Hasher(CODES[model], 1.0, scale, PreparedJob.of(job, 16.0), 0.0)
    hits = hash_until(hasher, 2500.0 if model == "s9" else 60_000.0)
    for hit in hits:
        bits = f"{hit.version_bits:08x}" if model == "lv06" else None
        share = Share("1", hit.extranonce2.to_bytes(4, "little").hex(), job.ntime, f"{hit.nonce:08x}", bits)
        verified = headers.verify(job, share)
        assert verified.meets_job
        assert verified.difficulty == hit.difficulty
        assert (
            swap32(hit.nonce) >> 7 & 0x7FFFF if model == "s9" else swap32(hit.nonce) & 0x1FFFFFF
        ) == hit.counter
    expected = hasher.hashes / (2.0**32 * 16 * scale)
    assert len(hits) == pytest.approx(expected, abs=4 * math.sqrt(expected))
    assert len({(h.extranonce2, h.nonce, h.version_bits) for h in hits}) == len(hits)


@pytest.mark.parametrize("model", CODES)
def test_the_number_of_hashes_is_capacity_times_scale_times_time(model: str) -> None:
    scale = 2.0**-24
    hasher = Hasher(CODES[model], 1.0, scale, PreparedJob.of(random_job(2, scale), 256.0), 0.0)
    hash_until(hasher, 3000.0)
    expected = geometry.HASHES_PER_MS[CODES[model]] * scale * hasher.work_ms
    assert hasher.hashes == pytest.approx(expected, rel=0.002)


def test_all_cells_of_an_s9_are_tried() -> None:
    easy = Hasher(geometry.S9, 1.0, 2.0**-24, PreparedJob.of(random_job(3, 1.0, 1e-9), 1e-12), 0.0)
    words = np.array([swap32(h.nonce) for h in hash_until(easy, 500.0)])
    assert len(set(words >> 26)) == 63
    assert set(words & 127) == {*range(57), *range(64, 121)}
    counters = (words >> 7) & 0x7FFFF
    assert np.mean(counters) == pytest.approx(470_454 / 2, rel=0.02)


def test_unscaled_every_nonce_of_the_chip_is_tried_once_and_in_order() -> None:
    job = random_job(4, 1.0, 1e-12)  # every hash meets it
    hasher = Hasher(geometry.S9, 1.0, 1.0, PreparedJob.of(job, 1e-12), 0.0)
    hits: list[Hit] = []
    while len(hits) < 3 * geometry.S9_CELLS:
        hits += hasher.run(math.inf, 500)
    words = [swap32(h.nonce) for h in hits][: 3 * geometry.S9_CELLS]
    cores = [*range(57), *range(64, 121)]
    expected = [
        chip << 26 | counter << 7 | core for counter in range(3) for chip in range(63) for core in cores
    ]
    assert words == expected
    assert {h.extranonce2 for h in hits} == {0}


def test_pieces_of_any_size_give_the_same_hits() -> None:
    scale = 2.0**-24
    found = []
    for budget in (37, 1000, 10**6):
        hasher = Hasher(geometry.LV06, 1.0, scale, PreparedJob.of(random_job(5, scale, 16.0), 16.0), 0.0)
        hits: list[Hit] = []
        while hasher.work_ms < 20_000:
            hits += hasher.run(20_001.0, budget)
        found.append(sorted(hits, key=lambda h: h.work_ms))
    assert found[0] == found[1] == found[2]
    assert len(found[0]) > 5


def test_times_are_those_of_the_place_in_the_scan() -> None:
    scale = 2.0**-24
    hasher = Hasher(geometry.S9, 0.5, scale, PreparedJob.of(random_job(6, scale, 16.0), 16.0), 0.0)
    hits = hash_until(hasher, 800.0)
    assert hits
    for hit in hits:
        place = (hit.extranonce2 + 3 * (hit.counter + 0.5) / 470_454) * 0.23273 / 0.5
        assert hit.work_ms == pytest.approx(place, rel=1e-9)


def test_the_first_works_are_left_out_and_the_end_is_kept() -> None:
    scale = 2.0**-24
    prepared = PreparedJob.of(random_job(7, scale, 1e-3), 1e-3)
    hasher = Hasher(geometry.S9, 1.0, scale, prepared, 4 * geometry.S9_WORK_MS)
    hits = []
    while hits == [] or hasher.work_ms < 20:
        hits += hasher.run(25.0, 1000)
    assert min(h.extranonce2 for h in hits) >= 4
    before = hasher.hashes
    hasher.run(20.0, 10**6)
    assert hasher.hashes == before or hasher.work_ms <= 25.0
    assert unit_ms(geometry.S9, 1.0, 100) == pytest.approx(23.273)


def test_a_malformed_job_is_refused() -> None:
    job = random_job(8, 1.0)
    for broken in (
        replace(job, prevhash="00"),
        replace(job, coinb1="xy"),
        replace(job, merkle_branch=("0102",)),
    ):
        with pytest.raises(ValueError):  # noqa: PT011 - the caller turns any of them into one warning
            PreparedJob.of(broken, 256.0)
