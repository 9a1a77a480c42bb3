"""Antminer S9: bmminer's API on TCP 4028, and the CGI pages of its control board (``hardware.md`` §2, §3).

What can be set depends on the firmware. Stock firmware refuses every writing command of the API (code 45); its web page
(digest authentication) sets frequency and pools, with a restart, and stops and starts bmminer, which is all there is of
power plans: while it is stopped nothing hashes and the API does not answer. There is no voltage to read or to set.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import httpx2

from firmware_bridge.devices import fields
from firmware_bridge.devices.cgminer_api import PORT, SHOWN, Answer, Code, Status, encode_pool, redact
from firmware_bridge.devices.cgminer_port import CgminerPort
from firmware_bridge.devices.device import Capabilities, Capability, Device, PoolSettings, Restart
from firmware_bridge.devices.http import HttpLink
from firmware_bridge.devices.s9_fields import (
    BOARDS,
    CHIPS,
    CORES,
    FANS,
    GHS_PER_MHZ_AND_BOARD,
    LIMITS,
    MODELS,
    boards_of,
    pll_name_mhz,
    pools_of,
    rate_ghs,
    settings_form,
    stats_row,
)
from firmware_bridge.devices.settings import OperatingPoint, Reading, Setting
from firmware_bridge.devices.tap import TapFactory
from firmware_bridge.devices.telemetry import Identity, Telemetry
from firmware_bridge.errors import DeviceError, UserError

RATE_TOLERANCE = 0.04
"""The hash rate over five seconds fluctuates by a few per cent, so clocks closer than that cannot be told apart."""
RESTART_LIMIT_S = 300.0
STOP_LIMIT_S = 30.0
POLL_S = 3.0
SETTLE_PAUSE_S = 5.0
"""Between readings of the rate, which is one over about five seconds."""
SETTLED_READINGS = 3
SETTLED_WITHIN = 0.03
"""Readings in a row that agree this well are those of a device that no longer comes up to speed."""
SETTLE_LIMIT_S = 180.0

READS = frozenset(
    {
        "temperature_c", "board_temperature_c", "frequency_mhz", "fan_rpm", "hash_rate_ghs", "hardware_errors",
        "accepted", "rejected", "uptime_s", "boards", "fans_rpm", "pools",
    }
)  # fmt: skip

NO_VOLTAGE = "the S9's firmware neither shows nor sets a voltage; a PIC on each board holds it"
NO_FAN = "the control board steers the fans by itself"
STOP, START = "/cgi-bin/stop_bmminer.cgi", "/cgi-bin/reboot_cgminer.cgi"
"""Pages that stop and start bmminer; known from programs that use them (docs/sources.md), not tried on a device yet."""
PLAN_WHAT = "whether bmminer answers"
NO_WEB = (
    "its web page is out of reach or refused the password, and the API is read-only (access denied). By hand: "
    "http://{host}/ -> Miner Configuration"
)


class AntminerS9(Device):
    """An Antminer S9.

    Args:
        address: ``s9://HOST[:4028][?http=PORT]``.
        host: its address.
        port: of the API.
        http_port: of its web page.
        password: of the web page's user ``root``.
        taps: of the flight recorder.
        transport: how HTTP travels; sockets if None.
        **common: see :class:`Device`.
    """

    name = "s9"
    limits = LIMITS
    work = "stratum"

    def __init__(
        self,
        address: str,
        host: str,
        port: int = PORT,
        *,
        http_port: int = 80,
        password: str = "root",
        taps: TapFactory | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
        timeout_s: float = 10.0,
        **common: Any,
    ) -> None:
        super().__init__(address, **common)
        self._host = host
        self.api = CgminerPort(
            host, port, tap=taps(f"cgminer://{host}:{port}") if taps else None, timeout_s=timeout_s
        )
        base = f"http://{host}:{http_port}" if http_port != 80 else f"http://{host}"
        self.web = HttpLink(
            base,
            digest=("root", password),
            transport=transport,
            tap=taps(base) if taps else None,
            timeout_s=timeout_s,
        )

    # ---- reading ----

    async def identify(self) -> Identity:
        """Ask for the version.

        Raises:
            DeviceError: if nothing answers, or something else does.
        """
        row = await self._row("version", "VERSION")
        kind = fields.text(row, "Type") or ""
        if not MODELS.search(kind):
            seen = kind or ", ".join(f"{k}={v}" for k, v in list(row.items())[:6]) or "nothing"
            raise DeviceError(f"{self.address}: version: this is no Antminer S9 but {seen[:SHOWN]!r}")
        return Identity(
            make="Bitmain",
            model=kind,
            firmware=fields.text(row, "CompileTime", "Miner", "BMMiner"),
            chips=BOARDS * CHIPS,
            cores=CORES,
            chip="BM1387",
        )

    async def _row(self, command: str, section: str) -> dict[str, Any]:
        answer = await self.api.ask(command)
        return self._first(answer, command, section)

    def _first(self, answer: Answer, command: str, section: str) -> dict[str, Any]:
        rows = answer.rows(section)
        if not rows:
            status = answer.status
            why = f"{status.letter}/{status.code} {status.message}"[:SHOWN] if status else "no status"
            raise DeviceError(
                f"{self.address}: {command}: no {section} in the answer ({why}): {answer.raw[:SHOWN]!r}"
            )
        return rows[0]

    async def read_telemetry(self) -> Telemetry:
        """Read ``summary``, ``stats`` and ``pools``."""
        answers = {name: await self.api.ask(name) for name in ("summary", "stats", "pools")}
        wall_ns, monotonic_ns = self.clock.wall_ns(), self.clock.monotonic_ns()
        summary = self._first(answers["summary"], "summary", "SUMMARY")
        stats = stats_row(answers["stats"])
        boards = boards_of(stats)
        fans = tuple(f for n in FANS if (f := fields.positive(stats, f"fan{n}")) is not None)
        raw = {name: answer.raw.rstrip(b"\0").decode("utf-8", "replace") for name, answer in answers.items()}
        return Telemetry(
            wall_ns=wall_ns,
            monotonic_ns=monotonic_ns,
            temperature_c=fields.largest([b.temperature_c for b in boards]),
            board_temperature_c=fields.largest([b.board_temperature_c for b in boards]),
            frequency_mhz=fields.positive(stats, "total_freqavg", "frequency"),
            fan_rpm=max(fans) if fans else None,
            hash_rate_ghs=rate_ghs(summary),
            hardware_errors=fields.whole(summary, "Hardware Errors"),
            accepted=fields.whole(summary, "Accepted"),
            rejected=fields.whole(summary, "Rejected"),
            uptime_s=fields.number(summary, "Elapsed"),
            boards=boards,
            fans_rpm=fans,
            pools=pools_of(answers["pools"]),
            raw=json.dumps(raw),
        )

    async def read_point(self) -> OperatingPoint:
        """The frequency that is configured, or where the web page is out of reach the one that ``stats`` shows."""
        conf = await self._configuration()
        if conf is not None:
            plan = "normal" if await self._mines() else "sleep"
            return OperatingPoint(frequency_mhz=fields.positive(conf, "bitmain-freq"), power_plan=plan)
        stats = stats_row(await self.api.ask("stats"))
        return OperatingPoint(frequency_mhz=fields.positive(stats, "frequency"))

    async def capabilities(self) -> Capabilities:
        """Frequency where the web page can be used; nothing else."""
        conf = await self._configuration()
        cannot = {
            Setting.CORE_VOLTAGE: NO_VOLTAGE,
            Setting.FAN: NO_FAN,
        }
        if conf is None:
            why = NO_WEB.format(host=self._host)
            return Capabilities(
                READS, (), cannot | dict.fromkeys((Setting.FREQUENCY, Setting.POWER_PLAN), why)
            )
        plans = Capability(Setting.POWER_PLAN, True, PLAN_WHAT)
        if fields.positive(conf, "bitmain-freq") is None:
            why = "this firmware sets its frequency by itself (no bitmain-freq in its configuration)"
            return Capabilities(READS, (plans,), cannot | {Setting.FREQUENCY: why})
        return Capabilities(READS, (Capability(Setting.FREQUENCY, True, "hash rate"), plans), cannot)

    # ---- writing ----

    @classmethod
    def checked(cls, point: OperatingPoint, *, beyond_factory: bool = False) -> OperatingPoint:
        """As :meth:`Device.checked`; a clock that the PLL does not have is refused before anything is touched."""
        if point.frequency_mhz is not None:
            cls.limits.check(cls.name, OperatingPoint(frequency_mhz=point.frequency_mhz), beyond_factory=True)
            point = replace(point, frequency_mhz=pll_name_mhz(point.frequency_mhz))
        return super().checked(point, beyond_factory=beyond_factory)

    async def _configuration(self) -> dict[str, Any] | None:
        """What the web page has stored, None where it is out of reach or the password is another."""
        try:
            reply = await self.web.request("GET", "/cgi-bin/get_miner_conf.cgi")
        except DeviceError:
            return None
        try:
            conf = json.loads(reply.body)
        except ValueError:
            return None
        return conf if reply.status == 200 and isinstance(conf, dict) else None

    async def _store(self, changes: Mapping[str, str]) -> None:
        """Send the settings form with what is stored now and some fields changed."""
        conf = await self._configuration()
        if conf is None:
            raise DeviceError(f"{self.address}: {NO_WEB.format(host=self._host)}")
        form = settings_form(conf) | dict(changes)
        target = "/cgi-bin/set_miner_conf.cgi"
        reply = await self.web.request("POST", target, form=urlencode(form))
        if reply.status != 200:
            raise self.web.broken("POST", target, reply, "the settings were not taken")

    async def _too_hot_c(self) -> float | None:
        """While bmminer is stopped nothing tells the temperature, and nothing heats either."""
        return await super()._too_hot_c() if await self._mines() else None

    async def _mines(self) -> bool:
        """Whether bmminer runs: its port refuses a connection where it does not."""
        try:
            await self.api.ask("version")
        except DeviceError as error:
            return not isinstance(error.__cause__, ConnectionRefusedError)
        return True

    async def _write_point(self, point: OperatingPoint) -> bool:
        mines = await self._mines()
        before_s = (await self.read_telemetry()).uptime_s if mines and point.power_plan != "sleep" else None
        restart = Restart(self.clock, before_s)
        if not mines:
            restart.away()
        if point.frequency_mhz is not None:
            await self._store({"_ant_freq": f"{point.frequency_mhz:g}"})  # which starts bmminer anew
            if point.power_plan == "sleep":
                await self._await_restart(restart)
        if point.power_plan == "sleep":
            await self._stop_mining()
            return False
        if point.frequency_mhz is None and not mines:
            # the page answers only once bmminer is up, if at all
            with contextlib.suppress(DeviceError):
                await self.web.request("GET", START)
        if point.frequency_mhz is not None or not mines:
            await self._await_restart(restart)
            return True
        return False

    async def _stop_mining(self) -> None:
        """Stop bmminer, and wait until its port is closed.

        Raises:
            DeviceError: if this firmware has no such page, or bmminer goes on.
        """
        reply = await self.web.request("GET", STOP)
        if reply.status != 200:
            raise self.web.broken("GET", STOP, reply, "this firmware does not stop its miner")
        waited_s = 0.0
        while await self._mines():
            if waited_s >= STOP_LIMIT_S:
                raise DeviceError(f"{self.address}: GET {STOP} was answered, and bmminer still runs")
            await self.sleep(POLL_S)
            waited_s += POLL_S

    async def _await_restart(self, restart: Restart, *, hashing: bool = True) -> None:
        """Until it answers after a restart: its up time began since then, and if asked for there is a rate."""
        waited_s, last = 0.0, "it never restarted"
        while waited_s < RESTART_LIMIT_S:
            await self.sleep(POLL_S)
            waited_s += POLL_S
            try:
                row = await self._row("summary", "SUMMARY")
            except DeviceError as error:
                restart.away()
                last = str(error)
                continue
            uptime_s, rate = fields.number(row, "Elapsed"), rate_ghs(row)
            last = f"up time {uptime_s} s, {rate} GH/s"
            if restart.over(uptime_s) and (not hashing or (rate or 0.0) > 0.0):
                return
        raise DeviceError(f"{self.address}: it does not hash {RESTART_LIMIT_S:g} s after a restart: {last}")

    async def _settled(self) -> tuple[float, int] | None:
        """Rate in GH/s and number of boards once it no longer changes, None where it does so for too long.

        When to stop depends on the readings among themselves only, never on the value that is hoped for: a rate on its
        way up passes many values.
        """
        rates: list[float] = []
        waited_s = 0.0
        while True:
            reading = await self.read_telemetry()
            boards = sum(1 for board in reading.boards if board.hash_rate_ghs)
            rates = [*rates, reading.hash_rate_ghs][-SETTLED_READINGS:] if reading.hash_rate_ghs else []
            if boards and len(rates) == SETTLED_READINGS and max(rates) <= min(rates) * (1 + SETTLED_WITHIN):
                return sum(rates) / len(rates), boards
            if waited_s >= SETTLE_LIMIT_S:
                return None
            await self.sleep(SETTLE_PAUSE_S)
            waited_s += SETTLE_PAUSE_S

    async def _measure(self, point: OperatingPoint) -> Mapping[Setting, Reading]:
        """The clock that the hash rate must come from: rate over boards x 63 chips x 114 cores."""
        measured: dict[Setting, Reading] = {}
        if point.power_plan is not None:
            plan = "normal" if await self._mines() else "sleep"
            measured[Setting.POWER_PLAN] = Reading(plan, 0.0, PLAN_WHAT)
        if point.frequency_mhz is not None:
            measured[Setting.FREQUENCY] = await self._measure_clock(point.frequency_mhz, point.power_plan)
        return measured

    async def _measure_clock(self, asked_mhz: float, plan: str | None) -> Reading:
        what = "hash rate / (63 chips x 114 cores) per board"
        settled = None if plan == "sleep" else await self._settled()
        if settled is None:
            return Reading(None, 0.0, what)
        rate, boards = settled
        measured = rate / (GHS_PER_MHZ_AND_BOARD * boards)
        return Reading(round(measured, 1), RATE_TOLERANCE * asked_mhz, what)

    async def set_pool(self, pool: PoolSettings) -> bool:
        """Make it mine for a pool: by the API where that may write, else by the web page with a restart."""
        parameter = encode_pool(pool.url, pool.user, pool.password)
        added = (await self.api.ask("addpool", parameter)).status
        if added is not None and added.ok:
            pools = pools_of(await self.api.ask("pools"))
            wanted = [n for n, p in enumerate(pools) if p.url == pool.url and p.user == pool.user]
            if not wanted:
                raise DeviceError(
                    f"{self.address}: addpool was accepted, but {pool.url} is not among its pools"
                )
            switched = (await self.api.ask("switchpool", str(wanted[-1]))).status
            if switched is None or not switched.ok:
                raise DeviceError(f"{self.address}: switchpool {wanted[-1]}: {_said(switched)}")
            return False
        if added is not None and added.code not in (Code.ACCESS_DENIED, Code.INVALID_COMMAND):
            raise DeviceError(f"{self.address}: addpool: {_said(added)}")
        if await self._configuration() is None:
            raise UserError(
                f"{self.address}: its API is read-only, its web page is out of reach. By hand: http://{self._host}/ -> "
                f"Miner Configuration -> pool 1 {pool.url}, worker {pool.user}"
            )
        restart = Restart(self.clock, (await self.read_telemetry()).uptime_s)
        await self._store(
            {"_ant_pool1url": pool.url, "_ant_pool1user": pool.user, "_ant_pool1pw": pool.password}
        )
        await self._await_restart(
            restart, hashing=False
        )  # the pool may be one that is only just to be started
        return True

    async def aclose(self) -> None:
        """Close the web link."""
        await self.web.aclose()


def _said(status: Status | None) -> str:
    if status is None:
        return "no status"
    message = redact(
        status.message.encode("utf-8", "replace")
    ).decode()  # bmminer repeats a pool that it refused
    return f"{status.letter}/{status.code} {message}"[:SHOWN]
