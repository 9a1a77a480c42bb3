"""What a check finds: violations, theorems, and the result that is printed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Violation:
    """One reason why the proofs do not count.

    Attributes:
        file: relative to the project.
        line: from 1.
        kind: ``sorry``, ``axiom``, ``kernel``, ``manifest``, ``import``, …
        text: what is wrong and, where it helps, what to do.
        stops: Lean is not started on a text that can run code of its own or change Lean's grammar.
    """

    file: str
    line: int
    kind: str
    text: str
    stops: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"file": self.file, "line": self.line, "kind": self.kind, "text": self.text}


@dataclass(frozen=True)
class Theorem:
    """A public theorem, as Lean prints it.

    Attributes:
        name: full name.
        statement: as a reader of Lean writes it.
        explicit: with every implicit argument, instance and full name, and no notation.
        axioms: it rests on; of the core library's own theorems only the axioms that Lean itself counts.
        doc: its documentation; None where it has none.
        module: it stands in.
        file: of the module.
        line: of its declaration.
    """

    name: str
    statement: str
    explicit: str
    axioms: tuple[str, ...]
    doc: str | None
    module: str
    file: str
    line: int

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "axioms": list(self.axioms)}


@dataclass(frozen=True)
class ModuleTime:
    """A module of the project.

    Attributes:
        name: such as ``Silicon.Energy``.
        file: relative to the project.
        seconds: that its elaboration took, whenever that was.
        elaborated: whether it was elaborated in this run, or its result taken from the cache.
    """

    name: str
    file: str
    seconds: float
    elaborated: bool

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True)
class CheckResult:
    """Outcome of a whole check.

    Attributes:
        toolchain: which Lean answered.
        seconds: the whole check took, this time.
        modules: of the project, in the order of their imports.
        theorems: public ones, in the order of the files.
        sorries: gaps in proofs.
        violations: all reasons why the result is not ok.
        cached: whether this is the result of an earlier run on the same contents.
        steps: seconds of each step inside Lean.
        peak_mib: largest memory of the Lean process; None where it was not started.
    """

    toolchain: str
    seconds: float
    modules: tuple[ModuleTime, ...] = ()
    theorems: tuple[Theorem, ...] = ()
    sorries: int = 0
    violations: tuple[Violation, ...] = ()
    cached: bool = False
    steps: dict[str, float] = field(default_factory=dict)
    peak_mib: float | None = None

    @property
    def ok(self) -> bool:
        """Nothing is wrong, and something was proved."""
        return not self.violations and self.sorries == 0 and bool(self.theorems)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "toolchain": self.toolchain,
            "seconds": round(self.seconds, 3),
            "modules": [module.to_json() for module in self.modules],
            "theorems": [theorem.to_json() for theorem in self.theorems],
            "sorries": self.sorries,
            "violations": [violation.to_json() for violation in self.violations],
            "ok": self.ok,
            "cached": self.cached,
            "steps": self.steps,
            "peak_mib": self.peak_mib,
        }
