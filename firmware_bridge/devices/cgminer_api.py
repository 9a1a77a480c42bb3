"""The API of cgminer, bmminer and BFGMiner on TCP 4028, both directions, as bytes (``hardware.md`` §3.1).

One request, one answer, then the server hangs up. Answers are JSON with a NUL behind it, or text with ``|`` and ``,``.
Some firmwares write JSON that is none: the S9's ``stats`` misses a comma between two objects. :func:`decode_answer`
mends that, and says so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import IntEnum
from typing import Any

from firmware_bridge.errors import ProtocolError

PORT = 4028
ANSWER_LIMIT = 1 << 20
"""Largest answer in bytes that is read; a full ``stats`` of an S9 has about five thousand."""
REQUEST_LIMIT = 8192
SHOWN = 200
"""Bytes of an answer that an error shows."""


class Code(IntEnum):
    """Message codes of the API (``hardware.md`` §3.1)."""

    POOLS = 7
    NO_POOLS = 8
    DEVS = 9
    SUMMARY = 11
    INVALID_COMMAND = 14
    VERSION = 22
    INVALID_JSON = 23
    NO_COMMAND = 24
    MISSING_POOL_ID = 25
    INVALID_POOL_ID = 26
    SWITCHED_POOL = 27
    CONFIG = 33
    ACCESS_DENIED = 45
    PRIVILEGED = 46
    POOL_ENABLED = 47
    POOL_DISABLED = 48
    ALREADY_ENABLED = 49
    ALREADY_DISABLED = 50
    LAST_POOL = 51
    ADDPOOL_MISSING = 52
    ADDPOOL_BAD = 53
    POOL_ADDED = 55
    REMOVE_LAST = 66
    REMOVE_ACTIVE = 67
    POOL_REMOVED = 68
    DEVDETAILS = 69
    STATS = 70
    MISSING_CHECK = 71  # as cgminer numbers it; hardware.md does not list it
    CHECK = 72
    POOL_PRIORITY = 73
    COIN = 78


PRIVILEGED = frozenset(
    {
        "addpool", "switchpool", "enablepool", "disablepool", "removepool", "poolpriority", "poolquota",
        "restart", "quit", "config", "save", "privileged",
    }
)  # fmt: skip
"""Commands that are refused unless the caller's address is allowed to write."""


# ---- requests --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks.

    Attributes:
        commands: one, or several joined with ``+``.
        parameter: its parameter as text, or None.
        as_json: whether the answer is to be JSON.
    """

    commands: tuple[str, ...]
    parameter: str | None
    as_json: bool


def encode_request(command: str, parameter: str | None = None) -> bytes:
    """A request as JSON; it has to go out in one segment, since the server reads once."""
    body = {"command": command} if parameter is None else {"command": command, "parameter": parameter}
    return json.dumps(body).encode()


def decode_request(data: bytes) -> Request | Code:
    """A request in either form, or the code of the error that answers it."""
    text = data.decode("utf-8", "replace").strip("\0 \r\n\t")
    if not text.startswith("{"):
        command, _, parameter = text.partition("|")
        commands = tuple(part for part in command.strip().split("+") if part)
        return Request(commands, parameter or None, False) if commands else Code.INVALID_COMMAND
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return Code.INVALID_JSON
    command = body.get("command")
    if not isinstance(command, str):
        return Code.NO_COMMAND
    parameter = body.get("parameter")
    kept = None if parameter is None else str(parameter)  # 0 is a parameter
    commands = tuple(part for part in command.split("+") if part)
    return Request(commands, kept, True) if commands else Code.INVALID_COMMAND


def encode_pool(url: str, user: str, password: str) -> str:
    """Parameter of ``addpool``: commas and backslashes in a part are escaped."""
    return ",".join(re.sub(r"([\\,])", r"\\\1", part) for part in (url, user, password))


def decode_pool(parameter: str) -> list[str]:
    """The parts of an ``addpool`` parameter."""
    parts = [""]
    escaped = False
    for character in parameter:
        if escaped:
            parts[-1] += character
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == ",":
            parts.append("")
        else:
            parts[-1] += character
    return parts


LAST_WORDS = ("RESTART", "BYE")
"""Whole answers to ``restart`` and ``quit``."""


# ---- answers ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Status:
    """The STATUS of an answer: a letter (S ok, I info, W warning, E error, F fatal), a code, a text.

    ``restart`` and ``quit`` are answered with the words RESTART and BYE in the place of a letter.
    """

    letter: str
    code: int | None
    message: str
    description: str | None = None
    when: int | None = None

    @property
    def ok(self) -> bool:
        """Whether the command was carried out."""
        return self.letter in ("S", "I", "W", *LAST_WORDS)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer.

    Attributes:
        status: its status, or None where there is none.
        sections: name of each section to its rows; numbers and texts as they stood.
        repaired: whether what came was no JSON and had to be mended.
        raw: the bytes as they came.
    """

    status: Status | None
    sections: Mapping[str, tuple[dict[str, Any], ...]]
    repaired: bool = False
    raw: bytes = b""

    def rows(self, section: str) -> tuple[dict[str, Any], ...]:
        """Rows of a section; none where it is missing."""
        return self.sections.get(section, ())


# an unfinished string goes to the end, so that no input is looked at twice
_STRING = re.compile(r'("(?:[^"\\]|\\.?)*+"?)', re.S)
_MISSING_COMMA = re.compile(r"([}\]])(\s*)(?=[{\[])")
_COMMA_FIRST = re.compile(r"([\[{])\s*,")
_COMMA_LAST = re.compile(r",(\s*[}\]])")


def repair(text: str) -> str:
    """JSON as some firmwares write it made into JSON: ``}{``, ``[,``, ``,}``; nothing inside a string is touched."""
    parts = _STRING.split(text)
    for number in range(0, len(parts), 2):
        part = _MISSING_COMMA.sub(r"\1,\2", parts[number])
        parts[number] = _COMMA_LAST.sub(r"\1", _COMMA_FIRST.sub(r"\1", part))
    return "".join(parts)


def _constant(name: str) -> None:
    """NaN and infinities are numbers that are not known."""


def _load(data: bytes) -> tuple[dict[str, Any], bool]:
    text = data.rstrip(b"\0\r\n\t ").decode("utf-8", "replace")
    for repaired, candidate in ((False, text), (True, repair(text))):
        try:
            body = json.loads(candidate, strict=False, parse_constant=_constant)
        except (ValueError, RecursionError):
            continue
        if isinstance(body, dict):
            return body, repaired
    raise ProtocolError(f"the answer is no JSON object: {redact(data)[:SHOWN]!r}")


def decode_answer(data: bytes) -> Answer:
    """An answer to a single command.

    Raises:
        ProtocolError: if it is no JSON object, also after mending; the message shows its bytes.
    """
    body, repaired = _load(data)
    return _answer(body, repaired, data)


def decode_joined(data: bytes) -> dict[str, Answer]:
    """Answers to commands joined with ``+``, by command.

    Raises:
        ProtocolError: if it is no JSON object, also after mending; the message shows its bytes.
    """
    body, repaired = _load(data)
    answers = {}
    for command, value in body.items():
        parts = value if isinstance(value, list) else [value]
        inner = next((part for part in parts if isinstance(part, dict)), None)
        if inner is not None:
            answers[command] = _answer(inner, repaired, data)
    return answers


def _answer(body: dict[str, Any], repaired: bool, raw: bytes) -> Answer:
    sections = {
        name: tuple(row for row in rows if isinstance(row, dict))
        for name, rows in body.items()
        if isinstance(rows, list)
    }
    rows = sections.pop("STATUS", ())
    word = body.get("STATUS")
    if isinstance(word, str):  # the last words before a restart or an end
        return Answer(Status(word, None, word), sections, repaired, raw)
    return Answer(_status(rows[0]) if rows else None, sections, repaired, raw)


def _status(row: dict[str, Any]) -> Status:
    def whole(name: str) -> int | None:
        value = row.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    description = row.get("Description")
    return Status(
        letter=str(row.get("STATUS", "")),
        code=whole("Code"),
        message=str(row.get("Msg", "")),
        description=None if description is None else str(description),
        when=whole("When"),
    )


# ---- the server's side -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answers to one command.

    Attributes:
        letter: of its status; one of ``LAST_WORDS`` is the whole answer.
        code: of its status.
        message: of its status.
        section: name of its rows, or None for a status alone.
        rows: what it tells; ``Decimal`` numbers keep their places.
        joined: whether rows have commas between them; the S9's ``stats`` has none.
    """

    letter: str
    code: int
    message: str
    section: str | None = None
    rows: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    joined: bool = True


def fixed(value: float, places: int) -> Decimal:
    """A number written with so many decimals: cgminer's %.2f for rates, %.4f for per cent, %.8f for difficulties."""
    return Decimal(f"{value:.{places}f}")


def _text(value: Any) -> str:
    match value:
        case Decimal():
            return str(value)
        case dict():
            return "{" + ",".join(f"{json.dumps(str(k))}:{_text(v)}" for k, v in value.items()) + "}"
        case list() | tuple():
            return "[" + ",".join(map(_text, value)) + "]"
    return json.dumps(value)


def _body(reply: Reply, description: str, when: int) -> str:
    if reply.letter in LAST_WORDS:
        return _text({"STATUS": reply.letter})
    status = {"STATUS": reply.letter, "When": when, "Code": reply.code, "Msg": reply.message}
    text = f'{{"STATUS":[{_text(status | {"Description": description})}]'
    if reply.section is not None:
        rows = ("," if reply.joined else "").join(_text(dict(row)) for row in reply.rows)
        text += f",{_text(reply.section)}:[{rows}]"
    return text + ',"id":1}'


def encode_replies(
    replies: Mapping[str, Reply], *, as_json: bool, joined: bool, description: str, when: int
) -> bytes:
    """The bytes of an answer.

    Args:
        replies: command to reply, one unless ``joined``.
        as_json: JSON, or the text form.
        joined: whether several commands were asked at once.
        description: name and version of the miner software.
        when: seconds since the epoch.
    """
    if not as_json:
        return "".join(_plain(reply, description, when) for reply in replies.values()).encode() + b"\0"
    if not joined:
        return _body(next(iter(replies.values())), description, when).encode() + b"\0"
    parts = [f"{_text(name)}:[{_body(reply, description, when)}]" for name, reply in replies.items()]
    return ("{" + ",".join(parts) + ',"id":1}').encode() + b"\0"


def _plain(reply: Reply, description: str, when: int) -> str:
    if reply.letter in LAST_WORDS:
        return reply.letter
    parts = [
        f"STATUS={reply.letter},When={when},Code={reply.code},Msg={reply.message},Description={description}"
    ]
    for number, row in enumerate(reply.rows):
        name = reply.section if len(reply.rows) == 1 else f"{reply.section}={number}"
        parts.append(",".join([str(name), *(f"{k}={_plain_value(v)}" for k, v in row.items())]))
    return "|".join(parts) + "|"


def _plain_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return re.sub(r"([\\,|=])", r"\\\1", str(value))


# ---- what a recorder may keep ----------------------------------------------------------------------------------------

_JSON_PARAMETER = re.compile(rb'("parameter"\s*:\s*")((?:[^"\\]|\\.?)*+)', re.S)
_TEXT_PARAMETER = re.compile(rb"(addpool\|)(.*)", re.S)
_REPEATED = re.compile(rb"(addpool details ')(.*(?=')|.*)", re.S)
REDACTED = "***"


def redact(data: bytes) -> bytes:
    """The same bytes with the password of an ``addpool`` replaced, also where the request was cut off.

    That goes for requests, and for the answer to one with too few parts, which repeats them.
    """
    if b"addpool" not in data:
        return data
    data = _REPEATED.sub(lambda m: m[1] + REDACTED.encode(), data)
    if data.lstrip(b"\0 \r\n\t").startswith(b"{"):
        return _JSON_PARAMETER.sub(lambda m: m[1] + _hidden_in_json(m[2]), data)
    return _TEXT_PARAMETER.sub(lambda m: m[1] + _hidden_in_text(m[2]), data)


def _hidden_in_json(text: bytes) -> bytes:
    try:
        parameter = json.loads(f'"{text.decode()}"', strict=False)
    except ValueError:
        return REDACTED.encode()  # broken: nobody can say where its password begins
    kept = _without_password(parameter)
    return text if kept == parameter else json.dumps(kept)[1:-1].encode()


def _hidden_in_text(text: bytes) -> bytes:
    return _without_password(text.decode("latin-1")).encode("latin-1")


def _without_password(parameter: str) -> str:
    parts = decode_pool(parameter)
    return parameter if len(parts) < 3 else encode_pool(parts[0], parts[1], REDACTED)
