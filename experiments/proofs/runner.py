"""Starts Lean once on a whole project and reads what the driver says."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from experiments.proofs import store
from experiments.proofs.errors import LeanError
from experiments.proofs.sources import Module
from experiments.proofs.toolchain import Toolchain

TIMEOUT_S = 1500.0
_POLL_S = 0.05
_RECORD = ("message", "kinds", "module")

_DECLARING = "Lean.Parser.Command."
COMMANDS = tuple(
    _DECLARING + kind
    for kind in (
        *("attribute", "declaration", "deriving", "end", "eoi", "in", "include", "moduleDoc", "mutual"),
        *("namespace", "omit", "open", "section", "set_option", "universe", "variable"),
    )
)
"""Commands that Lean is let elaborate; every other one could run code or change Lean's grammar."""
RUNS_CODE = (
    *("Lean.Parser.Term.byElab", "Lean.Parser.Term.includeStr", "Lean.includeStr", "Lean.Parser.Term.unsafe"),
    *("Lean.runTac", "Lean.Parser.Tactic.runTac"),
)
"""Kinds of syntax that run code within a command that is allowed."""


class Constant(NamedTuple):
    """A constant of the project as Lean has it; see ``describe`` in ``driver.lean``."""

    module: str
    name: str
    key: str
    kind: str
    private: bool
    internal: bool
    statement: str
    explicit: str
    doc: str | None
    axioms: tuple[str, ...]
    uses: tuple[str, ...]
    value_uses: tuple[str, ...]
    hash: str
    core_class: str
    class_uses: tuple[str, ...]
    shadows: str
    vacuous: bool


@dataclass(frozen=True)
class LeanReport:
    """Everything that one start of Lean said.

    Attributes:
        version: of Lean.
        messages: of the elaboration: module, line, severity, kind, text.
        kinds: per module the kinds of syntax that its text was parsed as, with the line where each stands first.
        constants: of all modules.
        violations: that the driver saw itself: kind, name, text.
        noise: lines on stdout that are not the driver's, each after the module that was being elaborated.
        refused: modules that were not elaborated for what they hold: module, line, kind of syntax.
        seconds: per module, that its elaboration took.
        elaborated: modules that were elaborated in this start.
        steps: seconds per step.
        peak_mib: largest memory of the process.
    """

    version: str
    messages: tuple[dict[str, Any], ...]
    kinds: dict[str, dict[str, int]]
    constants: tuple[Constant, ...]
    violations: tuple[dict[str, str], ...]
    noise: tuple[tuple[str, str], ...]
    seconds: dict[str, float]
    elaborated: frozenset[str]
    steps: dict[str, float] = field(default_factory=dict)
    peak_mib: float = 0.0
    refused: tuple[dict[str, Any], ...] = ()


@cache
def driver() -> bytes:
    """Text of the driver."""
    return (resources.files(__package__) / "driver.lean").read_bytes()


def run(
    toolchain: Toolchain,
    modules: Sequence[Module],
    *,
    fresh: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
    timeout_s: float = TIMEOUT_S,
) -> LeanReport:
    """Elaborate what is not in the cache, replay all of it, and say what it declares.

    Args:
        toolchain: to run.
        modules: imported ones first.
        fresh: whether to elaborate everything anew.
        progress: told how many modules are done.
        timeout_s: how long Lean may take.

    Returns:
        What Lean said.

    Raises:
        LeanError: if Lean did not come to its end.
        ToolchainError: if its files are not what was fetched.
    """
    # a root that only imports the others says nothing, and takes as long as any module
    modules = [module for module in modules if not module.only_imports or _imported(module, modules)]
    keys = module_keys(toolchain, modules)
    kept = toolchain.folder / "modules"
    with store.locked(store.cache_folder()), store.scratch(store.cache_folder()) as work:
        toolchain.verify()
        records = {m.name: None if fresh else _record(kept, keys[m.name]) for m in modules}
        new = [module for module in modules if records[module.name] is None]
        arguments = _prepare(work, modules, records, kept, keys)
        lines, noise, peak_mib = _start(toolchain, work, arguments, len(new), progress, timeout_s)
        done = {line["module"] for line in lines if line["type"] == "module"}
        for module in new:
            records[module.name] = [
                e for e in lines if e.get("module") == module.name and e["type"] in _RECORD
            ]
            # a refused module has no result, and what printed something would do so again
            if module.name in done and not noise:
                olean = work / "olean" / _path(module, ".olean")
                _keep(kept, keys[module.name], olean, records[module.name] or [])
    said = [event for module in modules for event in records[module.name] or []]
    return _report([*lines, *said], noise, frozenset(m.name for m in new), peak_mib)


def _imported(module: Module, modules: Sequence[Module]) -> bool:
    return any(module.name == name for other in modules for name, _ in other.imports)


def module_keys(toolchain: Toolchain, modules: Sequence[Module]) -> dict[str, str]:
    """Key of each module: its own text, all that it imports, the toolchain and the driver."""
    keys: dict[str, str] = {}
    for module in modules:
        imported = [keys.get(name, name) for name, _ in module.imports]
        keys[module.name] = store.key([toolchain.identity, driver(), module.name, module.text, *imported])
    return keys


def _prepare(
    work: Path,
    modules: Sequence[Module],
    records: dict[str, Any],
    kept: Path,
    keys: dict[str, str],
) -> list[str]:
    arguments = ["--allow", *COMMANDS, "--forbid", *RUNS_CODE]
    (work / "driver.lean").write_bytes(driver())
    for module in modules:
        source, olean = work / "source" / _path(module, ".lean"), work / "olean" / _path(module, ".olean")
        source.parent.mkdir(parents=True, exist_ok=True)
        olean.parent.mkdir(parents=True, exist_ok=True)
        # a copy, so that what was read for the audit is what Lean reads
        source.write_text(module.text, encoding="utf-8", newline="")
        if records[module.name] is not None:
            shutil.copyfile(kept / f"{keys[module.name]}.olean", olean)
        mode = "new" if records[module.name] is None else "reuse"
        imports = dict.fromkeys(name for name, _ in module.imports)
        arguments += ["--module", module.name, str(source), str(olean), mode, *imports]
    return arguments


def _path(module: Module, suffix: str) -> str:
    """Where Lean looks for a module: by its name, whatever its file is called."""
    return module.name.replace(".", "/") + suffix


def _start(
    toolchain: Toolchain,
    work: Path,
    arguments: list[str],
    new: int,
    progress: Callable[[int, int], None],
    timeout_s: float,
) -> tuple[list[dict[str, Any]], tuple[tuple[str, str], ...], float]:
    """One process; its lines, what else it printed, and the most memory it had in MiB."""
    nonce = secrets.token_hex(16)
    command = [*toolchain.command, "--run", str(work / "driver.lean"), nonce, *arguments]
    out, err = work / "stdout", work / "stderr"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            command,
            cwd=work,
            env=toolchain.variables(work / "olean", (store.cache_folder(),)),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )
        try:
            peak_mib = _wait(
                process, timeout_s, lambda: progress(out.read_bytes().count(b'{"type":"module"'), new)
            )
        except BaseException as error:
            process.kill()
            process.wait()
            if isinstance(error, LeanError):
                raise LeanError(str(error), _under_way(_heard(out, nonce)[0])) from None
            raise
    lines, noise = _heard(out, nonce)
    if not lines or lines[-1]["type"] != "done":
        said = _last_words(lines, err, process.returncode)
        blamed = re.search(r"import (\S+) failed", said)
        raise LeanError(said, blamed[1] if blamed else _under_way(lines))
    return lines, noise, peak_mib


def _heard(out: Path, nonce: str) -> tuple[list[dict[str, Any]], tuple[tuple[str, str], ...]]:
    """What the driver said, and what else was printed, with the module that was being elaborated."""
    lines: list[dict[str, Any]] = []
    noise: list[tuple[str, str]] = []
    for line in out.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            lines.append(json.loads(line.removeprefix(nonce) if line.startswith(nonce) else ""))
        except ValueError:  # not the driver's, or half a line of a process that was ended
            if line.strip():
                noise.append((_under_way(lines), line))
    return lines, tuple(noise)


def _under_way(lines: list[dict[str, Any]]) -> str:
    """Module that was being elaborated when the last line was said; empty where it was none."""
    return next((str(line["module"]) for line in reversed(lines) if line["type"] == "begin"), "")


def _wait(process: subprocess.Popen[bytes], timeout_s: float, tick: Callable[[], None]) -> float:
    begin = time.monotonic()
    last = begin
    while True:
        if sys.platform == "win32":
            ended, usage = process.poll() is not None, None
        else:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            ended = pid != 0
            if ended:
                process.returncode = os.waitstatus_to_exitcode(status)
        if ended:
            unit = 2**20 if sys.platform == "darwin" else 2**10
            return 0.0 if usage is None else round(usage.ru_maxrss / unit, 1)
        now = time.monotonic()
        if now - begin > timeout_s:
            raise LeanError(f"Lean did not come to an end within {timeout_s:g} s")
        if now - last > 1.0:
            tick()
            last = now
        time.sleep(_POLL_S)


def _last_words(lines: list[dict[str, Any]], err: Path, code: int | None) -> str:
    failed = next((line["text"] for line in lines if line["type"] == "failed"), None)
    if failed is not None:
        return f"Lean gave up: {failed}"
    done = [line["module"] for line in lines if line["type"] == "module"]
    after = f"after {done[-1]}" if done else "before the first module was done"
    text = [
        s
        for s in err.read_text(encoding="utf-8", errors="replace").splitlines()
        if s.strip() and "DEBUG" not in s
    ]
    said = "; ".join(line.strip()[:300] for line in text[-3:]) or "nothing on stderr"
    return f"Lean ended {after} with exit code {code} and no last word, so nothing counts ({said})"


def _record(kept: Path, key: str) -> list[dict[str, Any]] | None:
    """What Lean said when it elaborated this very text, if its result is there and whole."""
    record = store.read_json(kept / f"{key}.json")
    try:
        raw = (kept / f"{key}.olean").read_bytes()
    except OSError:
        return None
    if not isinstance(record, dict) or record.get("sha256") != store.key([raw]):
        return None
    events: list[dict[str, Any]] = record["events"]
    return events


def _keep(kept: Path, key: str, file: Path, events: list[dict[str, Any]]) -> None:
    raw = file.read_bytes()
    store.write_bytes(kept / f"{key}.olean", raw)
    store.write_json(kept / f"{key}.json", {"sha256": store.key([raw]), "events": events})


def _report(
    lines: list[dict[str, Any]],
    noise: tuple[tuple[str, str], ...],
    elaborated: frozenset[str],
    peak_mib: float,
) -> LeanReport:
    of: dict[str, list[dict[str, Any]]] = {}
    seen: set[int] = set()
    for line in lines:
        if id(line) not in seen:  # a new module's lines are in its record as well
            seen.add(id(line))
            of.setdefault(line["type"], []).append(line)
    return LeanReport(
        version=of["lean"][0]["version"],
        messages=tuple(of.get("message", [])),
        kinds={line["module"]: dict(line["kinds"]) for line in of.get("kinds", [])},
        constants=tuple(_constant(line) for line in of.get("constant", [])),
        violations=tuple(of.get("violation", [])),
        noise=noise,
        seconds={line["module"]: line["ms"] / 1000 for line in of.get("module", [])},
        elaborated=elaborated,
        steps={line["step"]: line["ms"] / 1000 for line in of.get("step", [])},
        peak_mib=peak_mib,
        refused=tuple(of.get("refused", [])),
    )


def _constant(line: dict[str, Any]) -> Constant:
    return Constant(
        module=line["module"],
        name=line["name"],
        key=line["key"],
        kind=line["kind"],
        private=line["private"],
        internal=line["internal"],
        statement=line["statement"],
        explicit=line["explicit"],
        doc=None if line["doc"] is None else line["doc"].strip(),
        axioms=tuple(sorted(line["axioms"])),
        uses=tuple(line["uses"]),
        value_uses=tuple(line["value_uses"]),
        hash=line["hash"],
        core_class=line["class"],
        class_uses=tuple(line["class_uses"]),
        shadows=line["shadows"],
        vacuous=line["vacuous"],
    )
