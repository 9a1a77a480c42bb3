"""A power model of the hashing core: what an ideal current probe would see of each round, and noise of known size.

The "thermodynamic signature" of the second paper, made of what registers really do: in CMOS, energy goes into bits that
change (Hamming distance between two states, Brier et al. 2004); buses that are precharged leak the number of ones as
well. Unit of power and noise: one bit of one register that changes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from firmware_bridge.errors import UserError
from firmware_bridge.sha256_kernels import LANES, ROW_E
from tpf.sha256_rounds import ROUNDS, U32, Rounds

F64 = npt.NDArray[np.float64]
I16 = npt.NDArray[np.int16]


@dataclass(frozen=True)
class PowerModel:
    """What one round draws: ``distance`` per bit that changes, ``weight`` per bit that is 1 after it, and noise.

    Attributes:
        distance: of the eight registers of 32 bits, between two rounds.
        weight: of the same registers, after the round.
        noise: standard deviation of the Gaussian noise of each round.
    """

    distance: float = 1.0
    weight: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        for name in ("distance", "weight", "noise"):
            value = getattr(self, name)
            if not math.isfinite(value) or (name == "noise" and value < 0):
                raise UserError(
                    f"{name} of the power model is a finite number, noise 0 or more; not {value!r}"
                )

    def signature(self, states: Rounds, rng: np.random.Generator) -> F64:
        """Power of every round of n compressions, shape (n, 64); column i is that of round i + 1.

        Args:
            states: of the compressions.
            rng: of the noise; nothing is drawn at noise 0.
        """
        return self.power(*switching(states), rng)

    def power(self, changed: I16, ones: I16, rng: np.random.Generator) -> F64:
        """Power of rounds whose :func:`switching` is known, shape (n, rounds) as both of these."""
        power: F64 = self.distance * changed.astype(np.float64) + self.weight * ones
        if self.noise > 0:
            power = power + rng.normal(0.0, self.noise, power.shape)
        return power


def switching(states: Rounds) -> tuple[I16, I16]:
    """Bits that change in each round and bits that are 1 after it, over all eight registers, each of shape (n, 64)."""
    changed = np.empty((states.rows.shape[0] * LANES, ROUNDS), np.int16)
    ones = np.empty_like(changed)
    _count_bits(states.rows, changed, ones)
    return changed[: states.n], ones[: states.n]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _ones(x: np.uint32) -> np.int32:
    v = np.uint32(x)
    v = np.uint32(v - ((v >> np.uint32(1)) & np.uint32(0x55555555)))
    v = np.uint32((v & np.uint32(0x33333333)) + ((v >> np.uint32(2)) & np.uint32(0x33333333)))
    v = np.uint32((v + (v >> np.uint32(4))) & np.uint32(0x0F0F0F0F))
    return np.int32(np.uint32(v * np.uint32(0x01010101)) >> np.uint32(24))


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _count_bits(rows: U32, changed: I16, ones: I16) -> None:
    """Each register is ``a`` or ``e`` of 0 to 3 rounds before, so that sums over four neighbours do."""
    flips = np.empty((ROUNDS + 3, LANES), np.int32)
    weights = np.empty((ROUNDS + 4, LANES), np.int32)
    for b in range(rows.shape[0]):
        for i in range(ROUNDS + 4):
            for lane in range(LANES):
                weights[i, lane] = _ones(rows[b, i, lane]) + _ones(rows[b, ROW_E + i, lane])
        for i in range(ROUNDS + 3):
            for lane in range(LANES):
                flips[i, lane] = _ones(rows[b, i, lane] ^ rows[b, i + 1, lane]) + _ones(
                    rows[b, ROW_E + i, lane] ^ rows[b, ROW_E + i + 1, lane]
                )
        for i in range(ROUNDS):
            for lane in range(LANES):
                at = b * LANES + lane
                changed[at, i] = flips[i, lane] + flips[i + 1, lane] + flips[i + 2, lane] + flips[i + 3, lane]
                ones[at, i] = (
                    weights[i + 1, lane] + weights[i + 2, lane] + weights[i + 3, lane] + weights[i + 4, lane]
                )
