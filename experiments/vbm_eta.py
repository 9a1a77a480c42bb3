"""Time efficiency of emulated miners that wait or queue, at several distances of the pool, against the formula.

eta is measured twice. The *ledger* of the miner says for what part of its cycles it hashed. The *shares* say it without
the ledger: n shares that take ``t_hash`` each stand for ``n t_hash`` of hashing in the time that passed. The formula is
given the ``t_hash`` that was set, and the wait that was measured: a pool at 50 ms answers after 50 ms and a little.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from firmware_bridge.clock import Clock, SystemClock
from firmware_bridge.efficiency import eta
from firmware_bridge.emulator.builtin_pool import BuiltinPool
from firmware_bridge.emulator.delay import DelayRelay
from firmware_bridge.emulator.work_miner import Ledger, WorkMiner
from firmware_bridge.errors import UserError

Firmware = Literal["waits", "queues"]
FIRMWARES: tuple[Firmware, ...] = ("waits", "queues")
ROUND_TRIPS_S = (0.0, 0.05, 0.2)
LEVEL = 0.95
"""Of all intervals together."""
FEWEST = 20
"""Cycles below which a cell has no interval."""

Interval = tuple[float, float, float]
"""Estimate, low, high."""


@dataclass(frozen=True)
class EtaPlan:
    """What is measured.

    Attributes:
        round_trips_s: to the emulated pool.
        t_hash_s: mean time of a share; exponential.
        seconds: for which each miner runs; all run at the same time.
        miners: per cell.
        seed: of hashing times and jobs.
    """

    round_trips_s: tuple[float, ...] = ROUND_TRIPS_S
    t_hash_s: float = 0.1
    seconds: float = 20.0
    miners: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.round_trips_s or not all(0.0 <= r < 60.0 for r in self.round_trips_s):
            raise UserError(f"round trips are 0 to 60 s, not {self.round_trips_s!r}")
        for name in ("t_hash_s", "seconds"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise UserError(f"{name} is above 0 s, not {getattr(self, name)!r}")
        if self.miners < 1:
            raise UserError(f"at least one miner, not {self.miners}")


@dataclass(frozen=True)
class EtaCell:
    """One firmware at one distance.

    Attributes:
        round_trip_s: that was set.
        firmware: what it does after a share.
        cycles: whole ones, each with a share.
        accepted: shares that the pool accepted.
        rejected: that it refused.
        way_s: round trip that the way itself took, measured there.
        network_s: mean wait after a share, measured by the miners; 0 for one that queues.
        ledger: eta by the ledger, with its interval; None below ``FEWEST`` cycles.
        shares: eta by the count of shares, with its interval; None as above.
        formula: of the ``t_hash`` that was set and the wait that was measured.
        as_set: of the ``t_hash`` and the round trip that were set.
        late: part of the time by which this host's timers rang late, which is taken out.
    """

    round_trip_s: float
    firmware: Firmware
    cycles: int
    accepted: int
    rejected: int
    way_s: float
    network_s: float
    ledger: Interval | None
    shares: Interval | None
    formula: float
    as_set: float
    late: float

    @property
    def agrees(self) -> bool | None:
        """Whether the formula lies in both intervals; None where there are none."""
        if self.ledger is None or self.shares is None:
            return None
        return all(low - 1e-9 <= self.formula <= high + 1e-9 for _, low, high in (self.ledger, self.shares))

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self) | {"agrees": self.agrees}


@dataclass(frozen=True)
class EtaResult:
    """All cells.

    Attributes:
        plan: what was measured.
        cells: in the order of the plan.
    """

    plan: EtaPlan
    cells: tuple[EtaCell, ...]

    @property
    def verdict(self) -> str:
        """What they say together."""
        known = [cell for cell in self.cells if cell.agrees is not None]
        if len(known) < len(self.cells):
            return f"Cannot tell: a cell has fewer than {FEWEST} shares; run longer (--seconds) or more --miners."
        agree = sum(bool(cell.agrees) for cell in known)
        what = f"eta agrees with the formula in {agree} of {len(known)} cells"
        tail = f"(intervals of {LEVEL:.0%} for all of them together)"
        return f"{what} {tail}." if agree == len(known) else f"{what} {tail}: not everywhere."

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "plan": asdict(self.plan),
            "cells": [cell.to_json() for cell in self.cells],
            "verdict": self.verdict,
        }


async def measure(plan: EtaPlan, clock: Clock | None = None) -> EtaResult:
    """Run every cell at the same time: waiting costs no CPU.

    Raises:
        LabError: if a pool or miner fails.
    """
    kinds = [(rtt, firmware) for rtt in plan.round_trips_s for firmware in FIRMWARES]
    clock = clock or SystemClock()
    work = [
        asyncio.ensure_future(_cell(plan, number, len(kinds), *kind, clock))
        for number, kind in enumerate(kinds)
    ]
    try:
        return EtaResult(plan, tuple(await asyncio.gather(*work)))
    finally:
        for part in work:
            part.cancel()
        await asyncio.gather(*work, return_exceptions=True)


async def _cell(
    plan: EtaPlan, number: int, cells: int, round_trip_s: float, firmware: Firmware, clock: Clock
) -> EtaCell:
    chance = np.random.default_rng([plan.seed, 14, number]).spawn(plan.miners + 1)
    pool = BuiltinPool(chance[-1], clock, mode="swh")
    async with contextlib.AsyncExitStack() as stack:
        way = DelayRelay("127.0.0.1", await pool.start("127.0.0.1"), round_trip_s=round_trip_s)
        stack.push_async_callback(pool.stop)
        place = await way.start()
        stack.push_async_callback(way.stop)
        miners = [
            WorkMiner(*place, t_hash_s=plan.t_hash_s, waits=firmware == "waits", rng=rng, clock=clock)
            for rng in chance[:-1]
        ]
        ledgers = await asyncio.gather(*(miner.run(plan.seconds) for miner in miners))
        return cell_of(
            plan,
            ledgers,
            cells,
            round_trip_s=round_trip_s,
            firmware=firmware,
            way_s=way.mean_round_trip_s,
            accepted=pool.accepted,
            rejected=sum(pool.rejected.values()),
        )


def cell_of(
    plan: EtaPlan,
    ledgers: Sequence[Ledger],
    cells: int,
    *,
    round_trip_s: float,
    firmware: Firmware,
    way_s: float,
    accepted: int,
    rejected: int,
) -> EtaCell:
    """A cell from the books of its miners; ``cells`` there are in all, which share the level.

    A cycle is a stretch of hashing and the wait behind it. The ledger's eta is a ratio of sums over cycles, its
    interval that of the delta method; by the shares it is ``n t_hash`` over the time that passed, n that of a renewal
    process.
    """
    from scipy import stats

    waits = firmware == "waits"
    hashed, waited = [], []
    for ledger in ledgers:
        whole = len(ledger.waits_ns) if waits else len(ledger.hashes_ns)
        hashed += [ns / 1e9 for ns in ledger.hashes_ns[:whole]]
        waited += [ns / 1e9 for ns in ledger.waits_ns] if waits else [0.0] * whole
    h, w = np.asarray(hashed), np.asarray(waited)
    n, cycle = h.size, h + w
    shares = sum(len(ledger.hashes_ns) for ledger in ledgers)
    passed_s = sum(x.hashing_ns + x.waiting_ns + x.loading_ns for x in ledgers) / 1e9
    by_ledger = by_shares = None
    if n >= FEWEST:
        z = float(stats.norm.ppf(1.0 - (1.0 - LEVEL) / (4 * cells)))  # two intervals per cell, two sides each
        part = float(h.sum() / cycle.sum())
        reach = z * float((h - part * cycle).std(ddof=1) / (math.sqrt(n) * cycle.mean()))
        by_ledger = (part, part - reach, part + reach)
        rate = shares * plan.t_hash_s / passed_s
        spread = math.exp(z * float(cycle.std(ddof=1) / cycle.mean()) / math.sqrt(shares))
        by_shares = (rate, rate / spread, rate * spread)
    network_s = float(w.mean()) if n else 0.0
    late_s = sum(ledger.late_ns for ledger in ledgers) / 1e9
    return EtaCell(
        round_trip_s=round_trip_s,
        firmware=firmware,
        cycles=n,
        accepted=accepted,
        rejected=rejected,
        way_s=way_s,
        network_s=network_s,
        ledger=by_ledger,
        shares=by_shares,
        formula=eta(plan.t_hash_s, network_s) or 0.0,
        as_set=eta(plan.t_hash_s, round_trip_s if waits else 0.0) or 0.0,
        late=late_s / (passed_s + late_s) if passed_s > 0 else 0.0,
    )
