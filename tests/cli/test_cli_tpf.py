"""``asiclab tpf frontier``, ``energy`` and ``signature`` as a user calls them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

LITTLE = ("--hashes", "6e3", "--zero-bits", 2)


def test_frontier_as_json(lab: Any) -> None:
    found = lab.json("tpf", "frontier", *LITTLE, "--seed", 3)
    assert [r["k"] for r in found["rounds"]] == list(range(65))
    assert {"auc", "ci", "mi_bits"} <= found["rounds"][0].keys()
    assert (found["exact_from_round"], found["exact_share_fraction"]) == (61, 1.0)
    assert found["saving"] == pytest.approx(5 / 128)
    assert (found["seed"], found["hashes"]) == (3, 6000)
    assert found["source"]["kind"] == "random headers"
    assert "numba" in found["versions"]
    assert lab.json("tpf", "frontier", *LITTLE, "--seed", 3) == found


def test_frontier_for_people_and_its_picture(lab: Any) -> None:
    shown = lab("tpf", "frontier", *LITTLE, "--plot", "frontier.png").stdout
    assert "57 and 4 of which only the half" in shown
    assert "Verdict: nothing_before_exact" in shown
    assert (lab.folder / "frontier.png").read_bytes().startswith(b"\x89PNG")


def test_frontier_of_a_recorded_job(with_excerpt: Any) -> None:
    found = with_excerpt.json("tpf", "frontier", *LITTLE, "--trace", "latest")
    assert found["source"]["kind"] == "job"
    name = found["source"]["job_id"]
    assert with_excerpt.json("tpf", "frontier", *LITTLE, "--trace", "latest", "--job", name) == found
    refused = with_excerpt("tpf", "frontier", "--trace", "latest", "--job", "nonsense", code=2)
    assert "nonsense" in refused.output
    assert "--trace" in with_excerpt("tpf", "frontier", "--job", name, code=2).output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("frontier", "--hashes", 100), "too few"),
        (("frontier", "--hashes", "2.5"), "whole"),
        (("frontier", "--hashes", "many"), "2e6"),
        (("frontier", "--plot", "frontier.bmp"), ".png"),
        (("energy", "--keep-rate", "1/2", "--recall", 0, "--abort-round", 5), "recall"),
        (("energy", "--keep-rate", "3/2", "--recall", 1, "--abort-round", 5), "keep rate"),
        (("energy", "--keep-rate", "1/0", "--recall", 1, "--abort-round", 5), "5/64"),
        (("energy", "--keep-rate", "1/2", "--recall", 1, "--abort-round", 200), "rounds"),
        (("energy", "--keep-rate", "1/2", "--recall", 1, "--abort-round", 5, "--plot", "x.gif"), ".png"),
        (("signature", "--hashes", 100), "too few"),
        (("signature", "--permutations", 20), "319"),
    ],
)
def test_mistakes_are_told(lab: Any, arguments: tuple[Any, ...], said: str) -> None:
    assert said in lab("tpf", *arguments, code=2).output


def test_energy_is_exact(lab: Any) -> None:
    point = ("--keep-rate", "5/64", "--recall", "50%", "--abort-round", 5, "--rounds", 64)
    found = lab.json("tpf", "energy", *point)
    assert found["exact"]["energy_per_share"] == "615/2048"
    assert found["energy_per_share"] == pytest.approx(615 / 2048, abs=1e-15)
    assert found["break_even_recall"] == pytest.approx(615 / 4096, abs=1e-15)
    assert found["equivalent_hashrate"] == pytest.approx(2048 / 615)
    assert found["verdict"]["code"] == "saves"
    shown = lab("tpf", "energy", *point).stdout
    assert "615/2048" in shown
    assert "Verdict: saves" in shown
    more = lab.json("tpf", "energy", *point, "--static", 0.2, "--cost", "0.01")
    assert more["energy_per_share"] == pytest.approx((0.8 * (615 / 4096 + 0.01) + 0.2) / 0.5)


def test_energy_of_no_information_never_saves(lab: Any) -> None:
    found = lab.json("tpf", "energy", "--keep-rate", 0.08, "--recall", 0.08, "--abort-round", 5)
    assert found["rounds"] == 128
    assert found["energy_per_share"] > 1
    assert found["verdict"]["code"] == "does_not_save"


def test_energy_plane_is_the_same_file_for_the_same_filter(lab: Any) -> None:
    digests = []
    for name in ("one.svg", "two.svg"):
        lab("tpf", "energy", "--keep-rate", 0.1, "--recall", 0.3, "--abort-round", 64, "--plot", name)
        text = (lab.folder / name).read_text()
        assert "this filter" in text
        assert "no information" in text
        digests.append(hashlib.sha256(text.encode()).hexdigest())
    assert digests[0] == digests[1]


def test_signature_as_json_and_for_people(lab: Any) -> None:
    options = ("--hashes", 3200, "--zero-bits", 3, "--permutations", 399, "--noise", 1)
    found = lab.json("tpf", "signature", *options)
    assert {arm["arm"]["role"] for arm in found["arms"]} == {
        "stage 1",
        "negative control",
        "positive control",
    }
    assert found["verdict"]["code"] in ("no_evidence", "cannot_tell", "evidence")
    assert (found["hashes"], found["seed"]) == (3200, 0)
    shown = lab("tpf", "signature", *options).stdout
    assert found["verdict"]["text"] in shown


def test_options_may_stand_in_the_file(lab: Any) -> None:
    Path(lab.folder, "lab.toml").write_text('[tpf.energy]\nrounds = "64"\nstatic = "1/5"\n')
    found = lab.json("tpf", "energy", "--keep-rate", "1/2", "--recall", 1, "--abort-round", 32)
    assert (found["rounds"], found["exact"]["static"]) == (64, "1/5")
