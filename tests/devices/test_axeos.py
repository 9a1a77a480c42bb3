"""AxeOS's info page in every form that it had, and what is sent back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.devices import axeos
from firmware_bridge.errors import ProtocolError

PAGES: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "axeos_info.json").read_text())


def info(name: str) -> axeos.Info:
    return axeos.decode_info(json.dumps(PAGES[name]).encode())


def test_lucky_miners_fork() -> None:
    found = info("lucky 1.1.0")
    assert found.era == (2, 1)
    assert not axeos.applies_live(found)
    assert (found.model, found.asic, found.version) == ("LV06", "BM1366", "1.1.0")
    assert (found.core_voltage_mv, found.core_voltage_actual_mv, found.input_voltage_mv) == (1200, 1187, 5050)
    assert (found.frequency_mhz, found.hash_rate_ghs, found.power_w) == (485, 428.7, 13.2)
    assert (found.fan_rpm, found.fan_percent, found.auto_fan) == (5200, None, True)
    assert found.best_difficulty == 1.92e6
    assert (found.pool_host, found.pool_port, found.pool_user) == ("10.0.0.2", 3333, "lab.lv06")
    assert found.regulator_temperature_c is None
    assert found.overheat is False


def test_names_of_v2_1_5() -> None:
    found = info("v2.1.5")
    assert found.era == (2, 1, 5)
    assert (found.fan_rpm, found.fan_percent, found.auto_fan) == (4100, 60, False)
    assert (found.temperature_c, found.regulator_temperature_c) == (55.5, 61)
    assert (found.asic_count, found.small_cores) == (1, 894)
    assert found.best_difficulty == 618e6


def test_names_of_v2_15() -> None:
    found = info("v2.15.0")
    assert axeos.applies_live(found)
    assert found.lists_pools
    assert (found.pool_host, found.pool_port) == ("pool.lan", 3333)
    assert found.frequency_actual_mhz == 560
    assert found.temperature_c == 60  # temp2 = -1 is no sensor
    assert found.mac == "AA:BB:CC:00:11:22"
    assert found.overheat is True
    assert found.best_difficulty == 618e6


def test_what_means_nothing_is_none() -> None:
    found = info("no sensor")
    for name in (
        "temperature_c",
        "power_w",
        "hash_rate_ghs",
        "frequency_mhz",
        "core_voltage_actual_mv",
        "asic",
    ):
        assert getattr(found, name) is None, name
    assert found.version is None
    assert found.era is None
    assert found.fan_rpm == 0  # a fan that stands still is a reading


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
KEYS = sorted({key for page in PAGES.values() if isinstance(page, dict) for key in page})


@given(st.dictionaries(st.sampled_from(KEYS), ANY_JSON))
def test_any_types_under_any_keys_are_read(row: dict[str, Any]) -> None:
    found = axeos.decode_info(json.dumps(row).encode())
    if "power" not in row:
        assert found.power_w is None
    if "temp" not in row and "temp2" not in row:
        assert found.temperature_c is None
    if "sharesAccepted" not in row:
        assert found.accepted is None


@given(st.binary(max_size=60))
def test_any_bytes_are_an_info_page_or_a_protocol_error(body: bytes) -> None:
    try:
        axeos.decode_info(body)
    except ProtocolError:
        return


@pytest.mark.parametrize(
    ("text", "value"),
    [("618M", 618e6), ("1.92M", 1.92e6), ("2.4k", 2400.0), ("12", 12.0), (12, 12.0), ("", None), ("x", None)],
)  # fmt: skip
def test_difficulties_with_suffixes(text: Any, value: float | None) -> None:
    assert axeos.difficulty(text) == value


def test_a_partial_patch_is_completed_for_firmware_that_it_would_crash() -> None:
    page = PAGES["lucky 1.1.0"] | {"version": "v2.0.3", "initMiner": "", "minerModel": "", "ssid": "lab"}
    body = json.dumps(page).encode()
    patch = axeos.settings_patch(axeos.decode_info(body), body, {"coreVoltage": 1150})
    assert set(patch) == set(axeos.FULL_KEYS)
    assert patch["coreVoltage"] == 1150
    assert patch["stratumURL"] == "10.0.0.2"
    assert patch["wifiPass"] == "*****"
    lucky = json.dumps(PAGES["lucky 1.1.0"]).encode()
    assert axeos.settings_patch(axeos.decode_info(lucky), lucky, {"coreVoltage": 1150}) == {
        "coreVoltage": 1150
    }


def test_pools_are_sent_flat_or_in_a_list() -> None:
    body = json.dumps(PAGES["v2.1.5"]).encode()
    flat = axeos.pool_patch(axeos.decode_info(body), body, "h", 1, "u", "p")
    assert flat == {"stratumURL": "h", "stratumPort": 1, "stratumUser": "u", "stratumPassword": "p"}
    body = json.dumps(PAGES["v2.15.0"]).encode()
    listed = axeos.pool_patch(axeos.decode_info(body), body, "h", 1, "u", "p")
    assert [pool["stratumURL"] for pool in listed["pools"]] == ["spare.lan", "h"]


@given(st.text(min_size=1, max_size=20))
def test_passwords_do_not_pass_the_recorder(secret: str) -> None:
    body = json.dumps(
        {"stratumPassword": "q7" + secret, "wifiPass": "q7" + secret, "frequency": 485}
    ).encode()
    kept = axeos.redact(body)
    assert b"q7" not in kept
    assert json.loads(kept) == {"stratumPassword": "***", "wifiPass": "***", "frequency": 485}
