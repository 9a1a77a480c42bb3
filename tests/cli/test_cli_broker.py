"""``asiclab broker`` from the outside."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments.cli import app
from firmware_bridge.telemetry import passwords

PATIENCE_S = 60.0


def read_line(stream: Any) -> dict[str, Any]:
    ready, _, _ = select.select([stream], [], [], PATIENCE_S)
    assert ready, "no line came"
    return dict(json.loads(stream.readline()))


def test_a_broker_says_where_it_listens_and_ends_cleanly_on_ctrl_c(lab: Any) -> None:
    with lab.process("broker", "--port", 0, "--json") as child:
        ready = read_line(child.stdout)
        assert (ready["ready"], ready["host"]) == (True, "127.0.0.1")
        assert ready["port"] > 0
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=PATIENCE_S)
    assert child.returncode == 0, err
    assert json.loads(out)["reason"] == "stopped by SIGINT"
    assert "Traceback" not in err


def test_a_user_is_added_without_the_password_on_the_command_line(lab: Any) -> None:
    name = "passwords"
    result = lab.runner.invoke(
        app,
        ["broker", "--password-file", str(lab.folder / name), "--add-user", "lab", "--json"],
        input="a long password\n",
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"file": str(lab.folder / name), "user": "lab", "changed": False}
    assert passwords.load(lab.folder / name).verify("lab", "a long password")
    assert "a long password" not in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--host", "0.0.0.0"), "--password-file FILE, or --anonymous"),
        (("--tls-cert", "x.pem"), "needs both"),
        (("--add-user", "lab"), "needs --password-file"),
        (("--password-file", "missing"), "missing: cannot be read"),
        (("--max-payload", "0"), "--max-payload 0"),
    ],
)
def test_mistakes_are_said_in_one_line(lab: Any, arguments: tuple[str, ...], said: str) -> None:
    result = lab("broker", "--port", 0, "--seconds", 0, *arguments, code=2)
    assert said in result.output
    assert "Traceback" not in result.output


def test_without_the_library_the_extra_is_named(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n.startswith("firmware_bridge.telemetry.broker")]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("amqtt", "amqtt.broker", "amqtt.adapters"):
        monkeypatch.setitem(sys.modules, name, None)
    result = lab("broker", "--port", 0, "--seconds", 0, code=2)
    assert "pip install 'asic-reservoir-lab[broker]'" in result.output


def test_a_broker_that_runs_out_of_time_says_what_it_saw(lab: Any) -> None:
    result = lab("broker", "--port", 0, "--seconds", 0.1, "--json")
    first, last = map(json.loads, result.stdout.splitlines())
    assert first["ready"] is True
    assert last == {"clients": 0, "refused_logins": 0, "refused_packets": 0, "reason": "its time was over"}


def test_the_password_file_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        passwords.add(tmp_path / "p", "lab", "a long password")
    finally:
        os.umask(before)
    assert (tmp_path / "p").stat().st_mode & 0o077 == 0
