"""``asiclab tpf audit``, ``train`` and ``evaluate``: what they print, draw and refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from tpf.classifier import load_model


def test_audit_of_the_published_tables(lab, traces: Path) -> None:
    windows = lab.json("tpf", "audit", traces / "lv06_windows.csv", "--label", "label", code=1)
    assert {"leaks", "single_class", "base_rate", "honest_score"} <= set(windows)
    assert {"feature", "kind", "rows", "text"} <= set(windows["leaks"][0])
    assert windows["leaks"][0]["feature"] == "window_shares"
    assert windows["honest_score"] == windows["base_rate"]
    assert not windows["single_class"]
    single = lab.json("tpf", "audit", traces / "s9_published_labels.csv", code=1)
    assert single["single_class"]
    assert single["honest_score"] is None
    text = lab("tpf", "audit", traces / "lv06_windows.csv", code=1).stdout
    assert "window_shares > 0) in 150 of 150 rows" in text
    refused = lab("tpf", "train", traces / "s9_published_labels.csv", code=2)
    assert "single class" in refused.stderr


def test_a_run_is_audited_trained_on_and_evaluated(lab) -> None:
    told = lab.json(
        "tpf", "evaluate", "--emulate", "s9", "--plant", "quality_delay_ms=40", "--shares", 900, "--seed", 2,
        "--plot", "roc.png",
    )  # fmt: skip
    assert set(told["verdict"]) == {"code", "text"}
    assert told["verdict"]["code"] == "evidence"
    wanted = {"name", "statistic", "p_value", "p_corrected", "effect", "ci", "detectable_effect"}
    assert all(wanted <= set(test) for test in told["tests"])
    assert {"n", "base_rate", "replicated", "leaks", "certificate"} <= set(told)
    assert set(told["certificate"]) >= {"correct", "trials", "baseline", "alpha"}
    assert told["plants"] == {"quality_delay_ms": 40.0}
    assert (lab.folder / "roc.png").stat().st_size > 20_000
    again = lab.json("tpf", "evaluate", "latest", "--seed", 2)
    assert again == {key: value for key, value in told.items() if key != "plot"}
    audited = lab.json("tpf", "audit", "latest")
    assert audited["leaks"] == []
    assert audited["honest_score"] > audited["base_rate"] + 0.1
    card = lab.json("tpf", "train", "latest", "--classifier", "logistic", "--out", "model")
    assert card["auc"] > 0.8
    assert load_model(lab.folder / "model").card.data == told["name"]
    assert "constant predictor" in lab("tpf", "train", "latest", "--out", "model").stdout


def test_a_copy_of_a_recording_can_be_planted(with_excerpt) -> None:
    plain = with_excerpt.json("tpf", "evaluate", "latest")
    assert plain["verdict"]["code"] == "cannot_tell"
    text = with_excerpt("tpf", "evaluate", "latest", "--plant", "quality_delay_ms=200").stdout
    assert "Verdict: evidence" in text
    assert "detectable" in text


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("audit", "nowhere.csv"), "cannot be read"),
        (("audit", "t.csv"), "--label COLUMN"),
        (("audit", "t.csv", "--label", "z"), "no column 'z'"),
        (("audit", "latest", "--label", "a"), "names a column of a file"),
        (("evaluate", "t.csv", "--label", "a", "--truth"), "leave these options out"),
        (("evaluate", "latest", "--plant", "queue=3"), "only quality_delay_ms"),
        (("evaluate", "latest", "--emulate", "s9"), "leave the name"),
        (("evaluate", "--emulate", "bm1366"), "s9 and lv06"),
        (("evaluate", "latest", "--truth"), "no planted effect"),
        (("evaluate", "latest", "--plot", "roc.gif"), "a figure is written as"),
        (("train", "latest", "--classifier", "oracle"), "no classifier 'oracle'"),
    ],
)
def test_mistakes_are_refused_with_a_reason(with_excerpt, arguments: tuple[str, ...], why: str) -> None:
    (with_excerpt.folder / "t.csv").write_text("a,b\n1,2\n0,3\n")
    result = with_excerpt("tpf", *arguments, code=2)
    assert why in result.stderr
    assert "Traceback" not in result.stderr
