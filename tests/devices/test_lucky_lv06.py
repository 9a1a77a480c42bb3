"""The LV06 driver against emulated devices of several eras, honest and dishonest ones."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.clock import VirtualClock
from firmware_bridge.devices import axeos_keys, facts, lucky_lv06
from firmware_bridge.devices.device import PoolSettings
from firmware_bridge.devices.lucky_lv06 import LuckyLv06
from firmware_bridge.devices.settings import OperatingPoint, Setting
from firmware_bridge.emulator.appliance import Appliance
from firmware_bridge.errors import DeviceError, LimitError, UserError
from tests.devices import conftest as kit
from tests.devices.conftest import FastClock, needs_own_ports

PROJECT = Path(__file__).parents[2]
PAGES: dict[str, Any] = json.loads((PROJECT / "tests" / "vectors" / "axeos_info.json").read_text())


CLOCK = FastClock()


def driver(port: int, clock: Any = CLOCK, **options: Any) -> LuckyLv06:
    address = f"lv06://127.0.0.1:{port}"
    return LuckyLv06(address, "127.0.0.1", port, clock=clock, sleep=clock.sleep, **options)


def emulated(
    *args: Any, **options: Any
) -> contextlib.AbstractAsyncContextManager[tuple[Appliance, dict[str, Any]]]:
    return kit.emulated("lv06", *args, **{"clock": CLOCK, **options})


class StillClock(VirtualClock):
    """Time passes only while the driver sleeps."""

    async def sleep(self, seconds: float) -> None:
        self.advance_to(self.monotonic_ns() + round(seconds * 1e9))
        await asyncio.sleep(0)


class Paper:
    """A device of one page that does what a test says, without a socket."""

    def __init__(self, page: dict[str, Any], clock: StillClock) -> None:
        self.page, self.clock = dict(page), clock
        self.patches: list[dict[str, Any]] = []
        self.restarts = 0
        self.transport = httpx2.MockTransport(self.answer)

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "PATCH":
            self.patches.append(json.loads(request.content))
            self.page |= self.patches[-1]
        if request.method == "POST":
            self.restarts += 1
        started = {"uptimeSeconds": int(self.clock.monotonic_ns() / 1e9) + 7240}
        return httpx2.Response(200, json={**self.page, **started} if request.method == "GET" else None)


async def test_an_emulated_lv06_answers_nominal_values_from_the_first_request_on() -> None:
    async with emulated() as (_, ready), driver(ready["ports"]["http"]) as device:
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
    async with emulated(firmware=firmware) as (appliance, ready):
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
    async with emulated(**{fault: True}) as (_, ready), driver(ready["ports"]["http"]) as device:
        applied = await device.apply(OperatingPoint(core_voltage_mv=1100.0))
        assert applied.confirmed == {Setting.CORE_VOLTAGE: False}
        assert not applied.in_force
        assert applied.reported.core_voltage_mv == (1200.0 if fault == "ignores_voltage" else 1100.0)


async def test_settings_that_are_stored_without_a_restart_are_not_in_force() -> None:
    """What a client sees that patches and does not restart: the setting is repeated, nothing measured moves."""
    async with emulated() as (_, ready), driver(ready["ports"]["http"]) as device:
        await device._patch({"coreVoltage": 1100})
        assert (await device.read_point()).core_voltage_mv == 1100
        assert (await device.read_telemetry()).core_voltage_mv == 1187
        measured = await device._measure(OperatingPoint(core_voltage_mv=1100.0))
        assert measured[Setting.CORE_VOLTAGE].confirms(1100.0) is False
        await device._patch({"coreVoltage": 1200})


@pytest.mark.parametrize("fault", ["ignores_restart", "silent_restart"])
async def test_a_restart_is_known_by_the_up_time_and_not_by_the_answer(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault == "ignores_restart":
        monkeypatch.setattr(lucky_lv06, "IGNORED_S", 3.0)  # there is none to wait for
    async with emulated(**{fault: True}) as (appliance, ready), driver(ready["ports"]["http"]) as device:
        applied = await device.apply(OperatingPoint(core_voltage_mv=1100.0))
        restarted = fault == "silent_restart"
        assert applied.restarted is restarted
        assert applied.reported.core_voltage_mv == 1100.0
        assert applied.confirmed == {Setting.CORE_VOLTAGE: restarted}
        assert appliance.machine.in_force.core_voltage_mv == (1100.0 if restarted else 1200.0)


async def test_a_frequency_that_is_repeated_and_not_in_force_is_not_confirmed() -> None:
    clock = StillClock()
    paper = Paper(PAGES["v2.1.5"], clock)  # stores, repeats, and nothing measured moves
    async with driver(80, clock, transport=paper.transport) as device:
        applied = await device.apply(OperatingPoint(frequency_mhz=400.0, core_voltage_mv=1100.0))
    assert applied.reported == OperatingPoint(frequency_mhz=400.0, core_voltage_mv=1100.0)
    assert applied.confirmed == {Setting.FREQUENCY: False, Setting.CORE_VOLTAGE: False}
    assert applied.measured[Setting.FREQUENCY].what == "change of the power draw"
    assert applied.measured[Setting.FREQUENCY].value == pytest.approx(485.0)
    assert not applied.restarted
    assert paper.patches == [{"frequency": 400, "coreVoltage": 1100}, {"frequency": 485, "coreVoltage": 1200}]


async def test_a_rate_from_shares_never_stands_for_the_clock() -> None:
    """A hundred shares scatter by a tenth: a rate that happens to fit proves nothing, one that does not neither."""
    clock = StillClock()
    for rate in (357.6, 434.1, 520.0):
        page = {k: v for k, v in PAGES["v2.1.5"].items() if k != "power"}
        paper = Paper({**page, "hashRate": rate}, clock)
        async with driver(80, clock, transport=paper.transport) as device:
            applied = await device.apply(OperatingPoint(frequency_mhz=400.0))
        assert applied.confirmed == {Setting.FREQUENCY: None}
        assert not applied.in_force


async def test_without_hashes_the_clock_is_not_measured_and_the_device_is_still_restored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A bridge that has ended before the sweep is no reason to leave the miner at the sweep's settings."""
    monkeypatch.setattr(lucky_lv06, "HASHING_LIMIT_S", 5.0)
    async with emulated() as (appliance, ready):
        appliance.machine.pool_difficulty = lambda: 2.0**60  # no share ever comes
        async with driver(ready["ports"]["http"]) as device:
            applied = await device.apply(OperatingPoint(frequency_mhz=400.0))
            assert applied.restarted
            assert applied.confirmed == {Setting.FREQUENCY: None}
        assert appliance.machine.in_force.frequency_mhz == 485.0


async def test_six_chips_are_counted_although_the_page_does_not_tell_how_many() -> None:
    clock = StillClock()
    page = {**PAGES["v2.9.0 with six chips"], "version": "v2.12.0"}
    paper = Paper(page, clock)
    async with driver(80, clock, transport=paper.transport) as device:
        assert (await device.identify()).chips == 6
        measured = await device._measure(OperatingPoint(frequency_mhz=485.0))
        assert measured[Setting.FREQUENCY].confirms(485.0) is True
        assert measured[Setting.FREQUENCY].what == "hash rate"
        pools = (await device.read_telemetry()).pools
    assert [(p.url, p.active) for p in pools] == [
        ("stratum+tcp://pool.lan:3333", False),
        ("stratum+tcp://spare.lan:3334", True),
    ]


@pytest.mark.parametrize("key", ["fanspeed", "manualFanSpeed"])
async def test_the_fan_is_set_under_the_name_that_the_page_has(key: str) -> None:
    clock = StillClock()
    page = {**PAGES["v2.1.5"], "autofanspeed": 0, "fanspeed": 60}
    paper = Paper(page if key == "fanspeed" else {**page, "manualFanSpeed": 60}, clock)
    async with driver(80, clock, transport=paper.transport) as device:
        applied = await device.apply(OperatingPoint(fan_percent=80.0))
    assert paper.patches == [{key: 80}, {key: 60}]
    assert paper.restarts == 0
    # where the setting has a name of its own, what the fan is really told is another reading
    assert applied.confirmed == {Setting.FAN: key == "fanspeed"}


async def test_old_firmware_that_would_lose_its_network_is_not_set() -> None:
    async with emulated(firmware="2.0.3") as (appliance, ready):
        async with driver(ready["ports"]["http"]) as device:
            with pytest.raises(UserError, match="stores the Wi-Fi password anew"):
                await device.apply(OperatingPoint(frequency_mhz=400.0))
            with pytest.raises(UserError, match="wifiPass cannot be read"):
                await device.set_pool(PoolSettings("10.0.0.9", 3333, "w"))
        async with driver(ready["ports"]["http"], wifi_password="w") as device:
            applied = await device.apply(OperatingPoint(core_voltage_mv=1100.0))
            assert applied.confirmed == {Setting.CORE_VOLTAGE: True}
        assert appliance.machine.in_force.core_voltage_mv == 1200.0


@pytest.mark.parametrize("ending", [RuntimeError, asyncio.CancelledError])
async def test_an_exception_or_a_cancellation_in_a_sweep_leaves_the_device_as_it_was(
    ending: type[BaseException],
) -> None:
    async with emulated() as (appliance, ready):

        async def walk() -> None:
            async with driver(ready["ports"]["http"]) as device:
                await device.apply(OperatingPoint(frequency_mhz=400.0, core_voltage_mv=1100.0))
                assert appliance.machine.in_force.frequency_mhz == 400.0
                if ending is RuntimeError:
                    raise RuntimeError("in the middle")
                changed.set()
                await asyncio.sleep(3600)

        changed = asyncio.Event()
        task = asyncio.ensure_future(walk())
        if ending is asyncio.CancelledError:
            await changed.wait()
            task.cancel()
        with pytest.raises(ending):
            await task
        for settings in (appliance.machine.in_force, appliance.machine.stored):
            assert (settings.frequency_mhz, settings.core_voltage_mv) == (485.0, 1200.0)


async def test_a_cancellation_while_the_device_restarts_is_restored_too() -> None:
    async with emulated() as (appliance, ready):
        task = asyncio.ensure_future(_walk_once(ready["ports"]["http"]))
        while appliance.machine.stored.frequency_mhz == 485.0:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert appliance.machine.in_force.frequency_mhz == 485.0
        assert appliance.machine.stored.frequency_mhz == 485.0


async def _walk_once(port: int) -> None:
    async with driver(port) as device:
        await device.apply(OperatingPoint(frequency_mhz=400.0))
        await asyncio.sleep(3600)


async def test_limits_are_ours_since_the_firmware_has_none() -> None:
    async with emulated() as (appliance, ready), driver(ready["ports"]["http"]) as device:
        for point in (OperatingPoint(core_voltage_mv=1301.0), OperatingPoint(frequency_mhz=700.0)):
            with pytest.raises(LimitError, match="hard limits"):
                await device.apply(point, beyond_factory=True)
        with pytest.raises(LimitError, match="only with --yes"):
            await device.apply(OperatingPoint(core_voltage_mv=1175.0))
        with pytest.raises(UserError, match="autofanspeed"):
            await device.apply(OperatingPoint(fan_percent=50.0))
        with pytest.raises(LimitError, match="only with --yes"):
            await device.apply(OperatingPoint(fan_percent=0.0))
        assert appliance.machine.stored.core_voltage_mv == 1200.0


@pytest.mark.parametrize(("firmware", "shown"), [("1.1.0", "50 MHz, 990 mV"), ("2.9.0", "overheat_mode 1")])
async def test_overheat_fallback_is_noticed_and_nothing_is_set(firmware: str, shown: str) -> None:
    async with (
        emulated(firmware=firmware, overheat=True) as (appliance, ready),
        driver(ready["ports"]["http"]) as device,
    ):
        raw = (await device.read_telemetry()).raw or ""
        assert ('"overheat_mode": 1' in raw) is (firmware == "2.9.0")
        with pytest.raises(LimitError, match=f"overheat fallback \\({shown}\\)"):
            await device.apply(OperatingPoint(frequency_mhz=485.0))
        assert appliance.machine.stored.frequency_mhz == 50.0


async def test_a_device_that_overheats_in_a_sweep_is_left_at_its_safe_settings_and_remembered() -> None:
    async with emulated(firmware="2.2.0") as (appliance, ready):
        device = driver(ready["ports"]["http"])
        await device.apply(OperatingPoint(frequency_mhz=575.0))
        appliance.machine.thermal.temperature_c = 90.0
        while (await _uptime(device)) > 1000:  # it falls back and restarts
            await device.sleep(1.0)
        assert (await device.read_point()).frequency_mhz == 50.0
        with pytest.raises(LimitError, match="overheat fallback"):
            await device.restore()
        assert device.originals.get(device.address) == OperatingPoint(frequency_mhz=485.0)
        await device.aclose()


async def _uptime(device: LuckyLv06) -> float:
    with contextlib.suppress(DeviceError):
        return (await device.read_telemetry()).uptime_s or 0.0
    return math.inf


async def test_a_hot_chip_is_set_to_nothing_that_could_heat_it_and_to_everything_that_cools() -> None:
    async with emulated() as (appliance, ready), driver(ready["ports"]["http"]) as device:
        appliance.face.overheat = True  # type: ignore[attr-defined] # so that the firmware does not fall back itself
        appliance.machine.thermal.temperature_c = 80.0
        for hotter in (OperatingPoint(frequency_mhz=500.0), OperatingPoint(400.0, core_voltage_mv=1250.0)):
            with pytest.raises(LimitError, match="limit is 75 °C"):
                await device.apply(hotter)
        assert appliance.machine.stored.frequency_mhz == 485.0
        await device.apply(OperatingPoint(frequency_mhz=400.0, core_voltage_mv=1100.0))
        assert appliance.machine.in_force.core_voltage_mv == 1100.0
        appliance.machine.thermal.temperature_c = 50.0


@pytest.mark.parametrize("firmware", ["1.1.0", "2.9.0", "2.15.0"])
async def test_the_pool_is_set_in_the_form_of_each_era_and_read_back(firmware: str) -> None:
    async with (
        emulated(firmware=firmware) as (appliance, ready),
        driver(ready["ports"]["http"]) as device,
    ):
        assert await device.set_pool(PoolSettings("127.0.0.1", 4444, "lab.x", "secret"))
        assert (await device.read_telemetry()).pools[0].url == "stratum+tcp://127.0.0.1:4444"
        assert appliance.machine.in_force.pool_port == 4444


async def test_a_pool_that_did_not_take_is_an_error() -> None:
    """Flat keys on firmware 2.15: 200, and nothing happens."""
    transport = httpx2.MockTransport(
        lambda request: httpx2.Response(200, json=PAGES["v2.1.5"] if request.method == "GET" else None)
    )
    device = driver(80, transport=transport)
    with pytest.raises(DeviceError, match=r"answered 200 and still has pool pool\.lan:3333"):
        await device.set_pool(PoolSettings("10.0.0.9", 3333, "w"))
    await device.aclose()


async def test_a_pool_that_is_stored_and_not_used_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lucky_lv06, "IGNORED_S", 3.0)
    async with emulated(ignores_restart=True) as (_, ready), driver(ready["ports"]["http"]) as device:
        with pytest.raises(DeviceError, match="still mines for the old one"):
            await device.set_pool(PoolSettings("127.0.0.1", 4444, "lab.x"))


async def test_no_error_shows_a_password() -> None:
    for status, body in (
        (500, b'{"stratumPassword": "geheim"'),
        (200, b'{"stratumPassword": "geheim'),
        (200, b'{"stratumPassword": "geheim"}'),
    ):
        transport = httpx2.MockTransport(
            lambda request, status=status, body=body: httpx2.Response(status, content=body)
        )
        device = driver(80, transport=transport)
        with pytest.raises(DeviceError) as caught:
            await device.identify()
        assert "geheim" not in str(caught.value)
        assert "stratumPassword" in str(caught.value)
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


NUMBERS = st.sampled_from(
    [0, -1, 1, 5e-324, 1e308, -1e308, 10**400, True, None, "x", "1e308", [], {}, 485, 1200.0]
)


@given(
    st.fixed_dictionaries(
        {}, optional={key.name: NUMBERS for key in axeos_keys.KEYS if key.name != "version"}
    ),
    st.sampled_from(["1.1.0", "v2.0.3", "v2.2.0", "v2.12.0", "v2.15.0", "", None]),
)
def test_any_page_at_all_is_read_and_measured_or_is_a_device_error(
    page: dict[str, Any], version: str | None
) -> None:
    async def use() -> None:
        clock = StillClock()
        paper = Paper({"ASICModel": "BM1366", **page, "version": version}, clock)
        device = driver(80, clock, transport=paper.transport)
        reading = await device.read_telemetry()
        assert "power" in page or reading.power_w is None
        assert "hashRate" in page or reading.hash_rate_ghs is None
        assert {"fanrpm", "fanSpeed", "fanSpeedRpm", "fan2rpm"} & page.keys() or reading.fan_rpm is None
        with contextlib.suppress(DeviceError):
            await device.identify()
        await device.capabilities()
        await device.read_point()
        device._before = (await device.info())[0]
        asked = OperatingPoint(frequency_mhz=400.0, core_voltage_mv=1100.0, fan_percent=50.0)
        for setting, measured in (await device._measure(asked)).items():
            assert measured.confirms(asked.given()[setting]) in (True, False, None)
        await device.aclose()

    asyncio.run(use())


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


async def test_a_report_for_us_holds_no_password(tmp_path: Path) -> None:
    page = json.dumps({**PAGES["lucky 1.1.0"], "stratumPassword": "geheim", "wifiPass": "geheim"})
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, content=page.encode()))
    report = await facts.examine("lv06://10.0.0.7", transport=transport)
    report.write(tmp_path / "facts.json")
    text = (tmp_path / "facts.json").read_text()
    assert "geheim" not in text
    assert "stratumPassword" in text
    assert {f.name: f.status for f in report.facts}["password in clear"] == "confirmed"


@pytest.mark.costly
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_in_the_middle_of_a_sweep_restores_the_device(
    how: signal.Signals, tmp_path: Path
) -> None:
    async with emulated(clock=None) as (appliance, ready):
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
            assert await child.wait() == 128 + how
        assert b'"restored": true' in out
        assert appliance.machine.in_force.frequency_mhz == 485.0
        assert appliance.machine.in_force.core_voltage_mv == 1200.0


@pytest.mark.costly
async def test_pyasic_takes_the_emulated_lv06_for_the_bitaxe_family_that_it_is() -> None:
    pyasic = pytest.importorskip("pyasic", reason="the optional extra 'miners' is not installed")
    address = "127.0.0.31"
    needs_own_ports(address, 80)
    async with emulated(address, own_ports=True):
        miner = await pyasic.get_miner(address)
        data = await miner.get_data()
        config = await miner.get_config()
    assert "BitAxe" in type(miner).__name__ or "LuckyMiner" in type(miner).__name__
    assert float(data.hashrate) == pytest.approx(0.4336, rel=0.05)
    assert data.hashboards[0].chip_temp == pytest.approx(58, abs=2)
    assert data.fans[0].speed == pytest.approx(5200, rel=0.05)
    assert config.pools.groups[0].pools[0].user == "lab.lv06"
