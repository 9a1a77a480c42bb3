"""Several devices of one model as one subject, for experiments that compare devices: attached ones, or stored runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from experiments.attached import Attached, planned
from experiments.experiment import Point
from experiments.recorded_runs import named
from experiments.subjects import Emulated, Recorded, emulation, first_problem
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from experiments.subjects import Subject
    from firmware_bridge.timing.run_data import RunData

STRETCHES = 4
"""That the only run of a device is cut into, so that it has a spread of its own."""
LEAST_SHARES = 100
"""Of a response, below which pace and spread say nothing."""


@dataclass(frozen=True)
class AttachedDevices:
    """Devices that are measured in turns, cell by cell.

    Attributes:
        members: the devices; a point names one by its place.
    """

    members: tuple[Attached, ...]
    hash_rate_ths = None
    kind = "device"

    def __post_init__(self) -> None:
        _check([member.device for member in self.members], [member.model for member in self.members])
        if any(member.device == "any" for member in self.members):
            raise UserError("--device any is whoever connects: devices that are compared need a URL each")

    @property
    def model(self) -> str:
        """Of all of them."""
        return self.members[0].model

    @property
    def names(self) -> tuple[str, ...]:
        """What they are called."""
        from firmware_bridge.devices.journal import without_secrets

        return tuple(without_secrets(member.device) for member in self.members)

    def points(self) -> tuple[Point, ...]:
        """One for each device; the runner repeats them in random order, so that devices take turns."""
        return tuple({"device": float(number)} for number in range(len(self.members)))

    def at(self, point: Point) -> Attached:
        """The device that a point is measured on; the first for emulated ones of a control, where there are more."""
        number = int(float(point["device"]))
        return self.members[number if number < len(self.members) else 0]

    def data(self, seed: int, *, shares: int, **settings: Any) -> RunData:
        """A run of its own of the device that ``device`` names by its place."""
        return self.members[int(settings.pop("device"))].data(seed, shares=shares, **settings)

    def placebo(self) -> Emulated:
        """Emulated devices of that model, all alike."""
        return Emulated(self.model)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "kind": self.kind,
            "model": self.model,
            "devices": [member.to_json() for member in self.members],
        }


@dataclass(frozen=True)
class Response:
    """What one device gave in a stored run, or in a stretch of it.

    Attributes:
        run: the stored run.
        miner: number of the device in it.
        shares: that it has there.
        part: stretch, from 0.
        parts: stretches.
    """

    run: Recorded
    miner: int
    shares: int
    part: int = 0
    parts: int = 1

    def data(self, shares: int) -> RunData:
        """Its first shares, so many."""
        from firmware_bridge.timing.intervals import load_run
        from firmware_bridge.trace.reader import TraceReader

        reader = TraceReader(self.run.db)
        data = load_run(reader, reader.resolve(self.run.run), self.miner)
        begin = self.part * (self.shares // self.parts)
        return data.select(slice(begin, begin + shares))

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"run": self.run.run, "miner": self.miner, "part": self.part, "parts": self.parts}


@dataclass(frozen=True)
class RecordedDevices:
    """Stored runs of several devices.

    Attributes:
        names: of the devices.
        responses: of each, in the order in which they were named.
        model: of all of them.
        shares: of each response: as many as the shortest has, so that all are equally precise.
    """

    names: tuple[str, ...]
    responses: tuple[tuple[Response, ...], ...]
    model: str = field(default="s9")
    shares: int = 0
    hash_rate_ths = None
    kind = "trace"

    @classmethod
    def find(cls, db: str, names: Sequence[str]) -> RecordedDevices:
        """Devices of stored runs, each written ``RUN`` or ``DEVICE=RUN``.

        A device is the one that was named, else what the run says: its number where it was emulated, else the worker's
        name; a run of several miners is of several devices, which should have worker names of their own. The only run
        of a device is cut into stretches.

        Args:
            db: where they are.
            names: of the runs.

        Raises:
            UserError: if a run is named twice, is too short, or the devices are fewer than two or of different models.
            TraceError: if the trace cannot be read.
        """
        found: dict[str, list[Response]] = {}
        for name, recorded in zip(names, named(db, names), strict=True):
            label, sign, _ = name.partition("=")
            for device, response in _responses(recorded, label if sign else None):
                found.setdefault(device, []).append(response)
        models = [response.run.model for own in found.values() for response in own]
        _check(list(found), models)
        cut = {name: own if len(own) > 1 else _stretches(own[0]) for name, own in found.items()}
        # of a run of several miners each has its own number
        least, run = min(
            (response.shares // response.parts, response.run.run) for own in cut.values() for response in own
        )
        if least < LEAST_SHARES:
            raise UserError(
                f"run {run} gives {least} shares a response; {LEAST_SHARES} are needed to compare devices"
            )
        return cls(tuple(cut), tuple(tuple(own) for own in cut.values()), models[0], least)

    def points(self) -> tuple[Point, ...]:
        """One for each response."""
        return tuple(
            {"device": float(number), "response": float(place)}
            for number, own in enumerate(self.responses)
            for place in range(len(own))
        )

    def data(self, seed: int, *, shares: int, **settings: Any) -> RunData:
        """Shares of the response ``response`` of the device ``device``, as many as every response has."""
        device, response = int(settings.pop("device")), int(settings.pop("response"))
        if settings:
            raise UserError(
                f"stored runs are as they are: {', '.join(sorted(settings))} cannot be set in them"
            )
        return self.responses[device][response].data(self.shares)

    def problem_here(self) -> str | None:
        """Why this process cannot read the runs, or None if it can."""
        return first_problem(response.run for own in self.responses for response in own)

    def placebo(self) -> Emulated:
        """Emulated devices of that model, all alike; one that cannot be emulated is stood for by an S9."""
        return self.responses[0][0].run.placebo()

    def to_json(self) -> dict[str, Any]:
        """Plain data, without the place of the database."""
        devices = [
            {"name": name, "responses": [response.to_json() for response in own]}
            for name, own in zip(self.names, self.responses, strict=True)
        ]
        runs = (response.run for own in self.responses for response in own)
        told = {"kind": self.kind, "model": self.model, "shares": self.shares, "devices": devices}
        return {**told, **emulation(runs)}


Several = AttachedDevices | RecordedDevices


def several_of(db: str, told: Mapping[str, Any]) -> Several:
    """The subject of a stored plan.

    Raises:
        LabError: if its runs are no longer there.
    """
    if told["kind"] == "device":
        return AttachedDevices(tuple(planned(db, one) for one in told["devices"]))
    return RecordedDevices.find(db, runs_of(told))


def runs_of(told: Mapping[str, Any]) -> list[str]:
    """Stored runs of a plan, as on the command line; each once, however many stretches or devices it has."""
    miners: dict[str, dict[int, str]] = {}
    for device in told["devices"]:
        for response in device["responses"]:
            miners.setdefault(response["run"], {})[response["miner"]] = device["name"]
    # a run of several miners tells their names itself
    return [run if len(of) > 1 else f"{next(iter(of.values()))}={run}" for run, of in miners.items()]


def attached_of(subject: Subject) -> tuple[Attached, ...]:
    """Miners of a subject that are attached."""
    if isinstance(subject, Attached):
        return (subject,)
    return subject.members if isinstance(subject, AttachedDevices) else ()


def attached_at(subject: Subject, point: Point) -> Attached:
    """The attached miner of a subject that a point is measured on."""
    if isinstance(subject, AttachedDevices):
        return subject.at(point)
    assert isinstance(subject, Attached)
    return subject


def place_of(point: Point) -> dict[str, int]:
    """Device and response that a point names, as settings of a run."""
    return {name: int(float(point[name])) for name in ("device", "response") if name in point}


def name_of(subject: Subject, device: int) -> str:
    """What a device of a subject is called; emulated ones have numbers."""
    names = getattr(subject, "names", None)
    return str(device) if names is None else str(names[device])


def _responses(recorded: Recorded, label: str | None) -> list[tuple[str, Response]]:
    from experiments.puf import device_of
    from firmware_bridge.timing.intervals import load_run
    from firmware_bridge.trace.reader import TraceReader

    reader = TraceReader(recorded.db)
    number = reader.resolve(recorded.run)
    record, data = reader.run(number), load_run(reader, number, timing_only=True)
    miners = data.miner_numbers()
    if label is not None and len(miners) > 1:
        raise UserError(
            f"run {recorded.run} is of {len(miners)} miners, so it is not of {label} alone: give it without a name"
        )
    found = []
    called = [data.miners[miner].name or "miner" for miner in miners]
    for miner, name in zip(miners, called, strict=True):
        own = data.select(data.miner == miner)
        # workers of one name are two devices all the same: one that comes back keeps its number
        apart = name if called.count(name) == 1 else f"{name} ({miner})"
        device = label or (apart if len(miners) > 1 else device_of(record, own))
        found.append((device, Response(recorded, miner, own.n)))
    return found


def _stretches(response: Response) -> list[Response]:
    return [
        Response(response.run, response.miner, response.shares, part, STRETCHES) for part in range(STRETCHES)
    ]


def _check(names: Sequence[str], models: Sequence[str]) -> None:
    if len(set(names)) < 2:
        raise UserError(
            f"devices are compared with each other, and there is {'no other than ' + names[0] if names else 'none'}: "
            "give --device twice or more, or stored runs of several devices, --trace DEVICE=RUN"
        )
    if len(set(names)) < len(names):
        raise UserError(f"a device is given twice: {', '.join(names)}")
    if len(set(models)) > 1:
        raise UserError(
            f"devices of one model are compared, and these are {', '.join(sorted(set(models)))}: their pace differs by "
            "design"
        )
