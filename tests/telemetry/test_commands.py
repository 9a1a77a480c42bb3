"""Which commands are taken, and why the others are not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.devices.settings import OperatingPoint
from firmware_bridge.telemetry.commands import (
    LARGEST_AGE_NS,
    MAX_PAYLOAD,
    MOST_REMEMBERED,
    Command,
    CommandDesk,
    Parsed,
    Reason,
    Refused,
    parse,
)

NOW_NS = 1_768_125_330_000_000_000
SECOND_NS = 10**9
GOOD = {"id": "a1", "sent_ns": NOW_NS, "set": {"frequency_mhz": 400}}


def judge(desk: CommandDesk, content: Any, at_s: float = 0.0, **other: Any) -> Command | Refused:
    payload = content if isinstance(content, bytes) else json.dumps(content).encode()
    options = {"retained": False, "known": True, "wall_ns": NOW_NS, "monotonic_ns": round(at_s * 1e9)} | other
    miner = options.pop("miner", "lv06")
    return desk.judge(miner, payload, **options)


def reason(found: Command | Refused) -> Reason | None:
    return found.reason if isinstance(found, Refused) else None


def desk(**options: Any) -> CommandDesk:
    return CommandDesk(**({"enabled": True} | options))


def test_a_change_and_a_restoration_are_taken() -> None:
    here = desk()
    found = judge(here, GOOD | {"set": {"frequency_mhz": 400, "fan_percent": 80.5, "power_plan": "eco"}})
    assert found == Command("a1", OperatingPoint(400.0, None, 80.5, "eco"))
    assert found.reason == "mqtt command a1"
    assert judge(here, {"id": "a2", "sent_ns": NOW_NS, "restore": True}) == Command("a2", None)


def test_without_the_users_word_nothing_is_taken() -> None:
    found = judge(desk(enabled=False), GOOD)
    assert found == Refused(Reason.DISABLED, "a1")
    assert "--mqtt-commands" in found.to_json()["reason"]


def test_a_command_that_the_broker_kept_is_refused_however_young_it_looks() -> None:
    assert judge(desk(), GOOD, retained=True) == Refused(Reason.RETAINED, "a1")


@pytest.mark.parametrize(
    ("age_s", "expected"),
    [
        (0, None),
        (60, None),
        (61, Reason.TOO_OLD),
        (7 * 86_400, Reason.TOO_OLD),
        (-60, None),
        (-61, Reason.FROM_THE_FUTURE),
        (NOW_NS // SECOND_NS, Reason.TOO_OLD),
    ],
)
def test_a_command_is_at_most_a_minute_old_or_ahead(age_s: int, expected: Reason | None) -> None:
    assert reason(judge(desk(), GOOD | {"sent_ns": NOW_NS - age_s * SECOND_NS})) is expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", Reason.MALFORMED),
        (b"restart", Reason.MALFORMED),
        (b"\xff", Reason.MALFORMED),
        (b"[" * 3000, Reason.MALFORMED),
        ([GOOD], Reason.MALFORMED),
        ({k: v for k, v in GOOD.items() if k != "id"}, Reason.NO_ID),
        (GOOD | {"id": ""}, Reason.NO_ID),
        (GOOD | {"id": 7}, Reason.NO_ID),
        (GOOD | {"id": "a\nb"}, Reason.NO_ID),
        (GOOD | {"id": "a" * 65}, Reason.NO_ID),
        ({k: v for k, v in GOOD.items() if k != "sent_ns"}, Reason.MALFORMED),
        (GOOD | {"sent_ns": str(NOW_NS)}, Reason.MALFORMED),
        (GOOD | {"sent_ns": True}, Reason.MALFORMED),
        (GOOD | {"sent_ns": 1.5}, Reason.MALFORMED),
        (GOOD | {"sent_ns": 10**400}, Reason.MALFORMED),
        (GOOD | {"sent_ns": -1}, Reason.MALFORMED),
        (GOOD | {"beyond_factory": True}, Reason.UNKNOWN_FIELD),
        (GOOD | {"set": {"overclock": 1}}, Reason.UNKNOWN_FIELD),
        (GOOD | {"set": {}}, Reason.MALFORMED),
        (GOOD | {"set": None}, Reason.MALFORMED),
        (GOOD | {"restore": True}, Reason.MALFORMED),
        ({"id": "a", "sent_ns": NOW_NS}, Reason.MALFORMED),
        ({"id": "a", "sent_ns": NOW_NS, "restore": "yes"}, Reason.MALFORMED),
        (GOOD | {"set": {"frequency_mhz": "400"}}, Reason.MALFORMED),
        (GOOD | {"set": {"frequency_mhz": True}}, Reason.MALFORMED),
        (GOOD | {"set": {"frequency_mhz": None}}, Reason.MALFORMED),
        (GOOD | {"set": {"power_plan": 3}}, Reason.MALFORMED),
        (b'{"id":"a","sent_ns":1,"set":{"frequency_mhz":NaN}}', Reason.MALFORMED),
        (b'{"id":"a","sent_ns":1,"set":{"frequency_mhz":1e999}}', Reason.MALFORMED),
        (b'{"id":"a","sent_ns":1,"set":{"frequency_mhz":' + b"9" * 400 + b"}}", Reason.MALFORMED),
        (GOOD | {"id": "a", "pad": "x" * MAX_PAYLOAD}, Reason.TOO_LARGE),
        (b"0" * (10 << 20), Reason.TOO_LARGE),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_no_proper_command_is_refused(content: Any, expected: Reason) -> None:
    found = judge(desk(), content)
    assert isinstance(found, Refused)
    assert found.reason is expected
    assert len(json.dumps(found.to_json())) < 500


def test_an_id_counts_once_per_miner() -> None:
    here = desk(pause_s=0.0)
    assert reason(judge(here, GOOD)) is None
    assert reason(judge(here, GOOD, at_s=50)) is Reason.DUPLICATE
    assert reason(judge(here, GOOD, miner="s9")) is None
    assert reason(judge(here, GOOD | {"id": "a2"})) is None


def test_an_id_is_remembered_longer_than_a_command_with_it_could_be_taken() -> None:
    here = desk(pause_s=0.0)
    ahead = GOOD | {"sent_ns": NOW_NS + LARGEST_AGE_NS}
    assert reason(judge(here, ahead)) is None
    last = 2 * LARGEST_AGE_NS
    assert reason(judge(here, ahead, wall_ns=NOW_NS + last, monotonic_ns=last)) is Reason.DUPLICATE
    assert reason(judge(here, ahead, wall_ns=NOW_NS + last + 1, monotonic_ns=last)) is Reason.TOO_OLD


def test_ids_take_bounded_memory() -> None:
    here = desk(pause_s=0.0)
    found = [reason(judge(here, GOOD | {"id": str(k)})) for k in range(MOST_REMEMBERED + 5)]
    assert found.count(Reason.TOO_MANY) == 5
    assert reason(judge(here, GOOD | {"id": "later"}, at_s=200.0)) is None


def test_an_unknown_miner_is_refused() -> None:
    assert judge(desk(), GOOD, known=False, miner="s9") == Refused(Reason.UNKNOWN_MINER, "a1", "s9")


def test_changes_of_one_miner_keep_their_distance_and_a_restoration_does_not_wait() -> None:
    here = desk(pause_s=10.0)
    assert reason(judge(here, GOOD)) is None
    here.begin("lv06")
    assert reason(judge(here, GOOD | {"id": "b"}, at_s=1.0)) is Reason.BUSY
    here.end("lv06", 2 * SECOND_NS, changed=True)
    assert reason(judge(here, GOOD | {"id": "c"}, at_s=11.9)) is Reason.TOO_SOON
    assert reason(judge(here, GOOD | {"id": "d"}, at_s=11.9, miner="s9")) is None
    assert reason(judge(here, {"id": "e", "sent_ns": NOW_NS, "restore": True}, at_s=11.9)) is None
    assert reason(judge(here, GOOD | {"id": "f"}, at_s=12.0)) is None


def test_a_change_that_the_limits_refused_starts_no_pause() -> None:
    here = desk(pause_s=10.0)
    assert reason(judge(here, GOOD)) is None
    here.begin("lv06")
    here.end("lv06", SECOND_NS, changed=False)
    assert reason(judge(here, GOOD | {"id": "b"}, at_s=1.5)) is None


@given(st.binary(max_size=300) | st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["id", "sent_ns", "set", "restore", "frequency_mhz", "x"]), inner, max_size=4),
    max_leaves=12,
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_no_bytes_make_the_parser_trip_and_what_it_takes_is_whole(payload: bytes) -> None:
    found = parse(payload)
    if isinstance(found, Parsed):
        assert found.point is None or found.point.given()
        assert 0 < len(found.id) <= 64
    else:
        json.dumps(found.to_json())
