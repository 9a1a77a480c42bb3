"""The driver of the S9 against bytes as hardware.md shows them, against the emulator, and against nonsense."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from firmware_bridge.devices import antminer_s9
from firmware_bridge.devices.antminer_s9 import AntminerS9
from firmware_bridge.devices.device import PoolSettings
from firmware_bridge.devices.journal import SettingsJournal
from firmware_bridge.devices.s9_fields import FACTORY_MHZ, boards_of, pll_name_mhz
from firmware_bridge.devices.settings import OperatingPoint, Setting
from firmware_bridge.errors import DeviceError, LimitError, UserError
from tests.devices import conftest
from tests.devices.conftest import FastClock, needs_own_ports

CLOCK = FastClock()
emulated = partial(conftest.emulated, clock=CLOCK)
SAMPLES = json.loads((Path(__file__).parents[1] / "vectors" / "s9_api.json").read_text())


PROJECT = Path(__file__).parents[2]


async def serve(answer: Callable[[bytes], Awaitable[bytes | None]]) -> tuple[asyncio.Server, int]:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await answer(await reader.read(4096))
        if data is None:
            await asyncio.sleep(30)
        else:
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


def driver(port: int, http_port: int = 1, **options: object) -> AntminerS9:
    address = f"s9://127.0.0.1:{port}"
    common = {"clock": CLOCK, "sleep": CLOCK.sleep, **options}
    return AntminerS9(address, "127.0.0.1", port, http_port=http_port, **common)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(antminer_s9, "POLL_S", 1.0)
    monkeypatch.setattr(antminer_s9, "SETTLE_PAUSE_S", 1.0)


async def test_a_real_looking_device_is_read_field_by_field() -> None:
    async def answer(request: bytes) -> bytes:
        return SAMPLES[json.loads(request)["command"]].encode() + b"\0"

    server, port = await serve(answer)
    async with driver(port) as device:
        identity = await device.identify()
        reading = await device.read_telemetry()
        point = await device.read_point()
    server.close()
    assert (identity.make, identity.model, identity.chips) == ("Bitmain", "Antminer S9", 189)
    assert identity.firmware == "Fri Nov 17 17:37:49 CST 2017"
    assert reading.hash_rate_ghs == 13612.41
    assert reading.temperature_c == 78.0
    assert reading.board_temperature_c == 62.0
    assert reading.fans_rpm == (5760.0, 4320.0)
    assert reading.fan_rpm == 5760.0
    assert [(b.board, b.temperature_c, b.board_temperature_c, b.chips, b.hardware_errors) for b in reading.boards] == [
        (6, 76.0, 61.0, 63, 14), (7, 78.0, 62.0, 63, 11), (8, 75.0, 60.0, 63, 12),
    ]  # fmt: skip
    assert [b.hash_rate_ghs for b in reading.boards] == [4537.12, 4540.03, 4535.26]
    assert (reading.accepted, reading.rejected, reading.hardware_errors, reading.uptime_s) == (
        318,
        2,
        37,
        7240.0,
    )
    assert [(p.url, p.user, p.active, p.status) for p in reading.pools] == [
        ("stratum+tcp://10.0.0.2:3333", "lab.s9", True, "Alive")
    ]
    assert reading.core_voltage_mv is None
    assert reading.power_w is None
    assert point == OperatingPoint(frequency_mhz=631.0)  # no web page, so no plans
    assert "}{" in (reading.raw or "")


async def test_what_is_missing_or_empty_is_none_and_never_zero() -> None:
    answers = {
        "summary": {"SUMMARY": [{"GHS 5s": "", "GHS av": 0.0, "Accepted": "many"}]},
        "stats": {"STATS": [{}, {"chain_acn6": 63, "chain_rate6": "", "temp6": 0, "fan3": 0}]},
        "pools": {"STATUS": [{"STATUS": "S", "Code": 8, "Msg": "No pools"}]},
    }

    async def answer(request: bytes) -> bytes:
        return json.dumps(answers[json.loads(request)["command"]]).encode()

    server, port = await serve(answer)
    async with driver(port) as device:
        reading = await device.read_telemetry()
    server.close()
    assert reading.hash_rate_ghs is None
    assert reading.accepted is None
    assert reading.fan_rpm is None
    assert reading.temperature_c is None
    assert reading.boards[0].hash_rate_ghs is None
    assert reading.pools == ()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<html>no</html>", "no JSON object"),
        (b"", "hung up without an answer"),
        (b'{"STATUS":[{"STATUS":"E","Code":45,"Msg":"Access denied"}],"id":1}\0', "E/45 Access denied"),
        (b"\xff\xfe\0\0", "no JSON object"),
        (b"x" * (1 << 20) + b"xx", "more than"),
    ],
)
async def test_nonsense_names_device_command_and_bytes(data: bytes, words: str) -> None:
    async def answer(request: bytes) -> bytes:
        return data

    server, port = await serve(answer)
    async with driver(port) as device:
        with pytest.raises(DeviceError, match=words) as caught:
            await device.read_telemetry()
    server.close()
    assert str(port) in str(caught.value)
    assert "summary" in str(caught.value)


async def test_another_miner_is_refused_by_name() -> None:
    async def answer(request: bytes) -> bytes:
        return b'{"VERSION":[{"CGMiner":"4.11.1","API":"3.7","Type":"Antminer L3+"}],"id":1}\0'

    server, port = await serve(answer)
    async with driver(port) as device:
        with pytest.raises(DeviceError, match=r"no Antminer S9 but 'Antminer L3\+'"):
            await device.identify()
    server.close()


async def test_a_device_that_hangs_is_given_up() -> None:
    async def answer(request: bytes) -> None:
        return None

    server, port = await serve(answer)
    async with driver(port, timeout_s=0.2) as device:
        with pytest.raises(DeviceError, match=r"no whole answer within 0.2 s"):
            await device.identify()
    server.close()


async def test_frequency_is_set_over_the_web_page_and_measured_by_the_hash_rate() -> None:
    async with emulated("s9") as (_, ready):
        device = driver(ready["ports"]["api"], ready["ports"]["http"])
        async with device:
            able = await device.capabilities()
            assert able.setting(Setting.FREQUENCY) is not None
            assert Setting.CORE_VOLTAGE in able.cannot
            applied = await device.apply(OperatingPoint(frequency_mhz=550.0))
            assert applied.before.frequency_mhz == 631.0
            assert applied.reported.frequency_mhz == 550.0
            assert applied.confirmed == {Setting.FREQUENCY: True}
            assert applied.in_force
            assert applied.restarted
            assert (await device.read_telemetry()).hash_rate_ghs == pytest.approx(21.546 * 550, rel=0.015)
        again = driver(ready["ports"]["api"], ready["ports"]["http"])
        assert (await again.read_point()).frequency_mhz == 631.0  # restored on exit
        await again.aclose()


async def test_a_step_finer_than_the_hash_rate_can_show_is_not_called_confirmed() -> None:
    async with emulated("s9") as (_, ready), driver(ready["ports"]["api"], ready["ports"]["http"]) as device:
        applied = await device.apply(OperatingPoint(frequency_mhz=637.0))
        assert applied.confirmed == {Setting.FREQUENCY: None}
        assert not applied.in_force


async def test_values_outside_the_limits_never_reach_the_device() -> None:
    device = driver(1)
    with pytest.raises(LimitError, match=r"outside the hard limits 100 .. 700"):
        await device.apply(OperatingPoint(frequency_mhz=701.0), beyond_factory=True)
    with pytest.raises(LimitError, match=r"only with --yes"):
        await device.apply(OperatingPoint(frequency_mhz=556.0))
    with pytest.raises(LimitError, match="no limits are known"):
        await device.apply(OperatingPoint(core_voltage_mv=9000.0), beyond_factory=True)
    await device.aclose()


async def test_stock_api_without_a_web_page_says_that_it_cannot() -> None:
    async with emulated("s9") as (_, ready), driver(ready["ports"]["api"]) as device:
        able = await device.capabilities()
        assert able.sets == ()
        assert "Miner Configuration" in able.cannot[Setting.FREQUENCY]
        with pytest.raises(UserError, match="this firmware cannot set frequency_mhz"):
            await device.apply(OperatingPoint(frequency_mhz=550.0))
        with pytest.raises(UserError, match="API is read-only"):
            await device.set_pool(PoolSettings("127.0.0.1", 3333, "lab.s9"))


@pytest.mark.parametrize("writable", [True, False])
async def test_the_pool_is_set_by_the_api_or_by_the_web_page(writable: bool) -> None:
    async with emulated("s9", writable=writable) as (appliance, ready):
        async with driver(ready["ports"]["api"], ready["ports"]["http"]) as device:
            restarted = await device.set_pool(PoolSettings("127.0.0.1", 4444, "lab,x", "p,w"))
            assert restarted is not writable
            pools = (await device.read_telemetry()).pools
        mined_for = [(p.url, p.user) for p in pools if p.active]
        assert mined_for == [("stratum+tcp://127.0.0.1:4444", "lab,x")]
        assert len(pools) == 1 + writable  # a pool of the API stands beside the old one
        assert appliance.machine.stored.pool_port == 4444


async def test_a_cancelled_sweep_leaves_the_device_as_it_was() -> None:
    async with emulated("s9") as (appliance, ready):

        async def sweep() -> None:
            async with driver(ready["ports"]["api"], ready["ports"]["http"]) as device:
                for mhz in (550.0, 575.0, 600.0):
                    await device.apply(OperatingPoint(frequency_mhz=mhz))

        task = asyncio.ensure_future(sweep())
        while appliance.machine.in_force.frequency_mhz == 631.0:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert appliance.machine.in_force.frequency_mhz == 631.0
        assert appliance.machine.stored.frequency_mhz == 631.0


async def test_it_sleeps_and_is_woken_by_the_restoration() -> None:
    async with emulated("s9") as (appliance, ready):
        device = driver(ready["ports"]["api"], ready["ports"]["http"])
        async with device:
            before = await device.read_point()
            assert before == OperatingPoint(frequency_mhz=631.0, power_plan="normal")
            applied = await device.apply(OperatingPoint(power_plan="sleep"))
            assert applied.in_force
            assert not appliance.machine.thermal.running
            with pytest.raises(DeviceError):
                await device.read_telemetry()
            assert (await device.read_point()).power_plan == "sleep"
            slower = await device.apply(OperatingPoint(frequency_mhz=550.0))  # which wakes it
            assert slower.restarted
            assert appliance.machine.thermal.running
            await device.apply(OperatingPoint(power_plan="sleep"))
        again = driver(ready["ports"]["api"], ready["ports"]["http"])
        assert await again.read_point() == before
        assert (await again.read_telemetry()).hash_rate_ghs
        await again.aclose()


async def test_an_exception_in_a_sweep_leaves_the_device_as_it_was() -> None:
    async with emulated("s9") as (appliance, ready):

        async def sweep() -> None:
            async with driver(ready["ports"]["api"], ready["ports"]["http"]) as device:
                await device.apply(OperatingPoint(frequency_mhz=550.0))
                assert appliance.machine.in_force.frequency_mhz == 550.0
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await sweep()
        assert appliance.machine.in_force.frequency_mhz == 631.0


KILLED = """
import asyncio, sys
from pathlib import Path
from firmware_bridge.devices.antminer_s9 import AntminerS9
from firmware_bridge.devices.journal import SettingsJournal
from firmware_bridge.devices.settings import OperatingPoint

async def main():
    address, api, http, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    device = AntminerS9(address, "127.0.0.1", api, http_port=http, originals=SettingsJournal(folder))
    async with device:
        await device.apply(OperatingPoint(frequency_mhz=550.0))
        await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.costly
async def test_after_kill_9_the_journal_brings_the_device_back(tmp_path: Path) -> None:
    async with emulated("s9") as (appliance, ready):
        api, http = ready["ports"]["api"], ready["ports"]["http"]
        address = f"s9://127.0.0.1:{api}"
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", KILLED, address, str(api), str(http), str(tmp_path), cwd=PROJECT
        )
        async with asyncio.timeout(60):
            while appliance.machine.in_force.frequency_mhz == 631.0:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        child.kill()
        assert await child.wait() == -signal.SIGKILL
        assert appliance.machine.in_force.frequency_mhz == 550.0
        async with driver(api, http, originals=SettingsJournal(tmp_path)) as device:
            applied = await device.restore()
        assert applied is not None
        assert appliance.machine.in_force.frequency_mhz == 631.0
        assert SettingsJournal(tmp_path).get(address) is None


@pytest.mark.costly
async def test_sigterm_in_the_middle_of_a_sweep_restores_the_device(tmp_path: Path) -> None:
    # with the real clock: the command is another process
    async with conftest.emulated("s9", first_rate_s=0.2) as (appliance, ready):
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "experiments.cli", "devices", "sweep", ready["url"],
            "--frequency", "550,575,600", "--dwell", "60", "--json",
            stdout=asyncio.subprocess.PIPE, cwd=PROJECT, env={**os.environ, "ASICLAB_STATE": str(tmp_path)},
        )  # fmt: skip
        assert child.stdout is not None
        async with asyncio.timeout(120):
            while appliance.machine.in_force.frequency_mhz == 631.0:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            child.send_signal(signal.SIGTERM)
            out = await child.stdout.read()
            assert await child.wait() == 143
        assert b'"restored": true' in out
        assert appliance.machine.in_force.frequency_mhz == 631.0


def rising(values: list[str], then: str) -> Callable[[bytes], Awaitable[bytes]]:
    """A device whose rate comes up to speed, and then stays."""
    left = list(values)

    async def answer(request: bytes) -> bytes:
        command = json.loads(request)["command"]
        if command == "summary":
            row: dict[str, Any] = {"Elapsed": 100, "GHS 5s": left.pop(0) if left else then}
            return json.dumps({"SUMMARY": [row]}).encode()
        if command == "stats":
            return json.dumps({"STATS": [{}, {f"chain_rate{n}": "4000" for n in (6, 7, 8)}]}).encode()
        return json.dumps({"POOLS": []}).encode()

    return answer


async def test_a_rate_on_its_way_up_confirms_no_clock() -> None:
    # on its way to 650 MHz it passes what 550 MHz give, and a driver that stops there is taken in
    server, port = await serve(rising(["", "2000", "8000", "11850", "12900"], "14004.9"))
    async with driver(port) as device:
        measured = await device._measure(OperatingPoint(frequency_mhz=550.0))
    server.close()
    reading = measured[Setting.FREQUENCY]
    assert reading.value == pytest.approx(650.0, abs=0.1)
    assert reading.confirms(550.0) is False
    assert reading.confirms(650.0) is True


async def test_a_rate_that_never_settles_measures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(antminer_s9, "SETTLE_LIMIT_S", 5.0)
    server, port = await serve(rising(["9000", "13000"] * 50, "9000"))
    async with driver(port) as device:
        measured = await device._measure(OperatingPoint(frequency_mhz=550.0))
    server.close()
    assert measured[Setting.FREQUENCY].confirms(550.0) is None


def test_the_firmware_names_clocks_by_their_whole_mhz() -> None:
    assert [pll_name_mhz(f) for f in FACTORY_MHZ] == list(FACTORY_MHZ)
    assert [pll_name_mhz(f) for f in (581.25, 581.0, 100.0, 106.25, 700.0)] == [
        581.0,
        581.0,
        100.0,
        106.0,
        700.0,
    ]
    for odd in (580.0, 590.0, 633.3, 551.0):
        with pytest.raises(LimitError, match=r"has no .* MHz; next to it are"):
            pll_name_mhz(odd)


async def test_a_clock_that_the_chip_does_not_have_never_reaches_the_device() -> None:
    device = driver(1)
    with pytest.raises(LimitError, match=r"no 633 MHz; next to it are 631.25 and 637.5. Nothing was changed"):
        await device.apply(OperatingPoint(frequency_mhz=633.0), beyond_factory=True)
    await device.aclose()


def test_boards_are_found_in_whatever_slots_they_are() -> None:
    first = boards_of(
        {"chain_acn1": 63, "temp1": 60, "temp2_1": 75, "chain_rate1": "4500.1", "chain_rate2": ""}
    )
    assert [(b.board, b.chips, b.hash_rate_ghs, b.temperature_c) for b in first] == [(1, 63, 4500.1, 75.0)]
    without_counts = boards_of(
        {"temp11": 80, "temp2_11": 65, "chain_rate11": "", "temp12": 0, "chain_rate12": ""}
    )
    assert [(b.board, b.chips, b.hash_rate_ghs) for b in without_counts] == [(11, None, None)]
    # which of the two is the chip differs between builds: the hotter one is
    assert (without_counts[0].temperature_c, without_counts[0].board_temperature_c) == (80.0, 65.0)


@pytest.mark.parametrize(
    ("kind", "ours"),
    [
        ("Antminer S9", True), ("Antminer S9i", True), ("Antminer S9j", True), ("Antminer S9 (vnish 3.9)", True),
        ("Antminer S9k", False), ("Antminer S9 SE", False), ("Antminer S9 Hydro", False), ("Antminer S19", False),
        ("Antminer T9+", False), ("x" * 100_000, False),
    ],
)  # fmt: skip
async def test_only_boards_of_63_bm1387_are_taken_for_an_s9(kind: str, ours: bool) -> None:
    async def answer(request: bytes) -> bytes:
        return json.dumps({"VERSION": [{"Type": kind}]}).encode()

    server, port = await serve(answer)
    async with driver(port) as device:
        if ours:
            assert (await device.identify()).model == kind
        else:
            with pytest.raises(DeviceError, match="no Antminer S9") as caught:
                await device.identify()
            assert len(str(caught.value)) < 500
    server.close()


@pytest.mark.costly
async def test_pyasic_takes_the_emulated_s9_for_a_real_one() -> None:
    pyasic = pytest.importorskip("pyasic", reason="the optional extra 'miners' is not installed")
    address = "127.0.0.21"
    needs_own_ports(address, 80, 4028)
    async with emulated("s9", address, own_ports=True):
        miner = await pyasic.get_miner(address)
        assert type(miner).__name__ == "BMMinerS9"
        data = await miner.get_data()
    assert float(data.hashrate) == pytest.approx(13.6, rel=0.03)
    assert [b.chips for b in data.hashboards] == [63, 63, 63]
    assert data.temperature_avg == pytest.approx(77, abs=4)
    assert all(b.temp and b.chip_temp for b in data.hashboards)
    assert [f.speed > 1000 for f in data.fans] == [True, True]
    assert data.pools[0].user == "lab.s9"
    assert data.pools[0].alive
