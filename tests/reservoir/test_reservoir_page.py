"""The examples of the page run, and show what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

EXAMPLES = re.findall(
    r"```python\n(.*?)```",
    (Path(__file__).parents[2] / "docs" / "reservoir.md").read_text(encoding="utf-8"),
    re.S,
)


def scores_of(number: int, capsys: pytest.CaptureFixture[str]) -> dict[str, float]:
    exec(compile(EXAMPLES[number], "docs/reservoir.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines}


def test_the_example_of_software_reservoirs(capsys: pytest.CaptureFixture[str]) -> None:
    scores = scores_of(0, capsys)
    assert 0.8 < scores["input alone"] < 0.95
    assert 0.3 < scores["20 taps"] < 0.5
    assert scores["network"] < scores["20 taps"]


def test_the_example_of_states_from_timing(capsys: pytest.CaptureFixture[str]) -> None:
    scores = scores_of(1, capsys)
    assert 0.97 < scores["nothing planted"] < 1.05
    assert scores["100 ms per unit of input"] < 0.95
