"""The two ways in which a proxied share is answered.

``relay``: the pool answers, and the miner hears it once the share is durable too. ``vbm``: the proxy answers by its own
verdict once the share is durable, and the pool's answer is noted when it comes.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import Any

from msgspec import UNSET

from firmware_bridge.stratum import wire
from firmware_bridge.stratum.forwards import NOT_FORWARDED, Forward
from firmware_bridge.stratum.kernel_time import Stamp
from firmware_bridge.stratum.proxy_handshake import ProxyHost
from firmware_bridge.stratum.proxy_session import ProxiedJob, ProxySession
from firmware_bridge.stratum.shares import Judged
from firmware_bridge.stratum.upstream import error_of
from firmware_bridge.stratum.verify import Reason
from firmware_bridge.stratum.wire import OK_TAIL, ErrorCode, SubmitLine, echoed_id, error_tail

_LOST_TAIL = error_tail(ErrorCode.OTHER, "the pool was lost before it answered")
_ABSENT_TAIL = error_tail(ErrorCode.OTHER, "no pool is connected that knows this job")

NO_POOL, OTHER_SESSION, TOO_MANY, BELOW = (
    "no pool was connected",
    "its pool was left before it could be sent",
    "too many waited for the pool",
    "below the difficulty of the pool",
)
"""Why a valid share was not forwarded."""


class RelayJudged(Judged):
    """One share whose answer is the pool's.

    Attributes:
        id: as the answer echoes it, None where none is wanted.
        arrived_ns: monotonic.
        durable: whether the share is committed.
        tail: what follows the id in the answer, once it is known.
    """

    __slots__ = ("arrived_ns", "durable", "id", "tail")

    def __init__(self, judged: Judged, id: bytes | None, arrived_ns: int) -> None:
        super().__init__(judged.rows, judged.jobs, b"", 0, judged.valid, judged.current_valid)
        self.id = id
        self.arrived_ns = arrived_ns
        self.durable = False
        self.tail: bytes | None = None


class RelayHost(ProxyHost):
    """What a relaying session needs besides: answers that it makes itself."""

    def acknowledge(self, answers: bytes, count: int) -> None:
        """Send answers, and go on with what waited for them."""


class RelaySession(ProxySession):
    """Every share that can be hashed goes to the pool, and so does a late one: its verdict counts."""

    _host: RelayHost

    def _submit(self, lines: list[SubmitLine], stamp: Stamp) -> int:
        if not self.subscribed or not self.desk.workers:
            self._refuse_early(lines)
            return 0
        answers = 0
        for line in lines:
            judged = self.desk.judge([line], stamp)
            self._note_arrival(judged, stamp)
            prepared = judged.jobs[0]
            if isinstance(prepared, ProxiedJob) and self._whole(judged.rows[0]):
                id = None if line.id is UNSET else echoed_id(bytes(line.id))
                judged = RelayJudged(judged, id, stamp.monotonic_ns)
                answers += id is not None
                self._relay(judged, line.params[0], prepared)
                self._take(judged)
            else:
                answers += self._take(judged)
        return answers

    @staticmethod
    def _whole(row: tuple[Any, ...]) -> bool:
        """Whether a share has all its fields, in hex."""
        judged = row[9] not in (Reason.MALFORMED, Reason.UNAUTHORIZED)
        return judged and all(row[place] is not None for place in (3, 4, 5))

    def _relay(self, judged: RelayJudged, user: str, prepared: ProxiedJob) -> None:
        row = judged.rows[0]
        forward = self._forward_of(row, prepared)
        if self._can_forward(user, prepared):
            self._submit_upstream(forward, user, prepared, partial(self._heard, judged, forward, row[8]))
            return
        judged.tail = _ABSENT_TAIL
        reason = NO_POOL if self.upstream is None else OTHER_SESSION
        self.stats.not_forwarded[reason] += 1
        self._host.entered(NOT_FORWARDED, "warning", row[0], {**forward.detail(), "why": reason})

    def _heard(
        self, judged: RelayJudged, forward: Forward, valid: bool, response: wire.Response | None, ns: int
    ) -> None:
        self._concluded(forward, response, ns, valid)
        if response is None:
            judged.tail = _LOST_TAIL
        elif response.result is True and response.error is None:
            judged.tail = OK_TAIL
        else:
            code, text = error_of(response)
            judged.tail = error_tail(code, self._safe(text))
        self._settle(judged)

    def committed(self, judged: RelayJudged) -> None:
        """The share is durable."""
        judged.durable = True
        self._settle(judged)

    def _settle(self, judged: RelayJudged) -> None:
        """Answer the miner once the share is durable and the pool has spoken."""
        if judged.durable and judged.tail is not None and judged.id is not None:
            id, judged.id = judged.id, None
            self._host.acknowledge(b'{"id":' + id + judged.tail, 1)
            self.answered(judged.arrived_ns)


@dataclass(slots=True)
class _Held:
    """A share that waits for its pool to come back."""

    forward: Forward
    user: str
    prepared: ProxiedJob


class VbmSession(ProxySession):
    """Valid shares are answered here; those that the pool wants go to it at once, or when it is back."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._held: deque[_Held] = deque()

    @property
    def _makes_jobs(self) -> bool:
        return True

    def _submit(self, lines: list[SubmitLine], stamp: Stamp) -> int:
        if not self.subscribed or not self.desk.workers:
            self._refuse_early(lines)
            return 0
        judged = self.desk.judge(lines, stamp)
        self._note_arrival(judged, stamp)
        answers = self._take(judged)
        for line, row, prepared in zip(lines, judged.rows, judged.jobs, strict=True):
            if row[8] and isinstance(prepared, ProxiedJob):
                self._pass_on(line.params[0], row, prepared)
        self._prefetch()
        return answers

    def _pass_on(self, user: str, row: tuple[Any, ...], prepared: ProxiedJob) -> None:
        forward = self._forward_of(row, prepared)
        if row[7] < forward.difficulty:
            self.stats.below_upstream += 1
            self._left_out(forward, BELOW, "info")
        elif self._can_forward(user, prepared):
            self._submit_upstream(forward, user, prepared, partial(self._heard, forward))
        elif prepared.template.era == self._era and len(self._held) < self.proxy.max_held:
            self._held.append(_Held(forward, user, prepared))
        else:
            reason = OTHER_SESSION if prepared.template.era != self._era else TOO_MANY
            self._left_out(forward, reason, "warning")

    def _heard(self, forward: Forward, response: wire.Response | None, ns: int) -> None:
        self._concluded(forward, response, ns, True)

    def _left_out(self, forward: Forward, reason: str, severity: str) -> None:
        if reason != BELOW:
            self.stats.not_forwarded[reason] += 1
        self._host.entered(NOT_FORWARDED, severity, forward.miner, {**forward.detail(), "why": reason})

    def _new_era(self) -> None:
        super()._new_era()
        self._give_up(OTHER_SESSION)

    def _pool_is_back(self) -> None:
        waiting, self._held = self._held, deque()
        for held in waiting:
            if self._can_forward(held.user, held.prepared):
                held.forward.pool = self.pool.label
                answered = partial(self._heard, held.forward)
                self._submit_upstream(held.forward, held.user, held.prepared, answered)
            else:  # another worker of this connection, whom the pool has not taken in yet
                self._held.append(held)

    def give_up(self) -> None:
        """What still waits is never sent."""
        self._give_up(NO_POOL)

    def _give_up(self, reason: str) -> None:
        while self._held:
            self._left_out(self._held.popleft().forward, reason, "warning")

    def upstream_job(self, job: Any) -> None:
        """A job of the pool, and the next one of our own after it."""
        super().upstream_job(job)
        self._prefetch()

    def _start(self) -> None:
        super()._start()
        self._prefetch()

    def _prefetch(self) -> None:
        """Have the next job ready, so that sending it is all that a share has to wait for."""
        template = self.template
        if template is None or not self.started or template.made >= template.space.jobs:
            return
        if self._ahead is None:
            self._ahead = self._prepare(template, clean=False)
