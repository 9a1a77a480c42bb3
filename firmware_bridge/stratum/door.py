"""Where connections come in: the listening socket, who is turned away, and what happens when descriptors run out."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable
from typing import Any

from firmware_bridge.errors import UserError
from firmware_bridge.stratum.kernel_time import enable_kernel_stamps
from firmware_bridge.stratum.wire import ErrorCode, encode_error

ACCEPTS_PER_TURN = 32
"""Connections accepted before miners that are in have their turn again."""

PAUSE_S = 0.2
"""Time that newcomers stay in the backlog when descriptors run out."""

_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Door:
    """Accepts connections in the event loop until it is closed.

    Args:
        loop: event loop that supports ``add_reader``.
        listener: listening socket, closed with the door.
        max_clients: named in the error line of who is turned away.
        admit: takes a connection and its address, or returns False.
        event: told of trouble: kind, severity, detail.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listener: socket.socket,
        max_clients: int,
        admit: Callable[[socket.socket, str], bool],
        event: Callable[[str, str, dict[str, Any]], None],
    ) -> None:
        self._loop, self._listener, self._admit, self._event = loop, listener, admit, event
        self._refusal = encode_error(
            b"null",
            ErrorCode.OTHER,
            f"this bridge is full: {max_clients} clients; start it with a larger --max-clients",
        )
        self._closed = False
        loop.add_reader(listener, self._accept)

    def close(self) -> None:
        """Let nobody in any more."""
        self._closed = True
        self._loop.remove_reader(self._listener)
        self._listener.close()

    def _accept(self) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                sock, peer = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _NO_DESCRIPTORS:
                    raise
                self._pause(error)
                return
            address = f"{peer[0]}:{peer[1]}"
            if not self._admit(sock, address):
                self._refuse(sock, address)

    def _refuse(self, sock: socket.socket, address: str) -> None:
        with sock, contextlib.suppress(OSError):
            sock.setblocking(False)
            sock.send(self._refusal)
            sock.shutdown(socket.SHUT_WR)
        self._event("refused", "warning", {"address": address, "why": "full"})

    def _pause(self, error: OSError) -> None:
        """Leave newcomers in the backlog a while; miners that are in go on."""
        self._event("accept-failed", "warning", {"error": str(error), "remedy": "raise `ulimit -n`"})
        self._loop.remove_reader(self._listener)
        self._loop.call_later(PAUSE_S, self._again)

    def _again(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._listener, self._accept)


def raise_descriptor_limit(clients: int) -> dict[str, Any] | None:
    """Let this process have so many connections open; what is wrong where the system does not allow it."""
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = clients + 256
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return None
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = most
    if soft >= wanted:
        return None
    return {"limit": soft, "max_clients": clients, "remedy": "raise `ulimit -n`"}


def bind(host: str, port: int) -> socket.socket:
    """Listening socket whose connections carry kernel stamps from their first segment on.

    Who connects before a :class:`Door` is made waits in the backlog.

    Raises:
        UserError: if the address is not known or cannot be bound.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise UserError(f"{host}: not an address of this host ({error}); try --host 127.0.0.1") from error
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind(address)
        enable_kernel_stamps(sock)
        sock.listen(1024)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise UserError(
                f"{host}:{port} is in use by another program, perhaps another bridge; "
                f"stop it, or take a free port with --port 0"
            ) from error
        if error.errno == errno.EACCES:
            raise UserError(f"{host}:{port}: not allowed to bind; take a port above 1023") from error
        raise UserError(f"{host}:{port}: cannot be bound ({error.strerror}); try --host 127.0.0.1") from error
    return sock
