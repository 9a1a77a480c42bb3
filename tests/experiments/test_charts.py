"""What is drawn of cells: the values that they hold, chosen by what varies, and coloured by whose they are."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from experiments.catalogue import catalogue, get_experiment
from experiments.charts import (
    BARS,
    LINE,
    NULL,
    PUBLISHED,
    Chart,
    Ladder,
    Map,
    Mark,
    Panel,
    Rung,
    Series,
    by_word,
    histogram,
    holds,
    mean_interval,
    rungs,
    shares_of,
    spread,
    survival,
    swept,
)
from experiments.experiment import PLACEBO, SUBJECT, Cell, Finding, Row
from experiments.plan import make_plan
from experiments.report.any_charts import charts_of, of_finding
from experiments.report.chart_svg import draw
from experiments.runner import conclude, measure
from experiments.subjects import Emulated
from tests.experiments.test_catalogue_miner import block, costs, point


def row(point: dict[str, Any], values: dict[str, Any], arm: str = SUBJECT, repetition: int = 0) -> Row:
    return Row(Cell(0, point, repetition, arm, 1, "fast"), values)


def sweep(points: Sequence[dict[str, Any]], **values: Any) -> list[Row]:
    return [
        row(point, {name: value(n) for name, value in values.items()}, arm)
        for arm in (SUBJECT, PLACEBO)
        for n, point in enumerate(points)
    ]


def test_one_setting_is_an_axis_and_each_arm_a_series() -> None:
    rows = sweep([{"core_voltage_mv": v} for v in (900.0, 850.0)], cv=lambda n: 1.0 + n, error=lambda n: 0.1)
    (chart,) = charts_of(rows, "common CV")
    assert isinstance(chart, Chart)
    assert (chart.x, chart.y) == ("core voltage, mV", "CV")
    assert [series.role for series in chart.series] == [SUBJECT, PLACEBO]
    assert chart.series[0].x == [850.0, 900.0]
    assert chart.series[0].y == [2.0, 1.0]
    assert chart.series[0].low == pytest.approx([2.0 - 0.196, 1.0 - 0.196])


def test_two_settings_are_a_map_and_words_make_panels() -> None:
    points = [{"a_mhz": a, "b_mv": b, "kind": k} for a in (1.0, 2.0) for b in (3.0, 4.0, 5.0) for k in "xy"]
    (chart,) = charts_of(sweep(points, cv=float))
    assert isinstance(chart, Map)
    assert [panel.title for panel in chart.panels] == [
        f"{arm}, {kind}" for arm in ("this miner", "placebo arm") for kind in "xy"
    ]
    assert chart.panels[0].cells[(3.0, 1.0)] == 0.0
    assert chart.panels[1].cells[(5.0, 2.0)] == 11.0
    assert len(chart.panels[0].cells) == 6


def test_repetitions_of_one_point_are_spread_beside_the_placebo_arm() -> None:
    rows = [
        row({}, {"gain": 0.1 * n, "p_value": 0.1 + 0.01 * n}, arm, n)
        for arm in (SUBJECT, PLACEBO)
        for n in range(5)
    ]
    gain, p_value = charts_of(rows, "gain over the input")
    assert isinstance(gain, Chart)
    assert [len(series.y) for series in gain.series] == [5, 5]
    assert isinstance(p_value, Chart)
    assert p_value.log_y
    assert [mark.at for mark in p_value.marks] == [0.05]


def test_one_cell_of_each_arm_stands_on_a_ladder() -> None:
    rows = [row({}, {"eer": 0.4, "eer_ci": [0.3, 0.5]}), row({}, {"eer": 0.5, "eer_ci": [0.4, 0.6]}, PLACEBO)]
    (chart,) = charts_of(rows)
    assert isinstance(chart, Ladder)
    assert [(rung.label, rung.value, rung.ci) for rung in chart.rungs] == [
        ("this miner", 0.4, (0.3, 0.5)),
        ("placebo arm", 0.5, (0.4, 0.6)),
    ]


def test_values_that_the_statistic_names_come_first_and_settings_that_stand_still_not_at_all() -> None:
    rows = sweep(
        [{"x": 1.0}, {"x": 2.0}],
        zeta=float,
        alpha=float,
        beta=float,
        gamma=float,
        fixed=lambda n: 3.0,
        text=lambda n: "word",
    )
    names = [chart.y for chart in charts_of(rows, "largest zeta of all")]
    assert names == ["zeta", "alpha", "beta"]


def test_a_value_that_a_cell_lacks_is_left_out() -> None:
    rows = [row({"x": 1.0}, {"cv": None}), row({"x": 2.0}, {"cv": 1.0}), row({"x": 3.0}, {"cv": 2.0})]
    (chart,) = charts_of(rows)
    assert isinstance(chart, Chart)
    assert chart.series[0].y == [None, 1.0, 2.0]
    assert 'role="img"' in draw([chart], "a")[0].svg
    assert charts_of([]) == []
    (alone,) = charts_of(rows[1:2])
    assert isinstance(alone, Ladder)
    assert [rung.value for rung in alone.rungs] == [1.0]


def test_a_finding_without_an_interval_is_not_drawn() -> None:
    said = {"statistic": "p", "value": 0.2, "ci": None}
    assert of_finding(said, None) == []
    (ladder,) = of_finding(said | {"ci": [0.1, 0.3]}, said)
    assert isinstance(ladder, Ladder)
    assert len(ladder.rungs) == 1


def test_what_a_cell_keeps_is_short_and_says_what_was_there() -> None:
    x = np.random.default_rng(1).exponential(2.0, 5000)
    kept = survival(x)
    assert len(kept["at"]) <= 80
    at = np.array(kept["at"])
    assert np.array(kept["above"]) == pytest.approx([(x > a).mean() for a in at], abs=3e-4)
    assert survival([1, 1, 2])["above"] == pytest.approx([0.5, 0.25])
    parts = histogram([0.1, 0.9, 5.0, -1.0], 0.0, 1.0, 2)
    assert shares_of(parts) == ([0.25, 0.75], [0.5, 0.5])
    assert spread(np.arange(1001)) == pytest.approx([25.0, 250.0, 500.0, 750.0, 975.0])


def test_series_by_word_keep_the_null_beside_its_arm() -> None:
    rows = sweep([{"mode": "a"}, {"mode": "b"}], capacity=float, high=lambda n: 2.0)
    series, words = by_word(rows, "mode", "capacity", null="high")
    assert words == ["a", "b"]
    assert [s.role for s in series] == [NULL, NULL, SUBJECT, PLACEBO]
    assert series[2].x == [0.0, 1.0]
    assert series[0].x[0] < 0 < series[1].x[0]
    assert [r.label for r in rungs(rows, "capacity", label=lambda r: str(r.cell.point["mode"]))] == [
        "this miner, a", "this miner, b", "placebo arm, a", "placebo arm, b",
    ]  # fmt: skip


def test_every_kind_of_chart_is_drawn_the_same_each_time() -> None:
    points = swept(
        sweep([{"x": 1.0}, {"x": 8.0}, {"x": 64.0}], y=float, error=lambda n: 0.2), "x", "y", error="error"
    )
    charts = [
        Chart("points", "", "x", "y", points, [Mark(1.0, "one"), Mark(8.0, "here", PUBLISHED, vertical=True)],
              log_x=True),
        Chart("lines", "", "x", "y", [Series("s", [0, 1, 2], [1.0, None, 3.0], [0.5, None, 2.5], [1.5, None, 3.5],
                                             form=LINE)], band=(0.0, 1.0)),
        Chart("bars", "", "", "y", [Series("a", [0, 1], [1.0, 2.0], form=BARS),
                                    Series("b", [0, 1], [2.0, 1.0], form=BARS, second=True)], categories=["p", "q"]),
        Ladder("ladder", "", "x", [Rung("a", 1.0, (0.5, 1.5), (0.1, 0.2, 0.3, 0.4, 0.5)), Rung("none", None),
                                   Rung("p", 2.0, role=PUBLISHED)], [Mark(1.0, "one")]),
        Map("map", "", "x", "y", [Panel("one", {(1.0, 2.0): 3.0, (2.0, 2.0): None}, {(2.0, 2.0): "hung"}),
                                  Panel("two", {(1.0, 2.0): 5.0})], 2, 4.0),
        Chart("nothing", "", "x", "y", []),
    ]  # fmt: skip
    first, again = draw(charts, "a"), draw(charts, "a")
    assert [plot.svg for plot in first] == [plot.svg for plot in again]
    assert "hung" in first[4].svg
    for plot in first:
        assert "var(--" in plot.svg
        assert not any(f"#0{n}0{n}0{n}" in plot.svg for n in range(1, 9))


def test_a_mean_has_the_interval_of_student() -> None:
    mean, ci = mean_interval([1.0, 2.0, 3.0])
    assert mean == 2.0
    assert ci == pytest.approx((2.0 - 2.484, 2.0 + 2.484), abs=1e-3)
    assert mean_interval([4.0]) == (4.0, None)
    assert mean_interval([]) == (None, None)


def test_numbers_of_a_short_logarithmic_axis_are_written_out() -> None:
    def numbers(*values: float) -> list[str]:
        rungs = [Rung("a value", value) for value in values]
        page = str(draw([Ladder("log", "", "x", rungs, log=True)], "a")[0].svg)
        words = re.findall(r"<text[^>]*>(.*?)</text>", page, re.DOTALL)
        return words[: words.index("x")]

    assert numbers(0.06, 0.9) == ["0.1", "0.2", "0.5", "1"]
    assert "0.7" in numbers(0.61, 0.83)
    assert "0.1" not in numbers(1e-12, 0.5)


def test_a_long_name_of_a_rung_has_its_arm_on_a_line_of_its_own() -> None:
    def words(*names: str) -> str:
        return str(draw([Ladder("t", "", "x", [Rung(name, 1.0) for name in names])], "a")[0].svg)

    assert "direct, this miner" in words("direct, this miner", "direct, placebo arm")
    long = words("7.6 V, 300 MHz, D 16384, this miner", "direct, placebo arm")
    assert "7.6 V, 300 MHz, D 16384," in long
    assert ", this miner" not in long
    assert ", placebo arm" not in long


def test_a_hollow_rung_is_what_others_are_held_against() -> None:
    def marks(second: bool) -> str:
        return str(draw([Ladder("t", "", "x", [Rung("a", 1.0, second=second)])], "a")[0].svg)

    assert marks(True) != marks(False)
    assert "fill: var(--data)" in marks(False)
    assert "fill: var(--data)" not in marks(True)


def test_what_holds_nothing_to_draw_is_known() -> None:
    assert not holds(Ladder("t", "", "x", []))
    assert not holds(Ladder("t", "", "x", [Rung("a", None, null=(1, 2, 3, 4, 5))]))
    assert not holds(Chart("t", "", "x", "y", [Series("s", [1.0], [None])], [Mark(0.0, "m")]))
    assert not holds(Map("t", "", "x", "y", [], 1, 0.0))
    assert holds(Ladder("t", "", "x", [Rung("a", None), Rung("b", 1.0)]))
    assert holds(Map("t", "", "x", "y", [Panel("p", {(1.0, 2.0): None}, {(1.0, 2.0): "hung"})], 1, 0.0))


# ---- what single experiments draw ------------------------------------------------------------------------------------


def drawn(name: str, *told: dict[str, Any], arms: Sequence[str] = (SUBJECT, PLACEBO)) -> list[Any]:
    """Charts of an experiment whose arms all hold the same values, each seen to be drawn."""
    experiment = get_experiment(name)
    assert experiment.charts is not None
    found = list(experiment.charts([row({}, values, arm) for arm in arms for values in told]))
    assert len(draw(found, "c")) == len(found)
    return found


def concluded(name: str, *told: dict[str, Any]) -> Finding:
    return get_experiment(name).conclude([row({}, values) for values in told])


def by_label(ladder: Any) -> dict[str, Rung]:
    return {rung.label: rung for rung in ladder.rungs}


def test_a_gain_is_drawn_as_it_is_decided_on_beside_two_equal_arms() -> None:
    rates = {"direct": (1.0, 1.1, 0.9), "direct again": (1.01, 1.09, 0.9), "vbm": (1.2, 1.3, 1.1)}
    told = [block(arm, i, rate) for arm, of in rates.items() for i, rate in enumerate(of)]
    gains, by_block, shares = drawn("vbm", *told)
    said = concluded("vbm", *told)
    assert said.value is not None
    assert said.ci is not None
    managed = by_label(gains)["managed, this miner"]
    assert managed.value == pytest.approx(100 * said.value)
    assert managed.ci == pytest.approx([100 * end for end in said.ci])
    assert [rung.second for rung in gains.rungs] == [False, True, False, True]
    assert [rung.role for rung in gains.rungs] == [SUBJECT, SUBJECT, PLACEBO, PLACEBO]
    assert by_block.series[0].x == [1.0, 2.0, 3.0]
    assert by_block.series[0].y == pytest.approx([20.0, 100 * (1.3 / 1.1 - 1), 100 * (1.1 / 0.9 - 1)])
    assert by_label(shares)["direct, this miner"].value == pytest.approx(3600.0)


def test_blocks_are_drawn_as_far_as_they_are_there() -> None:
    gains, by_block, shares = drawn("vbm", block("vbm", 0, 1.1), block("direct", 1, 1.0), arms=[SUBJECT])
    assert not holds(gains)
    assert not holds(by_block)
    assert holds(shares)
    told = [block("direct", 0, 1.0), block("vbm", 0, 1.2), block("direct", 1, 0.0), block("vbm", 1, 1.0)]
    gains, by_block, _ = drawn("vbm", *told, arms=[SUBJECT])
    assert not holds(gains)  # one block with both arms has no spread, one without shares no quotient
    assert by_block.series[0].x == [1.0]


def test_learners_are_drawn_against_the_best_baseline_of_the_same_episodes() -> None:
    told = costs(evolution=-0.02)
    against, episodes, every = drawn("controllers", told)
    said = concluded("controllers", told)
    evolution = by_label(against)["evolution less constant, this miner"]
    assert evolution.value == pytest.approx(said.value)
    assert evolution.ci == pytest.approx(said.ci)
    assert [len(series.y) for series in episodes.series] == [8] * 6
    first = [a - b for a, b in zip(told["costs"]["reinforcement"], told["costs"]["constant"], strict=True)]
    assert episodes.series[0].y == pytest.approx(first)
    hollow = [rung.label for rung in every.rungs if rung.second and rung.role == SUBJECT]
    assert hollow == [f"{name} (baseline), this miner" for name in ("random", "constant", "proportional")]
    assert by_label(every)["evolution, this miner"].value == pytest.approx(
        np.mean(told["costs"]["evolution"])
    )


def test_few_episodes_have_no_interval_and_one_is_an_example_where_it_is_kept() -> None:
    told = costs()
    few = told | {"costs": {name: of[:3] for name, of in told["costs"].items()}}
    assert [rung.ci for rung in drawn("controllers", few)[0].rungs] == [None] * 6
    example = {name: {"x": [0.0, 0.1, 0.2], "y": [0.3, 0.2]} for name in told["learners"]}
    *_, chart = drawn("controllers", told | {"example": example})
    assert [series.y for series in chart.series] == [[0.3, 0.2], [0.0, 0.1]]
    assert len(drawn("controllers", told | {"example": example}, arms=[PLACEBO])) == 3


def test_errors_stand_beside_their_null_and_over_what_is_expected() -> None:
    quiet = {
        "correlation": 0.2, "p_input": 0.001, "dispersion": 1.0, "p_clusters": 0.5,
        "null_correlation": [-0.1, -0.03, 0.0, 0.03, 0.1], "null_dispersion": [0.9, 0.97, 1.0, 1.03, 1.1],
    }  # fmt: skip
    edge = point(400, quiet) | {"over_symbols": [(50, 80.0), (80, 80.0), (80, 80.0), (80, 80.0), (110, 80.0)]}
    calm = point(0, None) | {"core_voltage_mv": 8800.0, "over_symbols": []}
    inputs, clusters, over, rates = drawn("hardware-errors", edge, calm)
    assert [(rung.label, rung.value, rung.null) for rung in inputs.rungs] == [
        ("8.2 V, 575 MHz, this miner", 0.2, quiet["null_correlation"]),
        ("8.2 V, 575 MHz, placebo arm", 0.2, quiet["null_correlation"]),
    ]
    assert [rung.null for rung in clusters.rungs] == [quiet["null_dispersion"]] * 2
    assert over.series[0].y == pytest.approx([50 / 80, 1.0, 1.0, 1.0, 110 / 80])
    # exact limits of a Poisson count of 50
    assert (over.series[0].low[0], over.series[0].high[0]) == pytest.approx(
        (37.11 / 80, 65.92 / 80), abs=1e-3
    )
    assert rates.categories == ["8.2 V, 575 MHz", "8.8 V, 575 MHz"]
    assert rates.series[0].y == [1200.0, 0.0]
    assert rates.series[0].high[1] == pytest.approx(3 * 3.689, abs=0.01)


def test_points_without_errors_show_their_rate_and_a_miner_without_a_counter_nothing() -> None:
    (rates,) = drawn("hardware-errors", point(3, None))
    assert rates.series[0].y == [9.0]
    old = {"correlation": 0.2, "p_input": 0.001, "dispersion": 1.0, "p_clusters": 0.5}
    inputs, clusters, _ = drawn("hardware-errors", point(400, old))
    assert [rung.null for rung in (*inputs.rungs, *clusters.rungs)] == [()] * 4
    assert drawn("hardware-errors", point(0, None, windows=0)) == []


def test_a_saving_stands_beside_that_of_chance_and_shares_over_what_is_kept() -> None:
    told = {
        "verdict": "saves", "text": "told.", "saving": 0.2, "ci": [0.1, 0.3], "p_value": 0.01, "detectable": 0.05,
        "against_random": 0.21, "accounted": 0.21,
    }  # fmt: skip
    (alone,) = drawn("tpf-filter", told)  # as they were kept before
    assert by_label(alone)["filter against none, this miner"] == Rung(
        "filter against none, this miner", 20.0, (10.0, 30.0)
    )
    assert by_label(alone)["chance against none, this miner"].value is None
    kept = {
        "against_random_ci": [0.11, 0.31], "random_saving": -0.02, "random_saving_ci": [-0.05, 0.01],
        "joules_per_difficulty": {"none": [10.0, 10.0], "filter": [8.0, 7.0], "random": [10.0, 14.0]},
        "shares": {"none": 10_000, "filter": 10_000, "random": 10_000}, "keep_rate": {"none": 1.0, "filter": 0.5,
        "random": 0.5}, "recall": {"none": 1.0, "filter": 0.8, "random": 0.5}, "replaced_after": 0.1,
    }  # fmt: skip
    savings, blocks, shares = drawn("tpf-filter", told | kept)
    chance = by_label(savings)["chance against none, placebo arm"]
    assert (chance.value, chance.ci, chance.second) == (-2.0, (-5.0, 1.0), True)
    assert [series.y for series in blocks.series[:2]] == [
        pytest.approx([20.0, 30.0]),
        pytest.approx([20.0, 50.0]),
    ]
    line, ours, by_chance, *_ = shares.series
    assert line.y == pytest.approx([0.1 + 0.9 * q for q in line.x])
    assert (ours.x, ours.y, by_chance.y) == ([0.5], [0.8], [0.5])
    # two counts of 10,000: 1.4 % each way
    assert math.log(ours.high[0] / ours.low[0]) == pytest.approx(2 * 1.96 * math.sqrt(2 / 10_000))


def test_published_cells_are_of_one_model_and_stand_between_the_arms() -> None:
    def cell(mv: float, mhz: float, difficulty: float) -> list[Row]:
        at = {"core_voltage_mv": mv, "frequency_mhz": mhz, "difficulty": difficulty}
        return [row(at, at | {"cv": 1.0, "error": 0.1}, arm) for arm in (SUBJECT, PLACEBO)]

    regime_map = get_experiment("regime-map")
    assert regime_map.charts is not None
    _, published = regime_map.charts(cell(7600.0, 200.0, 1024.0) + cell(8200.0, 575.0, 1024.0))
    assert [rung.role for rung in published.rungs] == [SUBJECT, PUBLISHED, PLACEBO] * 2
    grid, none = regime_map.charts(cell(1200.0, 425.0, 256.0))
    assert (holds(grid), holds(none)) == (True, False)


@pytest.mark.slow
@pytest.mark.parametrize("name", catalogue())
def test_every_experiment_draws_its_cells(name: str) -> None:
    experiment = get_experiment(name)
    subject = Emulated(experiment.models[0])
    plan = make_plan(experiment, subject, size="fast", seed=1)
    rows = []
    for cell in plan.cells:
        _, values, _ = measure(name, subject, cell)
        rows.append(Row(cell, values))
    charts = charts_of(rows, conclude(experiment, rows)[0].statistic)
    assert charts
    if experiment.charts is not None:
        own = experiment.charts(rows)
        assert own
        assert len({chart.title for chart in own}) == len(own)
        charts = [*charts, *own]
    assert all(plot.caption for plot in draw(charts, "c"))
