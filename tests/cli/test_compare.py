"""Stored runs side by side: what can be compared is, and what cannot says why."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.catalogue import get_experiment
from experiments.comparison import compare
from experiments.differences import difference_ci
from experiments.experiment import EVIDENCE, Finding
from experiments.plan import make_plan
from experiments.results import Results
from experiments.subjects import Emulated
from firmware_bridge.emulator.virtual import VirtualConfig, run_virtual
from firmware_bridge.trace.writer import TraceWriter
from tests.cli.conftest import Lab
from tests.cli.test_report import _Tags

pytestmark = pytest.mark.xdist_group("compare")

GHOST = get_experiment("thermal-ghost")


def finding(value: float | None, ci: tuple[float, float] | None, **told: Any) -> dict[str, Any]:
    said = Finding(EVIDENCE, "text", told.pop("statistic", "off, ms"), value, ci, **told)
    return {"finding": said.to_json(), "placebo": None}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Runs of experiments with findings that are set here, and three recordings."""
    found = Lab(tmp_path_factory.mktemp("compare"))
    db = f"sqlite:///{found.folder}/lab.db"
    with TraceWriter(db) as writer:
        for seed, difficulty in ((1, 256.0), (2, 256.0), (3, 1024.0)):
            run_virtual(VirtualConfig(shares=600, seed=seed, difficulty=difficulty), writer)
    return found


@pytest.fixture(scope="module")
def runs(lab: Lab) -> dict[str, str]:
    made = {}
    with Results(f"sqlite:///{lab.folder}/lab.db") as results:

        def run(name: str, said: dict[str, Any] | None, **plan: Any) -> None:
            experiment = get_experiment(plan.pop("experiment", "thermal-ghost"))
            subject = Emulated("s9", plan.pop("plants", {}))
            settings = {"size": "fast", "seed": 1} | plan
            made[name] = results.begin(make_plan(experiment, subject, **settings))
            if said is not None:
                results.end(made[name], said)

        run("first", finding(1.0, (0.5, 2.0)))
        run("other seed", finding(4.0, (3.0, 4.5)), seed=2)
        run("planted", finding(9.0, (8.0, 10.0)), plants={"thermal": 150.0})
        run("again", finding(1.0, (0.5, 2.0)))
        run("larger", finding(1.0, (0.9, 1.1)), size="quick", seed=3)
        run("unfinished", None, seed=4)
        run("bare", finding(2.0, None), seed=5)
        run("valueless", finding(None, None), seed=6)
        run("renamed", finding(2.0, (1.0, 3.0), statistic="another"), seed=7)
        run("poisson", finding(0.2, None, p_value=0.2), experiment="poisson")
        run("poisson 2", finding(0.4, None, p_value=0.4), experiment="poisson", seed=2)
    return made


@given(st.floats(-10, 10), st.floats(0.1, 5), st.floats(-10, 10), st.floats(0.1, 5))
def test_symmetric_intervals_add_like_errors(a: float, half_a: float, b: float, half_b: float) -> None:
    low, high = difference_ci(a, (a - half_a, a + half_a), b, (b - half_b, b + half_b))
    assert (low + high) / 2 == pytest.approx(b - a, abs=1e-9)
    assert (high - low) / 2 == pytest.approx((half_a**2 + half_b**2) ** 0.5)


def test_runs_of_one_experiment_differ_by_so_much(lab: Lab, runs: dict[str, str]) -> None:
    said = lab.json("compare", runs["first"], runs["other seed"][:10])
    (difference,) = said["differences"]
    assert difference["difference"] == 3.0
    assert difference["ci"] == pytest.approx([3.0 - 2**0.5, 3.0 + 0.5**0.5])
    assert set(said["differs"]) == {"seed", "plan"}
    assert said["runs"][0]["value"] == 1.0


@pytest.mark.parametrize(
    ("name", "difference", "why"),
    [
        ("planted", 8.0, "both drew the same chance (seed 1)"),
        ("again", 0.0, "the same plan twice: a difference of 0, as it must be"),
        ("larger", None, "size quick measures another amount than fast"),
        ("unfinished", None, "it is not finished"),
        ("bare", 1.0, "the statistic has none of its own"),
        ("valueless", None, "a run has no value of it"),
        ("renamed", None, "decided on another statistic, another"),
        ("poisson", None, "poisson is another experiment than thermal-ghost"),
    ],
)
def test_what_cannot_be_compared_says_why(
    lab: Lab, runs: dict[str, str], name: str, difference: float | None, why: str
) -> None:
    (found,) = lab.json("compare", runs["first"], runs[name])["differences"]
    assert found["difference"] == difference
    assert found["ci"] is None
    assert why in found["note"]


def test_p_values_have_no_difference(lab: Lab, runs: dict[str, str]) -> None:
    (found,) = lab.json("compare", runs["poisson"], runs["poisson 2"])["differences"]
    assert found["difference"] is None
    assert "p-values" in found["note"]


def test_a_run_is_held_against_the_first_of_its_experiment(lab: Lab, runs: dict[str, str]) -> None:
    names = ("poisson", "first", "other seed")
    said = lab.json("compare", *(runs[name] for name in names))
    assert [d["to"] for d in said["differences"]] == [runs["poisson"], runs["first"]]
    assert said["differs"]["experiment"] == ["poisson", "thermal-ghost", "thermal-ghost"]


def test_tables_and_page_say_the_same(lab: Lab, runs: dict[str, str]) -> None:
    names = (runs["first"], runs["other seed"], runs["poisson"])
    shown = lab("compare", *names, "--out", "both.html").stdout
    page = (lab.folder / "both.html").read_text(encoding="utf-8")
    for text in ("1.586 to 3.707", names[1][:8], "Evidence"):
        assert text in shown
        assert text in page
    tags = _Tags()
    tags.feed(page)
    assert tags.open == []
    assert len(set(tags.ids)) == len(tags.ids)
    assert names[2] in page
    lab("compare", *names, "--out", "again.html")
    assert (lab.folder / "again.html").read_text(encoding="utf-8") == page


def recordings(lab: Lab) -> list[str]:
    return [row["run"] for row in lab.json("runs")["runs"]]


@pytest.mark.costly
def test_recordings_are_compared_by_their_timing(lab: Lab) -> None:
    one, two, slow = recordings(lab)
    said = lab.json("compare", one, two, slow, "--out", "timing.html")
    assert said["kind"] == "recordings"
    assert [run["moments"]["n"] for run in said["runs"]] == [599, 599, 599]
    assert said["runs"][0]["verdict"] == lab.json("stats", one)["verdict"]["code"]
    same, other = said["laws"]
    assert same["p_corrected"] > 0.05
    assert "no difference shown" in same["note"]
    assert other["law"]["distance"] > 0.4
    assert "the distributions differ" in other["note"]
    means = [d for d in said["differences"] if d["what"].startswith("mean")]
    assert means[0]["ci"][0] < 0 < means[0]["ci"][1]
    assert means[1]["ci"][0] > 100
    assert "stationary process" in said["null"]
    assert "stationary process" in (lab.folder / "timing.html").read_text(encoding="utf-8")
    assert lab.json("compare", one, "latest")["runs"][1]["run"] == slow


def test_latest_is_of_the_kind_of_the_others(lab: Lab, runs: dict[str, str]) -> None:
    assert lab.json("compare", runs["first"], "latest")["runs"][1]["run"] == runs["poisson 2"]


def test_mistakes_are_named(lab: Lab, runs: dict[str, str]) -> None:
    recording = recordings(lab)[0]
    for names, why in (
        ((runs["first"],), "at least two runs"),
        ((runs["first"], "nope"), "no run of an experiment 'nope'"),
        ((runs["first"], recording), "is of the recordings"),
        ((runs["first"], runs["first"]), "named twice"),
        ((runs["first"], ""), "no run"),
    ):
        assert why in lab("compare", *names, code=2).stderr, names
    assert "no such trace" in lab("compare", "a", "b", "--db", "sqlite:///none.db", code=2).stderr


def test_a_database_without_experiments_or_recordings(tmp_path: Any) -> None:
    lab = Lab(tmp_path)
    db = f"sqlite:///{tmp_path}/lab.db"
    with Results(db) as results:
        ids = []
        for seed in (1, 2):
            plan = make_plan(GHOST, Emulated("s9"), size="fast", seed=seed)
            ids.append(results.begin(plan))
            results.end(ids[-1], finding(float(seed), (0.0, 3.0)))
    assert lab.json("compare", *ids)["kind"] == "experiments"
    assert compare(db, ids).kind == "experiments"
