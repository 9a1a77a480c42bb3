"""Lean itself: every cheat that only the kernel sees in one start, and, among the slow tests, beside the whole project.

Serialised by the group: two Leans at once need twice the memory. Only the first run on a machine fetches a toolchain.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from experiments.proofs import audit, check, manifest, runner, sources, toolchain
from experiments.proofs.certificate import THEOREMS, certified, lean_file
from experiments.proofs.check import Options
from experiments.proofs.findings import CheckResult, Violation
from experiments.proofs.runner import LeanReport
from experiments.proofs.sources import Module, Project
from tests.proofs import equalities
from tests.proofs.conftest import written
from tpf.certificate import Counts, bound

pytestmark = [pytest.mark.xdist_group("lean"), pytest.mark.costly, pytest.mark.timeout(900)]

CHEATS = Path(__file__).parent / "cheats"
EXPECTED = re.compile(r"-- (\w+)$")


@pytest.fixture(scope="session")
def whole() -> CheckResult:
    return check.check(check.project_folder())


@pytest.mark.slow
def test_every_proof_of_the_project_is_checked(whole: CheckResult) -> None:
    assert whole.violations == ()
    assert whole.ok
    assert whole.sorries == 0
    assert {axiom for t in whole.theorems for axiom in t.axioms} <= set(audit.AXIOMS)
    assert len(whole.theorems) > 100


@pytest.mark.slow
def test_a_second_run_is_known(whole: CheckResult) -> None:
    begin = time.monotonic()
    again = check.check(check.project_folder())
    assert time.monotonic() - begin < 10.0
    assert (again.cached, again.theorems) == (True, whole.theorems)


@dataclass(frozen=True)
class Start:
    project: Project
    report: LeanReport
    violations: list[Violation]


def started(project: Project, *more: Module) -> Start:
    """One start on a project and the cheats; the scan of the text is left out."""
    cheats = [
        Module(f"Silicon.Cheats.{p.stem}", p.name, p.read_text()) for p in sorted(CHEATS.glob("*.lean"))
    ]
    extended = sources.extended(project, *cheats, *more)
    found = toolchain.find(project.pin, lambda what, done, total: None)
    report = runner.run(found, extended.modules)
    return Start(extended, report, audit.audit(extended, report)[2])


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Start:
    """The short form: a project of one module."""
    project = sources.read(written(tmp_path_factory.mktemp("small")))
    return started(project, *(module for module in project.modules if module.name != project.root))


@pytest.fixture(scope="session")
def start() -> Start:
    """The whole project with the equations and two certificates."""
    project = sources.read(check.project_folder())
    more = [equalities.module_of(project, np.random.default_rng(20_260_101))]
    certificate = "Silicon.Certificate" in {module.name for module in project.modules}
    for name, counts in RUNS.items() if certificate else ():
        text = lean_file(bound(counts)).replace("Silicon.Run", f"Silicon.{name}")
        more.append(Module(f"Silicon.{name}", f"{name}.lean", text))
    return started(project, *more)


RUNS = {
    "RunExact": Counts(70, 100, Fraction(1, 2), Fraction(1, 1000)),
    "RunChernoff": Counts(5_300, 10_000, Fraction(1, 2), Fraction(1, 10**6)),
}


@pytest.mark.parametrize("file", sorted(CHEATS.glob("*.lean")), ids=lambda path: path.stem)
def test_each_cheat_is_named_with_its_line(small: Start, file: Path) -> None:
    named(small, file)


@pytest.mark.slow
@pytest.mark.parametrize("file", sorted(CHEATS.glob("*.lean")), ids=lambda path: path.stem)
def test_each_cheat_is_named_among_the_whole_project(start: Start, file: Path) -> None:
    named(start, file)


def named(start: Start, file: Path) -> None:
    lines = file.read_text().splitlines()
    expected = {(n, m[1]) for n, line in enumerate(lines, 1) if (m := EXPECTED.search(line))}
    found = {(v.line, v.kind) for v in start.violations if v.file == file.name}
    assert expected <= found, expected - found
    innocent = {n for n, line in enumerate(lines, 1) if "theorem sound" in line or "theorem excluded" in line}
    assert not innocent & {line for line, _ in found}


def test_nothing_but_the_cheats_is_named(small: Start) -> None:
    assert others(small) == []
    good = [c.name for c in small.report.constants if c.module == "Silicon.Power" and c.kind == "theorem"]
    assert {"Silicon.twice_even", "Silicon.lt_twice"} <= set(good)


@pytest.mark.slow
def test_nothing_of_the_whole_project_is_named(start: Start) -> None:
    assert others(start) == []


def others(start: Start) -> list[Violation]:
    cheats = {path.name for path in CHEATS.glob("*.lean")}
    return [v for v in start.violations if v.file not in cheats]


@pytest.mark.slow
def test_python_and_lean_compute_the_same(start: Start) -> None:
    """Each equation is a theorem, so it was enough for the kernel to accept it."""
    rows = equalities.there(start.project)
    theorems = [
        c.name
        for c in start.report.constants
        if c.module == equalities.MODULE and c.kind == "theorem" and not c.internal
    ]
    assert len(theorems) == 3 * len(rows)
    assert {row.python for row in rows} >= REQUIRED


REQUIRED = {"tpf.certificate:tail"}
"""What cannot be missing; the rest of the table where this version of the lab has it."""


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_counts_become_a_theorem(start: Start, name: str) -> None:
    counts, epsilon = RUNS[name], bound(RUNS[name]).epsilon
    names = [theorem.replace("Run.", f"{name}.") for theorem in THEOREMS]
    found = [c for c in start.report.constants if c.name in names]
    assert [c.kind for c in found] == ["theorem", "theorem"]
    said = {c.name: " ".join(c.statement.replace("Silicon.", "").split()) for c in found}
    assert (
        f"reach s {counts.trials} {counts.correct} [] ≤ {epsilon.numerator} / {epsilon.denominator}"
        in said[names[0]]
    )
    assert "NeverAbove s (1 / 2)" in said[names[0]]
    assert f"P.chance g {counts.trials} {counts.correct} ≤ {epsilon.numerator} /" in said[names[1]]
    assert "P.Independent" in said[names[1]]


@pytest.mark.slow
def test_the_manifest_is_the_one_of_what_is_proved(start: Start) -> None:
    assert list(manifest.compare(*_agreed(start))) == []


def _agreed(start: Start) -> tuple[Project, manifest.Manifest]:
    project = sources.read(check.project_folder())
    ours = {module.name for module in project.modules}
    constants = tuple(c for c in start.report.constants if c.module in ours)
    theorems = [t for t in audit.audit(start.project, start.report)[0] if t.module in ours]
    return project, manifest.made(project, start.report.version, theorems, constants)


@pytest.mark.slow
def test_a_fresh_check_elaborates_every_module() -> None:
    """How long that takes is in benchmarks/bench_proofs.py."""
    result = check.check(check.project_folder(), Options(fresh=True))
    assert result.ok
    assert all(module.elaborated for module in result.modules if module.name != "Silicon")


@pytest.mark.slow
def test_a_count_is_certified_from_beginning_to_end() -> None:
    result = certified(RUNS["RunExact"])
    assert result.ok, result.check and result.check.violations
    assert "right with probability at most 1/2" in result.words
    assert not certified(Counts(52, 100, Fraction(1, 2))).ok


@pytest.mark.slow
def test_a_module_that_would_end_the_process_is_not_elaborated(project_of) -> None:
    """The scan refuses it; here it is let through, and Lean's own grammar shows what it is."""
    evil = "namespace Silicon\n#eval (IO.Process.exit 0 : IO Unit)\n/-- A half. -/\nvariable (n : Nat)\n"
    project = sources.read(project_of({"Silicon/Power.lean": evil}))
    found = toolchain.find(project.pin, lambda what, done, total: None)
    report = runner.run(found, project.modules)
    assert (2, "Lean.Parser.Command.eval") in [(said["line"], said["kind"]) for said in report.refused]
    assert [(said["line"], said["severity"]) for said in report.messages] == [(3, "error")]
    assert report.constants == ()


@pytest.mark.slow
def test_what_is_weakened_in_a_copy_shows(project_of) -> None:
    """By Lean's own printing, from beginning to end."""
    folder = project_of()
    assert check.check(folder, Options(write_manifest=True)).ok
    assert check.check(folder).ok
    file = folder / "Silicon" / "Power.lean"
    changed = (
        file.read_text()
        .replace("theorem twice_even (n : Nat) :", "theorem twice_even (n : Nat) (h : n = 0) :")
        .replace(
            "/-- Twice a positive",
            "variable (absurd : False)\ninclude absurd\n/-- Twice a positive",
        )
    )
    file.write_text(changed)
    result = check.check(folder)
    assert not result.ok
    assert {(v.line, v.kind) for v in result.violations} >= {
        (9, "manifest"),
        (14, "manifest"),
        (14, "vacuous"),
    }
