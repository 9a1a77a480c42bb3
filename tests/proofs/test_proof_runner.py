"""The conversation with Lean: nothing counts without the last word, and nobody else can say it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.proofs import check as checking
from experiments.proofs import runner, sources, store
from experiments.proofs.check import Options
from experiments.proofs.errors import LeanError, ToolchainError
from experiments.proofs.toolchain import Toolchain

HEADER = """import json, sys
nonce, rest = sys.argv[3], sys.argv[sys.argv.index("--module") :]
def say(**line): print(nonce + json.dumps(line))
"""
ANSWER = """
modules, at = [], 0
while at < len(rest):
    name, path, olean, mode = rest[at + 1 : at + 5]
    modules.append((name, olean, mode)); at += 5
    while at < len(rest) and rest[at] != "--module": at += 1
say(type="lean", version="4.28.0")
for name, olean, mode in modules:
    if mode == "new":
        open(olean, "w").write(name)
        say(type="kinds", module=name, kinds=[])
        say(type="module", module=name, ms=1500)
    else:
        assert open(olean).read() == name
for name, kind in (("twice", "def"), ("twice_even", "theorem"), ("lt_twice", "theorem")):
    say(type="constant", module="Silicon.Power", name="Silicon." + name, key="Silicon." + name, kind=kind,
        private=False, internal=False, statement=name, explicit=name, doc="Doc.", axioms=[], uses=[],
        value_uses=[], hash="1-1",
        **{"class": ""}, class_uses=[], shadows="", vacuous=False)
say(type="step", step="elaborate", ms=10)
"""
DONE = 'say(type="done")\n'


@pytest.fixture
def lean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A toolchain that is a small Python program."""
    import sys

    monkeypatch.setenv("ASICLAB_CACHE", str(tmp_path / "cache"))

    def make(script: str, identity: str = "one") -> Toolchain:
        file = tmp_path / "lean.py"
        file.write_text(HEADER + script)
        found = Toolchain(
            "a fake", identity, (sys.executable, str(file)), {}, tmp_path / "kept" / identity, native=True
        )
        monkeypatch.setattr("experiments.proofs.toolchain.find", lambda *a, **k: found)
        return found

    return make


def test_the_second_run_is_known_and_only_what_changed_is_elaborated(lean, project_of) -> None:
    folder = project_of(
        {"Silicon.lean": "import Silicon.Power\nimport Silicon.B\n", "Silicon/B.lean": "-- b\n"}
    )
    lean(ANSWER + DONE)
    wrote = checking.check(folder, Options(write_manifest=True))
    assert wrote.ok, wrote.violations
    assert [(m.name, m.seconds, m.elaborated) for m in wrote.modules] == [
        ("Silicon.Power", 1.5, True), ("Silicon.B", 1.5, True), ("Silicon", 0.0, False)
    ]  # fmt: skip
    first = checking.check(folder)
    assert (first.ok, first.cached) == (True, False)
    lean("raise SystemExit(1)\n")
    again = checking.check(folder)
    assert again.cached
    assert {**again.to_json(), "seconds": 0, "cached": 0} == {**first.to_json(), "seconds": 0, "cached": 0}
    lean(ANSWER + DONE)
    (folder / "Silicon" / "B.lean").write_text("-- another\n")
    changed = checking.check(folder)
    assert [m.elaborated for m in changed.modules] == [False, True, False]
    assert [m.elaborated for m in checking.check(folder, Options(fresh=True)).modules] == [True, True, False]
    lean(ANSWER + DONE, identity="two")
    assert [m.elaborated for m in checking.check(folder).modules] == [True, True, False]


def test_a_spoilt_cache_is_not_used(lean, project_of) -> None:
    folder = project_of()
    found = lean(ANSWER + DONE)
    project = sources.read(folder)
    runner.run(found, project.modules)
    for olean in (found.folder / "modules").glob("*.olean"):
        olean.write_text("another proof")
    assert runner.run(found, project.modules).elaborated == {"Silicon.Power"}


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (ANSWER, "no last word"),
        ("sys.exit(0)\n", "before the first module"),
        (ANSWER + 'print(json.dumps({"type": "done"}))\n', "no last word"),
        (ANSWER + 'print("0" * 32 + json.dumps({"type": "done"}))\n', "no last word"),
        (ANSWER + 'say(type="failed", text="out of memory")\n', "gave up: out of memory"),
        (
            ANSWER + 'print("RuntimeError: unreachable", file=sys.stderr); sys.exit(7)\n',
            r"exit code 7.*unreachable",
        ),
        (ANSWER + "import time; sys.stdout.flush(); time.sleep(60)\n", "within 1.5 s"),
    ],
)
def test_without_the_last_word_nothing_counts(lean, project_of, script: str, said: str) -> None:
    lean(script)
    with pytest.raises(LeanError, match=said):
        checking.check(project_of(), Options(timeout_s=1.5))
    assert not list(store.cache_folder().glob("scratch-*"))


SAID = 'say(type="begin", module="Silicon.Power"); print("all is well", flush=True)\n'


def test_where_lean_ended_is_said_in_the_result(lean, project_of, lab) -> None:
    lean('say(type="begin", module="Silicon.Power")\nprint(nonce + "{half a", flush=True)\nsys.exit(0)\n')
    value = lab.json("proofs", "check", project_of(), code=1)
    found = [(v["file"], v["line"], v["kind"]) for v in value["violations"]]
    assert found == [("Silicon/Power.lean", 1, "lean")]
    assert "Silicon/Power.lean:1: lean: " in lab("proofs", "check", project_of(), code=1).stdout


def test_what_the_text_shows_counts_where_lean_gives_no_answer(lean, project_of) -> None:
    folder = project_of({"Silicon/Power.lean": "namespace Silicon\ntheorem bad : 1 = 2 := sorry\n"})
    lean("sys.exit(0)\n")
    result = checking.check(folder)
    assert [(v.line, v.kind) for v in result.violations] == [(2, "sorry"), (1, "lean")]
    assert result.sorries == 1


def test_a_refused_module_is_not_kept(lean, project_of) -> None:
    answer = ANSWER.replace(
        'open(olean, "w").write(name)', 'say(type="refused", module=name, line=3, kind="x")'
    )
    answer = answer.replace('say(type="kinds", module=name, kinds=[])', "continue")
    found = lean(answer + DONE)
    result = checking.check(project_of())
    assert ("Silicon/Power.lean", 3, "syntax") in [(v.file, v.line, v.kind) for v in result.violations]
    assert not list((found.folder / "modules").glob("*"))


def test_what_printed_something_is_elaborated_anew(lean, project_of) -> None:
    project = sources.read(project_of())
    found = lean(SAID + ANSWER + DONE)
    for _ in range(2):
        report = runner.run(found, project.modules)
        assert report.noise == (("Silicon.Power", "all is well"),)


def test_other_output_is_a_violation(lean, project_of) -> None:
    lean(ANSWER + 'print("all is well")\n' + DONE)
    result = checking.check(project_of(), Options(compare=False))
    assert ("output", False) in [(v.kind, result.ok) for v in result.violations]


def test_the_command_says_what_is_wrong(lean, project_of, lab) -> None:
    folder = project_of()
    lean(ANSWER + DONE)
    wrong = lab("proofs", "check", folder, code=1)
    assert (
        "Silicon/Power.lean:9: manifest: the theorem Silicon.twice_even is not in statements.json"
        in wrong.stdout
    )
    assert "NOT ok" in wrong.stdout
    lab("proofs", "check", folder, "--write-manifest")
    value = lab.json("proofs", "check", folder)
    assert set(value) >= {"toolchain", "seconds", "modules", "theorems", "sorries", "violations", "ok"}
    assert [set(t) >= {"name", "statement", "axioms", "doc"} for t in value["theorems"]] == [True, True]
    assert (value["ok"], value["sorries"], value["violations"]) == (True, 0, [])
    assert "ok: 2 theorems in 2 modules" in lab("proofs", "check", folder).stdout
    listed = lab("proofs", "list", folder).stdout
    assert listed.split()[:2] == ["Silicon.twice_even", "Doc."]
    assert (
        json.loads(lab("proofs", "show", "lt_twice", folder, "--json").stdout)["name"] == "Silicon.lt_twice"
    )
    assert "Axioms: none" in lab("proofs", "show", "Silicon.lt_twice", folder).stdout
    assert "asiclab proofs list" in lab("proofs", "show", "nothing", folder, code=2).output
    assert "no lakefile.toml" in lab("proofs", "check", folder / "Silicon", code=2).output
    assert "is no folder" in lab("proofs", "check", folder / "Gone", code=2).output


def test_no_toolchain_is_a_failure_in_json_too(
    lean, project_of, lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*arguments: object, **options: object) -> None:
        raise ToolchainError("there is none")

    monkeypatch.setattr("experiments.proofs.toolchain.find", none)
    value = lab.json("proofs", "check", project_of(), code=1)
    assert (value["ok"], value["violations"][0]["kind"]) == (False, "toolchain")
    assert "there is none" in lab("proofs", "check", project_of(), code=1).output
