"""Fields of a header: rolled versions, merkle roots, there and back, and malformed ones named."""

from __future__ import annotations

import hashlib
import math
import random
from dataclasses import replace

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from firmware_bridge import headers
from firmware_bridge.headers import HeaderFields, Job, Share

# ---- version rolling (BIP310) ----

u32 = st.integers(0, 2**32 - 1)


@given(u32, u32, u32)
def test_version_rolling_keeps_the_job_outside_the_mask(version: int, bits: int, mask: int) -> None:
    text = f"{version:08x}"
    assert headers.rolled_version(text, None, mask) == version
    if bits & ~mask:
        with pytest.raises(ValueError, match="outside the mask"):
            headers.rolled_version(text, f"{bits:08x}", mask)
    rolled = headers.rolled_version(text, f"{bits & mask:08x}", mask)
    assert rolled & ~mask == version & ~mask
    assert rolled & mask == bits & mask


def test_version_bits_of_zero_clear_the_rolled_bits_and_absent_ones_keep_them() -> None:
    assert headers.rolled_version("3fffe000", "00000000", 0x1FFFE000) == 0x20000000
    assert headers.rolled_version("3fffe000", None, 0x1FFFE000) == 0x3FFFE000
    assert headers.rolled_version("20000000", "00000000", 0) == 0x20000000


@pytest.mark.parametrize("bits", ["20000000", "00001000", "ffffffff"])
def test_version_bits_outside_the_default_mask(bits: str) -> None:
    with pytest.raises(ValueError, match="1fffe000"):
        headers.rolled_version("20000000", bits, headers.DEFAULT_VERSION_MASK)


@pytest.mark.parametrize(
    "bits", ["", "-0000001", "0x2000", "2000", "0000_000", "000020000", " 0002000", "0000200g"]
)
def test_malformed_version_bits(bits: str) -> None:
    with pytest.raises(ValueError, match="version bits"):
        headers.rolled_version("20000000", bits, 0xFFFFFFFF)


# ---- merkle root, header, and back ----


def root_of_whole_tree(leaves: list[bytes]) -> tuple[bytes, list[bytes]]:
    """Root of a full tree of transaction ids, and the branch of its first leaf (independent of `headers`)."""
    branch: list[bytes] = []
    level = list(leaves)
    while len(level) > 1:
        if len(level) % 2:
            level.append(level[-1])
        branch.append(level[1])
        level = [
            hashlib.sha256(hashlib.sha256(level[i] + level[i + 1]).digest()).digest()
            for i in range(0, len(level), 2)
        ]
    return level[0], branch


@given(st.binary(min_size=1, max_size=200), st.lists(st.binary(min_size=32, max_size=32), max_size=20))
def test_merkle_root_against_the_whole_tree(coinbase: bytes, others: list[bytes]) -> None:
    first = hashlib.sha256(hashlib.sha256(coinbase).digest()).digest()
    root, branch = root_of_whole_tree([first, *others])
    assert headers.merkle_root(coinbase, [b.hex() for b in branch]) == root


def random_job(rng: random.Random) -> tuple[Job, Share]:
    def word(size: int) -> str:
        return rng.randbytes(size).hex()

    mask = rng.choice([0, 0x1FFFE000, 0xFFFFFFFF])
    bits = rng.choice([None, f"{rng.getrandbits(32) & mask:08x}"])
    job = Job(
        "j",
        word(32),
        word(rng.randrange(60)),
        word(rng.randrange(60)),
        tuple(word(32) for _ in range(rng.randrange(4))),
        word(4),
        word(4),
        word(4),
        extranonce1=word(rng.randrange(9)),
        version_mask=mask,
        difficulty=1e-300,
    )
    return job, Share("j", word(rng.randrange(2, 9)), word(4), word(4), bits)


@given(st.integers(0, 2**64))
def test_header_and_fields_are_inverse(seed: int) -> None:
    job, share = random_job(random.Random(seed))
    header = headers.build_header(job, share)
    assert len(header) == 80
    fields = headers.parse_header(header)
    assert headers.assemble_header(fields) == header
    assert (fields.prevhash, fields.nbits) == (job.prevhash, job.nbits)
    assert (fields.ntime, fields.nonce) == (share.ntime, share.nonce)
    assert int(fields.version, 16) == headers.rolled_version(
        job.version, share.version_bits, job.version_mask
    )
    tx = job.coinb1 + job.extranonce1 + share.extranonce2 + job.coinb2
    assert bytes.fromhex(fields.merkle_root) == headers.merkle_root(bytes.fromhex(tx), job.merkle_branch)
    assert headers.verify(job, share).meets_job


@given(st.binary(min_size=80, max_size=80))
def test_any_80_bytes_parse_and_come_back(header: bytes) -> None:
    assert headers.assemble_header(headers.parse_header(header)) == header


@given(st.binary(max_size=200))
@example(b"\0" * 79)
@example(b"\0" * 81)
def test_only_80_bytes_and_lbrys_112_are_a_header(data: bytes) -> None:
    assume(len(data) not in (80, 112))
    with pytest.raises(ValueError, match="80 bytes"):
        headers.parse_header(data)


@given(st.binary(max_size=64))
def test_swapping_words_twice_changes_nothing(data: bytes) -> None:
    if len(data) % 4:
        with pytest.raises(ValueError, match="4-byte words"):
            headers.swap_words(data)
    else:
        assert headers.swap_words(headers.swap_words(data)) == data


def test_swap_words_by_hand() -> None:
    assert headers.swap_words(bytes.fromhex("0011223344556677")).hex() == "3322110077665544"


# ---- malformed fields ----

JOB = Job("j", "00" * 32, "01", "02", (), "20000000", "1d00ffff", "64af16e0", extranonce1="0000ffff")
SHARE = Share("j", "20010000", "64af16e0", "8b7746ab")
BAD_32 = [
    "",
    "0" * 7,
    "0" * 9,
    "0" * 10,
    "0000000g",
    "0x000000",
    " 000000 ",
    "00 00 00",
    "-0000001",
    "0000_000",
    "００００００００",
]


@pytest.mark.parametrize("bad", BAD_32)
@pytest.mark.parametrize("name", ["ntime", "nonce", "version_bits"])
def test_malformed_share_fields_are_named(name: str, bad: str) -> None:
    with pytest.raises(ValueError, match=name.replace("_", " ")):
        headers.build_header(JOB, replace(SHARE, **{name: bad}))


@pytest.mark.parametrize("bad", BAD_32)
@pytest.mark.parametrize("name", ["version", "nbits"])
def test_malformed_job_numbers_are_named(name: str, bad: str) -> None:
    with pytest.raises(ValueError, match=name):
        headers.build_header(replace(JOB, **{name: bad}), SHARE)


@pytest.mark.parametrize("bad", ["0", "0g", "0x", " 00", "00 00", "é0"])
@pytest.mark.parametrize("name", ["coinb1", "coinb2", "extranonce1"])
def test_malformed_coinbase_parts_are_named(name: str, bad: str) -> None:
    with pytest.raises(ValueError, match=name):
        headers.build_header(replace(JOB, **{name: bad}), SHARE)


def test_two_odd_halves_of_a_coinbase_do_not_make_a_whole() -> None:
    with pytest.raises(ValueError, match="extranonce1"):
        headers.build_header(replace(JOB, extranonce1="0000fff"), replace(SHARE, extranonce2="f20010000"))


@pytest.mark.parametrize("bad", ["", "00" * 31, "00" * 33, "0" * 63, "zz" * 32, " " + "00" * 32])
def test_malformed_prevhash_and_branches_are_named(bad: str) -> None:
    with pytest.raises(ValueError, match="prevhash"):
        headers.build_header(replace(JOB, prevhash=bad), SHARE)
    with pytest.raises(ValueError, match="merkle branch"):
        headers.build_header(replace(JOB, merkle_branch=("00" * 32, bad)), SHARE)
    with pytest.raises(ValueError, match="merkle root"):
        headers.assemble_header(HeaderFields("20000000", "00" * 32, bad, "00000000", "1d00ffff", "00000000"))


def test_an_error_quotes_at_most_80_characters_of_a_hostile_field() -> None:
    with pytest.raises(ValueError, match="nonce") as caught:
        headers.build_header(JOB, replace(SHARE, nonce="z" * 1_000_000))
    assert len(str(caught.value)) < 200


def test_upper_case_hex_is_the_same_share() -> None:
    lower, upper = SHARE, replace(SHARE, nonce=SHARE.nonce.upper(), extranonce2=SHARE.extranonce2.upper())
    assert headers.build_header(JOB, lower) == headers.build_header(JOB, upper)


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.inf, math.nan])
@pytest.mark.parametrize("name", ["difficulty", "scale"])
def test_jobs_without_a_usable_difficulty_or_scale_are_refused(name: str, wrong: float) -> None:
    with pytest.raises(ValueError, match="positive and finite"):
        headers.verify(replace(JOB, **{name: wrong}), SHARE)
