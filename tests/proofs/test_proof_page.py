"""The page of claims and theorems is made of statements.json, and the wheel carries the proofs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.proofs import check, manifest
from experiments.proofs.claims import CLAIMS
from experiments.proofs.page import rendered
from firmware_bridge.errors import UserError


@pytest.fixture(scope="module")
def agreed(project: Path) -> manifest.Manifest:
    return manifest.read((project / "lean" / "statements.json").read_bytes())


def test_the_committed_page_is_the_generated_one(project: Path, agreed: manifest.Manifest, lab) -> None:
    committed = (project / "docs" / "proofs.md").read_text(encoding="utf-8")
    assert committed == rendered(agreed), "make it anew: asiclab proofs page --out docs/proofs.md"
    assert lab("proofs", "page").stdout == committed


def test_the_manifest_names_the_modules_and_theorems_of_the_files(
    project: Path, agreed: manifest.Manifest
) -> None:
    """Without Lean: a theorem that was added or deleted is seen at once."""
    from experiments.proofs import sources

    found = sources.read(project / "lean")
    assert found.violations == ()
    written = {
        d.name for m in found.modules for d in m.declarations if d.keyword == "theorem" and not d.private
    }
    assert written == set(agreed.theorems)


def test_every_link_of_the_page_leads_to_a_heading(agreed: manifest.Manifest) -> None:
    page = rendered(agreed)
    headings = {
        re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-")
        for h in re.findall(r"^#+ (.+)$", page, flags=re.M)
    }
    links = re.findall(r"\]\(#([^)]+)\)", page)
    assert len(links) >= sum(len(claim.theorems) for claim in CLAIMS)
    assert set(links) <= headings


def test_a_claim_on_a_theorem_that_is_gone_is_an_error(agreed: manifest.Manifest) -> None:
    name = f"Silicon.{CLAIMS[0].theorems[0]}"
    less = manifest.Manifest("", {k: v for k, v in agreed.theorems.items() if k != name}, {}, {}, {}, {})
    with pytest.raises(UserError, match=re.escape(name)):
        rendered(less)


def test_the_python_functions_that_theorems_name_exist(agreed: manifest.Manifest) -> None:
    import importlib

    docs = [row["doc"] or "" for row in agreed.theorems.values()]
    named = {
        name
        for doc in docs
        for name in re.findall(r"`((?:tpf|reservoir|firmware_bridge|experiments)(?:\.\w+)+)`", doc)
    }
    assert named
    for name in named:
        module, _, attribute = name.rpartition(".")
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            assert hasattr(importlib.import_module(module), attribute), name


@pytest.mark.costly
def test_the_wheel_carries_the_lean_project_and_the_driver(project: Path, tmp_path: Path) -> None:
    """Built without a network, and found from where a wheel would put it."""
    copy = tmp_path / "copy"
    copy.mkdir()
    unwanted = shutil.ignore_patterns("__pycache__", ".lake", "*.egg-info")
    for name in ("experiments", "firmware_bridge", "reservoir", "tpf", "lean"):
        shutil.copytree(project / name, copy / name, ignore=unwanted)
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(project / name, copy / name)
    # what a wheel is packed from; the packing itself needs a package that an older setuptools lacks
    command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(tmp_path / "site")]
    subprocess.run(command, check=True, capture_output=True, cwd=copy)
    site = tmp_path / "site" / "experiments"
    assert (site / "proofs" / "driver.lean").is_file()
    files = {p.relative_to(project / "lean").as_posix() for p in (project / "lean").rglob("*") if p.is_file()}
    files = {name for name in files if not name.startswith(".lake/")}
    assert {
        p.relative_to(site / "lean").as_posix() for p in (site / "lean").rglob("*") if p.is_file()
    } == files
    code = "from experiments.proofs.check import project_folder; print(project_folder())"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site"), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(found.stdout.strip()) == site / "lean"


def test_a_checkout_comes_before_the_copy(project: Path) -> None:
    assert check.project_folder() == project / "lean"
