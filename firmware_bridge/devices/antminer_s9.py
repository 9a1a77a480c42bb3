"""Antminer S9: bmminer's API on TCP 4028, and the CGI pages of its control board (``hardware.md`` §2, §3).

What can be set depends on the firmware. Stock firmware refuses every writing command of the API (code 45); its web page
(digest authentication) sets frequency and pools, with a restart. There is no voltage to read or to set.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import httpx2

from firmware_bridge.devices import fields
from firmware_bridge.devices.cgminer_api import PORT, Answer, Code, encode_pool
from firmware_bridge.devices.cgminer_port import CgminerPort
from firmware_bridge.devices.device import Capabilities, Capability, Device, PoolSettings, Restart
from firmware_bridge.devices.http import HttpLink
from firmware_bridge.devices.settings import Bound, Limits, OperatingPoint, Reading, Setting
from firmware_bridge.devices.tap import TapFactory
from firmware_bridge.devices.telemetry import BoardReading, Identity, PoolState, Telemetry
from firmware_bridge.errors import DeviceError, UserError

BOARDS, CHIPS, CORES = 3, 63, 114
GHS_PER_MHZ_AND_BOARD = CHIPS * CORES / 1000.0
SLOTS = range(1, 17)
FANS = range(1, 9)

FACTORY_MHZ = tuple(
    float(f)
    for f in (550, 575, 581, 587, 593, 600, 606, 612, 618, 625, 631, 637, 643, 650, 656, 662, 668, 675)
)
LIMITS = Limits(
    bounds={
        Setting.FREQUENCY: Bound(
            100.0, 700.0, FACTORY_MHZ, "PLL table of the BM1387, hardware.md §2; top bin 675 MHz"
        )
    },
    max_temperature_c=115.0,
)
"""Chips throttle at 125 °C by firmware; the lab stops earlier."""

RATE_TOLERANCE = 0.04
"""The hash rate over five seconds fluctuates by a few per cent, so clocks closer than that cannot be told apart."""
RESTART_LIMIT_S = 300.0
POLL_S = 3.0

READS = frozenset(
    {
        "temperature_c", "board_temperature_c", "frequency_mhz", "fan_rpm", "hash_rate_ghs", "hardware_errors",
        "accepted", "rejected", "uptime_s", "boards", "fans_rpm", "pools",
    }
)  # fmt: skip

NO_VOLTAGE = "the S9's firmware neither shows nor sets a voltage; a PIC on each board holds it"
NO_FAN = "the control board steers the fans by itself"
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
        if "S9" not in kind.upper():
            seen = kind or ", ".join(f"{k}={v}" for k, v in list(row.items())[:6]) or "nothing"
            raise DeviceError(f"{self.address}: version: this is no Antminer S9 but {seen!r}")
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
            why = f"{status.letter}/{status.code} {status.message}" if status else "no status"
            raise DeviceError(
                f"{self.address}: {command}: no {section} in the answer ({why}): {answer.raw[:200]!r}"
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
            hash_rate_ghs=fields.number(summary, "GHS 5s", "GHS av"),
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
            return OperatingPoint(frequency_mhz=fields.positive(conf, "bitmain-freq"))
        stats = stats_row(await self.api.ask("stats"))
        return OperatingPoint(frequency_mhz=fields.positive(stats, "frequency"))

    async def capabilities(self) -> Capabilities:
        """Frequency where the web page can be used; nothing else."""
        conf = await self._configuration()
        cannot = {
            Setting.CORE_VOLTAGE: NO_VOLTAGE,
            Setting.FAN: NO_FAN,
            Setting.POWER_PLAN: "an S9 has no plans",
        }
        if conf is None:
            return Capabilities(READS, (), cannot | {Setting.FREQUENCY: NO_WEB.format(host=self._host)})
        if fields.positive(conf, "bitmain-freq") is None:
            why = "this firmware sets its frequency by itself (no bitmain-freq in its configuration)"
            return Capabilities(READS, (), cannot | {Setting.FREQUENCY: why})
        return Capabilities(READS, (Capability(Setting.FREQUENCY, True, "hash rate"),), cannot)

    # ---- writing ----

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

    async def _write_point(self, point: OperatingPoint) -> bool:
        restart = Restart(self.clock, (await self.read_telemetry()).uptime_s)
        if point.frequency_mhz is not None:
            await self._store({"_ant_freq": f"{point.frequency_mhz:g}"})
        await self._await_restart(restart)
        return True

    async def _await_restart(self, restart: Restart) -> None:
        """Until it hashes again after a restart: its up time began since then, and there is a rate."""
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
            uptime_s, rate = fields.number(row, "Elapsed"), fields.number(row, "GHS 5s")
            last = f"up time {uptime_s} s, {rate} GH/s"
            if restart.over(uptime_s) and (rate or 0.0) > 0.0:
                return
        raise DeviceError(f"{self.address}: it does not hash {RESTART_LIMIT_S:g} s after a restart: {last}")

    async def _measure(self, point: OperatingPoint) -> Mapping[Setting, Reading]:
        """The clock that the hash rate must come from: rate over boards x 63 chips x 114 cores."""
        if point.frequency_mhz is None:
            return {}
        reading = await self.read_telemetry()
        working = [b for b in reading.boards if b.chips]
        what = "hash rate / (63 chips x 114 cores) per board"
        if reading.hash_rate_ghs is None or not working:
            return {Setting.FREQUENCY: Reading(None, 0.0, what)}
        measured = reading.hash_rate_ghs / (GHS_PER_MHZ_AND_BOARD * len(working))
        return {Setting.FREQUENCY: Reading(round(measured, 1), RATE_TOLERANCE * point.frequency_mhz, what)}

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
                raise DeviceError(f"{self.address}: switchpool {wanted[-1]}: {switched}")
            return False
        if added is not None and added.code not in (Code.ACCESS_DENIED, Code.INVALID_COMMAND):
            raise DeviceError(f"{self.address}: addpool: {added.code} {added.message}")
        if await self._configuration() is None:
            raise UserError(
                f"{self.address}: its API is read-only, its web page is out of reach. By hand: http://{self._host}/ -> "
                f"Miner Configuration -> pool 1 {pool.url}, worker {pool.user}"
            )
        restart = Restart(self.clock, (await self.read_telemetry()).uptime_s)
        await self._store(
            {"_ant_pool1url": pool.url, "_ant_pool1user": pool.user, "_ant_pool1pw": pool.password}
        )
        await self._await_restart(restart)
        return True

    async def aclose(self) -> None:
        """Close the web link."""
        await self.web.aclose()


def stats_row(answer: Answer) -> dict[str, Any]:
    """The rows of ``stats`` taken together: the chain data stand in the second one, on some builds in the first."""
    merged: dict[str, Any] = {}
    for row in answer.rows("STATS"):
        merged |= row
    return merged


def boards_of(stats: Mapping[str, Any]) -> tuple[BoardReading, ...]:
    """Readings of the boards that are there, whatever slots they have.

    Bitmain's driver and others disagree whether ``temp`` or ``temp2_`` is the chip; the chip is the hotter of the two.
    """
    boards = []
    for slot in SLOTS:
        chips = fields.whole(stats, f"chain_acn{slot}")
        if not chips:
            continue
        sensors = [
            t for key in (f"temp{slot}", f"temp2_{slot}") if (t := fields.positive(stats, key)) is not None
        ]
        boards.append(
            BoardReading(
                board=slot,
                temperature_c=max(sensors) if sensors else None,
                board_temperature_c=min(sensors) if len(sensors) > 1 else None,
                frequency_mhz=fields.positive(stats, f"freq_avg{slot}", "frequency"),
                hash_rate_ghs=fields.number(stats, f"chain_rate{slot}"),
                chips=chips,
                hardware_errors=fields.whole(stats, f"chain_hw{slot}"),
            )
        )
    return tuple(boards)


def pools_of(answer: Answer) -> tuple[PoolState, ...]:
    """The pools that a cgminer lists."""
    return tuple(
        PoolState(
            url=fields.text(row, "URL") or "",
            user=fields.text(row, "User"),
            active=row.get("Stratum Active") if isinstance(row.get("Stratum Active"), bool) else None,
            status=fields.text(row, "Status"),
        )
        for row in answer.rows("POOLS")
    )


def settings_form(conf: Mapping[str, Any]) -> dict[str, str]:
    """The fields of the page's settings form as they are stored: it stores all of them anew each time."""
    form: dict[str, str] = {}
    pools = conf.get("pools")
    listed = [p for p in pools if isinstance(p, dict)] if isinstance(pools, list) else []
    for number in range(1, 4):
        pool = listed[number - 1] if number <= len(listed) else {}
        form[f"_ant_pool{number}url"] = str(pool.get("url", ""))
        form[f"_ant_pool{number}user"] = str(pool.get("user", ""))
        form[f"_ant_pool{number}pw"] = str(pool.get("pass", ""))
    form["_ant_nobeeper"] = str(conf.get("bitmain-nobeeper", "false")).lower()
    form["_ant_notempoverctrl"] = str(conf.get("bitmain-notempoverctrl", "false")).lower()
    form["_ant_fan_customize_switch"] = str(conf.get("bitmain-fan-ctrl", "false")).lower()
    form["_ant_fan_customize_value"] = str(conf.get("bitmain-fan-pwm", ""))
    form["_ant_freq"] = str(conf.get("bitmain-freq", ""))
    form["_ant_voltage"] = str(conf.get("bitmain-voltage", ""))
    return form
