"""A Stratum miner for LBRY that shares no code with the lab, written from the protocol alone."""

from __future__ import annotations

import hashlib
import struct
from fractions import Fraction
from typing import Any

from tests.independent_miner import Found, Miner, Work


def double(data: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def ripemd(data: bytes) -> bytes:
    return hashlib.new("ripemd160", data).digest()


class LbryMiner(Miner):
    """As an LB1's host program: subscribe, authorize, nothing else; counts extranonce2 big-endian."""

    def _mine_one_extranonce2(self, work: Work, end: float, shares: int | None) -> None:
        job_id, prevhash, claimtrie, coinb1, coinb2, branches, version, nbits, ntime, _clean = work.params
        extranonce2 = self.extranonce2.to_bytes(self.extranonce2_size, "big").hex()
        self.extranonce2 += 1
        root = double(bytes.fromhex(coinb1 + self.extranonce1 + extranonce2 + coinb2))
        for branch in branches:
            root = double(root + bytes.fromhex(branch))
        swapped = [
            b"".join(struct.pack("<I", int(text[at : at + 8], 16)) for at in range(0, 64, 8))
            for text in (prevhash, claimtrie)
        ]
        header = struct.pack("<I", int(version, 16)) + swapped[0] + root + swapped[1]
        header += struct.pack("<II", int(ntime, 16), int(nbits, 16))
        target = int(Fraction((0xFFFF << 208) * 256) / Fraction(work.difficulty))
        for nonce in range(6000):
            if nonce % 1000 == 0 and (self._listen(0) or (shares is not None and len(self.found) >= shares)):
                return
            wide = hashlib.sha512(double(header + struct.pack("<I", nonce))).digest()
            value = int.from_bytes(double(ripemd(wide[:32]) + ripemd(wide[32:])), "little")
            self.hashes += 1
            if value <= target:
                params: list[Any] = [self.user, job_id, extranonce2, ntime, f"{nonce:08x}"]
                share = Found(params, value, work.difficulty)
                self.found.append(share)
                self._waiting[self._send("mining.submit", params)] = share
