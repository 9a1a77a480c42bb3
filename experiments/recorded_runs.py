"""Several stored runs as one subject, each at a point of an experiment: several at one point are its repetitions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from experiments.experiment import Cell, Point
from experiments.subjects import Emulated, Recorded, Subject, first_problem
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from firmware_bridge.timing.run_data import RunData


class Member(Subject, Protocol):
    """A stored run, or several that are read together, at one point."""

    @property
    def point(self) -> Mapping[str, float | str]:
        """Its conditions, as far as they are known."""

    def problem_here(self) -> str | None:
        """Why this process cannot read it, or None if it can."""


@dataclass(frozen=True)
class RecordedRuns:
    """Stored runs of an experiment with several points.

    Attributes:
        members: in the order of their points.
        names: conditions that make the points of this experiment.
    """

    members: tuple[Member, ...]
    names: tuple[str, ...]
    hash_rate_ths = None
    kind = "trace"

    @classmethod
    def of(
        cls,
        members: Sequence[Member],
        names: Sequence[str],
        *,
        descending: Sequence[str] = (),
        words: Sequence[str] = (),
    ) -> RecordedRuns:
        """Members in the order of their points, whatever the order in which they were named.

        Args:
            members: one or more.
            names: conditions of a point.
            descending: those whose numbers go down.
            words: order of conditions that are words; others go by the alphabet.

        Raises:
            UserError: if they are of different models.
        """
        models = sorted({member.model for member in members})
        if len(models) > 1:
            raise UserError(f"these runs are of {' and '.join(models)}: an experiment is of one model")

        def rank(name: str, value: float | str | None) -> tuple[float, str]:
            if value is None:
                return math.inf, ""
            if isinstance(value, str):
                return (float(words.index(value)) if value in words else math.inf), value
            return (-value if name in descending else value), ""

        def place(member: Member) -> tuple[list[tuple[float, str]], str]:
            told = member.to_json()
            return [rank(name, member.point.get(name)) for name in names], str(
                told.get("run", told.get("runs"))
            )

        return cls(tuple(sorted(members, key=place)), tuple(names))

    @property
    def model(self) -> str:
        """Of all of them."""
        return self.members[0].model

    def points(self) -> tuple[Point, ...]:
        """Each once."""
        found: list[Point] = []
        for member in self.members:
            if (point := self._point(member)) not in found:
                found.append(point)
        return tuple(found)

    def repetitions(self, point: Point) -> int:
        """Runs at a point."""
        return len(self._at(point))

    def of_cell(self, cell: Cell) -> Member:
        """The run that a cell is measured on."""
        return self._at(cell.point)[cell.repetition]

    def _at(self, point: Point) -> list[Member]:
        return [member for member in self.members if self._point(member) == dict(point)]

    def _point(self, member: Member) -> dict[str, float | str]:
        return {name: member.point[name] for name in self.names if name in member.point}

    def data(self, seed: int, *, shares: int, **settings: Any) -> RunData:
        """Nothing: each run is read at its point."""
        raise UserError("stored runs at several points are read one by one")

    def problem_here(self) -> str | None:
        """Why this process cannot read the runs, or None if it can."""
        return first_problem(self.members)

    def placebo(self) -> Emulated:
        """An emulated miner of that model; one that cannot be emulated is stood for by an S9."""
        return self.members[0].placebo()

    def to_json(self) -> dict[str, Any]:
        """Plain data, without the place of the database."""
        told = [member.to_json() for member in self.members]
        runs = [run for one in told for run in one.get("runs", [one.get("run")])]
        emulated = [one["plants"] for one in told if one.get("emulated")]
        plants = {kind: strength for one in emulated for kind, strength in one.items()}
        return {
            "kind": self.kind,
            "model": self.model,
            "runs": list(dict.fromkeys(runs)),
            "points": told,
            **({"emulated": True, "plants": plants} if emulated else {}),
        }


def one_named(db: str, name: str) -> Recorded:
    """A stored run by its name; that of a device before ``=`` is left aside.

    Raises:
        UserError: if there is no such run.
    """
    return Recorded.find(db, name.partition("=")[2] or name)


def named(db: str, names: Sequence[str]) -> list[Recorded]:
    """Several stored runs, each as of :func:`one_named`.

    Raises:
        UserError: if there is no such run, or one is named twice.
    """
    found = [one_named(db, name) for name in names]
    for place, one in enumerate(found):
        if any(other.run == one.run for other in found[:place]):
            raise UserError(f"run {one.run} is named twice: a run is no repetition of itself")
    return found


def of_cell(subject: Subject, cell: Cell) -> Subject:
    """The stored run that a cell is measured on; any other subject as it is."""
    return subject.of_cell(cell) if isinstance(subject, RecordedRuns) else subject


def runs_in(subject: Subject, usual: int) -> int:
    """Cells that share a level: as many as there are stored runs; of any other subject the usual number."""
    return len(subject.members) if isinstance(subject, RecordedRuns) else usual
