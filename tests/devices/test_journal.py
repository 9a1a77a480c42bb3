"""The settings from before a change, in a file that outlives ``kill -9``."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.clock import VirtualClock
from firmware_bridge.devices.journal import (
    FILE_NAME,
    OwnPool,
    PoolJournal,
    RunSettings,
    SettingsJournal,
    device_key,
    without_secrets,
)
from firmware_bridge.devices.settings import OperatingPoint
from firmware_bridge.errors import UserError
from tests.devices.conftest import emulated

PROJECT = Path(__file__).parents[2]
POINT = OperatingPoint(frequency_mhz=485.0, core_voltage_mv=1200.0)


def test_a_point_is_found_by_another_process_with_time_and_process(tmp_path: Path) -> None:
    SettingsJournal(tmp_path, VirtualClock(5_000)).keep("lv06://10.0.0.7", POINT)
    assert SettingsJournal(tmp_path).get("lv06://10.0.0.7") == POINT
    assert SettingsJournal(tmp_path).addresses() == ["lv06://10.0.0.7"]
    (entry,) = json.loads((tmp_path / FILE_NAME).read_text()).values()
    assert (entry["wall_ns"], entry["process"]) == (5_000, os.getpid())
    SettingsJournal(tmp_path).forget("lv06://10.0.0.7")
    assert SettingsJournal(tmp_path).get("lv06://10.0.0.7") is None
    assert SettingsJournal(tmp_path).addresses() == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("lv06://10.0.0.7", "lv06://10.0.0.7:80"),
        ("lv06://10.0.0.7", "axeos://10.0.0.7/"),
        ("lv06://Miner.lan", "lv06://miner.lan"),
        ("s9://10.0.0.7", "s9://10.0.0.7:4028?http=8080"),
        ("lb-box://[::1]:80", "lb-box://[::1]"),
        ("bm1366:///dev/ttyUSB0", "bm1366:///dev/ttyUSB0?chips=1"),
    ],
)
def test_a_device_has_one_entry_however_its_address_is_written(one: str, other: str, tmp_path: Path) -> None:
    SettingsJournal(tmp_path).keep(one, POINT)
    assert SettingsJournal(tmp_path).get(other) == POINT


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("lv06://10.0.0.7", "lv06://10.0.0.8"),
        ("lv06://10.0.0.7", "lv06://10.0.0.7:8080"),
        ("s9://10.0.0.7", "lb-box://10.0.0.7"),
        ("bm1366:///dev/ttyUSB0", "bm1366:///dev/ttyUSB1"),
    ],
)
def test_two_devices_have_two_entries(one: str, other: str) -> None:
    assert device_key(one) != device_key(other)


@given(st.text(max_size=40))
def test_any_text_is_some_key(address: str) -> None:
    assert isinstance(device_key(address), str)


def test_a_password_in_an_address_is_not_kept(tmp_path: Path) -> None:
    address = "s9://root:geheim@10.0.0.7?http=8080&password=geheim"
    SettingsJournal(tmp_path).keep(address, POINT)
    assert "geheim" not in (tmp_path / FILE_NAME).read_text()
    assert SettingsJournal(tmp_path).addresses() == ["s9://10.0.0.7?http=8080"]
    assert without_secrets("lv06://10.0.0.7") == "lv06://10.0.0.7"


@pytest.mark.parametrize(
    "entry",
    [
        {"point": {"frequency_mhz": "fast"}},
        {"point": {"core_voltage_mv": float("nan")}},
        {"point": {"frequency_mhz": -1}},
        {"point": {"power_plan": 5}},
        {"point": {"volts": 1.2}},
        {"point": {"frequency_mhz": None}},
        {"point": []},
        {},
    ],
)
def test_a_broken_entry_never_reaches_a_miner(entry: object, tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text(json.dumps({device_key("lv06://h"): entry}))
    with pytest.raises(UserError, match="no set of settings"):
        SettingsJournal(tmp_path).get("lv06://h")


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', '{"lv06://h:80": 5}', "[" * 100_000])
def test_a_broken_file_is_named_and_never_overwritten(text: str, tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    path.write_text(text)
    for use in (
        lambda j: j.get("lv06://h"),
        lambda j: j.keep("lv06://h", POINT),
        lambda j: j.forget("lv06://h"),
    ):
        with pytest.raises(UserError, match=FILE_NAME):
            use(SettingsJournal(tmp_path))
    assert path.read_text() == text


def test_a_folder_that_cannot_be_written_is_an_error_before_anything_is_changed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="nothing is changed"):
        SettingsJournal(tmp_path / "file" / "below").keep("lv06://h", POINT)


KEEPER = """
import sys
from pathlib import Path
from firmware_bridge.devices.journal import SettingsJournal
from firmware_bridge.devices.settings import OperatingPoint
journal = SettingsJournal(Path(sys.argv[1]))
for number in range(int(sys.argv[3])):
    journal.keep(f"lv06://{sys.argv[2]}-{number}", OperatingPoint(frequency_mhz=float(number + 1)))
    print(number, flush=True)
    if number % 3 == 0:
        journal.forget(f"lv06://{sys.argv[2]}-{number}")
"""


def keeper(folder: Path, name: str, count: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", KEEPER, str(folder), name, str(count)]
    return subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE)


def test_processes_at_the_same_time_lose_nothing_of_each_other(tmp_path: Path) -> None:
    count = 20
    children = [keeper(tmp_path, name, count) for name in ("a", "b", "c")]
    for child in children:
        child.communicate()
        assert child.returncode == 0
    wanted = [f"lv06://{name}-{n}" for name in "abc" for n in range(count) if n % 3]
    assert SettingsJournal(tmp_path).addresses() == sorted(wanted)


def test_a_process_killed_while_it_writes_leaves_a_whole_file_with_what_it_had_kept(tmp_path: Path) -> None:
    for kill_after in (1, 2, 5, 11):
        folder = tmp_path / str(kill_after)
        child = keeper(folder, "k", 100_000)
        assert child.stdout is not None
        for _ in range(kill_after):
            last = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        child.communicate()
        assert child.returncode == -signal.SIGKILL
        journal = SettingsJournal(folder)
        for number in range(last + 1):
            kept = journal.get(f"lv06://k-{number}")
            assert kept == OperatingPoint(frequency_mhz=float(number + 1)) or number % 3 == 0
        journal.keep("lv06://next", POINT)  # no lock is left behind
        assert journal.get("lv06://next") == POINT


@pytest.mark.costly
async def test_after_kill_9_in_a_sweep_devices_restore_brings_the_miner_back(tmp_path: Path) -> None:
    environment = {**os.environ, "ASICLAB_STATE": str(tmp_path)}
    async with emulated("lv06") as (appliance, ready):
        url = f"lv06://127.0.0.1:{ready['ports']['http']}"
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "experiments.cli", "devices", "sweep", url, "--frequency", "400,425",
            "--voltage", "1100", "--dwell", "600", "--json",
            stdout=subprocess.PIPE, cwd=PROJECT, env=environment,
        )  # fmt: skip
        async with asyncio.timeout(120):
            while appliance.machine.in_force.frequency_mhz == 485.0:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            child.kill()
            await child.communicate()
            assert child.returncode == -signal.SIGKILL
            assert SettingsJournal(tmp_path).get(url) == POINT
            assert appliance.machine.stored.frequency_mhz == 400.0
            again = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "experiments.cli", "devices", "restore", "--json",
                stdout=subprocess.PIPE, cwd=PROJECT, env=environment,
            )  # fmt: skip
            out, _ = await again.communicate()
        assert again.returncode == 0
        assert json.loads(out)["devices"][0]["restored"] is True
        assert appliance.machine.in_force.frequency_mhz == 485.0
        assert appliance.machine.in_force.core_voltage_mv == 1200.0
    assert SettingsJournal(tmp_path).addresses() == []


GONE = 2**22 + 7
"""No process of Linux has this number."""


def killed_run(
    folder: Path, address: str, found: OperatingPoint, wish: OperatingPoint | None = None
) -> SettingsJournal:
    """A journal as a run leaves it that was killed: in the name of a process that is not there."""
    journal = SettingsJournal(folder)
    if wish is not None:
        journal.keep(address, wish)
    RunSettings(journal).keep(address, found)
    entries = json.loads(journal.path.read_text())
    for entry in entries.values():
        entry["process"] = GONE
    journal.path.write_text(json.dumps(entries))
    return journal


def test_who_goes_on_with_a_killed_run_brings_back_what_that_had_found(tmp_path: Path) -> None:
    journal = killed_run(tmp_path, "lv06://h", POINT)
    run = RunSettings(journal)
    assert run.adopt("lv06://h") == run.get("lv06://h") == POINT
    run.keep("lv06://h", POINT)
    run.forget("lv06://h")
    assert journal.addresses() == []


def test_a_wish_of_the_user_outlives_a_killed_run_and_the_next_one(tmp_path: Path) -> None:
    factory, wished = OperatingPoint(frequency_mhz=485.0), OperatingPoint(frequency_mhz=450.0)
    journal = killed_run(tmp_path, "lv06://h", wished, wish=factory)
    assert journal.get("lv06://h") == factory  # of asiclab devices restore
    run = RunSettings(journal)
    assert run.adopt("lv06://h") == wished
    run.forget("lv06://h")
    assert journal.get("lv06://h") == factory


def test_nothing_is_taken_from_a_run_that_goes_on(tmp_path: Path) -> None:
    journal = SettingsJournal(tmp_path)
    RunSettings(journal).keep("lv06://h", POINT)
    assert RunSettings(journal).adopt("lv06://h") is None


def test_a_pool_is_remembered_without_its_password(tmp_path: Path) -> None:
    journal, pool = (
        PoolJournal(tmp_path),
        OwnPool("pool.example", 3333, "rig.1", "stratum+tcp://10.0.0.2:4000"),
    )
    journal.keep("lv06://h", pool)
    assert PoolJournal(tmp_path).get("axeos://h") == pool
    assert journal.addresses() == ["lv06://h"]
    journal.forget("lv06://h")
    assert (journal.get("lv06://h"), journal.addresses()) == (None, [])
    journal.path.write_text('{"lv06://h:80": {"host": 7}}')
    with pytest.raises(UserError, match="no pool"):
        journal.get("lv06://h")
