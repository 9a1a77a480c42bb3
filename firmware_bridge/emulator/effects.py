"""Planted effects: what an emulated miner's timing may be made to depend on, so that a verdict has something to find.

Every effect delays the report of a share after the chip found it. The delay grows linearly with a quantity that the
trace records, by ``strength`` milliseconds per unit; 0, the default, plants nothing. No delay is negative: a constant
is added where the quantity or the strength would make it so.
"""

from __future__ import annotations

import math
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
        EffectKind(
            "thermal",
            "ms per unit of heat",
            "heat: the symbols of all jobs so far, low-passed with a time constant of 1 s, as a chip does",
            "the report of every share, by the heat at the moment it was found",
        ),
        EffectKind(
            "queue",
            "ms of work per unit of the symbol",
            "backlog: each job adds its symbol times the strength to a queue that is served in real time",
            "the report of every share, until what was in the queue when it was found is served",
        ),
    )
}
"""All kinds, in the order in which they are listed."""

INPUT, TEMPERATURE, QUALITY, THERMAL, QUEUE = range(5)
"""Positions in the vectors of strengths and constants."""

HEAT_TAU_MS = 1000.0
"""Time constant of the planted heat."""
HEAT_AT_START = 0.5
"""What symbols that are uniform in [0, 1) settle at."""

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
        if kind == "queue" and strength < 0:
            raise UserError(
                f"a queue cannot be filled with {strength!r} ms of work; its strength is 0 or more"
            )
    return dict(plants)


def _known() -> str:
    return "kinds are " + ", ".join(f"{e.kind} ({e.unit})" for e in KINDS.values())


def strengths(plants: Mapping[str, float]) -> npt.NDArray[np.float64]:
    """Strength of each kind in ms per unit, in the order of ``KINDS``; 0 where none is planted."""
    return np.array([plants.get(kind, 0.0) for kind in KINDS], dtype=np.float64)


def constants_ms(plants: Mapping[str, float], temperature_sd_c: float) -> npt.NDArray[np.float64]:
    """Constant delay of each kind that keeps its delays from being negative, in ms, in the order of ``KINDS``."""
    by_input, by_temperature, by_quality, by_heat, _ = strengths(plants)
    return np.array(
        [
            max(0.0, -by_input),
            abs(by_temperature) * TEMPERATURE_REACH_SD * temperature_sd_c,
            max(0.0, -by_quality) * 32.0,
            max(0.0, -by_heat),
            0.0,
        ]
    )


def longest_ms(plants: Mapping[str, float], constants: npt.NDArray[np.float64], period_ms: float) -> float:
    """A delay that planted effects hardly exceed, in ms: what the engine makes room for.

    Raises:
        UserError: if a queue gets more work than it can serve, so that no delay is long enough.
    """
    sizes = np.abs(strengths(plants))
    if period_ms > 0 and 0.5 * sizes[QUEUE] > 0.95 * period_ms:
        raise UserError(
            f"queue={sizes[QUEUE]:g}: jobs every {period_ms:g} ms bring {0.5 * sizes[QUEUE]:g} ms of work each on "
            "average, so the queue grows for ever; plant less, or give a longer job period"
        )
    return float(2.0 * constants.sum() + sizes @ [1.0, 0.0, 32.0, 1.0, 25.0])


class Memory:
    """Planted heat and backlog of a miner in wall time; the engine of virtual time has the same equations.

    Args:
        queue_ms: work that a symbol of 1 adds to the queue.
    """

    def __init__(self, queue_ms: float) -> None:
        self._queue_ms = queue_ms
        self._symbol = self._heat = HEAT_AT_START
        self._backlog_ms = self._since_ms = 0.0

    def sent(self, symbol: float, now_ms: float) -> None:
        """A job of this symbol is the newest one from now on."""
        self._heat, self._backlog_ms = self.heat(now_ms), self.backlog_ms(now_ms) + self._queue_ms * symbol
        self._symbol, self._since_ms = symbol, now_ms

    def heat(self, now_ms: float) -> float:
        """Symbols so far, low-passed."""
        passed = max(0.0, now_ms - self._since_ms)
        return self._symbol + (self._heat - self._symbol) * math.exp(-passed / HEAT_TAU_MS)

    def backlog_ms(self, now_ms: float) -> float:
        """What the queue still has to serve."""
        return max(0.0, self._backlog_ms - max(0.0, now_ms - self._since_ms))
