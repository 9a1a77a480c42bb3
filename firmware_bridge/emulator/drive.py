"""Input symbols that drive an emulated run: which job carries which symbol, in which field, and what it is fed back.

A driven run has one job per symbol. In the single-word handshake the next symbol may take in how long the last share
took (``feedback``), as in the paper's dialogue; on a period nothing that the miner does can move a symbol.

Clock and core voltage are no fields of a job: a programme holds one setting per symbol, from the moment at which the
miner loads the job. A duty cycle spreads a symbol over the jobs of a step: the first of them are worked on, the others
are so difficult that practically nothing comes back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from firmware_bridge.errors import UserError

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
U32 = npt.NDArray[np.uint32]

FIELDS = (
    "prevhash", "coinbase", "extranonce1", "version_bits", "ntime", "difficulty", "frequency", "voltage", "duty",
)  # fmt: skip
"""Where a symbol may go; numbers of the kernel are positions here."""
PREVHASH, COINBASE, EXTRANONCE1, VERSION_BITS, NTIME, DIFFICULTY, FREQUENCY, VOLTAGE, DUTY = range(
    len(FIELDS)
)
SETTINGS = {"frequency": "frequency_mhz", "voltage": "core_voltage_mv"}
"""Fields that are settings of the device, and what a step of the programme calls them."""
ON_A_PERIOD = (*SETTINGS, "duty")
"""Fields that no share can move: the device takes them on a clock."""
IDLE = 2.0**40
"""An idle job is so many times as difficult as one that is worked on."""
UNDRIVEN = -1

LEVELS = 256
"""Difficulties that a symbol chooses from: their targets are exact, a continuum in a kernel would not be."""
NTIME_SPAN = 4096
VERSION_SPAN = 1 << 13
"""Version bits below those that miners roll."""
RESPONSE_SCALE_NS = 1e9
"""Response at which the fed back number is one half."""


@dataclass(frozen=True)
class Drive:
    """What the jobs of a run carry.

    Attributes:
        symbols: one per job, in [0, 1), before the feedback.
        field: one of ``FIELDS``.
        feedback: g of ``(1 - g) s + g r / (r + 1 s)``, where r is the response of the share that called for the job; 0
            before the first.
        low: smallest difficulty that a symbol stands for, or that of the jobs that are worked on; None: the run's own.
        high: the largest; None: eight times the smallest.
        slots: jobs of a step, over which ``duty`` spreads a symbol.
    """

    symbols: tuple[float, ...] = field(repr=False)
    field: str = "coinbase"
    feedback: float = 0.0
    low: float | None = None
    high: float | None = None
    slots: int = 1

    def check(self, mode: str) -> None:
        """Refuse what cannot be sent.

        Raises:
            UserError: naming what is wrong.
        """
        if self.field not in FIELDS:
            raise UserError(f"a symbol goes into one of {', '.join(FIELDS)}, not {self.field!r}")
        values = np.asarray(self.symbols, dtype=np.float64)
        if values.size < 1 or not np.all((values >= 0.0) & (values < 1.0)):
            raise UserError("the symbols of a run are numbers in [0, 1), at least one of them")
        if not 0.0 <= self.feedback < 1.0:
            raise UserError(f"the feedback lies in [0, 1), not {self.feedback!r}")
        if self.feedback and mode != "swh":
            raise UserError("only the handshake (mode swh) can answer a response; leave the feedback at 0")
        if self.field in ON_A_PERIOD and mode == "swh":
            what = "a duty cycle" if self.field == "duty" else f"a {self.field}"
            raise UserError(f"{what} is changed on a period, not by the next share: take mode stream")
        if self.slots < 1 or (self.field == "duty" and self.slots < 2):
            raise UserError(f"a duty cycle has 2 slots or more per step, not {self.slots}")

    @property
    def code(self) -> int:
        """Number of the field in the kernel."""
        return FIELDS.index(self.field)

    def difficulties(self, floor: float, *, whole: bool) -> F64:
        """Nominal difficulty of each level, ascending: shape (levels,); one level where no job differs from another.

        Raises:
            UserError: if the two ends do not make a range.
        """
        if self.field not in ("difficulty", "duty"):
            return np.array([floor])
        low = floor if self.low is None else self.low
        if self.field == "duty":
            if not floor <= low:
                raise UserError(f"this miner works from difficulty {floor:g} on, not at {low:g}")
            return np.array([low, low * IDLE])
        high = 8.0 * low if self.high is None else self.high
        if not floor <= low < high < math.inf:
            raise UserError(
                f"difficulties from {low:g} to {high:g}: they ascend, and begin at {floor:g} or above"
            )
        levels = low * (high / low) ** ((np.arange(LEVELS) + 0.5) / LEVELS)
        return np.round(levels) if whole else levels

    def working(self) -> npt.NDArray[np.bool_]:
        """Whether each job is worked on: the first ``round(s V)`` of the V slots of a step; shape (jobs,)."""
        if self.field != "duty":
            return np.ones(len(self.symbols), dtype=np.bool_)
        slot = np.arange(len(self.symbols)) % self.slots
        return np.asarray(slot < np.floor(np.array(self.symbols) * self.slots + 0.5))

    def to_json(self) -> dict[str, Any]:
        """Plain data, without the symbols themselves: the jobs of the run hold those."""
        return {
            "field": self.field,
            "feedback": self.feedback,
            "low": self.low,
            "high": self.high,
            "slots": self.slots,
            "jobs": len(self.symbols),
        }


def sent_fields(
    kind: int, job_bytes: U8, extranonce1: U8, version: int, ntime: int, difficulty: float
) -> str:
    """The field that carries the symbol of one job, as the trace keeps it (JSON)."""
    if kind in (UNDRIVEN, PREVHASH):
        return f'{{"prevhash": "{job_bytes[:4].tobytes().hex()}"}}'
    if kind == COINBASE:
        return f'{{"coinbase": "{job_bytes[32:36].tobytes().hex()}"}}'
    if kind == EXTRANONCE1:
        return f'{{"extranonce1": "{extranonce1.tobytes().hex()}"}}'
    if kind == VERSION_BITS:
        return f'{{"version_bits": "{version & (VERSION_SPAN - 1):08x}"}}'
    if kind == NTIME:
        return f'{{"ntime": "{ntime:08x}"}}'
    if kind in (DIFFICULTY, DUTY):
        return f'{{"difficulty": {difficulty!r}}}'
    return "{}"  # clock and voltage are settings of the device, kept among those


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def mixed(base: float, response_ns: float, feedback: float) -> float:
    """The symbol that goes out, from the one that is due and the last response."""
    if feedback == 0.0:
        return base
    return (1.0 - feedback) * base + feedback * (response_ns / (response_ns + RESPONSE_SCALE_NS))


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def put(
    kind: int,
    symbol: float,
    job: int,
    job_bytes: U8,
    extranonce1: U8,
    versions: U32,
    ntimes: U32,
    levels: I64,
    n_levels: int,
) -> None:
    """Write the symbol of a job into its field."""
    word = np.int64(symbol * 4294967296.0)
    if kind in (PREVHASH, COINBASE):
        at = 0 if kind == PREVHASH else 32
        for i in range(4):
            job_bytes[job, at + i] = (word >> (24 - 8 * i)) & 0xFF
    elif kind == EXTRANONCE1:
        for i in range(4):
            extranonce1[job, i] = (word >> (24 - 8 * i)) & 0xFF
    elif kind == VERSION_BITS:
        versions[job] = versions[job] | np.uint32(np.int64(symbol * VERSION_SPAN))
    elif kind == NTIME:
        # counted from a multiple of the span, so that it can be read back without knowing the time
        begun = np.int64(ntimes[job]) // NTIME_SPAN * NTIME_SPAN
        ntimes[job] = np.uint32(begun + np.int64(symbol * NTIME_SPAN))
    elif kind == DIFFICULTY:
        levels[job] = np.int64(symbol * n_levels)
