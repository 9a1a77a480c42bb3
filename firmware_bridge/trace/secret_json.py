"""JSON as it came, but for the secrets in it: what cannot be read as JSON is gone through by its pairs."""

from __future__ import annotations

import json
import re

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

_raw = msgspec.json.Decoder(msgspec.Raw)
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_list = msgspec.json.Decoder(list[msgspec.Raw])
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
    """The same JSON without its secrets, numbers and other texts as they stood; None if it is none.

    Secrets are the values of secret keys, what a login of any method has behind its first parameter, and the logins
    of URLs.
    """
    try:
        data.decode()
        return _value(data, secret=False, depth=0)
    except _BROKEN:
        return None


def _value(data: bytes, *, secret: bool, depth: int) -> bytes:
    data = data.strip()
    first = data[:1]
    if first == b'"':
        return _hidden_text(data, secret=secret)
    if first not in (b"{", b"["):
        _raw.decode(data)
        return _HIDDEN_TEXT if secret and data[:1] in b"-0123456789" else data
    if depth == DEEPEST:
        return _HIDDEN_TEXT
    if first == b"[":
        items = (_value(bytes(item), secret=secret, depth=depth + 1) for item in _list.decode(data))
        return b"[" + b",".join(items) + b"]"
    return _hidden_object(_object.decode(data), secret=secret, depth=depth)


def _hidden_text(data: bytes, *, secret: bool) -> bytes:
    text = _text.decode(data)
    if secret:
        return _HIDDEN_TEXT if text else data
    shown = redact_text(text)
    return data if shown == text else json.dumps(shown).encode()


def _hidden_object(found: dict[str, msgspec.Raw], *, secret: bool, depth: int) -> bytes:
    fields = {name: bytes(raw).strip() for name, raw in found.items()}
    login = _is(_LOGIN.search, fields.get("method"))
    named = any(_is(is_secret_key, fields.get(name)) for name in ("name", "key", "field"))
    parts = []
    for name, value in fields.items():
        if login and name == "params":
            kept = _parameters(value, depth + 1)
        else:
            hide = secret or is_secret_key(name) or (named and name.lower() in ("value", "val"))
            kept = _value(value, secret=hide, depth=depth + 1)
        parts.append(json.dumps(name).encode() + b":" + kept)
    return b"{" + b",".join(parts) + b"}"


def _parameters(value: bytes, depth: int) -> bytes:
    """Those of a login: a name, then secrets, each of the kind that it was, so that it parses as it did."""
    if value[:1] != b"[":
        return _value(value, secret=True, depth=depth)
    first, *rest = [bytes(item).strip() for item in _list.decode(value)] or [b""]
    parts = [_value(first, secret=False, depth=depth + 1)] if first else []
    parts += [
        b"0" if item[:1] in b"-0123456789" else _value(item, secret=True, depth=depth + 1) for item in rest
    ]
    return b"[" + b",".join(parts) + b"]"


def _is(test: object, value: bytes | None) -> bool:
    if value is None or value[:1] != b'"' or not callable(test):
        return False
    return bool(test(_text.decode(value)))


def hide_pairs(data: bytes) -> bytes:
    """What is no JSON, without the values of secret keys; all of it is left out where a secret may remain."""
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
