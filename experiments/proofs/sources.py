"""Reads a Lake project: which files there are, what imports what, and what its configuration may say."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

from experiments.proofs.declarations import Declaration, declarations
from experiments.proofs.findings import Violation
from experiments.proofs.tokens import Token, tokens
from firmware_bridge.errors import UserError

MANIFEST = "statements.json"
_IGNORED_FOLDERS = (".lake", ".git")
_CODE = (
    ".lean",
    ".olean",
    ".ilean",
    ".ir",
    ".c",
    ".cpp",
    ".o",
    ".bc",
    ".a",
    ".so",
    ".dylib",
    ".dll",
    ".wasm",
)
_PIN = re.compile(r"leanprover/lean4:v\d+\.\d+\.\d+(-rc\d+)?")
_LAKE_KEYS = {"name", "version", "description", "license", "defaultTargets", "lean_lib"}
_LIBRARY_KEYS = {"name"}


@dataclass(frozen=True)
class Module:
    """One file of the project.

    Attributes:
        name: such as ``Silicon.Energy``.
        file: relative to the project, with slashes.
        text: of the file.
    """

    name: str
    file: str
    text: str

    @cached_property
    def tokens(self) -> list[Token]:
        """Tokens of the text."""
        return tokens(self.text)

    @cached_property
    def imports(self) -> list[tuple[str, int]]:
        """Imported modules with their lines."""
        return [
            (after.text, token.line)
            for token, after in zip(self.tokens, self.tokens[1:], strict=False)
            if token.kind == "name" and token.text == "import" and after.kind == "name"
        ]

    @cached_property
    def only_imports(self) -> bool:
        """Whether it says nothing of its own."""
        code = [token.text for token in self.tokens if token.kind != "doc"]
        return [word for word in code if word != "import"] == [name for name, _ in self.imports] and all(
            word == "import" for word in code[::2]
        )

    @cached_property
    def declarations(self) -> list[Declaration]:
        """Declarations in their order."""
        return declarations(self.text, self.tokens)


@dataclass(frozen=True)
class Project:
    """A Lake project as its files say.

    Attributes:
        folder: of the project.
        root: name of its root module, and of the namespace of all that it declares.
        pin: text of ``lean-toolchain``.
        modules: reachable from the root, imported ones first.
        violations: of what a project may consist of.
        contents: every file that matters by its name, for keys of the cache.
        partial: whether it was made of a part of another project.
    """

    folder: Path
    root: str
    pin: str
    modules: tuple[Module, ...]
    violations: tuple[Violation, ...]
    contents: dict[str, bytes] = field(default_factory=dict)
    partial: bool = False


def read(folder: Path) -> Project:
    """Read a project.

    Raises:
        UserError: if the folder holds none.
    """
    lakefile = folder / "lakefile.toml"
    if not lakefile.is_file() and not (folder / "lakefile.lean").is_file():
        raise UserError(f"{folder} holds no Lean project: there is no lakefile.toml in it")
    violations: list[Violation] = []
    contents = dict(_files(folder, violations))
    root = _root(contents.get("lakefile.toml"), violations)
    if root is None:  # what would be checked is not known
        return Project(folder, "", "", (), tuple(violations), contents)
    _locked(contents.get("lake-manifest.json"), violations)
    pin = contents.get("lean-toolchain", b"").decode(errors="replace")
    if not _PIN.fullmatch(pin.strip()):
        violations.append(
            Violation("lean-toolchain", 1, "toolchain", "names no release such as leanprover/lean4:v4.28.0")
        )
    modules = _modules(contents, root, violations)
    order = _ordered(root, modules, violations)
    reached = {module.name for module in order}
    for module in modules.values():
        if module.name not in reached:
            text = f"the root module {root} does not import it, so nothing in it would be checked"
            violations.append(Violation(module.file, 1, "not-imported", text))
    if MANIFEST not in contents:
        violations.append(
            Violation(
                MANIFEST, 1, "manifest", "is missing; write it with: asiclab proofs check --write-manifest"
            )
        )
    return Project(folder, root, pin, tuple(order), tuple(violations), contents)


def extended(project: Project, *more: Module) -> Project:
    """A project of further modules and of what they need of another one, with a root that imports them all."""
    known = {module.name: module for module in project.modules} | {module.name: module for module in more}
    needed: dict[str, Module] = {}

    def visit(name: str) -> None:
        if name in known and name not in needed:
            for imported, _ in known[name].imports:
                visit(imported)
            needed[name] = known[name]

    for module in more:
        visit(module.name)
    root = Module(project.root, f"{project.root}.lean", "".join(f"import {name}\n" for name in needed))
    return Project(
        project.folder,
        project.root,
        project.pin,
        (*needed.values(), root),
        project.violations,
        project.contents,
        partial=True,
    )


def _files(folder: Path, violations: list[Violation]) -> Iterator[tuple[str, bytes]]:
    for where, folders, names in os.walk(folder):
        base = Path(where)
        for name in sorted([*folders, *names]):
            path = base / name
            relative = path.relative_to(folder).as_posix()
            if path.is_symlink():
                violations.append(
                    Violation(
                        relative, 1, "symlink", "leads out of what is reviewed; put the file itself here"
                    )
                )
        folders[:] = sorted(f for f in folders if f not in _IGNORED_FOLDERS and not (base / f).is_symlink())
        for name in sorted(names):
            path = base / name
            relative = path.relative_to(folder).as_posix()
            if path.is_symlink() or not path.is_file():
                continue
            if (
                path.suffix in _CODE
                or ".olean." in name
                or relative
                in (
                    "lakefile.toml",
                    "lean-toolchain",
                    "lake-manifest.json",
                    MANIFEST,
                )
            ):
                yield relative, path.read_bytes()


def _root(raw: bytes | None, violations: list[Violation]) -> str | None:
    """Name of the only library; None where there is not exactly one."""

    def wrong(line: int, text: str, stops: bool = False) -> None:
        violations.append(Violation("lakefile.toml", line, "lakefile", text, stops))

    if raw is None:
        wrong(1, "is missing: a library is set up there, not by a program", True)
        return None
    try:
        text = raw.decode()
        config = tomllib.loads(text)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        line = re.search(r"at line (\d+)", str(error))
        wrong(int(line[1]) if line else 1, f"cannot be read: {error}", True)
        return None
    for key in config.keys() - _LAKE_KEYS:
        wrong(_line(text, key), f"{key}: only a plain library may be set up here")
    libraries = config.get("lean_lib")
    if not isinstance(libraries, list) or len(libraries) != 1 or not isinstance(libraries[0], dict):
        wrong(_line(text, "lean_lib"), "exactly one [[lean_lib]] with a name is needed", True)
        return None
    (library,) = libraries
    for key in library.keys() - _LIBRARY_KEYS:
        wrong(_line(text, key), f"{key}: a library may only have a name")
    name = library.get("name")
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z]\w*", name):
        wrong(_line(text, "lean_lib"), "exactly one [[lean_lib]] with a name is needed", True)
        return None
    if config.get("defaultTargets", [name]) != [name]:
        wrong(_line(text, "defaultTargets"), f"lake build would build something else than {name}")
    return name


def _locked(raw: bytes | None, violations: list[Violation]) -> None:
    """A lock file of Lake may name no package."""
    if raw is None:
        return
    try:
        lock = json.loads(raw)
        packages = lock.get("packages")
    except (ValueError, AttributeError, RecursionError):
        packages = ["unreadable"]
    if packages:
        line = _line(raw.decode(errors="replace"), "packages")
        violations.append(
            Violation(
                "lake-manifest.json", line, "lakefile", "packages: the core library is all that is used"
            )
        )


def _line(text: str, word: str) -> int:
    return next((n for n, line in enumerate(text.splitlines(), 1) if word in line), 1)


def _modules(contents: dict[str, bytes], root: str, violations: list[Violation]) -> dict[str, Module]:
    modules: dict[str, Module] = {}
    for file, raw in contents.items():
        path = PurePosixPath(file)
        if path.suffix not in _CODE and ".olean." not in path.name:
            continue
        if path.suffix != ".lean" or file == "lakefile.lean":
            violations.append(
                Violation(file, 1, "file", "is code that is not checked: only modules may stand here")
            )
            continue
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            violations.append(Violation(file, raw[: error.start].count(b"\n") + 1, "unicode", "is no UTF-8"))
            text = raw.decode("utf-8", errors="replace")
        text = text.replace("\r\n", "\n")  # as Lean does
        name = ".".join(path.with_suffix("").parts)
        if (name != root and path.parts[0] != root) or any(
            "." in part for part in path.with_suffix("").parts
        ):
            text = f"is no module of the library {root}: only {root}.lean and what stands in {root}/ is"
            violations.append(Violation(file, 1, "file", text, stops=True))
            if name in modules:
                continue
        modules[name] = Module(name, file, text)
    return modules


def _ordered(root: str, modules: dict[str, Module], violations: list[Violation]) -> list[Module]:
    order: list[Module] = []
    state: dict[str, str] = {}

    def visit(name: str) -> None:
        module = modules[name]
        state[name] = "open"
        for imported, line in module.imports:
            if imported not in modules:
                text = f"imports {imported}, which is no module of the project: core Lean's Init is there without it"
                violations.append(Violation(module.file, line, "import", text, stops=True))
            elif state.get(imported) == "open":
                violations.append(
                    Violation(
                        module.file, line, "import", f"imports {imported}, which imports it", stops=True
                    )
                )
            elif imported not in state:
                visit(imported)
        state[name] = "done"
        order.append(module)

    if root not in modules:
        violations.append(Violation(f"{root}.lean", 1, "file", "the root module is missing", stops=True))
        return order
    try:
        visit(root)
    except RecursionError:
        text = "imports modules that import others, and so on, too deep to follow"
        violations.append(Violation(modules[root].file, 1, "import", text, stops=True))
    return order
