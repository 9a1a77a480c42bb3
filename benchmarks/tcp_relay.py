"""The peer of the proxy: a plain TCP relay that hands bytes on and looks at none of them.

Run as ``python -m benchmarks.tcp_relay PORT``; prints its own port and serves until its standard input ends.
"""

from __future__ import annotations

import asyncio
import sys


class Side(asyncio.Protocol):
    """One end; what arrives goes out at the other."""

    other: asyncio.Transport | None = None
    waiting: bytes = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self.waiting += data
        else:
            self.other.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None:
            self.other.close()


class Front(Side):
    """The end towards the client; opens the other one."""

    def __init__(self, port: int) -> None:
        self.port = port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.task = asyncio.get_running_loop().create_task(self.connect())

    async def connect(self) -> None:
        _, back = await asyncio.get_running_loop().create_connection(Side, "127.0.0.1", self.port)
        back.other, self.other = self.transport, back.transport
        self.other.write(self.waiting)


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Front(port), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
