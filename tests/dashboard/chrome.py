"""A page in a real headless Chromium, asked over its debugging protocol."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest


class Page:
    """One page.

    Args:
        connection: to its debugger.
        browser: number of the browser's process.
    """

    def __init__(self, connection: Any, browser: int) -> None:
        self._connection, self._number = connection, 0
        self._browser = browser

    def resident_bytes(self) -> int:
        """Memory of the page's own process, its part of shared pages included (PSS); 0 where the system does not say.

        The browser has another such process for its empty first page, which is smaller.
        """
        return max(map(_pss_bytes, _renderers(self._browser)), default=0)

    def send(self, method: str, **parameters: Any) -> Any:
        """One command of the protocol and its answer."""
        self._number += 1
        self._connection.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._connection.recv(timeout=60))
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def evaluate(self, script: str) -> Any:
        """Value of an expression on the page."""
        found = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, script: str, seconds: float = 60.0) -> Any:
        """Wait until an expression is true on the page."""
        deadline_s = time.monotonic() + seconds
        while not (value := self.evaluate(script)):
            assert time.monotonic() < deadline_s, f"never true on the page: {script}"
            time.sleep(0.1)
        return value


def _renderers(browser: int) -> list[int]:
    """Numbers of the processes below a browser's that draw pages."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError):  # it may end meanwhile
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])

    def below(number: int) -> bool:
        while number in parents and number != browser:
            number = parents[number]
        return number == browser

    found = []
    for number in filter(below, parents):
        with suppress(OSError):
            if b"--type=renderer" in Path(f"/proc/{number}/cmdline").read_bytes():
                found.append(number)
    return found


def _pss_bytes(number: int) -> int:
    with suppress(OSError):
        if found := re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{number}/smaps_rollup").read_text(), re.M):
            return int(found[1]) * 1024
    return 0


@contextmanager
def chromium(folder: Path, url: str, *, width: int = 1280, height: int = 900) -> Iterator[Page]:
    """Open a page; skips where there is no browser."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on the path: apt-get install chromium")
    client = pytest.importorskip("websockets.sync.client")
    process = subprocess.Popen(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/profile",
         "--remote-debugging-port=0", "--remote-allow-origins=*", f"--window-size={width},{height}", "about:blank"],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"DevTools listening on ws://([^/]+)/", line):
                break
        else:
            pytest.fail("Chromium ended before it listened")
        with urlopen(Request(f"http://{found[1]}/json/new?{url}", method="PUT"), timeout=60) as answer:
            target = json.load(answer)
        with client.connect(target["webSocketDebuggerUrl"], max_size=None) as connection:
            page = Page(connection, process.pid)
            page.send(
                "Emulation.setDeviceMetricsOverride",
                width=width,
                height=height,
                deviceScaleFactor=1,
                mobile=False,
            )
            yield page
    finally:
        process.kill()
        process.communicate()
