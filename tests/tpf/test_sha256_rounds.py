"""The digital twin against an implementation written straight from FIPS 180-4, and against hashlib."""

from __future__ import annotations

import hashlib
import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tpf import sha256
from tpf.sha256_rounds import compress_rounds, double_hash_rounds, header_words, last_rounds

words = st.integers(0, (1 << 32) - 1)
states = st.builds(sha256.State, *[words] * 8)


# ---- FIPS 180-4, by the letter: numbers mod 2^32, constants from the roots of the primes ----------------------------


def primes(count: int) -> list[int]:
    found = [2]
    while len(found) < count:
        found.append(next(n for n in range(found[-1] + 1, 2 * found[-1] + 2) if all(n % p for p in found)))
    return found


def cube_root_bits(p: int) -> int:
    with localcontext() as context:
        context.prec = 60
        return int((Decimal(p) ** (Decimal(1) / 3) % 1) * 2**32)


K = [cube_root_bits(p) for p in primes(64)]
H = [math.isqrt(p << 64) % 2**32 for p in primes(8)]


def rotr(x: int, n: int) -> int:
    text = f"{x:032b}"
    return int(text[-n:] + text[:-n], 2)


def fips_states(chaining: list[int], block: list[int]) -> list[list[int]]:
    """§6.2.2: the working variables before the first round and after each of 64."""
    w: list[int] = []
    for t in range(64):
        if t < 16:
            w.append(block[t])
        else:
            x, y = w[t - 2], w[t - 15]
            sigma1 = rotr(x, 17) ^ rotr(x, 19) ^ (x // 2**10)
            sigma0 = rotr(y, 7) ^ rotr(y, 18) ^ (y // 2**3)
            w.append((sigma1 + w[t - 7] + sigma0 + w[t - 16]) % 2**32)
    v = dict(zip("abcdefgh", chaining, strict=True))
    found = [list(v.values())]
    for t in range(64):
        ch = (v["e"] & v["f"]) ^ (~v["e"] % 2**32 & v["g"])
        maj = (v["a"] & v["b"]) ^ (v["a"] & v["c"]) ^ (v["b"] & v["c"])
        t1 = v["h"] + (rotr(v["e"], 6) ^ rotr(v["e"], 11) ^ rotr(v["e"], 25)) + ch + K[t] + w[t]
        t2 = (rotr(v["a"], 2) ^ rotr(v["a"], 13) ^ rotr(v["a"], 22)) + maj
        v = {
            "a": (t1 + t2) % 2**32, "b": v["a"], "c": v["b"], "d": v["c"],
            "e": (v["d"] + t1) % 2**32, "f": v["e"], "g": v["f"], "h": v["g"],
        }  # fmt: skip
        found.append(list(v.values()))
    return found


def check_blocks(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 1 << 32, (count, 16), dtype=np.uint32)
    chaining = rng.integers(0, 1 << 32, (count, 8), dtype=np.uint32)
    found = compress_rounds(chaining, blocks)
    digests = found.digest
    everything = np.stack([found.after(k) for k in range(65)])  # (65, 8, n)
    for i in range(count):
        expected = fips_states(chaining[i].tolist(), blocks[i].tolist())
        assert everything[:, :, i].tolist() == expected
        last = [(x + y) % 2**32 for x, y in zip(expected[0], expected[-1], strict=True)]
        assert digests[:, i].tolist() == last


def test_round_states_equal_fips_180_4_on_1000_random_blocks() -> None:
    check_blocks(1000, 1)


@pytest.mark.slow
def test_round_states_equal_fips_180_4_on_10000_random_blocks() -> None:
    check_blocks(10_000, 2)


def headers(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 80), dtype=np.uint8)


@pytest.mark.parametrize("count", [1, 15, 16, 17, 1000])
def test_digests_and_midstates_equal_hashlib(count: int) -> None:
    raw = headers(count, count)
    found = double_hash_rounds(header_words(raw))
    digests = found.digest.T.astype(">u4")
    firsts = found.second.digest.T.astype(">u4")
    assert digests.shape == (count, 8)
    for row, digest, first in zip(raw, digests, firsts, strict=True):
        once = hashlib.sha256(row.tobytes()).digest()
        assert first.tobytes() == once
        assert digest.tobytes() == hashlib.sha256(once).digest()
    alone = last_rounds(header_words(raw.tobytes()))
    assert np.array_equal(alone.after(61), found.last.after(61))
    assert np.array_equal(found.second.after(0), found.first.digest)


def test_schedule_of_the_twin_is_that_of_one_round_at_a_time() -> None:
    found = double_hash_rounds(header_words(headers(20, 3)))
    block = header_words(headers(20, 3))[7, :16].tolist()
    w = sha256.schedule(block)
    assert found.first.schedule[:, 7].tolist() == w
    for k in (0, 1, 20, 64):
        assert found.first.after(k)[:, 7].tolist() == list(sha256.run(sha256.keyed(w), sha256.INITIAL, k))
    assert found.first.digest[:, 7].tolist() == list(sha256.compress(sha256.INITIAL, block))


def test_abc_of_fips_180_4_appendix() -> None:
    block = [0x61626380, *[0] * 14, 24]
    digest = b"".join(int(x).to_bytes(4, "big") for x in sha256.compress(sha256.INITIAL, block))
    assert digest == hashlib.sha256(b"abc").digest()
    assert list(sha256.INITIAL) == H
    first = sha256.round(sha256.INITIAL, sha256.keyed(sha256.schedule(block))[0])
    assert (first.a, first.e) == (0x5D6AEBCD, 0xFA2A4622)  # the published intermediate values, t = 0


@given(states, words)
def test_unround_is_the_inverse_of_a_round(s: sha256.State, kw: int) -> None:
    assert sha256.unround(sha256.round(s, kw), kw) == s
    assert sha256.round(sha256.unround(s, kw), kw) == s


@given(states, words, words)
def test_the_e_half_computes_e_and_nothing_else(s: sha256.State, kw: int, unknown: int) -> None:
    whole, half = sha256.round(s, kw), sha256.e_half(s, kw, unknown)
    assert half._replace(a=whole.a) == whole
    assert half.a == unknown


@given(states, st.lists(words, min_size=64, max_size=64))
def test_the_last_word_is_there_after_61_rounds(s: sha256.State, kw: list[int]) -> None:
    assert sha256.run(kw, s, 64).h == sha256.run(kw, s, 61).e
    assert sha256.run(kw, s, 64).d == sha256.run(kw, s, 61).a


def test_wrong_shapes_are_refused() -> None:
    some = np.zeros((2, 16), np.uint32)
    with pytest.raises(ValueError, match="16 words"):
        sha256.schedule([0] * 15)
    with pytest.raises(ValueError, match="80 bytes"):
        header_words(b"\0" * 79)
    with pytest.raises(ValueError, match="shape"):
        double_hash_rounds(some)
    with pytest.raises(ValueError, match="shape"):
        compress_rounds(np.zeros((3, 8), np.uint32), some)
    with pytest.raises(ValueError, match="shape"):
        compress_rounds(np.zeros(8, np.uint32), some[:, :8])
    with pytest.raises(ValueError, match="0 to 64"):
        compress_rounds(np.zeros(8, np.uint32), some).after(65)
    with pytest.raises(ValueError, match="scratch"):
        last_rounds(np.zeros((17, 20), np.uint32), np.zeros((1, 200, 16), np.uint32))
