"""Clock and core voltage as carriers of an input: how far they swing on a model, and what the trace says was set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from firmware_bridge.devices.settings import Limits
    from firmware_bridge.trace.reader import TraceReader
    from reservoir.encoding import Encoding

STEPS: Mapping[tuple[str, str], float] = {
    ("s9", "frequency"): 6.25,
    ("lv06", "frequency"): 1.0,
    ("lv06", "voltage"): 1.0,
}
"""Distance of two settings that a model takes, in MHz or mV: PLL of the BM1387; whole numbers of AxeOS."""


RESTORED = "end of the run"
"""Reason of the change that brings the settings from before back: it carries no symbol."""


@dataclass(frozen=True)
class Swing:
    """From which setting to which a symbol moves a miner.

    Attributes:
        low: MHz or mV that a symbol of 0 stands for; None: the lowest that the factory offers.
        high: that 1 stands for; None: the highest that the factory offers.
        step: distance of two values that the miner takes.
    """

    low: float | None = None
    high: float | None = None
    step: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Swing:
        """``LOW:HIGH``.

        Raises:
            UserError: if it is not of this form.
        """
        low, sign, high = text.partition(":")
        try:
            if not sign:
                raise ValueError
            return cls(float(low), float(high))
        except ValueError:
            raise UserError(f"--range is LOW:HIGH in MHz or mV, for example 425:525, not {text!r}") from None

    @classmethod
    def of(cls, encoding: Encoding) -> Swing | None:
        """What an encoding says; None where it sets nothing on the miner."""
        from reservoir.encoding import SETTINGS

        if encoding.field not in SETTINGS:
            return None
        return cls(encoding.setting_low, encoding.setting_high, encoding.setting_step)

    def of_encoding(self) -> dict[str, Any]:
        """As the arguments of an :class:`~reservoir.encoding.Encoding`."""
        return {"setting_low": self.low, "setting_high": self.high, "setting_step": self.step}


def limits_of(model: str) -> Limits:
    """Hard limits of a model.

    Raises:
        UserError: if none are known.
    """
    if model == "s9":
        from firmware_bridge.devices.s9_fields import LIMITS

        return LIMITS
    if model == "lv06":
        from firmware_bridge.devices.axeos_chips import LIMITS as OF_AXEOS

        return OF_AXEOS
    raise UserError(f"no limits are known for the clock and the voltage of {model!r}, so they carry nothing")


def swing_of(model: str, field: str, wanted: Swing | None = None) -> Swing:
    """The range of a setting that carries symbols, within the hard limits of the model.

    Args:
        model: of the miner.
        field: ``frequency`` or ``voltage``.
        wanted: from where to where; by default what the factory offers.

    Raises:
        LimitError: if an end is outside the hard limits.
        UserError: if the model has no such setting.
    """
    from firmware_bridge.devices.settings import OperatingPoint, Setting
    from reservoir.encoding import SETTINGS

    limits, setting = limits_of(model), Setting(SETTINGS[field])
    bound = limits.bounds.get(setting)
    if bound is None:
        others = ", ".join(f for f in SETTINGS if Setting(SETTINGS[f]) in limits.bounds)
        raise UserError(
            f"no limits are known for the {field} of an {model}, so it is never set; it has {others}"
        )
    low = min(bound.factory) if wanted is None or wanted.low is None else wanted.low
    high = max(bound.factory) if wanted is None or wanted.high is None else wanted.high
    for value in (low, high):
        limits.check(model, OperatingPoint(**{setting.value: value}), beyond_factory=True)  # type: ignore[arg-type]
    return Swing(low, high, STEPS[model, field])


def settings_at(
    trace: TraceReader, run: int, setting: str, wall_ns: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """What the trace says a miner was set to at some moments: the last change at or before each, nan before the first.

    Args:
        trace: where from.
        run: number of the run, of one miner.
        setting: as the trace names it.
        wall_ns: the moments, (T,).

    Returns:
        What was asked for; a clock that is measured wobbles, and what was asked for is what carried the symbol. (T,).
    """
    table = trace.columns(run, "settings", ("setting", "wall_ns", "requested", "reason"))
    told = (table.values["setting"] == setting) & ~table.null["wall_ns"] & ~table.null["requested"]
    told &= table.null["reason"] | (table.values["reason"] != RESTORED)
    rows = np.flatnonzero(told)
    rows = rows[np.argsort(table.values["wall_ns"][rows], kind="stable")]
    values = np.array([np.nan, *(float(text) for text in table.values["requested"][rows].tolist())])
    at = np.searchsorted(table.values["wall_ns"][rows].astype(np.int64), wall_ns, side="right")
    return np.asarray(values[at])


def check_settings(trace: TraceReader, run: int, encoding: Encoding) -> None:
    """Read the symbols back from the settings of a run, and hold them against those of its jobs.

    Raises:
        UserError: if one was not set.
    """
    from reservoir.encoding import SETTINGS

    setting = SETTINGS[encoding.field]
    jobs = trace.columns(run, "jobs", ("symbol", "sent_wall_ns"))
    rows = np.flatnonzero(~jobs.null["symbol"] & ~jobs.null["sent_wall_ns"])
    sent_ns, symbols = jobs.values["sent_wall_ns"][rows].astype(np.int64), jobs.values["symbol"][rows]
    # a device takes its time: what counts is what it was set to before the next job went out
    until_ns = np.append(sent_ns[1:] - 1, np.iinfo(np.int64).max)
    values = settings_at(trace, run, setting, until_ns)
    for row, (value, symbol) in enumerate(zip(values, symbols.tolist(), strict=True), 1):
        if not abs(encoding.decode({setting: value}) - symbol) <= encoding.resolution + 1e-9:
            raise UserError(
                f"job {row} of the run carries the symbol {symbol:.4f}, but its settings say {setting} {value:g} at "
                "that time: the miner was not set to what the run's record names"
            )
