"""MQTT packets on their way into the embedded broker: whole ones, of bounded size, from clients that keep alive.

amqtt 0.12 reads any length that a header names, waits for ever for a client that is gone, and loses its place in the
stream after a topic with a wildcard. So packets are cut out of the stream here, and only sound ones reach it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from amqtt.adapters import BufferReader, ReaderAdapter, StreamWriterAdapter
from amqtt.mqtt.connect import ConnectPacket

CONNECT, PUBLISH = 1, 3
PROTOCOL_LEVEL = 4
"""MQTT 3.1.1."""
REFUSED_VERSION: Final = {5: bytes.fromhex("2003008400")}
"""CONNACK to a client of another version, in its own form; the rest understand the one of 3.1.1."""
REFUSED_VERSION_311: Final = bytes.fromhex("20020001")
REFUSED_LOGIN: Final = bytes.fromhex("20020005")
GRACE = 1.5
"""Keep-alive times without a packet after which a client is gone, as the standard says."""
BODY_PATIENCE_S = 60.0
DRAIN_PATIENCE_S = 30.0
HEADER_ROOM = 2 + 65_535 + 2
"""Bytes of a packet beside its payload: a topic of any length, and a number."""
AHEAD = 16
"""Packets that wait for the broker before the client has to."""


class PacketRefusedError(Exception):
    """A client sent what it must not; it is to be let go."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One control packet as it came.

    Attributes:
        kind: type of the packet, 1..14.
        data: all its bytes.
        body: where its variable header begins.
    """

    kind: int
    data: bytes
    body: int


@dataclass(frozen=True, slots=True)
class Login:
    """What a client says of itself in CONNECT.

    Attributes:
        version: protocol level; 4 is MQTT 3.1.1. Nothing else is known where it is another one.
        client: its identifier.
        user: user name, if it gave one.
        password: if it gave one.
        keep_alive_s: seconds, 0 for none.
    """

    version: int
    client: str = ""
    user: str | None = None
    password: str | None = None
    keep_alive_s: int = 0


async def read_packet(reader: asyncio.StreamReader, limit: int) -> Packet | None:
    """The next packet, or None at the end of the stream, be it within a packet.

    Raises:
        PacketRefusedError: if it is longer than ``limit`` bytes, or no packet of MQTT; nothing of its body is read.
        TimeoutError: if its body takes too long.
    """
    try:
        head = await reader.readexactly(1)
        async with asyncio.timeout(BODY_PATIENCE_S):
            length, shift = 0, 0
            while True:
                byte = await reader.readexactly(1)
                head += byte
                length |= (byte[0] & 0x7F) << shift
                shift += 7
                if byte[0] < 0x80:
                    break
                if shift > 21:
                    raise PacketRefusedError("a length of more than four bytes")
            if length > limit:
                raise PacketRefusedError(f"a packet of {length} bytes, where {limit} are the limit")
            body = await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    return Packet(head[0] >> 4, head + body, len(head))


def check_publish(packet: Packet, max_payload: int) -> None:
    """Refuse a message that is too large, or to a topic that nobody may publish to.

    Raises:
        PacketRefusedError: if the topic is broken, empty, or holds a wildcard, or the message is too large.
    """
    body = packet.data[packet.body :]
    length = int.from_bytes(body[:2], "big")
    raw = body[2 : 2 + length]
    if len(body) < 2 or len(raw) < length:
        raise PacketRefusedError("a topic that does not end")
    if fault := topic_fault(raw):
        raise PacketRefusedError(f"a topic {fault}: {raw[:80]!r}")
    payload = len(body) - 2 - length - (2 if packet.data[0] & 0x06 else 0)
    if payload > max_payload:
        raise PacketRefusedError(
            f"a message of {payload} bytes to {raw[:80]!r}, where {max_payload} are the limit"
        )


def topic_fault(raw: bytes) -> str | None:
    """What is wrong with the topic of a message, or None."""
    try:
        topic = raw.decode()
    except UnicodeDecodeError:
        return "that is not UTF-8"
    if not topic:
        return "of no characters"
    if "+" in topic or "#" in topic:
        return "with a wildcard"
    if topic.startswith("$"):
        return "that belongs to the broker"
    return "with a NUL" if "\0" in topic else None


async def read_login(packet: Packet) -> Login:
    """What a client says of itself.

    Raises:
        PacketRefusedError: if the packet is no CONNECT, or a broken one.
    """
    if packet.kind != CONNECT:
        raise PacketRefusedError(f"a packet of type {packet.kind} before CONNECT")
    body = packet.data[packet.body :]
    name_end = 2 + int.from_bytes(body[:2], "big")
    if len(body) <= name_end or body[2:name_end] not in (b"MQTT", b"MQIsdp"):
        raise PacketRefusedError("a CONNECT of another protocol")
    version = body[name_end] & 0x7F
    if version != PROTOCOL_LEVEL or body[2:name_end] != b"MQTT":
        return Login(version)
    try:
        connect = await ConnectPacket.from_stream(BufferReader(packet.data))
        if connect.will_flag and (fault := topic_fault((connect.will_topic or "").encode())):
            raise PacketRefusedError(f"a will to a topic {fault}")
        given = "" if connect.payload.client_id_is_random else connect.client_id or ""
        return Login(version, given, connect.username, connect.password, connect.keep_alive)
    except PacketRefusedError:
        raise
    except Exception as error:  # whatever the parser of the library trips over
        raise PacketRefusedError(f"a broken CONNECT ({type(error).__name__})") from error


class PacketReader(ReaderAdapter):  # type: ignore[misc] # the library is untyped
    """Hands whole packets to the broker; a task of its own takes them off the line, so a cancelled read loses none.

    Args:
        reader: the line.
        first: the packet that was read already.
        max_payload: largest message, bytes.
        keep_alive_s: as the client promised, 0 for none.
        refuse: told why the client is let go.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        first: Packet,
        *,
        max_payload: int,
        keep_alive_s: int,
        refuse: Callable[[str], None],
    ) -> None:
        self._reader = reader
        self._max_payload = max_payload
        self._patience_s = GRACE * keep_alive_s if keep_alive_s else None
        self._refuse = refuse
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(AHEAD)
        self._buffer, self._at = first.data, 0
        self._ended = False
        self._pump = asyncio.get_running_loop().create_task(self._take())

    async def _take(self) -> None:
        try:
            while True:
                async with asyncio.timeout(self._patience_s):
                    packet = await read_packet(self._reader, self._max_payload + HEADER_ROOM)
                if packet is None:
                    break
                if packet.kind == PUBLISH:
                    check_publish(packet, self._max_payload)
                await self._queue.put(packet.data)
        except TimeoutError:
            self._refuse("no packet within one and a half keep-alive times")
        except PacketRefusedError as error:
            self._refuse(str(error))
        await self._queue.put(None)

    async def read(self, n: int = -1) -> bytes:
        """Up to ``n`` bytes of the packet at hand, or of the next one; nothing once the client is gone."""
        if n == 0:
            return b""
        while self._at >= len(self._buffer):
            if self._ended:
                return b""
            data = await self._queue.get()
            if data is None:
                self._ended = True
            else:
                self._buffer, self._at = data, 0
        end = len(self._buffer) if n < 0 else self._at + n
        piece = self._buffer[self._at : end]
        self._at += len(piece)
        return piece

    def feed_eof(self) -> None:
        """Bring nothing more."""
        self.close()

    def close(self) -> None:
        """Let go of the line."""
        self._pump.cancel()


class PacketWriter(StreamWriterAdapter):  # type: ignore[misc] # the library is untyped
    """Lets go of a client that does not take what it asked for."""

    async def drain(self) -> None:
        """Wait until the client has taken enough.

        Raises:
            ConnectionResetError: if it does not.
        """
        try:
            async with asyncio.timeout(DRAIN_PATIENCE_S):
                await super().drain()
        except TimeoutError:
            self._writer.transport.abort()
            raise ConnectionResetError("the client does not read") from None
