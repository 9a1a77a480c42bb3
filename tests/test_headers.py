"""Headers and hashes against published blocks, a chip capture and a recorded S9."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import statistics
from dataclasses import replace
from pathlib import Path

import pytest

from firmware_bridge import headers
from firmware_bridge.headers import HeaderFields, Job, Share


def display(header: bytes) -> str:
    """Block id as explorers print it."""
    return f"{headers.header_hash(header):064x}"


def stratum_prevhash(display_hex: str) -> str:
    """Stratum's form of a previous hash given as explorers print it, by words and not by `swap_words`."""
    words = [display_hex[i : i + 8] for i in range(0, 64, 8)]
    return "".join(reversed(words))


def raw_root(display_hex: str) -> str:
    return bytes.fromhex(display_hex)[::-1].hex()


# ---- published blocks ----

GENESIS_COINBASE = (
    "01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff4d04ffff001d010445"
    "5468652054696d65732030332f4a616e2f32303039204368616e63656c6c6f72206f6e206272696e6b206f66207365636f6e"
    "64206261696c6f757420666f722062616e6b73ffffffff0100f2052a01000000434104678afdb0fe5548271967f1a67130b7"
    "105cd6a828e03909a67962e0ea1f61deb649f6bc3f4cef38c4f35504e51ec112de5c384df7ba0b8d578a4c702b6bf11d5fac"
    "00000000"
)
BLOCK_100000_COINBASE = (
    "01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff08044c86041b020602"
    "ffffffff0100f2052a010000004341041b0e8c2567c12536aa13357b79a073dc4444acb83c4ec7a0e2f99dd7457516c58172"
    "42da796924ca4e99947d087fedf9ce467cb9f7c6287078f801df276fdf84ac00000000"
)
BLOCK_100000_TRANSACTIONS = (
    "fff2525b8931402dd09222c50775608f75787bd2b87e56995a7bdd30f79702c4",
    "6359f0868171b1d194cbee1af2f16ea598ae8fad666d9b012c8ed2b79a236ec4",
    "e9a66845e05d5abc0ad04ec80f774a7e585c6e8db975962d069a522137b80c1d",
)

# version, previous, merkle root, time, bits, nonce -> id; all as explorers print them
BLOCKS = {
    "genesis": (
        1,
        "0" * 64,
        "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b",
        1231006505,
        "1d00ffff",
        2083236893,
        "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f",
    ),
    "1": (
        1,
        "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f",
        "0e3e2357e806b6cdb1f70b54c3a3a17b6714ee1f0e68bebb44a74b1efd512098",
        1231469665,
        "1d00ffff",
        2573394689,
        "00000000839a8e6886ab5951d76f411475428afc90947ee320161bbf18eb6048",
    ),
    "170": (
        1,
        "000000002a22cfee1f2c846adbd12b3e183d4f97683f85dad08a79780a84bd55",
        "7dac2c5666815c17a3b36427de37bb9d2e2c5ccec3f8633eb91a4205cb4c10ff",
        1231731025,
        "1d00ffff",
        1889418792,
        "00000000d1145790a8694403d4063f323d499e655c83426834d4ce2f8dd4a2ee",
    ),
    "100000": (
        1,
        "000000000002d01c1fccc21636b607dfd930d31d01c3a62104612a1719011250",
        "f3e94742aca4b5ef85488dc37c06c3282295ffec960994b2c0d5ac2a25a95766",
        1293623863,
        "1b04864c",
        274148111,
        "000000000003ba27aa200b1cecaad478d2b00432346c3f1f3986da1afd33e506",
    ),
    "125552": (
        1,
        "00000000000008a3a41b85b8b29ad444def299fee21793cd8b9e567eab02cd81",
        "2b12fcf1b09288fcaff797d71e950e71ae42b91e8bdb2304758dfcffc2b620e3",
        0x4DD7F5C7,
        "1a44b9f2",
        0x9546A142,
        "00000000000000001e8d6829a8a21adc5d38d0a473b144b6765798e61f98bd1d",
    ),
}


@pytest.mark.parametrize("height", BLOCKS)
def test_published_block_headers_hash_to_their_ids(height: str) -> None:
    version, previous, root, time_s, bits, nonce, block_id = BLOCKS[height]
    fields = HeaderFields(
        version=f"{version:08x}",
        prevhash=stratum_prevhash(previous),
        merkle_root=raw_root(root),
        ntime=f"{time_s:08x}",
        nbits=bits,
        nonce=f"{nonce:08x}",
    )
    header = headers.assemble_header(fields)
    assert display(header) == block_id
    assert headers.parse_header(header) == fields
    assert headers.header_hash(header) <= headers.target_from_nbits(bits)


def test_genesis_block_from_its_coinbase_as_a_stratum_job() -> None:
    *_, block_id = BLOCKS["genesis"]
    before, rest = GENESIS_COINBASE[:90], GENESIS_COINBASE[90:]
    job = Job("1", "0" * 64, before, rest[16:], (), "00000001", "1d00ffff", "495fab29", extranonce1=rest[:8])
    header = headers.build_header(job, Share("1", rest[8:16], "495fab29", "7c2bac1d"))
    assert display(header) == block_id
    assert header.hex().startswith(
        "01000000" + "00" * 32 + "3ba3edfd7a7b12b27ac72c3e67768f617fc81bc3888a5132"
    )
    assert headers.difficulty_of_hash(headers.header_hash(header)) == pytest.approx(2536.4, abs=0.1)


def test_block_100000_with_a_merkle_branch() -> None:
    version, previous, root, time_s, bits, nonce, block_id = BLOCKS["100000"]
    a, b, c = (bytes.fromhex(t)[::-1] for t in BLOCK_100000_TRANSACTIONS)
    right = hashlib.sha256(hashlib.sha256(b + c).digest()).digest()
    job = Job(
        job_id="x",
        prevhash=stratum_prevhash(previous),
        coinb1=BLOCK_100000_COINBASE[:84],
        coinb2=BLOCK_100000_COINBASE[100:],
        merkle_branch=(a.hex(), right.hex()),
        version=f"{version:08x}",
        nbits=bits,
        ntime=f"{time_s:08x}",
        extranonce1=BLOCK_100000_COINBASE[84:92],
        difficulty=14484.162361225399,  # of this block, as bitcoind prints it
    )
    share = Share("x", BLOCK_100000_COINBASE[92:100], job.ntime, f"{nonce:08x}")
    verified = headers.verify(job, share)
    assert display(verified.header) == block_id
    assert headers.parse_header(verified.header).merkle_root == raw_root(root)
    assert verified.meets_job
    assert headers.difficulty_from_target(headers.target_from_nbits(bits)) == 14484.162361225399


def test_block_839900_mined_by_a_bm1366_with_a_rolled_version() -> None:
    fields = HeaderFields(
        version="2a966000",
        prevhash="10439ba3ef4739860fb382d2abd355f7ee767c2400015d7e0000000000000000",
        merkle_root=raw_root("088083f58ddef995494fec492880da49e3463cc73dee1306dbdf6cf3af77454c"),
        ntime="66221bdf",
        nbits="17034219",
        nonce=f"{3529540887:08x}",
    )
    assert fields.nonce == "d2608517"
    header = headers.assemble_header(fields)
    assert display(header) == "000000000000000000023dfafae2b6e6b5ecf9d1365fafa075dec49625721f37"
    assert headers.difficulty_of_hash(headers.header_hash(header)) == pytest.approx(
        125538251293054, rel=1e-12
    )
    # what a share carries is job version xor rolled bits, inside the mask
    bits = 0x2A966000 ^ 0x20000000
    assert headers.rolled_version("20000000", f"{bits:08x}", headers.DEFAULT_VERSION_MASK) == 0x2A966000


# ---- a BM1366 chip on its serial line (hardware.md 1.11) ----

BM1366_JOB = bytes.fromhex(
    "55AA2156280100000000F8952419E016AF64F3C00910CBDAF23F0FFFDF3F7B42ACC98D70ED9BBFBA1B1D4474EDE0322885C7"
    "000000000C000000659049105857DDA2478A5E7CCCFE036FE8BE8EF8C25721D4000000203C3F"
)
BM1366_NONCES = [  # bytes after AA 55, share difficulty
    ("083928A9032B000396", 9.279),
    ("1A514EBE012800008A", 3.627),
    ("30701A0A0028000096", 1.168),
    ("4272D2DF0429000199", 27.003),
    ("56B35F2B0329000192", 15.730),
    ("4391701E002B00039F", 1.072),
]


def bm1366_fields() -> HeaderFields:
    """Header fields of the captured chip job: 32-byte fields by words from last to first, numbers LE."""
    merkle, prev = BM1366_JOB[18:50], BM1366_JOB[50:82]
    words = [merkle[i : i + 4] for i in range(0, 32, 4)]
    return HeaderFields(
        version=BM1366_JOB[82:86][::-1].hex(),
        prevhash=prev[::-1].hex(),
        merkle_root=b"".join(reversed(words)).hex(),
        ntime=BM1366_JOB[14:18][::-1].hex(),
        nbits=BM1366_JOB[10:14][::-1].hex(),
        nonce="00000000",
    )


def test_fields_of_the_bm1366_job() -> None:
    fields = bm1366_fields()
    assert (fields.version, fields.ntime, fields.nbits) == ("20000000", "64af16e0", "192495f8")
    header = headers.assemble_header(fields)
    prev_words = [BM1366_JOB[50:82][i : i + 4] for i in range(0, 32, 4)]
    assert header[4:36] == b"".join(reversed(prev_words))
    assert headers.parse_header(header) == fields


@pytest.mark.parametrize(("response", "difficulty"), BM1366_NONCES)
def test_nonces_of_a_real_bm1366_reach_their_difficulty(response: str, difficulty: float) -> None:
    raw = bytes.fromhex(response)
    rolled = headers.rolled_version(
        "20000000", f"{int.from_bytes(raw[6:8], 'big') << 13:08x}", headers.DEFAULT_VERSION_MASK
    )
    header = headers.assemble_header(
        replace(bm1366_fields(), nonce=raw[0:4][::-1].hex(), version=f"{rolled:08x}")
    )
    reached = headers.difficulty_of_hash(headers.header_hash(header))
    assert reached == pytest.approx(difficulty, abs=5e-4)
    assert math.floor(math.log2(reached)) == raw[4]  # the chip's own estimate, at ticket difficulty 1


# ---- the recorded S9 (statistics.md 7) ----


def read_shares(path: Path) -> list[tuple[Job, Share]]:
    with path.open(newline="") as file:
        return [
            (
                Job(
                    r["job_id"],
                    r["prevhash"],
                    r["coinb1"],
                    r["coinb2"],
                    tuple(json.loads(r["merkle_branch"])),
                    r["version"],
                    r["nbits"],
                    r["ntime"],
                    extranonce1=r["extranonce1"],
                    difficulty=256.0,
                ),
                Share(r["job_id"], r["extranonce2"], r["ntime"], r["nonce"]),
            )
            for r in csv.DictReader(file)
        ]


def test_first_recorded_share(excerpt: Path) -> None:
    job, share = read_shares(excerpt)[0]
    verified = headers.verify(job, share)
    assert display(verified.header) == "0000000000e43e7427b6b2c8bbab2dd63d7d54fde3a7dc296aa38298dfeac440"
    assert verified.header[:8].hex() == "0000002068c17d6c"
    assert verified.header[68:].hex() == "92736369ffff001dab46778b"
    assert verified.difficulty == pytest.approx(287.126985, abs=5e-7)


def test_every_share_of_the_excerpt_reaches_256(excerpt: Path) -> None:
    pairs = read_shares(excerpt)
    assert len(pairs) == 300
    assert all(headers.verify(job, share).meets_job for job, share in pairs)


def test_every_share_of_the_recording_verifies(traces: Path) -> None:
    verified = [headers.verify(*pair) for pair in read_shares(traces / "s9_stratum_shares.csv")]
    difficulties = [v.difficulty for v in verified]
    assert len(verified) == 2588
    assert sum(v.meets_job for v in verified) == 2588
    assert len({v.header for v in verified}) == 2546
    assert min(difficulties) == pytest.approx(256.2, abs=0.05)
    assert sum(d > 512 for d in difficulties) == 1304
    assert statistics.median(difficulties) == pytest.approx(515.92334, abs=5e-6)


def test_a_recorded_share_fails_when_any_field_is_changed(excerpt: Path) -> None:
    job, share = read_shares(excerpt)[0]
    flip = {"0": "1"}

    def changed(text: str) -> str:
        return flip.get(text[0], "0") + text[1:]

    for name in ("prevhash", "coinb1", "coinb2", "version", "nbits", "extranonce1"):
        wrong = replace(job, **{name: changed(getattr(job, name))})
        assert not headers.verify(wrong, share).meets_job, name
    for name in ("extranonce2", "ntime", "nonce"):
        wrong_share = replace(share, **{name: changed(getattr(share, name))})
        assert not headers.verify(job, wrong_share).meets_job, name
    assert not headers.verify(replace(job, merkle_branch=("00" * 32,)), share).meets_job


def test_scale_divides_the_difficulty_and_the_target(excerpt: Path) -> None:
    job, share = read_shares(excerpt)[0]
    scaled = headers.verify(replace(job, difficulty=287.0 * 2**20, scale=2.0**-20), share)
    assert scaled.difficulty == headers.verify(job, share).difficulty * 2**20
    assert scaled.meets_job
    assert not headers.verify(replace(job, difficulty=288.0 * 2**20, scale=2.0**-20), share).meets_job
    assert headers.verify(replace(job, difficulty=5e-324, scale=2.0**-20), share).meets_job


def test_a_hash_equal_to_the_target_is_a_share_and_one_above_is_none(
    excerpt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, share = read_shares(excerpt)[0]
    target = headers.target_from_difficulty(job.difficulty)
    for value, meets in ((target, True), (target + 1, False)):
        monkeypatch.setattr(headers, "header_hash", lambda header, value=value: value)
        assert headers.verify(job, share).meets_job is meets
