"""What can be set on a miner, within which hard limits, and what was measured afterwards."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from firmware_bridge.errors import LimitError


class Setting(StrEnum):
    """What can be set; the values are the field names of :class:`OperatingPoint`."""

    FREQUENCY = "frequency_mhz"
    CORE_VOLTAGE = "core_voltage_mv"
    FAN = "fan_percent"
    POWER_PLAN = "power_plan"


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Settings of a miner; None where it is not asked for, or not known. Never 0 for "unknown"."""

    frequency_mhz: float | None = None
    core_voltage_mv: float | None = None
    fan_percent: float | None = None
    power_plan: str | None = None

    def given(self) -> dict[Setting, float | str]:
        """The settings that are not None."""
        return {s: getattr(self, s.value) for s in Setting if getattr(self, s.value) is not None}

    def only(self, settings: Mapping[Setting, Any]) -> OperatingPoint:
        """This point, restricted to some settings."""
        return OperatingPoint(**{s.value: getattr(self, s.value) for s in settings})

    def to_json(self) -> dict[str, float | str | None]:
        """As plain data."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Bound:
    """Hard limits of one number, which nothing in this lab goes beyond, and the values that the factory offers.

    Attributes:
        low: smallest value ever set.
        high: largest value ever set.
        factory: values that the vendor's own menu offers; others need the user's explicit word.
        source: where these numbers come from.
    """

    low: float
    high: float
    factory: tuple[float, ...]
    source: str


@dataclass(frozen=True)
class Limits:
    """Hard limits of a model.

    Attributes:
        bounds: per setting that is a number.
        plans: names of the power plans, where the model has them, the one that draws most first.
        max_temperature_c: chip temperature from which nothing is set that could heat further.
    """

    bounds: Mapping[Setting, Bound]
    max_temperature_c: float
    plans: tuple[str, ...] = ()

    def heating(self, point: OperatingPoint, present: OperatingPoint) -> dict[Setting, float | str]:
        """Those settings of a point that could make the chip hotter than the present ones, or nobody knows."""
        before = present.given()
        return {s: v for s, v in point.given().items() if s not in before or self._hotter(s, v, before[s])}

    def _hotter(self, setting: Setting, value: float | str, before: float | str) -> bool:
        if isinstance(value, str) or isinstance(before, str):
            if value == before or (value,) == self.plans[-1:]:
                return False
            if value not in self.plans or before not in self.plans:
                return True
            return self.plans.index(value) < self.plans.index(before)
        return value < before if setting == Setting.FAN else value > before

    def check(self, model: str, point: OperatingPoint, *, beyond_factory: bool = False) -> None:
        """Refuse a point that this model must not be set to.

        Args:
            model: name for the message.
            point: what is asked for.
            beyond_factory: whether the user has agreed to values outside the factory's table.

        Raises:
            LimitError: naming the setting, the value and what is allowed.
        """
        for setting, value in point.given().items():
            if isinstance(value, str):
                if value not in self.plans:
                    known = ", ".join(self.plans) or "none"
                    raise LimitError(f"{model} has no power plan {value!r}; its plans: {known}")
                continue
            bound = self.bounds.get(setting)
            if bound is None:
                raise LimitError(f"{model}: no limits are known for {setting}, so it is never set")
            if not math.isfinite(value) or not bound.low <= value <= bound.high:
                raise LimitError(
                    f"{model}: {setting} {value:g} is outside the hard limits {bound.low:g} .. {bound.high:g} "
                    f"({bound.source}); nothing was changed"
                )
            if value not in bound.factory and not beyond_factory:
                offered = ", ".join(f"{v:g}" for v in bound.factory) or "none"
                raise LimitError(
                    f"{model}: {setting} {value:g} is not among the factory's values ({offered}); within the hard "
                    f"limits {bound.low:g} .. {bound.high:g} it is set only with --yes"
                )


@dataclass(frozen=True, slots=True)
class Reading:
    """What was measured of one setting after a change.

    Attributes:
        value: the measured value, or None where nothing measures it.
        tolerance: how far from what was asked still counts as that.
        what: what was measured, for people, e.g. ``coreVoltageActual``.
    """

    value: float | str | None
    tolerance: float
    what: str

    def confirms(self, asked: float | str) -> bool | None:
        """Whether the measurement shows the setting in force; None where there is none."""
        if self.value is None:
            return None
        if isinstance(asked, str) or isinstance(self.value, str):
            return asked == self.value
        return abs(self.value - asked) <= self.tolerance


class Change(NamedTuple):
    """What became of one setting, as texts; None is not known."""

    setting: str
    previous: str | None
    requested: str
    measured: str | None


@dataclass(frozen=True)
class Applied:
    """What became of a change of settings.

    Attributes:
        asked: what was asked for.
        before: the settings that the firmware reported before, of those asked for.
        reported: the settings that the firmware reports now, of those asked for. A firmware may repeat anything.
        measured: per setting what was measured.
        restarted: whether the device was restarted for it.
    """

    asked: OperatingPoint
    before: OperatingPoint
    reported: OperatingPoint
    measured: Mapping[Setting, Reading]
    restarted: bool = False

    @property
    def confirmed(self) -> dict[Setting, bool | None]:
        """Per setting asked for: measured in force (True), measured otherwise (False), or not measured (None).

        A measurement too coarse to tell the value asked for from the one before has measured nothing.
        """
        verdicts: dict[Setting, bool | None] = {}
        before = self.before.given()
        for setting, asked in self.asked.given().items():
            reading = self.measured.get(setting)
            verdict = None if reading is None else reading.confirms(asked)
            if verdict and reading is not None and before.get(setting, asked) != asked:
                verdict = None if reading.confirms(before[setting]) else True
            verdicts[setting] = verdict
        return verdicts

    def changes(self) -> list[Change]:
        """Per setting asked for what the trace keeps."""
        before, rows = self.before.given(), []
        for setting, asked in self.asked.given().items():
            reading = self.measured.get(setting)
            measured = None if reading is None or reading.value is None else _text(reading.value)
            previous = before.get(setting)
            rows.append(
                Change(str(setting), None if previous is None else _text(previous), _text(asked), measured)
            )
        return rows

    @property
    def in_force(self) -> bool:
        """Whether every setting asked for was measured in force: only then may an experiment count on it."""
        verdicts = self.confirmed
        return bool(verdicts) and all(v is True for v in verdicts.values())

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "asked": self.asked.to_json(),
            "before": self.before.to_json(),
            "reported": self.reported.to_json(),
            "measured": {
                str(s): {"value": r.value, "what": r.what, "tolerance": r.tolerance}
                for s, r in self.measured.items()
            },
            "confirmed": {str(s): v for s, v in self.confirmed.items()},
            "in_force": self.in_force,
            "restarted": self.restarted,
        }


def _text(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.12g}"


class OriginalSettings:
    """Remembers what a device was set to before the lab touched it; the plain form forgets with the process.

    ``devices.journal`` has one that survives ``kill -9``.
    """

    def __init__(self) -> None:
        self._points: dict[str, OperatingPoint] = {}

    def get(self, address: str) -> OperatingPoint | None:
        """The original point of a device that was changed and not restored, or None."""
        return self._points.get(address)

    def keep(self, address: str, point: OperatingPoint) -> None:
        """Remember a point; durable when this returns, since the change follows at once."""
        self._points[address] = point

    def forget(self, address: str) -> None:
        """Note that a device is back at its original point."""
        self._points.pop(address, None)
