"""``statements.json``: what was agreed to be proved, so that a weakened statement shows in review as a changed line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from experiments.proofs import pins, store
from experiments.proofs.declarations import statement_of
from experiments.proofs.findings import Theorem, Violation
from experiments.proofs.runner import Constant
from experiments.proofs.sources import MANIFEST, Module, Project

_DEFINES = ("def", "abbrev", "structure", "class", "inductive", "instance")


@dataclass(frozen=True)
class Place:
    """Where something is declared."""

    file: str
    line: int


@dataclass(frozen=True)
class Manifest:
    """Statements, the definitions that they are made of, and the examples that show them not to be empty.

    Attributes:
        lean: version that printed them.
        theorems: rows by name.
        definitions: rows by name, or by module and source where a declaration has no name.
        examples: rows by module and statement.
        modules: title and introduction of each module by its name.
        places: where each row stands in the project; empty in a manifest that was read.
    """

    lean: str
    theorems: dict[str, dict[str, Any]]
    definitions: dict[str, dict[str, Any]]
    examples: dict[str, dict[str, Any]]
    modules: dict[str, dict[str, Any]]
    places: dict[str, Place]

    def to_text(self) -> str:
        """Text of the file: one line per fact, in the order of the modules."""
        rows = {
            "lean": self.lean,
            "modules": list(self.modules.values()),
            "theorems": list(self.theorems.values()),
            "definitions": list(self.definitions.values()),
            "examples": list(self.examples.values()),
        }
        return json.dumps(rows, ensure_ascii=False, indent=1) + "\n"


def made(project: Project, lean: str, theorems: list[Theorem], constants: tuple[Constant, ...]) -> Manifest:
    """The manifest of what a project proves now.

    Args:
        project: as read.
        lean: version that printed the statements.
        theorems: public ones.
        constants: all of Lean's.
    """
    rows: dict[str, dict[str, Any]] = {}
    places: dict[str, Place] = {}
    for theorem in theorems:
        rows[theorem.name] = {
            "name": theorem.name,
            "module": theorem.module,
            "statement": theorem.statement,
            "explicit": _one_line(theorem.explicit),
            "axioms": list(theorem.axioms),
            "doc": theorem.doc,
        }
        places[theorem.name] = Place(theorem.file, theorem.line)
    by_name = {(constant.module, constant.name): constant for constant in constants}
    by_key = {constant.key: constant for constant in constants}
    declared = {d.name for module in project.modules for d in module.declarations}
    definitions: dict[str, dict[str, Any]] = {}
    examples: dict[str, dict[str, Any]] = {}
    for module in project.modules:
        # instances without a name: which of them is which only Lean knows
        nameless = [
            constant
            for constant in constants
            if constant.module == module.name
            and constant.core_class
            and not constant.internal
            and constant.name not in declared
        ]
        for declaration in module.declarations:
            place = Place(module.file, declaration.line)
            if declaration.keyword in _DEFINES:
                constant = by_name.get((module.name, declaration.name))
                made_of = [constant] if constant else [] if declaration.name else nameless
                label = declaration.name or f"{module.name}: {statement_of(declaration.source)}"
                definitions[label] = {
                    "name": declaration.name,
                    "module": module.name,
                    "type": "" if constant is None else _one_line(constant.explicit),
                    "source": declaration.source,
                    "hash": _digest(made_of, by_key),
                }
                places[label] = place
            elif declaration.keyword == "example":
                statement = statement_of(declaration.source)
                label = f"{module.name}: {statement}"
                examples[label] = {"module": module.name, "statement": statement}
                places[label] = place
    modules = {module.name: _introduction(module) for module in project.modules}
    return Manifest(lean, rows, definitions, examples, modules, places)


def read(raw: bytes) -> Manifest:
    """The manifest of a file.

    Raises:
        ValueError: if it is none.
    """
    data = json.loads(raw)
    try:
        return Manifest(
            lean=data["lean"],
            theorems={row["name"]: row for row in data["theorems"]},
            definitions={
                row["name"] or f"{row['module']}: {statement_of(row['source'])}": row
                for row in data["definitions"]
            },
            examples={f"{row['module']}: {row['statement']}": row for row in data["examples"]},
            modules={row["name"]: row for row in data.get("modules", [])},
            places={},
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"a field is missing: {error}") from error


def compare(project: Project, now: Manifest) -> Iterator[Violation]:
    """What is no longer, not yet, or otherwise than ``statements.json`` says."""
    raw = project.contents.get(MANIFEST)
    if raw is None:
        return  # reading the project has said so
    try:
        agreed = read(raw)
    except (ValueError, RecursionError) as error:
        yield Violation(MANIFEST, 1, "manifest", f"cannot be read: {error}")
        return
    text = raw.decode("utf-8", errors="replace").replace("\r\n", "\n")
    there = {module.name for module in project.modules}
    # of a project that was made of a part of another one, that part
    theorems, definitions, examples = (
        {label: row for label, row in rows.items() if not project.partial or row.get("module") in there}
        for rows in (agreed.theorems, agreed.definitions, agreed.examples)
    )
    # two builds of one version may compile a definition differently; its source is compared all the same
    same_build = agreed.lean == now.lean
    found: list[Violation] = []
    if not same_build and agreed.lean != pins.LEAN_SAYS:
        line = next((n for n, row in enumerate(text.splitlines(), 1) if '"lean"' in row), 1)
        message = f"was written by Lean {agreed.lean!r}, and this is {now.lean!r}"
        found.append(Violation(MANIFEST, line, "manifest", message))
    fields = ("module", "type", "source", *(("hash",) if same_build else ()))
    stated = ("module", "statement", "explicit", "doc")
    # a theorem that became private or a definition stands where its name does, not only in the manifest
    places = {d.name: Place(m.file, d.line) for m in project.modules for d in m.declarations} | now.places
    found += _compare("theorem", theorems, now.theorems, stated, places, text)
    found += _compare("definition", definitions, now.definitions, fields, places, text)
    found += _compare("example", examples, now.examples, ("statement",), places, text)
    if not found and same_build and not project.partial:
        found += _as_written(text, now.to_text())
    yield from found


def _as_written(text: str, wanted: str) -> Iterator[Violation]:
    """The rest of the file: what is said twice, in another order, of the modules, or not by this program."""
    lines, due = text.split("\n"), wanted.split("\n")
    for number in range(max(len(lines), len(due))):
        was = lines[number] if number < len(lines) else None
        now = due[number] if number < len(due) else None
        if was != now:
            message = f"is not what is proved: {_short(was)} should be {_short(now)}"
            yield Violation(MANIFEST, min(number + 1, len(lines)), "manifest", message)
            return


def _compare(
    what: str,
    agreed: dict[str, dict[str, Any]],
    now: dict[str, dict[str, Any]],
    fields: tuple[str, ...],
    places: dict[str, Place],
    text: str,
) -> Iterator[Violation]:
    for label, row in agreed.items():
        if label not in now:
            place = places.get(label) or Place(MANIFEST, _line_of(text, row))
            message = f"the {what} {label} is gone from {row.get('module')}"
            yield Violation(place.file, place.line, "manifest", message)
            continue
        place = places[label]
        for name in fields:
            if row.get(name) != now[label].get(name):
                was, is_now = _short(row.get(name)), _short(now[label].get(name))
                message = f"the {what} {label} has another {name} than agreed: {was} became {is_now}"
                yield Violation(place.file, place.line, "manifest", message)
                break
    for label in now:
        if label not in agreed:
            place = places[label]
            message = f"the {what} {label} is not in {MANIFEST}"
            yield Violation(place.file, place.line, "manifest", message)


def _line_of(text: str, row: dict[str, Any]) -> int:
    wanted = json.dumps(row.get("name") or row.get("statement") or row.get("source"), ensure_ascii=False)
    return next((number for number, line in enumerate(text.splitlines(), 1) if wanted in line), 1)


def _digest(constants: list[Constant], by_key: dict[str, Constant]) -> str:
    """Hash of definitions and of what Lean, a ``where`` or a ``let rec`` made for them; empty if there is none."""
    if not constants:
        return ""
    seen: dict[str, str] = {}
    waiting = list(constants)
    within = tuple(f"{constant.name}." for constant in constants)
    while waiting:
        one = waiting.pop()
        if one.key in seen:
            continue
        seen[one.key] = one.hash
        own = [by_key[key] for key in (*one.uses, *one.value_uses) if key in by_key]
        waiting += [
            part
            for part in own
            if part.internal or part.kind == "constructor" or part.name.startswith(within)
        ]
    return store.key([f"{key} {value}" for key, value in sorted(seen.items())])[:16]


def _introduction(module: Module) -> dict[str, Any]:
    """Title and text of the first comment on a module."""
    first = next((t.text for t in module.tokens if t.kind == "doc" and t.text.startswith("/-!")), "/-! -/")
    lines = first.removeprefix("/-!").removesuffix("-/").strip().splitlines()
    title = lines[0].lstrip("# ").strip() if lines else ""
    return {"name": module.name, "title": title, "text": "\n".join(lines[1:]).strip()}


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _short(value: Any, limit: int = 300) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= limit else text[:limit] + "…"
