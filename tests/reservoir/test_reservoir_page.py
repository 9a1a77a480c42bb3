"""The example of the page runs, and shows what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest


def run(heading: str) -> None:
    """Run the python example below a heading of the page."""
    page = (Path(__file__).parents[2] / "docs" / "reservoir.md").read_text(encoding="utf-8")
    section = page.split(f"{heading}\n", 1)[1].split("\n## ")[0]
    code = "".join(re.findall(r"```python\n(.*?)```", section, re.S))
    assert code
    exec(compile(code, "docs/reservoir.md", "exec"), {})


def test_the_example_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    run("# Software reservoirs, tasks and capacities")
    scores = {
        line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in capsys.readouterr().out.splitlines()
    }
    assert 0.8 < scores["input alone"] < 0.95
    assert 0.3 < scores["20 taps"] < 0.5
    assert scores["network"] < scores["20 taps"]


def test_the_example_of_what_is_scored(capsys: pytest.CaptureFixture[str]) -> None:
    run("## What is scored")
    code, text, *baselines = capsys.readouterr().out.splitlines()
    assert code == "gain"
    assert "delay line of 7 taps" in text
    assert {line.split()[0] for line in baselines} >= {"mean", "input_only", "delay_line_matched", "esn_100"}
