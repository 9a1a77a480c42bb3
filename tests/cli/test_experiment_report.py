"""The page of a run of an experiment: complete in itself, the same each time, and true to what is stored."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments import repeat
from experiments.catalogue import catalogue, get_experiment
from experiments.experiment import SUBJECT, Row
from experiments.plan import make_plan
from experiments.report import experiment_page
from experiments.report.experiment_page import bibtex, cells, citation, plots_of, render_run
from experiments.results import Results, StoredRun
from experiments.subjects import Emulated
from tests.cli.test_report import _Tags

pytestmark = pytest.mark.xdist_group("experiment-report")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A database with a finished run on a planted effect, and the folder that --out wrote."""
    from tests.cli.conftest import Lab

    lab = Lab(tmp_path_factory.mktemp("reports"))
    lab(
        "run",
        "thermal-ghost",
        "--size",
        "fast",
        "--jobs",
        "1",
        "--seed",
        "3",
        "--plant",
        "thermal=150",
        "--out",
        "out",
    )
    return lab


@pytest.fixture(scope="module")
def page(stored: Any) -> str:
    return str((stored.folder / "out" / "thermal-ghost" / "report.html").read_text(encoding="utf-8"))


def run_of(lab: Any) -> StoredRun:
    with Results(f"sqlite:///{lab.folder}/lab.db", create=False) as results:
        return results.find("latest")


def test_page_is_well_formed_and_loads_nothing(page: str) -> None:
    tags = _Tags()
    tags.feed(page)
    assert tags.open == []
    assert len(set(tags.ids)) == len(tags.ids)
    assert not tags.seen & {"script", "link", "iframe", "object", "embed", "img", "form"}
    assert "http://" not in page.replace("http://www.w3.org/", "")
    assert "https://" not in page
    for found in re.finditer(r"""\b(?:src|href|action)\s*=\s*["']([^"']*)""", page):
        assert found[1].startswith("#"), found[0]


def test_plots_come_first_then_methods_provenance_and_citation(page: str) -> None:
    parts = [page.index(f'<section id="{name}"') for name in
             ("finding", "plots", "claims", "methods", "cells", "provenance", "cite")]  # fmt: skip
    assert parts == sorted(parts)
    assert page.count("<figure>") == 2


def test_page_says_what_was_found_and_fixed_beforehand(stored: Any, page: str) -> None:
    run, experiment = run_of(stored), get_experiment("thermal-ghost")
    assert run.finding is not None
    for text in (
        experiment.title,
        experiment.hypothesis,
        experiment.decision,
        run.finding["finding"]["text"],
    ):
        assert text.replace("'", "&#39;") in page
    assert run.digest in page
    assert run.run_id in page
    assert "planted on purpose: thermal = 150" in page
    assert "C30" in page
    assert ">Evidence<" in page
    assert "says nothing about" in page


def test_the_stored_words_stand_even_where_the_experiment_has_changed(
    stored: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = replace(get_experiment("thermal-ghost"), decision="Evidence always, and whatever the data say.")
    monkeypatch.setattr("experiments.catalogue.catalogue", lambda: catalogue() | {changed.name: changed})
    monkeypatch.setattr("experiments.catalogue.get_experiment", lambda name: changed)
    run = run_of(stored)
    with Results(f"sqlite:///{stored.folder}/lab.db", create=False) as results:
        page = render_run(results, run)
    assert changed.decision not in page
    assert "the experiment has changed since" in page


def test_the_same_run_gives_the_same_bytes(stored: Any, page: str) -> None:
    for out in ("again.html", "and-again.html"):
        said = stored.json("experiments", "report", run_of(stored).run_id[:8], "--out", out)
        assert said["experiment"] == "thermal-ghost"
        assert (stored.folder / out).read_text(encoding="utf-8") == page
    said = stored.json("experiments", "report")
    assert said["report"] == f"report-{run_of(stored).run_id}.html"


def test_the_command_of_the_page_makes_the_same_plan(stored: Any, page: str) -> None:
    run = run_of(stored)
    told = shlex.split(repeat.command(run))
    assert " ".join(told) in page
    assert repeat.same_plan(run, f"sqlite:///{stored.folder}/lab.db")
    assert "still makes the same plan" in page
    again = stored.json(*told[1:], "--db", "sqlite:///again.db", "--jobs", "1")
    assert again["digest"] == run.digest
    assert again["finding"] == json.loads(json.dumps(run.finding))["finding"]


@pytest.mark.parametrize(
    ("subject", "command"),
    [
        (
            {"kind": "trace", "run": "ab-1", "model": "s9", "shares": 9},
            "asiclab run poisson --size fast --seed 1 --trace ab-1",
        ),
        (
            {"kind": "emulator", "model": "lv06", "plants": {}, "physics": {"hash_rate_ths": 0.5}},
            "asiclab run poisson --size fast --seed 1 --emulate lv06 --physics hash_rate_ths=0.5",
        ),
        (
            {"kind": "device", "device": "emulate:s9", "model": "s9", "plants": {"input": 2.0}, "physics": {}},
            "asiclab run poisson --size fast --seed 1 --emulate s9 --time wall --plant input=2",
        ),
        (
            {"kind": "device", "device": "lv06://10.0.0.7", "model": "lv06", "plants": {}, "physics": {}},
            "asiclab run poisson --size fast --seed 1 --device lv06://10.0.0.7 --host THIS_HOST --yes",
        ),
        (
            {"kind": "device", "device": "s9://127.0.0.7", "model": "s9", "plants": {}, "physics": {},
             "settle_s": 120.0, "period_s": 2.5},
            "asiclab run poisson --size fast --seed 1 --device s9://127.0.0.7 --settle 120 --job-period 2.5 --yes",
        ),
    ],
)  # fmt: skip
def test_every_subject_has_its_command(stored: Any, subject: dict[str, Any], command: str) -> None:
    plan = dict(run_of(stored).plan) | {"subject": subject}
    run = replace(run_of(stored), experiment="poisson", size="fast", seed=1, plan=plan)
    assert repeat.command(run) == command
    assert repeat.same_plan(run, "sqlite:///lab.db") is False  # another digest, but a plan that can be made


def test_a_run_that_is_under_way_has_a_page_without_a_finding(tmp_path: Path) -> None:
    experiment = get_experiment("share-rate")
    plan = make_plan(experiment, Emulated("s9"), size="fast", seed=1)
    with Results(f"sqlite:///{tmp_path}/lab.db") as results:
        run = results.find(results.begin(plan))
        empty = render_run(results, run)
        cell = plan.cells[0]
        results.add(run.run_id, cell, experiment.measure(cell, Emulated("s9")), 0.1)
        page = render_run(results, results.find(run.run_id))
    assert "No cell was measured yet" in empty
    assert ">Not finished<" in page
    assert "1 of 4 cells are there" in page
    assert "asiclab run --resume" in page
    assert page.count("<figure>") == 1


def test_cells_of_another_version_are_drawn_by_what_they_hold(stored: Any) -> None:
    run = run_of(stored)
    with Results(f"sqlite:///{stored.folder}/lab.db", create=False) as results:
        rows = results.rows(run.run_id, run.size)
    other = [Row(row.cell, {"early_ms": 1.0 + row.cell.number, "by_job_ms": 3.0}) for row in rows]
    assert [plot.title for plot in plots_of(run, other)] == ["What it was decided on", "Early"]
    assert len(plots_of(replace(run, experiment="gone"), rows)) == 4


def test_a_chart_without_anything_in_it_is_left_out(stored: Any) -> None:
    from experiments.experiment import Cell

    run = replace(run_of(stored), experiment="regime-map", finding=None)
    at = {
        "core_voltage_mv": 1200.0,
        "frequency_mhz": 425.0,
        "difficulty": 256.0,
    }  # no cell of an LV06 was published
    told = Row(Cell(0, at, 0, SUBJECT, 1, "fast"), at | {"cv": 1.0, "error": 0.1})
    assert [plot.title for plot in plots_of(run, [told])] == [
        "Where is the spread of share times another one?"
    ]
    # where nothing is left of what the experiment would draw, the cells are drawn as any are
    run = replace(run, experiment="hardware-errors")
    other = Row(Cell(0, {}, 0, SUBJECT, 1, "fast"), {"windows": 0, "tested": None, "submitted": 7})
    assert "Submitted" in [plot.title for plot in plots_of(run, [other])]


def test_what_a_run_is_called_cannot_break_the_page(stored: Any) -> None:
    hostile = "<script>alert(1)</script>"
    run = run_of(stored)
    plan = dict(run.plan) | {
        "subject": {"kind": "device", "device": hostile, "model": "s9", "plants": {}, "physics": {}}
    }
    with Results(f"sqlite:///{stored.folder}/lab.db", create=False) as results:
        page = render_run(results, replace(run, plan=plan, host={"name": hostile}))
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_the_table_leaves_out_lists_and_keeps_numbers_and_words() -> None:
    from experiments.experiment import Cell

    rows = [
        Row(
            Cell(0, {"mode": "a"}, 0, SUBJECT, 1, "fast"),
            {"x": 1.5, "many": [1, 2] * 20, "long": "w" * 99, "n": None},
        )
    ]
    head, body = cells(rows)
    assert head == ["cell", "arm", "repetition", "mode", "n", "x"]
    assert body == [["0", "this miner", "0", "a", "–", "1.5"]]


def test_a_citation_names_run_and_plan(stored: Any) -> None:
    run = run_of(stored)
    for text in (citation(run), bibtex(run)):
        assert run.run_id in text
        assert run.digest in text
        assert "asic-reservoir-lab" in text
    assert bibtex(run).startswith(f"@misc{{asiclab-{run.run_id},\n")
    assert bibtex(run).count("{") - bibtex(run).count("\\{") == bibtex(run).count("}") - bibtex(run).count(
        "\\}"
    )


def test_the_citation_of_the_lab_is_that_of_its_package(project: Path) -> None:
    import tomllib

    told = dict(re.findall(r'^(\w+): "?([^"\n]+)"?$', (project / "CITATION.cff").read_text(), flags=re.M))
    package = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    assert told["title"] == package["name"]
    assert told["version"] == package["version"]
    assert told["license"] == package["license"]["text"]


def test_a_run_that_is_not_there_is_named(stored: Any) -> None:
    result = stored("experiments", "report", "nope", code=2)
    assert "no run of an experiment 'nope'" in result.stderr


def test_a_place_that_cannot_be_written_is_named(stored: Any) -> None:
    result = stored("experiments", "report", "--out", "/proc/report.html", code=2)
    assert "/proc/report.html" in result.stderr


def test_every_word_of_a_finding_has_its_own() -> None:
    from experiments.experiment import CODES

    assert set(experiment_page.WORDS) == set(experiment_page.PLAIN) == {*CODES, None}
