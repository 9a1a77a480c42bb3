"""Planted differences between devices of one model, so that a physical unclonable function has something to find.

Every part of the silicon (chip of an S9, core of an LV06) delays its reports by a constant of its own. The constants
are drawn once per device and stay the same in each of its runs, as those of a real device would; 0, the default, makes
all devices alike.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from firmware_bridge.emulator.geometry import GROUPS

REACH_SD = 4.0
"""Delays are not negative: all are moved by so many standard deviations, and what lies beyond is cut off."""

STREAM, PACE_STREAM = 0x9F, 0xA0
"""Keep the chance of a device apart from that of its runs."""


def own_pace(device: int, spread: float) -> float:
    """Factor on the hash rate of a device.

    Args:
        device: which device; the same number gives the same factor.
        spread: standard deviation of its logarithm between devices; 0 makes all alike.
    """
    if spread == 0:
        return 1.0
    return math.exp(spread * float(np.random.default_rng([device, PACE_STREAM]).standard_normal()))


def own_delays_ms(code: int, device: int, variation_ms: float) -> npt.NDArray[np.float64]:
    """Delay of each part of a device.

    Args:
        code: scan geometry of the model.
        device: which device; the same number gives the same delays.
        variation_ms: standard deviation between parts; 0 gives an empty array.

    Returns:
        Shape (groups,) in ms, see :func:`firmware_bridge.emulator.geometry.group_of`.
    """
    if variation_ms == 0:
        return np.empty(0)
    draws = np.random.default_rng([device, STREAM]).standard_normal(GROUPS[code])
    return variation_ms * (REACH_SD + np.clip(draws, -REACH_SD, REACH_SD))
