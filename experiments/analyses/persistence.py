"""What is left of a cause once it has ended: shares after a switch against shares long after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from firmware_bridge.errors import DeviceError

if TYPE_CHECKING:
    from firmware_bridge.timing.run_data import RunData

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class AfterSwitch:
    """Responses by their distance from the end of a cause.

    Attributes:
        by_lag: mean response in ms at each number of jobs after the switch, from 0, shape (lags,).
        early: responses soon after a switch, shape (m,).
        late: responses long after it, shape (k,).
    """

    by_lag: F64
    early: F64
    late: F64


def check_symbols(data: RunData, symbols: F64) -> None:
    """Jobs are numbered as the symbols are, from 1.

    Raises:
        DeviceError: if they are not, as where a second miner took jobs as well.
    """
    known = np.isfinite(data.symbol)
    numbers = data.job[known] - 1
    if (numbers >= symbols.size).any() or not np.allclose(
        data.symbol[known], symbols[numbers], rtol=0.0, atol=1e-9
    ):
        raise DeviceError(
            f"run {data.run_id}: its jobs do not carry the symbols in their order; did a second miner connect?"
        )


def after_switch(
    symbol: F64, response_ms: F64, *, limit: float, length: int, near: int
) -> AfterSwitch | None:
    """Gather the responses after each switch from a symbol above the limit to one below.

    The job at the switch itself is left out of ``early``: the share that called for it was found under the cause.

    Args:
        symbol: of each job, shape (n,).
        response_ms: of the first share of each job, nan where it got none.
        limit: between both.
        length: jobs of a half period.
        near: jobs that count as soon after the switch, and as many as long after it.

    Returns:
        None where there is no whole half period.
    """
    below = symbol < limit
    ends = np.flatnonzero(below[1:] & ~below[:-1]) + 1
    windows = [
        response_ms[end : end + length]
        for end in ends
        if end + length <= symbol.size and below[end : end + length].all()
    ]
    if not windows:
        return None
    gathered = np.array(windows)
    answered = np.isfinite(gathered)
    by_lag = np.divide(
        np.where(answered, gathered, 0.0).sum(axis=0),
        answered.sum(axis=0),
        out=np.full(length, np.nan),
        where=answered.any(axis=0),
    )
    early, late = gathered[:, 1 : 1 + near].ravel(), gathered[:, length - near :].ravel()
    return AfterSwitch(by_lag, early[np.isfinite(early)], late[np.isfinite(late)])


def half_life(by_lag: F64, level: float) -> int:
    """Jobs until the excess over a level is half of what it is one job after the switch; all where it stays."""
    excess = by_lag[1:] - level
    fallen = np.flatnonzero(excess <= excess[0] / 2)
    return int(fallen[0]) if fallen.size else excess.size
