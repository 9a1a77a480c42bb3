"""The wire from one miner's connection to a pool, kept alive: connect, back off, try the next pool, come back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from firmware_bridge.clock import Clock
from firmware_bridge.errors import ProtocolError, TraceError
from firmware_bridge.stratum.proxy_config import ProxyConfig, Upstream
from firmware_bridge.stratum.upstream import UpstreamHost, UpstreamSession, same_owner
from firmware_bridge.trace.recorder import LinkTap

log = logging.getLogger(__name__)

UNREAD_LIMIT = 1 << 20
"""Bytes that a pool may leave unread."""

FIRST_PAUSE_S = 0.5
"""Pause after the first failed attempt; it doubles with each further one."""

STABLE_S = 5.0
"""A connection that was lost sooner counts as a failed attempt, though the pool took the miner in."""

LONGEST_REDIRECT_S = 60.0
"""Longest time that a pool may ask to be left alone for before a miner comes back."""


class LinkHost(UpstreamHost, Protocol):
    """Who the link belongs to."""

    def link_up(self, upstream: UpstreamSession, pool: Upstream) -> None:
        """A pool is connected: say to it what the miner said."""

    def link_down(self, reason: str) -> None:
        """It is lost; every request that waited was told."""


class Preference:
    """Which pool newcomers start with; shared by all links.

    It is the last one that took a miner in, or the next where one failed too often. A miner may lose its patience with
    us before that: what its link has learnt by then is not forgotten with it.

    Attributes:
        index: of the pool in the order of preference.
        failures: most failed attempts in a row of any link there.
    """

    def __init__(self) -> None:
        self.index = 0
        self.failures = 0

    def failed(self, index: int, failures: int) -> None:
        """A link has failed so many times in a row at a pool."""
        if index == self.index:
            self.failures = max(self.failures, failures)

    def given_up(self, index: int, following: int) -> None:
        """A link has given a pool up for the one that follows."""
        if index == self.index:
            self.index, self.failures = following, 0

    def well(self, index: int) -> None:
        """A pool took a miner in."""
        self.index, self.failures = index, 0


class _Wire(asyncio.Protocol):
    """One TCP connection; what an old one still says is not heard."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.transport: asyncio.Transport | None = None
        self.early: list[bytes] | None = []  # what came before the link took the wire up

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.early is None:
            self._link.heard(self, data)
        else:
            self.early.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._link.lost(self, f"connection lost: {exc}" if exc else "the pool closed the connection")


class Link:
    """Keeps a miner's upstream connection alive.

    Args:
        config: pools, patience and time-outs.
        host: the miner's session.
        clock: measures round trips and silence.
        rng: spreads attempts, so that many miners do not come back in one instant.
        preference: where to start.
        failed: called with an error that ends the whole proxy.
        tap: makes the recorder's tap of a link with a name; None where nothing is recorded.
    """

    def __init__(
        self,
        config: ProxyConfig,
        host: LinkHost,
        clock: Clock,
        rng: np.random.Generator,
        preference: Preference,
        failed: Callable[[TraceError], None],
        tap: Callable[[str], LinkTap] | None = None,
    ) -> None:
        self.index = preference.index
        self.session: UpstreamSession | None = None
        self.connections = 0
        self._config, self._host, self._clock, self._rng = config, host, clock, rng
        self._preference, self._failed, self._make_tap = preference, failed, tap
        self._tap: LinkTap | None = None
        self._loop = asyncio.get_running_loop()
        self._wire: _Wire | None = None
        self._planned = False  # the connection ends because we want it to
        self._over: asyncio.Future[str] | None = None
        self._failures = preference.failures  # in a row, at this pool
        self._attempts = 0  # in a row, at any
        self._taken_in = False
        self._refusals = 0  # pools that refused this miner, in a row
        self._elsewhere: tuple[Upstream, float] | None = None
        self._heard_ns = 0
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self._finished: Callable[[], None] | None = None

    @property
    def pool(self) -> Upstream:
        """The pool that has its turn."""
        return self._config.upstreams[self.index]

    def start(self) -> None:
        """Connect, and go on connecting. May be called again."""
        if self._task is None and not self._closed:
            self._task = self._loop.create_task(self._run())

    def finish(self, patience_s: float, closed: Callable[[], None]) -> None:
        """Hang up for good once every request is answered, at the latest after so many seconds.

        Args:
            patience_s: how long answers may take.
            closed: called then, once.
        """
        self._finished = closed
        if self._closed or self.session is None or not self.session.waiting:
            self.close()
        else:
            self._loop.call_later(patience_s, self.close)

    def close(self) -> None:
        """Hang up for good. May be called again."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
        self._hang_up("the miner left")
        self._down("the miner left")
        finished, self._finished = self._finished, None
        if finished is not None:
            finished()

    # ---- what the session says ---------------------------------------------------------------------------------------

    def established(self) -> None:
        """The pool took the miner in."""
        self._refusals = 0
        self._taken_in = True
        self._preference.well(self.index)

    def refused(self, reason: str) -> bool:
        """The pool refused the miner: whether another pool is tried now; False where every pool has refused it."""
        self._refusals += 1
        if self._refusals >= len(self._config.upstreams):
            return False
        self._event("upstream-refused", "warning", {"error": reason})
        self._next_pool()
        self._planned = True
        self._hang_up(reason)
        return True

    def prefer(self, index: int) -> None:
        """Change to a pool that is known to be well."""
        if self.index != index:
            self.index, self._planned = index, True
            self._hang_up("back to a pool that is preferred")

    def redirect(self, host: str | None, port: int | None, wait_s: float) -> None:
        """Follow ``client.reconnect``, but never to a stranger: who writes into a connection could take the miner."""
        pool = self.pool
        target = Upstream(host or pool.host, port or pool.port, pool.user, pool.password)
        detail = {"host": target.host, "port": target.port}
        if not same_owner(pool.host, target.host):
            text = "client.reconnect to another owner's host is not followed"
            self._event("upstream-redirect-refused", "warning", {**detail, "error": text})
            return
        self._event("upstream-redirect", "info", detail)
        self._elsewhere, self._planned = (target, min(wait_s, LONGEST_REDIRECT_S)), True
        self._hang_up("the pool asked to reconnect")

    def sweep(self) -> None:
        """Hold the pool against its deadlines; called about once a second."""
        if self.session is None or self._over is None or self._over.done():
            return
        now, config = self._clock.monotonic_ns(), self._config
        since = self.session.unanswered_since_ns
        if since is not None and now - since > config.answer_timeout_s * 1e9:
            self._hang_up(f"the pool left a request unanswered for {config.answer_timeout_s:g} s")
        elif now - self._heard_ns > config.silence_timeout_s * 1e9:
            self._hang_up(f"the pool said nothing for {config.silence_timeout_s:g} s")

    # ---- the wire ----------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while not self._closed:
            try:
                await self._once()
            except TraceError as error:
                self._failed(error)
                return
            pause = min(FIRST_PAUSE_S * 2.0 ** min(self._attempts - 1, 16), self._config.longest_pause_s)
            if self._attempts:
                await asyncio.sleep(pause * float(self._rng.uniform(0.5, 1.0)))

    async def _once(self) -> None:
        """One attempt, and the conversation that comes of it."""
        pool = self.pool
        if self._elsewhere is not None:
            (pool, wait_s), self._elsewhere = self._elsewhere, None
            await asyncio.sleep(wait_s)
        self._planned = self._taken_in = False
        self._failures += 1
        self._attempts += 1
        try:
            async with asyncio.timeout(self._config.connect_timeout_s):
                _, wire = await self._loop.create_connection(lambda: _Wire(self), pool.host, pool.port)
        except TimeoutError:
            reason = f"no connection within {self._config.connect_timeout_s:g} s"
        except OSError as error:
            reason = f"no connection: {error.strerror or error}"
        else:
            since = self._loop.time()
            self._begin(pool, wire)
            assert self._over is not None
            reason = await self._over
            self._down(reason)
            if self._planned or (self._taken_in and self._loop.time() - since >= STABLE_S):
                self._failures = self._attempts = 0
        if not self._planned:
            self._event("upstream-lost", "warning", {"error": reason, "attempt": self._failures})
            self._preference.failed(self.index, self._failures)
        if self._failures >= self._config.retries and len(self._config.upstreams) > 1:
            before = self.index
            self._next_pool()
            self._preference.given_up(before, self.index)

    def _begin(self, pool: Upstream, wire: _Wire) -> None:
        self._wire, self._over = wire, self._loop.create_future()
        if wire.transport is None or wire.transport.is_closing():
            self._hang_up("the pool closed the connection")
        self.connections += 1
        self._tap = None if self._make_tap is None else self._make_tap(f"upstream://{pool.label}")
        self._heard_ns = self._clock.monotonic_ns()
        self.session = UpstreamSession(self._host, self._write, self._clock)
        self._guard(lambda session: self._host.link_up(session, pool))
        early, wire.early = b"".join(wire.early or ()), None
        if early:
            self.heard(wire, early)

    def _next_pool(self) -> None:
        self.index = (self.index + 1) % len(self._config.upstreams)
        self._failures = 0
        self._event("upstream-next", "warning", {"next": self.pool.label})

    def _down(self, reason: str) -> None:
        session, self.session = self.session, None
        tap, self._tap = self._tap, None
        if tap is not None:
            tap.close()
        if session is not None:
            session.end()
            self._host.link_down(reason)
            if self._finished is not None:
                self.close()

    def _hang_up(self, reason: str) -> None:
        wire, self._wire = self._wire, None
        if wire is not None and wire.transport is not None:
            wire.transport.close()  # what was written still goes out
        if self.session is not None:
            self.session.hears = False
        if self._over is not None and not self._over.done():
            self._over.set_result(reason)

    def _write(self, data: bytes) -> None:
        wire = self._wire
        if wire is not None and wire.transport is not None and not wire.transport.is_closing():
            wire.transport.write(data)
            if self._tap is not None:
                self._tap.sent(data)
            if wire.transport.get_write_buffer_size() > UNREAD_LIMIT:
                self._hang_up("the pool does not read what it is sent")

    def _guard(self, action: Callable[[UpstreamSession], None]) -> None:
        """Let a fault in what a pool sent, or in how it is taken, end this one conversation and nothing else."""
        if self.session is None or self._over is None or self._over.done():
            return
        try:
            action(self.session)
        except TraceError as error:
            self._failed(error)
        except ProtocolError as error:
            self._hang_up(str(error))
        except Exception:
            log.exception("%s: internal error", self.pool.label)
            self._event("internal-error", "error", {"where": "upstream"})
            self._hang_up("internal error of the proxy")

    def _event(self, kind: str, severity: str, detail: dict[str, Any]) -> None:
        self._host.upstream_event(kind, severity, detail)

    def heard(self, wire: _Wire, data: bytes) -> None:
        """Bytes of the pool."""
        if wire is self._wire:
            self._heard_ns = self._clock.monotonic_ns()
            if self._tap is not None:
                self._tap.received(data)
            self._guard(lambda session: session.receive(data))
            if self._finished is not None and self.session is not None and not self.session.waiting:
                self.close()

    def lost(self, wire: _Wire, reason: str) -> None:
        """The pool hung up, or we did."""
        if wire is self._wire:
            self._hang_up(reason)
