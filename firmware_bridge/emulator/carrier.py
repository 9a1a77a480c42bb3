"""Where the symbol of a job stands, as an emulated miner reads it that planted effects make depend on it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from firmware_bridge.errors import UserError
from firmware_bridge.headers import Job, prevhash_symbol

FIELDS = ("prevhash", "coinbase", "extranonce1", "version_bits", "ntime", "difficulty")
NTIME_SPAN = 4096
VERSION_SPAN = 1 << 13
NO_SYMBOL = 0.5
"""What a job without a symbol counts as: the mean of symbols that are uniform in [0, 1)."""


@dataclass(frozen=True)
class Carrier:
    """The job field that carries the symbols, in the resolution that it has.

    Attributes:
        field: one of ``FIELDS``; every synthetic job has a random prevhash, so that there is a symbol in any case.
        low: difficulty that stands for 0.
        high: difficulty that stands for 1.
    """

    field: str = "prevhash"
    low: float = 256.0
    high: float = 1024.0

    def __post_init__(self) -> None:
        if self.field not in FIELDS:
            raise UserError(f"a symbol stands in one of {', '.join(FIELDS)}, not in {self.field!r}")
        if not 0.0 < self.low < self.high < math.inf:
            raise UserError(f"difficulties range from low to high, not from {self.low!r} to {self.high!r}")

    @classmethod
    def parse(cls, text: str) -> Carrier:
        """``FIELD``, or ``difficulty:LOW:HIGH``.

        Raises:
            UserError: if it is neither.
        """
        field, *ends = text.split(":")
        try:
            bounds = tuple(map(float, ends))
        except ValueError:
            bounds = ()
        if len(bounds) != len(ends) or (ends and (field != "difficulty" or len(ends) != 2)):
            raise UserError(
                f"write where a symbol stands as one of {', '.join(FIELDS)} or difficulty:LOW:HIGH, not {text!r}"
            )
        return cls(field, *bounds)

    def __str__(self) -> str:
        """As :meth:`parse` reads it."""
        return f"{self.field}:{self.low!r}:{self.high!r}" if self.field == "difficulty" else self.field

    def read(self, job: Job) -> float:
        """The symbol of a job, in [0, 1)."""
        match self.field:
            case "coinbase":
                # coinb1 ends with the push of the symbol's 4 bytes and the length of the extranonces' push
                script = bytes.fromhex(job.coinb1)
                return (
                    int.from_bytes(script[-5:-1], "big") / 2.0**32 if script[-6:-5] == b"\x04" else NO_SYMBOL
                )
            case "extranonce1":
                return int(job.extranonce1[:8].ljust(8, "0"), 16) / 2.0**32
            case "version_bits":
                return int(job.version, 16) % VERSION_SPAN / VERSION_SPAN
            case "ntime":
                return int(job.ntime, 16) % NTIME_SPAN / NTIME_SPAN
            case "difficulty":
                s = math.log(job.difficulty / self.low) / math.log(self.high / self.low)
                return min(max(s, 0.0), math.nextafter(1.0, 0.0))
            case _:
                return prevhash_symbol(job.prevhash)
