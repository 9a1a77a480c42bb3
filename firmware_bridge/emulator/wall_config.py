"""What to emulate in wall time, and what came of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from firmware_bridge.emulator import effects
from firmware_bridge.emulator.carrier import Carrier
from firmware_bridge.emulator.model import get_model
from firmware_bridge.emulator.physics import Physics
from firmware_bridge.errors import UserError

DEFAULT_SCALE = 2.0**-20
"""Difficulty scale at which one CPU core keeps up with an S9."""


@dataclass(frozen=True)
class WallConfig:
    """What to emulate, and for whom.

    Attributes:
        model: ``s9`` or ``lv06``.
        host: of the pool.
        port: of the pool.
        scale: difficulty scale S; 1 mines as any miner does, as fast as this CPU can. None means ``DEFAULT_SCALE`` for
            a pool that takes it up (ours) and 1 for any other.
        seconds: wall time after which to stop, or None.
        shares: accepted shares after which to stop, or None.
        seed: of delays and loads; which nonces hit is up to the pool's jobs.
        plants: planted effects, kind to strength.
        physics: timing model; None means the default of the model.
        user: worker name; None means that of the model.
        password: its password.
        local_address: of this host to connect from, or None for what the system takes.
        carrier: where planted effects read the symbol of a job.
        winning_jobs: planted leak, see :func:`~firmware_bridge.emulator.effects.luck_of`; 0 is a fair hash.
    """

    model: str
    host: str
    port: int
    scale: float | None = None
    seconds: float | None = None
    shares: int | None = None
    seed: int = 0
    plants: dict[str, float] = field(default_factory=dict)
    physics: Physics | None = None
    user: str | None = None
    password: str = "x"
    local_address: str | None = None
    carrier: Carrier = field(default_factory=Carrier)
    winning_jobs: float = 0.0

    def check(self) -> None:
        """Refuse what cannot be emulated.

        Raises:
            UserError: naming the field and what it may be.
        """
        get_model(self.model)
        effects.checked_delays(self.plants)
        effects.checked_luck(self.winning_jobs)
        if self.scale is not None and not 0 < self.scale <= 1:
            raise UserError(f"a difficulty scale is above 0 and at most 1, not {self.scale!r}")
        for name in ("shares", "seconds"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UserError(f"{name} is above 0, not {value!r}")


@dataclass(frozen=True)
class WallSummary:
    """What an emulated miner did.

    Attributes:
        model: of the miner.
        agent: its user agent.
        seconds: from its first job to its end.
        connections: how often it was accepted by the pool.
        jobs: jobs received.
        submitted: shares sent.
        accepted: of them, accepted.
        rejected: reason to count.
        hashes: double hashes computed.
        hash_rate: hashes per second of ``seconds``.
        wanted_hash_rate: what the model at this scale does while hashing.
        stalled_s: time by which this CPU fell behind.
        warnings: what the user should know.
        reason: why it ended.
        last_error: why the last connection ended, or None.
    """

    model: str
    agent: str
    seconds: float
    connections: int
    jobs: int
    submitted: int
    accepted: int
    rejected: dict[str, int]
    hashes: int
    hash_rate: float
    wanted_hash_rate: float
    stalled_s: float
    warnings: list[str]
    reason: str
    last_error: str | None

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)


def joined(parts: Sequence[WallSummary]) -> WallSummary:
    """One summary of runs that followed each other, at least one; what has no sum is that of the last."""
    rejected: Counter[str] = Counter()
    for part in parts:
        rejected.update(part.rejected)
    seconds = math.fsum(part.seconds for part in parts)
    hashes = sum(part.hashes for part in parts)
    return replace(
        parts[-1],
        seconds=seconds,
        connections=sum(part.connections for part in parts),
        jobs=sum(part.jobs for part in parts),
        submitted=sum(part.submitted for part in parts),
        accepted=sum(part.accepted for part in parts),
        rejected=dict(rejected),
        hashes=hashes,
        hash_rate=hashes / seconds if seconds > 0 else 0.0,
        stalled_s=math.fsum(part.stalled_s for part in parts),
    )
