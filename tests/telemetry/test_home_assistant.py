"""Announcements hold to what Home Assistant documents, and their templates give what they promise."""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.errors import UserError
from firmware_bridge.telemetry import home_assistant as ha
from firmware_bridge.telemetry import messages
from firmware_bridge.telemetry.home_assistant import Announced
from firmware_bridge.telemetry.topics import Topics
from firmware_bridge.trace.schema import TelemetryRow

TOPICS = Topics("bench")
LV06 = Announced(
    "lv06", "lv06", "LV06", "Lucky Miner", "2.2.0", frozenset({"temperature_c", "power_w", "wall_ns"})
)

# Home Assistant's documentation (integrations mqtt, sensor.mqtt, sensor) as of 2025: what a message must and may have
SHARED = {"availability", "availability_mode", "qos", "encoding", "state_topic", "command_topic"}
DEVICE = {"identifiers", "connections", "name", "manufacturer", "model", "model_id", "sw_version", "hw_version",
          "serial_number", "suggested_area", "via_device", "configuration_url"}  # fmt: skip
SENSOR = {"platform", "unique_id", "name", "state_topic", "value_template", "unit_of_measurement", "device_class",
          "state_class", "expire_after", "suggested_display_precision", "icon", "entity_category"}  # fmt: skip
UNITS = {
    "temperature": {"°C", "°F", "K"},
    "power": {"mW", "W", "kW", "MW"},
    "voltage": {"µV", "mV", "V", "kV", "MV"},
    "frequency": {"Hz", "kHz", "MHz", "GHz"},
    "timestamp": {None},
}
STATE_CLASSES = {"measurement", "total", "total_increasing"}


def made(who: Announced = LV06, period_s: float = 3.0) -> dict[str, Any]:
    found = ha.announcement(TOPICS, who, period_s=period_s, version="0.1.0")
    return dict(json.loads(json.dumps(found, allow_nan=False)))


def render(template: str, payload: bytes) -> str:
    """As Home Assistant does: ``value`` is the text, ``value_json`` is there where it is JSON."""
    values: dict[str, Any] = {"value": payload.decode()}
    with contextlib.suppress(ValueError):
        values["value_json"] = json.loads(payload)
    return jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(template).render(values)


def assert_valid(message: dict[str, Any]) -> None:
    assert set(message) - SHARED == {"device", "origin", "components"}
    device = message["device"]
    assert set(device) <= DEVICE
    assert device["identifiers"] or device["connections"]
    assert all(isinstance(identifier, str) for identifier in device["identifiers"])
    assert message["origin"]["name"]
    assert message["availability_mode"] in ("all", "any", "latest")
    for entry in message["availability"]:
        assert set(entry) <= {"topic", "payload_available", "payload_not_available", "value_template"}
        assert_topic(entry["topic"])
    ids = [component["unique_id"] for component in message["components"].values()]
    assert len(set(ids)) == len(ids)
    for component in message["components"].values():
        assert set(component) <= SENSOR
        assert component["platform"] == "sensor"
        assert_topic(component["state_topic"])
        assert component.get("state_class", "measurement") in STATE_CLASSES
        kind = component.get("device_class")
        assert kind is None or component.get("unit_of_measurement") in UNITS[kind]
        assert isinstance(component.get("expire_after", 1), int)


def assert_topic(topic: str) -> None:
    assert topic
    assert not set(topic) & set("+#\0")


def test_a_message_has_what_home_assistant_requires_and_nothing_that_it_does_not_know() -> None:
    message = made()
    assert_valid(message)
    assert message["device"] == {
        "identifiers": [ha.device_id("bench", "lv06", "lv06")],
        "name": "lv06",
        "manufacturer": "Lucky Miner",
        "model": "LV06",
        "sw_version": "2.2.0",
    }
    assert set(message["components"]) == {"temperature_c", "power_w", "accepted", "rejected", "last_share"}
    assert message["components"]["temperature_c"]["unit_of_measurement"] == "°C"
    assert message["components"]["temperature_c"]["expire_after"] == 60
    assert made(period_s=60.0)["components"]["temperature_c"]["expire_after"] == 600
    everything = made(Announced("lv06", "lv06"))
    assert_valid(everything)
    assert set(everything["components"]) >= {
        "hash_rate_ghs",
        "fan_rpm",
        "voltage_mv",
        "frequency_mhz",
        "board_temperature_c",
    }


def test_every_quantity_is_a_column_of_the_telemetry() -> None:
    assert {quantity.key for quantity in ha.TELEMETRY} <= set(TelemetryRow._fields)


def test_the_topic_of_an_announcement_is_one_that_home_assistant_listens_to() -> None:
    for name in ("lv06", "ü/ #+", "x" * 200, "lv06://127.0.0.1:80"):
        topic = ha.config_topic("homeassistant", "bench", Announced("miner-1", name))
        assert re.fullmatch(r"homeassistant/device/[a-zA-Z0-9_-]{1,64}/config", topic)


def row(**values: Any) -> bytes:
    told = TelemetryRow(1, 2, 3)._replace(**values)
    return messages.encode_row(messages.RowMessage("run", "telemetry", 5, 4, tuple(told)))


def test_templates_give_a_value_only_where_the_device_itself_told_one() -> None:
    template = made()["components"]["temperature_c"]["value_template"]
    assert render(template, row(temperature_c=60.5)) == "60.5"
    assert render(template, row(temperature_c=0.0)) == "0.0"
    assert render(template, row(power_w=3.0)) == ""
    assert render(template, row(temperature_c=float("nan"))) == ""
    assert render(template, row(temperature_c=21.0, source="room")) == ""


def test_availability_follows_the_states_of_the_lab_and_the_miner() -> None:
    lab, miner = made()["availability"]
    assert (lab["topic"], miner["topic"]) == ("asiclab/bench/state", "asiclab/bench/lv06/state")
    for online, word in (True, "online"), (False, "offline"):
        assert render(lab["value_template"], messages.encode_state(messages.LabState(online, "p"))) == word
    row = (1, "lv06", *[None] * 5, 1.0, None, None)
    for known, word in (True, "online"), (False, "offline"), (None, "online"):
        said = messages.encode_row(messages.RowMessage("run", "miners", 1, None, row, known))
        assert render(miner["value_template"], said) == word


def test_counts_and_the_time_of_the_last_share_come_from_the_tally() -> None:
    components = made()["components"]
    tally = json.dumps(ha.tally(12, 3, 1_768_125_330_714_832_501)).encode()
    assert render(components["accepted"]["value_template"], tally) == "12"
    assert render(components["rejected"]["value_template"], tally) == "3"
    assert render(components["last_share"]["value_template"], tally) == "2026-01-11T09:55:30+00:00"
    assert render(components["last_share"]["value_template"], json.dumps(ha.tally(0, 0, None)).encode()) == ""


@given(st.lists(st.text(min_size=1, max_size=40), min_size=2, max_size=6, unique=True))
def test_ids_are_stable_and_differ_between_miners_and_labs(names: list[str]) -> None:
    ids = [ha.device_id("bench", name, name) for name in names]
    assert ids == [ha.device_id("bench", name, name) for name in names]
    assert len(set(ids)) == len(names)
    assert ha.device_id("other", names[0], names[0]) != ids[0]


def test_a_second_miner_of_a_name_is_another_device_and_an_unfit_name_keeps_its_id_under_any_number() -> None:
    assert ha.device_id("bench", "lv06", "lv06") != ha.device_id("bench", "lv06", "miner-2")
    url = "lv06://10.0.0.7"
    assert ha.device_id("bench", url, "miner-1") == ha.device_id("bench", url, "miner-2")


@pytest.mark.parametrize("prefix", ["", "a/#", "+", "a//b", "$SYS", "a\nb"])
def test_a_prefix_that_cannot_begin_a_topic_is_a_mistake(prefix: str) -> None:
    with pytest.raises(UserError, match="--home-assistant-prefix"):
        ha.check_prefix(prefix)
    assert ha.check_prefix("home/discovery") == "home/discovery"
