"""A pool that costs next to nothing: one job, and yes to every share, after a delay if one is asked for.

Run as ``python -m benchmarks.yes_pool [DELAY_S]``; prints its port and serves until its standard input ends.
"""

from __future__ import annotations

import asyncio
import json
import sys

EVERY_HASH = 1e-10  # below 2.33e-10 each hash is a share
JOB = ["1", "00" * 32, "01" * 40, "02" * 60, [], "20000000", "1d00ffff", "65000000", True]


def line(id: object, **fields: object) -> bytes:
    return json.dumps({"id": id, **fields}).encode() + b"\n"


class Seat(asyncio.Protocol):
    """One connection; ids of submits are cut out of the line, not parsed."""

    def __init__(self, delay_s: float) -> None:
        self.delay_s = delay_s
        self.rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        *lines, self.rest = (self.rest + data).split(b"\n")
        out = b""
        for raw in lines:
            message = json.loads(raw)
            id, method = message["id"], message["method"]
            if method == "mining.subscribe":
                out += line(id, result=[[["mining.notify", "1"]], "0a0b0c0d", 8], error=None)
            elif method == "mining.authorize":
                out += line(id, result=True, error=None)
                out += line(None, method="mining.set_difficulty", params=[EVERY_HASH])
                out += line(None, method="mining.notify", params=JOB)
            else:
                out += line(id, result=True, error=None)
        if self.delay_s:
            asyncio.get_running_loop().call_later(self.delay_s, self.transport.write, out)
        else:
            self.transport.write(out)


async def main(delay_s: float) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Seat(delay_s), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 0.0))
