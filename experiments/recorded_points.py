"""Stored runs as operating points: what a sweep measured on a miner once is judged again from its recordings alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from experiments.attached_run import since
from experiments.recorded_runs import RecordedRuns, named
from experiments.subjects import VIRTUAL_MODELS, Emulated, Recorded, Subject, emulation
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from firmware_bridge.timing.run_data import RunData
    from firmware_bridge.trace.reader import TraceReader

SETTINGS = ("core_voltage_mv", "frequency_mhz", "difficulty")
"""What an operating point is made of; beside it stands what the jobs were, ``content``."""
TELEMETRY = {"frequency_mhz": "frequency_mhz", "core_voltage_mv": "voltage_mv"}
"""Columns of the telemetry that tell a setting where nobody held it."""
GRAIN = {"frequency_mhz": 1.0, "core_voltage_mv": 5.0}
"""To so much a setting that was only read is rounded, so that runs at one point have one point."""
ALIKE = {"frequency_mhz": 0.01, "core_voltage_mv": 0.03, "difficulty": 0.0}
"""Part by which a setting that is not varied may differ between runs: a core voltage sags as the clock grows."""
UNSTEADY = 0.05
"""Part by which 90 % of the readings of one run may differ: beyond it the run is of no one point."""
WORDS = {
    "frequency_mhz": ("clock", " MHz"),
    "core_voltage_mv": ("core voltage", " mV"),
    "difficulty": ("difficulty", ""),
    "content": ("kind of jobs", ""),
    "input": ("input", ""),
}
"""Name and unit of a setting."""
DESCENDING = ("core_voltage_mv",)
"""A sweep goes down with it, and up with every other setting."""


@dataclass(frozen=True)
class PointRun:
    """A stored run at one operating point, or the part of it that was there.

    Attributes:
        run: the stored run.
        point: what is known of ``SETTINGS``, and ``content``: ``noise``, ``structure`` or ``stream``.
        shares: that count.
        settled_ns: wall and monotonic time from which shares count; None: from the first.
        until_ns: monotonic time at which they cease to; None: at the last.
        held: how the miner stood there, where a sweep held it.
    """

    run: Recorded
    point: Mapping[str, float | str]
    shares: int = 0
    settled_ns: tuple[int, int] | None = None
    until_ns: int | None = None
    held: Mapping[str, Any] | None = None
    hash_rate_ths = None
    kind = "trace"

    @property
    def model(self) -> str:
        """Of its miner."""
        return self.run.model

    def data(self, seed: int, *, shares: int, **settings: Any) -> RunData:
        """The shares that count, whatever the seed.

        Raises:
            UserError: if a setting is asked for that this run does not have.
        """
        other = sorted(name for name, value in settings.items() if self.point.get(name) != value)
        if other:
            raise UserError(
                f"run {self.run.run} is as it was recorded: {', '.join(other)} cannot be set in it"
            )
        return _counted(self.run.data(seed, shares=shares), self.settled_ns, self.until_ns)

    def problem_here(self) -> str | None:
        """Why this process cannot read the run, or None if it can."""
        return self.run.problem_here()

    def placebo(self) -> Emulated:
        """An emulated miner of that model."""
        return self.run.placebo()

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        told = {"run": self.run.run, "point": dict(self.point), "shares": self.shares}
        return {**told, **emulation([self.run])}


def swept(
    *varied: str,
    beside: Sequence[str] = (),
    fixed: Sequence[str] = (),
    needed: Sequence[str] = (),
    fewest: int = 0,
    told: Callable[[Recorded], Mapping[str, str]] | None = None,
    words: Sequence[str] = (),
) -> Callable[[str, Sequence[str]], RecordedRuns]:
    """How an experiment takes stored runs as operating points.

    Args:
        varied: settings of which there have to be two values or more, together; none: one run is enough.
        beside: what belongs to a point as well, where it is known.
        fixed: settings that have to be one in all runs, as far as they are known.
        needed: of all these, which a run has to say.
        fewest: shares that a run has to have.
        told: what a run says beside its settings, as conditions that are words.
        words: their order.

    Returns:
        Makes the subject from the place of the trace and the names of the runs.
    """

    def gathered(db: str, names: Sequence[str]) -> RecordedRuns:
        members = []
        for run in named(db, names):
            said = {} if told is None else told(run)
            members += [replace(member, point={**member.point, **said}) for member in points_of(run)]
        found = RecordedRuns.of(members, (*varied, *beside), descending=DESCENDING, words=words)
        for name in needed:
            for member in members:
                if name not in member.point:
                    raise UserError(_unsaid(member, name))
        for member in members:
            if member.shares < fewest:
                raise UserError(
                    f"run {member.run.run} has {member.shares} shares that count; {fewest} are needed"
                )
        for name in fixed:
            _one(members, name, varied)
        if varied and len({tuple(member.point.get(name) for name in varied) for member in members}) < 2:
            what = " and ".join(WORDS[name][0] for name in varied)
            raise UserError(
                f"a sweep needs two points or more, and these runs are all at {_at(members[0], varied)}: give the runs "
                f"of another {what} too, --trace RUN --trace RUN"
            )
        return found

    return gathered


def run_of(subject: Subject) -> dict[str, str]:
    """Which stored run a cell was measured on, for its values; nothing of another subject."""
    return {"run": subject.run.run} if isinstance(subject, PointRun) else {}


def points_of(recorded: Recorded) -> list[PointRun]:
    """The operating points of a stored run: one, or those of the steps of an emulated programme.

    Raises:
        UserError: if it has several miners, or was at no one point.
        TraceError: if the trace cannot be read.
    """
    from firmware_bridge.trace.reader import TraceReader

    reader = TraceReader(recorded.db)
    number = reader.resolve(recorded.run)
    record, data = reader.run(number), recorded.data(0, shares=0)
    if recorded.model not in VIRTUAL_MODELS:
        raise UserError(
            f"run {recorded.run} is of an {recorded.model}: sweeps are of {' and '.join(VIRTUAL_MODELS)}"
        )
    if (miners := len(data.miners)) > 1:
        raise UserError(f"run {recorded.run} is of {miners} miners: an operating point is of one")
    difficulty = _difficulty(reader, number, recorded.run)
    found = []
    for stretch in _stretches(reader, number, record):
        counted = _counted(data, stretch.settled_ns, stretch.until_ns)
        point: dict[str, float | str] = {
            **stretch.settings,
            **difficulty,
            "content": _content(record, counted),
        }
        found.append(PointRun(recorded, point, counted.n, stretch.settled_ns, stretch.until_ns, stretch.held))
    return found


@dataclass(frozen=True)
class _Stretch:
    settings: Mapping[str, float]
    settled_ns: tuple[int, int] | None = None
    until_ns: int | None = None
    held: Mapping[str, Any] | None = None


def _stretches(reader: TraceReader, number: int, record: Mapping[str, Any]) -> list[_Stretch]:
    program = record["physics"].get("program")
    if program:
        return _steps(record, program)
    settled_ns, asked, held = _settled(reader, number)
    settings = dict(asked)
    for name in TELEMETRY:
        if name not in settings and (read := _read(reader, number, record, name, settled_ns)) is not None:
            settings[name] = read
    return [_Stretch(settings, settled_ns, None, held)]


def _steps(record: Mapping[str, Any], program: Sequence[Mapping[str, Any]]) -> list[_Stretch]:
    """Each step of an emulated programme that is held is a point."""
    if record["config"].get("drive") is not None:
        raise UserError(
            f"run {record['run_id']} had another clock or voltage with every symbol: it is of no one point"
        )
    told = [{name: float(step[name]) for name in TELEMETRY if step[name] is not None} for step in program]
    if len(program) == 1:
        return [_Stretch(told[0])]
    found, begin_ns, wall_ns = [], 0, record["started_wall_ns"]
    for step, settings in zip(program, told, strict=True):
        end_ns = begin_ns + round(step["seconds"] * 1e9)
        found.append(_Stretch(settings, (wall_ns + begin_ns, begin_ns), end_ns))
        begin_ns = end_ns
    return found


def _settled(
    reader: TraceReader, number: int
) -> tuple[tuple[int, int] | None, Mapping[str, float], Mapping[str, Any] | None]:
    """When a sweep had the miner at its point, what it had asked for, and how it stood there."""
    told = [event for event in reader.dicts(number, "events") if event["kind"] == "settled"]
    if not told:
        return None, {}, None
    detail = json.loads(told[-1]["detail"] or "{}")
    asked = {name: float(value) for name, value in detail.get("asked", {}).items()}
    return (told[-1]["wall_ns"], told[-1]["monotonic_ns"]), asked, detail if "in_force" in detail else None


def _read(
    reader: TraceReader, number: int, record: Mapping[str, Any], name: str, settled_ns: tuple[int, int] | None
) -> float | None:
    """A setting by the telemetry of a run; that of an emulated run without any is its model's own."""
    import numpy as np

    column = TELEMETRY[name]
    table = reader.columns(number, "telemetry", (column, "wall_ns", "source"))
    counts = ~table.null[column] & table.null["source"]
    if settled_ns is not None:
        counts &= table.values["wall_ns"] >= settled_ns[0]
    values = table.values[column][counts]
    if not values.size:
        return _of_emulator(reader, number, name) if record["source"] == "emulator" else None
    low, middle, high = np.quantile(values, (0.05, 0.5, 0.95))
    what, unit = WORDS[name]
    if high - low > UNSTEADY * middle:
        raise UserError(
            f"run {record['run_id']}: its {what} went from {low:g} to {high:g}{unit}, so that it is of no one point; "
            "record a run for each"
        )
    return float(GRAIN[name] * round(middle / GRAIN[name]))


def _of_emulator(reader: TraceReader, number: int, name: str) -> float | None:
    from firmware_bridge.emulator.thermal import FACTS

    models = {row["model"] for row in reader.dicts(number, "miners")}
    facts = FACTS.get(models.pop()) if len(models) == 1 else None
    return None if facts is None else float(getattr(facts, name))


def _difficulty(reader: TraceReader, number: int, run: str) -> dict[str, float]:
    import numpy as np

    table = reader.columns(number, "jobs", ("difficulty",))
    asked = np.unique(table.values["difficulty"][~table.null["difficulty"]])
    if asked.size > 1:
        raise UserError(
            f"run {run}: its jobs ask for difficulties from {asked[0]:g} to {asked[-1]:g}, so that it is of no one "
            "point; record a run for each"
        )
    return {"difficulty": float(asked[0])} if asked.size else {}


def _content(record: Mapping[str, Any], data: RunData) -> str:
    """What the jobs were: a new one after every share, one throughout, or new ones on a clock."""
    if record["mode"] == "swh":
        return "noise"
    config = record["config"]
    period_s = (config.get("bridge") or config).get("job_period_s")
    seconds = float(data.time_ns[-1] - data.time_ns[0]) / 1e9 if data.n else 0.0
    lasts = record["mode"] == "stream" and period_s is not None and period_s >= seconds
    return "structure" if lasts else "stream"


def _counted(data: RunData, settled_ns: tuple[int, int] | None, until_ns: int | None) -> RunData:
    if settled_ns is not None:
        data = since(data, *settled_ns)
    return data if until_ns is None else data.select(data.time_ns < until_ns)


def _one(members: Sequence[PointRun], name: str, varied: Sequence[str]) -> None:
    """Refuse runs that differ in what the sweep does not vary."""
    known = [member for member in members if name in member.point]
    what = WORDS[name][0]
    for member in known[1:]:
        here, there = member.point[name], known[0].point[name]
        if isinstance(here, str) or isinstance(there, str):
            differ = here != there
        else:
            differ = abs(here - there) > ALIKE[name] * max(here, there)
        if differ:
            alone = " and ".join(WORDS[one][0] for one in varied)
            raise UserError(
                f"run {known[0].run.run} is at {_at(known[0], (name,))} and run {member.run.run} at "
                f"{_at(member, (name,))}: this sweep varies the {alone} alone, so give runs of one {what}"
                f"{', or take regime-map' if name in TELEMETRY else ''}"
            )


def _at(member: PointRun, names: Sequence[str]) -> str:
    told = [
        f"{value:g}{WORDS[name][1]}" if not isinstance(value := member.point[name], str) else value
        for name in names
        if name in member.point
    ]
    return ", ".join(told) or "an unknown point"


def _unsaid(member: PointRun, name: str) -> str:
    what = WORDS[name][0]
    if name == "difficulty":
        return f"run {member.run.run} does not say its {what}: no job of it is stored; record it with asiclab bridge"
    return (
        f"run {member.run.run} does not say its {what}: no sweep held it, and no telemetry tells it. Record it with "
        "asiclab bridge --device URL, which keeps the telemetry, or measure the sweep with --device URL"
    )
