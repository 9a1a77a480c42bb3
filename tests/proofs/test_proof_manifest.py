"""What was agreed to be proved: whatever is weakened, renamed, deleted or added shows, with file and line."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from experiments.proofs import audit, manifest, pins, scan, sources
from experiments.proofs.findings import Violation
from experiments.proofs.runner import Constant, LeanReport
from experiments.proofs.sources import Project

TWICE = Constant(
    "Silicon.Power", "Silicon.twice", "Silicon.twice", "def", False, False, "Silicon.twice (n : Nat) : Nat",
    "Silicon.twice (n : Nat) : Nat", "Twice a number.", (), (), (), "1-2", "", (), "", False,
)  # fmt: skip
EVEN = Constant(
    "Silicon.Power", "Silicon.twice_even", "Silicon.twice_even", "theorem", False, False,
    "Silicon.twice_even (n : Nat) : Silicon.twice n % 2 = 0", "explicit even", "Twice a number is even.", ("propext",),
    ("Silicon.twice",), (), "3-0", "", (), "", False,
)  # fmt: skip
LESS = EVEN._replace(
    name="Silicon.lt_twice",
    key="Silicon.lt_twice",
    explicit="explicit less",
    doc="Twice a positive number is larger.",
)


def report(*constants: Constant) -> LeanReport:
    """What Lean says of the good project."""
    return LeanReport(pins.LEAN_SAYS, (), {}, constants or (TWICE, EVEN, LESS), (), (), {}, frozenset())


def outcome(folder: Path, said: LeanReport) -> tuple[manifest.Manifest, list[Violation], Project]:
    project = sources.read(folder)
    theorems, _, wrong = audit.audit(project, said)
    now = manifest.made(project, said.version, theorems, said.constants)
    return now, [*wrong, *manifest.compare(project, now)], project


@pytest.fixture
def agreed(project_of) -> Path:
    folder = project_of()
    now, _, _ = outcome(folder, report())
    (folder / "statements.json").write_text(now.to_text(), encoding="utf-8")
    return folder


def change(folder: Path, old: str, new: str) -> None:
    file = folder / "Silicon" / "Power.lean"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_what_was_agreed_is_no_violation(agreed: Path) -> None:
    now, violations, project = outcome(agreed, report())
    assert violations == []
    again = manifest.read(project.contents["statements.json"])
    assert (again.theorems, again.definitions, again.examples) == (
        now.theorems,
        now.definitions,
        now.examples,
    )
    assert list(now.theorems) == ["Silicon.twice_even", "Silicon.lt_twice"]
    assert [row["source"] for row in now.definitions.values()] == ["def twice (n : Nat) : Nat := n + n"]
    assert [row["statement"] for row in now.examples.values()] == ["example : 1 < twice 1"]


CHANGES = {
    # what Lean says now, file, line, words
    "weakened": (
        report(TWICE, EVEN._replace(explicit="weaker"), LESS),
        "Silicon/Power.lean",
        9,
        "another explicit",
    ),
    "shown otherwise": (
        report(TWICE, EVEN._replace(statement="s"), LESS),
        "Silicon/Power.lean",
        9,
        "another statement",
    ),
    "documentation gone": (
        report(TWICE, EVEN._replace(doc=None), LESS),
        "Silicon/Power.lean",
        9,
        "another doc",
    ),
    "definition of another type": (
        report(TWICE._replace(explicit="x"), EVEN, LESS),
        "Silicon/Power.lean",
        6,
        "another type",
    ),
    "definition compiled otherwise": (
        report(TWICE._replace(hash="9-9"), EVEN, LESS),
        "Silicon/Power.lean",
        6,
        "another hash",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_in_lean_shows(agreed: Path, name: str) -> None:
    said, file, line, words = CHANGES[name]
    _, violations, _ = outcome(agreed, said)
    assert [(v.file, v.line, v.kind) for v in violations] == [(file, line, "manifest")]
    assert words in violations[0].text


TEXTS = {
    # old text, new text, kind, words
    "theorem deleted": (
        "/-- Twice a number is even. -/\ntheorem twice_even (n : Nat) : twice n % 2 = 0 := by unfold twice; omega\n",
        "",
        "manifest",
        "the theorem Silicon.twice_even is gone",
    ),
    "theorem made private": (
        "theorem twice_even",
        "private theorem twice_even",
        "manifest",
        "twice_even is gone",
    ),
    "theorem made a definition": (
        "theorem twice_even",
        "def twice_even",
        "manifest",
        "the theorem Silicon.twice_even is gone",
    ),
    "theorem renamed": ("theorem twice_even", "theorem twice_odd", "missing", "Lean has none of that name"),
    "theorem in a comment": ("theorem twice_even", "-- theorem twice_even", "manifest", "twice_even is gone"),
    "definition weakened": ("n + n", "0 + n", "manifest", "another source"),
    "definition added": (
        "example",
        "def more : Nat := 1\nexample",
        "manifest",
        "Silicon.more is not in statements.json",
    ),
    "example deleted": ("example : 1 < twice 1 := lt_twice 1 (by decide)", "", "manifest", "the example"),
    "example weakened": ("1 < twice 1 :=", "0 < twice 1 :=", "manifest", "is not in statements.json"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_change_in_the_text_shows(agreed: Path, name: str) -> None:
    old, new, kind, words = TEXTS[name]
    change(agreed, old, new)
    _, violations, _ = outcome(agreed, report())
    assert any(v.kind == kind and words in v.text and v.line > 0 for v in violations), violations


LOOKALIKE = """namespace Silicon
private def twice (n : Nat) : Nat := n + n
end Silicon
"""


def test_a_private_definition_does_not_stand_for_the_public_one(agreed: Path) -> None:
    """The public one is weakened; the other, in a later module, is as it was agreed."""
    change(agreed, "n + n", "0 + n")
    (agreed / "Silicon.lean").write_text("import Silicon.Power\nimport Silicon.Z\n")
    (agreed / "Silicon" / "Z.lean").write_text(LOOKALIKE)
    other = TWICE._replace(module="Silicon.Z", key="_private.Silicon.Z.0.Silicon.twice", private=True)
    _, violations, project = outcome(agreed, report(TWICE._replace(hash="9-9"), EVEN, LESS, other))
    assert violations
    assert [(v.file, v.line) for v in scan.scan_project(project) if v.kind == "twice"] == [
        ("Silicon/Z.lean", 2)
    ]


def test_a_theorem_that_moved_shows(agreed: Path) -> None:
    theorem = TEXTS["theorem deleted"][0]
    change(agreed, theorem, "")
    (agreed / "Silicon.lean").write_text("import Silicon.Power\nimport Silicon.Z\n")
    (agreed / "Silicon" / "Z.lean").write_text(f"namespace Silicon\n{theorem}end Silicon\n")
    _, violations, _ = outcome(agreed, report(TWICE, EVEN._replace(module="Silicon.Z"), LESS))
    assert [(v.file, v.line) for v in violations] == [("Silicon/Z.lean", 3)]
    assert "another module" in violations[0].text


def test_lines_of_the_manifest_may_end_as_on_windows(agreed: Path) -> None:
    file = agreed / "statements.json"
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert outcome(agreed, report())[1] == []


def test_a_private_theorem_is_none_of_the_public_ones(agreed: Path) -> None:
    _, violations, _ = outcome(agreed, report(TWICE, EVEN._replace(private=True), LESS))
    assert ("Silicon/Power.lean", 9, "missing") in [(v.file, v.line, v.kind) for v in violations]


def test_what_stands_within_a_definition_is_compared_as_well(agreed: Path) -> None:
    inner = TWICE._replace(name="Silicon.twice.go", key="Silicon.twice.go", hash="4-4")
    outer = TWICE._replace(value_uses=("Silicon.twice.go",))
    now, _, _ = outcome(agreed, report(outer, inner, EVEN, LESS))
    (agreed / "statements.json").write_text(now.to_text(), encoding="utf-8")
    _, violations, _ = outcome(agreed, report(outer, inner._replace(hash="4-5"), EVEN, LESS))
    assert [(v.file, v.line, v.kind) for v in violations] == [("Silicon/Power.lean", 6, "manifest")]


INSTANCE = TWICE._replace(
    name="Silicon.instLETwo",
    key="Silicon.instLETwo",
    core_class="LE",
    class_uses=("Silicon.Two",),
    hash="5-5",
)


def test_an_instance_without_a_name_is_compared_as_well(agreed: Path) -> None:
    """Its text can stay while a name in it comes to mean something else."""
    change(agreed, "example", "instance : LE Two := ⟨below⟩\nexample")
    now, _, _ = outcome(agreed, report(TWICE, EVEN, LESS, INSTANCE))
    (agreed / "statements.json").write_text(now.to_text(), encoding="utf-8")
    assert outcome(agreed, report(TWICE, EVEN, LESS, INSTANCE))[1] == []
    _, violations, _ = outcome(agreed, report(TWICE, EVEN, LESS, INSTANCE._replace(hash="6-6")))
    assert [(v.file, v.line, v.kind) for v in violations] == [("Silicon/Power.lean", 14, "manifest")]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (f'"{pins.LEAN_SAYS}"', '"4.28.0, my own"', "was written by Lean '4.28.0, my own'"),
        ('"title": "Powers."', '"title": "All is well."', "is not what is proved"),
        ('"theorems": [', '"theorems": [],\n "theorems": [', "is not what is proved"),
        ('"propext"', '"Quot.sound"', "is not what is proved"),
    ],
)
def test_nothing_else_of_the_manifest_can_be_changed(agreed: Path, old: str, new: str, words: str) -> None:
    file = agreed / "statements.json"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    _, (found,), _ = outcome(agreed, report())
    assert words in found.text
    assert (found.file, found.line) == ("statements.json", text[: text.index(old)].count("\n") + 1)


def test_a_deleted_theorem_is_named_in_its_line_of_the_manifest(agreed: Path) -> None:
    change(agreed, TEXTS["theorem deleted"][0], "")
    _, violations, _ = outcome(agreed, report(TWICE, LESS))
    (found,) = violations
    assert found.file == "statements.json"
    assert '"Silicon.twice_even"' in (agreed / "statements.json").read_text().splitlines()[found.line - 1]


def test_a_theorem_made_private_is_named_where_it_stands(agreed: Path) -> None:
    change(agreed, *TEXTS["theorem made private"][:2])
    _, violations, _ = outcome(agreed, report(TWICE, EVEN._replace(private=True), LESS))
    assert [(v.file, v.line, v.kind) for v in violations] == [("Silicon/Power.lean", 9, "manifest")]


def test_an_added_theorem_has_to_be_agreed_on(agreed: Path) -> None:
    change(agreed, "example", "theorem more : 1 = 1 := rfl\nexample")
    more = EVEN._replace(name="Silicon.more", key="Silicon.more", doc=None)
    _, violations, _ = outcome(agreed, report(TWICE, EVEN, LESS, more))
    assert [(v.file, v.line, v.text) for v in violations] == [
        ("Silicon/Power.lean", 14, "the theorem Silicon.more is not in statements.json")
    ]


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"theorems": []}',
        "[]",
        "[" * 100_000,
        '{"lean": "", "theorems": [1], "definitions": [], "examples": []}',
    ],
)
def test_a_broken_manifest_is_a_violation(agreed: Path, text: str) -> None:
    (agreed / "statements.json").write_text(text)
    _, violations, _ = outcome(agreed, report())
    assert [(v.file, v.kind) for v in violations] == [("statements.json", "manifest")]


def test_a_tampered_manifest_is_a_violation(agreed: Path) -> None:
    file = agreed / "statements.json"
    data = json.loads(file.read_text())
    data["theorems"][0]["explicit"] = "stronger than what is proved"
    file.write_text(json.dumps(data))
    _, violations, _ = outcome(agreed, report())
    assert len(violations) == 1
    assert "stronger than what is proved" in violations[0].text


def test_another_build_of_lean_is_held_against_the_sources(agreed: Path) -> None:
    other = dataclasses.replace(report(TWICE._replace(hash="7-7"), EVEN, LESS), version="4.28.0, native")
    assert outcome(agreed, other)[1] == []


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({"constants": (TWICE, EVEN._replace(axioms=("sorryAx",)), LESS)}, "sorry"),
        ({"constants": (TWICE, EVEN._replace(axioms=("Silicon.ax",)), LESS)}, "axiom"),
        ({"constants": (TWICE, EVEN._replace(axioms=("Lean.ofReduceBool",)), LESS)}, "native"),
        ({"constants": (TWICE, EVEN._replace(vacuous=True), LESS)}, "vacuous"),
        ({"constants": (TWICE._replace(shadows="Nat.lt"), EVEN, LESS)}, "shadow"),
        ({"constants": (TWICE._replace(core_class="LT"), EVEN, LESS)}, "instance"),
        ({"kinds": {"Silicon.Power": {"Lean.Parser.Command.eval": 9}}}, "syntax"),
        ({"kinds": {"Silicon.Power": {"Lean.Parser.Command.somethingNew": 9}}}, "syntax"),
        ({"kinds": {"Silicon.Power": {"Silicon.termFoo": 9}}}, "syntax"),
        ({"refused": ({"module": "Silicon.Power", "line": 9, "kind": "Lean.eval"},)}, "syntax"),
        ({"constants": (TWICE._replace(internal=True), EVEN, LESS)}, "name"),
        ({"noise": (("Silicon.Power", '{"type":"done"}'),)}, "output"),
        (
            {"violations": ({"kind": "kernel", "name": "Silicon.twice_even._proof_1", "text": "no"},)},
            "kernel",
        ),
    ],
)
def test_what_lean_says_is_audited(agreed: Path, said: dict[str, object], kind: str) -> None:
    _, violations, _ = outcome(agreed, dataclasses.replace(report(), **said))  # type: ignore[arg-type]
    found = [v for v in violations if v.kind == kind]
    assert found
    lines = (1,) if kind == "output" else (6, 9)
    assert all((v.file, v.line) in [("Silicon/Power.lean", n) for n in lines] for v in found)
