"""Mutated commands and messages of sensors through the desks that judge them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

from firmware_bridge.devices.settings import OperatingPoint
from firmware_bridge.errors import UserError
from firmware_bridge.telemetry.commands import Command, CommandDesk, Refused
from firmware_bridge.telemetry.sensors import PLAUSIBLE, SensorDesk, parse_sensor

NOW_NS = 1_768_125_330_000_000_000
COMMANDS = (
    b'{"id":"a","sent_ns":1768125330000000000,"set":{"frequency_mhz":400,"fan_percent":80.5}}',
    b'{"id":"b","sent_ns":1768125330000000000,"set":{"power_plan":"eco","core_voltage_mv":1200}}',
    b'{"id":"c","sent_ns":1768125330000000000,"restore":true}',
)
READINGS = (
    b"23.5",
    b'"23.5"',
    b'{"apower":1312.5,"voltage":229.7,"temperature":{"tC":41.2},"list":[1,{"x":"2.5"}]}',
    b'{"list":[1,{"x":1e3}],"apower":null}',
)
SENSORS = (
    "ambient_c=t",
    "power_w@a=t;path=apower",
    "input_voltage_mv@a=t;path=voltage;factor=1000",
    "hardware_errors=t;path=list.1.x;factor=2;offset=-1",
)
PLUG = b"power_w@s9-1=shellies/plug3/relay/0/power;name=plug"
MAPPINGS = (PLUG, *(text.encode() for text in SENSORS))


def check_command(data: bytes) -> None:
    desk = CommandDesk(enabled=True)
    for retained, known in ((True, True), (False, False), (False, True), (False, True)):
        found = desk.judge("m", data, retained=retained, known=known, wall_ns=NOW_NS, monotonic_ns=0)
        if isinstance(found, Refused):
            assert len(json.dumps(found.to_json())) < 1000
            continue
        assert isinstance(found, Command)
        assert known
        assert not retained
        assert isinstance(found.point, OperatingPoint | None)
        numbers = [v for v in (found.point or OperatingPoint()).given().values() if not isinstance(v, str)]
        assert all(math.isfinite(number) for number in numbers)


def check_reading(data: bytes) -> None:
    desk = SensorDesk(parse_sensor(text) for text in SENSORS)
    readings, refusals = desk.take("t", data, retained=False, monotonic_ns=0)
    assert sum(len(reading.values) for reading in readings) + len(refusals) == len(SENSORS)
    for reading in readings:
        reading.to_row(1, 2, 3)
        assert all(PLAUSIBLE[c][0] <= value <= PLAUSIBLE[c][1] for c, value in reading.values.items())
    assert all(len(json.dumps(refused.to_json())) < 1000 for refused in refusals)


def check_mapping(data: bytes) -> None:
    try:
        sensor = parse_sensor(data.decode("utf-8", "replace"))
    except UserError:
        return
    assert sensor.topic
    assert "#" not in sensor.topic
    assert "+" not in sensor.topic
    assert sensor.column in PLAUSIBLE


MQTT: list[tuple[str, tuple[bytes, ...], Callable[[bytes], None], float]] = [
    ("MQTT command", COMMANDS, check_command, 0.5),
    ("message of a sensor", READINGS, check_reading, 0.5),
    ("sensor on the command line", MAPPINGS, check_mapping, 0.5),
]
