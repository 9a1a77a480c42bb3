"""Symbols that drive a virtual run: each job carries its own, feedback can be undone, planted memory is as it says."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firmware_bridge.emulator.drive import FIELDS, IDLE, ON_A_PERIOD, Drive
from firmware_bridge.emulator.effects import HEAT_AT_START, HEAT_TAU_MS, Memory
from firmware_bridge.emulator.physics import Physics
from firmware_bridge.emulator.program import Step
from firmware_bridge.emulator.virtual import VirtualConfig, run_virtual, simulate
from firmware_bridge.emulator.virtual_trace import VirtualTrace
from firmware_bridge.errors import UserError
from firmware_bridge.headers import Share, verify
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.replay import events_of
from firmware_bridge.trace.writer import TraceWriter

JOBS = 150


def symbols(n: int = JOBS, seed: int = 8) -> tuple[float, ...]:
    return tuple(np.random.default_rng(seed).random(n).tolist())


def driven(
    mode: str = "stream", *, seed: int = 1, physics: Physics | None = None, **options: object
) -> VirtualTrace:
    plants = options.pop("plants", {})
    period_s = options.pop("period_s", 0.5)
    drive = Drive(options.pop("symbols", symbols()), **options)  # type: ignore[arg-type]
    return simulate(
        VirtualConfig(
            shares=None,
            mode=mode,
            seed=seed,
            physics=physics,
            drive=drive,
            job_period_s=period_s,
            plants=plants,
        )  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("mode", ["swh", "stream"])
@pytest.mark.parametrize("field", [f for f in FIELDS if f not in ON_A_PERIOD])
@pytest.mark.parametrize("model", ["s9", "lv06"])
def test_each_job_carries_its_symbol_and_its_shares_verify(
    model: str, field: str, mode: str, tmp_path: Path
) -> None:
    config = VirtualConfig(
        model=model,
        shares=None,
        seed=2,
        mode=mode,
        job_period_s=0.5 if model == "s9" else 5.0,
        drive=Drive(symbols(40), field=field),
    )
    path = str(tmp_path / "lab.db")
    with TraceWriter(path) as writer:
        run = run_virtual(config, writer)
    reader = TraceReader(path)
    jobs = reader.dicts(run.run, "jobs")
    assert [job["symbol"] for job in jobs] == list(symbols(40))
    for job in jobs:
        sent = json.loads(job["symbol_fields"])
        assert list(sent) == [field]
        word = f"{int(job['symbol'] * 2**32):08x}"
        if field == "prevhash":
            assert job["prevhash"][:8] == sent[field] == word
        elif field == "coinbase":
            assert job["coinb1"][:8] == sent[field] == word
        elif field == "extranonce1":
            assert job["extranonce1"] == sent[field] == word
        elif field == "version_bits":
            assert (
                int(job["version"], 16)
                == 0x20000000 | int(job["symbol"] * 2**13)
                == 0x20000000 | int(sent[field], 16)
            )
        elif field == "ntime":
            time_s, sent_s = int(job["ntime"], 16), job["sent_wall_ns"] / 1e9
            assert time_s % 4096 == int(job["symbol"] * 4096)
            assert abs(time_s - sent_s) < 4096
        else:
            low = max(256.0, config.floor())
            assert (
                job["difficulty"]
                == sent[field]
                == pytest.approx(low * 8.0 ** ((int(job["symbol"] * 256) + 0.5) / 256), abs=0.5)
            )
    found = 0
    for event in events_of(reader, run.run):
        row, job_of = event.row, event.job
        assert job_of is not None
        share = Share(
            job_of.job_id, row.extranonce2 or "", row.ntime or "", row.nonce or "", row.version_bits
        )
        assert verify(job_of, share).meets_job
        found += 1
    assert found >= 20


def test_a_run_has_one_job_per_symbol_and_ends_with_them() -> None:
    handshake, stream = driven("swh"), driven("stream")
    assert handshake.job_sent_ns.size == stream.job_sent_ns.size == JOBS
    assert handshake.n == JOBS  # the answer to the last job ends the run
    np.testing.assert_allclose(np.diff(stream.job_sent_ns), 5e8, rtol=1e-6)
    assert stream.row_ns[-1] <= JOBS * 5e8
    assert stream.n > 3 * JOBS


@pytest.mark.parametrize("plants", [{}, {"thermal": 400.0}])
def test_the_feedback_is_undone_from_what_the_trace_keeps(plants: dict[str, float], tmp_path: Path) -> None:
    path = str(tmp_path / "lab.db")
    config = VirtualConfig(
        shares=None, seed=4, plants=plants, drive=Drive(symbols(400), feedback=0.25), mode="swh"
    )
    with TraceWriter(path) as writer:
        run = run_virtual(config, writer)
    reader = TraceReader(path)
    assert reader.run(run.run)["config"]["drive"]["feedback"] == 0.25
    sent = reader.columns(run.run, "jobs", ["symbol"]).values["symbol"]
    response_ns = reader.columns(run.run, "shares", ["response_ns"]).values["response_ns"].astype(float)
    heard_ns = np.concatenate([[0.0], response_ns[: sent.size - 1]])
    base = (sent - 0.25 * (heard_ns / (heard_ns + 1e9))) / 0.75
    np.testing.assert_allclose(base, symbols(400), atol=1e-12)
    assert np.std(sent - base) > 0.01


def test_a_period_cannot_be_moved_by_responses() -> None:
    one, other = driven(seed=1), driven(seed=2)
    np.testing.assert_array_equal(one.job_sent_ns, other.job_sent_ns)
    np.testing.assert_array_equal(one.symbol, other.symbol)
    assert not np.array_equal(one.row_ns[:50], other.row_ns[:50])


def heat_at(trace: VirtualTrace, when_ms: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    """The differential equation, solved job by job."""
    sent_ms = trace.job_sent_ns / 1e6
    at_send = [HEAT_AT_START]
    for before, (begin, end) in zip(trace.symbol, pairwise(sent_ms), strict=False):
        at_send.append(before + (at_send[-1] - before) * math.exp(-(end - begin) / HEAT_TAU_MS))
    newest = np.searchsorted(sent_ms, when_ms, side="right") - 1
    decay = np.exp(-(when_ms - sent_ms[newest]) / HEAT_TAU_MS)
    return np.asarray(trace.symbol[newest] + (np.array(at_send)[newest] - trace.symbol[newest]) * decay)


@pytest.mark.parametrize("mode", ["swh", "stream"])
@pytest.mark.parametrize("strength", [400.0, -300.0])
def test_planted_heat_delays_a_report_by_its_strength_per_unit(mode: str, strength: float) -> None:
    trace = driven(mode, physics=Physics.off(), plants={"thermal": strength}, symbols=symbols(1500))
    delays_ms = trace.row_ns / 1e6 - trace.row_found_ms
    found = np.argsort(trace.row_found_ms)
    expected = strength * heat_at(trace, trace.row_found_ms) + max(0.0, -strength)
    in_order = np.maximum.accumulate((trace.row_found_ms + expected)[found])  # reports leave in their order
    np.testing.assert_allclose((trace.row_found_ms + delays_ms)[found], in_order, atol=0.01)


def test_a_planted_queue_is_that_of_lindley() -> None:
    trace = driven(physics=Physics.off(), plants={"queue": 700.0}, symbols=symbols(1500))
    sent_ms, backlog = trace.job_sent_ns / 1e6, [700.0 * trace.symbol[0]]
    for symbol, (begin, end) in zip(trace.symbol[1:], pairwise(sent_ms), strict=True):
        backlog.append(max(0.0, backlog[-1] - (end - begin)) + 700.0 * symbol)
    newest = np.searchsorted(sent_ms, trace.row_found_ms, side="right") - 1
    left = np.maximum(0.0, np.array(backlog)[newest] - (trace.row_found_ms - sent_ms[newest]))
    np.testing.assert_allclose(
        trace.row_ns / 1e6, np.maximum.accumulate(trace.row_found_ms + left), atol=0.01
    )
    assert max(backlog) > 1000.0  # it does reach over several jobs


def test_in_wall_time_the_memory_obeys_the_same_equations() -> None:
    trace = driven(physics=Physics.off(), plants={"queue": 700.0}, symbols=symbols(60))
    memory, sent_ms = Memory(700.0), trace.job_sent_ns / 1e6
    for symbol, (begin, end) in zip(trace.symbol, pairwise(sent_ms), strict=False):
        memory.sent(symbol, begin)
        when = begin + 0.3 * (end - begin)
        if begin > 0.0:  # before the first job nothing was sent
            assert memory.heat(when) == pytest.approx(float(heat_at(trace, np.array([when]))[0]), abs=1e-9)
    assert memory.backlog_ms(sent_ms[-1] + 1e6) == 0.0


def held(
    field: str, model: str, steps: tuple[Step, ...], values: tuple[float, ...], **more: Any
) -> VirtualConfig:
    """A run whose settings carry the symbols."""
    period_s = steps[0].seconds
    physics = replace(more.pop("physics", Physics.of(model)), telemetry_period_s=period_s)
    drive = Drive(values, field)
    return VirtualConfig(
        model=model,
        shares=None,
        mode="stream",
        job_period_s=period_s,
        program=steps,
        drive=drive,
        physics=physics,
        **more,
    )


def test_symbols_in_the_clock_become_steps_of_a_programme(tmp_path: Path) -> None:
    values = symbols(40)
    steps = tuple(Step(3.0, frequency_mhz=400.0 + 200.0 * s) for s in values)
    config = held("frequency", "s9", steps, values)
    trace = simulate(config)
    np.testing.assert_array_equal(trace.symbol, values)
    assert np.abs(trace.job_sent_ns - 3e9 * np.arange(40)).max() < trace.tick_ns
    with TraceWriter(str(tmp_path / "lab.db")) as writer:
        run = run_virtual(config, writer)
    reader = TraceReader(str(tmp_path / "lab.db"))
    changes = [c for c in reader.dicts(run.run, "settings") if c["setting"] == "frequency_mhz"]
    np.testing.assert_allclose(
        [float(c["requested"]) for c in changes], [s.frequency_mhz for s in steps], rtol=1e-9
    )
    assert [c["wall_ns"] for c in changes] == [j["sent_wall_ns"] for j in reader.dicts(run.run, "jobs")]


def test_shares_come_at_the_clock_of_their_job_and_verify() -> None:
    values = symbols(600, seed=3)
    steps = tuple(Step(1.0, frequency_mhz=300.0 + 400.0 * s) for s in values)
    trace = simulate(held("frequency", "s9", steps, values, physics=Physics.off()))
    counts = np.bincount(trace.row_job, minlength=600)
    rate = trace.n / sum(step.frequency_mhz or 0.0 for step in steps)
    expected = rate * np.array([step.frequency_mhz for step in steps])
    # Poisson: the squared deviations over their expectation have the mean 1, and the slope on the clock is what it is
    assert ((counts - expected) ** 2 / expected).mean() == pytest.approx(1.0, abs=6 * np.sqrt(2 / 600))
    slope = np.polyfit(expected, counts, 1)
    assert slope[0] == pytest.approx(1.0, abs=0.25)
    undriven = simulate(
        VirtualConfig(shares=None, seconds=600.0, mode="stream", job_period_s=1.0, physics=Physics.off())
    )
    nominal = sum(step.frequency_mhz or 0.0 for step in steps) / 600.0 / 631.0
    assert trace.n / undriven.n == pytest.approx(nominal, abs=5.0 / np.sqrt(trace.n))


def test_a_report_under_way_outlives_the_change_of_the_clock() -> None:
    """No share is lost at the end of a step: a delay moves shares into the next one, as it does without a programme."""
    values = symbols(300)
    steps = tuple(Step(0.5, frequency_mhz=631.0) for _ in values)
    physics = replace(Physics.off(), thermal=False)
    plain, late = (
        simulate(held("frequency", "s9", steps, values, physics=physics, plants=plants, seed=2))
        for plants in ({}, {"temperature": 25.0})
    )
    assert plain.n - late.n < 0.01 * plain.n
    delay_ms = (late.row_ns / 1e6 - late.row_found_ms).mean()
    assert delay_ms > 50.0  # a tenth of a step


def test_heat_follows_the_clock_into_a_planted_delay() -> None:
    """The delay at a share is the strength times the true temperature at that reading, which lags behind the clock."""
    values = tuple(float(s) for s in np.repeat(symbols(40, seed=5), 10))
    steps = tuple(Step(1.0, frequency_mhz=400.0 + 200.0 * s) for s in values)
    trace = simulate(
        held("frequency", "lv06", steps, values, plants={"temperature": 20.0}, physics=Physics.off())
    )
    true_c = np.concatenate([course.temperature_c for course in trace.courses])
    reading = np.minimum((trace.row_found_ms / 1000.0).astype(int), true_c.size - 1)
    delay_ms = trace.row_ns / 1e6 - trace.row_found_ms
    fitted = np.polyfit(true_c[reading], delay_ms, 1)
    assert fitted[0] == pytest.approx(20.0, rel=0.05)
    lagged = np.corrcoef(true_c[1:], np.array(values)[:-1])[0, 1]
    assert lagged > 0.5


def test_a_voltage_near_the_critical_one_costs_hashes() -> None:
    values = symbols(100)
    steps = tuple(Step(20.0, core_voltage_mv=1030.0 + 270.0 * s) for s in values)
    trace = simulate(held("voltage", "lv06", steps, values))
    assert len(trace.courses) == 100
    wrong = np.array([course.wrong.mean() for course in trace.courses])
    counts = np.bincount(trace.row_job, minlength=100)
    assert 1 < (wrong > 0.05).sum() < 50
    assert counts[wrong < 0.001].mean() == pytest.approx(
        20.0 / 2.536, rel=0.1
    )  # 433.6 GH/s at difficulty 256
    expected = 20.0 / 2.536 * (1.0 - wrong[wrong > 0.05]).sum()
    assert counts[wrong > 0.05].sum() == pytest.approx(expected, abs=5.0 * np.sqrt(expected) + 3.0)


def test_a_duty_cycle_works_the_first_slots_and_idles_the_others() -> None:
    base = symbols(80)
    values = tuple(np.repeat(base, 5).tolist())
    trace = simulate(
        VirtualConfig(
            shares=None,
            mode="stream",
            job_period_s=0.25,
            drive=Drive(values, "duty", slots=5),
            physics=Physics.off(),
        )
    )
    works = (np.arange(400) % 5) < np.floor(5 * np.array(values) + 0.5)
    np.testing.assert_array_equal(trace.job_difficulty, np.where(works, 256.0, 256.0 * IDLE))
    counts = np.bincount(trace.row_job, minlength=400)
    assert counts[~works].sum() == 0
    assert counts[works].mean() == pytest.approx(0.25 / 0.0757, rel=0.1)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (VirtualConfig(drive=Drive(symbols())), "leave --shares"),
        (VirtualConfig(shares=None, drive=Drive((1.0,))), r"\[0, 1\)"),
        (VirtualConfig(shares=None, drive=Drive(())), "at least one"),
        (VirtualConfig(shares=None, drive=Drive((0.5,), field="nonce")), "coinbase"),
        (VirtualConfig(shares=None, drive=Drive((0.5,), feedback=1.0)), "feedback"),
        (VirtualConfig(shares=None, mode="stream", drive=Drive((0.5,), feedback=0.5)), "handshake"),
        (VirtualConfig(shares=None, drive=Drive((0.5,), field="frequency")), "mode stream"),
        (VirtualConfig(shares=None, mode="stream", drive=Drive((0.5,), field="frequency")), "programme"),
        (VirtualConfig(shares=None, drive=Drive((0.5,) * 4, field="duty", slots=4)), "on a period"),
        (VirtualConfig(shares=None, mode="stream", drive=Drive((0.5,), field="duty")), "2 slots"),
        (held("voltage", "lv06", (Step(3.0, frequency_mhz=500.0),), (0.5,)), "core_voltage_mv"),
        (held("frequency", "s9", (Step(3.0, frequency_mhz=500.0),) * 2, (0.5,)), "1 symbols for the 2 steps"),
        (
            replace(held("frequency", "s9", (Step(3.0, frequency_mhz=500.0),), (0.5,)), job_period_s=6.0),
            "no longer and no shorter",
        ),
        (VirtualConfig(shares=None, drive=Drive((0.5,), field="difficulty", low=512, high=300)), "ascend"),
        (
            VirtualConfig(
                shares=None, mode="stream", job_period_s=0.5, drive=Drive((0.5,)), plants={"queue": 2e3}
            ),
            "grows for ever",
        ),
        (VirtualConfig(plants={"queue": -1.0}), "0 or more"),
        (VirtualConfig(plants={"queue": 300.0}), "grows for ever"),  # a handshake takes 100 ms
    ],
)
def test_what_cannot_be_sent_is_refused(config: VirtualConfig, why: str) -> None:
    with pytest.raises(UserError, match=why):
        simulate(config)
