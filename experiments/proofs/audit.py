"""What of Lean's answer is allowed: no gap, no axiom, nothing unchecked by the kernel, nothing under a false name."""

from __future__ import annotations

from collections.abc import Iterator

from experiments.proofs.findings import Theorem, Violation
from experiments.proofs.manifest import Place
from experiments.proofs.runner import Constant, LeanReport
from experiments.proofs.sources import Project

AXIOMS = ("propext", "Classical.choice", "Quot.sound")
_THEOREMS = ("theorem", "lemma")
_EXPORTED = ("max", "min", "some", "none", "true", "false", "pure", "not", "and", "or")
"""Short names of core Lean that are aliases, and so no constants."""

_COMMANDS = (
    *(
        "abbrev",
        "attribute",
        "classInductive",
        "classTk",
        "computedFields",
        "ctor",
        "declBody",
        "declId",
        "declModifiers",
    ),
    *(
        "declSig",
        "declValEqns",
        "declValSimple",
        "declaration",
        "definition",
        "deriving",
        "derivingClass",
        "docComment",
    ),
    *(
        "end",
        "eoi",
        "example",
        "in",
        "include",
        "inductive",
        "instance",
        "moduleDoc",
        "mutual",
        "namedPrio",
        "namespace",
    ),
    *(
        "noncomputable",
        "nonrec",
        "omit",
        "open",
        "openOnly",
        "openScoped",
        "openSimple",
        "optDeclSig",
        "optDefDeriving",
    ),
    *(
        "optDeriving",
        "optNamedPrio",
        "plainDocComment",
        "private",
        "protected",
        "section",
        "sectionHeader",
        "set_option",
    ),
    *(
        "structExplicitBinder",
        "structFields",
        "structImplicitBinder",
        "structInstBinder",
        "structSimpleBinder",
    ),
    *("structure", "structureTk", "theorem", "universe", "variable", "visibility", "whereStructInst"),
    *(
        "declValWhere",
        "whereDecls",
        "structCtor",
        "structParent",
        "extends",
        "optionValue",
        "public",
        "terminationBy",
    ),
)
_DECLARING = "Lean.Parser.Command."
ALLOWED_COMMANDS = {*(_DECLARING + kind for kind in _COMMANDS)}
FORBIDDEN_SYNTAX = {
    *("Lean.Parser.Tactic.nativeDecide", "Lean.Parser.Tactic.tacticSorry", "Lean.Parser.Tactic.tacticAdmit"),
    *("Lean.Parser.Tactic.tacticStop_", "Lean.Parser.Term.sorry", "Lean.Parser.Term.byElab", "Lean.runTac"),
    *(
        "Lean.Parser.Tactic.runTac",
        "Lean.Parser.Term.unsafe",
        "Lean.includeStr",
        "Lean.Parser.Term.includeStr",
    ),
    *("Lean.Parser.Attr.implemented_by", "Lean.Parser.Attr.extern", "Lean.reduceCmd", "Lean.guardCmd"),
}
"""Kinds of syntax that may not occur; of commands everything that is not in the list above."""


def audit(project: Project, report: LeanReport) -> tuple[list[Theorem], int, list[Violation]]:
    """Public theorems, the number of gaps, and every violation that only Lean could show.

    Args:
        project: as read.
        report: what Lean said of it.
    """
    places = Places(project)
    found = [
        *_messages(project, report),
        *_syntax(project, report),
        *_unchecked(report, places),
        *_axioms(report, places),
        *_names(project, report, places),
        *_output(project, report),
    ]
    theorems, missing = _theorems(project, report)
    sorries = sum(message["kind"] == "hasSorry" for message in report.messages)
    unique = dict.fromkeys([*found, *missing])
    return theorems, sorries, sorted(unique, key=lambda violation: (violation.file, violation.line))


class Places:
    """Where a name is declared; what Lean made for a declaration counts as that declaration."""

    def __init__(self, project: Project) -> None:
        self._by_name: dict[str, Place] = {}
        self._root = f"{project.root}.lean"
        for module in project.modules:
            for declaration in module.declarations:
                if declaration.name:
                    self._by_name.setdefault(declaration.name, Place(module.file, declaration.line))
        self._modules = {module.name: module for module in project.modules}

    def of(self, name: str, module: str | None = None) -> tuple[str, int]:
        """File and line."""
        if name.startswith("_private.") and ".0." in name:
            module, _, name = name.removeprefix("_private.").partition(".0.")
        parts = name.split(".")
        for length in range(len(parts), 0, -1):
            place = self._by_name.get(".".join(parts[:length]))
            if place is not None:
                return place.file, place.line
        if module in self._modules:
            # a part that Lean made for the instance, such as _proof_1, says nothing of the instance
            own = next((part for part in parts if part.startswith("inst")), parts[-1])
            return self._modules[module].file, self._anonymous(module, own)
        return self._root, 1

    def _anonymous(self, module: str, name: str) -> int:
        """Line of an instance without a name, the only public thing whose name Lean makes up."""
        instances = [d for d in self._modules[module].declarations if d.keyword == "instance" and not d.name]
        words = _words_of(name)
        fits = [sum(word in declaration.source for word in words) for declaration in instances]
        return instances[fits.index(max(fits))].line if instances else 1


def _words_of(name: str) -> list[str]:
    """``instLTNat`` speaks of LT and Nat."""
    import re

    return re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z]+", name.removeprefix("inst"))


def _messages(project: Project, report: LeanReport) -> Iterator[Violation]:
    files = {module.name: module.file for module in project.modules}
    for message in report.messages:
        file, line, text = files[message["module"]], message["line"], " ".join(message["text"].split())
        if message["kind"] == "hasSorry":
            yield Violation(file, line, "sorry", text)
        elif message["severity"] == "error":
            yield Violation(file, line, "error", text[:500])


def _syntax(project: Project, report: LeanReport) -> Iterator[Violation]:
    """What Lean's own parser saw, whatever a reading of the text made of it."""
    for refused in report.refused:
        module = next(m for m in project.modules if m.name == refused["module"])
        text = f"{refused['kind']} is not allowed here: the module is not elaborated"
        yield Violation(module.file, max(refused["line"], 1), "syntax", text)
    for module in project.modules:
        for kind, line in report.kinds.get(module.name, {}).items():
            command = kind.startswith(_DECLARING) and kind not in ALLOWED_COMMANDS
            if command or kind in FORBIDDEN_SYNTAX or kind.startswith(project.root + "."):
                yield Violation(module.file, max(line, 1), "syntax", f"{kind} is not allowed here")


def _unchecked(report: LeanReport, places: Places) -> Iterator[Violation]:
    """What the driver saw itself: the kernel's refusals, and what it was not asked about."""
    modules = {constant.key: constant.module for constant in report.constants}
    for said in report.violations:
        place = places.of(said["name"], modules.get(said["name"]))
        yield Violation(*place, said["kind"], f"{said['name']} {said['text']}")


def _output(project: Project, report: LeanReport) -> Iterator[Violation]:
    files = {module.name: module.file for module in project.modules}
    for module, line in report.noise:
        text = f"something else than Lean's driver printed: {line[:200]}"
        yield Violation(files.get(module, f"{project.root}.lean"), 1, "output", text)


def _axioms(report: LeanReport, places: Places) -> Iterator[Violation]:
    for constant in report.constants:
        for axiom in constant.axioms:
            if axiom in AXIOMS or axiom == constant.name:
                continue  # an axiom itself is reported by the replay
            kind = {"sorryAx": "sorry", "Lean.ofReduceBool": "native", "Lean.ofReduceNat": "native"}.get(
                axiom, "axiom"
            )
            text = f"{constant.name} rests on {axiom}; only {', '.join(AXIOMS)} are allowed"
            yield Violation(*places.of(constant.key, constant.module), kind, text)


def _names(project: Project, report: LeanReport, places: Places) -> Iterator[Violation]:
    declared = {d.name for module in project.modules for d in module.declarations if d.name}
    for constant in report.constants:
        place = places.of(constant.key, constant.module)
        if constant.name in declared and constant.internal:
            text = f"{constant.name} is a name as Lean makes them for itself: it would not be printed"
            yield Violation(*place, "name", text)
        elif constant.internal and not constant.private:
            continue
        # a name with macro scopes, or one that Lean makes for a private declaration, is nobody's to write
        if constant.name != project.root and not constant.name.startswith(project.root + "."):
            text = f"{constant.name} lies outside the namespace {project.root}"
            yield Violation(*place, "namespace", text)
        elif constant.name in declared:
            short = constant.shadows or next(
                (alias for alias in _EXPORTED if constant.name.endswith(f".{alias}")), ""
            )
            if short and constant.kind not in ("theorem", "constructor"):
                text = f"{constant.name} has the name of core Lean's {short}, and is taken for it within its namespace"
                yield Violation(*place, "shadow", text)
        if constant.core_class and constant.kind == "def" and not constant.class_uses:
            text = (
                f"{constant.name} is an instance of core Lean's {constant.core_class} for core types: "
                "it would change what a statement means"
            )
            yield Violation(*place, "instance", text)
        if constant.vacuous:
            yield Violation(
                *place, "vacuous", f"{constant.name} assumes what cannot be, or claims True: it says nothing"
            )


def _not_there(project: Project, report: LeanReport) -> set[str]:
    """Modules that were refused, and those that import one of them."""
    gone = {refused["module"] for refused in report.refused}
    for module in project.modules:
        if any(name in gone for name, _ in module.imports):
            gone.add(module.name)
    return gone


def _theorems(project: Project, report: LeanReport) -> tuple[list[Theorem], list[Violation]]:
    by_name: dict[tuple[str, str], Constant] = {
        (c.module, c.name): c for c in report.constants if not c.private
    }
    theorems: list[Theorem] = []
    missing: list[Violation] = []
    broken = {m["module"] for m in report.messages if m["severity"] == "error"}
    broken |= _not_there(project, report)
    for module in project.modules:
        for declaration in module.declarations:
            if declaration.keyword not in _THEOREMS or declaration.private:
                continue
            constant = by_name.get((module.name, declaration.name))
            if constant is None or constant.kind != "theorem":
                if module.name not in broken:
                    text = f"{declaration.name} is written as a theorem, but Lean has none of that name"
                    missing.append(Violation(module.file, declaration.line, "missing", text))
                continue
            theorems.append(
                Theorem(
                    name=constant.name,
                    statement=constant.statement,
                    explicit=constant.explicit,
                    axioms=constant.axioms,
                    doc=constant.doc,
                    module=module.name,
                    file=module.file,
                    line=declaration.line,
                )
            )
    return theorems, missing
