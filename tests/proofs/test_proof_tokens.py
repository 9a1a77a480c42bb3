"""Lean text as tokens: what is code, what is a comment, and what only looks like one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.proofs.declarations import declarations, statement_of
from experiments.proofs.tokens import tokens


def names(text: str) -> list[str]:
    return [token.text for token in tokens(text) if token.kind == "name"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a -- sorry\nb", ["a", "b"]),
        ("a /- sorry /- sorry -/ sorry -/ b", ["a", "b"]),
        ("/-/ sorry -/ b", ["b"]),
        ("/-- doc /- inner -/ sorry -/ theorem b", ["theorem", "b"]),
        ("/--/ sorry -/ b", ["b"]),
        ('x "sorry" y', ["x", "y"]),
        (r'"\"" sorry', ["sorry"]),
        (r'r"\" sorry', ["sorry"]),
        ('r#"a " sorry"# b', ["b"]),
        ("'\"' sorry '\"'", ["sorry"]),
        (r"'\'' sorry", ["sorry"]),
        (r"'\\' sorry", ["sorry"]),
        ("h' sorry h''", ["h'", "sorry", "h''"]),
        ('s!"{sorry}"', ["s!", "sorry"]),
        ('panic! "{ "sorry" }"', ["panic!", "sorry"]),
        ("fun x ↦ λsorry", ["fun", "x", "sorry"]),
        ("2sorry 0b1sorry", ["sorry", "sorry"]),
        ("x⁻¹sorry ½sorry", ["x", "sorry", "sorry"]),
        ("x²sorry éx", ["x", "sorry", "x"]),
        ("ℝ𝒜 αω ΑΩ", ["ℝ𝒜", "αω", "ΑΩ"]),
        ("a.sorry b", ["a.sorry", "b"]),
        ("«sorry» «a b».c", ["sorry", "a b.c"]),
        ("α₁ β' x₂", ["α₁", "β'", "x₂"]),
    ],
)
def test_code_is_told_from_comments_and_strings(text: str, expected: list[str]) -> None:
    assert names(text) == expected


def test_what_can_be_read_in_two_ways_is_a_trap() -> None:
    assert [t.kind for t in tokens("x <-- sorry")][-1] == "trap"
    assert [t.kind for t in tokens("x |/- a -/")][-1] == "trap"
    for text in (
        r"a \/- sorry -/", r"a \/-- sorry", "∅-- sorry", "1e5sorry",
        '`r"\\" a " sorry "', '(x).r"\\" a " sorry "',
        "1_0sorry", "0xffsorry", "h 1.e5sorry",
        's!"{ "x" ++ sorry ++ "y" }"',
    ):  # fmt: skip
        assert "trap" in [t.kind for t in tokens(text)], text
    assert "trap" not in [t.kind for t in tokens("h.2.symm 1.5 0xff f(1)-- a\n[1]/- b -/ 'c'-- d")]
    assert "trap" not in [t.kind for t in tokens("x -- a\n---- b ----\n/- c -/ y")]


def test_lines_and_columns() -> None:
    found = tokens("a\n  b /- \n -/ c")
    assert [(t.text, t.line, t.column) for t in found] == [("a", 1, 0), ("b", 2, 2), ("c", 3, 4)]


@given(st.text(alphabet="ab-/!\"'\\{}«» \nλ#r.", max_size=60))
def test_any_text_has_tokens_that_lie_in_it(text: str) -> None:
    at = 0
    for token in tokens(text):
        assert 0 <= token.start < token.end <= len(text)
        assert token.line == text.count("\n", 0, token.start) + 1
        if token.kind != "string" and "{" not in text:
            assert token.start >= at or token.kind == "trap"
            at = token.end if token.kind != "trap" else at


def test_declarations_have_full_names_lines_and_sources() -> None:
    text = """namespace A.B
/-- A number. -/
@[simp] def one : Nat := -- a remark
  1
section Part
private theorem hidden : one = 1 := rfl
end Part
instance (priority := high) byName : Inhabited Nat := ⟨1⟩
structure Pair where
  left : Nat := 2
instance : Inhabited Pair := ⟨⟨1⟩⟩
attribute [instance] foo
namespace C
theorem _root_.far : one = 1 := rfl
protected theorem near {n : Nat} (h : (fun x => x) n = 1) : n = 1 := h
end B.C
theorem upper : 1 = 1 := by
  have : True := trivial
  rfl
example (n : Nat) : n = n := rfl
end A
"""
    found = declarations(text, tokens(text))
    assert [(d.keyword, d.name, d.line, d.private) for d in found] == [
        ("def", "A.B.one", 3, False),
        ("theorem", "A.B.hidden", 6, True),
        ("instance", "A.B.byName", 8, False),
        ("structure", "A.B.Pair", 9, False),
        ("instance", "", 11, False),
        ("theorem", "far", 14, False),
        ("theorem", "A.B.C.near", 15, False),
        ("theorem", "A.upper", 17, False),
        ("example", "", 20, False),
    ]
    sources = {d.name: d.source for d in found}
    assert sources["A.B.one"] == "def one : Nat := 1"
    assert sources["A.B.Pair"] == "structure Pair where left : Nat := 2"
    assert sources["A.upper"].endswith("trivial rfl")
    assert statement_of(sources["A.B.C.near"]) == "theorem near {n : Nat} (h : (fun x => x) n = 1) : n = 1"
