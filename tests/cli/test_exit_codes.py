"""How commands end on Ctrl-C and SIGTERM: what serves until it is stopped in order, what was interrupted says so."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
from typing import Any

import pytest

from experiments.attached import Attached
from firmware_bridge.stratum.server import Bridge
from tests.experiments.emulated_devices import device
from tests.narma.test_narma_live import Hand, Lost

WAIT_S = 150.0


def read_line(child: subprocess.Popen[str]) -> str:
    ready, _, _ = select.select([child.stdout], [], [], WAIT_S)
    assert ready, "no line came"
    assert child.stdout is not None
    line = child.stdout.readline()
    assert line, child.communicate()[1]
    return line


def ended(child: subprocess.Popen[str], how: signal.Signals) -> tuple[int, str]:
    """Exit code and what stood on stderr, after a signal."""
    child.send_signal(how)
    _, said = child.communicate(timeout=WAIT_S)
    assert "Traceback" not in said
    return child.returncode, said


@pytest.mark.parametrize(
    ("command", "how"),
    [
        (("proxy", "--upstream", "stratum+tcp://w@127.0.0.1:{dead}", "--port", 0), signal.SIGINT),
        (("broker", "--port", 0), signal.SIGTERM),
        (("dashboard", "--port", 0), signal.SIGINT),
        (("emulate", "s9", "--time", "wall", "--http-port", 0, "--api-port", 0), signal.SIGTERM),
        (("emulate", "bm1366"), signal.SIGINT),
        (("mqtt", "record", "--broker", "mqtt://127.0.0.1:{dead}"), signal.SIGTERM),
    ],
    ids=["proxy", "broker", "dashboard", "emulate s9", "emulate bm1366", "mqtt record"],
)
def test_what_serves_until_it_is_stopped_ends_in_order(
    with_excerpt: Any, command: Any, how: signal.Signals
) -> None:
    with socket.socket() as mute:  # bound, so that nobody else takes the port, and never listening
        mute.bind(("127.0.0.1", 0))
        words = [str(word).format(dead=mute.getsockname()[1]) for word in command]
        with with_excerpt.process(*words, "--json") as child:
            read_line(child)
            code, said = ended(child, how)
    assert code == 0, said


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_sentinel_that_watches_ends_in_order(lab: Any, how: signal.Signals) -> None:
    with (
        device() as miner,
        lab.process("sentinel", "watch", miner.url, "--period", 0.2, "--json") as child,
    ):
        read_line(child)
        code, said = ended(child, how)
    assert code == 0, said


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "command",
    [
        ("run", "narma", "--emulate", "s9", "--jobs", 1),
        ("run", "difficulty", "--emulate", "s9", "--jobs", 2),
        ("narma", "--device", "any", "--json"),
        ("vbm", "ab", "--round-trip", 5, "--t-hash", 20, "--block-seconds", 0.5, "--blocks", 500, "--json"),
    ],
    ids=["run", "run on processes", "narma", "vbm ab"],
)
def test_what_would_have_come_to_an_end_says_that_it_was_interrupted(
    lab: Any, command: Any, how: signal.Signals
) -> None:
    with lab.process(*command) as child:
        read_line(child)
        code, said = ended(child, how)
    assert code == 128 + how, said


def test_a_command_that_takes_no_signal_is_interrupted_too(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("experiments.catalogue.catalogue", pressed)
    result = lab("experiments", "list", code=130)
    assert result.stderr == "asiclab: interrupted\n"


@pytest.mark.parametrize("words", [("separation",), ("--all",)])
def test_an_interrupted_run_whose_miner_could_not_be_set_back_is_a_failure(
    lab: Any, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """It goes on with no other experiment either."""
    joined = []

    class Pressed(Lost):
        async def join(self, bridge: Bridge, host: str, port: int) -> None:
            joined.append(port)
            os.kill(os.getpid(), signal.SIGINT)

        async def failed(self) -> str:
            return await Hand.failed(self)

    async def miner(subject: Attached, seed: int, **_: Any) -> Pressed:
        return Pressed()

    monkeypatch.setattr("experiments.attached_miner.miner_of", miner)
    result = lab("run", *words, "--device", "any", "--size", "fast", "--json", code=1)
    assert result.stderr == "asiclab: its own pool is NOT set again\n"
    assert len(joined) == 1
