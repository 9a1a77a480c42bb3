"""What an experiment is made on: an emulated miner, a stored run, or miners that are attached.

Subjects are small and can be sent to another process or machine; what they open, they open where they are used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from firmware_bridge.errors import LabError, UserError

if TYPE_CHECKING:
    from firmware_bridge.emulator.physics import Physics
    from firmware_bridge.emulator.virtual_config import VirtualConfig
    from firmware_bridge.timing.run_data import RunData

VIRTUAL_MODELS = ("s9", "lv06")
"""Models that can be emulated in virtual time."""


def check_virtual(model: str) -> None:
    """Refuse what cannot be emulated in virtual time.

    Raises:
        UserError: naming what can.
    """
    if model not in VIRTUAL_MODELS:
        raise UserError(f"virtual time is there for {' and '.join(VIRTUAL_MODELS)}, not for {model!r}")


class Subject(Protocol):
    """What a cell is measured on."""

    @property
    def kind(self) -> str:
        """``emulator``, ``trace`` or ``device``."""

    @property
    def model(self) -> str:
        """Model of the miner."""

    @property
    def hash_rate_ths(self) -> float | None:
        """Where it is another than that of the model."""

    def data(self, seed: int, *, shares: int, **settings: Any) -> RunData:
        """Shares of one run.

        Args:
            seed: of an emulated run.
            shares: how many; a stored run has those that it has.
            settings: fields of a virtual run (``difficulty``, ``mode``, ``program``, …); a subject that cannot set one
                says so.

        Raises:
            UserError: if it cannot be measured at these settings.
        """

    def placebo(self) -> Emulated:
        """The same pipeline on an ordinary emulated miner."""

    def to_json(self) -> dict[str, Any]:
        """What it is, for the plan."""


@runtime_checkable
class Stored(Protocol):
    """A subject that is read from a trace, by whatever process measures on it."""

    def problem_here(self) -> str | None:
        """Why this process cannot read it, or None if it can."""


def first_problem(parts: Iterable[Stored]) -> str | None:
    """Why this process cannot read the first part that it cannot, or None if it can read all."""
    return next((problem for part in parts if (problem := part.problem_here()) is not None), None)


@dataclass(frozen=True)
class Emulated:
    """An emulated miner in virtual time.

    Attributes:
        model: ``s9`` or ``lv06``.
        plants: planted effects, kind to strength.
        physics: physical parameters that differ from the model's own.
    """

    model: str = "s9"
    plants: Mapping[str, float] = field(default_factory=dict)
    physics: Mapping[str, Any] = field(default_factory=dict)
    kind = "emulator"

    @property
    def hash_rate_ths(self) -> float | None:
        """What its physics say."""
        return self.resolved_physics().hash_rate_ths

    def resolved_physics(self) -> Physics:
        """Physics of the model with what was changed."""
        from firmware_bridge.emulator.physics import Physics

        return replace(Physics.of(self.model), **self.physics)

    def config(self, seed: int, *, shares: int | None, **settings: Any) -> VirtualConfig:
        """The virtual run."""
        from firmware_bridge.emulator.virtual_config import VirtualConfig

        if settings.get("program") or settings.get("drive"):
            shares = None
        return VirtualConfig(
            model=self.model,
            seed=seed,
            shares=shares,
            plants=dict(self.plants),
            physics=self.resolved_physics(),
            **settings,
        )

    def data(self, seed: int, *, shares: int, **settings: Any) -> RunData:
        """A run of its own for each seed."""
        from firmware_bridge.emulator.virtual import simulate

        return simulate(self.config(seed, shares=shares, **settings)).to_run_data()

    def placebo(self) -> Emulated:
        """The same miner with nothing planted."""
        return replace(self, plants={})

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"kind": self.kind, **asdict(self)}


@dataclass(frozen=True)
class Recorded:
    """A stored run.

    Attributes:
        db: where the trace is; a file by its full path, as the worker that reads it may stand elsewhere.
        run: full id.
        model: of its miner, where known; decides what the placebo is.
        shares: that verify in it.
        emulated: whether an emulated miner made it.
        plants: effects that were planted in that, kind to strength.
    """

    db: str = field(repr=False)  # a password may stand in it, and workers log what they are given
    run: str
    model: str
    shares: int
    emulated: bool = False
    plants: Mapping[str, float] = field(default_factory=dict)
    hash_rate_ths = None
    kind = "trace"

    @classmethod
    def find(cls, db: str, name: str) -> Recorded:
        """A run of a trace by id, prefix or ``latest``.

        Raises:
            UserError: if there is no such run.
            TraceError: if the trace cannot be read.
        """
        from firmware_bridge.timing.intervals import load_run
        from firmware_bridge.trace.reader import TraceReader
        from firmware_bridge.trace.store import locate

        path = locate(db).path
        if path is not None:
            db = f"sqlite:///{path.absolute()}"
        reader = TraceReader(db)
        number = reader.resolve(name)
        data = load_run(reader, number, timing_only=True)
        models = {info.model for info in data.miners.values() if info.model}
        model = models.pop() if len(models) == 1 else "s9"
        planted = {kind: strength for kind, strength in data.plants.items() if strength}
        return cls(db, reader.run(number)["run_id"], model, data.n, data.emulated, planted)

    def problem_here(self) -> str | None:
        """Why this process cannot read the run, or None if it can."""
        from firmware_bridge.trace.reader import TraceReader

        try:
            TraceReader(self.db).resolve(self.run)
        except LabError as error:
            return str(error)
        return None

    def data(self, seed: int, *, shares: int, **settings: Any) -> RunData:
        """The run as it is, whatever the seed."""
        from firmware_bridge.timing.intervals import load_run
        from firmware_bridge.trace.reader import TraceReader

        if settings:
            raise UserError(
                f"run {self.run} is as it was recorded: {', '.join(sorted(settings))} cannot be set in it; "
                "run this experiment with --emulate or --device"
            )
        reader = TraceReader(self.db)
        return load_run(reader, reader.resolve(self.run))

    def placebo(self) -> Emulated:
        """An emulated miner of that model; one that cannot be emulated is stood for by an S9."""
        return Emulated(self.model if self.model in VIRTUAL_MODELS else "s9")

    def to_json(self) -> dict[str, Any]:
        """Plain data, without the place of the database, which may differ between machines."""
        told = {"kind": self.kind, "run": self.run, "model": self.model, "shares": self.shares}
        return {**told, **emulation([self])}


def emulation(runs: Iterable[Recorded]) -> dict[str, Any]:
    """That some of these runs were emulated and what was planted in them, for a plan; empty where none was."""
    emulated = [run for run in runs if run.emulated]
    plants = {kind: strength for run in emulated for kind, strength in run.plants.items()}
    return {"emulated": True, "plants": plants} if emulated else {}
