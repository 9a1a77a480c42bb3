"""``devices test`` only reads, tells confirmed from different and unknown, and its file holds no password."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from firmware_bridge.devices import cgminer_api, facts
from firmware_bridge.devices.facts import ABSENT, PRESENT, Belief, Between, compare
from tests.devices.conftest import emulated

SECRET = "horse-battery-4711"


@pytest.mark.parametrize("model", ["s9", "lv06", "lb-box"])
async def test_nothing_that_changes_a_setting_is_sent_and_the_file_can_be_sent_to_us(
    tmp_path: Path, model: str
) -> None:
    async with emulated(model) as (appliance, ready):
        appliance.machine.stored.pool_password = SECRET
        before = vars(appliance.machine.stored).copy()
        report = await facts.examine(ready["url"])
        assert vars(appliance.machine.stored) == before
    asked = [p for p in report.conversation if p.direction == "sent" and p.data]
    assert asked
    for piece in asked:
        if piece.link.startswith("http"):
            assert piece.data.startswith(b"GET "), piece.data
        else:
            request = cgminer_api.decode_request(piece.data)
            assert isinstance(request, cgminer_api.Request)
            assert not cgminer_api.PRIVILEGED & set(request.commands)
    report.write(tmp_path / "facts.json")
    text = (tmp_path / "facts.json").read_text()
    assert SECRET not in text
    assert "123456789" not in text
    written = json.loads(text)
    assert written["identity"]
    assert sum(written["counts"].values()) == len(facts.BELIEFS[model])
    assert written["counts"]["confirmed"] > 0
    assert {f["source"] for f in written["facts"]} >= {belief.source for belief in facts.BELIEFS[model]}


async def test_a_device_that_does_not_answer_leaves_every_fact_unknown() -> None:
    report = await facts.examine("s9://127.0.0.1:9", timeout_s=5.0)
    assert {fact.status for fact in report.facts} == {"unknown"}
    assert report.identity is None
    assert report.problems


@pytest.mark.parametrize(
    ("expected", "answer", "status"),
    [
        (63, {"k": 63}, "confirmed"),
        (63, {"k": 62}, "different"),
        (63, {}, "different"),
        (63, None, "unknown"),
        (str, {"k": "550"}, "confirmed"),
        (str, {"k": 550}, "different"),
        (int, {"k": True}, "different"),
        (Between(1, 5), {"k": 5}, "confirmed"),
        (Between(1, 5), {"k": 5.1}, "different"),
        (Between(1, 5), {"k": "3"}, "different"),
        (Between(0, 5), {"k": True}, "different"),
        (PRESENT, {"k": None}, "confirmed"),
        (PRESENT, {}, "different"),
        (ABSENT, {}, "confirmed"),
        (ABSENT, {"k": 0}, "different"),
        (ABSENT, None, "unknown"),
    ],
)
def test_a_belief_is_held_against_an_answer(
    expected: Any, answer: dict[str, Any] | None, status: str
) -> None:
    fact = compare(Belief("x", "there", "k", expected, "hardware.md"), {"there": answer})
    assert fact.status == status
    assert fact.seen_before is False
    assert json.dumps(fact.to_json())


def test_a_secret_value_is_not_shown() -> None:
    belief = Belief("password in clear", "info", "stratumPassword", PRESENT, "hardware.md")
    assert SECRET not in str(compare(belief, {"info": {"stratumPassword": SECRET}}))
