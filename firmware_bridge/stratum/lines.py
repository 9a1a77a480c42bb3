"""Below the messages of Stratum: its errors, the cut into lines, texts of a peer made safe, the difficulty scale."""

from __future__ import annotations

import math
import re
from enum import IntEnum

from firmware_bridge.errors import ProtocolError

LINE_LIMIT = 16 * 1024
"""Longest line in bytes that is read, newline included; the longest honest one has some hundred."""


class ErrorCode(IntEnum):
    """Error codes of Stratum V1."""

    OTHER = 20
    STALE = 21
    DUPLICATE = 22
    LOW_DIFFICULTY = 23
    UNAUTHORIZED = 24
    NOT_SUBSCRIBED = 25


class WireError(ProtocolError):
    """A line that is no message: ``text`` goes to the peer, ``id`` is the request's where it could be read."""

    def __init__(
        self, text: str, *, id: bytes = b"null", code: int = ErrorCode.OTHER, fatal: bool = False
    ) -> None:
        super().__init__(text)
        self.text = text
        self.id = id
        self.code = int(code)
        self.fatal = fatal


class LineSplitter:
    """Cut a byte stream into blocks of whole lines, holding back at most ``limit`` bytes of the last one."""

    __slots__ = ("_limit", "_rest")

    def __init__(self, limit: int = LINE_LIMIT) -> None:
        self._limit = limit
        self._rest = b""

    @property
    def pending(self) -> int:
        """Bytes of the unfinished line."""
        return len(self._rest)

    def feed(self, data: bytes) -> bytes:
        """Add bytes; return the whole lines now complete as one block (empty where there is none).

        Raises:
            WireError: if a line is longer than the limit.
        """
        end = data.rfind(b"\n") + 1
        if not end:
            block, self._rest = b"", self._rest + data
        else:
            block, self._rest = self._rest + data[:end], data[end:]
        if len(self._rest) > self._limit or (
            len(block) > self._limit and max(map(len, block.split(b"\n"))) >= self._limit
        ):
            self._rest = b""
            raise WireError(f"a line is longer than {self._limit} bytes", fatal=True)
        return block


def clean_text(text: str, limit: int = 128) -> str:
    """Text of a peer made safe to store and print: control characters escaped, ``limit`` characters kept."""
    kept = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:limit])
    return kept if len(text) <= limit else kept + f"… ({len(text)} characters)"


_SCALE = re.compile(r"(?:^|\s)scale=(\S+)")
_POWER = re.compile(r"2\^(-?[0-9]{1,4})")


SCALE_SUBSCRIPTION = "asiclab.scale"
"""Name under which the answer to subscribe confirms the scale that a user agent named; a foreign pool says nothing."""


def scale_token(scale: float) -> str:
    """How a user agent names its difficulty scale: ``scale=2^-20``, or a decimal number if no power of 2."""
    mantissa, exponent = math.frexp(scale)
    return f"scale=2^{exponent - 1}" if mantissa == 0.5 else f"scale={scale!r}"


def scale_from_user_agent(agent: str | None) -> float | None:
    """Difficulty scale that a user agent names, None where it names none.

    Raises:
        WireError: if it names one that is no positive finite number.
    """
    found = _SCALE.search(agent or "")
    if found is None:
        return None
    power = _POWER.fullmatch(found[1])
    try:
        scale = 2.0 ** int(power[1]) if power else float(found[1])
    except (ValueError, OverflowError):
        scale = math.nan
    if not 0.0 < scale < math.inf:
        raise WireError(
            "the user agent names a difficulty scale that is no positive number; write scale=2^-20",
            fatal=True,
        )
    return scale
