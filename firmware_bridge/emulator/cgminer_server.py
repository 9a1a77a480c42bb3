"""A server of the cgminer API as the real ones are: one read per connection, NUL at the end, writes refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from firmware_bridge.clock import Clock
from firmware_bridge.devices.cgminer_api import (
    PRIVILEGED,
    REQUEST_LIMIT,
    Code,
    Reply,
    Request,
    decode_request,
    encode_replies,
)
from firmware_bridge.emulator.tcp_server import TcpServer

Handler = Callable[[str | None], Reply]
"""Answers one command, given its parameter."""

READ_TIMEOUT_S = 5.0

TEXTS = {
    Code.INVALID_COMMAND: "Invalid command",
    Code.INVALID_JSON: "Invalid JSON",
    Code.NO_COMMAND: "Missing JSON 'command'",
}


def refusal(command: str) -> Reply:
    """The answer to a command that this caller may not use."""
    return Reply("E", Code.ACCESS_DENIED, f"Access denied to '{command}' command")


class CgminerServer(TcpServer):
    """The API of an emulated miner.

    Args:
        commands: name to handler.
        description: name and version of the miner software.
        clock: for the time in answers.
        writable: whether privileged commands are carried out (``--api-allow W:`` on a real one).
        closed_to_all: further commands that this firmware refuses.
    """

    def __init__(
        self,
        commands: Mapping[str, Handler],
        description: str,
        clock: Clock,
        *,
        writable: bool = False,
        closed_to_all: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__()
        self._commands = commands
        self._description = description
        self._clock = clock
        self.writable = writable
        self._closed_to_all = closed_to_all

    def answer(self, data: bytes) -> bytes:
        """The bytes that answer a request."""
        request = decode_request(data)
        if isinstance(request, Code):
            reply = Reply("E", request, TEXTS[request])
            as_json = data.strip(b"\0 \r\n\t").startswith(b"{")
            return self._encode({"": reply}, as_json=as_json, joined=False)
        commands = dict.fromkeys(request.commands)  # one asked for a thousand times is answered once
        replies = {command: self._reply(command, request) for command in commands}
        return self._encode(replies, as_json=request.as_json, joined=len(request.commands) > 1)

    def _reply(self, command: str, request: Request) -> Reply:
        # access is looked at first, so that a caller cannot find out what is behind it
        if not self._allowed(command, joined=len(request.commands) > 1):
            return refusal(command)
        if command == "check":
            return self._check(request.parameter)
        handler = self._commands.get(command)
        if handler is None:
            return Reply("E", Code.INVALID_COMMAND, TEXTS[Code.INVALID_COMMAND])
        return handler(request.parameter)

    def _allowed(self, command: str, *, joined: bool = False) -> bool:
        refused = command in PRIVILEGED and (not self.writable or joined)
        return not refused and command not in self._closed_to_all

    def _check(self, command: str | None) -> Reply:
        """Whether a command exists and this caller may use it."""
        if not command:
            return Reply("E", Code.MISSING_CHECK, "Missing check cmd")
        known = command in self._commands or command == "check"
        access = known and self._allowed(command)
        row = {"Exists": "Y" if known else "N", "Access": "Y" if access else "N"}
        return Reply("S", Code.CHECK, "Check command", "CHECK", [row])

    def _encode(self, replies: Mapping[str, Reply], *, as_json: bool, joined: bool) -> bytes:
        when = self._clock.wall_ns() // 1_000_000_000
        return encode_replies(
            replies, as_json=as_json, joined=joined, description=self._description, when=when
        )

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(READ_TIMEOUT_S):
            data = await reader.read(REQUEST_LIMIT)  # one recv() only, as the real ones do
            if data:
                writer.write(self.answer(data))
                await writer.drain()
