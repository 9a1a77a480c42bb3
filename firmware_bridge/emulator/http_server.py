"""A small HTTP/1.1 server for emulated devices: one handler, bounded requests, every connection closed when stopped."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import h11

from firmware_bridge.emulator.tcp_server import TcpServer

BODY_LIMIT = 256 * 1024
IDLE_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What a client asks; header names in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    target: str

    def json(self) -> Any:
        """The body as JSON, None where it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What a device answers; status 0 hangs up without an answer."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> HttpAnswer:
        """An answer of JSON."""
        return cls(status, json.dumps(value).encode(), headers=headers or {})

    @classmethod
    def text(cls, text: str, status: int = 200, content_type: str = "text/html") -> HttpAnswer:
        """An answer of text."""
        return cls(status, text.encode(), content_type)


Handler = Callable[[HttpRequest], Awaitable[HttpAnswer]]


class HttpServer(TcpServer):
    """Serves one handler.

    Args:
        handler: answers each request.
    """

    def __init__(self, handler: Handler) -> None:
        super().__init__()
        self._handler = handler

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(h11.ProtocolError):  # a client that speaks no HTTP
            await self._exchange(reader, writer)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        state = h11.Connection(h11.SERVER)
        while True:
            try:
                request = await self._receive(state, reader)
            except h11.RemoteProtocolError as error:
                await self._send(state, writer, HttpAnswer.text(str(error), error.error_status_hint))
                return
            if request is None:
                return
            answer = await self._handler(request)
            if answer.status == 0:
                writer.transport.abort()
                return
            await self._send(state, writer, answer)
            if state.our_state is not h11.DONE or state.their_state is not h11.DONE:
                return
            state.start_next_cycle()

    async def _receive(self, state: h11.Connection, reader: asyncio.StreamReader) -> HttpRequest | None:
        head: h11.Request | None = None
        body = bytearray()
        async with asyncio.timeout(IDLE_TIMEOUT_S):
            while True:
                event = state.next_event()
                if event is h11.NEED_DATA:
                    state.receive_data(await reader.read(1 << 16))
                elif isinstance(event, h11.Request):
                    head = event
                elif isinstance(event, h11.Data):
                    body += event.data
                    if len(body) > BODY_LIMIT:
                        raise h11.RemoteProtocolError("the request is too long", error_status_hint=413)
                elif isinstance(event, h11.EndOfMessage):
                    assert head is not None
                    try:
                        return _request(head, bytes(body))
                    except ValueError as error:
                        raise h11.RemoteProtocolError(f"the target is no URL: {error}") from error
                else:
                    return None

    async def _send(self, state: h11.Connection, writer: asyncio.StreamWriter, answer: HttpAnswer) -> None:
        headers = {
            "Content-Type": answer.content_type,
            "Content-Length": str(len(answer.body)),
            **answer.headers,
        }
        if state.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        writer.write(
            state.send(h11.Response(status_code=answer.status, headers=list(headers.items()))) or b""
        )
        if answer.body:
            writer.write(state.send(h11.Data(data=answer.body)) or b"")
        writer.write(state.send(h11.EndOfMessage()) or b"")
        await writer.drain()


def _request(head: h11.Request, body: bytes) -> HttpRequest:
    target = head.target.decode("latin-1")
    parts = urlsplit(target)
    return HttpRequest(
        method=head.method.decode("latin-1"),
        path=unquote(parts.path),
        query=dict(parse_qsl(parts.query, keep_blank_values=True)),
        headers={name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers},
        body=body,
        target=target,
    )


class DigestAuth:
    """HTTP digest authentication as lighttpd on a control board asks for it (RFC 7616, MD5, qop=auth)."""

    def __init__(self, realm: str, user: str, password: str) -> None:
        self._realm, self._user = realm, user
        self._secret = _md5(f"{user}:{realm}:{password}")
        self._nonce = secrets.token_hex(16)

    def refuse(self, request: HttpRequest) -> HttpAnswer | None:
        """The 401 that asks for credentials, or None where they are right."""
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        given = dict(_pairs(text)) if scheme.lower() == "digest" else {}
        second = _md5(f"{request.method}:{given.get('uri', '')}")
        middle = ":".join((given.get("nonce", ""), given.get("nc", ""), given.get("cnonce", ""), "auth"))
        right = (
            given.get("username") == self._user
            and given.get("nonce") == self._nonce
            and given.get("uri") == request.target
            and secrets.compare_digest(
                given.get("response", "").encode(), _md5(f"{self._secret}:{middle}:{second}").encode()
            )
        )
        if right:
            return None
        challenge = f'Digest realm="{self._realm}", nonce="{self._nonce}", qop="auth"'
        return HttpAnswer(401, b"401 - Unauthorized", "text/html", headers={"WWW-Authenticate": challenge})


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


# a quoted value may hold commas: the target of a request does
_PAIR = re.compile(r'(\w++)=(?:"((?:[^"\\]|\\.)*+)"|([^",\s]++))')


def _pairs(text: str) -> list[tuple[str, str]]:
    return [(name, quoted or plain) for name, quoted, plain in _PAIR.findall(text)]
