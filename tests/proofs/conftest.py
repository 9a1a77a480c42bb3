"""Lean projects to check: small good ones in a folder of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Lab

GOOD = {
    "lean-toolchain": "leanprover/lean4:v4.28.0\n",
    "lakefile.toml": 'name = "silicon"\n\n[[lean_lib]]\nname = "Silicon"\n',
    "Silicon.lean": "import Silicon.Power\n",
    "Silicon/Power.lean": """/-! Powers. -/
noncomputable section
namespace Silicon

/-- Twice a number. -/
def twice (n : Nat) : Nat := n + n

/-- Twice a number is even. -/
theorem twice_even (n : Nat) : twice n % 2 = 0 := by unfold twice; omega

/-- Twice a positive number is larger. -/
theorem lt_twice (n : Nat) (h : 0 < n) : n < twice n := by unfold twice; omega

example : 1 < twice 1 := lt_twice 1 (by decide)

end Silicon
""",
    "statements.json": '{"lean": "", "theorems": [], "definitions": [], "examples": []}',
}

Maker = Callable[..., Path]


def written(folder: Path, changes: dict[str, str | None] | None = None) -> Path:
    """The good files in a folder, some of them replaced, added or (None) left out."""
    for file, text in {**GOOD, **(changes or {})}.items():
        if text is not None:
            path = folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="")
    return folder


@pytest.fixture
def project_of(tmp_path: Path) -> Maker:
    """Makes a project of the good files, see :func:`written`."""

    def make(changes: dict[str, str | None] | None = None, name: str = "lean") -> Path:
        return written(tmp_path / name, changes)

    return make


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """The command line in a folder of its own."""
    (tmp_path / "lab").mkdir()
    return Lab(tmp_path / "lab")
