"""Whether the bridge's own clock leaks the input: how long it took over each job, against what that job carried.

In a dialogue that is the turnaround, from the arrival of a share to the sending of the job that it called for; on a
clock how far the time between two jobs is from the period. Neither has passed the silicon, so neither may know the
input. The symbols that are looked at are those before any response is mixed in: a response may well move both.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from reservoir.steps import Steps

F64 = npt.NDArray[np.float64]
FEWEST = 20


@dataclass(frozen=True)
class BridgeClock:
    """The bridge's part in the timing of a run.

    Attributes:
        what: ``turnaround`` or ``lateness``.
        n: jobs that it is of.
        median_ns: of it.
        p99_ns: 99 % quantile.
        rho: rank correlation with the symbols; 0 where it or they do not vary.
        p: of a correlation as large by chance.
    """

    what: str
    n: int
    median_ns: float
    p99_ns: float
    rho: float
    p: float

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def bridge_clock(steps: Steps, base: F64, *, handshake: bool, period_s: float) -> BridgeClock | None:
    """The bridge's part in a run.

    Args:
        steps: of the run, T of V slots.
        base: symbols before the feedback, (T, V); more rows are not looked at.
        handshake: whether shares called for the jobs.
        period_s: of the clock otherwise.

    Returns:
        None for fewer than 20 jobs.
    """
    from scipy import stats

    sent, symbols = steps.sent_ns.ravel(), base[: len(steps)].ravel()
    if handshake:
        job = steps.step * steps.slots + steps.slot
        numbers, first = np.unique(job, return_index=True)
        answered = np.full(sent.size, -1)
        answered[numbers] = steps.time_ns[first]
        # a share that came when its job had been replaced called for nothing
        called = (answered[:-1] >= 0) & (answered[:-1] <= sent[1:])
        took = (sent[1:] - answered[:-1])[called].astype(np.float64)
        of = symbols[1:][called]
    else:
        took, of = np.diff(sent) - 1e9 * period_s, symbols[1:]
    if took.size < FEWEST:
        return None
    varied = np.ptp(took) > 0 and np.ptp(of) > 0
    found = stats.spearmanr(took, of) if varied else None
    return BridgeClock(
        what="turnaround" if handshake else "lateness",
        n=int(took.size),
        median_ns=float(np.median(took)),
        p99_ns=float(np.quantile(took, 0.99)),
        rho=0.0 if found is None else float(found.statistic),
        p=1.0 if found is None else float(found.pvalue),
    )
