"""How an input u(t) reaches the silicon: masked into symbols, mixed with what the silicon answered, put into a job.

A symbol is a number in [0, 1). Step t of the input has one symbol per slot of the mask; each slot is one job. A job
field carries a symbol only to its own resolution: a decoded symbol is less than :attr:`Encoding.resolution` away from
the one encoded, but the value stored with the job is the symbol as it was made.

Clock and core voltage are no fields of a job but settings of the miner. A step holds its setting for a period, its job
keeps the symbol, and the trace's rows of settings say what was set and when.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args, overload

import numpy as np
import numpy.typing as npt

from firmware_bridge.errors import UserError

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

Mode = Literal["dialogue", "monologue", "constant"]
Field = Literal[
    "prevhash",
    "coinbase",
    "extranonce1",
    "version_bits",
    "ntime",
    "difficulty",
    "frequency",
    "voltage",
    "duty",
]
SETTINGS = {"frequency": "frequency_mhz", "voltage": "core_voltage_mv"}
"""Fields that are settings of the miner, and what the trace calls them."""
ON_A_PERIOD = (*SETTINGS, "duty")
"""Fields that are held for a period: no share calls for the next one."""
PRINTING = ("difficulty", *ON_A_PERIOD)
"""Fields that print the input into the timing through the rate of shares: the silicon computes nothing for that."""

HALF_RESPONSE_NS = 1e9
"""The response that feeds back as 1/2."""

NTIME_SPAN = 4096
"""Seconds over which the time field moves: within what miners and pools let pass (2 h)."""

FREE_VERSION_BITS = 13
"""Low bits of the version outside 0x1fffe000, the mask that miners roll (BIP310)."""

IDLE = 2.0**40
"""In an idle slot the difficulty is so many times the working one: practically no share."""

BELOW_ONE = math.nextafter(1.0, 0.0)

_WORD_FIELDS = ("prevhash", "coinbase", "extranonce1")


@overload
def feedback(response_ns: int) -> float: ...
@overload
def feedback(response_ns: I64) -> F64: ...
def feedback(response_ns: int | I64) -> float | F64:
    """Squash a response into [0, 1): ``r / (r + 1e9)``, so 1 s gives 1/2 and no response yet (0) gives 0.

    Args:
        response_ns: job sent to share arrived, a number or an array of any shape.

    Raises:
        UserError: if a response is negative.
    """
    if np.any(np.asarray(response_ns) < 0):
        raise UserError("a response is a time from a job to its share, which is never negative")
    r: Any = float(response_ns) if isinstance(response_ns, int) else np.asarray(response_ns, np.float64)
    return r / (r + HALF_RESPONSE_NS)  # type: ignore[no-any-return]


@overload
def mix(base: float, response_ns: int, g: float) -> float: ...
@overload
def mix(base: F64, response_ns: I64, g: float) -> F64: ...
def mix(base: Any, response_ns: Any, g: float) -> Any:
    """Symbols of a dialogue: ``(1 - g) * base + g * feedback(response)``, float64 in exactly this order.

    Args:
        base: symbols of the input alone, a number or an array.
        response_ns: the last response before each symbol's job, of the same shape; 0 before the first.
        g: feedback in [0, 1).
    """
    return (1.0 - check_feedback(g)) * base + g * feedback(response_ns)


@overload
def unmix(symbols: float, response_ns: int, g: float) -> float: ...
@overload
def unmix(symbols: F64, response_ns: I64, g: float) -> F64: ...
def unmix(symbols: Any, response_ns: Any, g: float) -> Any:
    """Undo :func:`mix`: the base symbols, exact up to rounding (1e-9 for every g up to 0.999999)."""
    return (symbols - g * feedback(response_ns)) / (1.0 - check_feedback(g))


def check_feedback(g: float) -> float:
    """Return g if it is a feedback.

    Raises:
        UserError: if it is not in [0, 1).
    """
    if not 0.0 <= g < 1.0:
        raise UserError(f"the feedback is at least 0 and below 1, not {g!r}")
    return g


@dataclass(frozen=True)
class Mask:
    """Weights that spread one input over the V slots of a step (Appeltant et al. 2011, Nature Commun. 2:468).

    With u in [0, 1), slot j carries ``0.5 + gain * m_j * (u - 0.5)``. One slot of weight 1 and gain 1 is the identity.

    Attributes:
        weights: m, V numbers in [-1, 1], not all 0.
        gain: in (0, 1].
    """

    weights: tuple[float, ...] = (1.0,)
    gain: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", tuple(float(w) for w in self.weights))
        if not 0.0 < self.gain <= 1.0:
            raise UserError(f"the gain of a mask is above 0 and at most 1, not {self.gain!r}")
        if not any(self.weights) or not all(abs(w) <= 1.0 for w in self.weights):
            raise UserError("a mask has weights from -1 to 1, at least one of them not 0")

    @property
    def slots(self) -> int:
        """V, the jobs of one step."""
        return len(self.weights)

    @staticmethod
    def binary(slots: int, rng: np.random.Generator, gain: float = 1.0) -> Mask:
        """Weights -1 and 1 at random."""
        return Mask(tuple(rng.choice([-1.0, 1.0], slots)), gain)

    @staticmethod
    def uniform(slots: int, rng: np.random.Generator, gain: float = 1.0) -> Mask:
        """Weights uniform in [-1, 1)."""
        return Mask(tuple(rng.uniform(-1.0, 1.0, slots)), gain)

    @staticmethod
    def maximum_length(slots: int, gain: float = 1.0) -> Mask:
        """The first ``slots`` of the shortest maximum-length sequence of -1 and 1 that is long enough."""
        if slots == 1:
            return Mask(gain=gain)
        from scipy.signal import max_len_seq

        bits = max(2, slots.bit_length())
        return Mask(tuple(2.0 * max_len_seq(bits, length=slots)[0] - 1.0), gain)

    def apply(self, u: npt.ArrayLike) -> F64:
        """Symbols (T, V) in [0, 1) of inputs (T,) in [0, 1)."""
        a = self.gain * np.array(self.weights)
        # the form that leaves u untouched, bit by bit, under the identity
        return np.minimum(0.5 * (1.0 - a) + np.asarray(u, np.float64)[:, None] * a, BELOW_ONE)

    def invert(self, symbols: F64) -> F64:
        """Inputs (T,) whose masked symbols are closest to ``symbols`` (T, V), by least squares over the slots."""
        a = self.gain * np.array(self.weights)
        return np.asarray((symbols - 0.5 * (1.0 - a)) @ a / (a @ a))


IDENTITY = Mask()
"""Each step is one job, and its symbol the input itself."""


@dataclass(frozen=True)
class Encoding:
    """How an input becomes job fields, and back; goes into the configuration of a run.

    Fields and what they take of a symbol s:

    * ``prevhash`` (own pool only), ``coinbase``, ``extranonce1``: 4 bytes, the big-endian number ``floor(s 2^32)``;
    * ``version_bits``: ``floor(s 2^13)`` in the low 13 bits, which no miner rolls under the mask 0x1fffe000;
    * ``ntime``: ``floor(s 4096)`` s after the last multiple of 4096 s, so that it can be read back without a clock;
    * ``difficulty``: ``d_low (d_high / d_low)^s``, rounded down for miners that read integers;
    * ``duty``: the first ``round(s V)`` of the V slots have the difficulty ``d_low``, the others 2^40 times as much.
      The slots share the symbol of their step, made at the first of them;
    * ``frequency``, ``voltage``: the miner is set to ``setting_low + s (setting_high - setting_low)``, to the nearest
      multiple of ``setting_step`` between the two; see :meth:`setting`. The inverse is :meth:`decode` of what was set.

    ``difficulty``, ``duty``, ``frequency`` and ``voltage`` print the input into the timing without any computation: the
    rate of shares follows them. Compare with an emulator that has nothing else.

    Attributes:
        field: see above.
        mode: ``dialogue`` mixes the last response in, ``monologue`` does not, ``constant`` sends 0.5 always.
        feedback: g of the dialogue, in [0, 1).
        mask: weights per slot; under ``duty`` all 1, with gain 1.
        low: input that becomes 0.
        high: input that becomes 1 (itself taken down to the number below 1).
        d_low: working difficulty, or the lowest.
        d_high: the highest.
        integer_difficulty: whether the miner reads whole numbers only.
        setting_low: clock in MHz or core voltage in mV that 0 becomes, within the limits of the model.
        setting_high: that 1 becomes.
        setting_step: distance of two values that the miner takes; 0 where it takes any.
    """

    field: Field = "coinbase"
    mode: Mode = "dialogue"
    feedback: float = 0.25
    mask: Mask = IDENTITY
    low: float = 0.0
    high: float = 1.0
    d_low: float = 256.0
    d_high: float = 1024.0
    integer_difficulty: bool = True
    setting_low: float | None = None
    setting_high: float | None = None
    setting_step: float = 0.0

    def __post_init__(self) -> None:
        for name, known in (("field", Field), ("mode", Mode)):
            if getattr(self, name) not in get_args(known):
                raise UserError(f"{name} is one of {', '.join(get_args(known))}, not {getattr(self, name)!r}")
        check_feedback(self.feedback)
        if not -math.inf < self.low < self.high < math.inf:
            raise UserError(f"inputs range from low to high, not from {self.low!r} to {self.high!r}")
        if not 0.0 < self.d_low < self.d_high < math.inf:
            raise UserError(f"0 < d_low < d_high is needed, not {self.d_low!r} and {self.d_high!r}")
        if self.integer_difficulty and (self.d_low != int(self.d_low) or self.d_high != int(self.d_high)):
            raise UserError("this miner reads a difficulty as an integer: give whole d_low and d_high")
        if self.field == "duty" and (self.slots < 2 or self.mask != Mask((1.0,) * self.slots)):
            raise UserError("duty needs a mask of 2 slots or more, all weights and the gain 1")
        if self.field in SETTINGS:
            self._check_setting()

    def _check_setting(self) -> None:
        if self.setting_low is None or self.setting_high is None:
            raise UserError(f"{self.field} needs setting_low and setting_high: what 0 and 1 stand for")
        if not 0.0 < self.setting_low < self.setting_high < math.inf:
            raise UserError(
                f"{self.field} goes from a low to a high setting above 0, not from {self.setting_low!r} to "
                f"{self.setting_high!r}"
            )
        low, high = self._grid()
        if not 0.0 <= self.setting_step < math.inf or not low < high:
            raise UserError(
                f"{self.field}: steps of {self.setting_step!r} leave no two values between {self.setting_low!r} and "
                f"{self.setting_high!r}"
            )

    @property
    def slots(self) -> int:
        """V, the jobs of one step."""
        return self.mask.slots

    @property
    def carries_difficulty(self) -> bool:
        """Whether the difficulty of a job tells its symbol."""
        return self.field in ("difficulty", "duty")

    @property
    def resolution(self) -> float:
        """A decoded symbol is less than this away from the encoded one; 0 stands for rounding (1e-12)."""
        match self.field:
            case "version_bits":
                return 2.0**-FREE_VERSION_BITS
            case "ntime":
                return 1.0 / NTIME_SPAN
            case "difficulty":
                step = math.log1p(1.0 / self.d_low) / math.log(self.d_high / self.d_low)
                return step if self.integer_difficulty else 0.0
            case "duty":
                return 1.0 / self.slots
            case "frequency" | "voltage":
                return self.setting_step / self._span()[1]
            case _:
                return 2.0**-32

    def base(self, u: npt.ArrayLike) -> F64:
        """Symbols (T, V) of inputs (T,) before any response is mixed in.

        Raises:
            UserError: if an input lies outside ``low`` to ``high``.
        """
        inputs = np.asarray(u, np.float64)
        if not ((inputs >= self.low) & (inputs <= self.high)).all():
            raise UserError(
                f"inputs lie between low = {self.low!r} and high = {self.high!r}; these reach from "
                f"{inputs.min()!r} to {inputs.max()!r}"
            )
        if self.mode == "constant":
            return np.full((inputs.size, self.slots), 0.5)
        scaled = np.minimum((inputs - self.low) / (self.high - self.low), BELOW_ONE)
        return self.mask.apply(scaled)

    def inputs(self, base: F64) -> F64:
        """Inputs (T,) of base symbols (T, V): undoes :meth:`base`, by least squares over the slots.

        Raises:
            UserError: in the mode ``constant``, which carries no input.
        """
        if self.mode == "constant":
            raise UserError("the mode constant carries no input: there is nothing to find again")
        return self.low + (self.high - self.low) * self.mask.invert(base)

    def encode(self, symbol: float, *, wall_ns: int | None = None, slot: int = 0) -> dict[str, Any]:
        """Job fields that carry a symbol: ``value`` and the field, as a job symbol of the bridge takes them.

        Args:
            symbol: in [0, 1).
            wall_ns: now; ``ntime`` needs it.
            slot: of the job in its step; ``duty`` needs it.

        Raises:
            UserError: if the symbol is outside, or the time is missing.
        """
        s = float(symbol)
        if not 0.0 <= s < 1.0:
            raise UserError(f"a symbol is at least 0 and below 1, not {s!r}")
        match self.field:
            case "coinbase":
                content: Any = int(s * 2.0**32).to_bytes(4, "big")
            case "prevhash" | "extranonce1":
                content = f"{int(s * 2.0**32):08x}"
            case "version_bits":
                content = int(s * 2.0**FREE_VERSION_BITS)
            case "ntime":
                if wall_ns is None:
                    raise UserError("a symbol in ntime needs the time of its job")
                now_s = wall_ns // 1_000_000_000
                content = now_s - now_s % NTIME_SPAN + int(s * NTIME_SPAN)
            case "frequency" | "voltage":
                return {"value": s}  # the job carries it by name only, see setting()
            case _:
                return {"value": s, "difficulty": self._difficulty(s, slot)}
        return {"value": s, self.field: content}

    def setting(self, symbol: float) -> dict[str, float]:
        """What the miner is set to for a symbol in [0, 1): ``frequency_mhz`` or ``core_voltage_mv`` and its value.

        Raises:
            UserError: if the symbol is outside, or the field is not a setting.
        """
        if self.field not in SETTINGS:
            raise UserError(f"{self.field} is a field of a job and sets nothing on the miner")
        s = float(symbol)
        if not 0.0 <= s < 1.0:
            raise UserError(f"a symbol is at least 0 and below 1, not {s!r}")
        low, span = self._span()
        value = low + s * span
        if self.setting_step:
            least, most = self._grid()
            value = min(max(round(value / self.setting_step), least), most) * self.setting_step
        return {SETTINGS[self.field]: value}

    def _span(self) -> tuple[float, float]:
        """Lowest setting, and how far the highest is from it."""
        low, high = self.setting_low or 0.0, self.setting_high or 0.0
        return low, high - low

    def _grid(self) -> tuple[float, float]:
        """First and last multiple of the step within the range, in steps."""
        low, span = self._span()
        if not self.setting_step > 0.0:
            return low, low + span
        # a whole number of steps that rounding left just beside itself stays what it is
        return (
            math.ceil(low / self.setting_step - 1e-9),
            math.floor((low + span) / self.setting_step + 1e-9),
        )

    def _difficulty(self, s: float, slot: int) -> float:
        if self.field == "duty":
            return self.d_low if slot < int(s * self.slots + 0.5) else self.d_low * IDLE
        difficulty = self.d_low * (self.d_high / self.d_low) ** s
        # a whole difficulty that rounding left just below itself stays what it is
        return float(math.floor(difficulty * (1.0 + 1e-12))) if self.integer_difficulty else difficulty

    def decode(self, sent: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> float:
        """The symbol that job fields carry, to :attr:`resolution`.

        Args:
            sent: fields of a job, as :meth:`encode` made them or as a trace stores them (hex); under ``duty`` those of
                all slots of a step, in order; under ``frequency`` and ``voltage`` the setting that was in force.

        Raises:
            UserError: if the field is missing, or under ``duty`` a slot.
        """
        jobs = [sent] if isinstance(sent, Mapping) else list(sent)
        if len(jobs) != (self.slots if self.field == "duty" else 1):
            raise UserError(
                f"a symbol in {self.field} takes the fields of {self.slots} jobs, not {len(jobs)}"
            )
        name = "difficulty" if self.carries_difficulty else SETTINGS.get(self.field, self.field)
        if any(job.get(name) is None for job in jobs):
            raise UserError(f"the job carries no symbol in {name}; its fields are {', '.join(jobs[0])}")
        if self.field == "duty":
            return sum(float(job[name]) < self.d_low * math.sqrt(IDLE) for job in jobs) / self.slots
        if self.field == "difficulty":
            return math.log(float(jobs[0][name]) / self.d_low) / math.log(self.d_high / self.d_low)
        if self.field in SETTINGS:
            low, span = self._span()
            return (float(jobs[0][name]) - low) / span
        number = _number(jobs[0][name], self.field)
        if self.field == "version_bits":
            return (number & ((1 << FREE_VERSION_BITS) - 1)) / 2.0**FREE_VERSION_BITS
        return number % NTIME_SPAN / NTIME_SPAN if self.field == "ntime" else number / 2.0**32

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self) | {"mask": {"weights": list(self.mask.weights), "gain": self.mask.gain}}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Encoding:
        """From what :meth:`to_json` gave; what is left out has its default.

        Raises:
            UserError: if something is unknown or out of range.
        """
        unknown = sorted(set(content) - {f.name for f in fields(Encoding)})
        if unknown:
            raise UserError(f"an encoding has no {', '.join(unknown)}")
        mask = content.get("mask")
        given = {} if mask is None else {"mask": Mask(tuple(mask["weights"]), mask["gain"])}
        return Encoding(**{**content, **given})


def _number(content: Any, name: str) -> int:
    if isinstance(content, int):
        return content
    digits = content.hex() if isinstance(content, bytes) else str(content)
    try:
        return int(digits[:8] if name in _WORD_FIELDS else digits, 16)
    except ValueError:
        raise UserError(f"the {name} of a job is hex, not {content!r}") from None
