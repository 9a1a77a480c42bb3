"""The numba kernels against hashlib and against published hashes."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable

import numpy as np
import pytest

from firmware_bridge import sha256_kernels, sha256d
from firmware_bridge.headers import target_from_difficulty


def reference(header: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(header).digest()).digest()


def words_of(hex_string: str) -> list[bytes]:
    return [bytes.fromhex(hex_string[i : i + 8]) for i in range(0, len(hex_string), 8)]


def block_839900() -> bytes:
    """hardware.md §1.11: the golden job of the BM1366 self-tests."""
    prevhash = b"".join(
        w[::-1] for w in words_of("10439ba3ef4739860fb382d2abd355f7ee767c2400015d7e0000000000000000")
    )
    root = bytes.fromhex("088083f58ddef995494fec492880da49e3463cc73dee1306dbdf6cf3af77454c")[::-1]
    fixed = [bytes.fromhex(v)[::-1] for v in ("2a966000", "66221bdf", "17034219", "d2608517")]
    return fixed[0] + prevhash + root + fixed[1] + fixed[2] + fixed[3]


def test_constants_are_those_of_fips_180_4() -> None:
    assert sha256_kernels.INITIAL_STATE[0] == 0x6A09E667
    assert sha256_kernels.INITIAL_STATE[7] == 0x5BE0CD19
    assert sha256_kernels.ROUND_CONSTANTS[0] == 0x428A2F98
    assert sha256_kernels.ROUND_CONSTANTS[63] == 0xC67178F2


def test_double_hash_equals_hashlib_on_random_headers() -> None:
    rng = random.Random(1)
    for _ in range(300):
        header = rng.randbytes(80)
        assert sha256d.double_hash(header) == reference(header)


def test_double_hash_of_block_839900() -> None:
    assert (
        sha256d.double_hash(block_839900())[::-1].hex()
        == "000000000000000000023dfafae2b6e6b5ecf9d1365fafa075dec49625721f37"
    )


def test_scan_finds_the_nonce_of_block_839900_among_its_neighbours() -> None:
    header = block_839900()
    target = target_from_difficulty(125538251293054 * 0.999)
    assert sha256d.scan(header, 3529540887 - 5000, 10000, target) == [3529540887]
    assert sha256d.scan(header, 3529540887 - 5000, 5000, target) == []
    assert sha256d.scan(header, 3529540887 - 5000, 5001, target) == [3529540887]


@pytest.mark.parametrize(
    ("nonce_bytes", "version_bits", "difficulty"),
    [
        ("083928A9", 3, 9.279),
        ("1A514EBE", 0, 3.627),
        ("30701A0A", 0, 1.168),
        ("4272D2DF", 1, 27.003),
        ("56B35F2B", 1, 15.730),
        ("4391701E", 3, 1.072),
    ],
)
def test_scan_confirms_the_nonces_of_a_real_bm1366(
    nonce_bytes: str, version_bits: int, difficulty: float
) -> None:
    """The end-to-end capture of hardware.md §1.11: job frame and the six nonces that the chip returned."""
    job = bytes.fromhex(
        "F8952419E016AF64F3C00910CBDAF23F0FFFDF3F7B42ACC98D70ED9BBFBA1B1D4474EDE0322885C7"
        "000000000C000000659049105857DDA2478A5E7CCCFE036FE8BE8EF8C25721D4"
    )
    nbits, ntime, root, prevhash = job[:4], job[4:8], job[8:40], job[40:72]

    def reverse_word_order(field: bytes) -> bytes:
        return b"".join(field[i : i + 4] for i in range(28, -1, -4))

    version = (0x20000000 | version_bits << 13).to_bytes(4, "little")
    header = version + reverse_word_order(prevhash) + reverse_word_order(root) + ntime + nbits
    nonce = int.from_bytes(bytes.fromhex(nonce_bytes), "little")
    low, high = target_from_difficulty(difficulty * 0.999), target_from_difficulty(difficulty * 1.001)
    assert sha256d.scan(header, nonce - 100, 200, low) == [nonce]
    assert sha256d.scan(header, nonce - 100, 200, high) == []


@pytest.mark.parametrize("bits", [246, 248, 250, 253])
def test_scan_finds_exactly_what_hashlib_finds(bits: int) -> None:
    rng = random.Random(bits)
    header = rng.randbytes(76)
    # a target inside a word, so that the comparison has to go past the first word
    target = (1 << bits) + rng.getrandbits(bits - 10)
    first, count = rng.getrandbits(31), 9001
    expected = [
        n
        for n in range(first, first + count)
        if int.from_bytes(reference(header + n.to_bytes(4, "little")), "little") <= target
    ]
    assert expected
    assert sha256d.scan(header, first, count, target) == expected


def test_scan_compares_all_256_bits() -> None:
    header = random.Random(7).randbytes(76)
    value = int.from_bytes(reference(header + (99).to_bytes(4, "little")), "little")
    assert 99 in sha256d.scan(header, 0, 200, value)
    assert 99 not in sha256d.scan(header, 0, 200, value - 1)


def test_scan_reaches_the_ends_of_the_nonce_range() -> None:
    header = random.Random(8).randbytes(76)
    everything = (1 << 256) - 1
    assert sha256d.scan(header, (1 << 32) - 5, 5, everything) == list(range((1 << 32) - 5, 1 << 32))
    assert sha256d.scan(header, 17, 0, everything) == []
    with pytest.raises(ValueError, match="do not fit in 32 bits"):
        sha256d.scan(header, (1 << 32) - 5, 6, everything)
    with pytest.raises(ValueError, match="76 bytes"):
        sha256d.scan(header[:75], 0, 1, everything)


@pytest.mark.parametrize("length", [*range(50, 70), *range(115, 131), 72, 200, 1000])
def test_sha256d_words_pads_every_length_as_hashlib_does(length: int) -> None:
    message = random.Random(length).randbytes(length)
    state, block = np.empty(8, np.uint32), np.empty(16, np.uint32)
    sha256d.sha256d_words(np.frombuffer(message, np.uint8), length, state, block)
    assert state.astype(">u4").tobytes() == reference(message)


@pytest.mark.xdist_group("timing")
def test_one_core_is_at_least_five_times_hashlib() -> None:
    """The aim of the benchmark; measured in turns, and again while others keep this machine busy."""
    header = random.Random(3).randbytes(76)
    sha256d.scan(header, 0, 1000, 1)

    def seconds(run: Callable[[int], object], n: int) -> float:
        start = time.perf_counter()
        run(n)
        return (time.perf_counter() - start) / n

    def by_hashlib(n: int) -> None:
        for i in range(n):
            hashlib.sha256(hashlib.sha256(header + i.to_bytes(4, "little")).digest()).digest()

    ours = theirs = float("inf")
    for _ in range(30):
        ours = min(ours, seconds(lambda n: sha256d.scan(header, 0, n, 1), 200_000))
        theirs = min(theirs, seconds(by_hashlib, 10_000))
        if theirs / ours >= 5:
            return
    pytest.fail(f"{theirs / ours:.2f} times hashlib")
