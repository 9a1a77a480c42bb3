"""The examples of the page run, and show what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "reservoir.md").read_text(encoding="utf-8")


def run(heading: str) -> None:
    """Run the python example below a heading of the page."""
    section = PAGE.split(f"{heading}\n", 1)[1].split("\n## ")[0]
    code = "".join(re.findall(r"```python\n(.*?)```", section, re.S))
    assert code
    exec(compile(code, "docs/reservoir.md", "exec"), {})


def scores_of(heading: str, capsys: pytest.CaptureFixture[str]) -> dict[str, float]:
    run(heading)
    lines = capsys.readouterr().out.splitlines()
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines}


def test_the_example_of_software_reservoirs(capsys: pytest.CaptureFixture[str]) -> None:
    scores = scores_of("# From timing to states, software reservoirs, tasks and capacities", capsys)
    assert 0.8 < scores["input alone"] < 0.95
    assert 0.3 < scores["20 taps"] < 0.5
    assert scores["network"] < scores["20 taps"]


def test_the_example_of_states_from_timing(capsys: pytest.CaptureFixture[str]) -> None:
    scores = scores_of("## From timing to states", capsys)
    assert 0.97 < scores["nothing planted"] < 1.05
    assert scores["100 ms per unit of input"] < 0.95


def test_the_example_of_what_is_scored(capsys: pytest.CaptureFixture[str]) -> None:
    run("## What is scored")
    code, text, *baselines = capsys.readouterr().out.splitlines()
    assert code == "gain"
    assert "delay line of 7 taps" in text
    assert {line.split()[0] for line in baselines} >= {"mean", "input_only", "delay_line_matched", "esn_100"}
