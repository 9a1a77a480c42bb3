"""How an emulated Antminer S9 answers: bmminer's API on 4028, the CGI pages of its web server (hardware.md §2-3)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from firmware_bridge.clock import Clock
from firmware_bridge.devices import fields
from firmware_bridge.devices.cgminer_api import PORT, Code, Reply, fixed
from firmware_bridge.emulator.cgminer_server import CgminerServer
from firmware_bridge.emulator.http_server import DigestAuth, HttpAnswer, HttpRequest, HttpServer
from firmware_bridge.emulator.machine import BASE_ERRORS, Machine
from firmware_bridge.emulator.pool_list import Pool, PoolList
from firmware_bridge.emulator.s9 import MODEL
from firmware_bridge.emulator.s9_tally import Tally

BOARDS, CHIPS, CORES = 3, 63, 114
CHAINS = (6, 7, 8)
"""Connectors J6 to J8 of 16 software slots."""
SLOTS = 16
GHS_PER_MHZ = BOARDS * CHIPS * CORES / 1000.0
FAN_SLOTS = (5, 6)
"""Which of fan1..fan8 turn. Control boards differ: others have 3 and 6; a client looks for those that are not 0."""

ERRORS_PER_S = {6: 14 / 7240, 7: 11 / 7240, 8: 12 / 7240}
"""Wrong nonces of each chain: those of the sample of hardware.md §3.3 over its up time."""
FIRST_RATE_S = 5.0
"""Until then "GHS 5s" is an empty text (§3.3)."""
FREQUENCIES_MHZ = (100.0, 700.0)
"""A settings form with a clock outside is not taken up: the chip has none (hardware.md §2: from 100 MHz)."""

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


class S9Face:
    """Faces of one S9.

    Args:
        clock: of its answers.
        rng: of the fluctuation of its rates.
        options: ``defects`` (True: ``stats`` misses its comma as on the real device), ``writable`` (False: privileged
            commands answer 45 as on stock firmware), ``fan_slots``, ``password``, ``first_rate_s``.
    """

    restart_s = 45.0
    aside = frozenset({"http"})
    takes = frozenset({"defects", "writable", "fan_slots", "password", "first_rate_s"})

    def __init__(self, clock: Clock, rng: np.random.Generator, options: Mapping[str, Any]) -> None:
        self.machine = Machine("s9", GHS_PER_MHZ, clock, rng)
        self._defects = bool(options.get("defects", True))
        self._fans = tuple(options.get("fan_slots", FAN_SLOTS))
        self._conf: dict[str, Any] = dict(CONF)
        self._digest = DigestAuth("antMiner Configuration", "root", str(options.get("password", "root")))
        self._first_rate_s = float(options.get("first_rate_s", FIRST_RATE_S))
        self._last_difficulty = MODEL.floor
        self._tally = Tally()
        self._list = PoolList(self._mine_for)
        writable = bool(options.get("writable", False))
        self.api = CgminerServer(
            {
                "version": self._version,
                "summary": self._summary,
                "pools": self._pools,
                "devs": lambda _: Reply("S", Code.DEVS, "0 ASC(s)", "DEVS", ()),
                "devdetails": lambda _: Reply("S", Code.DEVDETAILS, "Device Details", "DEVDETAILS", ()),
                "stats": self._stats,
                "config": lambda _: Reply(
                    "S", Code.CONFIG, "BMMiner config", "CONFIG", [{"Pool Count": len(self._listed())}]
                ),
                "addpool": lambda p: self._listed().add(p),
                "switchpool": lambda p: self._listed().switch(p),
                "enablepool": lambda p: self._listed().enable(p),
                "disablepool": lambda p: self._listed().disable(p),
                "removepool": lambda p: self._listed().remove(p),
                "poolpriority": lambda p: self._listed().prioritise(p),
                "restart": lambda _: self._begin_anew("RESTART"),
                # the control board's watchdog starts a bmminer that has ended; assumed
                "quit": lambda _: self._begin_anew("BYE"),
                "privileged": lambda _: Reply("S", Code.PRIVILEGED, "Privileged access OK"),
            },
            DESCRIPTION,
            clock,
            writable=writable,
            # "api-groups" of the stock configuration names five commands
            closed_to_all=frozenset() if writable else frozenset({"devdetails", "coin"}),
        )
        self.http = HttpServer(self._page)

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
        errors = sum(self._errors().values())
        tally = self._tally.seen(m.accepted, m.rejected, difficulty, m.uptime_s)
        works = m.hash_rate_ghs * 1e9 * m.uptime_s / 2**32
        row = {
            "Elapsed": int(m.uptime_s),
            "GHS 5s": self._rate_text(m.reported_rate_ghs()),
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
            "Inbox Failures": 0,
            "Network Blocks": int(m.uptime_s / 600),
            "Total MH": fixed(m.hash_rate_ghs * 1e3 * m.uptime_s, 4),
            "Work Utility": fixed(m.hash_rate_ghs * 1e9 / 2**32 * 60, 2),
            "Difficulty Accepted": fixed(tally.accepted, 8),
            "Difficulty Rejected": fixed(tally.rejected, 8),
            "Difficulty Stale": fixed(0, 8),
            "Best Share": int(tally.accepted),  # what the best of that many shares is on average
            "Device Hardware%": fixed(100 * errors / max(1.0, errors + works), 4),
            "Device Rejected%": fixed(100 * m.rejected / max(1, done), 4),
            "Pool Rejected%": fixed(100 * m.rejected / max(1, done), 4),
            "Pool Stale%": fixed(0, 4),
            "Last getwork": m.clock.wall_ns() // 1_000_000_000,
        }
        return Reply("S", Code.SUMMARY, "Summary", "SUMMARY", [row])

    def _difficulty(self) -> float:
        """Of the present job, or of the last one there was."""
        self._last_difficulty = self.machine.pool_difficulty() or self._last_difficulty
        return self._last_difficulty

    def _errors(self) -> dict[int, int]:
        """Wrong nonces per chain since the last start."""
        slow = (self.machine.hardware_errors - BASE_ERRORS) // BOARDS
        return {chain: int(rate * self.machine.uptime_s) + slow for chain, rate in ERRORS_PER_S.items()}

    def _listed(self) -> PoolList:
        if not len(self._list):  # filled at the first question: the pool is given after the face is made
            s = self.machine.stored
            self._list.set([Pool(s.pool_host, s.pool_port, s.pool_user)])
        return self._list

    def _mine_for(self, pool: Pool) -> None:
        s = self.machine.stored
        s.pool_host, s.pool_port, s.pool_user = pool.host, pool.port, pool.user
        self.machine.on_pool()

    def _rate_text(self, rate_ghs: float) -> str:
        """Rates are empty texts until the first one is computed."""
        return f"{rate_ghs:.2f}" if self.machine.uptime_s >= self._first_rate_s else ""

    def _pools(self, parameter: str | None) -> Reply:
        rows = []
        m, pools, difficulty = self.machine, self._listed(), self._difficulty()
        tally = self._tally.seen(m.accepted, m.rejected, difficulty, m.uptime_s)
        for number in range(len(pools)):
            pool, active = pools[number], number == pools.active
            accepted, rejected = (m.accepted, m.rejected) if active else (0, 0)
            rows.append(
                {
                    "POOL": number,
                    "URL": pool.url,
                    "Status": "Alive" if pool.enabled else "Disabled",
                    "Priority": pools.priority(number),
                    "Quota": 1,
                    "Long Poll": "N",
                    "Getworks": int(m.uptime_s / 30),
                    "Accepted": accepted,
                    "Rejected": rejected,
                    "Discarded": 0,
                    "Stale": 0,
                    "Get Failures": 0,
                    "Inbox Failures": 0,
                    "User": pool.user,
                    "Last Share Time": str(timedelta(seconds=int(m.uptime_s - tally.last_s)))
                    if active
                    else "0",
                    "Diff": f"{difficulty:g}" if difficulty < 1000 else f"{difficulty / 1000:.3g}K",
                    "Diff1 Shares": 0,
                    "Proxy Type": "",
                    "Proxy": "",
                    "Difficulty Accepted": fixed(tally.accepted if active else 0, 8),
                    "Difficulty Rejected": fixed(tally.rejected if active else 0, 8),
                    "Difficulty Stale": fixed(0, 8),
                    "Last Share Difficulty": fixed(difficulty if active else 0, 8),
                    "Has Stratum": True,
                    "Stratum Active": active,
                    "Stratum URL": pool.host if active else "",
                    "Has GBT": False,
                    "Best Share": int(tally.accepted) if active else 0,
                    "Pool Rejected%": fixed(100 * rejected / max(1, accepted + rejected), 4),
                    "Pool Stale%": fixed(0, 4),
                }
            )
        return Reply("S", Code.POOLS, f"{len(rows)} Pool(s)", "POOLS", rows)

    def _stats(self, parameter: str | None) -> Reply:
        m = self.machine
        m.advance()
        frequency = m.in_force.frequency_mhz
        errors = self._errors()
        head = {key: SOFTWARE[key] for key in ("BMMiner", "Miner", "CompileTime", "Type")}
        row: dict[str, Any] = {
            "STATS": 0,
            "ID": "BC50",
            "Elapsed": int(m.uptime_s),
            "Calls": 0,
            "Wait": fixed(0, 6),
            "Max": fixed(0, 6),
            "Min": fixed(99999999, 6),
            "GHS 5s": self._rate_text(m.reported_rate_ghs()),
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
        chip_c, board_c = m.sensed_c()  # a sensor that is lost reads 0
        chip = {c: 0 if chip_c is None else round(chip_c - abs(c - CHAINS[1])) for c in CHAINS}
        board = {c: 0 if board_c is None else round(board_c - abs(c - CHAINS[1])) for c in CHAINS}
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
            "no_matching_work": sum(self._errors().values()),
        }
        groups = " " + " ".join(["oooooooo"] * (CHIPS // 8) + ["o" * (CHIPS % 8)])
        row |= {f"chain_acn{n}": CHIPS if n in CHAINS else 0 for n in range(1, SLOTS + 1)}
        row |= {f"chain_acs{n}": groups if n in CHAINS else "" for n in range(1, SLOTS + 1)}
        row |= {f"chain_hw{n}": errors.get(n, 0) for n in range(1, SLOTS + 1)}
        row |= {
            f"chain_rate{n}": self._rate_text(m.reported_rate_ghs() / BOARDS) if n in CHAINS else ""
            for n in range(1, SLOTS + 1)
        }
        row |= {f"chain_xtime{n}": "{}" for n in CHAINS}
        row |= {f"chain_offside_{n}": "" for n in CHAINS}
        row |= {f"chain_opencore_{n}": "1" for n in CHAINS}
        row["miner_version"] = SOFTWARE["Miner"]
        return Reply("S", Code.STATS, "BMMiner stats", "STATS", [head, row], joined=not self._defects)

    def _begin_anew(self, word: str) -> Reply:
        self.machine.on_restart()
        return Reply(word, 0, "")

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
            case "/cgi-bin/stop_bmminer.cgi":
                self.machine.stop()
                self.machine.on_rate()
                await self.api.stop()
                return HttpAnswer.text("")
            case "/cgi-bin/reboot.cgi" | "/cgi-bin/reboot_cgminer.cgi":
                self.machine.on_restart()
                return HttpAnswer.text("")
            case "/" | "/index.html":
                return HttpAnswer.text("<html><title>Ant Miner</title></html>")
        return HttpAnswer.text("404 - Not Found", 404)

    def _configuration(self) -> dict[str, Any]:
        listed = self._listed()
        pools = [{"url": p.url, "user": p.user, "pass": "x"} for p in (listed[n] for n in range(len(listed)))]
        return {"pools": pools, **self._conf}

    def _store(self, request: HttpRequest) -> HttpAnswer:
        form = dict(parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True))
        stored = self.machine.stored
        named = [(form.get(f"_ant_pool{n}url", ""), form.get(f"_ant_pool{n}user", "")) for n in range(1, 4)]
        pools = [pool for url, user in named if (pool := Pool.of(url, user)) is not None]
        if pools:
            self._list.set(pools)
            stored.pool_host, stored.pool_port = pools[0].host, pools[0].port
            stored.pool_user = pools[0].user
        if form.get("_ant_voltage"):
            self._conf["bitmain-voltage"] = form["_ant_voltage"]
        frequency_mhz = fields.number(form, "_ant_freq")
        if frequency_mhz is not None and FREQUENCIES_MHZ[0] <= frequency_mhz <= FREQUENCIES_MHZ[1]:
            self._conf["bitmain-freq"] = form["_ant_freq"]
            stored.frequency_mhz = frequency_mhz
        self.machine.on_restart()  # the page's own script restarts the miner
        return HttpAnswer.text("ok")
