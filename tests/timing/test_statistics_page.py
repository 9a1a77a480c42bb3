"""The page that explains the numbers names all of them, and its example runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from firmware_bridge.trace.importer import import_file

SUFFIXES = re.compile(r"(_ci|_surrogate|_p|_bias|_poisson|_normalised|_bins|_windows|_draws)$")
NOT_EXPLAINED = {"run", "kind", "mode", "unverified", "rows_left_out", "clock_tick_estimated", "notes"}
NOT_EXPLAINED |= {"seed", "resamples", "monte_carlo", "verdict", "intervals", "first_share", "ks_ad"}


def test_every_number_is_explained_and_the_example_runs(
    project: Path, excerpt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (project / "docs" / "statistics.md").read_text(encoding="utf-8")
    import_file(f"sqlite:///{tmp_path / 'lab.db'}", excerpt)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    (example,) = re.findall(r"^```python\n(.*?)^```", page, flags=re.M | re.S)
    exec(example, names)
    numbers, quick = names["numbers"], names["quick"]
    assert numbers["shares"] == quick["shares"] == 300
    keys = {SUFFIXES.sub("", key) for key in (*numbers, *numbers["intervals"])} - NOT_EXPLAINED
    assert {key for key in keys if f"`{key}`" not in page} == set()
