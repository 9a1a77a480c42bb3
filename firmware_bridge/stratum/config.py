"""What a bridge is told: one frozen record, checked before anything is opened."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from firmware_bridge.errors import UserError
from firmware_bridge.headers import DEFAULT_BASE_VERSION, DEFAULT_VERSION_MASK

Mode = Literal["stream", "swh"]
Algorithm = Literal["auto", "sha256d", "lbry"]

LAB_NBITS = "17034219"
"""Network target announced in jobs, that of block 839,900 (difficulty 8.6e13): no lab share is ever a block."""

JOBS_KEPT = 16
"""Jobs per connection whose shares count; BM1366 firmware has as many in flight."""


@dataclass(frozen=True)
class BridgeConfig:
    """Settings of a bridge.

    Attributes:
        host: address to bind.
        port: TCP port; 0 takes a free one.
        difficulty: nominal share difficulty of new connections.
        mode: ``stream`` (new work on a period) or ``swh`` (single-word handshake).
        job_period_s: stream mode, seconds between jobs.
        swh_timeout_s: handshake mode, seconds after which an unanswered job is replaced.
        scale: verified difficulty is the nominal one times this; None takes up what a miner's agent names, else 1.
        clean: value of the clean flag in each notify: whether miners drop what they work on.
        stale_after_clean: whether a clean notify makes older jobs stale; by default shares of the last 16 jobs count,
            since a synthetic job never loses its worth and late shares are part of what is measured.
        base_version: 8 hex digits.
        version_mask: bits that miners may roll; 0 means none.
        nbits: network target written into jobs.
        merkle_branches: how many random branches a job has.
        honour_suggest: whether ``mining.suggest_difficulty`` sets the difficulty of its connection.
        max_clients: connections at once; more are refused with an error line.
        max_in_flight: unanswered submits per connection, beyond which nothing more is read from it.
        handshake_timeout_s: seconds a connection has until it is authorised.
        line_timeout_s: seconds an unfinished line may take.
        write_timeout_s: seconds a client may leave unread what it was sent.
        keep_secrets: store passwords instead of a placeholder.
        algorithm: what miners hash; ``auto`` is LBRY for those whose user agent is known for it, else Bitcoin.
        record: store the bytes of each connection as well, secrets replaced.
        jobs_kept: jobs of a connection whose shares count; what is older is stale.
    """

    host: str = "127.0.0.1"
    port: int = 3333
    difficulty: float = 256.0
    mode: Mode = "stream"
    job_period_s: float = 30.0
    swh_timeout_s: float = 30.0
    scale: float | None = None
    clean: bool = True
    stale_after_clean: bool = False
    base_version: str = DEFAULT_BASE_VERSION
    version_mask: int = DEFAULT_VERSION_MASK
    nbits: str = LAB_NBITS
    merkle_branches: int = 0
    honour_suggest: bool = False
    max_clients: int = 1024
    max_in_flight: int = 256
    handshake_timeout_s: float = 30.0
    line_timeout_s: float = 10.0
    write_timeout_s: float = 30.0
    keep_secrets: bool = False
    algorithm: Algorithm = "auto"
    record: bool = False
    jobs_kept: int = JOBS_KEPT

    def __post_init__(self) -> None:
        if self.mode not in ("stream", "swh"):
            raise UserError(f"mode is stream or swh, not {self.mode!r}")
        if self.algorithm not in ("auto", "sha256d", "lbry"):
            raise UserError(f"algorithm is auto, sha256d or lbry, not {self.algorithm!r}")
        for name in ("difficulty", "job_period_s", "swh_timeout_s", "handshake_timeout_s", "line_timeout_s"):
            value = getattr(self, name)
            if not 0.0 < value < math.inf:
                raise UserError(f"{name} is a positive finite number, not {value!r}")
        if self.scale is not None and not 0.0 < self.scale < math.inf:
            raise UserError(f"scale is a positive finite number, not {self.scale!r}")
        if not 0 <= self.port <= 65535:
            raise UserError(f"a TCP port lies in 0 .. 65535, not {self.port}")
        if not 0 <= self.version_mask <= 0xFFFFFFFF:
            raise UserError(f"version_mask has 32 bits, not {self.version_mask:#x}")
        for name in ("base_version", "nbits"):
            value = getattr(self, name)
            if len(value) != 8 or not all(c in "0123456789abcdefABCDEF" for c in value):
                raise UserError(f"{name} is 8 hex digits, not {value!r}")
        if not 0 <= self.merkle_branches <= 32:
            raise UserError(
                f"merkle_branches lies in 0 .. 32 (LV06 firmware fails beyond), not {self.merkle_branches}"
            )
        for name in ("max_clients", "max_in_flight", "jobs_kept"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is at least 1, not {getattr(self, name)}")

    def snapshot(self) -> dict[str, Any]:
        """The settings as a run stores them."""
        return asdict(self)
