"""Python and Lean compute the same: equations between what both make of equal random fractions, for Lean to check.

A row of the table names a Python function, the Lean definition of the same name, and how arguments are drawn and
written. Values are computed in Python and stand in the Lean file as numbers, so that the kernel compares them with
its own.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from experiments.proofs.certificate import rational
from experiments.proofs.sources import Module, Project

MODULE = "Silicon.Equalities"
Draw = Callable[[np.random.Generator], Any]


@dataclass(frozen=True)
class Equality:
    """A function that both sides have.

    Attributes:
        python: module and function with a colon between them.
        lean: full name of the definition.
        draw: draws the arguments of the Lean definition, in its order.
        written: the Lean term of these arguments; by default the definition applied to rationals and naturals.
        computed: the Python call with these arguments; by default in the same order.
        value: the Lean term of the result.
    """

    python: str
    lean: str
    draw: Callable[[np.random.Generator], Sequence[Any]]
    written: Callable[[Sequence[Any]], str] | None = None
    computed: Callable[[Any, Sequence[Any]], Any] | None = None
    value: Callable[[Any], str] | None = None

    def function(self) -> Any:
        """The Python function; None where this version of the lab has none of that name."""
        module, name = self.python.split(":")
        try:
            return getattr(importlib.import_module(module), name, None)
        except ModuleNotFoundError as error:
            if error.name is not None and module.startswith(error.name):
                return None
            raise

    def statement(self, rng: np.random.Generator) -> str:
        """One equation in Lean."""
        arguments = self.draw(rng)
        function = self.function()
        result = function(*arguments) if self.computed is None else self.computed(function, arguments)
        left = (
            f"{self.lean} {' '.join(map(term, arguments))}"
            if self.written is None
            else self.written(arguments)
        )
        return f"{left} = {(self.value or term)(result)}"


def term(value: Any) -> str:
    """A number or a list of them as a Lean term."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Fraction):
        return rational(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(term, value)) + "]"
    return str(int(value))


def word(value: int) -> str:
    """A 32-bit word."""
    return f"{int(value)}#32"


def state(value: Sequence[int]) -> str:
    """Eight words as the state of SHA-256."""
    return "⟨" + ", ".join(map(word, value)) + "⟩"


def part(rng: np.random.Generator, *, above: int = 0, below: int = 0) -> Fraction:
    """A fraction from 0 to 1; ``above=1`` leaves out 0, ``below=1`` leaves out 1."""
    denominator = int(rng.integers(2, 40))
    return Fraction(int(rng.integers(above, denominator + 1 - below)), denominator)


def joint(rng: np.random.Generator) -> tuple[list[list[Fraction]], list[list[int]]]:
    """A joint table of 2 or 3 secrets and 2 to 4 observations, and the counts that it comes from."""
    counts = rng.integers(0, 9, (int(rng.integers(2, 4)), int(rng.integers(2, 5)))).tolist()
    counts[0][0] += 1
    total = sum(map(sum, counts))
    return [[Fraction(c, total) for c in row] for row in counts], counts


def _energy(rng: np.random.Generator) -> Sequence[Any]:
    """q, k, n, c, r, s as the Lean definitions take them."""
    n = int(rng.integers(1, 129))
    k = int(rng.integers(0, n + 1))
    return (part(rng), Fraction(k), Fraction(n), part(rng) / 10, part(rng, above=1), part(rng, below=1))


def _without(index: int, arguments: Sequence[Any]) -> list[Any]:
    return [value for i, value in enumerate(arguments) if i != index]


def _keyword(function: Any, names: Sequence[str], arguments: Sequence[Any]) -> Any:
    return function(**dict(zip(names, arguments, strict=True)))


def _named(*names: str) -> Callable[[Any, Sequence[Any]], Any]:
    """Call with these keywords: the two sides may have their arguments in different orders."""
    return lambda function, arguments: _keyword(function, names, arguments)


def _table(counts: list[list[int]]) -> str:
    cells = "if i.val = {} then {} else "
    columns = [
        "".join(f"if j.val = {j} then {value} else " for j, value in enumerate(row)) + "0" for row in counts
    ]
    body = "".join(cells.format(i, f"({column})") for i, column in enumerate(columns)) + "0"
    sizes = f"(n := {len(counts)}) (m := {len(counts[0])})"
    return f"(FinDist.tableOfCounts {sizes} (fun i j => {body}) (by decide +kernel))"


def _leak(name: str) -> Equality:
    camel = name.split("_")[0] + "".join(piece.capitalize() for piece in name.split("_")[1:])
    return Equality(
        f"tpf.leakage:{name}",
        f"Silicon.FinDist.{camel}",
        draw=joint,
        written=lambda arguments: f"{_table(arguments[1])}.{camel}",
        computed=lambda function, arguments: function(arguments[0]),
    )


def _tail(rng: np.random.Generator) -> Sequence[Any]:
    n = int(rng.integers(1, 13))
    return part(rng, above=1, below=1), n, int(rng.integers(0, n + 2))


def _state(rng: np.random.Generator) -> list[int]:
    return [int(value) for value in rng.integers(0, 2**32, 8)]


def _digits(rng: np.random.Generator) -> list[int]:
    """Digits to the base 1000, the least significant first, without zeros at the end."""
    found = [int(digit) for digit in rng.integers(0, 1000, int(rng.integers(0, 6)))]
    while found and found[-1] == 0:
        found.pop()
    return found


def _sum(field: str) -> Callable[[Any, Sequence[Any]], Any]:
    """A field of the sum; the base comes last in Python."""
    return lambda function, arguments: getattr(function(arguments[1], arguments[2], arguments[0]), field)


def _round(name: str) -> Equality:
    return Equality(
        f"tpf.sha256:{name}",
        f"Silicon.{name}",
        draw=lambda rng: (_state(rng), int(rng.integers(0, 2**32))),
        written=lambda arguments: f"{name} {state(arguments[0])} {word(arguments[1])}",
        computed=lambda function, arguments: function(_python_state(arguments[0]), arguments[1]),
        value=state,
    )


def _python_state(value: Sequence[int]) -> Any:
    return importlib.import_module("tpf.sha256").State(*value)


TABLE: tuple[Equality, ...] = (
    Equality(
        "tpf.energy:work", "Silicon.work", lambda rng: _energy(rng)[:4], computed=_named("q", "k", "n", "c")
    ),
    Equality(
        "tpf.energy:energy_per_share",
        "Silicon.energyPerShare",
        _energy,
        computed=_named("q", "k", "n", "c", "r", "s"),
    ),
    Equality(
        "tpf.energy:break_even_recall",
        "Silicon.breakEvenRecall",
        lambda rng: _without(4, _energy(rng)),
        computed=_named("q", "k", "n", "c", "s"),
    ),
    Equality(
        "tpf.energy:equivalent_hashrate",
        "Silicon.equivalentHashrate",
        lambda rng: (part(rng, above=1), *_energy(rng)[1:]),
        computed=_named("q", "k", "n", "c", "r", "s"),
    ),
    Equality("tpf.energy:published_saving", "Silicon.publishedSaving", lambda rng: _energy(rng)[1:3]),
    Equality("tpf.energy:combined_saving", "Silicon.combinedSaving", lambda rng: (part(rng), part(rng))),
    *map(
        _leak,
        (
            "tv_leak",
            "chi_square_leak",
            "prior_vulnerability",
            "posterior_vulnerability",
            "vulnerability_gain",
        ),
    ),
    Equality("tpf.certificate:tail", "Silicon.tail", _tail),
    Equality(
        "tpf.certificate:chernoff",
        "Silicon.chernoff",
        lambda rng: (*_tail(rng), 1 + part(rng)),
    ),
    _round("round"),
    _round("unround"),
    Equality(
        "tpf.sha256:compress",
        "Silicon.compress",
        draw=lambda rng: (_state(rng), [*_state(rng), *_state(rng)]),
        written=lambda arguments: f"compress {state(arguments[0])} [{', '.join(map(word, arguments[1]))}]",
        computed=lambda function, arguments: function(_python_state(arguments[0]), arguments[1]),
        value=state,
    ),
    Equality(
        "tpf.hns:encode",
        "Silicon.encode",
        draw=lambda rng: (int(rng.integers(2, 1001)), int(rng.integers(0, 5000))),
        computed=lambda function, arguments: function(arguments[1], arguments[0]),
    ),
    *(
        Equality(
            "tpf.hns:add",
            f"Silicon.{name}",
            draw=lambda rng: (1000, _digits(rng), _digits(rng)),
            computed=_sum(field),
        )
        for name, field in (("add", "digits"), ("addCost", "digit_operations"))
    ),
    Equality(
        "tpf.hns:decode",
        "Silicon.decode",
        draw=lambda rng: (1000, _digits(rng)),
        computed=lambda function, arguments: function(arguments[1], arguments[0]),
    ),
)


def there(project: Project, table: Sequence[Equality] = TABLE) -> list[Equality]:
    """Rows of the table that both this version of the lab and the Lean project have."""
    declared = {d.name for module in project.modules for d in module.declarations}
    return [row for row in table if row.lean in declared and row.function() is not None]


def module_of(project: Project, rng: np.random.Generator, *, each: int = 3) -> Module:
    """A Lean module of equations, a few of each row.

    Args:
        project: whose modules are imported, but for the root.
        rng: draws the arguments.
        each: equations per row.
    """
    imports = [f"import {module.name}" for module in project.modules if module.name != project.root]
    lines = [
        *imports,
        "",
        "noncomputable section",
        "namespace Silicon",
        "",
        "set_option maxRecDepth 100000",
        "",
    ]
    for row in there(project):
        for number in range(each):
            name = f"Equalities.{row.lean.removeprefix('Silicon.').replace('.', '_')}_{number}"
            lines.append(f"theorem {name} : {row.statement(rng)} := by decide +kernel")
    return Module(MODULE, "Silicon/Equalities.lean", "\n".join([*lines, "", "end Silicon", ""]))
