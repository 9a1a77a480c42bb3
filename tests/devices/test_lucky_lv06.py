"""The LV06 driver against emulated devices of several eras, honest and dishonest ones."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

from firmware_bridge.devices.device import PoolSettings
from firmware_bridge.devices.lucky_lv06 import LuckyLv06
from firmware_bridge.devices.settings import OperatingPoint, Setting
from firmware_bridge.errors import DeviceError, LimitError, UserError
from tests.devices.conftest import emulated, needs_own_ports, quick

PROJECT = Path(__file__).parents[2]


def driver(port: int, **options: Any) -> LuckyLv06:
    return LuckyLv06(f"lv06://127.0.0.1:{port}", "127.0.0.1", port, sleep=quick, **options)


async def test_an_emulated_lv06_answers_nominal_values_from_the_first_request_on() -> None:
    async with emulated("lv06") as (_, ready), driver(ready["ports"]["http"]) as device:
        reading = await device.read_telemetry()
        identity = await device.identify()
    assert (identity.make, identity.model, identity.chip, identity.chips) == (
        "Lucky Miner",
        "LV06",
        "BM1366",
        1,
    )
    assert reading.hash_rate_ghs == pytest.approx(433.6, rel=0.03)
    assert reading.temperature_c == pytest.approx(58, abs=1)
    assert reading.core_voltage_mv == 1187
    assert reading.fan_rpm == pytest.approx(5200, rel=0.05)
    assert reading.pools[0].user == "lab.lv06"
    assert reading.power_w == pytest.approx(13.2, abs=0.2)
    assert '"stratumPassword": "***"' in (reading.raw or "")


@pytest.mark.parametrize("firmware", ["1.1.0", "2.2.0", "2.9.0", "2.15.0"])
async def test_a_point_is_set_measured_and_restored_on_every_era(firmware: str) -> None:
    async with emulated("lv06", firmware=firmware) as (appliance, ready):
        async with driver(ready["ports"]["http"]) as device:
            applied = await device.apply(OperatingPoint(frequency_mhz=400.0, core_voltage_mv=1100.0))
            assert applied.confirmed == {Setting.FREQUENCY: True, Setting.CORE_VOLTAGE: True}
            assert applied.before == OperatingPoint(frequency_mhz=485.0, core_voltage_mv=1200.0)
            assert applied.restarted is (firmware == "1.1.0")
            assert applied.measured[Setting.CORE_VOLTAGE].value == pytest.approx(1088, abs=2)
            assert appliance.machine.in_force.frequency_mhz == 400.0
        assert appliance.machine.in_force.frequency_mhz == 485.0
        assert appliance.machine.in_force.core_voltage_mv == 1200.0


@pytest.mark.parametrize("fault", ["ignores_voltage", "stuck_regulator"])
async def test_a_voltage_that_never_changed_is_not_called_changed(fault: str) -> None:
    """Two published sweeps set a key that the firmware does not have, and read back what they had sent."""
    async with emulated("lv06", **{fault: True}) as (_, ready), driver(ready["ports"]["http"]) as device:
        applied = await device.apply(OperatingPoint(core_voltage_mv=1100.0))
        assert applied.confirmed == {Setting.CORE_VOLTAGE: False}
        assert not applied.in_force
        assert applied.reported.core_voltage_mv == (1200.0 if fault == "ignores_voltage" else 1100.0)


async def test_settings_that_are_stored_without_a_restart_are_not_in_force() -> None:
    """What a client sees that patches and does not restart: the setting is repeated, nothing measured moves."""
    async with emulated("lv06") as (_, ready), driver(ready["ports"]["http"]) as device:
        await device._patch({"coreVoltage": 1100})
        assert (await device.read_point()).core_voltage_mv == 1100
        assert (await device.read_telemetry()).core_voltage_mv == 1187
        measured = await device._measure(OperatingPoint(core_voltage_mv=1100.0))
        assert measured[Setting.CORE_VOLTAGE].confirms(1100.0) is False
        await device._patch({"coreVoltage": 1200})


async def test_limits_are_ours_since_the_firmware_has_none() -> None:
    async with emulated("lv06") as (appliance, ready), driver(ready["ports"]["http"]) as device:
        for point in (OperatingPoint(core_voltage_mv=1301.0), OperatingPoint(frequency_mhz=700.0)):
            with pytest.raises(LimitError, match="hard limits"):
                await device.apply(point, beyond_factory=True)
        with pytest.raises(LimitError, match="only with --yes"):
            await device.apply(OperatingPoint(core_voltage_mv=1175.0))
        with pytest.raises(UserError, match="autofanspeed"):
            await device.apply(OperatingPoint(fan_percent=50.0))
        assert appliance.machine.stored.core_voltage_mv == 1200.0


async def test_overheat_fallback_is_noticed_and_nothing_is_set() -> None:
    async with emulated("lv06", overheat=True) as (_, ready), driver(ready["ports"]["http"]) as device:
        assert '"overheat_mode": 1' in ((await device.read_telemetry()).raw or "")
        with pytest.raises(LimitError, match="overheat fallback"):
            await device.apply(OperatingPoint(frequency_mhz=485.0))


async def test_a_hot_chip_is_not_set() -> None:
    async with emulated("lv06") as (appliance, ready), driver(ready["ports"]["http"]) as device:
        appliance.face.overheat = True  # type: ignore[attr-defined] # so that the firmware does not fall back itself
        appliance.machine.thermal.temperature_c = 80.0
        with pytest.raises(LimitError, match="limit is 75 °C"):
            await device.apply(OperatingPoint(frequency_mhz=400.0))


@pytest.mark.parametrize("firmware", ["1.1.0", "2.9.0", "2.15.0"])
async def test_the_pool_is_set_in_the_form_of_each_era_and_read_back(firmware: str) -> None:
    async with (
        emulated("lv06", firmware=firmware) as (appliance, ready),
        driver(ready["ports"]["http"]) as device,
    ):
        assert await device.set_pool(PoolSettings("127.0.0.1", 4444, "lab.x", "secret"))
        assert (await device.read_telemetry()).pools[0].url == "stratum+tcp://127.0.0.1:4444"
        assert appliance.machine.in_force.pool_port == 4444


async def test_a_pool_that_did_not_take_is_an_error() -> None:
    """Flat keys on firmware 2.15: 200, and nothing happens."""
    page = (PROJECT / "tests" / "vectors" / "axeos_info.json").read_bytes()

    row = json.loads(page)["v2.1.5"]

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json=row if request.method == "GET" else None)

    device = driver(80, transport=httpx2.MockTransport(answer))
    with pytest.raises(DeviceError, match=r"answered 200 and still has pool pool\.lan:3333"):
        await device.set_pool(PoolSettings("10.0.0.9", 3333, "w"))
    await device.aclose()


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, b"", "no JSON object"),
        (200, b"[1]", "no JSON object"),
        (200, b'{"power": ', "no JSON object"),
        (500, b"oops", "answered 500"),
        (200, b"{}", "names no chip"),
    ],
)
async def test_nonsense_names_device_command_and_bytes(status: int, body: bytes, words: str) -> None:
    transport = httpx2.MockTransport(lambda request: httpx2.Response(status, content=body))
    device = driver(8080, transport=transport)
    with pytest.raises(DeviceError, match=words) as caught:
        await device.identify()
    assert "127.0.0.1:8080" in str(caught.value)
    assert "/api/system/info" in str(caught.value)
    await device.aclose()


async def test_an_endless_answer_is_cut_off() -> None:
    async def flood() -> Any:
        while True:
            yield b"x" * 65536

    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, content=flood()))
    device = driver(8080, transport=transport)
    with pytest.raises(DeviceError, match="more than"):
        await device.identify()
    await device.aclose()


async def test_a_hanging_server_is_given_up() -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(20)

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    device = driver(server.sockets[0].getsockname()[1], timeout_s=0.2)
    with pytest.raises(DeviceError, match=r"no whole answer within 0.2 s|Timeout"):
        await device.identify()
    await device.aclose()
    server.close()


@pytest.mark.costly
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_in_the_middle_of_a_sweep_restores_the_device(
    how: signal.Signals, tmp_path: Path
) -> None:
    async with emulated("lv06") as (appliance, ready):
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "experiments.cli", "devices", "sweep", f"lv06://127.0.0.1:{ready['ports']['http']}",
            "--frequency", "400,425,450", "--voltage", "1100,1300", "--dwell", "60", "--json",
            stdout=subprocess.PIPE, cwd=PROJECT, env={**os.environ, "ASICLAB_STATE": str(tmp_path)},
        )  # fmt: skip
        assert child.stdout is not None
        async with asyncio.timeout(60):
            while appliance.machine.in_force.frequency_mhz == 485.0:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            child.send_signal(how)
            out = await child.stdout.read()
            assert await child.wait() == 0
        assert b'"restored": true' in out
        assert appliance.machine.in_force.frequency_mhz == 485.0
        assert appliance.machine.in_force.core_voltage_mv == 1200.0


@pytest.mark.costly
async def test_pyasic_takes_the_emulated_lv06_for_the_bitaxe_family_that_it_is() -> None:
    pyasic = pytest.importorskip("pyasic", reason="the optional extra 'miners' is not installed")
    address = "127.0.0.31"
    needs_own_ports(address, 80)
    async with emulated("lv06", address, own_ports=True):
        miner = await pyasic.get_miner(address)
        data = await miner.get_data()
        config = await miner.get_config()
    assert "BitAxe" in type(miner).__name__ or "LuckyMiner" in type(miner).__name__
    assert float(data.hashrate) == pytest.approx(0.4336, rel=0.05)
    assert data.hashboards[0].chip_temp == pytest.approx(58, abs=2)
    assert data.fans[0].speed == pytest.approx(5200, rel=0.05)
    assert config.pools.groups[0].pools[0].user == "lab.lv06"
