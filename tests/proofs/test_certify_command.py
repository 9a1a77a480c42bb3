"""From a report or from options to counts, and from counts to a Lean file; Lean itself is another test's."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.proofs.certificate import counts_of, lean_file, words
from experiments.proofs.scan import scan
from experiments.proofs.sources import Module
from firmware_bridge.errors import UserError
from tpf.certificate import Counts, bound

REPORT = {
    "certificate": {"classifier": "x", "correct": 61, "trials": 100, "baseline": [52, 104], "alpha": 0.05}
}


def test_counts_come_from_a_report(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_text(json.dumps(REPORT))
    assert counts_of(file) == Counts(61, 100, Fraction(1, 2), Fraction(1, 20))
    assert counts_of(file, alpha="1/100").alpha == Fraction(1, 100)
    file.write_text(json.dumps({"certificate": {**REPORT["certificate"], "alpha": [1, 7]}}))
    assert counts_of(file).alpha == Fraction(1, 7)


def test_counts_come_from_options() -> None:
    assert counts_of(None, correct=61, trials=100, baseline="0.5") == Counts(
        61, 100, Fraction(1, 2), Fraction(1, 20)
    )


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        (None, {}, "--correct, --trials and --baseline"),
        (None, {"correct": 5, "trials": 4, "baseline": "1/2"}, "is no count"),
        (None, {"correct": 1, "trials": 4, "baseline": "one"}, "--baseline is a fraction"),
        (None, {"correct": 1, "trials": 4, "baseline": "1/0"}, "--baseline is a fraction"),
        (None, {"correct": 1, "trials": 4, "baseline": "1/2", "alpha": "2"}, "alpha lies between 0 and 1"),
        ("{", {}, "is no JSON of an evaluation"),
        ("{}", {}, "holds no certificate"),
        ('{"certificate": null}', {}, "holds no certificate"),
        ('{"certificate": {"correct": 1}}', {}, "not readable"),
        (json.dumps(REPORT), {"correct": 1}, "not from both"),
    ],
)
def test_what_is_no_count_is_a_user_error(
    tmp_path: Path, text: str | None, options: dict[str, object], said: str
) -> None:
    file = None
    if text is not None:
        file = tmp_path / "report.json"
        file.write_text(text)
    with pytest.raises(UserError, match=said):
        counts_of(file, **options)  # type: ignore[arg-type]


def test_a_stored_run_is_evaluated_as_the_command_does_it(lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.proofs.toolchain.find", None)
    lab("emulate", "s9", "--time", "virtual", "--shares", 900, "--seed", 1)
    evaluated = lab.json("tpf", "evaluate", "latest", "--seed", 3)["certificate"]
    value = lab.json(
        "proofs", "certify", "latest", "--seed", 3, code=1
    )  # nothing planted: nothing improbable
    counts = (value["counts"]["correct"], value["counts"]["trials"])
    assert counts == (evaluated["correct"], evaluated["trials"])
    (lab.folder / "evaluated.json").write_text(lab("tpf", "evaluate", "latest", "--seed", 3, "--json").stdout)
    assert lab.json("proofs", "certify", "evaluated.json", code=1)["counts"] == value["counts"]
    assert "no run" in lab("proofs", "certify", "nobody", code=2).stderr


def test_a_count_that_is_not_improbable_is_told_without_lean(lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.proofs.toolchain.find", None)
    value = lab.json("proofs", "certify", "--correct", 52, "--trials", 100, "--baseline", "1/2", code=1)
    assert (value["ok"], value["holds"], value["check"]) == (False, False, None)
    assert "not below the 1/20 asked for" in value["statement"]
    lab("proofs", "certify", "--correct", 52, "--trials", 100, "--baseline", "1/2", "--out", "x.lean", code=1)
    assert "theorem count_improbable" in (lab.folder / "x.lean").read_text()


@given(st.integers(1, 3000), st.data())
def test_the_file_says_what_the_words_say_and_passes_the_scan(trials: int, data: st.DataObject) -> None:
    correct = data.draw(st.integers(0, trials))
    baseline = data.draw(st.fractions(Fraction(1, 20), Fraction(19, 20), max_denominator=20))
    found = bound(Counts(correct, trials, baseline))
    text = lean_file(found)
    assert scan(Module("Silicon.Run", "Silicon/Run.lean", text)) == []
    assert f"reach s {trials} {correct} []" in text
    assert f"({baseline.numerator} / {baseline.denominator} : Rat)" in text
    assert f"at most {baseline},\nthen" in words(found)
