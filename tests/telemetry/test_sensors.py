"""A sensor's message becomes a reading only where it is certainly a present, plausible number."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.errors import UserError
from firmware_bridge.telemetry.sensors import (
    LEAST_INTERVAL_NS,
    MAX_PAYLOAD,
    PLAUSIBLE,
    Reason,
    RefusedError,
    Sensor,
    SensorDesk,
    parse_sensor,
    sensor_from_table,
)
from firmware_bridge.trace.schema import TelemetryRow

SHELLY = json.dumps(
    {"id": 0, "apower": 1312.5, "voltage": 229.7, "current": 5.714, "temperature": {"tC": 41.2},
     "list": [1, {"x": "2.5"}]}
).encode()  # fmt: skip


def refusal(sensor: Sensor, payload: bytes) -> Reason:
    with pytest.raises(RefusedError) as caught:
        sensor.value(payload)
    return caught.value.reason


# ---- what a message says


@pytest.mark.parametrize(
    ("payload", "value"),
    [
        (b"23.5", 23.5),
        (b" 23.5\r\n", 23.5),
        (b"-4", -4.0),
        (b"+1e1", 10.0),
        (b".5", 0.5),
        (b'"23.5"', 23.5),
        (b"0", 0.0),
    ],
)
def test_a_plain_number_is_a_value(payload: bytes, value: float) -> None:
    assert Sensor("room/t", "ambient_c").value(payload) == value


@pytest.mark.parametrize(
    ("column", "path", "factor", "value"),
    [
        ("power_w", ("apower",), 1.0, 1312.5),
        ("input_voltage_mv", ("voltage",), 1000.0, 229_700.0),
        ("current_ma", ("current",), 1000.0, 5714.0),
        ("ambient_c", ("temperature", "tC"), 1.0, 41.2),
        ("ambient_c", ("list", "1", "x"), 1.0, 2.5),
    ],
)
def test_a_number_within_json_is_found_and_scaled(
    column: str, path: tuple[str, ...], factor: float, value: float
) -> None:
    assert Sensor("t", column, path=path, factor=factor).value(SHELLY) == pytest.approx(value, rel=1e-12)


def test_factor_comes_before_offset() -> None:
    assert Sensor("t", "ambient_c", factor=0.5, offset=-16.0).value(b"70") == 19.0


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", Reason.NO_JSON),
        (b"NaN", Reason.NO_JSON),
        (b"Infinity", Reason.NO_JSON),
        (b"0x10", Reason.NO_JSON),
        (b"1_0", Reason.NO_JSON),
        ("２３".encode(), Reason.NO_JSON),
        (b"23,5", Reason.NO_JSON),
        (b"23.5 C", Reason.NO_JSON),
        (b"1e999", Reason.NOT_FINITE),
        (b"9" * 400, Reason.NOT_FINITE),
        (b"true", Reason.NO_NUMBER),
        (b"null", Reason.NO_NUMBER),
        (b"{}", Reason.NO_NUMBER),
        (b"[1]", Reason.NO_NUMBER),
        (b'"warm"', Reason.NO_NUMBER),
        (b'"NaN"', Reason.NO_NUMBER),
        (b"\xff\xfe", Reason.NO_TEXT),
        (b"85.1", Reason.IMPLAUSIBLE),
        (b"-273.2", Reason.IMPLAUSIBLE),
        (b"[" * 20_000, Reason.NO_JSON),
        (b" " * (MAX_PAYLOAD + 1), Reason.TOO_LARGE),
    ],
    ids=repr,
)
def test_what_is_no_value_is_refused_with_its_reason(payload: bytes, reason: Reason) -> None:
    assert refusal(Sensor("room/t", "ambient_c"), payload) is reason


@pytest.mark.parametrize(
    "path", [("power",), ("apower", "x"), ("list", "2"), ("list", "-1"), ("list", "x"), ("temperature",)]
)
def test_a_path_that_leads_nowhere_is_refused(path: tuple[str, ...]) -> None:
    assert refusal(Sensor("t", "power_w", path=path), SHELLY) in (Reason.NO_VALUE, Reason.NO_NUMBER)


def test_a_count_is_whole() -> None:
    sensor = Sensor("t", "hardware_errors")
    assert sensor.value(b"12") == 12
    assert refusal(sensor, b"12.5") is Reason.IMPLAUSIBLE


@given(st.binary(max_size=200), st.sampled_from(sorted(PLAUSIBLE)), st.lists(st.text(max_size=3), max_size=2))
def test_a_value_is_always_finite_and_plausible(payload: bytes, column: str, path: list[str]) -> None:
    low, high = PLAUSIBLE[column]
    seen = ""
    try:
        value = Sensor("t", column, path=tuple(path)).value(payload)
    except RefusedError as error:
        value, seen = low, error.seen
    assert low <= value <= high
    assert len(seen) <= 80


@given(st.floats(-40, 85, allow_nan=False), st.floats(0.1, 10.0), st.floats(-10, 10))
def test_a_number_comes_back_as_it_was_sent(value: float, factor: float, offset: float) -> None:
    sensor = Sensor("t", "ambient_c", path=("a", "b"), factor=factor, offset=offset)
    payload = json.dumps({"a": {"b": value}}).encode()
    expected = value * factor + offset
    if -40.0 <= expected <= 85.0:
        assert sensor.value(payload) == expected
    else:
        assert refusal(sensor, payload) is Reason.IMPLAUSIBLE


def test_every_column_that_a_sensor_can_fill_is_one_of_the_trace() -> None:
    assert set(PLAUSIBLE) == set(TelemetryRow._fields) - {"miner", "wall_ns", "monotonic_ns", "raw", "source"}
    assert all(math.isfinite(low) and low < high for low, high in PLAUSIBLE.values())


# ---- how a sensor is named


def test_the_command_line_names_a_sensor() -> None:
    assert parse_sensor("power_w@s9-1=shellies/plug3/relay/0/power") == Sensor(
        "shellies/plug3/relay/0/power", "power_w", "s9-1"
    )
    assert parse_sensor("ambient_c=room/t") == Sensor("room/t", "ambient_c", None, (), 1.0, 0.0, "room/t")
    assert parse_sensor(
        "input_voltage_mv@a.b=x/y=z;path=emeters.0.voltage;factor=1e3;offset=-0.5;name=meter"
    ) == Sensor("x/y=z", "input_voltage_mv", "a.b", ("emeters", "0", "voltage"), 1000.0, -0.5, "meter")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("power_w", "write it as COLUMN@MINER=TOPIC"),
        ("=a", "write it as"),
        ("power_w=", "write it as"),
        ("power_w=a/#", "has a wildcard"),
        ("power_w=+/a", "has a wildcard"),
        ("watts=a", "can fill temperature_c"),
        ("raw=a", "can fill"),
        ("source=a", "can fill"),
        ("power_w@=a", "names no miner"),
        ("power_w=a;factor=0", "not 0"),
        ("power_w=a;factor=nan", "factor is a number"),
        ("power_w=a;factor=1e999", "finite"),
        ("power_w=a;scale=2", "none of path=, factor=, offset=, name="),
        ("power_w=a;factor=2;factor=3", "each once"),
        ("power_w=a;path=a..b", "keys and indices"),
        ("power_w=" + "a" * 70_000, "too long"),
    ],
)  # fmt: skip
def test_a_sensor_that_cannot_work_is_a_mistake_that_says_what_would(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said.replace("+", r"\+")):
        parse_sensor(text)


def test_the_configuration_file_names_a_sensor() -> None:
    table = {"topic": "a/b", "column": "power_w", "path": ["dotted.key", 0], "factor": 2, "miner": "s9"}
    assert sensor_from_table(table, "lab.toml") == Sensor("a/b", "power_w", "s9", ("dotted.key", "0"), 2.0)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"topic": "a"}, "needs column"),
        ({"column": "power_w"}, "needs topic"),
        ({"topic": "a", "column": "power_w", "colour": 1}, "has no colour"),
        ({"topic": 1, "column": "power_w"}, "topic is a text"),
        ({"topic": "a", "column": "power_w", "factor": True}, "factor is a number"),
        ({"topic": "a", "column": "power_w", "path": 3}, "keys and indices"),
        ("power_w", "a sensor is a table"),
    ],
)
def test_a_broken_table_is_named_with_its_place(table: Any, said: str) -> None:
    with pytest.raises(UserError, match=rf"lab.toml:7: .*{said}"):
        sensor_from_table(table, "lab.toml:7")


# ---- the desk


def test_numbers_of_one_message_make_one_reading_per_miner_with_the_name_of_the_sensor() -> None:
    desk = SensorDesk(
        [
            parse_sensor("power_w@a=t;path=apower;name=plug"),
            parse_sensor("input_voltage_mv@a=t;path=voltage;factor=1000;name=plug"),
            parse_sensor("ambient_c=t;path=temperature.tC;name=plug"),
            parse_sensor("current_ma@a=u;name=shunt"),
        ]
    )
    assert desk.topics == ("t", "u")
    readings, refused = desk.take("t", SHELLY, retained=False, monotonic_ns=0)
    assert refused == []
    rows = [reading.to_row(1 if reading.miner == "a" else None, 5, 6) for reading in readings]
    assert rows == [
        TelemetryRow(1, 5, 6, power_w=1312.5, input_voltage_mv=229_700.0, source="plug"),
        TelemetryRow(None, 5, 6, ambient_c=41.2, source="plug"),
    ]
    assert desk.take("elsewhere", b"1", retained=False, monotonic_ns=0) == ([], [])


def test_a_retained_value_is_refused_and_the_next_live_one_counts() -> None:
    desk = SensorDesk([parse_sensor("ambient_c=t")])
    readings, (refused,) = desk.take("t", b"21", retained=True, monotonic_ns=0)
    assert readings == []
    assert refused.reason is Reason.RETAINED
    readings, refusals = desk.take("t", b"21.5", retained=False, monotonic_ns=1)
    assert [r.values for r in readings] == [{"ambient_c": 21.5}]
    assert refusals == []


def test_a_flood_is_thinned_out_and_counted() -> None:
    desk = SensorDesk([parse_sensor("ambient_c=t")])
    taken = [
        desk.take("t", b"21", retained=False, monotonic_ns=k * LEAST_INTERVAL_NS // 4)[0] for k in range(100)
    ]
    assert sum(map(len, taken)) == 25
    assert desk.summary() == {
        "readings": {"t": 25},
        "refused": [{"sensor": "t", "column": "ambient_c", "reason": Reason.TOO_OFTEN.value, "count": 75}],
    }


def test_only_the_first_refusal_of_a_kind_is_news() -> None:
    desk = SensorDesk([parse_sensor("ambient_c=t")])
    news = []
    for payload in (b"x", b"y", b"999", b"z"):
        _, refusals = desk.take("t", payload, retained=False, monotonic_ns=0)
        news += [desk.is_first(refused) for refused in refusals]
    assert news == [True, False, True, False]


def test_two_sensors_for_the_same_place_are_a_mistake() -> None:
    with pytest.raises(UserError, match="another name"):
        SensorDesk([parse_sensor("power_w=a;name=x"), parse_sensor("power_w=b;name=x")])
    SensorDesk([parse_sensor("power_w=a"), parse_sensor("power_w=b")])
