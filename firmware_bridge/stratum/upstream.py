"""The proxy's conversation with one pool: requests and their answers, jobs checked before anyone sees them; no sockets.

A pool is a stranger. Whatever it sends, the outcome is a job that can be hashed, an event, or the end of this one
conversation (:class:`ProtocolError`); nothing of it reaches other miners.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from firmware_bridge.clock import Clock
from firmware_bridge.errors import ProtocolError
from firmware_bridge.headers import Job
from firmware_bridge.stratum import wire
from firmware_bridge.stratum.lines import LineSplitter, WireError, clean_text

UPSTREAM_LINE_LIMIT = 256 * 1024
"""Longest line of a pool: a coinbase that pays thousands of miners has some hundred kilobytes of hex."""

BRANCHES_LIMIT = 32
"""Merkle branches of a job; LV06 firmware fails beyond, and 2^32 transactions fit into no block."""

ERRORS_ALLOWED = 16
"""Broken messages after which a pool is given up."""

EXTRANONCE1_LIMIT = 32
EXTRANONCE2_LIMIT = 32
JOB_ID_LIMIT = 256

Answered = Callable[[wire.Response | None, int], None]
"""Takes the answer to a request (None where the pool was lost before) and the ns that it took."""


class UpstreamHost(Protocol):
    """Who is told what a pool said."""

    def upstream_job(self, job: Job) -> None:
        """A job, with the extranonces and the difficulty of this conversation."""

    def upstream_difficulty(self, difficulty: float) -> None:
        """The difficulty from the next job on."""

    def upstream_extranonce(self, extranonce1: str, size: int) -> None:
        """Extranonces from the next job on, not those of subscribe."""

    def upstream_mask(self, mask: int) -> None:
        """Version bits that may be rolled from now on."""

    def upstream_reconnect(self, host: str | None, port: int | None, wait_s: float) -> None:
        """The pool asks to be left, perhaps for another place."""

    def upstream_agent(self) -> str:
        """What ``client.get_version`` is answered with."""

    def upstream_message(self, text: str) -> None:
        """Something for people."""

    def upstream_event(self, kind: str, severity: str, detail: dict[str, Any]) -> None:
        """Something for the trace."""


class UpstreamSession:
    """One conversation.

    Args:
        host: who is told.
        send: hands bytes to the pool.
        clock: measures round trips.
    """

    def __init__(self, host: UpstreamHost, send: Callable[[bytes], None], clock: Clock) -> None:
        self.extranonce1 = ""
        self.extranonce2_size = 0
        self.session_id: str | None = None
        self.subscribed = False
        self.difficulty = 1.0
        self.scale = 1.0
        self.errors = 0
        self._host, self._send, self._clock = host, send, clock
        self._lines = LineSplitter(UPSTREAM_LINE_LIMIT)
        self._asked: dict[int, tuple[Answered, int, bool]] = {}
        self._next_id = 1
        self.hears = True  # False once the link is given up

    # ---- asking ------------------------------------------------------------------------------------------------------

    def request(self, method: str, params: list[Any], answered: Answered, *, owed: bool = True) -> int:
        """Send a request; ``answered`` is called exactly once, with the answer or with None.

        Args:
            method: its name.
            params: its parameters.
            answered: takes the answer.
            owed: whether a pool has to answer; some say nothing to what they do not know.

        Returns:
            Its id, for :meth:`abandon`.
        """
        number = self._next_id
        self._next_id += 1
        self._asked[number] = (answered, self._clock.monotonic_ns(), owed)
        self._send(wire.encode_request(number, method, params))
        return number

    def abandon(self, number: int) -> None:
        """Wait no longer for the answer to a request; nobody is told."""
        self._asked.pop(number, None)

    @property
    def waiting(self) -> int:
        """Requests whose answer is owed."""
        return sum(owed for _, _, owed in self._asked.values())

    @property
    def unanswered_since_ns(self) -> int | None:
        """When the oldest request whose answer is owed was sent (monotonic), None where there is none."""
        return next((sent for _, sent, owed in self._asked.values() if owed), None)

    def end(self) -> None:
        """The conversation is over: whoever waits is told so. May be called again."""
        self.hears = False
        waiting, self._asked = self._asked, {}
        now = self._clock.monotonic_ns()
        for answered, sent, _ in waiting.values():
            answered(None, now - sent)

    # ---- hearing -----------------------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Act on bytes of the pool.

        Raises:
            ProtocolError: if the conversation cannot go on.
        """
        for line in self._lines.feed(data).split(b"\n"):
            if not self.hears:
                return
            if not line or line.isspace():
                continue
            try:
                message = wire.decode_server(line)
                if isinstance(message, wire.Response):
                    self._answered(message)
                else:
                    self._called(message)
            except WireError as error:
                self.complain(error.text)

    def complain(self, text: str) -> None:
        """Note a broken message of the pool; what it said is not taken up.

        Raises:
            ProtocolError: if there were too many.
        """
        self.errors += 1
        self._host.upstream_event("upstream-bad-message", "warning", {"error": text})
        if self.errors >= ERRORS_ALLOWED:
            raise ProtocolError(f"{self.errors} broken messages, the last: {text}")

    def _answered(self, message: wire.Response) -> None:
        number = message.id
        if isinstance(number, str) and number.isascii() and number.isdigit() and len(number) < 16:
            number = int(number)  # some pools answer with the id as a string
        asked = self._asked.pop(number, None) if isinstance(number, int) else None
        if asked is None:
            if number is None and message.error is not None:
                self._host.upstream_event("upstream-error", "warning", {"error": error_of(message)[1]})
                return
            raise WireError("an answer to no request")
        answered, sent, _ = asked
        answered(message, self._clock.monotonic_ns() - sent)

    def _called(self, message: wire.ServerCall) -> None:
        params, host = message.params, self._host
        match message.method:
            case "mining.notify":
                host.upstream_job(self._job(params))
            case "mining.set_difficulty":
                self.difficulty = _difficulty(params)
                host.upstream_difficulty(self.difficulty)
            case "mining.set_extranonce":
                self.extranonce1, self.extranonce2_size = extranonces(params)
                host.upstream_extranonce(self.extranonce1, self.extranonce2_size)
            case "mining.set_version_mask":
                host.upstream_mask(wire.version_mask(params[0] if params else None))
            case "client.reconnect":
                host.upstream_reconnect(*_place(params))
            case "client.show_message":
                host.upstream_message(
                    clean_text(params[0], 400) if params and isinstance(params[0], str) else ""
                )
            case "client.get_version":
                self._reply(message, host.upstream_agent())
            case "mining.ping":
                self._reply(message, "pong")
            case _:
                host.upstream_event(
                    "upstream-unknown-method", "info", {"method": clean_text(message.method, 48)}
                )

    def _reply(self, message: wire.ServerCall, result: object) -> None:
        if message.id is not None:
            self._send(wire.encode_result(msgspec.json.encode(message.id), result))

    def _job(self, params: list[Any]) -> Job:
        if not self.subscribed:
            raise WireError("mining.notify before mining.subscribe was answered")
        job = wire.notify_job(
            params,
            extranonce1=self.extranonce1,
            extranonce2_size=self.extranonce2_size,
            difficulty=self.difficulty,
            scale=self.scale,
        )
        check_job(job)
        return job

    def take_subscription(self, result: Any) -> list[Any]:
        """Take up the answer to subscribe; its list of subscriptions.

        Raises:
            WireError: if it is none.
        """
        if not isinstance(result, list) or len(result) < 3:
            raise WireError("the answer to mining.subscribe has no [subscriptions, extranonce1, size]")
        self.extranonce1, self.extranonce2_size = extranonces(result[1:3])
        subscriptions = result[0] if isinstance(result[0], list) else []
        self.session_id = _session_id(subscriptions)
        self.subscribed = True
        return subscriptions


def check_job(job: Job) -> None:
    """Whether every field of a job can be hashed.

    Raises:
        WireError: naming the field that cannot.
    """
    if not 0 < len(job.job_id) <= JOB_ID_LIMIT:
        raise WireError(f"a job id has 1 to {JOB_ID_LIMIT} characters, not {len(job.job_id)}")
    if len(job.merkle_branch) > BRANCHES_LIMIT:
        raise WireError(f"a job with {len(job.merkle_branch)} merkle branches; at most {BRANCHES_LIMIT}")
    sized = [("prevhash", job.prevhash, 32), ("version", job.version, 4), ("nbits", job.nbits, 4)]
    sized += [("ntime", job.ntime, 4), *(("a merkle branch", branch, 32) for branch in job.merkle_branch)]
    if job.claimtrie is not None:
        sized.append(("claimtrie", job.claimtrie, 32))
    for name, text, size in sized:
        if not is_hex(text, size):
            raise WireError(f"{name} of a job is {2 * size} hex digits")
    for name, text in (("coinb1", job.coinb1), ("coinb2", job.coinb2)):
        if not is_hex(text):
            raise WireError(f"{name} of a job is hex of whole bytes")


def is_hex(text: str, size: int | None = None) -> bool:
    """Whether a text is hex of whole bytes, of ``size`` of them where given."""
    try:
        data = bytes.fromhex(text)
    except ValueError:
        return False
    return len(text) == 2 * len(data) and size in (None, len(data))


def extranonces(params: list[Any]) -> tuple[str, int]:
    """extranonce1 and extranonce2_size of the two values that name them.

    Raises:
        WireError: if they are none.
    """
    match params:
        case [str() as extranonce1, int() as size, *_] if (
            not isinstance(size, bool)
            and 1 <= size <= EXTRANONCE2_LIMIT
            and len(extranonce1) <= 2 * EXTRANONCE1_LIMIT
            and is_hex(extranonce1)
        ):
            return extranonce1, size
    raise WireError(
        f"extranonce1 is hex of at most {EXTRANONCE1_LIMIT} bytes, extranonce2_size 1 to {EXTRANONCE2_LIMIT}"
    )


def error_of(message: wire.Response) -> tuple[int, str]:
    """Code and text of a refusal, made safe."""
    match message.error:
        case [int() as code, str() as text, *_]:
            return code if abs(code) < 1 << 31 else 20, clean_text(text, 400)
        case {"code": int() as code, "message": str() as text}:
            return code if abs(code) < 1 << 31 else 20, clean_text(text, 400)
        case str() as text:
            return 20, clean_text(text, 400)
    return 20, "refused by the pool without a reason"


def _difficulty(params: list[Any]) -> float:
    value = params[0] if params else None
    if not isinstance(value, bool) and isinstance(value, int | float):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if 0.0 < number < 1e300 and number > 1e-300:
            return number
    raise WireError("mining.set_difficulty takes one positive finite number")


def _place(params: list[Any]) -> tuple[str | None, int | None, float]:
    host = params[0] if params and isinstance(params[0], str) and params[0] else None
    port: Any = params[1] if len(params) > 1 else None
    if isinstance(port, str) and port.isascii() and port.isdigit() and len(port) < 6:
        port = int(port)
    wait = params[2] if len(params) > 2 else 0
    usable = isinstance(wait, int | float) and not isinstance(wait, bool) and 0 <= wait < math.inf
    number = port if isinstance(port, int) and not isinstance(port, bool) and 0 < port <= 65535 else None
    return host, number, min(float(wait), 3600.0) if usable else 0.0


def _session_id(subscriptions: list[Any]) -> str | None:
    """Id under which a pool may take up the session again: that of its notify subscription."""
    pairs = [subscriptions] if subscriptions and isinstance(subscriptions[0], str) else subscriptions
    for pair in pairs:
        match pair:
            case ["mining.notify", str() as text, *_] if len(text) <= 128:
                return text
    return None


def same_owner(known: str, offered: str) -> bool:
    """Whether a pool may send its miners from one host to another: the same, or both below one domain.

    As cgminer does, everything after the first dot has to agree, and to be more than a bare top-level domain; an
    address agrees only with itself.
    """
    known, offered = known.lower().rstrip("."), offered.lower().rstrip(".")
    if known == offered:
        return True
    domain = known.partition(".")[2]
    numeric = any(text.replace(".", "").isdigit() or ":" in text for text in (known, offered))
    return not numeric and "." in domain and offered.partition(".")[2] == domain
