"""The ledger: complete, redone each time, and never better than its runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from experiments.claim_table import CLAIMS
from experiments.claims import NOT_RUN, ledger, markdown
from experiments.results import StoredRun


def stored(kind: str, value: float, *, started: int = 1, plants: dict[str, float] | None = None) -> StoredRun:
    number = {
        "value": value,
        "ci": [value - 0.01, value + 0.01],
        "status": "not reproduced",
        "text": "compared",
    }
    finding: dict[str, Any] = {"finding": {"code": "no_evidence", "numbers": {"C1": number}}, "placebo": None}
    subject = {"kind": kind, "model": "s9", "plants": plants or {}}
    plan = {"subject": subject, "cells": 6}
    return StoredRun(
        f"run{started}", "narma", "quick", 0, "d", plan, started, started + 1, finding, 6, {}, {}, {}
    )


def test_every_numbered_claim_has_a_row_and_one_way_to_be_settled() -> None:
    numbers = {int(claim.id.removeprefix("C").split("-")[0]) for claim in CLAIMS}
    assert numbers == set(range(1, 49))
    assert len({claim.id for claim in CLAIMS}) == len(CLAIMS)
    for claim in CLAIMS:
        assert sum(way is not None for way in (claim.experiment, claim.arithmetic, claim.needs)) == 1, (
            claim.id
        )


def test_arithmetic_is_redone() -> None:
    values = {entry.id: entry for entry in ledger([])}
    assert values["C6"].value == 59 / 64
    assert values["C8"].value == 0.885
    assert values["C11"].value == 241
    assert values["C11"].status == "not reproduced"
    assert abs((values["C33"].value or 0) - 0.988671) < 1e-6
    assert values["C1"].status == NOT_RUN


def test_hardware_comes_before_emulators_and_new_before_old() -> None:
    def value(*runs: StoredRun) -> float | None:
        return next(entry.value for entry in ledger(runs) if entry.id == "C1")

    assert value(stored("emulator", 0.1, started=5), stored("trace", 0.2, started=3)) == 0.2
    assert value(stored("emulator", 0.1, started=5), stored("emulator", 0.2, started=3)) == 0.1
    assert value(stored("emulator", 0.1, plants={"thermal": 9.0})) is None
    assert value(replace(stored("emulator", 0.1), finding=None)) is None


def test_a_miner_that_is_emulated_is_no_hardware_however_its_shares_come() -> None:
    def entry(told: dict[str, Any]) -> Any:
        run = stored(told["kind"], 0.1, started=5)
        run = replace(run, plan={**run.plan, "subject": {**run.plan["subject"], **told}})
        return next(e for e in ledger([run, stored("device", 0.2, started=3)]) if e.id == "C1")

    assert entry({"kind": "device", "device": "s9://10.0.0.5"}).value == 0.1
    assert entry({"kind": "trace"}).value == 0.1
    for told in ({"kind": "device", "device": "emulate:s9"}, {"kind": "trace", "emulated": True}):
        assert entry(told).value == 0.2
    alone = stored("trace", 0.1)
    told = {**alone.plan["subject"], "emulated": True}
    (shown,) = (e for e in ledger([replace(alone, plan={**alone.plan, "subject": told})]) if e.id == "C1")
    assert shown.subject == "recording of an emulated s9, quick"


def test_the_page_has_a_row_for_each_claim() -> None:
    entries = ledger([stored("emulator", 0.86)])
    page = markdown(entries)
    assert all(f"| {entry.id} |" in page for entry in entries)
    assert "0.86 (0.85 to 0.87)" in page
    assert "emulated s9, quick" in page


def test_every_experiment_that_a_claim_names_exists_and_says_so() -> None:
    from experiments.catalogue import catalogue

    every = catalogue()
    for claim in CLAIMS:
        if claim.experiment is not None:
            assert claim.id in every[claim.experiment].claims, claim.id
    ids = {claim.id for claim in CLAIMS}
    assert all(set(experiment.claims) <= ids for experiment in every.values())
