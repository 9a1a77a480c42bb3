"""TCP 4028 of a device: one connection per request, read to its end, every byte shown to a tap."""

from __future__ import annotations

import asyncio
import contextlib

from firmware_bridge.devices.cgminer_api import (
    ANSWER_LIMIT,
    PORT,
    SHOWN,
    Answer,
    decode_answer,
    decode_joined,
    encode_request,
    redact,
)
from firmware_bridge.devices.tap import Tap
from firmware_bridge.errors import DeviceError, ProtocolError, UnreachableError


class CgminerPort:
    """The API of one device.

    Args:
        host: its address.
        port: of the API.
        tap: sees each request and answer; empty bytes where the device hung up.
        timeout_s: of one whole request.
    """

    def __init__(
        self, host: str, port: int = PORT, *, tap: Tap | None = None, timeout_s: float = 10.0
    ) -> None:
        self.host, self.port = host, port
        self._tap = tap
        self._timeout_s = timeout_s

    @property
    def name(self) -> str:
        """For messages and the recorder."""
        return f"cgminer://{self.host}:{self.port}"

    async def exchange(self, request: bytes, what: str) -> bytes:
        """Send bytes in one segment and read to the end.

        Raises:
            DeviceError: if there is no connection, no answer in time, none at all, or too long a one.
        """
        answer = bytearray()
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._exchange(request, what, answer)
        except TimeoutError:
            raise DeviceError(
                f"{self.name}: {what}: no whole answer within {self._timeout_s:g} s{_so_far(answer)}"
            ) from None
        except OSError as error:
            raise DeviceError(f"{self.name}: {what}: {_reason(error)}{_so_far(answer)}") from error
        if not answer:
            raise DeviceError(f"{self.name}: {what}: the device hung up without an answer")
        return bytes(answer)

    async def _exchange(self, request: bytes, what: str, answer: bytearray) -> None:
        if self._tap is not None:
            self._tap.sent(request)  # also where nobody listens: a question without an answer is told so
        try:
            reader, writer = await asyncio.open_connection(self.host, self.port)
        except OSError as error:
            raise UnreachableError(f"{self.name}: {what}: {_reason(error)}") from error
        try:
            writer.write(request)
            await writer.drain()
            while piece := await reader.read(1 << 16):
                if self._tap is not None:
                    self._tap.received(piece)
                answer += piece
                if len(answer) > ANSWER_LIMIT:
                    raise DeviceError(
                        f"{self.name}: {what}: the answer has more than {ANSWER_LIMIT} bytes{_so_far(answer)}"
                    )
            if self._tap is not None:
                self._tap.received(b"")
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def ask(self, command: str, parameter: str | None = None) -> Answer:
        """Ask one command, whatever its status says.

        Raises:
            DeviceError: if the device does not answer, or answers nonsense: with the command and the bytes.
        """
        data = await self.exchange(encode_request(command, parameter), command)
        try:
            return decode_answer(data)
        except ProtocolError as error:
            raise DeviceError(f"{self.name}: {command}: {error}") from error

    async def ask_all(self, *commands: str) -> dict[str, Answer]:
        """Ask several commands; those that a firmware cannot join are asked one by one.

        Raises:
            DeviceError: as :meth:`ask`.
        """
        data = await self.exchange(encode_request("+".join(commands)), "+".join(commands))
        with contextlib.suppress(ProtocolError):
            answers = decode_joined(data)
            if all(command in answers for command in commands):
                return answers
        return {command: await self.ask(command) for command in commands}


def _so_far(answer: bytearray) -> str:
    return f"; {len(answer)} bytes came: {redact(bytes(answer))[:SHOWN]!r}" if answer else ""


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
