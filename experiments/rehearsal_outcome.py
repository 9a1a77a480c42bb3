"""What is rehearsed, what a run of it leaves, and what has to be true of that."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from firmware_bridge.sentinel.config import Action, Happening, Mode

PERIOD_S = 3.0
"""Between two readings."""
OVERSHOOT_C = 2.0
SETTLED_C = 1.0
"""Within so much of the target, on average over a minute, a step counts as settled."""


@dataclass(frozen=True)
class Scenario:
    """What happens.

    Attributes:
        name: on the command line.
        title: for people.
        faults: what is planted: name of a field of ``Faults`` to its value, or to a share of the voltage.
        then: planted after a third of what is left, at most an hour later.
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


def judge(outcome: Outcome, scenario: Scenario) -> None:
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
