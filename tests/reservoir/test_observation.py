"""What a step may know, against a run worked out by hand, and never anything from after its end."""

from __future__ import annotations

import time
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.emulator.virtual import VirtualConfig, simulate
from firmware_bridge.errors import UserError
from firmware_bridge.timing.run_data import FloatArray
from reservoir.observation import DEFAULT, KINDS, Observation, observe, without_input
from reservoir.steps import Jobs, Readings, Shares, Steps, positions, steps_of

MS = 1_000_000
NAN = np.nan

# periods end at 100, 200, 300 and 400 ms; the share at 150 is a late one of step 0, step 2 has none
JOBS = Jobs(
    np.array([0, 100, 200, 300, 400]) * MS,
    np.array([0.1, 0.2, 0.3, 0.4, np.nan]),
    np.array([256.0, 300.0, 256.0, 512.0, 256.0]),
)
SHARES = Shares(
    job=np.array([0, 0, 0, 1, 3]),
    time_ns=np.array([30, 40, 150, 160, 390]) * MS,
    chip=np.array([0, 2, 2, 1, 0]),
    core=np.array([0, 63, 64, 127, 5]),
)
READINGS = {
    "temperature_c": Readings(np.array([150, 200, 201, 900]) * MS, np.array([50.0, 51.0, 52.0, 99.0]))
}
STEPS = steps_of(JOBS, SHARES, telemetry=READINGS)

KNOWN: dict[str, list[list[float]]] = {
    "response": [[30, 60, NAN, 90]],
    "log_response": [[np.log(31), np.log(61), NAN, np.log(91)]],
    "arrival": [[30, 150, NAN, 90]],
    "mean_response": [[35, 105, NAN, 90]],
    "interval": [[NAN, 10, NAN, 230]],
    "count": [[2, 2, 0, 1]],
    "count_windows:2": [[2, 1, 0, 0], [0, 1, 0, 1]],
    "mean_interval": [[10, 60, NAN, 230]],
    "last": [[60, 40, NAN, 10]],
    "chip": [[1, 0, 0, 1], [0, 1, 0, 0], [1, 1, 0, 0]],
    "core:2": [[2, 0, 0, 1], [0, 2, 0, 0]],
    "chip_arrival": [[30, NAN, NAN, 90], [NAN, 60, NAN, NAN], [40, 50, NAN, NAN]],
    "core_arrival:2": [[30, NAN, NAN, 90], [NAN, 50, NAN, NAN]],
    "nodes:1": [[30, 60, NAN, 90], [2, 2, 0, 1]],
    "telemetry:temperature_c": [[NAN, 51, 52, 52]],
    "period": [[100, 100, 100, 100]],
    "difficulty": [[256, 300, 256, 512]],
}


def values(observation: Observation, name: str) -> FloatArray:
    (index,) = [i for i, column in enumerate(observation.columns) if column.name == name]
    return observation.states[:, index]


@pytest.mark.parametrize("what", KNOWN)
def test_each_kind_on_a_run_by_hand(what: str) -> None:
    expected = np.array(KNOWN[what]).T
    observation = observe(STEPS, [what], indicators=True, train=slice(0, 4))
    n = expected.shape[1]
    assert observation.states.shape == (4, 2 * n)
    assert np.array_equal(observation.states[:, n:], np.isnan(expected))
    means = np.nanmean(expected, axis=0)
    assert observation.states[:, :n] == pytest.approx(np.where(np.isnan(expected), means, expected))
    assert [column.source for column in observation.columns] == [what] * (2 * n)
    missing = {
        c.name: int(k)
        for c, k in zip(observation.columns[:n], np.isnan(expected).sum(axis=0), strict=True)
        if k
    }
    assert observation.filled == missing


def test_every_kind_is_checked_above() -> None:
    assert {what.partition(":")[0] for what in KNOWN} == set(KINDS)


def test_virtual_nodes() -> None:
    steps = steps_of(JOBS, SHARES, slots=2)
    observation = observe(steps, ["nodes:2", "response", "count"], train=slice(0, 2))
    assert values(observation, "response[0]").tolist() == [30, 30]  # slot 0 of step 1 had no share
    assert values(observation, "response[1]").tolist() == [60, 90]
    assert values(observation, "count[0]").tolist() == [2, 0]  # the late share arrived in the time of slot 1
    assert values(observation, "count[1]").tolist() == [2, 1]
    assert values(observation, "missing:response[0]").tolist() == [0, 1]
    assert values(observation, "response").tolist() == [30, 90]
    assert values(observation, "count").tolist() == [4, 1]


def test_what_is_missing_is_filled_by_the_mean_of_what_was_before() -> None:
    observation = observe(STEPS, DEFAULT)
    names = [column.name for column in observation.columns]
    assert names == [*DEFAULT, "missing:response", "missing:log_response", "missing:interval"]
    assert values(observation, "response").tolist() == [30, 60, 45, 90]
    assert values(observation, "interval").tolist() == [0, 10, 10, 230]
    assert values(observation, "missing:interval").tolist() == [1, 0, 1, 0]
    assert observation.missing.tolist() == [False, False, True, False]
    assert observation.filled == {"response": 1, "log_response": 1, "interval": 2}
    assert observation.left_out == STEPS.left_out
    trained = observe(STEPS, ["response"], train=slice(1, 4), indicators=False)
    assert trained.states[:, 0].tolist() == [30, 60, 75, 90]
    with pytest.raises(UserError, match="no row to train on"):
        observe(STEPS, train=slice(4, 4))


def test_a_share_in_the_tick_of_the_next_job_came_before_it() -> None:
    steps = steps_of(JOBS, Shares(np.array([0, 1]), np.array([100, 200]) * MS))
    observation = observe(steps, ["response", "count", "last", "count_windows:4"], indicators=False)
    assert observation.states[:2].tolist() == [[100, 1, 0, 0, 0, 0, 1], [100, 1, 0, 0, 0, 0, 1]]


def test_a_share_after_the_end_of_its_step_is_not_its_response() -> None:
    steps = steps_of(JOBS, Shares(np.array([0, 1]), np.array([130, 160]) * MS))
    observation = observe(steps, ["response"])
    assert observation.missing.tolist() == [True, False, True, True]
    assert values(observation, "response").tolist() == [0, 60, 60, 60]


def test_lags_repeat_earlier_rows_and_say_so() -> None:
    observation = observe(STEPS, ["response", "period"], lags=2)
    base = observe(STEPS, ["response", "period"])
    width = len(base.columns)
    assert observation.states.shape == (4, 3 * width)
    for lag in range(3):
        rows = np.maximum(np.arange(4) - lag, 0)
        assert np.array_equal(observation.states[:, lag * width : (lag + 1) * width], base.states[rows])
        assert {c.lag for c in observation.columns[lag * width : (lag + 1) * width]} == {lag}
    assert observation.columns[width].name == "response@1"


def test_the_difficulty_is_left_out_where_it_tells_the_input() -> None:
    observation = observe(STEPS, ["difficulty", "response"], lags=1)
    kept = without_input(observation)
    assert [c.name for c in kept.columns] == [
        c.name for c in observation.columns if "difficulty" not in c.name
    ]
    assert kept.states.shape == (4, len(kept.columns))
    assert values(kept, "response@1").tolist() == [30, 30, 60, 45]
    assert "response" in kept.filled
    constant = steps_of(replace(JOBS, difficulty=np.full(5, 256.0)), SHARES)
    assert without_input(observe(constant, ["difficulty"])).states.shape == (4, 1)


def test_what_makes_no_sense_is_refused() -> None:
    bare = steps_of(JOBS, replace(SHARES, chip=None, core=None))
    for what, match in (
        ("answer", "no observation 'answer'"),
        ("response:2", "takes nothing after it"),
        ("count_windows", "count_windows:K"),
        ("core:500", "from 1 to 128"),
        ("nodes:3", "1 slots"),
        ("telemetry:power_w", "no telemetry 'power_w'; it has none"),
        ("chip", "do not tell the chip"),
    ):
        with pytest.raises(UserError, match=match):
            observe(bare, [what])
    with pytest.raises(UserError, match="each once"):
        observe(bare, ["count", "count"])
    with pytest.raises(UserError, match="0 or more"):
        observe(bare, lags=-1)


EVERYTHING = tuple(what for what in KNOWN if not what.startswith("nodes"))


def drawn(rng: np.random.Generator) -> tuple[Jobs, Shares, dict[str, Readings]]:
    """Coarse times, so that ties are common; chip 5 always there, for the columns do not hang on chance."""
    sent = np.cumsum(rng.integers(1, 6, 30))
    job = np.sort(rng.integers(0, 30, 60))
    job[0] = 0
    chip = rng.integers(0, 6, 60)
    chip[0] = 5
    times = np.sort(rng.integers(0, 160, 20))
    return (
        Jobs(sent, rng.random(30), rng.integers(1, 9, 30).astype(float)),
        Shares(job, sent[job] + rng.integers(1, 12, 60), chip=chip, core=rng.integers(0, 128, 60)),
        {"temperature_c": Readings(times, rng.random(20))},
    )


@given(seed=st.integers(0, 10_000), slots=st.sampled_from([1, 2]), cut=st.integers(0, 13))
def test_changing_what_comes_later_changes_no_row_before(seed: int, slots: int, cut: int) -> None:
    rng = np.random.default_rng(seed)
    jobs, shares, telemetry = drawn(rng)
    what = (*EVERYTHING, f"nodes:{slots}")
    before = steps_of(jobs, shares, slots=slots, telemetry=telemetry)
    end_ns = int(before.end_ns[cut])
    # other shares, readings, symbols, difficulties and send times from the end of that step on
    later = shares.time_ns > end_ns
    own = jobs.sent_ns[shares.job]
    assert shares.chip is not None
    moved = replace(
        shares,
        time_ns=np.where(later, np.maximum(end_ns, own) + rng.integers(1, 50, 60), shares.time_ns),
        chip=np.where(later, rng.integers(0, 6, 60), shares.chip),
    )
    fewer = rng.random(60) < np.where(later, 0.5, 1.1)
    moved = Shares(moved.job[fewer], moved.time_ns[fewer], chip=moved.chip[fewer], core=shares.core[fewer])  # type: ignore[index]
    after_cut = np.arange(30) > (cut + 1) * slots
    stretched = np.where(after_cut, jobs.sent_ns + 7, jobs.sent_ns)
    other = Jobs(
        stretched,
        np.where(after_cut, 0.5, jobs.symbol),
        np.where(after_cut, 3.0, jobs.difficulty),
    )
    readings = telemetry["temperature_c"]
    warm = Readings(readings.time_ns, np.where(readings.time_ns > end_ns, 99.0, readings.value))
    after = steps_of(other, moved, slots=slots, telemetry={"temperature_c": warm})
    if shares.time_ns[0] > end_ns:  # the share that keeps chip 5 among the columns
        return
    first, second = (observe(steps, what, lags=2, indicators=True) for steps in (before, after))
    assert [c.name for c in first.columns] == [c.name for c in second.columns]
    assert np.array_equal(first.states[: cut + 1], second.states[: cut + 1])
    assert np.array_equal(first.missing[: cut + 1], second.missing[: cut + 1])
    assert np.isfinite(first.states).all()


def plainly(steps: Steps) -> FloatArray:
    """The default kinds once more, step by step."""
    rows = []
    for t in range(len(steps)):
        start, end = steps.sent_ns[t, 0], steps.end_ns[t]
        own = [i for i in range(steps.time_ns.size) if steps.step[i] == t and steps.time_ns[i] <= end]
        row = [NAN, NAN, NAN, 0.0]
        if own:
            ms = steps.response_ns[own[0]] / 1e6
            row[:2] = [ms, np.log1p(ms)]
            if own[0] > 0:
                row[2] = (steps.time_ns[own[0]] - steps.time_ns[own[0] - 1]) / 1e6
        row[3] = float(((steps.time_ns > start) & (steps.time_ns <= end)).sum())
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize("mode", ["swh", "stream"])
def test_a_virtual_run_against_the_plain_way(mode: str) -> None:
    config = VirtualConfig(shares=300, seed=9, mode=mode, job_period_s=0.15)
    trace = simulate(config)
    chip, core = positions(trace.to_run_data()) or (None, None)
    steps = steps_of(
        Jobs(trace.job_sent_ns, trace.symbol),
        Shares(trace.row_job, trace.row_ns, duplicate=trace.duplicate, chip=chip, core=core),
    )
    expected = plainly(steps)
    observation = observe(steps, indicators=True, train=slice(0, len(steps)))
    known = ~np.isnan(expected)
    assert observation.states[:, :4][known] == pytest.approx(expected[known], rel=1e-12)
    assert np.array_equal(observation.states[:, 4:], ~known)
    counted = observe(steps, ["count", "count_windows:5", "chip", "core:4", "nodes:1"])
    shares = values(counted, "count")
    for kind in ("count_windows:5", "chip", "core:4"):
        columns = [i for i, c in enumerate(counted.columns) if c.source == kind]
        assert np.array_equal(counted.states[:, columns].sum(axis=1), shares)
    assert np.array_equal(values(counted, "count[0]"), shares)
    assert known[:, 0].mean() > 0.5


@pytest.mark.xdist_group("timing")
def test_3200_steps_take_milliseconds() -> None:
    rng = np.random.default_rng(1)
    sent = np.arange(3201) * 100 * MS
    job = np.sort(rng.integers(0, 3200, 6400))
    shares = Shares(
        job,
        sent[job] + rng.integers(1, 150 * MS, 6400),
        chip=rng.integers(0, 63, 6400),
        core=rng.integers(0, 128, 6400),
    )
    readings = {"temperature_c": Readings(sent, rng.random(3201))}
    steps = steps_of(Jobs(sent, rng.random(3201), np.full(3201, 256.0)), shares, telemetry=readings)
    what = [*EVERYTHING, "nodes:1"]
    spent = []
    for _ in range(5):
        start = time.process_time()
        observe(steps, what, lags=3)
        spent.append(time.process_time() - start)
    assert min(spent) < 0.15  # ten times what it takes on one core of 2026


def test_an_observation_says_what_it_holds() -> None:
    told = observe(STEPS, ["response"]).to_json()
    assert told["steps"] == 4
    assert told["missing"] == 1
    assert told["columns"][0] == {
        "name": "response", "source": "response", "lag": 0, "carries_input": False, "unit": "ms",
    }  # fmt: skip
    assert {f.name for f in fields(Observation)} - set(told) == {"states"}
