"""The Virtual Block Manager: a proxy between miners and a pool that keeps the bridge's promises.

Every share is stamped, verified and stored before it is answered, as in :class:`Bridge`; jobs come from a real pool.
Each miner has an upstream connection of its own, so that the pool gives it an extranonce1 of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from typing import Any, cast

import numpy as np

from firmware_bridge.clock import Clock
from firmware_bridge.errors import TraceError
from firmware_bridge.stratum.connection import Connection
from firmware_bridge.stratum.dispatch import JobPolicy, StreamPolicy, policy_for
from firmware_bridge.stratum.forwards import ProxyStats
from firmware_bridge.stratum.link import Link, Preference
from firmware_bridge.stratum.proxy_config import ProxyConfig as ProxyConfig
from firmware_bridge.stratum.proxy_config import ProxyMode as ProxyMode
from firmware_bridge.stratum.proxy_config import Upstream as Upstream
from firmware_bridge.stratum.proxy_handshake import AGENT
from firmware_bridge.stratum.proxy_modes import RelayJudged, RelaySession, VbmSession
from firmware_bridge.stratum.server import DUPLICATES_REMEMBERED, Bridge, WriterFactory
from firmware_bridge.stratum.session import Session
from firmware_bridge.stratum.watch import Watch
from firmware_bridge.trace.recorder import LinkTap, RecordedBytes
from firmware_bridge.trace.schema import RunRecord

LAST_ANSWERS_S = 5.0
"""How long a proxy that stops waits for answers of the pool."""

NEVER_S = 1e9


class ProxyConnection(Connection):
    """One miner and its link to a pool."""

    _bridge: Proxy
    session: RelaySession | VbmSession

    def __init__(self, proxy: Proxy, sock: socket.socket, address: str) -> None:
        self.stats = proxy.stats
        super().__init__(proxy, sock, address)
        self.link = Link(
            proxy.proxy_config,
            self.session,
            proxy.clock,
            proxy.link_rng,
            proxy.preference,
            proxy.fail,
            None if proxy.recorder is None else self._upstream_tap,
        )
        self.session.link = self.link

    def _make_session(self) -> Session:
        proxy = self._bridge
        kind = RelaySession if proxy.proxy_config.mode == "relay" else VbmSession
        return kind(proxy.proxy_config, self, proxy.clock, proxy.factory, proxy.policy)

    def _upstream_tap(self, link: str) -> LinkTap:
        """Tap of a link to a pool; a password that the pool repeats is taken out as well."""
        proxy = self._bridge

        def keep(piece: RecordedBytes) -> None:
            try:
                proxy.run.recorded(piece._replace(data=self.session.safe_bytes(piece.data)))
            except TraceError as error:
                proxy.fail(error)

        tap = LinkTap(
            f"{link}#{self.address}", keep, proxy.clock, keep_secrets=proxy.proxy_config.keep_secrets
        )
        tap.miner = self.miner
        return tap

    def sweep(self, now: float) -> None:
        """Hold miner and pool against their deadlines."""
        self.link.sweep()
        session, hold_s = self.session, self._bridge.proxy_config.hold_s
        session.sweep()
        since = session.without_pool_since_ns
        if session.started and since is not None and self._bridge.clock.monotonic_ns() - since > hold_s * 1e9:
            self.drop(f"no pool for {hold_s:g} s")
        else:
            super().sweep(now)

    def _late(self, within: str) -> str:
        if self.session.waits_for_pool:
            return f"no pool took this miner in {within}"
        return super()._late(within)

    def _closed(self, reason: str) -> None:
        self.session.leave()
        self._bridge.lingering[self] = None
        self.link.finish(LAST_ANSWERS_S, self._link_over)
        super()._closed(reason)

    def _link_over(self) -> None:
        """Nothing more is heard of this miner's shares: what waited for a pool is never sent."""
        self._bridge.lingering.pop(self, None)
        if isinstance(self.session, VbmSession):
            self.session.give_up()

    def end_link(self) -> None:
        """Leave the pool; what becomes of shares on their way is written down."""
        self.link.finish(0.0, self._link_over)
        self.link.close()

    # ---- ProxyHost -----------------------------------------------------------------------------------------------

    def entered(self, kind: str, severity: str, miner: int, detail: dict[str, Any]) -> None:
        """Write what became of a share into the run: as many of these events as there are shares."""
        self._bridge.entered(kind, severity, miner, detail)


class Proxy(Bridge):
    """A proxy and the run that it writes.

    Args:
        config: settings.
        writer: opens the trace.
        rng: spreads attempts to reconnect.
        clock: the clock of this host by default.
        record: a run record to build on; a plain one if None.
        policy: when a miner gets a job besides those of the pool; that of the configured work if None.
        watch: notices clock steps; made for ``clock`` if None.
    """

    stats: ProxyStats

    def __init__(
        self,
        config: ProxyConfig,
        writer: WriterFactory,
        rng: np.random.Generator,
        *,
        clock: Clock | None = None,
        record: RunRecord | None = None,
        policy: JobPolicy | None = None,
        watch: Watch | None = None,
    ) -> None:
        settings = config.bridge()
        if policy is None and (config.mode == "relay" or config.work == "upstream"):
            policy = StreamPolicy(NEVER_S)
        record = record or RunRecord(kind="live", source="proxy")
        record.config = {"proxy": config.snapshot(), **record.config}
        super().__init__(
            settings,
            writer,
            rng,
            clock=clock,
            policy=policy or policy_for(settings),
            record=record,
            watch=watch,
        )
        self.proxy_config = config
        self.stats = ProxyStats()
        self.preference = Preference()
        self.link_rng = rng
        self.lingering: dict[
            ProxyConnection, None
        ] = {}  # miners that left before the pool answered all their shares

    async def start(self) -> tuple[str, int]:
        """As :meth:`Bridge.start`; pools are looked for when miners come."""
        place = await super().start()
        config = self.proxy_config
        if len(config.upstreams) > 1 and config.return_after_s is not None:
            self._tasks.append(self._loop.create_task(self._return_forever(config.return_after_s)))
        return place

    async def stop(self, reason: str = "stopped") -> None:
        """Take nothing more, wait a moment for the pool's last answers, then stop as a bridge does."""
        self.request_stop(reason)
        if self._door is not None:
            mine = [*self._mine(), *self.lingering]
            for connection in mine:
                connection.quiet()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_ANSWERS_S):
                    while any(c.link.session is not None and c.link.session.waiting for c in mine):  # noqa: ASYNC110
                        await asyncio.sleep(0.01)
            for connection in [*self._mine(), *self.lingering]:
                connection.quiet()
                connection.end_link()
        await super().stop(reason)

    def _mine(self) -> list[ProxyConnection]:
        return cast("list[ProxyConnection]", list(self._connections))

    def _connection(self, sock: socket.socket, address: str) -> Connection:
        return ProxyConnection(self, sock, address)

    def entered(self, kind: str, severity: str, miner: int, detail: dict[str, Any]) -> None:
        """Write what became of a share into the run."""
        if isinstance(self.failure, TraceError):
            return
        try:
            self.run.event(kind, severity, detail, miner=miner)
        except TraceError as error:
            self.fail(error)

    def _acknowledge(self, committed: list[object]) -> None:
        super()._acknowledge(committed)
        if isinstance(self.failure, TraceError):
            return
        for connection, judged in cast("list[tuple[object, Any]]", committed):
            if not isinstance(connection, ProxyConnection):
                continue
            if isinstance(judged, RelayJudged):
                cast("RelaySession", connection.session).committed(judged)
            elif judged.answered:
                connection.session.answered(judged.rows[0][11])

    def _forget(self) -> None:
        """Bound the memory of duplicates: the busiest miner's oldest job leaves its own to the pool."""
        desks = [connection.session.desk for connection in self._connections]
        self._remembered = sum(desk.remembered for desk in desks)
        while self._remembered > DUPLICATES_REMEMBERED:
            desk = max(desks, key=lambda d: d.remembered)
            oldest = next(job for job in desk.jobs.values() if job.seen)
            freed = len(oldest.seen)
            oldest.seen.clear()
            desk.remembered -= freed
            self._remembered -= freed

    # ---- back to the first pool --------------------------------------------------------------------------------------

    async def _return_forever(self, after_s: float) -> None:
        """Look after the first pool while another one is mined for, and go back once it has been well for a while."""
        well_since: float | None = None
        while True:
            await asyncio.sleep(min(10.0, max(0.05, after_s / 4)))
            if self.preference.index == 0 and all(c.link.index == 0 for c in self._mine()):
                well_since = None
                continue
            if not await self._is_well(self.proxy_config.upstreams[0]):
                well_since = None
                continue
            now = self._loop.time()
            well_since = now if well_since is None else well_since
            if now - well_since >= after_s:
                self.run.event("upstream-return", "info", {"pool": self.proxy_config.upstreams[0].label})
                self.preference.index = 0
                for connection in self._mine():
                    connection.link.prefer(0)

    async def _is_well(self, pool: Upstream) -> bool:
        """Whether a pool answers ``mining.subscribe``."""
        writer = None
        try:
            async with asyncio.timeout(self.proxy_config.connect_timeout_s):
                reader, writer = await asyncio.open_connection(pool.host, pool.port)
                writer.write(b'{"id":1,"method":"mining.subscribe","params":["%b"]}\n' % AGENT.encode())
                for _ in range(16):
                    message = json.loads(await reader.readuntil(b"\n"))
                    if isinstance(message, dict) and message.get("id") == 1:
                        return message.get("error") is None and isinstance(message.get("result"), list)
        except (OSError, ValueError, RecursionError, TimeoutError, EOFError, asyncio.LimitOverrunError):
            return False
        finally:
            if writer is not None:
                writer.close()
        return False


__all__ = ["Proxy", "ProxyConfig", "ProxyMode", "Upstream"]
