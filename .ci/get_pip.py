"""Put pip into a virtual environment where Python came without ensurepip, as on Debian without python3-venv.

    python .ci/get_pip.py .venv/bin/python

Takes the newest wheel from the package index (PIP_INDEX_URL, or PyPI), checks it against the index's own SHA-256 and
lets it install itself. Nothing but the standard library is needed.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from urllib.parse import urljoin

LINK = re.compile(r'href="([^"#]*?/?pip-(\d+(?:\.\d+)*)-py3-none-any\.whl)(?:#sha256=([0-9a-f]{64}))?"')


def newest(page: str) -> tuple[str, str | None]:
    """Address and SHA-256 of the newest final release on a page of the simple index."""
    links = LINK.findall(page)
    if not links:
        raise SystemExit("the package index lists no wheel of pip")
    address, _, digest = max(links, key=lambda link: [int(part) for part in link[1].split(".")])
    return address, digest or None


def main(python: str) -> None:
    """Install pip into the environment of ``python``."""
    index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/") + "/pip/"
    with urllib.request.urlopen(index, timeout=60) as answer:
        address, digest = newest(answer.read().decode())
    with urllib.request.urlopen(urljoin(index, address), timeout=120) as answer:
        content = answer.read()
    if digest is not None and hashlib.sha256(content).hexdigest() != digest:
        raise SystemExit(f"{address}: the file is not the one that the index names")
    with tempfile.TemporaryDirectory() as folder:
        wheel = Path(folder) / address.rsplit("/", 1)[-1]
        wheel.write_bytes(content)
        subprocess.run([python, f"{wheel}/pip", "install", "--quiet", "--no-index", str(wheel)], check=True)


if __name__ == "__main__":
    main(sys.argv[1])
