"""Synthetic pool work: well-formed jobs that belong to no network, each unique, some fields carrying a symbol."""

from __future__ import annotations

import numpy as np

from firmware_bridge.headers import Job, prevhash_symbol
from firmware_bridge.stratum.config import BridgeConfig
from firmware_bridge.stratum.dispatch import JobSymbol
from firmware_bridge.stratum.wire import EXTRANONCE2_SIZE

_HEIGHT_PUSH = bytes.fromhex("03a0d00c")  # BIP34: height 839,840, any would do
_SEQUENCE_AND_OUTPUTS = (
    bytes.fromhex("ffffffff01")
    + (312_500_000).to_bytes(8, "little")
    + bytes.fromhex("0f6a0d")
    + b"asiclab bench"
    + bytes(4)
)


def _push(data: bytes) -> bytes:
    return bytes((len(data),)) + data


class JobFactory:
    """Makes jobs; prevhash, a tag in the coinbase and branches are random, ids count up over the whole bridge.

    Args:
        config: base version, nBits, clean flag, number of branches.
        rng: where chance comes from.
    """

    def __init__(self, config: BridgeConfig, rng: np.random.Generator) -> None:
        self._config = config
        self._rng = rng
        self._base_version = int(config.base_version, 16)
        self._made = 0
        self._extranonce1 = int(rng.integers(1 << 32))

    def extranonce1(self) -> str:
        """A 4-byte extranonce1 that no other connection of this bridge has."""
        self._extranonce1 = (self._extranonce1 + 1) & 0xFFFFFFFF
        return f"{self._extranonce1:08x}"

    def make(
        self,
        *,
        extranonce1: str,
        difficulty: float,
        scale: float,
        version_mask: int,
        wall_ns: int,
        symbol: JobSymbol | None = None,
        label: bool = False,
        clean: bool | None = None,
        lbry: bool = False,
    ) -> Job:
        """A new job.

        Args:
            extranonce1: hex, of the miner that gets the job.
            difficulty: nominal share difficulty.
            scale: verified difficulty is ``difficulty * scale``.
            version_mask: bits that the miner rolls.
            wall_ns: now; the job's ntime unless the symbol has one.
            symbol: what the job carries; its extranonce1 and difficulty are expected in the arguments already.
            label: where there is no symbol, record the job's own random prevhash as one.
            clean: the clean flag; that of the configuration if None.
            lbry: whether it is for LBRY, with a random claim trie root.
        """
        self._made += 1
        labelled = label and symbol is None
        tag = self._rng.bytes(8)
        symbol = symbol or JobSymbol()
        script = _HEIGHT_PUSH + _push(tag) + (_push(symbol.coinbase) if symbol.coinbase else b"")
        extranonce_bytes = len(extranonce1) // 2 + EXTRANONCE2_SIZE
        script_bytes = len(script) + 1 + extranonce_bytes
        coinb1 = (
            bytes.fromhex("0100000001")
            + bytes(32)
            + bytes.fromhex("ffffffff")
            + bytes((script_bytes,))
            + script
            + bytes((extranonce_bytes,))
        )
        ntime = wall_ns // 1_000_000_000 if symbol.ntime is None else symbol.ntime
        prevhash = self._rng.bytes(32).hex()
        if symbol.prevhash is not None:
            prevhash = symbol.prevhash + prevhash[len(symbol.prevhash) :]
        return Job(
            job_id=f"{self._made:x}",
            prevhash=prevhash,
            coinb1=coinb1.hex(),
            coinb2=_SEQUENCE_AND_OUTPUTS.hex(),
            merkle_branch=tuple(self._rng.bytes(32).hex() for _ in range(self._config.merkle_branches)),
            version=f"{self._base_version | (symbol.version_bits or 0):08x}",
            nbits=self._config.nbits,
            ntime=f"{ntime & 0xFFFFFFFF:08x}",
            extranonce1=extranonce1,
            extranonce2_size=EXTRANONCE2_SIZE,
            clean=self._config.clean if clean is None else clean,
            difficulty=difficulty,
            scale=scale,
            version_mask=version_mask,
            symbol=prevhash_symbol(prevhash) if labelled else symbol.value,
            symbol_fields={"prevhash": prevhash[:8]} if labelled else symbol.fields(),
            claimtrie=self._rng.bytes(32).hex() if lbry else None,
        )
