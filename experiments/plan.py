"""From an experiment to cells: which, in what order, with which seeds; and the hash that fixes all of it beforehand."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.experiment import PLACEBO, SIZES, SUBJECT, Cell, Experiment, Point, Sample
from experiments.recorded_runs import RecordedRuns
from experiments.several import AttachedDevices, RecordedDevices, attached_at, attached_of
from experiments.subjects import Recorded
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from experiments.attached import Attached
    from experiments.subjects import Subject

_ORDER_STREAM, _CELL_STREAM = range(2)


@dataclass(frozen=True)
class Plan:
    """What a run of an experiment will do.

    Attributes:
        experiment: its name.
        size: ``fast``, ``quick`` or ``full``.
        seed: of the order and of every cell.
        subject: what it is made on, as plain data.
        sample: how much.
        cells: in the order of the table of results.
        order: numbers of the cells in the order in which they are measured.
        seconds: of each cell, what it should take: the arithmetic of share rates, settling and restarts; None where the
            clock is virtual.
        digest: SHA-256 of all of it, of the experiment's words, and of the text of its file: the rule is fixed before
            the first sample.
        words: what the experiment says of itself, so that the rule can be read where its hash is stored.
    """

    experiment: str
    size: str
    seed: int
    subject: Mapping[str, Any]
    sample: Sample
    cells: tuple[Cell, ...]
    order: tuple[int, ...]
    digest: str
    words: Mapping[str, Any] = field(default_factory=dict)
    seconds: tuple[float, ...] | None = None

    @property
    def lasts_s(self) -> float | None:
        """Seconds of all cells; None where the clock is virtual."""
        return None if self.seconds is None else sum(self.seconds)

    def to_json(self) -> dict[str, Any]:
        """Plain data, without the words; cells and their order follow from it."""
        return {
            "experiment": self.experiment,
            "size": self.size,
            "seed": self.seed,
            "subject": dict(self.subject),
            "sample": asdict(self.sample),
            "cells": len(self.cells),
            "digest": self.digest,
            **({} if self.seconds is None else {"lasts_s": round(sum(self.seconds), 1)}),
        }


def left_s(planned: Sequence[float], took: Mapping[int, float], left: Iterable[int]) -> float:
    """Seconds that the cells of an attached miner will take which are left: as planned, and as much slower as before.

    Args:
        planned: seconds of each cell; 0 for those of the placebo arm, which take next to nothing.
        took: seconds of the cells that were measured, by number.
        left: numbers of the cells that were not.
    """
    counted = [number for number in took if planned[number] > 0.0]
    due_s = sum(planned[number] for number in counted)
    slower = sum(took[number] for number in counted) / due_s if due_s else 1.0
    return slower * sum(planned[number] for number in left)


def make_plan(experiment: Experiment, subject: Subject, *, size: str, seed: int) -> Plan:
    """Expand an experiment to the cells of one run, subject and placebo arms in one random order.

    Raises:
        UserError: if the experiment cannot be made on this subject.
    """
    if size not in SIZES:
        raise UserError(f"a size is one of {', '.join(SIZES)}, not {size!r}")
    if subject.kind not in experiment.kinds:
        because = f" {experiment.acts}:" if subject.kind == "trace" and experiment.acts else ""
        raise UserError(
            f"{experiment.name} runs on {', '.join(experiment.kinds)}, not on a {subject.kind}:{because} "
            f"{_how(experiment)}"
        )
    if subject.kind == "emulator" and subject.model not in experiment.models:
        raise UserError(
            f"{experiment.name} runs on an emulated {' or '.join(experiment.models)}, not {subject.model}"
        )
    _check_devices(experiment, subject)
    attached = attached_of(subject)
    for one in attached:
        if (why := one.lacks(experiment.capabilities)) is not None:
            raise UserError(f"{experiment.name}: {why}. On it run: {', '.join(_instead(one)) or 'none'}")
    sample = experiment.sample(size)
    arms: list[tuple[str, Point]] = [(SUBJECT, point) for point in experiment.points(size, subject)]
    if experiment.placebo:
        arms += [(PLACEBO, point) for point in experiment.points(size, subject.placebo())]
    cells = tuple(
        Cell(number, point, repetition, arm, cell_seed(seed, arm, point, repetition), size)
        for number, (arm, point, repetition) in enumerate(
            (arm, point, repetition)
            for arm, point in arms
            for repetition in range(
                sample.repetitions if arm == PLACEBO else _repetitions(subject, point, sample)
            )
        )
    )
    seconds = None
    if attached:
        for one in attached:
            one.check([point for arm, point in arms if arm == SUBJECT])
        seconds = tuple(
            _seconds(experiment, cell, attached_at(subject, cell.point)) if cell.arm == SUBJECT else 0.0
            for cell in cells
        )
    order = np.random.default_rng([seed, _ORDER_STREAM]).permutation(len(cells))
    words = experiment.to_json()
    told = {
        "experiment": words,
        "text": inspect.getsource(inspect.getmodule(experiment.measure) or experiment.measure),
        "subject": subject.to_json(),
        "seed": seed,
        "size": size,
        "cells": [cell.to_json() for cell in cells],
        "order": order.tolist(),
        **({} if seconds is None else {"seconds": seconds}),
    }
    digest = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()
    told_subject = subject.to_json()
    return Plan(
        experiment.name,
        size,
        seed,
        told_subject,
        sample,
        cells,
        tuple(order.tolist()),
        digest,
        words,
        seconds,
    )


def _repetitions(subject: Subject, point: Point, sample: Sample) -> int:
    """Of a point; a stored run is what it is, and measuring it again says nothing new."""
    if isinstance(subject, RecordedRuns):
        return subject.repetitions(point)
    return 1 if subject.kind == "trace" else sample.repetitions


def _check_devices(experiment: Experiment, subject: Subject) -> None:
    several = isinstance(subject, AttachedDevices | RecordedDevices)
    if experiment.compares and not several and subject.kind != "emulator":
        raise UserError(
            f"{experiment.name} compares devices: give --device twice or more, stored runs of several devices "
            "(--trace DEVICE=RUN, twice or more), or --emulate"
        )
    if several and not experiment.compares:
        raise UserError(f"{experiment.name} is of one device: run it on each")
    if isinstance(subject, RecordedRuns) and experiment.together is None:
        raise UserError(f"{experiment.name} is of one run: run it on each")
    if isinstance(subject, Recorded) and experiment.together is not None:
        raise UserError(f"{experiment.name} needs several stored runs: give --trace RUN for each")


def _seconds(experiment: Experiment, cell: Cell, subject: Attached) -> float:
    if experiment.lasts is not None:
        return experiment.lasts(cell.size, cell.point, subject)
    shares = experiment.sample(cell.size).shares or 0
    return shares / subject.shares_per_s(cell.point) + subject.between_s(cell.point)


def _instead(subject: Attached) -> list[str]:
    """Experiments that can be made on a miner."""
    from experiments.catalogue import catalogue

    every = catalogue().values()
    return [
        e.name
        for e in every
        if subject.kind in e.kinds and not e.compares and subject.lacks(e.capabilities) is None
    ]


def cell_seed(seed: int, arm: str, point: Point, repetition: int) -> int:
    """Seed of a cell: what it is, not when it is measured, decides it."""
    what = json.dumps([arm, dict(sorted(point.items())), repetition])
    words = np.frombuffer(hashlib.sha256(what.encode()).digest()[:16], dtype="<u4")
    state = np.random.SeedSequence([seed, _CELL_STREAM, *words.tolist()]).generate_state(1, np.uint32)
    return int(state[0] >> 1)  # positive for every generator


def _how(experiment: Experiment) -> str:
    flags = {"emulator": "--emulate MODEL", "trace": "--trace RUN", "device": "--device URL"}
    return "give it " + " or ".join(flags[kind] for kind in experiment.kinds)
