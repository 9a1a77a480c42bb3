"""Planted effects: what an emulated miner's timing may be made to depend on, so that a verdict has something to find.

Every effect delays the report of a share after the chip found it. The delay grows linearly with a quantity that the
trace records, by ``strength`` milliseconds per unit; 0, the default, plants nothing. No delay is negative: a constant
is added where the quantity or the strength would make it so. Reports keep their order, as on the one connection that
they share: what comes after a delayed share waits behind it.
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
        EffectKind(
            "quality_delay_ms",
            "ms per share of that quality",
            "whether the share's difficulty is above 4 times the smallest that the miner submits (1024 on an S9)",
            "the report of that share",
        ),
    )
}
"""All kinds, in the order in which they are listed."""

BEHAVIOURS: dict[str, EffectKind] = {
    e.kind: e
    for e in (
        EffectKind(
            "waits",
            "part of the shares",
            "chance: the part of its shares after which the firmware stops for its pool; one that queues never does",
            "hashing, until the next job is there (stream: until the pool's answer is)",
        ),
        EffectKind(
            "swing",
            "log of the hash rate",
            "wall time: a sine with a period of 60 s, as of firmware that slows a hot chip down and lets it go again",
            "nothing: the hash rate is multiplied by exp(strength sine)",
        ),
        EffectKind(
            "failing_jobs",
            "part per unit of 2 symbol - 1",
            "input symbol of the job that is hashed",
            "nothing: the share of wrong hashes, where logic is too slow, is multiplied by 1 + strength (2 symbol - 1)",
        ),
        EffectKind(
            "winning_jobs",
            "part per unit of 2 symbol - 1",
            "input symbol of the job that is hashed",
            "nothing: a job gives 1 + strength (2 symbol - 1) times the shares of a fair hash",
        ),
        EffectKind(
            "variation",
            "ms, standard deviation",
            "the chip (core of an LV06) that found the share: a constant of each, drawn once for each device",
            "the report of every share of that part",
        ),
        EffectKind(
            "devices",
            "log of the hash rate, standard deviation",
            "which device it is: a number drawn once for each",
            "nothing: the hash rate is multiplied by exp(strength number)",
        ),
        EffectKind(
            "pulse",
            "log of the hash rate",
            "wall time: a sine of 2.4 Hz",
            "nothing: the hash rate is multiplied by exp(strength sine)",
        ),
        EffectKind(
            "bursts",
            "log of the hash rate",
            "chance: fast and slow spells in turns, whose sizes in shares follow a power law with exponent 2.3",
            "nothing: the hash rate goes with exp(strength) and exp(-strength)",
        ),
        EffectKind(
            "wave",
            "part of the rate",
            "place of the chip on its board (core of an LV06) and wall time: one wave around it in 120 s",
            "nothing: a part finds 1 + strength cosine times its shares",
        ),
        EffectKind(
            "choosy",
            "part of the shares",
            "the hash itself: whether the third of its four words is below one half",
            "nothing: so many of these shares are never reported",
        ),
        EffectKind(
            "below",
            "log of the difficulty",
            "the difficulty asked for: the chip reports down to exp(-strength) of the model's smallest",
            "nothing: more shares come where so little is asked for",
        ),
    )
}
"""What is planted into the miner itself, and not into the time of a report; in wall time only ``winning_jobs``."""

INPUT, TEMPERATURE, QUALITY, THERMAL, QUEUE, QUALITY_DELAY = range(6)
"""Positions in the vectors of strengths and constants."""

FIRMWARE_WAITS, RATE_SWING, WAVE, CHOOSY = range(4)
"""Positions in the vector of behaviour."""
WAVE_PERIOD_S = 120.0
SWING_PERIOD_S = 60.0
MOST_LOG = 3.0
"""Factors on a rate beyond exp of this are no miner's, and would take the emulator for ever."""

QUALITY_STEP = 4.0
"""Difficulty over the smallest submitted, above which ``quality_delay_ms`` delays a share."""

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
        if kind not in KINDS and kind not in BEHAVIOURS:
            raise UserError(f"there is no planted effect {kind!r}; {_known()}")
        if not np.isfinite(strength):
            raise UserError(f"the strength of {kind} is a finite number, not {strength!r}")
        if kind == "queue" and strength < 0:
            raise UserError(
                f"a queue cannot be filled with {strength!r} ms of work; its strength is 0 or more"
            )
        if kind == "waits" and not 0 <= strength <= 1:
            raise UserError(f"waits is the part of the shares that are waited for, 0 to 1, not {strength!r}")
        if kind in ("failing_jobs", WINNING_JOBS, "wave"):
            checked_luck(strength, kind)
        if kind == "choosy" and not 0 <= strength < 1:
            raise UserError(
                f"choosy is the part of some shares that are not reported, 0 to below 1, not {strength!r}"
            )
        if kind in ("variation", "devices", "below") and strength < 0:
            raise UserError(f"the strength of {kind} is 0 or more, not {strength!r}")
        if kind in ("swing", "pulse", "bursts", "devices", "below") and abs(strength) > MOST_LOG:
            raise UserError(
                f"the strength of {kind} is a logarithm of at most {MOST_LOG:g}, not {strength!r}"
            )
    return dict(plants)


def checked_delays(plants: Mapping[str, float]) -> dict[str, float]:
    """The same plants, if all of them are delays, as they are in wall time.

    Raises:
        UserError: otherwise.
    """
    for kind in plants:
        if kind in BEHAVIOURS:
            raise UserError(f"{kind} is planted in virtual time only; {_known()}")
    return checked_plants(plants)


def _known() -> str:
    return "kinds are " + ", ".join(f"{e.kind} ({e.unit})" for e in (*KINDS.values(), *BEHAVIOURS.values()))


WINNING_JOBS = "winning_jobs"
"""A planted leak, not a delay: the symbol of a job, known before anything is hashed, tells how many shares it gives."""


def luck_of(symbols: npt.NDArray[np.float64], strength: float) -> npt.NDArray[np.float64]:
    """Factor on the rate at which each job gives shares, ``1 + strength (2 symbol - 1)``: 1 on average.

    No hash behaves so; this is what a filter would need, put in so that one can be seen to work.

    Args:
        symbols: of the jobs, in [0, 1).
        strength: above -1 and below 1; 0 plants nothing.
    """
    return np.asarray(1.0 + strength * (2.0 * symbols - 1.0))


def checked_luck(strength: float, kind: str = WINNING_JOBS) -> float:
    """The same strength.

    Raises:
        UserError: if no rate goes with it.
    """
    if not -1.0 < strength < 1.0:
        raise UserError(f"the strength of {kind} lies above -1 and below 1, not at {strength!r}")
    return strength


def split_luck(items: Iterable[str]) -> tuple[float, list[str]]:
    """Strength of ``winning_jobs`` among ``KIND=STRENGTH`` items, 0 if it is not there, and the other items.

    Raises:
        UserError: if it is no number, out of range, or there twice.
    """
    mine: list[str] = []
    others: list[str] = []
    for item in items:
        (mine if item.partition("=")[0].strip() == WINNING_JOBS else others).append(item)
    if len(mine) > 1:
        raise UserError(f"--plant {mine[1]!r}: {WINNING_JOBS} is planted twice")
    try:
        return (checked_luck(float(mine[0].partition("=")[2])) if mine else 0.0), others
    except ValueError:
        raise UserError(f"--plant {mine[0]!r}: write {WINNING_JOBS}=STRENGTH, for example 0.5") from None


def strengths(plants: Mapping[str, float]) -> npt.NDArray[np.float64]:
    """Strength of each kind in ms per unit, in the order of ``KINDS``; 0 where none is planted."""
    return np.array([plants.get(kind, 0.0) for kind in KINDS], dtype=np.float64)


def behaviour(plants: Mapping[str, float]) -> npt.NDArray[np.float64]:
    """Strengths of what the engine takes as numbers of the whole run, at their positions."""
    return np.array([plants.get(kind, 0.0) for kind in ("waits", "swing", "wave", "choosy")])


def constants_ms(plants: Mapping[str, float], temperature_sd_c: float) -> npt.NDArray[np.float64]:
    """Constant delay of each kind that keeps its delays from being negative, in ms, in the order of ``KINDS``."""
    by_input, by_temperature, by_quality, by_heat, _, by_step = strengths(plants)
    return np.array(
        [
            max(0.0, -by_input),
            abs(by_temperature) * TEMPERATURE_REACH_SD * temperature_sd_c,
            max(0.0, -by_quality) * 32.0,
            max(0.0, -by_heat),
            0.0,
            max(0.0, -by_step),
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
    return float(2.0 * constants.sum() + sizes @ [1.0, 0.0, 32.0, 1.0, 25.0, 1.0])


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
