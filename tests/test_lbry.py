"""LBRY's hash and header against published values."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge import headers, lbry
from firmware_bridge.ripemd160 import ripemd160

GENESIS = (
    (1).to_bytes(4, "little")
    + bytes(32)
    + bytes.fromhex("b8211c82c3d15bcd78bba57005b86fed515149a53a425eb592c07af99fe559cc")[::-1]
    + (1).to_bytes(32, "little")
    + (1446058291).to_bytes(4, "little")
    + bytes.fromhex("1f00ffff")[::-1]
    + (1287).to_bytes(4, "little")
)
GENESIS_ID = "9c89283ba0f3227f6c03b70216b9f665f0118d5e0fa729cedf4fb34d6a34f463"
GENESIS_PROOF = "0000fc6eb50fdb1fc4489a322b5f881740441b9a59f3290bad53c3815dc3afab"


def test_the_genesis_block_has_its_published_id_and_proof_of_work() -> None:
    assert headers.sha256d(GENESIS)[::-1].hex() == GENESIS_ID
    assert f"{lbry.proof_of_header(GENESIS):064x}" == GENESIS_PROOF
    assert lbry.proof_of_header(GENESIS) <= headers.target_from_nbits("1f00ffff")


@pytest.mark.parametrize(
    ("message", "digest"),
    [  # the designers' own vectors
        ("", "9c1185a5c5e9fc54612808977ee8f548b2258d31"),
        ("a", "0bdc9d2d256b3ee9daae347be6f4dc835a467ffe"),
        ("abc", "8eb208f7e05d987a9b044a8e98c6b087f15a0bfc"),
        ("message digest", "5d0689ef49d2fae572b881b123a85ffa21595f36"),
        ("abcdefghijklmnopqrstuvwxyz", "f71c27109c692c1b56bbdceb5b9d2865b3708dbc"),
        ("1234567890" * 8, "9b752e45573d4b39f4dbd3323cab82bf63326bfb"),
    ],
)
def test_our_ripemd160_gives_the_published_digests(message: str, digest: str) -> None:
    assert ripemd160(message.encode()).hex() == digest


@given(st.binary(max_size=200))
def test_our_ripemd160_agrees_with_openssl_where_that_has_it(data: bytes) -> None:
    try:
        expected = hashlib.new("ripemd160", data).digest()
    except ValueError:
        pytest.skip("this OpenSSL has no RIPEMD-160")
    assert ripemd160(data) == expected


def test_an_openssl_without_ripemd160_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(name: str, *data: bytes, **options: bool) -> None:
        raise ValueError(f"unsupported hash type {name}")

    monkeypatch.setattr(hashlib, "new", refused)
    assert lbry._ripemd160() is ripemd160
    monkeypatch.setattr(lbry, "ripemd160", ripemd160)
    assert f"{lbry.proof_of_header(GENESIS):064x}" == GENESIS_PROOF


def test_a_header_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="112 bytes, not 80"):
        lbry.proof_of_header(bytes(80))


def test_the_fields_of_the_genesis_header_are_read_and_put_together_again() -> None:
    fields = headers.parse_header(GENESIS)
    assert (fields.version, fields.ntime, fields.nbits, fields.nonce) == (
        "00000001",
        f"{1446058291:08x}",
        "1f00ffff",
        f"{1287:08x}",
    )
    assert fields.claimtrie == "00000001" + "00" * 28  # words swapped, as in mining.notify
    assert bytes.fromhex(fields.merkle_root)[::-1].hex().startswith("b8211c82")
    assert headers.assemble_header(fields) == GENESIS


def job(**fields: object) -> headers.Job:
    known: dict[str, object] = {
        "job_id": "1", "prevhash": "11" * 32, "coinb1": "01", "coinb2": "02", "merkle_branch": ("33" * 32,),
        "version": "00000001", "nbits": "1f00ffff", "ntime": "5631b2b3", "extranonce1": "aabb",
        "claimtrie": "00112233" * 8,
    }  # fmt: skip
    return headers.Job(**{**known, **fields})  # type: ignore[arg-type]


def test_a_share_is_verified_with_the_112_byte_header_and_the_easier_unit() -> None:
    share = headers.Share("1", "00000000", "5631b2b3", "00000507")
    verified = headers.verify(job(difficulty=1e-9), share)
    assert len(verified.header) == 112
    # the claim trie root is swapped word by word, as prevhash is
    assert verified.header[68:100] == bytes.fromhex("33221100") * 8
    assert verified.hash_value == lbry.proof_of_header(verified.header)
    assert verified.difficulty == pytest.approx((0xFFFF << 208) * 256 / verified.hash_value)
    assert headers.verify(job(difficulty=verified.difficulty * 0.999), share).meets_job
    assert not headers.verify(job(difficulty=verified.difficulty * 1.001), share).meets_job
    assert headers.target_of_job(job(difficulty=256.0)) == headers.DIFFICULTY_1_TARGET


@pytest.mark.parametrize(
    ("agent", "lbry_miner"),
    [("icbtminer/1.0", True), ("LB-Box", True), ("bmminer/2.0.0", False), (None, False)],
)
def test_miners_of_lbry_are_known_by_their_agent(agent: str | None, lbry_miner: bool) -> None:
    assert lbry.mines_lbry(agent) is lbry_miner
