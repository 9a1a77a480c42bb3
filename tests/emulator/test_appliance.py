"""Emulated devices as a whole: ports, the pool that is built in, restarts, other pools, and how they end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from firmware_bridge.clock import SystemClock
from firmware_bridge.devices.cgminer_port import CgminerPort
from firmware_bridge.emulator import appliance as module
from firmware_bridge.emulator.appliance import Appliance, ApplianceConfig
from firmware_bridge.emulator.builtin_pool import BuiltinPool
from firmware_bridge.emulator.wall_config import WallConfig
from firmware_bridge.errors import DeviceError, UserError

CONFIG = ApplianceConfig(
    WallConfig("s9", "", 0, scale=2.0**-24),
    http_port=0,
    api_port=0,
    restart_s=0.0,
    options={"writable": True},
)


class Gate:
    """A sleep that ends when the test says so."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.open = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        await self.open.wait()


@asynccontextmanager
async def running(
    config: ApplianceConfig = CONFIG, **options: Any
) -> AsyncIterator[tuple[Appliance, dict[str, Any], CgminerPort]]:
    device = Appliance(config, **options)
    ready = await device.start()
    serving = asyncio.ensure_future(device.serve())
    try:
        yield device, ready, CgminerPort(config.bind, ready["ports"]["api"], timeout_s=30.0)
    finally:
        device.request_stop()
        await serving


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(120):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def refused(api: CgminerPort) -> bool:
    try:
        await api.ask("version")
    except DeviceError:
        return True
    return False


async def test_it_ends_in_order_where_it_is_stopped_before_it_mines() -> None:
    device = Appliance(CONFIG)
    await device.start()
    device.request_stop("stopped by SIGTERM")
    summary = await device.serve()
    assert (summary.reason, summary.accepted) == ("stopped by SIGTERM", 0)


async def test_it_answers_before_it_mines_and_then_really_mines() -> None:
    async with running() as (device, ready, api):
        row = (await api.ask("summary")).rows("SUMMARY")[0]
        pool = (await api.ask("pools")).rows("POOLS")[0]
        assert float(row["GHS 5s"]) == pytest.approx(13595, rel=0.015)
        assert pool["URL"] == f"stratum+tcp://{ready['pool']}"
        assert (ready["builtin_pool"], ready["ready"], ready["model"]) == (True, True, "s9")
        before = row["Accepted"]
        await until(lambda: device.machine.accepted >= before + 3)
        row = (await api.ask("summary")).rows("SUMMARY")[0]
        assert row["Accepted"] >= before + 3
        assert row["Rejected"] == 2  # verified by the pool, none of them refused


async def test_a_port_that_is_taken_is_a_users_mistake_with_the_remedy_and_leaves_nothing_open() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        for name, option in (("api_port", "--api-port 14028"), ("http_port", "--http-port 8080")):
            device = Appliance(replace(CONFIG, **{name: number}))
            with pytest.raises(UserError, match=f"127.0.0.1:{number} cannot be bound .*{option}"):
                await device.start()
            for port in device.ports.values():
                assert await refused(CgminerPort("127.0.0.1", port))


async def test_where_asked_for_it_mines_without_a_server_that_cannot_be_had() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config = replace(CONFIG, http_port=taken.getsockname()[1], lenient=True)
        async with running(config) as (device, ready, api):
            assert set(ready["ports"]) == {"api"}
            assert "mines without that server" in device.warnings[0]
            assert (await api.ask("version")).rows("VERSION")


async def test_a_restart_takes_the_servers_away_and_brings_them_back_on_the_same_ports() -> None:
    gate = Gate()
    async with running(replace(CONFIG, restart_s=None), sleep=gate) as (device, _, api):
        device.machine.stored.frequency_mhz = 550.0
        before = device.machine.accepted
        status = (await api.ask("restart")).status
        assert status is not None
        assert status.letter == "RESTART"
        await until(lambda: bool(gate.asked))
        assert gate.asked == [45.0]
        assert await refused(api)
        assert not device.machine.thermal.running
        assert device.machine.in_force.frequency_mhz == 631.0
        gate.open.set()
        await until(lambda: device.machine.thermal.running)
        async with asyncio.timeout(60):
            while await refused(api):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        row = (await api.ask("summary")).rows("SUMMARY")[0]
        assert row["Elapsed"] < 3600
        assert row["Accepted"] < before
        stats = (await api.ask("stats")).rows("STATS")[1]
        assert stats["frequency"] == "550"
        assert stats["GHS av"] == pytest.approx(550 * 21.546, rel=0.001)
        await until(lambda: device.machine.accepted > 0)  # at the new clock


async def test_it_can_be_stopped_in_the_middle_of_a_restart() -> None:
    gate = Gate()
    async with running(sleep=gate) as (device, _, api):
        await api.ask("restart")
        await until(lambda: bool(gate.asked))
        device.request_stop("enough")
    assert not gate.open.is_set()


@asynccontextmanager
async def another_pool() -> AsyncIterator[tuple[BuiltinPool, int]]:
    pool = BuiltinPool(np.random.default_rng(3), SystemClock(), 2048.0)
    try:
        yield pool, await pool.start("127.0.0.1")
    finally:
        await pool.stop()


async def test_it_changes_to_another_pool_without_leaving_the_network() -> None:
    async with another_pool() as (pool, port), running() as (device, _, api):
        await until(lambda: device.machine.connections == 1)
        before = device.machine.accepted
        await api.ask("addpool", f"127.0.0.1:{port},other,x")
        await api.ask("switchpool", "1")
        assert (await api.ask("version")).rows("VERSION")
        await until(lambda: pool.workers == 1 and device.machine.accepted > before)
        rows = (await api.ask("pools")).rows("POOLS")
        assert [(r["User"], r["Stratum Active"]) for r in rows] == [("lab.s9", False), ("other", True)]
        assert rows[1]["Accepted"] >= before


async def test_a_pool_that_is_not_there_does_not_end_a_device_and_is_mined_for_once_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("firmware_bridge.stratum.client.FIRST_TRIES", 1)
    monkeypatch.setattr(module, "RETRY_S", 0.05)
    with socket.socket() as placeholder:  # bound, not listening: nobody else gets the port, nobody answers
        placeholder.bind(("127.0.0.1", 0))
        port = placeholder.getsockname()[1]
        async with running() as (device, _, api):
            await until(lambda: device.machine.connections == 1)
            await api.ask("addpool", f"127.0.0.1:{port},w,x")
            await api.ask("switchpool", "1")
            await until(lambda: any("no pool could be mined for" in text for text in device.warnings))
            assert (await api.ask("summary")).rows("SUMMARY")
            before = device.machine.accepted
            await api.ask("switchpool", "0")
            await until(lambda: device.machine.accepted > before)
            assert len(device.warnings) == len(set(device.warnings))


async def test_the_first_pool_has_to_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("firmware_bridge.stratum.client.FIRST_TRIES", 1)
    with socket.socket() as placeholder:
        placeholder.bind(("127.0.0.1", 0))
        device = Appliance(replace(CONFIG, pool=placeholder.getsockname()))
        ready = await device.start()
        with pytest.raises(UserError, match="no pool could be mined for"):
            await device.serve()
        assert await refused(CgminerPort("127.0.0.1", ready["ports"]["api"]))


async def test_shares_come_from_the_address_of_the_servers() -> None:
    callers: list[str] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        callers.append(writer.get_extra_info("peername")[0])
        writer.close()

    probe = socket.socket()
    try:
        probe.bind(("127.0.0.22", 0))
    except OSError as error:
        pytest.skip(f"127.0.0.22 is no address of this host: {error.strerror}")
    finally:
        probe.close()
    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    config = replace(CONFIG, bind="127.0.0.22", pool=server.sockets[0].getsockname())
    device = Appliance(config)
    await device.start()
    serving = asyncio.ensure_future(device.serve())
    await until(lambda: bool(callers))
    device.request_stop()
    await asyncio.gather(serving, return_exceptions=True)
    server.close()
    assert callers[0] == "127.0.0.22"


async def test_it_ends_after_its_seconds_or_shares_and_lets_go_of_its_ports() -> None:
    config = replace(CONFIG, wall=replace(CONFIG.wall, shares=2))
    device = Appliance(config)
    ready = await device.start()
    async with asyncio.timeout(120):
        summary = await device.serve()
    assert summary.accepted >= 2
    assert summary.rejected == {}
    assert summary.reason == "2 shares accepted"
    assert await refused(CgminerPort("127.0.0.1", ready["ports"]["api"]))


async def test_an_s9_whose_web_port_is_taken_still_has_its_api_and_says_so() -> None:
    """Ports below 1024 need privileges, and bmminer's API is what its clients ask."""
    warnings: list[str] = []
    with socket.socket() as web:
        web.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            web.bind(("127.0.0.81", 80))
            web.listen()
        except PermissionError:
            pass  # then the emulator may not have it either
        appliance = Appliance(
            ApplianceConfig(WallConfig("s9", "", 0), bind="127.0.0.81", api_port=0), warnings.append
        )
        ready = await appliance.start()
        await appliance.close()
    assert set(ready["ports"]) == {"api"}
    assert any("127.0.0.81:80 cannot be bound" in text for text in warnings)
