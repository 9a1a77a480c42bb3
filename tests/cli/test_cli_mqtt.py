"""``asiclab bridge --mqtt`` from the outside."""

from __future__ import annotations

import asyncio
import json
import re
import select
import shlex
import signal
import time
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from experiments import config as lab_config
from firmware_bridge.telemetry import passwords
from firmware_bridge.telemetry.commands import Parsed, Reason, parse
from firmware_bridge.telemetry.sensors import SensorDesk, parse_sensor, sensor_from_table
from firmware_bridge.trace.reader import TraceReader
from tests.devices.conftest import emulated

PATIENCE_S = 90.0
PROJECT = Path(__file__).resolve().parents[2]


def read_line(child: Any) -> dict[str, Any]:
    ready, _, _ = select.select([child.stdout], [], [], PATIENCE_S)
    line = child.stdout.readline() if ready else ""
    assert line, child.stderr.read() if child.poll() is not None else "no line came"
    return dict(json.loads(line))


async def talk(port: int) -> list[dict[str, Any]]:
    """Change the voltage, tell how warm the room is, and ask for too much; what was answered."""
    answers: list[dict[str, Any]] = []
    async with asyncio.timeout(PATIENCE_S), aiomqtt.Client("127.0.0.1", port) as friend:
        await friend.subscribe("asiclab/bench/+/answer", qos=1)
        number = 0
        while len(answers) < 2:
            number += 1
            command = {
                "id": str(number),
                "sent_ns": time.time_ns(),
                "set": {"core_voltage_mv": 1100 if not answers else 3000},
            }
            await friend.publish("asiclab/bench/miner-1/command", json.dumps(command), qos=1)
            answer = json.loads((await anext(friend.messages)).payload)
            if answer.get("reason") == Reason.UNKNOWN_MINER.value:
                await asyncio.sleep(0.2)  # the device has not been asked for long enough to have a row
                continue
            answers.append(answer)
            await friend.publish("room/t", b"21.5", qos=1)
        return answers


@pytest.mark.costly
async def test_a_run_takes_commands_and_sensors_and_leaves_the_device_as_it_was(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASICLAB_STATE", str(lab.folder / "state"))
    sensors = ("--sensor", "ambient_c=room/t;name=thermometer")
    async with emulated("lv06") as (appliance, ready):
        with lab.process("broker", "--port", 0, "--json") as broker:
            port = (await asyncio.to_thread(read_line, broker))["port"]
            options = (
                "--mqtt",
                f"mqtt://127.0.0.1:{port}",
                "--lab",
                "bench",
                "--mqtt-commands",
                "--mqtt-command-pause",
                0,
            )
            devices = ("--device", ready["url"], "--device-period", 0.2)
            with lab.process("bridge", "--port", 0, *devices, *options, *sensors, "--json") as bridge:
                await asyncio.to_thread(read_line, bridge)
                answers = await talk(port)
                assert appliance.machine.in_force.core_voltage_mv == 1100.0
                bridge.send_signal(signal.SIGINT)
                out, err = await asyncio.to_thread(bridge.communicate, timeout=PATIENCE_S)
        assert bridge.returncode == 0, err
        assert json.loads(out)["status"] == "success"
        assert appliance.machine.in_force.core_voltage_mv == 1200.0
    assert answers[0]["applied"]["confirmed"] == {"core_voltage_mv": True}
    assert answers[1]["reason"] == Reason.LIMIT.value
    trace = TraceReader(str(Path(lab.folder) / "lab.db"))
    changes = [(s["requested"], s["reason"].split()[0]) for s in trace.dicts(1, "settings")]
    assert changes == [("1100", "mqtt"), ("1200", "end")]
    assert {t["ambient_c"] for t in trace.dicts(1, "telemetry") if t["source"] == "thermometer"} == {21.5}
    assert trace.run(1)["config"]["sensors"][0]["column"] == "ambient_c"
    assert "refused" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--sensor", "power_w=a"), "--sensor needs a broker: give --mqtt URL"),
        (("--mqtt-commands",), "--mqtt-commands needs a broker"),
        (("--mqtt", "mqtt://h", "--mqtt-commands"), "--mqtt-commands needs --device"),
        (("--mqtt", "mqtt://h", "--mqtt-beyond-factory"), "give both"),
        (("--mqtt", "mqtt://h", "--sensor", "watts=a"), "can fill temperature_c"),
        (("--mqtt", "mqtt://h", "--sensor", "power_w=a/+"), "has a wildcard"),
        (("--mqtt", "mqtt://h", "--lab", "a/#"), "cannot name a lab"),
        (("--mqtt", "mqtt://h", "--home-assistant-prefix", "a/#"), "cannot begin a topic"),
        (("--mqtt", "http://h"), "not the URL of a broker"),
    ],
)
def test_mistakes_are_said_before_anything_starts(lab: Any, arguments: tuple[str, ...], said: str) -> None:
    result = lab("bridge", "--port", 0, "--seconds", 0, *arguments, code=2)
    assert said in result.output
    assert not (lab.folder / "lab.db").exists()


def test_sensors_of_lab_toml_are_named_with_their_line(lab: Any) -> None:
    (lab.folder / "lab.toml").write_text(
        '[bridge]\nmqtt = "mqtt://h"\n\n[[sensors]]\ntopic = "a"\ncolumn = "power_w"\n\n[[sensors]]\ntopic = "b"\n'
    )
    result = lab("bridge", "--port", 0, "--seconds", 0, code=2)
    assert "lab.toml:8: a sensor needs column" in result.output
    lab("runs", code=2)  # there is no trace yet; the file itself is no obstacle
    (lab.folder / "lab.toml").write_text('sensors = "power_w"\n')
    assert "no command has an option 'sensors'" in lab("runs", code=2).output


def test_a_broker_that_refuses_the_password_ends_the_bridge_with_a_reason_and_no_secret(lab: Any) -> None:
    passwords.add(lab.folder / "users", "lab", "the right one")
    with lab.process("broker", "--port", 0, "--password-file", "users", "--json") as broker:
        port = read_line(broker)["port"]
        url = f"mqtt://lab:a-wrong-guess@127.0.0.1:{port}"
        result = lab("bridge", "--port", 0, "--seconds", 5, "--mqtt", url, code=2)
        broker.send_signal(signal.SIGINT)
        out, err = broker.communicate(timeout=PATIENCE_S)
    assert "refused user lab" in result.output
    assert "wrong user name or password (user 'lab')" in err
    assert json.loads(out)["refused_logins"] == 1
    for text in (result.output, err, (lab.folder / "lab.db").read_bytes().decode("latin-1")):
        assert "a-wrong-guess" not in text


def test_the_configuration_file_of_the_documentation_is_valid(lab: Any) -> None:
    page = (PROJECT / "docs" / "commands.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"^```toml\n(.*?)^```", page, flags=re.M | re.S)
    (lab.folder / "lab.toml").write_text(text)
    tables = lab_config.sensor_tables(lab_config.load(lab.folder / "lab.toml"))
    sensors = SensorDesk(sensor_from_table(table, place) for table, place in tables).sensors
    assert [(s.column, s.miner, s.path) for s in sensors] == [
        ("ambient_c", None, ()),
        ("input_voltage_mv", "s9-1", ("switch:0", "voltage")),
    ]


def test_the_commands_and_sensors_of_the_documentation_are_valid() -> None:
    page = (PROJECT / "docs" / "commands.md").read_text(encoding="utf-8")
    command, answer = re.findall(r"^```json\n(.*?)^```", page, flags=re.M | re.S)
    parsed = parse(command.encode())
    assert isinstance(parsed, Parsed)
    assert parsed.point is not None
    assert json.loads(answer)["id"] == parsed.id
    shell = "\n".join(re.findall(r"^```sh\n(.*?)^```", page, flags=re.M | re.S))
    words = shlex.split(shell.replace("\\\n", " "))
    given = [words[i + 1] for i, word in enumerate(words) if word == "--sensor"]
    assert len([parse_sensor(text) for text in given]) == 3
