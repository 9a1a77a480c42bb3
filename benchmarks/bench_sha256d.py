"""Header hashes per second and core: our scan kernel against hashlib, and against a good CPU miner's rate."""

from __future__ import annotations

import hashlib
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.harness import Benchmark, Row, against_budget, paired
from firmware_bridge import sha256d

GOOD_CPU_MINER = 14.0  # MH/s per core with SHA extensions or AVX-512, as the issue of this benchmark gives it
HEADER = bytes.fromhex(
    "01000000" + "00" * 32 + "3ba3edfd7a7b12b27ac72c3e67768f617fc81bc3888a51323a9fb8aa4b1e5e4a"
)
HEADER += struct.pack("<II", 1231006505, 0x1D00FFFF)
GENESIS_NONCE = 2083236893
NEVER = 0


@contextmanager
def one_core() -> Iterator[None]:
    """Stay on one core, where the system can be told so."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def kernel_rate(hashes: int) -> float:
    """MH/s of the scan kernel in CPU time, so that a busy machine does not count against it."""
    start = time.process_time()
    found = sha256d.scan(HEADER, 0, hashes, NEVER)
    assert not found
    return hashes / (time.process_time() - start) / 1e6


def hashlib_rate(hashes: int) -> float:
    """MH/s of the plain double hash in CPU time."""
    sha256, pack, head = hashlib.sha256, struct.Struct("<I").pack, HEADER
    hits = 0
    start = time.process_time()
    for nonce in range(hashes):
        if sha256(sha256(head + pack(nonce)).digest()).digest()[28:] == b"\0\0\0\0":
            hits += 1
    return hashes / (time.process_time() - start) / 1e6


def run(heavy: bool) -> Iterator[Row]:
    top = 0xFFFF << 208
    assert sha256d.scan(HEADER, GENESIS_NONCE - 1000, 2000, top) == [GENESIS_NONCE]  # compiles, and is right
    size = 10 if heavy else 1
    with one_core():
        yield paired(
            "SHA-256d scan against hashlib, per core",
            lambda: kernel_rate(4_000_000 * size),
            lambda: hashlib_rate(300_000 * size),
            unit="MH/s",
            aim=5.0,
        )
        yield against_budget(
            "SHA-256d scan against a good CPU miner, per core",
            lambda: kernel_rate(4_000_000 * size),
            GOOD_CPU_MINER,
            unit="MH/s",
            aim=None,
            rounds=5,
        )


BENCHMARKS = [Benchmark("sha256d", run)]
