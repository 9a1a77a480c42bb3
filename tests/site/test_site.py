"""The documentation as a site: it builds without a fault, is whole, and can be searched without a server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.dashboard.chrome import chromium

PROJECT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("site")]

SEARCH = """(() => {
  const field = document.querySelector('.md-search__input');
  if (!field) return 0;
  field.focus();
  field.value = 'sentinel';
  field.dispatchEvent(new KeyboardEvent('keyup', { bubbles: true }));
  return document.querySelectorAll('.md-search-result__item').length;
})()"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="pip install 'asic-reservoir-lab[docs]'")
    folder = tmp_path_factory.mktemp("built") / "site"
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)],
        cwd=PROJECT, capture_output=True, text=True, timeout=600,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_every_link_of_the_site_leads_somewhere(site: Path) -> None:
    """Also those that the build does not look at: made pages, the API, the navigation."""
    pages = {path: path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    names = {path: set(re.findall(r'\bid="([^"]+)"', text)) for path, text in pages.items()}
    assert len(pages) > 90
    for page, text in pages.items():
        for link in set(re.findall(r'<a [^>]*?\bhref="([^"]+)"', text)):
            parts = urlsplit(link)
            if parts.scheme or page.name == "404.html":
                continue
            there = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            there = there / "index.html" if there.is_dir() else there
            assert there.exists(), f"{page.relative_to(site)}: {link}"
            if parts.fragment and there in names:
                assert unquote(parts.fragment) in names[there], f"{page.relative_to(site)}: {link}"


def test_public_names_have_their_place_in_the_reference(site: Path) -> None:
    devices = (site / "api" / "firmware_bridge.devices.html").read_text(encoding="utf-8")
    assert 'id="firmware_bridge.devices.device.Device.apply"' in devices
    assert 'id="firmware_bridge.devices.device.Device._write_point"' not in devices
    everything = "".join(path.read_text(encoding="utf-8") for path in (site / "api").glob("*.html"))
    for name in (
        "reservoir.gain.Gain",
        "firmware_bridge.verdict.Verdict",
        "experiments.experiment.Experiment",
    ):
        assert f'id="{name}"' in everything, name
    assert 'id="experiments.cli' not in everything
    for left_over in (":class:`", ":func:`", "<p>====", "::</p>"):
        assert left_over not in everything


def test_the_search_works_from_a_folder_of_files_and_nothing_comes_from_elsewhere(
    site: Path, tmp_path: Path
) -> None:
    with chromium(tmp_path, (site / "index.html").as_uri()) as page:
        assert page.until(SEARCH) > 0
        loaded = page.evaluate(
            "[...document.querySelectorAll('script[src], link[rel=stylesheet], link[rel=icon], img, iframe[src]')]"
            ".map((element) => element.src || element.href)"
        )
        assert len(loaded) > 5
        assert [name for name in loaded if not name.startswith("file:")] == []


def test_no_page_is_wider_than_a_phone(site: Path, tmp_path: Path) -> None:
    names = ("index.html", "claims.html", "attach/bm1366.html", "api/firmware_bridge.devices.html")
    for name in names:
        with chromium(
            tmp_path / name.replace("/", "-"), (site / name).as_uri(), width=390, height=844
        ) as page:
            width = page.until("document.querySelector('.md-footer') && document.documentElement.scrollWidth")
        assert width <= 390, name
