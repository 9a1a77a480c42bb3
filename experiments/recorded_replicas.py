"""Stored runs that carried the same input, as replicas of each other: one set for each mode and each input."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experiments.recorded_runs import RecordedRuns, named
from experiments.subjects import Emulated, Recorded, emulation, first_problem
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from experiments.properties import Replicas
    from firmware_bridge.timing.run_data import RunData


@dataclass(frozen=True)
class ReplicaSet:
    """Stored runs with one input.

    Attributes:
        runs: two or more.
        point: the ``mode`` in which they were driven.
        seed: of the input.
        steps: that were sent.
    """

    runs: tuple[Recorded, ...]
    point: Mapping[str, float | str]
    seed: int
    steps: int
    hash_rate_ths = None
    kind = "trace"

    @property
    def model(self) -> str:
        """Of their miner."""
        return self.runs[0].model

    def read(self) -> Replicas:
        """Their states, without delay lines of the host.

        Raises:
            UserError: if they did not carry the same input after all.
        """
        from experiments.analyses.driven import GUARD, plan_of
        from experiments.properties import read_replicas
        from firmware_bridge.trace.reader import TraceReader

        plan = plan_of(self.point, self.seed, self.steps - GUARD)
        return read_replicas(TraceReader(self.runs[0].db), [run.run for run in self.runs], plan)

    def data(self, seed: int, *, shares: int, **settings: Any) -> RunData:
        """Nothing: replicas are read together."""
        raise UserError("replicas are read together")

    def problem_here(self) -> str | None:
        """Why this process cannot read the runs, or None if it can."""
        return first_problem(self.runs)

    def placebo(self) -> Emulated:
        """An emulated miner of that model."""
        return self.runs[0].placebo()

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "runs": [run.run for run in self.runs],
            "point": dict(self.point),
            "seed": self.seed,
            "steps": self.steps,
            **emulation(self.runs),
        }


def replicas_of(db: str, names: Sequence[str]) -> RecordedRuns:
    """Stored runs in sets with one input each.

    Args:
        db: where they are.
        names: of the runs.

    Raises:
        UserError: if nobody drove a run, or none of the others carried its input.
        TraceError: if the trace cannot be read.
    """
    from experiments.analyses.driven import GUARD, MODES
    from firmware_bridge.trace.reader import TraceReader

    sets: dict[str, list[tuple[tuple[int, int], Recorded, Mapping[str, Any]]]] = {}
    for run in named(db, names):
        reader = TraceReader(run.db)
        number = reader.resolve(run.run)
        record = reader.run(number)
        told = record["config"].get("narma")
        if told is None:
            raise UserError(
                f"nobody drove run {run.run}: replicas are runs with one input, as asiclab reservoir properties "
                "--emulate and asiclab run echo-state --device make them"
            )
        # what decides the input, and what carries it; the lead alone drives replicas apart
        same = {
            name: value for name, value in told.items() if name in ("task", "mode", "seed", "steps", "mask")
        }
        key = json.dumps({**same, "encoding": told["encoding"], "model": run.model}, sort_keys=True)
        sets.setdefault(key, []).append(((record["started_wall_ns"] or 0, number), run, told))
    found = []
    for own in sets.values():
        own.sort(key=lambda one: one[0])  # as they were made: a null of shifts knows which run came first
        _, first, told = own[0]
        if len(own) < 2:
            raise UserError(
                f"run {first.run} is no replica of another one: none of these has its input ({told['task']}, "
                f"{told['mode']}, seed {told['seed']}). Give --trace RUN for each run that was driven with it"
            )
        if told["steps"] < 4 * GUARD:
            raise UserError(f"run {first.run} has {told['steps']} steps; {4 * GUARD} are needed")
        runs = tuple(run for _, run, _ in own)
        found.append(ReplicaSet(runs, {"mode": str(told["mode"])}, int(told["seed"]), int(told["steps"])))
    return RecordedRuns.of(found, ("mode",), words=MODES)
