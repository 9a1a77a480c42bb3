"""Lucky Miner LV06 and the Bitaxe family, over AxeOS (``hardware.md`` §4).

The firmware takes any number and enforces no voltage limit, so the limits here are the only ones. Before v2.2, and on
Lucky Miner's fork, settings are stored and come into force with a restart. What is in force is measured: the core
voltage by the regulator's own reading, the clock by the PLL's where it is told, else by the hash rate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from firmware_bridge.devices import axeos
from firmware_bridge.devices.device import Capabilities, Capability, Device, PoolSettings, Restart
from firmware_bridge.devices.http import HttpLink
from firmware_bridge.devices.settings import Bound, Limits, OperatingPoint, Reading, Setting
from firmware_bridge.devices.tap import TapFactory
from firmware_bridge.devices.telemetry import Identity, PoolState, Telemetry
from firmware_bridge.errors import DeviceError, LimitError, ProtocolError


@dataclass(frozen=True, slots=True)
class Chip:
    """Facts of a chip: cores, and the small cores that hash."""

    small_cores: int
    cores: int


CHIPS = {
    "BM1366": Chip(894, 112),
    "BM1368": Chip(1276, 80),
    "BM1370": Chip(2040, 128),
    "BM1397": Chip(672, 168),
}
BM1366_MHZ = (400.0, 425.0, 450.0, 475.0, 485.0, 500.0, 525.0, 550.0, 575.0)
BM1366_MV = (1100.0, 1150.0, 1200.0, 1250.0, 1300.0)

LIMITS = Limits(
    bounds={
        Setting.FREQUENCY: Bound(56.25, 650.0, BM1366_MHZ, "PLL of the BM1366 (hardware.md §1.7); menu §4.2"),
        Setting.CORE_VOLTAGE: Bound(
            1000.0, 1300.0, BM1366_MV, "menu of AxeOS for the BM1366, hardware.md §4.2"
        ),
        Setting.FAN: Bound(0.0, 100.0, tuple(float(p) for p in range(101)), "per cent"),
    },
    max_temperature_c=75.0,
)
"""AxeOS falls back to safe settings at 75 °C."""

VOLTAGE_TOLERANCE_MV = 24.0
"""A regulator shows up to 2 % less than what is set (1187 of 1200 mV), and the menu's steps are 50 mV."""
RATE_TOLERANCE = 0.04
"""Of a hash rate counted by the chip, and of one from so many shares that chance stays below it."""
RATE_COUNTED_FROM = (2, 9)
"""Before this version the hash rate is estimated from the shares found since the start."""
POWER_TOLERANCE = 0.08
"""How well a change of the clock shows in the power draw."""
STATIC_SHARE = 0.1
"""Part of the power that does not follow the clock; assumed, and the tolerance allows for three times as much."""
FLOOR = 256.0
FAN_TOLERANCE_PERCENT = 1.0
RESTART_LIMIT_S = 180.0
SETTLE_LIMIT_S = 30.0
POLL_S = 2.0

READS = frozenset(
    {
        "temperature_c", "regulator_temperature_c", "core_voltage_mv", "input_voltage_mv", "frequency_mhz", "power_w",
        "fan_rpm", "fan_percent", "hash_rate_ghs", "accepted", "rejected", "uptime_s", "fans_rpm", "pools",
    }
)  # fmt: skip


class LuckyLv06(Device):
    """An LV06, or another device with AxeOS.

    Args:
        address: ``lv06://HOST[:80]`` or ``axeos://HOST[:80]``.
        host: its address.
        port: of its web server.
        taps: of the flight recorder.
        transport: how HTTP travels; sockets if None.
        **common: see :class:`Device`.
    """

    name = "lv06"
    limits = LIMITS
    work = "stratum"

    def __init__(
        self,
        address: str,
        host: str,
        port: int = 80,
        *,
        taps: TapFactory | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
        timeout_s: float = 10.0,
        **common: Any,
    ) -> None:
        super().__init__(address, **common)
        base = f"http://{host}" if port == 80 else f"http://{host}:{port}"
        self._before: axeos.Info | None = None
        self.web = HttpLink(base, transport=transport, tap=taps(base) if taps else None, timeout_s=timeout_s)

    # ---- reading ----

    async def info(self) -> tuple[axeos.Info, bytes]:
        """The info page, understood and as it came.

        Raises:
            DeviceError: if it does not answer, or answers nonsense.
        """
        reply = await self.web.request("GET", axeos.INFO)
        if reply.status != 200:
            raise self.web.broken("GET", axeos.INFO, reply, "not 200")
        try:
            return axeos.decode_info(reply.body), reply.body
        except ProtocolError as error:
            raise self.web.broken("GET", axeos.INFO, reply, str(error)) from error

    async def identify(self) -> Identity:
        """Who it says it is.

        Raises:
            DeviceError: if this is no AxeOS.
        """
        info, body = await self.info()
        if info.asic is None and info.model is None:
            raise DeviceError(f"{self.address}: GET {axeos.INFO} names no chip and no model: {body[:200]!r}")
        lucky = info.era == axeos.LUCKY_ERA and (info.model or "").startswith("LV")
        chip = CHIPS.get(info.asic or "")
        return Identity(
            make="Lucky Miner" if lucky else "Bitaxe family",
            model=info.model or f"AxeOS device with {info.asic}",
            firmware=info.version,
            chips=info.asic_count or (1 if info.model == "LV06" else None),
            cores=chip.cores if chip else None,
            chip=info.asic,
            serial=info.mac,
            hostname=info.hostname,
        )

    async def read_telemetry(self) -> Telemetry:
        """Read the info page."""
        info, body = await self.info()
        pool: tuple[PoolState, ...] = ()
        if info.pool_host is not None:
            port = "" if info.pool_port is None else f":{info.pool_port}"
            pool = (PoolState(f"stratum+tcp://{info.pool_host}{port}", info.pool_user, True),)
        return Telemetry(
            wall_ns=self.clock.wall_ns(),
            monotonic_ns=self.clock.monotonic_ns(),
            temperature_c=info.temperature_c,
            regulator_temperature_c=info.regulator_temperature_c,
            core_voltage_mv=info.core_voltage_actual_mv,
            input_voltage_mv=info.input_voltage_mv,
            frequency_mhz=info.frequency_actual_mhz or info.frequency_mhz,
            power_w=info.power_w,
            fan_rpm=info.fan_rpm,
            fan_percent=info.fan_percent,
            hash_rate_ghs=info.hash_rate_ghs,
            accepted=info.accepted,
            rejected=info.rejected,
            uptime_s=info.uptime_s,
            fans_rpm=() if info.fan_rpm is None else (info.fan_rpm,),
            pools=pool,
            raw=axeos.redact(body).decode("utf-8", "replace"),
        )

    async def read_point(self) -> OperatingPoint:
        """What is stored; a fan that the firmware steers has no setting."""
        info, _ = await self.info()
        return OperatingPoint(
            frequency_mhz=info.frequency_mhz,
            core_voltage_mv=info.core_voltage_mv,
            fan_percent=None if info.auto_fan else info.fan_percent,
        )

    async def capabilities(self) -> Capabilities:
        """Frequency and voltage; the fan while it is not automatic."""
        info, _ = await self.info()
        if info.asic != "BM1366":
            why = f"no limits are known here for the chip {info.asic}; it is read only"
            return Capabilities(READS, (), dict.fromkeys(Setting, why))
        restart = not axeos.applies_live(info)
        sets = [
            Capability(Setting.FREQUENCY, restart, "actualFrequency, or the hash rate"),
            Capability(Setting.CORE_VOLTAGE, restart, "coreVoltageActual"),
        ]
        cannot = {Setting.POWER_PLAN: "AxeOS has no power plans"}
        if info.auto_fan is False:
            sets.append(Capability(Setting.FAN, False, "fan setting as reported"))
        else:
            cannot[Setting.FAN] = "the firmware steers the fan (autofanspeed); switch that off by hand first"
        return Capabilities(READS, tuple(sets), cannot)

    # ---- writing ----

    async def _patch(self, body: Mapping[str, Any]) -> None:
        reply = await self.web.request("PATCH", axeos.SYSTEM, body=body)
        if reply.status != 200:
            raise self.web.broken("PATCH", axeos.SYSTEM, reply, f"{sorted(body)} were not taken")

    async def _write_point(self, point: OperatingPoint) -> bool:
        info, body = await self.info()
        self._before = info
        changes: dict[str, Any] = {}
        if point.frequency_mhz is not None:
            changes["frequency"] = _plain(point.frequency_mhz)
        if point.core_voltage_mv is not None:
            changes["coreVoltage"] = _plain(point.core_voltage_mv)
        if point.fan_percent is not None:
            changes["fanspeed" if info.era is None or info.era < (2, 9) else "manualFanSpeed"] = _plain(
                point.fan_percent
            )
        await self._patch(axeos.settings_patch(info, body, changes))
        if set(changes) <= {"fanspeed", "manualFanSpeed"}:
            return False
        if axeos.applies_live(info):
            await self._await_rate()
            return False
        await self._restart(info.uptime_s)
        return True

    async def _refuse_when_hot(self) -> None:
        await super()._refuse_when_hot()
        info, _ = await self.info()
        if info.overheat:
            raise LimitError(
                f"{self.address}: the firmware is in its overheat fallback (overheat_mode 1) at safe settings; "
                "let it cool down, and clear it on the device's own page. Nothing was changed"
            )

    async def _restart(self, before_s: float | None) -> None:
        """Restart, and wait until it answers, began anew, and hashes: 40 to 60 s on an LV06."""
        restart = Restart(self.clock, before_s)
        reply = await self.web.request("POST", axeos.RESTART)
        if reply.status != 200:
            raise self.web.broken("POST", axeos.RESTART, reply, "it does not restart")
        waited_s, last = 0.0, "it never restarted"
        while waited_s < RESTART_LIMIT_S:
            await self.sleep(POLL_S)
            waited_s += POLL_S
            try:
                info, _ = await self.info()
            except DeviceError as error:
                restart.away()
                last = str(error)
                continue
            last = f"up time {info.uptime_s} s, {info.hash_rate_ghs} GH/s"
            if restart.over(info.uptime_s) and (info.hash_rate_ghs or 0.0) > 0.0:
                return
        raise DeviceError(f"{self.address}: it does not hash {RESTART_LIMIT_S:g} s after a restart: {last}")

    async def _await_rate(self) -> None:
        """Where settings apply live: until two readings of the hash rate agree, or for half a minute."""
        before, waited_s = None, 0.0
        while waited_s < SETTLE_LIMIT_S:
            await self.sleep(POLL_S)
            waited_s += POLL_S
            rate = (await self.info())[0].hash_rate_ghs
            if before is not None and rate is not None and abs(rate - before) <= 0.02 * max(rate, before):
                return
            before = rate

    async def _measure(self, point: OperatingPoint) -> Mapping[Setting, Reading]:
        info, _ = await self.info()
        readings: dict[Setting, Reading] = {}
        if point.core_voltage_mv is not None:
            readings[Setting.CORE_VOLTAGE] = Reading(
                info.core_voltage_actual_mv, VOLTAGE_TOLERANCE_MV, "coreVoltageActual"
            )
        if point.frequency_mhz is not None:
            readings[Setting.FREQUENCY] = _clock(info, point.frequency_mhz, self._before)
        if point.fan_percent is not None:
            readings[Setting.FAN] = Reading(
                info.fan_percent, FAN_TOLERANCE_PERCENT, "fan setting as reported"
            )
        return readings

    async def set_pool(self, pool: PoolSettings) -> bool:
        """Set the first pool, read it back, and restart so that it is used.

        Raises:
            DeviceError: if the firmware took the request and kept its old pool.
        """
        info, body = await self.info()
        await self._patch(axeos.pool_patch(info, body, pool.host, pool.port, pool.user, pool.password))
        now, _ = await self.info()
        if (now.pool_host, now.pool_port, now.pool_user) != (pool.host, pool.port, pool.user):
            raise DeviceError(
                f"{self.address}: it answered 200 and still has pool {now.pool_host}:{now.pool_port}, user "
                f"{now.pool_user}: firmware {now.version} does not take the pool this way; set it on its own page"
            )
        await self._restart(info.uptime_s)
        return True

    async def aclose(self) -> None:
        """Close the web link."""
        await self.web.aclose()


def _clock(info: axeos.Info, asked_mhz: float, before: axeos.Info | None) -> Reading:
    """The clock as measured: by the PLL, by the hash rate that it must give, or by how the power draw changed."""
    if info.frequency_actual_mhz is not None:
        return Reading(info.frequency_actual_mhz, 1.0, "actualFrequency")
    chip = CHIPS.get(info.asic or "")
    small_cores = info.small_cores or (chip.small_cores if chip else None)
    rate, spread = info.hash_rate_ghs, _rate_spread(info)
    if rate is not None and small_cores is not None and spread <= RATE_TOLERANCE:
        measured = rate * 1e3 / (small_cores * (info.asic_count or 1))
        return Reading(round(measured, 1), RATE_TOLERANCE * asked_mhz, "hash rate / small cores")
    if before is not None and (by_power := _clock_by_power(info, before)) is not None:
        return Reading(round(by_power, 1), POWER_TOLERANCE * asked_mhz, "change of the power draw")
    return Reading(None, 0.0, "nothing that measures the clock")


def _rate_spread(info: axeos.Info) -> float:
    """Relative uncertainty of the hash rate: where it comes from shares of difficulty 256, that of their number."""
    if info.era is not None and info.era >= RATE_COUNTED_FROM:
        return 0.0
    if info.hash_rate_ghs is None or info.uptime_s is None:
        return math.inf
    shares = info.hash_rate_ghs * 1e9 * info.uptime_s / (FLOOR * 2**32)
    return 2.0 / math.sqrt(shares) if shares > 0 else math.inf


def _clock_by_power(now: axeos.Info, before: axeos.Info) -> float | None:
    """Clock in MHz from the power before and now: switching power goes with clock and voltage squared."""
    if None in (now.power_w, before.power_w, before.frequency_mhz) or not before.power_w:
        return None
    volts = 1.0
    if now.core_voltage_actual_mv and before.core_voltage_actual_mv:
        volts = now.core_voltage_actual_mv / before.core_voltage_actual_mv
    switching = ((now.power_w or 0.0) / before.power_w - STATIC_SHARE) / (1 - STATIC_SHARE)
    return switching / volts**2 * (before.frequency_mhz or 0.0)


def _plain(value: float) -> int | float:
    """Old firmware reads integers only."""
    return int(value) if value == int(value) else value
