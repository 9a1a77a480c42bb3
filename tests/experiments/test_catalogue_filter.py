"""Experiments on the filter and on what was read into timing and hashes: rules, numbers and closed forms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.alarms import Alarms, say
from experiments.analyses.persistence import after_switch, half_life
from experiments.analyses.plasticity import energies, expected_update, updates
from experiments.analyses.share_hashes import share_hashes
from experiments.analyses.subset_sum import candidates_of, search
from experiments.catalogue import get_experiment
from experiments.catalogue.input_structure import symbols_of
from experiments.experiment import CANNOT_TELL, EVIDENCE, FAST, NO_EVIDENCE, SUBJECT, Cell, Finding, Row
from experiments.plan import make_plan
from experiments.subjects import Emulated, Recorded
from experiments.tpf_leakage import write_run
from firmware_bridge.emulator.virtual import VirtualConfig, run_virtual
from firmware_bridge.errors import UserError
from firmware_bridge.timing.run_data import RunData
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.writer import TraceWriter

CELL = Cell(0, {}, 0, SUBJECT, 7, FAST)


def concluded(name: str, *values: Mapping[str, Any]) -> Finding:
    return get_experiment(name).conclude([Row(CELL, told) for told in values])


@dataclass(frozen=True)
class Given(Emulated):
    """An emulated miner whose runs are what a test makes of them."""

    intervals_ms: tuple[float, ...] = ()
    variation_ms: float = 0.0

    def data(self, seed: int, *, shares: int, **settings: Any) -> RunData:
        if self.variation_ms:
            return super().data(seed, shares=shares, variation_ms=self.variation_ms, device=3)
        made = super().data(seed, shares=30)
        return replace(made, interval_ms=np.array([math.nan, *self.intervals_ms]))


# ---- leakage ---------------------------------------------------------------------------------------------------------

LEAKAGE = {
    "verdict": NO_EVIDENCE,
    "text": "told",
    "n": 1500,
    "base_rate": 0.75,
    "p_value": 0.4,
    "certificate": {"classifier": "logistic", "correct": 560, "trials": 750, "baseline": [563, 750]},
    "detectable": {"auc": 0.06},
}


def test_an_accuracy_counts_by_what_it_adds_to_a_constant() -> None:
    found = concluded("tpf-leakage", LEAKAGE)
    number = found.numbers["C10"]
    assert found.code == NO_EVIDENCE
    assert found.detectable == "an AUC of 0.560"
    assert number.value == pytest.approx(-3 / 750)
    assert number.status == "not reproduced"
    assert number.ci is not None
    assert number.ci[0] < number.value < number.ci[1]
    perfect = {"classifier": "logistic", "correct": 750, "trials": 750, "baseline": [563, 750]}
    right = concluded("tpf-leakage", LEAKAGE | {"certificate": perfect, "verdict": EVIDENCE})
    assert (right.code, right.numbers["C10"].status) == (EVIDENCE, "reproduced")


def test_no_classifier_no_number() -> None:
    found = concluded(
        "tpf-leakage", LEAKAGE | {"verdict": "cannot_tell", "certificate": None, "detectable": {}}
    )
    assert found.code == CANNOT_TELL
    assert not found.numbers
    assert found.value is None


# ---- frontier --------------------------------------------------------------------------------------------------------

FRONTIER = {
    "verdict": "nothing_before_exact",
    "text": "told",
    "hashes": 120_000,
    "auc": 0.52,
    "auc_ci": [0.47, 0.57],
    "round": 12,
    "exact_from_round": 61,
    "kept": 1.0,
    "saving": 5 / 128,
}


def test_the_saving_is_held_against_the_published_one() -> None:
    found = concluded("tpf-frontier", FRONTIER)
    assert found.code == NO_EVIDENCE
    assert found.numbers["C7"].value == 5 / 128
    assert found.numbers["C7"].status == "not reproduced"
    early = concluded("tpf-frontier", FRONTIER | {"verdict": "evidence", "saving": 59 / 64})
    assert (early.code, early.numbers["C7"].status) == (EVIDENCE, "reproduced")
    lossy = concluded("tpf-frontier", FRONTIER | {"saving": 59 / 64, "kept": 0.9})
    assert lossy.numbers["C7"].status == "not reproduced"


# ---- heartbeat -------------------------------------------------------------------------------------------------------


def pulsing(swing: float, n: int = 1500) -> tuple[float, ...]:
    """Intervals of a Poisson process of 10 per s whose rate swings by a part of itself at 2.4 Hz."""
    rng = np.random.default_rng(5)
    times = np.cumsum(rng.exponential(0.1 / (1 + swing), 4 * n))
    kept = rng.random(times.size) * (1 + swing) < 1 + swing * np.sin(2 * np.pi * 2.4 * times)
    return tuple((np.diff(times[kept])[:n] * 1e3).tolist())


def test_a_pulse_is_found_and_noise_is_not() -> None:
    heartbeat = get_experiment("heartbeat")
    beat = heartbeat.conclude([Row(CELL, heartbeat.measure(CELL, Given(intervals_ms=pulsing(0.4))))])
    noise = heartbeat.conclude([Row(CELL, heartbeat.measure(CELL, Given(intervals_ms=pulsing(0.0))))])
    assert (beat.code, beat.numbers["C26"].status) == (EVIDENCE, "reproduced")
    # a swing of a gives the Rayleigh power n a² / 4
    assert beat.value == pytest.approx(1500 * 0.4**2 / 4, rel=0.5)
    assert (noise.code, noise.numbers["C26"].status) == (NO_EVIDENCE, "not reproduced")


def test_few_intervals_have_no_rhythm() -> None:
    heartbeat = get_experiment("heartbeat")
    assert concluded("heartbeat", {"n": 20, "span_s": 2.0, "named": None}).code == CANNOT_TELL
    short = heartbeat.measure(CELL, Given(intervals_ms=pulsing(0.0, 200)))
    found = concluded("heartbeat", short)
    assert found.code == CANNOT_TELL
    assert found.numbers["C26"].status is None


# ---- ten intervals ---------------------------------------------------------------------------------------------------


def test_slow_changes_of_the_rate_are_found_in_windows_of_ten() -> None:
    short = get_experiment("short-cv")
    rng = np.random.default_rng(1)
    slow = rng.exponential(100.0, 2000) * np.repeat([0.5, 1.5], 1000)
    for intervals, code in ((slow, EVIDENCE), (rng.permutation(slow), NO_EVIDENCE)):
        found = short.conclude([Row(CELL, short.measure(CELL, Given(intervals_ms=tuple(intervals))))])
        assert found.code == code


def test_a_poisson_process_goes_as_far_out_as_the_published_windows() -> None:
    short = get_experiment("short-cv")
    intervals = np.random.default_rng(2).exponential(100.0, 5000)
    found = short.conclude([Row(CELL, short.measure(CELL, Given(intervals_ms=tuple(intervals))))])
    number = found.numbers["C32"]
    assert number.value == pytest.approx(0.1446, abs=0.05)  # of two million exponential intervals
    assert number.status == "not reproduced"
    assert concluded("short-cv", {"windows": 12}).code == CANNOT_TELL


# ---- hashes ----------------------------------------------------------------------------------------------------------

HASHES = {
    "n": 1000,
    "diffusion": 0.4845,
    "null_mean": 0.4844,
    "null_sd": 0.00097,
    "decoded": 3000,
    "decoded_mean": 0.5,
    "decoded_sd": 0.2887,
    "ks_p": 0.5,
}


def test_unrelated_hashes_reproduce_what_was_published_and_are_no_evidence() -> None:
    found = concluded("hamming-diffusion", HASHES)
    assert found.code == NO_EVIDENCE
    assert {number.status for number in found.numbers.values()} == {"reproduced"}
    off = concluded("hamming-diffusion", HASHES | {"diffusion": 0.40, "decoded_mean": 0.45})
    assert off.code == EVIDENCE
    assert {number.status for number in off.numbers.values()} == {"not reproduced"}
    assert concluded("hamming-diffusion", HASHES | {"ks_p": 1e-6}).code == EVIDENCE
    assert concluded("hamming-diffusion", {"n": 0}).code == CANNOT_TELL


def test_hashes_of_an_emulated_run_are_those_of_its_trace(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/lab.db"
    with TraceWriter(url) as writer:
        run = write_run(Emulated().config(9, shares=60), writer)
    stored = Recorded.find(url, run)
    kept, made = share_hashes(stored, 9, 60), share_hashes(Emulated(), 9, 60)
    assert kept is not None
    assert made is not None
    assert np.array_equal(kept.hashes, made.hashes)
    assert kept.targets == made.targets
    assert all(
        int.from_bytes(h.tobytes(), "little") <= t for h, t in zip(made.hashes, made.targets, strict=True)
    )


# ---- fingerprints ----------------------------------------------------------------------------------------------------


def test_chips_that_differ_are_found() -> None:
    nonces = get_experiment("nonce-fingerprint")
    found = nonces.conclude([Row(CELL, nonces.measure(CELL, Given(variation_ms=1.0)))])
    assert found.code == EVIDENCE
    assert found.value == pytest.approx(1.0, rel=0.4)
    none = {"verdict": "cannot_tell", "text": "told", "r2": 1.0, "on_time": 3, "tests": 0, "best": None}
    assert concluded("nonce-fingerprint", none).code == CANNOT_TELL


def responses(planted_ms: float, spread_ms: float) -> list[dict[str, Any]]:
    """Four devices with four responses each, whose chips differ by so much."""
    rng = np.random.default_rng([round(10 * planted_ms), round(10 * spread_ms)])
    own_ms = spread_ms * rng.standard_normal((4, 63))
    return [
        {
            "planted_ms": planted_ms,
            "device": d,
            "name": str(d),
            "layout": "s9",
            "part": "chip",
            "delay_ms": (own_ms[d] + 0.3 * rng.standard_normal(63)).tolist(),
            "shares": [20] * 63,
            "noise_ms": 1.3,
        }
        for d in range(4)
        for _ in range(4)
    ]


@pytest.mark.parametrize(
    ("own_ms", "control_ms", "code"),
    [(0.0, 0.5, NO_EVIDENCE), (0.5, 0.5, EVIDENCE), (0.0, 0.0, CANNOT_TELL), (0.5, 0.0, CANNOT_TELL)],
)
def test_devices_count_only_if_those_made_to_differ_are_told_apart(
    own_ms: float, control_ms: float, code: str
) -> None:
    found = concluded("puf", *responses(0.5, control_ms), *responses(0.0, own_ms))
    assert found.code == code
    assert found.value is not None
    assert (found.value < 0.2) == (own_ms > 0)


# ---- the filter on a miner -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_filter_is_compared_on_a_miner_that_is_there_and_again_from_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from experiments.attached import Attached
    from experiments.catalogue import tpf_filter

    monkeypatch.setitem(tpf_filter.JOBS, FAST, 3)
    monkeypatch.setitem(tpf_filter.TRAINING_JOBS, FAST, 40)
    db = f"sqlite:///{tmp_path}/lab.db"
    live = Attached(db, "emulate:lv06", model="lv06", physics={"hash_rate_ths": 120.0})
    experiment = get_experiment("tpf-filter")
    plan = make_plan(experiment, live, size=FAST, seed=3)
    assert plan.lasts_s is not None
    assert 10.0 < plan.lasts_s < 60.0
    measured = dict(tpf_filter.measure(plan.cells[0], live))
    assert measured["verdict"] in ("no_saving", "cannot_tell")  # a fair hash
    run = TraceReader(db).runs()["run_id"].iloc[0]
    assert tpf_filter.measure(CELL, Recorded.find(db, str(run))) == measured


def test_a_run_without_a_comparison_has_no_filter_to_judge(tmp_path: Path) -> None:
    db = f"sqlite:///{tmp_path}/lab.db"
    with TraceWriter(db) as writer:
        run_virtual(VirtualConfig(model="s9", shares=50), writer)
    with pytest.raises(UserError, match="no comparison of filters"):
        get_experiment("tpf-filter").measure(CELL, Recorded.find(db, "latest"))


def test_few_responses_cannot_tell_whatever_they_look_like() -> None:
    told = [row for row in responses(0.0, 0.5) if row["device"] < 2]
    few = [row for device in ("0", "1") for row in [r for r in told if r["name"] == device][:2]]
    found = concluded("puf", *responses(0.5, 0.5), *few)
    assert found.code == CANNOT_TELL
    assert "3 ways only" in found.text


# ---- rates -----------------------------------------------------------------------------------------------------------


def rate(difficulty: float, shares: int, seconds: float, model: str = "lv06") -> dict[str, Any]:
    return {
        "difficulty": difficulty,
        "model": model,
        "floor": 256.0,
        "shares": shares,
        "seconds": seconds,
        "smallest_difficulty": 256.0,
        "expected_asked_per_s": 116.0,
        "expected_floor_per_s": 0.4547,
    }


def test_a_chip_that_reports_what_is_asked_is_found() -> None:
    same = concluded("share-rate", rate(1.0, 600, 1400.0), rate(256.0, 600, 1400.0))
    assert (same.code, same.value) == (NO_EVIDENCE, 1.0)
    assert same.numbers["C43"].status == "not reproduced"
    assert same.numbers["C43"].ci == pytest.approx((0.395, 0.464), abs=0.001)  # exact Poisson limits of 600
    more = concluded("share-rate", rate(1.0, 600, 6.0), rate(256.0, 600, 1400.0))
    assert more.code == EVIDENCE
    slow = concluded("share-rate", rate(1.0, 34, 298.0), rate(256.0, 34, 298.0))
    assert slow.numbers["C43"].status == "reproduced"
    assert concluded("share-rate", rate(1.0, 12, 9.0), rate(256.0, 600, 9.0)).code == CANNOT_TELL
    assert not concluded("share-rate", rate(1.0, 60, 6.0, "s9"), rate(256.0, 60, 6.0, "s9")).numbers


# ---- subset sums -----------------------------------------------------------------------------------------------------


def test_each_bit_of_a_candidate_is_fair_and_made_of_order_alone() -> None:
    values = np.random.default_rng(3).exponential(1.0, 3840)
    found = candidates_of(values)
    assert found.shape == (3840 * 8 // 15, 15)
    assert found.mean() == 0.5
    assert np.array_equal(found, candidates_of(np.log(values)))


def test_a_search_by_chance_is_as_good_as_its_density_says() -> None:
    found = search(np.random.default_rng(1).random(6000), np.random.default_rng(2), trials=10, searches=40)
    assert found is not None
    assert found.chance.shape == (40, 10)
    # a random subset of n numbers of 1 to 100 has a sum with the variance of n x² / 4: density at one sum away
    sd = math.sqrt(15 * np.mean(np.arange(1, 101) ** 2) / 4)
    miss = np.exp(-found.evaluations / (sd * math.sqrt(4 * math.pi)))
    assert (found.chance == 0).mean() == pytest.approx(1 - miss, abs=0.12)
    assert search(np.arange(5.0), np.random.default_rng(1), trials=10, searches=1) is None


SUBSETS = {
    "evaluations": 2100,
    "trials": 10,
    "own": 1.0,
    "chance": 1.0,
    "chance_sd": 0.2,
    "p_value": 0.5,
    "own_median": 1.0,
    "chance_median": 0.0,
    "own_solved": 0,
    "chance_solved": 1.0,
}


def test_subset_sums_are_judged_by_chance_and_by_as_many_candidates_as_were_published() -> None:
    found = concluded("subset-sum", SUBSETS)
    assert (found.code, found.value) == (NO_EVIDENCE, 1.0)
    assert {number.status for number in found.numbers.values()} == {"reproduced"}
    few = concluded("subset-sum", SUBSETS | {"evaluations": 138})
    assert {number.status for number in few.numbers.values()} == {None}
    assert concluded("subset-sum", SUBSETS | {"p_value": 0.01, "own": 0.2}).code == EVIDENCE
    assert concluded("subset-sum", {"evaluations": 0}).code == CANNOT_TELL


# ---- learning rules --------------------------------------------------------------------------------------------------


def test_uniform_hashes_teach_what_the_closed_form_says() -> None:
    rgba = np.random.default_rng(4).random((100_000, 4))
    found = updates(rgba, 5, 0.3, 0.5)
    assert expected_update(0.3, 0.5) == pytest.approx(0.05)
    assert found.mean() == pytest.approx(0.05, abs=4 * found.std() / found.size**0.5)
    assert energies(rgba, 5).std() == pytest.approx(math.sqrt(5 / 12), rel=0.02)


PLASTICITY = {
    "batches": 300,
    "update": 0.05,
    "update_sd": 0.0357,
    "random_update": 0.051,
    "random_update_sd": 0.0357,
    "expected_update": 0.05,
    "layer_update": 0.0,
    "layer_update_sd": 0.0065,
    "energy_sd": 0.645,
    "random_energy_sd": 0.645,
    "p_update": 0.6,
    "p_energy": 0.6,
}


def test_a_weight_that_grows_with_chance_is_no_evidence() -> None:
    found = concluded("plasticity", PLASTICITY)
    assert found.code == NO_EVIDENCE
    assert found.numbers["C35"].value == pytest.approx(1.5)
    assert [found.numbers[name].status for name in ("C35", "C36", "C40")] == [
        "reproduced",
        "reproduced",
        "not reproduced",
    ]
    taught = concluded("plasticity", PLASTICITY | {"update": 0.2, "p_update": 1e-9, "energy_sd": 0.16})
    assert taught.code == EVIDENCE
    assert [taught.numbers[name].status for name in ("C35", "C40")] == ["not reproduced", "reproduced"]
    assert concluded("plasticity", {"batches": 3}).code == CANNOT_TELL


# ---- alarms ----------------------------------------------------------------------------------------------------------


@pytest.mark.costly
@pytest.mark.parametrize("name", ["hamming-diffusion", "subset-sum", "share-rate", "plasticity"])
def test_a_few_runs_with_nothing_planted(name: str) -> None:
    codes = [say(name, {}, seed)[0] for seed in range(50_000, 50_006)]
    assert Alarms(name, {}, 6, codes.count(EVIDENCE)).holds
    assert codes.count(NO_EVIDENCE) >= 4


# ---- what jobs carry -------------------------------------------------------------------------------------------------


def spread(arm: str, cv: float, n: int = 1500) -> dict[str, Any]:
    return {"input": arm, "n": n, "mean_ms": 100.0, "cv": cv, "log_error": n**-0.5}


def test_published_spreads_are_found_and_equal_ones_are_not() -> None:
    alike = concluded("input-structure", *(spread(arm, 0.8) for arm in ("idle", "chaos", "structure")))
    assert alike.code == NO_EVIDENCE
    assert alike.value == pytest.approx(0.0, abs=1e-12)
    assert alike.numbers["C31"].status == "not reproduced"
    apart = concluded(
        "input-structure", spread("idle", 1.47), spread("chaos", 0.56), spread("structure", 0.74)
    )
    assert (apart.code, apart.numbers["C31"].status) == (EVIDENCE, "reproduced")
    few = concluded(
        "input-structure", {"input": "idle", "n": 9}, spread("chaos", 1.0), spread("structure", 1.0)
    )
    assert few.code == CANNOT_TELL


def test_the_kinds_of_input_have_one_mean() -> None:
    for arm in ("idle", "chaos", "structure"):
        symbols = symbols_of(arm, 8000, np.random.default_rng(6))
        assert symbols.mean() == pytest.approx(0.5, abs=0.02)
        assert symbols.min() >= 0
        assert symbols.max() < 1
    # the logistic map at 4 has the arcsine law, variance 1/8
    assert symbols_of("chaos", 8000, np.random.default_rng(6)).var() == pytest.approx(1 / 8, rel=0.05)


@pytest.mark.parametrize(
    ("planted", "effect"), [({}, {}), ({"input": 100.0}, {}), ({"thermal": 100.0}, {"thermal": 100.0})]
)
def test_what_remains_is_told_from_what_acts_at_once(
    planted: dict[str, float], effect: dict[str, float]
) -> None:
    codes = [say("thermal-ghost", planted, seed)[0] for seed in range(60_000, 60_012)]
    # what acts at once and then is gone may be found as seldom as nothing
    assert Alarms("thermal-ghost", effect, 12, codes.count(EVIDENCE)).holds


def test_too_few_responses_tell_nothing() -> None:
    assert concluded("thermal-ghost", {"n": 8}).code == CANNOT_TELL


def test_the_half_life_of_an_exponential_decay_is_found() -> None:
    lags = np.arange(16)
    by_lag = 100.0 + 80.0 * 0.5 ** (lags / 2)
    assert half_life(by_lag, 100.0) == 2
    assert half_life(np.full(16, 180.0), 100.0) == 15
    symbol = np.tile(np.repeat([0.9, 0.1], 16), 5)
    response_ms = np.tile(np.concatenate([np.full(16, 180.0), by_lag]), 5)
    response_ms[16 + 2] = np.nan
    found = after_switch(symbol, response_ms, limit=0.5, length=16, near=4)
    assert found is not None
    assert np.allclose(found.by_lag, by_lag)
    assert (found.early.size, found.late.size) == (19, 20)
    assert after_switch(np.full(40, 0.1), np.full(40, 1.0), limit=0.5, length=16, near=4) is None
