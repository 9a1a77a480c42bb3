"""Stratum V1 between bytes and messages, both directions; no sockets, no clock, no state but a line splitter.

One JSON object per line, ``\\n`` at the end. The id of a request is kept as the bytes that stood on the wire, so
that an answer echoes it exactly (integer, string or null). Nothing that a peer wrote is repeated in an error text,
because any field of a broken message may hold a password.
"""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from firmware_bridge.headers import Job
from firmware_bridge.stratum.lines import LINE_LIMIT as LINE_LIMIT
from firmware_bridge.stratum.lines import SCALE_SUBSCRIPTION as SCALE_SUBSCRIPTION
from firmware_bridge.stratum.lines import ErrorCode as ErrorCode
from firmware_bridge.stratum.lines import LineSplitter as LineSplitter
from firmware_bridge.stratum.lines import WireError as WireError
from firmware_bridge.stratum.lines import clean_text as clean_text
from firmware_bridge.stratum.lines import scale_from_user_agent as scale_from_user_agent
from firmware_bridge.stratum.lines import scale_token as scale_token

ID_LIMIT = 128
"""Longest request id in bytes that is echoed."""

EXTRANONCE2_SIZE = 4
"""The size that S9, ESP-Miner and Goldshell all accept."""

_NULL = b"null"


# ---- client to server --------------------------------------------------------------------------------


class Configure(Struct, frozen=True):
    """``mining.configure``: extensions asked for, and their options."""

    id: bytes | None
    extensions: list[str]
    options: dict[str, Any]


class Subscribe(Struct, frozen=True):
    """``mining.subscribe``: the user agent; a session to resume is read and not used."""

    id: bytes | None
    agent: str | None


class Authorize(Struct, frozen=True):
    """``mining.authorize``."""

    id: bytes | None
    user: str
    password: str | None


class SuggestDifficulty(Struct, frozen=True):
    """``mining.suggest_difficulty``: a positive finite number."""

    id: bytes | None
    difficulty: float


class ExtranonceSubscribe(Struct, frozen=True):
    """``mining.extranonce.subscribe``."""

    id: bytes | None


class Submit(Struct, frozen=True, gc=False):
    """``mining.submit``: user, job id, extranonce2, ntime, nonce and, in the 6-parameter form, version bits.

    Their number and their hex are judged where the job is known.
    """

    id: bytes | None
    params: list[str]


class ClientPing(Struct, frozen=True):
    """``mining.ping`` sent by a client."""

    id: bytes | None


class Pong(Struct, frozen=True):
    """An answer to ``mining.ping``: result "pong" of cgminer or method "pong" of ESP-Miner."""

    id: bytes | None


class Answer(Struct, frozen=True):
    """An answer to any other request of the server, for example ``client.get_version``."""

    id: bytes | None
    result: Any
    error: Any


class Unknown(Struct, frozen=True):
    """A request whose method this codec does not know."""

    id: bytes | None
    method: str


ClientMessage = (
    Configure
    | Subscribe
    | Authorize
    | SuggestDifficulty
    | ExtranonceSubscribe
    | Submit
    | ClientPing
    | Pong
    | Answer
    | Unknown
)


class SubmitLine(Struct, tag_field="method", tag="mining.submit", gc=False):
    """A submit as it stands on the wire: what the hot path decodes, many lines in one call."""

    params: list[str]
    id: Raw | UnsetType = UNSET


class _Line(Struct):
    method: Any = UNSET
    id: Raw | UnsetType = UNSET
    params: Any = UNSET
    result: Any = UNSET
    error: Any = UNSET


_submit_lines = msgspec.json.Decoder(SubmitLine)
_line = msgspec.json.Decoder(_Line)
_id_text = msgspec.json.Decoder(str)
_BROKEN = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError)


def decode_submits(block: bytes) -> list[SubmitLine] | None:
    """Decode whole lines that are all well-typed submits in one call; None where any is something else."""
    try:
        return _submit_lines.decode_lines(block)
    except _BROKEN:
        return None


def checked_id(text: bytes) -> bytes:
    """A request id as it stands on the wire, fit to be echoed.

    Raises:
        WireError: if it is no short integer, string or null, or a string that is not UTF-8.
    """
    if text[:1] == b'"':
        try:
            _id_text.decode(text)  # Raw is not checked, and a reply that echoes it has to be UTF-8
        except _BROKEN:
            raise WireError("a request id is an integer, a string or null") from None
    elif text != _NULL and not text.removeprefix(b"-").isdigit():
        raise WireError("a request id is an integer, a string or null")
    if len(text) > ID_LIMIT:
        raise WireError(f"a request id has at most {ID_LIMIT} bytes")
    return text


def echoed_id(text: bytes) -> bytes:
    """The id as an answer echoes it: ``null`` in the place of one that is not fit for it."""
    try:
        return checked_id(text)
    except WireError:
        return _NULL


def decode_client(line: bytes) -> ClientMessage:
    """Message of one line that a client sent.

    Raises:
        WireError: if the line is no JSON object, or a field has the wrong type or number.
    """
    try:
        message = _line.decode(line)
    except _BROKEN:
        raise WireError("this line is no JSON object; send one JSON object per line") from None
    id = None if message.id is UNSET else checked_id(bytes(message.id))
    if message.method is UNSET or message.method is None:
        if message.result is UNSET and message.error is UNSET:
            raise WireError("a request needs a method", id=id or _NULL)
        if message.result == "pong":
            return Pong(id)
        return Answer(
            id,
            None if message.result is UNSET else message.result,
            None if message.error is UNSET else message.error,
        )
    if not isinstance(message.method, str):
        raise WireError("method is a string", id=id or _NULL)
    params = [] if message.params is UNSET or message.params is None else message.params
    if not isinstance(params, list):
        raise WireError("params is a list", id=id or _NULL)
    try:
        return _typed(message.method, id, params)
    except WireError as error:
        error.id = id or _NULL
        raise


def _typed(method: str, id: bytes | None, params: list[Any]) -> ClientMessage:
    match method:
        case "mining.submit":
            if not all(isinstance(p, str) for p in params):
                raise WireError("mining.submit takes strings only")
            return Submit(id, params)
        case "mining.subscribe":
            agent = params[0] if params else None
            if not isinstance(agent, str | None):
                raise WireError("mining.subscribe takes [user agent, session]")
            return Subscribe(id, agent)
        case "mining.authorize":
            if (
                not params
                or not isinstance(params[0], str)
                or not isinstance(params[1] if len(params) > 1 else None, str | None)
            ):
                raise WireError("mining.authorize takes [user, password], both strings")
            return Authorize(id, params[0], params[1] if len(params) > 1 else None)
        case "mining.configure":
            return _configure(id, params)
        case "mining.suggest_difficulty":
            value = params[0] if params else None
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e300:
                raise WireError("mining.suggest_difficulty takes one positive number")
            return SuggestDifficulty(id, float(value))
        case "mining.extranonce.subscribe":
            return ExtranonceSubscribe(id)
        case "mining.ping":
            return ClientPing(id)
        case "pong":
            return Pong(id)
    return Unknown(id, method)


def _configure(id: bytes | None, params: list[Any]) -> Configure:
    extensions = params[0] if params else []
    options = params[1] if len(params) > 1 else {}
    if not isinstance(extensions, list) or not all(isinstance(e, str) for e in extensions):
        raise WireError("mining.configure takes [[extension, ...], {option: value}]")
    if not isinstance(options, dict):
        raise WireError("mining.configure takes [[extension, ...], {option: value}]")
    if len(extensions) > 16:
        raise WireError("mining.configure takes at most 16 extensions")
    return Configure(id, extensions, options)


def version_mask(text: object) -> int:
    """Mask of ``version-rolling.mask``: up to 8 hex digits.

    Raises:
        WireError: if it is anything else.
    """
    if not isinstance(text, str) or not re.fullmatch(r"(0x)?[0-9a-fA-F]{1,8}", text):
        raise WireError("version-rolling.mask is a string of up to 8 hex digits")
    return int(text, 16)


def encode_request(id: int | str | None, method: str, params: list[Any]) -> bytes:
    """A request line of either side; id None makes it a notification as Stratum writes it (``"id": null``)."""
    return msgspec.json.encode({"id": id, "method": method, "params": params}) + b"\n"


def encode_submit(
    id: int | str,
    user: str,
    job_id: str,
    extranonce2: str,
    ntime: str,
    nonce: str,
    version_bits: str | None = None,
) -> bytes:
    """``mining.submit`` with 5 parameters, or 6 where version bits are given."""
    params = [user, job_id, extranonce2, ntime, nonce]
    return encode_request(id, "mining.submit", params if version_bits is None else [*params, version_bits])


# ---- server to client --------------------------------------------------------------------------------

OK_TAIL = b',"result":true,"error":null}\n'
"""What follows the id in a positive answer: the hot path writes ``{"id":`` + id + this."""


def encode_result(id: bytes, result: object) -> bytes:
    """Answer with a result."""
    return b'{"id":%b,"result":%b,"error":null}\n' % (id, msgspec.json.encode(result))


def error_tail(code: int, text: str) -> bytes:
    """What follows the id in an answer with an error."""
    return b',"result":null,"error":[%d,%b,null]}\n' % (code, msgspec.json.encode(text))


def encode_error(id: bytes, code: int, text: str) -> bytes:
    """Answer with an error."""
    return b'{"id":' + id + error_tail(code, text)


def plain_number(value: float) -> int | float:
    """A whole number as int: LV06 firmware reads a difficulty as an integer."""
    return int(value) if value == math.floor(value) and abs(value) < 2**53 else value


def encode_set_difficulty(difficulty: float) -> bytes:
    """``mining.set_difficulty``: counts from the next notify on."""
    return encode_request(None, "mining.set_difficulty", [plain_number(difficulty)])


def encode_set_version_mask(mask: int) -> bytes:
    """``mining.set_version_mask`` (BIP310): valid at once."""
    return encode_request(None, "mining.set_version_mask", [f"{mask:08x}"])


def encode_set_extranonce(extranonce1: str, extranonce2_size: int) -> bytes:
    """``mining.set_extranonce``: only for clients that asked for it."""
    return encode_request(None, "mining.set_extranonce", [extranonce1, extranonce2_size])


def encode_notify(job: Job) -> bytes:
    """``mining.notify`` with its 9 parameters, or LBRY's 10: the claim trie root follows prevhash."""
    return encode_request(
        None,
        "mining.notify",
        [
            job.job_id,
            job.prevhash,
            *(() if job.claimtrie is None else (job.claimtrie,)),
            job.coinb1,
            job.coinb2,
            job.merkle_branch,
            job.version,
            job.nbits,
            job.ntime,
            job.clean,
        ],
    )


def encode_ping(id: int) -> bytes:
    """``mining.ping``."""
    return encode_request(id, "mining.ping", [])


def encode_get_version(id: int) -> bytes:
    """``client.get_version``."""
    return encode_request(id, "client.get_version", [])


def encode_show_message(text: str) -> bytes:
    """``client.show_message``."""
    return encode_request(None, "client.show_message", [text])


def encode_reconnect(host: str | None = None, port: int | None = None, wait_s: int = 0) -> bytes:
    """``client.reconnect``; without a host the client comes back to where it is."""
    return encode_request(None, "client.reconnect", [] if host is None else [host, port, wait_s])


class Response(Struct, frozen=True):
    """An answer as a client reads it."""

    id: int | str | None
    result: Any
    error: Any


class ServerCall(Struct, frozen=True):
    """A notification or request of the server as a client reads it."""

    id: int | str | None
    method: str
    params: list[Any]


class _ServerLine(Struct):
    id: int | str | None = None
    method: str | None = None
    params: list[Any] = []
    result: Any = None
    error: Any = None


_server_line = msgspec.json.Decoder(_ServerLine)


def decode_server(line: bytes) -> Response | ServerCall:
    """Message of one line that a server sent.

    Raises:
        WireError: if the line is no JSON object of that form.
    """
    try:
        message = _server_line.decode(line)
    except _BROKEN:
        raise WireError("the server sent a line that is no Stratum message") from None
    if message.method is None:
        return Response(message.id, message.result, message.error)
    return ServerCall(message.id, message.method, message.params)


def notify_job(
    params: list[Any], *, extranonce1: str, extranonce2_size: int = EXTRANONCE2_SIZE, **fields: Any
) -> Job:
    """Job of the parameters of ``mining.notify``, with what the client knows of its session.

    Raises:
        WireError: if their number or types are wrong.
    """
    claimtrie: str | None = None
    if len(params) == 10:
        claimtrie = params[2]
        params = [*params[:2], *params[3:]]
        if not isinstance(claimtrie, str):
            raise WireError("the third of 10 parameters of mining.notify is a claim trie root")
    if (
        len(params) != 9
        or not isinstance(params[4], list)
        or not all(isinstance(p, str) for p in (*params[:4], *params[4], *params[5:8]))
    ):
        raise WireError("mining.notify takes 9 parameters (LBRY 10): 4 strings, a list, 3 strings and a flag")
    return Job(
        job_id=params[0],
        prevhash=params[1],
        coinb1=params[2],
        coinb2=params[3],
        merkle_branch=tuple(params[4]),
        version=params[5],
        nbits=params[6],
        ntime=params[7],
        clean=bool(params[8]),
        extranonce1=extranonce1,
        extranonce2_size=extranonce2_size,
        claimtrie=claimtrie,
        **fields,
    )
