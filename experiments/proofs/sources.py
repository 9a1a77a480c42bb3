"""Reads a Lake project: which files there are, what imports what, and what its configuration may say."""

from __future__ import annotations

import os
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
_CODE = (".lean", ".olean", ".ilean", ".c", ".o", ".a", ".so", ".dylib", ".dll")
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
        return all(word == "import" for word in code[::2]) and len(code) % 2 == 0

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
    if not lakefile.is_file():
        raise UserError(f"{folder} holds no Lean project: there is no lakefile.toml in it")
    violations: list[Violation] = []
    contents = dict(_files(folder, violations))
    root = _root(contents.get("lakefile.toml", b""), lakefile, violations)
    pin = contents.get("lean-toolchain", b"").decode(errors="replace")
    if not pin.strip().startswith("leanprover/lean4:v"):
        violations.append(
            Violation("lean-toolchain", 1, "toolchain", "names no release such as leanprover/lean4:v4.28.0")
        )
    modules = _modules(contents, violations)
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
            if path.suffix in _CODE or relative in (
                "lakefile.toml",
                "lean-toolchain",
                "lake-manifest.json",
                MANIFEST,
            ):
                yield relative, path.read_bytes()


def _root(raw: bytes, lakefile: Path, violations: list[Violation]) -> str:
    try:
        config = tomllib.loads(raw.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{lakefile}: {error}") from error
    text = raw.decode()
    libraries = config.get("lean_lib", [])
    for key in config.keys() - _LAKE_KEYS:
        violations.append(
            Violation(
                "lakefile.toml",
                _line(text, key),
                "lakefile",
                f"{key}: only a plain library may be set up here",
            )
        )
    for key in {key for library in libraries for key in library} - _LIBRARY_KEYS:
        violations.append(
            Violation("lakefile.toml", _line(text, key), "lakefile", f"{key}: a library may only have a name")
        )
    if len(libraries) != 1 or not isinstance(libraries[0].get("name"), str):
        raise UserError(f"{lakefile}: exactly one [[lean_lib]] with a name is needed")
    return str(libraries[0]["name"])


def _line(text: str, word: str) -> int:
    return next((n for n, line in enumerate(text.splitlines(), 1) if word in line), 1)


def _modules(contents: dict[str, bytes], violations: list[Violation]) -> dict[str, Module]:
    modules: dict[str, Module] = {}
    for file, raw in contents.items():
        path = PurePosixPath(file)
        if path.suffix not in _CODE:
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
        name = ".".join(path.with_suffix("").parts)
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
    visit(root)
    return order
