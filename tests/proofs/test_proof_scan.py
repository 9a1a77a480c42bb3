"""Every way to cheat that can be read in the text is named with its file and line, before Lean is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.proofs import sources
from experiments.proofs.check import check
from experiments.proofs.scan import scan, scan_project
from experiments.proofs.sources import Module, Project

CHEATS = {
    # name: (text of line 3, kind)
    "sorry": ("theorem bad : 1 = 2 := sorry", "sorry"),
    "sorry in a tactic block": ("theorem bad : 1 = 2 := by all_goals sorry", "sorry"),
    "sorry in an interpolated string": ('def s : String := s!"{(sorry : Nat)}"', "sorry"),
    "sorry after what looks like a comment": ("theorem bad : 1 = 2 := by first |-- rfl | sorry", "text"),
    "sorry after a character": ("def c := '\"' theorem bad : 1 = 2 := sorry -- \"", "sorry"),
    "sorry after a raw string": ('def c := r"\\" theorem bad : 1 = 2 := sorry -- "', "sorry"),
    "sorry after an operator like a comment": (r"theorem bad : 1 = 1 \/-2 = 1 := sorry -/", "text"),
    "sorry within strings in a string": ('def s : String := s!"{ "x" ++ (sorry : String) ++ "y" }"', "text"),
    "axiom after a number": ("def c : Float := 1e5axiom bad : False", "text"),
    "axiom after a long number": ("def c : Nat := 1_0axiom bad : False", "text"),
    "axiom after an inverse": ("def c (x : Rat) := x⁻¹axiom bad : False", "axiom"),
    "sorry after a closed comment": ("/- /- -/ -/ theorem bad : 1 = 2 := sorry", "sorry"),
    "admit": ("theorem bad : 1 = 2 := by admit", "admit"),
    "stop": ("theorem bad : 1 = 2 := by stop rfl", "stop"),
    "sorryAx": ("theorem bad : 1 = 2 := sorryAx _ false", "sorryAx"),
    "axiom": ("axiom bad : 1 = 2", "axiom"),
    "axiom with a modifier": ("@[simp] private axiom bad : 1 = 2", "axiom"),
    "native_decide": ("theorem bad : 2 + 2 = 4 := by native_decide", "native_decide"),
    "decide +native": ("theorem bad : 2 + 2 = 4 := by decide +native", "native"),
    "decide with a configuration": (
        "theorem bad : 2 + 2 = 4 := by decide (config := { native := true })",
        "native",
    ),
    "ofReduceBool": ("theorem bad := ofReduceBool a b rfl", "ofReduceBool"),
    "trustCompiler": ("theorem bad := Lean.trustCompiler", "meta"),
    "lcProof": ("theorem bad : 1 = 2 := lcProof", "lcProof"),
    "unsafe": ("unsafe def bad : Nat := 1", "unsafe"),
    "unsafe term": ("def bad : Nat := unsafe 1", "unsafe"),
    "unsafeCast": ("def bad : Nat := unsafeCast 1", "unsafeCast"),
    "partial": ("partial def bad (n : Nat) : Nat := bad n", "partial"),
    "opaque": ("opaque bad : Nat", "opaque"),
    "implemented_by": ("@[implemented_by foo] def bad : Nat := 1", "implemented_by"),
    "extern": ('@[extern "foo"] def bad : Nat := 1', "extern"),
    "csimp": ("@[csimp] theorem bad : @f = @g := rfl", "csimp"),
    "kernel switched off": ("set_option debug.skipKernelTC true", "option"),
    "kernel switched off for one": (
        "set_option debug.skipKernelTC true in theorem bad : 1 = 2 := by decide",
        "option",
    ),
    "kernel switched off in a term": ("def bad := (set_option debug.skipKernelTC true in 1 : Nat)", "option"),
    "kernel switched off in a tactic": (
        "theorem bad : P := by set_option debug.skipKernelTC true in decide",
        "option",
    ),
    "kernel switched off by a quoted name": ("set_option «debug».«skipKernelTC» true", "option"),
    "bytecode proofs": ("set_option debug.byAsSorry true", "option"),
    "printing changed": ("set_option pp.all true", "option"),
    "notation": ('notation "False" => True', "notation"),
    "local notation": ('local notation "x" => True', "notation"),
    "infix": ('infixl:65 " < " => fun _ _ => True', "infixl"),
    "prefix": ('prefix:max "¬" => id', "prefix"),
    "postfix": ('scoped postfix:max "!" => id', "postfix"),
    "macro": ('macro "bad" : term => `(True)', "macro"),
    "macro_rules": ("macro_rules | `($a ≤ $b) => `(True)", "macro_rules"),
    "syntax": ('syntax "bad" : term', "syntax"),
    "elab": ('elab "bad" : term => return foo', "elab"),
    "elab_rules": ("elab_rules : term | `(x) => return foo", "elab_rules"),
    "unif_hint": ("unif_hint bad (a : Nat) where |- a ≟ 1", "unif_hint"),
    "binder_predicate": ('binder_predicate x " > " y:term => `(True)', "binder_predicate"),
    "eval": ('#eval IO.FS.writeFile "x" "y"', "command"),
    "eval that exits": ("#eval (IO.Process.exit 0 : IO Unit)", "command"),
    "print": ("#print axioms foo", "command"),
    "check": ("#check foo", "command"),
    "reduce": ("#reduce foo", "command"),
    "run_cmd": ("run_cmd pure ()", "run_cmd"),
    "run_tac": ("theorem bad : P := by run_tac pure ()", "run_tac"),
    "by_elab": ("def bad := by_elab return foo", "by_elab"),
    "initialize": ("initialize pure ()", "initialize"),
    "builtin_initialize": ("builtin_initialize pure ()", "builtin_initialize"),
    "simproc": ("simproc bad (_ + 0) := fun _ => pure .continue", "simproc"),
    "include_str": ('def bad := include_str "/etc/passwd"', "include_str"),
    "IO": ("def bad : IO Unit := pure ()", "meta"),
    "open Lean": ("open Lean", "meta"),
    "Lean.Elab": ("def bad : Lean.Elab.Command.CommandElabM Unit := pure ()", "meta"),
    "addDecl": ("def bad := addDecl d", "addDecl"),
    "export": ("export Nat (succ)", "export"),
    "open hiding": ("open Nat hiding add", "hiding"),
    "open renaming": ("open Nat renaming lt → le", "renaming"),
    "outside the namespace": ("theorem _root_.Nat.bad : 1 = 1 := rfl", "_root_"),
    "namespace _root_": ("namespace _root_.Nat", "_root_"),
    "quoted name": ("theorem «twice_even » : 1 = 1 := rfl", "text"),
    "import of a path": ("import ../Evil", "import"),
    "import late": ("import Silicon.Power", "import"),
    "attribute instance": ("attribute [instance] foo", "attribute"),
    "attribute local instance": ("attribute [local instance] foo", "attribute"),
    "attribute default_instance": ("@[simp, default_instance] def bad : Nat := 1", "attribute"),
    "attribute after arguments": ("@[simp (x), app_unexpander foo] def bad : Nat := 1", "attribute"),
    "attribute delab": ("@[delab app.foo] def bad : Nat := 1", "attribute"),
    "Cyrillic letter": ("theorem twiсe : 1 = 1 := rfl", "unicode"),
    "Greek capital": ("theorem Αlpha : 1 = 1 := rfl", "unicode"),
    "fullwidth letter": ("theorem ｔwice : 1 = 1 := rfl", "unicode"),
    "mathematical letter": ("theorem 𝐭wice : 1 = 1 := rfl", "unicode"),
    "zero width": ("theorem twice\u200b : 1 = 1 := rfl", "unicode"),
    "order of letters": ("-- \u202e rfl =: sorry", "unicode"),
    "lonely carriage return": ("-- comment\r theorem bad : 1 = 2 := foo", "unicode"),
    "module": ("module", "module"),
    "declared twice": ("def here : Nat := 1\nprivate def here : Nat := 2", "twice"),
    "instance declared twice": ("instance : Foo := a\ninstance : Foo := b", "twice"),
    "Lean from the root": ("def bad : _root_.Lean.Name := foo", "meta"),
    "attribute command": ('attribute [extern "foo"] foo', "extern"),
    "attribute taken away": ("attribute [-instance] foo", "attribute"),
    "attribute in a let": ("def bad := let rec @[csimp] f := 1; f", "csimp"),
    "option of another kind": ("set_option maxSynthPendingDepth 5", "option"),
    "autocompletion of a proof": ("#exit", "command"),
    "prelude": ("prelude", "prelude"),
    "public import": ("public import Lean", "public"),
    "documentation elsewhere": ('add_decl_doc foo "says something else"', "add_decl_doc"),
}

HARMLESS = [
    "/-- sorry, axiom, notation and #eval in prose; «no» такой problem -/",
    '-- sorry \n/- axiom /- native_decide -/ -/\ndef s : String := "sorry axiom #eval"',
    "@[simp, grind =, ext] theorem fine (α : Type) (x₁ : α) : x₁ = x₁ ∧ ∀ ε : ℕ, ε ≤ ε := foo",
    "set_option maxRecDepth 100000 in\nset_option maxHeartbeats 400000 in\nset_option linter.unusedVariables false",
    "theorem fine : f #[1, 2] #v[3] = 'a' ∧ h' = h'' := by decide +kernel",
    "theorem stop_early : 1 = 1 := rfl\ntheorem no_sorry.axiom_free : 1 = 1 := rfl",
    "open Silicon in\nvariable {n m : Nat}\nprivate theorem fine : 1 = 1 := rfl",
]


@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_is_named_with_its_line(name: str) -> None:
    text, kind = CHEATS[name]
    module = Module(
        "Silicon.X", "Silicon/X.lean", f"/-! A module. -/\nnamespace Silicon\n{text}\nend Silicon\n"
    )
    found = scan_project(Project(Path(), "Silicon", "", (module,), ()))
    assert ("Silicon/X.lean", 3 + text.count("\n"), kind) in [(v.file, v.line, v.kind) for v in found], found


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_cheat_passes(text: str) -> None:
    assert scan(Module("Silicon.X", "Silicon/X.lean", text)) == []


def test_lean_is_not_started_on_a_text_that_runs_code(project_of, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("Lean was looked for")

    monkeypatch.setattr("experiments.proofs.toolchain.find", refuse)
    power = 'import Silicon.Evil\n#eval IO.FS.writeFile "x" "y"\n'
    result = check(project_of({"Silicon/Power.lean": power, "Silicon/Evil.lean": "run_cmd pure ()\n"}))
    assert not result.ok
    assert {(v.file, v.line) for v in result.violations} == {
        ("Silicon/Power.lean", 2),
        ("Silicon/Evil.lean", 1),
    }
    assert set(result.to_json()) >= {
        "toolchain",
        "seconds",
        "modules",
        "theorems",
        "sorries",
        "violations",
        "ok",
    }


STRUCTURE = {
    "module that the root does not import": (
        {"Silicon/Other.lean": "namespace Silicon\n"},
        "Silicon/Other.lean",
        "not-imported",
    ),
    "module in another folder": (
        {"Else/Other.lean": "namespace Silicon\n"},
        "Else/Other.lean",
        "not-imported",
    ),
    "module in a hidden folder": ({".x/Other.lean": "namespace Silicon\n"}, ".x/Other.lean", "not-imported"),
    "import of Lean": ({"Silicon/Power.lean": "import Lean\n"}, "Silicon/Power.lean", "import"),
    "import of Std": (
        {"Silicon.lean": "import Silicon.Power\nimport Std.Data.HashMap\n"},
        "Silicon.lean",
        "import",
    ),
    "import of nothing": (
        {"Silicon.lean": "import Silicon.Power\nimport Silicon.Gone\n"},
        "Silicon.lean",
        "import",
    ),
    "import in a circle": ({"Silicon/Power.lean": "import Silicon\n"}, "Silicon/Power.lean", "import"),
    "no root": ({"Silicon.lean": None}, "Silicon.lean", "file"),
    "program as configuration": ({"lakefile.lean": "import Lake\n"}, "lakefile.lean", "file"),
    "compiled file": ({"Silicon/Power.olean": "x"}, "Silicon/Power.olean", "file"),
    "C file": ({"c/foo.c": "x"}, "c/foo.c", "file"),
    "dependency": (
        {"lakefile.toml": 'name = "s"\n[[require]]\nname = "m"\n[[lean_lib]]\nname = "Silicon"\n'},
        "lakefile.toml",
        "lakefile",
    ),
    "options for Lean": (
        {
            "lakefile.toml": 'name = "s"\n[[lean_lib]]\nname = "Silicon"\nleanOptions = {"debug.skipKernelTC" = true}\n'
        },
        "lakefile.toml",
        "lakefile",
    ),
    "module of another library": (
        {"Silicon.lean": "import Silicon.Power\nimport Init.More\n", "Init/More.lean": "namespace Silicon\n"},
        "Init/More.lean",
        "file",
    ),
    "module under another module's name": ({"Silicon.Power.lean": "-- 1\n"}, "Silicon.Power.lean", "file"),
    "part of a compiled file": ({"Silicon/Power.olean.private": "x"}, "Silicon/Power.olean.private", "file"),
    "start of Lean for another reading": ({"Silicon/Power.ir": "x"}, "Silicon/Power.ir", "file"),
    "other folder of sources": (
        {"lakefile.toml": 'name = "s"\n[[lean_lib]]\nname = "Silicon"\nsrcDir = ".lake"\n'},
        "lakefile.toml",
        "lakefile",
    ),
    "weak options for Lean": (
        {"lakefile.toml": 'weakLeanArgs = ["-Dx=y"]\n[[lean_lib]]\nname = "Silicon"\n'},
        "lakefile.toml",
        "lakefile",
    ),
    "nothing to build": (
        {"lakefile.toml": 'defaultTargets = []\n[[lean_lib]]\nname = "Silicon"\n'},
        "lakefile.toml",
        "lakefile",
    ),
    "library of another kind": ({"lakefile.toml": 'lean_lib = "Silicon"\n'}, "lakefile.toml", "lakefile"),
    "library as a table": (
        {"lakefile.toml": '[lean_lib]\nname = "Silicon"\n'},
        "lakefile.toml",
        "lakefile",
    ),
    "two libraries": (
        {"lakefile.toml": '[[lean_lib]]\nname = "Silicon"\n[[lean_lib]]\nname = "Other"\n'},
        "lakefile.toml",
        "lakefile",
    ),
    "configuration too deep to read": ({"lakefile.toml": "x = " + "[" * 9_999}, "lakefile.toml", "lakefile"),
    "configuration that cannot be read": ({"lakefile.toml": "\n["}, "lakefile.toml", "lakefile"),
    "program instead of configuration": (
        {"lakefile.toml": None, "lakefile.lean": "import Lake\n"},
        "lakefile.toml",
        "lakefile",
    ),
    "locked package": (
        {"lake-manifest.json": '{"packages": [{"name": "m"}]}'},
        "lake-manifest.json",
        "lakefile",
    ),
    "broken lock": ({"lake-manifest.json": "[1]"}, "lake-manifest.json", "lakefile"),
    "toolchain with a tail": (
        {"lean-toolchain": "leanprover/lean4:v4.28.0-mine\n"},
        "lean-toolchain",
        "toolchain",
    ),
    "other toolchain": ({"lean-toolchain": "someone/lean4:v4.28.0\n"}, "lean-toolchain", "toolchain"),
    "no toolchain": ({"lean-toolchain": None}, "lean-toolchain", "toolchain"),
    "no manifest": ({"statements.json": None}, "statements.json", "manifest"),
    "no text": ({"Silicon/Power.lean": "\udcff"}, "Silicon/Power.lean", "unicode"),
}


@pytest.mark.parametrize("name", STRUCTURE)
def test_a_project_consists_of_what_is_checked_and_nothing_else(name: str, project_of) -> None:
    changes, file, kind = STRUCTURE[name]
    if name == "no text":
        folder = project_of()
        (folder / "Silicon/Power.lean").write_bytes(b"-- \xff\n")
    else:
        folder = project_of(changes)
    assert (file, kind) in [(v.file, v.kind) for v in sources.read(folder).violations]


def test_imports_too_deep_to_follow_are_refused(project_of) -> None:
    chain = {f"Silicon/M{n}.lean": f"import Silicon.M{n + 1}\n" for n in range(1_500)}
    folder = project_of(
        {"Silicon.lean": "import Silicon.M0\n", **chain, "Silicon/M1500.lean": "-- the end\n"}
    )
    assert ("Silicon.lean", "import") in [(v.file, v.kind) for v in sources.read(folder).violations]


def test_lines_may_end_as_on_windows(project_of) -> None:
    text = sources.read(project_of()).modules[0].text
    crlf = project_of({"Silicon/Power.lean": text.replace("\n", "\r\n")}, name="crlf")
    assert sources.read(crlf).modules[0].text == text


def test_links_are_refused(project_of, tmp_path: Path) -> None:
    folder = project_of({"Silicon.lean": "import Silicon.Power\nimport Silicon.Linked\n"})
    (tmp_path / "far.lean").write_text("namespace Silicon\n")
    (folder / "Silicon" / "Linked.lean").symlink_to(tmp_path / "far.lean")
    (folder / "More").symlink_to(tmp_path)
    found = {(v.file, v.kind) for v in sources.read(folder).violations}
    assert {("Silicon/Linked.lean", "symlink"), ("More", "symlink")} <= found


def test_a_good_project_has_an_order_and_no_violation(project_of) -> None:
    project = sources.read(
        project_of({"Silicon.lean": "import Silicon.B\n", "Silicon/B.lean": "import Silicon.Power\n"})
    )
    assert project.violations == ()
    assert [module.name for module in project.modules] == ["Silicon.Power", "Silicon.B", "Silicon"]
    assert [v for module in project.modules for v in scan(module)] == []
