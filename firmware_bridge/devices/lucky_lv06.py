"""Lucky Miner LV06 and the Bitaxe family, over AxeOS (``hardware.md`` §4).

The firmware takes any number and enforces no voltage limit, so the limits here are the only ones. Before v2.2, and on
Lucky Miner's fork, settings are stored and come into force with a restart. What is in force is measured: the core
voltage by the regulator's own reading; the clock by the PLL's where it is told, by the hash rate where the chip counts
it, and else by how the power draw changed, since a rate from a hundred shares is only good to a fifth.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import httpx2

from firmware_bridge.devices import axeos, fields
from firmware_bridge.devices.axeos_chips import CHIPS, LIMITS, SETTABLE
from firmware_bridge.devices.device import Capabilities, Capability, Device, PoolSettings, Restart
from firmware_bridge.devices.http import HttpLink
from firmware_bridge.devices.settings import OperatingPoint, Reading, Setting
from firmware_bridge.devices.tap import TapFactory
from firmware_bridge.devices.telemetry import Identity, PoolState, Telemetry
from firmware_bridge.errors import DeviceError, LimitError, ProtocolError

VOLTAGE_TOLERANCE_MV = 24.0
"""A regulator shows up to 2 % less than what is set (1187 of 1200 mV), and the menu's steps are 50 mV."""
PLL_TOLERANCE_MHZ = 2.0
"""The PLL has no step for each frequency."""
RATE_TOLERANCE = 0.04
"""Of a hash rate counted by the chip."""
POWER_TOLERANCE = 0.08
"""How well a change of the clock shows in the power draw."""
STATIC_SHARE = 0.1
"""Part of the power that does not follow the clock; assumed, and the tolerance allows for three times as much."""
FAN_TOLERANCE_PERCENT = 1.0
ANSWER_LIMIT_S = 180.0
"""A device that does not answer for so long after a restart is given up; an LV06 is away for 40 to 60 s."""
IGNORED_S = 30.0
"""A device that goes on answering for so long, its up time counting on, has not restarted."""
HASHING_LIMIT_S = 90.0
"""How long to wait for hashes after a restart; without a pool there are none, which is no reason not to go on."""
SETTLE_LIMIT_S = 60.0
"""How long a setting that is applied live may take until it can be measured."""
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
        timeout_s: of one request.
        wifi_password: of the device's network: only firmware up to v2.0.3 needs it, to change any setting.
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
        wifi_password: str | None = None,
        **common: Any,
    ) -> None:
        super().__init__(address, **common)
        base = f"http://{host}" if port == 80 else f"http://{host}:{port}"
        self._before: axeos.Info | None = None
        self._wifi_password = wifi_password
        self.web = HttpLink(
            base,
            transport=transport,
            tap=taps(base) if taps else None,
            redact=axeos.redact,
            timeout_s=timeout_s,
        )

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
            shown = axeos.redact(body)[:200]
            raise DeviceError(f"{self.address}: GET {axeos.INFO} names no chip and no model: {shown!r}")
        lucky = info.era == axeos.LUCKY_ERA and (info.model or "").startswith("LV")
        chip = CHIPS.get(info.asic or "")
        return Identity(
            make="Lucky Miner" if lucky else "Bitaxe family",
            model=info.model or f"AxeOS device with {info.asic}",
            firmware=info.version,
            chips=info.chips or (1 if info.model == "LV06" else None),
            cores=chip.cores if chip else None,
            chip=info.asic,
            serial=info.mac,
            hostname=info.hostname,
        )

    async def read_telemetry(self) -> Telemetry:
        """Read the info page."""
        info, body = await self.info()
        return Telemetry(
            wall_ns=self.clock.wall_ns(),
            monotonic_ns=self.clock.monotonic_ns(),
            temperature_c=fields.largest([info.temperature_c, info.temperature2_c]),
            regulator_temperature_c=info.regulator_temperature_c,
            core_voltage_mv=info.core_voltage_actual_mv,
            input_voltage_mv=info.input_voltage_mv,
            frequency_mhz=info.frequency_actual_mhz or info.frequency_mhz,
            power_w=info.power_w,
            fan_rpm=fields.largest([info.fan_rpm, info.fan2_rpm]),
            fan_percent=info.fan_percent,
            hash_rate_ghs=info.hash_rate_ghs,
            accepted=info.accepted,
            rejected=info.rejected,
            uptime_s=info.uptime_s,
            fans_rpm=tuple(rpm for rpm in (info.fan_rpm, info.fan2_rpm) if rpm is not None),
            pools=_pools(info),
            raw=axeos.redact(body).decode("utf-8", "replace"),
        )

    async def read_point(self) -> OperatingPoint:
        """What is stored; a fan that the firmware steers has no setting."""
        info, _ = await self.info()
        return OperatingPoint(
            frequency_mhz=info.frequency_mhz,
            core_voltage_mv=info.core_voltage_mv,
            fan_percent=None if info.auto_fan else info.fan_set_percent,
        )

    async def capabilities(self) -> Capabilities:
        """Frequency and voltage; the fan while it is not automatic."""
        info, _ = await self.info()
        if info.asic != SETTABLE:
            why = f"no hard limits are known here for the chip {info.asic}; it is read only"
            return Capabilities(READS, (), dict.fromkeys(Setting, why))
        if axeos.needs_everything(info) and self._wifi_password is None:
            why = (
                f"firmware {info.version} stores the Wi-Fi password anew with each change and does not tell it; "
                "update the firmware, or set this on the device's own page"
            )
            return Capabilities(READS, (), dict.fromkeys(Setting, why))
        restart = not info.applies_live
        sets = [
            Capability(Setting.FREQUENCY, restart, _clock_measure(info)),
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
        self._refuse_fallen_back(info)
        self._before = info
        changes: dict[str, Any] = {}
        if point.frequency_mhz is not None:
            changes["frequency"] = _plain(point.frequency_mhz)
        if point.core_voltage_mv is not None:
            changes["coreVoltage"] = _plain(point.core_voltage_mv)
        only_fan = not changes
        if point.fan_percent is not None:
            name = "fanspeed" if info.fan_manual_percent is None else "manualFanSpeed"
            changes[name] = _plain(point.fan_percent)
        await self._patch(axeos.settings_patch(info, body, changes, self._wifi_password))
        if only_fan or info.applies_live:
            await self._settle(point)
            return False
        return await self._restart(info)

    async def _refuse_when_hot(self, point: OperatingPoint, present: OperatingPoint) -> None:
        await super()._refuse_when_hot(point, present)
        self._refuse_fallen_back((await self.info())[0])

    async def _restore_only_what_cools_when_hot(
        self, original: OperatingPoint, present: OperatingPoint
    ) -> None:
        self._refuse_fallen_back((await self.info())[0])
        await super()._restore_only_what_cools_when_hot(original, present)

    def _refuse_fallen_back(self, info: axeos.Info) -> None:
        if info.fell_back:
            shown = (
                "overheat_mode 1"
                if info.overheat
                else f"{info.frequency_mhz:g} MHz, {info.core_voltage_mv:g} mV"
            )
            raise LimitError(
                f"{self.address}: the firmware is in its overheat fallback ({shown}) at safe settings; let it cool "
                "down, find out why, and clear it on the device's own page. Nothing was changed"
            )

    def _seconds_since(self, began_ns: int) -> float:
        return (self.clock.monotonic_ns() - began_ns) / 1e9

    async def _restart(self, before: axeos.Info) -> bool:
        """Restart, wait until it answers and has begun anew, and a while longer until it hashes.

        Returns:
            Whether it restarted; False where it went on answering as if nothing had been asked.

        Raises:
            DeviceError: if it refuses, or does not come back.
        """
        began_ns, restart = self.clock.monotonic_ns(), Restart(self.clock, before.uptime_s)
        reply = None
        with contextlib.suppress(
            DeviceError
        ):  # before v2.1.8 it goes without a word; what it does is watched below
            reply = await self.web.request("POST", axeos.RESTART)
        if reply is not None and reply.status != 200:
            raise self.web.broken("POST", axeos.RESTART, reply, "it does not restart")
        was_away = False
        while True:
            await self.sleep(POLL_S)
            passed_s = self._seconds_since(began_ns)
            try:
                info, _ = await self.info()
            except DeviceError as error:
                restart.away()
                was_away = True
                if passed_s > ANSWER_LIMIT_S:
                    raise DeviceError(
                        f"{self.address}: no answer {passed_s:.0f} s after a restart: {error}"
                    ) from error
                continue
            if restart.over(info.uptime_s) or (info.uptime_s is None and was_away):
                await self._await_hashes()
                return True
            if passed_s > (ANSWER_LIMIT_S if was_away else IGNORED_S):
                return False

    async def _await_hashes(self) -> None:
        began_ns = self.clock.monotonic_ns()
        while True:
            with contextlib.suppress(DeviceError):  # Wi-Fi may come and go in the first seconds
                if (await self.info())[0].hash_rate_ghs:
                    return
            if self._seconds_since(began_ns) > HASHING_LIMIT_S:
                return
            await self.sleep(POLL_S)

    async def _settle(self, point: OperatingPoint) -> None:
        """Where settings apply live: until they are measured in force, or for a minute."""
        began_ns = self.clock.monotonic_ns()
        while True:
            measured, asked = await self._measure(point), point.given()
            if all(r.value is None or r.confirms(asked[s]) for s, r in measured.items()):
                return
            if self._seconds_since(began_ns) > SETTLE_LIMIT_S:
                return
            await self.sleep(POLL_S)

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
                info.fan_percent, FAN_TOLERANCE_PERCENT, "fan speed that it is told, as reported"
            )
        return readings

    async def set_pool(self, pool: PoolSettings) -> bool:
        """Set the first pool, read it back, and restart so that it is used.

        Raises:
            DeviceError: if the firmware took the request and kept its old pool.
        """
        info, body = await self.info()
        patch = axeos.pool_patch(
            info, body, pool.host, pool.port, pool.user, pool.password, self._wifi_password
        )
        await self._patch(patch)
        now, _ = await self.info()
        if (now.pool_host, now.pool_port, now.pool_user) != (pool.host, pool.port, pool.user):
            raise DeviceError(
                f"{self.address}: it answered 200 and still has pool {now.pool_host}:{now.pool_port}, user "
                f"{now.pool_user}: firmware {now.version} does not take the pool this way; set it on its own page"
            )
        if not await self._restart(info):
            raise DeviceError(
                f"{self.address}: it stored the pool {pool.host}:{pool.port} and did not restart when it was told to, "
                "so it still mines for the old one; restart it by hand"
            )
        return True

    async def aclose(self) -> None:
        """Close the web link."""
        await self.web.aclose()


def _pools(info: axeos.Info) -> tuple[PoolState, ...]:
    listed = (
        (info.pool_host, info.pool_port, info.pool_user, not info.on_fallback),
        (info.fallback_host, info.fallback_port, info.fallback_user, bool(info.on_fallback)),
    )
    return tuple(
        PoolState(f"stratum+tcp://{host}" + ("" if port is None else f":{port}"), user, active)
        for host, port, user, active in listed
        if host is not None
    )


def _clock_measure(info: axeos.Info) -> str:
    if info.frequency_actual_mhz is not None:
        return "actualFrequency"
    return "hash rate" if info.counts_hashes else "change of the power draw"


def _clock(info: axeos.Info, asked_mhz: float, before: axeos.Info | None) -> Reading:
    """The clock as measured: by the PLL, by the hash rate that it must give, or by how the power draw changed."""
    what = _clock_measure(info)
    if info.frequency_actual_mhz is not None:
        return Reading(info.frequency_actual_mhz, PLL_TOLERANCE_MHZ, what)
    if not info.hash_rate_ghs or info.paused:
        return Reading(None, 0.0, "nothing, since it does not hash")
    if info.counts_hashes:
        chip = CHIPS.get(info.asic or "")
        small_cores = info.small_cores or (chip.small_cores if chip else None)
        if small_cores is not None:
            measured = info.hash_rate_ghs * 1e3 / (small_cores * (info.chips or 1))
            return Reading(round(measured, 1), RATE_TOLERANCE * asked_mhz, what)
    by_power = None if before is None else _clock_by_power(info, before)
    if by_power is not None:
        return Reading(round(by_power, 1), POWER_TOLERANCE * asked_mhz, "change of the power draw")
    return Reading(None, 0.0, "nothing that measures the clock")


def _clock_by_power(now: axeos.Info, before: axeos.Info) -> float | None:
    """Clock in MHz from the power before and now: switching power goes with clock and voltage squared."""
    if now.power_w is None or not before.power_w or before.frequency_mhz is None or not before.hash_rate_ghs:
        return None
    volts = 1.0
    if now.core_voltage_actual_mv and before.core_voltage_actual_mv:
        volts = now.core_voltage_actual_mv / before.core_voltage_actual_mv
    if not 0.1 < volts < 10.0:
        return None
    switching = (now.power_w / before.power_w - STATIC_SHARE) / (1 - STATIC_SHARE)
    return switching / volts**2 * before.frequency_mhz


def _plain(value: float) -> int | float:
    """Old firmware reads integers only."""
    return int(value) if value == int(value) else value
