"""Experiments on driven runs, operating points, silicon and devices, and the analyses behind them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from experiments.analyses.bursts import burst_sizes, fit_laws, shuffled_ratios
from experiments.analyses.driven import MODES, decide_by_mode, drive, plan_of
from experiments.analyses.forgetting import fading, kernel
from experiments.analyses.neighbours import neighbours, window_counts_by_place
from experiments.analyses.sweeps import (
    at_point,
    comparable,
    cv_with_error,
    each_cv,
    homogeneity,
    nearest_match,
    one_cv,
    told,
    too_few,
)
from experiments.analyses.transition import find_transition, fit_curves
from experiments.catalogue import get_experiment
from experiments.catalogue.regime_map import PUBLISHED
from experiments.experiment import (
    CANNOT_TELL,
    EVIDENCE,
    FAST,
    NO_EVIDENCE,
    NOT_REPRODUCED,
    REPRODUCED,
    SUBJECT,
    Cell,
    Finding,
    Point,
    Row,
)
from experiments.plan import make_plan
from experiments.runner import measure
from experiments.share_rates import shares_per_s
from experiments.subjects import Emulated
from firmware_bridge.errors import UserError


def rows_of(values: Sequence[Mapping[str, Any]], size: str = FAST) -> list[Row]:
    return [Row(Cell(i, {}, 0, SUBJECT, i + 1, size), v) for i, v in enumerate(values)]


def run(name: str, seed: int, plants: Mapping[str, float] | None = None) -> tuple[Finding, list[Row]]:
    experiment = get_experiment(name)
    subject = Emulated(experiment.models[0], plants or {})
    cells = make_plan(experiment, subject, size=FAST, seed=seed).cells
    rows = [Row(cell, measure(name, subject, cell)[1]) for cell in cells if cell.arm == SUBJECT]
    return experiment.conclude(rows), rows


# ---- driven runs -----------------------------------------------------------------------------------------------------


def test_modes_share_the_level_and_repetitions_are_put_together() -> None:
    values = [{"mode": "a", "p_value": 0.03}, {"mode": "b", "p_value": 0.5}]
    assert decide_by_mode(rows_of(values)).code == NO_EVIDENCE
    assert decide_by_mode(rows_of(values)).p_value == pytest.approx(0.06)
    again = decide_by_mode(rows_of([*values, {"mode": "a", "p_value": 0.03}]))
    # Fisher: P(chi2 with 4 degrees > x) = exp(-x/2)(1 + x/2)
    half = -2 * math.log(0.03)
    assert again.p_values["a"] == pytest.approx(math.exp(-half) * (1 + half))
    assert (again.code, again.best) == (EVIDENCE, "a")


def test_what_is_no_miner_cannot_be_driven() -> None:
    class Other:
        kind, model = "device", "s9"

    with pytest.raises(UserError, match="a device cannot be driven"):
        drive(Other(), plan_of({"mode": "monologue"}, 1, 400))  # type: ignore[arg-type]


def memory(capacity: float, nrmse: float, model: str, p_value: float = 0.005) -> list[Row]:
    values = {"p_value": p_value, "capacity": capacity, "error": 0.02, "nrmse": nrmse, "model": model}
    return rows_of([{"mode": mode, **values} for mode in MODES])


def test_memory_is_reproduced_only_on_the_published_model_with_both_numbers() -> None:
    conclude = get_experiment("memory-capacity").conclude
    assert conclude(memory(0.3, 0.2, "lv06")).numbers["C4"].status == REPRODUCED
    assert conclude(memory(0.3, 0.9, "lv06")).numbers["C4"].status == NOT_REPRODUCED
    assert conclude(memory(0.9, 0.2, "lv06")).numbers["C4"].status == NOT_REPRODUCED
    assert conclude(memory(0.3, 0.2, "lv06", 0.5)).numbers["C4"].status == NOT_REPRODUCED
    assert conclude(memory(0.3, 0.2, "s9")).numbers["C4"].status is None


@pytest.mark.costly
@pytest.mark.parametrize(
    ("name", "strength"),
    [
        ("memory-capacity", 100.0),
        ("echo-state", 300.0),
        ("information-capacity", 400.0),
        ("chaotic-tasks", 400.0),
    ],
)
def test_a_planted_memory_is_found_on_the_clock(name: str, strength: float) -> None:
    found, rows = run(name, 3, {"thermal": strength})
    assert found.code == EVIDENCE
    assert found.detectable
    if "mode" in rows[0].values:
        assert found.statistic.endswith("monologue")


def test_what_fades_has_the_planted_time_constant() -> None:
    found, _ = run("thermal-memory", 5, {"thermal": 400.0})
    assert found.code == EVIDENCE
    assert found.ci is not None
    assert found.ci[0] < 1.0 < found.ci[1]  # s, the heat of the emulator
    assert found.ci[1] / found.ci[0] < 2.0


def test_a_kernel_is_that_of_least_squares() -> None:
    rng = np.random.default_rng(1)
    u = rng.random(3000)
    heat = np.zeros(u.size)
    for k in range(1, u.size):
        heat[k] = np.exp(-0.5) * heat[k - 1] + u[k]
    response = 4.0 * heat + rng.standard_normal(u.size)
    found = kernel(response, u, most=6)
    import statsmodels.api as sm

    columns = np.column_stack([u[6 - lag : u.size - lag] for lag in range(7)])
    theirs = sm.OLS(response[6:], sm.add_constant(columns)).fit()
    assert found.slopes == pytest.approx(theirs.params[1:])
    assert found.errors == pytest.approx(theirs.bse[1:])
    tested = np.eye(8)[2:]
    assert found.f == pytest.approx(float(theirs.f_test(tested).fvalue))
    fades = fading(found, step_s=0.25)
    assert fades is not None
    assert fades.ci_s[0] < 0.5 < fades.ci_s[1]  # exp(-0.25/tau) = exp(-0.5)
    assert fades.tau_s == pytest.approx(0.5, rel=0.1)
    assert kernel(rng.standard_normal(u.size), u).p_value > 0.001


# ---- operating points ------------------------------------------------------------------------------------------------


def test_the_error_of_a_cv_is_that_of_exponential_intervals() -> None:
    cv, error = cv_with_error(np.random.default_rng(2).exponential(5.0, 200_000))
    assert cv == pytest.approx(1.0, abs=0.01)
    assert error == pytest.approx(1 / math.sqrt(200_000), rel=0.05)


def test_share_rates_are_those_of_the_claims() -> None:
    rate = 14e12 / (1024 * 2**32)
    from firmware_bridge.emulator.electrical import FACTS
    from firmware_bridge.emulator.model import get_model

    ours = shares_per_s("s9", 1024.0, frequency_mhz=FACTS["s9"].frequency_mhz)
    assert ours == pytest.approx(rate * get_model("s9").capacity_ths / 14.0)
    assert shares_per_s("s9", 1.0, frequency_mhz=300.0) == shares_per_s(
        "s9", 256.0, frequency_mhz=300.0
    )  # the chip's own floor


def test_the_published_cvs_of_structure_prefer_a_curve_to_a_constant() -> None:
    at = np.array([990.0, 950.0, 900.0, 850.0])
    structure = np.array([0.8421, 0.6543, 0.4829, 0.3956])
    best = [c for c in fit_curves(at, structure, np.full(4, 0.02)) if math.isfinite(c.aicc)]
    assert [c.name for c in best] == ["linear", "constant"]  # four points bear no more
    flat = fit_curves(at, np.array([1.0, 1.01, 0.99, 1.0]), np.full(4, 0.03))
    assert flat[0].name == "constant"
    assert flat[0].parameters == pytest.approx((1.0,))
    line = {c.name: c for c in fit_curves(at, 0.001 * at - 0.2, np.full(4, 0.03))}["linear"]
    assert line.parameters == pytest.approx((-0.2, 0.001))


def test_a_transition_is_told_from_a_line() -> None:
    at = np.linspace(850.0, 990.0, 15)
    cvs = 1.0 - 0.05 * np.sqrt(np.maximum(0.0, 920.0 - at))
    best = fit_curves(at, cvs, np.full(15, 0.01))[0]
    assert best.name == "transition"
    assert best.parameters == pytest.approx((1.0, 0.05, 920.0), rel=0.02)


def sweep_of(level: Any, rng: np.random.Generator) -> tuple[Any, ...]:
    """CVs of nine voltages of 2000 shares under two contents, the second of which costs time."""
    at = np.tile(np.array([990.0, 970.0, 950.0, 935.0, 920.0, 900.0, 880.0, 865.0, 850.0]), 2)
    groups = ["structure"] * 9 + ["noise"] * 9
    errors = np.full(18, 2000.0**-0.5)
    cvs = np.where(np.arange(18) < 9, 1.0, 0.9) + level(at) + errors * rng.standard_normal(18)
    return at, cvs, errors, groups


@pytest.mark.parametrize(
    "level",
    [lambda at: 0.0 * at, lambda at: 0.002 * (at - 920.0), lambda at: 2e-5 * (at - 990.0) ** 2],
    ids=["constant", "line", "parabola"],
)
def test_a_smooth_curve_is_seldom_taken_for_a_critical_point(level: Any) -> None:
    rng = np.random.default_rng(6)
    found = [find_transition(*sweep_of(level, rng), rng=np.random.default_rng(i)) for i in range(40)]
    assert sum(f.p_value is not None and f.p_value <= 0.05 for f in found) <= 6  # 99.9 % of 40 at 5 %


def test_a_planted_critical_point_is_found_where_it_is() -> None:
    rng = np.random.default_rng(7)

    def level(at: Any) -> Any:
        return -0.04 * np.sqrt(np.maximum(0.0, 912.0 - at))

    found = [find_transition(*sweep_of(level, rng), rng=np.random.default_rng(i)) for i in range(20)]
    assert sum(f.p_value is not None and f.p_value <= 0.05 and f.gain > 0 for f in found) >= 16
    assert np.median([f.critical for f in found]) == pytest.approx(912.0, abs=10.0)
    inside = [f.critical_ci is not None and f.critical_ci[0] <= 912.0 <= f.critical_ci[1] for f in found]
    assert sum(inside) >= 16


def test_few_levels_have_no_critical_point() -> None:
    at = np.array([990.0, 900.0, 850.0] * 2)
    found = find_transition(at, np.ones(6), np.full(6, 0.03), ["a"] * 3 + ["b"] * 3, np.random.default_rng(1))
    assert found.p_value is None
    assert found.critical_ci is None


def test_contents_may_have_a_cv_each() -> None:
    cvs, errors, n = np.array([1.0, 1.0, 0.8, 0.8]), np.full(4, 0.03), np.full(4, 1000)
    assert homogeneity(cvs, errors, n).p_value < 1e-4
    assert homogeneity(cvs, errors, n, ["one", "one", "new", "new"]).p_value > 0.9
    s9, lv06 = ({"model": model, "content": "noise"} for model in ("s9", "lv06"))
    assert comparable([s9, lv06]) == [lv06]


def test_the_common_cv_of_a_sweep_has_an_interval_that_holds_it() -> None:
    rng = np.random.default_rng(5)
    held, alarms = 0, 0
    for _ in range(200):
        points = []
        for content in ("noise", "structure") * 3:
            cv, error = cv_with_error(rng.exponential(1.0, 1000))
            points.append({"model": "lv06", "content": content, "cv": cv, "error": error, "n": 1000})
        found = one_cv(points)
        low, high = found.interval
        held += low <= 1.0 <= high
        alarms += found.test.p_value < 0.05
    assert held >= 180
    assert alarms <= 20
    slow = {"model": "s9", "content": "noise", "cv": 0.8, "error": 0.03, "n": 1000}
    assert one_cv([*points, slow]).interval == one_cv(points).interval


def test_a_sweep_names_the_cv_of_each_point_and_where_none_is() -> None:
    rows = [
        {"frequency_mhz": 460.0, "content": "noise", "cv": 1.0123, "error": 0.0304},
        {"frequency_mhz": 512.5, "content": "structure", "cv": 0.95, "error": 0.03},
        {"frequency_mhz": 575.0, "content": "structure", "cv": None, "error": None},
        {"frequency_mhz": 575.0, "content": "noise", "cv": None, "error": None},
    ]
    known = told(rows)
    words = "460 MHz noise 1.012 ± 0.030, 512.5 MHz structure 0.950 ± 0.030"
    assert each_cv(known, "frequency_mhz", "MHz") == words
    assert too_few(known, "frequency_mhz", "MHz") == ""
    assert too_few(rows, "frequency_mhz", "MHz", ", hung,") == " Too few shares, hung, at 575 MHz."


def test_a_critical_point_of_the_emulated_miner_is_found_through_the_whole_sweep() -> None:
    """Reports that are the later, the farther the voltage lies below 920 mV."""
    rows = []
    for i, mv in enumerate((990.0, 970.0, 950.0, 935.0, 915.0, 900.0, 880.0, 865.0, 850.0)):
        planted = Emulated("lv06", {"quality": 700.0 * math.sqrt(max(0.0, 920.0 - mv))})
        rows.append(
            at_point(
                planted,
                i,
                shares=1500,
                frequency_mhz=250.0,
                core_voltage_mv=mv,
                content="structure",
                alpha=0.001,
            )
        )
    found = get_experiment("voltage-sweep").conclude(rows_of(rows))
    assert found.code == EVIDENCE
    assert "A critical point fits better" in found.text


def test_homogeneity_and_best_match_keep_their_level() -> None:
    rng = np.random.default_rng(3)
    n = np.full(8, 1000)
    alarms, matches = 0, 0
    for seed in range(200):
        pairs = [cv_with_error(rng.exponential(1.0, 1000)) for _ in range(8)]
        one = homogeneity(np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs]), n)
        alarms += one.p_value < 0.05
        if seed < 50:
            matches += nearest_match(np.array([p[0] for p in pairs]), n, 1.0, 1.0, 1.15, seed) < 0.05
    assert alarms <= 20
    assert matches <= 8
    off = homogeneity(np.array([1.0] * 7 + [0.8]), np.full(8, 0.03), n)
    assert off.p_value < 1e-4


def test_the_published_resonance_is_what_chance_gives() -> None:
    # ten intervals at each of eleven clocks: the best of them comes within 0.107 of 1.15 more often than not
    cvs = np.array([0.94, 0.85, 0.88, 0.81, 0.93, 0.87, 0.52, 0.77, 1.0426, 0.519, 0.519])
    assert nearest_match(cvs, np.full(11, 10), 0.876, 0.876, 1.15, 1) > 0.5


def test_a_chip_below_its_critical_voltage_gives_nothing() -> None:
    values = at_point(Emulated("lv06"), 1, shares=200, frequency_mhz=250.0, core_voltage_mv=810.0, alpha=0.05)
    assert values["hung"]
    assert values["cv"] is None
    assert values["critical_mv"] > 810.0


def point_values(
    voltage: float, content: str, cv: float | None, p_value: float | None = 0.7
) -> dict[str, Any]:
    told = {"verdict": "deviates" if p_value is not None and p_value < 0.003 else "consistent", "text": ""}
    known = {"cv": cv, "error": None if cv is None else 0.03, "n": 0 if cv is None else 1000}
    place = {"core_voltage_mv": voltage, "frequency_mhz": voltage - 490.0, "content": content}
    return {**place, **known, **told, "p_value": None if cv is None else p_value}


@pytest.mark.parametrize(
    ("low", "p_value", "code"),
    [(1.0, 0.7, NO_EVIDENCE), (0.75, 0.7, EVIDENCE), (1.0, 0.001, EVIDENCE), (None, 0.7, CANNOT_TELL)],
)
def test_a_voltage_sweep_says_what_it_saw(low: float | None, p_value: float, code: str) -> None:
    rows = [point_values(990.0, content, 1.0) for content in ("noise", "structure")]
    rows += [point_values(850.0, content, low, p_value) for content in ("noise", "structure")]
    found = get_experiment("voltage-sweep").conclude(rows_of(rows))
    assert found.code == code
    if low is None:
        assert "850 mV" in found.text
    else:
        assert found.numbers["C27"].status == NOT_REPRODUCED
        assert (found.numbers["C24"].status == REPRODUCED) == (p_value == 0.001)


def test_the_published_fall_would_be_reproduced() -> None:
    cvs = {"noise": (1.1245, 1.0118), "structure": (0.8421, 0.3956)}
    rows = [
        point_values(v, content, pair[i])
        for i, v in enumerate((990.0, 850.0))
        for content, pair in cvs.items()
    ]
    assert get_experiment("voltage-sweep").conclude(rows_of(rows)).numbers["C27"].status == REPRODUCED


def test_a_resonance_has_to_beat_chance() -> None:
    conclude = get_experiment("frequency-sweep").conclude
    flat = [point_values(790.0 + 20 * i, "noise", 1.0) for i in range(11)]
    found = conclude(rows_of(flat))
    assert found.code == NO_EVIDENCE
    assert found.numbers["C29"].status == found.numbers["C28"].status == NOT_REPRODUCED
    flat[8] = point_values(950.0, "noise", 1.15)  # 460 MHz
    found = conclude(rows_of(flat))
    assert found.code == EVIDENCE
    assert found.numbers["C29"].status == REPRODUCED


def regime(cell: tuple[float, float, float], cv: float | None, p_value: float | None) -> dict[str, Any]:
    place = dict(zip(("core_voltage_mv", "frequency_mhz", "difficulty"), cell, strict=True))
    rate = shares_per_s("s9", cell[2], frequency_mhz=cell[1])
    time = {"seconds_for_1000": 1000 / rate, "shares_in_300_s": 300 * rate}
    return {**place, **time, "cv": cv, "error": None if cv is None else 0.03, "p_value": p_value}


def test_a_regime_map_uses_holm_and_leaves_out_what_hangs() -> None:
    conclude = get_experiment("regime-map").conclude
    cells = list(PUBLISHED)
    as_published = [regime(c, PUBLISHED[c], p) for c, p in zip(cells, (0.001, 0.02, 0.9, 0.04), strict=True)]
    found = conclude(rows_of(as_published))
    assert found.code == EVIDENCE
    assert found.p_value == pytest.approx(0.004)
    assert "1 of 4 cells" in found.text  # Holm: 0.02 x 3 is above 5 %
    assert found.numbers["C5"].status == REPRODUCED
    hung = [regime(c, None, None) for c in cells]
    assert conclude(rows_of(hung)).code == CANNOT_TELL
    one = conclude(rows_of([*hung[:3], regime(cells[3], 0.99, 0.4)]))
    assert one.code == NO_EVIDENCE
    assert "it hangs" in one.text
    assert one.numbers["C5"].value == 0


# ---- silicon and devices ---------------------------------------------------------------------------------------------


def test_bursts_are_runs_below_the_median() -> None:
    intervals = np.array([1.0, 2.0, 9.0, 1.0, 8.0, 9.0, 2.0, 9.0])
    assert burst_sizes(intervals).tolist() == [2, 1, 1]


def test_each_law_of_bursts_is_told_from_the_other() -> None:
    rng = np.random.default_rng(4)
    coin = fit_laws(rng.geometric(0.5, 1000).astype(np.int64))
    assert coin.z < -5
    assert coin.probability == pytest.approx(0.5, abs=0.05)
    avalanches = fit_laws(rng.zipf(2.5, 1000).astype(np.int64))
    assert avalanches.z > 1.64
    assert avalanches.exponent == pytest.approx(2.5, abs=0.15)


def test_avalanches_in_a_row_are_evidence_and_in_random_order_none() -> None:
    rng = np.random.default_rng(5)
    parts = []
    for size in rng.zipf(2.3, 500):
        parts += [rng.uniform(0.0, 1.0, min(size, 300)), rng.uniform(2.0, 9.0, min(rng.zipf(2.3), 300))]
    intervals = np.concatenate(parts)
    # as many short ones as long ones, so that the median lies between them
    short = int((intervals < 1.5).sum())
    extra = abs(intervals.size - 2 * short)
    filler = rng.uniform(2.0, 9.0, extra) if 2 * short > intervals.size else rng.uniform(0.0, 1.0, extra)
    intervals = np.concatenate([intervals, filler])
    laws = fit_laws(burst_sizes(intervals))
    null = shuffled_ratios(intervals, 99, rng)
    assert laws.ratio > null.max()
    values = {
        "bursts": laws.bursts,
        "largest": int(burst_sizes(intervals).max()),
        "exponent": laws.exponent,
        "probability": laws.probability,
        "ratio": laws.ratio,
        "z": laws.z,
        "null_mean": float(null.mean()),
        "p_value": 0.01,
    }
    conclude = get_experiment("avalanche").conclude
    assert conclude(rows_of([values])).code == EVIDENCE
    assert conclude(rows_of([{**values, "p_value": 0.3}])).code == NO_EVIDENCE
    assert conclude(rows_of([{**values, "ratio": -3.0}])).code == NO_EVIDENCE
    assert conclude(rows_of([{"bursts": 3, "p_value": None}])).code == CANNOT_TELL


def test_neighbours_that_go_together_are_found_whatever_all_have_in_common() -> None:
    rng = np.random.default_rng(6)
    common = rng.standard_normal(60)
    alone = rng.poisson(20.0 + 3.0 * common, (63, 60)).astype(float)
    found = neighbours(alone, 199, rng)
    assert found.p_value > 0.01
    assert found.all_pairs > 0.1
    heat = rng.standard_normal((64, 60))
    tied = alone + 3.0 * (heat[:-1] + heat[1:])
    assert neighbours(tied, 199, rng).p_value == pytest.approx(1 / 200)


def test_counts_by_place_and_window() -> None:
    place, time_ns = np.array([5, 7, 5, 5]), np.array([0, 10, 60, 99])
    assert window_counts_by_place(place, time_ns, 2).tolist() == [[1, 2], [1, 0]]


def test_places_that_are_not_told_give_no_answer() -> None:
    found = get_experiment("spatial-correlation").conclude(rows_of([{"p_value": None, "why": "no places"}]))
    assert found.code == CANNOT_TELL


@dataclass(frozen=True)
class Unlike(Emulated):
    """Emulated devices whose chips have delays of their own."""

    variation_ms: float = 0.0

    def data(self, seed: int, *, shares: int, **settings: Any) -> Any:
        return super().data(seed, shares=shares, variation_ms=self.variation_ms, **settings)


@pytest.mark.parametrize(("variation_ms", "code"), [(0.0, NO_EVIDENCE), (60.0, EVIDENCE)])
def test_devices_that_differ_are_told_from_those_that_agree(variation_ms: float, code: str) -> None:
    experiment, subject = get_experiment("reproducibility"), Unlike("s9", variation_ms=variation_ms)
    points: Sequence[Point] = experiment.points(FAST, subject)
    cells = [
        Cell(i, point, repetition, SUBJECT, 10 * i + repetition, FAST)
        for i, point in enumerate(points)
        for repetition in range(4)
    ]
    rows = [Row(cell, experiment.measure(cell, subject)) for cell in cells]
    found = experiment.conclude(rows)
    assert found.code == code
    other = [replace(row, values={**row.values, "device": 0 if row.cell.number < 2 else 1}) for row in rows]
    assert experiment.conclude(other).statistic.startswith("share of the variance")
