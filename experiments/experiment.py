"""What an experiment is: a claim, its null, a rule fixed before the data, and two functions that measure and conclude.

An experiment is one file of :mod:`experiments.catalogue` that ends in ``EXPERIMENT = Experiment(…)``. It says what it
measures in one *cell* (an operating point, a repetition, an arm) and what it concludes from all of them; everything
else (order, seeds, checkpoints, several machines, the page) is the runner's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.attached import Attached
    from experiments.charts import AnyChart
    from experiments.subjects import Subject

EVIDENCE, NO_EVIDENCE, CANNOT_TELL = "evidence", "no_evidence", "cannot_tell"
CODES = (EVIDENCE, NO_EVIDENCE, CANNOT_TELL)

REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"

SUBJECT, PLACEBO = "subject", "placebo"

FAST, QUICK, FULL = "fast", "quick", "full"
"""Sizes: *fast* for the study of false alarms (at most 2 s of CPU), *quick* for a first look, *full* for an answer."""
SIZES = (FAST, QUICK, FULL)

ALPHA = 0.05
"""Level of every decision, all tests of one experiment together."""

Point = Mapping[str, float | str]
"""Conditions of a cell by name, with the unit in the name: ``{"core_voltage_mv": 900.0}``."""
Values = Mapping[str, Any]
"""What a cell gave, as plain data."""


@dataclass(frozen=True)
class Sample:
    """How much is measured, and what that can show.

    Attributes:
        repetitions: of every point.
        shares: per cell; None where the cell is counted in something else.
        detectable: smallest effect found with power 0.8, in words with its unit; computed, not typed.
    """

    repetitions: int
    shares: int | None
    detectable: str


@dataclass(frozen=True)
class Cell:
    """One measurement of a plan.

    Attributes:
        number: place in the table of results, from 0; not the order in which cells are measured.
        point: its conditions.
        repetition: from 0.
        arm: ``subject``, or ``placebo``: the same pipeline on an emulated miner with nothing planted.
        seed: of everything random in it.
        size: of the plan.
    """

    number: int
    point: Point
    repetition: int
    arm: str
    seed: int
    size: str

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self) | {"point": dict(self.point)}


@dataclass(frozen=True)
class Row:
    """A cell and what it gave."""

    cell: Cell
    values: Values


@dataclass(frozen=True)
class Number:
    """Our value for a number of the papers.

    Attributes:
        value: ours.
        ci: its 95 % interval, None where it has none.
        status: ``reproduced`` or ``not reproduced``, by the rule in ``text``; None where this run cannot say.
        text: what was compared with what.
    """

    value: float
    ci: tuple[float, float] | None
    status: str | None
    text: str


@dataclass(frozen=True)
class Finding:
    """What one arm of an experiment says.

    Attributes:
        code: ``evidence``, ``no_evidence`` or ``cannot_tell``.
        text: the same in plain words, with numbers.
        statistic: name of what was decided on.
        value: of the statistic.
        ci: 95 % interval of it.
        p_value: against the null, all tests of the experiment together.
        detectable: smallest effect that this run would have shown with power 0.8, in words.
        numbers: by id of the claim.
    """

    code: str
    text: str
    statistic: str
    value: float | None
    ci: tuple[float, float] | None = None
    p_value: float | None = None
    detectable: str = ""
    numbers: Mapping[str, Number] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise ValueError(f"a finding is one of {', '.join(CODES)}, not {self.code!r}")

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self) | {"numbers": {name: asdict(number) for name, number in self.numbers.items()}}


@dataclass(frozen=True)
class Experiment:
    """A claim and how it is tested.

    Attributes:
        name: as on the command line.
        title: a question.
        claims: ids in the ledger of claims that it gives a number for.
        source: paper and section.
        hypothesis: what the papers say.
        null: what would be there without it.
        decision: the rule, in words.
        kinds: subjects that it can be run on: ``emulator``, ``trace``, ``device``.
        models: emulated miners that it can be run on, the default first.
        capabilities: settings that a device must have: ``frequency``, ``voltage``, ``difficulty``, ``jobs``.
        sample: how much is measured, by size.
        points: conditions of the cells for a subject, by size; one empty point where there is nothing to vary.
        measure: one cell on one subject.
        conclude: from the rows of one arm.
        compares: whether it compares devices, so that miners and stored runs have to be of several.
        together: makes one subject of stored runs, from the place of the trace and their names; None where it is made
            on each of them.
        acts: why it is not made on stored runs, where it is not.
        effect: planted effect that the detectable strength of ``fast`` is stated for: kind and strength, or None.
        placebo: whether the emulator's null is measured beside it.
        lasts: seconds that a cell takes an attached miner, by size and point; None: those of its shares.
        page: name of the page in docs/experiments.
        charts: what a report draws of the cells of both arms; None leaves the choice to the report.
    """

    name: str
    title: str
    claims: tuple[str, ...]
    source: str
    hypothesis: str
    null: str
    decision: str
    kinds: tuple[str, ...]
    models: tuple[str, ...]
    sample: Callable[[str], Sample]
    measure: Callable[[Cell, Subject], Values]
    conclude: Callable[[Sequence[Row]], Finding]
    points: Callable[[str, Subject], Sequence[Point]] = lambda size, subject: ({},)
    capabilities: tuple[str, ...] = ()
    compares: bool = False
    together: Callable[[str, Sequence[str]], Subject] | None = None
    acts: str = ""
    effect: tuple[str, float] | None = None
    placebo: bool = True
    lasts: Callable[[str, Point, Attached], float] | None = None
    page: str = ""
    charts: Callable[[Sequence[Row]], Sequence[AnyChart]] | None = None

    def to_json(self) -> dict[str, Any]:
        """What it says of itself, as plain data."""
        words = ("name", "title", "source", "hypothesis", "null", "decision", "page")
        lists = ("claims", "kinds", "models", "capabilities")
        return {
            **{name: getattr(self, name) for name in words},
            **{name: list(getattr(self, name)) for name in lists},
            "sample": {size: asdict(self.sample(size)) for size in SIZES},
            "effect": None if self.effect is None else {self.effect[0]: self.effect[1]},
        }


def with_placebo(found: Finding, placebo: Finding | None) -> Finding:
    """The finding of the subject, held back where the same pipeline finds the effect where there is none."""
    if placebo is None or found.code != EVIDENCE or placebo.code != EVIDENCE:
        return found
    text = f"Held back: the placebo arm, an ordinary emulated miner, shows it too ({placebo.text}) Here: {found.text}"
    return replace(found, code=CANNOT_TELL, text=text)
