"""How an emulated Antminer S9 answers: bmminer's API on 4028, the CGI pages of its web server (hardware.md §2-3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

import numpy as np

from firmware_bridge.clock import Clock
from firmware_bridge.devices.cgminer_api import PORT, Code, Reply, decode_pool, fixed
from firmware_bridge.emulator.cgminer_server import CgminerServer
from firmware_bridge.emulator.http_server import DigestAuth, HttpAnswer, HttpRequest, HttpServer
from firmware_bridge.emulator.machine import Machine

BOARDS, CHIPS, CORES = 3, 63, 114
CHAINS = (6, 7, 8)
"""Connectors J6 to J8 of 16 software slots."""
SLOTS = 16
GHS_PER_MHZ = BOARDS * CHIPS * CORES / 1000.0
FAN_SLOTS = (5, 6)
"""Which of fan1..fan8 turn. Control boards differ: others have 3 and 6; a client looks for those that are not 0."""

SOFTWARE = {
    "BMMiner": "2.0.0",
    "API": "3.1",
    "Miner": "16.8.1.3",
    "CompileTime": "Fri Nov 17 17:37:49 CST 2017",
    "Type": "Antminer S9",
}
DESCRIPTION = "bmminer 1.0.0"
MAC = "02:00:00:00:00:09"

CONF = {
    "api-listen": True,
    "api-network": True,
    "api-groups": "A:stats:pools:devs:summary:version",
    "api-allow": "A:0/0,W:*",
    "bitmain-use-vil": True,
    "bitmain-freq": "631",
    "bitmain-voltage": "0706",
    "multi-version": "1",
}
FORM = {
    "_ant_freq": "bitmain-freq",
    "_ant_voltage": "bitmain-voltage",
}
"""Fields of the settings form to keys of the stored configuration."""


class S9Face:
    """Faces of one S9.

    Args:
        clock: of its answers.
        rng: of the fluctuation of its rates.
        options: ``defects`` (True: ``stats`` misses its comma as on the real device), ``writable`` (False: privileged
            commands answer 45 as on stock firmware), ``fan_slots``, ``password``.
    """

    restart_s = 45.0

    def __init__(self, clock: Clock, rng: np.random.Generator, options: Mapping[str, Any]) -> None:
        self.machine = Machine("s9", GHS_PER_MHZ, clock, rng)
        self._defects = bool(options.get("defects", True))
        self._fans = tuple(options.get("fan_slots", FAN_SLOTS))
        self._conf: dict[str, Any] = dict(CONF)
        self._digest = DigestAuth("antMiner Configuration", "root", str(options.get("password", "root")))
        self._errors = {chain: 10 + chain for chain in CHAINS}
        writable = bool(options.get("writable", False))
        self.api = CgminerServer(
            {
                "version": self._version,
                "summary": self._summary,
                "pools": self._pools,
                "devs": lambda _: Reply("S", Code.DEVS, "0 ASC(s)", "DEVS", ()),
                "devdetails": lambda _: Reply("S", Code.DEVDETAILS, "Device Details", "DEVDETAILS", ()),
                "stats": self._stats,
                "config": lambda _: Reply("S", Code.CONFIG, "BMMiner config", "CONFIG", [{"Pool Count": 1}]),
                "addpool": self._addpool,
                "switchpool": self._switchpool,
                "enablepool": lambda p: self._pool_status(p, Code.POOL_ENABLED, "Enabling pool"),
                "disablepool": lambda p: self._pool_status(p, Code.POOL_DISABLED, "Disabling pool"),
                "removepool": self._removepool,
                "restart": self._restart,
                "privileged": lambda _: Reply("S", Code.PRIVILEGED, "Privileged access OK"),
            },
            DESCRIPTION,
            clock,
            writable=writable,
            closed_to_all=frozenset() if writable else frozenset({"devdetails"}),
        )
        self.http = HttpServer(self._page)
        self._more_pools: list[tuple[str, int, str]] = []
        self._active = 0

    def servers(self) -> Mapping[str, tuple[Any, int]]:
        """API on 4028, web page on 80."""
        return {"api": (self.api, PORT), "http": (self.http, 80)}

    # ---- API ----

    def _version(self, parameter: str | None) -> Reply:
        return Reply("S", Code.VERSION, "BMMiner versions", "VERSION", [SOFTWARE])

    def _summary(self, parameter: str | None) -> Reply:
        m = self.machine
        done = m.accepted + m.rejected
        difficulty = self._difficulty()
        minutes = max(m.uptime_s / 60, 1e-9)
        errors = sum(self._errors.values())
        row = {
            "Elapsed": int(m.uptime_s),
            "GHS 5s": f"{m.reported_rate_ghs():.2f}",
            "GHS av": fixed(m.hash_rate_ghs, 2),
            "Found Blocks": 0,
            "Getworks": int(m.uptime_s / 30),
            "Accepted": m.accepted,
            "Rejected": m.rejected,
            "Hardware Errors": errors,
            "Utility": fixed(m.accepted / minutes, 2),
            "Discarded": int(m.uptime_s / 2),
            "Stale": 0,
            "Get Failures": 0,
            "Local Work": int(m.uptime_s * 1.25),
            "Remote Failures": 0,
            "Network Blocks": int(m.uptime_s / 600),
            "Total MH": fixed(m.hash_rate_ghs * 1e3 * m.uptime_s, 4),
            "Work Utility": fixed(m.hash_rate_ghs * 1e9 / 2**32 * 60, 2),
            "Difficulty Accepted": fixed(m.accepted * difficulty, 8),
            "Difficulty Rejected": fixed(m.rejected * difficulty, 8),
            "Difficulty Stale": fixed(0, 8),
            "Best Share": int(difficulty * max(1, m.accepted)),
            "Device Hardware%": fixed(100 * errors / max(1, errors + done * int(difficulty)), 4),
            "Device Rejected%": fixed(100 * m.rejected / max(1, done), 4),
            "Pool Rejected%": fixed(100 * m.rejected / max(1, done), 4),
            "Pool Stale%": fixed(0, 4),
            "Last getwork": m.clock.wall_ns() // 1_000_000_000,
        }
        return Reply("S", Code.SUMMARY, "Summary", "SUMMARY", [row])

    def _difficulty(self) -> float:
        return 256.0

    def _listed(self) -> list[tuple[str, int, str]]:
        s = self.machine.stored
        return [(s.pool_host, s.pool_port, s.pool_user), *self._more_pools]

    def _pools(self, parameter: str | None) -> Reply:
        rows = []
        for number, (host, port, user) in enumerate(self._listed()):
            active = number == self._active
            m = self.machine
            accepted, rejected = (m.accepted, m.rejected) if active else (0, 0)
            rows.append(
                {
                    "POOL": number,
                    "URL": f"stratum+tcp://{host}:{port}",
                    "Status": "Alive",
                    "Priority": number,
                    "Quota": 1,
                    "Long Poll": "N",
                    "Getworks": int(m.uptime_s / 30),
                    "Accepted": accepted,
                    "Rejected": rejected,
                    "Discarded": 0,
                    "Stale": 0,
                    "Get Failures": 0,
                    "Remote Failures": 0,
                    "User": user,
                    "Last Share Time": "0:00:04",
                    "Diff": f"{self._difficulty():g}",
                    "Diff1 Shares": 0,
                    "Proxy Type": "",
                    "Proxy": "",
                    "Difficulty Accepted": fixed(accepted * self._difficulty(), 8),
                    "Difficulty Rejected": fixed(rejected * self._difficulty(), 8),
                    "Difficulty Stale": fixed(0, 8),
                    "Last Share Difficulty": fixed(self._difficulty(), 8),
                    "Has Stratum": True,
                    "Stratum Active": active,
                    "Stratum URL": host if active else "",
                    "Has GBT": False,
                    "Best Share": int(self._difficulty() * max(1, accepted)),
                    "Pool Rejected%": fixed(100 * rejected / max(1, accepted + rejected), 4),
                    "Pool Stale%": fixed(0, 4),
                }
            )
        return Reply("S", Code.POOLS, f"{len(rows)} Pool(s)", "POOLS", rows)

    def _stats(self, parameter: str | None) -> Reply:
        m = self.machine
        m.advance()
        frequency = m.in_force.frequency_mhz
        head = {key: SOFTWARE[key] for key in ("BMMiner", "Miner", "CompileTime", "Type")}
        row: dict[str, Any] = {
            "STATS": 0,
            "ID": "BC50",
            "Elapsed": int(m.uptime_s),
            "Calls": 0,
            "Wait": fixed(0, 6),
            "Max": fixed(0, 6),
            "Min": fixed(99999999, 6),
            "GHS 5s": f"{m.reported_rate_ghs():.2f}",
            "GHS av": fixed(m.hash_rate_ghs, 2),
            "miner_count": BOARDS,
            "frequency": f"{frequency:g}",
            "fan_num": len(self._fans),
        }
        for slot in range(1, 9):
            row[f"fan{slot}"] = int(m.thermal.fan_rpm * (1.0 if slot == self._fans[0] else 0.75)) * (
                slot in self._fans
            )
        row["temp_num"] = BOARDS
        # the middle board is the warmest, by a degree
        chip = {c: round(m.thermal.temperature_c - abs(c - CHAINS[1])) for c in CHAINS}
        board = {c: round(m.thermal.board_temperature_c - abs(c - CHAINS[1])) for c in CHAINS}
        row |= {f"temp{n}": board.get(n, 0) for n in range(1, SLOTS + 1)}
        row |= {f"temp2_{n}": chip.get(n, 0) for n in range(1, SLOTS + 1)}
        row |= {f"temp3_{n}": 0 for n in range(1, SLOTS + 1)}
        row |= {f"freq_avg{n}": fixed(frequency if n in CHAINS else 0, 2) for n in range(1, SLOTS + 1)}
        ideal = m.hash_rate_ghs / BOARDS
        row |= {
            "total_rateideal": fixed(m.hash_rate_ghs, 2),
            "total_freqavg": fixed(frequency, 2),
            "total_acn": BOARDS * CHIPS,
            "total_rate": fixed(m.reported_rate_ghs(), 2),
        }
        row |= {f"chain_rateideal{n}": fixed(ideal if n in CHAINS else 0, 2) for n in range(1, SLOTS + 1)}
        row |= {
            "temp_max": max(board.values()),
            "Device Hardware%": fixed(0, 4),
            "no_matching_work": sum(self._errors.values()),
        }
        groups = " " + " ".join(["oooooooo"] * (CHIPS // 8) + ["o" * (CHIPS % 8)])
        row |= {f"chain_acn{n}": CHIPS if n in CHAINS else 0 for n in range(1, SLOTS + 1)}
        row |= {f"chain_acs{n}": groups if n in CHAINS else "" for n in range(1, SLOTS + 1)}
        row |= {f"chain_hw{n}": self._errors.get(n, 0) for n in range(1, SLOTS + 1)}
        row |= {
            f"chain_rate{n}": f"{m.reported_rate_ghs() / BOARDS:.2f}" if n in CHAINS else ""
            for n in range(1, SLOTS + 1)
        }
        row |= {f"chain_xtime{n}": "{}" for n in CHAINS}
        row |= {f"chain_offside_{n}": "" for n in CHAINS}
        row |= {f"chain_opencore_{n}": "1" for n in CHAINS}
        row["miner_version"] = SOFTWARE["Miner"]
        return Reply("S", Code.STATS, "BMMiner stats", "STATS", [head, row], joined=not self._defects)

    def _addpool(self, parameter: str | None) -> Reply:
        if not parameter:
            return Reply("E", Code.ADDPOOL_MISSING, "Missing addpool details")
        parts = decode_pool(parameter)
        pool = _pool_of(parts[0]) if len(parts) == 3 else None
        if pool is None:
            return Reply("E", Code.ADDPOOL_BAD, f"Invalid addpool details '{parts[0]}'")
        self._more_pools.append((*pool, parts[1]))
        return Reply("S", Code.POOL_ADDED, f"Added pool {len(self._more_pools)}: '{parts[0]}'")

    def _number(self, parameter: str | None) -> int | Reply:
        if parameter is None or not parameter.strip():
            return Reply("E", Code.MISSING_POOL_ID, "Missing pool id parameter")
        if not parameter.strip().isdecimal() or int(parameter) >= len(self._listed()):
            last = len(self._listed()) - 1
            return Reply("E", Code.INVALID_POOL_ID, f"Invalid pool id {parameter} - range is 0 - {last}")
        return int(parameter)

    def _switchpool(self, parameter: str | None) -> Reply:
        number = self._number(parameter)
        if isinstance(number, Reply):
            return number
        pools = self._listed()
        host, port, user = pools.pop(number)
        s = self.machine.stored
        s.pool_host, s.pool_port, s.pool_user = host, port, user
        self._more_pools = pools
        self.machine.on_pool()
        return Reply("S", Code.SWITCHED_POOL, f"Switching to pool 0:'stratum+tcp://{host}:{port}'")

    def _pool_status(self, parameter: str | None, code: Code, words: str) -> Reply:
        number = self._number(parameter)
        if isinstance(number, Reply):
            return number
        if code is Code.POOL_DISABLED and len(self._listed()) == 1:
            return Reply("E", Code.LAST_POOL, f"Cannot disable last active pool {number}")
        return Reply("S", code, f"{words} {number}")

    def _removepool(self, parameter: str | None) -> Reply:
        number = self._number(parameter)
        if isinstance(number, Reply):
            return number
        if len(self._listed()) == 1:
            return Reply("E", Code.REMOVE_LAST, "Cannot remove last pool")
        if number == self._active:
            return Reply("E", Code.REMOVE_ACTIVE, "Cannot remove active pool")
        host, port, _ = self._more_pools.pop(number - 1)
        return Reply("S", Code.POOL_REMOVED, f"Removed pool {number}:'stratum+tcp://{host}:{port}'")

    def _restart(self, parameter: str | None) -> Reply:
        self.machine.on_restart()
        return Reply("S", Code.PRIVILEGED, "RESTART")

    # ---- web ----

    async def _page(self, request: HttpRequest) -> HttpAnswer:
        refused = self._digest.refuse(request)
        if refused is not None:
            return refused
        match request.path:
            case "/cgi-bin/get_system_info.cgi":
                return HttpAnswer.of(
                    {
                        "minertype": "Antminer S9",
                        "nettype": "DHCP",
                        "netdevice": "eth0",
                        "macaddr": MAC,
                        "hostname": "antMiner",
                        "ant_hwv": "16.8.1.3",
                        "file_system_version": SOFTWARE["CompileTime"],
                        "bmminer_version": SOFTWARE["BMMiner"],
                    }
                )
            case "/cgi-bin/get_miner_conf.cgi":
                return HttpAnswer.of(self._configuration())
            case "/cgi-bin/set_miner_conf.cgi" if request.method == "POST":
                return self._store(request)
            case "/cgi-bin/reboot.cgi":
                self.machine.on_restart()
                return HttpAnswer.text("")
            case "/" | "/index.html":
                return HttpAnswer.text("<html><title>Ant Miner</title></html>")
        return HttpAnswer.text("404 - Not Found", 404)

    def _configuration(self) -> dict[str, Any]:
        pools = [
            {"url": f"stratum+tcp://{host}:{port}", "user": user, "pass": "x"}
            for host, port, user in self._listed()
        ]
        return {"pools": pools, **self._conf}

    def _store(self, request: HttpRequest) -> HttpAnswer:
        form = {k: v[-1] for k, v in parse_qs(request.body.decode("utf-8", "replace")).items()}
        stored = self.machine.stored
        pool = _pool_of(form["_ant_pool1url"]) if form.get("_ant_pool1url") else None
        if pool is not None:
            stored.pool_host, stored.pool_port = pool
            stored.pool_user = form.get("_ant_pool1user", stored.pool_user)
        for name, key in FORM.items():
            if form.get(name):
                self._conf[key] = form[name]
        try:
            stored.frequency_mhz = float(self._conf["bitmain-freq"])
        except ValueError:
            self._conf["bitmain-freq"] = f"{stored.frequency_mhz:g}"
        self.machine.on_restart()  # the page's own script restarts the miner
        return HttpAnswer.text("ok")


def _pool_of(url: str) -> tuple[str, int] | None:
    host, _, port = url.removeprefix("stratum+tcp://").rstrip("/").rpartition(":")
    return (host, int(port)) if host and port.isdecimal() and 0 < int(port) < 65536 else None
