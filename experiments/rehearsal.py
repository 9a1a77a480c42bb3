"""The Sentinel on the emulator's bench, in virtual time: every fault, with the truth beside what it saw.

The very same code that guards a real device; only the device, the clock and the sleep are others. Beside each run with
the Sentinel stand two without: the device left to its firmware, and its controller without any guard, so that a fault
that would have done no harm is seen to be harmless.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from firmware_bridge.devices.telemetry import Telemetry
from firmware_bridge.emulator.bench import MODELS, Bench
from firmware_bridge.errors import DeviceError, LabError, UserError
from firmware_bridge.sentinel.config import Action, Happening, Mode, SentinelConfig
from firmware_bridge.sentinel.sentinel import Sentinel

PERIOD_S = 3.0
FINE_S = 1.0
"""Step at which the truth is looked at for a while after anything happened; the die follows within a second or two."""
FINE_FOR_S = 300.0
OVERSHOOT_C = 2.0
SETTLED_C = 1.0
"""Within so much of the target, on average over a minute, a step counts as settled."""
BASELINE_S = 2 * 3600.0
"""So long a run without Sentinel is followed: harm comes within minutes."""


@dataclass(frozen=True)
class Scenario:
    """What happens.

    Attributes:
        name: on the command line.
        title: for people.
        faults: planted at ``fault_at``: name of a field of ``Faults`` to its value, or to a share of the voltage.
        expects: modes that the Sentinel may end in.
        must_find: events of which one has to come; empty where nothing is to be found.
    """

    name: str
    title: str
    faults: dict[str, Any] = field(default_factory=dict)
    then: dict[str, Any] = field(default_factory=dict)
    must_find: tuple[str, ...] = ()


SCENARIOS = {
    s.name: s
    for s in (
        Scenario("calm", "Nothing goes wrong"),
        Scenario("step", "Steps of the target"),
        Scenario("cold-start", "Switched on cold"),
        Scenario(
            "sensor-stuck",
            "The sensor sticks below the target; an hour later the room is 15 °C warmer",
            {"sensor_stuck": True},
            {"ambient_step_c": 15.0},
        ),
        Scenario("sensor-lost", "The sensor is lost", {"sensor_lost": True}, must_find=("no-temperature",)),
        Scenario(
            "fan-failed", "The fan stands still", {"fan_failed": True}, must_find=("fan-stopped", "tripped")
        ),
        Scenario("ambient", "The room is 15 °C warmer", {"ambient_step_c": 15.0}),
        Scenario("droop", "The supply droops", {"voltage_droop_mv": 0.05}),
        Scenario(
            "lost-and-fan",
            "The sensor is lost while the fan stands still",
            {"sensor_lost": True, "fan_failed": True},
            must_find=("no-temperature", "fan-stopped"),
        ),
    )
}
"""``lost-and-fan`` is more than was asked of it: two faults at once."""
FAULTS = tuple(SCENARIOS)

TARGETS: dict[str, tuple[float, float]] = {
    "lv06": (60.0, 56.0),
    "bm1366": (57.0, 55.5),
    "s9": (77.0, 76.0),
    "lb-box": (64.0, 60.0),
}
"""Target of each model, and the one that it is stepped to and back: within what its knobs can reach."""


class Recorder:
    """A journal in memory."""

    def __init__(self) -> None:
        self.happenings: list[Happening] = []
        self.actions: list[Action] = []

    def happened(self, happening: Happening) -> None:
        """Keep an event."""
        self.happenings.append(happening)

    def acted(self, action: Action) -> None:
        """Keep a change."""
        self.actions.append(action)


COLUMNS = ("time_s", "true_c", "sensed_c", "power_w", "fan_percent", "frequency_mhz", "target_c")


@dataclass
class Trace:
    """What a run did, sampled at each reading: ``COLUMNS``, NaN where nothing was sensed."""

    rows: list[tuple[float, ...]] = field(default_factory=list)

    def column(self, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        """One column, shape (n,)."""
        return np.array([row[COLUMNS.index(name)] for row in self.rows], np.float64)


@dataclass
class Outcome:
    """One scenario on one model.

    Attributes:
        model: rehearsed.
        scenario: which.
        hours: of virtual time.
        limit_c: hard limit of the model.
        trip_c: its trip point.
        max_true_c: hottest that the chip really was.
        left_alone_c: the same where nobody does anything, within two hours of the fault.
        pid_alone_c: the same with the controller without its guards; None where nothing is steered.
        overshoot_c: beyond the target on a step; None where there was none.
        settle_s: time until a step settled, the longest one; None where there was none, or it never did.
        found_s: from the fault to the first event about it; None where there was none.
        false_alarms: events of a fault where there was none.
        actions: changes of settings.
        hashed: share of the nominal hashes that came out right.
        mode: at the end.
        problems: why it did not pass; empty where it did.
    """

    model: str
    scenario: str
    hours: float
    limit_c: float
    trip_c: float
    max_true_c: float = -np.inf
    left_alone_c: float | None = None
    pid_alone_c: float | None = None
    overshoot_c: float | None = None
    settle_s: float | None = None
    found_s: float | None = None
    false_alarms: int = 0
    actions: int = 0
    hashed: float | None = None
    mode: str = ""
    problems: list[str] = field(default_factory=list)
    trace: Trace = field(default_factory=Trace)
    alone: Trace = field(default_factory=Trace)
    journal: Recorder = field(default_factory=Recorder)
    fault_s: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether everything was as it has to be."""
        return not self.problems

    @property
    def harmful(self) -> bool:
        """Whether the limit was passed where there was no Sentinel."""
        worst = max(c for c in (self.left_alone_c, self.pid_alone_c, -np.inf) if c is not None)
        return worst > self.limit_c

    def to_json(self) -> dict[str, Any]:
        """Without the traces."""
        names = (
            "model", "scenario", "hours", "limit_c", "trip_c", "max_true_c", "left_alone_c", "pid_alone_c",
            "overshoot_c", "settle_s", "found_s", "false_alarms", "actions", "hashed", "mode", "problems",
        )  # fmt: skip
        found = {name: getattr(self, name) for name in names}
        events = [h.to_json() for h in self.journal.happenings if h.kind != "sentinel-anomaly"]
        return {**found, "passed": self.passed, "harmful_without": self.harmful, "events": events[:50]}


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
    await _judge(outcome, scenario, sentinel)
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


async def _judge(outcome: Outcome, scenario: Scenario, sentinel: Sentinel) -> None:
    """Fill in what is derived from the trace, and say what is wrong."""
    problems, journal = outcome.problems, outcome.journal
    if outcome.max_true_c > outcome.limit_c:
        problems.append(
            f"the chip reached {outcome.max_true_c:.1f} °C, above its limit of {outcome.limit_c:g} °C"
        )
    fault_ns = int(outcome.fault_s * 1e9)
    alarms = [h for h in journal.happenings if h.severity != "info"]
    after = [h for h in alarms if h.monotonic_ns >= fault_ns]
    early = [h for h in alarms if h.monotonic_ns < fault_ns]
    quiet = not scenario.faults
    outcome.false_alarms = len(alarms) if quiet else len(early)
    if after and not quiet:
        outcome.found_s = (after[0].monotonic_ns - fault_ns) / 1e9
    wrongly = [h for h in (alarms if quiet else early) if h.kind in ("sentinel-safe", "sentinel-tripped")]
    if wrongly:
        problems.append(f"it went to its safe point without a fault: {wrongly[0].detail.get('reason')}")
    if scenario.must_find and not any(h.kind.removeprefix("sentinel-") in scenario.must_find for h in after):
        problems.append(f"the fault was not found: none of {', '.join(scenario.must_find)}")
    if quiet and outcome.mode != Mode.HOLD:
        problems.append(f"it ended in mode {outcome.mode}, though nothing was wrong")
    if scenario.name in ("step", "cold-start"):
        _judge_steps(outcome, scenario)


def _judge_steps(outcome: Outcome, scenario: Scenario) -> None:
    time_s, true_c = outcome.trace.column("time_s"), outcome.trace.column("true_c")
    target_c = outcome.trace.column("target_c")
    edges = [0, *np.flatnonzero(np.diff(target_c) != 0) + 1, time_s.size]
    spans = list(pairwise(edges))
    if scenario.name == "step":
        spans = spans[1:]
    # a restart cools by itself, and a power plan has no value between: there only what lies above the target counts
    ceiling = outcome.model in ("lb-box", "s9")
    overshoots, settles = [0.0], []
    for first, end in spans:
        goal = float(target_c[first])
        deviation = true_c[first:end] - goal
        falling = deviation[0] > 0
        crossed = np.flatnonzero(deviation <= 0 if falling else deviation >= 0)
        if crossed.size:
            beyond = deviation[crossed[0] :]
            # towards cold nothing overshoots that holds a ceiling
            overshoots.append(float(max(beyond.max(), 0.0 if ceiling or not falling else -beyond.min())))
        width = max(1, round(60.0 / PERIOD_S))
        smooth = np.convolve(deviation, np.ones(width) / width, "valid")
        off = np.flatnonzero(smooth > SETTLED_C if ceiling else np.abs(smooth) > SETTLED_C)
        last = int(off[-1]) + 1 if off.size else 0
        if last < smooth.size - 1:
            settles.append(last * PERIOD_S)
        else:
            outcome.problems.append(f"it did not settle at {goal:g} °C")
    outcome.overshoot_c = max(overshoots)
    outcome.settle_s = max(settles) if settles else None
    if outcome.overshoot_c >= OVERSHOOT_C:
        outcome.problems.append(f"overshoot of {outcome.overshoot_c:.2f} °C")
