"""Play the recorded links of a polled device to its driver, which then reads the same telemetry again."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx2

from firmware_bridge.devices.cgminer_api import redact
from firmware_bridge.devices.http import decode_reply, encode_request
from firmware_bridge.devices.telemetry import Telemetry
from firmware_bridge.errors import DeviceError, UserError
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.recorder import SENT, RecordedBytes
from firmware_bridge.trace.redaction import http_message


def pieces_of(reader: TraceReader, run: int) -> Iterator[RecordedBytes]:
    """The recorded bytes of a run, in the order in which they passed.

    Raises:
        UserError: if nothing was recorded.
    """
    empty = True
    for row in reader.rows(run, "recorded_bytes"):
        empty = False
        yield RecordedBytes(*row)
    if empty:
        raise UserError("this run has no recorded bytes; record one with asiclab bridge --record")


@dataclass(slots=True)
class Exchange:
    """A request as it was recorded, and what came back: None where nothing did, or not to its end."""

    asked: bytes
    answer: bytes | None = None
    wall_ns: int = 0
    monotonic_ns: int = 0


def exchanges_of(pieces: Iterable[RecordedBytes], *, whole: bool) -> deque[Exchange]:
    """Requests of one link with their answers.

    Args:
        pieces: of one link, in the order in which they passed.
        whole: whether each answer is one piece (HTTP), or ends with an empty one (the API of cgminer).
    """
    found: deque[Exchange] = deque()
    part = b""
    for piece in pieces:
        if piece.direction == SENT:
            if piece.data:
                found.append(Exchange(piece.data))
                part = b""
            continue
        part += piece.data
        if found and (whole or not piece.data) and part:
            last = found[-1]
            last.answer, part = part, b""
            last.wall_ns, last.monotonic_ns = piece.wall_ns or 0, piece.monotonic_ns or 0
    return found


class Player(httpx2.AsyncBaseTransport):
    """Plays the recorded links of a run to a driver: what was asked then and is asked again gets the same answer.

    What got no answer then gets none now, and neither does what was not asked then. As a clock it stands at the last
    answer that was played.

    Args:
        pieces: recorded bytes of the run.
    """

    def __init__(self, pieces: Iterable[RecordedBytes]) -> None:
        links: dict[str, list[RecordedBytes]] = {}
        for piece in pieces:
            links.setdefault(piece.link, []).append(piece)
        self._links = {
            name: exchanges_of(list_, whole=name.startswith("http"))
            for name, list_ in links.items()
            if name.startswith(("http://", "https://", "cgminer://"))
        }
        self._mine: set[str] = set()
        self._at = (0, 0)

    def wall_ns(self) -> int:
        """Of the last answer."""
        return self._at[0]

    def monotonic_ns(self) -> int:
        """Of the last answer."""
        return self._at[1]

    def use(self, links: Iterable[str]) -> None:
        """Which links :meth:`left` counts."""
        self._mine = set(links)

    @property
    def left(self) -> int:
        """Requests that were not yet asked again."""
        return sum(len(self._links.get(name, ())) for name in self._mine)

    def skip(self) -> None:
        """Leave out the next request of each link: whoever asked it then is not the one who asks now."""
        for name in self._mine:
            if self._links.get(name):
                self._links[name].popleft()

    def _next(self, link: str, asked: bytes) -> bytes | None:
        waiting = self._links.get(link)
        if not waiting or waiting[0].asked.partition(b"\r\n")[0] != asked.partition(b"\r\n")[0]:
            return None
        exchange = waiting.popleft()
        if exchange.answer is not None:
            self._at = (exchange.wall_ns, exchange.monotonic_ns)
        return exchange.answer

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The recorded answer to an HTTP request."""
        url = request.url
        asked = http_message(encode_request(request.method, url.raw_path.decode(), {}, b""))
        answer = self._next(f"{url.scheme}://{url.netloc.decode()}", asked)
        if answer is None:
            raise httpx2.ConnectError("no answer was recorded", request=request)
        reply = decode_reply(answer)
        headers = {n: v for n, v in reply.headers.items() if n != "content-length"}
        return httpx2.Response(reply.status, headers=headers, content=reply.body, request=request)

    def api(self, link: str) -> Callable[[bytes, str], Awaitable[bytes]]:
        """In the place of ``CgminerPort.exchange``."""

        async def exchange(request: bytes, what: str) -> bytes:
            await asyncio.sleep(0)
            answer = self._next(link, redact(request))
            if answer is None:
                # what the LB-Box's driver takes for a port where nobody listens
                raise DeviceError(f"{link}: {what}: no answer was recorded") from ConnectionRefusedError()
            return answer

        return exchange


async def recorded_device(reader: TraceReader, run: int, address: str) -> Any:
    """A driver whose links play what was recorded: ask it what was asked then, and it reads the same telemetry.

    Args:
        reader: of the trace.
        run: number of the run.
        address: URL of the device, as it was then, with the name of its driver.

    Raises:
        UserError: if nothing was recorded, or nothing of this kind of device can be played.
    """
    device, _ = await _playing(reader, run, address)
    return device


async def _playing(reader: TraceReader, run: int, address: str) -> tuple[Any, Player]:
    from firmware_bridge.devices.registry import open_device

    scheme = address.partition("://")[0]
    if scheme not in ("s9", "lv06", "axeos", "lb-box"):
        raise UserError(
            f"{address}: what is played is s9://, lv06://, axeos:// and lb-box://, as they were in the run; the bytes "
            "of a chain give its shares with refeed.serial_shares"
        )
    player = Player(pieces_of(reader, run))
    device: Any = await open_device(address, clock=player, transport=player)
    web, api = getattr(device, "web", None), getattr(device, "api", None)
    if api is not None:
        api.exchange = player.api(api.name)
    player.use([link for link in (getattr(web, "base_url", None), getattr(api, "name", None)) if link])
    return device, player


async def telemetry(reader: TraceReader, run: int, address: str) -> list[Telemetry]:
    """Readings that the recorded bytes of a polled device give, as ``DevicePoller`` took them.

    A reading's stamps are those of its last answer; the run's are some microseconds later.

    Args:
        reader: of the trace.
        run: number of the run.
        address: URL of the device, as it was then, with the name of its driver.

    Raises:
        UserError: as :func:`recorded_device`.
    """
    device, player = await _playing(reader, run, address)
    readings: list[Telemetry] = []
    introduced = False
    try:
        while left := player.left:
            with contextlib.suppress(DeviceError):  # as it was then
                if not introduced:
                    await device.identify()
                    introduced = True
                readings.append(await device.read_telemetry())
            if player.left == left:
                player.skip()
    finally:
        await device.aclose()
    return readings
