"""A load generator that costs little: submits are made beforehand, a reply counts as soon as its line ends."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True)
class Load:
    """What one round gave.

    Attributes:
        per_second: answered submits per second, over all clients.
        answered: how many were answered.
        refused: how many replies were no plain ``"result": true`` (an echo has none).
        median_ms: median time from a submit to its reply; only with one in flight, else None.
    """

    per_second: float
    answered: int
    refused: int
    median_ms: float | None


class Client(asyncio.Protocol):
    """One connection with a fixed number of submits in flight."""

    def __init__(self, in_flight: int, submits: int, talk: bool) -> None:
        self.in_flight, self.submits, self.talk = in_flight, submits, talk
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.replies: list[bytes] = []
        self.round_trips: list[float] = []
        self.extranonce1: str | None = None
        self.job: list[object] | None = None
        self.sent = self.answered = 0
        self.running = False
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self.talk:
            transport.write(b'{"id":1,"method":"mining.subscribe","params":["asiclab-bench/1"]}\n')
            transport.write(b'{"id":2,"method":"mining.authorize","params":["bench","x"]}\n')
        else:
            self.ready.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        for future in (self.ready, self.done):
            if not future.done():
                future.set_exception(ConnectionError(f"the server hung up: {exc}"))

    def prepare(self, number: int) -> None:
        """Make every submit, each with an extranonce2 and nonce of its own."""
        job_id, ntime = (self.job[0], self.job[7]) if self.job else ("1", "64af16e0")
        lines = [
            f'{{"id":{i + 10},"method":"mining.submit","params":'
            f'["bench","{job_id}","{number:04x}{i >> 16:04x}","{ntime}","{i:08x}"]}}\n'.encode()
            for i in range(self.submits)
        ]
        self.offsets = [0, *accumulate(len(line) for line in lines)]
        self.lines = b"".join(lines)

    def start(self) -> None:
        self.running = True
        self._send(self.in_flight)

    def _send(self, count: int) -> None:
        end = min(self.sent + count, self.submits)
        if end > self.sent:
            self._sent_at = time.perf_counter()
            self.transport.write(self.lines[self.offsets[self.sent] : self.offsets[end]])
            self.sent = end

    def data_received(self, data: bytes) -> None:
        if not self.running:
            self._handshake(data)
            return
        self.replies.append(data)
        count = data.count(b"\n")
        if self.in_flight == 1 and count:
            self.round_trips.append(time.perf_counter() - self._sent_at)
        self.answered += count
        if self.answered >= self.submits:
            if not self.done.done():
                self.done.set_result(None)
        else:
            self._send(count)

    def _handshake(self, data: bytes) -> None:
        *lines, self._head = (self._head + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if message.get("id") == 1:
                self.extranonce1 = message["result"][1]
            elif message.get("method") == "mining.notify":
                self.job = message["params"]
        if self.extranonce1 is not None and self.job is not None and not self.ready.done():
            self.ready.set_result(None)


async def _drive(port: int, clients: int, in_flight: int, submits: int, talk: bool) -> Load:
    loop = asyncio.get_running_loop()
    made = [
        (await loop.create_connection(lambda: Client(in_flight, submits, talk), "127.0.0.1", port))[1]
        for _ in range(clients)
    ]
    await asyncio.wait_for(asyncio.gather(*(client.ready for client in made)), 60)
    for number, client in enumerate(made):
        client.prepare(number)
    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter()
        for client in made:
            client.start()
        await asyncio.wait_for(asyncio.gather(*(client.done for client in made)), 120)
        seconds = time.perf_counter() - start
    finally:
        gc.enable()
    for client in made:
        client.transport.abort()
    answered = sum(client.answered for client in made)
    refused = sum(_refused(client) for client in made) if talk else 0
    trips = sorted(trip for client in made for trip in client.round_trips)
    return Load(answered / seconds, answered, refused, trips[len(trips) // 2] * 1e3 if trips else None)


def _refused(client: Client) -> int:
    replies = [json.loads(line) for line in b"".join(client.replies).splitlines()]
    return sum(1 for reply in replies if reply.get("result") is not True)


def drive(port: int, *, clients: int, in_flight: int, submits: int, talk: bool) -> Load:
    """Run one round.

    Args:
        port: of the server, on 127.0.0.1.
        clients: connections at once.
        in_flight: unanswered submits per connection.
        submits: how many each connection sends.
        talk: whether to go through the Stratum handshake first (the bridge) or not (the echo server).
    """
    return asyncio.run(_drive(port, clients, in_flight, submits, talk))
