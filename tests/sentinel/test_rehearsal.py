"""The Sentinel on the bench: below the hard limit whatever fails, and the faults would have been harmful without it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.rehearsal import rehearse
from experiments.rehearsal_outcome import SCENARIOS, Outcome
from firmware_bridge.emulator.bench import MODELS
from firmware_bridge.errors import UserError

HARMFUL = {
    *((model, fault) for model in MODELS for fault in ("fan-failed", "lost-and-fan")),
    ("lv06", "sensor-stuck"),
}
"""Runs that pass the limit without the Sentinel; the others do no harm here by themselves, and the report says so."""


def check(outcome: Outcome) -> None:
    assert outcome.problems == []
    assert outcome.max_true_c < outcome.limit_c
    assert outcome.trace.rows
    if outcome.overshoot_c is not None:
        assert outcome.overshoot_c < 2.0


@pytest.mark.costly
@pytest.mark.parametrize("model", sorted(MODELS))
@pytest.mark.parametrize("scenario", sorted(SCENARIOS))
def test_the_limit_holds_in_every_fault_for_an_hour(model: str, scenario: str) -> None:
    (outcome,) = rehearse([model], [scenario], hours=1.0, seed=11)
    check(outcome)
    assert outcome.harmful is ((model, scenario) in HARMFUL)


@pytest.mark.slow
@pytest.mark.parametrize("model", sorted(MODELS))
def test_the_limit_holds_in_every_fault_for_a_day(model: str) -> None:
    outcomes = rehearse([model], list(SCENARIOS), hours=24.0, seed=12, baselines=False)
    for outcome in outcomes:
        check(outcome)
    alarms = sum(o.false_alarms for o in outcomes if o.scenario in ("calm", "step", "cold-start"))
    assert alarms <= 6  # 0.1 per detector, column and day


def test_a_rehearsal_repeats_itself_with_its_seed() -> None:
    first, again, other = (
        rehearse(["lv06"], ["fan-failed"], hours=0.5, seed=s, baselines=False)[0] for s in (1, 1, 2)
    )
    assert first.trace.rows == again.trace.rows
    assert [a.to_json() for a in first.journal.actions] == [a.to_json() for a in again.journal.actions]
    assert first.trace.rows != other.trace.rows


def test_a_judge_that_looks_at_the_truth_condemns_a_guard_that_is_switched_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from firmware_bridge.sentinel.sentinel import Sentinel

    async def blind(self: Sentinel, *arguments: object) -> None:
        return

    monkeypatch.setattr(Sentinel, "_fall", blind)
    (outcome,) = rehearse(["bm1366"], ["fan-failed"], hours=0.5, seed=1, baselines=False)
    assert not outcome.passed
    assert outcome.max_true_c > outcome.limit_c
    assert any("above its limit" in p for p in outcome.problems)


def test_every_change_has_its_reason_and_stays_within_the_limits() -> None:
    (outcome,) = rehearse(["lv06"], ["fan-failed"], hours=0.5, seed=3, baselines=False)
    limits = MODELS["lv06"].limits
    assert outcome.journal.actions
    for action in outcome.journal.actions:
        assert action.reason
        limits.check("lv06", action.point, beyond_factory=True)
    (trip,) = [a for a in outcome.journal.actions if a.mode == "tripped"]
    assert "fan" in trip.reason
    assert trip.applied is not None
    assert trip.applied.in_force


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match="no bench"):
        rehearse(["s8"], ["calm"], hours=1.0, seed=1)
    with pytest.raises(UserError, match="no fault"):
        rehearse(["s9"], ["meteor"], hours=1.0, seed=1)
    with pytest.raises(UserError, match="half an hour"):
        rehearse(["s9"], ["calm"], hours=0.1, seed=1)


def test_the_report_shows_every_run_and_loads_nothing(tmp_path: Path) -> None:
    from experiments.report.sentinel_page import write_rehearsal

    outcomes = rehearse(["lv06"], ["fan-failed", "step"], hours=0.5, seed=4)
    page = write_rehearsal(outcomes, tmp_path / "out", seed=4)
    text = page.read_text(encoding="utf-8")
    assert text.count("<svg") == 2
    assert "src=" not in text
    assert "hard limit" in text
    assert 'class="num over"' in text
    found = json.loads((tmp_path / "out" / "rehearsal.json").read_text())
    assert [o["scenario"] for o in found["outcomes"]] == ["fan-failed", "step"]
    assert all("changes" in o for o in found["outcomes"])
