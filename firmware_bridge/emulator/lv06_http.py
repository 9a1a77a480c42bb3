"""How an emulated Lucky Miner LV06 answers: AxeOS over HTTP, in the form of one era of the firmware (hardware.md §4).

The default is what is known of Lucky Miner's own firmware 1.1.0, a fork of ESP-Miner v2.1, and ``fanrpm`` beside
``fanSpeed`` so that clients of the Bitaxe family find the fan. Other eras are there so that clients can be tried
against their forms: ``2.2``, ``2.9`` and ``2.15``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from firmware_bridge.clock import Clock
from firmware_bridge.emulator.http_server import HttpAnswer, HttpRequest, HttpServer
from firmware_bridge.emulator.machine import Machine
from firmware_bridge.errors import UserError

SMALL_CORES = 894
FLOOR = 256.0
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE, OPTIONS",
}
DROOP = 13.0 / 1200.0
"""1187 mV are measured where 1200 are set."""
INPUT_MV = 5050.0

ERAS: dict[str, tuple[int, ...]] = {"1.1.0": (2, 1), "2.2.0": (2, 2), "2.9.0": (2, 9), "2.15.0": (2, 15)}
"""Version that it shows to the ESP-Miner whose behaviour it has."""

OVERHEAT_C = 75.0
OVERHEAT_MHZ, OVERHEAT_MV = 50.0, 1000.0
"""What the firmware falls back to."""

INDEX = "<!doctype html><html><head><title>AxeOS</title></head><body>Lucky miner</body></html>"

RANGES: dict[str, tuple[float, float]] = {
    "frequency": (1, 65535),
    "coreVoltage": (1, 65535),
    "fanspeed": (0, 100),
    "manualFanSpeed": (0, 100),
    "autofanspeed": (0, 1),
    "stratumPort": (1, 65535),
    "overheat_mode": (0, 0),
}
TEXTS = ("stratumURL", "stratumUser", "stratumPassword", "ssid", "wifiPass", "hostname")


class Lv06Face:
    """Face of one LV06.

    Args:
        clock: of its answers.
        rng: of the fluctuation of its rates.
        options: ``firmware`` (a key of ``ERAS``), ``ignores_voltage`` (the key is taken and nothing comes of it),
            ``stuck_regulator`` (the setting is repeated, the measured voltage does not move), ``overheat``.
    """

    restart_s = 45.0

    def __init__(self, clock: Clock, rng: np.random.Generator, options: Mapping[str, Any]) -> None:
        self.machine = Machine("lv06", SMALL_CORES / 1e3, clock, rng)
        self.firmware = str(options.get("firmware", "1.1.0"))
        if self.firmware not in ERAS:
            raise UserError(f"an emulated LV06 has firmware {', '.join(ERAS)}, not {self.firmware!r}")
        self.era = ERAS[self.firmware]
        self._ignores_voltage = bool(options.get("ignores_voltage", False))
        self._stuck_mv = self.machine.in_force.core_voltage_mv if options.get("stuck_regulator") else None
        self._auto_fan = True
        self._texts = {"ssid": "lab", "hostname": "bitaxe"}
        self._noise = 0.0
        self._noise_of = -1.0
        self.overheat = False
        if options.get("overheat"):
            self.fall_back()
        self.http = HttpServer(self._page)

    def servers(self) -> Mapping[str, tuple[Any, int]]:
        """The web server on 80."""
        return {"http": (self.http, 80)}

    def fall_back(self) -> None:
        """Overheated: safe settings, until somebody clears the flag."""
        self.overheat = True
        stored = self.machine.stored
        stored.frequency_mhz, stored.core_voltage_mv, stored.fan_percent = OVERHEAT_MHZ, OVERHEAT_MV, 100.0
        self._auto_fan = False
        self.machine.take_up()

    # ---- pages ----

    async def _page(self, request: HttpRequest) -> HttpAnswer:
        method, path = request.method, request.path
        if method == "OPTIONS":
            return HttpAnswer(200, headers=CORS)
        if path == "/api/system/info" and method == "GET":
            return HttpAnswer.of(self.info(), headers=CORS)
        if path == "/api/system/asic" and method == "GET" and self.era >= (2, 9):
            return HttpAnswer.of(self._asic(), headers=CORS)
        if path == "/api/system" and method == "PATCH":
            return self._patch(request)
        if path == "/api/system/restart" and method == "POST":
            self.machine.on_restart()
            text = "System will restart shortly."
            if self.era < (2, 9):
                return HttpAnswer.text(text, content_type="text/plain")
            return HttpAnswer.of({"message": text}, headers=CORS)
        if path.startswith("/api/"):
            return HttpAnswer.of({"error": "unknown route"}, 404, headers=CORS)
        if path in ("/", "/index.html"):
            return HttpAnswer.text(INDEX)
        return HttpAnswer(302, b"Redirect to the captive portal", "text/html", headers={"Location": "/"})

    def _rate(self) -> float:
        """As that firmware reports it: before 2.9 from shares of difficulty 256, with the chance of their number."""
        m = self.machine
        if self.era >= (2, 9):
            return m.reported_rate_ghs()
        shares = m.hash_rate_ghs * 1e9 * m.uptime_s / (FLOOR * 2**32)
        if shares - self._noise_of > 1 or shares < self._noise_of:  # another share, another estimate
            self._noise, self._noise_of = float(np.clip(m.rng.standard_normal(), -2, 2)), shares
        return m.hash_rate_ghs * (1.0 + 0.5 * self._noise / math.sqrt(shares + 1.0))

    def _core_mv(self) -> float:
        set_mv = self.machine.in_force.core_voltage_mv if self._stuck_mv is None else self._stuck_mv
        return round(set_mv * (1.0 - DROOP))

    def info(self) -> dict[str, Any]:
        """The info page."""
        m = self.machine
        m.advance()
        if m.thermal.temperature_c >= OVERHEAT_C and not self.overheat:
            self.fall_back()
        stored, thermal = m.stored, m.thermal
        row: dict[str, Any] = {
            "power": round(thermal.power_w, 2),
            "voltage": INPUT_MV,
            "current": round(thermal.power_w / INPUT_MV * 1e6, 1),
            "temp": round(thermal.temperature_c, 1),
            "hashRate": round(self._rate(), 2),
            "bestDiff": "1.92M",
            "coreVoltage": round(stored.core_voltage_mv),
            "coreVoltageActual": self._core_mv(),
            "frequency": _plain(stored.frequency_mhz),
            "sharesAccepted": m.accepted,
            "sharesRejected": m.rejected,
            "uptimeSeconds": int(m.uptime_s),
            "ASICModel": "BM1366",
            "stratumURL": stored.pool_host,
            "stratumPort": stored.pool_port,
            "stratumUser": stored.pool_user,
            "ssid": self._texts["ssid"],
            "wifiStatus": "Connected!",
            "freeHeap": 200_504,
            "version": self.firmware,
            "boardVersion": "204",
            "runningPartition": "factory",
            "flipscreen": 1,
            "invertscreen": 0,
            "overheat_mode": int(self.overheat),
            "autofanspeed": int(self._auto_fan),
        }
        rpm, percent = round(thermal.fan_rpm), round(thermal.fan_percent)
        if self.firmware == "1.1.0":
            return row | {
                "fanSpeed": rpm,
                "fanrpm": rpm,
                "minerModel": "LV06",
                "stratumPassword": "x",
                "selftest": 0,
                "allowUpdate": 0,
                "initMiner": "lucky",
            }
        row |= {
            "fanspeed": percent,
            "fanrpm": rpm,
            "vrTemp": round(thermal.board_temperature_c),
            "asicCount": 1,
            "smallCoreCount": SMALL_CORES,
            "hostname": self._texts["hostname"],
            "bestSessionDiff": "102K",
        }
        if self.era >= (2, 9):
            row |= {
                "macAddr": "02:00:00:00:00:06",
                "expectedHashrate": round(m.hash_rate_ghs, 2),
                "poolDifficulty": FLOOR,
                "responseTime": 21.5,
            }
        if self.era >= (2, 15):
            del row["asicCount"]
            pool = {
                "id": 0, "stratumProtocol": "SV1", "stratumURL": stored.pool_host, "stratumPort": stored.pool_port,
                "stratumUser": stored.pool_user, "stratumPassword": "*****", "stratumTLS": 0,
            }  # fmt: skip
            for name in ("stratumURL", "stratumPort", "stratumUser"):
                del row[name]
            row |= {"pools": [pool], "primaryPoolIndex": 0, "bestDiff": 1_920_000, "temp2": -1}
            row |= {"actualFrequency": m.in_force.frequency_mhz, "axeOSVersion": f"v{self.firmware}"}
        return row

    def _asic(self) -> dict[str, Any]:
        return {
            "ASICModel": "BM1366",
            "deviceModel": "Ultra",
            "swarmColor": "purple",
            "asicCount": 1,
            "defaultFrequency": 485,
            "frequencyOptions": [400, 425, 450, 475, 485, 500, 525, 550, 575],
            "defaultVoltage": 1200,
            "voltageOptions": [1100, 1150, 1200, 1250, 1300],
        }

    def _patch(self, request: HttpRequest) -> HttpAnswer:
        body = request.json()
        if not isinstance(body, dict) or not all(_fits(k, v) for k, v in body.items()):
            return HttpAnswer.text("Wrong API input", 400, "text/plain")
        stored = self.machine.stored
        if "frequency" in body:
            stored.frequency_mhz = float(body["frequency"])
        if "coreVoltage" in body and not self._ignores_voltage:
            stored.core_voltage_mv = float(body["coreVoltage"])
        if "autofanspeed" in body:
            self._auto_fan = bool(body["autofanspeed"])
        fan = body.get("manualFanSpeed" if self.era >= (2, 9) else "fanspeed")
        if fan is not None and not self._auto_fan:
            stored.fan_percent = float(fan)
        if self._auto_fan:
            stored.fan_percent = None
        if body.get("overheat_mode") == 0:
            self.overheat = False
        self._texts |= {k: str(v) for k, v in body.items() if k in self._texts}
        self._store_pool(body)
        if self.era >= (2, 2):
            self._take_up_live()
        return HttpAnswer(200, b"", headers=CORS)

    def _store_pool(self, body: Mapping[str, Any]) -> None:
        stored = self.machine.stored
        if self.era >= (2, 15):  # the flat keys are ignored without a word
            pools = [pool for pool in body.get("pools", []) if isinstance(pool, dict)]
            body = next((pool for pool in pools if pool.get("id") == 0), {})
        stored.pool_host = str(body.get("stratumURL", stored.pool_host))
        port = body.get("stratumPort", stored.pool_port)
        stored.pool_port = port if isinstance(port, int) else stored.pool_port
        stored.pool_user = str(body.get("stratumUser", stored.pool_user))

    def _take_up_live(self) -> None:
        """Clock, voltage and fan at once; a pool only with the next start."""
        m = self.machine
        pool = (m.in_force.pool_host, m.in_force.pool_port, m.in_force.pool_user)
        changed = m.stored.frequency_mhz != m.in_force.frequency_mhz
        m.take_up()
        m.in_force.pool_host, m.in_force.pool_port, m.in_force.pool_user = pool
        if changed:
            m.on_pool()  # the hashing goes on at another rate


def _fits(name: str, value: Any) -> bool:
    if name in TEXTS:
        return isinstance(value, str)
    if name in RANGES:
        low, high = RANGES[name]
        return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
    return True


def _plain(value: float) -> int | float:
    return int(value) if value == int(value) else value
