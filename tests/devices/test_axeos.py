"""AxeOS's info page in every form that it had, and what is sent back."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.devices import axeos, axeos_keys
from firmware_bridge.errors import ProtocolError, UserError

PAGES: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "axeos_info.json").read_text())


def info(name: str) -> axeos.Info:
    return axeos.decode_info(json.dumps(PAGES[name]).encode())


def test_lucky_miners_fork() -> None:
    found = info("lucky 1.1.0")
    assert found.era == (2, 1)
    assert not found.applies_live
    assert not found.counts_hashes
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
    assert found.hostname == "bitaxe"
    assert (found.fan_rpm, found.fan_percent, found.auto_fan) == (4100, 60, False)
    assert (found.temperature_c, found.regulator_temperature_c) == (55.5, 61)
    assert (found.asic_count, found.small_cores) == (1, 894)
    assert found.best_difficulty == 618e6


def test_names_of_v2_15() -> None:
    found = info("v2.15.0")
    assert found.applies_live
    assert found.counts_hashes
    assert found.lists_pools
    assert (found.pool_host, found.pool_port) == ("pool.lan", 3333)
    assert found.frequency_actual_mhz == 560
    assert found.temperature_c == 60  # temp2 = -1 is no sensor
    assert (found.fan_percent, found.fan_set_percent, found.auto_fan) == (71.5, 80, True)
    assert (found.fallback_host, found.fallback_user) == ("spare.lan", "z")
    assert found.mac == "AA:BB:CC:00:11:22"
    assert found.overheat is True
    assert found.best_difficulty == 618e6


def test_names_of_v2_9() -> None:
    found = info("v2.9.0 with six chips")
    assert found.asic_count is None
    assert found.chips == 6  # the page tells only what they should do together
    assert found.pool_difficulty == 1024
    assert found.applies_live
    assert not found.counts_hashes
    assert (found.on_fallback, found.fallback_host, found.fallback_port) == (True, "spare.lan", 3334)
    assert (found.fan_rpm, found.fan_percent, found.fan_manual_percent) == (5100, 71, None)


@pytest.mark.parametrize(
    ("page", "fell_back"),
    [
        ({"frequency": 50, "coreVoltage": 990}, True),  # v2.1.2 has no flag
        ({"frequency": 50, "coreVoltage": 1000, "overheat_mode": 1}, True),
        ({"frequency": 50, "coreVoltage": 1000, "overheat_mode": 0}, False),
        ({"frequency": 385, "coreVoltage": 1100, "overheat_mode": True}, True),
        ({"frequency": 50, "coreVoltage": 1200}, False),
        ({}, False),
    ],
)
def test_a_firmware_that_overheated_is_told_by_its_flag_or_by_its_settings(
    page: dict[str, Any], fell_back: bool
) -> None:
    assert axeos.decode_info(json.dumps(page).encode()).fell_back is fell_back


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


ANY_JSON = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        [[], {}, [0], {"id": 0}, "NaN", "-1", "618M", 10**400, "9" * 400, [{"id": 0, "stratumURL": 0}]]
    ),
)
ALL_KEYS = (*axeos_keys.KEYS, *axeos_keys.POOL_KEYS, *axeos_keys.FALLBACK_POOL_KEYS)
NAMES_OF = {key.field: {k.name for k in ALL_KEYS if k.field == key.field} for key in ALL_KEYS}


@given(
    st.dictionaries(st.sampled_from([*sorted({k.name for k in ALL_KEYS}), "pools", "initMiner"]), ANY_JSON)
)
def test_any_types_under_any_keys_are_read_and_what_is_missing_is_none(row: dict[str, Any]) -> None:
    found = axeos.decode_info(json.dumps(row).encode())
    for field, names in NAMES_OF.items():
        value = getattr(found, field)
        assert value is None or isinstance(value, str | int | float), field
        assert not isinstance(value, float) or math.isfinite(value), field
        if not names & row.keys() and "pools" not in row:
            assert value is None, field
    assert found.chips is None or found.chips > 0
    assert found.fell_back in (True, False)


def test_each_version_writes_its_own_names_and_all_of_them_are_read() -> None:
    values = {"fan_rpm": 5200, "overheat": True, "pool_host": "h", "asic_count": 1}
    names = {(2, 1): "fanSpeed", (2, 1, 5): "fanSpeedRpm", (2, 2): "fanrpm", (2, 15): "fanrpm"}
    for version, name in names.items():
        row = axeos.encode_info(version, values)
        found = axeos.decode_info(json.dumps(row).encode())
        assert row[name] == found.fan_rpm == 5200
        assert [n for n in ("fanSpeed", "fanSpeedRpm", "fanrpm") if n in row] == [name]
        assert found.overheat is (None if version < (2, 1, 10) else True)
        assert found.pool_host == "h"
        assert ("pools" in row) is (version >= (2, 15))
        assert ("asicCount" in row) is ((2, 1, 9) <= version < (2, 9))


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
    assert axeos_keys.difficulty(text) == value


OLD = {**PAGES["lucky 1.1.0"], "version": "v2.0.3", "initMiner": "", "minerModel": "", "ssid": "lab"}
OLD |= {"flipscreen": 1, "invertscreen": 0, "invertfanpolarity": 1, "fanspeed": 100}


def test_a_partial_patch_is_completed_for_firmware_that_it_would_crash() -> None:
    body = json.dumps(OLD).encode()
    patch = axeos.settings_patch(axeos.decode_info(body), body, {"coreVoltage": 1150}, "from the user")
    assert set(patch) == set(axeos.FULL_KEYS)
    assert patch["coreVoltage"] == 1150
    assert patch["frequency"] == 485
    assert patch["stratumURL"] == "10.0.0.2"
    assert patch["wifiPass"] == "from the user"
    lucky = json.dumps(PAGES["lucky 1.1.0"]).encode()
    assert axeos.settings_patch(axeos.decode_info(lucky), lucky, {"coreVoltage": 1150}) == {
        "coreVoltage": 1150
    }


def test_a_wifi_password_that_is_not_known_is_never_made_up() -> None:
    """That firmware stores whatever stands there, also asterisks, and is gone from the network after its restart."""
    body = json.dumps(OLD).encode()
    with pytest.raises(UserError, match="wifiPass cannot be read"):
        axeos.settings_patch(axeos.decode_info(body), body, {"coreVoltage": 1150})


@pytest.mark.parametrize("missing", ["frequency", "ssid", "stratumURL", "flipscreen"])
def test_a_setting_that_cannot_be_read_is_never_made_up(missing: str) -> None:
    body = json.dumps({k: v for k, v in OLD.items() if k != missing}).encode()
    with pytest.raises(UserError, match=f"{missing} cannot be read"):
        axeos.settings_patch(axeos.decode_info(body), body, {"coreVoltage": 1150}, "w")


def test_pools_are_sent_flat_or_in_a_list() -> None:
    body = json.dumps(PAGES["v2.1.5"]).encode()
    flat = axeos.pool_patch(axeos.decode_info(body), body, "h", 1, "u", "p")
    assert flat == {"stratumURL": "h", "stratumPort": 1, "stratumUser": "u", "stratumPassword": "p"}
    body = json.dumps(PAGES["v2.15.0"]).encode()
    listed = axeos.pool_patch(axeos.decode_info(body), body, "h", 1, "u", "p")
    assert listed == {
        "pools": [{"id": 1, "stratumURL": "h", "stratumPort": 1, "stratumUser": "u", "stratumPassword": "p"}]
    }  # the other pool is not touched


@given(st.text(min_size=1, max_size=20))
def test_passwords_do_not_pass_the_recorder(secret: str) -> None:
    body = json.dumps(
        {"stratumPassword": "q7" + secret, "wifiPass": "q7" + secret, "frequency": 485}
    ).encode()
    kept = axeos.redact(body)
    assert b"q7" not in kept
    assert json.loads(kept) == {"stratumPassword": "***", "wifiPass": "***", "frequency": 485}


@pytest.mark.parametrize(
    "body",
    [
        b'{"stratumPassword":"q7sec',  # cut off
        b'{"stratumPassword": "q7\\"q7", "x": 1}',
        b'{"wifiPass":77177, "x": 1}',
        b'{"fallbackStratumPassword":"q7"}',
        b'{"pools":[{"id":0,"stratumPassword":"q7"}]}',
        b'{"stratumPassword":"q7\\',
    ],
)
def test_passwords_are_replaced_in_bodies_that_no_parser_takes(body: bytes) -> None:
    assert b"q7" not in axeos.redact(body)
    assert b"771" not in axeos.redact(body)


@given(st.binary(max_size=80))
def test_what_holds_no_password_stays_as_it_is(body: bytes) -> None:
    if b"pass" not in body.lower():
        assert axeos.redact(body) == body


@pytest.mark.parametrize(
    ("text", "version"),
    [("v2.4.0-beta", (2, 4, 0)), ("1.1.0", (1, 1, 0)), ("2.15.0rc1", (2, 15, 0)), ("dev", None), (None, None)],
)  # fmt: skip
def test_versions(text: str | None, version: tuple[int, ...] | None) -> None:
    assert axeos.version_of(text) == version
