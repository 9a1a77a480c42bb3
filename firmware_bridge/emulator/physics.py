"""What makes the timing of an emulated miner: every mechanism with its value, its source and its switch.

The values of the Antminer S9 were measured on the recording ``s9_stratum_shares.csv`` (2588 shares, a new job after
every share; ``statistics.md`` §1) and not on anything that this lab computes: the null model of a verdict fits its own.
A mechanism that was never measured on a model is off by default there.

How an S9 switches jobs, as the recording shows it. A notify starts a *load*: the boards stop, and the first work of the
new job runs about 18 ms later. For some 36 ms after its start a load is *busy*. A notify that falls into that time
spoils it: the boards restart the job they had (from extranonce2 0, so they find its first shares again; the
driver drops a nonce equal to the last one it reported, which is why a duplicate always stands two rows later), and the
load proper begins about 32 ms late.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from firmware_bridge.errors import UserError

PARAMETERS = (
    "dead_time", "late_loads", "duplicates", "delay", "load_ms", "load_jitter_ms", "refill_ms", "refill_works",
    "first_works", "stop_at_once", "stop_spread_ms", "pickup_ms", "busy_ms", "busy_sd_ms", "late_ms", "late_sd_ms",
    "stale_stop_ms", "stale_start_ms",
    "stale_halt_ms", "reload_at_once", "poll_ms", "network_ms", "turnaround_ms", "turnaround_sd_ms",
    "round_trip_ms",
)  # fmt: skip
"""Order in which :meth:`Physics.vector` hands the values to the engine."""


@dataclass(frozen=True)
class Physics:
    """One miner's timing model. Defaults are those of the recorded Antminer S9.

    Shares are Poisson in work-time by construction: the hash is fair, whatever is switched here.

    Attributes:
        dead_time: switch: a new job costs time (``load_*``, ``refill_*``, ``first_works``, ``stop_*``).
        late_loads: switch: a notify into a busy load delays the next one (``busy_*``, ``late_*``, ``pickup_ms``).
        duplicates: switch: such a notify restarts the previous job (``stale_*``); needs ``late_loads``.
        delay: switch: shares wait for the host's poll and the network (``poll_ms``, ``network_ms``), and the pool
            takes its time to answer with a job (``turnaround_*``).
        clock_tick: switch: stamps are multiples of ``clock_tick_ns``.
        thermal: switch: the temperature wanders (``temperature_*``); off means constant.
        hash_rate_ths: rate while hashing in TH/s; None means the model's own. S9: 14.52 from the slope.
        load_ms: from a notify to the moment that work 0 of its job would start. Measured: 18.1 less half a poll.
        load_jitter_ms: standard deviation of it.
        refill_ms: pause of the works after the first ``refill_works`` of a load, not of a restart. Measured: 3.5 ms.
        refill_works: works issued at once after a load. Measured: 15 to 16.
        first_works: works at the start of a job that never give a share. Measured: 4 (extranonce2 0 to 3).
        stop_at_once: probability that the old job stops with the notify. Measured: 0.8.
        stop_spread_ms: otherwise it stops within this time.
        pickup_ms: a notify within up to this time of another is taken by the same load. Measured: 9 ms.
        busy_ms: how long after its start a load can be spoiled. Measured: 36 ms.
        busy_sd_ms: its standard deviation.
        late_ms: how late the load after a spoiled one begins. Measured: 32 ms.
        late_sd_ms: its standard deviation.
        stale_stop_ms: when, after the notify that spoils a load, the boards stop the previous job.
        stale_start_ms: when they start it anew.
        stale_halt_ms: when, after a further notify, the restarted job stops for good. Measured: 13.5 ms.
        reload_at_once: probability that a notify during the restart is loaded at once, not late. Measured: 0.2.
        poll_ms: period at which the host collects nonces. Measured: bunching of old-job shares.
        network_ms: mean of an exponential delay between host and pool; not measured apart from the poll.
        turnaround_ms: from a share to the next notify in the recording's pool (swh). Measured: 0.88 ms.
        turnaround_sd_ms: its standard deviation.
        round_trip_ms: to a pool that is far away and back, in virtual time, whatever ``delay`` says; the recording's
            pool stood beside the miner.
        clock_tick_ns: resolution of the stamps. Recording: 238 ns, a double near 1.77e9 s.
        temperature_c: mean chip temperature; 75 °C is what ``hardware.md`` §3.3 shows.
        temperature_sd_c: standard deviation of its slow wander; assumed, no recording carries it.
        temperature_tau_s: its relaxation time (one RC); assumed.
        telemetry_period_s: time between two readings.
    """

    dead_time: bool = True
    late_loads: bool = True
    duplicates: bool = True
    delay: bool = True
    clock_tick: bool = True
    thermal: bool = True
    hash_rate_ths: float | None = None
    load_ms: float = 16.1
    load_jitter_ms: float = 0.6
    refill_ms: float = 3.5
    refill_works: float = 16
    first_works: float = 4
    stop_at_once: float = 0.8
    stop_spread_ms: float = 16.0
    pickup_ms: float = 9.0
    busy_ms: float = 36.0
    busy_sd_ms: float = 2.3
    late_ms: float = 32.2
    late_sd_ms: float = 2.4
    stale_stop_ms: float = 12.0
    stale_start_ms: float = 12.9
    stale_halt_ms: float = 13.5
    reload_at_once: float = 0.2
    poll_ms: float = 3.5
    network_ms: float = 0.1
    turnaround_ms: float = 0.88
    turnaround_sd_ms: float = 0.13
    round_trip_ms: float = 0.0
    clock_tick_ns: int = 238
    temperature_c: float = 75.0
    temperature_sd_c: float = 1.5
    temperature_tau_s: float = 60.0
    telemetry_period_s: float = 3.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if isinstance(value, bool) or value is None:
                continue
            if not (math.isfinite(value) and value >= 0):
                raise UserError(f"physics: {name} is a number >= 0, not {value!r}")
        if self.poll_ms == 0 and self.delay:
            raise UserError("physics: poll_ms is above 0; switch the whole mechanism off with delay = false")
        if self.clock_tick_ns < 1 or self.telemetry_period_s == 0 or self.temperature_tau_s == 0:
            raise UserError("physics: clock_tick_ns, telemetry_period_s and temperature_tau_s are above 0")
        if self.stop_at_once > 1 or self.reload_at_once > 1:
            raise UserError("physics: stop_at_once and reload_at_once are probabilities")
        if self.hash_rate_ths == 0:
            raise UserError("physics: a miner of 0 TH/s never finds a share; give hash_rate_ths > 0")

    @classmethod
    def off(cls) -> Physics:
        """Pure Poisson in wall time: jobs switch at once, nothing waits, stamps are exact to the nanosecond."""
        return cls(
            dead_time=False, late_loads=False, duplicates=False, delay=False, clock_tick=False, thermal=True
        )

    @classmethod
    def of(cls, model: str) -> Physics:
        """Default physics of a model.

        An LV06 loads a job in the time that 88 bytes take at 1 Mbaud (0.88 ms) and reports a nonce in 0.11 ms; its
        dead time beyond that, late loads and duplicates were never measured, so they are off.
        """
        if model in ("lv06", "lb-box"):  # of an LB-Box nothing at all was measured
            return replace(
                cls(),
                late_loads=False,
                duplicates=False,
                load_ms=0.88,
                load_jitter_ms=0.0,
                refill_ms=0.0,
                first_works=0,
                stop_at_once=1.0,
                temperature_c=58.0,
            )
        return cls()

    def vector(self) -> npt.NDArray[np.float64]:
        """The values that the engine needs, in the order of ``PARAMETERS``; switches as 0 or 1."""
        return np.array([float(getattr(self, name)) for name in PARAMETERS])

    def tick_ns(self) -> int:
        """Resolution of the stamps in ns."""
        return self.clock_tick_ns if self.clock_tick else 1

    def temperatures(self, rng: np.random.Generator, n: int) -> npt.NDArray[np.float64]:
        """``n`` readings of the chip temperature in °C, ``telemetry_period_s`` apart: a stationary AR(1).

        That is one thermal RC driven by white noise, read at equal distances.
        """
        if not self.thermal:
            return np.full(n, self.temperature_c)
        from scipy.signal import lfilter

        keep = math.exp(-self.telemetry_period_s / self.temperature_tau_s)
        noise = rng.standard_normal(n) * math.sqrt(1 - keep * keep)
        if n:
            noise[0] = rng.standard_normal()
        wander = lfilter([1.0], [1.0, -keep], noise)
        return np.asarray(self.temperature_c + self.temperature_sd_c * wander, dtype=np.float64)

    def to_json(self) -> dict[str, Any]:
        """Every value, for the run record."""
        return asdict(self)
