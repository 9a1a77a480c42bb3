"""Miners of other makes, through pyasic."""

from __future__ import annotations

import sys

import pytest

from firmware_bridge.devices.other import PyasicMiner
from firmware_bridge.devices.registry import open_device
from firmware_bridge.devices.settings import OperatingPoint
from firmware_bridge.errors import DeviceError, LimitError, UserError
from tests.devices.conftest import emulated, needs_own_ports


@pytest.mark.costly
async def test_a_miner_that_pyasic_knows_is_read_and_never_set() -> None:
    pytest.importorskip("pyasic", reason="the optional extra 'miners' is not installed")
    address = "127.0.0.24"
    needs_own_ports(address, 80, 4028)
    async with emulated("s9", address, own_ports=True), await open_device(f"pyasic://{address}") as device:
        identity = await device.identify()
        reading = await device.read_telemetry()
        able = await device.capabilities()
        with pytest.raises((LimitError, UserError)):
            await device.apply(OperatingPoint(frequency_mhz=550.0), beyond_factory=True)
    assert "AntMiner" in identity.make
    assert "S9" in identity.model
    assert reading.hash_rate_ghs == pytest.approx(13_600, rel=0.03)
    assert reading.temperature_c == pytest.approx(70, abs=12)
    assert [b.chips for b in reading.boards] == [63, 63, 63]
    assert reading.pools[0].user == "lab.s9"
    assert reading.core_voltage_mv is None
    assert able.sets == ()
    assert "does not measure" in next(iter(able.cannot.values()))


async def test_without_the_library_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyasic", None)
    with pytest.raises(UserError, match=r"pip install 'asic-reservoir-lab\[miners\]'"):
        await PyasicMiner("pyasic://127.0.0.1", "127.0.0.1").identify()


async def test_a_library_that_fails_or_hangs_is_a_device_error() -> None:
    device = PyasicMiner("pyasic://h", "h", timeout_s=0.05)

    async def broken() -> None:
        raise KeyError("x")

    async def hanging() -> None:
        import asyncio

        await asyncio.sleep(30)

    with pytest.raises(DeviceError, match="pyasic://h: get_data: KeyError"):
        await device._asked(broken(), "get_data")
    with pytest.raises(DeviceError, match=r"no answer within 0.05 s"):
        await device._asked(hanging(), "get_data")
