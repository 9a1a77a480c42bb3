"""Planted effects: what an emulated miner's timing may be made to depend on, so that a verdict has something to find.

Every effect delays the report of a share after the chip found it. The delay grows linearly with a quantity that the
trace records, by ``strength`` milliseconds per unit; 0, the default, plants nothing. No delay is negative: a constant
is added where the quantity or the strength would make it so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from firmware_bridge.errors import UserError


@dataclass(frozen=True, slots=True)
class EffectKind:
    """One kind of planted effect.

    Attributes:
        kind: name on the command line.
        unit: unit of the strength.
        quantity: what the delay depends on, and where the trace records it.
        delays: what is delayed.
    """

    kind: str
    unit: str
    quantity: str
    delays: str


KINDS: dict[str, EffectKind] = {
    e.kind: e
    for e in (
        EffectKind(
            "input",
            "ms per unit of the symbol",
            "input symbol of the share's own job, uniform in [0, 1): its prevhash read as a binary fraction",
            "the report of every share of that job",
        ),
        EffectKind(
            "temperature",
            "ms per °C",
            "deviation of the last telemetry temperature from its long-run mean",
            "the report of every share found until the next reading",
        ),
        EffectKind(
            "quality",
            "ms per factor of 2",
            "log2 of the share's difficulty over the smallest that the miner submits",
            "the report of that share",
        ),
    )
}
"""All kinds, in the order in which they are listed."""

TEMPERATURE_REACH_SD = 4.0
"""Deviations beyond this many standard deviations would need a negative delay; they are cut off."""


def parse_plants(items: Iterable[str]) -> dict[str, float]:
    """Strengths from ``KIND=STRENGTH`` items; a kind that is not named is not in the result.

    Raises:
        UserError: if an item is malformed, its kind unknown or named twice.
    """
    plants: dict[str, float] = {}
    for item in items:
        kind, separator, text = item.partition("=")
        kind = kind.strip()
        if not separator:
            raise UserError(f"--plant {item!r}: write KIND=STRENGTH; {_known()}")
        try:
            strength = float(text)
        except ValueError:
            raise UserError(f"--plant {item!r}: {text!r} is no number; {_known()}") from None
        if kind in plants:
            raise UserError(f"--plant {item!r}: {kind} is planted twice")
        plants[kind] = strength
    return checked_plants(plants)


def checked_plants(plants: Mapping[str, float]) -> dict[str, float]:
    """The same plants, if all kinds are known and all strengths finite.

    Raises:
        UserError: otherwise.
    """
    for kind, strength in plants.items():
        if kind not in KINDS:
            raise UserError(f"there is no planted effect {kind!r}; {_known()}")
        if not np.isfinite(strength):
            raise UserError(f"the strength of {kind} is a finite number, not {strength!r}")
    return dict(plants)


def _known() -> str:
    return "kinds are " + ", ".join(f"{e.kind} ({e.unit})" for e in KINDS.values())


def strengths(plants: Mapping[str, float]) -> npt.NDArray[np.float64]:
    """Strength of each kind in ms per unit, in the order of ``KINDS``; 0 where none is planted."""
    return np.array([plants.get(kind, 0.0) for kind in KINDS], dtype=np.float64)


def constants_ms(plants: Mapping[str, float], temperature_sd_c: float) -> npt.NDArray[np.float64]:
    """Constant delay of each kind that keeps its delays from being negative, in ms, in the order of ``KINDS``."""
    by_input, by_temperature, by_quality = strengths(plants)
    return np.array(
        [
            max(0.0, -by_input),
            abs(by_temperature) * TEMPERATURE_REACH_SD * temperature_sd_c,
            max(0.0, -by_quality) * 32.0,
        ]
    )
