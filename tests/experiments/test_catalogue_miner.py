"""Experiments on what a miner does: waits for its pool, fails, follows a difficulty, gives jobs up."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.alarms import Alarms, say
from experiments.analyses.controllers import (
    LEARNERS,
    REACH,
    Constant,
    ControlledDifficulty,
    Proportional,
    Random,
    best_gain,
)
from experiments.analyses.failures import independence, of_emulation, of_run, over_symbols, windows_between
from experiments.attached import Attached
from experiments.catalogue import get_experiment
from experiments.catalogue.controllers import JOBS, _run
from experiments.catalogue.vbm import virtual_block
from experiments.experiment import CANNOT_TELL, EVIDENCE, FAST, NO_EVIDENCE, SUBJECT, Cell, Finding, Row
from experiments.subjects import Emulated
from firmware_bridge.emulator.effects import SWING_PERIOD_S
from firmware_bridge.emulator.physics import Physics
from firmware_bridge.emulator.program import Step
from firmware_bridge.emulator.virtual import VirtualConfig, run_virtual, simulate
from firmware_bridge.emulator.wall_config import WallConfig
from firmware_bridge.errors import UserError
from firmware_bridge.stratum.dispatch import DispatchContext
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.writer import TraceWriter
from tpf.energy import eta

CELL = Cell(0, {}, 0, SUBJECT, 7, FAST)
PURE = {name: value for name, value in Physics.off().to_json().items() if value != Physics().to_json()[name]}


def concluded(name: str, *values: Mapping[str, Any]) -> Finding:
    return get_experiment(name).conclude([Row(CELL, told) for told in values])


# ---- a pool far away -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("waits", "model"), [(0.0, "s9"), (1.0, "s9"), (1.0, "lv06")])
def test_an_emulated_miner_hashes_for_the_part_of_its_time_that_the_formula_says(
    waits: float, model: str
) -> None:
    shares = 6000
    told = virtual_block(Emulated(model, {"waits": waits}, PURE), 3, shares=shares, far=True)
    measured = told["rate"] * told["t_hash_s"]
    formula = eta(told["t_hash_s"], waits * told["round_trip_s"])
    # hashing times are exponential, the wait is constant: relative error of the mean cycle
    error = formula * formula / math.sqrt(shares)
    assert formula == pytest.approx(0.8 if waits else 1.0)
    assert measured == pytest.approx(formula, abs=4.5 * error)


def test_distance_costs_firmware_that_queues_nothing_even_with_its_own_dead_time() -> None:
    rates = [
        [virtual_block(Emulated(), seed, shares=20_000, far=far)["rate"] for seed in (1, 2)]
        for far in (False, True)
    ]
    near, far = np.mean(rates, axis=1)
    assert far / near == pytest.approx(1.0, abs=4.5 * math.sqrt(2 / 40_000))


def test_a_miner_on_a_period_waits_for_the_answer() -> None:
    def rate(waits: float) -> float:
        physics = replace(Physics.off(), round_trip_ms=100.0)
        config = VirtualConfig(
            shares=8000,
            scale=2.0**-36,
            mode="stream",
            job_period_s=30.0,
            physics=physics,
            plants={"waits": waits},
        )
        trace = simulate(config)
        return trace.n / float(trace.row_ns[-1])

    mean_ms = 256 * 2**32 / 13.5e9
    assert rate(1.0) / rate(0.0) == pytest.approx(mean_ms / (mean_ms + 100.0), rel=0.06)


def block(arm: str, number: int, rate: float) -> dict[str, Any]:
    return {
        "arm": arm, "block": number, "shares": round(1000 * rate), "seconds": 1000.0, "rate": rate, "miners": 1,
        "t_hash_s": 1.0, "round_trip_s": 0.25, "waits": None,
    }  # fmt: skip


def test_a_gain_counts_only_where_equal_arms_are_equal() -> None:
    wobble = (0.01, -0.01, 0.02, -0.02, 0.0, 0.01)

    def blocks(again: float, managed: float) -> list[dict[str, Any]]:
        made = [block("direct", i, 1.0 + w) for i, w in enumerate(wobble)]
        made += [block("direct again", i, again - w) for i, w in enumerate(wobble)]
        return made + [block("vbm", i, managed + 0.5 * w) for i, w in enumerate(wobble)]

    none = concluded("vbm", *blocks(1.0, 1.0))
    assert (none.code, none.numbers["C15"].status) == (NO_EVIDENCE, "not reproduced")
    found = concluded("vbm", *blocks(1.0, 1.255))
    assert (found.code, found.numbers["C15"].status) == (EVIDENCE, "reproduced")
    assert found.value == pytest.approx(0.255, abs=0.02)
    small = concluded("vbm", *blocks(1.0, 1.1))
    assert (small.code, small.numbers["C15"].status) == (EVIDENCE, "not reproduced")
    disturbed = concluded("vbm", *blocks(1.1, 1.255))
    assert (disturbed.code, disturbed.numbers["C15"].status) == (CANNOT_TELL, None)


def test_what_cannot_be_pointed_at_two_pools_is_refused(tmp_path: Path) -> None:
    for device in ("any", "bm1366:/dev/ttyUSB9"):
        attached = Attached(f"sqlite:///{tmp_path}/lab.db", device)
        with pytest.raises(UserError, match="another pool"):
            get_experiment("vbm").measure(replace(CELL, point={"arm": "direct"}), attached)
    emulated = Attached(f"sqlite:///{tmp_path}/lab.db", "emulate:s9", plants={"quality": 2.0})
    with pytest.raises(UserError, match="waits=PART alone"):
        get_experiment("vbm").measure(replace(CELL, point={"arm": "direct"}), emulated)


@pytest.mark.costly
@pytest.mark.parametrize("arm", ["direct", "vbm"])
def test_a_block_in_wall_time_goes_through_sockets(arm: str, tmp_path: Path) -> None:
    attached = Attached(f"sqlite:///{tmp_path}/lab.db", "emulate:s9", plants={"waits": 1.0})
    told = get_experiment("vbm").measure(replace(CELL, point={"arm": arm}), attached)
    assert told["shares"] > 20
    assert told["rate"] > 0
    assert told["round_trip_s"] >= 0.05


def test_what_is_planted_into_the_miner_itself_is_refused_in_wall_time() -> None:
    with pytest.raises(UserError, match="virtual time only"):
        WallConfig("s9", "127.0.0.1", 3333, plants={"waits": 1.0}).check()
    for plants in ({"waits": 1.5}, {"failing_jobs": 1.0}, {"winning_jobs": -1.0}):
        with pytest.raises(UserError, match=r"0 to 1|above -1"):
            VirtualConfig(plants=plants).check()


# ---- errors ----------------------------------------------------------------------------------------------------------


def test_windows_follow_the_counter_and_the_jobs() -> None:
    s = 1_000_000_000
    counter = np.array([5.0, 7.0, np.nan, 8.0, 2.0, 3.0])
    found = windows_between(
        np.arange(6) * 10 * s, counter, np.array([0, 5 * s, 20 * s]), np.array([0.2, 0.6, np.nan])
    )
    # the reading without a counter joins two windows; where it falls there is none
    assert found.errors.tolist() == [2, 1, 1]
    assert found.seconds.tolist() == [10.0, 20.0, 10.0]
    assert found.symbol[0] == pytest.approx(0.4)
    assert np.isnan(found.symbol[1:]).all()
    late = windows_between(np.arange(3) * s, np.arange(3.0), np.array([s]), np.array([0.5]))
    assert late.errors.tolist() == [1]


def test_a_stored_run_tells_the_same_errors_as_the_run_itself(tmp_path: Path) -> None:
    config = VirtualConfig(
        shares=None, seed=5, scale=2.0**-36, mode="stream", job_period_s=3.0,
        program=(Step(60.0, core_voltage_mv=8200.0), Step(60.0, core_voltage_mv=8250.0)),
    )  # fmt: skip
    direct = of_emulation(simulate(config))
    with TraceWriter(f"sqlite:///{tmp_path}/lab.db") as writer:
        run_virtual(config, writer)
    reader = TraceReader(f"sqlite:///{tmp_path}/lab.db")
    stored = of_run(reader, reader.resolve("latest"), 256.0)
    assert int(direct.windows.errors.sum()) > 50
    for name in ("seconds", "errors", "symbol"):
        np.testing.assert_allclose(getattr(stored.windows, name), getattr(direct.windows, name), rtol=1e-9)
    assert (stored.found, stored.submitted) == (direct.found, direct.submitted)
    assert dict(stored.rejected) == dict(direct.rejected)


def test_planted_errors_go_with_the_symbol_as_strongly_as_they_say() -> None:
    config = VirtualConfig(
        shares=None, seed=6, scale=2.0**-36, mode="stream", job_period_s=3.0, plants={"failing_jobs": 0.5},
        program=(Step(3000.0, core_voltage_mv=8200.0),),
    )  # fmt: skip
    trace = simulate(config)
    by_job = np.bincount(trace.failed_job, minlength=trace.symbol.size)
    slope = np.polyfit(2 * trace.symbol[:1000] - 1, by_job[:1000], 1)
    assert slope[0] / slope[1] == pytest.approx(0.5, abs=4.5 * math.sqrt(3 / by_job.sum()))
    assert not np.isin(trace.failed_ns, trace.row_ns).any()


def test_clusters_are_found_and_drift_is_not_one() -> None:
    rng = np.random.default_rng(8)
    n = 800
    at, sent = np.arange(n + 1) * 3_000_000_000, np.arange(n) * 3_000_000_000
    symbol = rng.random(n)

    def tested(errors: Any) -> Any:
        counter = np.append(0.0, np.cumsum(errors))
        return independence(windows_between(at, counter, sent, symbol), np.random.default_rng(1))

    bursts = tested(rng.poisson(3.0 * rng.gamma(1.0, 1.0, n)))
    assert bursts.p_clusters <= 0.01
    assert bursts.p_input > 0.01
    # what is kept of the nulls says the same
    assert bursts.dispersion > bursts.null_dispersion[-1] > 1.0 > bursts.null_dispersion[0]
    assert bursts.null_correlation[0] < bursts.correlation < bursts.null_correlation[-1]
    assert bursts.null_correlation[2] == pytest.approx(0.0, abs=0.02)
    drift = tested(rng.poisson(3.0 + 2.0 * np.sin(np.arange(n) / 60.0)))
    assert drift.p_clusters > 0.05
    assert tested(np.zeros(n)) is None


def test_errors_are_expected_by_the_rate_of_their_block() -> None:
    n = 1600
    at, sent = np.arange(n + 1) * 3_000_000_000, np.arange(n) * 3_000_000_000
    symbol = np.tile((np.arange(16) + 0.5) / 16, n // 16)
    rate = np.repeat(np.linspace(4.0, 40.0, n // 16).round(), 16)  # drifts, and knows nothing of symbols

    def counted(errors: Any, symbols: Any = symbol) -> list[tuple[int, float]]:
        return over_symbols(windows_between(at, np.append(0.0, np.cumsum(errors)), sent, symbols))

    assert [o / e for o, e in counted(rate)] == pytest.approx([1.0] * 5)
    carries = counted(np.where(symbol > 0.8, 2.0 * rate, rate))
    assert sum(o for o, _ in carries) == pytest.approx(sum(e for _, e in carries))
    assert [o / e for o, e in carries] == pytest.approx([16 / 19] * 4 + [32 / 19])
    assert counted(rate, np.full(n, np.nan)) == []


def point(errors: int, tested: Mapping[str, float] | None, windows: int = 400) -> dict[str, Any]:
    return {
        "core_voltage_mv": 8200.0, "frequency_mhz": 575.0, "windows": windows, "seconds": 1200.0, "errors": errors,
        "found": 9000.0, "submitted": 9010, "rejected": {"duplicate": 10}, "tested": tested,
    }  # fmt: skip


def test_a_miner_without_a_counter_is_refused_before_it_is_measured(tmp_path: Path) -> None:
    for device in ("emulate:s9", "any", "bm1366:/dev/ttyUSB9"):
        attached = Attached(f"sqlite:///{tmp_path}/lab.db", device)
        with pytest.raises(UserError, match="does not tell how many nonces"):
            get_experiment("hardware-errors").measure(CELL, attached)
    assert not (tmp_path / "lab.db").exists()


def test_errors_are_counted_with_exact_intervals_and_judged_by_their_independence() -> None:
    quiet = {"correlation": 0.01, "p_input": 0.6, "dispersion": 1.0, "p_clusters": 0.5}
    found = concluded("hardware-errors", point(400, quiet))
    assert found.code == NO_EVIDENCE
    assert found.numbers["C5-errors"].status == "not reproduced"
    assert found.numbers["C5-errors"].ci == pytest.approx(
        (361.76, 441.17), abs=0.05
    )  # exact Poisson limits of 400
    assert "10 of 9010 shares duplicate (0.05% to 0.20%)" in found.text
    carries = concluded("hardware-errors", point(400, quiet | {"p_input": 0.002}))
    assert carries.code == EVIDENCE
    none = concluded("hardware-errors", point(0, None))
    assert (none.code, none.numbers["C5-errors"].status) == (CANNOT_TELL, "reproduced")
    assert none.numbers["C5-errors"].ci == pytest.approx((0.0, 3.689), abs=0.001)
    untold = concluded("hardware-errors", point(0, None, windows=0) | {"core_voltage_mv": 1.0})
    assert untold.code == CANNOT_TELL
    assert "does not tell" in untold.text


# ---- controllers -----------------------------------------------------------------------------------------------------


def record(swing: float, n: int, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    return swing * np.sin(2 * np.pi * (np.arange(n) / 24 + rng.random())) - np.log(rng.gamma(8, 1 / 8, n))


def cost(policy: Any, y: Any) -> float:
    heard, total = None, 0.0
    for value in y.tolist():
        total += (policy.next(heard) - value) ** 2
        heard = value
    return total / y.size


@pytest.mark.parametrize("name", ["evolution", "convolution"])
def test_a_course_is_learnt_and_noise_is_not(name: str) -> None:
    for swing, beats in ((0.5, True), (0.0, False)):
        past, future = record(swing, 300, 1), record(swing, 2000, 2)
        mean = float(past.mean())
        learnt = cost(LEARNERS[name].train(past, np.random.default_rng(3))(), future)
        simple = min(cost(Constant(mean), future), cost(Proportional(mean, best_gain(past, mean)), future))
        assert (learnt < 0.9 * simple) == beats
        assert learnt < 1.1 * simple


def test_reinforcement_learns_to_come_back() -> None:
    past, future = record(0.0, 300, 4), record(0.0, 1000, 5)
    learnt = cost(LEARNERS["reinforcement"].train(past, np.random.default_rng(3))(), future)
    assert learnt < 0.5 * cost(Random(np.random.default_rng(6)), future)
    shifted = cost(LEARNERS["reinforcement"].train(past + 0.5, np.random.default_rng(3))(), future + 0.5)
    assert shifted == pytest.approx(learnt, rel=0.3)


def test_the_best_gain_follows_a_wandering_rate_and_leaves_a_constant_alone() -> None:
    rng = np.random.default_rng(7)
    assert best_gain(np.cumsum(rng.normal(0, 0.3, 400)) + rng.normal(0, 0.1, 400), 0.0) > 0.6
    assert best_gain(rng.normal(0, 0.3, 400), 0.0) < 0.1


def test_a_controller_asks_and_hears_through_the_jobs_of_one_miner() -> None:
    heard: list[float | None] = []

    class Listener:
        def next(self, y: float | None) -> float:
            heard.append(y)
            return 9.0  # beyond the range

    source = ControlledDifficulty(Listener(), jobs=2, reference=1024.0, target_s=0.5)

    def ask(index: int, at_s: float, *, answered: bool | None, miner: int = 1) -> Any:
        at = round(at_s * 1e9)
        return source.next(DispatchContext(miner, "m", index, at, at, answered, 0, False))

    assert ask(0, 0.0, answered=None).difficulty == 4096.0
    assert ask(0, 0.1, answered=None, miner=2) is None
    assert ask(1, 3.0, answered=True).difficulty == 4096.0
    ask(2, 8.0, answered=True)
    # two shares of 4096 in 8 s are 1024 a second, half of what the target asks for
    assert heard[0] is None
    assert heard[1] == pytest.approx(math.log(0.5))
    assert source.costs() == pytest.approx([(REACH - math.log(0.5)) ** 2])
    ask(3, 9.0, answered=False)
    ask(4, 10.0, answered=False)
    assert heard[2] == pytest.approx(math.log(0.5 * 4096 / 2.0 / 2048))


def test_in_virtual_time_a_constant_sees_the_hash_rate_and_its_swing() -> None:
    still = _run(Emulated(), 3, 1, Constant(0.0), 40)
    assert len(still.y) == 40
    assert float(np.mean(still.y)) == pytest.approx(-0.13, abs=0.2)  # dead time, and the mean of a logarithm
    again = _run(Emulated(), 3, 1, Constant(0.0), 40)
    assert again.y == still.y
    swings = np.array(_run(Emulated(plants={"swing": 1.0}), 3, 1, Constant(0.0), 160).y)
    assert swings.std() == pytest.approx(math.sqrt(0.5 + 1 / JOBS), rel=0.3)


def test_the_hash_rate_swings_with_the_wall_clock() -> None:
    config = VirtualConfig(
        shares=None,
        seconds=600.0,
        scale=2.0**-36,
        physics=Physics.off(),
        plants={"swing": 0.7},
        start_wall_ns=0,
    )
    trace = simulate(config)
    phase = trace.row_ns / 1e9 % SWING_PERIOD_S / SWING_PERIOD_S
    up, down = int((phase < 0.5).sum()), int((phase >= 0.5).sum())
    # mean of exp(a sin) over either half
    half = np.exp(0.7 * np.sin(np.linspace(0, np.pi, 1001))).mean()
    other = np.exp(-0.7 * np.sin(np.linspace(0, np.pi, 1001))).mean()
    assert up / (up + down) == pytest.approx(half / (half + other), abs=4.5 * 0.5 / math.sqrt(trace.n))


def costs(**more: float) -> dict[str, Any]:
    rng = np.random.default_rng(9)
    common = 0.1 + 0.02 * rng.random(8)
    base = {"random": 0.6, "constant": 0.0, "proportional": 0.01, "reinforcement": 0.03, "evolution": 0.005}
    every = base | {"convolution": 0.002} | more
    return {
        "costs": {k: (common + v + 0.001 * rng.standard_normal(8)).tolist() for k, v in every.items()},
        "gain": 0.1,
        "constant": 0.0,
        "learners": ["reinforcement", "evolution", "convolution"],
    }


def test_beating_chance_is_trivial_and_beating_a_constant_is_not() -> None:
    none = concluded("controllers", costs())
    assert none.code == NO_EVIDENCE
    assert "trivial" in none.text
    assert none.numbers["C21-controllers"].value == 0
    one = concluded("controllers", costs(evolution=-0.02))
    assert (one.code, one.numbers["C21-controllers"].status) == (EVIDENCE, "not reproduced")
    assert one.value == pytest.approx(-0.02, abs=0.002)
    # it has to beat vardiff too
    assert concluded("controllers", costs(evolution=-0.02, proportional=-0.03)).code == NO_EVIDENCE
    every = concluded("controllers", costs(evolution=-0.02, convolution=-0.02, reinforcement=-0.02))
    assert every.numbers["C21-controllers"].status == "reproduced"


@pytest.mark.costly
def test_a_controller_steers_a_miner_through_the_bridge(tmp_path: Path) -> None:
    attached = Attached(
        f"sqlite:///{tmp_path}/lab.db", "emulate:s9", physics={"hash_rate_ths": 60.0}, patience_s=120.0
    )
    source = ControlledDifficulty(
        Constant(math.log(2.0)), jobs=6, reference=1024.0, target_s=0.073, decisions=2
    )
    data = attached.data(1, shares=500, source=source, difficulty=1024.0)
    assert len(source.y) >= 2
    assert 12 <= data.n < 400
    assert data.job_difficulty is not None
    assert set(data.job_difficulty.tolist()) == {2048.0}


# ---- the filter ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdict", "code"), [("saves", EVIDENCE), ("no_saving", NO_EVIDENCE), ("cannot_tell", CANNOT_TELL)]
)
def test_a_filter_is_judged_by_its_own_verdict(verdict: str, code: str) -> None:
    told = {
        "verdict": verdict, "text": "told.", "saving": 0.2, "ci": [0.1, 0.3], "p_value": 0.01, "detectable": 0.05,
        "against_random": 0.2, "accounted": 0.21,
    }  # fmt: skip
    found = concluded("tpf-filter", told)
    assert (found.code, found.numbers["C17"].status) == (code, "not reproduced")
    most = concluded("tpf-filter", told | {"ci": [0.7, 0.9]})
    assert most.numbers["C17"].status == ("reproduced" if verdict == "saves" else "not reproduced")


# ---- alarms ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vbm", "hardware-errors", "controllers", "tpf-filter"])
def test_a_few_runs_with_and_without_what_is_planted(name: str) -> None:
    effect = get_experiment(name).effect
    assert effect is not None
    for plants in ({}, dict([effect])):
        codes = [say(name, plants, seed)[0] for seed in range(70_000, 70_004)]
        assert Alarms(name, plants, 4, codes.count(EVIDENCE)).holds
