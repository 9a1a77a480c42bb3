"""HTTP to a device: one bounded request at a time, every byte shown to a tap, errors that name device and command."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from firmware_bridge.devices.tap import Tap
from firmware_bridge.errors import DeviceError, UnreachableError

BODY_LIMIT = 4 * 2**20
"""Largest answer in bytes that is read; an info page has some thousand."""

SHOWN = 200
"""Bytes of an answer that an error shows."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: status, headers with lower-case names, and the body as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def encode_request(method: str, target: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """A request in the form of HTTP/1.1, as the flight recorder keeps it."""
    return _message(f"{method} {target} HTTP/1.1", headers, body)


def encode_reply(reply: Reply) -> bytes:
    """An answer in the form of HTTP/1.1, as the flight recorder keeps it; its body is no longer chunked."""
    kept = {n: v for n, v in reply.headers.items() if n not in ("transfer-encoding", "content-encoding")}
    return _message(f"HTTP/1.1 {reply.status}", kept | {"content-length": str(len(reply.body))}, reply.body)


def _message(start: str, headers: Mapping[str, str], body: bytes) -> bytes:
    lines = [start, *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1", "replace") + body


def decode_reply(data: bytes) -> Reply:
    """The inverse of :func:`encode_reply`.

    Raises:
        ValueError: if it is no HTTP answer.
    """
    head, separator, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if not separator or not words[0].startswith("HTTP/") or len(words) < 2 or not words[1].isdecimal():
        raise ValueError("no HTTP answer")
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise ValueError(f"a header without a colon: {line[:80]!r}")
        headers[name.strip().lower()] = value.strip()
    return Reply(int(words[1]), headers, body)


class HttpLink:
    """A device's HTTP server.

    Args:
        base_url: for example ``http://10.0.0.7``.
        transport: how requests travel; real sockets if None. Tests and emulators in process give their own.
        tap: sees each request and answer.
        redact: takes the passwords out of an answer before an error shows it.
        timeout_s: of one whole request.
        digest: user and password where the server asks for digest authentication.
    """

    def __init__(
        self,
        base_url: str,
        *,
        digest: tuple[str, str] | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
        tap: Tap | None = None,
        redact: Callable[[bytes], bytes] = bytes,
        timeout_s: float = 10.0,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._tap = tap
        self._redact = redact
        self._timeout_s = timeout_s
        self._client = httpx2.AsyncClient(
            base_url=self.base_url,
            transport=transport,
            timeout=timeout_s,
            auth=None if digest is None else httpx2.DigestAuth(*digest),
            trust_env=False,  # a proxy of the environment is none for devices in the local network
            headers={"user-agent": "asiclab", "connection": "close"},
        )

    async def request(
        self,
        method: str,
        target: str,
        *,
        body: Any = None,
        form: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send one request and read its whole answer.

        Args:
            method: of HTTP.
            target: path and query.
            body: sent as JSON unless None.
            form: an encoded form in its place.
            headers: further ones, such as a token.

        Raises:
            DeviceError: if there is no answer in time, or it is too long. A status is not an error here.
        """
        content = b"" if body is None else json.dumps(body).encode()
        sent = dict(headers or {}) | ({} if body is None else {"content-type": "application/json"})
        if form is not None:
            content = form.encode()
            sent["content-type"] = "application/x-www-form-urlencoded"
        if self._tap is not None:
            self._tap.sent(encode_request(method, target, sent, content))
        try:
            async with asyncio.timeout(self._timeout_s):
                reply = await self._exchange(method, target, content, sent)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            if isinstance(error, TimeoutError):
                reason = f"no whole answer within {self._timeout_s:g} s"
            kind = UnreachableError if isinstance(error, httpx2.ConnectError) else DeviceError
            raise kind(f"{self.base_url}: {method} {target}: {reason}") from error
        if self._tap is not None:
            self._tap.received(encode_reply(reply))
        return reply

    async def _exchange(self, method: str, target: str, content: bytes, headers: dict[str, str]) -> Reply:
        async with self._client.stream(method, target, content=content or None, headers=headers) as answer:
            body = bytearray()
            async for piece in answer.aiter_bytes():
                body += piece
                if len(body) > BODY_LIMIT:
                    raise DeviceError(
                        f"{self.base_url}: {method} {target}: the answer has more than {BODY_LIMIT} bytes"
                    )
            names = {name.lower(): value for name, value in answer.headers.items()}
            return Reply(answer.status_code, names, bytes(body))

    def broken(self, method: str, target: str, reply: Reply, why: str) -> DeviceError:
        """The error for an answer that makes no sense: with the device, the command and the bytes."""
        shown = self._redact(reply.body)[:SHOWN]
        return DeviceError(f"{self.base_url}: {method} {target} answered {reply.status}, {why}: {shown!r}")

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()
