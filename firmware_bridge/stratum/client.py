"""A miner's connection to its pool, kept alive: reconnect with back-off, and the bytes of a session moved."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from firmware_bridge.errors import ProtocolError, UserError
from firmware_bridge.headers import Job, Share
from firmware_bridge.stratum import wire
from firmware_bridge.stratum.client_session import (
    ClientProfile,
    ClientSession,
    ClientStats,
    HandshakeRefusedError,
)
from firmware_bridge.stratum.lines import LineSplitter

CONNECT_TIMEOUT_S = 10.0
SILENCE_TIMEOUT_S = 90.0
"""cgminer gives a pool up after this long without a line."""

FIRST_TRIES = 4
"""Attempts to reach a pool that never answered before."""

LONGEST_PAUSE_S = 30.0


class StratumClient:
    """A miner's connection to its pool, kept alive.

    Args:
        profile: the firmware.
        host: of the pool.
        port: of the pool.
        user: worker name.
        password: its password.
        scale: difficulty scale; named in the user agent unless it is 1.
        on_job: called with each job, in the event loop.
        on_lost: called when a connection ended and its jobs are void.
        on_answer: called with each answer to a share.
        local_address: of this host to connect from, or None for what the system takes.
    """

    def __init__(
        self,
        profile: ClientProfile,
        host: str,
        port: int,
        *,
        user: str,
        password: str = "x",
        scale: float = 1.0,
        on_job: Callable[[Job], None],
        on_lost: Callable[[], None] = lambda: None,
        on_answer: Callable[[], None] = lambda: None,
        local_address: str | None = None,
    ) -> None:
        self.stats = ClientStats()
        self.agent = profile.agent if scale == 1.0 else f"{profile.agent} {wire.scale_token(scale)}"
        self._profile = profile
        self._host = host
        self._port = port
        self._user = user
        self._password = password
        self._scale = scale
        self._on_job = on_job
        self._on_lost = on_lost
        self._on_answer = on_answer
        self._local = None if local_address is None else (local_address, 0)
        self._session: ClientSession | None = None
        self._writer: asyncio.StreamWriter | None = None

    @property
    def connected(self) -> bool:
        """Whether shares can be submitted now."""
        return self._session is not None and self._session.authorized

    @property
    def difficulty(self) -> float | None:
        """Difficulty that the pool asks for, as this firmware read it, or None before the first connection."""
        return None if self._session is None else self._session.difficulty

    def submit(self, share: Share) -> bool:
        """Send a share; False where there is no pool to send it to."""
        if self._session is None or not self._session.authorized or self._writer is None:
            return False
        self._writer.write(self._session.submit(share))
        return True

    async def run(self) -> None:
        """Mine until cancelled: connect, and after a loss connect again, waiting longer each time.

        Raises:
            UserError: if the pool refused this miner, or could never be reached.
        """
        failures = 0
        while True:
            before = self.stats.connections
            try:
                await self._converse()
            except HandshakeRefusedError:
                raise
            except (OSError, ProtocolError, TimeoutError) as error:
                self.stats.last_error = str(error) or type(error).__name__
            finally:
                self._close()
            failures = 0 if self.stats.connections > before else failures + 1
            if self.stats.connections == 0 and failures >= FIRST_TRIES:
                raise UserError(
                    f"no pool could be mined for at {self._host}:{self._port} in {failures} attempts "
                    f"({self.stats.last_error}); start one, for example: asiclab bridge --port {self._port}"
                )
            await asyncio.sleep(min(0.5 * 2.0**failures, LONGEST_PAUSE_S))

    async def _converse(self) -> None:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(self._host, self._port, local_addr=self._local)
        self._writer = writer
        session = ClientSession(
            self._profile,
            self.agent,
            self._user,
            self._password,
            self._scale,
            self.stats,
            self._on_job,
            self._on_answer,
        )
        self._session = session
        writer.write(session.start())
        splitter = LineSplitter(limit=1 << 20)
        while not session.reconnect:
            async with asyncio.timeout(SILENCE_TIMEOUT_S):
                data = await reader.read(1 << 16)
            if not data:
                raise ConnectionError("the pool closed the connection")
            for line in splitter.feed(data).splitlines():
                if line.strip():
                    answer = session.receive(line)
                    if answer:
                        writer.write(answer)

    def _close(self) -> None:
        if self._writer is not None:
            with contextlib.suppress(OSError, RuntimeError):
                self._writer.close()
            self._on_lost()
        self._writer = None
        self._session = None
