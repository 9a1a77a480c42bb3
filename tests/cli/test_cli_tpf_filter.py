"""``asiclab tpf filter``: what it prints, keeps and refuses."""

from __future__ import annotations

import json

import pytest

QUICK = ("--blocks", 6, "--block-seconds", 21, "--training-jobs", 150, "--physics", "off", "--seed", 3)


@pytest.mark.costly
def test_a_filter_is_tried_and_kept(lab) -> None:
    told = lab.json("tpf", "filter", "--plant", "winning_jobs=0.95", *QUICK, "--out", "kept")
    assert told["verdict"]["code"] == "saves"
    assert {"saving", "low", "high", "p", "detectable", "blocks"} == set(told["saving"])
    assert told["planted_saving"] > 0.2
    assert len(told["blocks"]) == 18
    assert told["keep_rate"]["none"] == 1.0
    assert told["live"] is None
    assert "symbol" in (lab.folder / "kept.md").read_text()
    assert json.loads((lab.folder / "kept.rule.json").read_text())["keep_rate"] == 0.5
    fair = lab("tpf", "filter", "--model", "kept", *QUICK, "--block-seconds", 6).stdout
    assert "Verdict: " in fair
    assert "Verdict: saves" not in fair


def test_what_is_refused(lab) -> None:
    for words, why in (
        (("--blocks", 3), "--blocks is at least 6"),
        (("--emulate", "lb-box"), "virtual time is there for s9 and lv06"),
        (("--plant", "winning_jobs=2"), "winning_jobs"),
        (("--replace-after", 5, "--job-seconds", 2), "--replace-after"),
        (("--keep-rate", 0), "--keep-rate"),
    ):
        assert why in " ".join(lab("tpf", "filter", *words, code=2).stderr.split())
