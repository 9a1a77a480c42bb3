"""What a proxy is told: upstream pools, how it treats miners, and when it gives a pool up."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from firmware_bridge.errors import UserError
from firmware_bridge.headers import DEFAULT_VERSION_MASK
from firmware_bridge.stratum.config import BridgeConfig

ProxyMode = Literal["relay", "vbm"]
Work = Literal["upstream", "share", "period"]

HIDDEN = "***"
"""What stands in a snapshot for a password."""

DERIVED_JOBS_KEPT = 128
"""Jobs per miner whose shares count: one job of a pool makes many, and only the pool's own clean flag ends them."""


@dataclass(frozen=True)
class Upstream:
    """A pool.

    Attributes:
        host: name or address.
        port: TCP port.
        user: worker name to authorise with; None for the miner's own.
        password: its password; None for the miner's own. Never stored, printed or logged.
    """

    host: str
    port: int
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.host or not 0 < self.port <= 65535:
            raise UserError(
                f"an upstream pool needs a host and a port of 1 .. 65535, not {self.host!r}:{self.port}"
            )

    @property
    def label(self) -> str:
        """How the trace names it: host and port, no credentials."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, url: str, password: str | None = None) -> Upstream:
        """Upstream of ``stratum+tcp://user:password@host:port``; scheme, user and password may be left out.

        Args:
            url: the text.
            password: from elsewhere, where the text has none.

        Raises:
            UserError: if it is none; the text, which may hold a password, is not repeated.
        """
        form = "an upstream pool is written stratum+tcp://[user[:password]@]host:port"
        try:
            parts = urlsplit(url if "://" in url else f"stratum+tcp://{url}")
            port, host = parts.port, parts.hostname
        except ValueError:
            raise UserError(form) from None
        if parts.scheme not in ("stratum+tcp", "stratum", "tcp"):
            raise UserError(f"{form}; TLS and other schemes are not spoken here")
        if not host or port is None or parts.path not in ("", "/") or parts.query or parts.fragment:
            raise UserError(form)
        user = None if parts.username is None else unquote(parts.username)
        given = None if parts.password is None else unquote(parts.password)
        return cls(host, port, user or None, password if given is None else given)


@dataclass(frozen=True)
class ProxyConfig:
    """Settings of a proxy; what is not listed here is as in :class:`BridgeConfig`.

    Attributes:
        upstreams: pools in order of preference.
        mode: ``relay`` hands everything through, answers included; ``vbm`` (Virtual Block Manager) answers shares
            itself once they are durable and has the next work ready.
        work: in mode vbm, when a miner gets the next job besides those that the pool sends: ``share`` (at each valid
            share of its current job), ``period`` (every ``job_period_s``) or ``upstream`` (never).
        difficulty: share difficulty for miners where it is below the pool's, for more shares to time; only those that
            meet the pool's own are forwarded. None for the pool's. Mode vbm only.
        own_bytes: bytes of extranonce2 that mode vbm keeps to make jobs of its own; None for what suits the pool.
        job_period_s: seconds between jobs where ``work`` is ``period``.
        share_timeout_s: where ``work`` is ``share``, seconds after which an unanswered job is replaced.
        connect_timeout_s: seconds that connecting to a pool may take.
        answer_timeout_s: seconds that a pool may leave a request unanswered.
        silence_timeout_s: seconds that a pool may say nothing at all.
        retries: failed attempts at a pool after which the next one has its turn; a refused authorisation counts as all.
        longest_pause_s: longest time between two attempts.
        hold_s: seconds that miners are kept without a pool.
        return_after_s: seconds that the first pool has to be healthy again before miners go back to it; None for never.
        max_held: shares per miner that wait for a lost pool to come back.
    """

    upstreams: tuple[Upstream, ...]
    mode: ProxyMode = "vbm"
    host: str = "127.0.0.1"
    port: int = 3334
    work: Work = "share"
    difficulty: float | None = None
    own_bytes: int | None = None
    job_period_s: float = 30.0
    share_timeout_s: float = 30.0
    version_mask: int = DEFAULT_VERSION_MASK
    connect_timeout_s: float = 5.0
    answer_timeout_s: float = 30.0
    silence_timeout_s: float = 300.0
    retries: int = 3
    longest_pause_s: float = 30.0
    hold_s: float = 60.0
    return_after_s: float | None = 120.0
    max_held: int = 1024
    max_clients: int = 1024
    max_in_flight: int = 256
    handshake_timeout_s: float = 30.0
    line_timeout_s: float = 10.0
    write_timeout_s: float = 30.0
    keep_secrets: bool = False
    record: bool = False

    def __post_init__(self) -> None:
        if not self.upstreams:
            raise UserError("a proxy needs a pool: --upstream stratum+tcp://user@host:port")
        if self.mode not in ("relay", "vbm"):
            raise UserError(f"mode is relay or vbm, not {self.mode!r}")
        if self.work not in ("upstream", "share", "period"):
            raise UserError(f"work is share, period or upstream, not {self.work!r}")
        if self.mode == "relay" and self.difficulty is not None:
            raise UserError(
                "mode relay hands the pool's difficulty through; a difficulty of its own needs --mode vbm"
            )
        if self.own_bytes is not None and not 0 <= self.own_bytes <= 8:
            raise UserError(f"own_bytes lies in 0 .. 8, not {self.own_bytes}")
        for name in (
            *("share_timeout_s", "connect_timeout_s", "answer_timeout_s", "silence_timeout_s"),
            *("longest_pause_s", "hold_s", "write_timeout_s"),
        ):
            value = getattr(self, name)
            if not 0.0 < value < math.inf:
                raise UserError(f"{name} is a positive finite number, not {value!r}")
        if self.return_after_s is not None and not 0.0 <= self.return_after_s < math.inf:
            raise UserError(
                f"return_after_s is None or a finite number from 0 on, not {self.return_after_s!r}"
            )
        if self.retries < 1 or self.max_held < 0:
            raise UserError("retries is at least 1, max_held at least 0")
        self.bridge()  # checks what the two have in common

    def bridge(self) -> BridgeConfig:
        """The settings of the miners' side.

        Raises:
            UserError: if one of them is out of bounds.
        """
        return BridgeConfig(
            host=self.host,
            port=self.port,
            difficulty=1.0 if self.difficulty is None else self.difficulty,
            mode="swh" if self.mode == "vbm" and self.work == "share" else "stream",
            job_period_s=self.job_period_s,
            swh_timeout_s=self.share_timeout_s,
            stale_after_clean=True,
            version_mask=self.version_mask,
            max_clients=self.max_clients,
            max_in_flight=self.max_in_flight,
            handshake_timeout_s=self.handshake_timeout_s,
            line_timeout_s=self.line_timeout_s,
            write_timeout_s=self.write_timeout_s,
            keep_secrets=self.keep_secrets,
            record=self.record,
            jobs_kept=DERIVED_JOBS_KEPT,
        )

    def snapshot(self) -> dict[str, Any]:
        """The settings as a run stores them, passwords hidden."""
        names = [name for name in self.__dataclass_fields__ if name != "upstreams"]
        upstreams = [
            {
                "host": u.host,
                "port": u.port,
                "user": u.user,
                "password": None if u.password is None else HIDDEN,
            }
            for u in self.upstreams
        ]
        return {**{name: getattr(self, name) for name in names}, "upstreams": upstreams}
