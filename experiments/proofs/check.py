"""The whole check: read, scan, find a Lean, elaborate, replay, audit, compare with what was agreed."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from experiments.proofs import audit, manifest, runner, scan, sources, store, toolchain
from experiments.proofs.errors import LeanError, ToolchainError
from experiments.proofs.findings import CheckResult, ModuleTime, Theorem, Violation
from experiments.proofs.sources import Project
from experiments.proofs.toolchain import Toolchain
from firmware_bridge.errors import UserError

Progress = Callable[[str, int, int], None]


def _quiet(what: str, done: int, total: int) -> None:
    pass


@dataclass(frozen=True)
class Options:
    """How to check.

    Attributes:
        fresh: elaborate everything anew instead of taking results from the cache.
        compare: hold the statements against ``statements.json``.
        write_manifest: write ``statements.json`` anew if nothing else is wrong.
        timeout_s: how long Lean may take.
    """

    fresh: bool = False
    compare: bool = True
    write_manifest: bool = False
    timeout_s: float = runner.TIMEOUT_S


def project_folder() -> Path:
    """``lean/`` of the checkout, or the copy that travels in the wheel.

    Raises:
        UserError: if neither is there.
    """
    package = Path(str(resources.files("experiments")))
    for folder in (package.parent / "lean", package / "lean"):
        if (folder / "lakefile.toml").is_file():
            return folder
    raise UserError(f"no Lean project lies beside {package} or in it; name its folder")


def check(folder: Path, options: Options | None = None, progress: Progress = _quiet) -> CheckResult:
    """Check a Lean project.

    Args:
        folder: with ``lakefile.toml``.
        options: how.
        progress: told what is being done, how far it is and of how much.

    Returns:
        Everything that was found; ``ok`` only if nothing is wrong.

    Raises:
        UserError: if the folder holds no project.
        ToolchainError: if there is no Lean.
        LeanError: if Lean did not come to its end.
    """
    options = options or Options()
    begin = time.monotonic()
    project = sources.read(folder)
    texts = scan.scan_project(project)
    violations = [*project.violations, *texts]
    if options.write_manifest or not options.compare:
        violations = [violation for violation in violations if violation.kind != "manifest"]
    if any(violation.stops for violation in violations):
        return _without_lean("not started: the text of the modules is refused", project, violations, begin)
    try:
        found = toolchain.find(project.pin, progress)
    except ToolchainError as error:
        if not violations:
            raise
        return _without_lean("none", project, [*violations, no_answer(project, error)], begin)
    key = result_key(found, project, options)
    kept = found.folder / "results" / f"{key}.json"
    known = None if options.fresh or options.write_manifest else store.read_json(kept)
    if known is not None:
        return dataclasses.replace(_restored(known), seconds=time.monotonic() - begin, cached=True)
    try:
        result = _elaborated(found, project, violations, options, progress)
    except LeanError as error:
        if not violations:
            raise
        # what the text shows counts, and may be why Lean ended
        return _without_lean(found.name, project, [*violations, no_answer(project, error)], begin)
    result = dataclasses.replace(result, seconds=time.monotonic() - begin)
    if not options.write_manifest:
        store.write_json(kept, result.to_json())
    return result


def no_answer(project: Project, error: ToolchainError | LeanError) -> Violation:
    """Why there is no answer of Lean's, at the place that it has to do with."""
    if isinstance(error, ToolchainError):
        return Violation("lean-toolchain", 1, "toolchain", str(error))
    files = {module.name: module.file for module in project.modules}
    return Violation(files.get(error.module, f"{project.root}.lean"), 1, "lean", str(error))


def _without_lean(said: str, project: Project, violations: list[Violation], begin: float) -> CheckResult:
    return CheckResult(
        toolchain=said,
        seconds=time.monotonic() - begin,
        modules=tuple(ModuleTime(m.name, m.file, 0.0, False) for m in project.modules),
        sorries=sum(violation.kind in ("sorry", "admit") for violation in violations),
        violations=tuple(violations),
    )


def check_extended(
    project: Project, progress: Progress = _quiet, *, timeout_s: float = runner.TIMEOUT_S
) -> CheckResult:
    """Check a project that was made of another one and of further modules (:func:`sources.extended`).

    Everything of the audit applies; what ``statements.json`` agrees on has to stand in the modules that are there, and
    the further modules may add to it.

    Raises:
        ToolchainError: if there is no Lean.
        LeanError: if Lean did not come to its end.
    """
    begin = time.monotonic()
    violations = [*project.violations, *scan.scan_project(project)]
    if any(violation.stops for violation in violations):
        return CheckResult(
            "not started: the text of the modules is refused", 0.0, violations=tuple(violations)
        )
    found = toolchain.find(project.pin, progress)
    result = _elaborated(found, project, violations, Options(timeout_s=timeout_s), progress)
    files = {module.file for module in project.modules if module.file not in project.contents}
    kept = tuple(v for v in result.violations if not (v.kind == "manifest" and v.file in files))
    return dataclasses.replace(result, violations=kept, seconds=time.monotonic() - begin)


def result_key(found: Toolchain, project: Project, options: Options) -> str:
    """Everything that the result depends on: the files, the toolchain, and this program."""
    files = [part for name, raw in sorted(project.contents.items()) for part in (name, raw)]
    places = [f"{v.file} {v.line} {v.text}" for v in project.violations]
    return store.key([found.identity, found.name, _program(), str(options.compare), *files, *places])


@cache
def _program() -> str:
    """Hash of the audit itself: another audit is another question."""
    folder = resources.files(__package__)
    files = sorted(
        (item for item in folder.iterdir() if item.name.endswith((".py", ".lean"))), key=lambda i: i.name
    )
    return store.key([part for item in files for part in (item.name, item.read_bytes())])


def _elaborated(
    found: Toolchain, project: Project, violations: list[Violation], options: Options, progress: Progress
) -> CheckResult:
    report = runner.run(
        found,
        project.modules,
        fresh=options.fresh,
        progress=lambda done, total: progress("Lean elaborates modules", done, total),
        timeout_s=options.timeout_s,
    )
    theorems, sorries, wrong = audit.audit(project, report)
    violations = [*violations, *wrong]
    now = manifest.made(project, report.version, theorems, report.constants)
    if options.write_manifest:
        if not violations:
            text = now.to_text().encode()
            (project.folder / sources.MANIFEST).write_bytes(text)
    elif options.compare:
        violations += manifest.compare(project, now)
    if not theorems:
        violations.append(Violation(f"{project.root}.lean", 1, "empty", "no public theorem is proved"))
    return CheckResult(
        toolchain=found.name if not found.native else f"{found.name} (Lean {report.version})",
        seconds=0.0,
        modules=tuple(
            ModuleTime(m.name, m.file, report.seconds.get(m.name, 0.0), m.name in report.elaborated)
            for m in project.modules
        ),
        theorems=tuple(theorems),
        sorries=sorries,
        violations=tuple(violations),
        steps=report.steps,
        peak_mib=report.peak_mib,
    )


def _restored(data: dict[str, Any]) -> CheckResult:
    return CheckResult(
        toolchain=data["toolchain"],
        seconds=data["seconds"],
        modules=tuple(ModuleTime(**{**row, "elaborated": False}) for row in data["modules"]),
        theorems=tuple(Theorem(**{**row, "axioms": tuple(row["axioms"])}) for row in data["theorems"]),
        sorries=data["sorries"],
        violations=tuple(Violation(**row) for row in data["violations"]),
        steps=data["steps"],
        peak_mib=data["peak_mib"],
    )
