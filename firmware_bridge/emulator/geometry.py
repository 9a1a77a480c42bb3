"""Where in a chip's scan a moment lies, and which nonces it tries there: numba kernels for S9 and LV06.

Two coordinates. *Hashing time* is ms since a job's work 0 started, dead time included; *work-time* leaves out the pause
after the first works of an S9. The engine draws shares in work-time; these kernels turn a work-time into the position
in the scan (:func:`locate`), the coinbase and the nonce words that the hardware tries there (:func:`cell_words`).

S9 (``statistics.md`` §1.2, ``hardware.md`` §2): three boards take works in turn, each work has its own extranonce2;
63 chips of 114 cores scan one 19-bit counter in lockstep, cut off by the work time-out. The nonce word is
chip << 26 | counter << 7 | core, core codes 0..56 and 64..120.

LV06 (``hardware.md`` §1.4, §1.9): one BM1366, 112 cores of 8 small cores, 894 of the 896 working; the small cores of a
core try 8 versions side by side, a batch of 8 versions lasts HCN ticks of 80 ns, and every 2 s the host sends a job
with the next extranonce2. The nonce word is core << 25 | counter.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from firmware_bridge.sha256d import byteswap32

S9 = 0
LV06 = 1

S9_CHIPS = 63
S9_CORES = 114
S9_COUNTER_MAX = 470_453
"""Largest scan counter in the recording: the work time-out cuts 2^19 at 89.7 %."""
S9_BOARDS = 3
S9_WORK_MS = 0.23273
"""One work of any board; measured slope of first-share time on extranonce2."""

LV06_SMALL_CORES = 894
LV06_CORES = 112
LV06_MHZ = 485.0
LV06_BATCH_MS = 0x000D3224 * 80e-6
"""HCN ticks of 80 ns at 485 MHz, the time of one batch of 8 versions."""
LV06_JOB_MS = 2000.0
LV06_COUNTER_MAX = (1 << 25) - 1

S9_CELLS = S9_CHIPS * S9_CORES
CELLS = (S9_CELLS, LV06_SMALL_CORES)
GROUPS = (S9_CHIPS, LV06_CORES)
"""Parts of the silicon that can differ from device to device: see :func:`group_of`."""
COUNTERS = (S9_COUNTER_MAX + 1, LV06_COUNTER_MAX + 1)
HASHES_PER_MS = (
    S9_CELLS * (S9_COUNTER_MAX + 1) / S9_WORK_MS,
    LV06_SMALL_CORES * LV06_MHZ * 1e3,
)
"""Capacity of each model in hashes/ms: 14.52 TH/s and 433.6 GH/s."""

EXTRANONCE2, COUNTER, BATCH, WHOLE = 0, 1, 2, 3
"""Columns of a position: extranonce2, scan counter, batch of 8 versions (LV06), whether hardware hashes there."""


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def locate(model: int, work_ms: float, pace: float, board_draw: float, at: npt.NDArray[np.int64]) -> None:
    """Position in the scan at a work-time.

    Args:
        model: ``S9`` or ``LV06``.
        work_ms: work-time since work 0 of the job.
        pace: hash rate over the model's own; a slower chip takes longer for each step.
        board_draw: uniform in [0, 1): which of an S9's boards.
        at: receives extranonce2, counter, batch and 1, or 0 in the last place where nothing hashes yet.
    """
    at[3] = 1
    if model == S9:
        works = work_ms * pace / S9_WORK_MS
        newest = int(works)
        board = int(board_draw * S9_BOARDS)
        work = newest - (newest - board) % S9_BOARDS
        if work < 0:
            at[3] = 0
            return
        at[0] = work
        at[1] = min(int((works - work) / S9_BOARDS * (S9_COUNTER_MAX + 1)), S9_COUNTER_MAX)
        at[2] = 0
        return
    at[0] = int(work_ms / LV06_JOB_MS)
    within = (work_ms - at[0] * LV06_JOB_MS) * pace / LV06_BATCH_MS
    at[2] = int(within)
    at[1] = min(int((within - at[2]) * (LV06_COUNTER_MAX + 1)), LV06_COUNTER_MAX)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def scan_time(model: int, pace: float, at: npt.NDArray[np.int64]) -> float:
    """Work-time in ms at which the hardware tries a position: the inverse of :func:`locate`."""
    if model == S9:
        return float((at[0] + S9_BOARDS * (at[1] + 0.5) / (S9_COUNTER_MAX + 1)) * S9_WORK_MS / pace)
    return float(
        at[0] * LV06_JOB_MS + (at[2] + (at[1] + 0.5) / (LV06_COUNTER_MAX + 1)) * LV06_BATCH_MS / pace
    )


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def advance(model: int, at: npt.NDArray[np.int64]) -> None:
    """Next counter; behind the last one the same board's next work (S9) or the next batch (LV06)."""
    at[1] += 1
    if model == S9:
        if at[1] > S9_COUNTER_MAX:
            at[1] = 0
            at[0] += S9_BOARDS
    elif at[1] > LV06_COUNTER_MAX:
        at[1] = 0
        at[2] += 1


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def cell_word(model: int, counter: int, cell: int) -> np.uint32:
    """Nonce word that a cell (chip and core, or small core and core) tries at a counter."""
    if model == S9:
        chip = cell // S9_CORES
        core = cell - chip * S9_CORES
        if core >= 57:
            core += 7
        return np.uint32((chip << 26) | (counter << 7) | core)
    return np.uint32(((cell % LV06_CORES) << 25) | counter)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def cell_version(model: int, batch: int, cell: int) -> int:
    """Which of the 65,536 rolled versions a cell works on; 0 on an S9."""
    if model == S9:
        return 0
    return int((batch * 8 + cell // LV06_CORES) & 0xFFFF)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def group_of(model: int, nonce: int) -> int:
    """Which part of the silicon found a nonce, the number on the wire: chip of an S9, core of the LV06's one chip."""
    word = byteswap32(np.uint32(nonce))
    return int(word >> np.uint32(26 if model == S9 else 25))


def decode_s9(nonce: npt.NDArray[np.uint32]) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """Chip, core code and counter of nonces as submitted by an S9."""
    word = nonce.astype(np.uint32).byteswap()
    return word >> 26, word & 127, (word >> 7) & 0x7FFFF
