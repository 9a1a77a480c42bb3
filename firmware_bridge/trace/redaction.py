"""Secrets taken out of the bytes of a link as they pass, whatever the pieces in which they come.

One filter per link and direction. What a filter lets out parses as what came in, but for the secrets themselves. Where
a secret may still be unfinished the bytes wait; where they cannot be understood, what might hold one is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol
from urllib.parse import unquote_plus

from firmware_bridge.errors import UserError
from firmware_bridge.trace.provenance import HIDDEN, redact_text
from firmware_bridge.trace.secret_json import SUSPICIOUS, hide_in_json, hide_pairs, is_json, is_secret_key

LINE_LIMIT = 16 * 1024
"""Bytes of an unfinished line that are held back: beyond that the bridge hangs up (``stratum.lines``)."""

HELD_LIMIT = 64 * 1024
"""Bytes of an API conversation that are held back."""

_HIDDEN = HIDDEN.encode()


class Filter(Protocol):
    """Takes the bytes of one direction, gives those that may be kept."""

    def feed(self, data: bytes) -> bytes:
        """Bytes that came, and what may be stored now."""

    def end(self) -> bytes:
        """What was held back, when nothing more comes, or when the other side's turn shows that a message is over."""


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

    def __init__(self, rule: Callable[[bytes], bytes]) -> None:
        self._rule = rule

    def feed(self, data: bytes) -> bytes:
        """The message without its secrets."""
        return self._rule(data)

    def end(self) -> bytes:
        """Nothing was held back."""
        return b""


# ---- Stratum ---------------------------------------------------------------------------------------------------------


class StratumLines:
    """Lines of a Stratum conversation; an unfinished one waits for its end.

    A line that is too long for the bridge becomes as many asterisks, so that a parser stops at it as the bridge did.
    """

    def __init__(self) -> None:
        self._held = bytearray()
        self._skipping = False

    def feed(self, data: bytes) -> bytes:
        """Every line that is whole now."""
        cut = data.rfind(b"\n") + 1
        kept = b""
        if cut:
            block, self._held = bytes(self._held) + data[:cut], bytearray()
            if self._skipping:
                block = block[block.find(b"\n") + 1 :]
                self._skipping, kept = False, b"\n"
            kept += b"".join(stratum_line(line + b"\n") for line in block.split(b"\n")[:-1])
        if not self._skipping:
            self._held += data[cut:]
        if len(self._held) > LINE_LIMIT:
            kept += b"*" * len(self._held)
            self._held, self._skipping = bytearray(), True
        return kept

    def end(self) -> bytes:
        """The unfinished rest, without what may be a secret in it."""
        held, self._held, self._skipping = bytes(self._held), bytearray(), False
        return held if _harmless(held) else _without_texts(held)


_HARMLESS = re.compile(
    rb'"(?:mining\.(?:submit|subscribe|configure|suggest_difficulty|extranonce\.subscribe|ping|notify)|pong)"'
)
_TEXT = re.compile(rb""""(?:[^"\\]|\\.?)*+"?|'(?:[^'\\]|\\.?)*+'?""", re.S)
_BARE = re.compile(rb"(?:[\s0-9{}\[\]:,.+\-]|true|false|null)*+")
_WORD = re.compile(rb"(?:mining|client)\.[a-z_.]{1,40}|id|method|params|result|error|jsonrpc")


def stratum_line(line: bytes) -> bytes:
    """One line without the password of ``mining.authorize``, or of another login, and without values of secret keys."""
    text = line.rstrip(b"\r\n")
    end = line[len(text) :]
    if len(text) >= LINE_LIMIT:
        return b"*" * len(text) + end
    if is_json(text):
        if not SUSPICIOUS.search(text):
            return line
        kept = hide_in_json(text)
        if kept is not None:
            return kept + end
    elif _harmless(text) or not text.strip():
        return line
    kept = _without_texts(text)
    return (_HIDDEN if is_json(kept) else kept) + end  # broken before, broken after


def _harmless(text: bytes) -> bool:
    """Whether a broken or unfinished line begins a message that carries no secret."""
    return text.count(b"{") == 1 and bool(_HARMLESS.search(text)) and not SUSPICIOUS.search(text)


def _without_texts(data: bytes) -> bytes:
    """What is no message, without anything in quotation marks but the words of Stratum."""
    between = _TEXT.sub(b" ", data)
    quoted = b'"' in data or b"'" in data
    if not _BARE.fullmatch(between) if quoted else SUSPICIOUS.search(data.replace(b"\0", b"")):
        return _HIDDEN  # a quotation mark too many, and what looks like being between texts is one

    def hidden(text: re.Match[bytes]) -> bytes:
        quote, inner = text[0][:1], text[0][1:].removesuffix(text[0][:1])
        closed = len(text[0]) > 1 and text[0].endswith(quote)
        return quote + (inner if _WORD.fullmatch(inner) else _HIDDEN) + (quote if closed else b"")

    return _TEXT.sub(hidden, data)


# ---- HTTP ------------------------------------------------------------------------------------------------------------

_CREDENTIALS = frozenset(
    {"authorization", "proxy-authorization", "www-authenticate", "proxy-authenticate", "authentication-info"}
)
_COOKIES = frozenset({"cookie", "set-cookie"})
_FIELD = re.compile(r"(^|[?&;])([^=&;?#\s]*)=([^&;#\s]*)")


def http_message(data: bytes) -> bytes:
    """A request or answer of HTTP/1.1 without passwords, tokens and credentials, wherever they stand in it."""
    head, separator, body = data.partition(b"\r\n\r\n")
    if not separator:  # no message of ours: nothing says where its head ends
        return http_body(data)
    first, *lines = head.decode("latin-1").split("\r\n")
    kept = [_without_fields(first)]
    kind = ""
    for line in lines:
        name, colon, value = line.partition(":")
        lower = name.strip().lower()
        if not colon:  # no header
            kept.append(HIDDEN if SUSPICIOUS.search(line.encode("latin-1")) else line)
            continue
        if lower == "content-type":
            kind = value.strip().lower()
        elif lower in _CREDENTIALS:
            scheme = value.strip().partition(" ")
            value = f" {scheme[0]} {HIDDEN}" if scheme[1] else f" {HIDDEN}"
        elif lower in _COOKIES or is_secret_key(lower):
            value = f" {HIDDEN}"
        else:
            value = redact_text(_without_fields(value))
        kept.append(name + colon + value)
    return "\r\n".join(kept).encode("latin-1", "replace") + separator + http_body(body, kind)


def _without_fields(text: str) -> str:
    """Text with the secret fields of a query or form replaced, all else as it stood."""

    def hidden(field: re.Match[str]) -> str:
        secret = field[3] and is_secret_key(unquote_plus(field[2]))
        return f"{field[1]}{field[2]}={HIDDEN}" if secret else field[0]

    return _FIELD.sub(hidden, text)


def http_body(body: bytes, kind: str = "") -> bytes:
    """A body without the values of secret keys; one that cannot be understood and may hold a secret is left out."""
    if not SUSPICIOUS.search(body.replace(b"\0", b"")):
        return body
    if "x-www-form-urlencoded" in kind:
        return _without_fields(body.decode("latin-1")).encode("latin-1")
    kept = hide_in_json(body)
    return hide_pairs(body) if kept is None else kept


# ---- the API of cgminer ----------------------------------------------------------------------------------------------

_ADDPOOL = b"addpool"


class ApiRequests:
    """Requests to the API: JSON waits until it is whole, text of an ``addpool`` until the other side's turn."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """What is whole, or cannot be the beginning of an ``addpool``."""
        block, self._held = self._held + data, b""
        text = block.lstrip(b"\0 \r\n\t")
        whole = is_json(text.rstrip(b"\0")) if text.startswith(b"{") else not _begins(block, _ADDPOOL)
        if whole:
            return _api_redact(block)
        if len(block) > HELD_LIMIT:
            return _HIDDEN
        self._held = block
        return b""

    def end(self) -> bytes:
        """The rest; of a JSON request that was cut off only what is known to be none of an ``addpool``."""
        held, self._held = self._held, b""
        if held.lstrip(b"\0 \r\n\t").startswith(b"{") and _ADDPOOL not in held:
            return _without_texts(held)
        return _api_redact(held)


class ApiAnswers:
    """Answers of the API: one that repeats the details of an ``addpool`` waits for its end."""

    def __init__(self) -> None:
        self._held = b""
        self._skipping = False

    def feed(self, data: bytes) -> bytes:
        """All before what may be such a repetition."""
        if self._skipping:
            return b""
        block, self._held = self._held + data, b""
        at = block.find(_ADDPOOL)
        if at < 0:
            at = len(block) - next((n for n in range(6, 0, -1) if block.endswith(_ADDPOOL[:n])), 0)
        self._held = block[at:]
        if len(self._held) > HELD_LIMIT:
            self._held, self._skipping = b"", True
            return block[:at] + _HIDDEN
        return block[:at]

    def end(self) -> bytes:
        """The rest."""
        held, self._held, self._skipping = self._held, b"", False
        return _api_redact(held)


def _begins(block: bytes, word: bytes) -> bool:
    """Whether a word is in a block, or may be completed by what comes behind it."""
    return word in block or any(block.endswith(word[:n]) for n in range(1, len(word)))


def _api_redact(data: bytes) -> bytes:
    from firmware_bridge.devices.cgminer_api import redact

    return redact(data)


# ---- which filter ----------------------------------------------------------------------------------------------------


def _http() -> tuple[Filter, Filter]:
    return Whole(http_message), Whole(http_message)


FILTERS: dict[str, Callable[[], tuple[Filter, Filter]]] = {
    "stratum": lambda: (StratumLines(), StratumLines()),
    "upstream": lambda: (StratumLines(), StratumLines()),  # a proxy's link to a pool
    "http": _http,
    "https": _http,
    "cgminer": lambda: (ApiAnswers(), ApiRequests()),
    "serial": lambda: (Plain(), Plain()),
}
"""Scheme of a link to what filters the received and the sent bytes."""

TURNS = frozenset({"cgminer"})
"""Schemes where one side speaks after the other: bytes of one end the message of the other."""


def filters_for(link: str, *, keep_secrets: bool = False) -> tuple[Filter, Filter]:
    """Filters of the received and the sent bytes of a link, by the scheme of its name.

    Raises:
        UserError: if nobody has said where the secrets of such a link are.
    """
    if keep_secrets:
        return Plain(), Plain()
    scheme = link.partition("://")[0]
    if scheme not in FILTERS:
        raise UserError(
            f"{link}: it is not known where {scheme}:// carries secrets, so its bytes are not recorded; add its "
            "filters to firmware_bridge.trace.redaction.FILTERS, or give --keep-secrets"
        )
    return FILTERS[scheme]()
