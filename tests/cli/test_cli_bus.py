"""``asiclab mqtt`` and ``asiclab bridge --mqtt`` from the outside, with a real Mosquitto."""

from __future__ import annotations

import asyncio
import json
import select
import signal
from pathlib import Path
from typing import Any

import pytest

from experiments import config as lab_config
from experiments.cli import app
from experiments.cli.command import _registry
from firmware_bridge.errors import UserError
from firmware_bridge.telemetry.mqtt import MqttClient
from firmware_bridge.trace.schema import RunRecord
from firmware_bridge.trace.writer import TraceWriter
from tests.stratum.bridge_kit import EVERY_HASH, RawMiner
from tests.telemetry.mosquitto_kit import running
from tests.telemetry.mqtt_kit import assert_equal, fill, settings_for, url_of
from tests.telemetry.test_mqtt_outage import mine

PATIENCE_S = 90.0


def read_line(child: Any) -> dict[str, Any]:
    ready, _, _ = select.select([child.stdout], [], [], PATIENCE_S)
    line = child.stdout.readline() if ready else ""
    assert line, child.stderr.read() if child.poll() is not None else "no line came"
    return dict(json.loads(line))


def until(child: Any, event: str) -> dict[str, Any]:
    """The next line about an event, whatever comes before it."""
    while True:
        line = read_line(child)
        if line.get("event") == event:
            return line


def stored(folder: Path, shares: int = 50) -> str:
    """A run that ended, in lab.db."""
    with TraceWriter(url_of(folder / "lab.db")) as writer:
        run = writer.begin_run(RunRecord(kind="live", source="bridge"))
        fill(run, shares)
        run.end("success")
    return run.run_id


@pytest.mark.costly
async def test_a_recorder_killed_in_the_middle_of_a_run_has_all_of_it_in_the_end_and_nothing_twice(
    lab: Any,
) -> None:
    local, remote = url_of(lab.folder / "lab.db"), url_of(lab.folder / "remote.db")
    with running(lab.folder / "m") as broker:
        bus = ("--mqtt", broker.url(), "--json")
        record = ("mqtt", "record", "--db", remote, "--runs", 1, *bus)
        bridge = ("bridge", "--port", 0, "--difficulty", EVERY_HASH, "--lab", "bench", *bus)
        with lab.process(*record) as first, lab.process(*bridge) as child:
            assert (await asyncio.to_thread(read_line, first))["connected"] is True
            port = (await asyncio.to_thread(read_line, child))["port"]
            miner = await (await RawMiner.connect(port)).ready()
            assert await mine(miner, 100) == 100
            assert (await asyncio.to_thread(until, first, "begun"))["lab"] == "bench"
            mining = asyncio.ensure_future(mine(miner, 400, first=100))
            await asyncio.sleep(0.5)
            first.kill()
            await asyncio.to_thread(first.wait)
            with lab.process(*record) as second:
                assert (await asyncio.to_thread(until, second, "begun"))["resumed"] is True
                assert await mining == 400
                miner.close()
                child.send_signal(signal.SIGINT)
                out, err = await asyncio.to_thread(child.communicate, timeout=PATIENCE_S)
                assert child.returncode == 0, err
                run_id = json.loads(out.splitlines()[-1])["run"]
                assert (await asyncio.to_thread(until, second, "complete"))["run"] == run_id
                end = await asyncio.to_thread(read_line, second)
                assert await asyncio.to_thread(second.wait, PATIENCE_S) == 0
    assert (end["complete"], end["lacking"], end["refused"]) == (1, [], 0)
    assert len(assert_equal(local, remote, run_id)["shares"]) == 500


@pytest.mark.costly
def test_a_stored_run_is_published_once_and_recorded_elsewhere(lab: Any) -> None:
    run_id = stored(lab.folder)
    with running(lab.folder / "m") as broker:
        bus = ("--broker", broker.url())
        with lab.process(
            "mqtt", "record", "--db", "sqlite:///remote.db", "--runs", 1, *bus, "--json"
        ) as recorder:
            read_line(recorder)
            assert lab.json("mqtt", "publish", run_id[:8], *bus) == {"run": run_id, "published": True}
            until(recorder, "complete")
            assert recorder.wait(PATIENCE_S) == 0
        assert "Nothing is left" in lab("mqtt", "publish", *bus).stdout
    assert_equal(url_of(lab.folder / "lab.db"), url_of(lab.folder / "remote.db"), run_id)


def test_what_passes_can_be_watched(lab: Any) -> None:
    with running(lab.folder / "m") as broker:

        async def say() -> None:
            client = MqttClient(settings_for(broker.url()))
            await client.start()
            await client.publish(
                "asiclab/bench/s9/event",
                b'{"id": 3, "row": {"kind": "\\u001b[31m", "miner": null}}',
                retain=True,
            )
            await client.stop()

        asyncio.run(say())
        bus = ("--broker", broker.url(), "--lab", "bench", "--messages", 1)
        line = json.loads(lab("mqtt", "watch", "--json", *bus).stdout)
        plain = lab("mqtt", "watch", *bus).stdout
    assert (line["topic"], line["retained"]) == ("asiclab/bench/s9/event", True)
    assert line["payload"]["row"]["kind"] == "\x1b[31m"
    assert plain == "asiclab/bench/s9/event  id=3 kind=?[31m\n"


@pytest.mark.parametrize(
    "command",
    [
        ("mqtt", "publish"),
        ("mqtt", "record", "--db", "sqlite:///remote.db"),
        ("mqtt", "watch"),
        ("bridge", "--port", "0"),
    ],
)
def test_a_wrong_password_is_a_mistake_in_what_was_asked_for(
    lab: Any, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(lab.folder, 1)
    with running(lab.folder / "m", users={"lab": "right"}) as broker:
        monkeypatch.setenv("ASICLAB_MQTT_PASSWORD", "quite-wrong")
        option = "--mqtt" if command[0] == "bridge" else "--broker"
        result = lab(*command, option, broker.url("lab"), code=2)
    assert "refused user lab" in result.output
    assert "ASICLAB_MQTT_PASSWORD" in result.output
    assert "quite-wrong" not in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("publish",), "--broker mqtt://HOST"),
        (("record", "--broker", "http://x"), "mqtt://user@host"),
        (("record", "--broker", "mqtt://x", "--lab", "a/b"), "cannot name a lab"),
        (("publish", "--broker", "mqtt://x", "--lab", "#"), "cannot name a lab"),
        (("publish", "nonsense", "--broker", "mqtt://x"), "no run 'nonsense'"),
        (("watch", "--broker", "mqtt://x", "--mqtt-ca", "nowhere.pem"), "certificates need TLS"),
    ],
)
def test_what_cannot_work_says_what_to_do(lab: Any, arguments: tuple[str, ...], said: str) -> None:
    stored(lab.folder, 1)
    assert said in lab("mqtt", *arguments, code=2).output


def test_the_configuration_names_the_broker_once_for_all_commands(tmp_path: Path) -> None:
    file = tmp_path / "lab.toml"
    file.write_text(
        '[mqtt]\nbroker = "mqtt://lab@box"\npassword-file = "p"\n[mqtt.record]\nruns = 2\n[bridge]\nlab = "own"\n'
    )
    config, commands = lab_config.load(file), _registry(_tree())
    lab_config.check(config, commands)
    record = lab_config.options_for(config, "mqtt.record", commands["mqtt.record"])
    assert {name: value for name, (value, _) in record.items()} == {
        "broker": "mqtt://lab@box",
        "mqtt_password_file": "p",
        "runs": 2,
    }
    assert record["broker"][1].endswith("lab.toml:2")
    bridge = lab_config.options_for(config, "bridge", commands["bridge"])
    assert {name: value for name, (value, _) in bridge.items()} == {
        "mqtt": "mqtt://lab@box",
        "mqtt_password_file": "p",
        "lab": "own",
    }
    assert lab_config.options_for(config, "stats", commands["stats"]) == {}
    file.write_text('[mqtt]\npassword = "x"\n')
    with pytest.raises(UserError, match=r"lab\.toml:2: unknown key 'password'"):
        lab_config.check(lab_config.load(file), commands)


def _tree() -> Any:
    import typer.main

    return typer.main.get_command(app)
