"""What the jobs of a stored run carried, where an experiment sent it: its input is read back from the trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from experiments.subjects import Recorded

F64 = npt.NDArray[np.float64]

AFTER = 2
"""Jobs that may follow the last symbol, until the run has ended."""
NEAR = 1e-9
"""How exactly a trace keeps a symbol."""


def symbols_sent(recorded: Recorded) -> F64:
    """Symbols of the jobs in the order in which they were sent, nan where a job carried none; shape (jobs,)."""
    from firmware_bridge.trace.reader import TraceReader

    reader = TraceReader(recorded.db)
    table = reader.columns(reader.resolve(recorded.run), "jobs", ("job", "symbol"))
    symbols = np.where(table.null["symbol"], np.nan, table.values["symbol"])
    return np.asarray(symbols[np.argsort(table.values["job"], kind="stable")], np.float64)


def so_many_are(sent: F64, wanted: F64) -> int:
    """How many symbols are the wanted ones, from the first on; 0 where more than the last ones are others.

    Args:
        sent: see :func:`symbols_sent`, shape (n,).
        wanted: shape (n,).
    """
    alike = np.abs(sent - wanted) <= NEAR
    n = int(alike.size if alike.all() else alike.argmin())
    return n if n >= sent.size - AFTER else 0


def task_of_run(recorded: Recorded) -> dict[str, Any]:
    """What a driven run says of its input: task, mode, seed, steps.

    Raises:
        UserError: if nobody drove it, or no job of it carried the input.
    """
    from firmware_bridge.trace.reader import TraceReader
    from reservoir.encoding import ON_A_PERIOD

    reader = TraceReader(recorded.db)
    told = reader.run(reader.resolve(recorded.run))["config"].get("narma")
    if told is None:
        raise UserError(
            f"nobody drove run {recorded.run}: it has no task; asiclab narma --task NAME drives one"
        )
    field = told["encoding"]["field"]
    if field in ON_A_PERIOD:
        raise UserError(
            f"the {field} carried the input of run {recorded.run}, which is printed into its timing that way"
        )
    return dict(told)
