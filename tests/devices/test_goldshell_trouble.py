"""The LB-Box driver in trouble: half and hanging answers, a box that changes under it, no secret in any text."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from firmware_bridge.clock import SystemClock
from firmware_bridge.devices import goldshell
from firmware_bridge.devices.device import PoolSettings
from firmware_bridge.devices.goldshell_lb_box import GoldshellLbBox
from firmware_bridge.devices.http import decode_reply
from firmware_bridge.devices.settings import OperatingPoint, Setting
from firmware_bridge.errors import DeviceError
from firmware_bridge.trace.recorder import RecordedBytes, Recorder
from tests.devices.conftest import emulated, needs_own_ports, quick

SECRET = "correct-horse-42"
LOW = OperatingPoint(power_plan="low power")


def driver(ready: dict[str, Any], **options: Any) -> GoldshellLbBox:
    http, api = ready["ports"]["http"], ready["ports"]["api"]
    return GoldshellLbBox(
        f"lb-box://127.0.0.1:{http}", "127.0.0.1", http, api_port=api, sleep=quick, **options
    )


class FakeBox:
    """The web page of a box in this process; `refuse` names pages that answer 500 with what they were sent."""

    def __init__(self, **setting: Any) -> None:
        plans = [{"level": 0, "info": "a"}, {"level": 1, "info": "b"}, {"level": 7, "info": "c"}]
        self.setting: dict[str, Any] = {
            "name": "mac",
            "select": 0,
            "powerplans": plans,
            "odd": [1],
            **setting,
        }
        self.pools = [{"url": f"stratum+tcp://old:{n}", "user": "o", "pass": SECRET} for n in range(3)]
        self.refuse: set[str] = set()
        self.puts: list[tuple[str, Any]] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        path, body = request.url.path, json.loads(request.content or b"null")
        if request.method == "PUT":
            self.puts.append((path, body))
        if path in self.refuse:
            return httpx2.Response(500, content=request.content)
        if path == "/user/login":
            return httpx2.Response(200, json={"JWT Token": SECRET})
        if path == "/mcb/setting" and request.method == "PUT":
            self.setting = body
        if path == "/mcb/newpool":
            self.pools.append(body)
        if path == "/mcb/delpool":
            del self.pools[body["dragid"]]
        answers: dict[str, Any] = {
            "/mcb/setting": self.setting,
            "/mcb/status": {"model": "Goldshell-LBBox", "firmware": "1"},
            "/mcb/pools": [{**pool, "dragid": n} for n, pool in enumerate(self.pools)],
            "/mcb/cgminer": {"minfos": [{"infos": [{"ID": 0, "MHS 20s": "100000", "fan0": 2000}] * 2}]},
        }
        return httpx2.Response(200, json=answers.get(path, {}))

    def driver(self, **options: Any) -> GoldshellLbBox:
        """With an API port on which nobody listens, unless another is given."""
        return GoldshellLbBox(
            "lb-box://127.0.0.1",
            "127.0.0.1",
            transport=httpx2.MockTransport(self),
            sleep=quick,
            **{"api_port": 1, **options},
        )


# ---- settings --------------------------------------------------------------------------------------------------------


async def test_an_exception_in_the_middle_restores_the_plan() -> None:
    async with emulated("lb-box") as (appliance, ready):
        confirmed: list[Any] = []

        async def study() -> None:
            async with driver(ready) as device:
                confirmed.append((await device.apply(LOW)).confirmed)
                raise RuntimeError("the study broke")

        with pytest.raises(RuntimeError, match="the study broke"):
            await study()
        assert confirmed == [{Setting.POWER_PLAN: True}]
        assert appliance.machine.hash_rate_ghs == pytest.approx(175)


async def test_a_cancelled_change_is_restored_before_the_cancellation_goes_on() -> None:
    async with emulated("lb-box") as (appliance, ready):
        changed = asyncio.Event()

        async def slow(seconds: float) -> None:
            changed.set()
            await asyncio.sleep(0.05)

        async def sweep() -> None:
            device = driver(ready)
            device.sleep = slow
            async with device:
                await device.apply(OperatingPoint(power_plan="sleep"))
                await asyncio.sleep(60)

        task = asyncio.ensure_future(sweep())
        async with asyncio.timeout(60):
            await changed.wait()  # the plan was written, its effect is still being waited for
        assert appliance.machine.hash_rate_ghs == 0
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert appliance.machine.hash_rate_ghs == pytest.approx(175)


async def test_the_whole_setting_goes_back_with_only_the_plan_changed() -> None:
    box = FakeBox()
    async with box.driver() as device:
        applied = await device.apply(LOW)
    sent = [body for path, body in box.puts if path == "/mcb/setting"]
    assert [body["select"] for body in sent] == [1, 0]
    assert all({**body, "select": 0} == {**box.setting, "select": 0} for body in sent)
    assert applied.confirmed == {Setting.POWER_PLAN: False}  # two boards of 100 GH/s are no low plan


async def test_a_plan_of_an_unknown_level_is_brought_back_though_nothing_measures_it() -> None:
    box = FakeBox(select=2)
    async with box.driver() as device:
        assert (await device.apply(LOW)).before.power_plan == "level 7"
        restored = await device.restore()
        assert restored is not None
        assert restored.confirmed == {Setting.POWER_PLAN: None}
    assert box.setting["select"] == 2


async def test_a_box_whose_api_is_away_while_it_changes_plan_is_waited_for() -> None:
    async with emulated("lb-box") as (_, ready), driver(ready) as device:
        ask, left = device.api.ask, 6

        async def away(command: str, parameter: str | None = None) -> Any:
            nonlocal left
            if device.originals.get(device.address) is not None and left:
                left -= 1
                raise DeviceError("cgminer://127.0.0.1: summary: no whole answer within 10 s")
            return await ask(command, parameter)

        device.api.ask = away  # type: ignore[method-assign]
        assert (await device.apply(LOW)).confirmed == {Setting.POWER_PLAN: True}
        assert left == 0


async def test_firmware_without_power_plans_says_so() -> None:
    async with FakeBox(powerplans=None).driver() as device:
        able = await device.capabilities()
    assert able.sets == ()
    assert "lists no power plans" in able.cannot[Setting.POWER_PLAN]


# ---- reading ---------------------------------------------------------------------------------------------------------


async def test_where_nobody_listens_on_the_api_port_the_web_page_is_read() -> None:
    async with FakeBox().driver() as device:
        reading = await device.read_telemetry()
    assert reading.hash_rate_ghs == 200.0  # both boards
    assert reading.fans_rpm == (2000.0, 2000.0)
    assert (reading.temperature_c, reading.uptime_s, reading.accepted) == (None, None, None)
    assert [pool.url for pool in reading.pools] == [f"stratum+tcp://old:{n}" for n in range(3)]
    assert SECRET not in (reading.raw or "")


@asynccontextmanager
async def raw_server(answer: bytes | None) -> AsyncIterator[int]:
    """Answers every connection with these bytes and hangs up, or never where they are None."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        if answer is None:
            await reader.read()  # until the driver gives up
        else:
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.mark.parametrize(
    "answer",
    [None, b"", b"{", b'{"STATUS":[{"STATUS":"S"}],"SUMMARY":', b'{"STATUS":[]}\0', b"\xff\xfe\0", b"[]\0"],
    ids=["hanging", "nothing", "cut", "half", "empty", "bytes", "list"],
)
async def test_nonsense_on_the_api_port_is_an_error_with_the_device_and_the_command(
    answer: bytes | None,
) -> None:
    async with raw_server(answer) as port, FakeBox().driver(api_port=port, timeout_s=0.3) as device:
        with pytest.raises(DeviceError, match=r"127\.0\.0\.1.*summary"):
            await device.read_telemetry()


@pytest.mark.parametrize(
    "answer",
    [None, b"", b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{", b"SSH-2.0-dropbear\r\n", b"HTTP/1.1 999"],
    ids=["hanging", "nothing", "half", "another protocol", "cut"],
)
async def test_a_web_server_that_breaks_off_is_an_error_without_the_password(answer: bytes | None) -> None:
    async with raw_server(answer) as port:
        device = GoldshellLbBox(
            f"lb-box://127.0.0.1:{port}", "127.0.0.1", port, password=SECRET, timeout_s=0.3, sleep=quick
        )
        for attempt in (device.identify, lambda: device._try_login(cipher=False)):
            with pytest.raises(DeviceError, match=r"127\.0\.0\.1") as caught:
                await attempt()
            assert SECRET not in str(caught.value)
            assert str(caught.value).rstrip()[-1] != ":"
        await device.aclose()


# ---- pools -----------------------------------------------------------------------------------------------------------


async def test_pools_that_could_not_be_replaced_are_all_there_again() -> None:
    box = FakeBox()
    before = list(box.pools)
    real = box.__call__

    def full(request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/mcb/newpool" and b"new.example" in request.content:
            return httpx2.Response(400, content=request.content)
        return real(request)

    device = GoldshellLbBox(
        "lb-box://127.0.0.1", "127.0.0.1", transport=httpx2.MockTransport(full), sleep=quick
    )
    with pytest.raises(DeviceError, match="newpool answered 400") as caught:
        await device.set_pool(PoolSettings("new.example", 3333, "w", SECRET))
    assert box.pools == before
    assert SECRET not in str(caught.value)
    await device.aclose()


async def test_pools_that_could_not_even_be_put_back_are_spoken_of() -> None:
    box = FakeBox()
    box.refuse.add("/mcb/newpool")
    device = box.driver()
    with pytest.raises(DeviceError) as caught:
        await device.set_pool(PoolSettings("new.example", 3333, "w", SECRET))
    (note,) = caught.value.__notes__
    assert "could not be added again" in note
    assert SECRET not in note + str(caught.value)
    await device.aclose()


# ---- secrets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cipher", [False, True])
async def test_the_flight_recorder_keeps_the_talk_and_none_of_its_secrets(cipher: bool) -> None:
    kept: list[RecordedBytes] = []
    taps = Recorder(kept.append, SystemClock())
    async with emulated("lb-box", cipher=cipher, password=SECRET) as (appliance, ready):
        async with driver(ready, password=SECRET, taps=taps) as device:
            await device.identify()
            await device.set_pool(PoolSettings("127.0.0.1", 4444, "lab.box", SECRET))
            await device.page("devs")
            await device.read_telemetry()
        token = device._token
        assert appliance.machine.stored.pool_port == 4444
    everything = b"".join(piece.data for piece in kept)
    assert token is not None
    for secret in (SECRET, goldshell.enciphered(SECRET), token):
        assert secret.encode() not in everything
    replies = [p.data for p in kept if p.direction == "received" and p.link.startswith("http") and p.data]
    pages = [json.loads(decode_reply(data).body) for data in replies if b"/json" in data]
    assert {"model", "firmware"} <= set().union(*(page for page in pages if isinstance(page, dict)))
    assert any(b"GET /mcb/cgminer?cgminercmd=devs" in p.data for p in kept if p.direction == "sent")
    assert any(p.link.startswith("cgminer://") for p in kept)


@pytest.mark.parametrize("page", ["/mcb/pools", "/mcb/setting"])
async def test_an_error_shows_the_bytes_of_an_answer_without_its_passwords(page: str) -> None:
    def broken(request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/user/login":
            return httpx2.Response(200, json={"JWT Token": "t"})
        return httpx2.Response(200, content=b'[{"url":"u","pass":"' + SECRET.encode() + b'"}')

    device = GoldshellLbBox(
        "lb-box://127.0.0.1", "127.0.0.1", transport=httpx2.MockTransport(broken), sleep=quick
    )
    with pytest.raises(DeviceError, match=f"GET {page} answered 200, the answer is no JSON") as caught:
        await device.page(page.removeprefix("/mcb/"))
    assert SECRET not in str(caught.value)
    await device.aclose()


# ---- somebody else's client ------------------------------------------------------------------------------------------


@pytest.mark.costly
async def test_pyasics_class_for_a_box_of_this_family_reads_board_fans_and_pools() -> None:
    """pyasic has no class for the LB-Box, and asks boxes that it does not know for no boards and fans at all."""
    pytest.importorskip("pyasic", reason="the optional extra 'miners' is not installed")
    from pyasic.miners.goldshell.bfgminer.XBox.KDBox import GoldshellKDBoxII

    address = "127.0.0.42"
    needs_own_ports(address, 80, 4028)
    async with emulated("lb-box", address, own_ports=True):
        miner = GoldshellKDBoxII(address)
        rate = await miner.get_hashrate()
        (board,) = await miner.get_hashboards()
        fans = await miner.get_fans()
        (pool,) = await miner.get_pools()
        mac = await miner.get_mac()
        firmware = await miner.get_fw_ver()
    assert rate is not None
    assert float(rate.into(rate.unit.GH)) == pytest.approx(175, rel=0.02)
    assert (board.temp, board.chips) == (pytest.approx(62, abs=2), 4)
    assert len(fans) == 2
    assert all(fan.speed is not None and fan.speed > 1000 for fan in fans)
    assert (pool.user, pool.active, pool.alive) == ("lab.lb-box", True, True)
    assert mac == "02:00:00:00:00:1B"
    assert firmware in ("2.2.1", None)  # pyasic 0.79 asks the setting for it, where it is not
