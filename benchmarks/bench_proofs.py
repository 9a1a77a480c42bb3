"""How long the WebAssembly build of Lean takes to start, patched and as published, and a whole check of the proofs."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import SECONDS, Benchmark, Row, SkippedError
from experiments.proofs import check as checking
from experiments.proofs import sources, store, toolchain
from experiments.proofs.check import Options
from experiments.proofs.errors import ToolchainError
from experiments.proofs.toolchain import Toolchain

START_AIM = 5.0  # published start over patched start
CHECK_BUDGET_S = 180.0
SECOND_RUN_BUDGET_S = 10.0
FILE = "theorem start : 1 + 1 = 2 := by decide\n#print start\n"


def _lean(pin: str) -> Toolchain:
    try:
        found = toolchain.find(pin, lambda what, done, total: None)
    except ToolchainError as error:
        raise SkippedError(str(error).splitlines()[0]) from error
    if found.native:
        raise SkippedError(f"there is a native Lean ({found.name}), and nothing of it is patched")
    return found


def start(found: Toolchain, script: Path) -> tuple[float, float]:
    """Seconds that a file of three lines takes, and the peak of the process in MiB."""
    with store.locked(store.cache_folder()), store.scratch(store.cache_folder()) as work:
        (work / "start.lean").write_text(FILE)
        begin = time.perf_counter()
        process = subprocess.Popen(
            [found.command[0], str(script), "start.lean"],
            cwd=work,
            env=found.variables(work, (store.cache_folder(),)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _, _, usage = os.wait4(process.pid, 0)
        return time.perf_counter() - begin, usage.ru_maxrss / 1024


def published(found: Toolchain, work: Path) -> Path:
    """The start program as it was fetched, but with the one mount without which it sees no file of ours."""
    from experiments.proofs import patch

    folder = work / "published"
    folder.mkdir(parents=True)
    text = (found.folder / "lean.js").read_text(encoding="latin-1")
    (folder / "lean.js").write_text(patch.only_mounts(text), encoding="latin-1")
    (folder / "lean.wasm").symlink_to(found.folder / "lean.wasm")
    return folder / "lean.js"


def run(heavy: bool) -> Iterator[Row]:
    project = sources.read(checking.project_folder())
    found = _lean(project.pin)
    work = store.cache_folder() / "benchmark"
    shutil.rmtree(work, ignore_errors=True)
    try:
        script = published(found, work)
        patched = [start(found, Path(found.command[1])) for _ in range(2)]
        plain = start(found, script)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    best = min(patched)
    yield Row(
        "start of Lean: patched against published",
        best[0],
        plain[0],
        SECONDS,
        plain[0] / best[0],
        START_AIM,
        {"peak_mib_ours": best[1], "peak_mib_reference": plain[1]},
    )
    whole = checking.check(project.folder, Options(fresh=True))
    yield Row(
        "asiclab proofs check --fresh",
        whole.seconds,
        CHECK_BUDGET_S,
        SECONDS,
        CHECK_BUDGET_S / whole.seconds,
        1.0,
        {"ok": whole.ok, "theorems": len(whole.theorems), "peak_mib": whole.peak_mib, **whole.steps},
    )
    again = checking.check(project.folder)
    yield Row(
        "asiclab proofs check, again",
        again.seconds,
        SECOND_RUN_BUDGET_S,
        SECONDS,
        SECOND_RUN_BUDGET_S / again.seconds,
        1.0,
    )


BENCHMARKS = [Benchmark("proofs", run, heavy=True)]
