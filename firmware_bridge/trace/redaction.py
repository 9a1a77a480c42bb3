"""Secrets taken out of the bytes of a link as they pass, whatever the pieces in which they come.

One filter per link and direction. What a filter lets out parses as what came in, but for the secrets themselves. Where
a secret may still be unfinished the bytes wait; where they cannot be understood, what might hold one is left out.
"""

from __future__ import annotations

import json
import re
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlencode

from firmware_bridge.trace.provenance import HIDDEN, is_secret_name, redact, redact_text

HELD_LIMIT = 64 * 1024
"""Bytes of an unfinished line that are held back at most."""


class Filter(Protocol):
    """Takes the bytes of one direction, gives those that may be kept."""

    def feed(self, data: bytes) -> bytes:
        """Bytes that came, and what may be stored now."""

    def end(self) -> bytes:
        """What was held back, when nothing more comes."""


class Plain:
    """A link without secrets."""

    def feed(self, data: bytes) -> bytes:
        """All of it."""
        return data

    def end(self) -> bytes:
        """Nothing was held back."""
        return b""


class Whole:
    """A link whose messages come whole: each piece is redacted by itself."""

    def __init__(self, rule: Any) -> None:
        self._rule = rule

    def feed(self, data: bytes) -> bytes:
        """The message without its secrets."""
        kept: bytes = self._rule(data)
        return kept

    def end(self) -> bytes:
        """Nothing was held back."""
        return b""


class StratumLines:
    """Lines of a Stratum conversation; an unfinished one waits for its end."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Every line that is whole now."""
        block = self._held + data
        cut = block.rfind(b"\n") + 1
        self._held = block[cut:]
        kept = b"".join(map(stratum_line, block[:cut].splitlines(keepends=True)))
        if len(self._held) > HELD_LIMIT:
            kept, self._held = kept + HIDDEN.encode(), b""
        return kept

    def end(self) -> bytes:
        """The unfinished rest, unless it may hold a secret."""
        held, self._held = self._held, b""
        return HIDDEN.encode() if _suspicious(held) else held


_SUSPICIOUS = re.compile(rb"authorize|pass|pwd|token|secret|key|credential|cookie|@|\\u", re.I)


def _suspicious(data: bytes) -> bool:
    return bool(_SUSPICIOUS.search(data))


def stratum_line(line: bytes) -> bytes:
    """One line without the password of ``mining.authorize`` and without values under secret names."""
    if not _suspicious(line):
        return line
    end = line[len(line.rstrip(b"\r\n")) :]
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return HIDDEN.encode() + end  # broken before, broken after
    if isinstance(message, dict) and message.get("method") == "mining.authorize":
        params = message.get("params")
        if isinstance(params, list) and len(params) > 1:
            message["params"] = [params[0], *(HIDDEN if isinstance(p, str) else p for p in params[1:])]
    try:
        return json.dumps(_hidden(message), separators=(",", ":")).encode() + end
    except (ValueError, RecursionError):
        return HIDDEN.encode() + end


def _hidden(value: Any) -> Any:
    """As ``provenance.redact``, but numbers, also the ones that JSON cannot write, stay as they are."""
    if isinstance(value, dict):
        return {
            k: HIDDEN if is_secret_name(k) and isinstance(v, str) and v else _hidden(v)
            for k, v in value.items()
        }
    if isinstance(value, list):
        return [_hidden(item) for item in value]
    return redact_text(value) if isinstance(value, str) else value


_FORM_SECRET = re.compile(r"(?:pw|pass|password|token)$", re.I)


def http_message(data: bytes) -> bytes:
    """A request or answer of HTTP/1.1 without passwords, tokens and credentials, wherever they stand in it."""
    head, separator, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    kept = [_request_line(first)]
    kind = ""
    for line in lines:
        name, colon, value = line.partition(":")
        lower = name.strip().lower()
        if lower in ("authorization", "cookie", "set-cookie", "proxy-authorization", "www-authenticate"):
            scheme = value.strip().split(" ")[0] if lower.endswith("authorization") else ""
            value = f" {scheme} {HIDDEN}" if scheme else f" {HIDDEN}"
        if lower == "content-type":
            kind = value.strip().lower()
        kept.append(name + colon + value)
    return "\r\n".join(kept).encode("latin-1", "replace") + separator + http_body(body, kind)


def _request_line(line: str) -> str:
    method, _, rest = line.partition(" ")
    target, space, version = rest.rpartition(" ")
    path, question, query = target.partition("?")
    if not question:
        return line
    return f"{method} {path}?{_form(query)}{space}{version}"


def _form(text: str) -> str:
    pairs = parse_qsl(text, keep_blank_values=True)
    if not any(_FORM_SECRET.search(name) or is_secret_name(name) for name, _ in pairs):
        return text
    return urlencode(
        [(n, HIDDEN if _FORM_SECRET.search(n) or is_secret_name(n) else v) for n, v in pairs], safe="*"
    )


def http_body(body: bytes, kind: str = "") -> bytes:
    """A body without values under secret names; one that cannot be understood and may hold a secret is left out."""
    if not _suspicious(body) and b"pw" not in body:
        return body
    if "x-www-form-urlencoded" in kind:
        return _form(body.decode("utf-8", "replace")).encode()
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return body if kind.startswith("text/html") and b"assword" not in body else HIDDEN.encode()
    return json.dumps(redact(value)).encode()


def filter_for(link: str, *, keep_secrets: bool = False) -> Filter:
    """The filter for one direction of a link, by the scheme of its name."""
    if keep_secrets:
        return Plain()
    scheme = link.partition("://")[0]
    if scheme == "stratum":
        return StratumLines()
    if scheme in ("http", "https"):
        return Whole(http_message)
    if scheme == "cgminer":
        from firmware_bridge.devices.cgminer_api import redact as addpool

        return Whole(addpool)
    return Plain()
