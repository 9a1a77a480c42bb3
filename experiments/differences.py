"""A number of one run less that of another, with the interval that follows from those of both."""

from __future__ import annotations

import math
from dataclasses import dataclass

Interval = tuple[float, float]


@dataclass(frozen=True)
class Difference:
    """A number of one run less that of the run that it is held against.

    Attributes:
        run: its id.
        to: id of that one: the first of the same experiment, else the first.
        what: that is compared.
        difference: None where both cannot be compared.
        ci: 95 % interval, None where there is none.
        note: why not, or what it rests on.
    """

    run: str
    to: str
    what: str
    difference: float | None
    ci: Interval | None
    note: str


def difference_ci(first: float, first_ci: Interval, second: float, second_ci: Interval) -> Interval:
    """95 % interval of ``second - first`` from those of two independent estimates.

    The method of variance estimates recovery, which keeps intervals that are not symmetric (Zou & Donner 2008, Stat.
    Med. 27, 1693).
    """
    off = second - first
    low = off - math.hypot(second - second_ci[0], first_ci[1] - first)
    high = off + math.hypot(second_ci[1] - second, first - first_ci[0])
    return low, high
