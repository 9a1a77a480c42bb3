"""Time efficiency of a miner that waits for its pool: pure formulas, seconds in, fractions out.

One cycle of a miner that holds a single piece of work: it hashes for ``t_hash`` until it finds a share, waits for
the network (``t_network``: there and back), and for the protocol (``t_stratum``: parsing, checking, storing,
encoding). Only the first part earns anything:

    eta = t_hash / (t_hash + t_network + t_stratum)

A proxy that has the next work ready close by takes ``t_network`` out of that cycle. What it wins is the quotient of two
etas, and it is *not* one minus the old one: with t_network = t_hash / 4 the miner was idle for a fifth of its time
(``idle_fraction`` 0.2), and without the wait it finds a quarter more shares per hour (``throughput_gain`` 0.25).

A miner whose firmware queues work goes on hashing while it waits. It is idle only for what the wait exceeds its queue
by (``idle_s``), as a rule nothing, and then there is nothing to win.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TypeVar

Seconds = TypeVar("Seconds", float, Fraction)


def _time(name: str, value: Seconds) -> Seconds:
    if not 0.0 <= value < math.inf:
        raise ValueError(f"{name} is a time of 0 s or more, not {value!r}")
    return value


def eta(t_hash_s: Seconds, t_network_s: Seconds, t_stratum_s: Seconds | int = 0) -> Seconds | None:
    """Fraction of a cycle that is spent hashing, exact where the times are fractions; None where all three are 0.

    Raises:
        ValueError: if a time is negative or not finite.
    """
    hashing = _time("t_hash_s", t_hash_s)
    _time("t_stratum_s", float(t_stratum_s))
    cycle = hashing + _time("t_network_s", t_network_s) + t_stratum_s
    return hashing / cycle if cycle else None


def idle_s(wait_s: float, queued_work_s: float = 0.0) -> float:
    """Idle time per share of a miner that has ``queued_work_s`` of work at hand while it waits ``wait_s``.

    Raises:
        ValueError: if a time is negative or not finite.
    """
    return max(0.0, _time("wait_s", wait_s) - _time("queued_work_s", queued_work_s))


def idle_fraction(t_hash_s: float, wait_s: float, queued_work_s: float = 0.0) -> float | None:
    """Fraction of its time that a miner is idle: ``idle / (t_hash + idle)``; None where both are 0."""
    busy = eta(t_hash_s, idle_s(wait_s, queued_work_s))
    return None if busy is None else 1.0 - busy


def throughput_gain(
    t_hash_s: float, wait_before_s: float, wait_after_s: float = 0.0, *, queued_work_s: float = 0.0
) -> float | None:
    """How many more shares per hour a miner finds when its wait falls, as a fraction of what it found before.

    ``(t_hash + idle_before) / (t_hash + idle_after) - 1``: for a miner without a queue and a wait that vanishes this is
    ``t_network / t_hash``; for one whose queue covers both waits it is 0. None where the later cycle takes no time.

    Raises:
        ValueError: if a time is negative or not finite.
    """
    hashing = _time("t_hash_s", t_hash_s)
    before = hashing + idle_s(wait_before_s, queued_work_s)
    after = hashing + idle_s(wait_after_s, queued_work_s)
    return before / after - 1.0 if after else None


def hash_time_for_gain(gain: float, t_network_s: float) -> float:
    """The ``t_hash`` at which taking away ``t_network`` wins ``gain``: for a published +25 % four round trips.

    Raises:
        ValueError: if the gain is not positive and finite, or the time not one.
    """
    if not 0.0 < gain < math.inf:
        raise ValueError(f"a gain is a positive number, not {gain!r}")
    return _time("t_network_s", t_network_s) / gain
