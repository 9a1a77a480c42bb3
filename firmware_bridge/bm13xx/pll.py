"""The BM1366's clock: which dividers make a frequency, and how it is ramped (``hardware.md`` §1.7)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

FB_RANGE = range(144, 236)
REFERENCES = (2, 1)
POST_DIVIDERS = range(1, 8)
CRYSTAL_MHZ = 25
HIGH_VCO_MHZ = 2400
"""From here on the first byte is 50, below it 40."""

RAMP_START_MHZ = 56.25
RAMP_STEP_MHZ = 6.25
RAMP_PAUSE_S = 0.1


@dataclass(frozen=True, slots=True)
class Pll:
    """Dividers of the clock; ``valid`` ones make the chip hash.

    Attributes:
        fb: feedback divider.
        ref: reference divider.
        p1: first post divider.
        p2: second post divider, smaller than the first.
        flags: first byte of the register.
    """

    fb: int
    ref: int
    p1: int
    p2: int
    flags: int

    @property
    def vco_mhz(self) -> float:
        """Frequency of the oscillator."""
        return CRYSTAL_MHZ * self.fb / self.ref

    @property
    def frequency_mhz(self) -> float:
        """Frequency of the hashing clock."""
        return CRYSTAL_MHZ * self.fb / (self.ref * self.p1 * self.p2)

    @property
    def valid(self) -> bool:
        """Whether all dividers are within the BM1366's ranges."""
        return (
            self.fb in FB_RANGE
            and self.ref in REFERENCES
            and self.p1 in POST_DIVIDERS
            and self.p2 in POST_DIVIDERS
            and self.p1 > self.p2
            and self.flags == (0x50 if self.vco_mhz >= HIGH_VCO_MHZ else 0x40)
        )

    @property
    def register(self) -> int:
        """Value of register 08."""
        return self.flags << 24 | self.fb << 16 | self.ref << 8 | (self.p1 - 1) << 4 | (self.p2 - 1)


def decode(value: int) -> Pll | None:
    """Dividers of a value of register 08; None where they make no clock."""
    flags, fb, ref, post = value.to_bytes(4, "big")
    pll = Pll(fb, ref, (post >> 4) + 1, (post & 0x0F) + 1, flags)
    return pll if pll.ref and pll.fb and pll.valid else None


def _dividers() -> tuple[tuple[int, int, int], ...]:
    return tuple(
        (ref, p1, p2)
        for ref in REFERENCES
        for p1 in reversed(POST_DIVIDERS)
        for p2 in POST_DIVIDERS
        if p1 > p2
    )


@lru_cache(maxsize=4096)
def choose(frequency_mhz: float) -> Pll:
    """Dividers for a frequency: the closest one, then the lowest oscillator, the smallest p1 * p2, the largest p1.

    Raises:
        ValueError: if the frequency is not positive and finite.
    """
    if not 0 < frequency_mhz < float("inf"):
        raise ValueError(f"a frequency is a positive number of MHz, not {frequency_mhz!r}")
    wanted = Fraction(frequency_mhz)
    best: tuple[tuple[Fraction, Fraction, int, int], tuple[int, int, int, int]] | None = None
    for ref, p1, p2 in _dividers():
        exact = wanted * ref * p1 * p2 / CRYSTAL_MHZ
        below = int(exact)
        for fb in {min(max(candidate, FB_RANGE[0]), FB_RANGE[-1]) for candidate in (below, below + 1)}:
            vco = Fraction(CRYSTAL_MHZ * fb, ref)
            key = (abs(vco / (p1 * p2) - wanted), vco, p1 * p2, -p1)
            if best is None or key < best[0]:
                best = key, (fb, ref, p1, p2)
    assert best is not None
    fb, ref, p1, p2 = best[1]
    return Pll(fb, ref, p1, p2, 0x50 if CRYSTAL_MHZ * fb >= HIGH_VCO_MHZ * ref else 0x40)


def ramp(start_mhz: float, target_mhz: float) -> list[float]:
    """Frequencies to write one after another, from the one after ``start_mhz`` to ``target_mhz``: multiples of 6.25.

    Raises:
        ValueError: if one of them is not positive and finite.
    """
    for value in (start_mhz, target_mhz):
        if not 0 < value < float("inf"):
            raise ValueError(f"a frequency is a positive number of MHz, not {value!r}")
    steps: list[float] = []
    if target_mhz > start_mhz:
        number = int(start_mhz // RAMP_STEP_MHZ) + 1
        while number * RAMP_STEP_MHZ < target_mhz:
            steps.append(number * RAMP_STEP_MHZ)
            number += 1
    elif target_mhz < start_mhz:
        number = -int(-start_mhz // RAMP_STEP_MHZ) - 1
        while number * RAMP_STEP_MHZ > target_mhz:
            steps.append(number * RAMP_STEP_MHZ)
            number -= 1
    return [*steps, target_mhz]
