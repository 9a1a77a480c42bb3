"""What a user asks the Sentinel to do, and what it did: plain records."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from firmware_bridge.devices.settings import Applied, OperatingPoint
from firmware_bridge.errors import UserError
from firmware_bridge.sentinel.actuators import KNOBS, settings_named

PERIOD_S = 3.0


class Mode(StrEnum):
    """What it is doing."""

    WATCH = "watch"
    """It looks and says; it sets nothing."""
    GUARD = "guard"
    """It only keeps the limits."""
    HOLD = "hold"
    """It holds a temperature, and keeps the limits."""
    SAFE = "safe"
    """The device is at its safe point until its telemetry can be believed again."""
    TRIPPED = "tripped"
    """The device is at its safe point until a person has looked."""


@dataclass(frozen=True)
class SentinelConfig:
    """What is asked for.

    Attributes:
        target_c: temperature to hold; None to only keep the limits.
        knob: ``auto``, ``fan``, ``frequency``, ``voltage`` (the clock with its voltage) or ``plan``.
        limit_c: never to be passed, at most the model's own hard limit, which it is by default.
        period_s: between two readings.
        watch_only: look and say, set nothing.
        ceiling_mhz: fastest clock to hold a temperature with, by default the one that it had.
        beyond_factory: also clocks slower than the vendor's menu to hold a temperature.
        recover_s: how long telemetry has to be good before it goes on after a doubt.
        recoveries: how often it may do so, before it stays at the safe point.
    """

    target_c: float | None = None
    knob: str = "auto"
    limit_c: float | None = None
    period_s: float = PERIOD_S
    watch_only: bool = False
    ceiling_mhz: float | None = None
    beyond_factory: bool = False
    recover_s: float = 300.0
    recoveries: int = 3

    def __post_init__(self) -> None:
        for name in ("target_c", "limit_c", "ceiling_mhz", "period_s"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise UserError(f"{name.partition('_')[0]} is a number, not {value}")
        if not 0.2 <= self.period_s <= 10.0:
            raise UserError(f"period={self.period_s:g}: a reading is taken every 0.2 to 10 s")
        if self.watch_only and self.target_c is not None:
            raise UserError("watch sets nothing, so there is no target to hold")
        settings_named(self.knob)

    @classmethod
    def parse(cls, text: str, *, period_s: float = PERIOD_S) -> SentinelConfig:
        """From ``target=60,knob=fan``, ``limit=70``, or ``watch``.

        Args:
            text: as on the command line.
            period_s: where the text does not give one.

        Raises:
            UserError: naming the part that is not understood.
        """
        names = {
            "target": "target_c",
            "limit": "limit_c",
            "period": "period_s",
            "ceiling": "ceiling_mhz",
            "knob": "knob",
        }
        switches = {"watch": {"watch_only": True}, "guard": {}, "yes": {"beyond_factory": True}}
        if not text.strip():
            raise UserError("--sentinel needs to know what to do: watch, guard, or target=60")
        given: dict[str, Any] = {"period_s": period_s}
        for part in filter(None, (p.strip() for p in text.replace(" ", ",").split(","))):
            name, sign, value = part.partition("=")
            if not sign and name in switches:
                given |= switches[name]
            elif sign and name == "knob":
                given["knob"] = value
            elif sign and name in names:
                try:
                    given[names[name]] = float(value)
                except ValueError:
                    raise UserError(f"--sentinel {part}: {name} is a number") from None
            else:
                raise UserError(
                    f"--sentinel {part}: there are watch, guard, yes, target=°C, limit=°C, period=S, ceiling=MHZ and "
                    f"knob={'|'.join(KNOBS)}"
                )
        return cls(**given)

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Action:
    """A change of settings, and why.

    Attributes:
        monotonic_ns: when it was done.
        wall_ns: the same on the wall clock.
        mode: what the Sentinel was doing.
        reason: why.
        point: what was asked for.
        applied: what became of it, None where it failed.
        error: why it failed.
    """

    monotonic_ns: int
    wall_ns: int
    mode: Mode
    reason: str
    point: OperatingPoint
    applied: Applied | None = None
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "wall_ns": self.wall_ns,
            "mode": str(self.mode),
            "reason": self.reason,
            "point": {str(s): v for s, v in self.point.given().items()},
            "confirmed": {str(s): v for s, v in self.applied.confirmed.items()} if self.applied else None,
            "error": self.error,
        }


@dataclass(frozen=True)
class Happening:
    """Something that the Sentinel noticed or decided.

    Attributes:
        kind: of the event: ``sentinel-…``.
        severity: ``info``, ``warning`` or ``error``.
        monotonic_ns: when.
        wall_ns: the same on the wall clock.
        detail: what there is to know.
    """

    kind: str
    severity: str
    monotonic_ns: int
    wall_ns: int
    detail: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"event": self.kind, "severity": self.severity, "wall_ns": self.wall_ns, **self.detail}
