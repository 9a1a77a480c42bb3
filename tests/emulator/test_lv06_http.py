"""The emulated LV06's web server: pages, settings, shares and restarts, as each era of the firmware has them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.clock import VirtualClock
from firmware_bridge.emulator.http_server import HttpAnswer, HttpRequest
from firmware_bridge.emulator.lv06_http import ERAS, Lv06Face
from firmware_bridge.emulator.machine import Counts
from firmware_bridge.emulator.share_rate import ShareRate
from firmware_bridge.errors import UserError
from tests.devices.conftest import emulated


class Bench:
    """A face without sockets, in virtual time."""

    def __init__(self, **options: Any) -> None:
        self.clock = VirtualClock()
        self.face = Lv06Face(self.clock, np.random.default_rng(7), options)
        self.machine = self.face.machine
        self.wishes: list[str] = []
        self.machine.on_restart = lambda: self.wishes.append("restart")
        self.machine.on_rate = lambda: self.wishes.append("rate")

    def ask(self, method: str, path: str, body: Any = None) -> HttpAnswer:
        data = b"" if body is None else json.dumps(body).encode()
        return asyncio.run(self.face._page(HttpRequest(method, path, {}, {}, data, path)))

    def info(self) -> dict[str, Any]:
        page: dict[str, Any] = json.loads(self.ask("GET", "/api/system/info").body)
        return page

    def patch(self, **body: Any) -> int:
        return self.ask("PATCH", "/api/system", body).status

    def passes(self, seconds: float) -> None:
        self.clock.advance_to(self.clock.monotonic_ns() + round(seconds * 1e9))

    def restarts(self) -> None:
        self.machine.stop()
        self.passes(45)
        self.machine.start()


def test_the_first_page_shows_the_values_of_an_lv06_that_runs() -> None:
    page = Bench().info()
    wanted = {
        "power": 13.2, "voltage": 5050.0, "temp": 58.0, "hashRate": 428.7, "frequency": 485, "coreVoltage": 1200,
        "coreVoltageActual": 1187, "fanSpeed": 5200, "bestDiff": "1.92M", "ASICModel": "BM1366", "minerModel": "LV06",
        "version": "1.1.0", "boardVersion": "204", "initMiner": "lucky", "stratumPassword": "x",
    }  # fmt: skip
    assert {name: page[name] for name in wanted} == wanted
    assert page["current"] == pytest.approx(2600, rel=0.01)
    assert {"hostname", "macAddr", "vrTemp", "asicCount", "bestSessionDiff", "overheat_mode"}.isdisjoint(page)


@pytest.mark.parametrize(
    ("firmware", "there", "absent"),
    [
        (
            "2.0.3",
            {"fanSpeed", "fanspeed", "autofanspeed"},
            {"fanrpm", "minerModel", "overheat_mode", "hostname"},
        ),
        (
            "2.2.0",
            {"fanrpm", "vrTemp", "asicCount", "overheat_mode"},
            {"fanSpeed", "macAddr", "expectedHashrate"},
        ),
        ("2.9.0", {"poolDifficulty", "responseTime", "macAddr"}, {"asicCount", "manualFanSpeed", "pools"}),
        (
            "2.15.0",
            {"pools", "actualFrequency", "manualFanSpeed", "fan2rpm"},
            {"stratumURL", "asicCount", "minerModel"},
        ),
    ],
)
def test_each_era_has_its_own_names(firmware: str, there: set[str], absent: set[str]) -> None:
    page = Bench(firmware=firmware).info()
    assert there <= page.keys()
    assert absent.isdisjoint(page)


def test_an_unknown_era_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"1\.1\.0.*not '3\.0'"):
        Bench(firmware="3.0")


def test_routes() -> None:
    bench = Bench()
    assert bench.ask("GET", "/api/pool").status == 404
    assert json.loads(bench.ask("GET", "/api/pool").body) == {"error": "unknown route"}
    assert bench.ask("GET", "/api/system/asic").status == 404
    assert bench.ask("PUT", "/api/system/pools/0", {}).status == 404
    elsewhere = bench.ask("GET", "/generate_204")
    assert (elsewhere.status, elsewhere.headers["Location"]) == (302, "/")
    assert b"Lucky miner" in bench.ask("GET", "/").body
    assert bench.ask("OPTIONS", "/api/system").headers["Access-Control-Allow-Origin"] == "*"
    newer = json.loads(Bench(firmware="2.9.0").ask("GET", "/api/system/asic").body)
    assert (newer["defaultFrequency"], newer["defaultVoltage"]) == (485, 1200)
    assert newer["frequencyOptions"] == [400, 425, 450, 475, 485, 500, 525, 550, 575]


def test_settings_are_stored_and_in_force_only_after_a_restart() -> None:
    bench = Bench()
    answer = bench.ask("PATCH", "/api/system", {"frequency": 400, "coreVoltage": 1100})
    assert (answer.status, answer.body) == (200, b"")
    page = bench.info()
    assert (page["frequency"], page["coreVoltage"], page["coreVoltageActual"]) == (400, 1100, 1187)
    assert bench.machine.in_force.frequency_mhz == 485.0
    assert bench.ask("POST", "/api/system/restart").body == b"System will restart shortly."
    assert bench.wishes == ["restart"]
    bench.restarts()
    page = bench.info()
    assert (page["coreVoltageActual"], page["uptimeSeconds"]) == (1088, 0)
    assert page["power"] < 10


def test_newer_firmware_applies_settings_live_and_goes_on_mining_at_the_new_clock() -> None:
    bench = Bench(firmware="2.15.0")
    bench.patch(frequency=400, coreVoltage=1100)
    page = bench.info()
    assert (page["actualFrequency"], page["coreVoltageActual"]) == (400, 1088)
    assert page["hashRate"] == pytest.approx(357.6, rel=0.02)
    assert bench.wishes == ["rate"]
    assert json.loads(bench.ask("POST", "/api/system/restart").body) == {
        "message": "System will restart shortly."
    }


@pytest.mark.parametrize(
    "body",
    [
        None, [], "x", {"frequency": "485"}, {"frequency": 0}, {"frequency": True}, {"coreVoltage": -1},
        {"autofanspeed": 2}, {"fanspeed": 101}, {"overheat_mode": 1}, {"stratumURL": 5}, {"stratumPort": 70000},
        {"stratumPort": float("nan")}, {"pools": 5}, {"pools": [5]},
    ],
)  # fmt: skip
def test_wrong_input_is_refused_and_changes_nothing(body: Any) -> None:
    bench = Bench()
    before = bench.info()
    answer = bench.ask("PATCH", "/api/system", body)
    assert (answer.status, answer.body) == (400, b"Wrong API input")
    assert bench.info() == before


def test_a_key_that_the_firmware_does_not_have_is_taken_and_nothing_comes_of_it() -> None:
    bench = Bench()
    before = bench.info()
    assert bench.patch(volts=1.1) == 200
    bench.restarts()
    assert bench.info()["coreVoltageActual"] == before["coreVoltageActual"]


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=4,
)
NAMES = [
    "frequency", "coreVoltage", "autofanspeed", "fanspeed", "manualFanSpeed", "overheat_mode", "stratumURL",
    "stratumPort", "stratumUser", "ssid", "hostname", "pools", "flipscreen", "id",
]  # fmt: skip


@given(st.sampled_from(list(ERAS)), st.dictionaries(st.sampled_from(NAMES), ANY_JSON, max_size=5))
def test_any_patch_is_answered_and_the_page_stays_whole(firmware: str, body: dict[str, Any]) -> None:
    bench = Bench(firmware=firmware)
    assert bench.ask("PATCH", "/api/system", body).status in (0, 200, 400)
    assert bench.ask("PATCH", "/api/system", {"pools": [body]}).status in (0, 200, 400)
    assert bench.ask("PUT", "/api/system/pools/0", body).status in (200, 400, 404)
    assert bench.info()["ASICModel"] == "BM1366"
    assert isinstance(bench.machine.stored.pool_port, int)
    assert 0 <= bench.machine.stored.pool_port <= 65535


def test_flat_pool_keys_are_ignored_without_a_word_from_v2_15_on() -> None:
    flat = {"stratumURL": "pool.lan", "stratumPort": 3333, "stratumUser": "w"}
    for firmware, taken in (("1.1.0", True), ("2.9.0", True), ("2.15.0", False)):
        bench = Bench(firmware=firmware)
        assert bench.patch(**flat) == 200
        assert (bench.machine.stored.pool_host == "pool.lan") is taken
    bench = Bench(firmware="2.15.0")
    assert bench.patch(pools=[{"id": 0, **flat}]) == 200
    assert bench.info()["pools"][0]["stratumURL"] == "pool.lan"
    assert bench.info()["pools"][0]["stratumPassword"] == "*****"
    assert bench.patch(pools=[{"id": 0, **flat, "stratumURL": ""}]) == 400
    assert bench.patch(pools=[{**flat, "id": 8}]) == 400
    assert bench.ask("PUT", "/api/system/pools/0", {**flat, "stratumURL": "other.lan"}).status == 200
    assert bench.machine.stored.pool_host == "other.lan"
    assert bench.machine.in_force.pool_host == ""


def test_firmware_2_0_3_crashes_on_a_partial_patch() -> None:
    bench = Bench(firmware="2.0.3")
    assert bench.patch(coreVoltage=1100) == 0
    assert bench.wishes == ["restart"]
    assert bench.machine.stored.core_voltage_mv == 1200.0


@pytest.mark.parametrize(("firmware", "mv"), [("1.1.0", 990), ("2.9.0", 1000)])
def test_an_overheated_chip_falls_back_to_safe_settings_until_others_are_set(firmware: str, mv: int) -> None:
    bench = Bench(firmware=firmware)
    bench.machine.thermal.temperature_c = 80.0
    page = bench.info()
    assert (page["frequency"], page["coreVoltage"], page["autofanspeed"]) == (50, mv, 0)
    assert page.get("overheat_mode") == (1 if firmware == "2.9.0" else None)
    assert bench.wishes == ["restart"]
    bench.restarts()
    bench.passes(600)
    page = bench.info()
    assert page["temp"] < 50
    bench.patch(frequency=485, coreVoltage=1200, **({"overheat_mode": 0} if firmware == "2.9.0" else {}))
    page = bench.info()
    assert page["frequency"] == 485
    assert page.get("overheat_mode") == (0 if firmware == "2.9.0" else None)


def test_the_answers_to_authorize_and_suggest_difficulty_count_as_shares() -> None:
    for firmware, hellos in (("1.1.0", 2), ("2.2.0", 0)):
        bench = Bench(firmware=firmware)
        bench.restarts()
        bench.machine.counts = lambda: Counts(accepted=10, rejected=1, connections=1)
        page = bench.info()
        assert (page["sharesAccepted"], page["sharesRejected"]) == (10 + hellos, 1)


def test_a_rate_from_shares_stands_still_between_them_and_is_zero_before_the_first() -> None:
    bench = Bench()
    bench.restarts()
    assert bench.info()["hashRate"] == 0
    bench.passes(4 * 3600)
    shown = bench.info()["hashRate"]
    assert shown == pytest.approx(433.6, rel=0.06)
    assert bench.info()["hashRate"] == shown
    bench.machine.thermal.running = False  # a chip that has stopped still shows its last rate
    bench.passes(3600)
    assert bench.info()["hashRate"] == shown


@pytest.mark.parametrize(
    ("credits_floor", "pool", "part"),
    [(False, 1.0, 1 / 256), (False, 256.0, 1.0), (False, 4096.0, 1.0), (True, 1.0, 1.0)],
)  # fmt: skip
def test_a_pool_below_the_chips_floor_makes_an_old_firmware_show_too_little(
    credits_floor: bool, pool: float, part: float
) -> None:
    rate = ShareRate(np.random.default_rng(1), credits_floor=credits_floor, now_ns=0)
    seconds = 40 * 3600 * max(1.0, pool / 256)
    shown = [rate.advance(round(seconds * 1e9 * n / 100), 433.6, pool) for n in range(101)][-1]
    assert shown == pytest.approx(433.6 * part, rel=0.02)  # 57,000 shares


def test_a_difficulty_that_an_old_firmware_cuts_to_zero_shows_no_rate() -> None:
    rate = ShareRate(np.random.default_rng(1), credits_floor=False, now_ns=0)
    assert rate.advance(10**12, 433.6, 0.0) == 0.0


async def test_a_restart_takes_the_server_away_and_brings_it_back_with_a_new_up_time() -> None:
    async with emulated("lv06", restart_s=0.5) as (_, ready), httpx2.AsyncClient() as web:
        base = f"http://127.0.0.1:{ready['ports']['http']}"
        answer = await web.post(f"{base}/api/system/restart")
        assert (answer.status_code, answer.text) == (200, "System will restart shortly.")
        was_away, page = False, {"uptimeSeconds": 7240}
        async with asyncio.timeout(60):
            while page["uptimeSeconds"] > 1000:
                try:
                    page = (await web.get(f"{base}/api/system/info")).json()
                except httpx2.HTTPError:
                    was_away = True
                await asyncio.sleep(0.01)
        assert was_away
        assert page["stratumURL"] == "127.0.0.1"


async def test_it_mines_for_real_and_its_shares_are_counted() -> None:
    async with emulated("lv06") as (appliance, ready), httpx2.AsyncClient() as web:
        url = f"http://127.0.0.1:{ready['ports']['http']}/api/system/info"
        before = (await web.get(url)).json()["sharesAccepted"]
        async with asyncio.timeout(120):
            while (await web.get(url)).json()["sharesAccepted"] < before + 3:  # noqa: ASYNC110 # two hellos, a share
                await asyncio.sleep(0.05)
        assert appliance.machine.pool_difficulty() == 256.0
