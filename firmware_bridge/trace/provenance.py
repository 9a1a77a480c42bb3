"""Where a run came from: versions, git state, host and clock; and how secrets are kept out of it."""

from __future__ import annotations

import dataclasses
import math
import os
import platform
import re
import secrets
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

HIDDEN = "***"
"""What stands where a secret stood."""

DISTRIBUTION = "asic-reservoir-lab"
PACKAGES = (
    DISTRIBUTION,
    "numpy",
    "scipy",
    "pandas",
    "SQLAlchemy",
    "numba",
    "msgspec",
    "scikit-learn",
    "statsmodels",
    "antropy",
    "pyarrow",
    "adbc-driver-sqlite",
    "psycopg",
)

_SECRET_WORDS = frozenset(
    [
        "password",
        "passwords",
        "passwd",
        "passphrase",
        "pass",
        "pwd",
        "token",
        "tokens",
        "secret",
        "secrets",
        "credential",
        "credentials",
        "authorization",
        "cookie",
        "apikey",
        "privatekey",
    ]
)
_SECRET_PAIRS = re.compile(r"(?:api|private|access|auth)[_\-. ]?key", re.IGNORECASE)
# each looks at a character a bounded number of times, since strangers' texts of any length go through them
_SCHEME = r"(?<![A-Za-z0-9+.\-])([A-Za-z0-9+.\-]++://)"
_URL_LOGIN = re.compile(_SCHEME + r"([^\s\"'/@:]*+):(.*)@", re.DOTALL)
_URL_TOKEN = re.compile(_SCHEME + r"([^\s\"'/@:]{16,}+)@")
_WORD = re.compile(r"[^\s\"']++")
_PARAMETER = re.compile(r"((?:password|passwd|token|secret|api_?key|pwd)=)[^&\s\"';,]++", re.IGNORECASE)


def is_secret_name(name: str) -> bool:
    """Whether a key names something that must not be stored: ``pool_pass``, ``mqttPassword``, ``api-key`` …"""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)
    return any(word.lower() in _SECRET_WORDS for word in words) or bool(_SECRET_PAIRS.search(name))


def redact_text(text: str) -> str:
    """Text with the logins of URLs and ``password=…`` parameters replaced by ``***``."""
    if "://" in text and "@" in text:
        text = _WORD.sub(lambda word: _without_login(word[0]), text)
    return _PARAMETER.sub(rf"\1{HIDDEN}", text)


def _without_login(word: str) -> str:
    end = word.rfind("@") + 1
    if not end or "://" not in word:
        return word
    kept = _URL_LOGIN.sub(rf"\1\2:{HIDDEN}@", word[:end]) + word[end:]
    return _URL_TOKEN.sub(rf"\1{HIDDEN}@", kept)


def redact(value: Any) -> Any:
    """Copy of a configuration without its secrets.

    Values under keys such as ``password``, ``token``, ``secret`` or ``pass`` become ``***`` (switches and None stay, as
    ``keep_secrets`` does), and so do the logins in URLs, at any depth.

    Returns:
        What JSON can hold, in the same shape: tuples, sets and arrays come back as lists, dataclasses as mappings,
        floats that are not finite as None, everything else as text.
    """
    if isinstance(value, Mapping):
        return {
            str(key): HIDDEN
            if is_secret_name(str(key)) and not isinstance(item, bool | None) and item != ""
            else redact(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(item) for item in value]
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, bool | int | None):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return redact({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    if hasattr(value, "tolist"):  # NumPy scalars and arrays
        return redact(value.tolist())
    return redact_text(str(value))


def new_run_id(wall_ns: int) -> str:
    """Name of a run: chance first, so that a short prefix is unique, then the UTC start time."""
    stamp = datetime.fromtimestamp(wall_ns // 1_000_000_000, tz=UTC)
    return f"{secrets.token_hex(4)}-{stamp:%Y%m%d-%H%M%S}"


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions of Python, SQLite and the packages that touch a result; what is not installed is left out."""
    found = {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@lru_cache(maxsize=1)
def git_state() -> dict[str, Any]:
    """Commit of the checkout that this code runs from, and whether files differ from it.

    Returns:
        ``{"sha", "dirty"}``, both None where the code is not tracked by git or git is not installed.
    """
    here = Path(__file__)
    unknown = {"sha": None, "dirty": None}
    # an installed copy may lie inside some other project's checkout, whose commit would mean nothing
    if _git(here.parent, "ls-files", "--error-unmatch", here.name) is None:
        return unknown
    sha = _git(here.parent, "rev-parse", "HEAD")
    status = _git(here.parent, "status", "--porcelain", "--untracked-files=no")
    if sha is None or status is None:
        return unknown
    return {"sha": sha.strip(), "dirty": bool(status.strip())}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None


@lru_cache(maxsize=1)
def host() -> dict[str, Any]:
    """This machine: name, system, processor, memory, and which clock the kernel reads."""
    return {
        "name": platform.node(),
        "system": platform.system(),
        "release": platform.release(),
        "machine": platform.machine(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "memory_bytes": _memory_bytes(),
        "python": sys.version.split()[0],
        "implementation": platform.python_implementation(),
        "clock_source": clock_source(),
    }


def clock_source() -> str | None:
    """What the kernel takes its time from (``tsc``, ``kvm-clock`` …); None where it does not say."""
    try:
        path = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
        return path.read_text(encoding="ascii").strip() or None
    except (OSError, ValueError):
        return None


@lru_cache(maxsize=1)
def clock_tick_ns() -> int:
    """Smallest step that the wall clock was seen to make, ns: the finest difference a stamp can show."""
    smallest = 1_000_000_000
    previous = time.time_ns()
    for _ in range(2000):
        now = time.time_ns()
        if 0 < now - previous < smallest:
            smallest = now - previous
        previous = now
    return smallest


def _processor() -> str | None:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or None


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
