"""LBRY's proof of work: a 112-byte header and the LBC hash (``hardware.md`` §5.2). Pure.

The block's id is SHA-256d of its header; its proof of work goes on from there through SHA-512 and two RIPEMD-160.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from firmware_bridge.ripemd160 import ripemd160 as _slow_ripemd160

HEADER_BYTES = 112
DIFFICULTY_UNIT = 256
"""A difficulty of 1 asks for 256 times less work than Bitcoin's: target = difficulty-1 target * 256 / difficulty."""
HASHES_PER_DIFFICULTY = 2**32 // DIFFICULTY_UNIT

AGENTS = ("icbtminer", "lb-box", "lbbox", "lbry")
"""What the user agents of miners that hash LBRY contain: the Goldshell LB1's host program names itself icbtminer."""

_sha256, _sha512 = hashlib.sha256, hashlib.sha512


def _fast_ripemd160(data: bytes) -> bytes:
    return hashlib.new("ripemd160", data, usedforsecurity=False).digest()


def _ripemd160() -> Callable[[bytes], bytes]:
    """OpenSSL's where it still offers it, else ours in Python: slower, the same bytes."""
    try:
        _fast_ripemd160(b"")
    except ValueError:
        return _slow_ripemd160
    return _fast_ripemd160


ripemd160 = _ripemd160()


def proof_of_work(block_id: bytes) -> bytes:
    """The digest that is held against the target, little-endian, from the SHA-256d of a header."""
    wide = _sha512(block_id).digest()
    narrow = ripemd160(wide[:32]) + ripemd160(wide[32:])
    return _sha256(_sha256(narrow).digest()).digest()


def proof_of_header(header: bytes) -> int:
    """Proof of work of a 112-byte header as a number.

    Raises:
        ValueError: if it has another length.
    """
    if len(header) != HEADER_BYTES:
        raise ValueError(f"an LBRY header has {HEADER_BYTES} bytes, not {len(header)}")
    return int.from_bytes(proof_of_work(_sha256(_sha256(header).digest()).digest()), "little")


def mines_lbry(agent: str | None) -> bool:
    """Whether a user agent is that of a miner that hashes LBRY."""
    text = (agent or "").lower().replace(" ", "")
    return any(part in text for part in AGENTS)
