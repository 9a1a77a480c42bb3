"""How a miner gets from one job to the next: the states described in :mod:`physics`, one step per event (numba).

Both time bases drive the same steps. The state is a vector of float64, times in ms since the run began, ``NEVER`` where
an event is not due:

* a *pass* is the time from which a job's works run; it ends at ``STOP``. Work-time x of the job is reached at
  ``BEGIN`` + x, plus ``PAUSE`` once x is beyond the first works;
* ``RETRY`` is when a load begins, ``LOAD_END`` when its pass begins, ``RESTART`` when the previous job is started anew;
* ``LOADED`` and ``NEWEST`` are numbers of jobs, -1 for none; ``PASS`` counts passes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from firmware_bridge.emulator.physics import PARAMETERS

F64 = npt.NDArray[np.float64]

NEVER = 1e300

(
    DEAD_TIME, LATE_LOADS, DUPLICATES, DELAY, LOAD, LOAD_JITTER, REFILL, REFILL_WORKS,
    FIRST_WORKS, STOP_AT_ONCE, STOP_SPREAD, PICKUP, BUSY, BUSY_SD, LATE, LATE_SD,
    STALE_STOP, STALE_START, STALE_HALT, RELOAD_AT_ONCE, POLL, NETWORK, TURNAROUND, TURNAROUND_SD,
    ROUND_TRIP,
) = range(len(PARAMETERS))  # fmt: skip

(
    BEGIN, STOP, PAUSE, HALT, LOAD_END, RETRY, RESTART, PICKUP_UNTIL, BUSY_UNTIL, LOADED, NEWEST, PASS,
) = range(12)  # fmt: skip

NOTHING, LOADING, NEW_JOB, SAME_JOB = range(4)
"""What a step did: nothing to see, a load began, a new job's pass began, the previous job's began anew."""


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def idle_miner() -> F64:
    """State of a miner that has no job yet."""
    state = np.full(12, NEVER)
    state[PAUSE] = 0.0
    state[PICKUP_UNTIL] = -1.0
    state[BUSY_UNTIL] = -1.0
    state[LOADED] = -1.0
    state[NEWEST] = -1.0
    state[PASS] = 0.0
    return state


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _late_delay(rng: np.random.Generator, p: F64) -> float:
    return float(max(p[STALE_START] + 0.1, p[LATE] + p[LATE_SD] * rng.standard_normal()))


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def notified(state: F64, now: float, job: int, p: F64, rng: np.random.Generator) -> None:
    """The miner takes notice of a job."""
    state[NEWEST] = job
    if p[DEAD_TIME] == 0:
        state[LOAD_END] = now
    elif state[LOAD_END] < NEVER and (p[LATE_LOADS] == 0 or now < state[PICKUP_UNTIL]):
        pass  # the load under way takes the newest job
    elif state[RETRY] < NEVER:
        # the load is late already: mostly it waits as long again, and the boards stop for good
        if state[RESTART] == NEVER and rng.random() < p[RELOAD_AT_ONCE]:
            state[RETRY] = now
        else:
            state[RETRY] = now + _late_delay(rng, p)
            state[HALT] = min(state[HALT], now + p[STALE_HALT])
            state[STOP] = min(state[STOP], state[HALT])
    elif p[LATE_LOADS] > 0 and (state[LOAD_END] < NEVER or now < state[BUSY_UNTIL]):
        state[STOP] = min(state[STOP], now + p[STALE_STOP])
        state[LOAD_END] = NEVER
        state[RETRY] = now + _late_delay(rng, p)
        state[HALT] = NEVER
        if p[DUPLICATES] > 0 and state[LOADED] >= 0:
            state[RESTART] = now + p[STALE_START]
    else:
        state[RETRY] = now


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def due(state: F64) -> float:
    """When the next step is due."""
    return float(min(state[LOAD_END], min(state[RETRY], state[RESTART])))


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def step(state: F64, p: F64, rng: np.random.Generator) -> int:
    """Do what is due; returns what that was."""
    now = due(state)
    if now == state[RETRY]:
        state[RETRY] = NEVER
        state[RESTART] = NEVER
        linger = 0.0 if rng.random() < p[STOP_AT_ONCE] else rng.random() * p[STOP_SPREAD]
        state[STOP] = min(state[STOP], now + linger)
        state[LOAD_END] = now + max(0.0, p[LOAD] + p[LOAD_JITTER] * rng.standard_normal())
        state[PICKUP_UNTIL] = now + rng.random() * p[PICKUP]
        state[BUSY_UNTIL] = now + p[BUSY] + p[BUSY_SD] * rng.standard_normal()
        return LOADING
    if now == state[LOAD_END]:
        state[LOAD_END] = NEVER
        state[RESTART] = NEVER
        state[LOADED] = state[NEWEST]
        state[BEGIN] = now
        state[PAUSE] = p[REFILL] if p[DEAD_TIME] > 0 else 0.0
        state[STOP] = NEVER
        state[PASS] += 1
        return NEW_JOB
    if now == state[RESTART]:
        state[RESTART] = NEVER
        state[BEGIN] = now
        state[PAUSE] = 0.0
        state[STOP] = state[HALT]
        state[PASS] += 1
        return SAME_JOB
    return NOTHING


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def pass_time(state: F64, work_ms: float, refill_ms: float) -> float:
    """When the running pass reaches a work-time; ``NEVER`` if it stops before."""
    if state[BEGIN] == NEVER:
        return NEVER
    at = state[BEGIN] + work_ms + (state[PAUSE] if work_ms >= refill_ms else 0.0)
    return float(at) if at < state[STOP] else NEVER
