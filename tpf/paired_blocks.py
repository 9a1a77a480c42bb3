"""A difference between two arms that were run in the same blocks: test and interval by exchanging the arms in a block.

Without an effect either arm of a block might have had either label, so that each difference might have had the other
sign; that is the null, whatever the distribution. The interval inverts the same test: its ends are quantiles of the
means of subsets of the differences (Hartigan 1969, J. Am. Stat. Assoc. 64:1303).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from firmware_bridge.errors import UserError

FEWEST_BLOCKS = 6
"""Below, not even all differences of one sign make p < 0.05."""
ALL_UP_TO = 12
"""So many blocks are exchanged in every way; beyond, in ``DRAWS`` ways by chance."""
DRAWS = 9999
LEVEL, POWER = 0.95, 0.9


@dataclass(frozen=True)
class PairedDifference:
    """Mean difference over blocks.

    Attributes:
        mean: of the differences.
        low: of the 95 % interval.
        high: of it.
        p: two-sided, that there is none.
        detectable: size that these blocks would show nine times out of ten.
        blocks: pairs.
    """

    mean: float
    low: float
    high: float
    p: float
    detectable: float
    blocks: int

    def to_json(self) -> dict[str, Any]:
        """Plain dict."""
        return asdict(self)


def paired_difference(differences: npt.ArrayLike, seed: int = 0) -> PairedDifference:
    """Of differences between two arms, one per block, shape (n,).

    Args:
        differences: finite.
        seed: of the exchanges, where there are too many for all.

    Raises:
        UserError: if there are fewer than ``FEWEST_BLOCKS``.
    """
    from scipy import stats

    d = np.asarray(differences, np.float64)
    n = d.size
    if n < FEWEST_BLOCKS:
        raise UserError(f"--blocks is at least {FEWEST_BLOCKS}: {n} cannot show a difference at 5 %")
    if n <= ALL_UP_TO:
        subset = (np.arange(1, 1 << n)[:, None] >> np.arange(n)) & 1
    else:
        subset = np.random.default_rng([seed, 17]).integers(0, 2, size=(DRAWS, n))
        subset = subset[subset.any(axis=1)]
    means = np.sort(subset @ d / subset.sum(axis=1))
    total = means.size + 1  # the labels as they are count as one way
    reach = int((1 - LEVEL) / 2 * total)
    tail = 1 + min(int((means <= 0).sum()), int((means >= 0).sum()))
    error = float(d.std(ddof=1)) / math.sqrt(n)
    needed = float(stats.t.ppf(0.5 + LEVEL / 2, n - 1) + stats.t.ppf(POWER, n - 1)) * error
    return PairedDifference(
        float(d.mean()), float(means[reach - 1]), float(means[-reach]), min(1.0, 2 * tail / total), needed, n
    )
