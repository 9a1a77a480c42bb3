"""``asiclab devices`` against emulated devices in this process, each command in a process of its own."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.devices.conftest import emulated
from tests.lab_process import started_beside

WAIT_S = 120


async def run(folder: Path, *arguments: object) -> tuple[int, list[dict[str, Any]], str]:
    """A command; its exit code, the JSON objects that it printed, and what it said on stderr."""
    child = await started_beside(folder, "devices", *arguments)
    async with asyncio.timeout(WAIT_S):
        out, err = await child.communicate()
    assert b"Traceback" not in err, err.decode()
    assert child.returncode is not None
    return child.returncode, [json.loads(line) for line in out.splitlines()], err.decode()


@pytest.mark.parametrize("model", ["s9", "lv06", "lb-box"])
async def test_show_and_test_change_nothing(tmp_path: Path, model: str) -> None:
    async with emulated(model) as (appliance, ready):
        before = vars(appliance.machine.stored).copy()
        code, (shown,), _ = await run(tmp_path, "show", ready["url"])
        assert code == 0
        assert shown["telemetry"]["hash_rate_ghs"] > 0
        assert shown["telemetry"]["temperature_c"] > 30
        assert shown["capabilities"]["reads"]
        code, (report,), _ = await run(tmp_path, "test", ready["url"], "--out", "facts.json")
        assert code in (0, 1)
        assert report["counts"]["confirmed"] > 0
        assert (code == 1) is (report["counts"]["different"] > 0)
        assert report["counts"]["unknown"] == 0
        assert vars(appliance.machine.stored) == before
    written = json.loads((tmp_path / "facts.json").read_text())
    sent = [piece for piece in written["conversation"] if piece["direction"] == "sent"]
    methods = {piece["data"].split(" ")[0] for piece in sent if piece["link"].startswith("http")}
    assert methods <= {"GET", ""}
    assert "123456789" not in (tmp_path / "facts.json").read_text()


@pytest.mark.costly
async def test_set_stays_until_restore_and_says_whether_it_is_in_force(tmp_path: Path) -> None:
    async with emulated("lv06") as (appliance, ready):
        code, (applied,), _ = await run(tmp_path, "set", ready["url"], "--voltage", 1100)
        assert code == 0
        assert applied["confirmed"] == {"core_voltage_mv": True}
        assert appliance.machine.in_force.core_voltage_mv == 1100.0
        code, _, _ = await run(tmp_path, "show", ready["url"])
        assert code == 0
        assert appliance.machine.in_force.core_voltage_mv == 1100.0  # looking changes nothing
        code, (restored,), _ = await run(tmp_path, "restore")
        assert code == 0
        assert restored["devices"][0]["restored"] is True
        assert appliance.machine.in_force.core_voltage_mv == 1200.0
        code, (again,), _ = await run(tmp_path, "restore")
        assert (code, again["devices"]) == (0, [])


async def test_a_setting_that_was_measured_not_to_be_in_force_is_exit_code_1(tmp_path: Path) -> None:
    async with emulated("lv06", ignores_voltage=True) as (_, ready):
        code, (applied,), _ = await run(tmp_path, "set", ready["url"], "--voltage", 1100)
    assert code == 1
    assert applied["in_force"] is False


async def test_limits_are_user_errors_and_nothing_is_sent(tmp_path: Path) -> None:
    async with emulated("lv06") as (appliance, ready):
        code, _, err = await run(tmp_path, "set", ready["url"], "--voltage", 1400, "--yes")
        assert code == 2
        assert "hard limits 1000 .. 1300" in err
        code, _, err = await run(tmp_path, "set", ready["url"], "--voltage", 1175)
        assert code == 2
        assert "--yes" in err
        code, _, err = await run(tmp_path, "sweep", ready["url"], "--frequency", "400,9000")
        assert code == 2
        code, _, err = await run(tmp_path, "sweep", ready["url"])
        assert code == 2
        code, _, err = await run(tmp_path, "sweep", ready["url"], "--frequency", "fast")
        assert code == 2
        assert appliance.machine.stored.core_voltage_mv == 1200.0
        assert appliance.machine.stored.frequency_mhz == 485.0


@pytest.mark.costly
async def test_hold_lasts_as_long_as_the_command(tmp_path: Path) -> None:
    async with emulated("lv06") as (appliance, ready):
        child = await started_beside(tmp_path, "devices", "set", ready["url"], "--voltage", 1100, "--hold")
        assert child.stdout is not None
        async with asyncio.timeout(WAIT_S):
            assert json.loads(await child.stdout.readline())["in_force"] is True
            assert json.loads(await child.stdout.readline())["ready"] is True
            assert appliance.machine.in_force.core_voltage_mv == 1100.0
            child.send_signal(signal.SIGINT)
            assert await child.wait() == 0
        assert appliance.machine.in_force.core_voltage_mv == 1200.0


@pytest.mark.costly
async def test_a_setting_that_is_interrupted_on_its_way_is_back_and_says_so(tmp_path: Path) -> None:
    async with emulated("lv06") as (appliance, ready):
        child = await started_beside(tmp_path, "devices", "set", ready["url"], "--voltage", 1100, "--hold")
        async with asyncio.timeout(WAIT_S):
            while appliance.machine.stored.core_voltage_mv == 1200.0:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            child.send_signal(signal.SIGINT)  # it restarts for it, which takes longer
            _, err = await child.communicate()
        assert child.returncode == 130, err.decode()
        assert b"stopped by SIGINT; the settings from before are back" in err
        assert appliance.machine.in_force.core_voltage_mv == 1200.0


async def test_the_pool_is_set(tmp_path: Path) -> None:
    async with emulated("lb-box") as (appliance, ready):
        code, (done,), _ = await run(
            tmp_path, "set", ready["url"], "--pool", "127.0.0.1:4444", "--user", "me"
        )
        assert code == 0
        assert done["pool"] == "stratum+tcp://127.0.0.1:4444"
        assert (appliance.machine.stored.pool_port, appliance.machine.stored.pool_user) == (4444, "me")
        code, (again,), _ = await run(
            tmp_path, "set", ready["url"], "--pool", "127.0.0.1:4445", "--user", "me"
        )
        assert (code, again["before"]) == (0, done["before"])
        code, (back,), _ = await run(tmp_path, "restore", ready["url"])
        assert code == 0
        assert back["devices"][0]["pool"] == done["before"] != done["pool"]


async def test_scan_finds_what_answers_on_its_own_ports(tmp_path: Path) -> None:
    code, (found,), _ = await run(tmp_path, "scan", "--subnet", "127.0.0.93", "--serial")
    assert code == 0
    assert found["devices"] == []
    assert isinstance(found["serial"], list)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show", "s8://10.0.0.1"), "no driver for s8://"),
        (("show", "nonsense"), "no address of a device"),
        (("show", "s9://"), "which host"),
        (("show", "s9://h:99999"), "a port is a number"),
        (("show", "s9://h?colour=red"), "no option 'colour'"),
        (("show", "bm1366:///dev/ttyNone"), "no such serial port"),
        (("scan", "--subnet", "8.8.8.0/24"), "only private networks"),
        (("scan", "--subnet", "10.0.0.0/8"), "too many"),
        (("scan", "--subnet", "x"), "is no network"),
        (("set", "lv06://127.0.0.1:1"), "no setting was given"),
    ],
)
async def test_mistakes_are_user_errors(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    code, _, err = await run(tmp_path, *arguments)
    assert code == 2
    assert words in err


async def test_a_device_that_is_not_there_is_exit_code_1_with_its_address(tmp_path: Path) -> None:
    code, _, err = await run(tmp_path, "show", "lv06://127.0.0.94:9")
    assert code == 1
    assert "127.0.0.94:9" in err
