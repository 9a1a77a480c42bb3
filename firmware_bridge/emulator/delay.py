"""A pool far away: a TCP relay that holds every piece back for half of a round trip, and counts what the pool accepts.

Order is kept; a side that does not read slows the other down as on a real path. What it delays by is measured, since a
busy machine delays by more than it was asked to.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from firmware_bridge.stratum.lines import LineSplitter, WireError, clean_text

PIECES_UNDER_WAY = 256
"""Per direction, beyond which nothing more is read."""


@dataclass
class Tally:
    """What passed between miners and their pool.

    Attributes:
        submitted: shares sent.
        accepted: of them, accepted.
        difficulty: sum of the pool's difficulties of the accepted shares.
        rejected: reason to count.
        jobs: jobs sent.
    """

    submitted: int = 0
    accepted: int = 0
    difficulty: float = 0.0
    rejected: Counter[str] = field(default_factory=Counter)
    jobs: int = 0

    def copy(self) -> Tally:
        """As it stands now."""
        return Tally(self.submitted, self.accepted, self.difficulty, Counter(self.rejected), self.jobs)

    def since(self, before: Tally) -> Tally:
        """What came on top of ``before``."""
        return Tally(
            self.submitted - before.submitted,
            self.accepted - before.accepted,
            self.difficulty - before.difficulty,
            self.rejected - before.rejected,
            self.jobs - before.jobs,
        )


class _Line(msgspec.Struct):
    id: Any = None
    method: Any = None
    params: Any = None
    result: Any = None
    error: Any = None


_decode = msgspec.json.Decoder(_Line)


class Reader:
    """Follows one conversation and keeps a tally; what it does not understand it lets pass."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._miner, self._pool = LineSplitter(1 << 20), LineSplitter(1 << 20)
        self._waiting: dict[Any, float] = {}
        self._difficulty = 1.0

    def from_miner(self, data: bytes) -> None:
        """Bytes on their way to the pool."""
        for line in self._lines(self._miner, data):
            if line.method == "mining.submit" and isinstance(line.id, int | str):
                self._waiting[line.id] = self._difficulty
                self._tally.submitted += 1

    def from_pool(self, data: bytes) -> None:
        """Bytes on their way to the miner."""
        for line in self._lines(self._pool, data):
            if line.method == "mining.notify":
                self._tally.jobs += 1
            elif line.method == "mining.set_difficulty" and isinstance(line.params, list) and line.params:
                value = line.params[0]
                self._difficulty = float(value) if isinstance(value, int | float) else self._difficulty
            elif line.method is None and isinstance(line.id, int | str) and line.id in self._waiting:
                difficulty = self._waiting.pop(line.id)
                if line.result is True:
                    self._tally.accepted += 1
                    self._tally.difficulty += difficulty
                else:
                    self._tally.rejected[_reason(line.error)] += 1

    @staticmethod
    def _lines(splitter: LineSplitter, data: bytes) -> list[_Line]:
        found = []
        try:
            block = splitter.feed(data)
        except WireError:
            return []
        for line in block.splitlines():
            with contextlib.suppress(msgspec.MsgspecError, ValueError, RecursionError):
                found.append(_decode.decode(line))
        return found


def _reason(error: Any) -> str:
    match error:
        case [int() as code, *_]:
            return {21: "stale", 22: "duplicate", 23: "low difficulty"}.get(code, f"code {code}")
    return clean_text(str(error), 64)


class DelayRelay:
    """Stands between miners and a pool.

    Args:
        host: of the pool.
        port: of the pool.
        round_trip_s: what it adds to each round trip.
        jitter_s: standard deviation of the delay of each piece; order is kept all the same.
        rng: of the jitter.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        round_trip_s: float = 0.0,
        jitter_s: float = 0.0,
        rng: np.random.Generator | None = None,
    ) -> None:
        self._pool = (host, port)
        self._half_s = 0.5 * round_trip_s
        self._jitter_s = jitter_s
        self._rng = rng or np.random.default_rng(0)
        self.tally = Tally()
        self.pieces = 0
        self._delayed_s = 0.0
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()

    @property
    def mean_round_trip_s(self) -> float:
        """What a round trip was really delayed by, on the mean."""
        return 2.0 * self._delayed_s / self.pieces if self.pieces else 2.0 * self._half_s

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> tuple[str, int]:
        """Listen; address and port."""
        self._server = await asyncio.start_server(self._accept, host, port)
        name = self._server.sockets[0].getsockname()
        return str(name[0]), int(name[1])

    async def stop(self) -> None:
        """Hang up on everybody."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            for talk in list(self._talks):
                talk.cancel()
            await asyncio.gather(*self._talks, return_exceptions=True)
            await server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        try:
            await self._relay(reader, writer)
        except (OSError, asyncio.CancelledError):
            return  # one of the two left, or the relay stops
        finally:
            self._talks.discard(task)
            writer.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self._pool)
        follow = Reader(self.tally)
        try:
            ways = [
                asyncio.ensure_future(self._way(reader, far_writer, follow.from_miner)),
                asyncio.ensure_future(self._way(far_reader, writer, follow.from_pool)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_EXCEPTION)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        finally:
            far_writer.close()

    async def _way(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, see: Any) -> None:
        """One direction: what is read leaves after its delay, in order."""
        loop = asyncio.get_running_loop()
        under_way: asyncio.Queue[tuple[float, float, bytes]] = asyncio.Queue(PIECES_UNDER_WAY)

        async def deliver() -> None:
            while True:
                came, due, data = await under_way.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                self.pieces += 1
                self._delayed_s += loop.time() - came
                if not data:  # the other direction may have something to say yet
                    with contextlib.suppress(OSError, RuntimeError):
                        writer.write_eof()
                    return
                writer.write(data)
                await writer.drain()

        delivery = asyncio.ensure_future(deliver())
        last = 0.0
        try:
            while True:
                data = await reader.read(1 << 16)
                came = loop.time()
                if data:
                    see(data)
                wait = self._half_s
                if self._jitter_s:
                    wait = max(0.0, wait + self._jitter_s * float(self._rng.standard_normal()))
                last = max(last, came + wait)
                await under_way.put((came, last, data))
                if not data:
                    break
            await delivery
        finally:
            delivery.cancel()
            await asyncio.gather(delivery, return_exceptions=True)
