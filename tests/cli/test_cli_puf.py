"""``asiclab puf``, ``tpf nonce`` and ``tpf signals``: what they print, draw, write and refuse."""

from __future__ import annotations

import json

import pytest


def planted(lab, device: int, seed: int, variation: float = 0.6) -> str:
    told = lab.json(
        "emulate",
        "s9",
        "--time",
        "virtual",
        "--shares",
        700,
        "--seed",
        seed,
        "--device",
        device,
        "--variation",
        variation,
    )
    assert told["plants"] == {"variation": variation}
    return str(told["run"])


@pytest.mark.costly
def test_stored_runs_are_enrolled_verified_and_evaluated(lab) -> None:
    runs = {(d, r): planted(lab, d, 10 * d + r) for d in (1, 2) for r in (0, 1)}
    told = lab.json("puf", "enroll", runs[1, 0], "--out", "one.json", "--challenge", 3)
    assert (told["device"], told["runs"], told["challenge_seed"]) == ("s9-1", [runs[1, 0]], 3)
    assert told["provenance"]["versions"]
    file = json.loads((lab.folder / "one.json").read_text())
    assert file["response"] == told["response"]
    same = lab.json("puf", "verify", "one.json", runs[1, 1])
    assert (same["accepted"], same["verdict"]["code"]) == (True, "evidence")
    other = lab.json("puf", "verify", "one.json", runs[2, 0], code=1)
    assert (other["accepted"], other["run"]) == (False, runs[2, 0])
    found = lab.json("puf", "evaluate", *runs.values(), code=1)
    assert (found["devices"], found["verdict"]["code"]) == (2, "cannot_tell")
    assert "in 3 ways only" in found["verdict"]["text"]  # no test of 5 % has power over three ways
    named = lab.json("puf", "evaluate", f"a={runs[1, 0]}", f"b={runs[2, 0]}", "--split", 5)
    assert [one["device"] for one in named["each"]] == ["a", "b"]
    assert (named["repeats"], named["verdict"]["code"]) == (5, "evidence")
    alone = lab.json("puf", "evaluate", runs[1, 0], runs[1, 1], code=1)
    assert alone["verdict"]["code"] == "cannot_tell"
    assert alone["eer"] is None
    assert alone["uniqueness"] is None
    assert "one device" in lab("puf", "evaluate", runs[1, 0], "--split", 2, code=1).stdout
    assert "Accepted" in lab("puf", "verify", "one.json", runs[1, 1]).stdout
    assert "several devices" in lab("puf", "enroll", runs[1, 0], runs[2, 0], code=2).stderr
    assert "named twice" in lab("puf", "evaluate", runs[1, 0], runs[1, 0], code=2).stderr


def test_emulated_devices_are_enrolled_verified_and_evaluated(lab) -> None:
    emulated = ("--emulate", "lv06", "--variation", 0.6, "--shares", 900)
    lab("puf", "enroll", *emulated, "--device", 5, "--seed", 1, "--out", "five.json", "--name", "five")
    assert json.loads((lab.folder / "five.json").read_text())["provenance"]["plants"] == {"variation": 0.6}
    assert lab.json("puf", "verify", "five.json", *emulated, "--device", 5, "--seed", 2)["accepted"]
    assert not lab.json("puf", "verify", "five.json", *emulated, "--device", 7, "--seed", 2, code=1)[
        "accepted"
    ]
    population = ("puf", "evaluate", "--emulate", "s9", "--devices", 5, "--repeats", 3, "--shares", 600)
    told = lab.json(*population, "--variation", 0.8, "--plot", "puf.svg")
    assert told["verdict"]["code"] == "evidence"
    assert told["eer"]["value"] < 0.1
    assert told["plants"] == {"variation": 0.8}
    text = (lab.folder / "puf.svg").read_text()
    assert f"Equal error rate {told['eer']['value']:.3f}" in text
    assert "same device (15 pairs)" in text
    shown = lab(*population)
    assert "no_evidence" in shown.stdout
    assert "equal error rate" in shown.stdout
    assert (
        lab.json("puf", "evaluate", "--emulate", "s9", "--devices", 1, "--shares", 600, code=1)["eer"] is None
    )


@pytest.mark.costly
def test_nonces_and_signals_of_a_run(with_excerpt) -> None:
    lab = with_excerpt
    told = lab.json("tpf", "nonce", "latest", "--permutations", 99)
    assert told["layout"] == "s9"
    assert {t["part"] for t in told["tests"]} <= {"chip", "core"}
    assert told["verdict"]["code"] in ("no_evidence", "cannot_tell")
    assert "What the scan explains" in lab("tpf", "nonce", "--permutations", 99).stdout
    signals = lab.json("tpf", "signals", "latest", "--draws", 39, "--plot", "signals.svg")
    assert signals["verdict"]["code"] == "no_evidence"
    assert signals["hashes"] > 250
    assert signals["signals"]["hamming_diffusion"]["value"] == pytest.approx(0.42, abs=0.01)
    text = (lab.folder / "signals.svg").read_text()
    assert "claimed: 2.4 Hz" in text
    assert f"{signals['signals']['avalanche']['value']:.4g}, p = " in text
    shown = lab("tpf", "signals", "--draws", 39, "--frequency-hz", 1.5).stdout
    assert "pulse at 1.5 Hz" in shown
    assert "Verdict: " in shown


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("puf", "evaluate"), "--emulate"),
        (("puf", "evaluate", "--emulate", "bm1366"), "s9 and lv06"),
        (("puf", "evaluate", "latest", "--emulate", "s9"), "one of the two"),
        (("puf", "enroll", "latest", "--emulate", "s9"), "one of the two"),
        (("puf", "verify", "nobody.json", "--emulate", "s9"), "asiclab puf enroll"),
        (("puf", "enroll", "--emulate", "s9", "--far", "0.9", "--shares", "300"), "false acceptance"),
        (("puf", "enroll", "--emulate", "s9", "--bits", "9999", "--shares", "300"), "pairs"),
        (
            ("puf", "evaluate", "--emulate", "s9", "--devices", "2", "--repeats", "2", "--shares", "40"),
            "more than one each",
        ),
        (("emulate", "s9", "--pool", "127.0.0.1:1", "--variation", "0.5"), "virtual time"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_reason(lab, arguments: tuple[str, ...], why: str) -> None:
    result = lab(*arguments, code=2)
    assert why in result.stderr
    assert "Traceback" not in result.stderr
