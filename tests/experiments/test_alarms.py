"""Experiments say *evidence* as rarely as they promise where nothing is there, and often where it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.alarms import Alarms, count, markdown, merged, read_counts, studied, write_counts
from experiments.catalogue import catalogue, get_experiment
from experiments.experiment import EVIDENCE, NO_EVIDENCE
from experiments.study import main
from firmware_bridge.errors import UserError


def test_the_bands_are_those_that_are_promised() -> None:
    assert Alarms("x", {}, 200, 18).holds
    assert not Alarms("x", {}, 200, 19).holds
    assert Alarms("x", {"quality": 1.0}, 200, 160).holds
    assert not Alarms("x", {"quality": 1.0}, 200, 159).holds
    assert Alarms("x", {}, 8, 2).allowed == (0, 2)


def test_each_effect_can_be_planted() -> None:
    from firmware_bridge.emulator.effects import BEHAVIOURS, KINDS

    for experiment in catalogue().values():
        assert all(set(plants) <= {*KINDS, *BEHAVIOURS} for plants in studied(experiment)), experiment.name


def test_every_experiment_on_a_miner_has_an_effect_that_it_has_to_find() -> None:
    without = {experiment.name for experiment in catalogue().values() if experiment.effect is None}
    # no miner knows the sums that it is asked for, and SHA-256 is no miner
    assert without == {"subset-sum", "tpf-frontier"}


@pytest.mark.costly
@pytest.mark.xdist_group("both cores")
def test_a_few_runs_of_one_experiment() -> None:
    quiet, planted = count([get_experiment("difficulty")], 6, first_seed=40_000)
    assert quiet.holds
    assert planted.holds
    assert quiet.codes.get(NO_EVIDENCE, 0) >= 4
    assert planted.codes[EVIDENCE] >= 3
    assert 0 < quiet.cpu_s < 4


def test_a_newer_count_takes_the_place_of_an_older_one_and_the_others_stay(tmp_path: Path) -> None:
    file = tmp_path / "alarms.json"
    older = [
        Alarms("poisson", {"quality": 1.0}, 200, 190),
        Alarms("poisson", {}, 200, 19),
        Alarms("vbm", {}, 200, 3),
    ]
    write_counts(merged(read_counts(file), older), file)
    newer = [Alarms("poisson", {}, 200, 9, {EVIDENCE: 9}, 0.5, 1000)]
    write_counts(merged(read_counts(file), newer), file)
    assert read_counts(file) == [newer[0], older[0], older[2]]
    file.write_text('{"a": 1}')
    with pytest.raises(UserError, match="no table of counts"):
        read_counts(file)


def test_the_page_of_counts_marks_what_is_outside_and_names_what_is_missing() -> None:
    counted = [
        Alarms("poisson", {}, 200, 19, {}, 0.5, 1000),
        Alarms("poisson", {"quality": 1.0}, 200, 199, {}, 0.25, 2000),
        Alarms("tpf-frontier", {}, 200, 0),
    ]
    page = markdown(counted)
    (row,) = [line for line in page.splitlines() if line.startswith("| `poisson`")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:3] == ["19 of 200 (outside)", "9.5% (5.8% to 14.4%)"]  # Clopper and Pearson 1934
    assert cells[3:5] == ["`quality=1`", "199 of 200"]
    assert cells[6:] == ["1000, 2000", "0.50"]
    assert "vbm" in page.rpartition("Not counted: ")[2]
    assert "poisson" not in page.rpartition("Not counted: ")[2]


@pytest.mark.costly
@pytest.mark.xdist_group("both cores")
def test_a_study_of_one_experiment_keeps_its_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--only-experiments", "--experiments", "subset-sum", "--out", str(tmp_path)]
    assert main([*words, "--seeds", "4", "--workers", "1"]) == 0
    assert "subset-sum, nothing planted: " in capsys.readouterr().out
    (kept,) = read_counts(tmp_path / "alarms.json")
    assert (kept.experiment, kept.runs) == ("subset-sum", 4)
    assert "`subset-sum`" in (tmp_path / "alarms.md").read_text()
