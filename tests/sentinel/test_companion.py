"""The Sentinel on an emulated LV06 over HTTP: beside a bridge, and as commands that are interrupted."""

from __future__ import annotations

import asyncio
import json
import signal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firmware_bridge.devices.journal import RunSettings, SettingsJournal
from firmware_bridge.devices.registry import open_device
from firmware_bridge.errors import UserError
from firmware_bridge.sentinel.companion import SentinelCompanion, ShareWatch
from firmware_bridge.sentinel.config import Mode, SentinelConfig
from firmware_bridge.stratum.config import BridgeConfig
from firmware_bridge.stratum.server import Bridge
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.writer import TraceWriter
from tests.devices.conftest import emulated
from tests.lab_process import started_beside

WAIT_S = 120
LIVE = {"firmware": "2.15.0"}
"""An AxeOS that takes settings up at once and shows its PLL; it steers its fan, so the clock is what is moved."""


async def until(condition: Any, what: str) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert condition(), what


async def beside_a_bridge(tmp_path: Path, url: str, config: SentinelConfig, work: Any) -> TraceReader:
    db = f"sqlite:///{tmp_path / 'lab.db'}"
    bridge = Bridge(BridgeConfig(port=0), partial(TraceWriter, db), np.random.default_rng(1))
    bridge.on_share = ShareWatch(bridge)
    await bridge.start()
    serving = asyncio.ensure_future(bridge.serve(WAIT_S))
    originals = RunSettings(SettingsJournal(tmp_path / "state"))
    companion = SentinelCompanion(await open_device(url, originals=originals), config)
    try:
        await bridge.attach(companion)
        assert companion.sentinel is not None
        await work(companion.sentinel)
    finally:
        bridge.request_stop("done")
        await serving
    return TraceReader(db)


@pytest.mark.costly
async def test_beside_a_bridge_every_change_is_a_row_with_its_reason_and_all_comes_back(
    tmp_path: Path,
) -> None:
    async with emulated("lv06", **LIVE) as (appliance, ready):
        machine = appliance.machine
        config = SentinelConfig(target_c=50.0, period_s=0.2)

        async def work(sentinel: Any) -> None:
            assert sentinel.mode is Mode.HOLD
            await until(lambda: sentinel.actions >= 1, "it never acted")

        before = vars(machine.stored).copy()
        reader = await beside_a_bridge(tmp_path, ready["url"], config, work)
        assert machine.stored.frequency_mhz == before["frequency_mhz"]
        assert machine.stored.fan_percent == before["fan_percent"]
    rows = reader.dicts(1, "settings")
    assert {row["setting"] for row in rows} == {"frequency_mhz"}
    held = [row for row in rows if row["reason"].startswith("sentinel hold")]
    assert held
    assert all(row["previous"] and row["requested"] and row["measured"] for row in held)
    assert rows[-1]["reason"] == "end of the run"
    assert "sentinel-start" in [e["kind"] for e in reader.dicts(1, "events")]
    assert len(list(reader.rows(1, "telemetry"))) >= 1
    assert SettingsJournal(tmp_path / "state").addresses() == []


@pytest.mark.costly
async def test_a_dead_fan_brings_it_to_its_safe_point_where_it_stays(tmp_path: Path) -> None:
    async with emulated("lv06", **LIVE) as (appliance, ready):

        async def work(sentinel: Any) -> None:
            appliance.machine.faults.fan_failed = True
            await until(lambda: sentinel.mode is Mode.TRIPPED and sentinel.actions >= 1, "it never tripped")

        config = SentinelConfig(period_s=0.2)
        reader = await beside_a_bridge(tmp_path, ready["url"], config, work)
        assert appliance.machine.in_force.frequency_mhz == 56.25
        assert appliance.machine.in_force.core_voltage_mv == 1000.0
    kinds = [e["kind"] for e in reader.dicts(1, "events")]
    assert {"sentinel-fan-stopped", "sentinel-tripped", "sentinel-left-safe"} <= set(kinds)
    assert SettingsJournal(tmp_path / "state").addresses() == [ready["url"]]
    assert reader.run(1)["exit_status"] == "success"


async def test_what_cannot_be_held_is_said_when_it_is_attached(tmp_path: Path) -> None:
    async with emulated("lv06") as (_, ready):

        async def never(sentinel: Any) -> None:
            raise AssertionError

        config = SentinelConfig(target_c=60.0, knob="plan")
        with pytest.raises(UserError, match="no power plans"):
            await beside_a_bridge(tmp_path, ready["url"], config, never)


async def line_with(child: asyncio.subprocess.Process, key: str, value: str | None = None) -> dict[str, Any]:
    """The next printed line that has this key."""
    assert child.stdout is not None
    async with asyncio.timeout(WAIT_S):
        while True:
            line = await child.stdout.readline()
            if not line:
                assert child.stderr is not None
                raise AssertionError((await child.stderr.read()).decode())
            found: dict[str, Any] = json.loads(line)
            if key in found and value in (None, found[key]):
                return found


@pytest.mark.costly
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
async def test_hold_brings_the_settings_back_when_it_is_interrupted(
    tmp_path: Path, how: signal.Signals
) -> None:
    async with emulated("lv06", **LIVE) as (appliance, ready):
        before = appliance.machine.stored.frequency_mhz
        child = await started_beside(
            tmp_path,
            "sentinel",
            "hold",
            ready["url"],
            "--target",
            50,
            "--period",
            0.2,
            "--db",
            "sqlite:///s.db",
        )
        await line_with(child, "action")
        assert appliance.machine.stored.frequency_mhz < before
        child.send_signal(how)
        async with asyncio.timeout(WAIT_S):
            _, err = await child.communicate()
        assert child.returncode == 0, err.decode()
        assert b"Traceback" not in err
        assert appliance.machine.stored.frequency_mhz == before
    reader = TraceReader(f"sqlite:///{tmp_path / 's.db'}")
    assert reader.run(1)["exit_status"] == "success"
    assert reader.dicts(1, "settings")[0]["reason"].startswith("sentinel hold: hold 50 °C")
    assert list(reader.rows(1, "telemetry"))


@pytest.mark.costly
async def test_hold_that_tripped_is_exit_code_1_and_devices_restore_brings_all_back(tmp_path: Path) -> None:
    async with emulated("lv06", **LIVE) as (appliance, ready):
        child = await started_beside(
            tmp_path, "sentinel", "hold", ready["url"], "--target", 60, "--period", 0.2
        )
        await line_with(child, "event", "sentinel-start")
        appliance.machine.faults.fan_failed = True
        await line_with(child, "event", "sentinel-tripped")
        await line_with(child, "action")
        child.send_signal(signal.SIGINT)
        left = await line_with(child, "event", "sentinel-left-safe")
        assert "devices restore" in left["remedy"]
        async with asyncio.timeout(WAIT_S):
            assert await child.wait() == 1
        assert appliance.machine.in_force.frequency_mhz == 56.25
        appliance.machine.faults.fan_failed = False
        restore = await started_beside(tmp_path, "devices", "restore", ready["url"])
        async with asyncio.timeout(WAIT_S):
            assert await restore.wait() == 0
        assert appliance.machine.in_force.frequency_mhz == 485.0


@pytest.mark.costly
async def test_watch_follows_several_devices_and_changes_nothing(tmp_path: Path) -> None:
    async with emulated("lv06") as (first, one), emulated("s9") as (second, other):
        before = [vars(a.machine.stored).copy() for a in (first, second)]
        child = await started_beside(
            tmp_path, "sentinel", "watch", one["url"], other["url"], "--period", 0.2, "--seconds", 6
        )
        async with asyncio.timeout(WAIT_S):
            out, err = await child.communicate()
        assert child.returncode == 0, err.decode()
        seen = {json.loads(line)["url"] for line in out.splitlines()}
        assert seen == {one["url"], other["url"]}
        assert [vars(a.machine.stored) for a in (first, second)] == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("sentinel", "hold", "lv06://127.0.0.1:1", "--target", "72"), "too near to the trip point"),
        (("sentinel", "watch", "toaster://x"), "no driver"),
        (("sentinel", "rehearse", "--fault", "meteor"), "no fault"),
        (("bridge", "--port", "0", "--sentinel", "target=60"), "name one with --device"),
        (
            ("bridge", "--port", "0", "--device", "lv06://127.0.0.1:1", "--sentinel", "target=hot"),
            "is a number",
        ),
    ],
)
async def test_mistakes_are_exit_code_2(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    child = await started_beside(tmp_path, *arguments)
    async with asyncio.timeout(WAIT_S):
        _, err = await child.communicate()
    assert child.returncode == 2
    assert words in err.decode()


async def test_rehearse_prints_every_outcome_and_writes_the_report(tmp_path: Path) -> None:
    child = await started_beside(
        tmp_path,
        "sentinel",
        "rehearse",
        "--model",
        "lv06",
        "--fault",
        "fan-failed",
        "--hours",
        "0.5",
        "--out",
        "out",
    )
    async with asyncio.timeout(WAIT_S):
        out, err = await child.communicate()
    assert child.returncode == 0, err.decode()
    found = json.loads(out)
    assert found["passed"] is True
    assert found["outcomes"][0]["harmful_without"] is True
    assert (tmp_path / found["report"]).exists()


@pytest.mark.costly
async def test_a_bridge_from_the_command_line_guards_its_devices(tmp_path: Path) -> None:
    async with emulated("lv06", **LIVE) as (appliance, ready):
        child = await started_beside(
            tmp_path, "bridge", "--port", 0, "--device", ready["url"], "--device-period", 0.2,
            "--sentinel", "target=50", "--db", "sqlite:///b.db",
        )  # fmt: skip
        await line_with(child, "ready")
        await until(lambda: appliance.machine.stored.frequency_mhz < 485.0, "it never acted")
        child.send_signal(signal.SIGINT)
        async with asyncio.timeout(WAIT_S):
            _, err = await child.communicate()
        assert child.returncode == 0, err.decode()
        assert appliance.machine.stored.frequency_mhz == 485.0
    reader = TraceReader(f"sqlite:///{tmp_path / 'b.db'}")
    started = next(e for e in reader.dicts(1, "events") if e["kind"] == "sentinel-start")
    assert json.loads(started["detail"])["config"]["period_s"] == 0.2
    assert reader.dicts(1, "settings")[-1]["reason"] == "end of the run"
