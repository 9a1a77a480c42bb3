"""A TCP connection whose every read carries the time at which the kernel received it.

Linux stamps a segment when it arrives (SO_TIMESTAMPNS, CLOCK_REALTIME) and hands the stamp out with ``recvmsg``;
asyncio's own transports do not ask for it, so this is a small transport of its own on ``loop.add_reader``. Where
one read returns several segments the stamp is that of the last one, so lines that came in earlier segments of the
same read carry a stamp that is late by at most the time between two reads. Where the platform has no such stamps,
or a segment arrived before stamping was on, ``kernel_ns`` is None.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
from collections.abc import Callable
from typing import NamedTuple

from firmware_bridge.clock import Clock

RECEIVE_BYTES = 16 * 1024
"""Bytes taken in one read; bounds what one miner can occupy the bridge with before others have their turn."""

WRITE_LIMIT = 64 * 1024
"""Bytes that wait for a client that does not read, beyond what the kernel holds, before it is dropped."""

WRITE_PAUSE = 16 * 1024
"""Waiting bytes at which nothing more is read from that client."""

SEND_BUFFER_BYTES = 256 * 1024
"""Kernel send buffer of a connection: bounds what a client that never reads can make the kernel hold."""

_DEAD_PEER = {
    getattr(socket, name): value
    for name, value in (
        ("TCP_KEEPIDLE", 60),
        ("TCP_KEEPINTVL", 15),
        ("TCP_KEEPCNT", 4),
        ("TCP_USER_TIMEOUT", 120_000),
    )
    if hasattr(socket, name)
}
"""A miner that lost its power is noticed within two minutes; without these it holds its place for hours."""

SO_TIMESTAMPNS = getattr(
    socket, "SO_TIMESTAMPNS", 35
)  # the socket module of Python < 3.13 has no name for it
_TIMESPEC = struct.Struct("@ll")
_ANCILLARY_BYTES = socket.CMSG_SPACE(_TIMESPEC.size) if hasattr(socket, "CMSG_SPACE") else 0
_shared_buffer = bytearray(RECEIVE_BYTES)
_shared_view = memoryview(_shared_buffer)


class Stamp(NamedTuple):
    """Arrival of one read, in ns: kernel receive time (wall), monotonic and wall time of user space."""

    kernel_ns: int | None
    monotonic_ns: int
    wall_ns: int


def enable_kernel_stamps(sock: socket.socket) -> bool:
    """Ask for kernel receive stamps; False where this platform has none.

    Sockets accepted from a stamped listener inherit the wish, so that their first segment is stamped too.
    """
    if not sys.platform.startswith("linux") or not _ANCILLARY_BYTES:
        return False
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    except OSError:
        return False
    return True


def kernel_ns(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    """Receive stamp in ns since the epoch out of what ``recvmsg`` returned, None where there is none."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS and len(data) >= _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            return int(seconds * 1_000_000_000 + nanoseconds) or None
    return None


def receive(sock: socket.socket, clock: Clock) -> tuple[bytes, Stamp]:
    """Read once, with the stamps of the arrival; empty bytes at the end of the stream.

    Raises:
        OSError: as the socket does, BlockingIOError included.
    """
    count, ancillary, _, _ = sock.recvmsg_into((_shared_view,), _ANCILLARY_BYTES)
    monotonic, wall = clock.monotonic_ns(), clock.wall_ns()
    return bytes(_shared_view[:count]), Stamp(kernel_ns(ancillary), monotonic, wall)


class StampedTransport:
    """One accepted connection: stamped reads, writes that never block, bounded memory.

    Args:
        loop: event loop that supports ``add_reader``.
        sock: connected socket; made non-blocking here, with TCP_NODELAY.
        clock: where monotonic and wall time come from.
        on_data: called with each read and its stamps.
        on_closed: called once, with the reason, when the connection is over.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        clock: Clock,
        on_data: Callable[[bytes, Stamp], None],
        on_closed: Callable[[str], None],
    ) -> None:
        self._loop, self._sock, self._clock = loop, sock, clock
        self._on_data, self._on_closed = on_data, on_closed
        self._waiting = bytearray()
        self._paused = False
        self._reading = False
        self._closing = False
        self.closed = False
        self.stalled_since_ns: int | None = None  # monotonic; None while the client takes what it is sent
        sock.setblocking(False)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in _DEAD_PEER.items():
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
        self.stamps = enable_kernel_stamps(sock)

    def start(self) -> None:
        """Begin to read."""
        self._update_reading()

    def pause_reading(self) -> None:
        """Leave what the client sends in the kernel until :meth:`resume_reading`: back-pressure, nothing is lost."""
        self._paused = True
        self._update_reading()

    def resume_reading(self) -> None:
        """Read again."""
        self._paused = False
        self._update_reading()

    def _update_reading(self) -> None:
        wanted = not (self._paused or self._closing or self.closed or len(self._waiting) > WRITE_PAUSE)
        if wanted and not self._reading:
            self._loop.add_reader(self._sock, self._readable)
        elif self._reading and not wanted:
            self._loop.remove_reader(self._sock)
        self._reading = wanted

    def _readable(self) -> None:
        try:
            data, stamp = receive(self._sock, self._clock)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.abort(f"connection lost: {error.strerror or error}")
            return
        if data:
            self._on_data(data, stamp)
        else:
            self.abort("closed by the client")

    def write(self, data: bytes) -> None:
        """Send now as far as the kernel takes it, the rest as soon as it does; drops a client that never reads."""
        if self.closed or self._closing:
            return
        if not self._waiting:
            try:
                sent = self._sock.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                self.abort(f"connection lost: {error.strerror or error}")
                return
            if sent == len(data):
                return
            data = data[sent:]
            self.stalled_since_ns = self._clock.monotonic_ns()
            self._loop.add_writer(self._sock, self._writable)
        self._waiting += data
        if len(self._waiting) > WRITE_LIMIT:
            self.abort(f"the client does not read: {len(self._waiting)} bytes wait for it")
        elif len(self._waiting) > WRITE_PAUSE:
            self._update_reading()

    def _writable(self) -> None:
        try:
            sent = self._sock.send(self._waiting)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.abort(f"connection lost: {error.strerror or error}")
            return
        del self._waiting[:sent]
        if self._waiting:
            self.stalled_since_ns = self._clock.monotonic_ns()
            return
        self.stalled_since_ns = None
        self._loop.remove_writer(self._sock)
        if self._closing:
            self.abort("closed by the bridge")
        else:
            self._update_reading()

    def close(self, reason: str = "closed by the bridge") -> None:
        """Stop reading, send what still waits, then close; ``on_closed`` comes when that is done."""
        self._closing = True
        self._update_reading()
        if not self._waiting:
            self.abort(reason)

    def abort(self, reason: str) -> None:
        """Close at once."""
        if self.closed:
            return
        self.closed = True
        self._paused = True
        if self._reading:
            self._loop.remove_reader(self._sock)
            self._reading = False
        self._loop.remove_writer(self._sock)
        with contextlib.suppress(OSError):
            # unread input would turn the close into a reset, which can destroy the error line sent just before
            self._sock.recv_into(_shared_view)
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
        self._sock.close()
        self._waiting.clear()
        self._on_closed(reason)
