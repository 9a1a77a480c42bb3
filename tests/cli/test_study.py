"""How often the verdict is wrong: the short form of the studies here, the full one among the slow tests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.study import (
    Cell,
    Outcome,
    allowed,
    clock_cells,
    main,
    null_cells,
    power_cells,
    run_cells,
    write_tables,
)

NULL, PLANTED = Cell("null"), Cell("planted", {"quality": 1.0})


def failures(outcomes: list[Outcome]) -> list[str]:
    return [
        f"{o.cell.name}: {o.deviates} of {o.seeds}, fine are {o.allowed}" for o in outcomes if not o.holds
    ]


def test_bands_are_those_of_a_five_percent_test_and_of_power_nine_tenths() -> None:
    assert allowed(NULL, 200) == (0, 18)
    assert allowed(PLANTED, 200) == (170, 200)
    assert allowed(NULL, 20)[1] < 6
    assert allowed(PLANTED, 20)[0] >= 13
    assert not Outcome(NULL, 200, 19, 0, {}, allowed(NULL, 200)).holds
    assert not Outcome(PLANTED, 200, 169, 0, {}, allowed(PLANTED, 200)).holds


def test_tables_say_which_cells_hold(tmp_path: Path) -> None:
    rows = [
        Outcome(NULL, 200, 7, 0, {"work_memory": 7}, (0, 18)),
        Outcome(PLANTED, 200, 100, 1, {"quality_response": 100}, (170, 200)),
    ]
    write_tables(rows, tmp_path)
    assert [row["holds"] for row in json.loads((tmp_path / "study.json").read_text())] == [True, False]
    assert "| planted | 200 | 100 | 170 to 200 | 1 | NO |" in (tmp_path / "study.md").read_text()
    assert len((tmp_path / "study.csv").read_text().splitlines()) == 3


@pytest.mark.costly
def test_eight_seeds_of_each_cell() -> None:
    outcomes = run_cells([*null_cells(), *power_cells()], 8, first_seed=50_000)
    assert len(outcomes) == 5
    assert failures(outcomes) == []
    strong = run_cells([Cell("strong", {"quality": 5.0})], 4, first_seed=7, workers=1)
    assert strong[0].deviates == 4
    assert strong[0].decided_by == {"quality_response": 4}


@pytest.mark.slow
def test_jobs_that_a_clock_ends_raise_no_alarm() -> None:
    outcomes = run_cells(clock_cells(), 8, first_seed=50_000)
    assert len(outcomes) == 7
    assert failures(outcomes) == []
    assert sum(o.cannot_tell for o in outcomes) == 0


@pytest.mark.costly
def test_runner_writes_its_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--seeds", "1", "--first-seed", "900", "--out", str(tmp_path)])
    said = capsys.readouterr().out
    assert code in (0, 1)
    assert (code == 0) == all(row["holds"] for row in json.loads((tmp_path / "study.json").read_text()))
    assert "null, physics off" in said


@pytest.mark.xdist_group("both cores")
@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_two_hundred_seeds_of_each_cell(tmp_path: Path) -> None:
    outcomes = run_cells([*null_cells(), *power_cells()], 200)
    write_tables(outcomes, tmp_path)
    assert failures(outcomes) == []


@pytest.mark.xdist_group("both cores")
@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_two_hundred_seeds_of_each_clock(tmp_path: Path) -> None:
    outcomes = run_cells(clock_cells(), 200)
    write_tables(outcomes, tmp_path)
    assert failures(outcomes) == []
    assert sum(o.cannot_tell for o in outcomes) == 0
