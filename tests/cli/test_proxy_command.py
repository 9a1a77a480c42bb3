"""``asiclab proxy`` as a user runs it: a bridge as the pool, an independent miner, a run that reads like any other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from firmware_bridge.trace.reader import TraceReader
from tests.independent_miner import Miner
from tests.lab_process import first_line

BRIDGE = ("bridge", "--port", "0", "--json", "--difficulty", "0.00002", "--db", "sqlite:///pool.db")


def ready(process: subprocess.Popen[str]) -> dict[str, Any]:
    message = first_line(process)
    assert message["ready"] is True
    return message


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    process.send_signal(signal.SIGTERM)
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    last: dict[str, Any] = json.loads(out.splitlines()[-1])
    return last


@pytest.mark.parametrize("mode", ["vbm", "relay"])
def test_a_proxied_run_reads_like_any_other(lab: Any, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.setenv("ASICLAB_UPSTREAM_PASSWORD", "swordfish99")
    with ExitStack() as stack:
        pool = stack.enter_context(lab.process(*BRIDGE))
        place = f"stratum+tcp://wallet@127.0.0.1:{ready(pool)['port']}"
        proxy = stack.enter_context(
            lab.process("proxy", "--upstream", place, "--port", "0", "--json", "--mode", mode)
        )
        port = ready(proxy)["port"]
        miner = Miner("127.0.0.1", port, roll_versions=True)
        miner.mine(120, 6)
        miner.close()
        last = ended(proxy)
        behind = ended(pool)
    assert [share.error for share in miner.found if share.answer is not True] == []
    assert last["shares"] == last["upstream_accepted"] == len(miner.found) == behind["shares"]
    assert (last["upstream_rejected"], last["not_forwarded"], last["unanswered"]) == ({}, {}, 0)
    assert last["accepted_difficulty"] == pytest.approx(0.00002 * len(miner.found))
    assert last["upstream_round_trip_ms"]["p99"] > 0
    assert 0 < last["eta_answer"] <= 1
    assert lab.json("stats", "latest")["shares"] == len(miner.found)
    record = TraceReader(f"sqlite:///{lab.folder / 'lab.db'}").run(1)
    assert (record["source"], record["mode"]) == ("proxy", "swh" if mode == "vbm" else "stream")
    assert record["config"]["proxy"]["mode"] == mode
    stored = b"".join(path.read_bytes() for path in Path(lab.folder).iterdir())
    assert b"swordfish99" not in stored


def test_the_password_of_a_pool_may_come_from_a_file(lab: Any) -> None:
    missing = lab("proxy", "--upstream", "me@pool:1", "--upstream-password-file", "no-such-file", code=2)
    assert "no-such-file" in missing.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--upstream", "http://x:1"], "stratum+tcp://"),
        (["--upstream", "pool:1", "--mode", "magic"], "relay or vbm"),
        (["--upstream", "pool:1", "--work", "magic"], "share, period or upstream"),
        (["--upstream", "pool:1", "--mode", "relay", "--difficulty", "1"], "--mode vbm"),
        (["--upstream", "pool:1", "--version-mask", "xyz"], "hex"),
        ([], "--upstream"),
    ],
)
def test_mistakes_are_user_errors(lab: Any, arguments: list[str], said: str) -> None:
    result = lab("proxy", *arguments, code=2)
    assert said in result.output
    assert "Traceback" not in result.output
    assert not os.path.exists(lab.folder / "lab.db")


def test_a_device_that_cannot_be_polled_ends_the_run_as_failed(lab: Any) -> None:
    result = lab("proxy", "--upstream", "127.0.0.1:1", "--port", "0", "--device", "nonsense://x", code=2)
    assert "nonsense" in result.output
    assert TraceReader(f"sqlite:///{lab.folder / 'lab.db'}").run(1)["exit_status"] == "fail"
