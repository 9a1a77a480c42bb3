"""``asiclab narma`` in wall time: emulated miners in processes of their own, Ctrl-C, and what is refused."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from experiments.cli.narma_live import duration, progress_line
from experiments.live import Progress
from firmware_bridge.trace.reader import TraceReader

SHORT = ("--train", 260, "--test", 120, "--washout", 20, "--permutations", 39, "--lags", 3)
STATES = ("--observe", "arrival", "--observe", "response", "--observe", "count")
FAST = (
    "hash_rate_ths=120", "load_ms=1", "first_works=0", "refill_ms=0", "late_loads=off", "duplicates=off",
)  # fmt: skip
PERIOD_S = 0.05
WAIT_S = 240


def wall(lab: Any, *arguments: object) -> dict[str, Any]:
    """Drive an emulated S9 that finds a share every 9 ms; the result."""
    physics = [word for item in FAST for word in ("--physics", item)]
    with lab.process("narma", "--emulate", "s9", "--time", "wall", *physics, *arguments, "--json") as child:
        out, err = child.communicate(timeout=WAIT_S)
    assert child.returncode == 0, err
    lines = [json.loads(line) for line in out.splitlines()]
    assert lines[0]["ready"] is True
    assert lines[-1]["run"] == lines[0]["run"]
    result: dict[str, Any] = lines[-1]
    return result


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.xdist_group("timing")
def test_planted_memory_is_found_over_real_sockets_and_the_trace_scores_the_same(lab) -> None:
    # a queue of nine tenths of a period that is long against what a busy machine is late by, and twice the steps
    long = ("--train", 520, "--test", 260, *SHORT[4:], *STATES)
    clock = ("--mode", "monologue", "--job-period", 2 * PERIOD_S)
    result = wall(lab, *clock, "--plant", "queue=180", "--seed", 1, *long)
    assert result["verdict"]["code"] == "gain"
    assert result["gain_over_input_only"] > 0.05
    assert {"emulator_null", "other_run"} <= set(result["baselines"])
    assert result["plants"] == {"queue": 180.0}
    assert result["mode"] == "monologue"
    assert result["bridge"]["what"] == "lateness"
    assert result["bridge"]["p"] > 1e-4
    assert lab.json("narma", "--trace", result["run"], *long) == result
    assert lab.json("reservoir", "evaluate", result["run"], *long) == result


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.xdist_group("timing")
def test_without_a_plant_no_memory_is_found_over_real_sockets(lab) -> None:
    """Each is a test at 2.5 % on timing that no seed fixes, and a busy machine has a memory of its own.

    So none may gain what lies five standard errors above nothing, as a plant does, and not all three anything.
    """
    clock = ("--mode", "monologue", "--job-period", PERIOD_S)
    results = [wall(lab, *clock, "--seed", seed, *SHORT, *STATES) for seed in (1, 2)]
    results.append(wall(lab, "--mode", "dialogue", "--seed", 3, *SHORT))
    for result in results:
        low = result["gain_ci"][0]
        assert result["gain_over_input_only"] < 2.5 * (result["gain_over_input_only"] - low), result
    assert any(result["verdict"]["code"] != "gain" for result in results)
    assert all(result["bridge"]["p"] > 1e-5 for result in results)


def mine(child: subprocess.Popen[str], enough: int) -> str:
    """Mine by hand for a bridge in another process: answer so many jobs; the run's id."""
    assert child.stdout is not None
    ready = json.loads(child.stdout.readline())
    with (
        socket.create_connection((ready["host"], ready["port"]), timeout=WAIT_S) as link,
        link.makefile() as lines,
    ):
        for id, (method, params) in enumerate((("subscribe", ["by hand"]), ("authorize", ["hand", "x"]))):
            link.sendall(
                json.dumps({"id": id, "method": f"mining.{method}", "params": params}).encode() + b"\n"
            )
        jobs = 0
        for line in lines:
            message = json.loads(line)
            if message.get("method") != "mining.notify":
                continue
            jobs += 1
            if jobs > enough:
                break
            job = message["params"]
            share = ["hand", job[0], "00000001", job[7], "00000001"]
            link.sendall(
                json.dumps({"id": jobs, "method": "mining.submit", "params": share}).encode() + b"\n"
            )
        child.send_signal(signal.SIGINT)
        for _ in lines:  # until it hangs up
            pass
    return str(ready["run"])


@pytest.mark.parametrize(("enough", "scored"), [(340, True), (20, False)])
def test_ctrl_c_keeps_what_came_and_scores_it_if_it_is_enough(lab, enough: int, scored: bool) -> None:
    short = ("--washout", 10, "--permutations", 20, "--lags", 0, "--observe", "response")
    with lab.process("narma", "--device", "any", "--difficulty", 1e-10, *short, "--json") as child:
        run = mine(child, enough)
        out, err = child.communicate(timeout=WAIT_S)
    assert child.returncode == 130, err
    assert "which are kept" in err
    trace = TraceReader(f"sqlite:///{lab.folder / 'lab.db'}")
    assert "SIGINT" in trace.run(1)["exit_reason"]
    assert trace.run(1)["exit_status"] == "success"
    if not scored:
        assert "too few" in err
        assert out == ""
        return
    again = err.split("asiclab narma ")[1].split()
    assert again[:2] == ["--trace", run]
    assert lab.json("narma", *again, *short[2:]) == json.loads(out.splitlines()[-1])


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--device", "lv06://10.0.0.7"), "--host"),
        (("--device", "lv06://10.0.0.7", "--host", "10.0.0.1"), "agree with --yes"),
        (("--device", "any", "--plant", "queue=1"), "as it is"),
        (("--device", "any", "--trace", "latest"), "leave --trace"),
        (("--device", "any", "--time", "virtual"), "wall time"),
        (("--device", "nonsense://x", "--host", "10.0.0.1", "--yes"), "nonsense"),
        (("--trace", "latest", "--time", "wall"), "stored run"),
        (("--time", "soon"), "virtual or wall"),
        (("--time", "wall", "--emulate", "lb-box"), "s9 or lv06"),
        (("--time", "wall", "--mode", "monologue", "--plant", "queue=5000"), "grows for ever"),
        (("--time", "wall", "--patience", "0"), "--patience"),
        (("--time", "wall", "--swh-timeout", "0"), "positive"),
    ],
)
def test_what_makes_no_sense_live_is_refused_before_anything_is_changed(
    lab, arguments: tuple[str, ...], why: str
) -> None:
    result = lab("narma", *arguments, *SHORT, code=2)
    assert why in result.stderr
    assert "Traceback" not in result.stderr
    assert not Path(lab.folder / "lab.db").exists()


def test_progress_says_the_step_and_the_time_that_is_left() -> None:
    line = progress_line(Progress(done=100, steps=300, unanswered=7, elapsed_s=50.0))
    assert line == "step 100 of 300, 7 jobs without a share, 1 min 40 s left"
    assert progress_line(Progress(0, 300, 0, 5.0)).endswith("without a share")
    assert [duration(s) for s in (0.4, 59.6, 7500.0)] == ["0 s", "1 min 0 s", "2 h 5 min"]
