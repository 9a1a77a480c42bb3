"""Answers of BM1366 chips decoded per second, against what a serial line at its working speed can carry."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

from benchmarks.harness import Benchmark, Row, against_budget
from firmware_bridge.bm13xx.decoder import AnswerDecoder
from firmware_bridge.bm13xx.frames import ANSWER_BYTES, NonceAnswer, encode_answer
from firmware_bridge.bm13xx.registers import WORKING_BAUD

LINE_RATE = WORKING_BAUD / 10 / ANSWER_BYTES
"""Frames per second of a line at 1 Mbaud, 8N1: 9,091."""
READ_BYTES = 4096
"""What the system hands over at once when the host is busy."""


def stream(frames: int, corrupt: float = 0.0) -> bytes:
    """Nonces as they come from a chain, a share of the bytes with a wrong bit."""
    rng = random.Random(1)
    data = bytearray()
    for _ in range(frames):
        nonce = NonceAnswer(rng.getrandbits(32), rng.randrange(8), rng.getrandbits(7), rng.getrandbits(16))
        data += encode_answer(nonce)
    for at in range(len(data)):
        if rng.random() < corrupt:
            data[at] ^= 1 << rng.randrange(8)
    return bytes(data)


def rate(data: bytes, read_bytes: int) -> float:
    """Frames per second on the line that the decoder keeps up with, in CPU time: those that a fault spoiled count."""
    pieces = [data[at : at + read_bytes] for at in range(0, len(data), read_bytes)]
    decoder = AnswerDecoder()
    found = 0
    start = time.process_time()
    for piece in pieces:
        found += len(decoder.feed(piece))
    seconds = time.process_time() - start
    assert found * ANSWER_BYTES + decoder.counts.dropped + decoder.pending == len(data)
    return len(data) / ANSWER_BYTES / seconds


def run(heavy: bool) -> Iterator[Row]:
    frames = 1_000_000 if heavy else 100_000
    clean, faulty = stream(frames), stream(frames, corrupt=0.01)
    assert AnswerDecoder().feed(clean[: 20 * ANSWER_BYTES])  # builds the tables
    for name, data, size in (
        (f"serial decode, reads of {READ_BYTES} bytes", clean, READ_BYTES),
        ("serial decode, a read per three answers", clean, 3 * ANSWER_BYTES),
        ("serial decode, 1 % of the bytes corrupted", faulty, READ_BYTES),
    ):
        yield against_budget(
            name,
            lambda data=data, size=size: rate(data, size),  # type: ignore[misc]
            LINE_RATE,
            unit="frames/s",
            aim=50.0,
            rounds=5,
        )


BENCHMARKS = [Benchmark("serial", run)]
