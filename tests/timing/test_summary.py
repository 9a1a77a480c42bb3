"""The keys of ``asiclab stats --json``, published values, and runs with hardly anything in them."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from firmware_bridge.timing.run_data import MinerInfo, RunData, build_run_data
from firmware_bridge.timing.summary import plain_json, summarise

# what the tests of this file share is made by one worker
pytestmark = pytest.mark.xdist_group("summary")

STREAM_KEYS = {
    *(
        "n",
        "mean_ms",
        "cv",
        "cv2",
        "lv",
        "burstiness",
        "fano",
        "allan_factor_1s",
        "pe3",
        "pe4",
        "pe5",
        "sampen",
    ),
    *(
        "ljung_box_20",
        "ljung_box_20_p",
        "ks_exp",
        "ks_exp_p",
        "ad_exp",
        "ad_exp_p",
        "entropy_10ms",
        "oadev_16",
    ),
}
TOP_KEYS = {
    *("shares", "unique", "duplicates", "jobs", "span_s", "min_difficulty", "pareto_ks", "pareto_alpha"),
    *(
        "n_over_512",
        "n_over_1024",
        "clock_tick_ns",
        "scan",
        "hashrate",
        "verdict",
        "intervals",
        "first_share",
    ),
}
WITH_INTERVAL = STREAM_KEYS - {
    *(
        "n",
        "ljung_box_20",
        "ljung_box_20_p",
        "ks_exp",
        "ks_exp_p",
        "ad_exp",
        "ad_exp_p",
    ),  # tests have a p-value instead
}
WITH_SURROGATE = {"cv2", "lv", "memory", "pe3", "pe4", "pe5", "sampen", "oadev_16", "dfa", "lyapunov"}


@pytest.fixture(scope="module")
def stats(recording: RunData) -> dict[str, Any]:
    return summarise(recording, seed=1).to_json()


def random_run(n: int, miners: int = 1, seed: int = 0) -> RunData:
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.exponential(5e7, n)).astype(np.int64)
    return build_run_data(
        run_id="random",
        kind="live",
        time_ns=times,
        time_source="kernel",
        miner=rng.integers(1, miners + 1, n),
        job=np.arange(n) // 2 + 1,
        response_ns=rng.exponential(5e7, n),
        difficulty=128.0 / rng.random(n),
        miners={m: MinerInfo(f"worker{m}", None, None, 1.0, 128.0) for m in range(1, miners + 1)},
        clock_tick_ns=1,
    )


def test_values_of_the_recording(stats: dict[str, Any]) -> None:
    """Statistics.md §7, to the digits given there."""
    assert (stats["shares"], stats["unique"], stats["duplicates"], stats["jobs"]) == (2588, 2546, 42, 2325)
    assert stats["span_s"] == pytest.approx(251.558534, abs=5e-7)
    stream = stats["intervals"]
    assert stream["n"] == 2587
    assert stream["mean_ms"] == pytest.approx(97.23948, abs=5e-6)
    assert stream["cv"] == pytest.approx(0.826902, abs=5e-7)
    assert stream["cv2"] == pytest.approx(0.840075, abs=5e-7)
    assert stream["lv"] == pytest.approx(0.747451, abs=5e-7)
    assert stats["n_over_512"] == 1304
    assert stats["median_difficulty"] == pytest.approx(515.92334, abs=5e-6)
    assert stats["min_difficulty"] >= 256
    assert stats["first_share"]["n"] == 2325


def test_every_key_is_there_and_every_value_is_json(stats: dict[str, Any]) -> None:
    json.dumps(stats, allow_nan=False)
    assert set(stats) >= TOP_KEYS
    for name in ("intervals", "first_share"):
        stream = stats[name]
        assert set(stream) >= STREAM_KEYS
        assert set(stream["fano"]) == set(stream["fano_ci"]) == {"0.25", "1", "5"}
        assert all(stream[key] is not None for key in STREAM_KEYS)
        for key in WITH_INTERVAL:
            pairs = stream[f"{key}_ci"].values() if key == "fano" else [stream[f"{key}_ci"]]
            values = stream[key].values() if key == "fano" else [stream[key]]
            for (low, high), value in zip(pairs, values, strict=True):
                assert low < value < high, key
        for key in WITH_SURROGATE:
            found = stream[f"{key}_surrogate"]
            assert found["kind"] == "shuffle"
            assert found["low"] <= found["mean"] <= found["high"]
            assert found["value"] == pytest.approx(stream[key])
    assert {"chips", "cores", "counter_max", "slope_ms", "intercept_ms", "counter_ms", "r2"} <= set(
        stats["scan"]
    )
    assert set(stats["hashrate"]) == {"capacity_ths", "naive_ths", "duty"}
    assert {"code", "text", "null", "p_value", "explained_by", "detectable"} <= set(stats["verdict"])


def test_what_the_recording_says(stats: dict[str, Any]) -> None:
    stream = stats["intervals"]
    assert stream["cv_ci"][1] < 1.0  # under-dispersed: not Poisson in wall time
    assert stream["ks_exp_p"] == stream["ad_exp_p"] == pytest.approx(0.001)
    assert stream["fano_ci"]["1"][1] < 1.0
    low, high = stream["lyapunov_surrogate"]["low"], stream["lyapunov_surrogate"]["high"]
    assert low > 0.15  # what shuffles show is no chaos
    assert low - 0.01 < stream["lyapunov"] < high + 0.01
    assert stats["pareto_alpha_ci"][0] < 1.0 < stats["pareto_alpha_ci"][1]
    assert stats["clock_tick_ns"] == 100
    assert stats["clock_tick_estimated"] is True
    assert stream["clock_coarse"] is False


def test_equal_seeds_give_equal_results(recording: RunData) -> None:
    part = recording.select(slice(0, 250))

    def run(seed: int) -> str:
        return json.dumps(summarise(part, seed=seed, resamples=100, surrogates=5, monte_carlo=19).to_json())

    assert run(3) == run(3)
    assert run(3) != run(4)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 5, 30, 130])
@pytest.mark.parametrize("miners", [1, 2])
def test_short_runs_say_what_they_cannot_say(n: int, miners: int) -> None:
    result = summarise(random_run(n, miners), surrogates=19, monte_carlo=99).to_json()
    json.dumps(result, allow_nan=False)
    assert result["shares"] == n
    for name in ("intervals", "first_share"):
        assert set(result[name]) >= STREAM_KEYS
        assert any("no verdict" in note for note in result[name]["notes"])
    if n <= 2:
        assert result["intervals"]["lv"] is None
        assert result["intervals"]["sampen"] is None
    assert result["verdict"]["code"] == "cannot_tell"


def test_runs_of_which_only_arrival_times_are_known() -> None:
    times = np.cumsum(np.random.default_rng(1).exponential(1e8, 300)).astype(np.int64)
    data = build_run_data(run_id="t", kind="recorded", unverified=True, time_ns=times, time_source="wall")
    result = summarise(data, surrogates=9, monte_carlo=99).to_json()
    assert result["intervals"]["n"] == 299
    assert result["first_share"]["n"] == 0
    assert result["unique"] is result["jobs"] is result["min_difficulty"] is result["pareto_alpha"] is None
    assert any("nothing was verified" in note for note in result["notes"])


@pytest.mark.parametrize("values", [np.zeros(200, np.int64), np.arange(200) * 10**8])
def test_intervals_that_do_not_vary(values: np.ndarray[Any, Any]) -> None:
    data = build_run_data(run_id="t", kind="live", time_ns=values, time_source="kernel", clock_tick_ns=1)
    result = summarise(data, surrogates=9, monte_carlo=99, verdict=False).to_json()
    json.dumps(result, allow_nan=False)
    assert result["intervals"]["memory"] is None
    assert result["intervals"]["models"] == []


def test_several_miners_stand_alone_and_together() -> None:
    data = random_run(900, miners=3)
    result = summarise(data, surrogates=9, monte_carlo=99, verdict=False).to_json()
    assert set(result["miners"]) == {"1", "2", "3"}
    for number, own in result["miners"].items():
        alone = summarise(data.select(data.miner == int(number)), confidence=False).to_json()
        assert own["intervals"]["lv"] == pytest.approx(alone["intervals"]["lv"])
        assert own["shares"] == alone["shares"]
    assert result["intervals"]["n"] == 900 - 3
    pairs = sum(own["intervals"]["n"] - 1 for own in result["miners"].values())
    pooled = sum(own["intervals"]["cv2"] * (own["intervals"]["n"] - 1) for own in result["miners"].values())
    assert result["intervals"]["cv2"] == pytest.approx(pooled / pairs)
    assert any("Several miners" in note for note in result["intervals"]["notes"])


def test_a_coarse_clock_is_flagged() -> None:
    data = replace(random_run(300), clock_tick_ns=10_000_000)  # a fifth of the mean interval
    result = summarise(data, confidence=False).to_json()
    assert result["intervals"]["clock_coarse"] is True
    assert any("tick" in note for note in result["intervals"]["notes"])


def test_difficulties_are_held_against_what_the_job_asked_for() -> None:
    data = random_run(4000)
    asked = replace(data, job_difficulty=np.full(4000, 512.0), difficulty=4 * data.difficulty)
    assert summarise(asked, confidence=False).to_json()["pareto_alpha"] == pytest.approx(1.0, abs=0.05)
    unknown = replace(data, miners={1: MinerInfo("w", None, None, 1.0, None)})
    assert summarise(unknown, confidence=False).to_json()["pareto_alpha"] is None


@pytest.mark.costly
def test_a_long_run_uses_stated_blocks() -> None:
    data = random_run(24_000)
    result = summarise(data, resamples=40, monte_carlo=19, surrogates=1, verdict=False).to_json()["intervals"]
    block = result["blocks"][0]
    assert block["n"] == 20_000
    assert 0 <= block["first"] <= 3_999
    assert result["n"] == 23_999
    assert result["sampen"] is not None
    assert any("20000" in note for note in result["notes"])
    low, high = result["cv_ci"]
    assert low < result["cv"] < high


@pytest.mark.costly
def test_a_million_shares_without_confidence_take_seconds() -> None:
    data = random_run(1_000_000)
    took = []
    while not took or (took[-1] >= 5.0 and len(took) < 4):  # again where others keep this machine busy
        start = time.process_time()
        result = summarise(data, confidence=False).to_json()
        took.append(time.process_time() - start)
    assert min(took) < 5.0, took
    for key in ("n", "mean_ms", "cv", "cv2", "lv", "fano", "ks_exp"):
        assert result["intervals"][key] is not None
    assert result["verdict"] is None


def test_nan_and_infinity_never_reach_json() -> None:
    found = plain_json(
        {"a": np.float64("nan"), "b": [np.inf, np.int64(3)], 4: (np.bool_(True), np.arange(2))}
    )
    assert found == {"a": None, "b": [None, 3], "4": [True, [0, 1]]}
