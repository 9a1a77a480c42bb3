"""Sensors beside a miner: which number of which topic is which column of a reading. Nothing here touches a network.

A message is a plain number, or JSON with a number somewhere in it. What is not certainly a present, plausible value is
refused with a reason; it never becomes a reading.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import msgspec

from firmware_bridge.errors import UserError
from firmware_bridge.trace.schema import TelemetryRow

MAX_PAYLOAD = 65_536
"""Bytes of a message of a sensor."""
LEAST_INTERVAL_NS = 100_000_000
"""Between two readings of one sensor that are stored."""
LONGEST_TOPIC = 65_535

PLAUSIBLE: dict[str, tuple[float, float]] = {
    "temperature_c": (-40.0, 150.0),
    "board_temperature_c": (-40.0, 150.0),
    "regulator_temperature_c": (-40.0, 175.0),
    "ambient_c": (-40.0, 85.0),
    "voltage_mv": (0.0, 60_000.0),
    "input_voltage_mv": (0.0, 500_000.0),
    "current_ma": (0.0, 500_000.0),
    "power_w": (0.0, 20_000.0),
    "frequency_mhz": (0.0, 5_000.0),
    "fan_rpm": (0.0, 30_000.0),
    "fan_percent": (0.0, 100.0),
    "hash_rate_ghs": (0.0, 1e7),
    "hardware_errors": (0.0, 2.0**53),
}
"""Columns that a sensor can fill, and where a value lies after factor and offset, if it is a measurement."""

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)


class Reason(StrEnum):
    """Why a message is no reading."""

    RETAINED = "retained: nobody knows how old it is"
    TOO_LARGE = "too large"
    NO_TEXT = "not UTF-8"
    NO_JSON = "neither a number nor JSON"
    NO_VALUE = "nothing at that path"
    NO_NUMBER = "not a number"
    NOT_FINITE = "not finite"
    IMPLAUSIBLE = "outside what this column can be"
    NO_MINER = "no such miner in this run yet"
    TOO_OFTEN = "more than ten in a second"


class RefusedError(Exception):
    """A message that is no reading.

    Attributes:
        reason: why.
        seen: the part of it that is wrong, cut.
    """

    def __init__(self, reason: Reason, seen: object = "") -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.seen = str(seen)[:80]


@dataclass(frozen=True, slots=True)
class Sensor:
    """One number of one topic.

    Attributes:
        topic: without wildcards.
        column: of the telemetry table.
        miner: name of the miner that it belongs to; None for the room.
        path: keys and indices to the number within JSON; empty where the whole message is the number.
        factor: what the number is multiplied by.
        offset: what is added after that.
        name: what the reading says of its source.
    """

    topic: str
    column: str
    miner: str | None = None
    path: tuple[str, ...] = ()
    factor: float = 1.0
    offset: float = 0.0
    name: str = ""

    def __post_init__(self) -> None:
        """Refuse what can never give a reading.

        Raises:
            UserError: with what would do.
        """
        if self.column not in PLAUSIBLE:
            raise UserError(f"a sensor cannot fill {self.column!r}; it can fill {', '.join(PLAUSIBLE)}")
        if fault := _topic_fault(self.topic):
            raise UserError(
                f"the topic {self.topic!r} of {self.column} {fault}; name one topic, without wildcards"
            )
        if self.miner == "":
            raise UserError(f"{self.column}@ names no miner; leave the @ out for the room")
        if not math.isfinite(self.factor) or self.factor == 0.0 or not math.isfinite(self.offset):
            raise UserError(f"{self.topic}: a factor is finite and not 0, an offset is finite")
        if not self.name:
            object.__setattr__(self, "name", self.topic)

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    def value(self, payload: bytes) -> float:
        """The value of the column that a message tells.

        Raises:
            RefusedError: if it tells none that can be believed.
        """
        number = _number(_at(_parse(payload), self.path)) * self.factor + self.offset
        if not math.isfinite(number):
            raise RefusedError(Reason.NOT_FINITE, number)
        low, high = PLAUSIBLE[self.column]
        if not low <= number <= high:
            raise RefusedError(Reason.IMPLAUSIBLE, f"{number:g}, which is not in {low:g} .. {high:g}")
        if self.column == "hardware_errors" and number != int(number):
            raise RefusedError(Reason.IMPLAUSIBLE, f"{number:g}, which is no count")
        return number


def parse_sensor(text: str) -> Sensor:
    """A sensor as the command line has it: ``COLUMN[@MINER]=TOPIC[;path=a.b.0][;factor=F][;offset=O][;name=N]``.

    Raises:
        UserError: if it is none.
    """
    head, equals, rest = text.partition("=")
    topic, *options = rest.split(";")
    if not equals or not head or not topic:
        raise UserError(f"--sensor {text!r}: write it as COLUMN@MINER=TOPIC, or COLUMN=TOPIC for the room")
    column, at, miner = head.partition("@")
    table: dict[str, Any] = {"topic": topic, "column": column}
    if at:
        table["miner"] = miner
    for option in options:
        key, equals, value = option.partition("=")
        if not equals or key not in ("path", "factor", "offset", "name") or key in table:
            raise UserError(
                f"--sensor {text!r}: {option!r} is none of path=, factor=, offset=, name=, each once"
            )
        table[key] = value
    return sensor_from_table(table, f"--sensor {text!r}")


def sensor_from_table(table: object, place: str) -> Sensor:
    """A sensor as ``lab.toml`` has it: a ``[[sensors]]`` table with the fields of :class:`Sensor`.

    Args:
        table: as it was parsed; the path is a text with dots, or a list.
        place: what to name in an error.

    Raises:
        UserError: if it is none.
    """
    if not isinstance(table, dict):
        raise UserError(f"{place}: a sensor is a table [[sensors]] with topic and column")
    known = Sensor.__dataclass_fields__
    if unknown := [key for key in table if key not in known]:
        raise UserError(f"{place}: a sensor has no {', '.join(map(str, unknown))}; it has {', '.join(known)}")
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key in ("factor", "offset"):
            values[key] = _setting(value, f"{place}: {key}")
        elif key == "path":
            parts = value.split(".") if isinstance(value, str) else value
            if not isinstance(parts, list) or not all(isinstance(p, str | int) and str(p) for p in parts):
                raise UserError(
                    f"{place}: a path is keys and indices with dots between them, such as emeters.0.power"
                )
            values[key] = tuple(str(part) for part in parts)
        elif not isinstance(value, str):
            raise UserError(f"{place}: {key} is a text, not {value!r}")
        else:
            values[key] = value
    if lacking := [key for key in ("topic", "column") if key not in values]:
        raise UserError(f"{place}: a sensor needs {' and '.join(lacking)}")
    try:
        return Sensor(**values)
    except UserError as error:
        raise UserError(f"{place}: {error}") from None


@dataclass(frozen=True, slots=True)
class SensorReading:
    """One row of telemetry that a message gives.

    Attributes:
        miner: name of the miner, or None for the room.
        name: of the sensor.
        values: column to value.
    """

    miner: str | None
    name: str
    values: dict[str, float]

    def to_row(self, miner: int | None, wall_ns: int, monotonic_ns: int) -> TelemetryRow:
        """As a row of the trace, stamped with the arrival of the message."""
        known: dict[str, Any] = dict(self.values)
        if "hardware_errors" in known:
            known["hardware_errors"] = int(known["hardware_errors"])
        return TelemetryRow(miner, wall_ns, monotonic_ns, **known, source=self.name)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A message of a sensor that gave nothing."""

    sensor: Sensor
    reason: Reason
    seen: str

    def to_json(self) -> dict[str, Any]:
        """As an event tells it."""
        place = (
            self.sensor.column if self.sensor.miner is None else f"{self.sensor.column}@{self.sensor.miner}"
        )
        return {"sensor": self.sensor.name, "topic": self.sensor.topic, "fills": place, "reason": self.reason.value,
                "seen": self.seen}  # fmt: skip


class SensorDesk:
    """Judges messages of sensors.

    Args:
        sensors: all of them.

    Raises:
        UserError: if two fill the same column of the same reading.
    """

    def __init__(self, sensors: Iterable[Sensor]) -> None:
        self.sensors = tuple(sensors)
        self.refused: dict[tuple[str, str, Reason], int] = {}
        """How often, by name, column and reason."""
        self.taken: dict[str, int] = {}
        """Readings by name of the sensor."""
        self._last_ns: dict[tuple[str | None, str], int] = {}
        seen: set[tuple[str | None, str, str]] = set()
        for sensor in self.sensors:
            place = (sensor.miner, sensor.name, sensor.column)
            if place in seen:
                raise UserError(
                    f"two sensors named {sensor.name!r} fill {sensor.column} of the same reading; "
                    "give one another name (;name=NAME)"
                )
            seen.add(place)

    @property
    def topics(self) -> tuple[str, ...]:
        """What to subscribe to."""
        return tuple(dict.fromkeys(sensor.topic for sensor in self.sensors))

    def take(
        self, topic: str, payload: bytes, *, retained: bool, monotonic_ns: int
    ) -> tuple[list[SensorReading], list[Refusal]]:
        """What a message tells: a reading per miner and sensor name, and what was refused of it."""
        readings: dict[tuple[str | None, str], dict[str, float]] = {}
        refusals = []
        for sensor in self.sensors:
            if sensor.topic != topic:
                continue
            try:
                if retained:
                    raise RefusedError(Reason.RETAINED)
                value = sensor.value(payload)
                key = (sensor.miner, sensor.name)
                last_ns = self._last_ns.get(key)
                if last_ns is not None and monotonic_ns - last_ns < LEAST_INTERVAL_NS:
                    raise RefusedError(Reason.TOO_OFTEN)
            except RefusedError as error:
                refusals.append(self.refuse(sensor, error.reason, error.seen))
            else:
                readings.setdefault(key, {})[sensor.column] = value
        for key in readings:
            self._last_ns[key] = monotonic_ns
            self.taken[key[1]] = self.taken.get(key[1], 0) + 1
        return [SensorReading(miner, name, values) for (miner, name), values in readings.items()], refusals

    def refuse(self, sensor: Sensor, reason: Reason, seen: str = "") -> Refusal:
        """Count a refusal."""
        key = (sensor.name, sensor.column, reason)
        self.refused[key] = self.refused.get(key, 0) + 1
        return Refusal(sensor, reason, seen)

    def without_miner(self, topic: str, reading: SensorReading) -> list[Refusal]:
        """Take a reading back whose miner is not in the run."""
        self.taken[reading.name] -= 1
        return [
            self.refuse(sensor, Reason.NO_MINER, reading.miner or "")
            for sensor in self.sensors
            if (sensor.topic, sensor.miner, sensor.name) == (topic, reading.miner, reading.name)
            and sensor.column in reading.values
        ]

    def is_first(self, refusal: Refusal) -> bool:
        """Whether this is the first of its kind, so that it is worth an event of its own."""
        return self.refused.get((refusal.sensor.name, refusal.sensor.column, refusal.reason)) == 1

    def summary(self) -> dict[str, Any]:
        """What became of all messages, for the end of the run."""
        refused = [
            {"sensor": name, "column": column, "reason": reason.value, "count": count}
            for (name, column, reason), count in self.refused.items()
        ]
        return {"readings": dict(self.taken), "refused": refused}


def _topic_fault(topic: str) -> str | None:
    if not topic:
        return "is empty"
    if "+" in topic or "#" in topic:
        return "has a wildcard"
    if "\0" in topic:
        return "has a NUL"
    try:
        return "is too long" if len(topic.encode()) > LONGEST_TOPIC else None
    except UnicodeEncodeError:
        return "is no text"


def _setting(value: object, place: str) -> float:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise UserError(f"{place} is a number, not {value!r}")


def _parse(payload: bytes) -> Any:
    if len(payload) > MAX_PAYLOAD:
        raise RefusedError(Reason.TOO_LARGE, f"{len(payload)} bytes")
    try:
        text = payload.decode().strip()
    except UnicodeDecodeError:
        raise RefusedError(Reason.NO_TEXT, payload[:40]) from None
    if _NUMBER.fullmatch(text):
        return float(text)
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise RefusedError(Reason.NO_JSON, text) from None


def _at(value: Any, path: Sequence[str]) -> Any:
    for part in path:
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isascii() and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            raise RefusedError(Reason.NO_VALUE, part)
    return value


def _number(value: Any) -> float:
    """A number, or a text that is one: many sensors write their numbers in quotation marks."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RefusedError(Reason.NO_NUMBER, repr(value))
    try:
        return float(value)
    except OverflowError:
        raise RefusedError(Reason.NOT_FINITE, "too large") from None
