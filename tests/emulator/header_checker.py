"""An independent check of a share, with nothing but hashlib: what the tests hold the emulators against."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any


def double(data: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def header_of(job: Mapping[str, Any], extranonce2: str, ntime: str, nonce: str, version: int) -> bytes:
    """80-byte header from the hex fields of a job and a share."""
    root = double(bytes.fromhex(job["coinb1"] + job["extranonce1"] + extranonce2 + job["coinb2"]))
    for branch in job["merkle_branch"]:
        root = double(root + bytes.fromhex(branch))
    prevhash = job["prevhash"]
    words = [prevhash[i : i + 8] for i in range(0, 64, 8)]
    return (
        version.to_bytes(4, "little")
        + b"".join(bytes.fromhex(w)[::-1] for w in words)
        + root
        + int(ntime, 16).to_bytes(4, "little")
        + int(job["nbits"], 16).to_bytes(4, "little")
        + int(nonce, 16).to_bytes(4, "little")
    )


def difficulty_of(
    job: Mapping[str, Any], extranonce2: str, ntime: str, nonce: str, version_bits: str | None
) -> float:
    """Difficulty of a share as any pool counts it (no scale)."""
    version = int(job["version"], 16)
    if version_bits is not None:
        bits = int(version_bits, 16)
        assert bits & ~0x1FFFE000 == 0
        version = (version & ~0x1FFFE000) | bits
    header = header_of(job, extranonce2, ntime, nonce, version)
    assert len(header) == 80
    return (0xFFFF << 208) / int.from_bytes(double(header), "little")


def job_of_notify(params: Sequence[Any], extranonce1: str) -> dict[str, Any]:
    names = ("job_id", "prevhash", "coinb1", "coinb2", "merkle_branch", "version", "nbits", "ntime", "clean")
    return {**dict(zip(names, params, strict=True)), "extranonce1": extranonce1}


def swap32(nonce: int) -> int:
    return int.from_bytes(nonce.to_bytes(4, "little"), "big")
