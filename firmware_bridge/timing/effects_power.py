"""How strong an effect must be for a run to show it: the numbers behind ``asiclab effects list``.

Nothing is assumed of the noise: a null run of the same kind is drawn and judged, and the slopes that its tests could
have found with power 0.9 are read off.
"""

from __future__ import annotations

import math

from firmware_bridge.timing.association import POWER
from firmware_bridge.timing.run_data import RunData
from firmware_bridge.timing.verdict import ALPHA, judge

TEST_OF_KIND = {
    "input": "input_response",
    "temperature": "temperature_response",
    "quality": "quality_response",
}
"""Which test of the family finds which kind of planted effect."""

MARGIN = 1.05
"""The slope is estimated from one null run of many; a little more keeps the power at or above what is stated."""


def detectable_strengths(
    null_runs: list[RunData], seed: int = 0, alpha: float = ALPHA
) -> dict[str, float | None]:
    """Strength per kind of planted effect that runs like these show with power 0.9, rounded up to two digits.

    Args:
        null_runs: runs of the same kind and length without any effect; their mean power counts.
        seed: for the Monte-Carlo parts of the verdict.
        alpha: level of the verdict.

    Returns:
        Kind to strength in the kind's own unit; None where such runs carry no cause of that kind.
    """
    found: dict[str, list[float]] = {kind: [] for kind in TEST_OF_KIND}
    family = 1
    for run in null_runs:
        tests = {test.name: test for test in judge(run, seed, alpha).tests}
        family = max(family, len(tests))
        for kind, name in TEST_OF_KIND.items():
            if name in tests and tests[name].detectable is not None:
                found[kind].append(float(tests[name].detectable or 0.0))
    return {
        kind: _round_up(MARGIN * _with_mean_power(values, alpha / family)) if values else None
        for kind, values in found.items()
    }


def _with_mean_power(detectable: list[float], level: float) -> float:
    """Strength with power 0.9 on average over runs that differ in what they can detect (a calm run detects less).

    A run that detects d with power 0.9 finds s with power Phi(s / d (z_level + z_power) - z_level).
    """
    import numpy as np
    from scipy.optimize import brentq
    from scipy.stats import norm

    d = np.array(detectable)
    z = float(norm.isf(level / 2))
    reach = z + float(norm.ppf(POWER))

    def shortfall(strength: float) -> float:
        return float(np.mean(norm.cdf(strength / d * reach - z))) - POWER

    return float(brentq(shortfall, float(d.min()) / 2, float(d.max()) * 2))


def _round_up(value: float) -> float:
    """Next number of two significant digits."""
    if value <= 0:
        return value
    digits = 1 - math.floor(math.log10(value))
    step = 10.0**digits
    return float(round(math.ceil(round(value * step, 6)) / step, digits))
