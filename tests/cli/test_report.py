"""The report: complete in itself, deterministic, safe against what a miner calls itself, and read by a browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from experiments.analysis import Analysis, analyse
from experiments.report import plots, render
from experiments.report.page import number

# what the tests of this file share is made by one worker
pytestmark = pytest.mark.xdist_group("report")


@pytest.fixture(scope="module")
def analysis(emulated) -> Analysis:
    return analyse(f"sqlite:///{emulated.folder / 'lab.db'}", "latest", parts=True)


@pytest.fixture(scope="module")
def page(analysis: Analysis) -> str:
    return render(analysis)


class _Tags(HTMLParser):
    void = frozenset(("meta", "link", "br", "img", "hr", "input"))

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.ids += [value for key, value in attrs if key == "id" and value]
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.ids += [value for key, value in attrs if key == "id" and value]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_is_well_formed_and_ids_are_unique(page: str) -> None:
    tags = _Tags()
    tags.feed(page)
    assert tags.open == []
    assert len(set(tags.ids)) == len(tags.ids)
    assert not tags.seen & {"script", "link", "iframe", "object", "embed", "img", "form"}


def test_page_loads_nothing_from_elsewhere(page: str) -> None:
    assert "http://" not in page.replace("http://www.w3.org/", "")
    assert "https://" not in page
    assert "@import" not in page
    assert "@font-face" not in page
    for found in re.finditer(r"""\b(?:src|href|action)\s*=\s*["']([^"']*)""", page):
        assert found[1].startswith("#"), found[0]
    for found in re.finditer(r"url\(([^)]*)\)", page):
        assert found[1].startswith("#"), found[0]
    assert "default-src 'none'" in page


def test_references_within_drawings_lead_somewhere(page: str) -> None:
    ids = set(re.findall(r'\bid="([^"]+)"', page))
    targets = set(re.findall(r'href="#([^"]+)"', page)) | set(re.findall(r"url\(#([^)]+)\)", page))
    assert targets
    assert targets <= ids


def test_verdict_stands_before_the_first_plot(page: str, analysis: Analysis) -> None:
    verdict = analysis.summary["verdict"]["text"].split(".")[0]
    assert 0 < page.index(verdict) < page.index("<svg")
    for needed in ("Poisson process with the same mean", "Arrival raster", "Position in the scan"):
        assert needed in page


def test_page_names_where_the_data_came_from(page: str, analysis: Analysis) -> None:
    for needed in (
        "Seeds",
        "Clock tick",
        "Plants in force",
        "Physics of the emulation",
        "How to cite",
        "Versions",
    ):
        assert needed in page
    assert analysis.run["run_id"] in page
    assert "These shares were emulated" in page


def test_equal_runs_give_equal_bytes(analysis: Analysis, page: str) -> None:
    assert render(analysis) == page


def test_what_a_miner_calls_itself_cannot_break_the_page(analysis: Analysis) -> None:
    evil = '"><script>alert(1)</script>{{ 7 * 7 }}<img src=x onerror=alert(2)>'
    part = analysis.parts[0]
    info = replace(part.data.miners[1], name=evil, user_agent=evil)
    data = replace(part.data, miners={1: info})
    run = analysis.run | {"notes": evil, "tags": [evil], "config": {evil: evil}}
    event = {"kind": evil, "severity": "warning", "detail": evil}
    hostile = replace(analysis, run=run, data=data, parts=(replace(part, data=data),), events=(event,))
    text = render(hostile)
    assert "<script" not in text
    assert "<img" not in text
    assert "{{ 7 * 7 }}" in text
    assert "&lt;script&gt;" in text


def test_dark_and_light_come_from_the_page(page: str) -> None:
    assert "prefers-color-scheme: dark" in page
    drawings = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.S))
    assert "var(--data)" in drawings
    colours = set(re.findall(r"(?:stroke|fill): ?(#[0-9a-f]{3,6})", drawings))
    assert not colours, "a fixed colour vanishes in one of the two schemes"


def test_drawings_keep_a_legible_size_on_a_telephone(page: str) -> None:
    assert page.count("<figure>") == page.count('<figure><div class="drawing"><svg') > 3
    (narrow,) = re.findall(r"@media screen and \(max-width: 640px\) \{(.*?)\n\}", page, flags=re.S)
    assert ".drawing { overflow-x: auto; " in narrow
    assert "svg { width: 640px; }" in narrow


def test_report_of_arrival_times_alone_says_so(lab) -> None:
    rng = np.random.default_rng(3)
    times = np.cumsum(rng.exponential(0.2, 800))
    (lab.folder / "clicks.csv").write_text("t\n" + "\n".join(f"{t:.6f}" for t in times) + "\n")
    lab("import", "clicks.csv", "--map", "timestamp=t")
    result = lab.json("report", "latest", "--out", "page.html")
    text = (lab.folder / result["report"]).read_text()
    assert "no hash could be checked" in text
    assert "<svg" in text


def test_report_that_cannot_be_written_says_where(emulated) -> None:
    folder = emulated.folder / "taken"
    folder.write_text("a file")
    assert "taken" in emulated("report", "--out", folder / "page.html", code=2).stderr


def test_bins_are_fixed_and_steps_are_round() -> None:
    assert plots.bin_width_ms(np.full(100, 50.0)) == 10.0
    assert plots.bin_width_ms(np.full(100, 5000.0)) == 160.0
    assert [plots.nice_step(x) for x in (0.9, 1.0, 1.1, 30.0, 0.0)] == [1.0, 1.0, 2.0, 50.0, 1.0]


def test_numbers_are_for_people() -> None:
    assert number(None) == "–"
    assert number(1234567) == "1\u202f234\u202f567"
    assert number(0.123456789) == "0.12346"
    assert number(True) == "yes"


@pytest.mark.costly
@pytest.mark.parametrize("size", ["390,844", "1280,900"])
def test_browser_draws_it(page: str, tmp_path: Path, size: str) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on this machine")
    (tmp_path / "page.html").write_text(page)
    shot = tmp_path / "page.png"
    subprocess.run(
        [
            *(chromium, "--headless", "--no-sandbox", "--disable-gpu"),
            *(f"--screenshot={shot}", f"--window-size={size}", (tmp_path / "page.html").as_uri()),
        ],
        check=True,
        capture_output=True,
        timeout=90,
    )
    assert shot.stat().st_size > 20_000
