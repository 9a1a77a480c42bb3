"""How an emulated Goldshell LB-Box answers: HTTP with a login, power plans, and a BFGMiner API (hardware.md §5.1)."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import numpy as np

from firmware_bridge.clock import Clock
from firmware_bridge.devices import goldshell
from firmware_bridge.devices.cgminer_api import PORT, Code, Reply, fixed
from firmware_bridge.emulator.cgminer_server import CgminerServer
from firmware_bridge.emulator.http_server import HttpAnswer, HttpRequest, HttpServer
from firmware_bridge.emulator.machine import Machine

NOMINAL_MHZ = 850.0
GHS_PER_MHZ = 175.0 / NOMINAL_MHZ
CHIPS = 4
MAC = "02:00:00:00:00:1B"
PLANS = (
    {"level": 0, "info": "175G 162W"},
    {"level": 1, "info": "120G 100W"},
    {"level": 3, "info": "sleep"},
)
PLAN_MHZ = (850.0, 583.0, 0.0)
"""Clock of each plan; that of the low one from its rate."""
LOGIN_500 = "factory_reset"
TOKENS_KEPT = 64


class LbBoxFace:
    """Faces of one LB-Box.

    Args:
        clock: of its answers.
        rng: of the fluctuation of its rate.
        options: ``cipher`` (True: takes only the enciphered password, as newer firmware), ``factory_reset`` (True: the
            login answers 500), ``password``, ``token_uses`` (after so many requests a token is no longer taken).
    """

    restart_s = 30.0
    aside: frozenset[str] = frozenset()
    takes = frozenset({"cipher", LOGIN_500, "password", "token_uses"})

    def __init__(self, clock: Clock, rng: np.random.Generator, options: Mapping[str, Any]) -> None:
        self.machine = Machine("lb-box", GHS_PER_MHZ, clock, rng)
        self._password = str(options.get("password", goldshell.DEFAULT_PASSWORD))
        self._cipher_only = bool(options.get("cipher", False))
        self._reset = bool(options.get(LOGIN_500, False))
        self._uses = options.get("token_uses")
        self._tokens: dict[str, int] = {}  # to how many more requests each opens
        self._select = 0
        self._pools: list[dict[str, Any]] = []
        self.http = HttpServer(self._page)
        self.api = CgminerServer(
            {
                "version": lambda _: Reply(
                    "S", Code.VERSION, "BFGMiner versions", "VERSION", [{"CGMiner": "5.4.2", "API": "3.3"}]
                ),
                "summary": self._summary,
                "devs": self._devs,
                "devdetails": lambda _: Reply(
                    "S", Code.DEVDETAILS, "Device Details", "DEVS", [self._details()]
                ),
                "stats": self._stats,
                "pools": self._list_pools,
            },
            "bfgminer 5.4.2",
            clock,
        )

    def servers(self) -> Mapping[str, tuple[Any, int]]:
        """Web server on 80, API on 4028."""
        return {"http": (self.http, 80), "api": (self.api, PORT)}

    # ---- HTTP ----

    async def _page(self, request: HttpRequest) -> HttpAnswer:
        match request.path:
            case "/" | "/index.html":
                return HttpAnswer.text("<html><title>cloud-box</title></html>")
            case "/user/logout":
                return HttpAnswer.of({"status": "success"})  # a JWT is not taken back
            case "/user/login":
                return self._login(request)
            case "/mcb/status":
                return HttpAnswer.of(self._status())
        if not self._allowed(request):
            return HttpAnswer.of({"error": "unauthorized"}, 401)
        match request.method, request.path:
            case "GET", "/mcb/setting":
                return HttpAnswer.of(self._setting())
            case "PUT", "/mcb/setting":
                return self._store(request)
            case "GET", "/mcb/pools":
                return HttpAnswer.of(self._listed())
            case "PUT", "/mcb/newpool":
                return self._new_pool(request)
            case "PUT", "/mcb/delpool":
                return self._delete_pool(request)
            case "GET", "/mcb/cgminer" if request.query.get("cgminercmd") == "devs":
                return HttpAnswer.of({"minfos": [{"name": "LB-Box", "infos": [self._board(text=True)]}]})
        return HttpAnswer.text("404 page not found", 404, "text/plain")

    def _login(self, request: HttpRequest) -> HttpAnswer:
        if self._reset:
            return HttpAnswer.text("", 500)
        cipher = request.query.get("cipher") == "true"
        if self._cipher_only and not cipher:
            return HttpAnswer.text("<html>login</html>")
        wanted = goldshell.enciphered(self._password) if cipher else self._password
        if request.query.get("username") != goldshell.DEFAULT_USER or request.query.get("password") != wanted:
            return HttpAnswer.of({"error": "password"}, 401)
        token = secrets.token_hex(16)
        self._tokens[token] = int(self._uses) if self._uses is not None else 1 << 30
        while len(self._tokens) > TOKENS_KEPT:
            del self._tokens[next(iter(self._tokens))]
        return HttpAnswer.of({goldshell.TOKEN: token})

    def _allowed(self, request: HttpRequest) -> bool:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        left = self._tokens.get(token, 0)
        if left > 0:
            self._tokens[token] = left - 1
        return left > 0

    def _status(self) -> dict[str, Any]:
        return {
            "model": "Goldshell-LBBox",
            "firmware": "2.2.1",
            "mcbversion": "LB_BOX.1.0",
            "status": "running",
        }

    def _setting(self) -> dict[str, Any]:
        return {
            "name": MAC,
            "version": "1.0",
            "select": self._select,
            "powerplans": [dict(plan) for plan in PLANS],
            "manualfan": False,
            "ledcontrol": True,
        }

    def _store(self, request: HttpRequest) -> HttpAnswer:
        body = request.json()
        select = body.get("select") if isinstance(body, dict) else None
        if not isinstance(select, int) or not 0 <= select < len(PLANS):
            return HttpAnswer.of({"error": "select"}, 400)
        self._select = select
        m = self.machine
        m.stored.plan = goldshell.LEVELS[int(str(PLANS[select]["level"]))]
        m.stored.frequency_mhz = max(PLAN_MHZ[select], 1e-3)
        m.take_up()
        m.thermal.running = PLAN_MHZ[select] > 0
        m.on_pool()  # the hashing goes on at another rate
        return HttpAnswer.of(self._setting())

    def _listed(self) -> list[dict[str, Any]]:
        stored = self.machine.stored
        first = {
            "url": f"stratum+tcp://{stored.pool_host}:{stored.pool_port}",
            "user": stored.pool_user,
            "pass": "x",
            "dragid": 0,
            "active": True,
        }
        return ([first] if stored.pool_host else []) + [
            {**pool, "dragid": n} for n, pool in enumerate(self._pools, 1 if stored.pool_host else 0)
        ]

    def _new_pool(self, request: HttpRequest) -> HttpAnswer:
        body = request.json()
        url = str(body.get("url", "")) if isinstance(body, dict) else ""
        host, _, port = url.removeprefix("stratum+tcp://").rpartition(":")
        if not isinstance(body, dict) or not host or not port.isdecimal():
            return HttpAnswer.of({"error": "url"}, 400)
        stored = self.machine.stored
        if stored.pool_host:
            self._pools.append(
                {"url": url, "user": body.get("user"), "pass": body.get("pass"), "active": False}
            )
        else:
            stored.pool_host, stored.pool_port = host, int(port)
            stored.pool_user = str(body.get("user", ""))
            self.machine.on_pool()
        return HttpAnswer.of(self._listed())

    def _delete_pool(self, request: HttpRequest) -> HttpAnswer:
        body = request.json()
        drag = body.get("dragid") if isinstance(body, dict) else None
        if not isinstance(drag, int) or not 0 <= drag < len(self._listed()):
            return HttpAnswer.of({"error": "dragid"}, 400)
        stored = self.machine.stored
        if drag == 0 and stored.pool_host:
            stored.pool_host, stored.pool_port, stored.pool_user = "", 0, ""
        else:
            del self._pools[drag - (1 if stored.pool_host else 0)]
        return HttpAnswer.of(self._listed())

    # ---- 4028 ----

    def _board(self, *, text: bool = False) -> dict[str, Any]:
        m = self.machine
        m.advance()
        rate = m.reported_rate_ghs() * 1e3
        chip_c, board_c = m.sensed_c()
        return {
            "PGA": 0,
            "ID": 0,
            "Name": "LBX",
            "Enabled": "Y",
            "Status": "Alive",
            "MHS av": round(m.hash_rate_ghs * 1e3, 3) if text else fixed(m.hash_rate_ghs * 1e3, 3),
            "MHS 20s": round(rate, 3) if text else fixed(rate, 3),
            "Accepted": m.accepted,
            "Rejected": m.rejected,
            "Hardware Errors": m.hardware_errors,
            "tstemp-1": 0 if board_c is None else round(board_c, 1),
            "tstemp-2": 0 if chip_c is None else round(chip_c, 1),
            "fan0": round(m.thermal.fan_rpm),
            "fan1": round(m.thermal.fan_rpm * 0.98),
            "voltage": round(m.thermal.voltage_mv),
        }

    def _details(self) -> dict[str, Any]:
        return {"DEVDETAILS": 0, "Name": "LBX", "ID": 0, "chips-nr": CHIPS}

    def _devs(self, parameter: str | None) -> Reply:
        return Reply("S", Code.DEVS, "1 PGA(s)", "DEVS", [self._board()])

    def _stats(self, parameter: str | None) -> Reply:
        """The second row is where pyasic's backend for this family looks for the fans; unconfirmed for the LB-Box."""
        board = self._board()
        fans = {key: board[key] for key in ("fan0", "fan1")}
        rows: list[dict[str, Any]] = [{"STATS": 0, "ID": "POOL0"}, {"STATS": 1, "ID": "LBX0", **fans}]
        return Reply("S", Code.STATS, "BFGMiner stats", "STATS", rows)

    def _summary(self, parameter: str | None) -> Reply:
        m = self.machine
        row = {
            "Elapsed": int(m.uptime_s),
            "MHS av": fixed(m.hash_rate_ghs * 1e3, 3),
            "MHS 20s": fixed(m.reported_rate_ghs() * 1e3, 3),
            "Found Blocks": 0,
            "Accepted": m.accepted,
            "Rejected": m.rejected,
            "Hardware Errors": m.hardware_errors,
            "Utility": fixed(m.accepted / max(m.uptime_s / 60, 1e-9), 3),
            "Stale": 0,
        }
        return Reply("S", Code.SUMMARY, "Summary", "SUMMARY", [row])

    def _list_pools(self, parameter: str | None) -> Reply:
        rows = [
            {
                "POOL": n,
                "URL": pool["url"],
                "Status": "Alive",
                "Priority": n,
                "Accepted": self.machine.accepted if n == 0 else 0,
                "Rejected": self.machine.rejected if n == 0 else 0,
                "Get Failures": 0,
                "Inbox Failures": 0,
                "User": pool["user"],
                "Stratum Active": n == 0,
            }
            for n, pool in enumerate(self._listed())
        ]
        return Reply("S", Code.POOLS, f"{len(rows)} Pool(s)", "POOLS", rows)
