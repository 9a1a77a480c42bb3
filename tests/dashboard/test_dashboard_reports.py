"""The dashboard serves the report of every finished run, to whoever may look at the rest."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from chrome import chromium

pytest.importorskip("starlette")
from starlette.testclient import TestClient

from experiments.catalogue import get_experiment
from experiments.dashboard.app import make_app
from experiments.experiment import NO_EVIDENCE, Finding
from experiments.plan import make_plan
from experiments.report.experiment_page import render_run
from experiments.results import Results
from experiments.subjects import Emulated
from firmware_bridge.trace.writer import TraceWriter


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    """A database with a run that ended and one that did not: its URL and both ids."""
    url = f"sqlite:///{tmp_path_factory.mktemp('reports')}/lab.db"
    with TraceWriter(url):
        pass
    ids = []
    with Results(url) as results:
        for seed in (1, 2):
            plan = make_plan(get_experiment("share-rate"), Emulated(), size="fast", seed=seed)
            ids.append(results.begin(plan))
        said = Finding(NO_EVIDENCE, "Nothing <b>here</b>.", "rate", 1.0, (0.9, 1.1)).to_json()
        results.end(ids[0], {"finding": said, "placebo": None})
    return url, ids[0], ids[1]


def client(db: str, **options: Any) -> TestClient:
    return TestClient(make_app(db, **options), base_url="http://127.0.0.1")


def test_a_finished_run_has_its_report(lab: tuple[str, str, str]) -> None:
    db, ended, under_way = lab
    looking = client(db)
    page = looking.get(f"/experiments/{ended}/report")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["x-content-type-options"] == "nosniff"
    with Results(db, create=False) as results:
        assert page.text == render_run(results, results.find(ended))
    assert "Nothing &lt;b&gt;here" in page.text
    assert looking.get(f"/experiments/{ended}/report").text == page.text
    missing = looking.get(f"/experiments/{under_way}/report")
    assert missing.status_code == 404
    assert "has not ended" in missing.text
    assert looking.get("/experiments/none/report").status_code == 404
    assert looking.post(f"/experiments/{ended}/report").status_code == 405


def test_a_report_is_for_those_with_the_token(lab: tuple[str, str, str]) -> None:
    db, ended, _ = lab
    asking = client(db, token="a-long-token")
    assert asking.get(f"/experiments/{ended}/report").status_code == 401
    bearer = {"Authorization": "Bearer a-long-token"}
    assert asking.get(f"/experiments/{ended}/report", headers=bearer).status_code == 200


@pytest.mark.costly
def test_a_browser_finds_the_report(lab: tuple[str, str, str], tmp_path: Path) -> None:
    db, ended, _ = lab
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.cli", "dashboard", "--port", "0", "--json", "--db", db],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        with chromium(tmp_path, json.loads(process.stdout.readline())["url"]) as page:
            page.until("document.querySelectorAll('#experiments tr').length === 2")
            every = "[...document.querySelectorAll('#experiments a')].map((a) => a.getAttribute('href'))"
            links = f"{every}.filter((href) => href.endsWith('/report'))"
            assert page.evaluate(links) == [f"/experiments/{ended}/report"]
            page.evaluate(
                "[...document.querySelectorAll('#experiments tr')].pop().cells[1].firstChild.click()"
            )
            page.until("!document.getElementById('finding').hidden")
            link = page.evaluate("document.getElementById('report').href")
            assert link.endswith(f"/experiments/{ended}/report")
            page.evaluate("window.location = document.getElementById('report').href")
            page.until("document.getElementById('cite') !== null")
            assert page.evaluate("getComputedStyle(document.querySelector('main')).maxWidth") == "896px"
    finally:
        process.terminate()
        process.communicate(timeout=30)
