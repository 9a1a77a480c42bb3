from __future__ import annotations

import json
import math
from collections import Counter

import numpy as np
import pytest
from scan_runs import s9_run

from firmware_bridge.timing.effects_power import _round_up, detectable_strengths
from firmware_bridge.timing.run_data import RunData, build_run_data
from firmware_bridge.timing.verdict import judge


def codes(runs: list[RunData]) -> Counter[str]:
    return Counter(judge(run, seed=i).code for i, run in enumerate(runs))


def arrivals(intervals_ms: np.ndarray, *, tick_ns: int = 1, unverified: bool = True) -> RunData:
    return build_run_data(
        run_id="arrivals",
        kind="recorded",
        unverified=unverified,
        time_ns=np.cumsum(np.round(intervals_ms * 1e6).astype(np.int64)),
        time_source="wall",
        clock_tick_ns=tick_ns,
    )


def test_recording_is_explained_by_the_mechanics_of_the_miner(recording: RunData) -> None:
    verdict = judge(recording)
    assert verdict.code == "consistent"
    assert {"job dead time", "late loads after short intervals", "position in the scan"} <= set(
        verdict.explained_by
    )
    assert verdict.wall_poisson_p is not None
    assert verdict.wall_poisson_p < 0.001
    assert "Not Poisson in wall time" in verdict.text
    assert "ms per log2 of share difficulty (n = " in verdict.text
    assert verdict.p_value is not None
    assert verdict.p_value > 0.05
    assert 0 < verdict.detectable["quality_response"]["effect"] < 1
    json.dumps(verdict.to_json(), allow_nan=False)


def test_an_effect_added_to_the_recording_is_found(recording: RunData) -> None:
    shift = 0.4 * np.log2(recording.difficulty / 256)
    planted = RunData(
        **{
            **{f: getattr(recording, f) for f in recording.__dataclass_fields__},
            "since_notify_ms": recording.since_notify_ms + shift,
        }
    )
    verdict = judge(planted)
    assert verdict.code == "deviates"
    assert verdict.decided_by == "quality_response"
    effect = next(t for t in verdict.tests if t.name == "quality_response")
    assert effect.effect_ci is not None
    assert effect.effect_ci[0] < 0.45 < effect.effect_ci[1] + 0.1


@pytest.mark.parametrize("n", [0, 1, 2, 30, 300])
def test_short_runs_get_no_verdict(n: int) -> None:
    verdict = judge(s9_run(600, 1).select(slice(0, n)))
    assert verdict.code == "cannot_tell"
    assert verdict.p_value is None
    assert "Record longer" in verdict.text


def test_a_run_below_a_thousand_shares_says_so() -> None:
    verdict = judge(s9_run(800, 3))
    assert verdict.code in {"consistent", "deviates"}
    assert "Short run (800 shares" in verdict.text


def test_a_coarse_clock_gets_no_verdict() -> None:
    rng = np.random.default_rng(5)
    verdict = judge(arrivals(np.round(rng.exponential(97, 3000) / 50) * 50, tick_ns=50_000_000))
    assert verdict.code == "cannot_tell"
    assert "50 ms" in verdict.text


def test_bare_poisson_arrivals_are_consistent() -> None:
    runs = [arrivals(np.random.default_rng(s).exponential(90, 1500)) for s in range(25)]
    assert codes(runs)["consistent"] >= 20  # 99.8 % point of binomial(25, 0.95)


def test_bare_arrivals_of_a_real_miner_cannot_be_told_apart(recording: RunData) -> None:
    bare = arrivals(np.maximum(recording.interval_ms[1:], 1e-6))
    verdict = judge(bare)
    assert verdict.code == "cannot_tell"
    assert "bare arrival times" in verdict.text


def test_unknown_miner_with_a_dead_time_is_explained_and_one_with_memory_is_not() -> None:
    rng = np.random.default_rng(11)
    plain = arrivals(20 + rng.exponential(80, 2000), unverified=False)
    verdict = judge(plain)
    assert verdict.code == "consistent"
    assert verdict.explained_by == ("job dead time",)
    slow = np.repeat(rng.choice([40.0, 160.0], 200), 10)
    assert judge(arrivals(rng.exponential(slow), unverified=False)).code == "deviates"


def test_several_miners_share_the_level_and_are_named() -> None:
    a, b = s9_run(1200, 1), s9_run(700, 2, per_symbol_ms=2.0)
    joined = build_run_data(
        run_id="two",
        kind="live",
        mode="swh",
        time_ns=np.r_[a.time_ns, b.time_ns],
        time_source="kernel",
        miner=np.r_[np.full(a.n, 1), np.full(b.n, 2)],
        job=np.r_[a.job, b.job + 5000],
        response_ns=np.r_[a.response_ms, b.response_ms] * 1e6,
        since_notify_ns=np.r_[a.since_notify_ms, b.since_notify_ms] * 1e6,
        difficulty=np.r_[a.difficulty, b.difficulty],
        extranonce2=np.r_[a.extranonce2, b.extranonce2],
        nonce=np.r_[a.nonce, b.nonce],
        version_bits=np.r_[a.version_bits, b.version_bits],
        symbol=np.r_[a.symbol, b.symbol],
        miners={1: a.miners[1], 2: b.miners[1]},
        clock_tick_ns=1,
    )
    verdict = judge(joined)
    assert verdict.code == "deviates"
    assert sorted(v.code for v in verdict.miners.values()) == ["consistent", "deviates"]
    json.dumps(verdict.to_json(), allow_nan=False)


def test_no_effect_below_the_floor_of_the_host_counts() -> None:
    run = s9_run(3000, 4, noise_ms=0.05, per_symbol_ms=0.05)
    assert judge(run).code == "deviates"
    noisy = RunData(
        **{
            **{f: getattr(run, f) for f in run.__dataclass_fields__},
            "jitter_floor": {"timer_jitter_us_p99": 900.0},
        }
    )
    verdict = judge(noisy)
    assert verdict.code == "consistent"
    assert "Not counted: input_response" in verdict.text


@pytest.mark.parametrize("physics", ["on", "off"])
def test_an_ordinary_miner_rarely_deviates(physics: str) -> None:
    quiet = {"dead_ms": 0.0, "noise_ms": 0.0, "late": False} if physics == "off" else {}
    runs = [s9_run(1500, 500 + s, **quiet) for s in range(30)]  # type: ignore[arg-type]
    assert codes(runs)["deviates"] <= 5  # 99.6 % point of binomial(30, 0.05)


@pytest.mark.parametrize(
    ("kind", "argument"),
    [("input", "per_symbol_ms"), ("temperature", "per_degree_ms"), ("quality", "per_quality_ms")],
)
def test_an_effect_of_the_detectable_size_is_found(kind: str, argument: str) -> None:
    strength = detectable_strengths([s9_run(1500, s) for s in range(4)])[kind]
    assert strength is not None
    runs = [s9_run(1500, 900 + s, **{argument: strength}) for s in range(16)]  # type: ignore[arg-type]
    assert codes(runs)["deviates"] >= 11  # 99.9 % point of binomial(16, 0.9)


def test_memory_in_the_work_and_rate_effects_are_found() -> None:
    assert judge(s9_run(2500, 8, memory=0.25)).decided_by == "work_memory"
    assert judge(s9_run(2500, 8, work_per_symbol=0.3)).decided_by == "input_work"


@pytest.mark.parametrize(
    ("value", "expected"), [(0.1234, 0.13), (0.12, 0.12), (1234.0, 1300.0), (9.91, 10.0), (0.0, 0.0)]
)
def test_strengths_are_rounded_up(value: float, expected: float) -> None:
    assert math.isclose(_round_up(value), expected)
