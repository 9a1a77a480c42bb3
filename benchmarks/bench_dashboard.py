"""The live page beside 50 miners at 10 shares/s each: its memory in a real Chromium, and how old what it shows is."""

from __future__ import annotations

import json
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.harness import ASICLAB, PROJECT, Benchmark, Row, SkippedError
from firmware_bridge.trace.schema import MinerRow, RunRecord, ShareRow
from firmware_bridge.trace.writer import TraceWriter

MINERS, RATE = 50, 10.0
PAGE_BYTES = 200e6
FRESH_S = 1.0
BATCH_S = 0.1


class Filling(threading.Thread):
    """Writes shares into a trace as they would arrive."""

    def __init__(self, url: str, seconds: float) -> None:
        super().__init__()
        self.url, self.seconds = url, seconds
        self.written = 0
        self.at: list[tuple[float, int]] = []

    def run(self) -> None:
        rng = np.random.default_rng(1)
        with TraceWriter(self.url) as writer:
            run = writer.begin_run(RunRecord(kind="live", source="bridge"))
            for number in range(MINERS):
                run.miner(MinerRow(f"miner{number + 1}", model="s9"))
            last_ns = dict.fromkeys(range(1, MINERS + 1), time.time_ns())
            begun = time.monotonic()
            while (gone := time.monotonic() - begun) < self.seconds:
                rows = []
                for miner in rng.integers(1, MINERS + 1, rng.poisson(MINERS * RATE * BATCH_S)).tolist():
                    now_ns = time.time_ns()
                    text = ("1a", "00000001", "69637392", f"{rng.integers(2**32):08x}", "00000000")
                    interval_ns = now_ns - last_ns[miner]
                    rows.append(
                        ShareRow(
                            miner,
                            None,
                            *text,
                            300.0,
                            True,
                            None,
                            now_ns,
                            None,
                            now_ns,
                            interval_ns,
                            None,
                            None,
                        )
                    )
                    last_ns[miner] = now_ns
                run.shares(rows)
                run.flush()
                self.written += len(rows)
                self.at.append((time.monotonic(), self.written))
                time.sleep(max(0.0, (len(self.at)) * BATCH_S - gone))
            run.end("success")


def page_beside_fifty_miners(seconds: float) -> list[Row]:
    """Largest heap of the page over so many seconds, and the age of the number of shares that it shows."""
    try:
        from tests.dashboard.chrome import chromium
    except ImportError as error:
        raise SkippedError(f"the page needs the tests' driver of Chromium ({error})") from None
    import shutil

    if not any(shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")):
        raise SkippedError("no Chromium on the path: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/lab.db"
        with TraceWriter(url):
            pass
        filling = Filling(url, seconds)
        command = [*ASICLAB, "dashboard", "--port", "0", "--json", "--db", url]
        server = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            address = json.loads(server.stdout.readline())["url"]
            filling.start()
            heaps, sizes, ages = [], [], []
            with chromium(Path(folder), address) as page:
                page.send("Performance.enable")
                page.until("document.getElementById('link')?.className === 'on'")
                page.until("document.querySelectorAll('#miners tr').length === 50")
                while filling.is_alive():
                    time.sleep(1.0)
                    shown = int(
                        page.evaluate(
                            "document.getElementById('run-what').innerText.match(/(\\d+) shares/)[1]"
                        )
                    )
                    now = time.monotonic()
                    written = [at for at, count in list(filling.at) if count > shown]
                    ages.append(now - written[0] if written else 0.0)
                    metrics = {m["name"]: m["value"] for m in page.send("Performance.getMetrics")["metrics"]}
                    heaps.append(metrics["JSHeapTotalSize"])
                    sizes.append(page.resident_bytes())
        finally:
            server.terminate()
            server.wait(30)
            filling.join()
    detail = {"seconds": seconds, "shares": filling.written, "looks": len(ages)}
    return [
        Row(
            "dashboard: heap of the page, 50 miners x 10 shares/s",
            max(heaps) / 1e6,
            PAGE_BYTES / 1e6,
            "MB (less is better)",
            PAGE_BYTES / max(heaps),
            1.0,
            {**detail, "first": heaps[0] / 1e6, "last": heaps[-1] / 1e6},
        ),
        Row(
            "dashboard: memory of the page's process, 50 miners x 10 shares/s",
            max(sizes) / 1e6,
            PAGE_BYTES / 1e6,
            "MB (less is better)",
            PAGE_BYTES / max(1, *sizes),
            1.0,
            {**detail, "first": sizes[0] / 1e6, "last": sizes[-1] / 1e6},
        ),
        Row(
            "dashboard: age of what the page shows, 99 % of looks",
            float(np.quantile(ages, 0.99)),
            FRESH_S,
            "s",
            FRESH_S / max(1e-9, float(np.quantile(ages, 0.99))),
            1.0,
            {**detail, "median": float(np.median(ages))},
        ),
    ]


def run(heavy: bool) -> Iterator[Row]:
    yield from page_beside_fifty_miners(600.0 if heavy else 60.0)


BENCHMARKS = [Benchmark("dashboard", run)]
