"""How an emulated Lucky Miner LV06 answers: AxeOS over HTTP, in the form of one era of the firmware (hardware.md §4).

The default is what is known of Lucky Miner's own firmware 1.1.0, a fork of ESP-Miner v2.1, with two liberties so that
clients of the Bitaxe family find what they look for: ``fanrpm`` beside ``fanSpeed``, and ``AxeOS`` in the title of the
page. Other eras are there so that clients can be tried against their forms.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from firmware_bridge.clock import Clock
from firmware_bridge.devices import axeos
from firmware_bridge.devices.axeos_chips import CHIPS
from firmware_bridge.devices.axeos_keys import KEYS, Version
from firmware_bridge.emulator.http_server import HttpAnswer, HttpRequest, HttpServer
from firmware_bridge.emulator.machine import Machine
from firmware_bridge.emulator.share_rate import FLOOR, ShareRate
from firmware_bridge.errors import UserError

CHIP = CHIPS["BM1366"]
NOMINAL_GHS = 428.7
"""Shown by a device that has been running for a while (hardware.md §4.4)."""
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "Content-Type",
}
DROOP = 13.0 / 1200.0
"""1187 mV are measured where 1200 are set."""
INPUT_MV = 5050.0

LUCKY = "1.1.0"
ERAS: dict[str, Version] = {
    "2.0.3": (2, 0, 3), LUCKY: (2, 1), "2.2.0": (2, 2), "2.9.0": (2, 9), "2.15.0": (2, 15),
}  # fmt: skip
"""Version that it shows to the ESP-Miner whose behaviour it has."""
ASIC_PAGE_FROM: Version = (2, 5)
HELLO_COUNTS_UNTIL: Version = (2, 2)
"""Before this version the answers to authorize and suggest_difficulty count as accepted shares (§4.4 c)."""
HELLOS = 2
OWN_DIFFICULTY_FROM: Version = (2, 1, 8)
"""From this version on the hash rate credits each nonce with the chip's difficulty, before with the pool's."""

OVERHEAT_C = 75.0
FALLBACK_MV = {True: 1000.0, False: 990.0}
"""By whether the firmware has a flag for it."""

INDEX = "<!doctype html><html><head><title>AxeOS</title></head><body>Lucky miner</body></html>"

RANGES: dict[str, tuple[float, float]] = {
    "frequency": (1, 65535),
    "coreVoltage": (1, 65535),
    "fanspeed": (0, 100),
    "manualFanSpeed": (0, 100),
    "autofanspeed": (0, 1),
    "stratumPort": (1, 65535),
    "overheat_mode": (0, 0),
    "flipscreen": (0, 1),
    "invertscreen": (0, 1),
    "invertfanpolarity": (0, 1),
}
TEXTS = ("stratumURL", "stratumUser", "stratumPassword", "ssid", "wifiPass", "hostname")


class Lv06Face:
    """Face of one LV06.

    Args:
        clock: of its answers.
        rng: of its shares and of the fluctuation of its rates.
        options: ``firmware`` (a key of ``ERAS``), ``ignores_voltage`` (the key is taken and nothing comes of it),
            ``stuck_regulator`` (the setting is repeated, the measured voltage does not move), ``silent_restart`` (it
            restarts without an answer, as v2.1.2 did), ``ignores_restart`` (it answers and goes on), ``overheat``.
    """

    restart_s = 45.0
    aside: frozenset[str] = frozenset()
    takes = frozenset(
        {"firmware", "ignores_voltage", "stuck_regulator", "silent_restart", "ignores_restart", "overheat"}
    )

    def __init__(self, clock: Clock, rng: np.random.Generator, options: Mapping[str, Any]) -> None:
        self._clock = clock
        self.machine = Machine("lv06", CHIP.small_cores / 1e3, clock, rng)
        self.firmware = str(options.get("firmware", LUCKY))
        if self.firmware not in ERAS:
            raise UserError(f"an emulated LV06 has firmware {', '.join(ERAS)}, not {self.firmware!r}")
        self.era = ERAS[self.firmware]
        self._ignores_voltage = bool(options.get("ignores_voltage", False))
        self._stuck_mv = self.machine.in_force.core_voltage_mv if options.get("stuck_regulator") else None
        self._silent = bool(options.get("silent_restart", False))
        self._ignores_restart = bool(options.get("ignores_restart", False))
        self._auto_fan = True
        self._fan_percent = 100.0  # while it is not automatic
        self._texts = {"ssid": "lab", "hostname": "bitaxe"}
        self._switches = {"flipscreen": 1, "invertscreen": 0, "invertfanpolarity": 1}
        self._rate = self._share_rate(NOMINAL_GHS)
        self._started_s = self.machine.uptime_s
        self.overheat = False
        if options.get("overheat"):
            self._fall_back()
            self.machine.take_up()
        self.http = HttpServer(self._page)

    def servers(self) -> Mapping[str, tuple[Any, int]]:
        """The web server on 80."""
        return {"http": (self.http, 80)}

    def _share_rate(self, shown_ghs: float | None = None) -> ShareRate:
        return ShareRate(
            self.machine.rng,
            credits_floor=self.era >= OWN_DIFFICULTY_FROM,
            now_ns=self._clock.monotonic_ns(),
            rate_ghs=shown_ghs,
            uptime_s=self.machine.uptime_s,
        )

    def _fall_back(self) -> None:
        """Overheated: safe settings, until somebody sets others and clears the flag."""
        self.overheat = True
        stored = self.machine.stored
        stored.frequency_mhz = axeos.FALLBACK_MHZ
        stored.core_voltage_mv = FALLBACK_MV["overheat_mode" in self._names()]
        self._auto_fan, self._fan_percent = False, 100.0
        stored.fan_percent = 100.0

    def _names(self) -> frozenset[str]:
        return frozenset(key.name for key in KEYS if key.in_use(self.era))

    # ---- pages ----

    async def _page(self, request: HttpRequest) -> HttpAnswer:
        method, path = request.method, request.path
        if method == "OPTIONS":
            return HttpAnswer(200, headers=CORS)
        if path == axeos.INFO and method == "GET":
            return HttpAnswer.of(self.info(), headers=CORS)
        if path == axeos.ASIC and method == "GET" and self.era >= ASIC_PAGE_FROM:
            return HttpAnswer.of(self._asic(), headers=CORS)
        if path == axeos.SYSTEM and method == "PATCH":
            return self._patch(request.json())
        if path.startswith(f"{axeos.POOLS}/") and method == "PUT" and self.era >= axeos.POOL_LIST_FROM:
            return self._put_pool(path.rpartition("/")[2], request.json())
        if path == axeos.RESTART and method == "POST":
            return self._restart()
        if path.startswith("/api/"):
            return HttpAnswer.of({"error": "unknown route"}, 404, headers=CORS)
        if path in ("/", "/index.html"):
            return HttpAnswer.text(INDEX)
        return HttpAnswer(302, b"Redirect to the captive portal", "text/html", headers={"Location": "/"})

    def _restart(self) -> HttpAnswer:
        if not self._ignores_restart:
            self.machine.on_restart()
        if self._silent:
            return HttpAnswer(0)
        text = "System will restart shortly."
        if self.era < axeos.POOL_LIST_FROM:
            return HttpAnswer(200, text.encode(), "text/plain", headers=CORS)
        return HttpAnswer.of({"message": text}, headers=CORS)

    def _shown_ghs(self) -> float:
        """As that firmware reports it: counted by the chip in the newest ones, else estimated from shares."""
        m = self.machine
        if self.era >= axeos.COUNTED_RATE_FROM:
            return m.reported_rate_ghs()
        if m.uptime_s < self._started_s:  # it has started anew
            self._rate = self._share_rate()
        self._started_s = m.uptime_s
        return self._rate.advance(self._clock.monotonic_ns(), m.hash_rate_ghs, m.pool_difficulty())

    def _core_mv(self) -> float:
        set_mv = self.machine.in_force.core_voltage_mv if self._stuck_mv is None else self._stuck_mv
        return round(set_mv * (1.0 - DROOP) - self.machine.faults.voltage_droop_mv)

    def info(self) -> dict[str, Any]:
        """The info page."""
        m = self.machine
        m.advance()
        if m.thermal.temperature_c >= OVERHEAT_C and not self.overheat:
            self._fall_back()
            m.on_restart()
        stored, thermal, era = m.stored, m.thermal, self.era
        chip_c, board_c = m.sensed_c()
        newest = era >= axeos.POOL_LIST_FROM
        expected = CHIP.small_cores * stored.frequency_mhz / 1e3
        row = axeos.encode_info(
            era,
            {
                "asic": "BM1366",
                "version": self.firmware,
                "board": "204",
                "hostname": self._texts["hostname"],
                "mac": "02:00:00:00:00:06",
                "asic_count": 1,
                "small_cores": CHIP.small_cores,
                "power_w": round(thermal.power_w, 2),
                "input_voltage_mv": INPUT_MV,
                "input_current_ma": round(thermal.power_w / INPUT_MV * 1e6, 1),
                "core_voltage_mv": round(stored.core_voltage_mv),
                "core_voltage_actual_mv": self._core_mv(),
                "frequency_mhz": _plain(stored.frequency_mhz),
                "frequency_actual_mhz": m.in_force.frequency_mhz,
                "temperature_c": -1
                if chip_c is None
                else round(chip_c, 1),  # lost: as it shows its second sensor
                "temperature2_c": -1,
                "regulator_temperature_c": -1 if board_c is None else round(board_c),
                "hash_rate_ghs": round(self._shown_ghs(), 2),
                "expected_rate_ghs": round(expected, 2),
                "fan_rpm": round(thermal.fan_rpm),
                "fan2_rpm": 0,
                "fan_percent": round(thermal.fan_percent if era >= axeos.LIVE_FROM else self._fan_percent),
                "fan_manual_percent": round(self._fan_percent),
                "auto_fan": self._auto_fan,
                "accepted": m.accepted + (HELLOS * m.connections if era < HELLO_COUNTS_UNTIL else 0),
                "rejected": m.rejected,
                "best_difficulty": 1_920_000 if newest else "1.92M",
                "best_session_difficulty": 102_000 if newest else "102K",
                "pool_difficulty": m.pool_difficulty() or FLOOR,
                "response_ms": 21.5,
                "uptime_s": int(m.uptime_s),
                "overheat": self.overheat,
                "paused": False,
                "on_fallback": False,
                "pool_host": stored.pool_host,
                "pool_port": stored.pool_port,
                "pool_user": stored.pool_user,
            },
        )
        row |= {"ssid": self._texts["ssid"], "wifiStatus": "Connected!", "freeHeap": 200_504}
        row |= {"runningPartition": "factory", **self._switches}
        if self.firmware == LUCKY:
            row |= {
                "fanrpm": row["fanSpeed"],
                "minerModel": "LV06",
                "stratumPassword": "x",
                "selftest": 0,
                "allowUpdate": 0,
                "initMiner": axeos.LUCKY,
            }
        return row

    def _asic(self) -> dict[str, Any]:
        return {
            "ASICModel": "BM1366",
            "deviceModel": "Ultra",
            "swarmColor": "purple",
            "asicCount": 1,
            "defaultFrequency": _plain(CHIP.frequency_mhz),
            "frequencyOptions": [_plain(f) for f in CHIP.frequencies_mhz],
            "defaultVoltage": _plain(CHIP.core_voltage_mv),
            "voltageOptions": [_plain(v) for v in CHIP.voltages_mv],
        }

    def _patch(self, body: Any) -> HttpAnswer:
        if self.era <= axeos.FULL_PATCH_UNTIL and not (
            isinstance(body, dict) and all(name in body for name in axeos.FULL_KEYS)
        ):
            self.machine.on_restart()  # it reads a key that is not there, and crashes
            return HttpAnswer(0)
        if not isinstance(body, dict) or not all(_fits(k, v) for k, v in body.items()):
            return HttpAnswer.text("Wrong API input", 400, "text/plain")
        stored = self.machine.stored
        if "frequency" in body:
            stored.frequency_mhz = float(body["frequency"])
        if "coreVoltage" in body and not self._ignores_voltage:
            stored.core_voltage_mv = float(body["coreVoltage"])
        if "autofanspeed" in body:
            self._auto_fan = bool(body["autofanspeed"])
        name = "manualFanSpeed" if "manualFanSpeed" in self._names() else "fanspeed"
        if name in body:
            self._fan_percent = float(body[name])
        stored.fan_percent = None if self._auto_fan else self._fan_percent
        if self.overheat and (body.get("overheat_mode") == 0 or "overheat_mode" not in self._names()):
            self.overheat = (
                stored.frequency_mhz <= axeos.FALLBACK_MHZ
            )  # other settings, set by hand, clear it
        self._texts |= {k: v for k, v in body.items() if k in self._texts}
        self._switches |= {k: int(v) for k, v in body.items() if k in self._switches}
        if self.era < axeos.POOL_LIST_FROM:
            self._store_pool(body)
        else:  # the flat keys are ignored without a word
            for pool in body.get("pools", []):
                if pool["id"] == 0:
                    self._store_pool(pool)
        if self.era >= axeos.LIVE_FROM:
            self._take_up_live()
        return HttpAnswer(200, b"", headers=CORS)

    def _put_pool(self, index: str, body: Any) -> HttpAnswer:
        if index not in POOL_IDS or not isinstance(body, dict) or not _fits_pool({**body, "id": int(index)}):
            return HttpAnswer.text("Wrong API input", 400, "text/plain")
        if index == "0":
            self._store_pool(body)
        return HttpAnswer(200, b"", headers=CORS)

    def _store_pool(self, body: Mapping[str, Any]) -> None:
        stored = self.machine.stored
        stored.pool_host = body.get("stratumURL", stored.pool_host)
        stored.pool_port = int(body.get("stratumPort", stored.pool_port))
        stored.pool_user = body.get("stratumUser", stored.pool_user)

    def _take_up_live(self) -> None:
        """Clock, voltage and fan at once; a pool only with the next start."""
        m = self.machine
        pool = (m.in_force.pool_host, m.in_force.pool_port, m.in_force.pool_user)
        changed = m.stored.frequency_mhz != m.in_force.frequency_mhz
        m.take_up()
        m.in_force.pool_host, m.in_force.pool_port, m.in_force.pool_user = pool
        if changed:
            m.on_rate()


POOL_IDS = tuple(str(number) for number in range(8))


def _fits(name: str, value: Any) -> bool:
    if name == "pools":
        return isinstance(value, list) and all(isinstance(pool, dict) and _fits_pool(pool) for pool in value)
    if name in TEXTS:
        return isinstance(value, str)
    if name in RANGES:
        low, high = RANGES[name]
        return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
    return True


def _fits_pool(pool: Mapping[str, Any]) -> bool:
    return (
        isinstance(pool.get("id"), int)
        and str(pool["id"]) in POOL_IDS
        and all(pool.get(name) for name in ("stratumURL", "stratumPort", "stratumUser"))
        and all(_fits(name, value) for name, value in pool.items())
    )


def _plain(value: float) -> int | float:
    return int(value) if value == int(value) else value
