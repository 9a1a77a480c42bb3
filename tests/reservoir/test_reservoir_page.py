"""The example of the page runs, and shows what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest


def test_the_example_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "reservoir.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    exec(compile(code, "docs/reservoir.md", "exec"), {})
    scores = {
        line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in capsys.readouterr().out.splitlines()
    }
    assert 0.8 < scores["input alone"] < 0.95
    assert 0.3 < scores["20 taps"] < 0.5
    assert scores["network"] < scores["20 taps"]
