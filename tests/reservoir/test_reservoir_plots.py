"""The figure of an evaluation holds the numbers of the evaluation, in each kind of file."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from experiments.report.reservoir_plots import draw
from firmware_bridge.errors import UserError
from reservoir.baselines import delay_line
from reservoir.evaluate import Evaluation, evaluate
from reservoir.rule import Split
from reservoir.tasks import narma

# what the tests of this file share is made by one worker
pytestmark = pytest.mark.xdist_group("plots")

SPLIT = Split(washout=50, train=300, test=150)


@pytest.fixture(scope="module")
def scored() -> tuple[Evaluation, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    task = narma(10, SPLIT.steps, rng)
    states = delay_line(task.u, 12)[:, 8:] + 0.03 * rng.standard_normal((SPLIT.steps, 4))
    others = {"another run": rng.standard_normal((SPLIT.steps, 2))}
    found = evaluate("narma10", task.u, task.y, states, split=SPLIT, permutations=39, others=others, rng=rng)
    return found, states, task.u


def words(file: Path) -> str:
    return " ".join(re.findall(r"<text[^>]*>([^<]*)</text>", file.read_text(encoding="utf-8")))


def test_it_shows_the_numbers_of_the_evaluation(
    scored: tuple[Evaluation, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    found, states, u = scored
    shown = words(draw(found, states, ["count", "mean", "late", "cv"], tmp_path / "a.svg", u=u))
    for name in ("count", "mean", "late", "cv", "input", "another run", "delay line of 5 taps"):
        assert name in shown
    for score in (found.nrmse, *found.baselines.values()):
        assert f"{score:.3f}" in shown
    assert f"{found.gain.gain:.4f} ({found.gain.ci[0]:.4f} to {found.gain.ci[1]:.4f})" in shown
    assert "39 times" in shown
    assert "input" not in words(draw(found, states, (), tmp_path / "b.svg")).replace(
        "input and states", ""
    ).replace("input alone", "").replace("NRMSE of the input", "").replace("over the input", "")


def test_the_same_evaluation_gives_the_same_file(
    scored: tuple[Evaluation, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    found, states, u = scored
    one, two = (draw(found, states, (), tmp_path / name, u=u).read_bytes() for name in ("1.svg", "2.svg"))
    assert one == two


def test_png_and_pdf_are_what_they_say(
    scored: tuple[Evaluation, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    from matplotlib.image import imread

    found, states, _ = scored
    picture = imread(draw(found, states, (), tmp_path / "a.PNG"))
    assert picture.shape[1] > 1000
    assert picture[..., :3].std() > 0.05  # something is drawn, on a white page
    assert picture[0, 0, :3] == pytest.approx([1.0, 1.0, 1.0])
    assert draw(found, states, (), tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")


def test_more_columns_than_fit_are_counted(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    task = narma(10, SPLIT.steps, rng)
    states = np.hstack([np.ones((SPLIT.steps, 1)), rng.standard_normal((SPLIT.steps, 29))])
    found = evaluate("narma10", task.u, task.y, states, split=SPLIT, permutations=20, rng=rng)
    assert "(6 more not drawn)" in words(draw(found, states, (), tmp_path / "a.svg"))


def test_mistakes_are_named(scored: tuple[Evaluation, np.ndarray, np.ndarray], tmp_path: Path) -> None:
    found, states, _ = scored
    with pytest.raises(UserError, match=r"\.png, \.svg, \.pdf"):
        draw(found, states, (), tmp_path / "a.gif")
    with pytest.raises(UserError, match="3 state columns"):
        draw(found, states[:, :3], (), tmp_path / "a.png")
    with pytest.raises(UserError, match="2 names"):
        draw(found, states, ("a", "b"), tmp_path / "a.png")
