"""The digital twin: double hashes with the state after every round, against digests by hashlib on the same core."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator

import numpy as np

from benchmarks.bench_sha256d import hashlib_rate, one_core
from benchmarks.harness import Benchmark, Row, paired
from firmware_bridge.sha256_kernels import LANES, ROWS
from tpf.sha256_rounds import double_hash_rounds, hash_all

BATCH = 4096


def twin_rate(words: np.ndarray, rows: np.ndarray, times: int) -> float:
    """MH/s in CPU time; every state of the three compressions of each header is written to memory."""
    start = time.process_time()
    for _ in range(times):
        hash_all(words, rows[0], rows[1], rows[2])
    return times * len(words) / (time.process_time() - start) / 1e6


def run(heavy: bool) -> Iterator[Row]:
    words = np.random.default_rng(0).integers(0, 1 << 32, (BATCH, 20), dtype=np.uint32)
    rows = np.empty((3, BATCH // LANES, ROWS, LANES), np.uint32)
    digests = double_hash_rounds(words[:64]).digest.T.astype(">u4")  # compiles, and is right
    for header, digest in zip(words[:64].astype(">u4"), digests, strict=True):
        assert hashlib.sha256(hashlib.sha256(header.tobytes()).digest()).digest() == digest.tobytes()
    size = 10 if heavy else 1
    with one_core():
        yield paired(
            "SHA-256d with all round states against hashlib's digest, per core",
            lambda: twin_rate(words, rows, 100 * size),
            lambda: hashlib_rate(300_000 * size),
            unit="MH/s",
            aim=0.3,
            detail={"states_per_hash": 3 * 65, "bytes_per_hash": 3 * ROWS * 4},
        )


BENCHMARKS = [Benchmark("rounds", run)]
