"""The demonstration: the real bridge, an emulated S9 and LV06 as real TCP clients, and the report of what came.

Bridge and emulators are processes of their own, started through the same command line that a user has, so that
hashing and drawing do not disturb the bridge's timing.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from firmware_bridge.errors import LabError, UserError

SCALE = "2^-25"
"""An S9's 14.5 TH/s become 0.43 MH/s of real hashing, which a busy core carries without falling behind."""
DIFFICULTY = 256
LEAST_SHARES = 500
"""Fewer S9 shares than this give no verdict."""
GRACE_S = 23.0
"""How much longer to gather where there are fewer; what is left of three minutes is for the report."""
READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class DemoPlan:
    """What a demonstration is to do.

    Attributes:
        out: folder of everything it writes.
        seed: of the jobs and of the emulated miners.
        shares: S9 shares after which it is enough.
        seconds: when to stop gathering, counted from the start, if there are enough shares for a verdict; a while
            later whatever came.
        port: of the bridge; 0 takes a free one.
    """

    out: Path
    seed: int = 1
    shares: int = 1000
    seconds: float = 125.0
    port: int = 0

    @property
    def database(self) -> str:
        """URL of the trace."""
        return f"sqlite:///{self.out / 'lab.db'}"


@dataclass
class Progress:
    """What a demonstration shows while it runs."""

    step: str = ""
    shares: dict[str, int] = field(default_factory=dict)
    elapsed_s: float = 0.0


def run_demo(
    plan: DemoPlan,
    *,
    on_ready: Callable[[dict[str, Any]], None] = lambda ready: None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    stopped: Callable[[], bool] = lambda: False,
) -> dict[str, Any] | None:
    """Gather shares and write ``lab.db``, ``report.html`` and ``summary.json``.

    Args:
        plan: what to do.
        on_ready: called with what the bridge said when it listened.
        on_progress: called several times a second.
        stopped: whether somebody asked to stop.

    Returns:
        The content of ``summary.json``, or None where somebody asked to stop: the trace is complete up to there.

    Raises:
        UserError: if the folder cannot be written.
        LabError: if a process ended early, or no share came.
    """
    begin = time.monotonic()
    try:
        plan.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{plan.out}: cannot be made ({error.strerror}); give another folder with --out"
        ) from error
    progress = Progress("starting the bridge")
    on_progress(progress)
    with contextlib.ExitStack() as stack:
        bridge = _start(stack, plan, "bridge", _bridge_arguments(plan))
        ready = _ready_line(bridge, plan.out / "bridge.log")
        on_ready(ready)
        pool = f"{ready['host']}:{ready['port']}"
        progress.step = "preparing the emulated miners (compiles their kernels the first time)"
        on_progress(progress)
        _compile_kernels()
        children = [bridge]
        for offset, model in enumerate(("s9", "lv06")):
            arguments = _emulator_arguments(plan, model, pool, plan.seed + offset)
            children.append(_start(stack, plan, model, arguments))
        progress.step = "emulated miners mine, the bridge verifies and stores"
        _gather(plan, ready["run"], children, begin, progress, on_progress, stopped)
        progress.step = "stopping"
        on_progress(progress)
    if stopped():
        return None
    progress.step = "looking at the shares"
    progress.elapsed_s = time.monotonic() - begin
    on_progress(progress)
    summary = _conclude(plan, ready["run"])
    summary["seconds"] = round(time.monotonic() - begin, 1)
    (plan.out / "summary.json").write_text(
        json.dumps(summary, indent=2, allow_nan=False) + "\n", encoding="utf-8"
    )
    return summary


def _bridge_arguments(plan: DemoPlan) -> list[str]:
    arguments = f"bridge --host 127.0.0.1 --port {plan.port} --difficulty {DIFFICULTY} --mode swh --json"
    return [*arguments.split(), "--seed", str(plan.seed), "--db", plan.database]


def _emulator_arguments(plan: DemoPlan, model: str, pool: str, seed: int) -> list[str]:
    return [
        "emulate",
        model,
        "--pool",
        pool,
        "--scale",
        SCALE,
        "--seed",
        str(seed),
        "--api-port",  # nobody asks these two anything, and their own ports may be taken or privileged
        "0",
        "--http-port",
        "0",
        "--json",
        "--db",
        plan.database,
    ]


@dataclass
class _Child:
    name: str
    process: subprocess.Popen[bytes]
    log: Path


def _start(stack: contextlib.ExitStack, plan: DemoPlan, name: str, arguments: list[str]) -> _Child:
    """Start one part; it is stopped, last started first, when the stack unwinds."""
    log = plan.out / f"{name}.log"
    errors: IO[bytes] = stack.enter_context(log.open("wb"))
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.cli", *arguments], stdout=subprocess.PIPE, stderr=errors
    )
    stack.callback(_stop, process)
    return _Child(name, process, log)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _ready_line(bridge: _Child, log: Path) -> dict[str, Any]:
    assert bridge.process.stdout is not None
    line = bridge.process.stdout.readline()
    if not line:
        bridge.process.wait(READY_TIMEOUT_S)
        raise LabError(f"the bridge did not start; it said: {_tail(log)}")
    ready: dict[str, Any] = json.loads(line)
    return ready


def _tail(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace").strip()
    return text.splitlines()[-1] if text else f"nothing (see {log})"


def _gather(
    plan: DemoPlan,
    run_id: str,
    children: Sequence[_Child],
    begin: float,
    progress: Progress,
    on_progress: Callable[[Progress], None],
    stopped: Callable[[], bool],
) -> None:
    """Wait until the S9 has enough shares, the time is over, or somebody asks to stop."""
    while not stopped():
        progress.shares = _count(plan.out / "lab.db", run_id)
        progress.elapsed_s = time.monotonic() - begin
        on_progress(progress)
        if _is_enough(plan, progress):
            return
        for child in children:
            if child.process.poll() is not None and not stopped():
                raise LabError(f"{child.name} ended early; it said: {_tail(child.log)}")
        time.sleep(0.25)


def _is_enough(plan: DemoPlan, progress: Progress) -> bool:
    shares = progress.shares.get("s9", 0)
    patience = plan.seconds if shares >= LEAST_SHARES else plan.seconds + GRACE_S
    return shares >= plan.shares or progress.elapsed_s >= patience


def _compile_kernels() -> None:
    """Fill numba's cache on disk once, so that the two emulators do not both compile at the same time."""
    from experiments.cli.options import parse_scale
    from experiments.doctor import measure_hash_rate

    measure_hash_rate(parse_scale(SCALE), seconds=0.01)


def _count(database: Path, run_id: str) -> dict[str, int]:
    """Valid shares of each emulated model so far, read beside the writer."""
    query = """
        SELECT miners.user_agent, count(*) FROM shares JOIN runs ON runs.run = shares.run
        JOIN miners ON miners.run = shares.run AND miners.miner = shares.miner
        WHERE runs.run_id = ? AND shares.valid GROUP BY miners.miner
    """
    with contextlib.closing(
        sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True, timeout=5)
    ) as connection:
        rows = connection.execute(query, (run_id,)).fetchall()
    counts = {"s9": 0, "lv06": 0}
    for agent, count in rows:
        counts["lv06" if "LV06" in str(agent).upper() else "s9"] += count
    return counts


def _conclude(plan: DemoPlan, run_id: str) -> dict[str, Any]:
    from experiments.analysis import analyse
    from experiments.cli.output import plain
    from experiments.report import write_report

    analysis = analyse(plan.database, run_id, seed=plan.seed, parts=True)
    report = plan.out / "report.html"
    write_report(analysis, report)
    summary: dict[str, Any] = plain(
        {
            "run": run_id,
            "shares": analysis.data.n,
            "verdict": analysis.summary["verdict"],
            "miners": {
                analysis.data.miners[part.number].name: {
                    "model": analysis.data.miners[part.number].model,
                    "shares": part.data.n,
                    "statistics": part.summary,
                }
                for part in analysis.parts
            },
            "database": str(plan.out / "lab.db"),
            "report": str(report),
            "summary": str(plan.out / "summary.json"),
        }
    )
    return summary
