"""What a measurement can find: the arithmetic behind every ``detectable``."""

from __future__ import annotations

import math

POWER = 0.8
"""Part of effects of the stated size that an experiment finds."""


def errors_needed(level: float, power: float = POWER) -> float:
    """Standard errors between null and effect, so that a one-sided test at ``level`` finds it with such power."""
    from scipy.stats import norm

    return float(norm.isf(level) + norm.ppf(power))


def cv_off_at_one_point(points: int, shares: int, level: float) -> float:
    """Smallest offset of one CV among many, found by the test that all are one.

    Exponential intervals: a CV has error 1/sqrt(n), and the statistic of the test a noncentrality of
    n d² (k - 1) / k where one of k points is off by d.

    Args:
        points: how many CVs.
        shares: of each.
        level: of the test.
    """
    from scipy.optimize import brentq
    from scipy.stats import chi2, ncx2

    critical = chi2.isf(level, points - 1)
    needed = brentq(lambda x: ncx2.sf(critical, points - 1, x) - POWER, 0.1, 200.0)
    return float((needed * points / (points - 1) / shares) ** 0.5)


def reach_of_blocks(blocks: int, shares: float, level: float = 0.95) -> float:
    """Logarithm of a ratio of two rates of shares that paired blocks show: counts of a fair hash, Student's interval.

    Args:
        blocks: of each arm.
        shares: of each arm in a block.
        level: of the two-sided interval that has to leave out 0.
    """
    from scipy.stats import t

    needed = float(t.ppf(0.5 + level / 2, blocks - 1) + t.ppf(POWER, blocks - 1))
    return needed * math.sqrt(2 / (shares * blocks))
