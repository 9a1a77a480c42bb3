"""The body of an emulated miner behind its network faces: heat, settings, counters, and the hashing that goes on.

It starts as a device that has been running for a while: up time, averages and counters have plausible values from the
first question on, and then follow the heat and the shares that a pool really accepted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from firmware_bridge.clock import Clock
from firmware_bridge.emulator.faults import Body, Faults
from firmware_bridge.emulator.thermal import FACTS, Thermal

UPTIME_S = 7240.0
"""Since its last start, when the lab first sees it."""
BASE_ERRORS = 3
"""Hardware errors that it seems to have had before."""
REPORTED_FROM = 256.0
"""Difficulty from which a chip reports a nonce, right or wrong."""
RATE_STEP = 0.02
"""Change of the share of right hashes from which the hashing is told to go on at another rate."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Shares that an emulated miner's pools have answered, and connections that it made for them."""

    accepted: int = 0
    rejected: int = 0
    connections: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.accepted + other.accepted,
            self.rejected + other.rejected,
            self.connections + other.connections,
        )


@dataclass
class Settings:
    """What the firmware has stored; in force after the next start where ``Machine.live`` is False."""

    frequency_mhz: float
    core_voltage_mv: float
    fan_percent: float | None = None
    pool_host: str = ""
    pool_port: int = 0
    pool_user: str = ""
    plan: str | None = None


@dataclass
class Machine:
    """State of one emulated miner.

    Attributes:
        model: name, as in ``thermal.FACTS``.
        ghs_per_mhz: nominal hash rate per MHz of clock, GH/s.
        clock: for up time and heat.
        rng: of the small fluctuation of reported rates.
        stored: what the firmware will use from its next start on.
        in_force: what it uses now.
        counts: shares answered since this process began.
        base_counts: shares that it seems to have had before.
        on_restart: called by a face that wants the device to start again.
        on_pool: the same, when the stored settings with another pool are to be used now.
        on_rate: the same, when the hashing is to go on at the clock that is in force now.
        pool_difficulty: difficulty of the present job, None where there is none.
    """

    model: str
    ghs_per_mhz: float
    clock: Clock
    rng: np.random.Generator
    stored: Settings = field(init=False)
    in_force: Settings = field(init=False)
    counts: Callable[[], Counts] = field(default=lambda: Counts())
    base_counts: Counts = Counts(318, 2)
    on_restart: Callable[[], None] = field(default=lambda: None)
    on_pool: Callable[[], None] = field(default=lambda: None)
    on_rate: Callable[[], None] = field(default=lambda: None)
    pool_difficulty: Callable[[], float | None] = field(default=lambda: None)

    def __post_init__(self) -> None:
        facts = FACTS[self.model]
        self._started_ns = self.clock.monotonic_ns() - int(UPTIME_S * 1e9)
        self.thermal = Thermal(facts, self.clock.monotonic_ns())
        self.body = Body(self.thermal)
        self._told_fraction = 1.0
        self.stored = Settings(facts.frequency_mhz, facts.core_voltage_mv)
        self.in_force = Settings(facts.frequency_mhz, facts.core_voltage_mv)
        self.before_restart = Counts()

    @property
    def faults(self) -> Faults:
        """Of its body."""
        return self.body.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self.body.faults = faults

    def advance(self) -> None:
        """Bring heat up to now; where that changes how much is hashed, say so."""
        self.body.advance(self.clock.monotonic_ns())
        fraction = self.thermal.hash_fraction
        if self.thermal.running and abs(fraction - self._told_fraction) > RATE_STEP:
            self._told_fraction = fraction
            self.on_rate()

    def sensed_c(self) -> tuple[float | None, float | None]:
        """Temperature of the hottest chip and of the board as the sensors tell; None where they are lost."""
        return self.body.sensed() or (None, None)

    @property
    def hardware_errors(self) -> int:
        """Nonces that the host found wrong, from a chip whose logic is too slow for its clock."""
        nominal_ghs = self.ghs_per_mhz * self.thermal.facts.frequency_mhz
        return BASE_ERRORS + int(self.thermal.wrong_s * nominal_ghs * 1e9 / 2**32 / REPORTED_FROM)

    @property
    def uptime_s(self) -> float:
        """Seconds since its last start."""
        return (self.clock.monotonic_ns() - self._started_ns) / 1e9

    @property
    def hash_rate_ghs(self) -> float:
        """Right hashes at the clock in force, while it hashes."""
        return self.ghs_per_mhz * self.in_force.frequency_mhz * self.thermal.hash_fraction

    def reported_rate_ghs(self, spread: float = 0.004) -> float:
        """The rate as firmware reports it over a few seconds: it fluctuates a little."""
        return self.hash_rate_ghs * (1.0 + spread * float(np.clip(self.rng.standard_normal(), -2.5, 2.5)))

    @property
    def accepted(self) -> int:
        """Shares accepted since the last start."""
        return self.base_counts.accepted + self.counts().accepted - self.before_restart.accepted

    @property
    def rejected(self) -> int:
        """Shares rejected since the last start."""
        return self.base_counts.rejected + self.counts().rejected - self.before_restart.rejected

    @property
    def connections(self) -> int:
        """Handshakes with a pool since the last start."""
        return self.counts().connections - self.before_restart.connections

    def take_up(self) -> None:
        """Put the stored settings in force, as at a start or where a firmware applies them live."""
        self.advance()
        self.in_force = Settings(**vars(self.stored))
        self.thermal.frequency_mhz = self.in_force.frequency_mhz
        self.thermal.core_voltage_mv = self.in_force.core_voltage_mv
        self.thermal.fan_override_percent = self.in_force.fan_percent

    def stop(self) -> None:
        """The device restarts: nothing hashes."""
        self.advance()
        self.thermal.running = False

    def start(self) -> None:
        """It is back, with the stored settings and counters at zero."""
        self.thermal.restart()
        self.take_up()
        self.thermal.running = True
        self._started_ns = self.clock.monotonic_ns()
        self.base_counts = Counts()
        self.before_restart = self.counts()
