"""The miner's side of Stratum V1 as a protocol: handshake in a firmware's own order, jobs in, shares out.

It never waits and moves no bytes. What differs between firmwares is a :class:`ClientProfile` (``hardware.md`` §6).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from firmware_bridge.errors import ProtocolError, UserError
from firmware_bridge.headers import DEFAULT_VERSION_MASK, Job, Share
from firmware_bridge.stratum import wire
from firmware_bridge.stratum.lines import SCALE_SUBSCRIPTION, clean_text, scale_token

Step = Literal["subscribe", "configure", "suggest_difficulty", "authorize"]


@dataclass(frozen=True, slots=True)
class ClientProfile:
    """How one firmware speaks Stratum.

    Attributes:
        agent: user agent of ``mining.subscribe``.
        handshake: order of its first requests; each waits for the answer to the one before.
        strict_lockstep: whether anything but that answer breaks it before subscribe and configure are answered.
        version_bits: whether it rolls the version and submits six parameters.
        integer_difficulty: whether it reads a difficulty as an integer (0.5 becomes 0).
        strictly_above: whether it sends a share only if its difficulty exceeds the pool's.
        understands: methods of the server that it acts on; others are ignored.
        suggested_difficulty: what it suggests, if it does.
        most_branches: merkle branches beyond which the firmware fails, or None.
    """

    agent: str
    handshake: tuple[Step, ...]
    strict_lockstep: bool
    version_bits: bool
    integer_difficulty: bool
    strictly_above: bool
    understands: frozenset[str]
    suggested_difficulty: int | None = None
    most_branches: int | None = None


@dataclass(slots=True)
class ClientStats:
    """Counts over all connections of a client.

    Attributes:
        connections: connections that completed their handshake.
        jobs: jobs received.
        submitted: shares sent.
        accepted: of them, answered with true.
        rejected: of them, answered with an error: text to count.
        ignored: methods of the server that this firmware does not know, to count.
        last_error: why the last connection ended, or None.
    """

    connections: int = 0
    jobs: int = 0
    submitted: int = 0
    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    last_error: str | None = None

    @property
    def answered(self) -> int:
        """Shares that the pool has answered."""
        return self.accepted + sum(self.rejected.values())


class HandshakeRefusedError(UserError):
    """The pool refused this miner; trying again would change nothing."""


class ForeignPoolError(HandshakeRefusedError):
    """The pool did not confirm the difficulty scale: it would refuse every share that is found at it."""


class ClientSession:
    """One connection's protocol, without the connection.

    Args:
        profile: the firmware.
        agent: user agent to send, scale token included.
        user: worker name.
        password: its password; never stored.
        scale: difficulty scale that this miner hashes at.
        stats: counts to add to.
        on_job: called with each job.
        on_answer: called with each answer to a share.
    """

    def __init__(
        self,
        profile: ClientProfile,
        agent: str,
        user: str,
        password: str,
        scale: float,
        stats: ClientStats,
        on_job: Callable[[Job], None],
        on_answer: Callable[[], None] = lambda: None,
    ) -> None:
        self.authorized = False
        self.reconnect = False
        self._profile = profile
        self._agent = agent
        self._user = user
        self._password = password
        self._scale = scale
        self._stats = stats
        self._on_job = on_job
        self._on_answer = on_answer
        self._steps = list(profile.handshake)
        self._waiting: Step | None = None
        self._ids: dict[int, Step] = {}
        self._next_id = 1
        self._submits: set[int] = set()
        self._extranonce1 = ""
        self._extranonce2_size = wire.EXTRANONCE2_SIZE
        self._difficulty = 1.0
        self._mask = DEFAULT_VERSION_MASK if profile.version_bits else 0
        self._subscribed = False

    @property
    def difficulty(self) -> float:
        """Difficulty of the next job, as this firmware read it."""
        return self._difficulty

    def start(self) -> bytes:
        """The first request."""
        return self._next_request()

    def submit(self, share: Share) -> bytes:
        """Bytes that submit a share."""
        number = self._take_id()
        self._submits.add(number)
        self._stats.submitted += 1
        bits = share.version_bits if self._profile.version_bits else None
        return wire.encode_submit(
            number, self._user, share.job_id, share.extranonce2, share.ntime, share.nonce, bits
        )

    def receive(self, line: bytes) -> bytes:
        """Act on a line of the server; returns what to send.

        Raises:
            ProtocolError: if the line breaks the protocol, or what this firmware can take.
            HandshakeRefusedError: if the pool refused subscribe or authorize, or does not know this miner's scale.
        """
        message = wire.decode_server(line)
        if isinstance(message, wire.Response):
            return self._answered(message)
        if self._profile.strict_lockstep and self._waiting in ("subscribe", "configure"):
            raise ProtocolError(
                f"the pool sent {clean_text(message.method)} before it answered {self._waiting}; this "
                "firmware reads the answers of subscribe and configure in lock-step and cannot take that"
            )
        return self._called(message)

    def _take_id(self) -> int:
        number = self._next_id
        self._next_id += 1
        return number

    def _next_request(self) -> bytes:
        if not self._steps:
            self._waiting = None
            return b""
        self._waiting = self._steps.pop(0)
        number = self._take_id()
        self._ids[number] = self._waiting
        match self._waiting:
            case "subscribe":
                return wire.encode_request(number, "mining.subscribe", [self._agent])
            case "configure":
                mask = {"version-rolling.mask": "ffffffff"}
                return wire.encode_request(number, "mining.configure", [["version-rolling"], mask])
            case "suggest_difficulty":
                suggested = self._profile.suggested_difficulty
                return wire.encode_request(number, "mining.suggest_difficulty", [suggested])
            case "authorize":
                return wire.encode_request(number, "mining.authorize", [self._user, self._password])

    def _answered(self, message: wire.Response) -> bytes:
        if message.id in self._submits:
            self._submits.discard(message.id)
            if message.result is True:
                self._stats.accepted += 1
            else:
                self._stats.rejected[_error_text(message.error)] += 1
            self._on_answer()
            return b""
        step = self._ids.pop(message.id, None) if isinstance(message.id, int) else None
        if step is None:
            return b""
        if step in ("subscribe", "authorize") and (
            message.error is not None or message.result in (None, False)
        ):
            raise HandshakeRefusedError(f"the pool refused mining.{step}: {_error_text(message.error)}")
        if step == "subscribe":
            self._take_subscription(message.result)
        elif step == "configure":
            self._take_mask(message.result)
        elif step == "authorize":
            self.authorized = True
            self._stats.connections += 1
        return self._next_request()

    def _take_subscription(self, result: Any) -> None:
        match result:
            case [_, str() as extranonce1, int() as size, *_] if 2 <= size <= 16:
                self._check_scale(result[0])
                self._extranonce1 = extranonce1
                self._extranonce2_size = size
                self._subscribed = True
            case _:
                raise ProtocolError(
                    "the answer to mining.subscribe has no [subscriptions, extranonce1, size of 2 to 16]"
                )

    def _check_scale(self, subscriptions: Any) -> None:
        if self._scale == 1.0 or [SCALE_SUBSCRIPTION, scale_token(self._scale)] in (subscriptions or []):
            return
        raise ForeignPoolError(
            f"this pool does not take up the difficulty {scale_token(self._scale)} that the emulated miner names, so "
            "it would refuse its shares; mine for it with --scale 1, or for asiclab bridge"
        )

    def _take_mask(self, result: Any) -> None:
        """ESP-Miner v2.1 keeps its own mask where the answer has none."""
        if isinstance(result, dict) and isinstance(result.get("version-rolling.mask"), str):
            self._mask = DEFAULT_VERSION_MASK & wire.version_mask(result["version-rolling.mask"])

    def _called(self, message: wire.ServerCall) -> bytes:
        if message.method not in self._profile.understands:
            self._stats.ignored[clean_text(message.method)] += 1
            return b""
        match message.method:
            case "mining.notify":
                self._take_job(message.params)
            case "mining.set_difficulty":
                self._take_difficulty(message.params)
            case "mining.set_version_mask":
                self._mask = DEFAULT_VERSION_MASK & wire.version_mask(
                    message.params[0] if message.params else None
                )
            case "mining.ping":
                return wire.encode_result(msgspec.json.encode(message.id), "pong")
            case "client.get_version":
                return wire.encode_result(msgspec.json.encode(message.id), self._agent)
            case "client.reconnect":
                self.reconnect = True
        return b""

    def _take_difficulty(self, params: list[Any]) -> None:
        value = params[0] if params else None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise ProtocolError("mining.set_difficulty takes one positive number")
        self._difficulty = float(int(value)) if self._profile.integer_difficulty else float(value)

    def _take_job(self, params: list[Any]) -> None:
        if not self._subscribed:
            raise ProtocolError("the pool sent mining.notify before it answered mining.subscribe")
        job = wire.notify_job(
            params,
            extranonce1=self._extranonce1,
            extranonce2_size=self._extranonce2_size,
            difficulty=self._difficulty,
            scale=self._scale,
            version_mask=self._mask if self._profile.version_bits else 0,
        )
        most = self._profile.most_branches
        if most is not None and len(job.merkle_branch) > most:
            raise ProtocolError(
                f"a job with {len(job.merkle_branch)} merkle branches: this firmware reboots beyond {most}"
            )
        self._stats.jobs += 1
        self._on_job(job)


def _error_text(error: Any) -> str:
    match error:
        case [int() as code, str() as text, *_]:
            return f"{code} {clean_text(text, 400)}"
        case None:
            return "no reason given"
    return clean_text(str(error), 400)
