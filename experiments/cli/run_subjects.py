"""On what ``asiclab run`` runs: an emulated miner, stored runs, or attached devices, as its options say."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from experiments.attached import Attached
    from experiments.experiment import Experiment
    from experiments.subjects import Emulated, Subject


@dataclass(frozen=True)
class Live:
    """How a miner is reached in wall time."""

    devices: tuple[str, ...]
    wall: bool
    host: str
    port: int
    patience_s: float
    password_file: Path | None
    yes: bool
    settle_s: float
    period_s: float | None


@dataclass(frozen=True)
class Subjects:
    """What was asked for.

    Attributes:
        each: miners or stored runs.
        together: makes all of them one for an experiment that wants that; gives None for others.
    """

    each: tuple[Subject, ...]
    together: Callable[[Experiment], Subject | None] = lambda experiment: None

    def of(self, experiment: Experiment) -> tuple[Subject, ...]:
        """On what an experiment runs, one after the other.

        Raises:
            UserError: if it wants several, and these do not do.
        """
        try:
            one = self.together(experiment)
        except UserError as error:
            raise UserError(f"{experiment.name}: {error}") from None
        return self.each if one is None else (one,)

    def folder(self, subject: Subject) -> str:
        """For the files of one of several; empty where there is one."""
        if len(self.each) == 1 or subject not in self.each:
            return ""
        told = subject.to_json()
        return re.sub(r"[^A-Za-z0-9.-]+", "-", str(told.get("run") or told.get("device"))).strip("-")


def chosen_subjects(
    emulate: str | None,
    traces: tuple[str, ...],
    plants: Sequence[str],
    physics: Sequence[str],
    live: Live,
    db: str,
) -> Subjects:
    """What the options name.

    Raises:
        UserError: if they contradict each other, or name what is not there.
    """
    from experiments.recorded_runs import one_named
    from experiments.several import AttachedDevices

    if sum([emulate is not None, bool(traces), bool(live.devices)]) > 1:
        raise UserError("--emulate, --trace and --device are three different miners: give one of them")
    if not traces and not live.devices:
        return Subjects((_emulated(emulate or "s9", plants, physics, live, db),))
    if plants or physics or live.wall:
        raise UserError(
            "a stored run or a device is as it is: --plant, --physics and --time go with --emulate"
        )
    if traces:
        each = tuple(one_named(db, name) for name in traces)
        return Subjects(each, lambda e: None if e.together is None else e.together(db, traces))
    if len(set(live.devices)) < len(live.devices):
        raise UserError(f"a device is given twice: {', '.join(live.devices)}")
    attached = tuple(_attached(device, live, db, {}, {}) for device in live.devices)
    return Subjects(attached, lambda e: AttachedDevices(attached) if e.compares else None)


def _emulated(
    model: str, plants: Sequence[str], physics: Sequence[str], live: Live, db: str
) -> Emulated | Attached:
    from experiments.cli.emulate import parse_physics
    from experiments.subjects import VIRTUAL_MODELS, Emulated
    from firmware_bridge.emulator.effects import parse_plants
    from firmware_bridge.emulator.physics import Physics

    if model not in VIRTUAL_MODELS:
        raise UserError(f"an experiment emulates {' or '.join(VIRTUAL_MODELS)}, not {model!r}")
    usual, chosen = asdict(Physics.of(model)), asdict(parse_physics(physics, model))
    changed = {name: value for name, value in chosen.items() if usual[name] != value}
    if live.wall:
        return _attached(f"emulate:{model}", live, db, parse_plants(plants), changed)
    return Emulated(model, parse_plants(plants), changed)


def pairs(
    chosen: Sequence[Experiment], subjects: Subjects, *, fitting: bool
) -> Iterator[tuple[Experiment, Subject]]:
    """Experiments, and on what each runs; with ``fitting`` without those that cannot."""
    for experiment in chosen:
        try:
            own = subjects.of(experiment)
        except UserError:
            if not fitting:
                raise
            continue
        yield from ((experiment, subject) for subject in own if not fitting or _fits(experiment, subject))


def _attached(
    device: str, live: Live, db: str, plants: Mapping[str, float], physics: Mapping[str, Any]
) -> Attached:
    from experiments.attached import Attached, model_of

    return Attached(
        db,
        device,
        model=model_of(device),
        host=live.host,
        port=live.port,
        patience_s=live.patience_s,
        password_file=None if live.password_file is None else str(live.password_file),
        agreed=live.yes,
        plants=plants,
        physics=physics,
        settle_s=live.settle_s,
        period_s=live.period_s,
    ).asked()


def _fits(experiment: Experiment, subject: Subject) -> bool:
    from experiments.attached import Attached
    from experiments.several import attached_of

    if experiment.compares and isinstance(subject, Attached):  # one alone
        return False
    if any(one.lacks(experiment.capabilities) is not None for one in attached_of(subject)):
        return False
    if subject.kind not in experiment.kinds or (
        subject.kind == "emulator" and subject.model not in experiment.models
    ):
        return False
    try:
        experiment.points("fast", subject)
    except UserError:  # these recordings are of another one
        return False
    return True
