"""JSON as it came, but for the secrets in it: what cannot be read as JSON is gone through by its pairs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import msgspec

from firmware_bridge.trace.provenance import HIDDEN, is_secret_name, redact_text

SUSPICIOUS = re.compile(rb"auth|login|pass|pwd|pw|psk|token|secret|key|credential|cookie|@|\\u", re.I)
"""What every text that holds a secret known to us holds as well; one without is kept byte for byte."""

DEEPEST = 32
"""Levels that are looked into; what lies deeper is left out."""

_SHORT = re.compile(r"(?:pw|psk|pass|password|token)$", re.I)
_LOGIN = re.compile(r"auth|login", re.I)
_TELLING = re.compile(rb"pass|pwd|token|secret|credential|authoriz|api.?key|psk|pw[\"'\s]*[:=]", re.I)
_HIDDEN_TEXT = json.dumps(HIDDEN).encode()
_PAIR = re.compile(
    rb"""(["'])((?:[^"'\\]|\\.){0,80})\1(\s*[:=]\s*)("(?:[^"\\]|\\.?)*+"?|'(?:[^'\\]|\\.?)*+'?|[^\s"',{}\[\]]+)""",
    re.S,
)

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|[{}\[\]:,]|[^\s{}\[\]:,"]++')
_DIGITS = tuple(bytes([c]) for c in b"-0123456789")
_NAMES = ("name", "key", "field")

_raw = msgspec.json.Decoder(msgspec.Raw)
_text = msgspec.json.Decoder(str)
_BROKEN = (msgspec.MsgspecError, ValueError, RecursionError)


def is_secret_key(name: str) -> bool:
    """Whether a key names a secret, also in the short forms of web forms and firmwares: ``_ant_pool1pw``."""
    return is_secret_name(name) or bool(_SHORT.search(name))


def is_json(data: bytes) -> bool:
    """Whether it is JSON, as the parsers of the lab take it."""
    try:
        _raw.decode(data)
    except _BROKEN:
        return False
    return True


def hide_in_json(data: bytes) -> bytes | None:
    """The same JSON byte for byte, but for its secrets; None if it is none.

    Secrets are the values of secret keys, what a login of any method has behind its first parameter, and the logins
    of URLs.
    """
    try:
        data.decode()
        _raw.decode(data)
        return _Hiding(data).done()
    except _BROKEN:
        return None


class _Hiding:
    """One walk over the tokens of a text that is known to be JSON."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._spans = [found.span() for found in _TOKEN.finditer(data)]
        self._tokens = [data[start:end] for start, end in self._spans]
        self._instead: dict[int, bytes] = {}

    def done(self) -> bytes:
        """The text without its secrets."""
        self._value(0, secret=False, depth=0)
        parts, at = [], 0
        for number in sorted(self._instead):
            start, end = self._spans[number]
            parts += [self._data[at:start], self._instead[number]]
            at = end
        return b"".join([*parts, self._data[at:]])

    def _value(self, at: int, *, secret: bool, depth: int) -> int:
        """One value; returns the token behind it."""
        first = self._tokens[at]
        if first not in (b"{", b"["):
            self._leaf(at, secret=secret)
            return at + 1
        if depth == DEEPEST:
            end = self._behind(at)
            self._hide(at, end)
            return end
        if first == b"{":
            return self._object(at + 1, secret=secret, depth=depth)
        at += 1
        while self._tokens[at] != b"]":
            at = self._value(at, secret=secret, depth=depth + 1)
            at += self._tokens[at] == b","
        return at + 1

    def _object(self, at: int, *, secret: bool, depth: int) -> int:
        fields: list[tuple[str, int, int]] = []
        while self._tokens[at] != b"}":
            name, start = _text.decode(self._tokens[at]), at + 2
            at = self._value(start, secret=secret or is_secret_key(name), depth=depth + 1)
            fields.append((name, start, at))
            at += self._tokens[at] == b","
        login = any(name == "method" and self._says(start, _LOGIN.search) for name, start, _ in fields)
        named = any(name in _NAMES and self._says(start, is_secret_key) for name, start, _ in fields)
        for name, start, end in fields:
            if login and name == "params":
                self._parameters(start, end)
            elif named and name.lower() in ("value", "val"):
                self._hide(start, end)
        return at + 1

    def _parameters(self, at: int, end: int) -> None:
        """Those of a login: a name, then secrets, each of the kind that it was, so that it parses as it did."""
        if self._tokens[at] != b"[":
            self._hide(at, end)
            return
        at += 1
        if at < end - 1:
            at = self._behind(at)
        self._hide(at, end)
        depth = 0
        for number in range(at, end):
            token = self._tokens[number]
            depth += (token in (b"{", b"[")) - (token in (b"}", b"]"))
            if depth == 0 and token[:1] in _DIGITS:
                self._instead[number] = b"0"

    def _behind(self, at: int) -> int:
        """The token behind the value that begins here."""
        depth = 0
        while True:
            token = self._tokens[at]
            depth += (token in (b"{", b"[")) - (token in (b"}", b"]"))
            at += 1
            if depth == 0:
                return at

    def _hide(self, at: int, end: int) -> None:
        for number in range(at, end):
            if number + 1 >= len(self._tokens) or self._tokens[number + 1] != b":":
                self._leaf(number, secret=True)

    def _leaf(self, at: int, *, secret: bool) -> None:
        token = self._tokens[at]
        if token[:1] == b'"':
            text = _text.decode(token)
            shown = HIDDEN if secret and text else redact_text(text)
            if shown != text:
                self._instead[at] = json.dumps(shown).encode()
        elif secret and token[:1] in _DIGITS:
            self._instead[at] = _HIDDEN_TEXT

    def _says(self, at: int, test: Callable[[str], object]) -> bool:
        token = self._tokens[at]
        return token[:1] == b'"' and bool(test(_text.decode(token)))


def hide_pairs(data: bytes) -> bytes:
    """What is no JSON, without the values of secret keys; all of it is left out where a secret may remain."""
    for _ in range(3):  # a value taken out can shift where the next text begins, and show another pair
        kept = _hide_pairs_once(data)
        if kept == data:
            return kept
        data = kept
    return HIDDEN.encode()


def _hide_pairs_once(data: bytes) -> bytes:
    rest: list[bytes] = []
    kept: list[bytes] = []
    at = 0
    for pair in _PAIR.finditer(data):
        between = data[at : pair.start()]
        kept.append(between)
        rest.append(between)
        quote, name, colon, value = pair.groups()
        if is_secret_key(_unescaped(name)) and value not in (b"true", b"false", b"null", b'""', b"''"):
            kept.append(quote + name + quote + colon + _HIDDEN_TEXT)
        else:
            kept.append(pair[0])
            rest.append(value if is_secret_key(_unescaped(name)) else pair[0])
        at = pair.end()
    rest.append(data[at:])
    kept.append(data[at:])
    if _TELLING.search(b" ".join(rest).replace(b"\0", b"")):
        return HIDDEN.encode()
    text = b"".join(kept).decode("utf-8", "surrogateescape")
    return redact_text(text).encode("utf-8", "surrogateescape")


def _unescaped(name: bytes) -> str:
    try:
        return _text.decode(b'"' + name + b'"')
    except _BROKEN:
        return name.decode("latin-1")
