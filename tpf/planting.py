"""A positive control: the recording at hand, with an effect of known size put into a copy of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from firmware_bridge.timing.run_data import NS_PER_MS, RunData, previous_of_same_miner


def with_delayed_successes(data: RunData, delay_ms: float, above: float) -> RunData:
    """A run whose shares of a difficulty above ``above`` came ``delay_ms`` later; rows are in the order of arrival.

    Each moved row keeps its job, so that its job-to-share time grows by the delay. No other row moves; intervals are
    those of the new order.

    Args:
        data: the run; it stays as it is.
        delay_ms: may be negative.
        above: nominal difficulty.
    """
    later = np.where(data.difficulty > above, delay_ms, 0.0)
    time_ns = data.time_ns + np.rint(later * NS_PER_MS).astype(np.int64)
    order = np.argsort(time_ns, kind="stable")
    moved = replace(
        data,
        time_ns=time_ns,
        response_ms=data.response_ms + later,
        since_notify_ms=data.since_notify_ms + later,
        plants={**data.plants, "quality_delay_ms": data.plants.get("quality_delay_ms", 0.0) + delay_ms},
    ).select(order)
    previous = previous_of_same_miner(moved.miner)
    known = previous >= 0
    interval_ms = np.full(moved.n, np.nan)
    interval_ms[known] = (moved.time_ns[known] - moved.time_ns[previous[known]]) / NS_PER_MS
    first = moved.job >= 0
    first[known] &= moved.job[known] != moved.job[previous[known]]
    return replace(moved, interval_ms=interval_ms, first_of_job=first)
