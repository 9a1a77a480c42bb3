"""What a device tells of itself: who it is, and one reading of everything that it measures."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from firmware_bridge.trace.schema import TelemetryRow


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a device says it is; None where it does not say.

    Attributes:
        make: for example ``Bitmain``.
        model: for example ``Antminer S9``.
        firmware: version as the device writes it.
        chips: number of hashing chips.
        cores: cores per chip.
        chip: name of the chip.
        serial: serial number or MAC address.
        hostname: its name in the network.
    """

    make: str
    model: str
    firmware: str | None = None
    chips: int | None = None
    cores: int | None = None
    chip: str | None = None
    serial: str | None = None
    hostname: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class PoolState:
    """A pool as the device lists it."""

    url: str
    user: str | None = None
    active: bool | None = None
    status: str | None = None


@dataclass(frozen=True, slots=True)
class BoardReading:
    """One hashboard; None where the device does not say."""

    board: int
    temperature_c: float | None = None
    board_temperature_c: float | None = None
    frequency_mhz: float | None = None
    hash_rate_ghs: float | None = None
    chips: int | None = None
    hardware_errors: int | None = None


@dataclass(frozen=True, slots=True)
class Telemetry:
    """One reading of a device; None where the device did not say, never 0.

    Attributes:
        wall_ns: when the answer was complete, ns since the epoch.
        monotonic_ns: the same on the monotonic clock.
        temperature_c: hottest chip.
        board_temperature_c: hottest board sensor.
        regulator_temperature_c: voltage regulator.
        core_voltage_mv: core voltage as *measured*.
        input_voltage_mv: supply voltage.
        frequency_mhz: chip clock as the firmware reports it.
        power_w: as the firmware reports it.
        fan_rpm: fastest fan.
        fan_percent: what the fan is told.
        hash_rate_ghs: as the firmware reports it.
        hardware_errors: nonces that the host rejected.
        accepted: shares accepted by the pool.
        rejected: shares rejected by the pool.
        uptime_s: since its last start.
        boards: per hashboard.
        fans_rpm: each fan.
        pools: as listed.
        raw: the answers that this was read from, secrets replaced.
    """

    wall_ns: int
    monotonic_ns: int
    temperature_c: float | None = None
    board_temperature_c: float | None = None
    regulator_temperature_c: float | None = None
    core_voltage_mv: float | None = None
    input_voltage_mv: float | None = None
    frequency_mhz: float | None = None
    power_w: float | None = None
    fan_rpm: float | None = None
    fan_percent: float | None = None
    hash_rate_ghs: float | None = None
    hardware_errors: int | None = None
    accepted: int | None = None
    rejected: int | None = None
    uptime_s: float | None = None
    boards: tuple[BoardReading, ...] = ()
    fans_rpm: tuple[float, ...] = ()
    pools: tuple[PoolState, ...] = ()
    raw: str | None = None

    def to_row(self, miner: int | None) -> TelemetryRow:
        """As a row of the trace."""
        return TelemetryRow(
            miner=miner,
            wall_ns=self.wall_ns,
            monotonic_ns=self.monotonic_ns,
            temperature_c=self.temperature_c,
            board_temperature_c=self.board_temperature_c,
            voltage_mv=self.core_voltage_mv,
            frequency_mhz=self.frequency_mhz,
            power_w=self.power_w,
            fan_rpm=self.fan_rpm,
            fan_percent=self.fan_percent,
            hash_rate_ghs=self.hash_rate_ghs,
            raw=self.raw,
            regulator_temperature_c=self.regulator_temperature_c,
            input_voltage_mv=self.input_voltage_mv,
            hardware_errors=self.hardware_errors,
        )

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)
