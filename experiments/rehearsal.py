"""The Sentinel on the emulator's bench, in virtual time: every fault, with the truth beside what it saw.

The very same code that guards a real device; only the device, the clock and the sleep are others. Beside each run with
the Sentinel stand two without: the device left to its firmware, and its controller without any guard, so that a fault
that would have done no harm is seen to be harmless.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from experiments.rehearsal_outcome import (
    FAULTS,
    PERIOD_S,
    SCENARIOS,
    TARGETS,
    Outcome,
    Recorder,
    Scenario,
    Trace,
    judge,
)
from firmware_bridge.devices.telemetry import Telemetry
from firmware_bridge.emulator.bench import MODELS, Bench
from firmware_bridge.errors import DeviceError, LabError, UserError
from firmware_bridge.sentinel.config import SentinelConfig
from firmware_bridge.sentinel.sentinel import Sentinel

FINE_S = 1.0
"""Step at which the truth is looked at for a while after anything happened; the die follows within a second or two."""
FINE_FOR_S = 300.0
BASELINE_S = 2 * 3600.0
"""So long a run without Sentinel is followed: harm comes within minutes."""


def rehearse(
    models: Sequence[str],
    scenarios: Sequence[str],
    *,
    hours: float,
    seed: int,
    baselines: bool = True,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Run every scenario on every model.

    Args:
        models: of :data:`MODELS`.
        scenarios: of :data:`SCENARIOS`.
        hours: of virtual time, each.
        seed: of the noise.
        baselines: also run each fault without the Sentinel.
        on_outcome: called after each.

    Raises:
        UserError: if there is no such model or scenario, or the time is too short for it.
    """
    for model in models:
        if model not in MODELS:
            raise UserError(f"there is no bench for {model!r}; there is one for {', '.join(MODELS)}")
    for name in scenarios:
        if name not in SCENARIOS:
            raise UserError(f"there is no fault {name!r}; there are {', '.join(SCENARIOS)} and all")
    if not 0.5 <= hours <= 24 * 31:
        raise UserError(f"--hours {hours:g}: a rehearsal takes from half an hour to a month of virtual time")
    outcomes = []
    for model in models:
        for name in scenarios:
            streams = np.random.SeedSequence([seed, list(MODELS).index(model), FAULTS.index(name)]).spawn(3)
            outcome = asyncio.run(
                _with_sentinel(model, SCENARIOS[name], hours, np.random.default_rng(streams[0]))
            )
            if baselines:
                span_s = min(hours * 3600.0, outcome.fault_s + BASELINE_S)
                outcome.left_alone_c, outcome.alone = asyncio.run(
                    _left_alone(model, SCENARIOS[name], hours, span_s, np.random.default_rng(streams[1]))
                )
                outcome.pid_alone_c = asyncio.run(
                    _pid_alone(model, SCENARIOS[name], hours, span_s, np.random.default_rng(streams[2]))
                )
            outcomes.append(outcome)
            on_outcome(outcome)
    return outcomes


def fault_time_s(hours: float) -> float:
    """When a fault is planted: after an hour, or a third of a shorter run."""
    return float(min(3600.0, hours * 1200.0))


def _plant(bench: Bench, faults: dict[str, Any]) -> None:
    for name, value in faults.items():
        if name == "voltage_droop_mv":
            value = value * bench.thermal.facts.core_voltage_mv
        setattr(bench.faults, name, value)


def _bench(model: str, scenario: Scenario, rng: np.random.Generator) -> Bench:
    bench = Bench(model, rng)
    if scenario.name == "cold-start":
        bench.thermal.temperature_c = bench.thermal.ambient_c
    return bench


class _Schedule:
    """What happens when, in one run."""

    def __init__(self, bench: Bench, scenario: Scenario, hours: float) -> None:
        self._bench = bench
        fault_s = fault_time_s(hours)
        later_s = fault_s + min(3600.0, (hours * 3600.0 - fault_s) / 3)
        self._due = [(fault_s, scenario.faults), (later_s, scenario.then)]
        self.lively_until_s = FINE_FOR_S

    def advance(self, seconds: float) -> float:
        """Let time pass, with what is due; the hottest truth in it."""
        bench = self._bench
        hottest, left_s = -np.inf, seconds
        while left_s > 1e-9:
            now_s = bench.clock.monotonic_ns() / 1e9
            while self._due and now_s >= self._due[0][0]:
                _plant(bench, self._due.pop(0)[1])
                self.lively_until_s = now_s + FINE_FOR_S
            step_s = min(FINE_S if now_s < self.lively_until_s else seconds, left_s)
            bench.advance(step_s)
            hottest = max(hottest, bench.thermal.temperature_c)
            left_s -= step_s
        return hottest


async def _read(bench: Bench) -> Telemetry | None:
    try:
        return await bench.device.read_telemetry()
    except DeviceError:
        return None


def _row(bench: Bench, reading: Telemetry | None, target_c: float) -> tuple[float, ...]:
    heat = bench.thermal
    sensed_c = None if reading is None else reading.temperature_c
    clock = heat.frequency_mhz if heat.running and not heat.hung else 0.0
    return (
        bench.clock.monotonic_ns() / 1e9,
        heat.temperature_c,
        np.nan if sensed_c is None else sensed_c,
        heat.power_w,
        heat.fan_percent if not heat.fan_failed else 0.0,
        clock,
        target_c,
    )


async def _with_sentinel(model: str, scenario: Scenario, hours: float, rng: np.random.Generator) -> Outcome:
    bench = _bench(model, scenario, rng)
    end_s, fault_s = hours * 3600.0, fault_time_s(hours)
    target_c = TARGETS[model][0]
    journal = Recorder()
    sentinel = Sentinel(
        bench.device, SentinelConfig(target_c=target_c, period_s=PERIOD_S), journal, inline=True
    )
    outcome = Outcome(
        model,
        scenario.name,
        hours,
        bench.device.limits.max_temperature_c,
        sentinel.trip.trip_c,
        fault_s=fault_s,
    )
    outcome.journal = journal
    schedule = _Schedule(bench, scenario, hours)
    watched = _Watched(bench, schedule)
    bench.device.sleep = watched.sleep
    await sentinel.start()
    steps = _steps(scenario.name, model, fault_s, end_s)
    while (now_s := bench.clock.monotonic_ns() / 1e9) < end_s:
        while steps and now_s >= steps[0][0]:
            sentinel.retarget(steps.pop(0)[1])
            schedule.lively_until_s = now_s + FINE_FOR_S
        reading = await _read(bench)
        held_c = sentinel.hold.target_c if sentinel.hold is not None else np.nan
        outcome.trace.rows.append(_row(bench, reading, held_c))
        before = len(journal.actions)
        await sentinel.step(reading)
        if len(journal.actions) != before:
            schedule.lively_until_s = max(schedule.lively_until_s, now_s + 6 * FINE_S)
        await watched.sleep(PERIOD_S)
    outcome.max_true_c = watched.hottest_c
    outcome.actions = sentinel.actions
    outcome.mode = str(sentinel.mode)
    outcome.hashed = bench.thermal.hashed_s / end_s
    judge(outcome, scenario)
    return outcome


def _steps(name: str, model: str, fault_s: float, end_s: float) -> list[tuple[float, float]]:
    """When the target becomes what."""
    target_c, other_c = TARGETS[model]
    if name == "step":
        return [(fault_s, other_c), (fault_s + (end_s - fault_s) / 2, target_c)]
    if name == "sensor-stuck":
        # it sticks below the target, so that whoever believes it heats and heats
        return [(0.0, other_c), (fault_s + PERIOD_S, target_c)]
    if name == "cold-start" and model == "lb-box":
        return [(0.0, other_c)]  # the higher one is never reached
    return []


class _Watched:
    """A sleep that sees the hottest truth while it lasts."""

    def __init__(self, bench: Bench, schedule: _Schedule) -> None:
        self.hottest_c = bench.thermal.temperature_c
        self._schedule = schedule

    async def sleep(self, seconds: float) -> None:
        self.hottest_c = max(self.hottest_c, self._schedule.advance(seconds))


async def _left_alone(
    model: str, scenario: Scenario, hours: float, span_s: float, rng: np.random.Generator
) -> tuple[float, Trace]:
    """The device with the settings that it came with."""
    bench = _bench(model, scenario, rng)
    schedule, trace = _Schedule(bench, scenario, hours), Trace()
    hottest = bench.thermal.temperature_c
    while bench.clock.monotonic_ns() / 1e9 < span_s:
        trace.rows.append(_row(bench, None, np.nan))
        hottest = max(hottest, schedule.advance(PERIOD_S))
    return hottest, trace


async def _pid_alone(
    model: str, scenario: Scenario, hours: float, span_s: float, rng: np.random.Generator
) -> float | None:
    """The controller of the Sentinel without limits, watchdog and safe point: it believes what it reads."""
    bench = _bench(model, scenario, rng)
    sentinel = Sentinel(bench.device, SentinelConfig(target_c=TARGETS[model][0]), Recorder(), inline=True)
    await sentinel.start()
    hold = sentinel.hold
    assert hold is not None
    schedule = _Schedule(bench, scenario, hours)
    watched = _Watched(bench, schedule)
    bench.device.sleep = watched.sleep
    started = False
    steps = _steps(scenario.name, model, fault_time_s(hours), hours * 3600.0)
    while (now_s := bench.clock.monotonic_ns() / 1e9) < span_s:
        while steps and now_s >= steps[0][0]:
            hold.target_c = steps.pop(0)[1]
        reading = await _read(bench)
        if reading is not None and reading.temperature_c is not None:
            if not started:
                hold.start(await bench.device.read_point(), reading.temperature_c, now_s)
                started = True
            point = hold.update(reading.temperature_c, now_s)
            if point is not None:
                try:
                    await bench.device.apply(point, beyond_factory=True)
                except LabError:
                    pass
                else:
                    hold.moved(point, bench.clock.monotonic_ns() / 1e9)
        await watched.sleep(PERIOD_S)
    return watched.hottest_c
