"""The kernels of an emulated miner's body: leakage, switching power, speed of the logic, wrong hashes, flow of heat.

All in one file, since numba's cache on disk notices changes of this file only.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import njit

F64 = npt.NDArray[np.float64]

HANG_ERROR_RATE = 0.5
"""Share of wrong hashes from which a chip no longer answers; assumed."""

FIXED, LEAKAGE, SWITCHING, DOUBLES, F0, V0, V_T, ALPHA, RESERVE, SLOWER, SPREAD, T0 = range(12)
"""Positions in the electrical figures; see ``electrical.vector``."""

FAN_MIN_PERCENT = 20.0
FAN_GAIN_PERCENT_PER_C = 4.0
MELTDOWN_C = 250.0
"""Where the model ends: no chip gets here, whatever the leakage does."""

DIE, SINK, HUNG, HASHED_S, WRONG_S = range(5)
"""Positions in the state: two temperatures, whether it hangs, and seconds worth of nominal hashing, right and wrong."""
R_DIE, C_DIE, C_SINK, G_STILL, G_FAN, FAN0, TARGET = range(7)
"""Positions in the heat parameters."""


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def leakage_w(e: F64, voltage_mv: float, temperature_c: float) -> float:
    """Power that leaks: proportional to the voltage, exponential in the temperature."""
    warmer_c = min(temperature_c - e[T0], 20.0 * e[DOUBLES])
    return float(e[LEAKAGE] * max(voltage_mv, 0.0) / e[V0] * 2.0 ** (warmer_c / e[DOUBLES]))


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def switching_w(e: F64, voltage_mv: float, frequency_mhz: float) -> float:
    """Power that switches: C V² f."""
    return float(e[SWITCHING] * (voltage_mv / e[V0]) ** 2 * frequency_mhz / e[F0])


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def max_frequency_mhz(e: F64, voltage_mv: float, temperature_c: float) -> float:
    """Clock at which half of the hashes are wrong; 0 below the threshold voltage."""
    if voltage_mv <= e[V_T]:
        return 0.0
    speed = (voltage_mv - e[V_T]) ** e[ALPHA] / voltage_mv
    nominal = (e[V0] - e[V_T]) ** e[ALPHA] / e[V0]
    slower = max(0.05, 1.0 - e[SLOWER] * (temperature_c - e[T0]))
    return float(e[F0] * e[RESERVE] * speed / nominal * slower)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def error_rate(e: F64, voltage_mv: float, frequency_mhz: float, temperature_c: float) -> float:
    """Share of the hashes that are wrong, 0 to 1."""
    if frequency_mhz <= 0.0:
        return 0.0
    most = max_frequency_mhz(e, voltage_mv, temperature_c)
    if most <= 0.0:
        return 1.0
    margin = (most / frequency_mhz - 1.0) / e[SPREAD]
    return float(0.5 * math.erfc(margin / math.sqrt(2.0)))


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def fan_percent(h: F64, override: float, die_c: float) -> float:
    """What the fan is told, in per cent: the override where there is one (>= 0), else the automatic's answer."""
    if override >= 0.0:
        return override
    return float(min(100.0, max(FAN_MIN_PERCENT, h[FAN0] + FAN_GAIN_PERCENT_PER_C * (die_c - h[TARGET]))))


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def flow(
    state: F64,
    h: F64,
    e: F64,
    seconds: float,
    frequency_mhz: float,
    voltage_mv: float,
    ambient_c: float,
    fan_override: float,
    fan_works: bool,
    running: bool,
) -> None:
    """Let the heat flow with constant settings; each step solves both nodes exactly for its constant power."""
    longest = 0.25 * h[R_DIE] * h[C_DIE]
    steps = max(1, min(2_000_000, math.ceil(seconds / longest)))
    dt = seconds / steps
    a = 1.0 / (h[R_DIE] * h[C_DIE])
    b = 1.0 / (h[R_DIE] * h[C_SINK])
    for _ in range(steps):
        die, sink = state[DIE], state[SINK]
        live = running and state[HUNG] == 0.0
        wrong = error_rate(e, voltage_mv, frequency_mhz, die)
        if live and wrong >= HANG_ERROR_RATE:
            state[HUNG] = 1.0
            live = False
        chip_w = leakage_w(e, voltage_mv, die)
        if live:
            chip_w += switching_w(e, voltage_mv, frequency_mhz)
            state[HASHED_S] += dt * frequency_mhz / e[F0] * (1.0 - wrong)
            state[WRONG_S] += dt * frequency_mhz / e[F0] * wrong
        speed = fan_percent(h, fan_override, die) / h[FAN0] if fan_works else 0.0
        g = h[G_STILL] + h[G_FAN] * speed**0.8
        c = b + g / h[C_SINK]
        # the two nodes with constant inflow: deviation from the end decays with the eigenvalues of [[-a, a], [b, -c]]
        sink_end = ambient_c + (chip_w + e[FIXED]) / g
        die_end = sink_end + chip_w * h[R_DIE]
        x, y = die - die_end, sink - sink_end
        mean, half = -0.5 * (a + c), 0.5 * math.sqrt((a - c) * (a - c) + 4.0 * a * b)
        first, second = math.exp((mean + half) * dt), math.exp((mean - half) * dt)
        even, odd = 0.5 * (first + second), 0.5 * (first - second) / half
        new_x = even * x + odd * ((-a - mean) * x + a * y)
        new_y = even * y + odd * (b * x + (-c - mean) * y)
        state[DIE] = min(die_end + new_x, MELTDOWN_C)
        state[SINK] = min(sink_end + new_y, MELTDOWN_C)
