"""Goldshell LB-Box: HTTP with a login, power plans, and a BFGMiner API on TCP 4028 (``hardware.md`` §5.1)."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any

import httpx2

from firmware_bridge.devices import fields, goldshell
from firmware_bridge.devices.cgminer_api import PORT, Answer
from firmware_bridge.devices.cgminer_port import CgminerPort
from firmware_bridge.devices.device import Capabilities, Capability, Device, PoolSettings
from firmware_bridge.devices.http import HttpLink, Reply
from firmware_bridge.devices.s9_fields import pools_of
from firmware_bridge.devices.settings import Limits, OperatingPoint, Reading, Setting
from firmware_bridge.devices.tap import TapFactory
from firmware_bridge.devices.telemetry import Identity, PoolState, Telemetry
from firmware_bridge.errors import DeviceError, ProtocolError
from firmware_bridge.trace.provenance import redact
from firmware_bridge.trace.redaction import http_body

NOMINAL_GHS = 175.0
"""LBC hashes; the box is sold with 175, others measured 180."""
LIMITS = Limits(bounds={}, max_temperature_c=95.0, plans=tuple(goldshell.LEVELS.values()))

PLAN_SHARES: dict[str, tuple[float, float]] = {
    "normal": (0.85, 1.3),
    "low power": (0.2, 0.85),
    "sleep": (0.0, 0.05),
}
"""Share of the nominal hash rate by which a plan shows; assumed, no figures of the plans are published."""
SETTLE_LIMIT_S = 120.0
POLL_S = 3.0

READS = frozenset(
    {
        "temperature_c", "board_temperature_c", "core_voltage_mv", "fan_rpm", "fans_rpm", "hash_rate_ghs",
        "hardware_errors", "accepted", "rejected", "uptime_s", "boards", "pools",
    }
)  # fmt: skip
FIXED = "its power plans set clock and voltage together"


class GoldshellLbBox(Device):
    """An LB-Box.

    Args:
        address: ``lb-box://HOST[:80][?api=4028]``.
        host: its address.
        port: of its web server.
        api_port: of its cgminer API.
        password: of the web page's user ``admin``.
        taps: of the flight recorder.
        transport: how HTTP travels; sockets if None.
        **common: see :class:`Device`.
    """

    name = "lb-box"
    limits = LIMITS
    work = "stratum"

    def __init__(
        self,
        address: str,
        host: str,
        port: int = 80,
        *,
        api_port: int = PORT,
        password: str = goldshell.DEFAULT_PASSWORD,
        taps: TapFactory | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
        timeout_s: float = 10.0,
        **common: Any,
    ) -> None:
        super().__init__(address, **common)
        base = f"http://{host}" if port == 80 else f"http://{host}:{port}"
        self.web = HttpLink(
            base,
            transport=transport,
            tap=taps(base) if taps else None,
            redact=http_body,
            timeout_s=timeout_s,
        )
        self.api = CgminerPort(
            host, api_port, tap=taps(f"cgminer://{host}:{api_port}") if taps else None, timeout_s=timeout_s
        )
        self._password = password
        self._token: str | None = None

    # ---- links ----

    async def _login(self) -> str:
        """A token; first with the password as it is, then enciphered.

        Raises:
            DeviceError: if the device gives none.
        """
        await self.web.request("GET", goldshell.LOGOUT)
        reply = await self._try_login(cipher=False)
        token = goldshell.token_of(reply.body)
        if token is None and reply.status != 500:
            reply = await self._try_login(cipher=True)
            token = goldshell.token_of(reply.body)
        if token is None:
            if reply.status == 500:
                raise DeviceError(
                    f"{self.address}: the login answers 500, as after a factory reset: set one in the browser first"
                )
            raise DeviceError(
                f"{self.address}: the login was refused ({reply.status}); give the password of its page as "
                f"{self.address.partition('?')[0]}?password=…"
            )
        self._token = token
        return token

    async def _try_login(self, *, cipher: bool) -> Reply:
        target = goldshell.login_target(goldshell.DEFAULT_USER, self._password, cipher=cipher)
        try:
            return await self.web.request("GET", target)
        except DeviceError as error:
            # the address that failed holds the password
            raise DeviceError(
                f"{self.address}: login: {str(error.__cause__ or '') or 'no answer in time'}"
            ) from None

    async def _web(self, method: str, target: str, body: Any = None) -> Any:
        """One request with the token; a token that is no longer taken is asked for once more."""
        token = self._token or await self._login()
        for again in (True, False):
            headers = {"authorization": f"Bearer {token}"}
            reply = await self.web.request(method, target, body=body, headers=headers)
            if reply.status == 401 and again:
                token = await self._login()
                continue
            break
        if reply.status != 200:
            raise self.web.broken(method, target, reply, "not 200")
        try:
            return goldshell.decode(reply.body)
        except ProtocolError as error:
            raise self.web.broken(method, target, reply, str(error)) from error

    async def page(self, name: str) -> Any:
        """One page of the API: ``status``, ``setting``, ``pools``, or the rows of ``devs``.

        Raises:
            DeviceError: if it does not answer, or answers nonsense.
        """
        target = goldshell.PAGES[name]
        value = await self._web("GET", target)
        if name == "devs":
            return goldshell.infos_of(value)
        wanted: type = list if name == "pools" else dict
        if not isinstance(value, wanted):
            raise DeviceError(
                f"{self.address}: GET {target} is no {wanted.__name__}: {str(redact(value))[:200]}"
            )
        return value

    # ---- reading ----

    async def identify(self) -> Identity:
        """Who it says it is.

        Raises:
            DeviceError: if this is no Goldshell.
        """
        status = await self.page("status")
        model = fields.text(status, "model")
        if model is None or "goldshell" not in model.lower():
            raise DeviceError(
                f"{self.address}: GET {goldshell.PAGES['status']} is no Goldshell: {str(redact(status))[:200]}"
            )
        setting = await self.page("setting")
        return Identity(
            "Goldshell", model, fields.text(status, "firmware"), serial=fields.text(setting, "name")
        )

    async def read_telemetry(self) -> Telemetry:
        """Read ``summary``, ``devs`` and ``pools`` of the API, or the web page where nobody listens on its port."""
        try:
            answers = {name: await self.api.ask(name) for name in ("summary", "devs", "pools")}
        except DeviceError as error:
            if not isinstance(error.__cause__, ConnectionRefusedError):
                raise
            return await self._read_over_http()
        raw = {name: answer.raw.rstrip(b"\0").decode("utf-8", "replace") for name, answer in answers.items()}
        rows = list(answers["devs"].rows("DEVS"))
        return self._telemetry(self._first(answers["summary"]), rows, pools_of(answers["pools"]), raw)

    async def _read_over_http(self) -> Telemetry:
        """What the web page tells: the boards and the pools, no totals and no up time."""
        rows, pools = await self.page("devs"), await self.page("pools")
        return self._telemetry({}, rows, goldshell.pools_of(pools), {"http devs": rows, "http pools": pools})

    def _telemetry(
        self, summary: dict[str, Any], rows: list[dict[str, Any]], pools: tuple[PoolState, ...], raw: Any
    ) -> Telemetry:
        boards, fans = goldshell.boards_of(rows), goldshell.fans_of(rows)
        mhs = fields.number(summary, "MHS 20s", "MHS av")
        rates = [b.hash_rate_ghs for b in boards if b.hash_rate_ghs is not None]
        of_boards = sum(rates) if rates else None
        return Telemetry(
            wall_ns=self.clock.wall_ns(),
            monotonic_ns=self.clock.monotonic_ns(),
            temperature_c=fields.largest([b.temperature_c for b in boards]),
            board_temperature_c=fields.largest([b.board_temperature_c for b in boards]),
            core_voltage_mv=fields.largest([fields.positive(row, "voltage") for row in rows]),
            fan_rpm=max(fans) if fans else None,
            hash_rate_ghs=of_boards if mhs is None else mhs / 1e3,
            hardware_errors=fields.whole(summary, "Hardware Errors"),
            accepted=fields.whole(summary, "Accepted"),
            rejected=fields.whole(summary, "Rejected"),
            uptime_s=fields.number(summary, "Elapsed"),
            boards=boards,
            fans_rpm=fans,
            pools=pools,
            raw=json.dumps(redact(raw)),
        )

    def _first(self, answer: Answer) -> dict[str, Any]:
        rows = answer.rows("SUMMARY")
        if not rows:
            raise DeviceError(f"{self.address}: summary: no SUMMARY in the answer: {answer.raw[:200]!r}")
        return rows[0]

    async def read_point(self) -> OperatingPoint:
        """The power plan that is selected."""
        return OperatingPoint(power_plan=goldshell.plan_in_force(await self.page("setting")))

    async def capabilities(self) -> Capabilities:
        """The power plans that the device lists."""
        plans = goldshell.plans_of(await self.page("setting"))
        cannot = {
            Setting.FREQUENCY: FIXED,
            Setting.CORE_VOLTAGE: FIXED,
            Setting.FAN: "the box steers its fan by itself",
        }
        if not plans:
            return Capabilities(
                READS, (), cannot | {Setting.POWER_PLAN: "this firmware lists no power plans"}
            )
        return Capabilities(READS, (Capability(Setting.POWER_PLAN, False, "hash rate"),), cannot)

    # ---- writing ----

    async def _write_point(self, point: OperatingPoint) -> bool:
        setting = await self.page("setting")
        plans = goldshell.plans_of(setting)
        if point.power_plan not in plans:
            raise DeviceError(
                f"{self.address}: it lists no plan {point.power_plan!r}; there are {', '.join(plans)}"
            )
        await self._web("PUT", goldshell.PAGES["setting"], {**setting, "select": plans[point.power_plan]})
        waited_s = 0.0
        while (
            waited_s < SETTLE_LIMIT_S and point.power_plan in PLAN_SHARES
        ):  # the rate is an average over 20 s
            await self.sleep(POLL_S)
            waited_s += POLL_S
            with contextlib.suppress(DeviceError):  # its miner may start anew for another plan
                if await self._plan_by_rate() == point.power_plan:
                    break
        return False

    async def _plan_by_rate(self) -> str | None:
        rate = (await self.read_telemetry()).hash_rate_ghs
        if rate is None:
            return None
        share = rate / NOMINAL_GHS
        return next((name for name, (low, high) in PLAN_SHARES.items() if low <= share < high), None)

    async def _measure(self, point: OperatingPoint) -> Mapping[Setting, Reading]:
        if point.power_plan is None:
            return {}
        if point.power_plan not in PLAN_SHARES:
            return {Setting.POWER_PLAN: Reading(None, 0.0, "nothing: it is not known what this plan does")}
        return {Setting.POWER_PLAN: Reading(await self._plan_by_rate(), 0.0, "hash rate against 175 GH/s")}

    async def set_pool(self, pool: PoolSettings) -> bool:
        """Delete the pools one by one, add this one, read it back; where that fails the old ones are added again."""
        old = [row for row in await self.page("pools") if isinstance(row, dict)]
        try:
            await self._replace_pools(pool)
        except BaseException as error:
            try:
                await self._add_again(old)
            except DeviceError as failure:
                error.add_note(f"and its pools from before could not be added again: {failure}")
            raise
        return False

    async def _add_again(self, old: list[dict[str, Any]]) -> None:
        there = {(p.url, p.user) for p in goldshell.pools_of(await self.page("pools"))}
        for row in old:
            if (row.get("url"), row.get("user")) not in there:
                await self._web(
                    "PUT", goldshell.NEW_POOL, {key: row.get(key) for key in ("url", "user", "pass")}
                )

    async def _replace_pools(self, pool: PoolSettings) -> None:
        while listed := [row for row in await self.page("pools") if isinstance(row, dict)]:
            body = {key: listed[0].get(key) for key in ("url", "user", "pass", "dragid")}
            await self._web("PUT", goldshell.DELETE_POOL, body)
            if len(await self.page("pools")) >= len(listed):
                raise DeviceError(f"{self.address}: {body['url']} was to be deleted and is still listed")
        await self._web(
            "PUT", goldshell.NEW_POOL, {"url": pool.url, "user": pool.user, "pass": pool.password}
        )
        now = goldshell.pools_of(await self.page("pools"))
        if [(p.url, p.user) for p in now] != [(pool.url, pool.user)]:
            names = ", ".join(p.url for p in now) or "none"
            raise DeviceError(
                f"{self.address}: its pools are now {names}, not {pool.url}; set it on its own page"
            )

    async def aclose(self) -> None:
        """Close the web link."""
        await self.web.aclose()
